"""Opens the prepared films of `data/`: which classes there are, which film is in which split, and their pixels."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from nosign.errors import UserError
from nosign.files import sha256_of_file
from nosign.image_files import AGAIN, IMAGES, INDEX, ImageFiles, open_images, sha256_of_images
from nosign.manifest import read_manifest

CLASSES = ("COVID-19", "Normal", "Pneumonia")
SPLITS = ("train", "validation", "test")
INDEX_COLUMNS = ("row", "split", "label", "class", "collection", "patient", "group", "file", "sha256")
# As folders prepared earlier have it: no groups, and the collection is called source.
FORMER_INDEX_COLUMNS = ("row", "split", "label", "class", "source", "patient", "file", "sha256")
FEW_VALUES = ("split", "label", "class", "collection")  # columns of which many films have the same
LABELS = tuple(str(label) for label in range(len(CLASSES)))
PATIENTS = "patients.csv"
PATIENTS_COLUMNS = ("patient", "id")


@dataclass(frozen=True)
class FilmSet:
    """The films of one split, read from disk as they are asked for.

    Attributes:
        images: uint8 [all films, size, size, 3], memory-mapped.
        rows: int64 [films], the rows of `images` that belong to this split, ascending.
        labels: int64 [films], positions in `CLASSES`.
        files: list of str [films], where each film came from.
        collections: list of str [films], the collection that each film is from.
        patients: int64 [films], a running number over all films of the folder, -1 where the patient is not known.
        groups: int64 [films], a running number likewise, equal for films that may show one person: those of one
            patient, and neighbours by number in a collection that names no patients.
        parent: the set of which this is a part that is attacked apart; None if it stands for itself.
    """

    images: np.ndarray | ImageFiles
    rows: np.ndarray
    labels: np.ndarray
    files: list
    collections: list
    patients: np.ndarray
    groups: np.ndarray
    parent: FilmSet | None = None

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def size(self) -> int:
        """Height and width of a film in pixels."""
        return self.images.shape[1]

    @property
    def whole(self) -> FilmSet:
        """The set of which this is a part, or the set itself."""
        return self.parent or self

    def pixels(self, positions: slice | Sequence[int] | np.ndarray = slice(None)) -> np.ndarray:
        """Return films as float32 [films, size, size, 3] in [0, 1].

        Args:
            positions: a slice or an int array of positions in this set.
        """
        return self.images[self.rows[positions]].astype(np.float32) / np.float32(255)

    def head(self, films: int | None) -> FilmSet:
        """Return the set of the first `films` films (all of them if None)."""
        return self.at(np.arange(len(self))[:films])

    def part(self, start: int, stop: int) -> FilmSet:
        """Return the set of some films that follow each other, as a part of this one."""
        return replace(self.at(np.arange(start, stop)), parent=self)

    def at(self, positions: np.ndarray) -> FilmSet:
        """Return the set of the films at some positions, int [n]."""
        files, collections = ([values[position] for position in positions] for values in (self.files, self.collections))
        rows, labels, patients, groups = (values[positions] for values in (self.rows, self.labels, self.patients, self.groups))
        return FilmSet(self.images, rows, labels, files, collections, patients, groups)


def first_of_each_class(labels: np.ndarray, films: int | None) -> np.ndarray:
    """Return the positions of the first so many films of each class, or of all, int [n], ascending."""
    return np.sort(np.concatenate([np.flatnonzero(labels == label)[:films] for label in range(len(CLASSES))]))


def whole_batches(films: int, batch: int) -> Iterator[tuple[int, int, np.ndarray]]:
    """Yield (start, stop, positions [batch]) of batches of one length.

    A short last one is filled up with its last film: another shape would be compiled anew.
    """
    for start in range(0, films, batch):
        stop = min(start + batch, films)
        yield start, stop, np.minimum(np.arange(start, start + batch), stop - 1)


def prefetched(batches: Iterable) -> Iterator:
    """Yield what an iterator yields; the next item is prepared in a thread while this one is used."""
    batches, end = iter(batches), object()
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(next, batches, end)
        while (batch := coming.result()) is not end:
            coming = pool.submit(next, batches, end)
            yield batch


def read_index(folder: str | Path, columns: Sequence[str] = INDEX_COLUMNS) -> dict[str, list[str]]:
    """Return columns of `index.csv`, by their names in `INDEX_COLUMNS`: of a million films a list of dicts takes two gigabytes.

    Where the file has no groups, each film's group is its patient.

    Raises:
        UserError: the file is missing, or row i does not describe image i.
    """
    path = Path(folder) / INDEX
    if not path.is_file():
        raise UserError(f"{path}: not found; run python -m data_processing.prepare first or name the folder with --data")
    found: dict[str, list[str]] = {column: [] for column in columns}
    try:
        with open(path, "rb") as file:
            if not file.seek(0, io.SEEK_END) or file.seek(-1, io.SEEK_END) and file.read() != b"\n":
                raise ValueError("cut off")
        with open(path, encoding="utf-8", newline="") as lines:
            reader = csv.reader(lines)
            heading = tuple(next(reader))
            if heading not in (INDEX_COLUMNS, FORMER_INDEX_COLUMNS):
                raise ValueError("other columns")
            for number, values in enumerate(reader):
                if len(values) != len(heading):
                    raise UserError(f"{path} line {number + 2}: expected {len(heading)} fields, found {len(values)}; {AGAIN}")
                row = dict(zip(heading, values))
                if heading == FORMER_INDEX_COLUMNS:
                    row |= {"collection": row["source"], "group": row["patient"] or row["file"]}
                check_row(path, number, row)
                for column, kept in found.items():
                    kept.append(sys.intern(row[column]) if column in FEW_VALUES else row[column])
    except (ValueError, StopIteration, csv.Error):
        raise UserError(
            f"{path}: expected a table with the columns {', '.join(INDEX_COLUMNS)}; prepare the data again"
        ) from None
    return found


def check_row(path: Path, number: int, row: Mapping[str, str]) -> None:
    """Refuse a row of the index that does not describe image `number`."""
    if row["row"] != str(number) or row["split"] not in SPLITS or row["label"] not in LABELS or not row["group"]:
        raise UserError(
            f"{path} line {number + 2}: expected row {number}, a split of {', '.join(SPLITS)}, a label of "
            f"{', '.join(LABELS)} and a group, found {', '.join(map(str, list(row.values())[:3]))}, "
            f"group {row['group'] or 'none'}; prepare the data again"
        )


def running_numbers(ids: Iterable[str]) -> np.ndarray:
    """Number ids in the order in which they first appear, so that the index alone decides.

    Args:
        ids: list of str; "" where there is none.

    Returns:
        int64 [ids], from 0; -1 where there is none.
    """
    number_of = {}
    return np.array([number_of.setdefault(name, len(number_of)) if name else -1 for name in ids], np.int64)


def open_split(folder: str | Path, split: str) -> FilmSet:
    """Open the films of one split.

    Args:
        folder: the folder that `data_processing.prepare` wrote.
        split: one of `SPLITS`.

    Raises:
        UserError: the folder is incomplete, or index and images do not belong together.
    """
    manifest = read_manifest(folder)
    if not (manifest or {}).get("finished", True):
        raise UserError(f"{folder}: its preparation was stopped halfway; run python -m data_processing.prepare again")
    index = read_index(folder, ("split", "label", "file", "collection", "patient", "group"))
    images = open_images(folder, len(index["split"]))
    if read_manifest(folder) != manifest:
        raise UserError(f"{folder}: its films were replaced just now; run again")
    patients, groups = (running_numbers(index[column]) for column in ("patient", "group"))
    rows = np.array([number for number, found in enumerate(index["split"]) if found == split])
    if not len(rows):
        raise UserError(f"{folder}: no {split} films; prepare more films a class (--per-class)")
    labels, files, collections = ([index[column][row] for row in rows] for column in ("label", "file", "collection"))
    return FilmSet(images, rows, np.array(labels, np.int64), files, collections, patients[rows], groups[rows])


def film_hashes(folder: str | Path) -> dict[str, str]:
    """Return what tells the films of a folder from others: SHA-256 of its index, and of its images as one file."""
    return {INDEX: sha256_of_file(Path(folder) / INDEX), IMAGES: sha256_of_images(folder)}
