"""Training: order of the films, the same weights from the same seed, going on after a stop, the best epoch kept."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from nosign.backend import select_device
from nosign.errors import UserError

SIZE, TRAINING_FILMS, VALIDATION_FILMS, BATCH, EPOCHS, SEED = 8, 27, 10, 8, 5, 3
RATE = 0.04


class Films:
    """Films in memory that note in which order they are read."""

    def __init__(self, films, seed, brightness=0.3):
        rng = np.random.default_rng(seed)
        self.labels = rng.integers(0, 3, films)
        self.films = rng.random((films, SIZE, SIZE, 3), dtype=np.float32)
        # A class is a channel that is brighter, so that there is something to learn.
        self.films[np.arange(films), :, :, self.labels] += brightness
        self.read = []

    def __len__(self):
        return len(self.films)

    def pixels(self, positions):
        self.read.append(list(positions))
        return self.films[positions]


@pytest.fixture(scope="module", autouse=True)
def repeatable():
    select_device()


def small_model(seed=0):
    """Return a network with batch normalisation, from films to logits."""
    import keras

    keras.utils.set_random_seed(seed)
    films = keras.Input((SIZE, SIZE, 3))
    x = keras.layers.BatchNormalization()(keras.layers.Conv2D(4, 3, activation="relu")(films))
    return keras.Model(films, keras.layers.Dense(3)(keras.layers.GlobalAveragePooling2D()(x)))


def make_films():
    """Return the training films and the validation films."""
    return Films(TRAINING_FILMS, 1), Films(VALIDATION_FILMS, 7, brightness=0.05)


def train(folder, epochs=EPOCHS, rate=RATE):
    """Train the small model and return it, its history and its films."""
    from nosign.classifiers.training import Batches, fit

    model, (films, validation) = small_model(), make_films()
    batches = Batches(films, films.labels, BATCH, SEED)
    return model, fit(model, batches, (validation, validation.labels), rate, epochs, Path(folder), "small"), (films, validation)


def assert_same(found, expected):
    """Check that two trainings have the same weights and history, bit for bit."""
    pd.testing.assert_frame_equal(found[1], expected[1], check_exact=True)
    for a, b in zip(found[0].get_weights(), expected[0].get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    return *train(folder), folder


def test_two_runs_with_one_seed_end_with_the_same_weights(undisturbed, tmp_path):
    assert_same(train(tmp_path), undisturbed)


def test_weights_and_history_are_those_of_a_plain_loop(undisturbed):
    import keras

    model, (films, validation) = small_model(), make_films()
    model.compile(keras.optimizers.Adam(RATE), keras.losses.CategoricalCrossentropy(from_logits=True), jit_compile=False)
    best, losses = None, []
    for epoch in range(EPOCHS):
        order = np.random.default_rng([SEED, epoch]).permutation(TRAINING_FILMS)
        for start in range(0, TRAINING_FILMS - BATCH + 1, BATCH):
            chosen = order[start : start + BATCH]
            model.train_on_batch(films.films[chosen], np.eye(3)[films.labels[chosen]])
        losses.append(cross_entropy(model, validation))
        if losses[-1] == min(losses):
            best = model.get_weights()
    # Adam makes full steps of gradients at rounding level; another order of the films changes the losses by per cents.
    np.testing.assert_allclose(undisturbed[1]["val_loss"], losses, rtol=1e-3)
    for found, expected in zip(undisturbed[0].get_weights(), best, strict=True):
        np.testing.assert_allclose(found, expected, atol=2e-3)


def cross_entropy(model, films):
    """Return the mean cross-entropy of a model over all films, in float64."""
    logits = np.float64(model.predict_on_batch(films.films))
    return (np.log(np.exp(logits).sum(-1)) - logits[np.arange(len(logits)), films.labels]).mean()


def test_the_weights_of_the_best_validation_epoch_are_kept(undisturbed):
    model, history, (_, validation), _ = undisturbed
    # The validation films are harder, so the last epoch is not the best.
    assert 0 < history["val_loss"].idxmin() < len(history) - 1
    assert cross_entropy(model, validation) == pytest.approx(history["val_loss"].min(), rel=1e-5)
    right = model.predict_on_batch(validation.films).argmax(-1) == validation.labels
    assert right.mean() == pytest.approx(history["val_accuracy"][history["val_loss"].idxmin()])


def test_the_history_has_a_row_an_epoch_and_is_on_disk(undisturbed):
    _, history, _, folder = undisturbed
    assert list(history["epoch"]) == list(range(1, EPOCHS + 1))
    assert set(history) == {"epoch", "loss", "accuracy", "val_loss", "val_accuracy"}
    pd.testing.assert_frame_equal(pd.read_csv(folder / "history.csv"), history, check_exact=True)
    assert sorted(path.name for path in folder.iterdir()) == ["best.weights.h5", f"epoch-{EPOCHS}.weights.h5", "history.csv"]


def test_each_epoch_reads_whole_batches_in_an_order_of_its_own(undisturbed):
    read = [rows for rows in undisturbed[2][0].read if len(rows) == BATCH]
    orders = [np.random.default_rng([SEED, epoch]).permutation(TRAINING_FILMS) for epoch in range(EPOCHS)]
    expected = [list(order[start : start + BATCH]) for order in orders for start in (0, 8, 16)]
    assert read[-len(expected) :] == expected


class Stopped(BaseException):
    """As if the power were cut."""


def stop_at(monkeypatch, place, name, call):
    """Let the n-th call of a function stop the process before anything is done."""
    original, calls = getattr(place, name), []

    def stopping(*arguments, **options):
        calls.append(arguments)
        if len(calls) == call:
            raise Stopped
        return original(*arguments, **options)

    monkeypatch.setattr(place, name, stopping)


def test_a_run_that_is_stopped_again_and_again_goes_on_and_ends_with_the_same_weights(undisturbed, tmp_path):
    import keras

    # An epoch moves the best weights (if they are), the history and the state into place, then removes the old state.
    stops = {
        "within the second epoch": (keras.Model, "train_on_batch", 5),
        "between the second epoch's history and its state": (os, "replace", 3),
        "between its state and the removal of the first one's": (Path, "unlink", 4),
    }
    for place, name, call in stops.values():
        with pytest.MonkeyPatch.context() as patched:
            stop_at(patched, place, name, call)
            with pytest.raises(Stopped):
                train(tmp_path)
        (tmp_path / ".part-1-epoch-9.weights.h5").write_bytes(b"half a file, as a killed process leaves it")
    assert sorted(path.name for path in tmp_path.glob("epoch-*")) == ["epoch-1.weights.h5", "epoch-2.weights.h5"]
    assert_same(train(tmp_path), undisturbed)


def test_a_finished_training_is_not_repeated(undisturbed):
    again = train(undisturbed[3])
    assert_same(again, undisturbed)
    assert not again[2][0].read


def test_a_training_that_never_gives_a_number_is_refused(tmp_path):
    with pytest.raises(UserError, match="learning rate"):
        train(tmp_path, epochs=1, rate=1e38)


def test_an_epoch_holds_every_film_once_and_leaves_out_a_short_batch():
    from nosign.classifiers.training import Batches

    source = Films(TRAINING_FILMS, 1)
    batches = Batches(source, source.labels, BATCH, SEED)
    assert len(batches) == 3
    films, labels = (np.concatenate(parts) for parts in zip(*batches.epoch(0), strict=True))
    assert films.shape == (24, SIZE, SIZE, 3) and len(np.unique(films.reshape(24, -1), axis=0)) == 24
    np.testing.assert_array_equal(films.mean((1, 2)).argmax(-1), labels.argmax(-1))


def test_fewer_films_than_a_batch_make_one_batch():
    from nosign.classifiers.training import Batches

    films = Films(5, 1)
    batches = Batches(films, films.labels, 64, 0)
    assert len(batches) == 1 and [len(part) for part, _ in batches.epoch(0)] == [5]


def test_features_in_an_array_are_served_like_films():
    from nosign.classifiers.training import Batches

    features = np.random.default_rng(4).random((6, 16), dtype=np.float32)
    (first, _), (second, _) = Batches(features, np.arange(6) % 3, 3, 0).epoch(0)
    assert sorted(map(tuple, np.concatenate([first, second]))) == sorted(map(tuple, features))


@pytest.mark.parametrize("batch", [3, 5, 10, 64])
def test_predictions_do_not_depend_on_the_batch_and_one_shape_is_compiled(batch):
    from nosign.classifiers.training import predict

    model, films = small_model(), Films(VALIDATION_FILMS, 7)
    shapes = []
    model.predict_on_batch = lambda part, run=model.predict_on_batch: shapes.append(part.shape) or run(part)
    np.testing.assert_allclose(predict(model, films, batch), model.predict_on_batch(films.films), atol=1e-6)
    assert set(shapes[:-1]) == {(min(batch, VALIDATION_FILMS), SIZE, SIZE, 3)}


def test_score_is_the_mean_cross_entropy_and_the_share_of_right_films():
    from nosign.classifiers.training import score

    logits = np.log(np.float32([[0.5, 0.3, 0.2], [0.1, 0.2, 0.7]]))
    found = score(logits, np.array([0, 1]))
    assert found["val_loss"] == pytest.approx(-(np.log(0.5) + np.log(0.2)) / 2, rel=1e-6)
    assert found["val_accuracy"] == 0.5


REPEATABLE = """
from nosign.backend import select_device
select_device()
import keras, numpy as np
from nosign.classifiers import build
from nosign.classifiers.training import prepare
model = build.logits_of(build.build("InceptionV3", 75, seed=1))
prepare(model, 1e-3)
rng = np.random.default_rng(0)
for _ in range(2):
    model.train_on_batch(rng.random((8, 75, 75, 3), dtype=np.float32), np.eye(3, dtype=np.float32)[np.arange(8) % 3])
print(build.weights_sha256(model))
"""


def test_a_backbone_of_many_branches_trains_alike_in_every_process(root):
    hashes = {
        subprocess.run([sys.executable, "-c", REPEATABLE], cwd=root, capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    }
    assert len(hashes) == 1
