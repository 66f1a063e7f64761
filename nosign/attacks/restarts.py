"""Several random starts: each film keeps the start that serves the attack best."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from nosign.attacks.directions import Tensor, beside
from nosign.attacks.gradients import log_odds_against
from nosign.backend import to_numpy
from nosign.errors import UserError


def standing(logits: Tensor, labels: np.ndarray, targeted: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Tell how far an attack has come.

    Args:
        logits: float32 [n, classes], on the films where it stands.
        labels: float32 one-hot [n, classes]: the films' classes, or those that a targeted attack aims at.
        targeted: whether it wants the labels rather than anything else.

    Returns:
        Whether it has what it wants of each film, bool [n]; and what it climbs, float32 [n]: the log-odds against the label, or
        minus those against the target. Logits that are not finite have nothing and stand at minus infinity.
    """
    climbed = to_numpy(log_odds_against(labels, logits)) * (-1 if targeted else 1)
    logits = to_numpy(logits)
    finite = np.isfinite(logits).all(-1)
    reached = (logits.argmax(-1) == labels.argmax(-1)) == targeted
    return reached & finite, np.where(finite, climbed, -np.inf)


def best_start(
    attempt: Callable[[int], Any], starts: int, logits_of: Callable, labels: np.ndarray, targeted: bool = False
) -> Any:
    """Attack from several starts; each film keeps the first that has what the attack wants, else the one that climbs farthest.

    Args:
        attempt: function from the number of a start, from 0, to what the attack gives from there: arrays [n, ...] nested in
            any way, the first of them the adversarial films.
        starts: how many there are; a single one is taken as it is.
        logits_of: function from films to logits [n, classes].
        labels, targeted: as for `standing`.

    Returns:
        Nested as an attempt.
    """
    from keras import tree

    if not isinstance(starts, (int, np.integer)) or starts < 1:
        raise UserError(f"restarts: expected a whole number of at least 1, received {starts!r}")
    best = attempt(0)
    if starts == 1:
        return best
    reached, climbed = standing(logits_of(tree.flatten(best)[0]), labels, targeted)
    for start in range(1, starts):
        other = attempt(start)
        now_reached, now_climbed = standing(logits_of(tree.flatten(other)[0]), labels, targeted)
        better = ~reached & (now_reached | (now_climbed > climbed))
        best = tree.map_structure(partial(where_better, better), other, best)
        reached, climbed = reached | now_reached, np.where(better, now_climbed, climbed)
    return best


def where_better(better: np.ndarray, new: Tensor, old: Tensor) -> np.ndarray:
    """Return an array [n, ...] with the new values of some films, bool [n], and the old ones of the others."""
    return np.where(beside(better, new), to_numpy(new), to_numpy(old))
