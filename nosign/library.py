"""The attacks on one's own model, any Keras 3 classifier whose inputs live in [0, 1]: `attack` and `turning_strength`."""

from functools import lru_cache

import numpy as np

from nosign.attacks import ATTACKS, Attacker, check_batch, stepped, unit_noise
from nosign.classifiers import logits_of
from nosign.controls import control_field
from nosign.dataset import whole_batches
from nosign.errors import UserError
from nosign.gradients import to_numpy
from nosign.turning import Turning, search


def attack(model, images, labels, name="fgnm", strength=0.003, *, protocol="paper", norm="linf", targeted=False, grey=False,
           steps=10, seed=0, batch=64, logits=None):
    """Attack images with gradients from a classifier.

    Args:
        model: keras.Model from float32 [n, height, width, channels] in [0, 1] to logits or softmax probabilities
            [n, classes]; scaling such as `x / 127.5 - 1` belongs inside it.
        images: array [n, height, width, channels] in [0, 1].
        labels: int array [n]: the images' classes, or those that a targeted attack aims at.
        name: a key of `nosign.attacks.ATTACKS`: fgsm, fgnm, bim, binm, pgd, pgdnm, mifgsm, mifgnm, or a control: noise-sign,
            noise, shuffled.
        strength: float >= 0 as a fraction of the grey range, or float array [n] of one an image.
        protocol: "paper": each step has the strength; "budget": the whole attack has.
        norm: of the ball that "budget" keeps to, "linf" or "l2" (of the radius of a change by `strength` everywhere).
        targeted: make the model see `labels` instead of anything else.
        grey: change all channels alike, so that a grey image stays grey.
        steps: of an iterative attack.
        seed: of the random starts; an image starts at the same point in every call and batch.
        batch: images attacked at once.
        logits: whether the model's outputs are logits; None finds it out.

    Returns:
        float32 array [n, height, width, channels] in [0, 1]; `images` is not modified.

    Raises:
        UserError: a setting, a shape or a value that makes no sense; the message says what was expected.
    """
    chosen = named_attack(name)
    attacker = attacker_of(model, logits)
    images = np.asarray(images, np.float32)
    labels = one_hot(labels, len(images), attacker.shapes[1][-1])
    try:
        strengths = np.broadcast_to(np.asarray(strength, np.float32), len(images))
    except (ValueError, TypeError):
        raise UserError(f"strength: expected one number or one for each of {len(images)} images, received "
                        f"{strength!r}") from None
    batch = max(1, min(batch, len(images)))
    parts = [np.empty((0, *images.shape[1:]), np.float32)]
    for start, stop, rows in whole_batches(len(images), batch):
        noise = unit_noise(seed, rows, images.shape[1:]) if chosen.random_start else None
        field = followed(attacker, chosen, images[rows], labels[rows], rows, targeted, seed) if chosen.control else None
        changed = attacker.perturb(chosen, images[rows], labels[rows], strengths[rows], protocol=protocol, norm=norm,
                                   targeted=targeted, grey=grey, steps=steps, noise=noise, first_gradient=field)
        parts.append(to_numpy(changed)[:stop - start])
    return np.concatenate(parts)


def turning_strength(model, images, labels, name="fgnm", *, targeted=False, grey=False, seed=0, batch=64, logits=None):
    """Find the smallest strength of a single-step attack that turns each image, from one gradient and twenty forward passes.

    Args:
        model, images, labels, targeted, grey, seed, batch, logits: as for `attack`.
        name: fgsm, fgnm, or a control: noise-sign, noise, shuffled.

    Returns:
        `nosign.turning.Turning`, an entry per image. An image that the model has wrong (or, `targeted`, already takes for its
        label) takes no part.

    Raises:
        UserError: as `attack`, or the attack has more than one step.
    """
    chosen = named_attack(name)
    if chosen.iterative:
        raise UserError(f"name: turning strengths are those of single-step attacks, {name!r} has many steps; choose from "
                        f"{', '.join(known for known, attack in ATTACKS.items() if not attack.iterative)}")
    attacker = attacker_of(model, logits)
    images = np.asarray(images, np.float32)
    labels = one_hot(labels, len(images), attacker.shapes[1][-1])
    check_batch(images, labels, attacker.shapes)
    batch = max(1, min(batch, len(images)))
    parts = []
    for start, stop, rows in whole_batches(len(images), batch):
        field = followed(attacker, chosen, images[rows], labels[rows], rows, targeted, seed)
        units = to_numpy(attacker.unit_step(chosen, field, grey=grey))

        def turns(strengths, rows=rows, units=units):
            seen = to_numpy(attacker.logits(stepped(chosen, images[rows], units, strengths))).argmax(-1)
            return (seen == labels[rows].argmax(-1)) == targeted

        found = search(turns, ~turns(np.zeros(batch)))
        parts.append([values[:stop - start] for values in (found.strength, found.status, found.turned)])
    return Turning(*map(np.concatenate, zip(*parts))) if parts else search(lambda strengths: strengths > 0, np.zeros(0, bool))


def named_attack(name):
    """Return the `Attack` of a name, or raise `UserError`."""
    if name not in ATTACKS:
        raise UserError(f"name: expected one of {', '.join(ATTACKS)}, received {name!r}")
    return ATTACKS[name]


def followed(attacker, chosen, images, labels, rows, targeted, seed):
    """Return what a single step follows on a batch: the gradient, or a control's field; float32 of the images' shape."""
    gradient = to_numpy(attacker.gradient_at(images, labels, targeted)) if chosen.needs_gradient else None
    return control_field(chosen.control, seed, rows, images.shape[1:], gradient) if chosen.control else gradient


# One model is usually attacked many times in a row; it is compiled once.
@lru_cache(maxsize=1)
def attacker_of(model, logits=None):
    """Return an `Attacker` of a classifier; see `attack` for the arguments."""
    return Attacker(model if logits else logits_of(model, logits))


def one_hot(labels, images, classes):
    """Return int labels [n] as float32 [n, classes].

    Raises:
        UserError: there is not one label an image, or one is no class.
    """
    labels = np.asarray(labels)
    if labels.shape != (images,) or not np.issubdtype(labels.dtype, np.integer):
        raise UserError(f"labels: expected {images} whole numbers, one an image, received {labels.dtype} {labels.shape}")
    if images and not (labels.min() >= 0 and labels.max() < classes):
        raise UserError(f"labels: expected classes from 0 to {classes - 1}, received {labels.min()} to {labels.max()}")
    return np.eye(classes, dtype=np.float32)[labels]
