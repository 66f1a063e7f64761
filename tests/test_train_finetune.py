"""The script of stage 2 from end to end, with backbones of four channels in place of the real ones."""

import contextlib
import json
import random
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
from tiny import TINY_PARAMETERS, tiny_backbone, write_bright_films, write_data

import train_finetune
from nosign.backend import select_device, to_numpy
from nosign.classifiers import build, catalogue, fine_tune
from nosign.dataset import FilmSet, open_split
from nosign.script import run

SIZE, FILMS = 32, {"train": 27, "validation": 9, "test": 10}
SETTINGS = [
    "--models",
    "VGG16",
    "--batch",
    "8",
    "--head-epochs",
    "2",
    "--head-rate",
    "0.02",
    "--epochs",
    "3",
    "--rate",
    "0.01",
    "--preprocessing",
    "paper",
    "--backbone-batch-norm",
    "train",
    "--head-batch-norm",
    "train",
]
WRITTEN = {"VGG16.keras", "VGG16.history.csv", "VGG16.curves.png", "models.csv", "manifest.json"}


@pytest.fixture(scope="module", autouse=True)
def tiny_backbones():
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(build, "load_backbone", tiny_backbone)
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Films whose class is the brightest channel."""
    return write_bright_films(tmp_path_factory.mktemp("data"), SIZE, FILMS)


def words(data, out, *more):
    """Return a command line; later words win."""
    return ["--data", str(data), "--out", str(out), *SETTINGS, *more]


def outcome(out, name="VGG16"):
    """Return what two equal trainings have in common: weights, history and the rows of Table I."""
    model = build.load(out / f"{name}.keras")
    return (build.weights_sha256(model), (out / f"{name}.history.csv").read_text(), (out / "models.csv").read_text())


@pytest.fixture(scope="module")
def undisturbed(data, tmp_path_factory):
    """The models of a run that nothing disturbs; not to be changed."""
    out = tmp_path_factory.mktemp("undisturbed") / "model"
    assert run(train_finetune.main, words(data, out)) == 0
    return out


def refusal(capsys, argv):
    """Run a command that must fail with status 1, and return its one line on stderr."""
    capsys.readouterr()
    assert run(train_finetune.main, argv) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: ")
    return lines[0]


def test_a_run_writes_model_history_curves_and_table(undisturbed):
    assert {path.name for path in undisturbed.iterdir() if path.name != ".lock"} == WRITTEN
    history = pd.read_csv(undisturbed / "VGG16.history.csv")
    assert list(zip(history["phase"], history["epoch"])) == [("head", 1), ("head", 2), ("all", 1), ("all", 2), ("all", 3)]
    assert (undisturbed / "VGG16.curves.png").read_bytes()[:4] == b"\x89PNG"


def test_the_table_counts_parameters_films_that_are_right_and_convolutions_that_changed(data, undisturbed):
    model = build.load(undisturbed / "VGG16.keras", SIZE)
    images, labels = np.load(data / "images.npy")[-FILMS["test"] :], np.arange(sum(FILMS.values()))[-FILMS["test"] :] % 3
    right = (to_numpy(model(images.astype(np.float32) / 255)).argmax(-1) == labels).sum()
    expected = {
        "model": "VGG16",
        "parameters": TINY_PARAMETERS,
        "correct": right,
        "films": FILMS["test"],
        "imagenet_top1": 71.3,
        "imagenet_top5": 90.1,
        "weights_sha256": build.weights_sha256(model),
        "phase_kept": "all",
        "convolutions": 1,
        "convolutions_changed": 1,
    }
    (found,) = pd.read_csv(undisturbed / "models.csv").to_dict("records")
    assert found.items() >= expected.items() and np.isnan(found["warning"])


def test_the_saved_model_is_the_best_validation_epochs(data, undisturbed):
    history = pd.read_csv(undisturbed / "VGG16.history.csv")
    best = history.loc[history["val_loss"].idxmin()]
    assert best["phase"] == "all" and list(history.index[history["kept"]]) == [best.name] and history["warning"].isna().all()
    films = open_split(data, "validation")
    probabilities = to_numpy(build.load(undisturbed / "VGG16.keras")(films.pixels())).astype(np.float64)
    assert -np.log(probabilities[range(len(films)), films.labels]).mean() == pytest.approx(best["val_loss"], rel=1e-4)


def test_the_manifest_says_how_it_was_trained(undisturbed):
    manifest = json.loads((undisturbed / "manifest.json").read_text())
    assert (
        manifest["settings"]["VGG16"].items()
        >= {
            "weights": "imagenet",
            "batch": 8,
            "seed": 0,
            "head_epochs": 2,
            "head_rate": 0.02,
            "epochs": 3,
            "rate": 0.01,
        }.items()
    )
    assert set(manifest["outputs"]) == WRITTEN - {"manifest.json"}


def test_a_finished_model_is_not_trained_again(data, undisturbed, capsys):
    before = {path: path.stat().st_mtime_ns for path in undisturbed.iterdir()}
    assert run(train_finetune.main, words(data, undisturbed)) == 0
    printed = capsys.readouterr().out
    assert "nothing to do" in printed and f"{TINY_PARAMETERS:,}" in printed
    assert {path: path.stat().st_mtime_ns for path in undisturbed.iterdir()} == before


CHILD = """
import sys
sys.path[:0] = ["tests/helpers", "."]
from nosign.classifiers import build
import tiny, train_finetune
build.load_backbone = tiny.tiny_backbone
train_finetune.main(sys.argv[1:])
"""


def test_a_training_that_is_killed_goes_on_and_ends_with_the_same_model(root, data, undisturbed, tmp_path):
    out = tmp_path / "model"
    process = subprocess.Popen(
        [sys.executable, "-c", CHILD, *words(data, out)], cwd=root, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    began, deadline = out / ".VGG16.unfinished/1-head/history.csv", time.time() + 120
    while not began.is_file() and process.poll() is None and time.time() < deadline:
        time.sleep(0.005)
    # From here the training takes some seconds: the kill may hit either phase, or the time between them.
    time.sleep(random.random())
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert not (out / "VGG16.keras").exists()
    assert run(train_finetune.main, words(data, out)) == 0
    assert outcome(out) == outcome(undisturbed)
    assert not (out / ".VGG16.unfinished").exists()


OTHER = {
    "seed": (["--seed", "1"], "seed 0 (now 1)"),
    "rate": (["--rate", "0.02"], "rate 0.01 (now 0.02)"),
    "weights": (["--weights", "none"], 'weights "imagenet" (now "none")'),
    "preprocessing": (["--preprocessing", "imagenet"], 'preprocessing "paper" (now "imagenet")'),
    "batch norm": (["--backbone-batch-norm", "frozen"], 'backbone_batch_norm "train" (now "frozen")'),
    "head's batch norm": (["--head-batch-norm", "frozen"], 'head_batch_norm "train" (now "frozen")'),
}


@pytest.mark.parametrize("more, message", OTHER.values(), ids=OTHER)
def test_a_model_of_other_settings_is_not_taken_for_this_ones(data, undisturbed, capsys, more, message):
    before = (undisturbed / "VGG16.keras").read_bytes()
    line = refusal(capsys, words(data, undisturbed, *more))
    assert message in line and "--overwrite" in line and "--out" in line
    assert (undisturbed / "VGG16.keras").read_bytes() == before


def test_an_unfinished_training_does_not_go_on_with_other_settings(data, tmp_path, monkeypatch, capsys):
    from nosign.classifiers import training

    def stop(*arguments, **options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(training, "fit", stop)
        assert run(train_finetune.main, words(data, tmp_path)) == 130
    line = refusal(capsys, words(data, tmp_path, "--batch", "9"))
    assert "batch 8 (now 9)" in line and "--overwrite" in line


@pytest.mark.parametrize("other", ["began", "finished"])
def test_what_another_process_did_meanwhile_is_not_taken_for_its_own(data, undisturbed, tmp_path, monkeypatch, capsys, other):
    """Hours pass between the first look at a folder and the turn of the second model."""
    out = tmp_path / "model"

    @contextlib.contextmanager
    def alone(*_):
        if other == "began":
            fine_tune.begin(out, "VGG16", {"seed": 1}, False)
        else:
            shutil.copytree(undisturbed, out, dirs_exist_ok=True)
        yield

    monkeypatch.setattr(fine_tune, "alone", alone)
    status = run(train_finetune.main, words(data, out))
    said = capsys.readouterr()
    if other == "began":
        assert status == 1 and "an unfinished training began with other settings: seed 1 (now 0)" in said.err
    else:
        assert status == 0 and "VGG16: trained by another process meanwhile" in said.out


def test_the_table_keeps_its_order_whichever_model_is_finished_first(tmp_path):
    for name in ("DenseNet201", "VGG16"):
        fine_tune.record(tmp_path, {"model": name, "parameters": 1}, {"seed": 0}, {}, time.time())
    assert list(pd.read_csv(tmp_path / "models.csv")["model"]) == ["VGG16", "DenseNet201"]
    assert set(json.loads((tmp_path / "manifest.json").read_text())["settings"]) == {"VGG16", "DenseNet201"}


@pytest.fixture
def head_phase(data, tmp_path, monkeypatch):
    """Train the head alone; return the model, its backbone's weights before, and which films were read."""
    select_device()
    splits = {split: open_split(data, split) for split in ("train", "validation")}
    settings = fine_tune.settings_of(train_finetune.parse_args(words(data, tmp_path)), "VGG16", {})
    model = build.build("VGG16", SIZE, weights="imagenet")
    before, read, pixels = model.get_weights(), [], FilmSet.pixels

    def counted(self, positions=slice(None)):
        read.extend(self.rows[positions])
        return pixels(self, positions)

    monkeypatch.setattr(FilmSet, "pixels", counted)
    model.get_layer("VGG16").trainable = False
    fine_tune.train_head(model, "VGG16", splits, settings, tmp_path / "state")
    return model, before, read


