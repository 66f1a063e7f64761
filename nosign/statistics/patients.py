"""Intervals by patient: films of one person are drawn together."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike

from nosign.files import temporary_array
from nosign.statistics.intervals import ALPHA, draws_of

BLOCK = 10**7  # counts, draws x patients or films, that are worked on at once: 80 MB as float64
TILE = (30, 10_000)  # of draws x patients: such a part fits a cache as floats, which makes sums many times as fast
REACH = 5  # of `Patients.median`, ten standard deviations


class Patients:
    """Which films show one person, and the draws of persons that all intervals of a run share.

    Attributes:
        of_film: int [films], each film's patient, from 0.
        count: number of patients.
        draws: number of draws.
    """

    def __init__(self, clusters: ArrayLike, *, draws: int | None = None, seed: int = 0) -> None:
        """Number the patients.

        Args:
            clusters: [films], equal for films of one patient.
            draws: samples of as many patients as there are, with replacement; `draws_of` if None.
            seed: of the draws.
        """
        names, self.of_film = np.unique(np.asarray(clusters), return_inverse=True)
        self.count, self.seed = len(names), seed
        self.draws = draws_of(self.count) if draws is None else draws

    @cached_property
    def times(self) -> np.ndarray:
        """How often each patient is in each draw, uint8 [draws, patients].

        One byte is enough: of more than 255 patients none is drawn so often, but with a chance below 1e-500.
        """
        times, random = temporary_array((self.draws, self.count), np.uint8), np.random.default_rng(self.seed)
        for block in self.blocks(self.count):
            drawn = random.integers(0, self.count, (len(times[block]), self.count))
            drawn += self.count * np.arange(len(drawn))[:, None]
            times[block] = np.bincount(drawn.ravel(), minlength=drawn.size).reshape(drawn.shape)
        return times

    def blocks(self, length: int) -> Iterator[slice]:
        """Yield slices of the draws, together all of them, of at most `BLOCK` counts, of which each draw has `length`."""
        rows = max(1, BLOCK // max(length, 1))
        return (slice(first, first + rows) for first in range(0, self.draws, rows))

    def drawn_sums(self, columns: np.ndarray) -> np.ndarray:
        """Add up values of patients over each draw.

        Args:
            columns: float64 [patients, k]; or float32 for whole numbers, which stay exact up to sums of 2^24.

        Returns:
            The same type, [draws, k].
        """
        sums, (height, width) = np.zeros((self.draws, columns.shape[1]), columns.dtype), TILE
        for left in range(0, self.count, width):
            part = columns[left : left + width]
            for top in range(0, self.draws, height):
                tile = self.times[top : top + height, left : left + width]
                sums[top : top + height] += tile.astype(columns.dtype) @ part
        return sums

    def sums(self, values: ArrayLike) -> np.ndarray:
        """Add up each patient's values, number or bool [films]; float64 [patients]."""
        return np.bincount(self.of_film, np.asarray(values, float), self.count)

    @staticmethod
    def percent(hits: ArrayLike, among: ArrayLike | None = None) -> float:
        """Return the share of films with a yes/no result in per cent, NaN where no film counts; see `share`."""
        hits, among = counted(hits, among)
        return 100 * float((hits & among).sum()) / among.sum() if among.any() else math.nan

    def share(self, hits: ArrayLike, among: ArrayLike | None = None) -> tuple[float, float, float]:
        """Return the share of films with a yes/no result, and its 95 % interval over draws of patients.

        Args:
            hits: bool [films].
            among: bool [films], the films that count; all if None.

        Returns:
            (share, low, high) in per cent; NaN where no film counts.
        """
        hits, among = counted(hits, among)
        return self.mean_interval(hits & among, among, 0.0)

    def difference(self, first: ArrayLike, second: ArrayLike, among: ArrayLike | None = None) -> tuple[float, float, float]:
        """Return the share with the second of two yes/no results minus that with the first, and its 95 % interval.

        Args:
            first, second: bool [films].
            among: bool [films], the films that count; all if None.

        Returns:
            (difference, low, high) in points; NaN where no film counts.
        """
        (first, among), second = counted(first, among), np.asarray(second, bool)
        return self.mean_interval((second.astype(int) - first) * among, among, -1.0)

    def median(self, values: ArrayLike) -> tuple[float, float, float]:
        """Return the median of films' values, and its 95 % interval over draws of patients.

        Args:
            values: float [films], may be infinite; NaN where a film does not count.

        Returns:
            (median, low, high); NaN where no film counts.
        """
        values = np.asarray(values, float)
        order = np.argsort(values, kind="stable")[: np.count_nonzero(~np.isnan(values))]
        if not len(order):
            return math.nan, math.nan, math.nan
        values, patients = values[order], self.of_film[order]
        films = np.bincount(patients, minlength=self.count)
        # The median of a draw has this place among all values, give or take half the root of the sum of squares; places
        # farther off than ten times that are not looked at. They would lie beyond the ends of the interval anyway.
        reach = REACH * math.sqrt(np.square(films, dtype=float).sum())
        first, last = max(0, int(len(values) / 2 - reach)), min(len(values), int(len(values) / 2 + reach) + 1)
        below = np.bincount(patients[:first], minlength=self.count)
        drawn = self.drawn_sums(np.column_stack([films, below]).astype(np.float32)).astype(np.int32)
        near, patients = values[first:last], patients[first:last]
        medians = np.concatenate(
            [medians_of(near, self.times[block], patients, *drawn[block].T) for block in self.blocks(last - first)]
        )
        low, high = np.quantile(medians[~np.isnan(medians)], (ALPHA / 2, 1 - ALPHA / 2), method="nearest")
        return float(np.median(values)), float(low), float(high)

    def line(self, x: ArrayLike, y: ArrayLike) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
        """Return Pearson's correlation of two values and the slope of y on x, with 95 % intervals over draws of patients.

        Args:
            x, y: float [films]; films with a value that is not finite do not count. Ranks give Spearman's correlation, whose
                interval takes the ranks as they are.

        Returns:
            ((correlation, low, high), (slope, low, high)); NaN for fewer than three films.
        """
        x, y = np.asarray(x, float), np.asarray(y, float)
        counts = np.isfinite(x) & np.isfinite(y)
        if counts.sum() < 3:
            return ((math.nan,) * 3,) * 2
        x, y = (np.where(counts, values - values[counts].mean(), 0) for values in (x, y))  # large means cost digits
        moments = np.column_stack([self.sums(part) for part in (counts, x, y, x * x, y * y, x * y)])
        drawn = np.vstack([moments.sum(0), self.drawn_sums(moments)]).T
        with np.errstate(invalid="ignore", divide="ignore"):
            n, x_mean, y_mean = drawn[0], drawn[1] / drawn[0], drawn[2] / drawn[0]
            xx, yy, xy = drawn[3] / n - x_mean**2, drawn[4] / n - y_mean**2, drawn[5] / n - x_mean * y_mean
            both = xy / np.sqrt(xx * yy), xy / xx
        return estimate_of(both[0]), estimate_of(both[1])

    def mean_interval(self, values: np.ndarray, among: np.ndarray, least: float) -> tuple[float, float, float]:
        """Return the mean of values and its percentile interval over draws of patients, both times 100.

        Where all patients agree, every draw gives the same, which would claim certainty. The interval then reaches as far as
        that of a share of none of as many patients (Clopper and Pearson, 1934, doi:10.1093/biomet/26.4.404).

        Args:
            values: number [films], 0 for films that do not count.
            among: bool [films], the films that count; or int [films], of how many values each film's is the sum.
            least: the smallest possible mean; the largest is 1.

        Returns:
            (mean, low, high); NaN where no film counts.
        """
        sums, films = self.sums(values), self.sums(among)
        if not films.sum():
            return math.nan, math.nan, math.nan
        mean = 100 * sums.sum() / films.sum()
        if np.allclose(100 * sums, mean * films):
            reach = 100 * (1 - (ALPHA / 2) ** (1 / np.count_nonzero(films)))
            return mean, max(mean - reach, 100 * least), min(mean + reach, 100.0)
        drawn = self.drawn_sums(np.column_stack([sums, films]).astype(np.float32))
        drawn = drawn[drawn[:, 1] > 0].astype(float)
        low, high = np.quantile(drawn[:, 0] / drawn[:, 1], (ALPHA / 2, 1 - ALPHA / 2))
        return mean, 100 * low, 100 * high


