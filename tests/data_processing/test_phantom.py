"""The drawn films: the same for the same seed, in the real layouts, with each class's disease where it belongs."""

import io
import subprocess
import sys
from collections import Counter, defaultdict
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from data_processing import phantom
from data_processing.phantom import __main__ as command
from data_processing.phantom import anatomy, layouts
from nosign.dataset import CLASSES
from nosign.manifest import MANIFEST, read_manifest
from nosign.script import run

ROOT = Path(__file__).resolve().parents[2]
PER_CLASS = 4
PATIENTS = range(500, 508)


def draw(out, *words):
    """Run the script as its command line does; return the exit status."""
    return run(phantom.main, ["--out", str(out), "--per-class", str(PER_CLASS), "--workers", "1", *words])


def bytes_of(out):
    """Return the content of every file but the manifest, which holds the time."""
    return {path: (out / path).read_bytes() for path in command.files_in(out) if path != MANIFEST}


def rows_of(out, name):
    """Return the rows of one of COVIDx's lists, split from the right into four fields."""
    return [line.rsplit(" ", 3) for line in (out / layouts.COVIDX / name).read_text().splitlines()]


@lru_cache
def opacity(class_name, patient):
    """Return the grey level that disease adds to a film, float32 [height, width]."""
    return anatomy.draw_film(0, class_name, patient) - anatomy.draw_film(0, class_name, patient, disease=anatomy.clear)


def shares_of_lungs(added):
    """Return what falls on the left and on the right half of the film, as shares of the whole."""
    middle = added.shape[1] // 2
    halves = np.array([np.abs(added[:, :middle]).sum(), np.abs(added[:, middle:]).sum()])
    return halves / halves.sum()


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    out = tmp_path_factory.mktemp("phantom") / "raw"
    assert draw(out) == 0
    return out


def test_same_seed_gives_the_same_bytes_with_one_worker_and_with_two(drawn, tmp_path):
    assert draw(tmp_path / "raw", "--workers", "2") == 0
    assert bytes_of(tmp_path / "raw") == bytes_of(drawn)


def test_another_seed_gives_another_film():
    first, second = (layouts.encoded(anatomy.draw_film(seed, "Normal", 0), "grey JPEG") for seed in (0, 1))
    assert first != second


@pytest.mark.parametrize("per_class", [4, 37, 190, 1500])
def test_each_class_can_offer_the_films_asked_for_and_few_more(per_class):
    films = layouts.plan_films(per_class, 0)
    covidx = Counter(film.class_8a for film in films if film.row)
    kermany = Counter(film.path.split("/")[-2] for film in films if not film.row)
    most = per_class * 1.05 + 1
    assert per_class <= covidx["COVID-19"] <= most
    assert per_class <= kermany["PNEUMONIA"] <= most
    assert per_class <= covidx["normal"] + kermany["NORMAL"] <= most
    assert abs(covidx["normal"] - kermany["NORMAL"]) <= 1
    assert covidx["pneumonia"] >= 1 and covidx[None] in (1, 2)
    assert len({film.path for film in films}) == len(films)


def test_a_tenth_of_many_negatives_are_called_pneumonia_by_the_three_class_list():
    negatives = Counter(film.class_8a for film in layouts.plan_films(400, 0) if film.row and film.row[2] == "negative")
    assert 0.10 <= negatives["pneumonia"] / negatives.total() <= 0.15


def test_drawn_class_is_the_listed_class():
    drawn_as = {"COVID-19": "COVID-19", "normal": "Normal", "pneumonia": "Pneumonia", None: "Normal"}
    for film in layouts.plan_films(60, 0):
        if film.row:
            assert film.class_name == drawn_as[film.class_8a]
            assert film.row[2] == ("positive" if film.class_name == "COVID-19" else "negative")
        else:
            assert film.class_name.upper() == film.path.split("/")[-2]


def test_no_patient_is_in_two_folders_and_some_have_several_films():
    folders, films = defaultdict(set), Counter()
    for film in layouts.plan_films(60, 0):
        folders[film.patient].add(film.path.rsplit("/", 1)[0])
        films[film.patient] += 1
    assert all(len(places) == 1 for places in folders.values())
    assert set(films.values()) == {1, 2, 3}


