"""One film: where it came from, and its pixels. Every trap of the file formats is dealt with here."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import os
import struct
import warnings
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from nosign.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    import PIL.Image
    from PIL.TiffImagePlugin import TiffImageFile

# The formats that chest films are published in; anything else (DICOM, PDF, text) is reported, not guessed at.
FORMATS = ("JPEG", "PNG", "BMP", "TIFF", "WEBP", "GIF")
# The largest published film has 15 million pixels; a header that claims three times as many is a mistake or an attack. As many
# take at most 0.8 GB and three seconds to decode, in any format.
MAX_PIXELS = 50_000_000
MAX_BYTES = 4 * MAX_PIXELS
# A progressive JPEG has some ten scans, each of which goes over all pixels again.
MAX_SCANS, SCAN = 100, b"\xff\xda"
WHITE_16, WHITE_12 = (1 << 16) - 1, (1 << 12) - 1
BITS_PER_SAMPLE, PHOTOMETRIC_INTERPRETATION, WHITE_IS_ZERO = 258, 262, 0
# Grey TIFFs that Pillow can unpack but does not open by itself. Key: byte order, PhotometricInterpretation (0: zero is white),
# bits. Value: mode and raw mode.
TIFF_LAYOUTS = {
    (b"MM", 0, 16): ("I;16B", "I;16B"),
    (b"II", 0, 12): ("I;16", "I;12"),
    (b"MM", 0, 12): ("I;16", "I;12"),
    (b"MM", 1, 12): ("I;16", "I;12"),
}
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
PNG_DEPTH_AT = 24
# Chunks of a PNG that are needed beside the critical ones: the orientation, and whether it is an animation.
PNG_CHUNKS_READ = (b"eXIf", b"acTL")
# What to do if the operating system cannot read a file, by error number; any other error comes from the disk or the network.
REMEDIES: dict[int | None, str] = {
    errno.EACCES: "give yourself permission to read it",
    errno.EPERM: "give yourself permission to read it",
    errno.EMFILE: "allow more open files (ulimit -n)",
    errno.ENFILE: "close other programs",
    errno.ENOMEM: "give fewer --workers",
    errno.ENOENT: "put it back",
}
EXIF_ORIENTATION = 0x0112
# What brings a film upright, by its EXIF orientation: the name of one of Pillow's transpositions.
TURNS = {
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_270",
    7: "TRANSVERSE",
    8: "ROTATE_90",
}


@dataclass(frozen=True)
class Film:
    """A film as its data set describes it.

    Attributes:
        path: where the file is.
        file: name of the data set and path inside it; the same on every machine.
        label: position in `nosign.dataset.CLASSES`.
        patient: the patient's id, equal for all films of one patient; "" where it is not known.
        collection: data set and collection, such as "covidx/rsna".
    """

    path: Path
    file: str
    label: int
    patient: str
    collection: str


class UnreadableFilm(Exception):
    """A file that cannot be read as a film; the message is the reason."""


def read_pixels(path: Path) -> PIL.Image.Image:
    """Decode the film in a file to grey; see `decode`.

    Returns:
        PIL image of mode L at the film's own size.

    Raises:
        UnreadableFilm: the file cannot be decoded as a film.
        UserError: the operating system cannot read the file, or memory runs out.
    """
    content = read_bytes(path)
    with blamed_on_system(path):
        return decode(content)[0]


def read_bytes(path: Path) -> bytes:
    """Return a file's bytes, at most the first `MAX_BYTES` + 1.

    Reading is separate from decoding, because Pillow raises OSError for damaged bytes too, and its TIFF reader mistakes a
    failing disk for a damaged file.

    Raises:
        UserError: the operating system cannot read the file, or memory runs out; the film is not to blame.
    """
    with blamed_on_system(path), open(path, "rb") as file:
        return file.read(min(os.fstat(file.fileno()).st_size, MAX_BYTES) + 1)


@contextlib.contextmanager
def blamed_on_system(path: Path) -> Iterator[None]:
    """Turn a failing disk, a missing permission or a lack of memory into a `UserError`: no film is left out because of it."""
    try:
        yield
    except (OSError, MemoryError) as error:
        number = errno.ENOMEM if isinstance(error, MemoryError) else error.errno
        reason = os.strerror(number) if number else str(error)
        raise UserError(
            f"{path}: not to be read now ({reason}), which is no fault of the film, so nothing was written; "
            f"{REMEDIES.get(number, 'check the disk or the network')}, then run again"
        ) from None


def decode(content: bytes) -> tuple[PIL.Image.Image, str]:
    """Decode a film's bytes to grey.

    Colour, palette and alpha become grey. 12 and 16 bits are scaled to 8, not cut off. An image in which zero is white is
    inverted. The EXIF orientation is applied. The content decides what the format is, not the file's ending.

    Args:
        content: bytes of the file.

    Returns:
        PIL image of mode L at the film's own size, and a warning about its grey levels, "" if there is none.

    Raises:
        UnreadableFilm: empty, truncated, no supported image, an animation or of an absurd size.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings(action="ignore"):
            return decode_sound_parts(content)
    except (UnreadableFilm, MemoryError):
        raise
    except UnidentifiedImageError:
        raise UnreadableFilm("not a supported image type" if content else "empty file") from None
    except Image.DecompressionBombError:
        raise UnreadableFilm(f"its header claims more than the {MAX_PIXELS} pixels allowed") from None
    except Exception as error:  # on damaged bytes Pillow raises nearly anything, TypeError and struct.error too
        raise UnreadableFilm(f"cannot be decoded: {str(error) or type(error).__name__}") from None


