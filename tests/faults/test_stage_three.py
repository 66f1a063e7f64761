"""Stage 3 killed, or failed by the disk, at every operation: the rerun ends in the same bytes."""

from tiny import write_linear_workplace
from walking import walk

IMPORTS = ["nosign.backend", "keras", "tensorflow", "nosign.sweep.run", "nosign.classifiers.logits", "nosign.classifiers.build"]


def test_stage_three_survives_every_kill_and_every_failing_write(tmp_path, every_kill):
    workplace = write_linear_workplace(tmp_path / "workplace")
    words = ["--data", str(workplace / "data"), "--models", str(workplace / "model"), "--out", "OUT", "--targets", "VGG16"]
    words += ["--attacks", "fgnm", "binm", "--single-step-strengths", "0.02", "--iterative-strengths", "0.02", "--steps", "2"]
    words += ["--storing-strengths", "0.02", "--storages", "8 bits", "--save-films"]
    letters = walk("attack", words, tmp_path, imports=IMPORTS, alike=not every_kill)
    assert letters.count("r") == letters.count("f") >= 15
