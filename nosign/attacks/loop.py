"""The one loop of all attacks: gradient, direction, step, projection, clipping."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from nosign.attacks.apgd import Point, ascend, compiled_push
from nosign.attacks.catalogue import GAUSSIAN, LOSSES, NORMS, PROTOCOLS, Attack, Condition, check_ball
from nosign.attacks.controls import Bounds, strength_for_length
from nosign.attacks.directions import DIRECTIONS, PROJECTIONS, Tensor, accumulate, beside, one_channel
from nosign.attacks.gradients import compiled_gradient
from nosign.attacks.restarts import standing
from nosign.attacks.step import compiled_move
from nosign.backend import compiled, compiled_logits, to_numpy
from nosign.errors import UserError

# Beside the seed and the film: keeps later starts apart from the first and from what controls draw.
STARTS_STREAM = 2


def schedule(attack: Attack, strength: float | np.ndarray, protocol: str, steps: int, step_factor: float = 1.0) -> tuple:
    """Resolve an attack's strength into its step, ball, number of steps and random start.

    Protocol "paper" (Table III): every step has the full strength, and no ball: the paper's, of radius 1, never binds. Protocol
    "budget" (equations 2 to 4): the strength is the radius of the ball, shared out over the steps, which a factor lengthens.

    Args:
        attack: an `Attack`.
        strength: float >= 0, or an array of one strength a film.
        protocol: one of `PROTOCOLS`.
        steps: steps of an iterative attack.
        step_factor: how many times strength / steps a step of "budget" is; 1 is equation 3.

    Returns:
        step, radius (both like `strength`), number of steps, radius of the random start.
    """
    steps = steps if attack.iterative else 1
    start = strength if attack.random_start else 0.0
    return (step_factor * strength / steps if protocol == "budget" else strength), strength, steps, start


def unit_noise(seed: int | Sequence[int], rows: np.ndarray, shape: tuple[int, ...], start: int = 0) -> np.ndarray:
    """Return uniform noise in [-1, 1) for random starts, float32 [len(rows), *shape]; `seed` is one int or several.

    It depends on the seed, the film and the start's number alone, so a film starts at the same point in any batch, and PGD and
    PGDNM start alike.
    """
    later = [STARTS_STREAM, start] if start else []
    noise = [np.random.default_rng([*np.atleast_1d(seed), row, *later]).random(shape, dtype=np.float32) for row in rows]
    return np.stack(noise) * np.float32(2) - np.float32(1)


def check_batch(films: Tensor, labels: np.ndarray, model_shapes: list, bounds: Bounds = (0.0, 1.0)) -> None:
    """Refuse films and labels that do not fit the model or each other.

    Args:
        films: float32 [n, ...]; looked through if they are in NumPy.
        labels: float32 one-hot [n, classes].
        model_shapes: shapes of the model's films and logits, with None for any size; None where a model has none.
        bounds: smallest and largest value of a film.

    Raises:
        UserError: says what was expected and what was received.
    """
    for what, array, expected in zip(("films", "one-hot labels"), (films, labels), model_shapes):
        check_shape(what, tuple(array.shape), expected)
    if len(films) != len(labels):
        raise UserError(f"{len(films)} films but {len(labels)} labels; give one label a film")
    if isinstance(films, np.ndarray):
        check_range(films, bounds)


def check_whole(what: str, value: Any, least: int) -> None:
    """Refuse what is no whole number of at least so much."""
    if not isinstance(value, (int, np.integer)) or value < least:
        raise UserError(f"{what}: expected a whole number of at least {least}, received {value!r}")


def fits(shape: tuple[int, ...], expected: tuple) -> bool:
    """Tell whether a shape is a model's, None standing for any size; the first axis is free."""
    return len(shape) == len(expected) and all(size in (None, given) for size, given in zip(expected[1:], shape[1:]))


def check_shape(what: str, shape: tuple[int, ...], expected: tuple | None) -> None:
    """Refuse an array that does not have a model's shape, with None for any size; None fits everything."""
    if expected is None or fits(shape, expected):
        return
    advice = ""
    if fits((1, *shape), expected):
        advice = "; it is one alone: add the first axis, x[None]"
    elif fits((*shape, 1), expected):
        advice = "; add the axis of the one channel, x[..., None]"
    raise UserError(f"{what}: expected the model's shape (n, {', '.join(map(str, expected[1:]))}), received {shape}{advice}")


def check_range(films: np.ndarray, bounds: Bounds, slack: float = 0.0) -> bool:
    """Refuse films, NumPy [n, ...], with a NaN or with values further outside the bounds than `slack`.

    Returns:
        Whether all values lie within the bounds, in float32.
    """
    low, high = bounds
    if not films.size:
        return True
    smallest, largest = float(films.min()), float(films.max())
    if not (smallest >= low - slack and largest <= high + slack):
        raise UserError(
            f"films: expected values in [{low:g}, {high:g}], received {smallest!r} to {largest!r}; divide grey levels "
            "by the largest possible one, or give `attack` the bounds that they have"
        )
    return bool(smallest >= np.float32(low) and largest <= np.float32(high))


