"""The sweep: its cells, what they share, and every number of a cell against a slow recomputation, film by film."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from tiny import LinearSoftmax, random_films, reference_attack, reference_ssim, write_data

from nosign import paper, rows
from nosign.attacks import turning
from nosign.attacks.catalogue import ATTACKS, CONTROLS, LOSSES, Condition
from nosign.attacks.controls import control_field
from nosign.attacks.loop import unit_noise
from nosign.dataset import CLASSES, open_split
from nosign.errors import UserError
from nosign.measures import size, visibility
from nosign.measures.storage import STORAGES
from nosign.measures.visibility import SSIM_INVISIBLE
from nosign.rows import MEASURES, ROUNDED_MEASURES, ROWS, STORED, VIEWER, Cell, cell_path, logit_columns, with_classes
from nosign.rows import STEPS as STEPS_FILE
from nosign.sweep import engine, examples, jobs
from nosign.sweep.engine import Engine
from nosign.sweep.jobs import plan
from nosign.sweep.sweep import Sweep

PAPER = Condition()
SIZE, FILMS, STEPS = 12, 10, 3
SPLITS = ["train"] * 3 + ["test"] * FILMS
NAMES = ("VGG16", "InceptionV3", "DenseNet201")


@pytest.fixture(scope="module")
def models():
    return {name: LinearSoftmax((SIZE, SIZE, 3), seed=seed, spread=0.1) for seed, name in enumerate(NAMES)}


@pytest.fixture(scope="module")
def films(models, tmp_path_factory):
    """Ten test films behind three training films; VGG16 gets all but the last right."""
    images = random_films(len(SPLITS), SIZE, seed=11)
    labels = models["VGG16"].logits(images / 255).argmax(-1)
    labels[-1] = (labels[-1] + 1) % 3
    return open_split(write_data(tmp_path_factory.mktemp("data"), images, labels, SPLITS), "test")


def sweep_of(films, source, targets, *, condition=PAPER, **options):
    """Return a sweep on an engine of its own."""
    return Sweep(Engine(films, targets, **options), source, condition)


CONDITIONS = [
    Condition(),
    Condition("budget"),
    Condition("budget", "l2"),
    Condition(target="Normal"),
    Condition(grey=True),
    Condition("budget", grey=True),
]


@pytest.fixture(scope="module", params=CONDITIONS, ids=str)
def sweep(request, models, films, tmp_path_factory):
    """A sweep in batches of 4 (the last holds 2 films) whose gradients at the films are known already."""
    targets = {name: model.logits_model() for name, model in models.items()}
    sweep = sweep_of(films, "VGG16", targets, condition=request.param, steps=STEPS, seed=5, batch=4)
    sweep.first()
    return sweep


@pytest.fixture(scope="module")
def clean(sweep):
    return with_classes(sweep.engine.clean(lambda work: None))


def logits_in(frame, ending=""):
    """Return the names of all models' columns of logits."""
    return [column for name in NAMES for column in logit_columns(name + ending)]


def test_clean_rows_hold_what_is_known_of_a_film_and_the_models_own_logits(models, films, clean):
    assert list(clean) == ["film", "label", "collection", "patient", "group", *logits_in(clean), *NAMES]
    for column, known in (("collection", films.collections), ("group", films.groups)):
        np.testing.assert_array_equal(clean[column], known)
    np.testing.assert_array_equal(clean["patient"].fillna(-1), films.patients)
    for name in NAMES:
        np.testing.assert_allclose(clean[logit_columns(name)], models[name].logits(films.pixels()), atol=1e-5)
    np.testing.assert_array_equal(clean["film"], np.arange(3, 3 + FILMS))
    np.testing.assert_array_equal(clean["label"], films.labels)
    for name in NAMES:
        np.testing.assert_array_equal(clean[name], models[name].logits(films.pixels()).argmax(-1))
    assert (clean["VGG16"] == clean["label"]).sum() == FILMS - 1


