"""Stage 1 killed, or failed by the disk, at every operation: the rerun ends in the same bytes."""

import pytest
from walking import walk

from data_processing.phantom.__main__ import main as draw

PER_CLASS = 7


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    folder = tmp_path_factory.mktemp("films")
    assert draw(["--out", str(folder / "raw"), "--per-class", str(PER_CLASS), "--workers", "1"]) == 0
    return folder / "raw"


def words(films, *more):
    """Return the command line of stage 1."""
    sets = ["--covidx", str(films / "covidx-cxr2"), "--chest-xray", str(films / "chest-xray-pneumonia")]
    return [*sets, "--out", "OUT", "--per-class", str(PER_CLASS), "--image-size", "16", "--workers", "1", *more]


def test_stage_one_survives_every_kill_and_every_failing_write(films, tmp_path, every_kill):
    letters = walk("data_processing.prepare", words(films), tmp_path, films=True, alike=not every_kill)
    assert letters.count("w") >= 3 * PER_CLASS + 5 and letters.count("r") == letters.count("f") == 7


def test_stage_one_replaces_other_films_whole_or_not_at_all(films, tmp_path, every_kill):
    from data_processing.prepare import main

    other = [word.replace("OUT", str(tmp_path / "before")) for word in words(films, "--seed", "1")]
    assert main(other) == 0
    before = str(tmp_path / "before")
    # One file gives way to several, which must not be taken for the old films' halfway.
    new = words(films, "--overwrite", "--films-a-file", "8")
    letters = walk("data_processing.prepare", new, tmp_path, before=before, films=True, alike=not every_kill)
    assert letters.count("d") >= 1
