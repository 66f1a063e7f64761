"""The health report of a sweep: signs of masked gradients, from its rows."""

from __future__ import annotations

import numpy as np
import pandas as pd

from nosign.attacks.catalogue import ATTACKS
from nosign.dataset import CLASSES
from nosign.rows import Cell, read_cell
from nosign.sweep.jobs import Job
from nosign.sweep.sweep import UNBOUNDED_FILMS


def health_report(found: dict, job: Job, clean: pd.DataFrame) -> dict:
    """Look for the signs of masked gradients (Athalye et al., 2018, arXiv:1802.00420) in a finished sweep.

    Args:
        found: dict of `nosign.sweep.sweep.Sweep.health`.
        job: `nosign.sweep.jobs.Job`.
        clean: frame of `nosign.rows.read_clean_logits`.

    Returns:
        dict for the manifest: what was counted, and `warnings`, one sentence each.
    """
    source, chance = job.source, 1 / len(CLASSES)
    wrong = int((clean[source] != clean["label"]).sum())
    rises = []
    for attack in dict.fromkeys(cell.attack for cell in job.cells):
        strengths = sorted(cell.strength for cell in job.cells if cell.attack == attack)
        right = []
        for strength in strengths:
            frame, _ = read_cell(job.path(Cell(attack, strength)), clean)
            right.append(int((frame[source] == frame["label"]).sum()))
        rises += [
            {"attack": attack, "from": low, "to": high, "films": after - before}
            for low, high, before, after in zip(strengths, strengths[1:], right, right[1:])
            if after > before
        ]
    warnings = []
    for what in ("films_with_zero_gradient", "films_with_nan_or_infinite_gradient"):
        if found[what]:
            warnings.append(
                f"{found[what]} of {len(clean)} {what.replace('_', ' ')}: no attack moves them; is {source} saturated?"
            )
    # Two standard errors of a count, at most sqrt(n) / 2 each.
    noise = np.sqrt(len(clean))
    for rise in rises:
        if rise["films"] > noise and job.condition.target is None:
            warnings.append(
                f"{ATTACKS[rise['attack']].title}: {rise['films']} more films right at {rise['to']:g} than at "
                f"{rise['from']:g}; a stronger attack should not do less"
            )
    error = np.sqrt(chance * (1 - chance) / min(UNBOUNDED_FILMS, len(clean)))
    if found["unbounded_accuracy"] > chance + 2 * error and job.condition.target is None:
        warnings.append(
            f"an attack without bounds leaves {100 * found['unbounded_accuracy']:.0f} % right, more than chance: "
            f"the gradients of {source} mislead"
        )
    return {**found, "films_wrong_before_the_attack": wrong, "accuracy_rises_with_strength": rises, "warnings": warnings}
