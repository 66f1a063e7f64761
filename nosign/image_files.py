"""The pixels of the prepared films: one file or several, which read and hash like one.

`images.npy` holds uint8 [films, size, size, 3]. In its place may stand `images-0.npy`, `images-1.npy`, ..., each with the films
that follow those of the one before. Each may be a link to another disk, also one that is made before the films are: stage 1
writes where it leads.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from nosign.errors import UserError
from nosign.files import CHUNK_BYTES, sha256_of_file

IMAGES = "images.npy"
ONE_OF_SEVERAL = "images-{}.npy"
NAMES = re.compile(r"images(-\d+)?\.npy")  # of all of these
INDEX = "index.csv"  # what describes them, row by row
AGAIN = "run python -m data_processing.prepare again"


class ImageFiles:
    """Arrays that follow each other, read like one.

    Attributes:
        shape: [films, size, size, 3], as of an array.
    """

    def __init__(self, arrays: Sequence[np.ndarray]) -> None:
        """Join arrays, uint8 [films, size, size, 3], their films being of one size."""
        self.arrays = arrays
        self.starts = np.cumsum([0, *map(len, arrays)])
        self.shape = (int(self.starts[-1]), *arrays[0].shape[1:])

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        """Return copies of the films in some rows, int [n]: uint8 [n, size, size, 3]."""
        films = np.empty((len(rows), *self.shape[1:]), np.uint8)
        places = np.searchsorted(self.starts, rows, side="right") - 1
        for place in np.unique(places):
            here = places == place
            films[here] = self.arrays[place][rows[here] - self.starts[place]]
        return films


def planned_files(films: int, films_a_file: int | None) -> dict[str, int]:
    """Return the files for so many films as a dict from name to how many it holds, at most `films_a_file`; None: all in one."""
    if films_a_file is None or films <= films_a_file:
        return {IMAGES: films}
    starts = range(0, films, films_a_file)
    return {ONE_OF_SEVERAL.format(number): min(films_a_file, films - start) for number, start in enumerate(starts)}


def image_paths(folder: str | Path) -> list[Path]:
    """Return the files that hold a folder's films, in order; `images.npy` where there is none."""
    found: list[Path] = []
    # A link whose disk is not there must not pass for the end of the films.
    while (following := Path(folder) / ONE_OF_SEVERAL.format(len(found))).exists() or following.is_symlink():
        found.append(following)
    single = Path(folder) / IMAGES
    return [single] if single.exists() or not found else found


def any_image_files(folder: str | Path) -> set[Path]:
    """Return all image files in a folder, also those that others make worthless."""
    return {path for path in Path(folder).glob("images*.npy") if NAMES.fullmatch(path.name)}


def image_header(films: int, size: int) -> bytes:
    """Return how a file of uint8 [films, size, size, 3] begins."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": (films, size, size, 3)})
    return header.getvalue()


def image_bytes(films: int, size: int) -> int:
    """Return the length in bytes of a file of so many films, which is also where the next film begins."""
    return len(image_header(films, size)) + films * size * size * 3


def open_images(folder: str | Path, films: int) -> np.ndarray | ImageFiles:
    """Open a folder's films memory-mapped: uint8 [films, size, size, 3].

    Args:
        folder: where they lie.
        films: how many the index describes.

    Raises:
        UserError: a file is missing, cut off, or holds anything else.
    """
    paths = image_paths(folder)
    arrays = [open_array(path) for path in paths]
    found = sum(sum(array.shape[:1]) for array in arrays)
    shape = (*arrays[0].shape[1:2], *arrays[0].shape[1:2], 3)
    for path, array in zip(paths, arrays):
        if array.dtype != np.uint8 or array.shape[1:] != shape or found != films:
            together = "" if path.name == IMAGES else f", {paths[0].name} to {paths[-1].name} {found} films"
            expected = f"{INDEX} describes uint8 ({films}, size, size, 3)"
            raise UserError(f"{path}: holds {array.dtype} {array.shape}{together}, but {expected}; {AGAIN}")
    return arrays[0] if len(arrays) == 1 else ImageFiles(arrays)


def open_array(path: Path) -> np.ndarray:
    """Open an array file memory-mapped.

    Raises:
        UserError: it is missing or not complete.
    """
    try:
        return np.lib.format.open_memmap(path, mode="r")
    except FileNotFoundError:
        raise UserError(f"{path}: not found; {AGAIN}") from None
    except ValueError:
        raise UserError(f"{path}: not a complete array file; {AGAIN}") from None


def sha256_of_images(folder: str | Path) -> str:
    """Return the SHA-256 of a folder's `images.npy`, or of the one that would hold the films of several files.

    Raises:
        UserError: a file is missing or not complete.
    """
    paths = image_paths(folder)
    if len(paths) == 1:
        return sha256_of_file(paths[0])
    arrays = [open_array(path) for path in paths]
    digest = hashlib.sha256(image_header(sum(map(len, arrays)), arrays[0].shape[1]))
    for path, array in zip(paths, arrays):
        with open(path, "rb") as file:
            file.seek(-array.nbytes, io.SEEK_END)
            while chunk := file.read(CHUNK_BYTES):
                digest.update(chunk)
    return digest.hexdigest()
