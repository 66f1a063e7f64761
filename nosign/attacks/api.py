"""The attacks on one's own classifier: `attack` and `turning_strength`."""

from __future__ import annotations

from typing import Any

import numpy as np

from nosign.attacks.catalogue import ATTACKS, UNIVERSAL, Attack
from nosign.attacks.controls import control_field
from nosign.attacks.loop import Attacker, check_range, check_shape, check_whole, stepped, unit_noise
from nosign.attacks.restarts import best_start
from nosign.attacks.turning import Turning, search
from nosign.backend import to_numpy
from nosign.classifiers.logits import find_logits
from nosign.classifiers.pytorch import takes_modules
from nosign.dataset import whole_batches
from nosign.errors import UserError, warn

# Values this far outside the bounds, as a share of their difference, are rounding errors.
ROUNDING = 1e-6
# Fewer axes than height, width and channels: none of them holds channels.
LEAST_AXES_WITH_CHANNELS = 4


@takes_modules
def attack(
    model: Any,
    images: Any,
    labels: Any,
    name: str = "fgnm",
    strength: float | np.ndarray = 0.003,
    *,
    protocol: str = "paper",
    norm: str = "linf",
    targeted: bool = False,
    grey: bool = False,
    steps: int = 10,
    step_factor: float = 1.0,
    restarts: int = 1,
    seed: int = 0,
    batch: int = 64,
    bounds: tuple[float, float] = (0, 1),
    logits: bool | None = None,
    finding: int | None = None,
    channels: int | None = None,
) -> Any:
    """Attack images with gradients from a classifier.

    Args:
        model: keras.Model, subclassed ones too; torch.nn.Module, whose outputs are logits unless `logits` is False; or with
            `logits` any function of a batch of images, from float32 [n, ...] within `bounds` to logits or probabilities
            [n, classes]; scaling such as `x / 127.5 - 1` belongs inside it.
        images: array [n, ...] within `bounds`: films, vectors or volumes, as the model takes them.
        labels: whole numbers [n] or [n, 1], or one-hot [n, classes]: the images' classes, or those that a targeted attack aims
            at.
        name: a key of `nosign.attacks.catalogue.ATTACKS`: fgsm, fgnm, bim, binm, pgd, pgdnm, mifgsm, mifgnm, bim-unclipped,
            binm-unclipped, apgd, or a control: noise-sign, noise, shuffled.
        strength: float >= 0, a fraction of the difference of `bounds`, or float array [n] of one for each image.
        protocol: "paper": each step has the strength; "budget": the whole attack has.
        norm: norm of the ball of "budget", "linf" or "l2" (whose radius is that of a change by `strength` everywhere).
        targeted: make the model see `labels` instead of anything else.
        grey: change all channels alike, so that a grey image stays grey.
        steps: steps of an iterative attack.
        step_factor: of "budget", how many times strength / steps a step is.
        restarts: random starts of attacks that have them; each image keeps the first that makes the model wrong (`targeted`:
            see the label), else the one that comes nearest to it.
        seed: of the random starts; an image starts at the same point in every call and batch.
        batch: images attacked at once.
        bounds: smallest and largest value of an image.
        logits: True if the model's outputs are logits, False if they are probabilities; None finds it out from a Keras
            model's graph and checks it by value.
        finding: the output of a multi-label model that is attacked, as two classes: 0 absent, 1 present.
        channels: axis of `images` that holds the channels, for `grey` and the control shuffled; None is the usual one, 1 for a
            PyTorch module, else the last.

    Returns:
        float32 array like `images`, or for a PyTorch module and a tensor a tensor on its device, within `bounds`; `images` is
        not modified.

    Raises:
        UserError: a setting, a shape or a value that makes no sense; the message says what was expected.

    Warns:
        AttackWarning: images without a gradient, which stay as they were; a random model; logits that were not found.
    """
    from keras.ops import convert_to_tensor

    chosen = named_attack(name)
    check_whole("batch", batch, 1)
    check_whole("seed", seed, 0)
    images, labels, attacker, axis = prepared(model, images, labels, bounds, logits, finding, channels, grey)
    strengths = strength_of_each(strength, len(images))
    found, unmoved = np.empty_like(images), 0
    for start, stop, rows in whole_batches(len(images), max(1, min(batch, len(images)))):
        field = followed(attacker, chosen, images[rows], labels[rows], rows, targeted, seed, axis) if chosen.control else None
        fields = [] if field is None else [field]

        def attempt(
            start: int, rows: np.ndarray = rows, field: np.ndarray | None = field, fields: list[np.ndarray] = fields
        ) -> Any:
            # Looked through already; a tensor is not looked through again.
            return attacker.perturb(
                chosen,
                convert_to_tensor(images[rows]),
                labels[rows],
                strengths[rows],
                protocol=protocol,
                norm=norm,
                targeted=targeted,
                grey=grey,
                steps=steps,
                step_factor=step_factor,
                noise=unit_noise(seed, rows, images.shape[1:], start) if chosen.random_start else None,
                first_gradient=field,
                watch=lambda before, after, gradient, logits: fields.extend([] if fields else [to_numpy(gradient)]),
            )

        changed = best_start(attempt, chosen.starts(restarts), attacker.logits, labels[rows], targeted)
        found[start:stop] = to_numpy(changed)[: stop - start]
        unmoved += int(without_gradient(fields[0])[: stop - start].sum())
    warn_of(unmoved, len(images))
    return found


