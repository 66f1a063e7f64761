"""Tiny films, tiny classifiers and a slow reference of the attacks, for the tests of several files."""

import csv

import numpy as np
from scipy.ndimage import uniform_filter
from scipy.optimize import brentq

from nosign.dataset import CLASSES, INDEX_COLUMNS


def write_data(folder, images, labels, splits):
    """Write a data folder as stage 1 does: uint8 images [n, size, size, 3], labels and splits one a film."""
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "images.npy", images)
    lines = [",".join(INDEX_COLUMNS)]
    lines += [
        f"{row},{split},{label},{CLASSES[label]},phantom,p{row},p{row},film{row}.png,{row:064x}"
        for row, (label, split) in enumerate(zip(labels, splits))
    ]
    (folder / "index.csv").write_text("\n".join(lines) + "\n")
    return folder


def random_films(films, size, seed, low=0, high=256):
    """Return uint8 films [films, size, size, 3] of noise."""
    return np.random.default_rng(seed).integers(low, high, (films, size, size, 3), dtype=np.uint8)


def rows_of(path):
    """Return a CSV file's rows as dicts."""
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def write_bright_films(folder, size, films, seed=31):
    """Write a data folder of films whose class is the brightest channel; `films` is a dict from split to how many."""
    splits = [split for split, count in films.items() for _ in range(count)]
    labels = np.arange(len(splits)) % 3
    images = random_films(len(splits), size, seed=seed, high=200)
    images[np.arange(len(splits)), :, :, labels] += 40
    return write_data(folder, images, labels, splits)


class LinearSoftmax:
    """A linear classifier with its derivatives written out in float64, and the same one in Keras.

    Logits are `x W + b`; the cross-entropy's gradient is `(softmax(x W + b) - y) W^T`.
    """

    def __init__(self, shape, seed=0, spread=0.3, kernel=None, bias=None):
        """Draw the weights for films [height, width, channels], or take float arrays [pixels, classes], [classes]."""
        rng = np.random.default_rng(seed)
        self.shape = tuple(shape)
        kernel = rng.normal(0, spread, (int(np.prod(shape)), 3)) if kernel is None else kernel
        # Drawn for films about mid-grey, the logits are about zero there and all classes occur.
        bias = -kernel.sum(0) / 2 if bias is None else bias
        self.kernel, self.bias = np.float32(kernel).astype(np.float64), np.float32(bias).astype(np.float64)

    def logits(self, films):
        """Return float64 [n, classes] of films [n, ...]."""
        return np.asarray(films, np.float64).reshape(len(films), -1) @ self.kernel + self.bias

    def gradient(self, film, label):
        """Return d loss / d pixel of one film, float64 of its shape."""
        logits = self.logits(film[None])[0]
        probabilities = np.exp(logits - logits.max())
        probabilities /= probabilities.sum()
        return (self.kernel @ (probabilities - np.eye(3)[label])).reshape(film.shape)

    def log_odds_gradient(self, film, label):
        """Return d m / d pixel, m being the log-odds against the label: cross-entropy's gradient over sigmoid(m) = 1 - p."""
        logits = self.logits(film[None])[0]
        return self.gradient(film, label) / (1 - 1 / np.exp(logits - logits[label]).sum())

    def logits_model(self):
        """Return it as a keras.Model from films to logits."""
        import keras

        return keras.Model(*self.tensors())

    def classifier(self):
        """Return it as a keras.Model from films to probabilities, with the layer `logits`."""
        import keras

        films, logits = self.tensors()
        return keras.Model(films, keras.layers.Activation("softmax")(logits))

    def tensors(self):
        """Return Keras tensors of films and logits, joined by this model's weights."""
        import keras

        films = keras.Input(self.shape)
        dense = keras.layers.Dense(3, name="logits")
        logits = dense(keras.layers.Flatten()(films))
        dense.set_weights([np.float32(self.kernel), np.float32(self.bias)])
        return films, logits


def write_linear_workplace(folder, size=12, films=10, training_films=2):
    """Write `data/`, test films behind some training films, and `model/VGG16.keras`, linear, which has them all right."""
    from nosign.classifiers import build

    model = LinearSoftmax((size, size, 3), spread=0.1)
    images = random_films(training_films + films, size, seed=21)
    splits = ["train"] * training_films + ["test"] * films
    write_data(folder / "data", images, model.logits(images / 255).argmax(-1), splits)
    build.save(model.classifier(), folder / "model/VGG16.keras")
    return folder


def curved_model():
    """Return a small network whose gradient changes along the way, 21 films in [0, 1] and its own labels, one-hot."""
    import keras

    keras.utils.set_random_seed(3)
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(6, 3, activation="tanh", kernel_initializer=keras.initializers.RandomNormal(0, 0.5))(inputs)
    x = keras.layers.Dense(16, activation="tanh")(keras.layers.Flatten()(x))
    model = keras.Model(inputs, keras.layers.Dense(3, kernel_initializer=keras.initializers.RandomNormal(0, 0.5))(x))
    films = np.random.default_rng(4).random((21, 8, 8, 3), dtype=np.float32)
    return model, films, np.eye(3, dtype=np.float32)[model.predict(films, verbose=0).argmax(-1)]


