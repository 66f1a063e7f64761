"""Universal perturbations: where the steps lead for mean gradients whose ascent is known."""

import numpy as np
import pytest

from nosign.attacks.catalogue import ATTACKS, UNIVERSAL
from nosign.attacks.universal import RADIUS, fit_field

SHAPE = (4, 3, 3)
GRADIENT = np.random.default_rng(51).standard_normal(SHAPE).astype(np.float32)


@pytest.mark.parametrize("steps", [1, 2, 7])
def test_of_a_linear_model_the_field_is_the_corner_or_the_pole_of_its_ball(steps):
    sign, no_sign = (fit_field(lambda change: GRADIENT, SHAPE, direction, steps) for direction in ("sign", "no-sign"))
    np.testing.assert_allclose(sign, RADIUS * np.sign(GRADIENT), atol=1e-8)
    pole = RADIUS * np.sqrt(GRADIENT.size) * GRADIENT / np.linalg.norm(GRADIENT)
    np.testing.assert_allclose(no_sign, pole, atol=1e-7)


@pytest.mark.parametrize("direction", ["sign", "no-sign"])
def test_each_gradient_is_taken_where_the_last_step_ended_and_the_field_can_turn_round(direction):
    seen = []

    def mean_gradient(change):
        seen.append(change.copy())
        return GRADIENT if len(seen) <= 2 else -GRADIENT

    field = fit_field(mean_gradient, SHAPE, direction, 8)
    assert not seen[0].any() and seen[1].any() and len(seen) == 8
    # Two steps of a quarter of the radius one way, six the other: to the other end.
    np.testing.assert_allclose(field, fit_field(lambda change: -GRADIENT, SHAPE, direction, 8), atol=1e-7)


def test_there_is_one_universal_attack_for_each_direction():
    assert [ATTACKS[name].direction for name in UNIVERSAL] == ["sign", "no-sign"]
    assert not any(ATTACKS[name].needs_gradient or ATTACKS[name].control or ATTACKS[name].iterative for name in UNIVERSAL)