def test_rows_of_the_lists_match_the_files(drawn):
    for split in ("train", "test"):
        rows = rows_of(drawn, f"{split}.txt")
        present = {path.name for path in (drawn / layouts.COVIDX / split).iterdir()}
        assert rows and sorted(row[1] for row in rows) == sorted(present)
        assert {row[2] for row in rows} <= {"positive", "negative"}
        known = {row[1]: row for row in rows}
        for patient, name, class_8a, source in rows_of(drawn, f"{split}_COVIDx8A.txt"):
            assert (patient, source) == (known[name][0], known[name][3])
            assert (class_8a == "COVID-19") == (known[name][2] == "positive")


def test_lists_hold_ids_with_spaces_all_sources_and_negatives_without_a_third_class(drawn):
    rows = rows_of(drawn, "train.txt") + rows_of(drawn, "test.txt")
    listed_8a = {row[1] for name in ("train_COVIDx8A.txt", "test_COVIDx8A.txt") for row in rows_of(drawn, name)}
    assert any(" " in row[0] for row in rows)
    assert {row[3] for row in rows if row[2] == "positive"} == {"sirm", "cohen", "fig1", "actmed"}
    assert {row[3] for row in rows if row[2] == "negative"} == {"rsna"}
    assert 1 <= sum(row[1] not in listed_8a for row in rows) <= 2


def test_kermany_names_carry_the_patient(drawn):
    root = drawn / layouts.CHEST_XRAY / "chest_xray"
    normal = {path.name for path in root.glob("*/NORMAL/*")}
    pneumonia = {path.name for path in root.glob("*/PNEUMONIA/*")}
    assert {"IM-0001-0001.jpeg", "NORMAL2-IM-0002-0001.jpeg"} <= normal
    assert {name.split("_")[1] for name in pneumonia} == {"virus", "bacteria"}
    assert all(name.startswith("person") and name.endswith(".jpeg") for name in pneumonia)


def test_every_format_occurs_and_can_be_read(drawn):
    seen = set()
    for path in command.files_in(drawn):
        if not path.endswith((".jpg", ".jpeg", ".png")):
            continue
        with Image.open(drawn / path) as image:
            image.load()
            progressive, turned = bool(image.info.get("progressive")), layouts.EXIF_ORIENTATION in image.getexif()
            seen.add((image.format, image.mode, progressive, turned))
            assert 220 <= min(image.size) <= 300 and max(image.size) <= 1.31 * min(image.size)
            assert np.ptp(np.asarray(image)) > (100 if image.mode != "I;16" else 100 * 257)
    assert seen == {
        ("PNG", "I;16", False, False),
        ("PNG", "L", False, False),
        ("JPEG", "L", False, False),
        ("JPEG", "RGB", False, False),
        ("JPEG", "L", True, False),
        ("JPEG", "L", False, True),
    }


def test_16_bit_png_keeps_the_film_to_half_a_step():
    film = anatomy.draw_film(0, "Normal", 3)
    read = np.asarray(Image.open(io.BytesIO(layouts.encoded(film, "grey 16-bit PNG")))) / 65535
    np.testing.assert_allclose(read, film, atol=0.51 / 65535)


def test_film_with_exif_orientation_is_upright_for_who_obeys_it():
    film = anatomy.draw_film(0, "Normal", 3)
    image = Image.open(io.BytesIO(layouts.encoded(film, "JPEG with EXIF orientation")))
    assert image.size == film.shape
    upright = np.asarray(ImageOps.exif_transpose(image), np.float32) / 255
    assert np.corrcoef(upright.ravel(), film.ravel())[0, 1] > 0.99


def test_normal_film_has_no_disease():
    assert not opacity("Normal", PATIENTS[0]).any()


@pytest.mark.parametrize("patient", PATIENTS)
def test_covid_is_in_both_lungs_and_pneumonia_in_one(patient):
    assert shares_of_lungs(opacity("COVID-19", patient)).min() > 0.15
    assert shares_of_lungs(opacity("Pneumonia", patient)).max() > 0.95


