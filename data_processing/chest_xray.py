"""Reads a Kermany Chest X-Ray folder: `chest_xray/{train,val,test}/{NORMAL,PNEUMONIA}/`."""

from __future__ import annotations

import os
import re
from pathlib import Path

from data_processing.film import Film
from nosign.dataset import CLASSES
from nosign.errors import UserError

SPLITS = ("train", "val", "test")
FOLDERS = {"NORMAL": CLASSES.index("Normal"), "PNEUMONIA": CLASSES.index("Pneumonia")}
NAME = "chest_xray"
# File names as on Kaggle (person12_virus_34, NORMAL2-IM-0383-0001), then as on Mendeley (BACTERIA-1135262-0004). Bacteria,
# virus and normal films may number persons separately; treating equal numbers as one person errs on the safe side.
PATIENT = re.compile(r"(person\d+)_|((?:NORMAL2-)?IM-\d+)-|(?:BACTERIA|VIRUS|NORMAL)-(\d+)-")


def read_chest_xray(folder: str | Path) -> list[Film]:
    """Read the films of a Kermany folder.

    The archive holds everything twice (again in `chest_xray/chest_xray/`), and macOS's `__MACOSX` and `._*` files. Only the
    outermost copy is read.

    Args:
        folder: `chest_xray`, or the folder that holds it.

    Returns:
        list of `Film`.

    Raises:
        UserError: the folder has another layout.
    """
    films = []
    for place in folders_of(find_folder(folder)):
        split, name = place.parts[-2:]
        for path in sorted(place.iterdir()) if place.is_dir() else ():
            if path.is_file() and not path.name.startswith("."):
                file = os.fsencode(path.name).decode("utf-8", "replace")
                films.append(Film(path, f"{NAME}/{split}/{name}/{file}", FOLDERS[name], patient_of(file), NAME))
    return films


def folders_of(folder: Path) -> list[Path]:
    """Return the folders whose films are read."""
    return [folder / split / name for split in SPLITS for name in FOLDERS]


def find_folder(folder: str | Path) -> Path:
    """Return the outermost folder that holds the splits."""
    folder = Path(folder)
    for candidate in (folder, folder / "chest_xray"):
        if all((candidate / "train" / name).is_dir() for name in FOLDERS):
            return candidate
    raise UserError(
        f"{folder}: not a Kermany chest_xray folder; expected train/NORMAL and train/PNEUMONIA in it; check --chest-xray"
    )


def patient_of(file: str) -> str:
    """Return the patient's id in a file name such as person12_virus_34.jpeg, "" if it has none."""
    match = PATIENT.match(file)
    return f"kermany:{match[match.lastindex]}" if match and match.lastindex else ""
