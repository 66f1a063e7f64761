"""Controls: perturbations of an attack's size that know nothing of where the gradient points.

What a control turns as well was not turned by the attack's direction. A control is a step along a field that takes the
gradient's place; everything else, length, ball and clipping, is that of the attack.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from nosign.attacks.catalogue import GAUSSIAN, SIGNS

# Beside the seed and the film: keeps these draws apart from those of random starts.
STREAM = 1
Bounds = tuple[float, float]
CLOSE_ENOUGH = 1e-6  # of the wanted length, relative
ITERATIONS = 50


def control_field(
    control: str,
    seed: int | Sequence[int],
    rows: np.ndarray,
    shape: tuple[int, ...],
    gradient: Any = None,
    channels: int | None = -1,
) -> np.ndarray:
    """Return what a control follows in place of the gradient.

    It depends on the seed and the film alone (and on the film's gradient where that is shuffled), so it is the same in any
    batch and at every strength.

    Args:
        control: `SIGNS`, `GAUSSIAN` or `SHUFFLED`.
        seed: int or sequence of ints.
        rows: int [n], the films' numbers.
        shape: of a film.
        gradient: float32 [n, *shape]; needed by `SHUFFLED` alone.
        channels: axis of the gradient whose values stay together, None if there is none.

    Returns:
        float32 [n, *shape]: -1 and 1; standard normal; or the gradient with its pixels permuted, channels together.
    """
    fields = np.empty((len(rows), *shape), np.float32)
    for i, row in enumerate(rows):
        random = np.random.default_rng([*np.atleast_1d(seed), row, STREAM])
        if control == SIGNS:
            fields[i] = 2 * random.integers(0, 2, shape) - 1
        elif control == GAUSSIAN:
            fields[i] = random.standard_normal(shape, np.float32)
        else:
            fields[i] = shuffled(np.asarray(gradient[i]), random, channels)
    return fields


def shuffled(field: np.ndarray, random: np.random.Generator, channels: int | None) -> np.ndarray:
    """Return a film's field with its pixels permuted; `channels` as for `control_field`, which has one axis more."""
    axis = -1 if channels is None else channels - (channels > 0)
    last = np.moveaxis(field, axis, -1) if channels is not None else field[..., None]
    pixels = last.reshape(-1, last.shape[-1])
    permuted = pixels[random.permutation(len(pixels))].reshape(last.shape)
    return np.moveaxis(permuted, -1, axis) if channels is not None else permuted[..., 0]


def strength_for_length(film: np.ndarray, unit: np.ndarray, strength: float, bounds: Bounds = (0.0, 1.0)) -> float:
    """Return the strength at which a step, once clipped, is as long as it would be at `strength` without clipping.

    Half of what noise adds where a film is black or white is clipped away; compared at equal L2, noise would pass for weak.

    Args:
        film: float32 array.
        unit: float32, the same shape, the step at strength 1.
        strength: float >= 0.
        bounds: smallest and largest value of a film, to which it is clipped.

    Returns:
        float, at least `strength`; where no strength reaches the length, one at which nearly all that can change has.
    """
    wanted = strength * np.linalg.norm(unit)
    if wanted == 0:
        return strength
    for _ in range(ITERATIONS):
        # The clipped length is a concave function of the strength: this never oversteps.
        length = np.linalg.norm(np.clip(film + np.float32(strength) * unit, *bounds) - film)
        if length >= wanted * (1 - CLOSE_ENOUGH) or length == 0:
            break
        strength *= float(wanted / length)
    return strength
