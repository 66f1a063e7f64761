"""What single-step attacks allow to be solved for: where they become visible.

A film's perturbation at every strength is a multiple of one step, so one gradient serves all strengths.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from nosign.attacks.catalogue import ATTACKS, Attack
from nosign.backend import to_numpy
from nosign.dataset import prefetched
from nosign.measures.visibility import CRITERIA, boundaries
from nosign.rows import CRITERION, STRENGTH
from nosign.sweep.engine import Batch, Frames, in_order
from nosign.sweep.jobs import boundary_cost
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
    engine, attack = sweep.engine, ATTACKS[name]

    def solved() -> Iterator[tuple[Batch, np.ndarray, pd.DataFrame]]:
        for batch in engine.batches():
            units = units_of(sweep, attack, batch.filled(sweep.followed(attack, batch.own)))

            def of_film(i: int, batch: Batch = batch, units: np.ndarray = units) -> dict[str, float]:
                film = batch.films[i]
                return boundaries(film, units[i], engine.limits_of(batch.positions[i], film))

            yield batch, units, pd.DataFrame(engine.pool.map(of_film, range(batch.count)))

    parts = Frames()
    for batch, units, found in prefetched(solved()):
        identity = engine.identity(batch.own)
        for criterion in CRITERIA:
            strengths = batch.filled(found[criterion].to_numpy(np.float32)).reshape(-1, 1, 1, 1)
            seen = engine.classes(np.clip(batch.films + strengths * units, 0, 1))
            rows = identity.assign(**{CRITERION: criterion, STRENGTH: found[criterion]})
            parts.append(pd.concat([rows, pd.DataFrame(seen)[: batch.count]], axis=1))
        engine.advance(batch.count * boundary_cost(len(engine.logits)))
    return in_order(parts, CRITERION, list(CRITERIA))