def decode_sound_parts(content: bytes) -> tuple[PIL.Image.Image, str]:
    """Decode a film's bytes; a PNG that fails is tried again without its texts, colour profile and the like."""
    if len(content) > MAX_BYTES:
        raise UnreadableFilm(f"longer than {MAX_BYTES} bytes, more than a film of {MAX_PIXELS} pixels needs")
    try:
        return decode_whole(content)
    except (UnreadableFilm, MemoryError):
        raise
    except Exception:  # Pillow refuses damaged and very long extras with nearly anything
        if not content.startswith(PNG_SIGNATURE):
            raise
        return decode_whole(without_extras(content))


def decode_whole(content: bytes) -> tuple[PIL.Image.Image, str]:
    """Return what `decode` returns; raise whatever Pillow raises."""
    from PIL import Image, TiffImagePlugin

    for (order, photometric, bits), modes in TIFF_LAYOUTS.items():
        TiffImagePlugin.OPEN_INFO.setdefault((order, photometric, (1,), 1, (bits,), ()), modes)
    image = Image.open(io.BytesIO(content), formats=FORMATS)
    reject_absurd(image)
    if image.format in ("JPEG", "MPO") and content.count(SCAN) > MAX_SCANS:
        raise UnreadableFilm(f"JPEG of {content.count(SCAN)} scans, where a film has some ten")
    if image.format == "JPEG":
        image.draft("L", None)
    image.load()
    return upright(to_grey(image, content), orientation_of(image)), darkness_of(image, content)


def reject_absurd(image: PIL.Image.Image) -> None:
    """Raise `UnreadableFilm` for animations and absurd sizes, before any pixel is decoded."""
    # An MPO file is a phone's JPEG with previews behind it; its first frame is the photograph. Frames are not counted, as that
    # takes seconds where there are thousands.
    if getattr(image, "is_animated", False) and image.format != "MPO":
        raise UnreadableFilm(f"{image.format} of several frames, an animation or a stack, not a film")
    if image.width * image.height > MAX_PIXELS:
        raise UnreadableFilm(f"its header claims more than the {MAX_PIXELS} pixels allowed")


