"""COVIDx-CXR2's lists become films: ids with spaces, strict negatives, names that no machine decides."""

import csv
from collections import Counter

import pytest

from data_processing.covidx import find_folder, read_covidx, read_list
from nosign.dataset import CLASSES
from nosign.errors import UserError


@pytest.fixture
def sets(raw_sets, tmp_path):
    return raw_sets(tmp_path)


def labels_of(films):
    return [CLASSES[film.label] for film in films]


def test_patient_ids_may_hold_spaces(sets):
    sets.add_covidx("a.png", "COVID 12 34", class_8a="COVID-19")
    (film,) = read_covidx(sets.covidx)[0]
    assert (film.patient, film.collection, film.file) == ("sirm:COVID 12 34", "covidx/sirm", "covidx-cxr2/train/a.png")


@pytest.mark.parametrize(
    "listed_id, file",
    [
        ("COVID 1234", "COVID-1234.jpg"),
        ("COVID 921", "COVID(921).png"),
        ("COVID-19 (3)", "covid_19(3).PNG"),
        ("47c78742-4998-4878-aec4-37b11b1354ac", "47c78742-4998-4878-aec4-37b11b1354ac.png"),
        ("Normal-10161", "Normal-10161.jpg"),
        ("COVID-00015a", "COVID-00015a.png"),
    ],
)
def test_id_that_repeats_its_file_name_is_no_patient(sets, listed_id, file):
    sets.add_covidx(file, listed_id)
    (film,) = read_covidx(sets.covidx, "paper")[0]
    assert film.patient == ""


@pytest.mark.parametrize(
    "listed_id, file",
    [
        ("00000061", "00000061_015.png"),
        ("287", "000001-27.jpg"),
        ("COVID-00015", "COVID-00015a.jpg"),
        ("12", "1-20.png"),
        ("ANON38", "CR.1.2.840.113564.png"),
        ("419639-000025", "MIDRC-RICORD-1C-419639-000025-46647-0.png"),
    ],
)
def test_id_that_says_more_than_its_file_name_is_a_patient(sets, listed_id, file):
    sets.add_covidx(file, listed_id, collection="ricord")
    (film,) = read_covidx(sets.covidx, "paper")[0]
    assert film.patient == f"ricord:{listed_id}"


def test_id_of_several_films_is_a_patient_in_its_collection_only(sets):
    sets.add_covidx("scan-7.png", "scan 7", class_8a="COVID-19")
    sets.add_covidx("scan 7.png".replace(" ", "_"), "scan 7", "negative", class_8a="pneumonia", split="test")
    sets.add_covidx("scan(7).png", "scan 7", class_8a="COVID-19", collection="fig1")
    assert [film.patient for film in read_covidx(sets.covidx)[0]] == ["sirm:scan 7", ""]


@pytest.mark.parametrize("shown, patients", [(2, 20), (1, 1)])
def test_ids_of_one_form_are_patients_where_a_tenth_of_the_films_shows_it(sets, shown, patients):
    """One id in 20 may be a slip; other forms in the same collection are judged by themselves."""
    for number in range(20):
        sets.add_covidx(f"COVID-{number}{'a' * (number < shown)}.png", f"COVID-{number}")
        sets.add_covidx(f"Normal-{number}.png", f"Normal-{number}", "negative")
    films = read_covidx(sets.covidx, "paper")[0]
    assert sum(bool(film.patient) for film in films if "COVID-" in film.file) == patients
    assert not any(film.patient for film in films if "Normal-" in film.file)


def test_strict_takes_the_negatives_that_the_three_class_list_calls_normal(sets):
    sets.add_covidx("a.png", "1", class_8a="COVID-19")
    sets.add_covidx("b.png", "2", "negative", class_8a="normal")
    sets.add_covidx("c.png", "3", "negative", class_8a="pneumonia", split="test")
    sets.add_covidx("d.png", "4", "negative")
    strict, left_out = read_covidx(sets.covidx)
    assert labels_of(strict) == ["COVID-19", "Normal"]
    assert sorted(left_out.values()) == [1, 1] and any("pneumonia" in reason for reason in left_out)
    paper, left_out = read_covidx(sets.covidx, "paper")
    assert Counter(labels_of(paper)) == {"COVID-19": 1, "Normal": 3} and not left_out


