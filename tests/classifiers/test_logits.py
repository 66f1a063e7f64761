"""A classifier's logits: found in whatever way a model ends, or refused."""

import numpy as np
import pytest
from scipy.special import expit, log_softmax
from tiny import LinearSoftmax, reference_attack

from nosign import attack
from nosign.backend import to_numpy
from nosign.classifiers.logits import find_logits
from nosign.errors import AttackWarning, UserError

SHAPE = (6, 5, 1)
LINEAR = LinearSoftmax(SHAPE, seed=31)
OTHER = LinearSoftmax(SHAPE, seed=32)
IMAGES = np.random.default_rng(33).uniform(0.2, 0.8, (9, *SHAPE)).astype(np.float32)


def dense(features, weights=LINEAR, layer=None, **options):
    """Apply a dense layer that computes what `weights` does."""
    import keras

    layer = layer or keras.layers.Dense(weights.kernel.shape[1], **options)
    outputs = layer(features)
    layer.set_weights([np.float32(weights.kernel), np.float32(weights.bias)])
    return outputs


def ending(end):
    """Return the model whose output is a function of its flat input."""
    import keras

    inputs = keras.Input(SHAPE)
    return keras.Model(inputs, end(keras.layers.Flatten()(inputs)))


def shared_softmax(features):
    import keras

    softmax = keras.layers.Softmax()
    softmax(dense(features, OTHER))
    return softmax(dense(features))


def behind(*layers):
    """Return a Sequential of layers in front of and behind a classifier, and not built yet."""
    import keras

    inner = ending(lambda x: dense(x, activation="softmax"))
    return keras.Sequential([inner if layer is None else layer for layer in layers])


def subclassed_dense(features):
    import keras

    class Halved(keras.layers.Dense):
        def call(self, inputs, training=None):
            return self.activation(keras.ops.matmul(inputs, self.kernel / 2) * 2 + self.bias)

    return dense(features, layer=Halved(3, activation="softmax"))


def endings():
    """Return functions that make the same classifier, its softmax in every place that Keras has for one."""
    import keras
    import tensorflow
    from keras import layers, ops

    def nested_twice():
        inner = ending(lambda x: dense(x, activation="softmax"))
        return keras.Sequential([keras.Input(SHAPE), layers.Rescaling(1.0), keras.Sequential([inner, layers.Reshape((3,))])])

    return {
        "logits": lambda: ending(dense),
        "activation": lambda: ending(lambda x: dense(x, activation="softmax")),
        "function as activation": lambda: ending(lambda x: dense(x, activation=tensorflow.nn.softmax)),
        "Softmax object as activation": lambda: ending(lambda x: dense(x, activation=layers.Softmax())),
        "Softmax layer": lambda: ending(lambda x: layers.Softmax()(dense(x))),
        "Activation layer": lambda: ending(lambda x: layers.Activation("softmax")(dense(x))),
        "operation": lambda: ending(lambda x: ops.softmax(dense(x))),
        "Lambda": lambda: ending(lambda x: layers.Lambda(lambda t: tensorflow.nn.softmax(t))(dense(x))),
        "cast behind": lambda: ending(lambda x: layers.Activation("linear", dtype="float32")(dense(x, activation="softmax"))),
        "dropout behind": lambda: ending(lambda x: layers.Dropout(0.5)(dense(x, activation="softmax"))),
        "temperature": lambda: ending(lambda x: ops.softmax(dense(x) * 2 / 2)),
        "shared softmax layer": lambda: ending(shared_softmax),
        "subclassed dense": lambda: ending(subclassed_dense),
        "convolution": lambda: ending(
            lambda x: layers.Flatten()(
                dense(
                    layers.Reshape((1, 30))(x),
                    layer=layers.EinsumDense("abc,cd->abd", (None, 3), bias_axes="d", activation="softmax"),
                )
            )
        ),
        "behind a Rescaling": lambda: behind(keras.layers.Rescaling(1.0), None),
        "nested twice": nested_twice,
    }


NAMES = [
    "logits",
    "activation",
    "function as activation",
    "Softmax object as activation",
    "Softmax layer",
    "Activation layer",
    "operation",
    "Lambda",
    "cast behind",
    "dropout behind",
    "temperature",
    "shared softmax layer",
    "subclassed dense",
    "convolution",
    "behind a Rescaling",
    "nested twice",
]