@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.parametrize("strength", [0.0005, 0.02])
def test_every_number_of_a_cell_equals_a_slow_recomputation(models, films, sweep, clean, name, strength):
    frame = sweep.run(Cell(name, strength), clean, lambda work: None)[ROWS]
    assert list(frame) == ["film", "label", *logits_in(frame), *logits_in(frame, "_8bit"), *MEASURES, *ROUNDED_MEASURES]
    for i, row in enumerate(frame.to_dict("records")):
        film, label = films.pixels([i])[0], films.labels[i]
        noise = np.random.default_rng([5, 3 + i]).random((SIZE, SIZE, 3), dtype=np.float32) * 2.0 - 1.0
        aim = label if sweep.condition.target is None else CLASSES.index(sweep.condition.target)
        side = 1 if sweep.condition.target is None else -1
        field = (
            control_field(ATTACKS[name].control, 5, [3 + i], film.shape, [side * models["VGG16"].gradient(film, aim)])[0]
            if name in CONTROLS
            else None
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
            targeted=side < 0,
            grey=sweep.condition.grey,
            field=field,
        )
        stored = np.round(changed * 255) / 255
        assert (row["film"], row["label"]) == (3 + i, label)
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


@pytest.mark.parametrize("name", ["fgnm", "bim", "pgdnm", "mifgsm"])
def test_every_number_of_the_steps_equals_a_slow_recomputation(models, films, sweep, clean, name):
    model, condition = models["VGG16"], sweep.condition
    steps = sweep.run(Cell(name, 0.02), clean, lambda work: None)[STEPS_FILE]
    taken = STEPS if ATTACKS[name].iterative else 1
    assert list(steps) == ["film", "step", "cosine", "predicted", "gained", "predicted_log_odds", "gained_log_odds"]
    np.testing.assert_array_equal(steps["step"], np.repeat(np.arange(1, taken + 1), FILMS))
    side = 1 if condition.target is None else -1
    for i, of_film in enumerate(steps.groupby("film")):
        aim = films.labels[i] if condition.target is None else CLASSES.index(condition.target)
        noise, path = unit_noise(5, [3 + i], (SIZE, SIZE, 3))[0], []
        last = reference_attack(
            model,
            name,
            films.pixels([i])[0],
            aim,
            0.02,
            protocol=condition.protocol,
            steps=STEPS,
            noise=noise,
            norm=condition.norm,
            targeted=side < 0,
            grey=condition.grey,
            path=path,
        )
        ends = [*(x for x, _ in path[1:]), last]
        for row, (start, gradient), end in zip(of_film[1].to_dict("records"), path, ends):
            step = end - start
            assert row["predicted"] == pytest.approx((gradient * step).sum(), rel=1e-3)
            assert row["cosine"] == pytest.approx(
                (gradient * step).sum() / np.linalg.norm(gradient) / np.linalg.norm(step), abs=1e-3
            )
            logits = model.logits(np.stack([start, end]))
            loss = np.log(np.exp(logits).sum(-1)) - logits[:, aim]
            assert row["gained"] == pytest.approx(side * (loss[1] - loss[0]), rel=1e-3, abs=1e-5)
            odds = np.log(np.exp(np.delete(logits, aim, 1)).sum(-1)) - logits[:, aim]
            assert row["gained_log_odds"] == pytest.approx(side * (odds[1] - odds[0]), rel=1e-3, abs=1e-4)
            assert row["predicted_log_odds"] == pytest.approx(row["predicted"] * (1 + np.exp(-odds[0])), rel=1e-3)


def test_a_step_without_gradient_has_no_cosine(films):
    flat = LinearSoftmax((SIZE, SIZE, 3), kernel=np.zeros((SIZE * SIZE * 3, 3)), bias=np.float32([9, 0, 0]))
    sweep = sweep_of(films, "VGG16", {"VGG16": flat.logits_model()}, batch=4)
    steps = sweep.run(Cell("fgsm", 0.02), with_classes(sweep.engine.clean(lambda work: None)), lambda work: None)[STEPS_FILE]
    assert steps["cosine"].isna().all() and len(steps) == FILMS
    assert (steps["predicted"] == 0).all()


def test_stored_predictions_are_those_of_the_stored_films(models, films, sweep, clean, tmp_path):
    keep = rows.new_films(tmp_path / "films.npy", films)
    done = []
    result = sweep.run(Cell("fgnm", 0.02), clean, done.append, keep=keep, storages=list(STORAGES))
    assert sum(done) == FILMS * 3 * (1 + len(STORAGES))
    assert list(dict.fromkeys(result[STORED]["storage"])) == list(STORAGES)
    for storage, seen in result[STORED].groupby("storage"):
        np.testing.assert_array_equal(seen["film"], films.rows)
        for name in NAMES:
            np.testing.assert_array_equal(seen[name], models[name].logits(STORAGES[storage](np.array(keep))).argmax(-1))


