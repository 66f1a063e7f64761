"""Fixtures that several test files share: the real films beside the checkout, and small films made on the spot."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_processing import phantom
from nosign.script import run

ROOT = Path(__file__).resolve().parent.parent
XRAY = Path(os.environ.get("NOSIGN_XRAY", ROOT.parent / "shared" / "xray"))
PHANTOMS_PER_CLASS = 10
# Those that train, start processes or a browser, or draw many figures: `make check` leaves them out. Files are shared out among
# processes; with the slowest first none of them waits for the other at the end.
SLOW_FILES = (
    "faults/test_stage_four",
    "faults/test_two_runs",
    "faults/test_surroundings",
    "faults/test_stage_two",
    "faults/test_stage_three",
    "faults/test_stage_one",
    "test_attack",
    "workflow/test_workflow",
    "test_shards",
    "test_image_files",
    "sweep/test_sweep",
    "sweep/test_recorders",
    "sweep/test_turning",
    "sweep/test_universal",
    "sweep/test_single_step",
    "sweep/test_engine",
    "sweep/test_unbounded",
    "sweep/test_figure_examples",
    "test_data_figure",
    "attacks/test_backends",
    "output/test_report",
    "test_train_finetune",
    "attacks/test_attacks",
    "attacks/test_api",
    "classifiers/test_logits",
    "data_processing/test_prepare",
    "classifiers/test_training",
    "attacks/test_confident",
    "attacks/test_gradients",
    "benchmarks/test_bench",
    "classifiers/test_classifiers",
    "classifiers/test_pytorch",
    "findings/test_findings",
    "findings/test_pinned",
    "test_reference",
    "test_plan",
    "data_processing/test_phantom",
    "attacks/test_oracles",
    "test_memory",
    "data_processing/test_film",
    "data_processing/test_film_fuzz",
    "classifiers/test_archive",
    "attacks/test_apgd",
    "test_finished",
    "output/test_plot",
    "findings/test_comparison_with_paper",
    "findings/test_boundary",
    "findings/test_confusion",
    "findings/test_storage",
    "attacks/test_turning",
    "attacks/test_controls",
    "data_processing/test_splits",
)


def pytest_collection_modifyitems(items):
    """Mark the tests of slow files, and move them to the front."""
    place = {ROOT / "tests" / f"{name}.py": number for number, name in enumerate(SLOW_FILES)}
    for item in items:
        if item.path in place:
            item.add_marker("slow")
    items.sort(key=lambda item: place.get(item.path, len(place)))


@pytest.fixture(scope="session")
def every_kill():
    """Whether the tests of faults try every point that they know, which `make test-kills` asks for, or some of each kind."""
    return "NOSIGN_EVERY_KILL" in os.environ


@pytest.fixture(scope="session")
def root():
    """The checkout."""
    return ROOT


@pytest.fixture(scope="session")
def xray():
    """Real films in both layouts, and the odd files; not part of the checkout."""
    if not XRAY.is_dir():
        pytest.skip(f"needs real films in {XRAY}; NOSIGN_XRAY names another folder")
    return XRAY


@pytest.fixture(scope="session")
def phantom_sets(tmp_path_factory):
    """Folder of a small phantom set in both layouts; not to be changed."""
    out = tmp_path_factory.mktemp("phantoms") / "raw"
    assert run(phantom.main, ["--out", str(out), "--per-class", str(PHANTOMS_PER_CLASS), "--workers", "1"]) == 0
    return out


@pytest.fixture
def results(tmp_path):
    """A results folder of four films with FGSM and FGNM at two strengths; FGNM is better, worse, equal and absent in turn."""
    from finished import write_cell  # which takes a second

    sizes = {"linf": [0.1, 0.2, 0.3, 0.4], "l2": [1, 2, 3, 6], "ssim": [1, 1, 0.5, 0.5]}
    write_cell(tmp_path, "VGG16/paper/fgsm/0.001", VGG16=[0, 0, 2, 0], InceptionV3=[1, 0, 1, 1])  # 2, 2 right
    write_cell(tmp_path, "VGG16/paper/fgnm/0.001", VGG16=[0, 1, 2, 0], InceptionV3=[0, 0, 1, 1], **sizes)  # 1, 3
    write_cell(tmp_path, "VGG16/paper/fgsm/0.003", VGG16=[0, 1, 0, 0], InceptionV3=[1, 1, 0, 0])  # 1, 0
    write_cell(tmp_path, "VGG16/paper/fgnm/0.003", VGG16=[1, 0, 0, 0])  # 1, absent
    return tmp_path


@pytest.fixture
def raw_sets():
    """The class that makes both layouts with chosen films."""
    return RawSets


class RawSets:
    """Both data sets' layouts with small films of random pixels, as many as a test asks for."""

    def __init__(self, folder, width=12, height=10):
        self.covidx, self.chest_xray = folder / "covidx-cxr2", folder / "chest_xray"
        self.shape = height, width
        self.rng = np.random.default_rng(7)
        for split in ("train", "test"):
            (self.covidx / split).mkdir(parents=True)
            (self.covidx / f"{split}.txt").touch()
            (self.covidx / f"{split}_COVIDx8A.txt").touch()
        for split in ("train", "val", "test"):
            for name in ("NORMAL", "PNEUMONIA"):
                (self.chest_xray / split / name).mkdir(parents=True)

    def pixels(self):
        """Return a film's pixels, uint8 [height, width]; every call gives others."""
        return self.rng.integers(0, 256, self.shape, dtype=np.uint8)

    def add_covidx(self, file, patient, category="positive", *, class_8a=None, split="train", pixels=None, collection="sirm"):
        """Add a film and its rows to the COVIDx layout; `class_8a` None leaves it out of the three-class list."""
        path = self.covidx / split / file
        Image.fromarray(self.pixels() if pixels is None else pixels).save(path)
        self.append(f"{split}.txt", patient, file, category, collection)
        if class_8a:
            self.append(f"{split}_COVIDx8A.txt", patient, file, class_8a, collection)
        return path

    def append(self, name, patient, file, category, collection="sirm"):
        """Append a row to a list."""
        with open(self.covidx / name, "a", encoding="utf-8") as lines:
            lines.write(f"{patient} {file} {category} {collection}\n")

    def add_chest_xray(self, file, name, *, split="train", pixels=None):
        """Add a film to the Kermany layout; `name` is NORMAL or PNEUMONIA."""
        path = self.chest_xray / split / name / file
        Image.fromarray(self.pixels() if pixels is None else pixels).save(path, "PNG")
        return path

    def add_all_classes(self, films):
        """Add so many films to each class, each of another patient."""
        for number in range(films):
            self.add_covidx(f"covid{number}.png", f"patient {number}", class_8a="COVID-19")
            self.add_chest_xray(f"IM-{number:04d}-0001.jpeg", "NORMAL")
            self.add_chest_xray(f"person{number}_virus_{number}.jpeg", "PNEUMONIA")
        return self

    def words(self, out, *words):
        """Return the command line of `data_processing.prepare` for small images."""
        return [
            "--covidx",
            str(self.covidx),
            "--chest-xray",
            str(self.chest_xray),
            "--out",
            str(out),
            "--image-size",
            "8",
            "--per-class",
            "7",
            "--workers",
            "1",
            *words,
        ]
