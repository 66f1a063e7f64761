"""Controls: of the attack's size, the same in any batch, and nothing of the gradient's direction in them."""

import numpy as np
import pytest
from tiny import LinearSoftmax

from nosign import attack
from nosign.attacks.catalogue import ATTACKS, CONTROLS, GAUSSIAN, SHUFFLED, SIGNS
from nosign.attacks.controls import control_field, strength_for_length
from nosign.attacks.loop import Attacker
from nosign.errors import UserError

SHAPE = (24, 20, 3)


@pytest.fixture(scope="module")
def linear():
    """A linear model, mid-grey images that nothing clips, and its own labels for them."""
    model = LinearSoftmax(SHAPE, seed=41)
    images = np.random.default_rng(42).uniform(0.3, 0.7, (6, *SHAPE)).astype(np.float32)
    return model, images, model.logits(images).argmax(-1)


def change(linear, name, strength=0.02, **options):
    model, images, labels = linear
    return attack(model.classifier(), images, labels, name, strength, **options) - images


def lengths(array):
    return np.linalg.norm(np.float64(array).reshape(len(array), -1), axis=1)


def test_the_three_controls_are_attacks_of_one_step():
    assert CONTROLS == ("noise-sign", "noise", "shuffled")
    assert not any(ATTACKS[name].iterative or ATTACKS[name].random_start for name in CONTROLS)
    assert [ATTACKS[name].needs_gradient for name in CONTROLS] == [False, False, True]


def test_random_signs_change_every_pixel_by_the_strength_either_way(linear):
    found = change(linear, "noise-sign")
    np.testing.assert_allclose(np.abs(found), 0.02, atol=1e-6)
    assert 0.45 < (found > 0).mean() < 0.55
    assert not np.array_equal(found[0] > 0, found[1] > 0)


def test_noise_is_gaussian_of_the_no_sign_steps_length(linear):
    found = change(linear, "noise")
    np.testing.assert_allclose(lengths(found), lengths(change(linear, "fgnm")), rtol=1e-4)
    standard = found / found.std()
    # A normal distribution's share within one and two standard deviations.
    assert abs((np.abs(standard) < 1).mean() - 0.6827) < 0.02 and abs((np.abs(standard) < 2).mean() - 0.9545) < 0.01


def test_shuffled_is_the_no_sign_step_with_its_pixels_in_another_order(linear):
    found, step = change(linear, "shuffled"), change(linear, "fgnm")
    for one, other in zip(found, step):
        rows, others = one.reshape(-1, 3), other.reshape(-1, 3)
        assert not np.allclose(rows, others, atol=1e-4)
        np.testing.assert_allclose(rows[np.lexsort(np.round(rows.T, 5))], others[np.lexsort(np.round(others.T, 5))], atol=2e-5)


@pytest.mark.parametrize("name", CONTROLS)
def test_a_control_is_the_same_in_any_batch_and_another_with_another_seed(linear, name):
    found = change(linear, name, seed=3)
    # A gradient's last bits may depend on the batch.
    np.testing.assert_allclose(found, change(linear, name, seed=3, batch=4), rtol=0, atol=1e-7 if name == "shuffled" else 0)
    assert np.abs(found - change(linear, name, seed=4)).max() > 0.01


@pytest.mark.parametrize("name, same", [("noise-sign", True), ("noise", True), ("shuffled", False)])
def test_a_control_without_a_gradient_does_not_depend_on_the_source(linear, name, same):
    _, images, labels = linear
    other = LinearSoftmax(SHAPE, seed=43), images, labels
    assert np.array_equal(change(linear, name), change(other, name)) == same


@pytest.mark.parametrize("name", CONTROLS)
def test_a_grey_control_changes_all_channels_alike(linear, name):
    assert np.ptp(change(linear, name, grey=True), axis=-1).max() < 1e-6


@pytest.mark.parametrize("name", CONTROLS)
def test_a_control_keeps_to_the_ball_of_budget(linear, name):
    assert np.abs(change(linear, name, protocol="budget")).max() <= 0.02 + 1e-6


def test_noise_keeps_its_length_where_films_are_black_and_white():
    random = np.random.default_rng(5)
    film = np.clip(random.uniform(-1, 2, SHAPE), 0, 1).astype(np.float32)
    unit = random.standard_normal(SHAPE).astype(np.float32)
    clipped = np.linalg.norm(np.clip(film + np.float32(0.03) * unit, 0, 1) - film)
    assert clipped < 0.9 * 0.03 * np.linalg.norm(unit)
    strength = strength_for_length(film, unit, 0.03)
    found = np.clip(film + np.float32(strength) * unit, 0, 1) - film
    assert np.linalg.norm(found) == pytest.approx(0.03 * np.linalg.norm(unit), rel=1e-5)
    assert strength_for_length(film, unit, 0.0) == 0


def test_a_length_that_no_strength_reaches_changes_all_that_can_change():
    film, unit = np.zeros((2, 2, 1), np.float32), np.float32([[[1], [-1]], [[-1], [-1]]])
    strength = strength_for_length(film, unit, 0.9)
    np.testing.assert_array_equal(np.clip(film + np.float32(strength) * unit, 0, 1).ravel(), [1, 0, 0, 0])


def test_fields_depend_on_seed_and_film_and_differ_from_random_starts():
    from nosign.attacks.loop import unit_noise

    gradient = np.random.default_rng(1).normal(size=(2, 4, 4, 3)).astype(np.float32)
    for control in (SIGNS, GAUSSIAN, SHUFFLED):
        both = control_field(control, 0, [5, 9], (4, 4, 3), gradient)
        np.testing.assert_array_equal(both[1], control_field(control, 0, [9], (4, 4, 3), gradient[1:])[0])
        assert both.dtype == np.float32 and not np.array_equal(both[0], both[1])
    signs, start = control_field(SIGNS, 0, [5], (4, 4, 3)), unit_noise(0, [5], (4, 4, 3))
    assert not np.array_equal(signs > 0, start > 0)


def test_a_control_without_its_field_is_refused(linear):
    model, images, labels = linear
    with pytest.raises(UserError, match="Random signs follows no gradient"):
        Attacker(model.logits_model()).perturb(ATTACKS["noise-sign"], images, np.eye(3, dtype=np.float32)[labels], 0.01)
