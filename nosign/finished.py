"""Finished sweeps film by film: the cells of one source model under one condition, and what counts as an effect there.

What compares attacks beyond Tables II and III, in `nosign.findings.effort` and `nosign.visibility`, starts from here.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from nosign.attacks.catalogue import PAIRS, Condition
from nosign.dataset import CLASSES
from nosign.findings.accuracy import with_share
from nosign.output.words import condition_suffix
from nosign.rows import models_in


@dataclass(frozen=True)
class FinishedSweep:
    """The finished cells of one source model under one condition.

    Attributes:
        source: model whose gradients were followed.
        condition: name of a `Condition`.
        films_are: what `nosign.rows.recorded_films` returned.
        clean: what `nosign.rows.read_clean` returned.
        paths: dict from (attack, strength) to the cell's file, in the order of tables.
        cells: dict from the same keys to the cell's float64 frame, one row a film in the order of `clean`.
    """

    source: str
    condition: str
    films_are: str
    clean: pd.DataFrame
    paths: dict
    cells: dict

    @property
    def aim(self):
        """Return the class that the attacks aim at, None if any wrong one will do."""
        return Condition.parse(self.condition).target

    @property
    def suffix(self):
        """Return the ending of the names of this sweep's tables and figures."""
        return condition_suffix(self.source, self.condition)

    @cached_property
    def labels(self):
        """Return the test films' classes, float64 [films]."""
        return self.clean["label"].to_numpy()

    @cached_property
    def targets(self):
        """Return the models that were attacked in at least one cell, in the order of `clean`."""
        return models_in(set().union(*self.cells.values()), self.clean)

    @property
    def described(self):
        """Return what captions say of films and gradients."""
        return f"{len(self.clean)} {self.films_are}, gradients from {self.source}, condition '{self.condition}'"

    @property
    def heading(self):
        """Return how a sentence on this sweep begins."""
        return f"Condition '{self.condition}', gradients from {self.source}"

    @property
    def effect(self):
        """Return the name of what `effect_percent` measures."""
        return "success" if self.aim else "accuracy"

    @property
    def counted(self):
        """Return the names of two columns of tables: the films that show the effect, and the films that could."""
        return ("succeeded", "attackable") if self.aim else ("correct", "films")

    def hits(self, predicted, labels=None):
        """Return which films are seen rightly, or are taken for the class aimed at.

        Args:
            predicted: classes that a model sees.
            labels: these films' own classes; those of all test films if None. Films of the class aimed at do not count.

        Returns:
            bool array, an entry for each film that counts.
        """
        predicted, labels = np.asarray(predicted), self.labels if labels is None else np.asarray(labels)
        if self.aim is None:
            return predicted == labels
        return predicted[labels != CLASSES.index(self.aim)] == CLASSES.index(self.aim)

    def effect_percent(self, predicted, labels=None):
        """Return the share of `hits` in per cent, NaN if no film counts."""
        hits = self.hits(predicted, labels)
        return 100 * float(hits.mean()) if len(hits) else math.nan

    def with_percent(self, frame, ending=""):
        """Return a frame with the share of `counted` in per cent and its Wilson 95 % interval.

        Args:
            frame: has the two columns of `counted`, the first with the ending.
            ending: of the names of all columns but that of the films that could.
        """
        count, among = self.counted
        return with_share(
            frame,
            count + ending,
            among,
            f"{self.effect}_percent{ending}",
            (f"ci_low_percent{ending}", f"ci_high_percent{ending}"),
        )

    def turned(self, target, predicted):
        """Return, a bool a film, which ones the attack turned: right before and wrong now, or newly taken for the aim."""
        before, after = self.clean[target].to_numpy(), np.asarray(predicted)
        if self.aim is None:
            return (before == self.labels) & (after != self.labels)
        aim = CLASSES.index(self.aim)
        return (self.labels != aim) & (before != aim) & (after == aim)


def finished_sweeps(cells, clean, films_are):
    """Sort finished cells by source and condition.

    Args:
        cells, clean, films_are: what `read_films`, `read_clean` and `recorded_films` of `nosign.rows` returned.

    Returns:
        List of `FinishedSweep`, in the order of `cells`.
    """
    sweeps = {}
    for cell in cells:
        place = cell.source, cell.condition
        sweep = sweeps.setdefault(place, FinishedSweep(*place, films_are, clean, {}, {}))
        sweep.paths[cell.attack, cell.strength] = cell.path
        sweep.cells[cell.attack, cell.strength] = cell.films
    return list(sweeps.values())


def twins(keys):
    """Yield (sign key, no-sign key) of (attack, strength) where both attacks of a pair are finished at the strength."""
    for sign, no_sign in PAIRS:
        for attack, strength in keys:
            if attack == sign and (no_sign, strength) in keys:
                yield (sign, strength), (no_sign, strength)
