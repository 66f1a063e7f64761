"""Attack one's own model: a small network, trained here on scikit-learn's handwritten digits, in half a minute.

python -m examples.digits, from a checkout; after `pip install .` also python examples/digits.py, from any folder
"""

import keras
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from nosign import attack

STRENGTHS = (0.02, 0.05, 0.1, 0.2)
PAIRS = (("fgsm", "fgnm"), ("bim", "binm"))


def main():
    """Train, attack and print the accuracy that each attack leaves."""
    keras.utils.set_random_seed(0)
    digits = load_digits()
    images = (digits.images / 16).astype("float32")[..., None]
    x_train, x_test, y_train, y_test = train_test_split(images, digits.target, random_state=0)

    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Conv2D(32, 3, activation="relu"),
            keras.layers.Conv2D(32, 3, activation="relu"),
            keras.layers.Flatten(),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(x_train, y_train, epochs=15, verbose=0)

    def accuracy(films):
        return 100 * (model.predict(films, verbose=0).argmax(-1) == y_test).mean()

    print(f"clean: {accuracy(x_test):.1f} % of {len(y_test)} digits right")
    print("strength" + "".join(f"{name:>8}" for pair in PAIRS for name in pair))
    for strength in STRENGTHS:
        # The budget protocol holds every attack to the same largest change of a pixel.
        left = [accuracy(attack(model, x_test, y_test, name, strength, protocol="budget")) for pair in PAIRS for name in pair]
        print(f"{strength:8g}" + "".join(f"{percent:8.1f}" for percent in left))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