def test_shown_films_are_two_a_class_with_the_change_and_what_the_models_make_of_it(models, films, sweep, clean):
    shown = sweep.run(Cell("bim", 0.02), clean, lambda work: None)[VIEWER]
    labels, counts = np.unique(shown["labels"], return_counts=True)
    assert (counts == np.minimum(2, np.bincount(films.labels, minlength=3)[labels])).all()
    assert list(shown["models"]) == list(NAMES)
    for i, row in enumerate(shown["films"]):
        position = list(films.rows).index(row)
        assert shown["labels"][i] == films.labels[position] and clean["VGG16"][position] == films.labels[position]
        film, changed = films.pixels([position])[0], sweep.attack_film(Cell("bim", 0.02), position)
        np.testing.assert_array_equal(shown["original"][i], np.round(film * 255))
        np.testing.assert_allclose(shown["change"][i], changed - film, atol=1e-4)
        for name, clean_one, one in zip(NAMES, shown["clean_probabilities"], shown["probabilities"]):
            for pixels, found in ((film, clean_one[i]), (changed, one[i])):
                logits = models[name].logits(pixels[None])[0]
                np.testing.assert_allclose(found, np.exp(logits) / np.exp(logits).sum(), atol=1e-4)


@pytest.mark.parametrize("name", ["fgsm", "fgnm"])
def test_boundaries_are_where_an_attack_becomes_visible_and_carry_the_predictions_there(models, films, sweep, name):
    done = []
    frame = sweep.find_boundaries(name, done.append)
    assert sum(done) == FILMS * 3 * 4
    assert list(frame) == ["film", "label", "criterion", "strength", *NAMES]
    for row in frame.to_dict("records"):
        position = list(films.rows).index(row["film"])
        film, changed = films.pixels([position])[0], sweep.attack_film(Cell(name, row["strength"]), position)
        for model in NAMES:
            assert row[model] == models[model].logits(changed[None]).argmax()
        if row["criterion"] == "SSIM":
            assert size.ssim(film, changed) == pytest.approx(SSIM_INVISIBLE, abs=1e-4)
        else:
            ratio = visibility.visibility(changed - film, visibility.thresholds(film))
            assert ratio[list(visibility.CRITERIA).index(row["criterion"])] == pytest.approx(1, abs=3e-3)


@pytest.mark.parametrize("name", ["fgsm", "fgnm", "noise", "shuffled"])
def test_turning_strengths_turn_each_film_and_a_little_less_does_not(models, films, sweep, clean, name):
    done, chosen = [], np.array([0, 2, 3, 5, 6, 8, 9])
    frame = sweep.find_turning(name, clean, chosen, done.append)
    assert list(frame) == rows.TURNING_COLUMNS and sum(done) == len(chosen) * len(NAMES) * turning.PASSES
    aim = None if sweep.condition.target is None else CLASSES.index(sweep.condition.target)
    assert list(frame["target"]) == [model for model in NAMES for _ in chosen]
    for row in frame.to_dict("records"):
        position = int(row["film"]) - 3
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
        if name in ("fgsm", "fgnm"):
            gradient = models["VGG16"].gradient(film, label if aim is None else aim)
            gradient = np.broadcast_to(gradient.mean(-1, keepdims=True), film.shape) if sweep.condition.grey else gradient
            cosine = np.abs(gradient).sum() / np.linalg.norm(gradient) / np.sqrt(gradient.size)
            assert row["cosine"] == pytest.approx(cosine, abs=1e-5)


def test_steps_along_a_mistaken_loss_predict_nothing(models, films):
    targets = {"VGG16": models["VGG16"].logits_model()}
    sweep = sweep_of(films, "VGG16", targets, condition=Condition(loss="softmax"), batch=4)
    steps = sweep.run(Cell("fgnm", 0.02), with_classes(sweep.engine.clean(lambda work: None)), lambda work: None)[STEPS_FILE]
    assert steps[["predicted", "predicted_log_odds"]].isna().all(axis=None) and steps["gained"].notna().all()


