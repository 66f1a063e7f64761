"""APGD: steps that are halved where they stop to pay (Croce and Hein, 2020, arXiv:2003.01690, algorithm 1)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import lru_cache, partial

import numpy as np

from nosign.attacks.controls import Bounds
from nosign.attacks.directions import Tensor, beside
from nosign.attacks.step import is_fused, land, move
from nosign.backend import compiled

STEEPEST = {"linf": "sign", "l2": "no-sign"}  # direction of a step in each ball
FIRST_STEP = 2.0  # times the ball's radius
MOMENTUM = 0.75  # share of the new step; the rest repeats the last one
LEAST_RISES = 0.75  # share of the steps between two checkpoints that have to climb
# In per cent of all steps: the first checkpoint, by how much each interval is shorter than the last one, the shortest one.
FIRST_CHECKPOINT, SHORTER_BY, SHORTEST = 22, 3, 6


@dataclass(frozen=True)
class Point:
    """Where the attacks on some films stand.

    Attributes:
        films: float32 [n, ...], backend tensor.
        followed: what a step follows there, the same shape.
        logits: float32 [n, classes], backend tensor.
        reached: bool [n], whether the attack has what it wants.
        climbed: float32 [n], what it climbs; see `nosign.attacks.restarts.standing`.
    """

    films: Tensor
    followed: Tensor
    logits: Tensor
    reached: np.ndarray
    climbed: np.ndarray

    def beats(self, other: Point) -> np.ndarray:
        """Tell which films, bool [n], stand better here: the attack has what it wants, or has climbed farther."""
        alike = self.reached == other.reached
        return np.where(alike, self.climbed > other.climbed, self.reached)

    def with_films_of(self, other: Point, chosen: np.ndarray) -> Point:
        """Return this point with some films, bool [n], at another."""
        from keras import ops

        if not chosen.any():
            return self
        pairs = [(getattr(other, field.name), getattr(self, field.name)) for field in fields(self)]
        tensors = [ops.where(beside(chosen, new), new, old) for new, old in pairs[:3]]
        return Point(*tensors, *(np.where(chosen, new, old) for new, old in pairs[3:]))


def checkpoints(steps: int) -> list[int]:
    """Return after which steps it is decided whether to halve them, ascending: the paper's w_j = ceil(p_j * steps)."""
    earlier, share, found = 0, FIRST_CHECKPOINT, []
    while share <= 100:
        found.append(-(-share * steps // 100))
        earlier, share = share, share + max(share - earlier - SHORTER_BY, SHORTEST)
    return list(dict.fromkeys(found))


class Halving:
    """Decides at checkpoints, film by film, whether steps are halved.

    Attributes:
        factor: float32 [n], the step as a share of the first one.
    """

    def __init__(self, steps: int, climbed: np.ndarray) -> None:
        """Begin; `climbed` is float [n], where the attacks start."""
        self.checkpoints, self.last, self.best = checkpoints(steps), 0, climbed
        self.factor = np.ones(len(climbed), np.float32)
        self.rises, self.was_halved = np.zeros(len(climbed), int), np.zeros(len(climbed), bool)

    def after(self, number: int, before: np.ndarray, now: np.ndarray, best: np.ndarray) -> np.ndarray:
        """Count a step, and halve those that follow where it is time.

        Args:
            number: of the step, from 1.
            before, now, best: float [n], how far the attacks had climbed before it, have after it, and had at best.

        Returns:
            The films whose steps were halved, bool [n]; they go back to their best point.
        """
        self.rises += now > before
        if number not in self.checkpoints:
            return np.zeros(len(now), bool)
        too_seldom = self.rises < LEAST_RISES * (number - self.last)
        no_farther = ~self.was_halved & (best <= self.best)
        halved = too_seldom | no_farther
        self.factor = np.where(halved, self.factor / 2, self.factor)
        self.last, self.best, self.was_halved, self.rises = number, best, halved, np.zeros_like(self.rises)
        return halved


def push(
    norm: str,
    bounds: Bounds,
    position: Tensor,
    before: Tensor,
    films: Tensor,
    followed: Tensor,
    step: Tensor,
    radius: Tensor,
    share: Tensor,
) -> Tensor:
    """Take a step with momentum; `before` is where the last one began, `share` that of the new step, the rest as for `move`."""
    _, landed = move(STEEPEST[norm], norm, bounds, False, position, films, followed, step, radius)
    return land(norm, bounds, position + share * (landed - position) + (1 - share) * (position - before), films, radius)


@lru_cache(maxsize=64)
def compiled_push(norm: str, bounds: Bounds) -> Callable:
    """Return `push` compiled for a norm and bounds: it holds no model, so all models share it."""
    return compiled(partial(push, norm, bounds), fused=is_fused(STEEPEST[norm], norm))


def ascend(
    evaluate: Callable[[Tensor], Point],
    take: Callable[[Point, Tensor, np.ndarray, float], Tensor],
    start: Tensor,
    steps: int,
    watch: Callable | None = None,
) -> Point:
    """Climb from a start within the ball.

    Args:
        evaluate: function from films to their `Point`.
        take: function from a point, where the last step began, each film's step as a share of the ball's radius (float32 [n])
            and the new step's share to where the step leads; see `push`.
        start: float32 [n, ...].
        steps: how many to take.
        watch: as for `nosign.attacks.loop.Attacker.perturb`.

    Returns:
        Each film's best point of all.
    """
    point = highest = best = evaluate(start)
    before, halving = start, Halving(steps, point.climbed)
    for number in range(1, steps + 1):
        reached = evaluate(take(point, before, FIRST_STEP * halving.factor, MOMENTUM if number > 1 else 1.0))
        if watch:
            watch(point.films, reached.films, point.followed, point.logits)
        highest = highest.with_films_of(reached, reached.climbed > highest.climbed)
        best = best.with_films_of(reached, reached.beats(best))
        halved = halving.after(number, point.climbed, reached.climbed, highest.climbed)
        before, point = point.films, reached.with_films_of(highest, halved)
    return best