def test_real_set_has_the_counts_of_its_manifest(xray):
    with open(xray / "manifest.csv", newline="", encoding="utf-8") as file:
        listed = [row for row in csv.DictReader(file) if row["file"].startswith("covidx-cxr2/")]
    for negatives in ("strict", "paper"):
        films, left_out = read_covidx(xray / "covidx-cxr2", negatives)
        normal = {row["file"] for row in listed if row["class"] != "covid"}
        if negatives == "strict":
            normal = {row["file"] for row in listed if row["class"] == "normal" and row["in_8A"] == "yes"} or {
                row["file"] for row in listed if row["class"] == "normal" and row["in_8A"] in ("1", "True", "true")
            }
        assert {film.file for film in films if film.label == CLASSES.index("Normal")} == normal
        assert Counter(labels_of(films))["COVID-19"] == 1500
        assert len(films) + left_out.total() == 3118


def test_real_films_have_a_patient_where_the_manifest_has_one(xray):
    with open(xray / "manifest.csv", newline="", encoding="utf-8") as file:
        patient_of = {row["file"]: row["patient_id"] for row in csv.DictReader(file)}
    films = read_covidx(xray / "covidx-cxr2", "paper")[0]
    assert len(films) == 3118 and sum(bool(film.patient) for film in films) == 1357
    assert all(bool(film.patient) == bool(patient_of[film.file]) for film in films)
    pairs = {(film.patient, patient_of[film.file]) for film in films if film.patient}
    assert len(pairs) == len(dict(pairs)) == len({truth for _, truth in pairs})


def test_file_names_do_not_depend_on_the_folder_or_a_link_to_it(sets, tmp_path):
    sets.add_covidx("a.png", "1", class_8a="COVID-19")
    cache = tmp_path / "cache" / "versions" / "3"
    cache.parent.mkdir(parents=True)
    sets.covidx.rename(cache)
    (tmp_path / "linked").symlink_to(cache, target_is_directory=True)
    for folder in (cache, tmp_path / "linked", cache.parent):
        assert [film.file for film in read_covidx(folder)[0]] == ["covidx-cxr2/train/a.png"]


def test_set_one_folder_down_is_found_and_macos_leftovers_are_not(sets, tmp_path):
    leftovers = tmp_path / "__MACOSX"
    leftovers.mkdir()
    for name in ("train.txt", "test.txt"):
        (leftovers / name).touch()
    assert find_folder(tmp_path) == sets.covidx


def test_three_class_lists_may_stand_elsewhere(sets, tmp_path):
    sets.add_covidx("b.png", "2", "negative", class_8a="normal")
    moved = tmp_path / "moved.txt"
    (sets.covidx / "train_COVIDx8A.txt").rename(moved)
    assert labels_of(read_covidx(sets.covidx, three_class_lists=[moved])[0]) == ["Normal"]


@pytest.mark.parametrize("remedy", ["--three-class-lists", "--negatives paper"])
def test_missing_three_class_list_is_named_with_the_remedies(sets, remedy):
    (sets.covidx / "test_COVIDx8A.txt").unlink()
    with pytest.raises(UserError, match=f"test_COVIDx8A.txt: not found.*{remedy}"):
        read_covidx(sets.covidx)


def test_row_without_its_file_is_named_and_the_others_counted(sets):
    for number in range(3):
        sets.add_covidx(f"{number}.png", "1").unlink()
    with pytest.raises(UserError, match=r"train.txt line 1 names .*0\.png, which is not there \(and 2 more rows\)"):
        read_covidx(sets.covidx)


