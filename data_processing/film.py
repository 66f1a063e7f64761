"""One film: where it came from, and its pixels. Every trap of the file formats is dealt with here."""

import hashlib
import warnings
from dataclasses import dataclass
from pathlib import Path

# The formats that chest films are published in; anything else (DICOM, PDF, text) is reported, not guessed at.
FORMATS = ("JPEG", "PNG", "BMP", "TIFF", "WEBP", "GIF")
# The largest published film has 15 million pixels; a header that claims ten times as many is a mistake or an attack.
MAX_PIXELS = 150_000_000
EXIF_ORIENTATION = 0x0112
# What brings a film with this orientation upright, by the name that Pillow gives it.
TURNS = {2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE", 6: "ROTATE_270", 7: "TRANSVERSE",
         8: "ROTATE_90"}


@dataclass(frozen=True)
class Film:
    """A film as its data set describes it.

    Attributes:
        path: where the file is.
        file: name of the data set and path inside it; the same on every machine.
        label: position in `nosign.dataset.CLASSES`.
        patient: an id that is equal for two films of one patient; "" where none is known.
        collection: data set and collection, such as "covidx/rsna".
    """

    path: Path
    file: str
    label: int
    patient: str
    collection: str


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
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings(action="ignore"), open(path, "rb") as file:
            return decode(file)
    except UnreadableFilm:
        raise
    except UnidentifiedImageError:
        empty = Path(path).stat().st_size == 0
        raise UnreadableFilm("empty file" if empty else "not a supported image type") from None
    except Image.DecompressionBombError:
        raise UnreadableFilm(f"its header claims more than the {MAX_PIXELS} pixels allowed") from None
    except Exception as error:  # on damaged bytes Pillow raises nearly anything, TypeError and struct.error too
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise UnreadableFilm(f"cannot be decoded: {reason}") from None


def decode(file):
    """Decode an open file to a PIL image of mode L; raise whatever Pillow raises.

    Not by its name: Pillow 13 maps uncompressed TIFFs opened so into memory, and garbles those that are to be turned.
    """
    from PIL import Image

    image = Image.open(file, formats=FORMATS)
    reject_absurd(image)
    if image.format == "JPEG":
        image.draft("L", None)
    image.load()
    return upright(to_grey(image), orientation_of(image))


def reject_absurd(image):
    """Raise `UnreadableFilm` for animations and absurd sizes, before any pixel is decoded."""
    frames = getattr(image, "n_frames", 1)
    # An MPO file is a phone's JPEG with previews behind it; its first frame is the photograph.
    if frames > 1 and image.format != "MPO":
        raise UnreadableFilm(f"{image.format} of {frames} frames, an animation or a stack, not a film")
    if image.width * image.height > MAX_PIXELS:
        raise UnreadableFilm(f"its header claims more than the {MAX_PIXELS} pixels allowed")


def to_grey(image):
    """Return a decoded PIL image as mode L."""
    import numpy as np
    from PIL import Image

    if image.mode == "L":
        return image
    if image.mode.startswith("I"):
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 65535:
            raise UnreadableFilm("32-bit pixels outside 0..65535, without a stated range")
        return Image.fromarray(((values.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8))
    if image.mode == "F":
        raise UnreadableFilm("floating-point pixels without a stated range")
    if image.mode == "LA":
        return image.getchannel("L")
    return image.convert("RGB").convert("L")


def orientation_of(image):
    """Return the EXIF orientation of a PIL image, None where there is none or the block is damaged."""
    try:
        return image.getexif().get(EXIF_ORIENTATION)
    except Exception:  # a damaged block raises nearly anything; the pixels are sound all the same
        return None


def upright(image, orientation):
    """Turn or mirror a PIL image as its EXIF orientation says."""
    from PIL import Image

    return image.transpose(Image.Transpose[TURNS[orientation]]) if orientation in TURNS else image


def fingerprint(image):
    """Return the SHA-256 of a grey image's size and pixels; equal for the same pixels in another file format."""
    digest = hashlib.sha256(f"{image.width}x{image.height}:".encode())
    digest.update(image.tobytes())
    return digest.hexdigest()


def resize(image, size):
    """Resize a grey image to `size` x `size` pixels.

    The aspect ratio is not kept, as in the paper. Lanczos' filter widens with the reduction, so nothing aliases.

    Returns:
        PIL image of mode L.
    """
    from PIL import Image

    return image.resize((size, size), Image.Resampling.LANCZOS)
