"""Stage 2 killed, or failed by the disk: the rerun ends with the same weights, history and table."""

from tiny import write_bright_films
from walking import walk

SIZE = 32
FILMS = {"train": 27, "validation": 9, "test": 10}
IMPORTS = ["nosign.backend", "keras", "tensorflow", "nosign.classifiers.training", "matplotlib.pyplot"]


def test_stage_two_survives_kills_and_failing_writes(tmp_path, every_kill):
    data = write_bright_films(tmp_path / "data", SIZE, FILMS)
    words = ["--data", str(data), "--out", "OUT", "--models", "VGG16", "--batch", "8", "--preprocessing", "paper"]
    words += ["--head-epochs", "1", "--epochs", "2", "--rate", "0.01"]
    some = {"alike": False} if every_kill else {"most": 40, "most_errors": 6, "seed": 0}
    letters = walk("train_finetune", words, tmp_path, imports=IMPORTS, prepare="tiny:use_tiny_backbones", **some)
    assert letters.count("r") >= 15
