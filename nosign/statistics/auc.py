"""Area under the ROC curve, with its interval over draws of patients."""

from __future__ import annotations

import math

import numpy as np

from nosign.statistics.intervals import ALPHA
from nosign.statistics.patients import Patients

BLOCKS = 20  # into which the draws are split: how often each film is in a block's then takes some megabytes


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
    positives, negatives = np.flatnonzero(among & positive), np.flatnonzero(among & ~positive)
    if not len(positives) or not len(negatives):
        return math.nan, math.nan, math.nan
    wins = np.heaviside(scores[positives][:, None] - scores[negatives], 0.5).astype(np.float32)
    area, areas = float(wins.mean(dtype=float)), []
    if area in (0, 1):
        return area, math.nan, math.nan
    for times in np.array_split(patients.times, BLOCKS):
        of_positives, of_negatives = (times[:, patients.of_film[films]] for films in (positives, negatives))
        pairs = of_positives.sum(1) * of_negatives.sum(1)
        won = ((of_positives @ wins) * of_negatives).sum(1)
        areas.append(won[pairs > 0].astype(float) / pairs[pairs > 0])
    low, high = np.quantile(np.concatenate(areas), (ALPHA / 2, 1 - ALPHA / 2))
    return area, float(low), float(high)
