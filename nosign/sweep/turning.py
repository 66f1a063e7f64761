"""Turning strengths: the smallest strength of an attack that turns each film, for each model, and the change there."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import pandas as pd

from nosign.attacks import turning
from nosign.attacks.catalogue import ATTACKS
from nosign.attacks.loop import stepped
from nosign.backend import to_numpy
from nosign.measures.storage import EIGHT_BITS, STORAGES
from nosign.rows import NEEDED_MEASURES, TARGET, TURNING_COLUMNS, logits_in
from nosign.sweep.engine import Batch, Frames, in_order
from nosign.sweep.jobs import Search, search_cost
from nosign.sweep.recorders import sizes
from nosign.sweep.single_step import units_of
from nosign.sweep.sweep import Sweep

# From strengths, float64 [batch], to the films that a model is to see, float32 [batch, height, width, 3] in [0, 1].
Films: TypeAlias = Callable[[np.ndarray], np.ndarray]


def find_turning(sweep: Sweep, search: Search, clean: pd.DataFrame, positions: np.ndarray) -> pd.DataFrame:
    """Find the smallest strength of an attack that turns each film, for each model or for the source alone.

    Args:
        sweep: `Sweep`.
        search: `Search`.
        clean: what `nosign.rows.read_clean_logits` returned.
        positions: int array, which films of the set to attack.

    Returns:
        Frame of a `turning.csv` or `turning.8bit.csv`, one row per film and model:
            film, label, target
            strength, status           see `nosign.attacks.turning.Turning`
            l2, linf, ssim             of the change at that strength, of stored films that of the rounded one; empty for films
                                       that cannot be turned
            cosine                     between what the attack's first step follows and its sign; empty for random starts
                                       and universal perturbations
            right_again                strengths of the grid beyond it that do not turn the film; empty for iterative attacks,
                                       which are not tried at all of them
            grid                       a letter for each strength of `nosign.attacks.turning.GRID`: t if it turns the film, r
                                       if not; empty for films that cannot be turned, and for iterative attacks
    """
    engine, parts = sweep.engine, Frames()
    targets = [sweep.source] if search.source_only else list(engine.logits)
    for batch in engine.batches(positions):
        changed, cosine = (iterative_films if search.iterative else single_step_films)(sweep, search, batch)
        for target in targets:
            found = search_turning(sweep, search, changed, target, batch, clean.iloc[batch.positions])
            parts.append(found.assign(cosine=cosine)[: batch.count])
        engine.advance(batch.count * search_cost(search, engine.steps, len(engine.logits)))
    return in_order(parts, TARGET, targets)[TURNING_COLUMNS] if parts else pd.DataFrame(columns=TURNING_COLUMNS)


def single_step_films(sweep: Sweep, search: Search, batch: Batch) -> tuple[Films, np.ndarray]:
    """Return the films that a single-step attack makes of a batch, and the cosine between what it follows and its sign.

    The cosine foretells what no-sign gains where the gradient at the film is followed; of a universal perturbation it is NaN.
    """
    attack = ATTACKS[search.attack]
    followed = sweep.followed(attack, batch.positions)
    units = units_of(sweep, attack, followed)

    def changed(strengths: np.ndarray) -> np.ndarray:
        films = stepped(attack, batch.films, units, strengths, sweep.condition.protocol)
        return STORAGES[EIGHT_BITS](films) if search.stored else films

    if attack.universal:
        return changed, np.full(len(batch.films), np.nan)
    return changed, sign_cosine(followed, sweep.condition.grey)


def iterative_films(sweep: Sweep, search: Search, batch: Batch) -> tuple[Films, np.ndarray]:
    """Return the same of an iterative attack, a whole attack each time; the cosine is that of its first step.

    A random start is the first of those that a condition may ask for. From there the first step follows another gradient at
    each strength: the cosine is NaN.
    """
    attack = ATTACKS[search.attack]
    start = sweep.start(attack, batch)

    def changed(strengths: np.ndarray) -> np.ndarray:
        return to_numpy(sweep.perturb(attack, batch, strengths, **start))

    if attack.random_start:
        return changed, np.full(len(batch.films), np.nan)
    return changed, sign_cosine(start["first_gradient"], sweep.condition.grey)


def search_turning(
    sweep: Sweep, search: Search, changed: Films, target: str, batch: Batch, clean: pd.DataFrame
) -> pd.DataFrame:
    """Return the frame of `find_turning` for one batch and model, without the cosine.

    Args:
        sweep, search: as for `find_turning`.
        changed: `Films` of the batch.
        target: the model.
        batch: `Batch`.
        clean: what `nosign.rows.read_clean_logits` returned, of the batch.
    """
    engine, outcome, labels = sweep.engine, sweep.outcome, sweep.engine.films.labels[batch.positions]
    before = logits_in(clean, target).argmax(-1)
    can_turn = outcome.can_turn(before, labels)

    def turned_at(strengths: np.ndarray) -> np.ndarray:
        logits = to_numpy(engine.logits[target](changed(strengths)))
        return outcome.is_reached(logits.argmax(-1), labels) & np.isfinite(logits).all(-1)

    found = (turning.bisect if search.iterative else turning.search)(turned_at, can_turn)
    pairs = zip(batch.films, changed(np.nan_to_num(found.strength)))
    measured = pd.DataFrame(engine.pool.map(lambda pair: sizes(NEEDED_MEASURES, *pair), pairs), columns=list(NEEDED_MEASURES))
    measured[~can_turn] = np.nan
    known = {"right_again": np.nan, "grid": ""}
    if found.turned is not None:
        grid = ["".join("rt"[turned] for turned in row.astype(int)) if can else "" for row, can in zip(found.turned, can_turn)]
        known = {"right_again": found.right_again, "grid": grid}
    return pd.concat([engine.identity(batch.positions), measured], axis=1).assign(
        target=target, strength=found.strength, status=found.status, **known
    )


def sign_cosine(followed: np.ndarray, grey: bool) -> np.ndarray:
    """Return the cosine between each field, float32 [n, ...], and its sign, float64 [n]; NaN where the field is zero."""
    followed = followed.astype(np.float64)
    if grey:
        followed = np.broadcast_to(followed.mean(-1, keepdims=True), followed.shape)
    flat = followed.reshape(len(followed), -1)
    largest = np.abs(flat).max(1, keepdims=True)
    relative = np.divide(flat, largest, out=np.zeros_like(flat), where=np.isfinite(largest) & (largest > 0))
    lengths = np.linalg.norm(relative, axis=1) * np.sqrt(np.count_nonzero(relative, axis=1))
    return np.divide(np.abs(relative).sum(1), lengths, out=np.full(len(flat), np.nan), where=lengths > 0)
