"""A sweep's attacks and cells: every number of a cell against a slow recomputation, film by film."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import logsumexp
from sweeps import FILMS, NAMES, SEED, SIZE, STEPS, TRAINING_FILMS, engine_of, logit_names, sweep_of
from tiny import reference_attack, reference_ssim

from nosign.attacks.catalogue import ATTACKS, CONTROLS, NORMS, UNIVERSAL, Condition
from nosign.attacks.controls import control_field
from nosign.backend import to_numpy
from nosign.dataset import CLASSES
from nosign.rows import MEASURES, ROUNDED_MEASURES, ROWS, VIEWER, Cell, logit_columns, with_classes
from nosign.sweep.clean import clean_rows
from nosign.sweep.jobs import cell_cost
from nosign.sweep.sweep import Sweep

# APGD, which runs in a ball only and is no row of the one loop, has a test of its own.
REFERENCED = [name for name, attack in ATTACKS.items() if not attack.adaptive]


def test_clean_rows_hold_what_is_known_of_a_film_and_the_models_own_logits(models, films, clean):
    assert list(clean) == ["film", "label", "collection", "patient", "group", *logit_names(), *NAMES]
    for column, known in (("collection", films.collections), ("group", films.groups)):
        np.testing.assert_array_equal(clean[column], known)
    np.testing.assert_array_equal(clean["patient"].fillna(-1), films.patients)
    for name in NAMES:
        np.testing.assert_allclose(clean[logit_columns(name)], models[name].logits(films.pixels()), atol=1e-5)
    np.testing.assert_array_equal(clean["film"], np.arange(TRAINING_FILMS, TRAINING_FILMS + FILMS))
    np.testing.assert_array_equal(clean["label"], films.labels)
    for name in NAMES:
        np.testing.assert_array_equal(clean[name], models[name].logits(films.pixels()).argmax(-1))
    assert (clean["VGG16"] == clean["label"]).sum() == FILMS - 1


@pytest.mark.parametrize("name", REFERENCED)
@pytest.mark.parametrize("strength", [0.0005, 0.02])
def test_every_number_of_a_cell_equals_a_slow_recomputation(models, films, sweep, clean, name, strength):
    frame = sweep.run(Cell(name, strength), clean)[ROWS]
    assert list(frame) == ["film", "label", *logit_names(), *logit_names("_8bit"), *MEASURES, *ROUNDED_MEASURES]
    for i, row in enumerate(frame.to_dict("records")):
        film, label = films.pixels([i])[0], films.labels[i]
        noise = np.random.default_rng([SEED, TRAINING_FILMS + i]).random((SIZE, SIZE, 3), dtype=np.float32) * 2.0 - 1.0
        aim = label if sweep.condition.target is None else CLASSES.index(sweep.condition.target)
        side = 1 if sweep.condition.target is None else -1
        field = (
            control_field(
                ATTACKS[name].control, SEED, [TRAINING_FILMS + i], film.shape, [side * models["VGG16"].gradient(film, aim)]
            )[0]
            if name in CONTROLS
            else sweep.fields.get(name)
        )
        changed = reference_attack(
            models["VGG16"],
            name,
            film,
            aim,
            strength,
            protocol=sweep.condition.protocol,
            steps=STEPS,
            noise=noise,
            norm=sweep.condition.norm,
            step_factor=sweep.condition.step_factor,
            targeted=side < 0,
            grey=sweep.condition.grey,
            field=field,
        )
        stored = np.round(changed * 255) / 255
        assert (row["film"], row["label"]) == (TRAINING_FILMS + i, label)
        for model in NAMES:
            seen = [row[column] for column in logit_columns(model)]
            np.testing.assert_allclose(seen, models[model].logits(changed[None])[0], atol=1e-4)
            seen = [row[column] for column in logit_columns(f"{model}_8bit")]
            # A component within rounding of half a level may be stored as either.
            np.testing.assert_allclose(seen, models[model].logits(stored[None])[0], atol=5e-3)
        assert row["linf_8bit"] == pytest.approx(np.abs(stored - film).max(), abs=1e-6)
        assert row["l2_8bit"] == pytest.approx(np.linalg.norm(stored - film), rel=2e-3, abs=1e-4)
        assert row["ssim_8bit"] == pytest.approx(reference_ssim(film, stored), abs=1e-4)
        assert row["linf"] == pytest.approx(np.abs(changed - film).max(), abs=3e-7)
        assert row["l2"] == pytest.approx(np.linalg.norm(changed - film), rel=1e-3)
        assert row["ssim"] == pytest.approx(reference_ssim(film, changed), abs=1e-5)
        assert row["psnr"] == pytest.approx(-10 * np.log10(np.mean((changed - film) ** 2)), abs=0.01)


def test_changes_that_vanish_in_8_bits_leave_the_clean_predictions(sweep, clean):
    frame = sweep.run(Cell("fgsm", 0.0015), clean)[ROWS]
    np.testing.assert_array_equal(frame[logit_names("_8bit")], np.float32(clean[logit_names()]))
    assert (frame["linf"] > 0.0005).all() and (frame["linf_8bit"] == 0).all() and (frame["ssim_8bit"] == 1).all()


def test_a_linear_models_strongest_cell_turns_every_film_that_was_right(sweep, clean):
    frame = with_classes(sweep.run(Cell("fgsm", 0.2), clean)[ROWS])
    aim = sweep.condition.target
    assert (frame["VGG16"] != frame["label"]).all() if aim is None else (frame["VGG16"] == CLASSES.index(aim)).all()


def test_a_sweep_does_not_depend_on_its_batches(models, films, sweep, clean):
    other = Sweep(engine_of(films, models, batch=64), "VGG16", sweep.condition)
    for name in ("fgnm", "pgd"):
        here, there = (s.run(Cell(name, 0.01), clean)[ROWS] for s in (sweep, other))
        pd.testing.assert_frame_equal(here, there, rtol=1e-4, atol=1e-7)


def test_a_film_attacked_alone_equals_the_film_in_the_sweep(sweep):
    for name in REFERENCED:
        cell = Cell(name, 0.01)
        for batch in sweep.engine.batches():
            together = sweep.attack(cell, batch)
            assert np.abs(sweep.attack_film(cell, batch.own[-1]) - together[batch.count - 1]).max() < 1e-6


def test_a_sweep_of_another_source_on_the_same_engine_is_that_of_an_engine_of_its_own(models, films, sweep, clean):
    other = Sweep(sweep.engine, "DenseNet201", sweep.condition)
    expected = Sweep(engine_of(films, models), "DenseNet201", sweep.condition)
    for name in ("fgnm", "pgdnm"):
        pd.testing.assert_frame_equal(*(one.run(Cell(name, 0.02), clean)[ROWS] for one in (other, expected)))


@pytest.mark.parametrize("name", REFERENCED)
def test_the_announced_work_is_the_work_done(sweep, clean, done, name):
    sweep.run(Cell(name, 0.001), clean)
    # A gradient counts two passes; each of three models sees the films before and after rounding.
    gradients = {
        **dict.fromkeys((*CONTROLS, *UNIVERSAL), 0),
        "fgsm": 0,
        "fgnm": 0,
        "bim": STEPS - 1,
        "binm": STEPS - 1,
        "mifgsm": STEPS - 1,
        "mifgnm": STEPS - 1,
        "bim-unclipped": STEPS - 1,
        "binm-unclipped": STEPS - 1,
        "pgd": STEPS,
        "pgdnm": STEPS,
    }[name]
    assert sum(done) == FILMS * (2 * gradients + 6) == FILMS * cell_cost(Cell(name, 0.001), STEPS, 3)


@pytest.mark.parametrize("target", [None, "Normal"])
def test_of_several_random_starts_each_film_keeps_its_best_and_that_starts_steps(models, films, target):
    model, starts, cell = models["VGG16"], 4, Cell("pgdnm", 0.01)
    sweep = sweep_of(films, model, Condition("budget", target=target, restarts=starts))
    chosen = []
    for batch in sweep.engine.batches():
        steps = []
        changed = to_numpy(sweep.attack(cell, batch, steps))
        for place, position in enumerate(batch.own):
            film, label = films.pixels([position])[0], films.labels[position]
            aim, side = (label, 1) if target is None else (CLASSES.index(target), -1)
            attempts = []
            for start in range(starts):
                draw = np.random.default_rng([SEED, TRAINING_FILMS + position, *([2, start] if start else [])])
                noise = draw.random(film.shape, dtype=np.float32) * 2.0 - 1.0
                options = dict(protocol="budget", steps=STEPS, noise=noise, targeted=side < 0)
                attempts.append(
                    (np.clip(film + 0.01 * noise, 0, 1), reference_attack(model, "pgdnm", film, aim, 0.01, **options))
                )
            logits = model.logits([end for _, end in attempts])
            reached = (logits.argmax(-1) == aim) == (side < 0)
            climbed = side * (logsumexp(np.delete(logits, aim, 1), axis=1) - logits[:, aim])
            best = reached.argmax() if reached.any() else climbed.argmax()
            chosen.append((bool(reached.any()), best))
            np.testing.assert_allclose(changed[place], attempts[best][1], atol=1e-5)
            assert len(steps) == STEPS
            np.testing.assert_allclose(steps[0][1][place], model.logits(attempts[best][0][None])[0], atol=1e-4)
    assert {best for _, best in chosen} > {0} and {reached for reached, _ in chosen} == {True, False}


@pytest.mark.parametrize("norm", NORMS)
def test_apgd_runs_in_a_sweep_leaves_its_ball_never_and_records_no_steps(films, models, norm):
    done = []
    sweep = sweep_of(films, models["VGG16"], Condition("budget", norm, grey=True, restarts=2), advance=done.append)
    clean = with_classes(clean_rows(sweep.engine))
    done.clear()
    records = sweep.run(Cell("apgd", 0.01), clean)
    # From each of two starts, the gradient at every point and the logits where it ends.
    assert sum(done) == FILMS * (2 * (2 * (STEPS + 1) + 1) + 2)
    assert set(records) == {ROWS, VIEWER}
    reach = records[ROWS]["linf"] if norm == "linf" else records[ROWS]["l2"] / np.sqrt(films.pixels([0]).size)
    assert (reach <= 0.01 + 1e-6).all() and (reach > 0.005).all()
    (batch, *_) = sweep.engine.batches()
    together = to_numpy(sweep.attack(Cell("apgd", 0.01), batch))
    assert np.abs(sweep.attack_film(Cell("apgd", 0.01), batch.own[1]) - together[1]).max() < 1e-6


def test_attacks_without_a_random_start_are_not_repeated(films, models, clean):
    done = []
    once, often = (sweep_of(films, models["VGG16"], Condition(restarts=n), advance=done.append) for n in (1, 5))
    assert once.gradients and often.gradients
    for name, gradients, passes in (("binm", STEPS - 1, 0), ("pgd", 5 * STEPS, 5)):
        done.clear()
        found = often.run(Cell(name, 0.01), clean)[ROWS]
        assert sum(done) == FILMS * (2 * gradients + passes + 2)
        alike = found.equals(once.run(Cell(name, 0.01), clean)[ROWS])
        assert alike == (name == "binm")
