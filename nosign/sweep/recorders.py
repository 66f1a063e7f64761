"""What is recorded of each film under a cell: one class per record, and one entry in `recorders_for`.

A recorder takes each batch with `add` and gives a frame, or arrays, with `frame`; `ending` names the cell's file that they
belong to. Frames of one file stand side by side, one row per film.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import pandas as pd
from scipy.special import expit, logsumexp, softmax

from nosign.attacks.catalogue import LOSSES, Condition
from nosign.backend import to_numpy
from nosign.dataset import CLASSES, FilmSet
from nosign.measures.storage import STORAGES
from nosign.rows import ROUNDED, ROUNDED_MEASURES, ROWS, SIZES, STEPS, STORED, VIEWER, VISIBILITY, logit_frame
from nosign.sweep.engine import Engine, in_order, padded

VIEWER_FILMS = 2  # of each class


class Attacking(Protocol):
    """What recorders ask of a sweep; see `nosign.sweep.sweep`."""

    engine: Engine
    source: str
    condition: Condition
    films: FilmSet

    @property
    def targeted(self) -> bool:
        """Whether the attacks aim at one class."""

    def first(self) -> Any:
        """Return the gradients and logits at the films themselves."""


@dataclass
class Batch:
    """A batch of films before and after the attack; predictions are made when a recorder first asks for them.

    Attributes:
        sweep: whose films they are.
        start, stop: positions of the films in the set; the batch itself may be filled up.
        films: float32 [n, height, width, 3], before the attack.
        labels: float32 one-hot [n, classes], those whose loss the attack follows.
        changed: the adversarial films, a backend tensor or an array.
        steps: one entry per step: ((cosine, product) of `step_effect`, logits before it or None).
        before: each target's logits before the attack, dict from name to float32 [stop - start, classes].
    """

    sweep: Attacking
    start: int
    stop: int
    films: np.ndarray
    labels: np.ndarray
    changed: Any
    steps: list
    before: dict[str, np.ndarray]

    def __len__(self) -> int:
        return self.stop - self.start

    @cached_property
    def pixels(self) -> np.ndarray:
        """The adversarial films, float32 [n, height, width, 3]."""
        return to_numpy(self.changed)

    @cached_property
    def logits(self) -> dict[str, np.ndarray]:
        """Each target's logits on the adversarial films."""
        return self.sweep.engine.predict(self.changed)

    @cached_property
    def rounded(self) -> dict[str, np.ndarray]:
        """Each target's logits on the adversarial films in 8 bits."""
        return self.sweep.engine.after_rounding(self.films, self.pixels, self.before)


class KeptFilms:
    """Keeps the adversarial films in an array that lies on disk."""

    ending = None  # the array is the file

    def __init__(self, array: np.ndarray):
        self.array = array

    def add(self, batch: Batch) -> None:
        """Keep a batch's films."""
        self.array[batch.start : batch.stop] = batch.pixels[: len(batch)]


class Measures:
    """Measures perturbations, in threads, while the models run."""

    ending = ROWS

    def __init__(self, sweep: Attacking):
        self.engine, self.started = sweep.engine, []

    def add(self, batch: Batch) -> None:
        """Start to measure a batch's films."""
        measure = self.engine.measure
        self.started += [
            self.engine.pool.submit(measure, batch.start + i, batch.films[i], batch.pixels[i]) for i in range(len(batch))
        ]

    def frame(self) -> pd.DataFrame:
        """Return the columns of `SIZES`, `VISIBILITY` and `ROUNDED_MEASURES`."""
        return pd.DataFrame([future.result() for future in self.started], columns=[*SIZES, *VISIBILITY, *ROUNDED_MEASURES])


class Predictions:
    """Records each target's logits, on the film and on the film in 8 bits."""

    ending = ROWS

    def __init__(self):
        self.parts = []

    def add(self, batch: Batch) -> None:
        """Record a batch's logits."""
        outputs = {**batch.logits, **{name + ROUNDED: logits for name, logits in batch.rounded.items()}}
        self.parts.append(logit_frame(outputs)[: len(batch)])

    def frame(self) -> pd.DataFrame:
        """Return the columns of logits."""
        return pd.concat(self.parts, ignore_index=True)


class Steps:
    """Records each step: its cosine with the gradient, the gain that the gradient predicts and the gain that happened."""

    ending = STEPS

    def __init__(self, sweep: Attacking):
        self.sweep, self.parts = sweep, []

    def add(self, batch: Batch) -> None:
        """Record a batch's steps; a control has none."""
        if batch.steps:
            self.parts.append(self.rows_of(batch))

    def rows_of(self, batch: Batch) -> pd.DataFrame:
        """Return the frame of a batch's steps."""
        length, films = len(batch.labels), self.sweep.films.rows[batch.start : batch.stop]
        logits = [
            padded(self.sweep.first().logits[batch.start : batch.stop], length) if before is None else to_numpy(before)
            for _, before in batch.steps
        ]
        side = -1 if self.sweep.targeted else 1  # what targeted attacks climb is minus the loss
        odds = [log_odds_against(batch.labels, outputs) for outputs in (*logits, batch.logits[self.sweep.source])]
        losses = [np.logaddexp(0, m) for m in odds]  # cross-entropy
        # The gradient of a loss that is a mistake predicts nothing of the loss itself.
        known = 1.0 if self.sweep.condition.loss == LOSSES[0] else np.nan
        parts = []
        for number, ((cosine, product), _) in enumerate(batch.steps):
            predicted = known * to_numpy(product).astype(np.float64)
            columns = {
                "film": padded(films, length),
                "step": number + 1,
                "cosine": to_numpy(cosine),
                "predicted": expit(odds[number]) * predicted,
                "gained": side * (losses[number + 1] - losses[number]),
                "predicted_log_odds": predicted,
                "gained_log_odds": side * (odds[number + 1] - odds[number]),
            }
            parts.append(pd.DataFrame(columns)[: len(batch)])
        return pd.concat(parts, ignore_index=True)

    def frame(self) -> pd.DataFrame | None:
        """Return one row per film and step, step by step; None if there are none."""
        return in_order(self.parts, "step")


