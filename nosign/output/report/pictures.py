"""Pictures inside the report: films, changes and figures as WebP, within a number of bytes."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
from PIL import Image

# Bytes before base64, which adds a third: together with the tables the page stays below 15 MB.
PICTURE_BYTES = 8_200_000
FIGURE_BYTES = 2_500_000
SAMPLE = 12  # pictures that are encoded to choose a rung of a ladder
# From good to small. Of changes: every how many pixels, and how coarse; of figures: width in pixels and WebP's quality.
CHANGE_LADDER = ((1, 0.5), (1, 1.0), (1, 1.5), (1, 1.9), (1, 2.4), (1, 3.0), (2, 1.5), (2, 2.4), (4, 2.4))
FIGURE_LADDER = ((1432, 88), (1432, 70), (1074, 60), (716, 50), (716, 20))
LOSSLESS_BYTES = 120_000  # of a figure: one of lines only is smaller and crisper without loss
ENCODERS = 2  # threads; Pillow encodes outside the interpreter's lock

# A change is stored as levels: 0, and on either side one level between each two of these multiples of the first bound.
# They are even where most components are, and then a third apart, so that rare large ones keep their size.
LEVEL_BOUNDS = np.array([1, 3, 5, 7, 9, 12, 16, 21, 28, 37, 49, 65, 86, 114, 152], np.float32)
ZERO_BYTE, LEVEL_BYTES = 128, 8  # of a picture of levels; the script rounds, should a browser shift bytes a little


def open_figure(content: bytes) -> Image.Image:
    """Return a PNG file's bytes as a Pillow image, no wider than the first rung of `FIGURE_LADDER`."""
    with Image.open(io.BytesIO(content)) as picture:
        return no_wider(picture.convert("RGB"), FIGURE_LADDER[0][0])


def no_wider(picture: Image.Image, width: int) -> Image.Image:
    """Return a Pillow image, scaled down to a width in pixels if it is wider."""
    if picture.width <= width:
        return picture
    return picture.resize((width, round(picture.height * width / picture.width)), Image.Resampling.BILINEAR)


def encode_figure(picture: Image.Image, rung: tuple[int, int]) -> tuple[bytes, tuple[int, int]]:
    """Return a figure as (WebP, (width, height)) at a rung of `FIGURE_LADDER`: lines without loss, films with."""
    width, quality = rung
    picture = no_wider(picture, width)
    pixels = np.asarray(picture)
    lossless = webp(pixels, lossless=True, quality=0)
    return lossless if len(lossless) <= LOSSLESS_BYTES else webp(pixels, quality=quality), picture.size


def encode_within(items: Sequence[Any], encode: Callable[..., tuple], ladder: Sequence[tuple], allowance: int) -> list[tuple]:
    """Encode items at the best rung of a ladder at which all of them together stay within an allowance.

    Args:
        items: list.
        encode: function of an item and a rung that returns a tuple whose first entry is bytes.
        ladder: rungs from good to small.
        allowance: bytes; a sample of the items tells whether a rung keeps to it.

    Returns:
        List of what `encode` returned.
    """
    places = range(len(items))
    sample = places[:: max(1, len(items) // SAMPLE)]
    with ThreadPoolExecutor(ENCODERS) as pool:
        for rung in ladder:
            at_rung = partial(encode, rung=rung)
            encoded = dict(zip(sample, pool.map(at_rung, [items[place] for place in sample])))
            if sum(len(result[0]) for result in encoded.values()) * len(items) <= allowance * len(sample):
                break
        others = [place for place in places if place not in encoded]
        encoded.update(zip(others, pool.map(at_rung, [items[place] for place in others])))
    return [encoded[place] for place in places]


def webp(pixels: np.ndarray, **options: Any) -> bytes:
    """Return pixels, uint8 [height, width, 3], as the bytes of a WebP file."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "WEBP", method=2, **options)
    return buffer.getvalue()


def data_uri(encoded: bytes) -> str:
    """Return a WebP file's bytes as an address that holds them."""
    return "data:image/webp;base64," + base64.b64encode(encoded).decode()


class Pictures:
    """The pictures of the viewer, each kept once: films and changes."""

    def __init__(self) -> None:
        self.films, self.places, self.changes = [], {}, []

    def add_film(self, film: np.ndarray) -> int:
        """Keep a film, uint8 [height, width, 3], and return its number among the films."""
        key = hashlib.sha256(film.tobytes()).digest()
        if key not in self.places:
            self.places[key] = len(self.films)
            self.films.append(webp(film, lossless=True))
        return self.places[key]

    def add_change(self, change: np.ndarray) -> int:
        """Keep a change, float16 [height, width, 3], and return its number among the changes."""
        self.changes.append(change)
        return len(self.changes) - 1

    def encoded(self) -> tuple[list[bytes], list[bytes], list[list[float]]]:
        """Return the WebP files of all films and of all changes, together within `PICTURE_BYTES`, and the changes' levels."""
        allowance = PICTURE_BYTES - sum(map(len, self.films))
        encoded = encode_within(self.changes, encode_change, CHANGE_LADDER, allowance)
        return self.films, [data for data, _ in encoded], [sizes for _, sizes in encoded]


def levels_of_change(change: np.ndarray, coarseness: float) -> tuple[np.ndarray, np.ndarray]:
    """Put a change's components into levels: 0 near zero, beyond it one for each of `LEVEL_BOUNDS`.

    Args:
        change: float32 array.
        coarseness: width of the zero level in mean absolute components. A change that has one size only keeps it.

    Returns:
        (int8 array of the same shape, levels from -15 to 15; float64 [16], the mean absolute component of each level).
    """
    sizes = np.abs(change)
    bound = min(coarseness * sizes.mean() / 2, 0.99 * sizes.max())
    levels = np.zeros(change.shape, np.int8)
    means = np.zeros(len(LEVEL_BOUNDS) + 1)
    for edge in bound * LEVEL_BOUNDS if bound else ():
        beyond = sizes >= edge
        if not beyond.any():
            break
        levels += beyond
    counts, sums = (np.bincount(levels.ravel(), weights, len(means)) for weights in (None, sizes.ravel()))
    means[1:] = sums[1:] / np.maximum(counts[1:], 1)
    return levels * np.sign(change).astype(np.int8), means


def encode_change(change: np.ndarray, rung: tuple[int, float]) -> tuple[bytes, list[float]]:
    """Return a change as (WebP of its levels, the levels' sizes) at a rung of `CHANGE_LADDER`.

    Noise has nothing that a picture's codec could leave out, so its numbers are made coarse here and stored without loss.
    Where pixels are left out, the script repeats their neighbours.
    """
    every, coarseness = rung
    levels, sizes = levels_of_change(change[::every, ::every].astype(np.float32), coarseness)
    picture = (ZERO_BYTE + LEVEL_BYTES * levels.astype(np.int16)).astype(np.uint8)
    return webp(picture, lossless=True, quality=10), [float(f"{size:.5g}") for size in sizes]
