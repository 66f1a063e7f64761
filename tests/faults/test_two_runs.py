"""Two commands at once in one folder, on a file system without locks too: they do the same twice, or one says so."""

import os
import subprocess
import sys

import numpy as np
import pytest
from finished import LIST_OF_MODELS, write_cell
from tiny import write_bright_films, write_linear_workplace
from walk import contents, without_parts

from data_processing.phantom.__main__ import main as draw


def start(root, module, *words):
    """Start a stage in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": f"{root}{os.pathsep}{root / 'tests/helpers'}"}
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


@pytest.mark.parametrize("locks", [[], ["--no-locks"]], ids=["locks", "no locks"])
def test_stage_two(root, tmp_path, locks):
    data = write_bright_films(tmp_path / "data", 32, {"train": 27, "validation": 9, "test": 10})
    words = [
        "--data",
        data,
        "--models",
        "VGG16",
        "--batch",
        "8",
        "--preprocessing",
        "paper",
        "--head-epochs",
        "1",
        "--epochs",
        "1",
    ]
    assert ended([start(root, "train_finetune", "--tiny", *words, "--out", tmp_path / "one")])[0] == [0]
    both = [start(root, "train_finetune", *locks, "--tiny", *words, "--out", tmp_path / "both") for _ in range(2)]
    statuses, said = ended(both)
    assert is_told(statuses, said), said
    assert contents(tmp_path / "both") == contents(tmp_path / "one")


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


@pytest.mark.parametrize("locks", [[], ["--no-locks"]], ids=["locks", "no locks"])
def test_stage_four(root, tmp_path, locks):
    for attack, seen in (("fgsm", [1, 0, 1, 1]), ("fgnm", [1, 1, 1, 0])):
        write_cell(tmp_path / "results", f"VGG16/paper/{attack}/0.01", VGG16=seen)
    (tmp_path / "model").mkdir()
    (tmp_path / "model/models.csv").write_text(LIST_OF_MODELS)
    words = ["--results", tmp_path / "results", "--models", tmp_path / "model"]
    assert ended([start(root, "data_figure", *words, "--out", tmp_path / "one")])[0] == [0]
    statuses, said = ended([start(root, "data_figure", *locks, *words, "--out", tmp_path / "both") for _ in range(2)])
    assert is_told(statuses, said), said
    assert contents(tmp_path / "both") == contents(tmp_path / "one")
