"""`from nosign import attack`: any Keras classifier, its logits found, every setting checked."""

import copy
import gc
import json
import os
import subprocess
import sys
import warnings
import weakref

import numpy as np
import pytest
from tiny import LinearSoftmax, reference_attack

import nosign
from nosign import attack, turning_strength
from nosign.attacks.catalogue import ATTACKS, UNIVERSAL
from nosign.errors import AttackWarning, UserError

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
    return {
        "dense softmax": model(dense(3, activation="softmax")),
        "functional": functional,
        "softmax layer": model(dense(3), keras.layers.Softmax()),
        "activation layer": model(dense(3), keras.layers.Activation("softmax")),
        "logits": model(dense(3)),
    }


@pytest.mark.parametrize("name", [name for name, row in ATTACKS.items() if not (row.follows_field or row.adaptive)])
@pytest.mark.parametrize("batch", [1, 4, 64])
def test_every_attack_equals_the_slow_reference_in_any_batch(linear, name, batch):
    model, images, labels = linear
    found = attack(keras_models(model)["dense softmax"], images, labels, name, 0.02, steps=3, seed=5, batch=batch)
    noise = [np.random.default_rng([5, row]).random(SHAPE, dtype=np.float32) * 2.0 - 1.0 for row in range(len(images))]
    expected = [
        reference_attack(model, name, image, label, 0.02, protocol="paper", steps=3, noise=start)
        for image, label, start in zip(images, labels, noise)
    ]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_strengths_an_image_norm_protocol_and_target_are_passed_on(linear):
    model, images, labels = linear
    strengths = np.linspace(0, 0.05, len(images))
    found = attack(
        keras_models(model)["functional"],
        images,
        (labels + 1) % 3,
        "binm",
        strengths,
        protocol="budget",
        norm="l2",
        targeted=True,
        steps=4,
        step_factor=2,
        batch=4,
    )
    options = dict(protocol="budget", norm="l2", targeted=True, steps=4, step_factor=2, noise=0)
    expected = [
        reference_attack(model, "binm", image, label, strength, **options)
        for image, label, strength in zip(images, (labels + 1) % 3, strengths)
    ]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_more_random_starts_never_leave_an_image_farther_from_turning(linear):
    model, images, labels = linear

    def margins(restarts):
        found = attack(keras_models(model)["logits"], images, labels, "pgdnm", 0.02, restarts=restarts, steps=2, batch=4)
        logits = model.logits(found)
        return logits[range(len(labels)), labels] - np.where(np.eye(3)[labels] > 0, -np.inf, logits).max(1)

    once, often = margins(1), margins(4)
    assert (once > 0).any() and (often[once > 0] <= once[once > 0] + 1e-5).all() and (often[once > 0] < once[once > 0]).any()
    np.testing.assert_allclose(often[once < 0], once[once < 0], atol=1e-5)  # turned by the first start already


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
    expected = [
        reference_attack(other, "fgnm", image, label, 0.02, protocol="paper", steps=1, noise=0)
        for image, label in zip(images, labels)
    ]
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("bounds", [(-1024, 1024), (-2.5, 0.5)])
@pytest.mark.parametrize("protocol, norm", [("paper", "linf"), ("budget", "linf"), ("budget", "l2")])
def test_bounds_scale_an_attack_as_they_scale_its_images(bounds, protocol, norm):
    # The same linear classifier, once of images in [0, 1] and once of the same images in the bounds.
    low, high = bounds
    unit = LinearSoftmax(SHAPE, seed=31)
    wide = LinearSoftmax(SHAPE, kernel=unit.kernel / (high - low), bias=unit.bias - unit.kernel.sum(0) * low / (high - low))
    images = np.random.default_rng(34).random((7, *SHAPE), dtype=np.float32)
    labels = unit.logits(images).argmax(-1)
    options = dict(protocol=protocol, norm=norm, steps=3, batch=4)
    models = unit.logits_model(), wide.logits_model()
    for name in (name for name, row in ATTACKS.items() if not (row.universal or row.adaptive and protocol == "paper")):
        expected = attack(models[0], images, labels, name, 0.05, **options)
        found = attack(models[1], low + images * (high - low), labels, name, 0.05, bounds=bounds, **options)
        assert found.min() >= low and found.max() <= high
        np.testing.assert_allclose((found - low) / (high - low), expected, atol=2e-5, err_msg=name)


def test_turning_strengths_are_fractions_of_the_bounds():
    unit = LinearSoftmax(SHAPE, seed=31)
    wide = LinearSoftmax(SHAPE, kernel=unit.kernel / 2048, bias=unit.bias + unit.kernel.sum(0) / 2)
    images = np.random.default_rng(34).uniform(0.3, 0.7, (7, *SHAPE)).astype(np.float32)
    labels = unit.logits(images).argmax(-1)
    expected = turning_strength(unit.logits_model(), images, labels)
    found = turning_strength(wide.logits_model(), 2048 * images - 1024, labels, bounds=(-1024, 1024))
    assert (found.status == expected.status).all() and (found.status == "turned").any()
    np.testing.assert_allclose(found.strength, expected.strength, rtol=0.02)


