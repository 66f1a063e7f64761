"""Every file format of the wild becomes the right grey levels, or a fitting reason for leaving it out."""

import io
import resource
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from PIL import Image

from data_processing.film import EXIF_ORIENTATION, MAX_PIXELS, UnreadableFilm, fingerprint, read_pixels, resize

BAD = {"bad-animated-gif.png": "GIF of 3 frames", "bad-bomb-60000x60000.png": f"more than the {MAX_PIXELS} pixels",
       "bad-empty.png": "empty file", "bad-text.jpg": "not a supported image type", "bad-truncated.jpg": "truncated",
       "1.2.276.0.7230010.3.1.4.8323329.6904.1517875201.850819.dcm": "not a supported image type"}


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def grey_of(path):
    return np.asarray(read_pixels(path))


def saved(path, array_or_image, **options):
    image = array_or_image if isinstance(array_or_image, Image.Image) else Image.fromarray(array_or_image)
    image.save(path, **options)
    return path


def smooth(height, width):
    """Return a colour picture without edges, so that JPEG changes it little."""
    y, x = np.mgrid[:height, :width]
    return np.stack([255 * x / width, 255 * y / height, 128 + 60 * np.sin(x / 9)], axis=-1).astype(np.uint8)


def test_odd_files_are_read_or_refused_as_their_readme_says(xray):
    files = [path for path in (xray / "odd_files").iterdir() if path.name not in ("README.md", "manifest.csv")]
    refused = {}
    for path in files:
        try:
            image = read_pixels(path)
            levels = np.asarray(image)
            assert image.mode == "L" and 20 < levels.mean() < 235 and levels.std() > 20, path.name
        except UnreadableFilm as error:
            refused[path.name] = str(error)
    assert len(files) == 40 and set(refused) == set(BAD)
    assert {name: reason for name, reason in refused.items() if BAD[name] not in reason} == {}


def test_odd_files_have_the_grey_levels_of_a_floating_point_conversion(xray):
    for path in (xray / "odd_files").iterdir():
        if path.name in BAD or path.suffix in (".md", ".csv"):
            continue
        with Image.open(path) as image:
            array = np.asarray(image.convert("RGB") if image.mode in ("P", "RGBA", "RGB") else image, dtype=np.float64)
        array = array / 257 if array.max() > 255 else array
        expected = array @ (0.299, 0.587, 0.114) if array.ndim == 3 else array
        difference = np.abs(grey_of(path) - expected)
        # Colours outside RGB's range, at the edges of coloured arrows, are cut off there and not in the luminance.
        assert difference.mean() < 0.6 and (difference >= 2).mean() < 1e-3, path.name


def test_16_bit_png_is_divided_by_257_and_not_cut_off(tmp_path):
    values = np.linspace(0, 65535, 400).astype(np.uint16).reshape(20, 20)
    expected = np.round(values / 257)
    assert np.array_equal(grey_of(saved(tmp_path / "film.png", values)), expected)
    big_endian = Image.frombytes("I;16B", (20, 20), values.astype(">u2").tobytes())
    assert np.array_equal(grey_of(saved(tmp_path / "film.tif", big_endian)), expected)


def test_palette_indices_are_looked_up(tmp_path, rng):
    indices = rng.integers(0, 256, (9, 7), dtype=np.uint8)
    image = Image.fromarray(indices).convert("P")
    image.putpalette([level for index in range(256) for level in [255 - index] * 3])
    assert np.array_equal(grey_of(saved(tmp_path / "film.png", image)), 255 - indices)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "L"])
def test_equal_channels_give_their_own_grey_level_and_alpha_is_dropped(tmp_path, rng, mode):
    grey = rng.integers(0, 256, (9, 7), dtype=np.uint8)
    image = Image.fromarray(grey).convert(mode)
    if mode.endswith("A"):
        image.putalpha(Image.fromarray(rng.integers(1, 256, grey.shape, dtype=np.uint8)))
    assert np.array_equal(grey_of(saved(tmp_path / "film.png", image)), grey)


def test_bilevel_film_is_black_and_white(tmp_path):
    image = Image.fromarray(np.eye(8, dtype=bool))
    assert np.array_equal(grey_of(saved(tmp_path / "film.png", image)), np.eye(8) * 255)


@pytest.mark.parametrize("progressive", [False, True])
def test_colour_jpeg_has_the_luminance_of_its_decoded_colours(tmp_path, progressive):
    path = saved(tmp_path / "film.jpg", smooth(90, 70), quality=95, subsampling=0, progressive=progressive)
    with Image.open(path) as image:
        expected = np.asarray(image, dtype=np.float64) @ (0.299, 0.587, 0.114)
    assert np.abs(grey_of(path) - expected).max() < 2


def test_rgb_jpeg_of_equal_channels_is_the_grey_jpeg(tmp_path):
    grey = smooth(90, 70)[..., 2]
    plain = grey_of(saved(tmp_path / "grey.jpg", grey, quality=90))
    colour = grey_of(saved(tmp_path / "rgb.jpg", np.dstack([grey] * 3), quality=90))
    assert np.array_equal(plain, colour)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation, expected", [
    (1, lambda a: a), (2, np.fliplr), (3, lambda a: np.rot90(a, 2)), (4, np.flipud), (5, np.transpose),
    (6, lambda a: np.rot90(a, -1)), (7, lambda a: np.rot90(a, 2).T), (8, np.rot90)])
