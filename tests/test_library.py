"""`from nosign import attack`: any Keras classifier, its logits found, every setting checked."""

import subprocess
import sys

import numpy as np
import pytest
from tiny import LinearSoftmax, reference_attack

import nosign
from nosign import attack
from nosign.attacks import ATTACKS, CONTROLS
from nosign.classifiers import logits_of
from nosign.errors import UserError

SHAPE = (6, 5, 1)


@pytest.fixture(scope="module")
def linear():
    """A linear softmax, nine images and the labels it gives them."""
    model = LinearSoftmax(SHAPE, seed=31)
    images = np.random.default_rng(32).uniform(0.2, 0.8, (9, *SHAPE)).astype(np.float32)
    return model, images, model.logits(images).argmax(-1)


def keras_models(linear):
    """Return the same classifier with its softmax in every usual place."""
    import keras

    kernel, bias = np.float32(linear.kernel), np.float32(linear.bias)

    def model(*last):
        made = keras.Sequential([keras.Input(SHAPE), keras.layers.Flatten(), *last])
        made.layers[1].set_weights([kernel, bias])
        return made

    dense = keras.layers.Dense
    functional = keras.Input(SHAPE)
    outputs = dense(3, activation="softmax", name="end")(keras.layers.Flatten()(functional))
    functional = keras.Model(functional, outputs)
    functional.layers[-1].set_weights([kernel, bias])
    return {"dense softmax": model(dense(3, activation="softmax")), "functional": functional,
            "softmax layer": model(dense(3), keras.layers.Softmax()),
            "activation layer": model(dense(3), keras.layers.Activation("softmax")), "logits": model(dense(3))}


@pytest.mark.parametrize("name", ["dense softmax", "functional", "softmax layer", "activation layer", "logits"])
def test_the_logits_of_a_classifier_are_found(linear, name):
    model, images, _ = linear
    found = logits_of(keras_models(model)[name])
    np.testing.assert_allclose(found.predict_on_batch(images), model.logits(images), rtol=1e-4, atol=1e-4)


def test_found_logits_follow_the_models_weights(linear):
    model, images, _ = linear
    trained = keras_models(model)["dense softmax"]
    found = logits_of(trained)
    trained.layers[-1].set_weights([2 * np.float32(model.kernel), 2 * np.float32(model.bias)])
    np.testing.assert_allclose(found.predict_on_batch(images), 2 * model.logits(images), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", [name for name in ATTACKS if name not in CONTROLS])
@pytest.mark.parametrize("batch", [1, 4, 64])
def test_every_attack_equals_the_slow_reference_in_any_batch(linear, name, batch):
    model, images, labels = linear
    found = attack(keras_models(model)["dense softmax"], images, labels, name, 0.02, steps=3, seed=5, batch=batch)
    noise = [np.random.default_rng([5, row]).random(SHAPE, dtype=np.float32) * 2.0 - 1.0 for row in range(len(images))]
    expected = [reference_attack(model, name, image, label, 0.02, protocol="paper", steps=3, noise=start)
                for image, label, start in zip(images, labels, noise)]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_strengths_an_image_norm_protocol_and_target_are_passed_on(linear):
    model, images, labels = linear
    strengths = np.linspace(0, 0.05, len(images))
    found = attack(keras_models(model)["functional"], images, (labels + 1) % 3, "binm", strengths, protocol="budget", norm="l2",
                   targeted=True, steps=4, batch=4)
    expected = [reference_attack(model, "binm", image, label, strength, protocol="budget", norm="l2", targeted=True, steps=4,
                                 noise=0) for image, label, strength in zip(images, (labels + 1) % 3, strengths)]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_grey_is_passed_on():
    model = LinearSoftmax((4, 4, 3), seed=8)
    images = np.full((2, 4, 4, 3), 0.5, np.float32)
    change = attack(model.logits_model(), images, [0, 1], "fgnm", 0.01, grey=True) - images
    assert np.ptp(change, axis=-1).max() < 1e-7 < np.abs(change).max()


def test_a_model_trained_further_between_two_calls_is_attacked_as_it_is(linear):
    model, images, labels = linear
    trained = keras_models(model)["dense softmax"]
    attack(trained, images, labels, "fgnm", 0.02)
    other = LinearSoftmax(SHAPE, seed=33)
    trained.layers[-1].set_weights([np.float32(other.kernel), np.float32(other.bias)])
    found = attack(trained, images, labels, "fgnm", 0.02)
    expected = [reference_attack(other, "fgnm", image, label, 0.02, protocol="paper", steps=1, noise=0)
                for image, label in zip(images, labels)]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_no_images_give_no_images(linear):
    model, images, labels = linear
    assert attack(keras_models(model)["logits"], images[:0], labels[:0]).shape == (0, *SHAPE)


WRONG = {
    "attack": (dict(name="deepfool"), "expected one of fgsm"),
    "strength": (dict(strength=-1), "at least 0"),
    "NaN": (dict(strength=np.nan), "at least 0"),
    "strengths": (dict(strength=[0.1, 0.2]), "one for each of 9"),
    "protocol": (dict(protocol="free"), "paper, budget"),
    "norm": (dict(norm="l1"), "linf, l2"),
    "steps": (dict(steps=0, name="bim"), "whole number of at least 1"),
    "labels": (dict(labels=[0, 1]), "9 whole numbers"),
    "class": (dict(labels=np.full(9, 3)), "classes from 0 to 2"),
    "one-hot": (dict(labels=np.eye(3)[np.zeros(9, int)]), "9 whole numbers"),
    "range": (dict(images=np.full((9, *SHAPE), 255.0)), r"\[0, 1\]"),
    "shape": (dict(images=np.zeros((9, 4, 4, 1))), "the model's shape"),
}


@pytest.mark.parametrize("wrong, message", WRONG.values(), ids=WRONG)
def test_what_makes_no_sense_is_refused(linear, wrong, message):
    model, images, labels = linear
    arguments = {"images": images, "labels": labels, **wrong}
    with pytest.raises(UserError, match=message):
        attack(keras_models(model)["functional"], arguments.pop("images"), arguments.pop("labels"), **arguments)


def test_a_model_whose_logits_cannot_be_found_is_refused_until_they_are_named(linear):
    import keras

    model, images, labels = linear
    inputs = keras.Input(SHAPE)
    odd = keras.Model(inputs, keras.layers.LeakyReLU()(model.logits_model()(inputs)))
    with pytest.raises(UserError, match="logits=True"):
        attack(odd, images, labels)
    assert attack(odd, images, labels, logits=True).shape == images.shape
    with pytest.raises(UserError, match="neither a softmax"):
        attack(model.logits_model(), images, labels, logits=False)


def test_importing_the_package_loads_no_keras(root):
    code = "import sys, nosign; from nosign import attack; sys.exit('keras' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=root).returncode == 0
    with pytest.raises(AttributeError, match="has no attribute"):
        nosign.defend


def test_the_example_runs_and_stronger_attacks_leave_less(root):
    done = subprocess.run([sys.executable, "examples/digits.py"], cwd=root, capture_output=True, text=True, check=True)
    clean, _, *rows = done.stdout.splitlines()
    assert float(clean.split()[1]) > 90
    left = np.array([[float(word) for word in row.split()] for row in rows])
    assert (np.diff(left[:, 1:], axis=0) <= 1).all() and left[-1, 1:].max() < float(clean.split()[1]) / 2
