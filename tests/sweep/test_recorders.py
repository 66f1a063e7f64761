"""What is recorded beside a cell's rows: steps, films after storing, viewer films, the films themselves."""

import numpy as np
import pandas as pd
import pytest
from sweeps import FILMS, NAMES, SEED, SIZE, STEPS, TRAINING_FILMS, sweep_of
from tiny import LinearSoftmax, reference_attack

from nosign import rows
from nosign.attacks.catalogue import ATTACKS, Condition
from nosign.attacks.loop import unit_noise
from nosign.dataset import CLASSES
from nosign.errors import UserError
from nosign.measures.storage import EIGHT_BITS, STORAGES
from nosign.rows import ROWS, STORED, VIEWER, Cell, logit_columns, with_classes
from nosign.rows import STEPS as STEPS_FILE
from nosign.sweep.clean import clean_rows


@pytest.mark.parametrize("name", ["fgnm", "bim", "pgdnm", "mifgsm"])
def test_every_number_of_the_steps_equals_a_slow_recomputation(models, films, sweep, clean, name):
    model, condition = models["VGG16"], sweep.condition
    steps = sweep.run(Cell(name, 0.02), clean)[STEPS_FILE]
    taken = STEPS if ATTACKS[name].iterative else 1
    assert list(steps) == ["film", "step", "cosine", "predicted", "gained", "predicted_log_odds", "gained_log_odds"]
    np.testing.assert_array_equal(steps["step"], np.repeat(np.arange(1, taken + 1), FILMS))
    side = 1 if condition.target is None else -1
    for i, of_film in enumerate(steps.groupby("film")):
        aim = films.labels[i] if condition.target is None else CLASSES.index(condition.target)
        noise, path = unit_noise(SEED, [TRAINING_FILMS + i], (SIZE, SIZE, 3))[0], []
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
            step_factor=condition.step_factor,
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
    sweep = sweep_of(films, flat)
    steps = sweep.run(Cell("fgsm", 0.02), with_classes(clean_rows(sweep.engine)))[STEPS_FILE]
    assert steps["cosine"].isna().all() and len(steps) == FILMS
    assert (steps["predicted"] == 0).all()


def test_steps_along_a_mistaken_loss_predict_nothing(models, films):
    sweep = sweep_of(films, models["VGG16"], Condition(loss="softmax"))
    steps = sweep.run(Cell("fgnm", 0.02), with_classes(clean_rows(sweep.engine)))[STEPS_FILE]
    assert steps[["predicted", "predicted_log_odds"]].isna().all(axis=None) and steps["gained"].notna().all()


def test_stored_predictions_are_those_of_the_stored_films(models, films, sweep, clean, done, tmp_path):
    keep = rows.new_films(tmp_path / "films.npy", films)
    stored = sweep.run(Cell("fgnm", 0.02), clean, keep=keep, storages=list(STORAGES))[STORED]
    assert sum(done) == FILMS * 3 * (1 + len(STORAGES))
    assert list(dict.fromkeys(stored["storage"])) == list(STORAGES)
    for storage, seen in stored.groupby("storage"):
        np.testing.assert_array_equal(seen["film"], films.rows)
        for name in NAMES:
            np.testing.assert_array_equal(seen[name], models[name].logits(STORAGES[storage](np.array(keep))).argmax(-1))


def test_viewer_films_are_two_a_class_with_the_change_and_what_the_models_make_of_it(models, films, sweep, clean):
    viewer = sweep.run(Cell("bim", 0.02), clean)[VIEWER]
    labels, counts = np.unique(viewer["labels"], return_counts=True)
    assert (counts == np.minimum(2, np.bincount(films.labels, minlength=3)[labels])).all()
    assert list(viewer["models"]) == list(NAMES)
    for i, row in enumerate(viewer["films"]):
        position = list(films.rows).index(row)
        assert viewer["labels"][i] == films.labels[position] and clean["VGG16"][position] == films.labels[position]
        film, changed = films.pixels([position])[0], sweep.attack_film(Cell("bim", 0.02), position)
        np.testing.assert_array_equal(viewer["original"][i], np.round(film * 255))
        np.testing.assert_allclose(viewer["change"][i], changed - film, atol=1e-4)
        for name, clean_one, one in zip(NAMES, viewer["clean_probabilities"], viewer["probabilities"]):
            for pixels, found in ((film, clean_one[i]), (changed, one[i])):
                logits = models[name].logits(pixels[None])[0]
                np.testing.assert_allclose(found, np.exp(logits) / np.exp(logits).sum(), atol=1e-4)


def test_kept_films_are_the_adversarial_ones_and_score_the_same(films, sweep, clean, tmp_path):
    keep = rows.new_films(tmp_path / "0.02.npy", films)
    frame = sweep.run(Cell("bim", 0.02), clean, keep=keep)[ROWS]
    kept = rows.open_films(tmp_path / "0.02.npy", films)
    np.testing.assert_array_equal(kept[7], sweep.attack_film(Cell("bim", 0.02), 7))
    records = sweep.run(Cell("bim", 0.02), clean, kept=kept)
    assert list(records) == [ROWS]
    pd.testing.assert_frame_equal(records[ROWS], frame)


def test_films_in_8_bits_are_scored_once_however_many_records_want_them(films, sweep, clean, monkeypatch):
    calls, predict = [], type(sweep.engine).predict
    monkeypatch.setattr(type(sweep.engine), "predict", lambda self, films: calls.append(1) or predict(self, films))
    records = sweep.run(Cell("fgsm", 0.02), clean, storages=[EIGHT_BITS, "10 bits"])
    batches = -(-FILMS // sweep.engine.batch)
    assert len(calls) == 3 * batches  # as they are, in 8 and in 10 bits
    in_8_bits = records[STORED].query("storage == @EIGHT_BITS").reset_index(drop=True)
    for name in NAMES:
        np.testing.assert_array_equal(in_8_bits[name], records[ROWS][logit_columns(name + "_8bit")].to_numpy().argmax(-1))


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
