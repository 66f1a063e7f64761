"""Parts of a sweep, attacked apart and joined: the same bytes as a single run's."""

import json
import shutil

import numpy as np
import pytest
from tiny import LinearSoftmax, random_films, write_data

import attack
from nosign.classifiers import build
from nosign.script import run
from nosign.sweep.options import Shard

SIZE, FILMS, TRAINING_FILMS, BATCH, PARTS = 12, 14, 9, 3, 3
SETTINGS = [
    *("--single-step-strengths", "0.004", "0.02", "--iterative-strengths", "0.002", "--steps", "2", "--batch", str(BATCH)),
    *("--attacks", "fgsm", "fgnm", "bim", "pgdnm", "noise", "universal", "--universal-films", "3"),
    *("--control-films", "2", "--iterative-turning", "1"),
    *("--stored-turning", "--storing-strengths", "0.02", "--storages", "8 bits", "JPEG 95", "--save-films"),
    *("--targets", "VGG16", "InceptionV3"),
]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """A folder with test films behind training films, and two tiny models."""
    folder = tmp_path_factory.mktemp("workplace")
    images = random_films(TRAINING_FILMS + FILMS, SIZE, seed=3)
    models = {name: LinearSoftmax((SIZE, SIZE, 3), seed=seed, spread=0.1) for seed, name in enumerate(("VGG16", "InceptionV3"))}
    labels = models["VGG16"].logits(images / 255).argmax(-1)
    labels[-3:] = (labels[-3:] + 1) % 3  # some are wrong before any attack
    write_data(folder / "data", images, labels, ["train"] * TRAINING_FILMS + ["test"] * FILMS)
    for name, model in models.items():
        build.save(model.classifier(), folder / f"model/{name}.keras")
    return folder


def attacked(workplace, out, *more):
    """Run stage 3; return its exit status."""
    return run(
        attack.main, ["--data", f"{workplace}/data", "--models", f"{workplace}/model", "--out", str(out), *SETTINGS, *more]
    )


def contents(out):
    """Return the bytes of all that stage 3 left in a folder, parts and manifests aside."""
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.suffix in (".csv", ".npz", ".npy") and "shards" not in path.relative_to(out).parts
    }


@pytest.fixture(scope="module")
def single(workplace, tmp_path_factory):
    """The results of a single run."""
    out = tmp_path_factory.mktemp("single") / "results"
    assert attacked(workplace, out) == 0
    return out


@pytest.fixture(scope="module")
def parts(workplace, tmp_path_factory):
    """A results folder in which all parts were attacked, the last one first."""
    out = tmp_path_factory.mktemp("parts") / "results"
    for number in range(PARTS, 0, -1):
        assert attacked(workplace, out, "--shard", f"{number}/{PARTS}") == 0
    return out


@pytest.fixture
def copy(parts, tmp_path):
    """A copy of these parts."""
    return shutil.copytree(parts, tmp_path / "results")


def refusal(capsys, *command):
    """Run a command that must fail with status 1; return its line on stderr."""
    capsys.readouterr()
    assert attacked(*command) == 1
    return capsys.readouterr().err.splitlines()[-1]


def test_parts_cover_the_films_once_and_begin_at_whole_batches():
    for films, batch, count in ((14, 3, 3), (900, 8, 16), (5, 8, 1), (7, 2, 4), (1, 1, 1), (9, 3, 7)):
        spans = [Shard(number, count).span(films, batch) for number in range(1, count + 1)]
        assert [film for start, stop in spans for film in range(start, stop)] == list(range(films))
        assert all(start % batch == 0 for start, _ in spans)


def test_joined_parts_are_the_bytes_of_a_single_run(workplace, single, copy):
    assert attacked(workplace, copy) == 0
    expected, found = contents(single), contents(copy)
    assert sorted(found) == sorted(expected) and len(found) > 40
    assert [name for name in expected if found[name] != expected[name]] == []
    manifests = [json.loads((out / "attacks/VGG16/paper/manifest.json").read_text()) for out in (single, copy)]
    assert manifests[0]["health"] == manifests[1]["health"] and manifests[0]["settings"] == manifests[1]["settings"]
    assert len(manifests[1]["shards"]) == PARTS


def test_joining_attacks_nothing_but_what_takes_all_films(workplace, copy, monkeypatch):
    from nosign.sweep.sweep import Sweep

    def refuse(*_):
        raise AssertionError("attacked again")

    monkeypatch.setattr(Sweep, "run", refuse)
    monkeypatch.setattr("nosign.sweep.run.find_turning", refuse)
    monkeypatch.setattr("nosign.sweep.run.find_boundaries", refuse)
    monkeypatch.setattr("nosign.sweep.run.clean_rows", refuse)
    monkeypatch.setattr("nosign.sweep.universal.fit_field", refuse)
    assert attacked(workplace, copy) == 0


