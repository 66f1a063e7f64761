"""The floor: where attacks stop that follow one of two mistaken losses, and the films that have no gradient under it.

Both mistakes lose the gradient of confident films in float32, and such films never move, whatever the attack. The margin is the
logit of a film's class minus the logsumexp of the others, so exp(-margin) is the others' probability beside the class's own.

- probabilities: Keras clips them to [1e-7, 1 - 1e-7]. A probability of 1 - 1e-7 has a margin of log(1e7 - 1) = 16.1; as float32
  has nothing between 1 - 2^-24 and 1, and rounds sums near 1, gradients end at a margin of 15.9 (23 log 2) to 16.6 (24 log 2).
- softmax, taken for logits: the derivative is the others' probability times a number below 1. TensorFlow and JAX flush what is
  below 2^-126 to 0, at a margin of 86 to 87; PyTorch, which keeps subnormal numbers, what is below 2^-150, at 104.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import softmax

from nosign.attacks.catalogue import ATTACKS, KERAS_EPSILON, LOSSES
from nosign.finished import FinishedSweep, Run
from nosign.output.finding import Finding, Sentence
from nosign.output.table import Table, numbers, words
from nosign.output.words import MISSING, joined, plural
from nosign.paper import PAPER_BEST, PAPER_CONDITION, PAPER_TEST_FILMS
from nosign.rows import CleanFilms, recorded_health

HEADING = "The floor of a mistaken loss"
DEFAULT, *MISTAKES = LOSSES
MEANS = {"softmax": "the softmax taken for logits", "probabilities": "cross-entropy on clipped probabilities"}
PREDICTED = ("source", "loss", "films", "predicted", "predicted_right")
# What a sweep that follows the loss adds.
FOUND = (
    *("condition", "zero_gradient", "unmoved", "unmoved_predicted", "unmoved_right"),
    *("floor", "floor_unmoved", "floor_attack", "floor_strength", "floor_default"),
)


def describe(run: Run) -> Finding:
    """Return for each model and mistaken loss the films without a gradient, predicted and found, and where attacks stop."""
    rows = list(floor_rows(run, run.films)) if run.films else []
    if not rows:
        return Finding("floor", HEADING)
    floors = pd.DataFrame(rows, columns=[*PREDICTED, *FOUND])
    cells = [cells_table(run, sweep) for sweep in run.sweeps if is_mistaken(sweep)]
    return Finding("floor", HEADING, (floor_table(floors, run.films_are), *cells), (), (floor_sentence(floors),))


def is_mistaken(sweep: FinishedSweep) -> bool:
    """Whether a sweep follows a mistaken loss to any wrong class, and has cells of its source model."""
    return sweep.condition.loss != DEFAULT and sweep.aim is None and bool(right_films(sweep))


def floor_rows(run: Run, films: CleanFilms) -> Iterator[dict]:
    """Yield a row for each model, mistaken loss and sweep that follows it; one without a sweep where none does.

    Yields:
        Dict:
            source, loss, films
            predicted, predicted_right           films without a gradient by `has_gradient`; of these, right before the attacks
            condition                            of the sweep; absent, as all that follows, if there is none
            zero_gradient                        films without a gradient as the sweep's health report counted them
            unmoved                              films that no step moves
            unmoved_predicted, unmoved_right     of these, predicted (of some the last digits decide); right before the attacks
            floor, floor_attack, floor_strength  fewest films right in any cell, and in which
            floor_unmoved                        how many of these no step moves
            floor_default                        fewest right in any of these cells with the default loss
    """
    clean = films.predictions
    labels = clean["label"].to_numpy(int)
    for model, logits in films.logits.items():
        is_right = (clean[model] == clean["label"]).to_numpy()
        for loss in MISTAKES:
            stuck = ~has_gradient(logits, labels, loss)
            counts = {"films": len(stuck), "predicted": int(stuck.sum()), "predicted_right": int((stuck & is_right).sum())}
            row = {"source": model, "loss": loss, **counts}
            sweeps = [one for one in run.sweeps if is_mistaken(one) and (one.source, one.condition.loss) == (model, loss)]
            yield from ({**row, **found(run, sweep, stuck)} for sweep in sweeps)
            if not sweeps:
                yield row


def has_gradient(logits: np.ndarray, labels: np.ndarray, loss: str) -> np.ndarray:
    """Return which films have a derivative of a mistaken loss by the logits, in float32 that flushes small numbers to 0.

    JAX finds the same on the study's 900 films; TensorFlow, which adds in another order, finds 3 films more without a gradient.

    Args:
        logits: float32 [films, classes].
        labels: int [films].
        loss: one of `MISTAKES`.

    Returns:
        bool [films].
    """
    probabilities = softmax(logits, axis=-1)
    own = np.arange(logits.shape[1]) == labels[:, None]
    if loss == "probabilities":
        ends = np.float32(KERAS_EPSILON), np.float32(1 - KERAS_EPSILON)
        return (probabilities[own] >= ends[0]) & (probabilities[own] <= ends[1])
    by_probability = softmax(probabilities, axis=-1) - own
    derivative = probabilities * (by_probability - (probabilities * by_probability).sum(1, keepdims=True))
    return (np.abs(derivative) >= np.finfo(np.float32).tiny).any(axis=1)


def right_films(sweep: FinishedSweep) -> dict[tuple[str, float], np.ndarray]:
    """Return which films the source model has right in each cell above strength 0, bool [films].

    Controls and universal perturbations are left out: they move films without a gradient as well.
    """
    return {
        cell: films[sweep.source].to_numpy() == sweep.labels
        for cell, films in sweep.cells.items()
        if cell[1] > 0 and not ATTACKS[cell[0]].follows_field and sweep.source in films
    }


def unmoved_films(sweep: FinishedSweep) -> np.ndarray:
    """Return which films no attack moves that starts at the film itself: bool [films], none where no such attack was run."""
    cells = [cell for cell in right_films(sweep) if not ATTACKS[cell[0]].random_start]
    still = [sweep.cells[cell]["linf"].to_numpy() == 0 for cell in cells]
    return np.all(still, axis=0) if still else np.zeros(len(sweep.labels), bool)


def default_films(run: Run, sweep: FinishedSweep) -> dict[tuple[str, float], np.ndarray]:
    """Return `right_films` of the sweep with the default loss and all else equal; empty if it was not run."""
    condition = replace(sweep.condition, loss=DEFAULT)
    twin = next((other for other in run.sweeps if (other.source, other.condition) == (sweep.source, condition)), None)
    return right_films(twin) if twin else {}


def found(run: Run, sweep: FinishedSweep, predicted: np.ndarray) -> dict:
    """Return what a sweep adds to its row of `floor_rows`; predicted: by the logits without a gradient, bool [films]."""
    right, unmoved, default = right_films(sweep), unmoved_films(sweep), default_films(run, sweep)
    lowest = min(right, key=lambda cell: right[cell].sum())
    return {
        "condition": str(sweep.condition),
        "zero_gradient": recorded_health(run.results, *sweep.name).get("films_with_zero_gradient"),
        "unmoved": int(unmoved.sum()),
        "unmoved_predicted": int((unmoved & predicted).sum()),
        "unmoved_right": int((unmoved & (sweep.clean[sweep.source] == sweep.labels)).sum()),
        "floor": int(right[lowest].sum()),
        "floor_unmoved": int((right[lowest] & unmoved).sum()),
        "floor_attack": lowest[0],
        "floor_strength": lowest[1],
        "floor_default": min((int(hits.sum()) for cell, hits in default.items() if cell in right), default=None),
    }


def is_their_share(row: Any) -> bool:
    """Whether the films right at the floor are all films that no step moves and that are right before, and no others."""
    return row.floor == row.unmoved_right == row.floor_unmoved


def floor_table(floors: pd.DataFrame, films_are: str) -> Table:
    """Build the table of films without a gradient and of floors.

    Args:
        floors: frame of the rows of `floor_rows`.
        films_are: what the films are.
    """
    rows = []
    for row in floors.itertuples():
        was_run = not pd.isna(row.floor)
        where = f"{ATTACKS[row.floor_attack].title} {row.floor_strength:g}" if was_run else MISSING
        same = ("yes" if is_their_share(row) else "no") if was_run else "not run"
        rows.append(
            [
                *(row.source, MEANS[row.loss], row.condition if was_run else MISSING),
                *map(whole, (row.predicted, row.predicted_right, row.zero_gradient)),
                *map(whole, (row.unmoved, row.unmoved_predicted, row.unmoved_right)),
                *(whole(row.floor), where, whole(row.floor_unmoved), whole(row.floor_default), same),
            ]
        )
    columns = (
        *words("Model", "Follows", "Condition"),
        *numbers("all", "right", group="No gradient, predicted"),
        *numbers("reported", "unmoved", "of these predicted", "right", group="No gradient, found"),
        *numbers("films", group="Fewest right"),
        *words("under", group="Fewest right"),
        *numbers("unmoved", "default loss", group="Fewest right"),
        *words("The same films?"),
    )
    caption = (
        f"Films without a gradient under two mistaken losses, of {floors['films'].iloc[0]} {films_are}, and the fewest films "
        "that any attack leaves right at any strength. Predicted: from the logits before the attacks, in float32. Clipped at "
        "1e-7, as Keras does, probabilities have no gradient above a margin of 16 (15.9 to 16.6, as float32 rounds them); a "
        "softmax taken for logits has none above 86 to 87, where float32 underflows (104 in PyTorch). The margin is the logit "
        "of the film's class minus the logsumexp of the others. Reported: by the sweep's health report. Unmoved: by any step."
    )
    return Table("floor", HEADING, caption, floors, columns, rows)


def whole(count: float | None) -> str:
    """Return a count, or a dash where there is none."""
    return MISSING if pd.isna(count) else f"{count:.0f}"


def cells_table(run: Run, sweep: FinishedSweep) -> Table:
    """Build the table of films right in each cell of a mistaken loss, beside the same cells with the default loss."""
    default = default_films(run, sweep)
    frame = pd.DataFrame(
        [
            {
                **(sweep.keys | {"attack": attack, "strength": strength, "films": len(hits), "correct": int(hits.sum())}),
                "accuracy_percent": 100 * hits.mean(),
                "correct_default": int(default[attack, strength].sum()) if (attack, strength) in default else None,
            }
            for (attack, strength), hits in right_films(sweep).items()
        ]
    )
    rows = [
        [ATTACKS[row.attack].title, f"{row.strength:g}", whole(row.correct), f"{row.accuracy_percent:.2f}"]
        + [whole(row.correct_default)]
        for row in frame.itertuples()
    ]
    columns = (*words("Attack"), *numbers("Strength", "right", "%"), *numbers("right", group="Default loss"))
    caption = f"Films that {sweep.source} has right under attacks that follow {MEANS[sweep.condition.loss]}; {sweep.described}."
    return Table("floor-cells" + sweep.suffix, "Under a mistaken loss", caption, frame, columns, rows, None, sweep.name)


def floor_sentence(floors: pd.DataFrame) -> Sentence:
    """Say whether attacks stop at the films without a gradient; where none was run, at how many they would.

    Args:
        floors: frame of the rows of `floor_rows`.
    """
    told = [found_text(row) for row in floors[floors["floor"].notna()].itertuples()]
    if not told:
        of_paper = floors[floors["source"] == PAPER_CONDITION[0]]
        told = [predicted_text(of_paper if len(of_paper) else floors.head(len(MISTAKES)))]
    counts = [100 * count / PAPER_TEST_FILMS for count in PAPER_BEST.values()]
    return Sentence(f"{'; '.join(told)}. The paper's best attacks leave {min(counts):.1f} to {max(counts):.1f} %.")


def found_text(row: Any) -> str:
    """Return where attacks stop that follow a mistaken loss, and which films those are."""
    same = "exactly" if is_their_share(row) else f"{row.floor_unmoved:.0f} of them among"
    default = "" if pd.isna(row.floor_default) else f"; with the default loss {row.floor_default:.0f} are left"
    return (
        f"Following {MEANS[row.loss]} ({row.source}, condition '{row.condition}'), attacks leave {row.floor:.0f} of "
        f"{plural(row.films, 'film')} right at the least ({100 * row.floor / row.films:.1f} %), {same} the "
        f"{row.unmoved_right:.0f} right ones without a gradient{default}"
    )


def predicted_text(rows: pd.DataFrame) -> str:
    """Return where attacks on a model would stop that follow a mistaken loss, by its logits before them."""
    model, shares = (
        rows["source"].iloc[0],
        [
            f"{100 * row.predicted_right / row.films:.1f} % ({row.predicted_right} of {row.films}) with {MEANS[row.loss]}"
            for row in rows.itertuples()
        ],
    )
    return f"Not run: attacks on {model} that follow a mistaken loss should leave at least so many right: {joined(shares)}"
