"""Turning strengths against linear models, whose answers are known."""

import numpy as np
import pytest
from sweeps import NAMES, SEED, SIZE, STEPS, TRAINING_FILMS
from tiny import reference_attack, reference_ssim

from nosign.attacks import turning
from nosign.attacks.catalogue import ATTACKS
from nosign.dataset import CLASSES
from nosign.rows import TURNING_COLUMNS, Cell
from nosign.sweep.jobs import Search
from nosign.sweep.turning import find_turning


@pytest.mark.parametrize("name", ["fgsm", "fgnm", "universal", "noise", "shuffled"])
def test_turning_strengths_turn_each_film_and_a_little_less_does_not(models, films, sweep, clean, done, name):
    chosen = np.array([0, 2, 3, 5, 6, 8, 9])
    frame = find_turning(sweep, Search(name), clean, chosen)
    assert list(frame) == TURNING_COLUMNS and sum(done) == len(chosen) * len(NAMES) * turning.PASSES
    aim = None if sweep.condition.target is None else CLASSES.index(sweep.condition.target)
    assert list(frame["target"]) == [model for model in NAMES for _ in chosen]
    for row in frame.to_dict("records"):
        position = int(row["film"]) - TRAINING_FILMS
        film, label, model = films.pixels([position])[0], films.labels[position], models[row["target"]]

        def changed(strength, position=position):
            return sweep.attack_film(Cell(name, strength), position)

        def beyond(film, label=label, model=model):
            """How far a film lies beyond the boundary where it turns, in logits."""
            logits = model.logits(film[None])[0]
            own = label if aim is None else aim
            margin = logits[own] - np.delete(logits, own).max()
            return -margin if aim is None else margin

        def turned(film):
            return beyond(film) > 0

        grid = [bool(turned(changed(strength))) for strength in turning.GRID]
        if turned(film) or aim == label:
            assert row["status"] == turning.WRONG_BEFORE and np.isnan(row["strength"]) and np.isnan(row["l2"])
            assert row["grid"] == ""
            continue
        assert row["grid"] == "".join("t" if value else "r" for value in grid)
        assert row["right_again"] == (sum(not value for value in grid[grid.index(True) :]) if True in grid else 0)
        assert row["status"] == (turning.TURNED if grid[-1] or True in grid else turning.RIGHT_CENSORED)
        at = changed(row["strength"])
        if row["status"] == turning.TURNED:
            rounding = 1e-5  # of logits: the models here compute in float64
            assert beyond(at) > -rounding and beyond(changed(row["strength"] * 2 ** (-1 / 128))) < rounding
        assert row["l2"] == pytest.approx(np.linalg.norm(at - film), rel=1e-4)
        assert row["linf"] == pytest.approx(np.abs(at - film).max(), rel=1e-4)
        assert row["ssim"] == pytest.approx(reference_ssim(film, at), abs=1e-5)
        # Of a universal perturbation it would foretell nothing.
        assert np.isnan(row["cosine"]) == (name == "universal")
        if name in ("fgsm", "fgnm"):
            gradient = models["VGG16"].gradient(film, label if aim is None else aim)
            gradient = np.broadcast_to(gradient.mean(-1, keepdims=True), film.shape) if sweep.condition.grey else gradient
            cosine = np.abs(gradient).sum() / np.linalg.norm(gradient) / np.sqrt(gradient.size)
            assert row["cosine"] == pytest.approx(cosine, abs=1e-5)


@pytest.mark.parametrize("name", ["fgsm", "fgnm"])
def test_stored_turning_strengths_turn_the_rounded_film_of_the_source_and_measure_it(models, films, sweep, clean, done, name):
    chosen = np.arange(len(films))
    frame = find_turning(sweep, Search(name, stored=True), clean, chosen)
    assert sum(done) == len(chosen) * turning.PASSES and set(frame["target"]) == {"VGG16"}
    turned = frame[frame["status"] == turning.TURNED]
    assert len(turned) >= 3 and list(frame["film"]) == list(films.rows)
    for row in turned.to_dict("records"):
        position = int(row["film"]) - TRAINING_FILMS
        film, label = films.pixels([position])[0], films.labels[position]

        def stored(strength, position=position):
            return np.round(255 * np.float64(sweep.attack_film(Cell(name, strength), position))) / 255

        def is_turned(film, label=label):
            return sweep.outcome.is_reached(models["VGG16"].logits(film[None]).argmax(-1), np.array([label]))[0]

        at = stored(row["strength"])
        assert is_turned(at) and not is_turned(stored(row["strength"] * 2 ** (-1 / 128)))
        assert row["grid"] == "".join("rt"[int(is_turned(stored(strength)))] for strength in turning.GRID)
        assert row["l2"] == pytest.approx(np.linalg.norm(at - film), rel=1e-4)
        assert row["linf"] == pytest.approx(np.abs(at - film).max(), rel=1e-4)
        assert row["ssim"] == pytest.approx(reference_ssim(film, at), abs=1e-5)


@pytest.mark.parametrize("name", ["bim", "binm", "pgd", "mifgnm"])
def test_bisected_strengths_turn_each_film_by_a_whole_attack_and_a_little_less_does_not(
    models, films, sweep, clean, done, name
):
    chosen = np.array([0, 2, 3, 5, 6, 9])
    frame = find_turning(sweep, Search(name, films_per_class=2), clean, chosen)
    gradients = STEPS - (not ATTACKS[name].random_start)
    assert list(frame) == TURNING_COLUMNS and sum(done) == len(chosen) * (12 * 2 * gradients + 11)
    assert list(frame["film"]) == list(films.rows[chosen]) and set(frame["target"]) == {"VGG16"}
    assert (frame["grid"] == "").all() and frame["right_again"].isna().all()
    condition, aim = sweep.condition, None if sweep.condition.target is None else CLASSES.index(sweep.condition.target)
    settings = {name: getattr(condition, name) for name in ("protocol", "norm", "grey", "step_factor")}
    settings["targeted"] = aim is not None
    turned = 0
    for row, position in zip(frame.to_dict("records"), chosen):
        film, label = films.pixels([position])[0], films.labels[position]
        own = label if aim is None else aim
        noise = np.random.default_rng([SEED, row["film"]]).random((SIZE, SIZE, 3), dtype=np.float32) * 2.0 - 1.0

        def changed(strength, film=film, own=own, noise=noise):
            return reference_attack(models["VGG16"], name, film, own, strength, steps=STEPS, noise=noise, **settings)

        def is_turned(film, label=label):
            return sweep.outcome.is_reached(models["VGG16"].logits(film[None]).argmax(-1), np.array([label]))[0]

        assert (row["status"] == turning.WRONG_BEFORE) == (is_turned(film) or aim == label)
        if row["status"] != turning.TURNED:
            continue
        turned += 1
        at = changed(row["strength"])
        a_hair, less = 1.0001, 2 ** (-1 / 128)  # the models here compute in float64
        assert is_turned(changed(row["strength"] * a_hair)) and not is_turned(changed(row["strength"] * less / a_hair))
        assert row["l2"] == pytest.approx(np.linalg.norm(at - film), rel=1e-3)
        assert row["linf"] == pytest.approx(np.abs(at - film).max(), rel=1e-3)
    assert turned >= 2
    assert frame["cosine"].isna().all() if name == "pgd" else frame["cosine"].between(0.3, 1).all()
