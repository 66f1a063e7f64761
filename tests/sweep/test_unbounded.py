"""The attack without bounds on models whose gradients are honest, and on one that hides them."""

import numpy as np
import pytest
from sweeps import FILMS, SIZE, sweep_of
from tiny import LinearSoftmax

from nosign.attacks.catalogue import Condition
from nosign.attacks.loop import Attacker, unit_noise
from nosign.dataset import CLASSES
from nosign.rows import with_classes
from nosign.sweep.clean import clean_rows
from nosign.sweep.engine import Engine
from nosign.sweep.gradients import ATTACKED_WITHOUT_BOUNDS, LEFT_WITHOUT_BOUNDS
from nosign.sweep.sweep import Sweep
from nosign.sweep.unbounded import UNBOUNDED_STEP, UNBOUNDED_STEPS, random_starts, spread_out, unturned


def left(sweep):
    """Return how many films a sweep attacks without bounds, and how many of them it leaves."""
    found = sweep.without_bounds(with_classes(clean_rows(sweep.engine)))
    return found[ATTACKED_WITHOUT_BOUNDS], found[LEFT_WITHOUT_BOUNDS]


def rounded(model):
    """Return a model that sees films in five grey levels; rounding has no gradient."""
    import keras

    inputs = keras.Input((SIZE, SIZE, 3))
    return keras.Model(inputs, model.logits_model()(keras.layers.Lambda(lambda x: keras.ops.round(x * 4) / 4)(inputs)))


def test_an_attack_without_bounds_turns_all_films_of_an_honest_model_and_not_those_of_a_masked_one(films, models):
    assert left(sweep_of(films, models["VGG16"])) == (FILMS - 1, 0)  # one is wrong before
    masked = Sweep(Engine(films, {"VGG16": rounded(models["VGG16"])}, batch=4), "VGG16", Condition())
    attacked, unmoved = left(masked)
    assert unmoved > attacked / 2 > 0  # the random start turns some


def test_an_attack_without_bounds_brings_films_of_other_classes_to_the_aim(films, models):
    seen = models["VGG16"].logits(films.pixels()).argmax(-1)
    others = (films.labels != CLASSES.index("Normal")) & (seen != CLASSES.index("Normal"))
    assert left(sweep_of(films, models["VGG16"], Condition(target="Normal"))) == (others.sum(), 0)
    # So far on the side of class 0 that no film in [0, 1] leaves it.
    out_of_reach = LinearSoftmax((SIZE, SIZE, 3), kernel=models["VGG16"].kernel, bias=np.array([1e6, -1e6, -1e6]))
    attacked = (films.labels != CLASSES.index("Normal")).sum()
    assert left(sweep_of(films, out_of_reach, Condition(target="Normal"))) == (attacked, attacked)


def test_the_attack_is_pgd_by_steps_of_a_twentieth_that_stops_at_the_first_turn(films):
    """A model that turns a film once its grey reaches a level is turned if, and only if, the steps lead up to it."""
    shape, pixels = (SIZE, SIZE, 3), SIZE * SIZE * 3
    starts = np.full((3, *shape), 0.5, np.float32)
    labels = np.eye(3, dtype=np.float32)[[0, 0, 0]]
    for steps, turned in ((9, True), (10, True), (11, False)):
        # Class 1 wins where the mean of the film exceeds its level; white is the brightest that there is.
        level = 0.5 + UNBOUNDED_STEP * steps - UNBOUNDED_STEP / 2
        kernel = np.zeros((pixels, 3))
        kernel[:, 1] = 1 / pixels
        model = LinearSoftmax(shape, kernel=kernel, bias=np.array([level, 0, -9]))
        attacker = Attacker(model.logits_model())
        calls, gradient = [], attacker.gradient
        attacker.gradient = lambda films, labels: calls.append(len(films)) or gradient(films, labels)
        found = unturned(attacker, starts.copy(), labels, targeted=False, batch=2)
        assert list(found) == [not turned] * 3
        rounds = steps + 1 if turned else UNBOUNDED_STEPS + 1
        assert calls == [2] * (2 * rounds)  # three films in batches of two


def test_films_drop_out_once_they_are_turned(films, models):
    attacker = Attacker(models["VGG16"].logits_model())
    labels = np.eye(3, dtype=np.float32)[models["VGG16"].logits(films.pixels()).argmax(-1)]
    seen, gradient = [], attacker.gradient
    attacker.gradient = lambda films, labels: seen.append(films) or gradient(films, labels)
    assert not unturned(attacker, films.pixels(), labels, targeted=False, batch=4).any()
    assert {len(batch) for batch in seen} == {4}
    # Batches of a round hold the films that are right when it begins; linear films fall at different rounds.
    assert 3 < len(seen) < 3 * (UNBOUNDED_STEPS + 1)


def test_random_starts_are_a_step_away_at_most_and_follow_seed_and_film(films):
    positions = np.array([1, 4])
    starts, rows = random_starts(films, positions, 5), films.rows[positions]
    expected = films.pixels(positions) + np.float32(0.05) * unit_noise(5, rows, (SIZE, SIZE, 3))
    np.testing.assert_allclose(starts, np.clip(expected, 0, 1), atol=1e-7)
    assert random_starts(films, positions[:0], 5).shape == (0, SIZE, SIZE, 3)


@pytest.mark.parametrize("films, most, expected", [(7, 3, [0, 3, 6]), (3, 3, [0, 1, 2]), (2, 5, [0, 1]), (0, 5, [])])
def test_films_are_chosen_evenly(films, most, expected):
    assert list(spread_out(np.arange(films), most)) == expected
