"""Area under the ROC curve, with its interval over draws of patients."""

from __future__ import annotations

import math

import numpy as np

from nosign.statistics.intervals import ALPHA
from nosign.statistics.patients import Patients


def auc(patients: Patients, scores: np.ndarray, positive: np.ndarray, among: np.ndarray) -> tuple[float, float, float]:
    """Return the area under the ROC curve and its 95 % percentile interval over draws of patients.

    The area is the share of (positive, negative) pairs of films of which the positive one has the higher score; ties count
    half (Hanley and McNeil, 1982, doi:10.1148/radiology.143.1.7063747). A draw that lacks films of either kind is left out.

    Args:
        patients: `Patients` of the films.
        scores: float [films], higher for films that are more likely positive.
        positive: bool [films].
        among: bool [films], the films that count.

    Returns:
        (area, low, high) in [0, 1]; NaN where there are no films of either kind. Of an area of 0 or 1 every draw gives the
        same, which would claim certainty: its ends are NaN.
    """
    films = np.flatnonzero(among)[np.argsort(scores[among], kind="stable")]
    is_positive, patients_of = positive[films], patients.of_film[films]
    if is_positive.all() or not is_positive.any():
        return math.nan, math.nan, math.nan
    # For each positive film, in ascending order of score: how many films score less, and how many as much or less.
    ascending = scores[films]
    ends = [np.searchsorted(ascending, ascending[is_positive], side) for side in ("left", "right")]
    area = areas_of(np.ones((1, len(films)), np.uint8), is_positive, ends)[0]
    if area in (0, 1):
        return area, math.nan, math.nan
    areas = [
        areas_of(np.take(patients.times[block], patients_of, axis=1), is_positive, ends)
        for block in patients.blocks(len(films))
    ]
    low, high = np.quantile(np.concatenate(areas), (ALPHA / 2, 1 - ALPHA / 2))
    return float(area), float(low), float(high)


def areas_of(times: np.ndarray, is_positive: np.ndarray, ends: list[np.ndarray]) -> np.ndarray:
    """Return the area of each draw that has films of both kinds, float64 [at most draws].

    A positive film wins against the negative films below it and half of those beside it; summed over films in order of their
    scores, no pair is looked at.

    Args:
        times: uint8 [draws, films], how often each film is in each draw, films in ascending order of score.
        is_positive: bool [films].
        ends: two of int [positives], how many films score less than each positive one, and how many as much or less.
    """
    upto = np.zeros((len(times), times.shape[1] + 1))
    np.cumsum(times * ~is_positive, axis=1, dtype=float, out=upto[:, 1:])
    positives = times[:, is_positive]
    won = sum(np.einsum("ij,ij->i", positives, np.take(upto, end, axis=1)) for end in ends) / 2
    pairs = positives.sum(1, dtype=float) * upto[:, -1]
    return won[pairs > 0] / pairs[pairs > 0]