def test_changes_that_vanish_in_8_bits_leave_the_clean_predictions(sweep, clean):
    frame = sweep.run(Cell("fgsm", 0.0015), clean, lambda work: None)[ROWS]
    np.testing.assert_array_equal(frame[logits_in(frame, "_8bit")], np.float32(clean[logits_in(clean)]))
    assert (frame["linf"] > 0.001).all() and (frame["linf_8bit"] == 0).all() and (frame["ssim_8bit"] == 1).all()


def test_a_sweep_does_not_depend_on_its_batches(models, films, sweep, clean):
    targets = {name: model.logits_model() for name, model in models.items()}
    other = sweep_of(films, "VGG16", targets, condition=sweep.condition, steps=STEPS, seed=5, batch=64)
    for name in ("fgnm", "pgd"):
        here, there = (s.run(Cell(name, 0.01), clean, lambda work: None)[ROWS] for s in (sweep, other))
        pd.testing.assert_frame_equal(here, there, rtol=1e-4, atol=1e-7)


def test_a_film_attacked_alone_equals_the_film_in_the_sweep(sweep):
    for name in ATTACKS:
        cell = Cell(name, 0.01)
        for start, stop, pixels, labels in sweep.batches():
            together = sweep.attack_batch(cell, start, stop, pixels, labels)
            assert np.abs(sweep.attack_film(cell, stop - 1) - together[stop - 1 - start]).max() < 1e-6


def test_batches_have_one_shape_and_hold_each_film_once(sweep, films):
    seen = []
    for start, stop, pixels, labels in sweep.batches():
        assert pixels.shape == (4, SIZE, SIZE, 3) and labels.shape == (4, 3)
        np.testing.assert_array_equal(pixels[: stop - start], films.pixels(slice(start, stop)))
        aims = films.labels[start:stop] if sweep.condition.target is None else CLASSES.index("Normal")
        np.testing.assert_array_equal(labels[: stop - start].argmax(-1), aims)
        seen += range(start, stop)
    assert seen == list(range(FILMS))


@pytest.mark.parametrize("name", ATTACKS)
def test_the_announced_work_is_the_work_done(sweep, clean, name):
    done = []
    sweep.run(Cell(name, 0.001), clean, done.append)
    # A gradient counts two passes; each of three models sees the films before and after rounding.
    gradients = {
        **dict.fromkeys(CONTROLS, 0),
        "fgsm": 0,
        "fgnm": 0,
        "bim": STEPS - 1,
        "binm": STEPS - 1,
        "mifgsm": STEPS - 1,
        "mifgnm": STEPS - 1,
        "pgd": STEPS,
        "pgdnm": STEPS,
    }[name]
    assert sum(done) == FILMS * (2 * gradients + 6) == FILMS * jobs.cell_cost(Cell(name, 0.001), STEPS, 3)


def test_stored_gradients_come_back_bit_for_bit(tmp_path):
    store = engine.FilmCache(tmp_path, (4, 4, 3))
    gradients = np.random.default_rng(12).normal(size=(7, 4, 4, 3)).astype(np.float32)
    for start in (4, 0):
        store.write(start, gradients[start : start + 4])
    np.testing.assert_array_equal(store.read(0, 7), gradients)
    np.testing.assert_array_equal(store.read(5, 2), gradients[5:])
    assert not list(tmp_path.iterdir())


def test_first_gradients_are_the_gradients_at_the_films(models, films, sweep):
    target, gradient = sweep.condition.target, models["VGG16"].log_odds_gradient
    expected = [
        gradient(film, label) if target is None else -gradient(film, CLASSES.index(target))
        for film, label in zip(films.pixels(), films.labels)
    ]
    np.testing.assert_allclose(sweep.first().gradients.read(0, FILMS), expected, atol=1e-5)


def test_films_without_a_gradient_are_counted(films, models, tmp_path):
    # So far on the side of class 0 the softmax is exactly (1, 0, 0): the two mistakes leave films of class 0 no gradient,
    # and clipped probabilities none either where the label's is 0.
    model = LinearSoftmax((SIZE, SIZE, 3), kernel=models["VGG16"].kernel, bias=np.array([1e4, -1e4, -1e4]))
    zero = {}
    for loss in LOSSES:
        sweep = sweep_of(films, "VGG16", {"VGG16": model.logits_model()}, condition=Condition(loss=loss), batch=4)
        found = sweep.first().counts
        zero[loss] = found["films_with_zero_gradient"]
        assert found["films_with_nan_or_infinite_gradient"] == 0
    assert 0 < (films.labels == 0).sum() < FILMS
    assert zero == {"cross-entropy": 0, "softmax": FILMS, "probabilities": FILMS}


