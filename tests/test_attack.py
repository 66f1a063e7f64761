"""The script of stage 3 from end to end: what it writes, how it goes on after a stop, and what it refuses."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
from tiny import LinearSoftmax, random_films, reference_attack, write_data

import attack
from nosign import rows
from nosign.attacks.catalogue import ATTACKS, LOSSES, UNIVERSAL
from nosign.classifiers import build
from nosign.files import machine, sha256_of_model
from nosign.measures.storage import STORAGES
from nosign.paper import ITERATIVE_STRENGTHS, PAPER_ATTACKS, SINGLE_STEP_STRENGTHS
from nosign.rows import logit_columns, with_classes
from nosign.script import run
from nosign.sweep.gradients import GRADIENT_FACTS

SIZE, FILMS, TRAINING_FILMS = 12, 10, 2
MODELS = {"VGG16": 0, "InceptionV3": 1, "DenseNet201": 2}
SETTINGS = ["--single-step-strengths", "0.0005", "0.02", "--iterative-strengths", "0.002", "--steps", "3", "--batch", "4"]
SWEEP = "attacks/VGG16/paper"


def linear(name, size=SIZE, **options):
    return LinearSoftmax((size, size, 3), **{"seed": MODELS[name], "spread": 0.1, **options})


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """A folder with ten test films behind two training films and three tiny models."""
    folder = tmp_path_factory.mktemp("workplace")
    images = random_films(TRAINING_FILMS + FILMS, SIZE, seed=21)
    labels = linear("VGG16").logits(images / 255).argmax(-1)
    write_data(folder / "data", images, labels, ["train"] * TRAINING_FILMS + ["test"] * FILMS)
    for name in MODELS:
        build.save(linear(name).classifier(), folder / f"model/{name}.keras")
    return folder


def words(workplace, out, *more, data="data", models="model"):
    """Return a command line; later words win."""
    return ["--data", str(workplace / data), "--models", str(workplace / models), "--out", str(out), *SETTINGS, *more]


def contents(out):
    """Return the bytes of all results below a folder, by relative path; manifests and hidden files aside."""
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.suffix in (".csv", ".npz") and not path.name.startswith(".")
    }


def read_rows(path):
    """Return a file's rows with a column of the class that each model sees, in its eight-bit films too."""
    return with_classes(pd.read_csv(path))


def cells_of(names):
    """Return those of some paths that are cells' own files."""
    return {
        name
        for name in names
        if name.startswith("attacks")
        and name.count(".csv")
        and name.rsplit("/", 1)[1].removesuffix(".csv").replace(".", "", 1).isdigit()
    }


@pytest.fixture(scope="module")
def undisturbed(workplace, tmp_path_factory):
    """The results of a run that nothing disturbs; not to be changed."""
    out = tmp_path_factory.mktemp("undisturbed") / "results"
    assert run(attack.main, words(workplace, out)) == 0
    return out


@pytest.fixture
def copy(undisturbed, tmp_path):
    """A copy of these results."""
    return shutil.copytree(undisturbed, tmp_path / "results")


def refusal(capsys, argv):
    """Run a command that must fail with status 1, and return its one line on stderr."""
    capsys.readouterr()
    assert run(attack.main, argv) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: ")
    return lines[0]


def test_a_run_writes_one_cell_for_each_attack_and_strength(undisturbed):
    single = {f"{SWEEP}/{name}/{strength}.csv" for name in ("fgsm", "fgnm") for strength in ("0.0005", "0.02")}
    iterative = {f"{SWEEP}/{name}/0.002.csv" for name in ("bim", "binm", "pgd", "pgdnm")}
    found = set(contents(undisturbed))
    assert cells_of(found) == single | iterative
    beside = {cell.replace(".csv", ending) for cell in single | iterative for ending in (".steps.csv", ".viewer.npz")}
    once = {f"{SWEEP}/{name}/{file}.csv" for name in ("fgsm", "fgnm") for file in ("boundary", "turning")}
    assert found - cells_of(found) == {"clean.csv", "examples/fgnm.npz", "examples/pgdnm.npz", *beside, *once}


def test_every_cells_predictions_equal_a_slow_recomputation(workplace, undisturbed):
    images = np.load(workplace / "data/images.npy")
    for name in PAPER_ATTACKS:
        strength = 0.002 if ATTACKS[name].iterative else 0.02
        frame = read_rows(undisturbed / f"{SWEEP}/{name}/{strength}.csv")
        np.testing.assert_array_equal(frame["film"], np.arange(TRAINING_FILMS, len(images)))
        for row in frame.to_dict("records"):
            film = images[row["film"]] / 255
            noise = np.random.default_rng([0, row["film"]]).random(film.shape, dtype=np.float32) * 2.0 - 1.0
            changed = reference_attack(
                linear("VGG16"), name, film, row["label"], strength, protocol="paper", steps=3, noise=noise
            )
            for model in MODELS:
                assert row[model] == linear(model).logits(changed[None]).argmax()
            assert row["linf"] == pytest.approx(np.abs(changed - film).max(), abs=1e-6)


def test_the_manifests_say_what_was_run(workplace, undisturbed):
    whole, sweep = (json.loads((undisturbed / place / "manifest.json").read_text()) for place in (".", SWEEP))
    assert set(whole["settings"]["models"]) == set(MODELS) and whole["settings"]["films"] == FILMS
    assert sweep["settings"].items() >= {"source": "VGG16", "protocol": "paper", "steps": 3, "seed": 0, "batch": 4}.items()
    assert whole["finished"] is True and sweep["finished"] is True
    assert len(whole["commands"]) == len(sweep["commands"]) == 1
    assert set(whole["outputs"]) == {"clean.csv"}
    assert set(sweep["outputs"]) == {name.removeprefix(SWEEP + "/") for name in contents(undisturbed) if name.startswith(SWEEP)}
    assert sweep["packages"]["keras"] and sweep["device"]["precision"] == "float32"


