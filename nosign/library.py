"""The attacks on one's own model: `attack` takes any Keras 3 classifier whose inputs live in [0, 1]."""

from functools import lru_cache

import numpy as np

from nosign.attacks import ATTACKS, Attacker, unit_noise
from nosign.errors import UserError
from nosign.gradients import to_numpy

ADVICE = "give logits=True if the model's outputs are logits, or a model that ends before its softmax"


def attack(model, images, labels, name="fgnm", strength=0.003, *, protocol="paper", norm="linf", targeted=False, steps=10,
           seed=0, batch=64, logits=None):
    """Attack images with gradients from a classifier.

    Args:
        model: keras.Model from float32 [n, height, width, channels] in [0, 1] to logits or softmax probabilities
            [n, classes]; scaling such as `x / 127.5 - 1` belongs inside it.
        images: array [n, height, width, channels] in [0, 1].
        labels: int array [n]: the images' classes, or those that a targeted attack aims at.
        name: a key of `nosign.attacks.ATTACKS`: fgsm, fgnm, bim, binm, pgd, pgdnm, mifgsm or mifgnm.
        strength: float >= 0 as a fraction of the grey range, or float array [n] of one an image.
        protocol: "paper": each step has the strength; "budget": the whole attack has.
        norm: of the ball that "budget" keeps to, "linf" or "l2" (of the radius of a change by `strength` everywhere).
        targeted: make the model see `labels` instead of anything else.
        steps: of an iterative attack.
        seed: of the random starts; an image starts at the same point in every call and batch.
        batch: images attacked at once.
        logits: whether the model's outputs are logits; None finds it out.

    Returns:
        float32 array [n, height, width, channels] in [0, 1]; `images` is not modified.

    Raises:
        UserError: a setting, a shape or a value that makes no sense; the message says what was expected.
    """
    if name not in ATTACKS:
        raise UserError(f"name: expected one of {', '.join(ATTACKS)}, received {name!r}")
    attacker = attacker_of(model, logits)
    images = np.asarray(images, np.float32)
    labels = one_hot(labels, len(images), attacker.shapes[1][-1])
    if np.ndim(strength) and np.shape(strength) != (len(images),):
        raise UserError(f"strength: expected one number or one for each of {len(images)} images, received {np.shape(strength)}")
    strengths = np.broadcast_to(np.asarray(strength, np.float32), len(images))
    batch = max(1, min(batch, len(images)))
    parts = [np.empty((0, *images.shape[1:]), np.float32)]
    for start in range(0, len(images), batch):
        # A short last batch is filled up with its last image: another shape would be compiled anew.
        rows = np.minimum(np.arange(start, start + batch), len(images) - 1)
        noise = unit_noise(seed, rows, images.shape[1:]) if ATTACKS[name].random_start else None
        changed = attacker.perturb(ATTACKS[name], images[rows], labels[rows], strengths[rows], protocol=protocol, norm=norm,
                                   targeted=targeted, steps=steps, noise=noise)
        parts.append(to_numpy(changed)[:len(images) - start])
    return np.concatenate(parts)


# One model is usually attacked many times in a row; it is compiled once.
@lru_cache(maxsize=1)
def attacker_of(model, logits=None):
    """Return an `Attacker` of a classifier; see `attack` for the arguments."""
    return Attacker(model if logits else logits_model(model, logits))


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


def logits_model(model, logits=None):
    """Return a model to logits that shares a classifier's weights.

    The loss is taken on logits, because a saturated softmax has a gradient of exactly zero.

    Args:
        model: functional or sequential keras.Model whose last layer has a softmax, or no activation.
        logits: False if the outputs are certainly probabilities, None to find out.

    Raises:
        UserError: the logits cannot be found.
    """
    import keras

    try:
        last, inputs = model.layers[-1], model.inputs
    except (AttributeError, ValueError, IndexError):
        inputs = None
    if not inputs:
        raise UserError(f"{getattr(model, 'name', model)}: not a built functional or sequential model, so its logits cannot be "
                        f"found; {ADVICE}")
    activation = getattr(getattr(last, "activation", None), "__name__", None)
    if isinstance(last, keras.layers.Softmax) or isinstance(last, keras.layers.Activation) and activation == "softmax":
        return keras.Model(inputs, last.input)
    if isinstance(last, keras.layers.Dense) and activation == "softmax":
        return keras.Model(inputs, without_activation(last)(last.input))
    if isinstance(last, keras.layers.Dense) and activation == "linear" and logits is None:
        return model
    raise UserError(f"{model.name}: its last layer, {last.name}, is neither a softmax nor a dense layer without activation; "
                    f"{ADVICE}")


def without_activation(dense):
    """Return a layer that computes what a dense layer does before its activation, with the same weights."""
    import keras

    class Linear(keras.layers.Layer):
        def __init__(self):
            super().__init__(name=f"{dense.name}_logits")
            self.dense = dense
            self.built = True

        def call(self, inputs):
            product = keras.ops.matmul(inputs, self.dense.kernel)
            return product if self.dense.bias is None else product + self.dense.bias

    return Linear()
