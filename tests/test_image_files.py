"""Films in several files: they read and hash as in one, and no stage needs the memory or the disk for all of them."""

import os
import subprocess
import sys

import numpy as np
import pytest
from tiny import LinearSoftmax, random_films, write_data

from data_processing import prepare
from nosign.classifiers import build
from nosign.dataset import INDEX, film_hashes, open_split
from nosign.errors import UserError
from nosign.files import sha256_of_file
from nosign.image_files import IMAGES, image_header, image_paths, planned_files
from nosign.script import run

# TensorFlow takes 475 before anything is attacked, and twice that with its threads on two cores.
MEGABYTES_PREPARING, MEGABYTES_ATTACKING = 200, 1150


@pytest.fixture
def data(tmp_path):
    """A folder of eleven films in one file, nine of them to test."""
    labels = np.arange(11) % 3
    return write_data(tmp_path / "one", random_films(11, 6, seed=4), labels, ["train", "validation"] + ["test"] * 9)


def cut(data, folder, *lengths):
    """Write the films of a folder into several files."""
    folder.mkdir()
    (folder / INDEX).write_bytes((data / INDEX).read_bytes())
    images = np.load(data / IMAGES)
    for number, films in enumerate(np.split(images, np.cumsum(lengths))):
        np.save(folder / f"images-{number}.npy", films)
    return folder


def test_a_planned_file_is_full_but_for_the_last():
    assert planned_files(9, None) == planned_files(9, 9) == planned_files(9, 10) == {"images.npy": 9}
    assert planned_files(9, 4) == {"images-0.npy": 4, "images-1.npy": 4, "images-2.npy": 1}
    assert planned_files(8, 4) == {"images-0.npy": 4, "images-1.npy": 4}


def test_header_is_that_of_numpy(data):
    assert (data / IMAGES).read_bytes().startswith(image_header(11, 6))


@pytest.mark.parametrize("lengths", [(5,), (1, 9), (4, 4), (0, 3)])
def test_films_in_several_files_are_those_in_one(data, tmp_path, lengths):
    several = cut(data, tmp_path / "several", *lengths)
    one, other = open_split(data, "test"), open_split(several, "test")
    assert len(image_paths(several)) == len(lengths) + 1
    assert film_hashes(several) == film_hashes(data) == {name: sha256_of_file(data / name) for name in (INDEX, IMAGES)}
    assert other.size == one.size and other.images.shape == one.images.shape
    for positions in (slice(None), slice(2, 5), [3, 3, 0, 8], np.array([], int)):
        np.testing.assert_array_equal(other.pixels(positions), one.pixels(positions))
    np.testing.assert_array_equal(other.part(3, 7).pixels(), one.pixels(slice(3, 7)))


def test_a_file_that_is_missing_cut_off_or_of_another_size_is_one_line(data, tmp_path):
    several = cut(data, tmp_path / "several", 4, 4)
    films = np.load(several / "images-1.npy")
    for change, said in (
        (lambda path: path.unlink(), "images-0.npy: holds uint8.*images-0.npy to images-0.npy 4 films"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), "images-1.npy: not a complete array file"),
        (lambda path: np.save(path, films[:, :5, :5]), r"images-1.npy: holds uint8 \(4, 5, 5, 3\)"),
        (lambda path: np.save(path, films[:2]), "images-0.npy to images-2.npy 9 films.*describes uint8 .11, size"),
    ):
        change(several / "images-1.npy")
        with pytest.raises(UserError, match=said):
            open_split(several, "test")
        np.save(several / "images-1.npy", films)
    open_split(several, "test")


