"""The three classifiers: backbone, adaptation head, saving and loading."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from nosign.classifiers.archive import check_archive, check_size
from nosign.classifiers.catalogue import BACKBONES
from nosign.dataset import CLASSES
from nosign.errors import UserError
from nosign.files import atomic_path
from nosign.paper import HEAD_UNITS

LOGITS = "logits"
HEAD_BATCH_NORM = "head_batch_norm"
# Mean and spread of chest films in [0, 1], to two digits; used by --preprocessing standardise alone.
FILM_MEAN, FILM_SPREAD = 0.5, 0.25
# From scratch, batch normalisation's averages start at mean 0 and variance 1; after 30 steps 0.9 still keeps 4 % of that,
# which multiplies from layer to layer. 0.8 keeps 0.1 %.
BATCH_NORM_MOMENTUM = 0.8


def build(name: str, size: int, *, weights: str = "none", preprocessing: str = "paper", seed: int = 0) -> Any:
    """Build a classifier: preprocessing, backbone and adaptation head in one model.

    Args:
        name: a key of `BACKBONES`.
        size: film height and width in pixels.
        weights: "imagenet" (Keras downloads them), "none" (from scratch) or a folder that holds Keras's own
            `*_notop.h5` files.
        preprocessing: "paper" (plain [0, 1]), "imagenet" (the backbone's own) or "standardise".
        seed: of the initial weights.

    Returns:
        keras.Model from float32 [films, size, size, 3] in [0, 1] to probabilities [films, classes]. Its layer
        `logits` holds the values before the softmax.

    Raises:
        UserError: the films are too small for the backbone, or the weights cannot be had.
    """
    import keras

    check_buildable(name, size, weights)
    keras.utils.set_random_seed(seed)
    films = keras.Input((size, size, 3), name="films")
    x = load_backbone(name, size, weights)(preprocess(films, name, preprocessing))
    for layer in head_layers():
        x = layer(x)
    model = keras.Model(films, x, name=f"{name}_classifier")
    if weights == "none":
        start_from_scratch(model, name, seed)
    return model


def check_buildable(name: str, size: int, weights: str) -> None:
    """Raise `UserError` if films are too small for a backbone or its weights are not in the folder; needs no Keras."""
    smallest = BACKBONES[name].minimum_size
    if size < smallest:
        raise UserError(
            f"{name} needs films of at least {smallest} px, these have {size} px; "
            f"prepare them with --image-size {smallest} or more"
        )
    if weights not in ("imagenet", "none"):
        weights_file(name, weights)


def load_backbone(name: str, size: int, weights: str) -> Any:
    """Return a backbone of `keras.applications` without its top, named after its table entry."""
    import keras

    if weights == "imagenet":
        try:
            return getattr(keras.applications, name)(
                include_top=False, weights="imagenet", input_shape=(size, size, 3), name=name
            )
        except Exception as error:
            raise UserError(
                f"ImageNet weights for {name} could not be downloaded ({error}); put {BACKBONES[name].weights} into "
                "a folder and give --weights FOLDER, or train from scratch with --weights none"
            ) from None
    path = None if weights == "none" else weights_file(name, weights)
    base = getattr(keras.applications, name)(include_top=False, weights=None, input_shape=(size, size, 3), name=name)
    if path is None:
        return base
    try:
        base.load_weights(path)
    except (ValueError, OSError, KeyError) as error:
        raise UserError(f"{path}: does not fit {name} without its top ({error}); download it again") from None
    return base


def weights_file(name: str, folder: str | Path) -> Path:
    """Return the path of a backbone's ImageNet weights in a folder, or raise `UserError` if they are not there."""
    path = Path(folder) / BACKBONES[name].weights
    if not path.is_file():
        raise UserError(
            f"{path}: not found; --weights takes imagenet, none, or a folder that holds "
            f"{', '.join(known.weights for known in BACKBONES.values())}"
        )
    return path


def start_from_scratch(model: Any, name: str, seed: int) -> None:
    """Give a classifier without pre-trained weights a start from which it learns in few steps.

    Convolutions followed by ReLU without batch normalisation keep their signal's variance with He's initialisation
    (He et al., 2015, arXiv:1502.01852); Keras's default shrinks it at each of VGG16's 13 layers. Batch
    normalisation's averages follow within tens of steps rather than hundreds.
    """
    import keras

    layers = [*model.get_layer(name).layers, *model.layers]
    convolutions = [layer for layer in layers if isinstance(layer, keras.layers.Conv2D)]
    for number, layer in enumerate(convolutions):
        initializer = keras.initializers.HeNormal(seed=seed * 1000 + number)
        layer.kernel.assign(initializer(layer.kernel.shape, dtype="float32"))
    for layer in layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = BATCH_NORM_MOMENTUM


def unfreeze(model: Any, name: str, backbone_batch_norm: str = "train", head_batch_norm: str = "train") -> None:
    """Make all of a classifier trainable; "frozen" batch normalisation keeps its averages, scale and shift.

    Args:
        model: keras.Model as `build` returns it; to be compiled anew.
        name: a key of `BACKBONES`.
        backbone_batch_norm, head_batch_norm: "train" or "frozen".
    """
    import keras

    backbone = model.get_layer(name)
    backbone.trainable = True
    for layer in backbone.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = backbone_batch_norm == "train"
    model.get_layer(HEAD_BATCH_NORM).trainable = head_batch_norm == "train"


def convolution_kernels(model: Any, name: str) -> list[np.ndarray]:
    """Return copies of the kernels of a classifier's convolutions, a list of float32 arrays."""
    import keras

    return [layer.get_weights()[0] for layer in model.get_layer(name).layers if isinstance(layer, keras.layers.Conv2D)]


def preprocess(films: Any, name: str, preprocessing: str) -> Any:
    """Apply a preprocessing to films in [0, 1], as layers without weights.

    "imagenet" repeats `keras.applications.*.preprocess_input`: VGG16 takes BGR minus the channel mean in 0..255,
    InceptionV3 takes [-1, 1], DenseNet201 takes RGB minus mean over standard deviation.
    """
    import keras

    if preprocessing == "paper":
        return films
    if preprocessing == "standardise":
        return keras.layers.Rescaling(1 / FILM_SPREAD, -FILM_MEAN / FILM_SPREAD, name="standardise")(films)
    if name == "VGG16":
        bgr = keras.ops.flip(films, axis=-1)
        return keras.layers.Rescaling(255.0, [-103.939, -116.779, -123.68], name="imagenet")(bgr)
    if name == "InceptionV3":
        return keras.layers.Rescaling(2.0, -1.0, name="imagenet")(films)
    mean, deviation = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    return keras.layers.Rescaling([1 / d for d in deviation], [-m / d for m, d in zip(mean, deviation)], name="imagenet")(films)


def head_layers() -> list[Any]:
    """Return new layers of the paper's adaptation head, in order.

    Average pooling, flatten, batch normalisation and two dense layers; 64 hidden units give DenseNet201 exactly the
    paper's 18,452,803 parameters.
    """
    from keras import layers

    return [
        layers.GlobalAveragePooling2D(name="average_pooling"),
        layers.Flatten(name="flatten"),
        layers.BatchNormalization(name=HEAD_BATCH_NORM),
        layers.Dense(HEAD_UNITS, activation="relu", name="hidden"),
        layers.Dense(len(CLASSES), name=LOGITS),
        layers.Activation("softmax", dtype="float32", name="probabilities"),
    ]


def save(model: Any, path: str | Path) -> None:
    """Save a classifier as a `.keras` file, atomically."""
    with atomic_path(path) as temporary:
        model.save(temporary)


def load(path: str | Path, size: int | None = None) -> Any:
    """Load a classifier.

    Args:
        path: a `.keras` file.
        size: height and width that its films must have, or None for any.

    Returns:
        keras.Model, not compiled.

    Raises:
        UserError: no such file, not a Keras model of known layers, or trained for other classes or at another film size.
    """
    import keras

    check_size(path, *check_archive(path))
    try:
        model = keras.saving.load_model(path, compile=False)
    except Exception as error:  # whatever a layer makes of wrong weights
        raise UserError(f"{path}: cannot be loaded as a Keras model ({error}); train it again") from None
    if model.output_shape[-1] != len(CLASSES):
        raise UserError(
            f"{path}: has {model.output_shape[-1]} outputs, expected one for each of {len(CLASSES)} classes "
            f"({', '.join(CLASSES)}); train it with train_finetune.py"
        )
    expected = model.input_shape[1]
    if size is not None and expected not in (None, size):
        raise UserError(
            f"{path}: was trained on films of {expected} px, these have {size} px; "
            f"prepare the films with --image-size {expected} or train again"
        )
    return model


def weights_sha256(model: Any) -> str:
    """Return the SHA-256 of a model's weights; equal weights have an equal hash in whatever file."""
    digest = hashlib.sha256()
    for array in model.get_weights():
        digest.update(array.tobytes())
    return digest.hexdigest()


def logits_of(model: Any) -> Any:
    """Return the keras.Model from films to logits of a classifier of `build`; it shares the weights."""
    import keras

    return keras.Model(model.inputs[0], model.get_layer(LOGITS).output)
