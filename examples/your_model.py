"""How strong must one step be to turn your images? Along the sign, along the gradient itself, and noise as a control.

    python -m examples.your_model my_model.keras my_arrays.npz     # arrays `images` in [0, 1] and `labels`
    python -m examples.your_model                                  # a small network on scikit-learn's digits

From a checkout so; after `pip install .` also `python examples/your_model.py`, from any folder.
Prints a table and draws your_model.png. An attack that turns no more than its control has found nothing.
"""

import sys

# Before Keras, so that TensorFlow computes with oneDNN on every processor.
from nosign import attack, turning_strength  # isort: skip
import keras
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from sklearn.datasets import load_digits

from nosign.errors import UserError
from nosign.script import run

ATTACKS = {"fgsm": "sign", "fgnm": "no-sign", "noise": "Gaussian noise"}


def digits():
    """Return a classifier trained on 1,297 digits, and 500 others with their labels."""
    keras.utils.set_random_seed(0)
    images, labels = load_digits(return_X_y=True)
    images = np.float32(images.reshape(-1, 8, 8, 1) / 16)
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Conv2D(32, 3, activation="relu"),
            keras.layers.Flatten(),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(images[500:], labels[500:], epochs=20, verbose=0)
    return model, images[:500], labels[:500]


def given(model_file, arrays_file):
    """Return the classifier, the images and the labels of two files."""
    try:
        arrays = np.load(arrays_file)
        return keras.saving.load_model(model_file, compile=False), arrays["images"], arrays["labels"]
    except (ValueError, KeyError, IndexError) as error:
        raise UserError(
            f"{model_file}, {arrays_file}: expected a Keras model and arrays `images` and `labels` ({error})"
        ) from None


def main(words):
    """Find, print and draw the turning strengths."""
    if len(words) not in (0, 2):
        raise UserError("expected two files, my_model.keras and my_arrays.npz, or nothing for the digits")
    model, images, labels = given(*words) if words else digits()
    figure, rows = Figure(figsize=(4.5, 3), layout="constrained"), []
    axes = figure.subplots()
    for name, title in ATTACKS.items():
        found = turning_strength(model, images, labels, name)
        right, turned = found.status != "wrong before", np.isin(found.status, ["turned", "left-censored"])
        change = attack(model, images, labels, name, np.nan_to_num(found.strength)) - images
        l2 = np.linalg.norm(change.reshape(len(change), -1), axis=1)
        # An image that nothing turns counts as infinitely far from it.
        strength, l2 = (np.where(turned, values, np.inf)[right] for values in (found.strength, l2))
        rows.append(
            {
                "step": title,
                "right before": right.sum(),
                "turned": turned.sum(),
                "median strength": np.median(strength),
                "median L2": np.median(l2),
            }
        )
        axes.step(np.sort(strength), np.arange(1, len(strength) + 1) / len(strength), where="post", label=title)
    print(pd.DataFrame(rows).to_string(index=False, float_format="%.3f"))
    axes.set(xscale="log", xlabel="strength of the step", ylabel="share of images turned", ylim=(0, 1))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.savefig("your_model.png", dpi=200)
    return 0


if __name__ == "__main__":
    raise SystemExit(run(main, sys.argv[1:]))
