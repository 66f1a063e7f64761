"""One film: where it came from, and its pixels. Every trap of the file formats is dealt with here."""

import hashlib
import warnings
from dataclasses import dataclass
from pathlib import Path

# The formats that chest films are published in; anything else (DICOM, PDF, text) is reported, not guessed at.
FORMATS = ("JPEG", "PNG", "BMP", "TIFF", "WEBP", "GIF")
# The largest published film has 15 million pixels; a header that claims ten times as many is a mistake or an attack.
MAX_PIXELS = 150_000_000


@dataclass(frozen=True)
class Film:
    """A film as its data set describes it.

    Attributes:
        path: where the file is.
        file: name of the data set and path inside it; the same on every machine.
        label: position in `nosign.dataset.CLASSES`.
        patient: an id that is equal for two films of one patient.
        source: data set and collection, such as "covidx/rsna".
    """

    path: Path
    file: str
    label: int
    patient: str
    source: str


class UnreadableFilm(Exception):
    """A file that cannot be read as a film; the message is the reason."""


def read_pixels(path):
    """Decode a film to grey.

    Colour, palette and alpha become grey, 16 bits are scaled to 8 (not cut off), EXIF orientation is honoured, and the
    content decides about the format, not the ending.

    Args:
        path: the file.

    Returns:
        PIL image of mode L at the film's own size.

    Raises:
        UnreadableFilm: empty, truncated, no supported image, an animation or of an absurd size.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = Image.open(path, formats=FORMATS)
        with image:
            reject_absurd(image)
            if image.format == "JPEG":
                image.draft("L", None)
            image.load()
            ImageOps.exif_transpose(image, in_place=True)
            return to_grey(image)
    except UnidentifiedImageError:
        empty = Path(path).stat().st_size == 0
        raise UnreadableFilm("empty file" if empty else "not a supported image type") from None
    except Image.DecompressionBombError:
        raise UnreadableFilm("its header claims an absurd size") from None
    except (OSError, SyntaxError, ValueError) as error:
        raise UnreadableFilm(f"cannot be decoded: {error}") from None


def reject_absurd(image):
    """Raise `UnreadableFilm` for animations and absurd sizes, before any pixel is decoded."""
    frames = getattr(image, "n_frames", 1)
    if frames > 1:
        raise UnreadableFilm(f"{image.format} animation of {frames} frames, not a film")
    if image.width * image.height > MAX_PIXELS:
        raise UnreadableFilm(f"its header claims {image.width} x {image.height} pixels, above the limit of {MAX_PIXELS}")


def to_grey(image):
    """Return a decoded PIL image as mode L."""
    import numpy as np
    from PIL import Image

    if image.mode == "L":
        return image
    if image.mode.startswith("I;16") or image.mode == "I":
        values = np.clip(np.asarray(image).astype(np.int64), 0, 65535)
        return Image.fromarray(((values * 255 + 32767) // 65535).astype(np.uint8))
    if image.mode == "F":
        raise UnreadableFilm("floating-point pixels without a stated range")
    if image.mode == "LA":
        return image.getchannel("L")
    return image.convert("RGB").convert("L")


def fingerprint(image):
    """Return the SHA-256 of a grey image's size and pixels; equal for the same pixels in another file format."""
    digest = hashlib.sha256(f"{image.width}x{image.height}:".encode())
    digest.update(image.tobytes())
    return digest.hexdigest()


def resize(image, size):
    """Resize a grey image to `size` x `size` pixels.

    The aspect ratio is not kept, as in the paper. Lanczos' filter widens with the reduction, so nothing aliases.

    Returns:
        uint8 [size, size].
    """
    import numpy as np
    from PIL import Image

    return np.asarray(image.resize((size, size), Image.Resampling.LANCZOS))
