"""The size and visibility of a perturbation, against formulas and a second implementation."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import reference_ssim

from nosign.measures import size, visibility
from nosign.measures.storage import STORAGES
from nosign.measures.visibility import LOCAL_FLOOR, LOCAL_SHARE, STRONGEST


def noisy_pair(seed, size=16):
    rng = np.random.default_rng(seed)
    original = rng.random((size, size, 3), dtype=np.float32)
    return original, np.clip(original + rng.normal(0, 0.05, original.shape), 0, 1).astype(np.float32)


def test_rounding_gives_every_grey_level_back_bit_for_bit():
    levels = np.arange(256, dtype=np.uint8).astype(np.float32) / np.float32(255)
    assert STORAGES["8 bits"](levels).tobytes() == levels.tobytes()


@settings(deadline=None)
@given(st.floats(0, 1, width=32))
def test_rounding_moves_to_the_nearest_grey_level(value):
    found = STORAGES["8 bits"](np.float32([value]))
    assert found.dtype == np.float32
    assert abs(found[0] - value) <= 0.5 / 255 + 1e-7
    assert abs(found[0] * 255 - round(float(found[0]) * 255)) < 1e-4


@pytest.mark.parametrize("strength, survives", [(0.0019, False), (0.0020, True)])
def test_changes_below_half_a_grey_level_vanish_in_8_bits(strength, survives):
    films = np.full((1, 4, 4, 3), np.float32(100) / np.float32(255))
    assert np.array_equal(STORAGES["8 bits"](films + np.float32(strength)), films) is not survives


@pytest.mark.parametrize("bits", [8, 10, 12, 16])
def test_rounding_to_more_bits_leaves_half_of_a_finer_level(bits):
    films = np.random.default_rng(4).random((2, 9, 9, 3), dtype=np.float32)
    error = np.abs(STORAGES[f"{bits} bits"](films) - films).max()
    assert 0.9 * 0.5 / (2**bits - 1) < error <= 0.5 / (2**bits - 1) + 6e-8


def test_jpeg_keeps_a_smooth_film_nearly_and_more_so_at_higher_quality():
    ramp = np.linspace(0.1, 0.9, 64, dtype=np.float32)
    film = np.repeat((ramp[:, None] * 0.5 + ramp * 0.5)[None, :, :, None], 3, axis=-1)
    noisy = np.clip(film + np.random.default_rng(5).normal(0, 0.02, film.shape), 0, 1).astype(np.float32)
    errors = [np.abs(STORAGES[f"JPEG {quality}"](noisy) - noisy).mean() for quality in (95, 90, 75)]
    assert 1 / 1020 < errors[0] < errors[1] < errors[2] < 0.03
    assert np.abs(STORAGES["JPEG 95"](film) - film).max() < 0.02


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


@pytest.mark.parametrize("level, threshold", [(0, 20), (127, 3), (255, 6), (127 / 4, 11.5)])
def test_just_noticeable_difference_of_flat_grey_is_the_formulas(level, threshold):
    # 17 (1 - sqrt(b / 127)) + 3 up to 127, then 3/128 (b - 127) + 3; where nothing changes, masking adds nothing.
    found = visibility.just_noticeable_difference(np.full((9, 9), level))
    np.testing.assert_allclose(found, threshold, atol=1e-9)


def test_edges_hide_more_than_flat_surroundings():
    step = np.full((21, 21), 100.0)
    step[:, 11:] = 200
    found = visibility.just_noticeable_difference(step)
    # Beside the edge the vertical operator sees (1 + 3 + 8 + 3 + 1) x 100 / 16; the mean of the surroundings is weighted.
    right = np.array([[1, 1], [2, 1], [2, 1], [2, 1], [1, 1]]).sum() / 32
    background = 100 + 100 * right
    assert found[10, 10] == pytest.approx(100 * (background * 0.0001 + 0.115) + 0.5 - 0.01 * background)
    assert found[10, 3] == pytest.approx(17 * (1 - np.sqrt(100 / 127)) + 3)


def test_a_diagonal_edge_is_seen_by_a_diagonal_operator():
    film = np.fromfunction(lambda y, x: 80.0 * (x > y), (21, 21))
    straight = max(np.abs((film[8:13, 8:13] * kernel).sum()) for kernel in (visibility.DOWNWARD, visibility.DOWNWARD.T))
    diagonal = max(np.abs((film[8:13, 8:13] * kernel).sum()) for kernel in (visibility.DIAGONAL, visibility.DIAGONAL[:, ::-1]))
    assert diagonal > straight
    background = (film[8:13, 8:13] * visibility.BACKGROUND).sum()
    expected = max(diagonal * (background * 0.0001 + 0.115) + 0.5 - 0.01 * background, 17 * (1 - np.sqrt(background / 127)) + 3)
    assert visibility.just_noticeable_difference(film)[10, 10] == pytest.approx(expected)


def test_thresholds_and_visibility_of_a_flat_film_are_known():
    film = np.full((15, 15, 3), 0.5, np.float32)
    limits = visibility.thresholds(film)
    np.testing.assert_allclose(limits[0], LOCAL_SHARE * 0.5, rtol=1e-5)
    np.testing.assert_allclose(limits[1], (3 / 128 * 0.5 + 3) / 255, rtol=1e-4)
    change = np.zeros_like(film)
    change[7, 7] = 0.01
    local, noticeable, at_most_pixels = visibility.visibility(change, limits)
    assert at_most_pixels == 0  # one pixel of 225 is less than one in a hundred
    spread = np.zeros_like(film)
    spread.reshape(-1, 3)[:10] = np.arange(1, 11)[:, None] / 1000
    # Of 225 sorted pixels the 99th percentile lies at place 0.99 x 224 = 221.76, between 0.007 and 0.008.
    wanted = 0.00776 * 255 / (3 / 128 * 0.5 + 3)
    assert visibility.visibility(spread, limits)[2] == pytest.approx(wanted, rel=1e-3)
    assert local == pytest.approx(0.01 / 121 / (LOCAL_SHARE * 0.5), rel=1e-4)
    assert noticeable == pytest.approx(0.01 * 255 / (3 / 128 * 0.5 + 3), rel=1e-4)
    np.testing.assert_allclose(visibility.thresholds(0 * film)[0], LOCAL_FLOOR, rtol=1e-6)


def test_boundaries_of_a_flat_film_are_solved_in_closed_form_and_by_bracketing():
    film = np.full((15, 15, 3), 0.5, np.float32)
    unit = np.random.default_rng(6).choice(np.float32([-1, 1]), film.shape[:2])[..., None].repeat(3, axis=-1)
    found = visibility.boundaries(film, unit, visibility.thresholds(film))
    assert found["local mean"] == pytest.approx(LOCAL_SHARE * 0.5, rel=1e-4)
    assert found["JND"] == pytest.approx((3 / 128 * 0.5 + 3) / 255, rel=1e-4)
    grid = np.geomspace(1e-4, 0.1, 2000)
    visible = grid[[size.ssim(film, film + np.float32(s) * unit) < 0.99 for s in grid]]
    assert found["SSIM"] == pytest.approx(visible[0], rel=0.01)


def test_where_clipping_shortens_a_change_more_strength_stays_invisible():
    film = np.full((31, 31, 3), 0.99, np.float32)
    unit = np.where(np.indices((31, 31)).sum(axis=0) % 2, np.float32(1), np.float32(-1))[..., None].repeat(3, axis=-1)
    found = visibility.boundaries(film, unit, visibility.thresholds(film))
    # 61 of 121 pixels of a window go down by the strength, 60 go up by 0.01 at most.
    assert found["local mean"] == pytest.approx((LOCAL_SHARE * 0.99 * 121 - 60 * 0.01) / 61, rel=2e-3)
    assert visibility.boundaries(film, np.abs(unit), visibility.thresholds(film))["local mean"] == STRONGEST


def test_a_change_of_nothing_is_invisible_at_any_strength():
    film = np.full((15, 15, 3), 0.5, np.float32)
    found = visibility.boundaries(film, np.zeros_like(film), visibility.thresholds(film))
    assert set(found.values()) == {STRONGEST}


def test_where_clipping_undoes_what_channels_cancel_less_strength_stays_invisible():
    film = np.full((15, 15, 3), 0.5, np.float32)
    film[..., 0] = 0.999
    unit = np.zeros_like(film)
    unit[..., 0], unit[..., 1] = 1, -0.299 / 0.587  # no luminance, until red is clipped
    found = visibility.boundaries(film, unit, visibility.thresholds(film))
    limit = visibility.just_noticeable_difference(255 * (film @ visibility.LUMINANCE)).max() / 255
    assert found["JND"] == pytest.approx(limit / 0.299 + 0.001, rel=5e-3)
