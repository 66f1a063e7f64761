"""How visible a perturbation is, against formulas; and where it becomes visible, against cases computed by hand."""

import numpy as np
import pytest

from nosign.measures import size, visibility
from nosign.measures.visibility import LOCAL_FLOOR, LOCAL_SHARE, STRONGEST


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


def test_halfway_between_half_and_twice_the_limit_is_the_geometric_mean_of_the_strengths():
    strengths, beyond, last = visibility.interpolated_boundaries([0.001, 0.004], np.array([[0.5], [2.0]]))
    assert strengths == pytest.approx([0.002]) and beyond.tolist() == [0] and last.tolist() == [0]


def test_ssim_of_099_is_reached_halfway_where_the_loss_is_a_quarter_and_four_times_the_allowed():
    ratios = np.stack([visibility.CRITERIA["SSIM"].over_limit([ssim]) for ssim in (0.9975, 0.96)])
    assert ratios.ravel() == pytest.approx([0.25, 4])
    assert visibility.interpolated_boundaries([0.001, 0.004], ratios)[0] == pytest.approx([0.002])


@pytest.mark.parametrize("power", [1, 2])
def test_a_measure_that_is_a_power_of_the_strength_is_interpolated_exactly(power):
    strengths, wanted = np.array([0.001, 0.003, 0.01, 0.02]), np.array([0.0011, 0.0029, 0.005, 0.019])
    found, beyond, last = visibility.interpolated_boundaries(strengths, (strengths[:, None] / wanted) ** power)
    assert found == pytest.approx(wanted) and not beyond.any() and last.tolist() == [0, 0, 1, 2]


def test_a_film_beyond_the_strengths_has_the_last_one_as_its_bound():
    found, beyond, last = visibility.interpolated_boundaries([0.001, 0.004], np.array([[0.1, 2.0], [0.9, 8.0]]))
    assert found.tolist() == [0.004, 0.001] and beyond.tolist() == [1, -1] and last.tolist() == [1, -1]


def test_the_first_crossing_counts_where_a_measure_falls_again():
    found, _, last = visibility.interpolated_boundaries([1, 4, 16, 64], np.array([[0.5], [2], [0.5], [2]]))
    assert found == pytest.approx([2]) and last.tolist() == [0]


def test_a_ratio_of_exactly_one_is_invisible():
    found, beyond, last = visibility.interpolated_boundaries([1, 2, 4], np.array([[0.5], [1], [2]]))
    assert found == pytest.approx([2]) and beyond.tolist() == [0] and last.tolist() == [1]


def test_a_film_unchanged_before_it_becomes_visible_has_a_boundary_between():
    found, _, _ = visibility.interpolated_boundaries([1, 2], np.array([[0.0], [2.0]]))
    assert 1 < found[0] < 2


def test_one_strength_bounds_every_film_from_one_side():
    found, beyond, last = visibility.interpolated_boundaries([0.5], np.array([[0.5, 2]]))
    assert found.tolist() == [0.5, 0.5] and beyond.tolist() == [1, -1] and last.tolist() == [0, -1]


def test_every_criterion_has_a_measure():
    assert list(visibility.CRITERION_COLUMNS) == list(visibility.CRITERIA)
