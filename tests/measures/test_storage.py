"""What storing makes of films: rounding and JPEG."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nosign.measures.storage import STORAGES


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
