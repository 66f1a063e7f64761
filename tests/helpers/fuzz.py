"""Feeds damaged films to the reader: python tests/helpers/fuzz.py INPUTS SEED FOLDER

Films of every format are damaged where it hurts (headers, lengths, check sums made right again) and decoded under the limits
that hold for any film: five seconds, one gigabyte, a film or a reason. FOLDER/input holds the input that is being decoded, so
that it is there when the process is killed. Prints how many inputs gave a film, how many a reason, the longest time and the
largest memory.
"""

import io
import random
import resource
import signal
import struct
import sys
import time
import zlib
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from PIL import Image

from data_processing.film import PNG_SIGNATURE, UnreadableFilm, decode, png_chunks

SECONDS, BYTES = 5, 1 << 30
# What readers get wrong: nothing, one, the largest of a size, the smallest below zero, sizes near the largest allowed film.
TELLING = (0, 1, 2, 255, 256, 0x7FFF, 0xFFFF, 12_000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def films():
    """Return small films of every format that is read: list of (what it is, bytes)."""
    rng = np.random.default_rng(0)
    grey = Image.fromarray(rng.integers(0, 256, (24, 40), dtype=np.uint8))
    deep = Image.fromarray(rng.integers(0, 1 << 16, (24, 40), dtype=np.uint16))
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010F] = "maker"
    made = []

    def add(image, format_, **options):
        content = io.BytesIO()
        image.save(content, format_, **options)
        made.append((f"{format_} {image.mode} {' '.join(options)}", content.getvalue()))

    for mode in ("1", "L", "LA", "P", "RGB", "RGBA"):
        add(grey.convert(mode), "PNG", exif=exif)
    add(deep, "PNG")
    for mode in ("L", "RGB", "CMYK"):
        add(grey.convert(mode), "JPEG", exif=exif)
        add(grey.convert(mode), "JPEG", progressive=True, restart_marker_blocks=2)
    for compression in ("raw", "tiff_lzw", "tiff_deflate", "packbits", "jpeg"):
        add(grey, "TIFF", compression=compression)
        add(grey.convert("RGB"), "TIFF", compression=compression)
    for compression in ("group3", "group4", "tiff_ccitt"):
        add(grey.convert("1"), "TIFF", compression=compression)
    add(deep, "TIFF")
    for mode in ("1", "L", "P", "RGB", "RGBA"):
        add(grey.convert(mode), "BMP")
    for mode in ("L", "P"):
        add(grey.convert(mode), "GIF", transparency=3)
    for mode, lossless in (("RGB", False), ("RGBA", False), ("RGBA", True)):
        add(grey.convert(mode), "WEBP", lossless=lossless, exif=exif)
    add(grey, "GIF", save_all=True, append_images=[grey.rotate(180)])
    add(grey.convert("RGB"), "WEBP", save_all=True, append_images=[grey.rotate(180).convert("RGB")])
    return made


FILMS = films()


def with_sound_check_sums(content):
    """Return a PNG's bytes with check sums that fit its chunks, so that what was changed is read."""
    if not content.startswith(PNG_SIGNATURE):
        return content
    out = bytearray(content)
    for _, start, end in png_chunks(content):
        if end <= len(out):
            out[end - 4 : end] = struct.pack(">I", zlib.crc32(out[start + 4 : end - 4]))
    return bytes(out)


@st.composite
def damaged(draw):
    """Draw a film's bytes with some damage."""
    content = draw(st.sampled_from(FILMS))[1]
    for _ in range(draw(st.integers(1, 6))):
        size = len(content)
        at = draw(st.one_of(st.integers(0, min(size, 80)), st.integers(0, size)))
        kind = draw(st.sampled_from(("number", "byte", "cut", "remove", "repeat", "insert", "splice")))
        if kind == "number":
            packed = struct.pack(draw(st.sampled_from("<>")) + "I", draw(st.sampled_from(TELLING)))
            width = draw(st.sampled_from((1, 2, 4)))
            part = packed[:width] if draw(st.booleans()) else packed[-width:]
            content = content[:at] + part + content[at + width :]
        elif kind == "byte":
            content = content[:at] + bytes([draw(st.integers(0, 255))]) + content[at + 1 :]
        elif kind == "cut":
            content = content[:at]
        elif kind == "insert":
            content = content[:at] + draw(st.binary(max_size=12)) + content[at:]
        elif kind == "splice":
            other = draw(st.sampled_from(FILMS))[1]
            content = content[:at] + other[min(at, len(other)) :]
        else:
            end = at + draw(st.integers(1, 200))
            content = content[:at] + content[at:end] * (2 if kind == "repeat" else 0) + content[end:]
    return with_sound_check_sums(content) if draw(st.booleans()) else content


def limit_memory():
    """Let the process have so much memory beyond what it has."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + BYTES,) * 2)


def judged(content, counts):
    """Decode one input; count what comes of it. Anything but a film or a reason is an error."""
    begun = time.process_time()
    # Of computing: the machine may be busy. Ends the process, even while Pillow is in its own code.
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        image, warning = decode(content)
        assert image.mode == "L" and min(image.size) >= 1 and isinstance(warning, str)
        counts["films"] += 1
    except UnreadableFilm as reason:
        assert str(reason) and "\n" not in str(reason)[:80]
        counts["reasons"] += 1
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        counts["longest"] = max(counts["longest"], time.process_time() - begun)


def main(inputs, number, folder):
    """Decode so many inputs; return 0 where all gave a film or a reason."""
    counts = {"films": 0, "reasons": 0, "longest": 0.0}
    place = Path(folder) / "input"

    @seed(number)
    @settings(
        max_examples=inputs, deadline=None, database=None, suppress_health_check=list(HealthCheck), phases=(Phase.generate,)
    )
    @given(damaged())
    def one(content):
        place.write_bytes(content)
        judged(content, counts)

    decode(FILMS[0][1])
    random.seed(number)
    limit_memory()
    one()
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{counts['films'] + counts['reasons']} inputs: {counts['films']} films, {counts['reasons']} reasons; longest "
        f"{counts['longest']:.2f} s, most memory {memory:.0f} MB"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]))
