"""What storing a film makes of it: fewer bits, JPEG."""

import io
from functools import partial

import numpy as np


def rounded(bits: int, films: np.ndarray) -> np.ndarray:
    """Return films as they come back from storage with so many bits a channel.

    Args:
        bits: from 1 to 16.
        films: float32 array in [0, 1].

    Returns:
        float32 array of the same shape, multiples of 1 / (2^bits - 1); a film that was stored so stays bit for bit.
    """
    levels = np.float32(2**bits - 1)
    return np.rint(films * levels) / levels


def through_jpeg(quality: int, films: np.ndarray) -> np.ndarray:
    """Return films as they come back from JPEG files, with Pillow's defaults (chroma at half the resolution).

    Args:
        quality: Pillow's, from 1 to 95.
        films: float32 array [films, height, width, 3] in [0, 1].

    Returns:
        float32 array of the same shape, multiples of 1/255.
    """
    from PIL import Image

    back = np.empty_like(films)
    for position, film in enumerate(np.rint(films * np.float32(255)).astype(np.uint8)):
        file = io.BytesIO()
        Image.fromarray(film).save(file, "JPEG", quality=quality)
        back[position] = np.asarray(Image.open(file), np.float32) / np.float32(255)
    return back


EIGHT_BITS = "8 bits"  # as ordinary image files hold
STORAGES = {
    **{f"{bits} bits": partial(rounded, bits) for bits in (8, 10, 12, 16)},
    **{f"JPEG {quality}": partial(through_jpeg, quality) for quality in (95, 90, 75)},
}
