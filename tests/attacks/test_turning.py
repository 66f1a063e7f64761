"""Turning strengths: the search against closed forms, and what `turning_strength` gives for whole models."""

import numpy as np
import pytest
from tiny import LinearSoftmax

from nosign import turning_strength
from nosign.attacks.turning import (
    BISECTIONS,
    GRID,
    HALVINGS,
    LEFT_CENSORED,
    PASSES,
    RIGHT_CENSORED,
    TURNED,
    WRONG_BEFORE,
    bisect,
    search,
)
from nosign.errors import UserError

SHAPE = (5, 4, 3)


def islands(*edges):
    """Return a one-dimensional classifier: a strength turns the film between the first edge and the second, and so on."""
    return lambda strengths: np.searchsorted(edges, strengths) % 2 == 1


def test_the_grid_is_that_of_the_plan_and_costs_twenty_passes():
    np.testing.assert_array_equal(GRID, [2.0**power for power in range(-14, -1)])
    assert PASSES == 20 and HALVINGS == 7


@pytest.mark.parametrize("edge", [0.0001, 0.00123, 0.0042, 0.03, 0.11, 0.2499])
def test_the_strength_is_the_smallest_that_turns_to_half_a_percent(edge):
    found = search(islands(edge), [True])
    assert found.status[0] == TURNED
    assert edge < found.strength[0] <= edge * 2 ** (1 / 128) * (1 + 1e-12)
    assert found.right_again[0] == 0


def test_two_islands_give_the_edge_of_the_first_and_count_where_the_film_is_right_again():
    # Turned on (0.003, 0.009) and beyond 0.07: of the grid 2^-8 and 2^-7, then not 2^-6, 2^-5 and 2^-4, then 2^-3 and 2^-2.
    found = search(islands(0.003, 0.009, 0.07), [True])
    assert 0.003 < found.strength[0] <= 0.003 * 2 ** (1 / 128)
    np.testing.assert_array_equal(found.turned[0], (GRID > 0.003) & (GRID < 0.009) | (GRID > 0.07))
    assert found.right_again[0] == 3


def test_an_island_between_two_strengths_of_the_grid_is_not_seen_so_the_answer_is_an_upper_bound():
    found = search(islands(0.0021, 0.0035, 0.07), [True])
    assert 0.07 < found.strength[0] <= 0.07 * 2 ** (1 / 128)


def test_what_lies_beyond_the_grid_is_censored_and_films_that_are_wrong_take_no_part():
    def turned_at(strengths):
        return strengths > [1e-5, 0.3, 1e-5, 0.01]

    found = search(turned_at, [True, True, False, True])
    assert list(found.status) == [LEFT_CENSORED, RIGHT_CENSORED, WRONG_BEFORE, TURNED]
    np.testing.assert_array_equal(found.strength[:3], [2.0**-14, 2.0**-2, np.nan])
    assert not found.turned[1:3].any() and found.turned[0].all() and (found.right_again == 0).all()


def test_the_weakest_strength_is_left_censored_only_if_it_turns():
    assert search(lambda strengths: strengths >= GRID[0], [True]).status[0] == LEFT_CENSORED
    just_beyond = search(lambda strengths: strengths > GRID[0], [True])
    assert just_beyond.status[0] == TURNED and GRID[0] < just_beyond.strength[0] <= GRID[0] * 2 ** (1 / 128)


def test_a_search_calls_as_often_as_announced():
    calls = []
    search(lambda strengths: calls.append(strengths) or strengths > 0.01, [True, True])
    assert len(calls) == PASSES and all(strengths.shape == (2,) for strengths in calls)


def test_bisection_finds_what_the_search_finds_of_films_that_stay_turned_in_eleven_calls():
    edges, calls = np.array([1e-5, GRID[0], 0.0001, 0.00123, 0.0042, 0.03, 0.11, 0.2499, GRID[-1], 0.3, 0.01]), []
    takes_part = np.arange(len(edges)) < len(edges) - 1

    def turned_at(strengths):
        calls.append(strengths)
        return strengths > edges

    found = bisect(turned_at, takes_part)
    assert len(calls) == BISECTIONS + HALVINGS == 11
    wanted = search(lambda strengths: strengths > edges, takes_part)
    np.testing.assert_array_equal(found.strength, wanted.strength)
    np.testing.assert_array_equal(found.status, wanted.status)
    assert list(found.status[[0, 1, -2, -1]]) == [LEFT_CENSORED, TURNED, RIGHT_CENSORED, WRONG_BEFORE]
    assert found.turned is None and found.right_again is None