@pytest.mark.filterwarnings("error::nosign.errors.AttackWarning")
@pytest.mark.parametrize("name", NAMES)
def test_the_logits_are_found_wherever_the_softmax_stands(name):
    found = find_logits(endings()[name](), IMAGES)
    np.testing.assert_allclose(to_numpy(found(IMAGES)), LINEAR.logits(IMAGES), rtol=1e-4, atol=1e-4)


def test_every_ending_is_tried():
    assert sorted(endings()) == sorted(NAMES)


def test_a_quantised_layers_logits_are_its_own():
    import keras

    model = ending(lambda x: dense(x, activation="softmax"))
    model.layers[-1].quantize("int8")
    found = to_numpy(find_logits(model, IMAGES)(IMAGES))
    np.testing.assert_allclose(log_softmax(found, axis=1), np.log(to_numpy(model(IMAGES))), atol=1e-4)
    # Quantised, not the float weights' logits.
    assert np.abs(found - LINEAR.logits(IMAGES)).max() > 1e-4
    assert isinstance(model.layers[-1].activation, type(keras.activations.softmax))


def test_found_logits_follow_the_models_weights():
    model = ending(lambda x: dense(x, activation="softmax"))
    found = find_logits(model, IMAGES)
    model.layers[-1].set_weights([np.float32(OTHER.kernel), np.float32(OTHER.bias)])
    np.testing.assert_allclose(to_numpy(found(IMAGES)), OTHER.logits(IMAGES), rtol=1e-4, atol=1e-4)


def ensembles(first, second):
    """Return functions that make the mean of two classifiers' softmaxes, weighted 1 to 1 or as the name says."""
    from keras import layers, ops

    def members(x):
        return dense(x, first, activation="softmax"), ops.softmax(dense(x, second))

    def weighted(x):
        one, other = members(x)
        return 0.3 * one + other * 0.7

    return {
        "Average": lambda x: layers.Average()(members(x)),
        "sum over two": lambda x: sum(members(x)) / 2,
        "mean of a stack": lambda x: ops.mean(ops.stack(members(x), axis=1), axis=1),
        "0.3": weighted,
    }


@pytest.mark.filterwarnings("error::nosign.errors.AttackWarning")
@pytest.mark.parametrize("name", ["Average", "sum over two", "mean of a stack", "0.3"])
@pytest.mark.parametrize("scale", [1, 30])
def test_an_ensemble_is_followed_through_its_members_log_softmaxes(name, scale):
    both = [LinearSoftmax(SHAPE, kernel=scale * each.kernel, bias=scale * each.bias) for each in (LINEAR, OTHER)]
    shares = np.log([0.3, 0.7] if name == "0.3" else [0.5, 0.5])
    expected = np.logaddexp(*(share + log_softmax(each.logits(IMAGES), axis=1) for share, each in zip(shares, both)))
    found = to_numpy(find_logits(ending(ensembles(*both)[name]), IMAGES)(IMAGES))
    np.testing.assert_allclose(log_softmax(np.float64(found), axis=1), expected, rtol=1e-4, atol=1e-3)


def test_an_ensemble_whose_members_are_not_found_is_followed_through_the_log_of_its_output():
    import keras

    class Opaque(keras.layers.Layer):
        def __init__(self, weights):
            super().__init__()
            self.dense = keras.layers.Dense(3)
            self.given = weights

        def build(self, shape):
            self.dense.build(shape)
            self.dense.set_weights([np.float32(self.given.kernel), np.float32(self.given.bias)])

        def call(self, inputs):
            return keras.ops.softmax(self.dense(inputs))

    model = ending(lambda x: keras.layers.Average()([Opaque(LINEAR)(x), Opaque(OTHER)(x)]))
    with pytest.warns(AttackWarning, match="its logits were not found"):
        found = find_logits(model, IMAGES)
    np.testing.assert_allclose(to_numpy(found(IMAGES)), np.log(to_numpy(model(IMAGES))), atol=1e-5)


def binary_reference(image, label, column):
    """Attack by the formula: the logits 0 and z have the gradient of z or of -z."""
    gradient = OTHER.kernel[:, column].reshape(SHAPE) * (1 if label == 0 else -1)
    step = gradient * np.sqrt(np.count_nonzero(gradient)) / np.linalg.norm(gradient)
    return np.clip(image + 0.02 * step, 0, 1)


