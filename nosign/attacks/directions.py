"""What a step follows and where it may end: directions, projections, momentum."""

from __future__ import annotations

from typing import Any

import numpy as np

Tensor = Any  # of Keras's backend, or an array of NumPy


def sign_direction(gradient: Tensor) -> Tensor:
    """Return the sign of each component (Goodfellow et al., 2015, arXiv:1412.6572; the paper's equation 1).

    Args:
        gradient: float32 [films, ...], d loss / d pixel.

    Returns:
        float32, same shape, values -1, 0 and 1. A film whose gradient is not finite gets a zero direction.
    """
    from keras import ops

    return ops.sign(finite_or_zero(gradient))


def no_sign_direction(gradient: Tensor) -> Tensor:
    """Scale each film's gradient to the L2 norm of its sign.

    Keeps the gradient's direction, which `sign` bends, at the length that `sign` would have
    (Cheng et al., 2021, arXiv:2110.12734, equation 5).

    Args:
        gradient: float32 [films, ...], d loss / d pixel.

    Returns:
        float32, same shape. A film whose gradient is zero or not finite gets a zero direction.
    """
    from keras import ops

    every = of_each_film(gradient)
    gradient = finite_or_zero(gradient)
    relative = relative_to_largest(gradient)
    length = ops.sqrt(ops.sum(ops.square(relative), axis=every, keepdims=True))
    sign_length = ops.sqrt(ops.sum(ops.abs(ops.sign(gradient)), axis=every, keepdims=True))
    return relative * (sign_length / ops.where(length > 0, length, 1))


DIRECTIONS = {"sign": sign_direction, "no-sign": no_sign_direction}


def of_each_film(array: Tensor) -> tuple[int, ...]:
    """Return the axes of an array [films, ...] over which a film's components lie."""
    return tuple(range(1, len(array.shape)))


def beside(values: np.ndarray, array: Tensor) -> np.ndarray:
    """Return one number per film, NumPy [films], in a shape that multiplies an array [films, ...]."""
    return np.reshape(values, (-1, *[1] * (len(array.shape) - 1)))


def finite_or_zero(gradient: Tensor) -> Tensor:
    """Return the gradient with zeros for films that hold a NaN or an infinity."""
    from keras import ops

    finite = ops.all(ops.isfinite(gradient), axis=of_each_film(gradient), keepdims=True)
    return ops.where(finite, gradient, ops.zeros_like(gradient))


def relative_to_largest(gradient: Tensor) -> Tensor:
    """Divide each film's gradient by its largest absolute component; a gradient of zeros stays.

    The squares of a gradient near 1e-30 underflow in float32, the sum of one near 1e+38 overflows; so divided, neither.
    """
    from keras import ops

    largest = ops.max(ops.abs(gradient), axis=of_each_film(gradient), keepdims=True)
    return gradient / ops.where(largest > 0, largest, 1)


def one_channel(gradient: Tensor, axis: int = -1) -> Tensor:
    """Average the gradient over an axis of channels, so that a step along it leaves a grey film grey; same shape.

    Among the perturbations that are equal in all channels, the loss rises fastest along this one.
    """
    from keras import ops

    channels = gradient.shape[axis]
    return ops.repeat(ops.sum(gradient / channels, axis=axis, keepdims=True), channels, axis=axis)


def project_linf(position: Tensor, films: Tensor, radius: Tensor) -> Tensor:
    """Return the nearest point of the L-inf ball around the films (the paper's equation 2)."""
    from keras import ops

    return ops.minimum(ops.maximum(position, films - radius), films + radius)


def project_l2(position: Tensor, films: Tensor, radius: Tensor) -> Tensor:
    """Return the nearest point of the L2 ball whose radius is that of a change by `radius` in every component."""
    from keras import ops

    change = position - films
    mean_square = ops.mean(ops.square(change), axis=of_each_film(films), keepdims=True)
    length = ops.sqrt(ops.where(mean_square > 0, mean_square, 1))
    return films + change * ops.minimum(radius / length, 1.0)


PROJECTIONS = {"linf": project_linf, "l2": project_l2}


def accumulate(momentum: float, earlier: Tensor, gradient: Tensor) -> Tensor:
    """Add a gradient, scaled to unit L1 norm, to what is kept of the earlier ones (arXiv:1710.06081, equation 6).

    Args:
        momentum: share of `earlier` that is kept.
        earlier: float32 [films, ...], what this function returned a step before; zeros at first.
        gradient: the same shape, d loss / d pixel.
    """
    from keras import ops

    relative = relative_to_largest(finite_or_zero(gradient))
    length = ops.sum(ops.abs(relative), axis=of_each_film(gradient), keepdims=True)
    return momentum * earlier + relative / ops.where(length > 0, length, 1)


def step_effect(before: Tensor, after: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
    """Compare a step with the gradient at the point where it began.

    Args:
        before, after: float32 [films, ...], positions.
        gradient: the same shape, what the attack wants to climb, at `before`.

    Returns:
        Two float32 tensors [films]: the cosine between step and gradient, NaN where either is zero; and their inner
        product, the gain that the gradient predicts to first order.
    """
    from keras import ops

    every = of_each_film(gradient)
    step, gradient = after - before, finite_or_zero(gradient)
    relative = relative_to_largest(gradient)
    product = ops.sum(relative * step, axis=every)
    lengths = ops.sqrt(ops.sum(ops.square(relative), axis=every)) * ops.sqrt(ops.sum(ops.square(step), axis=every))
    cosine = ops.where(lengths > 0, product / ops.where(lengths > 0, lengths, 1), float("nan"))
    return cosine, product * ops.max(ops.abs(gradient), axis=every)
