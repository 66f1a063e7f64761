"""The sign attacks against CleverHans and Foolbox on a real Keras model."""

import numpy as np
import pytest

from nosign.attacks.catalogue import ATTACKS
from nosign.attacks.loop import Attacker, unit_noise
from nosign.backend import select_device, to_numpy

pytest.importorskip("cleverhans")
pytest.importorskip("foolbox")

SIZE, FILMS, STEPS = 32, 6, 5
# Where a gradient is zero but for rounding, two compilations of it may differ in sign.
FLIPPED_SHARE = 1e-4


@pytest.fixture(scope="module")
def vgg16():
    """VGG16 to logits, with the head that stage 2 trains, films and labels that are not all its own."""
    from nosign.classifiers import build

    select_device()
    model = build.logits_of(build.build("VGG16", SIZE, seed=4))
    films = np.random.default_rng(41).random((FILMS, SIZE, SIZE, 3), dtype=np.float32)
    return model, films, np.arange(FILMS) % 3


def ours(vgg16, name, strength, **options):
    model, films, labels = vgg16
    return to_numpy(Attacker(model).perturb(ATTACKS[name], films, np.eye(3, dtype=np.float32)[labels], strength, **options))


def assert_agree(found, expected, other_paths=0):
    """Check that two attacks end within 1e-6, but for a few components whose gradient is at rounding level.

    Args:
        other_paths: how many films may take another path: over several steps, a unit of the network that stands at a kink to
            rounding has one of two gradients, and both are right.
    """
    apart = (np.abs(found - np.asarray(expected)) > 1e-6).reshape(FILMS, -1).mean(1)
    assert (apart >= FLIPPED_SHARE).sum() <= other_paths, apart


@pytest.mark.parametrize("strength", [0.0005, 0.03])
def test_fgsm_agrees_with_cleverhans(vgg16, strength):
    from cleverhans.tf2.attacks.fast_gradient_method import fast_gradient_method

    model, films, labels = vgg16
    theirs = fast_gradient_method(model, films, strength, np.inf, clip_min=0.0, clip_max=1.0, y=labels, sanity_checks=False)
    assert_agree(ours(vgg16, "fgsm", strength), theirs)


@pytest.mark.parametrize("strength, step", [(0.01, 0.002), (0.03, 0.006)])
def test_bim_agrees_with_cleverhans(vgg16, strength, step):
    from cleverhans.tf2.attacks.basic_iterative_method import basic_iterative_method

    model, films, labels = vgg16
    theirs = basic_iterative_method(
        model, films, strength, step, STEPS, np.inf, clip_min=0.0, clip_max=1.0, y=labels, sanity_checks=False
    )
    # The budget protocol takes steps of strength / steps, as asked of CleverHans here.
    assert_agree(ours(vgg16, "bim", strength, protocol="budget", steps=STEPS), theirs, other_paths=1)


@pytest.mark.parametrize("strength", [0.005, 0.03])
def test_pgd_from_the_same_start_agrees_with_foolbox(vgg16, strength):
    import eagerpy
    import foolbox
    import tensorflow

    model, films, labels = vgg16
    noise = unit_noise(3, range(FILMS), films.shape[1:])

    class SameStart(foolbox.attacks.LinfProjectedGradientDescentAttack):
        def get_random_start(self, x0, epsilon):
            return x0 + epsilon * eagerpy.astensor(tensorflow.constant(noise))

    attack = SameStart(abs_stepsize=strength / STEPS, steps=STEPS, random_start=True)
    wrapped = foolbox.TensorFlowModel(model, bounds=(0, 1), device="/CPU:0")
    # Foolbox follows the mean of the losses, we their sum: the signs are the same.
    theirs, _, _ = attack(wrapped, tensorflow.constant(films), tensorflow.constant(labels), epsilons=strength)
    assert_agree(ours(vgg16, "pgd", strength, protocol="budget", steps=STEPS, noise=noise), theirs.numpy(), other_paths=1)


def test_the_comparison_would_notice_another_strength(vgg16):
    found, other = ours(vgg16, "fgsm", 0.003), ours(vgg16, "fgsm", 0.0031)
    with pytest.raises(AssertionError):
        assert_agree(found, other)
