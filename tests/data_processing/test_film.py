"""Every file format of the wild becomes the right grey levels, or a fitting reason for leaving it out."""

import errno
import io
import resource
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image, PngImagePlugin

from data_processing import film
from data_processing.film import EXIF_ORIENTATION, MAX_PIXELS, UnreadableFilm, decode, fingerprint, read_pixels, resize
from nosign.errors import UserError

BAD = {
    "bad-animated-gif.png": "GIF of several frames",
    "bad-bomb-60000x60000.png": f"more than the {MAX_PIXELS} pixels",
    "bad-empty.png": "empty file",
    "bad-text.jpg": "not a supported image type",
    "bad-truncated.jpg": "truncated",
    "1.2.276.0.7230010.3.1.4.8323329.6904.1517875201.850819.dcm": "not a supported image type",
}


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


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_tiff_with_white_as_zero_is_inverted_once(tmp_path, order, compression, dtype):
    white = np.iinfo(dtype).max
    values = np.linspace(0, white, 323).astype(dtype).reshape(17, 19)
    tifffile.imwrite(tmp_path / "film.tif", values, photometric="miniswhite", byteorder=order, compression=compression)
    expected = np.round((white - values.astype(float)) / (white / 255))
    assert np.array_equal(grey_of(tmp_path / "film.tif"), expected)


def test_bilevel_tiff_with_white_as_zero_is_inverted_once(tmp_path):
    white = np.eye(9, dtype=bool)
    for compression in (None, "group4"):
        path = saved(tmp_path / "film.tif", Image.fromarray(~white), compression=compression, tiffinfo={262: 0})
        with tifffile.TiffFile(path) as file:
            stored = file.pages[0].photometric.name
        assert stored == "MINISWHITE"
        # Pillow's writer inverts as its reader does, so what it is told to write is what is to be shown.
        assert np.array_equal(grey_of(path), ~white * 255)


def tiff_of_12_bits(values, order, photometric):
    """Return the bytes of an uncompressed grey TIFF of 12 bits a sample; each row begins at a whole byte."""
    height, width = values.shape
    bits = (values[..., None] >> np.arange(11, -1, -1)) & 1
    packed = np.packbits(bits.reshape(height, -1).astype(np.uint8), axis=1).tobytes()
    tags = {256: width, 257: height, 258: 12, 259: 1, 262: photometric, 273: 8, 277: 1, 278: height, 279: len(packed)}
    directory = b"".join(struct.pack(order + "HHII", tag, 4, 1, value) for tag, value in tags.items())
    return (
        struct.pack(order + "2sHI", b"II" if order == "<" else b"MM", 42, 8 + len(packed))
        + packed
        + struct.pack(order + "H", len(tags))
        + directory
        + bytes(4)
    )


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("width", [20, 21])
def test_12_bit_tiff_is_divided_by_4095(order, width):
    values = np.linspace(0, 4095, 20 * width).astype(np.uint16).reshape(20, width)
    for photometric, expected in ((1, values), (0, 4095 - values)):
        image, warning = decode(tiff_of_12_bits(values, order, photometric))
        assert np.array_equal(np.asarray(image), np.round(expected * 255.0 / 4095)) and warning == ""


def png_of(values, *chunks, before=b"IDAT"):
    """Return the bytes of a PNG with more chunks (kind, content) before the first one of a kind."""
    file = io.BytesIO()
    Image.fromarray(values).save(file, "PNG")
    content = file.getvalue()
    place = content.index(before) - 4
    more = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    return content[:place] + more + content[place:]


@pytest.mark.parametrize("highest, warned", [(4095, True), (4096, False), (65535, False), (200, True)])
def test_16_bit_film_that_fills_12_bits_is_warned_of_and_not_scaled(highest, warned):
    values = np.linspace(0, highest, 400).astype(np.uint16).reshape(20, 20)
    tiff, inverted = io.BytesIO(), io.BytesIO()
    tifffile.imwrite(tiff, values)
    tifffile.imwrite(inverted, values, photometric="miniswhite")
    for content, tone in ((png_of(values), "black"), (tiff.getvalue(), "black"), (inverted.getvalue(), "white")):
        image, warning = decode(content)
        expected = np.round((65535 - values.astype(float) if tone == "white" else values) / 257)
        assert np.array_equal(np.asarray(image), expected)
        assert (f"no value above 4095, as if 12 bits were meant: it comes out nearly {tone}" in warning) == warned
    assert decode(png_of(values.astype(np.uint8)))[1] == ""