def test_exif_orientation_is_honoured(tmp_path, format, orientation, expected):
    picture = smooth(24, 16)[..., 0] // 2 + smooth(24, 16)[..., 1] // 2
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = orientation
    turned = grey_of(saved(tmp_path / "film", picture, format=format, exif=exif))
    plain = grey_of(saved(tmp_path / "plain", picture, format=format))
    assert np.array_equal(turned, expected(plain))


def test_damaged_exif_block_does_not_cost_the_film(tmp_path):
    picture, exif = smooth(16, 16)[..., 0], Image.Exif()
    exif[EXIF_ORIENTATION] = 6
    good = saved(tmp_path / "film.jpg", picture, exif=exif).read_bytes()
    start = good.index(b"Exif\0\0") + 6
    plain = grey_of(saved(tmp_path / "plain.jpg", picture))
    for length in (1, 4, 8, 10):
        (tmp_path / "film.jpg").write_bytes(good[:start] + b"\xff" * length + good[start + length:])
        assert np.array_equal(grey_of(tmp_path / "film.jpg"), plain)


def test_content_decides_and_not_the_ending(tmp_path, rng):
    grey = rng.integers(0, 256, (9, 7), dtype=np.uint8)
    assert np.array_equal(grey_of(saved(tmp_path / "film.jpeg", grey, format="PNG")), grey)


@pytest.mark.parametrize("format", ["GIF", "PNG", "WEBP", "TIFF"])
def test_several_frames_are_no_film(tmp_path, format):
    frames = [Image.fromarray(smooth(20, 20)[..., channel]) for channel in range(3)]
    frames[0].save(tmp_path / "film.png", format, save_all=True, append_images=frames[1:])
    with pytest.raises(UnreadableFilm, match=f"{format} of 3 frames"):
        read_pixels(tmp_path / "film.png")


def test_phone_jpeg_with_a_preview_behind_it_gives_the_photograph(tmp_path):
    picture, preview = Image.fromarray(smooth(40, 40)), Image.fromarray(smooth(10, 10))
    picture.save(tmp_path / "film.jpg", "MPO", save_all=True, append_images=[preview])
    picture.save(tmp_path / "plain.jpg", "JPEG")
    difference = grey_of(tmp_path / "film.jpg").astype(int) - grey_of(tmp_path / "plain.jpg")
    assert np.abs(difference).max() <= 2


def test_header_of_a_bomb_is_refused_before_memory_is_taken(tmp_path):
    huge = io.BytesIO()
    Image.new("1", (8, 8)).save(huge, "PNG")
    content = bytearray(huge.getvalue())
    content[16:24] = struct.pack(">II", 13_000, 13_000)  # 169 million pixels: below Pillow's own limit, above ours
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    (tmp_path / "bomb.png").write_bytes(content)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UnreadableFilm, match=f"more than the {MAX_PIXELS} pixels"):
        read_pixels(tmp_path / "bomb.png")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 10_000


def test_damaged_bytes_give_a_film_or_a_reason_and_no_other_exception(tmp_path, rng):
    picture = Image.fromarray(rng.integers(0, 256, (24, 20), dtype=np.uint8))
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = 6
    read = 0
    for format in ("JPEG", "PNG", "TIFF", "GIF", "WEBP", "BMP"):
        whole = saved(tmp_path / "film", picture, format=format, **({} if format in ("GIF", "BMP") else {"exif": exif}))
        whole = whole.read_bytes()
        for _ in range(60):
            content = bytearray(whole)
            for place in rng.integers(0, min(len(whole), 200), 2):
                content[place] = rng.integers(256)
            (tmp_path / "damaged").write_bytes(content[:rng.integers(10, len(whole) * 2)])
            try:
                read += read_pixels(tmp_path / "damaged").mode == "L"
            except UnreadableFilm as error:
                assert str(error) and str(tmp_path) not in str(error)
    assert 20 < read < 340


def test_floating_point_and_wide_integers_are_refused(tmp_path):
    for values in (np.ones((4, 4), np.float32), np.full((4, 4), 70_000, np.int32)):
        with pytest.raises(UnreadableFilm, match="without a stated range"):
            read_pixels(saved(tmp_path / "film.tif", values))


def test_equal_pixels_in_another_format_have_the_same_fingerprint(tmp_path, rng):
    grey = rng.integers(0, 256, (6, 10), dtype=np.uint8)
    prints = {fingerprint(read_pixels(saved(tmp_path / name, array)))
              for name, array in (("a.png", grey), ("b.bmp", grey), ("c.png", np.dstack([grey] * 3)))}
    assert len(prints) == 1
    assert fingerprint(Image.fromarray(grey.reshape(10, 6))) not in prints


def test_resize_keeps_the_mean_and_leaves_no_aliases():
    stripes = np.tile(np.array([0, 255], np.uint8), (448, 224))
    resized = np.asarray(resize(Image.fromarray(stripes), 56))
    assert resized.shape == (56, 56) and resized.dtype == np.uint8
    assert np.abs(resized[:, 4:-4].astype(float) - 127.5).max() < 2
    flat = np.asarray(resize(Image.fromarray(np.full((30, 70), 93, np.uint8)), 224))
    assert np.all(flat == 93)


def test_importing_the_reader_is_light():
    code = "import sys, data_processing.film; print({'PIL', 'numpy', 'keras'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"
