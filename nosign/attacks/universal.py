"""Universal perturbations: one field for all films, fitted on other films.

The idea is Moosavi-Dezfooli et al.'s (2017, arXiv:1610.08401); on chest X-rays Hirano et al. (2020, PLoS ONE,
doi:10.1371/journal.pone.0243963). Theirs adds up perturbations of single films; ours is the simplest that fits the two
directions: projected steps along the direction of the mean gradient.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from nosign.attacks.directions import DIRECTIONS, PROJECTIONS
from nosign.backend import to_numpy

RADIUS = 0.01  # strength at which a field is fitted; at every other one it is scaled
REACH = 2.0  # radii that all steps together could go: far enough to turn round
BALLS = {"sign": "linf", "no-sign": "l2"}  # each direction is the steepest ascent of its own


def fit_field(
    mean_gradient: Callable[[np.ndarray], np.ndarray], shape: tuple[int, ...], direction: str, steps: int
) -> np.ndarray:
    """Fit a field that one step along it turns as many films as it can.

    Args:
        mean_gradient: function from a change, float32 [*shape], to the mean over films of what attacks climb, d m / d pixel at
            the films with this change, float32 of its shape.
        shape: of a film.
        direction: key of `DIRECTIONS`.
        steps: how many.

    Returns:
        float32 [*shape], within the direction's own ball of `RADIUS`.
    """
    centre = np.zeros((1, *shape), np.float32)
    field = centre
    for _ in range(steps):
        step = REACH * RADIUS / steps * to_numpy(DIRECTIONS[direction](mean_gradient(field[0])[None]))
        field = to_numpy(PROJECTIONS[BALLS[direction]](field + step.astype(np.float32), centre, RADIUS))
    return field[0]
