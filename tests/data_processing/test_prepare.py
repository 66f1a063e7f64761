"""Stage 1: which films are drawn, into which split, into which row, and what happens when something is wrong."""

import _multiprocessing
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny import rows_of

from data_processing import prepare
from data_processing.film import read_pixels, resize
from nosign.dataset import CLASSES, IMAGES, INDEX, PATIENTS, SPLITS, open_split
from nosign.files import PART, sha256_of_file
from nosign.manifest import MANIFEST
from nosign.script import run

OUTPUTS = (IMAGES, INDEX, PATIENTS, "skipped.csv", "overview.png")
COVID, NORMAL, PNEUMONIA = range(3)


@pytest.fixture
def sets(raw_sets, tmp_path):
    return raw_sets(tmp_path / "raw").add_all_classes(9)


def prepared(sets, out, *words):
    """Run stage 1 and return its index."""
    assert run(prepare.main, sets.words(out, *words)) == 0
    return rows_of(out / INDEX)


def refused(sets, out, capsys, *words):
    """Run stage 1, expect exit 1, and return the one line on stderr."""
    assert run(prepare.main, sets.words(out, *words)) == 1
    (line,) = capsys.readouterr().err.splitlines()
    return line


def path_of(sets, row):
    """Return the raw file that a row of the index describes."""
    return (sets.covidx if row["file"].startswith("covidx") else sets.chest_xray) / row["file"].split("/", 1)[1]


def assert_rows_are_their_films(sets, out, size=8):
    images = np.load(out / IMAGES)
    for row, image in zip(rows_of(out / INDEX), images, strict=True):
        grey = np.asarray(resize(read_pixels(path_of(sets, row)), size))
        assert np.array_equal(image, np.dstack([grey] * 3)), row["file"]


def content(out):
    """Return the bytes of all outputs but the manifest, which holds the time."""
    return {name: (out / name).read_bytes() for name in OUTPUTS}


def test_row_i_of_the_images_is_film_i_of_the_index(sets, tmp_path):
    index = prepared(sets, tmp_path / "data")
    images = np.load(tmp_path / "data" / IMAGES)
    assert images.shape == (21, 8, 8, 3) and images.dtype == np.uint8
    assert [row["row"] for row in index] == [str(number) for number in range(21)]
    assert Counter(row["class"] for row in index) == dict.fromkeys(CLASSES, 7)
    assert all(CLASSES[int(row["label"])] == row["class"] for row in index)
    assert_rows_are_their_films(sets, tmp_path / "data")


def test_real_films_at_full_size_are_in_their_rows(raw_sets, tmp_path, phantom_sets):
    sets = raw_sets(tmp_path / "unused")
    sets.covidx, sets.chest_xray = phantom_sets / "covidx-cxr2", phantom_sets / "chest-xray-pneumonia" / "chest_xray"
    prepared(sets, tmp_path / "data", "--image-size", "64", "--per-class", "10")
    assert_rows_are_their_films(sets, tmp_path / "data", 64)


def test_films_that_stand_in_for_dropped_ones_get_the_free_rows(sets, tmp_path):
    before = prepared(sets, tmp_path / "before")
    broken = [path_of(sets, next(row for row in before if row["class"] == name)) for name in CLASSES]
    broken[0].write_bytes(b"")
    broken[1].write_bytes(broken[1].read_bytes()[:60])
    shutil.copy(path_of(sets, next(row for row in before[6:] if row["class"] == "Pneumonia")), broken[2])
    after = prepared(sets, tmp_path / "after")
    assert_rows_are_their_films(sets, tmp_path / "after")
    new = {row["file"] for row in after} - {row["file"] for row in before}
    assert Counter(row["class"] for row in after if row["file"] in new) == dict.fromkeys(CLASSES, 1)
    skipped = rows_of(tmp_path / "after" / "skipped.csv")
    assert len(skipped) == 2 and skipped[1]["reason"] == "empty file"
    dropped = json.loads((tmp_path / "after" / MANIFEST).read_text())["dropped"]
    assert dropped == {"unreadable": 2, "duplicate of a film in its class": 1}
    assert json.loads((tmp_path / "after" / MANIFEST).read_text())["outputs"][IMAGES] == sha256_of_file(
        tmp_path / "after" / IMAGES
    )


