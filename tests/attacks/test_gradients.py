"""The gradient of the loss with respect to the films, against derivatives in float64."""

import os
import subprocess
import sys

import numpy as np
import pytest
from tiny import LinearSoftmax

from nosign.attacks.gradients import compiled_gradient
from nosign.backend import check_precision, compiled_logits, describe_device, select_device, to_numpy
from nosign.errors import UserError

on_tensorflow = pytest.mark.skipif(
    os.environ.get("KERAS_BACKEND", "tensorflow") != "tensorflow", reason="needs Keras on TensorFlow"
)

SHAPE = (6, 5, 3)


def exact_gradient(model, film, label):
    """Return the gradient of the log-odds against a label, float64: cross-entropy's over sigmoid(m), which is 1 - p."""
    logits = model.logits(film[None])[0]
    probabilities = np.exp(logits - logits.max())
    return model.gradient(film, label) / (1 - probabilities[label] / probabilities.sum())


def one_hot(labels):
    return np.eye(3, dtype=np.float32)[labels]


def random_films(films, seed=0):
    return np.random.default_rng(seed).random((films, *SHAPE), dtype=np.float32)


@pytest.fixture(scope="module")
def linear():
    """A linear softmax classifier and its compiled gradient."""
    model = LinearSoftmax(SHAPE, seed=1)
    return model, compiled_gradient(model.logits_model())


@pytest.fixture(scope="module")
def noisy():
    """A model whose batch normalisation and dropout would both act in training mode, and its parts."""
    import keras

    keras.utils.set_random_seed(2)
    films = keras.Input(SHAPE)
    normalise, dense = keras.layers.BatchNormalization(), keras.layers.Dense(3)
    x = keras.layers.Flatten()(keras.layers.Dropout(0.5)(normalise(films)))
    model = keras.Model(films, dense(x))
    rng = np.random.default_rng(3)
    normalise.set_weights([np.float32(rng.uniform(0.5, 2, 3)) for _ in range(4)])
    return model, normalise, dense


def test_gradient_of_a_linear_softmax_equals_its_derivative_in_float64(linear):
    model, gradient = linear
    films, labels = random_films(8), np.arange(8) % 3
    found = to_numpy(gradient(films, one_hot(labels))[0])
    expected = np.stack([exact_gradient(model, film, label) for film, label in zip(films, labels)])
    assert found.dtype == np.float32 and found.shape == films.shape
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


def test_gradient_comes_with_the_logits_of_the_same_films(linear):
    model, gradient = linear
    films = random_films(4)
    np.testing.assert_allclose(to_numpy(gradient(films, one_hot([0, 1, 2, 0]))[1]), model.logits(films), atol=1e-5)


def test_gradient_of_a_network_equals_finite_differences_in_float64():
    import keras

    keras.utils.set_random_seed(4)
    films = keras.Input(SHAPE)
    hidden, last = keras.layers.Dense(7, activation="tanh"), keras.layers.Dense(3)
    model = keras.Model(films, last(hidden(keras.layers.Flatten()(films))))
    film, label = random_films(1)[0], 2

    def loss(pixels):
        (w1, b1), (w2, b2) = ([np.float64(w) for w in layer.get_weights()] for layer in (hidden, last))
        logits = np.tanh(pixels @ w1 + b1) @ w2 + b2
        return np.log(np.exp(np.delete(logits, label, -1)).sum(-1)) - logits[..., label]

    pixels, step = np.float64(film).ravel(), 1e-6 * np.eye(film.size)
    expected = (loss(pixels + step) - loss(pixels - step)) / 2e-6
    found = to_numpy(compiled_gradient(model)(film[None], one_hot([label]))[0]).ravel()
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("batch", [1, 2, 5, 9])
def test_a_films_gradient_does_not_depend_on_its_neighbours_or_their_number(noisy, batch):
    gradient = compiled_gradient(noisy[0])
    films, labels = random_films(9), one_hot(np.arange(9) % 3)
    together = to_numpy(gradient(films, labels)[0])
    found = np.concatenate([to_numpy(gradient(films[i : i + batch], labels[i : i + batch])[0]) for i in range(0, 9, batch)])
    np.testing.assert_allclose(found, together, atol=1e-6 * np.abs(together).max())
    strangers = np.concatenate([films[:1], 100 * random_films(batch, seed=5)])
    found = to_numpy(gradient(strangers, one_hot(np.arange(batch + 1) % 3))[0])[0]
    np.testing.assert_allclose(found, together[0], atol=1e-6 * np.abs(together).max())


def test_gradient_and_logits_use_the_moving_averages_and_no_dropout(noisy):
    model, normalise, dense = noisy
    gamma, beta, mean, variance = (np.float64(w) for w in normalise.get_weights())
    kernel, bias = (np.float64(w) for w in dense.get_weights())
    films, labels = random_films(5), np.arange(5) % 3
    scale = gamma / np.sqrt(variance + normalise.epsilon)
    logits = ((films - mean) * scale + beta).reshape(5, -1) @ kernel + bias
    probabilities = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    share = (probabilities - np.eye(3)[labels]) / (1 - probabilities[np.arange(5), labels, None])
    expected = (share @ kernel.T).reshape(films.shape) * scale
    found, found_logits = map(to_numpy, compiled_gradient(model)(films, one_hot(labels)))
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())
    np.testing.assert_allclose(found_logits, logits, atol=1e-4)
    np.testing.assert_allclose(to_numpy(compiled_logits(model)(films)), logits, atol=1e-4)