def test_prepared_in_several_files_the_films_are_the_same(raw_sets, tmp_path):
    sets = raw_sets(tmp_path / "raw").add_all_classes(9)

    def prepared(out, *words):
        assert run(prepare.main, sets.words(out, *words)) == 0
        return sorted(path.name for path in image_paths(out))

    assert prepared(tmp_path / "one") == [IMAGES]
    assert prepared(tmp_path / "many", "--films-a-file", "8", "--workers", "2") == [f"images-{n}.npy" for n in range(3)]
    assert film_hashes(tmp_path / "many") == film_hashes(tmp_path / "one")
    for name in ("overview.png", "skipped.csv", "patients.csv"):
        assert (tmp_path / "many" / name).read_bytes() == (tmp_path / "one" / name).read_bytes()
    # A number that changes nothing is no other run, and one file less or more is seen.
    before = (tmp_path / "one" / IMAGES).stat().st_mtime_ns
    assert prepared(tmp_path / "one", "--films-a-file", "21") == [IMAGES]
    assert (tmp_path / "one" / IMAGES).stat().st_mtime_ns == before
    (tmp_path / "many/images-1.npy").unlink()
    assert len(prepared(tmp_path / "many", "--films-a-file", "8")) == 3
    # One file may lie elsewhere.
    (tmp_path / "other").mkdir()
    (tmp_path / "many/images-1.npy").rename(tmp_path / "other/films.npy")
    (tmp_path / "many/images-1.npy").symlink_to(tmp_path / "other/films.npy")
    assert film_hashes(tmp_path / "many") == film_hashes(tmp_path / "one")
    prepared(tmp_path / "many", "--films-a-file", "8")
    assert (tmp_path / "many/images-1.npy").is_symlink()
    # It stays there when it is made anew, and where its disk is missing it is called missing.
    assert prepared(tmp_path / "many", "--films-a-file", "8", "--overwrite") == [f"images-{n}.npy" for n in range(3)]
    assert (tmp_path / "many/images-1.npy").is_symlink()
    assert [path.name for path in (tmp_path / "other").iterdir()] == ["films.npy"]
    (tmp_path / "other").rename(tmp_path / "away")
    with pytest.raises(UserError, match="images-1.npy: not found"):
        open_split(tmp_path / "many", "test")
    (tmp_path / "away").rename(tmp_path / "other")
    # A link may be there first.
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked/images-2.npy").symlink_to(tmp_path / "other/third.npy")
    prepared(tmp_path / "linked", "--films-a-file", "8")
    assert (tmp_path / "other/third.npy").is_file() and film_hashes(tmp_path / "linked") == film_hashes(tmp_path / "one")
    # What is kept in another way is replaced whole.
    assert run(prepare.main, sets.words(tmp_path / "many", "--films-a-file", "10")) == 1
    assert prepared(tmp_path / "many", "--films-a-file", "10", "--overwrite") == [f"images-{n}.npy" for n in range(3)]
    assert prepared(tmp_path / "many", "--overwrite") == [IMAGES]
    assert not list((tmp_path / "many").glob("images-*")) and not (tmp_path / "other/films.npy").exists()
    assert prepared(tmp_path / "many", "--films-a-file", "20", "--overwrite") == ["images-0.npy", "images-1.npy"]
    assert film_hashes(tmp_path / "many") == film_hashes(tmp_path / "one")


def test_a_link_to_the_films_of_another_folder_or_of_another_file_is_refused(raw_sets, tmp_path, capsys):
    sets = raw_sets(tmp_path / "raw").add_all_classes(9)
    one, two = tmp_path / "one", tmp_path / "two"
    assert run(prepare.main, sets.words(one)) == 0
    before = (one / IMAGES).read_bytes()
    two.mkdir()
    (two / IMAGES).symlink_to(one / IMAGES)
    for words in (["--overwrite"], ["--films-a-file", "8", "--overwrite"]):
        assert run(prepare.main, sets.words(two, *words)) == 1
        assert "among the films of another folder; remove the link" in capsys.readouterr().err
    assert (one / IMAGES).read_bytes() == before and [path.name for path in two.iterdir() if path.suffix] == [IMAGES]
    (two / IMAGES).unlink()
    for name in ("images-0.npy", "images-1.npy"):
        (two / name).symlink_to(tmp_path / "films.npy")
    assert run(prepare.main, sets.words(two, "--films-a-file", "8")) == 1
    assert "each file needs a place of its own" in capsys.readouterr().err


def test_more_films_than_fit_the_memory_are_prepared_and_attacked(root, raw_sets, tmp_path):
    size, films = 320, 500
    sets = raw_sets(tmp_path / "raw").add_all_classes(films)
    build.save(LinearSoftmax((size, size, 3), spread=0.01).classifier(), tmp_path / "model/VGG16.keras")
    words = ["--per-class", str(films), "--image-size", str(size), "--films-a-file", "500", "--workers", "2"]
    attack = [
        *["--data", f"{tmp_path}/data", "--models", f"{tmp_path}/model", "--out", f"{tmp_path}/results", "--targets", "VGG16"],
        *["--attacks", "bim", "--iterative-strengths", "0.01", "--steps", "1", "--storing-strengths", "--batch", "4"],
    ]
    # Every thread takes some megabytes, and there is one for each core.
    cores = ",".join(map(str, sorted(os.sched_getaffinity(0))[:2]))
    stage = [sys.executable, str(root / "tests/helpers/stage.py")]
    for module, megabytes, arguments in (
        ("data_processing.prepare", MEGABYTES_PREPARING, sets.words(tmp_path / "data", *words)),
        ("attack", MEGABYTES_ATTACKING, [*attack, "--shard", "1/2"]),
        ("attack", MEGABYTES_ATTACKING, [*attack, "--shard", "2/2"]),
        ("attack", MEGABYTES_ATTACKING, attack),
    ):
        done = subprocess.run(
            ["taskset", "--cpu-list", cores, *stage, module, f"--megabytes={megabytes}", *arguments],
            cwd=root,
            env={**os.environ, "PYTHONPATH": str(root)},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
    test = open_split(tmp_path / "data", "test")
    film = size * size * 3
    assert test.images.shape[0] * film > 2 * (MEGABYTES_PREPARING << 20)
    assert 1000 + (len(test) * film * 4 >> 20) > MEGABYTES_ATTACKING
    assert len((tmp_path / "results/attacks/VGG16/paper/bim/0.01.csv").read_text().splitlines()) == len(test) + 1