def test_same_seed_gives_the_same_bytes_whatever_workers_and_listing_order(sets, tmp_path, monkeypatch):
    prepared(sets, tmp_path / "one")
    prepared(sets, tmp_path / "two", "--workers", "2")
    scandir, listdir = os.scandir, os.listdir

    class Listing(list):
        __enter__, __exit__ = lambda self: self, lambda *_: None

    monkeypatch.setattr(
        os, "scandir", lambda *path: Listing(sorted(scandir(*path), key=lambda entry: entry.name, reverse=True))
    )
    monkeypatch.setattr(os, "listdir", lambda *path: sorted(listdir(*path), reverse=True))
    for name in ("train.txt", "train_COVIDx8A.txt"):
        lines = (sets.covidx / name).read_text().splitlines(keepends=True)
        (sets.covidx / name).write_text("".join(reversed(lines)))
    prepared(sets, tmp_path / "three")
    assert content(tmp_path / "one") == content(tmp_path / "two") == content(tmp_path / "three")


def test_another_seed_draws_and_splits_otherwise(sets, tmp_path):
    first, second = prepared(sets, tmp_path / "0"), prepared(sets, tmp_path / "1", "--seed", "1")
    assert {row["file"] for row in first} != {row["file"] for row in second}
    assert [row["split"] for row in first] != [row["split"] for row in second]


def test_a_data_seed_gives_the_films_that_the_seed_gives_alone(sets, tmp_path):
    assert run(prepare.main, sets.words(tmp_path / "data", "--data-seeds", "0", "1")) == 0
    for seed in ("0", "1"):
        prepared(sets, tmp_path / seed, "--seed", seed)
        assert content(tmp_path / "data" / f"seed-{seed}") == content(tmp_path / seed)


def test_index_is_the_same_where_the_folders_have_other_names(sets, tmp_path):
    index = prepared(sets, tmp_path / "one")
    (tmp_path / "cache" / "versions").mkdir(parents=True)
    sets.covidx = sets.covidx.rename(tmp_path / "cache" / "versions" / "3")
    sets.chest_xray = sets.chest_xray.rename(tmp_path / "cache" / "versions" / "2")
    assert prepared(sets, tmp_path / "two") == index


def test_film_in_two_classes_is_dropped_in_both(sets, tmp_path):
    pixels = sets.pixels()
    sets.add_chest_xray("IM-0500-0001.jpeg", "NORMAL", pixels=pixels)
    sets.add_chest_xray("person500_virus_1.jpeg", "PNEUMONIA", pixels=np.dstack([pixels] * 3))
    index = prepared(sets, tmp_path / "data", "--per-class", "9")
    assert not [row for row in index if "500" in row["file"]]
    dropped = json.loads((tmp_path / "data" / MANIFEST).read_text())["dropped"]
    assert dropped == {"equal films in two classes": 2}


def test_duplicate_counts_once_and_may_leave_a_class_short(sets, tmp_path, capsys):
    sets.add_covidx(
        "again.jpg.png", "COVID 77", class_8a="COVID-19", pixels=np.asarray(Image.open(sets.covidx / "train" / "covid3.png"))
    )
    assert len(prepared(sets, tmp_path / "data", "--per-class", "9")) == 27
    for name in ("NORMAL", "PNEUMONIA"):
        sets.add_chest_xray("person90_virus_9.jpeg", name)
    line = refused(sets, tmp_path / "more", capsys, "--per-class", "10")
    assert "class COVID-19: 9 films left after dropping from all classes 1 duplicate" in line
    assert "lower --per-class to 9" in line and not (tmp_path / "more" / IMAGES).exists()


def test_unreadable_films_stop_the_run_only_when_a_class_runs_short(sets, tmp_path, capsys):
    for number in range(2):
        (sets.covidx / "train" / f"covid{number}.png").write_text("no film")
    assert len(prepared(sets, tmp_path / "data")) == 21
    (sets.covidx / "train" / "covid2.png").write_text("no film")
    line = refused(sets, tmp_path / "more", capsys)
    assert "class COVID-19: 6 films left after dropping from all classes 3 unreadable" in line
    assert "covidx-cxr2/train/covid0.png: not a supported image type" in line and "lower" not in line
    assert not any((tmp_path / "more").iterdir())


def test_odd_files_beside_the_films_are_skipped_and_listed(sets, xray, tmp_path):
    for path in (xray / "odd_files").glob("bad-*"):
        shutil.copyfile(path, sets.chest_xray / "train" / "NORMAL" / path.name)
    prepared(sets, tmp_path / "data")
    skipped = {Path(row["file"]).name: row["reason"] for row in rows_of(tmp_path / "data" / "skipped.csv")}
    assert set(skipped) == {path.name for path in (xray / "odd_files").glob("bad-*")}
    assert "truncated" in skipped["bad-truncated.jpg"] and "GIF of several frames" in skipped["bad-animated-gif.png"]