def test_a_part_holds_its_films_alone(parts):
    rows = [np.loadtxt(parts / f"shards/{n}-of-{PARTS}/clean.csv", delimiter=",", skiprows=1, usecols=0) for n in (1, 2, 3)]
    assert [len(films) for films in rows] == [3, 6, 5]
    assert not (parts / "shards/1-of-3/examples").exists() and not (parts / "clean.csv").exists()


def test_a_part_that_was_finished_is_not_attacked_again(workplace, copy, capsys):
    assert attacked(workplace, copy, "--shard", f"2/{PARTS}") == 0
    assert "nothing to do" in capsys.readouterr().out


def test_missing_and_unfinished_and_other_parts_are_named_and_nothing_is_written(workplace, copy, tmp_path, capsys):
    manifest, cell = (copy / "shards/2-of-3/attacks/VGG16/paper" / name for name in ("manifest.json", "bim/0.002.csv"))
    whole, rows = manifest.read_text(), cell.read_bytes()
    manifest.write_text(json.dumps({**json.loads(whole), "finished": False}))
    cell.unlink()
    assert "part 2/3 is not finished; run attack.py with --shard 2/3" in refusal(capsys, workplace, copy)
    manifest.write_text(whole)
    cell.write_bytes(rows.replace(b"0", b"1", 1))
    assert "bim/0.002.csv: holds something else than its manifest recorded" in refusal(capsys, workplace, copy)
    cell.write_bytes(rows)
    assert "steps 2 (now 3)" in refusal(capsys, workplace, copy, "--steps", "3")
    shutil.copytree(copy / "shards/1-of-3", copy / "shards/1-of-4")
    assert "parts of 3 and of 4" in refusal(capsys, workplace, copy)
    shutil.rmtree(copy / "shards/1-of-4")
    shutil.rmtree(copy / "shards/3-of-3")
    assert "3-of-3: part 3/3 is not finished" in refusal(capsys, workplace, copy)
    assert contents(copy) == {}


def test_another_sweep_need_not_be_attacked_in_parts(workplace, copy):
    (copy / "shards/notes").mkdir()
    few = ["--protocol", "budget", "--attacks", "binm", "--iterative-turning", "0", "--storing-strengths"]
    assert attacked(workplace, copy, *few) == 0
    assert (copy / "attacks/VGG16/budget-steps-2/binm/0.002.csv").is_file()
    assert "shards" not in json.loads((copy / "attacks/VGG16/budget-steps-2/manifest.json").read_text())


def test_a_part_where_another_sweep_is_at_work_is_joined(workplace, copy, single):
    for number in range(1, PARTS + 1):
        manifest = copy / f"shards/{number}-of-3/attacks/VGG16/paper/manifest.json"
        manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "finished": False}))
    assert attacked(workplace, copy) == 0
    assert contents(copy) == contents(single)


def test_parts_of_other_searches_or_fields_are_not_joined(workplace, copy, capsys):
    assert "turning.csv: turning strengths of" in refusal(capsys, workplace, copy, "--iterative-turning", "2")
    assert "field-3.npy: a field that was fitted on other films" in refusal(capsys, workplace, copy, "--universal-films", "6")
    assert contents(copy) == {}


def test_what_was_joined_is_not_left_beside_a_part_that_is_attacked_anew(workplace, copy, capsys):
    assert attacked(workplace, copy) == 0
    before = contents(copy / "shards/2-of-3")
    assert "joined from the parts" in refusal(capsys, workplace, copy, "--shard", "2/3", "--overwrite")
    assert contents(copy / "shards/2-of-3") == before
    shutil.rmtree(copy / "attacks")
    assert attacked(workplace, copy, "--shard", "2/3", "--overwrite") == 0 == attacked(workplace, copy)


def test_more_parts_than_batches_are_refused(workplace, tmp_path, capsys):
    assert "only 5 batches of 3 films" in refusal(capsys, workplace, tmp_path, "--shard", "1/9")
    assert "leave --shard out" in refusal(capsys, workplace, tmp_path, "--shard", "1/2", "--rescore", str(tmp_path / "x"))
    for wrong in ("0/3", "4/3", "3", "a/b", "1/3/2"):
        with pytest.raises(SystemExit, match="2"):
            attack.parse_args(["--shard", wrong])