def estimate_of(drawn: np.ndarray) -> tuple[float, float, float]:
    """Return an estimate, which comes first, and the percentile interval of its draws, which follow it."""
    known = drawn[1:][~np.isnan(drawn[1:])]
    if not len(known):
        return float(drawn[0]), math.nan, math.nan
    low, high = np.quantile(known, (ALPHA / 2, 1 - ALPHA / 2))
    return float(drawn[0]), float(low), float(high)


def medians_of(values: np.ndarray, times: np.ndarray, patients: np.ndarray, size: np.ndarray, below: np.ndarray) -> np.ndarray:
    """Return the median of each sample, float64 [draws]; NaN where a sample is empty.

    Args:
        values: float [n], ascending, those among which the medians are; one that lies beyond is taken for the first or last.
        times: uint8 [draws, patients], how often each patient is in each sample.
        patients: int [n], whose each value is.
        size: int32 [draws], of each sample.
        below: int32 [draws], how many of it are smaller than `values`.
    """
    upto = np.cumsum(np.take(times, patients, axis=1), axis=1, dtype=np.int32)
    # The two middle values of the sample; of an odd one the same.
    low, high = (
        values[[min(row.searchsorted(middle), len(values) - 1) for row, middle in zip(upto, middles)]]
        for middles in ((size + 1) // 2 - below, size // 2 + 1 - below)
    )
    # Not their mean where they are equal, as infinite ones are.
    with np.errstate(invalid="ignore"):
        medians = np.where(low == high, low, (low + high) / 2)
    return np.where(size > 0, medians, np.nan)


def counted(hits: ArrayLike, among: ArrayLike | None) -> tuple[np.ndarray, np.ndarray]:
    """Return a yes/no result and the films that count, both bool [films]."""
    hits = np.asarray(hits, bool)
    return hits, np.ones(hits.shape, bool) if among is None else np.asarray(among, bool)