def test_values_a_rounding_error_outside_the_bounds_are_clipped_and_others_stay_bit_for_bit(linear):
    model, images, labels = linear
    images = images.copy()
    images[0, 0, 0] = 1 + 9e-7
    images[1, 0, 0] = -9e-7
    found = attack(keras_models(model)["logits"], images, labels, "fgsm", 0)
    np.testing.assert_array_equal(found, np.clip(images, 0, 1))
    assert images[0, 0, 0, 0] > 1


def test_labels_may_have_any_usual_form(linear):
    model, images, labels = linear
    trained = keras_models(model)["functional"]
    expected = attack(trained, images, labels)
    for kind in (np.int32, np.uint8, np.float32):
        for form in (labels.astype(kind), labels[:, None].astype(kind), np.eye(3, dtype=kind)[labels]):
            np.testing.assert_array_equal(attack(trained, images, form), expected)


@pytest.mark.parametrize("shape", [(40,), (6, 7), (3, 4, 5, 2)], ids=["vectors", "without channels", "volumes"])
def test_images_of_any_shape_are_attacked_as_the_films_that_hold_the_same_values(shape):
    size = int(np.prod(shape))
    flat = LinearSoftmax((size, 1, 1), seed=37)
    model = LinearSoftmax(shape, kernel=flat.kernel, bias=flat.bias)
    images = np.random.default_rng(38).uniform(0.2, 0.8, (5, *shape)).astype(np.float32)
    labels = model.logits(images).argmax(-1)
    models = flat.logits_model(), model.logits_model()
    for name in (name for name, row in ATTACKS.items() if not (row.adaptive or row.universal)):
        found = attack(models[1], images, labels, name, 0.05, steps=2)
        assert found.shape == images.shape and np.abs(found - images).reshape(5, -1).max(1).min() > 0.01
        if name != "shuffled":  # which keeps the channels of a volume together
            expected = attack(models[0], images.reshape(5, size, 1, 1), labels, name, 0.05, steps=2)
            np.testing.assert_allclose(found.reshape(expected.shape), expected, atol=1e-6, err_msg=name)


def test_the_channel_axis_can_be_named():
    kernel = np.random.default_rng(8).normal(size=(3, 4, 4, 3))
    last = LinearSoftmax((4, 4, 3), kernel=np.moveaxis(kernel, 0, 2).reshape(48, 3))
    first = LinearSoftmax((3, 4, 4), kernel=kernel.reshape(48, 3))
    images = np.full((2, 4, 4, 3), 0.5, np.float32)
    for name in ("fgnm", "pgd", "shuffled"):
        expected = attack(last.logits_model(), images, [0, 1], name, 0.01, grey=name != "shuffled")
        found = attack(
            first.logits_model(), np.moveaxis(images, -1, 1), [0, 1], name, 0.01, grey=name != "shuffled", channels=1
        )
        if name == "pgd":  # its start is drawn in the images' own order
            assert np.ptp(found, axis=1).max() < 1e-6
        else:
            np.testing.assert_allclose(np.moveaxis(found, 1, -1), expected, atol=1e-6)
    with pytest.raises(UserError, match="grey: is for images with channels"):
        attack(LinearSoftmax((5,)).logits_model(), np.zeros((2, 5)), [0, 1], grey=True)


@pytest.mark.parametrize("policy, tolerance", [("mixed_float16", 1e-3), ("mixed_bfloat16", 5e-3), ("float64", 1e-6)])
def test_models_of_other_precisions_are_attacked_in_float32(linear, policy, tolerance):
    import keras

    model, images, labels = linear
    flatten, dense = keras.layers.Flatten(dtype=policy), keras.layers.Dense(3, activation="softmax", dtype=policy)
    trained = keras.Sequential([keras.Input(SHAPE), flatten, dense])
    dense.set_weights([np.float32(model.kernel), np.float32(model.bias)])
    found = attack(trained, images, labels, "fgnm", 0.02)
    expected = [
        reference_attack(model, "fgnm", image, label, 0.02, protocol="paper", steps=1, noise=0)
        for image, label in zip(images, labels)
    ]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=tolerance)


def rounding_models():
    """Return models of `SHAPE` through which no gradient comes back."""
    import keras

    whole, real = keras.Input(SHAPE, dtype="uint8"), keras.Input(SHAPE)
    dense = keras.layers.Dense(3)
    flat = keras.layers.Flatten()
    return {
        "uint8 input": keras.Model(whole, dense(flat(keras.layers.Rescaling(1.0)(whole)))),
        "rounding": keras.Model(real, dense(flat(keras.ops.round(real)))),
    }


