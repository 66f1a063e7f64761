"""The engine and the gradients that it shares: batches, caches, what is counted of gradients."""

import gc

import numpy as np
import pandas as pd
import pytest
from sweeps import FILMS, SIZE, sweep_of
from tiny import LinearSoftmax

from nosign.attacks.catalogue import LOSSES, Condition
from nosign.dataset import CLASSES
from nosign.sweep.engine import FilmCache, Frames, in_order, padded
from nosign.sweep.gradients import key_of
from nosign.sweep.jobs import GRADIENT_COST
from nosign.sweep.sweep import Sweep


@pytest.mark.parametrize("positions", [None, [0, 2, 3, 5, 9]], ids=["all", "some"])
def test_batches_have_one_shape_and_hold_each_film_once(engine, films, positions):
    seen = []
    for batch in engine.batches(None if positions is None else np.array(positions)):
        assert batch.films.shape == (4, SIZE, SIZE, 3) and len(batch.positions) == 4
        np.testing.assert_array_equal(batch.films, films.pixels(batch.positions))
        assert (batch.positions[batch.count :] == batch.own[-1]).all()
        seen += list(batch.own)
    assert seen == (positions or list(range(FILMS)))


def test_attacked_labels_are_the_films_own_or_the_aim(sweep, films):
    aims = films.labels if sweep.condition.target is None else CLASSES.index("Normal")
    labels = sweep.labels(np.arange(FILMS))
    assert labels.shape == (FILMS, 3) and labels.dtype == np.float32
    np.testing.assert_array_equal(labels.argmax(-1), aims)


def test_a_short_array_is_filled_up_with_zeros():
    array = np.ones((2, 3, 1), np.float32)
    found = padded(array, 5)
    assert found.shape == (5, 3, 1) and found.sum() == 6 and found.dtype == np.float32


def test_cached_arrays_come_back_bit_for_bit(tmp_path):
    store = FilmCache(tmp_path, (4, 4, 3))
    gradients = np.random.default_rng(12).normal(size=(7, 4, 4, 3)).astype(np.float32)
    for start in (4, 0):
        store.write(start, gradients[start : start + 4])
    np.testing.assert_array_equal(store.read(0, 7), gradients)
    np.testing.assert_array_equal(store.read(5, 2), gradients[5:])
    assert not list(tmp_path.iterdir())


def test_a_cache_that_nobody_holds_closes_its_file(tmp_path):
    store = FilmCache(tmp_path, (4, 4, 3))
    store.write(0, np.ones((1, 4, 4, 3), np.float32))
    file = store.file
    del store
    gc.collect()
    assert file.closed


def test_first_gradients_are_the_gradients_at_the_films(models, films, sweep):
    target, gradient = sweep.condition.target, models["VGG16"].log_odds_gradient
    expected = [
        gradient(film, label) if target is None else -gradient(film, CLASSES.index(target))
        for film, label in zip(films.pixels(), films.labels)
    ]
    np.testing.assert_allclose(sweep.gradients.at(np.arange(FILMS)), expected, atol=1e-5)


def test_films_without_a_gradient_are_counted(films, models):
    # So far on the side of class 0 the softmax is exactly (1, 0, 0): the two mistakes leave films of class 0 no gradient,
    # and clipped probabilities none either where the label's is 0.
    model = LinearSoftmax((SIZE, SIZE, 3), kernel=models["VGG16"].kernel, bias=np.array([1e4, -1e4, -1e4]))
    zero = {}
    for loss in LOSSES:
        found = sweep_of(films, model, Condition(loss=loss)).gradients.counts
        zero[loss] = found["films_with_zero_gradient"]
        assert found["films_with_nan_or_infinite_gradient"] == 0
    assert 0 < (films.labels == 0).sum() < FILMS
    assert zero == {"cross-entropy": 0, "softmax": FILMS, "probabilities": FILMS}


def test_films_with_a_gradient_that_is_not_finite_are_counted(films, models):
    model = LinearSoftmax((SIZE, SIZE, 3), kernel=models["VGG16"].kernel, bias=np.array([np.nan, 0, 0]))
    found = sweep_of(films, model).gradients.counts
    assert found == {"films_with_zero_gradient": 0, "films_with_nan_or_infinite_gradient": FILMS}


def test_conditions_that_differ_in_ball_and_grey_alone_share_gradients_and_others_do_not(engine):
    first = Sweep(engine, "VGG16", Condition()).gradients
    assert Sweep(engine, "VGG16", Condition("budget", "l2", grey=True)).gradients is first
    for source, condition in (("DenseNet201", Condition()), ("VGG16", Condition(target="Normal"))):
        assert Sweep(engine, source, condition).gradients is not first
    assert engine.attacker("VGG16", LOSSES[0]) is engine.attacker("VGG16", LOSSES[0])
    assert engine.attacker("VGG16", LOSSES[0]) is not engine.attacker("VGG16", LOSSES[1])


def test_a_sweep_computes_its_gradients_when_they_are_first_asked_for_and_once(engine, done):
    sweep = Sweep(engine, "InceptionV3", Condition(target="Normal"))
    assert not done and not engine.keeps(key_of("InceptionV3", sweep.condition))
    first = sweep.gradients
    assert sum(done) == FILMS * GRADIENT_COST and engine.keeps(key_of("InceptionV3", sweep.condition))
    assert sweep.gradients is first and sum(done) == FILMS * GRADIENT_COST


@pytest.mark.parametrize("batches", [1, 4, 5, 11])
def test_frames_of_batches_are_one_in_their_order_however_many_there_are(monkeypatch, batches):
    monkeypatch.setattr("nosign.sweep.engine.FRAMES_APART", 4)
    frames = Frames()
    assert not frames
    for number in range(batches):
        frames.append(pd.DataFrame({"film": [2 * number, 2 * number + 1], "step": [1, 0]}))
    assert frames and frames.together()["film"].tolist() == list(range(2 * batches)) and len(frames.apart) < 4
    joined = in_order(frames, "step")
    assert joined["film"].tolist() == [*range(1, 2 * batches, 2), *range(0, 2 * batches, 2)]