def test_paper_negatives_reach_the_normal_class_and_strict_ones_do_not(sets, tmp_path):
    sets.add_covidx("unlisted.png", "COVID 700", "negative")
    assert len(prepared(sets, tmp_path / "strict", "--per-class", "9")) == 27
    files = {row["file"] for row in prepared(sets, tmp_path / "paper", "--negatives", "paper", "--per-class", "9")}
    (sets.chest_xray / "train" / "NORMAL" / "IM-0000-0001.jpeg").unlink()
    files |= {row["file"] for row in prepared(sets, tmp_path / "less", "--negatives", "paper", "--per-class", "9")}
    assert "covidx-cxr2/train/unlisted.png" in files


def test_second_run_does_nothing_and_other_settings_need_overwrite(sets, tmp_path, capsys):
    out = tmp_path / "data"
    prepared(sets, out)
    stamps = {path: path.stat().st_mtime_ns for path in out.iterdir()}
    capsys.readouterr()
    prepared(sets, out)
    assert "nothing to do" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in out.iterdir()} == stamps
    line = refused(sets, out, capsys, "--seed", "1")
    assert "holds the outputs of another run: seed 0 (now 1)" in line and "--overwrite" in line
    assert {path: path.stat().st_mtime_ns for path in out.iterdir()} == stamps
    prepared(sets, out, "--seed", "1", "--overwrite")
    assert json.loads((out / MANIFEST).read_text())["settings"]["seed"] == 1


def changed_back(path, write):
    """Change a film's file and give it the time of its last change back, as some copying programs do."""
    stat = path.stat()
    write(path)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert path.stat().st_size == stat.st_size and path.stat().st_mtime_ns == stat.st_mtime_ns


def flip_a_bit_of_the_last_row(path):
    """Make another film of the same length in bytes: the file is an uncompressed bitmap."""
    content = bytearray(path.read_bytes())
    content[-1] ^= 64
    path.write_bytes(content)


@pytest.mark.parametrize("keep_time", [True, False])
def test_film_replaced_by_another_of_its_length_is_noticed(sets, tmp_path, capsys, keep_time):
    out, path = tmp_path / "data", sets.chest_xray / "train" / "NORMAL" / "IM-0004-0001.jpeg"
    Image.open(path).save(path, "BMP")
    prepared(sets, out, "--per-class", "9")
    before, image_of = content(out), {row["file"]: row["sha256"] for row in rows_of(out / INDEX)}
    changed_back(path, flip_a_bit_of_the_last_row) if keep_time else flip_a_bit_of_the_last_row(path)
    capsys.readouterr()
    line = refused(sets, out, capsys, "--per-class", "9")
    assert "their files hold something else now" in line and "--overwrite" in line and content(out) == before
    after = {row["file"]: row["sha256"] for row in prepared(sets, out, "--per-class", "9", "--overwrite")}
    assert {file for file in after if after[file] != image_of[file]} == {"chest_xray/train/NORMAL/IM-0004-0001.jpeg"}


def test_copy_of_the_sets_with_other_times_is_the_same_films(sets, tmp_path, capsys):
    out = tmp_path / "data"
    prepared(sets, out)
    shutil.copytree(sets.covidx, tmp_path / "copy" / "covidx", copy_function=shutil.copyfile)
    shutil.copytree(sets.chest_xray, tmp_path / "copy" / "kermany", copy_function=shutil.copyfile)
    sets.covidx, sets.chest_xray = tmp_path / "copy" / "covidx", tmp_path / "copy" / "kermany"
    for path in sets.covidx.rglob("*.png"):
        os.utime(path, (1, 1))
    stamps = {path: path.stat().st_mtime_ns for path in out.iterdir()}
    capsys.readouterr()
    prepared(sets, out)
    assert "nothing to do" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in out.iterdir()} == stamps


def test_unchanged_films_are_not_read_again(sets, tmp_path, capsys, monkeypatch):
    prepared(sets, tmp_path / "data")
    monkeypatch.setattr(prepare, "read_bytes", None)
    prepared(sets, tmp_path / "data")
    assert "nothing to do" in capsys.readouterr().out


