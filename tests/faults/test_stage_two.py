"""Stage 2 killed, or failed by the disk: the rerun ends with the same weights, history and table."""

import numpy as np
import pytest
from tiny import random_films, write_data
from walking import walk

SIZE = 32
FILMS = {"train": 27, "validation": 9, "test": 10}
IMPORTS = ["nosign.backend", "keras", "tensorflow", "nosign.classifiers.training", "matplotlib.pyplot"]


@pytest.fixture
def data(tmp_path):
    """Films whose class is the brightest channel."""
    splits = [split for split, films in FILMS.items() for _ in range(films)]
    labels = np.arange(len(splits)) % 3
    images = random_films(len(splits), SIZE, seed=31, high=200)
    images[np.arange(len(splits)), :, :, labels] += 40
    return write_data(tmp_path / "data", images, labels, splits)


def test_stage_two_survives_kills_and_failing_writes(data, tmp_path, every_kill):
    words = ["--data", str(data), "--out", "OUT", "--models", "VGG16", "--batch", "8", "--preprocessing", "paper"]
    words += ["--head-epochs", "1", "--epochs", "2", "--rate", "0.01"]
    some = {"alike": False} if every_kill else {"most": 40, "most_errors": 6, "seed": 0}
    letters = walk("train_finetune", words, tmp_path, imports=IMPORTS, prepare="tiny:use_tiny_backbones", **some)
    assert letters.count("r") >= 15