def test_films_with_a_gradient_that_is_not_finite_are_counted(films, models, tmp_path):
    model = LinearSoftmax((SIZE, SIZE, 3), kernel=models["VGG16"].kernel, bias=np.array([np.nan, 0, 0]))
    sweep = sweep_of(films, "VGG16", {"VGG16": model.logits_model()}, batch=4)
    found = sweep.first().counts
    assert found == {"films_with_zero_gradient": 0, "films_with_nan_or_infinite_gradient": FILMS}


def test_an_attack_without_bounds_turns_an_honest_model_and_not_a_masked_one(films, models, tmp_path):
    import keras

    honest = sweep_of(films, "VGG16", {"VGG16": models["VGG16"].logits_model()}, batch=FILMS)
    assert honest.unbounded_accuracy() == 0
    inputs = keras.Input((SIZE, SIZE, 3))
    # Rounding has no gradient of its own; what is left of it points nowhere.
    outputs = models["VGG16"].logits_model()(keras.layers.Lambda(lambda x: keras.ops.round(x * 4) / 4)(inputs))
    masked = sweep_of(films, "VGG16", {"VGG16": keras.Model(inputs, outputs)}, batch=FILMS)
    assert masked.unbounded_accuracy() > 0.5


def test_sweeps_of_one_engine_share_what_is_compiled_and_the_gradients_that_are_the_same(models, films, sweep, clean):
    other = Sweep(sweep.engine, "DenseNet201", sweep.condition)
    assert not other.shares_gradients(sweep) and not other.knows_gradients
    targets = {name: model.logits_model() for name, model in models.items()}
    expected = sweep_of(films, "DenseNet201", targets, condition=sweep.condition, steps=STEPS, seed=5, batch=4)
    frames = [one.run(Cell("fgnm", 0.02), clean, lambda work: None)[ROWS] for one in (other, expected)]
    pd.testing.assert_frame_equal(*frames)
    grey = Sweep(sweep.engine, "VGG16", replace(sweep.condition, grey=not sweep.condition.grey))
    assert grey.shares_gradients(sweep) and not Sweep(sweep.engine, "VGG16", Condition(loss="softmax")).shares_gradients(sweep)
    grey.share(sweep)
    assert grey.first() is sweep.first()


def test_kept_films_are_the_adversarial_ones_and_score_the_same(films, sweep, clean, tmp_path):
    keep = rows.new_films(tmp_path / "0.02.npy", films)
    frame = sweep.run(Cell("bim", 0.02), clean, lambda work: None, keep=keep)[ROWS]
    kept = rows.open_films(tmp_path / "0.02.npy", films)
    np.testing.assert_array_equal(kept[7], sweep.attack_film(Cell("bim", 0.02), 7))
    pd.testing.assert_frame_equal(sweep.run(Cell("bim", 0.02), clean, lambda work: None, kept=kept)[ROWS], frame)


@pytest.mark.parametrize(
    "spoil, message",
    [
        (lambda path: path.unlink(), "no complete array"),
        (lambda path: path.write_bytes(path.read_bytes()[:999]), "no complete array"),
        (lambda path: np.save(path, np.zeros((2, SIZE, SIZE, 3), np.float32)), "expected float32"),
    ],
    ids=["missing", "cut", "others"],
)
def test_kept_films_that_do_not_fit_are_refused(films, tmp_path, spoil, message):
    rows.new_films(tmp_path / "0.02.npy", films).flush()
    spoil(tmp_path / "0.02.npy")
    with pytest.raises(UserError, match=message):
        rows.open_films(tmp_path / "0.02.npy", films)


def test_the_plan_holds_every_cell_once_with_the_strengths_of_its_kind():
    cells = plan(["fgsm", "pgd", "fgsm"], [0.1, 0.2, 0.1], [0.3])
    assert cells == [Cell("fgsm", 0.1), Cell("fgsm", 0.2), Cell("pgd", 0.3)]


def test_a_cells_path_names_its_condition():
    path = cell_path("results", "VGG16", Condition("budget", "l2", "Normal", grey=True), Cell("fgsm", 0.0005))
    assert path.as_posix() == "results/attacks/VGG16/budget-l2-grey-to-Normal/fgsm/0.0005.csv"


