"""Reads a COVIDx-CXR2 folder: `train/ test/ train.txt test.txt`, rows `patient-id file class source`."""

from collections import Counter
from pathlib import Path

from data_processing.film import Film
from nosign.dataset import CLASSES
from nosign.errors import UserError

SPLITS = ("train", "test")
LISTS = tuple(f"{split}.txt" for split in SPLITS)
THREE_CLASS_LISTS = tuple(f"{split}_COVIDx8A.txt" for split in SPLITS)
NEGATIVES = ("strict", "paper")
# The folder may have any name, a version number in Kaggle's cache for one; the films' names must not depend on it.
NAME = "covidx-cxr2"


def read_covidx(folder, negatives="strict", three_class_lists=None):
    """Read the films of a COVIDx-CXR2 folder that belong to COVID-19 or Normal.

    A negative is not yet normal: more than a third of them show pneumonia in the three-class list of the same films.

    Args:
        folder: holds the lists and the folders `train` and `test`.
        negatives: "strict" takes the negatives that the three-class lists call normal, "paper" takes all.
        three_class_lists: paths of the three-class lists; by default `*_COVIDx8A.txt` beside the others.

    Returns:
        list of `Film`, and a Counter of the rows left out, by reason.

    Raises:
        UserError: the folder has another layout, a row is malformed or names a missing file, or a list is missing.
    """
    folder = find_folder(folder)
    normal = None
    if negatives == "strict":
        normal = read_normal_files(three_class_lists or [folder / name for name in THREE_CLASS_LISTS])
    films, left_out, missing = [], Counter(), []
    for split in SPLITS:
        for where, patient, file, category, source in read_list(folder / f"{split}.txt", ("positive", "negative")):
            if category == "negative" and normal is not None and normal.get(file) != "normal":
                left_out[f"negative, but {normal.get(file, 'not')} in the three-class list"] += 1
                continue
            path = folder / split / file
            if not path.is_file():
                missing.append(f"{where} names {path}")
            label = CLASSES.index("COVID-19" if category == "positive" else "Normal")
            films.append(Film(path, f"{NAME}/{split}/{file}", label, f"{source}:{patient}", f"covidx/{source}"))
    if missing:
        more = f" (and {len(missing) - 1} more rows)" if len(missing) > 1 else ""
        raise UserError(f"{missing[0]}, which is not there{more}; download the set again or correct the list")
    return films, left_out


def find_folder(folder):
    """Return the folder that holds the lists: the one given or the only one inside it that does."""
    folder = Path(folder)
    for candidate in (folder, *sorted(path for path in folder.glob("*") if path.name != "__MACOSX")):
        if all((candidate / name).is_file() for name in LISTS):
            return candidate
    raise UserError(f"{folder}: not a COVIDx-CXR2 folder; expected {', '.join(LISTS)} and the folders "
                    f"{', '.join(SPLITS)} in it; check --covidx")


def read_normal_files(paths):
    """Return the class of each film in the three-class lists, by file name."""
    for path in paths:
        if not Path(path).is_file():
            raise UserError(f"{path}: not found; --negatives strict needs the three-class lists: put them there, name "
                            "them with --three-class-lists, or take every negative with --negatives paper")
    return {file: category for path in paths
            for _, _, file, category, _ in read_list(path, ("normal", "pneumonia", "COVID-19"))}


def read_list(path, categories):
    """Yield (where, patient, file, category, source) for each row; patient ids may contain spaces."""
    lines = Path(path).read_text(encoding="utf-8-sig", errors="replace").splitlines()
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        fields = line.rsplit(maxsplit=3)
        if len(fields) != 4 or fields[2] not in categories:
            raise UserError(f"{path} line {number}: expected 'patient-id file class source' with class "
                            f"{' or '.join(categories)}, found {line[:80]!r}")
        yield f"{path} line {number}", *fields
