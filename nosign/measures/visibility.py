"""How visible a perturbation is, and the strength at which it becomes visible."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from nosign.measures.size import ssim

# The paper's proposal: a perturbation is invisible while its local mean stays below a share of the local mean of the grey
# levels. Share, window and floor are ours: about the eye's contrast threshold (Weber's fraction) taken on grey levels, and
# half of one level, which no screen of 8 bits shows.
LOCAL_WINDOW, LOCAL_SHARE, LOCAL_FLOOR = 11, 0.02, 0.5 / 255
SSIM_INVISIBLE = 0.99
MOST_PIXELS = 0.99  # of "JND 99 %"
# Rec. ITU-R BT.601, as Pillow converts to grey.
LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)
STRONGEST = 1.0  # no strength beyond reaches more of [0, 1]
WEAKEST = 1e-5  # no boundary of the SSIM is looked for below
PRECISION = 1e-3  # of boundaries, relative


def thresholds(film: np.ndarray) -> np.ndarray:
    """Return the largest invisible perturbation around and at each pixel.

    Args:
        film: float32 [height, width, 3] in [0, 1].

    Returns:
        float32 [2, height, width], fractions of the grey range: of the local mean, and of the luminance (JND).
    """
    local = np.maximum(LOCAL_SHARE * local_mean(film), LOCAL_FLOOR)
    return np.stack([local, just_noticeable_difference(255 * (film @ LUMINANCE)) / 255]).astype(np.float32)


def local_mean(film: np.ndarray) -> np.ndarray:
    """Return the mean over channels and a window around each pixel, float [height, width]; the edge is mirrored."""
    from scipy.ndimage import uniform_filter

    return uniform_filter(film.mean(axis=-1), LOCAL_WINDOW, mode="reflect")


BACKGROUND = np.array([[1, 1, 1, 1, 1], [1, 2, 2, 2, 1], [1, 2, 0, 2, 1], [1, 2, 2, 2, 1], [1, 1, 1, 1, 1]]) / 32
DOWNWARD = np.array([[0, 0, 0, 0, 0], [1, 3, 8, 3, 1], [0, 0, 0, 0, 0], [-1, -3, -8, -3, -1], [0, 0, 0, 0, 0]]) / 16
DIAGONAL = np.array([[0, 0, 1, 0, 0], [0, 8, 3, 0, 0], [1, 3, 0, -3, -1], [0, 0, -3, -8, 0], [0, 0, -1, 0, 0]]) / 16


def just_noticeable_difference(luminance: np.ndarray) -> np.ndarray:
    """Return how much each pixel may change unseen (Chou and Li, 1995, IEEE Trans. CSVT 5(6), equations 1 to 9).

    The larger of two thresholds: contrast hides changes beside edges, and dark or bright surroundings hide them anywhere.

    Args:
        luminance: float array [height, width] in [0, 255].

    Returns:
        float array [height, width], grey levels of 255.
    """
    from scipy.ndimage import correlate

    luminance = np.asarray(luminance, np.float64)
    background = correlate(luminance, BACKGROUND, mode="mirror")
    edges = (DOWNWARD, DIAGONAL, DIAGONAL[:, ::-1], DOWNWARD.T)
    gradient = np.max([np.abs(correlate(luminance, edge, mode="mirror")) for edge in edges], axis=0)
    masking = gradient * (background * 0.0001 + 0.115) + 0.5 - background * 0.01
    adaptation = np.where(background <= 127, 17 * (1 - np.sqrt(background / 127)) + 3, 3 / 128 * (background - 127) + 3)
    return np.maximum(masking, adaptation)


@dataclass(frozen=True)
class Criterion:
    """One way to say up to where a perturbation is invisible.

    Attributes:
        name: as in rows and tables.
        meaning: what a perturbation satisfies that is invisible, in words.
        column: what the rows of cells call its measure.
        ratio: function of a change, float32 [height, width, 3], and of its film's `thresholds`, that returns the change over
            its limit; None for the similarity, which needs both films.
    """

    name: str
    meaning: str
    column: str
    ratio: Callable[[np.ndarray, np.ndarray], float] | None

    def __str__(self) -> str:
        """Return the meaning."""
        return self.meaning

    def over_limit(self, measured: ArrayLike) -> np.ndarray:
        """Return perturbations over their limit, float [films]: above 1 is visible.

        Args:
            measured: float [films], what rows record in `column`: the ratio itself, or the similarity.
        """
        measured = np.asarray(measured, float)
        return measured if self.ratio else (1 - measured) / (1 - SSIM_INVISIBLE)

    def describe(self, measured: float) -> str:
        """Return the name with one film's measure, in words."""
        return f"{self.name} ({measured:.2g} of its bound)" if self.ratio else f"{self.name} ({measured:.4f})"


