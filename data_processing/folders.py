"""Counts films that are not read: those in folders that a data set's layout does not have, and in folders within folders."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

# File endings of films, including DICOM's; the content is not looked at.
ENDINGS = (".png", ".jpg", ".jpeg", ".jfif", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".dcm")
NAMED = 5


def films_elsewhere(folder: Path, name: str, read: set[str], skipped: Sequence[str] = ()) -> Counter[str]:
    """Count the films below a data set's folder that are not read.

    Args:
        folder: the data set's folder.
        name: name of the data set, with which the films' names begin.
        read: real paths of the folders whose films are read.
        skipped: names of folders that are not looked into, because they repeat the set or belong to no set.

    Returns:
        Counter of the films in each folder, by name and path inside the set, such as "covidx-cxr2/validation".
    """
    counts, seen, waiting = Counter(), set(), [(folder, name)]
    for path, inside in waiting:
        if (real := os.path.realpath(path)) in seen:  # reached before, by a link
            continue
        seen.add(real)
        folders, files = entries_of(path)
        waiting += [(Path(path, sub), f"{inside}/{sub}") for sub in folders if sub not in ("__MACOSX", *skipped)]
        if real not in read:
            counts[os.fsencode(inside).decode("utf-8", "replace")] += sum(file.lower().endswith(ENDINGS) for file in files)
    return +counts


def entries_of(folder: Path) -> tuple[list[str], list[str]]:
    """Return the names of the folders and of the files in a folder, without hidden ones; none without permission to list it.

    Linked folders come last, so that a folder to which a link leads too is counted under its own name.
    """
    folders, files = [], []
    with contextlib.suppress(PermissionError), os.scandir(folder) as entries:
        for entry in entries:
            if not entry.name.startswith("."):
                (folders if entry.is_dir() else files).append((entry.is_symlink(), entry.name))
    return [name for _, name in sorted(folders)], [name for _, name in files]


def name_some(counts: Counter[str]) -> str:
    """Return the folders with the most films as text: "12 in covidx-cxr2/val, 3 in covidx-cxr2/train/sub"."""
    ordered = counts.most_common()
    named = [f"{films} in {folder}" for folder, films in ordered[:NAMED]]
    if len(ordered) > NAMED:
        named.append(f"{sum(films for _, films in ordered[NAMED:])} in {len(ordered) - NAMED} more folders")
    return ", ".join(named)
