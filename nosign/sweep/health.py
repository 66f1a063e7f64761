"""The health report: signs of masked gradients (Athalye et al., 2018, arXiv:1802.00420) in a finished sweep."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from nosign.attacks.catalogue import ATTACKS
from nosign.dataset import CLASSES
from nosign.measures.outcome import Outcome
from nosign.rows import LABEL, Cell, read_cell
from nosign.sweep.gradients import UNBOUNDED_FILMS
from nosign.sweep.jobs import Job


def films_right(job: Job, clean: pd.DataFrame) -> dict[Cell, int]:
    """Count the films that the source model gets right in each finished cell.

    Args:
        job: `Job`.
        clean: what `nosign.rows.read_clean_logits` returned.

    Returns:
        Dict from cell to count, attack by attack, strengths ascending.
    """
    attacks = list(dict.fromkeys(cell.attack for cell in job.cells))
    cells = sorted(job.cells, key=lambda cell: (attacks.index(cell.attack), cell.strength))
    return {cell: count_right(read_cell(job.path(cell), clean)[0], job.source) for cell in cells}


def count_right(frame: pd.DataFrame, model: str) -> int:
    """Return how many films of a frame of rows a model gets right."""
    return int(Outcome().hits(frame[model].to_numpy(), frame[LABEL].to_numpy()).sum())


def health_report(health: Mapping[str, float], job: Job, clean: pd.DataFrame, right: Mapping[Cell, int]) -> dict[str, Any]:
    """Look for signs of masked gradients.

    Args:
        health: what `FirstGradients.health` returned.
        job: `Job`.
        clean: what `nosign.rows.read_clean_logits` returned.
        right: what `films_right` returned.

    Returns:
        Dict for the manifest: what was counted, and `warnings`, a sentence each.
    """
    rises = [
        {"attack": low.attack, "from": low.strength, "to": high.strength, "films": right[high] - right[low]}
        for low, high in pairwise(right)
        if low.attack == high.attack and right[high] > right[low]
    ]
    warnings = [*warnings_of_gradients(health, job, len(clean)), *warnings_of_rises(rises, job, len(clean))]
    warnings += warnings_without_bounds(health, job, len(clean))
    wrong = len(clean) - count_right(clean, job.source)
    return {**health, "films_wrong_before_the_attack": wrong, "accuracy_rises_with_strength": rises, "warnings": warnings}


def warnings_of_gradients(health: Mapping[str, float], job: Job, films: int) -> list[str]:
    """Return a sentence for each kind of gradient that moves no film."""
    return [
        f"{health[what]} of {films} {what.replace('_', ' ')}: no attack moves them; is {job.source} saturated?"
        for what in ("films_with_zero_gradient", "films_with_nan_or_infinite_gradient")
        if health[what]
    ]


def warnings_of_rises(rises: list[dict[str, Any]], job: Job, films: int) -> list[str]:
    """Return a sentence for each rise of accuracy with strength that is more than noise; none for targeted attacks."""
    # Two standard errors of a count, at most sqrt(n) / 2 each.
    noise = np.sqrt(films)
    return [
        f"{ATTACKS[rise['attack']].title}: {rise['films']} more films right at {rise['to']:g} than at "
        f"{rise['from']:g}; a stronger attack should not do less"
        for rise in rises
        if rise["films"] > noise and not Outcome.of(job.condition).is_targeted
    ]


def warnings_without_bounds(health: Mapping[str, float], job: Job, films: int) -> list[str]:
    """Return a sentence if an attack without bounds leaves more right than chance; none for targeted attacks."""
    chance, left = 1 / len(CLASSES), health["unbounded_accuracy"]
    error = np.sqrt(chance * (1 - chance) / min(UNBOUNDED_FILMS, films))
    if left <= chance + 2 * error or Outcome.of(job.condition).is_targeted:
        return []
    return [
        f"an attack without bounds leaves {100 * left:.0f} % right, more than chance: the gradients of {job.source} mislead"
    ]
