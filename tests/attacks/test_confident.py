"""Confident films: the gradient keeps its direction at every margin, on both backends, where cross-entropy's own loses it."""

import os
import subprocess
import sys

import numpy as np
import pytest

from nosign.attacks.catalogue import LOSSES
from nosign.findings.floor import has_gradient

MARGINS = (0, 1, 5, 10, 15, 16, 17, 18, 20, 40, 80, 86, 87, 90, 104, 200, 500, 1000)
PIXELS = (6, 5, 3)
# Films of all margins in one batch, the true class as label and then the least likely one, as a targeted attack may choose.
PROBE = """
import sys
import numpy as np
import keras
from nosign.attacks.loop import Attacker
from nosign.backend import to_numpy

given = np.load(sys.argv[1])
found = {"backend": keras.backend.backend()}
for classes in (2, 10):
    inputs = keras.Input(given["films 2"].shape[1:])
    dense = keras.layers.Dense(classes)
    model = keras.Model(inputs, dense(keras.layers.Flatten()(inputs)))
    dense.set_weights([given[f"kernel {classes}"], np.zeros(classes, np.float32)])
    attackers = {loss: Attacker(model, loss) for loss in sys.argv[3:]}
    for loss, attacker in attackers.items():
        for targeted in (False, True):
            labels = given[f"{'aims' if targeted else 'labels'} {classes}"]
            found[f"{loss} {classes} {targeted}"] = to_numpy(attacker.gradient_at(given[f"films {classes}"], labels, targeted))
np.savez(sys.argv[2], **found)
"""


def films_of_margins(classes, kernel):
    """Return films, float32 [n, *PIXELS], that a linear model gives each margin, and their classes [n].

    The margin is that of the class over the largest other logit; the others lie 0 to 3 below that.
    """
    random = np.random.default_rng(classes)
    labels = np.arange(len(MARGINS)) % classes
    logits = -random.uniform(0, 3, (len(MARGINS), classes))
    logits[np.arange(len(MARGINS)), (labels + 1) % classes] = 0
    logits[np.arange(len(MARGINS)), labels] = MARGINS
    return np.float32(logits @ np.linalg.pinv(kernel.astype(np.float64))).reshape(-1, *PIXELS), labels


def exact_direction(kernel, films, labels, targeted):
    """Return the direction of cross-entropy's gradient, float64 [n, pixels]: `sum_{j != y} q_j w_j - w_y`."""
    logits = np.float64(films).reshape(len(films), -1) @ np.float64(kernel)
    here = np.arange(len(films)), labels
    others = logits.copy()
    others[here] = -np.inf
    share = np.exp(others - others.max(-1, keepdims=True))
    share /= share.sum(-1, keepdims=True)
    share[here] = -1
    return (-1 if targeted else 1) * share @ np.float64(kernel).T


def cosines(a, b):
    a, b = (np.float64(array).reshape(len(array), -1) for array in (a, b))
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return np.divide((a * b).sum(1), lengths, out=np.zeros(len(a)), where=lengths > 0)


@pytest.fixture(scope="module", params=["tensorflow", "jax"])
def found(request, root, tmp_path_factory):
    """Kernels, films and labels, and the gradients that a backend computes."""
    pytest.importorskip(request.param)
    folder = tmp_path_factory.mktemp(request.param)
    given = {}
    for classes in (2, 10):
        kernel = np.random.default_rng(7).normal(size=(int(np.prod(PIXELS)), classes)).astype(np.float32)
        films, labels = films_of_margins(classes, kernel)
        aims = (labels + 1) % classes
        given |= {
            f"kernel {classes}": kernel,
            f"films {classes}": films,
            f"labels {classes}": np.eye(classes, dtype=np.float32)[labels],
            f"aims {classes}": np.eye(classes, dtype=np.float32)[aims],
        }
    np.savez(folder / "given.npz", **given)
    (folder / "probe.py").write_text(PROBE)
    command = [sys.executable, folder / "probe.py", folder / "given.npz", folder / "found.npz", *LOSSES]
    environment = {**os.environ, "KERAS_BACKEND": request.param, "PYTHONPATH": str(root)}
    subprocess.run(list(map(str, command)), check=True, cwd=root, env=environment, capture_output=True)
    gradients = np.load(folder / "found.npz")
    assert str(gradients["backend"]) == request.param
    return given, gradients


@pytest.mark.parametrize("classes", [2, 10])
@pytest.mark.parametrize("targeted", [False, True])
def test_the_gradient_has_the_exact_direction_at_every_margin(found, classes, targeted):
    given, gradients = found
    labels = given[f"{'aims' if targeted else 'labels'} {classes}"].argmax(-1)
    expected = exact_direction(given[f"kernel {classes}"], given[f"films {classes}"], labels, targeted)
    apart = cosines(gradients[f"cross-entropy {classes} {targeted}"], expected)
    assert apart.min() > 0.9999, dict(zip(MARGINS, apart))


def test_a_softmax_taken_for_logits_leaves_confident_films_without_a_gradient(found):
    given, gradients = found
    moved = np.abs(gradients["softmax 10 False"]).reshape(len(MARGINS), -1).max(1) > 0
    # exp(-104) is zero in float32, even among its subnormal numbers.
    assert moved[: MARGINS.index(80) + 1].all() and not moved[MARGINS.index(200) :].any()


def test_clipped_probabilities_leave_films_beyond_a_margin_of_16_without_a_gradient(found):
    given, gradients = found
    moved = np.abs(gradients["probabilities 2 False"]).reshape(len(MARGINS), -1).max(1) > 0
    # log(1e7 - 1) = 16.1 is the margin of a probability of 1 - 1e-7.
    assert moved[: MARGINS.index(15) + 1].all() and not moved[MARGINS.index(17) :].any()


@pytest.mark.parametrize("classes", [2, 10])
@pytest.mark.parametrize("loss", LOSSES[1:])
def test_films_without_a_gradient_can_be_told_from_their_logits(found, loss, classes):
    given, gradients = found
    moved = np.abs(gradients[f"{loss} {classes} False"]).reshape(len(MARGINS), -1).max(1) > 0
    logits = given[f"films {classes}"].reshape(len(MARGINS), -1) @ given[f"kernel {classes}"]
    predicted = has_gradient(logits, given[f"labels {classes}"].argmax(-1), loss)
    # Near the clip the order of a sum decides, over all classes, and where float32 underflows the layers before the logits.
    low, high = {"probabilities": (24 * np.log(2) - np.log(classes), 24 * np.log(2) + 2), "softmax": (86, 104)}[loss]
    clear = [margin < low or margin > high for margin in MARGINS]
    assert (predicted == moved)[clear].all(), dict(zip(MARGINS, zip(predicted, moved)))


def test_a_film_whose_logits_are_not_finite_has_no_gradient_and_its_neighbours_keep_theirs():
    import keras

    from nosign.attacks.gradients import compiled_gradient
    from nosign.backend import to_numpy

    # m's own gradient is finite at a film whose true logit is infinite.
    inputs = keras.Input((3,))
    model = keras.Model(inputs, keras.layers.Dense(3, kernel_initializer="identity")(inputs))
    films = np.float32([[1, 2, 3], [np.inf, 0, 0], [3, 2, 1]])
    gradient = to_numpy(compiled_gradient(model)(films, np.eye(3, dtype=np.float32)[[0, 0, 0]])[0])
    assert np.isnan(gradient[1]).all() and np.isfinite(gradient[[0, 2]]).all()