def test_a_short_array_is_filled_up_with_zeros():
    array = np.ones((2, 3, 1), np.float32)
    found = engine.padded(array, 5)
    assert found.shape == (5, 3, 1) and found.sum() == 6 and found.dtype == np.float32


@pytest.fixture(scope="module")
def near_the_boundary(tmp_path_factory):
    """Ten COVID-19 films, some of them wrong, some far from the boundary, one so near that a tiny change turns it."""
    model = LinearSoftmax((SIZE, SIZE, 3), seed=13, spread=0.1)
    images = random_films(FILMS, SIZE, seed=14)
    logits = model.logits(images / 255)
    margins = logits[:, 0] - logits[:, 1:].max(-1)
    nearest = np.argsort(margins)[FILMS // 2]
    model.bias[0] -= np.float32(margins[nearest] - 0.003)
    films = open_split(write_data(tmp_path_factory.mktemp("near"), images, [0] * FILMS, ["test"] * FILMS), "test")
    sweep = sweep_of(films, "VGG16", {"VGG16": model.logits_model()}, steps=STEPS, seed=5, batch=4)
    return model, sweep, nearest


@pytest.mark.parametrize("attack", paper.EXAMPLES)
def test_the_example_is_the_covid_film_that_the_smaller_strength_turns(near_the_boundary, attack):
    model, sweep, nearest = near_the_boundary
    clean = with_classes(sweep.engine.clean(lambda work: None))
    assert 1 < (clean["VGG16"] == 0).sum() < FILMS
    example = examples.find_example(sweep, attack, clean)
    strength = {"fgnm": 0.003, "pgdnm": 0.0003}[attack]
    original, noise = sweep.films.pixels([nearest])[0], unit_noise(5, [nearest], (SIZE, SIZE, 3))[0]
    assert (example["film"], example["label"]) == (nearest, CLASSES.index("COVID-19"))
    np.testing.assert_allclose(example["strengths"], [strength, 10 * strength])
    np.testing.assert_array_equal(example["original"], original)
    expected = [
        reference_attack(model, attack, original, 0, s, protocol="paper", steps=STEPS, noise=noise)
        for s in (strength, 10 * strength)
    ]
    np.testing.assert_allclose(example["adversarial"], expected, atol=1e-5)
    logits = model.logits(np.stack([original, *expected]))
    probabilities = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    np.testing.assert_array_equal(example["predictions"], probabilities.argmax(-1))
    np.testing.assert_allclose(example["confidences"], probabilities.max(-1), atol=1e-3)
    assert example["predictions"][0] == 0 != example["predictions"][1]


def test_an_example_is_found_even_where_no_film_falls(films, tmp_path):
    stubborn = LinearSoftmax((SIZE, SIZE, 3), kernel=np.zeros((SIZE * SIZE * 3, 3)), bias=np.float32([9, 0, 0]))
    sweep = sweep_of(films, "VGG16", {"VGG16": stubborn.logits_model()}, steps=1)
    example = examples.find_example(sweep, "fgnm", with_classes(sweep.engine.clean(lambda work: None)))
    assert list(example["predictions"]) == [0, 0, 0] and example["adversarial"].shape == (2, SIZE, SIZE, 3)


def test_probabilities_are_the_softmax_of_the_logits(models, films, sweep):
    logits = models["InceptionV3"].logits(films.pixels([0, 1]))
    expected = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    np.testing.assert_allclose(sweep.engine.probabilities("InceptionV3", films.pixels([0, 1])), expected, atol=1e-5)


def test_a_cells_file_keeps_six_digits(tmp_path):
    frame = pd.DataFrame({"film": [3], "label": [0], "linf": [0.00050000003], "l2": [1 / 3], "ssim": [1.0]})
    rows.write_cell(tmp_path / "a/b.csv", {ROWS: frame})
    assert (tmp_path / "a/b.csv").read_text() == "film,label,linf,l2,ssim\n3,0,0.0005,0.333333,1\n"


def test_a_linear_models_strongest_cell_turns_every_film_that_was_right(sweep, clean):
    frame = with_classes(sweep.run(Cell("fgsm", 0.2), clean, lambda work: None)[ROWS])
    aim = sweep.condition.target
    assert (frame["VGG16"] != frame["label"]).all() if aim is None else (frame["VGG16"] == CLASSES.index(aim)).all()
