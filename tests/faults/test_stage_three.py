"""Stage 3 killed, or failed by the disk, at every operation: the rerun ends in the same bytes."""

import pytest
from tiny import LinearSoftmax, random_films, write_data
from walking import walk

from nosign.classifiers import build

SIZE, FILMS = 12, 10
IMPORTS = ["nosign.backend", "keras", "tensorflow", "nosign.sweep.run", "nosign.classifiers.logits", "nosign.classifiers.build"]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """Ten test films behind two training films, and a linear model."""
    folder = tmp_path_factory.mktemp("workplace")
    model = LinearSoftmax((SIZE, SIZE, 3), spread=0.1)
    images = random_films(2 + FILMS, SIZE, seed=21)
    write_data(folder / "data", images, model.logits(images / 255).argmax(-1), ["train"] * 2 + ["test"] * FILMS)
    build.save(model.classifier(), folder / "model/VGG16.keras")
    return folder


def test_stage_three_survives_every_kill_and_every_failing_write(workplace, tmp_path, every_kill):
    words = ["--data", str(workplace / "data"), "--models", str(workplace / "model"), "--out", "OUT", "--targets", "VGG16"]
    words += ["--attacks", "fgnm", "binm", "--single-step-strengths", "0.02", "--iterative-strengths", "0.02", "--steps", "2"]
    words += ["--storing-strengths", "0.02", "--storages", "8 bits", "--save-films"]
    letters = walk("attack", words, tmp_path, imports=IMPORTS, alike=not every_kill)
    assert letters.count("r") == letters.count("f") >= 15
