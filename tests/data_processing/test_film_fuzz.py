"""Damaged and hostile films: a film or a reason, in five seconds and a gigabyte, and never the end of the process."""

import io
import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_processing.film import MAX_PIXELS, MAX_SCANS, UnreadableFilm, decode

FAILED = sorted((Path(__file__).parent / "failed").iterdir())
INPUTS = int(os.environ.get("NOSIGN_FUZZ", 2000))
SIDE = int(MAX_PIXELS**0.5)
# The largest film that is allowed, of one grey level so that it takes few bytes: (array or mode, format, options).
LARGEST = {
    "16-bit PNG": (np.uint16, "PNG", {"compress_level": 1}),
    "16-bit TIFF": (np.uint16, "TIFF", {"compression": "tiff_deflate"}),
    "grey PNG": ("L", "PNG", {"compress_level": 1}),
    "PNG with a palette": ("P", "PNG", {"compress_level": 1}),
    "PNG with alpha": ("RGBA", "PNG", {"compress_level": 1}),
    "JPEG in CMYK": ("CMYK", "JPEG", {}),
    "progressive JPEG": ("RGB", "JPEG", {"progressive": True}),
    "GIF": ("L", "GIF", {}),
    "WebP": ("RGBA", "WEBP", {"lossless": True}),
}
ONE = """
import sys
from fuzz import BYTES, decode, judged, limit_memory
counts = {"films": 0, "reasons": 0, "longest": 0.0}
content = open(sys.argv[1], "rb").read()
limit_memory()
judged(content, counts)
print(counts)
"""


def limited(root, *words):
    """Run Python with the tests' modules; return what it did."""
    environment = {**os.environ, "PYTHONPATH": f"{root}{os.pathsep}{root / 'tests/helpers'}"}
    return subprocess.run([sys.executable, *map(str, words)], env=environment, capture_output=True, text=True, errors="replace")


def test_damaged_films_give_a_film_or_a_reason(root, tmp_path):
    done = limited(root, root / "tests/helpers/fuzz.py", INPUTS, 0, tmp_path)
    kept = tmp_path / "input"
    assert done.returncode == 0, f"exit {done.returncode} at {kept}: {done.stderr[-2000:]}"
    print(done.stdout)
    assert done.stdout.startswith(f"{INPUTS} inputs") and int(done.stdout.split()[2]) > INPUTS / 20


@pytest.mark.parametrize("kind", LARGEST)
def test_largest_allowed_film_is_decoded_in_a_gigabyte_and_five_seconds(root, tmp_path, kind):
    mode, format_, options = LARGEST[kind]
    side = min(SIDE, 16383) if format_ == "WEBP" else SIDE
    image = Image.new(mode, (side, side)) if isinstance(mode, str) else Image.fromarray(np.zeros((side, side), mode))
    image.save(tmp_path / "film", format_, **options)
    assert (tmp_path / "film").stat().st_size < 3_000_000
    done = limited(root, "-c", ONE, tmp_path / "film")
    assert (done.returncode, done.stdout[:12]) == (0, "{'films': 1,"), done.stderr[-500:]


def test_progressive_jpeg_of_a_thousand_scans_is_refused_before_it_is_decoded():
    content = io.BytesIO()
    Image.new("L", (200, 200)).save(content, "JPEG", progressive=True)
    whole = content.getvalue()
    last = whole.rindex(b"\xff\xda")
    decode(whole)
    with pytest.raises(UnreadableFilm, match="JPEG of 1006 scans"):
        decode(whole[:last] + whole[last:-2] * 1001 + whole[-2:])
    assert whole.count(b"\xff\xda") == 6 < MAX_SCANS


def test_tiff_of_thousands_of_frames_is_refused_without_counting_them():
    content = io.BytesIO()
    Image.new("L", (8, 8)).save(content, "TIFF")
    whole = bytearray(content.getvalue())
    first = struct.unpack_from("<I", whole, 4)[0]
    end = first + 2 + 12 * struct.unpack_from("<H", whole, first)[0]
    directory, start, frames = bytes(whole[first:end]), len(whole), 50_000
    struct.pack_into("<I", whole, end, start)
    step = len(directory) + 4
    for frame in range(frames):
        whole += directory + struct.pack("<I", start + (frame + 1) * step if frame + 1 < frames else 0)
    with pytest.raises(UnreadableFilm, match="TIFF of several frames"):
        decode(bytes(whole))


@pytest.mark.parametrize("path", FAILED, ids=[path.name for path in FAILED])
def test_inputs_that_ever_failed_give_a_film_or_a_reason(root, path):
    done = limited(root, "-c", ONE, path)
    assert done.returncode == 0, done.stderr[-500:]