def test_the_first_phase_trains_the_head_alone_on_features_computed_once(head_phase):
    model, before, read = head_phase
    changed = {
        weight.path.split("/")[0] for weight, old in zip(model.weights, before) if not np.array_equal(to_numpy(weight), old)
    }
    assert changed == {"head_batch_norm", "hidden", "logits"}
    # A short last batch is filled up with its last film.
    assert sorted(set(read)) == list(range(FILMS["train"] + FILMS["validation"]))


def test_features_are_the_backbones_pooled_outputs(data):
    import keras

    model = build.build("VGG16", SIZE, weights="imagenet")
    films = open_split(data, "validation")
    pooled = keras.Model(model.input, model.get_layer("flatten").output)
    from nosign.classifiers.training import predict

    found = predict(pooled, films, 4)
    expected = to_numpy(model.get_layer("VGG16")(films.pixels(), training=False)).mean((1, 2))
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.fixture
def rates(data, tmp_path, monkeypatch):
    """Function of a command line's words that returns the phases' learning rates as functions of the step."""
    from nosign.classifiers import training

    def read_rates(*more):
        captured = {}

        def note(model, batches, validation, rate, epochs, folder, title, tensorboard=None):
            captured[folder.name] = lambda step: float(to_numpy(rate(step)))
            if folder.name == "2-all":
                raise KeyboardInterrupt
            return pd.DataFrame({"loss": [1.0]})

        with monkeypatch.context() as patched:
            patched.setattr(training, "fit", note)
            assert run(train_finetune.main, ["--data", str(data), "--out", str(tmp_path), "--models", "VGG16", *more]) == 130
        return captured

    return read_rates