def check_settings(
    attack: Attack, strength: float | np.ndarray, condition: Condition, steps: int, noise: Any, shape: tuple[int, ...]
) -> None:
    """Refuse settings of an attack on films of a shape that make no sense; see `Attacker.perturb`."""
    strength = np.asarray(strength)
    if strength.shape not in ((), shape[:1]) or not np.all((strength >= 0) & (strength <= np.finfo(np.float32).max)):
        raise UserError(f"strength: expected finite numbers of at least 0, one or one a film, received {strength}")
    for what, known in (("protocol", PROTOCOLS), ("norm", NORMS)):
        if getattr(condition, what) not in known:
            raise UserError(f"{what}: expected one of {', '.join(known)}, received {getattr(condition, what)!r}")
    if not 0 < condition.step_factor < np.inf:
        raise UserError(f"step factor: expected a finite number above 0, received {condition.step_factor!r}")
    check_ball(condition, [attack])
    check_whole("steps", steps, 1)
    if attack.random_start and np.shape(noise) != shape:
        raise UserError(
            f"noise: {attack.title} starts at random and needs unit_noise of the films' shape {shape}, "
            f"received {'none' if noise is None else np.shape(noise)}"
        )


def stepped(
    attack: Attack,
    films: np.ndarray,
    unit: np.ndarray,
    strength: np.ndarray,
    protocol: str = "paper",
    bounds: Bounds = (0.0, 1.0),
) -> np.ndarray:
    """Return films changed by a single-step attack at any strength.

    Args:
        attack: a single-step `Attack`.
        films: float32 [n, ...] within the bounds.
        unit: the same shape, what `Attacker.unit_step` returned.
        strength: float array [n].
        protocol: one of `PROTOCOLS`.
        bounds: smallest and largest value of a film.

    Returns:
        float32, the same shape, within the bounds.
    """
    # The ball of "budget" leaves no room for a longer step.
    if attack.control == GAUSSIAN and protocol == "paper":
        strength = np.array([strength_for_length(*film, bounds) for film in zip(films, unit, strength)])
    return np.clip(films + beside(strength.astype(np.float32), films) * unit, *bounds)