@takes_modules
def turning_strength(
    model: Any,
    images: Any,
    labels: Any,
    name: str = "fgnm",
    *,
    targeted: bool = False,
    grey: bool = False,
    seed: int = 0,
    batch: int = 64,
    bounds: tuple[float, float] = (0, 1),
    logits: bool | None = None,
    finding: int | None = None,
    channels: int | None = None,
) -> Turning:
    """Find the smallest strength of a single-step attack that turns each image, from one gradient and twenty forward passes.

    Args:
        model, images, labels, targeted, grey, seed, batch, bounds, logits, finding, channels: as for `attack`.
        name: fgsm, fgnm, or a control: noise-sign, noise, shuffled.

    Returns:
        `nosign.attacks.turning.Turning`, one entry per image. An image that the model has wrong (or, `targeted`, already
        takes for its label) takes no part.

    Raises:
        UserError: as `attack`, or the attack has more than one step.

    Warns:
        AttackWarning: as `attack`.
    """
    chosen = named_attack(name)
    if chosen.iterative:
        raise UserError(
            f"name: turning strengths are those of single-step attacks, {name!r} has many steps; choose from "
            f"{', '.join(known for known, attack in ATTACKS.items() if not (attack.iterative or attack.universal))}"
        )
    check_whole("batch", batch, 1)
    check_whole("seed", seed, 0)
    images, labels, attacker, axis = prepared(model, images, labels, bounds, logits, finding, channels, grey)
    parts, unmoved = [], 0
    for start, stop, rows in whole_batches(len(images), max(1, min(batch, len(images)))):
        field = followed(attacker, chosen, images[rows], labels[rows], rows, targeted, seed, axis)
        unmoved += int(without_gradient(field)[: stop - start].sum())
        units = to_numpy(attacker.unit_step(chosen, field, grey=grey))

        def turns(strengths: np.ndarray, rows: np.ndarray = rows, units: np.ndarray = units) -> np.ndarray:
            changed = stepped(chosen, images[rows], units, strengths, bounds=attacker.bounds)
            return (to_numpy(attacker.logits(changed)).argmax(-1) == labels[rows].argmax(-1)) == targeted

        found: Any = search(turns, ~turns(np.zeros(len(rows))))
        parts.append([values[: stop - start] for values in (found.strength, found.status, found.turned)])
    warn_of(unmoved, len(images))
    return Turning(*map(np.concatenate, zip(*parts))) if parts else search(lambda strengths: strengths > 0, np.zeros(0, bool))