@pytest.mark.parametrize(
    "gone",
    [
        [f"{SWEEP}/fgsm/0.02.csv", f"{SWEEP}/pgd/0.002.csv", "examples/pgdnm.npz"],
        ["clean.csv", f"{SWEEP}/binm/0.002.csv"],
        [f"{SWEEP}/pgdnm/0.002.csv"],
    ],
)
def test_a_stopped_run_goes_on_and_ends_with_the_same_bytes(workplace, undisturbed, copy, gone, capsys):
    expected = contents(undisturbed)
    for name in gone:
        (copy / name).unlink()
    kept = {copy / name: (copy / name).stat().st_mtime_ns for name in cells_of(contents(copy))}
    assert run(attack.main, words(workplace, copy)) == 0
    assert contents(copy) == expected
    assert all(path.stat().st_mtime_ns == before for path, before in kept.items())
    cells = sum(name.startswith("attacks") for name in gone)
    assert f"8 cells, {8 - cells} of them finished" in capsys.readouterr().out


def test_a_run_that_is_killed_several_times_leaves_whole_files_only_and_goes_on(root, workplace, tmp_path):
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    more = [
        "--attacks",
        "fgnm",
        "pgd",
        "--single-step-strengths",
        *map(str, np.arange(1, 11) / 1000),
        "--iterative-strengths",
        *map(str, np.arange(1, 21) / 1000),
        "--steps",
        "20",
        "--save-films",
        "--storing-strengths",
        "0.003",
    ]
    assert run(attack.main, words(workplace, whole, *more)) == 0
    expected = contents(whole)
    for _ in range(3):
        before = len(contents(killed))
        process = subprocess.Popen(
            [sys.executable, "attack.py", *words(workplace, killed, *more)],
            cwd=root,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.time() + 120
        while len(contents(killed)) <= before and process.poll() is None and time.time() < deadline:
            time.sleep(0.005)
        time.sleep(random.random() / 4)
        process.kill()
        assert process.wait() == -signal.SIGKILL
        assert before < len(contents(killed)) and contents(killed).items() <= expected.items()
    assert len(contents(killed)) < len(expected)
    assert run(attack.main, words(workplace, killed, *more)) == 0
    assert contents(killed) == expected


# Too small for the gradients of ten films, and for the films of a cell.
@pytest.mark.parametrize("room", [6000, 17300])
def test_a_full_disk_ends_with_one_line_and_nothing_corrupt(root, workplace, undisturbed, tmp_path, room):
    # No file may grow beyond so many bytes; as on a full disk, the write that would fails.
    limited = (
        f"import resource, runpy, sys; resource.setrlimit(resource.RLIMIT_FSIZE, ({room}, {room})); "
        "sys.argv = sys.argv[1:]; runpy.run_path('attack.py', run_name='__main__')"
    )
    command = [sys.executable, "-c", limited, "attack.py", *words(workplace, tmp_path / "out", "--save-films")]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    lines = [line for line in done.stderr.replace("\r", "\n").splitlines() if line and "passes" not in line]
    assert done.returncode == 1 and len(lines) == 1 and lines[0].startswith("error: File too large"), done.stderr
    assert not [path for path in (tmp_path / "out").rglob("*") if path.name.startswith(".part")]
    assert contents(tmp_path / "out").items() <= contents(undisturbed).items()
    assert run(attack.main, words(workplace, tmp_path / "out")) == 0
    assert contents(tmp_path / "out") == contents(undisturbed)


def test_a_run_that_is_stopped_after_an_unfinished_start_goes_on(workplace, undisturbed, tmp_path, monkeypatch):
    # The first start was stopped between making the sweep's folder and writing its manifest.
    (tmp_path / SWEEP).mkdir(parents=True)
    write_cell = rows.write_cell

    def write_one_cell(path, recorded):
        if list(tmp_path.rglob("0.0005.csv")):
            raise KeyboardInterrupt
        write_cell(path, recorded)

    with monkeypatch.context() as patched:
        patched.setattr(rows, "write_cell", write_one_cell)
        assert run(attack.main, words(workplace, tmp_path)) == 130
    assert run(attack.main, words(workplace, tmp_path)) == 0
    assert contents(tmp_path) == contents(undisturbed)


def test_validation_films_are_attacked_when_asked_for_and_not_mixed_with_test_films(
    workplace, undisturbed, copy, tmp_path, capsys
):
    images = np.load(workplace / "data/images.npy")
    labels = linear("VGG16").logits(images / 255).argmax(-1)
    write_data(tmp_path / "data", images, labels, ["train"] * 2 + ["validation"] * 4 + ["test"] * 6)
    few = [*words(workplace, tmp_path / "out", "--attacks", "fgsm", "--targets", "VGG16"), "--data", str(tmp_path / "data")]
    assert run(attack.main, [*few, "--split", "validation", "--films", "3"]) == 0
    assert "3 validation films, 2 cells" in capsys.readouterr().out
    assert pd.read_csv(tmp_path / "out" / SWEEP / "fgsm/0.02.csv")["film"].tolist() == [2, 3, 4]
    assert rows.recorded_films(tmp_path / "out") == "validation films" and rows.recorded_films(undisturbed) == "test films"
    assert 'split "validation" (now null)' in refusal(capsys, [*few, "--films", "3"])
    assert "split" not in json.loads((undisturbed / "manifest.json").read_text())["settings"]
    assert 'split null (now "validation")' in refusal(
        capsys, [*words(tmp_path, copy, "--split", "validation"), "--models", str(workplace / "model")]
    )


OTHER = {
    "steps": (["--steps", "4"], "steps 3 (now 4)"),
    "seed": (["--seed", "1"], "seed 0 (now 1)"),
    "batch": (["--batch", "5"], "batch 4 (now 5)"),
    "films": (["--films", "9"], "films 10 (now 9)"),
    "targets": (["--targets", "VGG16"], "models {"),
}


@pytest.mark.parametrize("more, message", OTHER.values(), ids=OTHER)
def test_results_of_other_settings_are_not_mixed(workplace, undisturbed, copy, capsys, more, message):
    line = refusal(capsys, words(workplace, copy, *more))
    assert message in line and str(copy) in line and "--overwrite" in line and "--out" in line
    assert contents(copy) == contents(undisturbed)


def test_results_of_other_films_or_models_are_not_mixed(workplace, undisturbed, copy, tmp_path, capsys):
    shutil.copytree(workplace / "data", tmp_path / "data")
    images = np.load(tmp_path / "data/images.npy")
    images[0, 0, 0, 0] ^= 1
    np.save(tmp_path / "data/images.npy", images)
    assert "images.npy" in refusal(capsys, [*words(workplace, copy), "--data", str(tmp_path / "data")])
    shutil.copytree(workplace / "model", tmp_path / "model")
    build.save(linear("VGG16", seed=9).classifier(), tmp_path / "model/VGG16.keras")
    assert "models" in refusal(capsys, [*words(workplace, copy), "--models", str(tmp_path / "model")])
    assert contents(copy) == contents(undisturbed)


@pytest.mark.parametrize("place", [".", SWEEP])
def test_results_without_a_manifest_are_not_taken_for_this_runs(workplace, copy, capsys, place):
    (copy / place / "manifest.json").unlink()
    (copy / SWEEP / "fgsm/0.02.csv").unlink()
    assert "no manifest" in refusal(capsys, words(workplace, copy))


def test_clean_predictions_without_a_manifest_are_not_taken_for_this_runs(workplace, copy, capsys):
    shutil.rmtree(copy / "attacks")
    (copy / "manifest.json").unlink()
    assert "no manifest" in refusal(capsys, words(workplace, copy))


def test_a_run_that_failed_before_its_first_result_leaves_nothing_in_the_way(workplace, tmp_path, capsys):
    shutil.copytree(workplace / "model", tmp_path / "model")
    build.save(linear("DenseNet201", size=16).classifier(), tmp_path / "model/DenseNet201.keras")
    short = [*words(workplace, tmp_path / "out"), "--attacks", "fgsm", "--models", str(tmp_path / "model")]
    (tmp_path / "out/reference").mkdir(parents=True)
    (tmp_path / "out/reference/table2.csv").write_text("tables stand beside the results\n")
    line = refusal(capsys, short)
    assert "DenseNet201.keras" in line and "16 px" in line and "12 px" in line
    shutil.copy(workplace / "model/DenseNet201.keras", tmp_path / "model/DenseNet201.keras")
    assert run(attack.main, short) == 0


def test_overwrite_replaces_this_sweep_and_keeps_the_others(workplace, undisturbed, copy):
    other = copy / "attacks/InceptionV3/paper/fgsm/0.02.csv"
    other.parent.mkdir(parents=True)
    other.write_text("another sweep of the same films and models\n")
    assert run(attack.main, words(workplace, copy, "--attacks", "fgnm", "--seed", "1", "--overwrite")) == 0
    assert cells_of(contents(copy)) == {
        "attacks/InceptionV3/paper/fgsm/0.02.csv",
        f"{SWEEP}/fgnm/0.0005.csv",
        f"{SWEEP}/fgnm/0.02.csv",
    }
    assert not list((copy / SWEEP).glob("fgsm*")) and not (copy / "examples/pgdnm.npz").exists()
    assert (copy / "clean.csv").read_bytes() == (undisturbed / "clean.csv").read_bytes()
    # The seed moves random starts alone, so these cells come out as before.
    assert (copy / SWEEP / "fgnm/0.02.csv").read_bytes() == (undisturbed / SWEEP / "fgnm/0.02.csv").read_bytes()
    assert json.loads((copy / SWEEP / "manifest.json").read_text())["settings"]["seed"] == 1


def test_overwrite_with_other_films_removes_all_sweeps(workplace, copy):
    other = copy / "attacks/InceptionV3/paper/fgsm/0.02.csv"
    other.parent.mkdir(parents=True)
    other.write_text("a sweep of other films\n")
    assert run(attack.main, words(workplace, copy, "--attacks", "fgsm", "--films", "6", "--overwrite")) == 0
    assert cells_of(contents(copy)) == {f"{SWEEP}/fgsm/0.0005.csv", f"{SWEEP}/fgsm/0.02.csv"}
    assert len(pd.read_csv(copy / "clean.csv")) == len(pd.read_csv(copy / SWEEP / "fgsm/0.02.csv")) == 6


def test_overwrite_keeps_the_results_if_a_model_cannot_be_used(workplace, undisturbed, copy, tmp_path, capsys):
    shutil.copytree(workplace / "model", tmp_path / "model")
    build.save(linear("VGG16", size=16).classifier(), tmp_path / "model/VGG16.keras")
    refusal(capsys, [*words(workplace, copy, "--overwrite"), "--models", str(tmp_path / "model")])
    assert contents(copy) == contents(undisturbed)


def test_two_protocols_stand_side_by_side_and_each_is_finished_once(workplace, undisturbed, copy, capsys):
    budget = words(workplace, copy, "--protocol", "budget", "--attacks", "fgnm")
    assert run(attack.main, budget) == 0
    (copy / "examples/fgnm.npz").unlink()
    capsys.readouterr()
    # Only the paper's protocol makes the figures' examples.
    assert run(attack.main, budget) == 0
    assert "nothing to do" in capsys.readouterr().out
    frame = pd.read_csv(copy / "attacks/VGG16/budget-steps-3/fgnm/0.02.csv")
    assert frame["linf"].max() <= 0.02 + 1e-6
    assert contents(copy).items() >= {key: value for key, value in contents(undisturbed).items() if "npz" not in key}.items()


def test_several_numbers_of_steps_stand_side_by_side_in_budget_alone(workplace, tmp_path, capsys):
    few = ["--attacks", "binm", "--protocol", "budget", "--step-factor", "2"]
    for steps in (10, 3, 2):
        assert run(attack.main, words(workplace, tmp_path, *few, "--steps", str(steps))) == 0
    folders = {steps: f"budget-factor-2{ending}" for steps, ending in {10: "", 3: "-steps-3", 2: "-steps-2"}.items()}
    for steps, folder in folders.items():
        path = tmp_path / "attacks/VGG16" / folder / "binm/0.002.steps.csv"
        settings = json.loads((path.parents[1] / "manifest.json").read_text())["settings"]
        assert (settings["steps"], settings["step_factor"]) == (steps, 2) and pd.read_csv(path)["step"].max() == steps
    assert len(list((tmp_path / "attacks/VGG16").iterdir())) == len(folders)
    assert run(attack.main, words(workplace, tmp_path, "--attacks", "binm")) == 0
    assert "steps 3 (now 4)" in refusal(capsys, words(workplace, tmp_path, "--attacks", "binm", "--steps", "4"))


def test_all_sources_fill_the_transfer_matrix_as_single_runs_do(workplace, tmp_path):
    few = ["--attacks", "fgnm", "pgd", "--single-step-strengths", "0.02"]
    assert run(attack.main, words(workplace, tmp_path / "all", *few, "--source", "all")) == 0
    for source in MODELS:
        assert run(attack.main, words(workplace, tmp_path / "one", *few, "--source", source)) == 0
    together, apart = contents(tmp_path / "all"), contents(tmp_path / "one")
    assert {path.split("/")[1] for path in together if "/" in path} >= set(MODELS)
    # The examples for the figures belong to the first sweep of a folder.
    assert {k: v for k, v in together.items() if "npz" not in k} == {k: v for k, v in apart.items() if "npz" not in k}


def test_conditions_have_folders_of_their_own(workplace, copy, undisturbed):
    for more in (["--target", "Normal"], ["--protocol", "budget", "--norm", "l2"]):
        assert run(attack.main, words(workplace, copy, "--attacks", "mifgnm", *more)) == 0
    found = set(contents(copy)) - set(contents(undisturbed))
    assert cells_of(found) == {
        "attacks/VGG16/paper-to-Normal/mifgnm/0.002.csv",
        "attacks/VGG16/budget-l2-steps-3/mifgnm/0.002.csv",
    }
    settings = json.loads((copy / "attacks/VGG16/paper-to-Normal/manifest.json").read_text())["settings"]
    assert settings["target"] == "Normal" and settings["norm"] == "linf"


def test_grey_attacks_have_a_folder_of_their_own_and_change_all_channels_alike(workplace, copy):
    grey = ["--grey", "--attacks", "fgnm", "pgd", "--save-films"]
    assert run(attack.main, words(workplace, copy, *grey)) == 0
    images = np.load(workplace / "data/images.npy")[TRAINING_FILMS:] / np.float32(255)
    inside = (images > 0.1).all(-1) & (images < 0.9).all(-1)
    for name in ("fgnm/0.02", "pgd/0.002"):
        changes = (np.load(copy / f"{SWEEP}-grey/{name}.npy") - images)[inside]
        assert np.abs(changes - changes[:, :1]).max() < 1e-6 < np.abs(changes).max()


def test_storing_is_measured_at_the_strengths_that_are_asked_for_also_later(workplace, undisturbed, copy):
    few = ["--attacks", "fgsm", "bim", "--storing-strengths", "0.02"]
    assert run(attack.main, words(workplace, copy, *few)) == 0
    assert set(contents(copy)) - set(contents(undisturbed)) == {f"{SWEEP}/fgsm/0.02.stored.csv", "clean.stored.csv"}
    control, clean = read_rows(copy / "clean.stored.csv"), read_rows(copy / "clean.csv")
    assert list(dict.fromkeys(control["storage"])) == list(STORAGES)
    np.testing.assert_array_equal(control.loc[control["storage"] == "8 bits", ["film", "VGG16"]], clean[["film", "VGG16"]])
    found = contents(copy)
    assert all(found[name] == before for name, before in contents(undisturbed).items())
    stored, cell = read_rows(copy / SWEEP / "fgsm/0.02.stored.csv"), read_rows(copy / SWEEP / "fgsm/0.02.csv")
    np.testing.assert_array_equal(stored.loc[stored["storage"] == "8 bits", "VGG16"], cell["VGG16_8bit"])


def test_only_the_ways_of_storing_that_are_asked_for_are_measured_on_attacks(workplace, tmp_path):
    few = ["--attacks", "fgsm", "--storing-strengths", "0.02", "--storages", "JPEG 95"]
    assert run(attack.main, words(workplace, tmp_path, *few)) == 0
    assert set(pd.read_csv(tmp_path / SWEEP / "fgsm/0.02.stored.csv")["storage"]) == {"JPEG 95"}
    # The control serves other sweeps too.
    assert set(pd.read_csv(tmp_path / "clean.stored.csv")["storage"]) == set(STORAGES)


def test_turning_strengths_of_controls_are_found_on_the_first_films_of_each_class_without_any_cell(workplace, tmp_path):
    few = ["--attacks", "noise-sign", "fgnm", "--single-step-strengths", "--control-films", "1"]
    assert run(attack.main, words(workplace, tmp_path, *few)) == 0
    assert not cells_of(contents(tmp_path))
    control, attacked = (pd.read_csv(tmp_path / SWEEP / name / "turning.csv") for name in ("noise-sign", "fgnm"))
    labels = pd.read_csv(tmp_path / "clean.csv").groupby("label")["film"].first()
    for target in MODELS:
        assert sorted(control.loc[control["target"] == target, "film"]) == sorted(labels)
        assert (attacked["target"] == target).sum() == FILMS
    # Finished: the same command again does nothing.
    before = contents(tmp_path)
    assert run(attack.main, words(workplace, tmp_path, *few)) == 0 and contents(tmp_path) == before


def test_stored_turning_strengths_are_found_when_asked_for_also_later(workplace, undisturbed, copy, capsys):
    few = words(workplace, copy, "--attacks", "fgsm", "fgnm", "--stored-turning")
    assert run(attack.main, few) == 0
    added = {f"{SWEEP}/{name}/turning.8bit.csv" for name in ("fgsm", "fgnm")}
    assert set(contents(copy)) - set(contents(undisturbed)) == added
    assert contents(copy).items() >= contents(undisturbed).items()
    for name in added:
        frame = pd.read_csv(copy / name)
        assert set(frame["target"]) == {"VGG16"} and len(frame) == FILMS
        turned = frame[frame["status"] == "turned"]
        assert len(turned) and np.allclose(turned["linf"] * 255, (turned["linf"] * 255).round(), atol=1e-3)
    (copy / SWEEP / "fgnm/turning.8bit.csv").unlink()
    before = contents(copy)
    assert run(attack.main, few) == 0 and contents(copy).keys() - before.keys() == {f"{SWEEP}/fgnm/turning.8bit.csv"}
    capsys.readouterr()
    assert run(attack.main, few) == 0 and "nothing to do" in capsys.readouterr().out


def test_turning_strengths_of_iterative_attacks_are_found_on_as_many_films_as_are_asked_for(
    workplace, undisturbed, copy, capsys
):
    few = words(workplace, copy, "--attacks", "binm", "pgd", "--iterative-turning", "1")
    assert run(attack.main, few) == 0
    added = [f"{SWEEP}/{name}/turning.csv" for name in ("binm", "pgd")]
    assert set(contents(copy)) - set(contents(undisturbed)) == set(added)
    clean = rows.read_clean(copy)
    for name in added:
        frame = rows.read_turning(copy / name, clean)
        assert sorted(frame["film"]) == sorted(clean.groupby("label")["film"].first())
        assert set(frame["target"]) == {"VGG16"} and "turned" in set(frame["status"])
    capsys.readouterr()
    assert run(attack.main, few) == 0 and "nothing to do" in capsys.readouterr().out
    more = words(workplace, copy, "--attacks", "binm", "pgd", "--iterative-turning", "2")
    line = refusal(capsys, more)
    assert "binm/turning.csv: turning strengths of 3 films, where --iterative-turning 2 asks for 6" in line
    (copy / added[0]).unlink()
    (copy / added[1]).unlink()
    assert run(attack.main, more) == 0 and len(pd.read_csv(copy / added[0])) == 6


def test_universal_perturbations_are_one_field_for_all_films_kept_and_applied_at_every_strength(workplace, tmp_path, capsys):
    few = words(workplace, tmp_path, "--attacks", *UNIVERSAL, "--universal-films", "3", "--save-films")
    labels = ["train"] * 8 + ["test"] * FILMS
    images = random_films(len(labels), SIZE, seed=22, low=40, high=200)
    data = ["--data", str(write_data(tmp_path / "data", images, np.arange(len(labels)) % 3, labels))]
    assert run(attack.main, [*few, *data]) == 0
    clean = images[8:] / np.float32(255)
    for name in UNIVERSAL:
        field = np.load(tmp_path / SWEEP / name / "field-3.npy")
        unit = np.sign(field) if name == "universal-sign" else field * np.sqrt(field.size) / np.linalg.norm(field)
        for strength in (0.0005, 0.02):
            changes = np.load(tmp_path / SWEEP / name / f"{strength}.npy") - clean
            np.testing.assert_allclose(changes, np.broadcast_to(strength * unit, changes.shape), atol=1e-6)
            # The same norm as FGSM and FGNM have at this strength.
            norms = pd.read_csv(tmp_path / SWEEP / name / f"{strength}.csv")["l2"]
            np.testing.assert_allclose(norms, strength * np.sqrt(field.size), rtol=1e-3)
        assert {"turning.csv", "boundary.csv"} <= {path.name for path in (tmp_path / SWEEP / name).iterdir()}
    outputs = json.loads((tmp_path / SWEEP / "manifest.json").read_text())["outputs"]
    assert "universal/field-3.npy" in outputs and "universal/0.02.npy" not in outputs
    capsys.readouterr()
    assert run(attack.main, [*few, *data]) == 0 and "nothing to do" in capsys.readouterr().out
    # What is missing is computed from the field that is there.
    before, field = contents(tmp_path), tmp_path / SWEEP / "universal/field-3.npy"
    stamp = field.stat().st_mtime_ns
    (tmp_path / SWEEP / "universal/0.02.csv").unlink()
    assert run(attack.main, [*few, *data]) == 0 and contents(tmp_path) == before and field.stat().st_mtime_ns == stamp
    assert "fitted on other films than --universal-films 6" in refusal(capsys, [*few, *data, "--universal-films", "6"])


def test_a_twin_of_the_source_is_one_more_target_and_belongs_to_the_results(workplace, tmp_path, capsys):
    other = linear("VGG16", seed=5)
    build.save(other.classifier(), tmp_path / "second/VGG16.keras")
    few = words(workplace, tmp_path / "out", "--attacks", "fgnm", "--targets", "VGG16", "InceptionV3", "--save-films")
    assert run(attack.main, [*few, "--twin", str(tmp_path / "second")]) == 0
    films, frame = np.load(tmp_path / "out" / SWEEP / "fgnm/0.02.npy"), read_rows(tmp_path / "out" / SWEEP / "fgnm/0.02.csv")
    np.testing.assert_array_equal(frame["VGG16-twin"], other.logits(films).argmax(-1))
    np.testing.assert_array_equal(frame["VGG16"], linear("VGG16").logits(films).argmax(-1))
    clean = rows.read_clean(tmp_path / "out")
    assert list(clean) == ["film", "label", "VGG16", "InceptionV3", "VGG16-twin"]
    turning = rows.read_turning(tmp_path / "out" / SWEEP / "fgnm/turning.csv", clean)
    assert set(turning["target"]) == {"VGG16", "InceptionV3", "VGG16-twin"}
    shown = rows.read_viewer_films("fgnm", 0.02, tmp_path / "out" / SWEEP / "fgnm/0.02.viewer.npz")
    assert shown.models == ["VGG16", "InceptionV3", "VGG16-twin"]
    settings = json.loads((tmp_path / "out" / SWEEP / "manifest.json").read_text())["settings"]
    assert settings["models"]["VGG16-twin"] == sha256_of_model(tmp_path / "second/VGG16.keras")
    capsys.readouterr()
    assert run(attack.main, [*few, "--twin", str(tmp_path / "second")]) == 0 and "nothing to do" in capsys.readouterr().out
    assert "models {" in refusal(capsys, few)


def test_a_twin_that_is_the_network_itself_or_is_not_there_is_refused(workplace, tmp_path, capsys):
    out, itself = tmp_path / "out", str(workplace / "model")
    assert "is the network that is attacked" in refusal(capsys, words(workplace, out, "--twin", itself))
    # Saved at another time, by weights the same.
    build.save(build.load(workplace / "model/VGG16.keras"), tmp_path / "again/VGG16.keras")
    assert "is the network that is attacked" in refusal(capsys, words(workplace, out, "--twin", str(tmp_path / "again")))
    assert "nowhere/VGG16.keras: no such" in refusal(capsys, words(workplace, out, "--twin", str(tmp_path / "nowhere")))
    assert not out.exists()


def test_a_twin_serves_every_run_with_seeds(workplace, tmp_path):
    build.save(linear("VGG16", seed=5).classifier(), tmp_path / "second/VGG16.keras")
    shutil.copytree(workplace / "data", tmp_path / "data/seed-0")
    for m in (0, 1):
        shutil.copytree(workplace / "model", tmp_path / f"model/seed-0-{m}")
    chosen = ["--attacks", "fgnm", "--targets", "VGG16", "--model-seeds", "0", "1", "--twin", str(tmp_path / "second")]
    assert run(attack.main, words(tmp_path, tmp_path / "results", *chosen)) == 0
    for m in (0, 1):
        assert rows.read_clean_logits(tmp_path / f"results/seed-0-{m}")[1] == ["VGG16", "VGG16-twin"]


def test_runs_with_seeds_differ_in_their_random_starts_alone(workplace, undisturbed, tmp_path):
    pairs = [(0, 0), (0, 5), (5, 0), (5, 5)]
    for d in (0, 5):
        shutil.copytree(workplace / "data", tmp_path / f"data/seed-{d}")
    for d, m in pairs:
        shutil.copytree(workplace / "model", tmp_path / f"model/seed-{d}-{m}")
    chosen = ["--attacks", "fgsm", "bim", "pgd", "--data-seeds", "5", "0", "--model-seeds", "0", "5"]
    assert run(attack.main, words(tmp_path, tmp_path / "results", *chosen)) == 0
    runs = [contents(tmp_path / f"results/seed-{d}-{m}") for d, m in pairs]
    for name in cells_of(runs[0]):
        assert len({found[name] for found in runs}) == (4 if "/pgd/" in name else 1), name
        assert "/pgd/" in name or runs[0][name] == contents(undisturbed)[name]
    for d, m in pairs:
        manifest = json.loads((tmp_path / f"results/seed-{d}-{m}" / SWEEP / "manifest.json").read_text())
        assert manifest["settings"]["seed"] == [d, m]
    assert run(attack.main, words(tmp_path, tmp_path / "results", *chosen)) == 0


def test_saved_films_score_the_same_again_and_by_other_models(workplace, tmp_path, capsys):
    few = ["--attacks", "fgnm", "pgd", "--single-step-strengths", "0.0005", "0.02"]
    assert run(attack.main, words(workplace, tmp_path / "first", *few, "--save-films")) == 0
    assert run(attack.main, words(workplace, tmp_path / "again", "--rescore", str(tmp_path / "first"))) == 0
    first, again = contents(tmp_path / "first"), contents(tmp_path / "again")
    cells = cells_of(first)
    assert len(cells) == 3 and {path: first[path] for path in cells | {"clean.csv"}} == again
    films = np.load(tmp_path / "first" / SWEEP / "fgnm/0.02.npy")
    assert films.shape == (FILMS, SIZE, SIZE, 3) and films.dtype == np.float32
    shutil.copytree(workplace / "model", tmp_path / "model")
    other = linear("VGG16", seed=77)
    build.save(other.classifier(), tmp_path / "model/VGG16.keras")
    rescore = [*words(workplace, tmp_path / "other", "--rescore", str(tmp_path / "first")), "--models", str(tmp_path / "model")]
    assert run(attack.main, rescore) == 0
    frame = read_rows(tmp_path / "other" / SWEEP / "fgnm/0.02.csv")
    np.testing.assert_array_equal(frame["VGG16"], other.logits(films).argmax(-1))
    capsys.readouterr()
    assert run(attack.main, rescore) == 0 and "nothing to do" in capsys.readouterr().out
    # The model whose gradients made the films need not be among those that score them.
    others = [*rescore, "--out", str(tmp_path / "others"), "--targets", "InceptionV3", "DenseNet201"]
    assert run(attack.main, others) == 0
    found = read_rows(tmp_path / "others" / SWEEP / "fgnm/0.02.csv")
    assert "VGG16" not in found
    np.testing.assert_array_equal(found["DenseNet201"], frame["DenseNet201"])


def test_films_are_saved_for_cells_that_were_finished_without(workplace, undisturbed, copy):
    assert run(attack.main, words(workplace, copy, "--attacks", "fgsm", "--save-films")) == 0
    assert sorted(path.name for path in (copy / SWEEP).rglob("*.npy")) == ["0.0005.npy", "0.02.npy"]
    assert contents(copy) == contents(undisturbed)


def test_films_that_cannot_be_rescored_are_refused(workplace, undisturbed, tmp_path, capsys):
    rescore = words(workplace, tmp_path / "out", "--rescore", str(tmp_path / "first"))
    assert "--save-films" in refusal(capsys, words(workplace, tmp_path / "out", "--rescore", str(undisturbed)))
    assert "no films; --rescore takes" in refusal(capsys, words(workplace, tmp_path / "out", "--rescore", str(workplace)))
    assert run(attack.main, words(workplace, tmp_path / "first", "--attacks", "pgd", "--save-films")) == 0
    assert "another folder" in refusal(capsys, words(workplace, tmp_path / "first", "--rescore", str(tmp_path / "first")))
    assert "made from others" in refusal(capsys, [*rescore, "--films", "4"])
    films = tmp_path / "first" / SWEEP / "pgd/0.002.npy"
    films.write_bytes(films.read_bytes()[:-1])
    assert "no complete array" in refusal(capsys, rescore)
    (tmp_path / "first" / SWEEP / "manifest.json").unlink()
    assert "has no manifest.json" in refusal(capsys, rescore)


def test_the_health_report_is_in_the_manifest_and_warns(workplace, tmp_path, capsys):
    # So far on the side of class 0 that no attack within [0, 1] leaves it, and that its softmax is flat.
    shutil.copytree(workplace, tmp_path / "place")
    saturated = linear("VGG16", bias=np.float32([1e6, -1e6, -1e6]))
    build.save(saturated.classifier(), tmp_path / "place/model/VGG16.keras")
    found = {}
    for loss in LOSSES:
        assert run(attack.main, words(tmp_path / "place", tmp_path / "out", "--attacks", "fgsm", "--loss", loss)) == 0
        folder = tmp_path / "out" / f"{SWEEP}-loss-{loss}".removesuffix("-loss-cross-entropy")
        found[loss] = json.loads((folder / "manifest.json").read_text())["health"]
    labels = pd.read_csv(tmp_path / "out/clean.csv")["label"]
    assert [found[loss]["films_with_zero_gradient"] for loss in LOSSES] == [0, FILMS, FILMS]
    unmoved = [(pd.read_csv(tmp_path / f"out/{SWEEP}-loss-{loss}/fgsm/0.02.csv")["linf"] == 0).all() for loss in LOSSES[1:]]
    assert unmoved == [True, True]  # which is how the floor's films are told
    for health in found.values():
        assert health["films_unturned_without_bounds"] == health["films_attacked_without_bounds"] == (labels == 0).sum() > 0
    health = found["softmax"]
    assert health["films_wrong_before_the_attack"] == (labels != 0).sum() > 0
    assert health["films_with_nan_or_infinite_gradient"] == 0 and health["accuracy_rises_with_strength"] == []
    printed = capsys.readouterr().out
    assert all(f"warning: {line}" in printed for line in health["warnings"])
    assert any("films with zero gradient" in line for line in health["warnings"])


def test_a_healthy_run_has_no_warnings(undisturbed):
    health = json.loads((undisturbed / SWEEP / "manifest.json").read_text())["health"]
    assert health["warnings"] == [] and health["films_unturned_without_bounds"] == 0 < health["films_attacked_without_bounds"]
    assert health["films_wrong_before_the_attack"] == 0


def test_the_health_report_covers_cells_of_earlier_commands_and_keeps_what_they_found_of_gradients(workplace, copy):
    path, labels = copy / SWEEP / "fgsm/0.02.csv", pd.read_csv(copy / "clean.csv")["label"].to_numpy()
    for changed, seen in ((path, labels), (copy / SWEEP / "fgsm/0.0005.csv", (labels + 1) % 3)):
        frame = pd.read_csv(changed)
        frame[logit_columns("VGG16")] = np.eye(3, dtype=np.float32)[seen]
        rows.write_rows(changed, frame)
    manifest = json.loads((copy / SWEEP / "manifest.json").read_text())
    manifest["health"] |= dict.fromkeys(GRADIENT_FACTS, 7)
    (copy / SWEEP / "manifest.json").write_text(json.dumps(manifest))
    (copy / SWEEP / "pgdnm/0.002.csv").unlink()
    assert run(attack.main, words(workplace, copy, "--attacks", "pgdnm")) == 0
    health = json.loads((copy / SWEEP / "manifest.json").read_text())["health"]
    assert {health[fact] for fact in GRADIENT_FACTS} == {7}
    assert {"attack": "fgsm", "from": 0.0005, "to": 0.02, "films": FILMS} in health["accuracy_rises_with_strength"]
    assert any(line.startswith(f"FGSM: {FILMS} more films right at 0.02") for line in health["warnings"])


def test_gradients_are_looked_at_again_where_a_manifest_lacks_what_is_counted_of_them(workplace, copy):
    manifest = json.loads((copy / SWEEP / "manifest.json").read_text())
    manifest["health"] = {"films_with_zero_gradient": 7, "unbounded_accuracy": 0.5}
    (copy / SWEEP / "manifest.json").write_text(json.dumps(manifest))
    (copy / SWEEP / "pgdnm/0.002.csv").unlink()
    assert run(attack.main, words(workplace, copy)) == 0
    health = json.loads((copy / SWEEP / "manifest.json").read_text())["health"]
    assert health["films_with_zero_gradient"] == 0 and "unbounded_accuracy" not in health


def test_a_file_that_names_no_cell_is_refused_before_the_work(workplace, copy, capsys):
    (copy / SWEEP / "pgdnm/0.002.csv").rename(copy / SWEEP / "pgdnm/much.csv")
    assert "should be a strength" in refusal(capsys, words(workplace, copy))
    assert not (copy / SWEEP / "pgdnm/0.002.csv").exists()


def test_a_broken_cell_of_an_unfinished_sweep_is_named_and_made_again_once_removed(workplace, undisturbed, copy, capsys):
    broken, gone = copy / f"{SWEEP}/fgsm/0.02.csv", copy / f"{SWEEP}/pgd/0.002.csv"
    broken.write_bytes(broken.read_bytes()[:-3])
    gone.unlink()
    capsys.readouterr()
    assert run(attack.main, words(workplace, copy)) == 1
    complaint = capsys.readouterr().err.splitlines()[-1]
    assert f"{broken}: not a readable CSV file (its last line is cut off); remove the file" in complaint
    broken.unlink()
    assert run(attack.main, words(workplace, copy)) == 0
    assert contents(copy) == contents(undisturbed)


def test_finished_results_need_only_be_read(workplace, copy, monkeypatch, capsys):
    def fails(*_):
        raise PermissionError

    monkeypatch.setattr("nosign.sweep.results.locked", fails)
    assert run(attack.main, words(workplace, copy)) == 0 and "nothing to do" in capsys.readouterr().out


@pytest.mark.parametrize("more", [["--overwrite"], ["--overwrite", "--films", "5"], ["--films", "5"]])
def test_results_of_a_process_that_is_at_work_are_not_overwritten(workplace, copy, capsys, more):
    for path in (copy / "manifest.json", copy / SWEEP / "manifest.json"):
        manifest = json.loads(path.read_text())
        path.write_text(json.dumps({**manifest, "finished": False, "process": f"{os.getppid()}-{machine()}"}))
    before = contents(copy)
    assert "another process is at work there" in refusal_at_any_time(capsys, words(workplace, copy, *more))
    assert contents(copy) == before


def refusal_at_any_time(capsys, argv):
    """Run a command that must fail with status 1; return its last line on stderr."""
    capsys.readouterr()
    assert run(attack.main, argv) == 1
    return capsys.readouterr().err.splitlines()[-1]


def test_missing_things_are_named(workplace, tmp_path, capsys):
    out = tmp_path / "out"
    line = refusal(capsys, words(workplace, out, models="nowhere"))
    assert str(workplace / "nowhere/VGG16.keras") in line and "train_finetune.py" in line
    assert "index.csv" in refusal(capsys, words(workplace, out, data="nowhere"))
    assert "keeps to, and protocol 'paper' has none" in refusal(capsys, words(workplace, out, "--norm", "l2"))
    assert "leave apgd out" in refusal(capsys, words(workplace, out, "--attacks", "bim", "apgd"))
    assert "step factor: 2 is that of protocol 'budget'" in refusal(capsys, words(workplace, out, "--step-factor", "2"))
    assert "--storing-strengths 0.007: not among" in refusal(capsys, words(workplace, out, "--storing-strengths", "0.007"))
    assert "--source VGG16 is not among the targets" in refusal(capsys, words(workplace, out, "--targets", "InceptionV3"))
    (tmp_path / "model").mkdir()
    (tmp_path / "model/VGG16.keras").write_text("not a model")
    assert "not a Keras model" in refusal(capsys, words(tmp_path, out, "--data", str(workplace / "data")))
    assert not out.exists()


@pytest.mark.parametrize(
    "bad",
    [
        ["--single-step-strengths", "nan"],
        ["--single-step-strengths", "inf"],
        ["--single-step-strengths", "-0.1"],
        ["--iterative-strengths", "much"],
        ["--iterative-strengths", "0.12345678"],
        ["--steps", "0"],
        ["--steps", "-1"],
        ["--steps", "2.5"],
        ["--batch", "0"],
        ["--films", "0"],
        ["--seed", "-1"],
        ["--seed", "x"],
        ["--attacks", "cw"],
        ["--norm", "l1"],
        ["--step-factor", "0"],
        ["--restarts", "0"],
        ["--step-factor", "-1"],
        ["--step-factor", "inf"],
        ["--step-factor", "0.12345678"],
        ["--target", "Flu"],
        ["--source", "ResNet"],
        ["--targets", "ResNet"],
        ["--protocol", "best"],
        ["--attacks"],
        ["--strength", "1"],
    ],
    ids=" ".join,
)
def test_wrong_usage_exits_with_two(tmp_path, capsys, bad):
    with pytest.raises(SystemExit) as caught:
        attack.main(["--out", str(tmp_path / "out"), *bad])
    message = capsys.readouterr().err
    assert caught.value.code == 2 and bad[0] in message and "invalid strength value" not in message
    assert not (tmp_path / "out").exists()


def test_defaults_are_the_papers_settings():
    arguments = attack.parse_args([])
    assert arguments.source == "VGG16" and arguments.targets == ["VGG16", "InceptionV3", "DenseNet201"]
    assert arguments.attacks == list(PAPER_ATTACKS) and (arguments.steps, arguments.batch) == (10, 8)
    assert arguments.single_step_strengths == list(SINGLE_STEP_STRENGTHS) and arguments.protocol == "paper"
    assert (min(SINGLE_STEP_STRENGTHS), max(SINGLE_STEP_STRENGTHS)) == (0.0005, 0.03)
    assert arguments.iterative_strengths == list(ITERATIVE_STRENGTHS)
    assert (min(ITERATIVE_STRENGTHS), max(ITERATIVE_STRENGTHS)) == (0.0005, 0.003)


def test_the_summary_counts_the_films_that_are_right(workplace, copy, capsys):
    (copy / SWEEP / "fgsm/0.02.csv").unlink()
    assert run(attack.main, words(workplace, copy)) == 0
    printed = capsys.readouterr().out
    frame = read_rows(copy / SWEEP / "fgsm/0.02.csv")
    right = sum(int(row["VGG16"] == row["label"]) for row in frame.to_dict("records"))
    assert f"VGG16, white-box, paper: {FILMS} of {FILMS} clean films right (100.00 %)" in printed
    assert f"next: python data_figure.py --results {copy} --models {workplace / 'model'}" in printed
    assert f"FGSM     at 0.02    {right} right ({100 * right / FILMS:.2f} %)" in printed


LIGHT = """
import contextlib, io, sys
import attack, train_finetune
for script in (attack, train_finetune):
    for words, status in ((["--help"], 0), (["--seed", "x"], 2)):
        try:
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                script.main(words)
        except SystemExit as stop:
            assert stop.code == status, (script, words, stop.code)
        else:
            raise AssertionError(f"{words} did not end {script}")
heavy = {"keras", "tensorflow", "jax", "torch", "pandas", "scipy", "skimage", "sklearn", "matplotlib"}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
assert attack.main(sys.argv[1:]) == 0
heavy -= {"pandas", "scipy"}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
"""


def test_help_and_a_finished_run_do_not_load_keras(root, workplace, undisturbed):
    before = {path: path.stat().st_mtime_ns for path in undisturbed.rglob("*")}
    done = subprocess.run(
        [sys.executable, "-c", LIGHT, *words(workplace, undisturbed)],
        cwd=root,
        text=True,
        capture_output=True,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    assert done.returncode == 0, done.stderr
    assert "all 8 cells are finished; nothing to do" in done.stdout and not done.stderr
    assert before == {path: path.stat().st_mtime_ns for path in undisturbed.rglob("*")}