def reference_attack(
    model,
    name,
    film,
    label,
    strength,
    *,
    protocol,
    steps,
    noise,
    norm="linf",
    step_factor=1,
    targeted=False,
    grey=False,
    path=None,
    field=None,
):
    """Attack one film as the paper's equations 1 to 6 say, in float64, one film and one step at a time.

    Args:
        model: has `gradient(film, label)`.
        name: "fgsm", "fgnm", "bim", "binm", "pgd", "pgdnm", "mifgsm", "mifgnm", "bim-unclipped", "binm-unclipped",
            "universal-sign", "universal", or a control, "noise-sign", "noise" or "shuffled".
        film: [height, width, channels] in [0, 1].
        label: the film's class, or the one that a targeted attack aims at.
        noise: the random start of PGD and PGDNM in [-1, 1), of the film's shape.
        step_factor: of "budget", how many times strength / steps a step is.
        norm: of the ball; that of "l2" reaches as far as a change by the strength in every component.
        grey: whether all channels change alike.
        path: list that receives (position, gradient there) for each step, or None.
        field: what a control or a universal attack follows in place of the gradient.

    Returns:
        float64 film in [0, 1].
    """
    film = np.asarray(film, np.float64)
    steps = 1 if name in ("fgsm", "fgnm", "universal-sign", "universal", "noise-sign", "noise", "shuffled") else steps
    alpha, radius = (strength, 1.0) if protocol == "paper" else (step_factor * strength / steps, strength)
    x = np.clip(film + strength * noise, 0, 1) if name.startswith("pgd") else film
    if grey and name.startswith("pgd"):
        x = np.clip(film + strength * noise[..., :1], 0, 1)
    velocity, onward = 0, x
    for _ in range(steps):
        gradient = model.gradient(x, label) * (-1 if targeted else 1) if field is None else np.float64(field)
        if path is not None:
            path.append((x, gradient))
        if grey:
            gradient = np.broadcast_to(gradient.mean(-1, keepdims=True), gradient.shape)
        if name.startswith("mi"):
            velocity = gradient = velocity + gradient / np.abs(gradient).sum()
        direction = np.sign(gradient)
        if name in ("fgnm", "binm", "pgdnm", "mifgnm", "binm-unclipped", "universal", "noise", "shuffled"):
            direction = gradient * np.linalg.norm(direction) / np.linalg.norm(gradient)
        if name == "noise" and protocol == "paper":
            # As long after clipping as it would be without.
            alpha = brentq(
                lambda a: np.linalg.norm(np.clip(x + a * direction, 0, 1) - x) - strength * np.linalg.norm(direction),
                0,
                100 * strength,
            )
        onward = onward + alpha * direction
        change = onward - film
        if norm == "linf":
            change = np.clip(change, -radius, radius)
        else:
            change = change * min(1, radius * np.sqrt(film.size) / max(np.linalg.norm(change), 1e-300))
        x = np.clip(film + change, 0, 1)
        onward = onward if name.endswith("unclipped") else x
    return x


def reference_ssim(original, changed):
    """SSIM as in Wang et al. (2004), equation 13: uniform windows of 7 pixels that lie inside the film."""
    inner = slice(3, -3)
    values = []
    for x, y in zip(np.moveaxis(np.float64(original), -1, 0), np.moveaxis(np.float64(changed), -1, 0)):
        mean_x, mean_y = uniform_filter(x, 7), uniform_filter(y, 7)
        unbiased = 49 / 48
        var_x = unbiased * (uniform_filter(x * x, 7) - mean_x**2)
        var_y = unbiased * (uniform_filter(y * y, 7) - mean_y**2)
        covariance = unbiased * (uniform_filter(x * y, 7) - mean_x * mean_y)
        ssim = (
            (2 * mean_x * mean_y + 0.01**2)
            * (2 * covariance + 0.03**2)
            / ((mean_x**2 + mean_y**2 + 0.01**2) * (var_x + var_y + 0.03**2))
        )
        values.append(ssim[inner, inner].mean())
    return np.mean(values)


def tiny_backbone(name, size, weights):
    """Return a backbone of 4 channels in place of `nosign.classifiers.build.build.load_backbone`; seeded by the caller."""
    import keras

    films = keras.Input((size, size, 3))
    x = keras.layers.Conv2D(4, 3, strides=4, activation="relu", name="conv")(films)
    return keras.Model(films, keras.layers.BatchNormalization(name="norm")(x), name=name)


# Convolution, its batch normalisation, the head's, and two dense layers.
TINY_PARAMETERS = (3 * 3 * 3 + 1) * 4 + 4 * 4 + 4 * 4 + (4 + 1) * 64 + (64 + 1) * 3


def use_tiny_backbones():
    """Have `nosign.classifiers.build` take `tiny_backbone`, in a process that does nothing else."""
    from nosign.classifiers import build

    build.load_backbone = tiny_backbone