def named_attack(name: str) -> Attack:
    """Return the `Attack` of a name, or raise `UserError`."""
    if name not in ATTACKS or name in UNIVERSAL:
        known = [known for known in ATTACKS if known not in UNIVERSAL]
        raise UserError(f"name: expected one of {', '.join(known)}, received {name!r}")
    return ATTACKS[name]


def prepared(
    model: Any,
    images: Any,
    labels: Any,
    bounds: tuple[float, float],
    logits: bool | None,
    finding: int | None,
    channels: int | None,
    grey: bool,
) -> tuple[np.ndarray, np.ndarray, Attacker, int | None]:
    """Check what `attack` was given.

    Returns:
        Images, float32 [n, ...] within the bounds; labels, float32 one-hot [n, classes]; an `Attacker`; and the axis of the
        images that holds channels, or None.
    """
    bounds = checked_bounds(bounds)
    channels = -1 if channels is None else channels
    images = checked_images(images, bounds)
    axis = channel_axis(channels, images.ndim, grey)
    if finding is not None and not isinstance(finding, (int, np.integer)):
        raise UserError(f"finding: expected the number of one of the model's outputs, received {finding!r}")
    expected = getattr(model, "input_shape", None)
    if isinstance(expected, tuple):
        check_shape("images", images.shape, expected)
    attacker = attacker_of(model, images, bounds, logits, finding, channels)
    return images, one_hot(labels, len(images), attacker.shapes[1][-1]), attacker, axis


def checked_bounds(bounds: tuple[float, float]) -> tuple[float, float]:
    """Return bounds as two floats, or raise `UserError`."""
    try:
        low, high = map(float, bounds)
    except (TypeError, ValueError):
        low = high = np.nan
    if not (np.isfinite([low, high]).all() and low < high):
        raise UserError(f"bounds: expected the smallest and the largest value of an image, such as (0, 1), received {bounds!r}")
    return low, high


def checked_images(images: Any, bounds: tuple[float, float]) -> np.ndarray:
    """Return images as float32 within the bounds, the caller's own array if it is; or raise `UserError`."""
    try:
        images = np.asarray(images, np.float32)
    except (TypeError, ValueError):
        raise UserError(f"images: expected one array [n, ...] of numbers, received {type(images).__name__}") from None
    if images.ndim < 2:
        raise UserError(f"images: expected an array [n, ...], received shape {images.shape}")
    within = check_range(images, bounds, ROUNDING * (bounds[1] - bounds[0]))
    return images if within else np.clip(images, *bounds)


def channel_axis(channels: int, axes: int, grey: bool) -> int | None:
    """Return the axis of images that holds channels, None if there is none, or raise `UserError`."""
    if not (isinstance(channels, (int, np.integer)) and (0 < channels < axes or -axes < channels < 0)):
        raise UserError(f"channels: expected an axis of the images other than the first, received {channels!r}")
    if axes >= LEAST_AXES_WITH_CHANNELS:
        return int(channels)
    if grey:
        raise UserError(f"grey: is for images with channels; these have {axes - 1} axes each")
    return None


def strength_of_each(strength: float | np.ndarray, images: int) -> np.ndarray:
    """Return a strength, or one for each image, as float32 [n]; or raise `UserError`."""
    try:
        return np.broadcast_to(np.asarray(strength, np.float32), images)
    except (ValueError, TypeError):
        raise UserError(f"strength: expected one number or one for each of {images} images, received {strength!r}") from None


