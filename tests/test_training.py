"""Training: order of the films, the same weights from the same seed, going on after a stop, the best epoch kept."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from nosign.errors import UserError
from nosign.gradients import select_device

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


def make_batches():
    from nosign.training import Batches

    films = {"train": Films(TRAINING_FILMS, 1), "validation": Films(VALIDATION_FILMS, 7, brightness=0.05)}
    return {split: Batches(source, source.labels, BATCH, SEED, split == "train") for split, source in films.items()}


def train(folder, epochs=EPOCHS, rate=RATE):
    """Train the small model and return it, its history and its batches."""
    from nosign.training import fit

    model, batches = small_model(), make_batches()
    return model, fit(model, batches, rate, epochs, Path(folder), "small"), batches


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

    model, batches = small_model(), make_batches()
    model.compile(keras.optimizers.Adam(RATE), keras.losses.CategoricalCrossentropy(from_logits=True), jit_compile=False)
    best, losses = None, []
    for epoch in range(EPOCHS):
        order = np.random.default_rng([SEED, epoch]).permutation(TRAINING_FILMS)
        for start in range(0, TRAINING_FILMS - BATCH + 1, BATCH):
            chosen = order[start:start + BATCH]
            model.train_on_batch(batches["train"].source.films[chosen], batches["train"].labels[chosen])
        losses.append(cross_entropy(model, batches["validation"]))
        if losses[-1] == min(losses):
            best = model.get_weights()
    # Adam makes full steps of gradients at rounding level; another order of the films changes the losses by per cents.
    np.testing.assert_allclose(undisturbed[1]["val_loss"], losses, rtol=1e-3)
    for found, expected in zip(undisturbed[0].get_weights(), best, strict=True):
        np.testing.assert_allclose(found, expected, atol=2e-3)


def cross_entropy(model, batches):
    """Return the mean cross-entropy of a model over all films of `Batches`, in float64."""
    logits = np.float64(model.predict_on_batch(batches.source.films))
    return (np.log(np.exp(logits).sum(-1)) - (logits * batches.labels).sum(-1)).mean()


def test_the_weights_of_the_best_validation_epoch_are_kept(undisturbed):
    model, history, batches, _ = undisturbed
    # The validation films are harder, so the last epoch is not the best.
    assert 0 < history["val_loss"].idxmin() < len(history) - 1
    assert cross_entropy(model, batches["validation"]) == pytest.approx(history["val_loss"].min(), rel=1e-5)
    right = (model.predict_on_batch(batches["validation"].source.films).argmax(-1) == batches["validation"].source.labels)
    assert right.mean() == pytest.approx(history["val_accuracy"][history["val_loss"].idxmin()])


def test_the_history_has_a_row_an_epoch_and_is_on_disk(undisturbed):
    _, history, _, folder = undisturbed
    assert list(history["epoch"]) == list(range(1, EPOCHS + 1))
    assert set(history) == {"epoch", "loss", "accuracy", "val_loss", "val_accuracy"}
    pd.testing.assert_frame_equal(pd.read_csv(folder / "history.csv"), history, check_exact=True)
    assert sorted(path.name for path in folder.iterdir()) == ["best.weights.h5", f"epoch-{EPOCHS}.weights.h5", "history.csv"]


def test_each_epoch_reads_whole_batches_in_an_order_of_its_own(undisturbed):
    read = [rows for rows in undisturbed[2]["train"].source.read if len(rows) == BATCH]
    orders = [np.random.default_rng([SEED, epoch]).permutation(TRAINING_FILMS) for epoch in range(EPOCHS)]
    expected = [list(order[start:start + BATCH]) for order in orders for start in (0, 8, 16)]
    assert read[-len(expected):] == expected


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
    from nosign.training import Progress

    # An epoch moves the best weights (if they are), the history and the state into place, then removes the old state.
    stops = {
        "within the second epoch": (Progress, "on_train_batch_end", 5),
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
    assert not again[2]["train"].source.read


def test_a_training_that_never_gives_a_number_is_refused(tmp_path):
    with pytest.raises(UserError, match="learning rate"):
        train(tmp_path, epochs=1, rate=1e38)


def test_batches_hold_every_film_once_and_leave_out_a_short_one_in_training():
    batches = make_batches()
    assert (len(batches["train"]), len(batches["validation"])) == (3, 2)
    films, labels = zip(*(batches["validation"][i] for i in range(2)))
    np.testing.assert_array_equal(np.concatenate(films), batches["validation"].source.films)
    np.testing.assert_array_equal(np.concatenate(labels).argmax(-1), batches["validation"].source.labels)
    batches["train"].shuffle(0)
    films, labels = zip(*(batches["train"][i] for i in range(3)))
    assert len(np.unique(np.concatenate(films).reshape(24, -1), axis=0)) == 24
    for film, label in zip(np.concatenate(films), np.concatenate(labels)):
        assert film.mean((0, 1)).argmax() == label.argmax()


def test_fewer_films_than_a_batch_make_one_batch():
    from nosign.training import Batches

    films = Films(5, 1)
    batches = Batches(films, films.labels, 64, 0, True)
    assert len(batches) == 1 and len(batches[0][0]) == 5


def test_features_in_an_array_are_served_like_films():
    from nosign.training import Batches

    features = np.random.default_rng(4).random((6, 16), dtype=np.float32)
    batches = Batches(features, np.arange(6) % 3, 4, 0, False)
    np.testing.assert_array_equal(np.concatenate([batches[0][0], batches[1][0]]), features)