def test_manifest_that_records_no_contents_is_still_read(sets, tmp_path, capsys):
    prepared(sets, tmp_path / "data")
    manifest = json.loads((tmp_path / "data" / MANIFEST).read_text())
    for name in ("film_contents_sha256", "film_times_sha256", "warnings", "not_read"):
        del manifest[name]
    (tmp_path / "data" / MANIFEST).write_text(json.dumps(manifest))
    os.utime(sets.covidx / "train" / "covid0.png", (1, 1))
    prepared(sets, tmp_path / "data")
    assert "nothing to do" in capsys.readouterr().out


@pytest.mark.parametrize("workers", ["1", "2"])
def test_read_error_stops_with_the_films_name_and_writes_nothing(sets, tmp_path, capsys, workers):
    """Reading /proc/self/mem from its beginning is an input/output error, as a failing disk gives it."""
    path = sets.chest_xray / "train" / "PNEUMONIA" / "person77_virus_7.jpeg"
    path.symlink_to("/proc/self/mem")
    line = refused(sets, tmp_path / "data", capsys, "--workers", workers)
    assert line.startswith(f"error: {path}: not to be read now (Input/output error), which is no fault of the film")
    assert line.endswith("then run again") and not any((tmp_path / "data").iterdir())


def test_want_of_memory_stops_with_the_films_name_and_writes_nothing(sets, tmp_path, capsys, monkeypatch):
    def fails(_):
        raise MemoryError

    monkeypatch.setattr(prepare, "decode", fails)
    line = refused(sets, tmp_path / "data", capsys)
    assert str(sets.chest_xray) in line and "(Cannot allocate memory)" in line and "fewer --workers" in line
    assert not any((tmp_path / "data").iterdir())


def test_film_that_changes_while_the_others_are_prepared_stops_the_run(sets, tmp_path, capsys, monkeypatch):
    first = prepared(sets, tmp_path / "first")
    path_of(sets, first[0]).write_bytes(b"")  # so that another film stands in
    choose = prepare.choose

    def choose_late(films, *rest):
        chosen = choose(films, *rest)
        for film in films:
            film.path.write_bytes(b"")
        return chosen

    monkeypatch.setattr(prepare, "choose", choose_late)
    assert "changed while the films were being prepared" in refused(sets, tmp_path / "data", capsys)
    assert not any((tmp_path / "data").iterdir())


@pytest.mark.parametrize("films", [1, 5, 8])
def test_films_of_12_bits_in_16_are_named_on_stderr_and_in_the_manifest(sets, tmp_path, capsys, films):
    names = [f"IM-{700 + number:04d}-0001.jpeg" for number in range(films)]
    for number, name in enumerate(names):
        sets.add_chest_xray(name, "NORMAL", pixels=np.full((5, 5), 4000 + number, np.uint16))
    prepared(sets, tmp_path / "data")
    lines = capsys.readouterr().err.splitlines()
    files = [f"chest_xray/train/NORMAL/{name}" for name in names]
    shown = [line for line in lines if "nearly black" in line]
    assert [line.split(": ")[1] for line in shown] == files[:5]
    assert lines[len(shown) :] == (["warning: the same of 3 more films, which manifest.json names"] if films == 8 else [])
    assert list(json.loads((tmp_path / "data" / MANIFEST).read_text())["warnings"]) == files


def test_films_in_other_folders_are_counted_and_named(sets, tmp_path, capsys):
    for folder, films in (
        (sets.covidx / "validation", 2),
        (sets.covidx / "train" / "more", 3),
        (sets.chest_xray / "validation" / "NORMAL", 1),
        (sets.chest_xray / "test" / "NORMAL" / "a" / "b", 4),
        (sets.chest_xray / "chest_xray" / "train" / "NORMAL", 5),
        (sets.covidx / "__MACOSX" / "train", 5),
    ):
        folder.mkdir(parents=True)
        for number in range(films):
            shutil.copyfile(sets.covidx / "train" / "covid0.png", folder / f"{number}.PNG")
        (folder / "notes.txt").touch()
        (folder / "._0.png").touch()
    (sets.covidx / "linked").symlink_to(sets.covidx / "train", target_is_directory=True)
    index = prepared(sets, tmp_path / "data")
    expected = {
        "chest_xray/test/NORMAL/a/b": 4,
        "covidx-cxr2/train/more": 3,
        "covidx-cxr2/validation": 2,
        "chest_xray/validation/NORMAL": 1,
    }
    assert json.loads((tmp_path / "data" / MANIFEST).read_text())["not_read"] == expected and len(index) == 21
    named = ", ".join(f"{films} in {folder}" for folder, films in expected.items())
    assert f"  not read: {named}\n" in capsys.readouterr().out
    assert f"class COVID-19: 9 films found ({named} are not read); 50 wanted" in refused(
        sets, tmp_path / "more", capsys, "--per-class", "50"
    )


