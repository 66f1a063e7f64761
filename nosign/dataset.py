"""Opens the prepared films of `data/`: which classes there are, which film is in which split, and their pixels."""

import csv
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nosign.errors import UserError

CLASSES = ("COVID-19", "Normal", "Pneumonia")
SPLITS = ("train", "validation", "test")
INDEX_COLUMNS = ("row", "split", "label", "class", "source", "patient", "file", "sha256")
LABELS = tuple(str(label) for label in range(len(CLASSES)))
IMAGES = "images.npy"
INDEX = "index.csv"


@dataclass(frozen=True)
class FilmSet:
    """The films of one split, read from disk as they are asked for.

    Attributes:
        images: uint8 [all films, size, size, 3], memory-mapped.
        rows: int64 [films], the rows of `images` that belong to this split, ascending.
        labels: int64 [films], positions in `CLASSES`.
        files: list of str [films], where each film came from.
    """

    images: np.ndarray
    rows: np.ndarray
    labels: np.ndarray
    files: list

    def __len__(self):
        return len(self.rows)

    @property
    def size(self):
        """Height and width of a film in pixels."""
        return self.images.shape[1]

    def pixels(self, positions=slice(None)):
        """Return films as float32 [films, size, size, 3] in [0, 1].

        Args:
            positions: a slice or an int array of positions in this set.
        """
        return self.images[self.rows[positions]].astype(np.float32) / np.float32(255)

    def head(self, films):
        """Return the set of the first `films` films (all of them if None)."""
        return FilmSet(self.images, self.rows[:films], self.labels[:films], self.files[:films])


def whole_batches(films, batch):
    """Yield (start, stop, positions [batch]) of batches of one length.

    A short last one is filled up with its last film: another shape would be compiled anew.
    """
    for start in range(0, films, batch):
        stop = min(start + batch, films)
        yield start, stop, np.minimum(np.arange(start, start + batch), stop - 1)


def prefetched(batches):
    """Yield what an iterator yields; the next item is prepared in a thread while this one is used."""
    batches, end = iter(batches), object()
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(next, batches, end)
        while (batch := coming.result()) is not end:
            coming = pool.submit(next, batches, end)
            yield batch


def read_index(folder):
    """Return the rows of `index.csv` as a list of dicts.

    Raises:
        UserError: the file is missing, or row i does not describe image i.
    """
    path = Path(folder) / INDEX
    if not path.is_file():
        raise UserError(f"{path}: not found; run python -m data_processing.prepare first or name the folder with "
                        "--data")
    try:
        with open(path, newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            columns, rows = tuple(reader.fieldnames or ()), list(reader)
    except (ValueError, csv.Error):
        columns = None
    if columns != INDEX_COLUMNS:
        raise UserError(f"{path}: expected a table with the columns {', '.join(INDEX_COLUMNS)}; prepare the data again")
    for number, row in enumerate(rows):
        if row["row"] != str(number) or row["split"] not in SPLITS or row["label"] not in LABELS:
            raise UserError(f"{path} line {number + 2}: expected row {number}, a split of {', '.join(SPLITS)} and a "
                            f"label of {', '.join(LABELS)}, found {', '.join(map(str, list(row.values())[:3]))}; "
                            "prepare the data again")
    return rows


def open_split(folder, split):
    """Open the films of one split.

    Args:
        folder: the folder that `data_processing.prepare` wrote.
        split: one of `SPLITS`.

    Raises:
        UserError: the folder is incomplete, or index and images do not belong together.
    """
    index = read_index(folder)
    images = open_images(folder, len(index))
    chosen = [row for row in index if row["split"] == split]
    if not chosen:
        raise UserError(f"{folder}: no {split} films; prepare more films a class (--per-class)")
    return FilmSet(images, np.array([int(row["row"]) for row in chosen]),
                   np.array([int(row["label"]) for row in chosen]), [row["file"] for row in chosen])


def open_images(folder, films):
    """Open `images.npy` memory-mapped: uint8 [films, size, size, 3].

    Raises:
        UserError: the file is missing, cut off, or holds anything else.
    """
    path = Path(folder) / IMAGES
    try:
        images = np.lib.format.open_memmap(path, mode="r")
    except FileNotFoundError:
        raise UserError(f"{path}: not found; run python -m data_processing.prepare again") from None
    except ValueError:
        raise UserError(f"{path}: not a complete array file; run python -m data_processing.prepare again") from None
    shape = images.shape
    if images.dtype != np.uint8 or len(shape) != 4 or shape[1] != shape[2] or shape[3] != 3 or shape[0] != films:
        raise UserError(f"{path}: holds {images.dtype} {shape}, but {INDEX} describes uint8 ({films}, size, size, 3); "
                        "run python -m data_processing.prepare again")
    return images
