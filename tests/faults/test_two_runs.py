"""Two commands at once in one folder, on a file system without locks too: they do the same twice, or one says so."""

import os
import subprocess
import sys

import numpy as np
import pytest
from tiny import write_linear_workplace
from walk import contents, without_parts

from data_processing.phantom.__main__ import main as draw


def start(root, module, *words):
    """Start a stage in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(root)}
    command = [sys.executable, str(root / "tests/helpers/stage.py"), module, *map(str, words)]
    return subprocess.Popen(command, cwd=root, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def ended(processes):
    """Wait for processes; return their exit statuses and what they said on stderr."""
    said = [process.communicate()[1] for process in processes]
    return [process.returncode for process in processes], said


def is_told(statuses, said):
    """Tell whether one process at least did its work, and each other one did, or said that it did not."""
    return 0 in statuses and all(
        status == 0 or status == 1 and ("another process" in line or "another run" in line)
        for status, line in zip(statuses, said)
    )


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    folder = tmp_path_factory.mktemp("films") / "raw"
    assert draw(["--out", str(folder), "--per-class", "10", "--workers", "1"]) == 0
    sets = ["--covidx", folder / "covidx-cxr2", "--chest-xray", folder / "chest-xray-pneumonia"]
    return [*sets, "--per-class", "10", "--image-size", "64", "--workers", "1"]


@pytest.mark.parametrize("locks, other", [([], []), (["--no-locks"], []), (["--no-locks"], ["--seed", "1", "--overwrite"])])
def test_stage_one(root, films, tmp_path, locks, other):
    whole = []
    for name, words in (("first", []), ("second", other)):
        assert ended([start(root, "data_processing.prepare", *films, *words, "--out", tmp_path / name)])[0] == [0]
        whole.append(contents(tmp_path / name))
    both = [start(root, "data_processing.prepare", *locks, *films, *words, "--out", tmp_path / "both") for words in ([], other)]
    statuses, said = ended(both)
    assert is_told(statuses, said), said
    found = contents(tmp_path / "both")
    assert found == without_parts(found) and found in whole


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """The words about ten test films and a linear model."""
    folder = write_linear_workplace(tmp_path_factory.mktemp("workplace"))
    words = ["--data", folder / "data", "--models", folder / "model", "--targets", "VGG16", "--steps", "2"]
    return [*words, "--single-step-strengths", *np.round(np.arange(1, 9) / 100, 2), "--iterative-strengths"]


@pytest.mark.parametrize("locks, other", [([], []), (["--no-locks"], []), (["--no-locks"], ["--films", "9"])])
def test_stage_three(root, workplace, tmp_path, locks, other):
    whole = []
    for name, words in (("first", []), ("second", other)):
        assert ended([start(root, "attack", *workplace, *words, "--out", tmp_path / name)])[0] == [0]
        whole.append(contents(tmp_path / name))
    statuses, said = ended(
        [start(root, "attack", *locks, *workplace, *words, "--out", tmp_path / "both") for words in ([], other)]
    )
    assert is_told(statuses, said), said
    found = contents(tmp_path / "both")
    assert found == without_parts(found) and found in whole