@pytest.mark.parametrize("name", ["uint8 input", "rounding"])
def test_images_that_no_gradient_reaches_are_counted_in_one_warning(linear, name):
    _, images, labels = linear
    model = rounding_models()[name]
    for attacked in ("fgsm", "binm", "pgd", "shuffled"):
        with pytest.warns(AttackWarning, match="9 of 9 images have no gradient") as caught:
            attack(model, images, labels, attacked, batch=4)
        assert len(caught) == 1 and caught[0].filename == __file__


def test_only_the_images_without_a_gradient_are_counted(linear):
    import keras

    _, images, labels = linear
    inputs = keras.Input(SHAPE)
    dead = keras.layers.ReLU()(keras.layers.Rescaling(1.0, -0.5)(inputs))
    model = keras.Model(inputs, keras.layers.Dense(3)(keras.layers.Flatten()(dead)))
    images = images.copy()
    images[2:5] = 0.25
    with pytest.warns(AttackWarning, match="3 of 9 images have no gradient"):
        found = attack(model, images, labels, batch=4)
    assert [np.array_equal(*pair) for pair in zip(found, images)] == [2 <= i < 5 for i in range(9)]
    with pytest.warns(AttackWarning, match="3 of 9"):
        turning_strength(model, images, labels, batch=4)


def test_an_ordinary_attack_warns_of_nothing(linear):
    model, images, labels = linear
    # Within the call alone: what other tests left to the garbage collector is not this attack's.
    with warnings.catch_warnings(action="error"):
        for trained in keras_models(model).values():
            attack(trained, images, labels, "fgsm")


def test_models_in_turn_are_compiled_once_each_and_let_go(linear, tmp_path):
    model, images, labels = linear
    models = list(keras_models(model).values())
    calls = []
    for trained in models:
        attack(trained, images, labels)
    kept = [vars(trained)["_nosign"] for trained in models]
    programs = [next(iter(each.values()))[1] for each in kept]
    for trained in models:
        attack(trained, images, labels, "fgsm", 0.01)
    assert [next(iter(each.values()))[1] for each in kept] == programs and all(len(each) == 1 for each in kept)
    again = copy.deepcopy(models[0])
    models[0].save(tmp_path / "saved.keras")
    assert "_nosign" not in vars(again) or not vars(again)["_nosign"]
    gone = [weakref.ref(trained) for trained in models]
    del trained, models, kept, programs, calls
    gc.collect()
    assert not any(reference() for reference in gone)


def test_a_model_that_is_quantised_between_two_calls_is_attacked_as_it_is(linear):
    model, images, labels = linear
    trained = keras_models(model)["dense softmax"]
    before = attack(trained, images, labels, "fgnm", 0.02)
    trained.layers[-1].quantize("int8")
    found = attack(trained, images, labels, "fgnm", 0.02)
    assert 0 < np.abs(found - before).max() < 0.01