@pytest.mark.parametrize("ends", ["sigmoids", "joined heads", "logits", "mean of two"])
def test_one_finding_of_a_multi_label_model_is_attacked(ends):
    import keras

    def column(x, k):
        layer = keras.layers.Dense(1, activation="sigmoid")
        outputs = layer(x)
        layer.set_weights([np.float32(OTHER.kernel[:, [k]]), np.float32(OTHER.bias[[k]])])
        return outputs

    model = ending(
        {
            "sigmoids": lambda x: dense(x, OTHER, activation="sigmoid"),
            "joined heads": lambda x: keras.layers.Concatenate()([column(x, k) for k in range(3)]),
            "logits": lambda x: dense(x, OTHER),
            "mean of two": lambda x: keras.layers.Average()([dense(x, OTHER, activation="sigmoid") for _ in "12"]),
        }[ends]
    )
    found = to_numpy(find_logits(model, IMAGES, finding=1)(IMAGES))
    np.testing.assert_allclose(found[:, 1] - found[:, 0], OTHER.logits(IMAGES)[:, 1], atol=1e-4)
    labels = np.array([0, 1, 1] * 3)
    expected = [binary_reference(image, label, 1) for image, label in zip(IMAGES, labels)]
    np.testing.assert_allclose(attack(model, IMAGES, labels, "fgnm", 0.02, finding=1), expected, atol=1e-5)
    # Whose columns are which findings, nobody knows here.
    with pytest.raises(UserError, match=r"one-hot \(9, 2\), received int64 \(9, 3\)"):
        attack(model, IMAGES, np.stack([1 - labels, labels, labels * 0], axis=1), "fgnm", 0.02, finding=1)


@pytest.mark.parametrize("activation, logits", [("sigmoid", None), ("sigmoid", False), (None, True)])
def test_one_output_is_two_classes(activation, logits):
    one = LinearSoftmax(SHAPE, kernel=OTHER.kernel[:, :1], bias=OTHER.bias[:1])
    model = ending(lambda x: dense(x, one, activation=activation))
    labels = np.array([0, 1, 1] * 3)
    found = attack(model, IMAGES, labels[:, None], "fgnm", 0.02, logits=logits)
    np.testing.assert_allclose(found, [binary_reference(*pair, 0) for pair in zip(IMAGES, labels)], atol=1e-5)


def test_a_sure_sigmoid_has_a_gradient():
    one = LinearSoftmax(SHAPE, kernel=500 * OTHER.kernel[:, :1], bias=500 * OTHER.bias[:1])
    model = ending(lambda x: dense(x, one, activation="sigmoid"))
    labels = (one.logits(IMAGES)[:, 0] > 0).astype(int)
    assert (np.abs(one.logits(IMAGES)) > 100).any() and not ((expit(one.logits(IMAGES))[:, 0] > 0.5) != labels).any()
    found = attack(model, IMAGES, labels, "fgnm", 0.02)
    np.testing.assert_allclose(found, [binary_reference(*pair, 0) for pair in zip(IMAGES, labels)], atol=1e-5)


class Subclassed:
    """Makes a model of which Keras knows no graph."""

    def __new__(cls, activation):
        import keras

        class Model(keras.Model):
            def __init__(self):
                super().__init__()
                self.flatten, self.last = keras.layers.Flatten(), keras.layers.Dense(3)

            def call(self, inputs, training=None):
                found = self.last(self.flatten(inputs))
                return keras.ops.softmax(found) if activation else found

        model = Model()
        model(IMAGES)
        model.last.set_weights([np.float32(LINEAR.kernel), np.float32(LINEAR.bias)])
        return model