def one_hot(labels: Any, images: int, classes: int) -> np.ndarray:
    """Return labels as float32 one-hot [n, classes].

    Args:
        labels: whole numbers [n] or [n, 1], or one-hot [n, classes].
        images: n.
        classes: how many there are.

    Raises:
        UserError: there is not one label for each image, one is no class, or they are soft.
    """
    labels = np.asarray(labels)
    received = f"received {labels.dtype} {labels.shape}"
    if labels.dtype == bool or not np.issubdtype(labels.dtype, np.number):
        labels = labels.astype(np.float32) if labels.dtype == bool else np.full(1, np.nan)
    if labels.shape == (images, 1):
        labels = labels[:, 0]
    elif labels.shape == (images, classes):
        if not (np.isin(labels, (0, 1)).all() and (labels.sum(1) == 1).all()):
            raise UserError(
                "labels: expected one class for each image; soft labels have no class to be turned from: give their argmax"
            )
        labels = labels.argmax(1)
    if labels.shape != (images,) or not np.array_equal(labels, np.rint(labels)):
        raise UserError(
            f"labels: expected {images} whole numbers, one for each image, or one-hot ({images}, {classes}), {received}"
        )
    labels = labels.astype(np.int64)
    if images and not (labels.min() >= 0 and labels.max() < classes):
        raise UserError(f"labels: expected classes from 0 to {classes - 1}, received {labels.min()} to {labels.max()}")
    return np.eye(classes, dtype=np.float32)[labels]


def followed(
    attacker: Attacker,
    chosen: Attack,
    images: np.ndarray,
    labels: np.ndarray,
    rows: np.ndarray,
    targeted: bool,
    seed: int,
    axis: int | None,
) -> np.ndarray:
    """Return what a single step follows on a batch: the gradient, or a control's field; float32 of the images' shape."""
    gradient: Any = to_numpy(attacker.gradient_at(images, labels, targeted)) if chosen.needs_gradient else None
    if not chosen.control:
        return gradient
    return control_field(chosen.control, seed, rows, images.shape[1:], gradient, axis)


def without_gradient(gradient: np.ndarray) -> np.ndarray:
    """Tell which images of a batch have a gradient, NumPy [n, ...], that is zero or not finite, bool [n]."""
    flat = gradient.reshape(len(gradient), -1)
    # Some components that are not zero are enough; to look for them among all would take as long as a step.
    some = flat[:, :: max(1, flat.shape[1] // 256)]
    suspects = ~(some.any(1) & np.isfinite(flat.sum(1)))
    for i in np.flatnonzero(suspects):
        suspects[i] = not (flat[i].any() and np.isfinite(flat[i]).all())
    return suspects


def warn_of(unmoved: int, images: int) -> None:
    """Warn if images had no gradient."""
    if unmoved:
        warn(
            f"{unmoved} of {images} images have no gradient and stay where the attack began: an input that is rounded or cast "
            "to whole numbers, a step without a derivative or a saturated output lies between them and the logits, or the "
            "logits are not finite"
        )


def attacker_of(
    model: Any, images: np.ndarray, bounds: tuple[float, float], logits: bool | None, finding: int | None, channels: int
) -> Attacker:
    """Return the `Attacker` of a classifier, compiled once for a model and settings; see `attack` for the arguments."""
    kept, settings = kept_beside(model), (bounds, logits, finding, channels)
    # Weights may change from call to call, not which ones there are: `quantize` and new layers make others.
    variables = tuple(map(id, getattr(model, "variables", ())))
    if settings in kept and kept[settings][0] == variables:
        return kept[settings][1]
    attacker = Attacker(
        find_logits(model, images, logits=logits, finding=finding, bounds=bounds), bounds=bounds, channels=channels
    )
    kept[settings] = tuple(map(id, getattr(model, "variables", ()))), attacker
    return attacker


class Kept(dict):
    """What was compiled for a model, kept in the model itself: it goes when the model goes, and is not saved or copied."""

    def __reduce__(self) -> tuple[type[Kept], tuple[()]]:
        """Pickle or copy nothing of it."""
        return Kept, ()


def kept_beside(model: Any) -> Kept:
    """Return the `Kept` of a model; a new one each time where none can be kept.

    A bound method cannot hold one. A function on JAX may hold weights that a compiled program would not see change.
    """
    import keras

    if keras.backend.backend() == "jax" and not hasattr(model, "variables"):
        return Kept()
    try:
        return vars(model).setdefault("_nosign", Kept())
    except (TypeError, AttributeError):
        return Kept()
