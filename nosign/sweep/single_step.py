"""What single-step attacks allow to be solved for: where they become visible, and where they turn each film.

A film's perturbation at every strength is a multiple of one step, so one gradient serves all strengths.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from nosign.attacks import turning
from nosign.attacks.catalogue import ATTACKS, Attack
from nosign.attacks.loop import stepped
from nosign.backend import to_numpy
from nosign.dataset import prefetched
from nosign.measures.visibility import CRITERIA, boundaries
from nosign.rows import CRITERION, NEEDED_MEASURES, STRENGTH, TARGET, TURNING_COLUMNS, logits_in
from nosign.sweep.engine import Batch, in_order
from nosign.sweep.jobs import boundary_cost
from nosign.sweep.recorders import sizes
from nosign.sweep.sweep import Sweep


def units_of(sweep: Sweep, attack: Attack, followed: np.ndarray) -> np.ndarray:
    """Return the change of each film at strength 1, before clipping; `followed` is what `Sweep.followed` returned."""
    return to_numpy(sweep.attacker.unit_step(attack, followed, **sweep.geometry))


def find_boundaries(sweep: Sweep, name: str) -> pd.DataFrame:
    """Find the strength at which a single-step attack becomes visible on each film.

    Returns:
        Frame of a `boundary.csv`, one row per film and criterion:
            film, label, criterion
            strength                   the largest invisible one
            <MODEL> ...                the class that each model sees at it
    """
    engine, attack, gradients = sweep.engine, ATTACKS[name], sweep.gradients

    def solved() -> Iterator[tuple[Batch, np.ndarray, pd.DataFrame]]:
        for batch in engine.batches():
            units = units_of(sweep, attack, batch.filled(gradients.at(batch.own)))

            def of_film(i, batch=batch, units=units):
                film = batch.films[i]
                return boundaries(film, units[i], engine.limits_of(batch.positions[i], film))

            yield batch, units, pd.DataFrame(engine.pool.map(of_film, range(batch.count)))

    parts = []
    for batch, units, found in prefetched(solved()):
        identity = engine.identity(batch.own)
        for criterion in CRITERIA:
            strengths = batch.filled(found[criterion].to_numpy(np.float32)).reshape(-1, 1, 1, 1)
            seen = engine.classes(np.clip(batch.films + strengths * units, 0, 1))
            rows = identity.assign(**{CRITERION: criterion, STRENGTH: found[criterion]})
            parts.append(pd.concat([rows, pd.DataFrame(seen)[: batch.count]], axis=1))
        engine.advance(batch.count * boundary_cost(len(engine.logits)))
    return in_order(parts, CRITERION, list(CRITERIA))


def find_turning(sweep: Sweep, name: str, clean: pd.DataFrame, positions: np.ndarray) -> pd.DataFrame:
    """Find the smallest strength of a single-step attack that turns each film, for each model.

    Args:
        sweep: `Sweep`.
        name: of a single-step attack.
        clean: what `nosign.rows.read_clean_logits` returned.
        positions: int array, which films of the set to attack.

    Returns:
        Frame of a `turning.csv`, one row per film and model:
            film, label, target
            strength, status           see `nosign.attacks.turning.Turning`
            l2, linf, ssim             of the change at that strength; empty for films that cannot be turned
            cosine                     between what the attack follows and its sign
            right_again                strengths of the grid beyond it that do not turn the film
            grid                       a letter for each strength of `nosign.attacks.turning.GRID`: t if it turns the film, r
                                       if not; empty for films that cannot be turned
    """
    engine, attack, parts = sweep.engine, ATTACKS[name], []
    for batch in engine.batches(positions):
        followed = sweep.followed(attack, batch.positions)
        units = units_of(sweep, attack, followed)
        cosine = sign_cosine(followed, sweep.condition.grey)
        for target in engine.logits:
            found = search_turning(sweep, attack, target, batch, units, clean.iloc[batch.positions])
            parts.append(found.assign(cosine=cosine)[: batch.count])
            engine.advance(batch.count * turning.PASSES)
    return in_order(parts, TARGET, list(engine.logits))[TURNING_COLUMNS]


def search_turning(
    sweep: Sweep, attack: Attack, target: str, batch: Batch, units: np.ndarray, clean: pd.DataFrame
) -> pd.DataFrame:
    """Return the frame of `find_turning` for one batch and model, without the cosine."""
    engine, outcome, labels = sweep.engine, sweep.outcome, sweep.engine.films.labels[batch.positions]
    before = logits_in(clean, target).argmax(-1)
    can_turn = outcome.can_turn(before, labels)

    def changed(strengths):
        return stepped(attack, batch.films, units, strengths, sweep.condition.protocol)

    def turned_at(strengths):
        logits = to_numpy(engine.logits[target](changed(strengths)))
        return outcome.is_reached(logits.argmax(-1), labels) & np.isfinite(logits).all(-1)

    found = turning.search(turned_at, can_turn)
    pairs = zip(batch.films, changed(np.nan_to_num(found.strength)))
    measured = pd.DataFrame(engine.pool.map(lambda pair: sizes(NEEDED_MEASURES, *pair), pairs), columns=list(NEEDED_MEASURES))
    measured[~can_turn] = np.nan
    grid = ["".join("rt"[turned] for turned in row.astype(int)) if can else "" for row, can in zip(found.turned, can_turn)]
    return pd.concat([engine.identity(batch.positions), measured], axis=1).assign(
        target=target, strength=found.strength, status=found.status, right_again=found.right_again, grid=grid
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