class Storage:
    """Records the class that each target sees after storing."""

    ending = STORED

    def __init__(self, sweep: Attacking, storages: Sequence[str]):
        self.engine, self.storages, self.parts = sweep.engine, storages, []

    def add(self, batch: Batch) -> None:
        """Store and classify a batch's films."""
        self.parts += self.engine.stored_rows(batch.start, batch.stop, batch.pixels, batch.rounded, self.storages)

    def frame(self) -> pd.DataFrame | None:
        """Return one row per film and way of storing, way by way."""
        return in_order(self.parts, "storage", list(STORAGES))


class ViewerFilms:
    """Keeps what the report's viewer shows of a few films: the change of each pixel and what each model makes of it."""

    ending = VIEWER

    def __init__(self, sweep: Attacking, clean: pd.DataFrame):
        """Choose the films: the first of each class that the source model gets right, or the first if it gets none right."""
        right = (clean[sweep.source] == clean["label"]).to_numpy()
        positions: list = []
        for label in range(len(CLASSES)):
            of_class = np.flatnonzero(sweep.films.labels == label)
            right_first = np.concatenate([of_class[right[of_class]], of_class[~right[of_class]]])
            positions += list(right_first[:VIEWER_FILMS])
        self.sweep, self.positions = sweep, sorted(map(int, positions))
        self.changes: list = []
        self.probabilities: list = []

    def add(self, batch: Batch) -> None:
        """Keep those of a batch's films that are chosen."""
        for position in (position for position in self.positions if batch.start <= position < batch.stop):
            i = position - batch.start
            self.changes.append((batch.pixels[i] - batch.films[i]).astype(np.float16))
            self.probabilities.append([softmax(outputs[i].astype(np.float64)) for outputs in batch.logits.values()])

    def frame(self) -> dict[str, np.ndarray]:
        """Return the arrays for `numpy.savez`: a few films [k, ...], models [m], probabilities [m, k, classes]."""
        engine, films = self.sweep.engine, self.sweep.films
        rows = films.rows[self.positions]
        return {
            "films": rows,
            "labels": films.labels[self.positions],
            "original": films.images[rows],
            "change": np.stack(self.changes),
            "models": np.array(list(engine.logits)),
            "probabilities": np.array(self.probabilities, np.float32).swapaxes(0, 1),
            "clean_probabilities": np.array(engine.original_probabilities(tuple(self.positions)), np.float32),
        }


def recorders_for(
    sweep: Attacking, clean: pd.DataFrame, *, storages: Sequence[str] = (), keep: np.ndarray | None = None, attacks: bool = True
) -> list:
    """Return the recorders of a cell, in the order of the columns of its rows after the film's own.

    Args:
        clean: frame of `nosign.rows.read_clean_logits`.
        storages: ways of storing to record.
        keep: array that receives the adversarial films, or None.
        attacks: whether the films are attacked now, rather than kept ones scored.
    """
    # The measures are started first and collected last, so that threads measure while the models run.
    recorders: list = [Measures(sweep), Predictions()]
    if keep is not None:
        recorders.insert(0, KeptFilms(keep))
    if attacks:
        recorders += [Steps(sweep), ViewerFilms(sweep, clean)]
    if storages:
        recorders.append(Storage(sweep, storages))
    return recorders


def record(identity: pd.DataFrame, recorders: list) -> dict:
    """Return what was recorded, dict from the ending of a cell's file to its frame or arrays.

    Args:
        identity: the columns that open the cell's rows.
        recorders: those of `recorders_for`, which have seen every batch.
    """
    # Predictions before measures, as rows have always been laid out; what is new comes last.
    of_films = sorted((one for one in recorders if one.ending == ROWS), key=lambda one: not isinstance(one, Predictions))
    others = {recorder.ending: recorder.frame() for recorder in recorders if recorder.ending not in (ROWS, None)}
    return {ending: frame for ending, frame in others.items() if frame is not None} | {
        ROWS: pd.concat([identity, *(one.frame() for one in of_films)], axis=1)
    }


def log_odds_against(labels: np.ndarray, logits: np.ndarray) -> np.ndarray:
    """Return the log-odds against each film's label, float64 [n]; see `nosign.attacks.gradients.log_odds_against`."""
    logits, labelled = logits.astype(np.float64), labels > 0
    return logsumexp(np.where(labelled, -np.inf, logits), axis=-1) - logits[labelled]