def test_the_heads_learning_rate_decays_as_in_legacy_keras(rates):
    found = rates()
    for step in (0, 1, 56, 1000, 200_000):
        assert found["1-head"](step) == pytest.approx(5e-4 / (1 + 5e-6 * step), rel=1e-5)


@pytest.mark.parametrize("weights", ["none", "imagenet"])
def test_the_rate_of_everything_rises_for_a_tenth_of_the_steps_and_falls_to_zero(rates, weights):
    # 27 films in batches of 2 are 13 steps an epoch, 130 in all, 13 of them warming up from a tenth of the rate.
    found = rates("--weights", weights, "--batch", "2", "--epochs", "10", "--rate", "0.002")
    assert set(found) == {"2-all"} | ({"1-head"} if weights == "imagenet" else set())
    for step in (0, 6, 13, 50, 130):
        warm = 2e-4 + (2e-3 - 2e-4) * step / 13
        cosine = 2e-3 * (1 + np.cos(np.pi * (step - 13) / 117)) / 2
        assert found["2-all"](step) == pytest.approx(warm if step < 13 else cosine, rel=1e-4, abs=1e-9)


SCRATCH = ["--weights", "none", "--epochs", "1", "--backbone-batch-norm", "frozen"]


@pytest.fixture(scope="module")
def from_scratch(data, tmp_path_factory):
    """A model from scratch whose backbone's batch normalisation stays as it is."""
    out = tmp_path_factory.mktemp("scratch")
    assert run(train_finetune.main, words(data, out, *SCRATCH, "--tensorboard")) == 0
    return out