def test_bisection_ends_at_an_edge_but_not_always_the_first_of_a_film_that_is_right_again():
    # It tries 2^-8, which leaves the film, and never looks below.
    found = bisect(islands(0.0005, 0.0015, 0.07), [True])
    assert 0.07 < found.strength[0] <= 0.07 * 2 ** (1 / 128)
    assert search(islands(0.0005, 0.0015, 0.07), [True]).strength[0] < 0.00051


@pytest.fixture(scope="module")
def two_classes():
    """A linear model of two classes: its boundary is a plane, so every turning strength has a closed form."""
    random = np.random.default_rng(3)
    kernel = random.normal(0, 0.3, (int(np.prod(SHAPE)), 2))
    kernel = np.concatenate([kernel, np.zeros((len(kernel), 1))], axis=1)
    model = LinearSoftmax(SHAPE, kernel=kernel, bias=np.array([*(-kernel[:, :2].sum(0) / 2), -1e4]))
    images = random.uniform(0.4, 0.6, (9, *SHAPE)).astype(np.float32)
    return model, images, model.logits(images).argmax(-1)


@pytest.mark.parametrize("batch", [1, 4, 64])
@pytest.mark.parametrize("name", ["fgsm", "fgnm"])
def test_turning_strengths_of_a_linear_model_are_its_distances(two_classes, name, batch):
    model, images, labels = two_classes
    normal = model.kernel[:, 0] - model.kernel[:, 1]
    margins = np.abs(np.subtract(*model.logits(images).T[:2]))
    # FGSM moves along sign(w): margin / ||w||1. FGNM along w at the length of sign(w): margin / (||w||2 sqrt(n)).
    size = np.abs(normal).sum() if name == "fgsm" else np.linalg.norm(normal) * np.sqrt(len(normal))
    found = turning_strength(model.classifier(), images, labels, name, batch=batch)
    assert (found.status == TURNED).all()
    assert np.all(found.strength >= margins / size * (1 - 1e-4))
    assert np.all(found.strength <= margins / size * 2 ** (1 / 128) * (1 + 1e-4))


def test_the_ratio_of_turning_strengths_on_a_linear_model_is_the_cosine_between_gradient_and_sign(two_classes):
    model, images, labels = two_classes
    normal = model.kernel[:, 0] - model.kernel[:, 1]
    cosine = np.abs(normal).sum() / np.linalg.norm(normal) / np.sqrt(len(normal))
    sign, no_sign = (turning_strength(model.classifier(), images, labels, name).strength for name in ("fgsm", "fgnm"))
    np.testing.assert_allclose(no_sign / sign, cosine, rtol=2 ** (1 / 64) - 1)


def test_wrong_images_take_no_part_and_a_targeted_attack_counts_those_that_reach_the_label(two_classes):
    model, images, labels = two_classes
    wrong = turning_strength(model.classifier(), images, 1 - labels)
    assert (wrong.status == WRONG_BEFORE).all() and np.isnan(wrong.strength).all()
    untargeted = turning_strength(model.classifier(), images, labels)
    targeted = turning_strength(model.classifier(), images, 1 - labels, targeted=True)
    np.testing.assert_allclose(targeted.strength, untargeted.strength, rtol=2 ** (1 / 64) - 1)
    assert (turning_strength(model.classifier(), images, labels, targeted=True).status == WRONG_BEFORE).all()


def test_controls_need_far_more_than_the_attack(two_classes):
    model, images, labels = two_classes
    attack = turning_strength(model.classifier(), images, labels, "fgnm").strength
    for name in ("noise-sign", "noise", "shuffled"):
        found = turning_strength(model.classifier(), images, labels, name, seed=1)
        assert np.median(found.strength / attack) > 2
        again = turning_strength(model.classifier(), images, labels, name, seed=1, batch=2)
        np.testing.assert_array_equal(found.strength, again.strength)


def test_attacks_of_many_steps_and_wrong_images_are_refused(two_classes):
    model, images, labels = two_classes
    with pytest.raises(UserError, match="single-step attacks, 'bim' has many steps; choose from fgsm, fgnm, noise-sign"):
        turning_strength(model.classifier(), images, labels, "bim")
    with pytest.raises(UserError, match=r"\[0, 1\]"):
        turning_strength(model.classifier(), 255 * images, labels)
    assert turning_strength(model.classifier(), images[:0], labels[:0]).strength.shape == (0,)
