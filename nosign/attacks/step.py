"""One step of every attack: direction, projection onto the ball, clipping."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial

from nosign.attacks.controls import Bounds
from nosign.attacks.directions import DIRECTIONS, PROJECTIONS, Tensor
from nosign.backend import compiled


def land(norm: str | None, bounds: Bounds, position: Tensor, films: Tensor, radius: Tensor) -> Tensor:
    """Return a position projected onto the ball around the films and clipped to the bounds; arguments as for `move`."""
    from keras import ops

    return ops.clip(position if norm is None else PROJECTIONS[norm](position, films, radius), *bounds)


def move(
    direction: str,
    norm: str | None,
    bounds: Bounds,
    unclipped: bool,
    position: Tensor,
    films: Tensor,
    gradient: Tensor,
    step: Tensor,
    radius: Tensor,
) -> tuple[Tensor, Tensor]:
    """Take one step: direction, projection onto the ball around the films, clipping to the bounds.

    Args:
        direction: key of `DIRECTIONS`.
        norm: one of `NORMS`, or None for no ball.
        bounds: smallest and largest value of a film.
        unclipped: whether the next step goes on from where this one led before projection and clipping.
        position: float32 [films, ...], from where the step goes on.
        films: the same shape, the centre of the ball.
        gradient: the same shape, d loss / d pixel where the attack stands.
        step: float32 [films, 1, ...], the step's length as a change of each component.
        radius: float32 [films, 1, ...], the ball's radius as a change of each component.

    Returns:
        From where the next step goes on, and where the attack stands, which is within ball and bounds; the same shape.
    """
    moved = position + step * DIRECTIONS[direction](gradient)
    landed = land(norm, bounds, moved, films, radius)
    return (moved if unclipped else landed), landed


def is_fused(direction: str, norm: str | None) -> bool:
    """Tell whether XLA makes one pass over the arrays of a step.

    A no-sign step and an L2 ball sum over a film, which XLA does in one thread and less exactly.
    """
    return direction == "sign" and norm != "l2"


@lru_cache(maxsize=64)
def compiled_move(direction: str, norm: str | None, bounds: Bounds, unclipped: bool) -> Callable:
    """Return `move` compiled for its first four arguments: it holds no model, so all models share it."""
    return compiled(partial(move, direction, norm, bounds, unclipped), fused=is_fused(direction, norm))