def test_covid_is_fainter_wider_and_lower_than_it_is_dense():
    covid = [opacity("COVID-19", patient) for patient in PATIENTS]
    pneumonia = [opacity("Pneumonia", patient) for patient in PATIENTS]
    grey = [np.mean([added[added > 0.03].mean() for added in films]) for films in (covid, pneumonia)]
    extent = [np.mean([(added > 0.03).mean() for added in films]) for films in (covid, pneumonia)]
    assert 0.06 < grey[0] < grey[1] < 0.35
    assert extent[0] > 1.5 * extent[1]
    lower = [added[added.shape[0] // 2 :].sum() / added.sum() for added in covid]
    assert np.mean(lower) > 0.55


def test_classes_overlap_in_mean_and_contrast_of_the_whole_film():
    films = {name: [anatomy.draw_film(0, name, patient) for patient in range(600, 618)] for name in CLASSES}
    for statistic in (np.mean, np.std):
        values = np.array([[statistic(film) for film in films[name]] for name in CLASSES])
        apart = np.ptp(values.mean(1)) / np.sqrt(values.var(1, ddof=1).mean())
        assert apart < 1.2


def test_second_film_of_a_patient_shows_the_same_chest():
    def small(patient, film):
        picture = Image.fromarray(anatomy.draw_film(0, "Pneumonia", patient, film))
        return np.asarray(picture.resize((48, 48), Image.Resampling.BOX))[8:, 8:-8].ravel()

    first, second, stranger = (
        np.array([small(patient + away, film) for patient in PATIENTS]) for away, film in ((0, 1), (0, 2), (50, 1))
    )
    likeness = [np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(first, other)]) for other in (second, stranger)]
    assert not np.array_equal(first, second)
    assert likeness[0] > likeness[1] + 0.05


def test_film_is_float32_within_0_and_1():
    film = anatomy.draw_film(7, "COVID-19", 1)
    assert film.dtype == np.float32 and film.min() >= 0 and film.max() <= 1


def test_same_command_again_changes_nothing(drawn, capsys):
    before = (drawn / MANIFEST).read_bytes()
    assert draw(drawn) == 0
    assert capsys.readouterr().out.startswith("already there")
    assert (drawn / MANIFEST).read_bytes() == before


def test_manifest_holds_settings_and_every_file(drawn):
    manifest = read_manifest(drawn)
    assert manifest["settings"] == {"per_class": PER_CLASS, "seed": 0, "drawing": anatomy.DRAWING_VERSION}
    assert sorted(manifest["outputs"]) == sorted(bytes_of(drawn))


def test_other_settings_need_overwrite(tmp_path, capsys):
    out = tmp_path / "raw"
    assert draw(out) == 0
    before = bytes_of(out)
    assert draw(out, "--seed", "1") == 1
    assert "--overwrite" in capsys.readouterr().err
    assert bytes_of(out) == before
    assert draw(out, "--seed", "1", "--overwrite") == 0
    assert read_manifest(out)["settings"]["seed"] == 1
    assert bytes_of(out) != before and [path.name for path in tmp_path.iterdir()] == ["raw"]


@pytest.mark.parametrize("words", [(), ("--overwrite",)])
def test_folder_with_foreign_files_is_refused_and_left_alone(tmp_path, capsys, words):
    real = tmp_path / "raw" / layouts.COVIDX / "train.txt"
    real.parent.mkdir(parents=True)
    real.write_text("1 a.png positive cohen\n")
    assert draw(tmp_path / "raw", *words) == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert command.files_in(tmp_path) == [f"raw/{layouts.COVIDX}/train.txt"]


def test_overwrite_refuses_a_folder_of_its_own_with_a_file_added(tmp_path):
    out = tmp_path / "raw"
    assert draw(out) == 0
    (out / "notes.txt").write_text("mine")
    assert draw(out, "--overwrite") == 1
    assert (out / "notes.txt").read_text() == "mine" and (out / MANIFEST).is_file()


def test_missing_film_is_noticed(tmp_path, capsys):
    out = tmp_path / "raw"
    assert draw(out) == 0
    next((out / layouts.COVIDX / "train").iterdir()).unlink()
    assert draw(out) == 1
    assert "1 of its films are gone" in capsys.readouterr().err


def test_nothing_is_left_when_writing_fails(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(command, "write_lists", full)
    assert draw(tmp_path / "raw") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("words", [("--per-class", "3"), ("--per-class", "many"), ("--seed", "-1"), ("--workers", "0")])
def test_wrong_usage_exits_with_2(tmp_path, words):
    with pytest.raises(SystemExit) as stopped:
        draw(tmp_path / "raw", *words)
    assert stopped.value.code == 2


def test_arguments_are_parsed_before_anything_heavy_is_imported():
    code = "import sys, data_processing.phantom.__main__; print({'PIL', 'scipy', 'tqdm', 'keras'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.strip() == "set()"