class Attacker:
    """Runs attacks on one source model, in batches of one shape; holds what is compiled."""

    def __init__(
        self, logits_model: Callable, loss: str = LOSSES[0], *, bounds: Bounds = (0.0, 1.0), channels: int = -1
    ) -> None:
        """Prepare to follow a model; the first call of a shape compiles.

        Args:
            logits_model: callable from films to logits, see `nosign.attacks.gradients.compiled_gradient`.
            loss: one of `LOSSES`.
            bounds: smallest and largest value of a film; strengths are fractions of their difference.
            channels: axis of the films that holds the channels, for grey perturbations.
        """
        self.gradient, self.logits = compiled_gradient(logits_model, loss), compiled_logits(logits_model)
        self.shapes: list[Any] = [getattr(logits_model, name, None) for name in ("input_shape", "output_shape")]
        self.bounds = float(np.float32(bounds[0])), float(np.float32(bounds[1]))
        self.span = self.bounds[1] - self.bounds[0]
        self.accumulate, self.one_channel = compiled(accumulate), compiled(partial(one_channel, axis=channels))
        self.channels = channels

    def perturb(
        self,
        attack: Attack,
        films: Tensor,
        labels: np.ndarray,
        strength: float | np.ndarray,
        *,
        protocol: str = "paper",
        norm: str = "linf",
        targeted: bool = False,
        grey: bool = False,
        steps: int = 10,
        step_factor: float = 1.0,
        noise: np.ndarray | None = None,
        first_gradient: Tensor | None = None,
        watch: Callable | None = None,
    ) -> Tensor:
        """Attack a batch of films.

        Args:
            attack: an `Attack`.
            films: float32 [n, ...] within the bounds; a backend tensor is not looked through.
            labels: float32 one-hot [n, classes]: the films' classes, or those that a targeted attack aims at.
            strength: float >= 0, or float array [n].
            protocol: one of `PROTOCOLS`.
            norm: norm of the budget ball, one of `NORMS`; the L2 ball's radius is that of a change by `strength` in every
                component.
            targeted: lower the loss of `labels` instead of raising it.
            grey: change all channels alike.
            steps: steps of an iterative attack.
            step_factor: of "budget", how many times strength / steps a step is; APGD finds its steps itself.
            noise: output of `unit_noise`, for attacks with a random start.
            first_gradient: what `gradient_at` returned for these films, labels and `targeted`, if it is already known; for a
                control or a universal perturbation, its field (see `nosign.attacks.controls.control_field` and
                `nosign.attacks.universal.fit_field`).
            watch: called after each step with the positions before and after it, and the gradient and the logits before
                it (None where `first_gradient` served), all backend tensors.

        Returns:
            float32 [n, ...] within the bounds, a backend tensor.

        Raises:
            UserError: films outside the bounds, shapes that do not fit the model or each other, a negative or not finite
                strength, fewer than one step, an unknown protocol or norm, a step factor of nothing or without a ball, APGD
                without a ball, a random start without noise, or a control or universal perturbation without its field.
        """
        from keras import ops

        check_batch(films, labels, self.shapes, self.bounds)
        condition = Condition(protocol, norm, step_factor=step_factor)
        check_settings(attack, strength, condition, steps, noise, tuple(films.shape))
        strength = np.broadcast_to(np.asarray(strength, np.float32), len(films))
        if attack.follows_field:
            if first_gradient is None:
                raise UserError(f"first_gradient: {attack.title} follows no gradient at the film; give it its field")
            unit = self.unit_step(attack, first_gradient, protocol=protocol, norm=norm, grey=grey, step_factor=step_factor)
            return ops.convert_to_tensor(stepped(attack, to_numpy(films), to_numpy(unit), strength, protocol, self.bounds))
        step, radius, steps, start = schedule(attack, self.span * beside(strength, films), protocol, steps, step_factor)
        # PyTorch multiplies no array by a tensor.
        films, step, radius, start = (ops.convert_to_tensor(value, "float32") for value in (films, step, radius, start))
        if attack.adaptive:
            position = self.random_start(films, start, noise, grey)
            return self.ascend(
                position, films, labels, radius, norm=norm, targeted=targeted, grey=grey, steps=steps, watch=watch
            )
        # The ball of "paper" is as wide as the bounds.
        take = compiled_move(attack.direction, norm if protocol == "budget" else None, self.bounds, attack.unclipped)
        position, kept = films, None
        if attack.random_start:
            position, first_gradient = self.random_start(films, start, noise, grey), None
        onward = position
        for number in range(steps):
            gradient, logits = first_gradient, None
            if number or first_gradient is None:
                gradient, logits = self.gradient_and_logits(position, labels, targeted)
            followed = self.one_channel(gradient) if grey else gradient
            if attack.momentum:
                followed = kept = self.accumulate(attack.momentum, ops.zeros_like(films) if kept is None else kept, followed)
            before, (onward, position) = position, take(onward, films, followed, step, radius)
            if watch:
                watch(before, position, gradient, logits)
        return position

    def ascend(
        self,
        position: Tensor,
        films: Tensor,
        labels: np.ndarray,
        radius: Tensor,
        *,
        norm: str,
        targeted: bool,
        grey: bool,
        steps: int,
        watch: Callable | None,
    ) -> Tensor:
        """Run APGD from a position within the ball of a radius, a tensor [n, 1, ...]; the rest as for `perturb`."""
        from keras import ops

        def evaluate(position: Tensor) -> Point:
            gradient, logits = self.gradient_and_logits(position, labels, targeted)
            followed = self.one_channel(gradient) if grey else gradient
            return Point(position, followed, logits, *standing(logits, labels, targeted))

        def take(point: Point, before: Tensor, factor: np.ndarray, share: float) -> Tensor:
            step = radius * ops.convert_to_tensor(beside(factor, films))
            return push(point.films, before, films, point.followed, step, radius, ops.convert_to_tensor(share, "float32"))

        push = compiled_push(norm, self.bounds)
        return ascend(evaluate, take, position, steps, watch).films

    def random_start(self, films: Tensor, radius: Tensor, noise: Tensor, grey: bool) -> Tensor:
        """Return films moved at random by up to a radius, a tensor [n, 1, ...], and clipped; a backend tensor."""
        from keras import ops

        if grey:
            noise = np.repeat(np.take(noise, [0], self.channels), noise.shape[self.channels], axis=self.channels)
        return ops.clip(films + radius * ops.convert_to_tensor(noise), *self.bounds)

    def gradient_and_logits(self, films: Tensor, labels: np.ndarray, targeted: bool = False) -> tuple[Tensor, Tensor]:
        """Return the gradient that attacks climb, float32 of the films' shape, and the logits, float32 [n, classes].

        They do not depend on attack, direction or strength; see `perturb`.
        """
        gradient, logits = self.gradient(films, labels)
        return (-gradient if targeted else gradient), logits

    def gradient_at(self, films: Tensor, labels: np.ndarray, targeted: bool = False) -> Tensor:
        """Return the gradient alone; see `gradient_and_logits`."""
        return self.gradient_and_logits(films, labels, targeted)[0]

    def unit_step(
        self,
        attack: Attack,
        gradient: Tensor,
        *,
        protocol: str = "paper",
        norm: str = "linf",
        grey: bool = False,
        step_factor: float = 1.0,
    ) -> Tensor:
        """Return a single-step attack's change at strength 1, before it is clipped to the bounds.

        The change at any strength is the strength times this.

        Args:
            attack: a single-step `Attack`.
            gradient: what `gradient_at` returned.
            protocol, norm, grey, step_factor: as for `perturb`.

        Returns:
            float32 of the gradient's shape, a backend tensor.
        """
        from keras import ops

        direction = DIRECTIONS[attack.direction](self.one_channel(gradient) if grey else gradient)
        if protocol == "budget":
            direction = PROJECTIONS[norm](step_factor * direction, ops.zeros_like(direction), 1.0)
        return self.span * direction