def test_gradient_leaves_the_models_weights_and_averages_as_they_are(noisy):
    model = noisy[0]
    before = model.get_weights()
    compiled_gradient(model)(random_films(5), one_hot([0, 1, 2, 0, 1]))
    compiled_logits(model)(random_films(5))
    for old, new in zip(before, model.get_weights()):
        np.testing.assert_array_equal(new, old)


def test_gradient_survives_logits_at_which_the_softmax_is_saturated():
    # exp(-200) is zero in float32: on probabilities the gradient of a film that is right would be exactly zero.
    kernel = np.random.default_rng(6).normal(size=(90, 3)) * 60
    model = LinearSoftmax(SHAPE, kernel=kernel, bias=np.zeros(3))
    films = random_films(6)
    wrong = model.logits(films).argmin(-1)
    found = to_numpy(compiled_gradient(model.logits_model())(films, one_hot(wrong))[0])
    expected = np.stack([exact_gradient(model, film, label) for film, label in zip(films, wrong)])
    assert np.all(np.abs(expected).reshape(6, -1).max(1) > 1)
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


@on_tensorflow
def test_the_device_is_set_to_repeatable_true_float32():
    import tensorflow

    device = select_device()
    assert set(device) == {"backend", "device", "accelerator", "onednn", "precision", "precision_error"}
    assert device["precision"] == "float32"
    assert 0 <= device["precision_error"] < 1e-6
    assert not tensorflow.config.experimental.tensor_float_32_execution_enabled()
    assert select_device() == device


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("operation", ["conv", "matmul"])
def test_a_device_that_computes_with_fewer_bits_is_refused(monkeypatch, dtype, operation):
    from keras import ops

    exact = getattr(ops, operation)
    monkeypatch.setattr(ops, operation, lambda a, b, **options: exact(ops.cast(ops.cast(a, dtype), "float32"), b, **options))
    with pytest.raises(UserError, match="too coarse for strengths"):
        check_precision()


def test_the_smallest_strength_changes_the_logits_as_float64_says():
    import keras

    from nosign.classifiers import build

    select_device()
    size, strength = 32, 0.0005
    single = build.logits_of(build.build("VGG16", size, seed=5))
    keras.config.set_dtype_policy("float64")
    try:
        double = build.logits_of(build.build("VGG16", size, seed=5))
    finally:
        keras.config.set_dtype_policy("float32")
    double.set_weights([np.float64(weight) for weight in single.get_weights()])
    films = np.random.default_rng(61).uniform(0.1, 0.9, (4, size, size, 3)).astype(np.float32)
    labels = np.eye(3, dtype=np.float32)[[0, 1, 2, 0]]
    changed = films + strength * np.sign(to_numpy(compiled_gradient(single)(films, labels)[0])).astype(np.float32)
    found = to_numpy(compiled_logits(single)(changed)) - to_numpy(compiled_logits(single)(films))
    before, after = (to_numpy(compiled_logits(double)(np.float64(array))) for array in (films, changed))
    assert after.dtype == np.float64
    np.testing.assert_allclose(found, after - before, atol=1e-3 * np.abs(after - before).max())


ONEDNN = """
import hashlib
import numpy as np
from nosign.attacks.gradients import compiled_gradient
from nosign.backend import select_device, to_numpy
from nosign.classifiers import build

device = select_device()
model = build.logits_of(build.build("InceptionV3", 75, seed=3))
films = np.random.default_rng(4).random((4, 75, 75, 3), dtype=np.float32)
gradient = to_numpy(compiled_gradient(model)(films, np.eye(3, dtype=np.float32)[[0, 1, 2, 0]])[0])
digest = hashlib.sha256(gradient.tobytes()).hexdigest()
print(device["onednn"], device["precision_error"] < 1e-6, digest, np.abs(gradient).max() > 0)
"""


def in_a_process(root, **environment):
    """Return the words that `ONEDNN` prints in a process of its own."""
    clean = {name: value for name, value in os.environ.items() if name != "TF_ENABLE_ONEDNN_OPTS"}
    done = subprocess.run(
        [sys.executable, "-c", ONEDNN], cwd=root, env={**clean, **environment}, capture_output=True, text=True, check=True
    )
    return done.stdout.split()


@on_tensorflow
def test_onednn_is_on_by_itself_repeatable_and_truly_float32(root):
    first, second = (in_a_process(root) for _ in range(2))
    assert first == second and (first[0], first[1], first[3]) == ("True", "True", "True")


@on_tensorflow
def test_onednn_stays_off_where_the_user_says_so(root):
    assert in_a_process(root, TF_ENABLE_ONEDNN_OPTS="0")[:2] == ["False", "True"]


@pytest.mark.parametrize("onednn, line", [(True, ", oneDNN on)"), (False, ", oneDNN off)"), (None, "tensorflow)")])
def test_the_device_line_says_whether_onednn_is_on(onednn, line):
    device = {"device": "CPU, 2 cores", "backend": "tensorflow", "onednn": onednn}
    assert describe_device(device).startswith("device: CPU, 2 cores (Keras on tensorflow") and describe_device(device).endswith(
        line
    )
