"""Turning strengths: the smallest strength at which an attack turns a film.

Under a single-step attack a film's perturbation at every strength is a multiple of one step, so one gradient and twenty forward
passes are enough. Of an iterative attack every strength is a whole attack; there `bisect` takes fewer.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

# All of them are always tried: together they are a security curve, and they show films that are right again beyond.
GRID = 2.0 ** np.arange(-14, -1)
# Of the logarithm, between the last strength that leaves a film and the first that turns it: to 2^(1/128), 0.5 %.
HALVINGS = 7
PASSES = len(GRID) + HALVINGS
# Halvings that single out one of the strengths of GRID, or none.
BISECTIONS = int(np.ceil(np.log2(len(GRID) + 1)))
TURNED, LEFT_CENSORED, RIGHT_CENSORED, WRONG_BEFORE = "turned", "left-censored", "right-censored", "wrong before"
TURNS = (TURNED, LEFT_CENSORED)  # of a film that some strength turns


@dataclass(frozen=True)
class Turning:
    """Turning strengths of some films under one attack and by one model.

    Attributes:
        strength: float64 [n], the smallest strength found that turns each film. It is an upper bound of the smallest one, as
            a film that turns and turns back between two strengths that were tried is not seen. Where `status` is
            `LEFT_CENSORED` the weakest of `GRID`, which turns the film already; where it is `RIGHT_CENSORED` the strongest,
            which does not; NaN where it is `WRONG_BEFORE`.
        status: str [n], one of the four above.
        turned: bool [n, len(GRID)], whether each strength of `GRID` turns the film; None where not all of them were tried.
    """

    strength: np.ndarray
    status: np.ndarray
    turned: np.ndarray | None

    @property
    def right_again(self) -> np.ndarray | None:
        """How many strengths of `GRID` beyond the turning strength do not turn the film, int [n]; 0 where none turns it.

        None where not all of them were tried.
        """
        if self.turned is None:
            return None
        seen = np.logical_or.accumulate(self.turned, axis=1)
        return (seen & ~self.turned).sum(1)


def search(turned_at: Callable[[np.ndarray], np.ndarray], takes_part: np.ndarray) -> Turning:
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
    first = np.where(turned.any(1), turned.argmax(1), len(GRID))
    return Turning(*refined(turned_at, takes_part, first), turned)


def bisect(turned_at: Callable[[np.ndarray], np.ndarray], takes_part: np.ndarray) -> Turning:
    """Find turning strengths in `BISECTIONS` + `HALVINGS` calls.

    It assumes that a stronger attack does not do less: of a film that is right again at a larger strength, the strength found
    turns it and 0.5 % less does not, but a smaller one may turn it too.

    Args:
        turned_at, takes_part: as for `search`.

    Returns:
        `Turning`, without `turned`.
    """
    takes_part = np.asarray(takes_part)
    # Positions in GRID between which the first that turns each film lies; the last one stands for none.
    first, last = np.zeros(len(takes_part), int), np.full(len(takes_part), len(GRID))
    for _ in range(BISECTIONS):
        # Films that are decided are tried again, so that a batch stays whole; for those that none turns, at the strongest.
        middle = np.minimum((first + last) // 2, len(GRID) - 1)
        falls = turned_at(GRID[middle])
        first, last = np.where(falls, first, np.minimum(middle + 1, last)), np.where(falls, middle, last)
    return Turning(*refined(turned_at, takes_part, first), None)


def refined(
    turned_at: Callable[[np.ndarray], np.ndarray], takes_part: np.ndarray, first: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Halve the interval below the first strength of `GRID` that turns each film.

    Args:
        turned_at, takes_part: as for `search`, the latter an array.
        first: int [n], position of that strength; len(GRID) for none.

    Returns:
        Strength and status of `Turning`.
    """
    status = np.select([~takes_part, first == len(GRID), first == 0], [WRONG_BEFORE, RIGHT_CENSORED, LEFT_CENSORED], TURNED)
    # Films without an interval to halve go through the same passes, so that a batch stays whole.
    first = np.minimum(first, len(GRID) - 1)
    high, low = np.log2(GRID[first]), np.log2(GRID[np.maximum(first - 1, 0)])
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        falls = turned_at(2.0**middle)
        low, high = np.where(falls, low, middle), np.where(falls, middle, high)
    known = [status == WRONG_BEFORE, status == RIGHT_CENSORED, status == LEFT_CENSORED]
    return np.select(known, [np.nan, GRID[-1], GRID[0]], 2.0**high), status