def test_a_training_that_replaces_a_model_goes_on_after_a_stop(data, undisturbed, from_scratch, tmp_path, monkeypatch, capsys):
    def stop(*arguments):
        raise KeyboardInterrupt

    out = shutil.copytree(undisturbed, tmp_path / "model")
    with monkeypatch.context() as patched:
        # At the worst moment: the model is in place, its entry in the table is not.
        patched.setattr(fine_tune, "record", stop)
        assert run(train_finetune.main, words(data, out, *SCRATCH, "--overwrite")) == 130
    assert run(train_finetune.main, words(data, out, *SCRATCH, "--models", "VGG16", "VGG16")) == 0
    assert outcome(out) == outcome(from_scratch) != outcome(undisturbed)
    assert capsys.readouterr().out.count("VGG16: epoch 1 of 1") == 1
    assert run(train_finetune.main, words(data, out, *SCRATCH)) == 0
    assert "nothing to do" in capsys.readouterr().out


def test_the_backbones_batch_norm_adapts_or_stays(undisturbed, from_scratch):
    # Scale, shift, mean and variance.
    start = [np.ones(4), np.zeros(4), np.zeros(4), np.ones(4)]
    for out, stays in ((undisturbed, False), (from_scratch, True)):
        backbone = build.load(out / "VGG16.keras").get_layer("VGG16")
        same = [np.array_equal(a, b) for a, b in zip(backbone.get_layer("norm").get_weights(), start)]
        assert same == [stays] * 4


def test_from_scratch_there_is_one_phase(from_scratch):
    assert list(pd.read_csv(from_scratch / "VGG16.history.csv")["phase"]) == ["all"]


def test_tensorboard_logs_are_written_if_asked_for(undisturbed, from_scratch):
    assert list((from_scratch / "tensorboard/VGG16").rglob("events.*"))
    assert not (undisturbed / "tensorboard").exists()


def test_what_cannot_be_trained_is_refused_before_anything_is_trained(data, tmp_path, monkeypatch, capsys):
    monkeypatch.undo()
    out = tmp_path / "out"
    line = refusal(capsys, words(data, out, "--models", "VGG16", "InceptionV3"))
    assert "InceptionV3 needs films of at least 75 px, these have 32 px" in line
    (tmp_path / catalogue.BACKBONES["VGG16"].weights).touch()
    line = refusal(capsys, words(data, out, "--models", "VGG16", "DenseNet201", "--weights", str(tmp_path)))
    assert catalogue.BACKBONES["DenseNet201"].weights in line and "not found" in line
    assert "index.csv" in refusal(capsys, words(tmp_path / "nowhere", out))
    assert not out.exists()


def test_missing_splits_are_named(data, tmp_path, capsys):
    write_data(tmp_path / "data", np.load(data / "images.npy")[:3], [0, 1, 2], ["train"] * 3)
    assert "no validation films" in refusal(capsys, words(tmp_path / "data", tmp_path / "out"))


@pytest.mark.parametrize(
    "bad",
    [
        ["--epochs", "0"],
        ["--head-epochs", "-1"],
        ["--batch", "x"],
        ["--rate", "0"],
        ["--rate", "nan"],
        ["--head-rate", "1"],
        ["--seed", "-1"],
        ["--seed", str(2**32)],
        ["--models", "ResNet"],
        ["--preprocessing", "mine"],
        ["--epoch-count", "1"],
    ],
    ids=" ".join,
)
def test_wrong_usage_exits_with_two(tmp_path, capsys, bad):
    with pytest.raises(SystemExit) as caught:
        train_finetune.main(["--out", str(tmp_path / "out"), *bad])
    assert caught.value.code == 2 and bad[0] in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_head_has_the_papers_settings_and_everything_the_tuned_ones():
    arguments = train_finetune.parse_args([])
    assert arguments.models == ["VGG16", "InceptionV3", "DenseNet201"] and arguments.weights == "imagenet"
    settings = fine_tune.settings_of(arguments, "VGG16", {})
    assert (settings["head_batch"], settings["head_rate"], settings["head_batch_norm"]) == (64, 5e-4, "frozen")
    assert (settings["preprocessing"], settings["rate"]) == ("imagenet", 1e-5)
    scratch = fine_tune.settings_of(train_finetune.parse_args(["--weights", "none"]), "VGG16", {})
    assert (scratch["batch"], scratch["head_batch_norm"], scratch["backbone_batch_norm"]) == (64, "train", "train")
    assert scratch["preprocessing"] == "paper"