CRITERIA = {
    criterion.name: criterion
    for criterion in (
        Criterion(
            "local mean",
            f"the mean absolute perturbation in every window of {LOCAL_WINDOW} x {LOCAL_WINDOW} pixels is at most "
            f"{100 * LOCAL_SHARE:g} % of the mean grey level there (or half of one grey level of 255)",
            "local_ratio",
            lambda change, limits: (local_mean(np.abs(change)) / limits[0]).max(),
        ),
        Criterion(
            "JND",
            "at every pixel the luminance changes by at most the just noticeable difference of Chou and Li (1995)",
            "jnd_ratio",
            lambda change, limits: (np.abs(change @ LUMINANCE) / limits[1]).max(),
        ),
        Criterion(
            "JND 99 %",
            "the same at 99 % of the pixels, so that single ones do not decide",
            "jnd99_ratio",
            lambda change, limits: np.quantile(np.abs(change @ LUMINANCE) / limits[1], MOST_PIXELS),
        ),
        Criterion("SSIM", f"the structural similarity is at least {SSIM_INVISIBLE:g}", "ssim", None),
    )
}
CRITERION_COLUMNS = {name: criterion.column for name, criterion in CRITERIA.items()}


def visibility(change: np.ndarray, limits: np.ndarray) -> tuple[float, ...]:
    """Return a perturbation's ratios to its film's thresholds, floats in the order of `CRITERIA`, without the similarity."""
    return tuple(float(criterion.ratio(change, limits)) for criterion in CRITERIA.values() if criterion.ratio)


def boundaries(film: np.ndarray, unit: np.ndarray, limits: np.ndarray) -> dict[str, float]:
    """Return the largest strength at which a single-step attack stays invisible on a film, by each of `CRITERIA`.

    The change at a strength is the strength times `unit`, clipped to [0, 1]. Where nothing is clipped all
    criteria but SSIM are linear in the strength and solved in closed form; elsewhere from there on by bracketing, as SSIM is.

    Args:
        film: float32 [height, width, 3] in [0, 1].
        unit: float32, the same shape, the change at strength 1.
        limits: what `thresholds` returned for the film.

    Returns:
        dict from criterion to a strength in [0, 1].
    """
    found = {}
    for name, criterion in CRITERIA.items():
        ratio = criterion.ratio
        if ratio is None:
            continue
        whole = ratio(unit, limits)
        start = min(STRONGEST, 1 / float(whole)) if whole else STRONGEST
        found[name] = largest_invisible(film, unit, lambda changed: ratio(changed - film, limits), start)
    found["SSIM"] = largest_invisible(film, unit, lambda changed: (1 - ssim(film, changed)) / (1 - SSIM_INVISIBLE), WEAKEST)
    return found


def largest_invisible(film: np.ndarray, unit: np.ndarray, ratio: Callable[[np.ndarray], float], start: float) -> float:
    """Return the largest strength at which a perturbation stays within its limit, by bracketing.

    Args:
        film, unit: as for `boundaries`.
        ratio: function of a changed film that returns the perturbation over its limit; it grows with the strength.
        start: where it meets the limit if nothing is clipped. Clipping makes a change smaller, and its luminance larger where
            channels that cancelled each other do so no longer.
    """
    from scipy.optimize import brentq

    def excess(log_strength: float) -> float:
        # Ratios grow about with a power of the strength: on logarithmic scales, along a line.
        changed = np.clip(film + np.float32(math.exp(log_strength)) * unit, 0, 1)
        return math.log(max(ratio(changed), 1e-12))

    found = excess(math.log(start))
    if abs(found) <= PRECISION:
        return start
    low, high = (start, STRONGEST) if found < 0 else (WEAKEST, start)
    if found < 0 and excess(math.log(high)) <= 0:
        return STRONGEST
    if found > 0 and (low >= start or excess(math.log(low)) > 0):
        return WEAKEST
    return math.exp(brentq(excess, math.log(low), math.log(high), xtol=PRECISION))


SMALLEST_RATIO = 1e-4  # cells record SSIM with six digits: nearer to zero, a ratio is rounding


def interpolated_boundaries(
    strengths: Sequence[float] | np.ndarray, ratios: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Find the strength at which each film's perturbation first becomes visible.

    Between two strengths the logarithm of the ratio is taken as linear in that of the strength: exact where the measure is
    a power of the strength, as a local mean (1) and the loss of SSIM (2) nearly are.

    Args:
        strengths: float [strengths], ascending, above 0.
        ratios: float [strengths, films], see `Criterion.over_limit`.

    Returns:
        (boundary float64 [films]; beyond int [films]: 1 where the film is still invisible at the largest strength, which
        the boundary then is at least, -1 where it is visible at the smallest, which it is at most, 0 between; last int
        [films], position of the largest strength before the first visible one, -1 if there is none).
    """
    strengths, visible = np.asarray(strengths, float), ratios > 1
    first = np.where(visible.any(axis=0), visible.argmax(axis=0), len(strengths))
    boundary = strengths[np.clip(first, 0, len(strengths) - 1)]
    films = np.flatnonzero((first > 0) & (first < len(strengths)))
    high = first[films]
    below, above = (np.log(np.maximum(ratios[position, films], SMALLEST_RATIO)) for position in (high - 1, high))
    share = below / (below - above)
    boundary[films] = strengths[high - 1] * (strengths[high] / strengths[high - 1]) ** share
    return boundary, np.where(first == 0, -1, np.where(first == len(strengths), 1, 0)), first - 1