@pytest.mark.parametrize("wrap", [lambda model: model, lambda model: lambda images: model(images)], ids=["model", "function"])
@pytest.mark.parametrize("activation, logits", [(False, True), (True, False)])
@pytest.mark.filterwarnings("ignore:.*its logits were not found")
def test_subclassed_models_and_functions_are_attacked_once_it_is_said_what_they_give(wrap, activation, logits):
    labels = LINEAR.logits(IMAGES).argmax(-1)
    found = attack(wrap(Subclassed(activation)), IMAGES, labels, "fgnm", 0.02, logits=logits)
    expected = [
        reference_attack(LINEAR, "fgnm", image, label, 0.02, protocol="paper", steps=1, noise=0)
        for image, label in zip(IMAGES, labels)
    ]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def refused():
    """Return what is no classifier, or not clearly one: model, options, and what the message says."""
    import keras
    from keras import layers, ops

    inputs = keras.Input(SHAPE)
    flat = layers.Flatten()(inputs)
    softmax = dense(flat, activation="softmax")
    return {
        "two heads": (keras.Model(inputs, [softmax, dense(flat)]), {}, r"has 2 outputs; .*model.outputs\[0\]"),
        "two inputs": (keras.Model([inputs, keras.Input((3,), name="age")], softmax), {}, "has 2 inputs"),
        "multi-label": (ending(lambda x: dense(x, activation="sigmoid")), {}, "multi-label.*finding=k"),
        "one linear output": (ending(layers.Dense(1)), {}, "log-odds of class 1"),
        "leaky": (ending(lambda x: layers.LeakyReLU()(dense(x))), {}, "logits=True"),
        "relu": (ending(lambda x: dense(x, activation="relu")), {}, "logits=True"),
        "scaled softmax": (ending(lambda x: 100 * dense(x, activation="softmax")), {}, "logits=True"),
        "softmax over the images": (ending(lambda x: ops.softmax(dense(x), axis=0)), {}, "do not sum to 1"),
        "images": (keras.Model(inputs, layers.Dense(3)(inputs)), {}, r"outputs of shape \(8, 6, 5, 3\)"),
        "probabilities as logits": (keras.Model(inputs, softmax), {"logits": True}, "probabilities, not logits"),
        "logits as probabilities": (ending(dense), {"logits": False}, "no probabilities, they range"),
        "finding of a softmax": (keras.Model(inputs, softmax), {"finding": 0}, "leave it out"),
        "finding too many": (ending(lambda x: dense(x, activation="sigmoid")), {"finding": 3}, "from 0 to 2"),
        "no model": ("VGG16", {}, "expected a Keras model"),
    }


@pytest.mark.parametrize(
    "name",
    [
        "two heads",
        "two inputs",
        "multi-label",
        "one linear output",
        "leaky",
        "relu",
        "scaled softmax",
        "softmax over the images",
        "images",
        "probabilities as logits",
        "logits as probabilities",
        "finding of a softmax",
        "finding too many",
        "no model",
    ],
)
def test_what_is_not_clear_is_refused_with_advice(name):
    model, options, message = refused()[name]
    with pytest.raises(UserError, match=message):
        attack(model, IMAGES, np.zeros(len(IMAGES), int), **options)


def test_leaky_outputs_are_attacked_once_they_are_named_logits():
    model, _, _ = refused()["leaky"]
    assert attack(model, IMAGES, np.zeros(len(IMAGES), int), logits=True).shape == IMAGES.shape


def test_a_random_model_is_named():
    import keras

    class AlwaysDropout(keras.layers.Dropout):
        def call(self, inputs, training=False):
            return super().call(inputs, training=True)

    model = ending(lambda x: dense(AlwaysDropout(0.5)(x), activation="softmax"))
    with pytest.warns(AttackWarning, match="differ between two calls.*random"):
        attack(model, IMAGES, np.zeros(len(IMAGES), int))


def test_where_a_model_is_sure_of_every_image_the_graph_alone_decides_and_says_so():
    far = LinearSoftmax(SHAPE, kernel=LINEAR.kernel, bias=LINEAR.bias + [0, 0, 100])
    model = ending(lambda x: dense(x, far, activation="softmax"))
    with pytest.warns(AttackWarning, match="could not be compared"):
        found = find_logits(model, IMAGES)
    np.testing.assert_allclose(to_numpy(found(IMAGES)), far.logits(IMAGES), rtol=1e-4, atol=1e-4)


def test_a_graph_that_misleads_is_caught_by_value():
    import keras

    class Sharpened(keras.Model):
        """Computes something else than its graph says."""

        def call(self, inputs, training=None):
            return keras.ops.softmax(3 * keras.ops.log(super().call(inputs, training=training)))

    inputs = keras.Input(SHAPE)
    model = Sharpened(inputs, dense(keras.layers.Flatten()(inputs), activation="softmax"))
    with pytest.warns(AttackWarning, match="its logits were not found"):
        found = find_logits(model, IMAGES)
    np.testing.assert_allclose(
        log_softmax(to_numpy(found(IMAGES)), axis=1), log_softmax(3 * LINEAR.logits(IMAGES), axis=1), atol=1e-4
    )
