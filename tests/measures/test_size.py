"""The size of a perturbation, against formulas and a second implementation."""

import numpy as np
import pytest
from tiny import reference_ssim

from nosign.measures import size


def noisy_pair(seed, size=16):
    rng = np.random.default_rng(seed)
    original = rng.random((size, size, 3), dtype=np.float32)
    return original, np.clip(original + rng.normal(0, 0.05, original.shape), 0, 1).astype(np.float32)


def test_norms_of_a_known_change():
    original = np.full((4, 6, 3), 0.5, np.float32)
    changed = original.copy()
    changed[1, 2, 0] += 0.25
    changed[3, 5, 2] -= 0.125
    assert size.linf(original, changed) == 0.25
    assert size.l2(original, changed) == pytest.approx(np.hypot(0.25, 0.125), rel=1e-12)


def test_l2_of_a_large_film_does_not_lose_small_changes():
    original = np.zeros((512, 512, 3), np.float32)
    changed = original + np.float32(1e-4)
    assert size.l2(original, changed) == pytest.approx(np.float32(1e-4) * 512 * np.sqrt(3), rel=1e-9)


def test_ssim_equals_the_papers_formula():
    for seed in range(3):
        pair = noisy_pair(seed)
        assert size.ssim(*pair) == pytest.approx(reference_ssim(*pair), abs=1e-5)


def test_ssim_of_equal_films_is_one_and_falls_with_the_change():
    original, changed = noisy_pair(3)
    assert size.ssim(original, original) == 1
    values = [size.ssim(original, original + np.float32(part) * (changed - original)) for part in (0.1, 0.5, 1)]
    assert 1 > values[0] > values[1] > values[2]


def test_psnr_of_a_known_change_and_of_none():
    original = np.full((4, 6, 3), 0.5, np.float32)
    assert size.psnr(original, original + np.float32(0.01)) == pytest.approx(40, abs=1e-3)
    assert size.psnr(original, original) == np.inf