def test_sets_as_published_have_no_films_elsewhere(sets, tmp_path, capsys, phantom_sets):
    prepared(sets, tmp_path / "data")
    sets.covidx, sets.chest_xray = phantom_sets / "covidx-cxr2", phantom_sets / "chest-xray-pneumonia"
    prepared(sets, tmp_path / "phantoms", "--split", "random")
    assert "not read" not in capsys.readouterr().out


@pytest.mark.parametrize("damage", ["overview.png", "skipped.csv", PATIENTS, IMAGES])
def test_incomplete_outputs_are_made_again(sets, tmp_path, damage):
    prepared(sets, tmp_path / "data")
    whole = content(tmp_path / "data")
    if damage == IMAGES:
        os.truncate(tmp_path / "data" / IMAGES, 1000)
    else:
        (tmp_path / "data" / damage).unlink()
    prepared(sets, tmp_path / "data")
    assert content(tmp_path / "data") == whole


def test_outputs_without_a_manifest_are_not_replaced(sets, tmp_path, capsys):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / IMAGES).write_bytes(b"precious")
    assert "holds images.npy but no manifest.json" in refused(sets, tmp_path / "data", capsys)
    assert (tmp_path / "data" / IMAGES).read_bytes() == b"precious"


@pytest.mark.parametrize("step", ["decode_all", "assign_splits", "write_patients", "write_skipped", "draw_overview"])
def test_failure_leaves_the_old_outputs_and_no_temporary_files(sets, tmp_path, monkeypatch, capsys, step):
    out = tmp_path / "data"
    prepared(sets, out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(prepare, step, full)
    assert "No space left on device" in refused(sets, out, capsys, "--overwrite", "--seed", "5")
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_terminated_run_leaves_nothing_behind(sets, tmp_path, root):
    for number in range(20):
        sets.add_chest_xray(f"IM-9{number:03d}-0001.jpeg", "NORMAL", pixels=np.full((2500, 2500), number, np.uint8))
    out = tmp_path / "data"
    script = subprocess.Popen(
        [sys.executable, "-m", "data_processing.prepare", *sets.words(out)],
        cwd=root,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.time() + 20
    while not any(out.glob(f"{PART}*")) and time.time() < deadline:
        time.sleep(0.002)
    script.send_signal(signal.SIGTERM)
    _, errors = script.communicate(timeout=30)
    assert script.returncode == 130 and errors.split("\n")[1].startswith("stopped:") and "Traceback" not in errors
    assert not list(out.iterdir())


def test_a_run_killed_with_its_workers_at_work_goes_on_at_once(sets, tmp_path, root):
    for number in range(20):
        sets.add_chest_xray(f"IM-9{number:03d}-0001.jpeg", "NORMAL", pixels=np.full((2500, 2500), number, np.uint8))
    out = tmp_path / "data"
    command = [sys.executable, "-m", "data_processing.prepare", *sets.words(out, "--workers", "2")]
    with subprocess.Popen(command, cwd=root, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as script:
        workers = Path(f"/proc/{script.pid}/task/{script.pid}/children")
        while script.poll() is None and len(workers.read_text().split()) < 2:
            time.sleep(0.002)
        orphans = workers.read_text().split()
        script.kill()
    assert len(orphans) == 2 and run(prepare.main, sets.words(out)) == 0
    deadline = time.time() + 20
    while any(Path("/proc", process).is_dir() for process in orphans) and time.time() < deadline:
        time.sleep(0.1)
    assert not any(Path("/proc", process).is_dir() for process in orphans)
    assert not list(out.glob(".*"))


def test_killed_worker_is_one_line(sets, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(prepare, "leave_interrupts_to_parent", end_abruptly)
    assert "a decoding process was killed" in refused(sets, tmp_path / "data", capsys)
    assert not any((tmp_path / "data").iterdir())


def end_abruptly():
    os._exit(9)


@pytest.mark.parametrize("flag", ["--covidx", "--chest-xray"])
def test_folder_of_another_layout_is_one_line(sets, tmp_path, capsys, flag):
    line = refused(sets, tmp_path / "data", capsys, flag, str(tmp_path / "absent"))
    assert line.startswith(f"error: {tmp_path / 'absent'}: not a ") and line.endswith(f"check {flag}")
    assert not (tmp_path / "data").exists()


def test_row_without_its_film_and_a_class_too_small_write_nothing(sets, tmp_path, capsys):
    assert "class COVID-19: 9 films found; 50 wanted: lower --per-class to 9" in refused(
        sets, tmp_path / "data", capsys, "--per-class", "50"
    )
    (sets.covidx / "train" / "covid4.png").unlink()
    assert "train.txt line 5 names" in refused(sets, tmp_path / "data", capsys)
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    "words",
    [
        ["--per-class", "6"],
        ["--per-class", "x"],
        ["--seed", "-1"],
        ["--workers", "0"],
        ["--split", "none"],
        ["--image-size", "0"],
        ["--negatives", "all"],
        ["--more"],
    ],
)
def test_wrong_flags_exit_with_2(sets, tmp_path, words, capsys):
    with pytest.raises(SystemExit) as stop:
        run(prepare.main, sets.words(tmp_path / "data", *words))
    assert stop.value.code == 2 and words[0] in capsys.readouterr().err


def test_summary_gives_the_counts_of_the_index(sets, tmp_path, capsys):
    sets.add_covidx("left.png", "COVID 701", "negative", class_8a="pneumonia")
    index = prepared(sets, tmp_path / "data")
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "found 27 films" and "left out by the lists: 1 negative, but pneumonia" in printed[1]
    columns = next(line.split() for line in printed if line.strip().startswith("class"))
    for name in CLASSES:
        values = next(line.split() for line in printed if line.strip().startswith(name))
        assert dict(zip(columns[1:], map(int, values[1:]))) == {
            **{split: sum(row["class"] == name and row["split"] == split for row in index) for split in SPLITS},
            **{
                collection: sum(row["class"] == name and row["collection"] == collection for row in index)
                for collection in ("chest_xray", "covidx/sirm")
            },
        }
    assert "21 were enlarged" not in printed[-2] and "0 were enlarged, 0 are more than twice" in printed[-2]


def test_summary_counts_films_without_patient_and_groups_of_neighbours(sets, tmp_path, capsys):
    for number in (1, 3, 6, 20, 22, 40):  # the chains 1-3-6 and 20-22, and one film alone
        sets.add_covidx(f"COVID-{number}.png", f"COVID {number}", class_8a="COVID-19")
    for split, kept in (("patient", "kept together"), ("random", "not kept together")):
        prepared(sets, tmp_path / split, "--split", split, "--per-class", "9")
        drawn = [row for row in rows_of(tmp_path / split / INDEX) if row["file"].startswith("covidx-cxr2/train/COVID-")]
        sizes = Counter(row["group"] for row in drawn)
        neighbours = [films for films in sizes.values() if films > 1]
        assert (
            f"  {len(drawn)} of the drawn films have no patient id; groups of neighbours (numbers within 3) {kept}: "
            f"{len(neighbours)}, of {sum(neighbours)} films\n" in capsys.readouterr().out
        )
        assert neighbours


@pytest.mark.parametrize("split", ["patient", "random"])
def test_index_names_collection_patient_and_group_of_every_film(sets, tmp_path, split):
    for file, listed_id in (("COVID-1.png", "COVID 1"), ("COVID-3.png", "COVID 3"), ("scan-1.png", "P1")):
        sets.add_covidx(file, listed_id, class_8a="COVID-19")
    for file in ("unnamed.jpeg", "NORMAL-77-0001.jpeg", "IM-0900-0001.jpeg"):
        sets.add_chest_xray(file, "NORMAL")
    for file in ("VIRUS-77-0001.jpeg", "person901_virus_1.jpeg", "person902_bacteria_2.jpeg"):
        sets.add_chest_xray(file, "PNEUMONIA")
    index = prepared(sets, tmp_path / "data", "--split", split, "--per-class", "12")
    assert tuple(index[0]) == ("row", "split", "label", "class", "collection", "patient", "group", "file", "sha256")
    found = {row["file"].rsplit("/", 1)[1]: (row["collection"], row["patient"], row["group"]) for row in index}
    assert found["COVID-1.png"] == ("covidx/sirm", "", "covidx-cxr2/train/COVID-1.png")
    assert found["COVID-3.png"] == ("covidx/sirm", "", "covidx-cxr2/train/COVID-1.png")
    assert found["scan-1.png"] == ("covidx/sirm", "sirm:P1", "sirm:P1")
    assert found["unnamed.jpeg"] == ("chest_xray", "", "chest_xray/train/NORMAL/unnamed.jpeg")
    assert found["NORMAL-77-0001.jpeg"] == found["VIRUS-77-0001.jpeg"] == ("chest_xray", "kermany:77", "kermany:77")


def test_patients_table_has_one_row_for_each_number_of_the_films(sets, tmp_path):
    sets.add_covidx("scan-1.png", "COVID 0", class_8a="COVID-19")  # a second film of covid0.png's patient
    for number in (1, 3):
        sets.add_covidx(f"COVID-{number}.png", f"COVID {number}", class_8a="COVID-19")
        sets.add_chest_xray(f"person5_bacteria_{number}.jpeg", "PNEUMONIA")
        sets.add_chest_xray(f"unnamed{number}.jpeg", "NORMAL")
    index = prepared(sets, tmp_path / "data", "--per-class", "11")
    table = rows_of(tmp_path / "data" / PATIENTS)
    first_seen = list(dict.fromkeys(row["patient"] for row in index if row["patient"]))
    assert [tuple(row.values()) for row in table] == [(str(n), patient) for n, patient in enumerate(first_seen)]
    assert tuple(table[0]) == ("patient", "id")
    id_of = {-1: ""} | {int(row["patient"]): row["id"] for row in table}
    for split in SPLITS:
        films = open_split(tmp_path / "data", split)
        assert [id_of[number] for number in films.patients] == [index[row]["patient"] for row in films.rows]
    assert PATIENTS in json.loads((tmp_path / "data" / MANIFEST).read_text())["outputs"]


def test_no_real_test_film_without_a_patient_has_its_neighbour_elsewhere(xray, tmp_path):
    """In a split film by film, 176 of the 211 test films of the collection sirm have one."""
    assert (
        run(
            prepare.main,
            [
                "--covidx",
                str(xray / "covidx-cxr2"),
                "--chest-xray",
                str(xray / "chest-xray-pneumonia"),
                "--out",
                str(tmp_path / "data"),
                "--image-size",
                "4",
                "--workers",
                "2",
            ],
        )
        == 0
    )
    index = rows_of(tmp_path / "data" / INDEX)
    assert Counter((row["split"], row["class"]) for row in index) == {
        (split, name): films for split, films in zip(SPLITS, (1080, 120, 300)) for name in CLASSES
    }
    for collection, prefix in (("covidx/sirm", "COVID-"), ("covidx/rsna", "Normal-")):
        sides = {
            split: {
                int(Path(row["file"]).stem.removeprefix(prefix))
                for row in index
                if (row["collection"], row["split"], row["patient"]) == (collection, split, "")
            }
            for split in SPLITS
        }
        for split in ("test", "validation"):
            elsewhere = set().union(*(sides[other] for other in SPLITS if other != split))
            near = {number + step for number in elsewhere for step in (-3, -2, -1, 1, 2, 3)}
            assert len(sides[split]) > 30 and not sides[split] & near


def test_prepared_films_open_as_splits(sets, tmp_path):
    prepared(sets, tmp_path / "data")
    assert [len(open_split(tmp_path / "data", split)) for split in SPLITS] == [15, 3, 3]
    with Image.open(tmp_path / "data" / "overview.png") as overview:
        assert overview.width > 480 and np.asarray(overview.convert("L")).std() > 20


def test_workers_never_exceed_the_cores():
    assert prepare.useful_workers() == len(os.sched_getaffinity(0))
    assert prepare.parse_args(["--covidx", "a", "--chest-xray", "b"]).workers == 15


def test_help_loads_nothing_heavy(root):
    code = (
        "import sys\nfrom data_processing import prepare\ntry: prepare.main(['--help'])\n"
        "except SystemExit: print({'PIL', 'keras', 'tensorflow', 'pandas', 'tqdm'} & set(sys.modules))"
    )
    command = [sys.executable, "-c", code]
    shown = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout
    assert shown.endswith("set()\n") and "--covidx" in shown


def synthetic(sets, out, *words):
    """Run stage 1 and return what the manifest says."""
    prepared(sets, out, "--split", "random", *words)
    return json.loads((out / MANIFEST).read_text())["synthetic"]


def test_the_manifest_says_whether_the_films_are_synthetic(phantom_sets, sets, tmp_path):
    assert not synthetic(sets, tmp_path / "found")
    sets.covidx, sets.chest_xray = phantom_sets / "covidx-cxr2", phantom_sets / "chest-xray-pneumonia"
    assert synthetic(sets, tmp_path / "drawn")


@pytest.mark.parametrize(
    "covidx, chest_xray",
    [
        (".", "../chest-xray-pneumonia"),
        ("..", "../chest-xray-pneumonia/chest_xray"),
        ("../covidx-cxr2/.", "../covidx-cxr2/../chest-xray-pneumonia"),
        ("train/..", "../chest-xray-pneumonia/chest_xray/train/.."),
        ("{links}/covidx", "{links}/kermany"),
        ("{links}/parent", "{links}/kermany/chest_xray/../chest_xray"),
        ("{parts}", "{links}/kermany"),
    ],
)
def test_synthetic_films_are_known_whatever_their_folder_is_called(
    phantom_sets, sets, tmp_path, monkeypatch, covidx, chest_xray
):
    links, parts = tmp_path / "links", tmp_path / "parts" / "a" / "b" / "c"
    for folder in (links, parts):
        folder.mkdir(parents=True)
    (links / "covidx").symlink_to(phantom_sets / "covidx-cxr2")
    (links / "kermany").symlink_to(phantom_sets / "chest-xray-pneumonia")
    (links / "parent").symlink_to(phantom_sets)
    for path in (phantom_sets / "covidx-cxr2").iterdir():
        (parts / path.name).symlink_to(path)
    monkeypatch.chdir(phantom_sets / "covidx-cxr2")
    sets.covidx, sets.chest_xray = (Path(name.format(links=links, parts=parts)) for name in (covidx, chest_xray))
    assert synthetic(sets, tmp_path / "data")


def test_real_films_where_phantoms_were_are_not_synthetic_and_one_phantom_is_enough(phantom_sets, sets, tmp_path):
    shutil.copyfile(phantom_sets / MANIFEST, sets.covidx.parent / MANIFEST)
    assert not synthetic(sets, tmp_path / "data")
    drawn = next((phantom_sets / "chest-xray-pneumonia" / "chest_xray" / "train" / "NORMAL").iterdir())
    shutil.copyfile(drawn, sets.chest_xray / "train" / "NORMAL" / "IM-0900-0001.jpeg")
    assert synthetic(sets, tmp_path / "mixed")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "null",
        "{}",
        '{"stage": "phantom"}',
        '{"stage": "phantom", "outputs": [1]}',
        '{"stage": "phantom", "outputs": {"a": ["b"]}}',
        "\udcff",
        "[" * 100_000,
    ],
)
def test_another_programs_manifest_beside_the_films_is_let_alone(sets, tmp_path, text):
    for folder in (sets.covidx, sets.chest_xray, sets.covidx.parent):
        (folder / MANIFEST).write_bytes(text.encode(errors="surrogateescape"))
    assert not synthetic(sets, tmp_path / "data")
    assert (sets.covidx / MANIFEST).read_bytes() == text.encode(errors="surrogateescape")


@pytest.mark.parametrize("text", ["[]", "no JSON", '{"name": "a web page"}', '{"settings": [1]}', "[" * 100_000])
def test_another_programs_manifest_where_to_write_is_one_line_before_the_work(sets, tmp_path, capsys, monkeypatch, text):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / MANIFEST).write_text(text)
    with monkeypatch.context() as patch:
        patch.setattr(prepare, "decode_all", None)
        line = refused(sets, tmp_path / "data", capsys)
    assert str(tmp_path / "data" / MANIFEST) in line and "--overwrite" in line
    assert (tmp_path / "data" / MANIFEST).read_text() == text
    assert len(prepared(sets, tmp_path / "data", "--overwrite")) == 21


def test_without_semaphores_the_films_are_the_same_and_a_line_says_so(sets, tmp_path, capsys, monkeypatch):
    prepared(sets, tmp_path / "with")
    monkeypatch.setattr(_multiprocessing, "SemLock", no_semaphores)
    prepared(sets, tmp_path / "without")
    (line,) = capsys.readouterr().err.splitlines()
    assert "worker processes cannot be had here" in line and "/dev/shm" in line
    assert content(tmp_path / "with") == content(tmp_path / "without")


def no_semaphores(*_):
    raise OSError(errno.ENOSYS, "Function not implemented")


def test_file_system_that_cannot_reserve_space_holds_the_same_films(sets, tmp_path, monkeypatch):
    prepared(sets, tmp_path / "with")

    def refuses(*_):
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(os, "posix_fallocate", refuses)
    prepared(sets, tmp_path / "without")
    monkeypatch.delattr(os, "posix_fallocate")
    prepared(sets, tmp_path / "absent")
    assert content(tmp_path / "with") == content(tmp_path / "without") == content(tmp_path / "absent")
