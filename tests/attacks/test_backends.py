"""Keras on JAX: the same gradients, attacks and predictions as on TensorFlow, and all stages run."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from tiny import random_films, write_data

from nosign.attacks.catalogue import ATTACKS

pytest.importorskip("jax")

SIZE, FILMS = 32, 12
FOLLOWING = [name for name, attack in ATTACKS.items() if not attack.follows_field]
PROBE = """
import sys
import numpy as np
from nosign.attacks.catalogue import ATTACKS
from nosign.attacks.loop import Attacker, unit_noise
from nosign.backend import compiled_logits, select_device, to_numpy
from nosign.classifiers import build

device = select_device()
model = build.logits_of(build.load(sys.argv[1]))
given = np.load(sys.argv[2])
films, labels = given["films"], given["labels"]
attacker = Attacker(model)
found = {"films": films, "gradient": attacker.gradient_at(films, labels), "logits": compiled_logits(model)(films)}
for name, attack in ATTACKS.items():
    if attack.follows_field:
        continue
    noise = unit_noise(0, range(len(films)), films.shape[1:])
    protocol = "budget" if attack.adaptive else "paper"
    found[name] = attacker.perturb(attack, films, labels, 0.01, protocol=protocol, steps=2, noise=noise)
    found[f"{name} logits"] = compiled_logits(model)(found[name])
np.savez(sys.argv[3], backend=device["backend"], **{name: to_numpy(array) for name, array in found.items()})
"""


def on(backend, root, *words):
    """Run Python with a Keras backend in the checkout; return what it printed."""
    environment = {**os.environ, "KERAS_BACKEND": backend, "PYTHONPATH": str(root)}
    return subprocess.run(
        [sys.executable, *map(str, words)], cwd=root, env=environment, check=True, capture_output=True, text=True
    ).stdout


@pytest.fixture(scope="module")
def found(root, tmp_path_factory):
    """What TensorFlow and JAX compute for one saved VGG16."""
    from nosign.classifiers import build

    folder = tmp_path_factory.mktemp("backends")
    build.save(build.build("VGG16", SIZE, seed=6), folder / "model.keras")
    films = np.random.default_rng(51).random((FILMS, SIZE, SIZE, 3), dtype=np.float32)
    np.savez(folder / "given.npz", films=films, labels=np.eye(3, dtype=np.float32)[np.arange(FILMS) % 3])
    (folder / "probe.py").write_text(PROBE)
    for backend in ("tensorflow", "jax"):
        on(backend, root, folder / "probe.py", folder / "model.keras", folder / "given.npz", folder / f"{backend}.npz")
    return {backend: np.load(folder / f"{backend}.npz") for backend in ("tensorflow", "jax")}


def test_each_backend_ran(found):
    assert [str(arrays["backend"]) for arrays in found.values()] == ["tensorflow", "jax"]


def test_gradients_agree_to_a_hundred_thousandth_of_their_largest_component(found):
    tensorflow, jax = (arrays["gradient"].reshape(FILMS, -1) for arrays in found.values())
    apart = np.abs(tensorflow - jax).max(1) / np.abs(tensorflow).max(1)
    # Of VGG16's 300,000 units at this size, some stand within rounding of a kink, of ReLU or of a maximum, for few films:
    # the gradient there is one of two values, and both are right.
    assert (apart < 1e-5).mean() >= 0.75 and apart.max() < 0.05


@pytest.mark.parametrize("name", FOLLOWING)
def test_attacks_agree(found, name):
    tensorflow, jax = (arrays[name].reshape(FILMS, -1) for arrays in found.values())
    change = np.linalg.norm(tensorflow - found["tensorflow"]["films"].reshape(FILMS, -1), axis=1)
    apart = np.linalg.norm(tensorflow - jax, axis=1) / change
    assert np.median(apart) < 1e-3 and apart.max() < 0.7


@pytest.mark.parametrize("name", ["logits", *(f"{attack} logits" for attack in FOLLOWING)])
def test_predictions_are_the_same(found, name):
    tensorflow, jax = (arrays[name] for arrays in found.values())
    np.testing.assert_array_equal(tensorflow.argmax(-1), jax.argmax(-1))


def test_training_attack_and_tables_run_on_jax(root, tmp_path):
    labels = np.arange(24) % 3
    splits = ["train"] * 12 + ["validation"] * 6 + ["test"] * 6
    write_data(tmp_path / "data", random_films(24, SIZE, seed=52), labels, splits)
    on(
        "jax",
        root,
        "train_finetune.py",
        "--data",
        tmp_path / "data",
        "--out",
        tmp_path / "model",
        "--models",
        "VGG16",
        "--weights",
        "none",
        "--epochs",
        1,
        "--batch",
        4,
    )
    on(
        "jax",
        root,
        "attack.py",
        "--data",
        tmp_path / "data",
        "--models",
        tmp_path / "model",
        "--out",
        tmp_path / "results",
        "--targets",
        "VGG16",
        "--attacks",
        "fgsm",
        "binm",
        "shuffled",
        "--single-step-strengths",
        0.01,
        "--iterative-strengths",
        0.01,
        "--steps",
        2,
    )
    on("jax", root, "data_figure.py", "--results", tmp_path / "results", "--models", tmp_path / "model")
    manifest = json.loads((tmp_path / "results/attacks/VGG16/paper/manifest.json").read_text())
    assert manifest["device"]["backend"] == "jax" and manifest["finished"]
    assert (tmp_path / "results/tables/table2.md").is_file()