def test_a_users_keras_settings_break_nothing(root, tmp_path):
    settings = {"image_data_format": "channels_first", "floatx": "float64", "backend": "tensorflow", "epsilon": 1e-7}
    (tmp_path / "keras.json").write_text(json.dumps(settings))
    code = """
import numpy as np, keras
from nosign import attack
assert keras.config.floatx() == "float64" and keras.config.image_data_format() == "channels_first"
inputs = keras.Input((3, 8, 8))
x = keras.layers.Conv2D(4, 3, activation="tanh", data_format="channels_last")(keras.ops.transpose(inputs, (0, 2, 3, 1)))
model = keras.Model(inputs, keras.layers.Dense(3, activation="softmax")(keras.layers.Flatten()(x)))
images = np.random.default_rng(0).uniform(0.2, 0.8, (4, 3, 8, 8))
found = attack(model, images, [0, 1, 2, 0], "binm", 0.01, steps=2, grey=True, channels=1)
change = found - np.float32(images)
assert found.dtype == np.float32 and np.ptp(change, axis=1).max() < 1e-6 < np.abs(change).max()
from nosign.classifiers import build
from nosign.backend import select_device
select_device()
assert build.build("VGG16", 32).input_shape == (None, 32, 32, 3) and keras.config.floatx() == "float32"
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, env={**os.environ, "KERAS_HOME": str(tmp_path)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_no_images_give_no_images(linear):
    model, images, labels = linear
    assert attack(keras_models(model)["logits"], images[:0], labels[:0]).shape == (0, *SHAPE)


WRONG = {
    "attack": (dict(name="deepfool"), "expected one of fgsm"),
    **{name: (dict(name=name), f"expected one of fgsm, .*, received '{name}'") for name in UNIVERSAL},
    "strength": (dict(strength=-1), "at least 0"),
    "NaN": (dict(strength=np.nan), "at least 0"),
    "strengths": (dict(strength=[0.1, 0.2]), "one for each of 9"),
    "protocol": (dict(protocol="free"), "paper, budget"),
    "norm": (dict(norm="l1"), "linf, l2"),
    "APGD": (dict(name="apgd"), "choose protocol 'budget', or leave apgd out"),
    "steps": (dict(steps=0, name="bim"), "whole number of at least 1"),
    "batch": (dict(batch=0), "batch: expected a whole number of at least 1"),
    "fraction of a batch": (dict(batch=2.5), "batch: expected a whole number of at least 1"),
    "seed": (dict(seed=-1), "seed: expected a whole number of at least 0"),
    "restarts": (dict(restarts=0, name="pgd"), "restarts: expected a whole number of at least 1"),
    "step factor": (dict(step_factor=-1, protocol="budget"), "step factor: expected a finite number above 0"),
    "labels": (dict(labels=[0, 1]), "9 whole numbers"),
    "class": (dict(labels=np.full(9, 3)), "classes from 0 to 2"),
    "soft labels": (dict(labels=np.full((9, 3), 1 / 3)), "soft labels"),
    "half labels": (dict(labels=np.full(9, 0.5)), "9 whole numbers"),
    "words": (dict(labels=["cat"] * 9), "9 whole numbers"),
    "range": (dict(images=np.full((9, *SHAPE), 255.0)), r"\[0, 1\], received 255.0 to 255.0"),
    "just outside": (dict(images=np.full((9, *SHAPE), 1.0000021)), "to 1.0000021"),
    "not a number": (dict(images=np.full((9, *SHAPE), np.nan)), "received nan"),
    "outside in the last image": (
        dict(images=np.float32(range(9)).reshape(9, 1, 1, 1) / 7 * np.ones(SHAPE), batch=2),
        "to 1.14",
    ),
    "shape": (dict(images=np.zeros((9, 4, 4, 1))), "the model's shape"),
    "one image alone": (dict(images=np.zeros(SHAPE)), r"one alone: add the first axis, x\[None\]"),
    "no channel": (dict(images=np.zeros((9, *SHAPE[:2]))), r"x\[..., None\]"),
    "no array": (dict(images=[[1, 2], [3]]), "one array"),
    "bounds": (dict(bounds=(1, 0)), "smallest and the largest value"),
    "bound": (dict(bounds=1), "smallest and the largest value"),
    "channels": (dict(channels=0), "axis of the images other than the first"),
    "finding": (dict(finding="effusion"), "number of one of the model's outputs"),
}


@pytest.mark.parametrize("wrong, message", WRONG.values(), ids=WRONG)
def test_what_makes_no_sense_is_refused(linear, wrong, message):
    model, images, labels = linear
    arguments = {"images": images, "labels": labels, **wrong}
    with pytest.raises(UserError, match=message):
        attack(keras_models(model)["functional"], arguments.pop("images"), arguments.pop("labels"), **arguments)


def test_importing_the_package_loads_no_keras(root):
    code = "import sys, nosign; from nosign import attack; sys.exit('keras' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=root).returncode == 0
    with pytest.raises(AttributeError, match="has no attribute"):
        _ = nosign.defend


def test_the_example_on_ones_own_model_and_arrays_prints_a_table_and_draws_a_figure(root, linear, tmp_path):
    for package in ("pandas", "matplotlib"):
        pytest.importorskip(package)
    model, images, labels = linear
    keras_models(model)["functional"].save(tmp_path / "my_model.keras")
    np.savez(tmp_path / "my_arrays.npz", images=images, labels=labels)
    done = subprocess.run(
        [sys.executable, root / "examples" / "your_model.py", "my_model.keras", "my_arrays.npz"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    rows = {row[:14].strip(): row.split()[-4:] for row in done.stdout.splitlines()[1:]}
    # A linear model's turning strengths are a margin over the step's slope: no-sign's L2 is the smaller one.
    assert list(rows) == ["sign", "no-sign", "Gaussian noise"] and rows["sign"][:2] == rows["no-sign"][:2] == ["9", "9"]
    assert float(rows["no-sign"][3]) < float(rows["sign"][3])
    assert (tmp_path / "your_model.png").stat().st_size > 10_000


def test_the_example_runs_and_stronger_attacks_leave_less(root):
    done = subprocess.run([sys.executable, "-m", "examples.digits"], cwd=root, capture_output=True, text=True, check=True)
    clean, _, *rows = done.stdout.splitlines()
    assert float(clean.split()[1]) > 90
    left = np.array([[float(word) for word in row.split()] for row in rows])
    assert (np.diff(left[:, 1:], axis=0) <= 1).all() and left[-1, 1:].max() < float(clean.split()[1]) / 2