def test_falling_back_on_the_first_phase_is_said_everywhere_and_keeps_its_weights(data, tmp_path, capsys):
    # At this rate the second phase undoes what the first has learnt.
    out = tmp_path / "model"
    assert run(train_finetune.main, words(data, out, "--rate", "0.9", "--epochs", "1")) == 0
    history = pd.read_csv(out / "VGG16.history.csv")
    kept = history[history["kept"]].iloc[0]
    assert len(history) == 3 and kept["phase"] == "head" and kept["val_loss"] == history["val_loss"].min()
    warning = kept["warning"]
    assert warning.startswith("phase 2 did not improve on phase 1 (validation loss")
    assert f"warning: VGG16: {warning}" in capsys.readouterr().out
    row, entry = pd.read_csv(out / "models.csv").iloc[0], json.loads((out / "manifest.json").read_text())["models"][0]
    assert row["warning"] == entry["warning"] == warning
    assert row["phase_kept"] == "head" and (row["convolutions"], row["convolutions_changed"]) == (1, 0)
    films = open_split(data, "validation")
    probabilities = to_numpy(build.load(out / "VGG16.keras")(films.pixels())).astype(np.float64)
    assert -np.log(probabilities[range(len(films)), films.labels]).mean() == pytest.approx(kept["val_loss"], rel=1e-4)


def test_a_training_that_falls_back_does_so_after_a_stop_too(data, tmp_path, monkeypatch, capsys):
    def stop(*arguments):
        raise KeyboardInterrupt

    fallen = ["--rate", "0.9", "--epochs", "1"]
    assert run(train_finetune.main, words(data, tmp_path / "at once", *fallen)) == 0
    with monkeypatch.context() as patched:
        # Both phases are finished, and the weights in hand are those of the second.
        patched.setattr(fine_tune, "mark_kept", stop)
        assert run(train_finetune.main, words(data, tmp_path / "stopped", *fallen)) == 130
    assert run(train_finetune.main, words(data, tmp_path / "stopped", *fallen)) == 0
    assert outcome(tmp_path / "stopped") == outcome(tmp_path / "at once")
    capsys.readouterr()
    assert run(train_finetune.main, words(data, tmp_path / "stopped", *fallen)) == 0
    printed = capsys.readouterr().out
    assert "nothing to do" in printed and "warning: VGG16: phase 2 did not improve" in printed


def test_a_convolution_that_training_did_not_change_is_missing_from_the_count(data, tmp_path, monkeypatch):
    unfreeze = build.unfreeze

    def leave_convolution_frozen(model, name, *batch_norms):
        unfreeze(model, name, *batch_norms)
        model.get_layer(name).get_layer("conv").trainable = False

    monkeypatch.setattr(build, "unfreeze", leave_convolution_frozen)
    assert run(train_finetune.main, words(data, tmp_path, "--weights", "none")) == 0
    row = pd.read_csv(tmp_path / "models.csv").iloc[0]
    assert row["phase_kept"] == "all" and (row["convolutions"], row["convolutions_changed"]) == (1, 0)


def test_frozen_batch_norms_of_head_and_backbone_stay_as_phase_1_left_them(data, tmp_path):
    frozen = ["--backbone-batch-norm", "frozen", "--head-batch-norm", "frozen"]
    found = {}
    for epochs in ("1", "2"):
        out = tmp_path / epochs
        assert run(train_finetune.main, words(data, out, *frozen, "--epochs", epochs, "--rate", "0.001")) == 0
        model = build.load(out / "VGG16.keras")
        found[epochs] = (
            model.get_layer("head_batch_norm").get_weights(),
            model.get_layer("VGG16").get_layer("norm").get_weights(),
            model.get_layer("VGG16").get_layer("conv").get_weights(),
        )
    assert all(np.array_equal(a, b) for part in (0, 1) for a, b in zip(found["1"][part], found["2"][part]))
    # Phase 1 has moved the head's averages away from their start, and everything has moved the convolution.
    assert not np.array_equal(found["1"][0][2], np.zeros(4)) and not np.array_equal(found["1"][2][0], found["2"][2][0])


def test_seeds_vary_films_weights_and_order_apart(data, tmp_path):
    for d in (0, 1):
        shutil.copytree(data, tmp_path / f"data/seed-{d}")
    arguments = words(
        tmp_path / "data", tmp_path / "model", "--data-seeds", "0", "1", "--model-seeds", "0", "3", "--epochs", "1"
    )
    assert run(train_finetune.main, arguments) == 0
    weights = {(d, m): outcome(tmp_path / f"model/seed-{d}-{m}")[0] for d in (0, 1) for m in (0, 3)}
    # The films are the same here, so only the model seed makes a difference.
    assert weights[0, 0] == weights[1, 0] != weights[0, 3] == weights[1, 3]
    assert run(train_finetune.main, arguments) == 0