@pytest.mark.parametrize("row", ["one two three", "1 a.png covid sirm", "a.png positive sirm"])
def test_malformed_row_is_named(tmp_path, row):
    (tmp_path / "train.txt").write_text(f"1 a.png positive sirm\n\n{row}\n")
    with pytest.raises(UserError, match="train.txt line 3: expected 'patient-id file class source'"):
        list(read_list(tmp_path / "train.txt", ("positive", "negative")))


@pytest.mark.parametrize(
    "listed_id, file",
    [("COVID 12", "COVID 12.png"), ("12", "a b c.png"), ("COVID 1 2", "scan  (1) of 2.png"), ("7", "plain.png")],
)
def test_files_may_hold_spaces(sets, listed_id, file):
    sets.add_covidx(file, listed_id, class_8a="COVID-19")
    sets.add_covidx(f"n {file}", listed_id, "negative", class_8a="normal", split="test")
    sets.add_covidx(f"p {file}", listed_id, "negative", class_8a="pneumonia", split="test")
    films, left_out = read_covidx(sets.covidx)
    assert [film.file for film in films] == [f"covidx-cxr2/train/{file}", f"covidx-cxr2/test/n {file}"]
    assert [film.patient for film in films] == [f"sirm:{listed_id}"] * 2 and left_out.total() == 1


def test_each_row_names_its_own_file_where_one_name_ends_like_another(sets):
    sets.add_covidx("b.png", "a", class_8a="COVID-19")
    sets.add_covidx("a b.png", "a", split="test")
    films = read_covidx(sets.covidx, "paper")[0]
    assert [(film.file.split("/", 1)[1], film.patient) for film in films] == [
        ("train/b.png", "sirm:a"),
        ("test/a b.png", "sirm:a"),
    ]


@pytest.mark.parametrize("encoding", ["gbk", "utf-16", "utf-16-le", "utf-16-be", "utf-8", "utf-8-sig"])
def test_lists_of_chinese_windows_are_read(sets, encoding):
    sets.add_covidx("\u80ba\u708e-1.png", "\u60a3\u8005 1", class_8a="COVID-19")
    sets.add_covidx("b.png", "2", "negative", class_8a="normal")
    for path in sets.covidx.glob("train*.txt"):
        mark = "\ufeff" if encoding.startswith("utf-16-") else ""  # the others write their own, or none
        path.write_bytes((mark + path.read_text(encoding="utf-8").replace("\n", "\r\n")).encode(encoding))
    films = read_covidx(sets.covidx)[0]
    assert [(film.file, film.patient) for film in films] == [
        ("covidx-cxr2/train/\u80ba\u708e-1.png", "sirm:\u60a3\u8005 1"),
        ("covidx-cxr2/train/b.png", "sirm:2"),
    ]


def test_list_in_no_known_code_is_read_as_far_as_it_goes(tmp_path):
    (tmp_path / "train.txt").write_bytes(b"\xff\xff 1 a.png positive sirm\n2 b.png negative rsna\n")
    assert [row[2] for row in read_list(tmp_path / "train.txt", ("positive", "negative"))] == ["a.png", "b.png"]


def test_list_with_windows_line_ends_and_byte_order_mark_is_read(tmp_path):
    (tmp_path / "train.txt").write_bytes(b"\xef\xbb\xbfCOVID 1 a.png positive sirm\r\n2 b.png negative rsna\r\n")
    rows = [row[1:] for row in read_list(tmp_path / "train.txt", ("positive", "negative"))]
    assert rows == [("COVID 1", "a.png", "positive", "sirm"), ("2", "b.png", "negative", "rsna")]


def test_another_layout_is_refused(tmp_path):
    for folder in (tmp_path, tmp_path / "absent"):
        with pytest.raises(UserError, match="not a COVIDx-CXR2 folder; expected train.txt, test.txt"):
            read_covidx(folder)