@pytest.mark.parametrize("highest, warned", [(4095, True), (4096, False)])
def test_16_bit_colours_that_fill_12_bits_are_warned_of(tmp_path, highest, warned):
    values = np.full((5, 6, 3), highest, np.uint16)
    tifffile.imwrite(tmp_path / "film.tif", values, photometric="rgb")
    header = struct.pack(">IIBBBBB", 6, 5, 16, 2, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    png = film.PNG_SIGNATURE + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    )
    for content in ((tmp_path / "film.tif").read_bytes(), png):
        assert bool(decode(content)[1]) == warned


def test_png_that_says_12_bits_is_scaled_by_what_it_holds():
    """PNG has writers stretch 12 bits to 16, by repeating the high bits below; sBIT then says what they were."""
    values = np.linspace(0, 4095, 400).astype(np.uint16).reshape(20, 20)
    expected = np.round(values * 255.0 / 4095)
    for stored in (values, values << 4 | values >> 8):
        image, warning = decode(png_of(stored, (b"sBIT", b"\x0c")))
        assert np.array_equal(np.asarray(image), expected) and warning == ""
    dark = (values // 16) << 4
    image, warning = decode(png_of(dark, (b"sBIT", b"\x0c")))
    assert np.array_equal(np.asarray(image), np.round(dark / 257)) and "nearly black" in warning


LONG = zlib.compress(bytes(5_000_000))


@pytest.mark.parametrize("before", [b"IDAT", b"IEND"])
@pytest.mark.parametrize(
    "kind, data",
    [
        (b"zTXt", b"Comment\0\0" + LONG),
        (b"iTXt", b"Comment\0\1\0\0\0" + LONG),
        (b"tEXt", b"Comment\0" + b"a" * 70_000_000),
        (b"iCCP", b"profile\0\0" + LONG),
        (b"iCCP", b"profile\0\0no zlib"),
        (b"iCCP", b"profile\0\7" + LONG),
        (b"iCCP", b""),
        (b"gAMA", b""),
        (b"cHRM", b"\0"),
        (b"pHYs", b""),
        (b"tRNS", b""),
        (b"sRGB", b""),
        (b"eXIf", b"no exif"),
        (b"sBIT", b""),
    ],
    ids=lambda value: value[:12],
)
def test_long_or_broken_extras_of_a_png_do_not_cost_the_film(rng, kind, data, before):
    grey = rng.integers(0, 256, (9, 7), dtype=np.uint8)
    assert np.array_equal(np.asarray(decode(png_of(grey, (kind, data), before=before))[0]), grey)


def test_png_with_a_long_text_is_turned_and_its_animation_refused(rng):
    grey, exif = rng.integers(0, 256, (9, 7), dtype=np.uint8), Image.Exif()
    exif[EXIF_ORIENTATION] = 6
    text = b"zTXt", b"Comment\0\0" + LONG
    turned = png_of(grey, text, (b"eXIf", exif.tobytes()[6:]))
    assert np.array_equal(np.asarray(decode(turned)[0]), np.rot90(grey, -1))
    with pytest.raises(UnreadableFilm, match="PNG of several frames"):
        decode(png_of(grey, text, (b"acTL", struct.pack(">II", 3, 0))))


def test_wrong_check_sum_costs_the_extra_and_not_the_film(rng):
    grey, exif = rng.integers(0, 256, (9, 7), dtype=np.uint8), Image.Exif()
    exif[EXIF_ORIENTATION] = 6
    content = bytearray(png_of(grey, (b"eXIf", exif.tobytes()[6:])))
    assert np.array_equal(np.asarray(decode(bytes(content))[0]), np.rot90(grey, -1))
    content[content.index(b"IDAT") - 5] ^= 1  # the last byte of the block's sum
    assert np.array_equal(np.asarray(decode(bytes(content))[0]), grey)


def test_png_with_a_long_text_and_damaged_or_absurd_pixels_is_refused(rng):
    grey = rng.integers(0, 256, (90, 70), dtype=np.uint8)
    content = png_of(grey, (b"zTXt", b"Comment\0\0" + LONG))
    cut = content[: content.index(b"IDAT") + 100]
    with pytest.raises(UnreadableFilm, match="truncated"):
        decode(cut)
    header = struct.pack(">II", 60_000, 60_000)
    bomb = content[:16] + header + content[24:29] + struct.pack(">I", zlib.crc32(content[12:16] + header + content[24:29]))
    with pytest.raises(UnreadableFilm, match=f"more than the {MAX_PIXELS} pixels"):
        decode(bomb + content[33:])
    assert PngImagePlugin.MAX_TEXT_CHUNK == 1 << 20  # Pillow's guard stands for whoever else uses it


@pytest.mark.parametrize(
    "error, remedy",
    [
        (OSError(errno.EIO, "Input/output error"), "check the disk"),
        (PermissionError(errno.EACCES, "Permission denied"), "permission"),
        (OSError(errno.EMFILE, "Too many open files"), "ulimit -n"),
        (MemoryError(), "fewer --workers"),
    ],
)
def test_film_that_the_system_does_not_give_stops_with_its_name_and_the_remedy(tmp_path, monkeypatch, error, remedy):
    path = saved(tmp_path / "film.png", smooth(9, 7)[..., 0])

    def fails(*_, **__):
        raise error

    monkeypatch.setattr(film, "open", fails, raising=False)
    with pytest.raises(UserError, match=f"^{path}: not to be read now .*{remedy}.*, then run again$"):
        read_pixels(path)


def test_want_of_memory_while_decoding_is_no_fault_of_the_film(tmp_path, monkeypatch):
    path = saved(tmp_path / "film.png", smooth(9, 7)[..., 0])

    def fails(*_, **__):
        raise MemoryError

    monkeypatch.setattr(film, "to_grey", fails)
    with pytest.raises(MemoryError):
        decode(path.read_bytes())


def test_longer_file_than_any_film_is_refused_after_one_byte_too_many(tmp_path, monkeypatch):
    monkeypatch.setattr(film, "MAX_BYTES", 1000)
    path = saved(tmp_path / "film.bmp", np.zeros((40, 40), np.uint8))
    assert len(film.read_bytes(path)) == 1001 < path.stat().st_size
    with pytest.raises(UnreadableFilm, match="longer than 1000 bytes"):
        read_pixels(path)


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
@pytest.mark.parametrize(
    "orientation, expected",
    [
        (1, lambda a: a),
        (2, np.fliplr),
        (3, lambda a: np.rot90(a, 2)),
        (4, np.flipud),
        (5, np.transpose),
        (6, lambda a: np.rot90(a, -1)),
        (7, lambda a: np.rot90(a, 2).T),
        (8, np.rot90),
    ],
)
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
        (tmp_path / "film.jpg").write_bytes(good[:start] + b"\xff" * length + good[start + length :])
        assert np.array_equal(grey_of(tmp_path / "film.jpg"), plain)


def test_content_decides_and_not_the_ending(tmp_path, rng):
    grey = rng.integers(0, 256, (9, 7), dtype=np.uint8)
    assert np.array_equal(grey_of(saved(tmp_path / "film.jpeg", grey, format="PNG")), grey)


@pytest.mark.parametrize("format", ["GIF", "PNG", "WEBP", "TIFF"])
def test_several_frames_are_no_film(tmp_path, format):
    frames = [Image.fromarray(smooth(20, 20)[..., channel]) for channel in range(3)]
    frames[0].save(tmp_path / "film.png", format, save_all=True, append_images=frames[1:])
    with pytest.raises(UnreadableFilm, match=f"{format} of several frames"):
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
    content[16:24] = struct.pack(">II", 7_500, 7_500)  # 56 million pixels: below Pillow's own limit, above ours
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
            (tmp_path / "damaged").write_bytes(content[: rng.integers(10, len(whole) * 2)])
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
    prints = {
        fingerprint(read_pixels(saved(tmp_path / name, array)))
        for name, array in (("a.png", grey), ("b.bmp", grey), ("c.png", np.dstack([grey] * 3)))
    }
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
