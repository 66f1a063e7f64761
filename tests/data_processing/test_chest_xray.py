"""Kermany's folders become films, each once, with the patient out of the file name."""

import csv
import os
import shutil
from collections import Counter

import pytest

from data_processing.chest_xray import patient_of, read_chest_xray
from nosign.dataset import CLASSES
from nosign.errors import UserError


@pytest.fixture
def sets(raw_sets, tmp_path):
    sets = raw_sets(tmp_path)
    sets.add_chest_xray("IM-0001-0001.jpeg", "NORMAL")
    sets.add_chest_xray("person1_virus_1.jpeg", "PNEUMONIA", split="val")
    sets.add_chest_xray("person2_bacteria_1.jpeg", "PNEUMONIA", split="test")
    return sets


FILES = [
    "chest_xray/train/NORMAL/IM-0001-0001.jpeg",
    "chest_xray/val/PNEUMONIA/person1_virus_1.jpeg",
    "chest_xray/test/PNEUMONIA/person2_bacteria_1.jpeg",
]


def test_all_three_splits_are_pooled_with_the_folders_labels(sets):
    films = read_chest_xray(sets.chest_xray)
    assert [film.file for film in films] == FILES
    assert [CLASSES[film.label] for film in films] == ["Normal", "Pneumonia", "Pneumonia"]


def test_nested_second_copy_and_macos_files_are_not_read(sets):
    shutil.copytree(sets.chest_xray, sets.chest_xray.parent / "copy")
    (sets.chest_xray.parent / "copy").rename(sets.chest_xray / "chest_xray")
    shutil.copytree(sets.chest_xray / "train", sets.chest_xray / "__MACOSX" / "train")
    for name in (".DS_Store", "._IM-0001-0001.jpeg"):
        (sets.chest_xray / "train" / "NORMAL" / name).write_bytes(b"junk")
    for folder in (sets.chest_xray, sets.chest_xray.parent):
        assert [film.file for film in read_chest_xray(folder)] == FILES


def test_file_names_do_not_depend_on_the_folder_or_a_link_to_it(sets, tmp_path):
    cache = tmp_path / "versions" / "2"
    cache.parent.mkdir()
    sets.chest_xray.rename(cache)
    (tmp_path / "linked").symlink_to(cache, target_is_directory=True)
    for folder in (cache, tmp_path / "linked"):
        assert [film.file for film in read_chest_xray(folder)] == FILES


def test_order_is_not_the_file_systems(sets, monkeypatch):
    for number in range(20):
        sets.add_chest_xray(f"IM-{number:04d}-0002.jpeg", "NORMAL")
    sets.add_chest_xray("IM-0300-0001.jpeg", "NORMAL")
    expected = [film.file for film in read_chest_xray(sets.chest_xray)]
    listdir, scandir = os.listdir, os.scandir

    class Reversed(list):
        __enter__, __exit__ = lambda self: self, lambda *_: None

    monkeypatch.setattr(os, "listdir", lambda *path: sorted(listdir(*path), reverse=True))
    monkeypatch.setattr(
        os, "scandir", lambda *path: Reversed(sorted(scandir(*path), key=lambda entry: entry.name, reverse=True))
    )
    assert [path.name for path in sets.chest_xray.glob("*")] == ["val", "train", "test"]
    assert [film.file for film in read_chest_xray(sets.chest_xray)] == expected


@pytest.mark.parametrize(
    "file, patient",
    [
        ("person12_virus_34.jpeg", "person12"),
        ("person12_bacteria_7.jpeg", "person12"),
        ("IM-0115-0001.jpeg", "IM-0115"),
        ("IM-0640-0001-0002.jpeg", "IM-0640"),
        ("NORMAL2-IM-0383-0001.jpeg", "NORMAL2-IM-0383"),
        ("BACTERIA-1135262-0004.jpeg", "1135262"),
        ("VIRUS-1135262-0001.jpeg", "1135262"),
        ("NORMAL-1135262-0001.jpeg", "1135262"),
    ],
)
def test_patient_stands_in_the_file_name(file, patient):
    assert patient_of(file) == f"kermany:{patient}"


@pytest.mark.parametrize("file", ["other.jpeg", "1234.jpeg", "NORMAL.jpeg", "a-person1_virus_1.jpeg"])
def test_other_file_names_tell_no_patient(sets, file):
    sets.add_chest_xray(file, "NORMAL", split="test")
    patients = {film.file: film.patient for film in read_chest_xray(sets.chest_xray)}
    assert patients[f"chest_xray/test/NORMAL/{file}"] == ""


def test_name_that_is_not_utf8_can_be_written_down(sets):
    folder = os.fsencode(sets.chest_xray / "train" / "NORMAL")
    os.rename(folder + b"/IM-0001-0001.jpeg", folder + b"/r\xf6ntgen.jpeg")
    film = read_chest_xray(sets.chest_xray)[0]
    assert f"{film.file} {film.patient}".encode() and film.path.is_file()


def test_real_set_has_the_films_and_persons_of_its_manifest(xray):
    with open(xray / "manifest.csv", newline="", encoding="utf-8") as file:
        listed = [row for row in csv.DictReader(file) if row["file"].startswith("chest-xray-pneumonia/")]
    films = read_chest_xray(xray / "chest-xray-pneumonia")
    assert {film.file for film in films} == {row["file"].split("/", 1)[1] for row in listed}
    assert Counter(CLASSES[film.label] for film in films) == {"Normal": 950, "Pneumonia": 1600}
    split_of = {}
    for film in films:
        split_of.setdefault(film.patient, set()).add(film.file.split("/")[1])
    assert "" not in split_of
    assert all(len(splits) == 1 for splits in split_of.values())  # the set's own splits were drawn by patient


def test_another_layout_is_refused(tmp_path):
    (tmp_path / "train" / "NORMAL").mkdir(parents=True)
    for folder in (tmp_path, tmp_path / "absent"):
        with pytest.raises(UserError, match="not a Kermany chest_xray folder; expected train/NORMAL and train/"):
            read_chest_xray(folder)
