"""Turning strengths: the smallest strength at which a single-step attack turns a film.

A film's perturbation at every strength is a multiple of one step, so one gradient and twenty forward passes are enough.
"""

from dataclasses import dataclass

import numpy as np

# All of them are always tried: together they are a security curve, and they show films that are right again beyond.
GRID = 2.0 ** np.arange(-14, -1)
# Of the logarithm, between the last strength that leaves a film and the first that turns it: to 2^(1/128), 0.5 %.
HALVINGS = 7
PASSES = len(GRID) + HALVINGS
TURNED, LEFT_CENSORED, RIGHT_CENSORED, WRONG_BEFORE = "turned", "left-censored", "right-censored", "wrong before"


@dataclass(frozen=True)
class Turning:
    """Turning strengths of some films under one attack and by one model.

    Attributes:
        strength: float64 [n], the smallest strength found that turns each film. It is an upper bound of the smallest one, as
            a film that turns and turns back between two strengths of `GRID` is not seen. Where `status` is `LEFT_CENSORED`
            the weakest of `GRID`, which turns the film already; where it is `RIGHT_CENSORED` the strongest, which does not;
            NaN where it is `WRONG_BEFORE`.
        status: str [n], one of the four above.
        turned: bool [n, len(GRID)], whether each strength of `GRID` turns the film.
    """

    strength: np.ndarray
    status: np.ndarray
    turned: np.ndarray

    @property
    def right_again(self):
        """How many strengths of `GRID` beyond the turning strength do not turn the film, int [n]; 0 where none turns it."""
        seen = np.logical_or.accumulate(self.turned, axis=1)
        return (seen & ~self.turned).sum(1)


def search(turned_at, takes_part):
    """Find turning strengths in `PASSES` calls.

    Args:
        turned_at: function from strengths, float64 [n], to whether they turn the films, bool [n].
        takes_part: bool [n], which films can be turned at all: those that the model has right.

    Returns:
        `Turning`.
    """
    takes_part = np.asarray(takes_part)
    films = len(takes_part)
    turned = np.stack([turned_at(np.full(films, strength)) for strength in GRID], axis=1) & takes_part[:, None]
    first = turned.argmax(1)
    status = np.select([~takes_part, ~turned.any(1), first == 0], [WRONG_BEFORE, RIGHT_CENSORED, LEFT_CENSORED], TURNED)
    # Films without an interval to halve go through the same passes, so that a batch stays whole.
    high, low = np.log2(GRID[first]), np.log2(GRID[np.maximum(first - 1, 0)])
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        falls = turned_at(2.0**middle)
        low, high = np.where(falls, low, middle), np.where(falls, middle, high)
    strength = np.select(
        [status == WRONG_BEFORE, status == RIGHT_CENSORED, status == LEFT_CENSORED], [np.nan, GRID[-1], GRID[0]], 2.0**high
    )
    return Turning(strength, status, turned)
