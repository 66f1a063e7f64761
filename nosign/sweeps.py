"""Finished sweeps film by film: the cells of one source model and condition, and the files that lie beside cells.

What compares attacks beyond Tables II and III, in `nosign.effort` and `nosign.visibility`, starts from here.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from nosign.attacks import PAIRS, Condition
from nosign.dataset import CLASSES
from nosign.errors import UserError
from nosign.tables import check_classes, condition_suffix, read_clean, read_rows, recorded_films

ADVICE = "remove it and the cell beside it, and run attack.py again"


@dataclass(frozen=True)
class FinishedSweep:
    """The finished cells of one source model under one condition.

    Attributes:
        source: model whose gradients were followed.
        condition: name of a `Condition`.
        films_are: what `tables.recorded_films` returned.
        clean: what `tables.read_clean` returned.
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

    def effect_percent(self, predicted, labels=None):
        """Return the share of films that are seen rightly, or that are taken for the class aimed at, in per cent.

        Args:
            predicted: classes that a model sees.
            labels: these films' own classes; those of all test films if None. Films of the class aimed at do not count.

        Returns:
            float, NaN if no film counts.
        """
        predicted, labels = np.asarray(predicted), self.labels if labels is None else np.asarray(labels)
        if self.aim is None:
            hits = predicted == labels
        else:
            hits = predicted[labels != CLASSES.index(self.aim)] == CLASSES.index(self.aim)
        return 100 * float(hits.mean()) if len(hits) else math.nan

    def turned(self, target, predicted):
        """Return, a bool a film, which ones the attack turned: right before and wrong now, or newly taken for the aim."""
        before, after = self.clean[target].to_numpy(), np.asarray(predicted)
        if self.aim is None:
            return (before == self.labels) & (after != self.labels)
        aim = CLASSES.index(self.aim)
        return (self.labels != aim) & (before != aim) & (after == aim)


def models_in(columns, clean):
    """Return the models of the clean predictions of which a file has columns."""
    return [model for model in clean.columns.drop(["film", "label"]) if model in columns]


def read_fields(path, required, advice, *, words=None, infinite=(), empty=()):
    """Read a CSV file of finite numbers, with exceptions.

    Args:
        path, required, advice: as for `tables.read_rows`.
        words: the one column that holds words, if any.
        infinite: columns that may hold infinity; they may be absent.
        empty: columns with fields that may be empty; they may be absent.

    Returns:
        Frame, float64 but for `words`; empty fields are NaN.

    Raises:
        UserError: as `tables.read_rows`, or a field is no such number.
    """
    frame = read_rows(path, required, advice)
    numbers = [column for column in frame.columns if column != words]
    fields = frame[numbers].apply(pd.to_numeric, errors="coerce").astype(float)
    fine = np.isfinite(fields)
    for column in fields.columns.intersection(infinite):
        fine[column] |= fields[column] == math.inf
    for column in fields.columns.intersection(empty):
        fine[column] |= frame[column].isna()
    if words:
        fine[words] = frame[words].notna()
        fields[words] = frame[words].astype(str)
    broken = ~fine.to_numpy().all(axis=1)
    if broken.any():
        raise UserError(f"{path}: line {broken.argmax() + 2}: a field is empty or not a number; {advice}")
    return fields


def finished_sweeps(results, cells):
    """Sort finished cells by source and condition.

    Args:
        results: the results folder.
        cells: what `tables.read_films` returned.

    Returns:
        List of `FinishedSweep`, in the order of `cells`.

    Raises:
        UserError: `clean.csv` is missing or malformed.
    """
    clean, films_are, sweeps = read_clean(results), recorded_films(results), {}
    for cell in cells:
        place = cell.source, cell.condition
        sweep = sweeps.setdefault(place, FinishedSweep(*place, films_are, clean, {}, {}))
        sweep.paths[cell.attack, cell.strength] = cell.path
        sweep.cells[cell.attack, cell.strength] = cell.films
    return list(sweeps.values())


def beside(path, what):
    """Return the path of a file that belongs to a cell, such as 0.003.steps.csv for 0.003.csv."""
    return path.with_name(f"{path.name.removesuffix('.csv')}.{what}.csv")


def read_by_word(path, word, required, clean, **options):
    """Read a file that holds, for every value of one column of words, a row a film.

    Args:
        path: the file.
        word: that column.
        required: the other columns that must be there; "film" and "label" always must.
        clean: what `tables.read_clean` returned.
        options: for `read_fields`.

    Returns:
        Dict from the column's values, in the file's order, to frames, one row a film in the order of `clean`.

    Raises:
        UserError: the file is malformed or of other films than `clean`.
    """
    frame = read_fields(path, ("film", "label", word, *required), ADVICE, words=word, **options)
    models = models_in(frame.columns, clean)
    if not models:
        raise UserError(f"{path}: predictions of no model of clean.csv in it; {ADVICE}")
    check_classes(path, frame, models, ADVICE)
    parts = {value: rows.reset_index(drop=True) for value, rows in frame.groupby(word, sort=False)}
    for rows in parts.values():
        if not np.array_equal(rows[["film", "label"]], clean[["film", "label"]]):
            raise UserError(f"{path}: its films under '{rows[word].iloc[0]}' are not the {len(clean)} of clean.csv; {ADVICE}")
    return parts


def twins(keys):
    """Yield (sign key, no-sign key) of (attack, strength) where both attacks of a pair are finished at the strength."""
    for sign, no_sign in PAIRS:
        for attack, strength in keys:
            if attack == sign and (no_sign, strength) in keys:
                yield (sign, strength), (no_sign, strength)
