"""Prepared films come back as they were written, split by split, and damaged folders are one line."""

import csv

import numpy as np
import pytest

from nosign.dataset import (
    CLASSES,
    FORMER_INDEX_COLUMNS,
    IMAGES,
    INDEX,
    INDEX_COLUMNS,
    SPLITS,
    open_split,
    read_index,
    running_numbers,
)
from nosign.errors import UserError

FILMS = 12


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (FILMS, 5, 5, 3), dtype=np.uint8)


@pytest.fixture
def data(tmp_path, images):
    """Folder with films 0, 3, 6, 9 for training, 1, 4, ... for validation, 2, 5, ... for the test.

    Two films in a row show one patient, except that those of the last four are not known.
    """
    np.save(tmp_path / IMAGES, images)
    patients = [f"p{row // 2}" if row < 8 else "" for row in range(FILMS)]
    write_index(
        tmp_path,
        [
            [
                row,
                SPLITS[row % 3],
                row // 4,
                CLASSES[row // 4],
                f"collection{row % 2}",
                patient,
                patient or f"file{row}",
                f"file{row}",
                "0",
            ]
            for row, patient in enumerate(patients)
        ],
    )
    return tmp_path


def rows_of(folder):
    """Return the rows of an index, as lists."""
    return [list(row) for row in zip(*read_index(folder).values())]


def write_index(folder, rows, columns=INDEX_COLUMNS):
    with open(folder / INDEX, "w", newline="") as file:
        csv.writer(file).writerows([columns, *rows])


@pytest.mark.parametrize("start, split", enumerate(SPLITS))
def test_split_holds_its_films_in_order(data, images, start, split):
    films = open_split(data, split)
    assert len(films) == 4 and films.size == 5
    assert np.array_equal(films.rows, np.arange(start, FILMS, 3))
    assert np.array_equal(films.labels, np.arange(start, FILMS, 3) // 4)
    assert films.files == [f"file{row}" for row in range(start, FILMS, 3)]
    assert films.collections == [f"collection{row % 2}" for row in range(start, FILMS, 3)]
    assert np.array_equal(films.pixels(), images[start::3].astype(np.float32) / np.float32(255))


@pytest.mark.parametrize(
    "split, patients, groups",
    [
        ("train", [0, 1, 3, -1], [0, 1, 3, 5]),
        ("validation", [0, 2, 3, -1], [0, 2, 3, 6]),
        ("test", [1, 2, -1, -1], [1, 2, 4, 7]),
    ],
)
def test_patients_and_groups_are_numbered_over_the_films_of_all_splits(data, split, patients, groups):
    films = open_split(data, split)
    assert films.patients.tolist() == patients and films.groups.tolist() == groups
    assert films.patients.dtype == films.groups.dtype == np.int64


def test_running_numbers_follow_first_appearance():
    assert running_numbers(["b", "", "a", "b", "", "c"]).tolist() == [0, -1, 1, 0, -1, 2]
    assert running_numbers(["", ""]).tolist() == [-1, -1]


def test_folder_prepared_earlier_opens_with_the_patient_as_the_group(data):
    write_index(
        data,
        [
            [row, SPLITS[row % 3], row // 4, CLASSES[row // 4], f"source{row}", f"p{row // 2}", f"file{row}", "0"]
            for row in range(FILMS)
        ],
        FORMER_INDEX_COLUMNS,
    )
    assert tuple(read_index(data)) == INDEX_COLUMNS
    films = open_split(data, "train")
    assert films.collections == ["source0", "source3", "source6", "source9"] and films.files[1] == "file3"
    assert films.patients.tolist() == films.groups.tolist() == [0, 1, 3, 4]


def test_pixels_are_float32_in_0_to_1_and_round_back_to_8_bits(data, images):
    images[0, 0, 0] = 0, 128, 255
    np.save(data / IMAGES, images)
    pixels = open_split(data, "train").pixels()
    assert pixels.dtype == np.float32 and pixels.min() == 0 and pixels.max() == 1
    assert np.array_equal(np.rint(pixels * 255).astype(np.uint8), images[::3])


@pytest.mark.parametrize("positions", [slice(1, 3), np.array([3, 0]), np.array([], dtype=int)])
def test_some_films_are_those_of_all_films(data, positions):
    films = open_split(data, "test")
    assert np.array_equal(films.pixels(positions), films.pixels()[positions])


def test_images_stay_on_disk(data):
    assert isinstance(open_split(data, "train").images, np.memmap)
    assert not open_split(data, "train").images.flags.writeable


@pytest.mark.parametrize("films, left", [(0, 0), (2, 2), (9, 4), (None, 4)])
def test_head_is_the_first_films(data, films, left):
    whole = open_split(data, "train")
    head = whole.head(films)
    assert len(head) == len(head.labels) == len(head.files) == left
    for name in ("collections", "patients", "groups"):
        assert list(getattr(head, name)) == list(getattr(whole, name))[:left]
    assert np.array_equal(head.pixels(), whole.pixels()[:left])


def test_missing_files_say_what_to_run(data, tmp_path):
    (data / IMAGES).unlink()
    with pytest.raises(UserError, match="images.npy: not found; run python -m data_processing.prepare"):
        open_split(data, "train")
    (data / INDEX).unlink()
    with pytest.raises(UserError, match="index.csv: not found; run python -m data_processing.prepare first.*--data"):
        open_split(data, "train")


@pytest.mark.parametrize("content", [b"", b"text", b"\x93NUMPY\x01\x00", b"PK\x03\x04"])
def test_file_that_is_no_array_is_one_line(data, content):
    (data / IMAGES).write_bytes(content)
    with pytest.raises(UserError, match="not a complete array file"):
        open_split(data, "train")


def test_array_cut_off_and_archive_and_pickle_are_one_line(data, images):
    whole = (data / IMAGES).read_bytes()
    (data / IMAGES).write_bytes(whole[:-1])
    with pytest.raises(UserError, match="not a complete array file"):
        open_split(data, "train")
    with open(data / IMAGES, "wb") as file:
        np.savez(file, images)
    with pytest.raises(UserError, match="not a complete array file"):
        open_split(data, "train")
    np.save(data / IMAGES, np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(UserError, match="not a complete array file"):
        open_split(data, "train")


@pytest.mark.parametrize(
    "change", [lambda a: a[:-1], lambda a: a[..., :1], lambda a: a[:, :4], lambda a: a[0], lambda a: a.astype(np.float32)]
)
def test_array_that_the_index_does_not_describe_is_refused(data, images, change):
    np.save(data / IMAGES, change(images))
    with pytest.raises(UserError, match=r"describes uint8 \(12, size, size, 3\)"):
        open_split(data, "train")


@pytest.mark.parametrize("place, value", [(0, 7), (0, "x"), (1, "exam"), (2, 3), (2, "-1"), (2, ""), (6, "")])
def test_row_that_does_not_describe_its_image_is_named(data, place, value):
    rows = rows_of(data)
    rows[4][place] = value
    write_index(data, rows)
    with pytest.raises(UserError, match="index.csv line 6: expected row 4"):
        open_split(data, "train")


@pytest.mark.parametrize("content", [b"", b"row,split\n0,train\n", b"\x89PNG\xff\xfe", b"a\x00b"])
def test_file_that_is_no_index_is_one_line(data, content):
    (data / INDEX).write_bytes(content)
    with pytest.raises(UserError, match="expected a table with the columns row, split, label"):
        read_index(data)


def test_split_without_films_is_refused(data, images):
    np.save(data / IMAGES, images[:2])
    write_index(data, rows_of(data)[:2])
    with pytest.raises(UserError, match="no test films"):
        open_split(data, "test")


def test_index_that_is_cut_off_in_its_last_field_is_one_line(data):
    path = data / "index.csv"
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(UserError, match="expected a table with the columns"):
        open_split(data, "train")


def test_films_that_are_replaced_while_they_are_opened_are_refused(data, monkeypatch):
    manifests = iter([{"started": 1}, {"started": 2}])
    monkeypatch.setattr("nosign.dataset.read_manifest", lambda folder: next(manifests))
    with pytest.raises(UserError, match="its films were replaced just now"):
        open_split(data, "train")
