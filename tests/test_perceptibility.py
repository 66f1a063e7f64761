"""The size and visibility of a perturbation, against formulas and a second implementation."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import reference_ssim

from nosign import perceptibility


def noisy_pair(seed, size=16):
    rng = np.random.default_rng(seed)
    original = rng.random((size, size, 3), dtype=np.float32)
    return original, np.clip(original + rng.normal(0, 0.05, original.shape), 0, 1).astype(np.float32)


def test_rounding_gives_every_grey_level_back_bit_for_bit():
    levels = np.arange(256, dtype=np.uint8).astype(np.float32) / np.float32(255)
    assert perceptibility.rounded_to_8_bits(levels).tobytes() == levels.tobytes()


@settings(deadline=None)
@given(st.floats(0, 1, width=32))
def test_rounding_moves_to_the_nearest_grey_level(value):
    found = perceptibility.rounded_to_8_bits(np.float32([value]))
    assert found.dtype == np.float32
    assert abs(found[0] - value) <= 0.5 / 255 + 1e-7
    assert abs(found[0] * 255 - round(float(found[0]) * 255)) < 1e-4


@pytest.mark.parametrize("strength, survives", [(0.0019, False), (0.0020, True)])
def test_changes_below_half_a_grey_level_vanish_in_8_bits(strength, survives):
    films = np.full((1, 4, 4, 3), np.float32(100) / np.float32(255))
    assert np.array_equal(perceptibility.rounded_to_8_bits(films + np.float32(strength)), films) is not survives


def test_norms_of_a_known_change():
    original = np.full((4, 6, 3), 0.5, np.float32)
    changed = original.copy()
    changed[1, 2, 0] += 0.25
    changed[3, 5, 2] -= 0.125
    assert perceptibility.linf(original, changed) == 0.25
    assert perceptibility.l2(original, changed) == pytest.approx(np.hypot(0.25, 0.125), rel=1e-12)


def test_l2_of_a_large_film_does_not_lose_small_changes():
    original = np.zeros((512, 512, 3), np.float32)
    changed = original + np.float32(1e-4)
    assert perceptibility.l2(original, changed) == pytest.approx(np.float32(1e-4) * 512 * np.sqrt(3), rel=1e-9)


def test_ssim_equals_the_papers_formula():
    for seed in range(3):
        pair = noisy_pair(seed)
        assert perceptibility.ssim(*pair) == pytest.approx(reference_ssim(*pair), abs=1e-5)


def test_ssim_of_equal_films_is_one_and_falls_with_the_change():
    original, changed = noisy_pair(3)
    assert perceptibility.ssim(original, original) == 1
    values = [perceptibility.ssim(original, original + np.float32(part) * (changed - original)) for part in (0.1, 0.5, 1)]
    assert 1 > values[0] > values[1] > values[2]