def png_chunks(content: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield (kind, start, end) of each chunk in a PNG's bytes."""
    start = len(PNG_SIGNATURE)
    while start + 8 <= len(content):
        length, kind = struct.unpack_from(">I4s", content, start)
        yield kind, start, start + length + 12
        start += length + 12


def without_extras(content: bytes) -> bytes:
    """Return a PNG's bytes with its critical chunks, the undamaged ones of `PNG_CHUNKS_READ`, and no others."""

    def needed(kind: bytes, start: int, end: int) -> bool:
        sound = content[end - 4 : end] == struct.pack(">I", zlib.crc32(content[start + 4 : end - 4]))
        return kind[:1].isupper() or kind in PNG_CHUNKS_READ and sound

    return PNG_SIGNATURE + b"".join(content[start:end] for kind, start, end in png_chunks(content) if needed(kind, start, end))


def to_grey(image: PIL.Image.Image, content: bytes) -> PIL.Image.Image:
    """Return a decoded PIL image as mode L."""
    import numpy as np
    from PIL import Image

    if image.mode == "L":
        return image
    if image.mode.startswith("I"):
        values = np.asarray(image)
        if values.min() < 0 or values.max() > WHITE_16:
            raise UnreadableFilm("32-bit pixels outside 0..65535, without a stated range")
        white = full_scale(image, content, values)
        values = values.astype(np.uint32)
        if white_is_zero(image):
            values = white - values
        return Image.fromarray(((values * 255 + white // 2) // white).astype(np.uint8))
    if image.mode == "F":
        raise UnreadableFilm("floating-point pixels without a stated range")
    if image.mode == "LA":
        return image.getchannel("L")
    return image.convert("RGB").convert("L")


def white_is_zero(image: PIL.Image.Image) -> bool:
    """Tell whether an image is a TIFF in which zero is white; up to 8 bits, Pillow has inverted it already."""
    return image.format == "TIFF" and cast("TiffImageFile", image).tag_v2.get(PHOTOMETRIC_INTERPRETATION) == WHITE_IS_ZERO


def full_scale(image: PIL.Image.Image, content: bytes, values: np.ndarray) -> int:
    """Return the full-scale value, that of white, of an image whose samples are stored in 16 bits.

    A TIFF states how many bits a sample has (its MaxSampleValue is not meant for display). A PNG has the full scale of 16
    bits whatever its sBIT says, because writers must stretch the samples to it. Where the low bits are used and the high
    bits are not, the writer did not do so: then sBIT counts.

    Args:
        values: the image as an array.
    """
    if image.format == "TIFF":
        return min((1 << cast("TiffImageFile", image).tag_v2.get(BITS_PER_SAMPLE, (16,))[0]) - 1, WHITE_16)
    bits = next((content[start + 8] for kind, start, _ in png_chunks(content) if kind == b"sBIT"), 16)
    white = (1 << bits) - 1
    unstretched = 8 <= bits < 16 and values.max() <= white and (values & ((1 << 16 - bits) - 1)).any()
    return white if unstretched else WHITE_16


def darkness_of(image: PIL.Image.Image, content: bytes) -> str:
    """Return a warning about a film of 16 bits whose values need at most 12, "" for any other.

    Such a film is not rescaled, because one that is meant to be dark looks the same.
    """
    import numpy as np

    if image.mode.startswith("I"):
        values = np.asarray(image)
        suspected = values.max() <= WHITE_12 and full_scale(image, content, values) == WHITE_16
    else:  # of 16-bit colours Pillow keeps the high byte
        suspected = bits_of(image, content) == 16 and max(np.ravel(image.convert("RGB").getextrema())) <= WHITE_12 >> 8
    tone = "white" if suspected and white_is_zero(image) else "black"
    return (
        (
            f"16 bits a sample, but no value above {WHITE_12}, as if 12 bits were meant: it comes out nearly {tone}; "
            "scale it to 16 bits, or leave it out"
        )
        if suspected
        else ""
    )


def bits_of(image: PIL.Image.Image, content: bytes) -> int:
    """Return how many bits a sample of a TIFF or PNG has, 8 for other formats."""
    if image.format == "TIFF":
        return max(cast("TiffImageFile", image).tag_v2.get(BITS_PER_SAMPLE, (8,)))
    return content[PNG_DEPTH_AT] if image.format == "PNG" else 8


def orientation_of(image: PIL.Image.Image) -> int | None:
    """Return the EXIF orientation of a PIL image, None where there is none or the block is damaged."""
    try:
        return image.getexif().get(EXIF_ORIENTATION)
    except Exception:  # a damaged block raises nearly anything; the pixels are sound all the same
        return None


def upright(image: PIL.Image.Image, orientation: int | None) -> PIL.Image.Image:
    """Turn or mirror a PIL image as its EXIF orientation says."""
    from PIL import Image

    return image.transpose(Image.Transpose[TURNS[orientation]]) if orientation in TURNS else image


def fingerprint(image: PIL.Image.Image) -> str:
    """Return the SHA-256 of a grey image's size and pixels; equal for the same pixels in another file format."""
    digest = hashlib.sha256(f"{image.width}x{image.height}:".encode())
    digest.update(image.tobytes())
    return digest.hexdigest()


def resize(image: PIL.Image.Image, size: int) -> PIL.Image.Image:
    """Resize a grey image to `size` x `size` pixels.

    The aspect ratio is not kept, as in the paper. The Lanczos filter widens with the reduction, so there is no aliasing.

    Returns:
        PIL image of mode L.
    """
    from PIL import Image

    return image.resize((size, size), Image.Resampling.LANCZOS)
