"""What is recorded of every film of a cell. A new record is one class here and one entry in `all_recorders`."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from functools import cached_property
from typing import Any, Protocol, TypeAlias

import numpy as np
import pandas as pd
from scipy.special import expit, logsumexp, softmax

from nosign.attacks.catalogue import LOSSES, Condition
from nosign.backend import to_numpy
from nosign.dataset import CLASSES
from nosign.measures import size
from nosign.measures.outcome import Outcome
from nosign.measures.storage import EIGHT_BITS, STORAGES
from nosign.measures.visibility import visibility
from nosign.rows import (
    LABEL,
    NEEDED_MEASURES,
    ROUNDED,
    ROUNDED_MEASURES,
    ROWS,
    SIZES,
    STEP_COLUMNS,
    STEPS,
    STORAGE,
    STORED,
    VIEWER,
    VIEWER_ARRAYS,
    VISIBILITY,
    logit_frame,
    logits_in,
)
from nosign.sweep.engine import Batch, Engine, Frames, in_order
from nosign.sweep.gradients import FirstGradients

# What a file of a cell holds: a frame, or arrays for `numpy.savez`.
Record: TypeAlias = pd.DataFrame | dict[str, np.ndarray]
VIEWER_FILMS_PER_CLASS = 2
BATCHES_WAITING = 4  # to be measured: enough that no thread is idle


class Attacking(Protocol):
    """What recorders ask of a sweep; see `nosign.sweep.sweep`."""

    engine: Engine
    source: str
    condition: Condition
    outcome: Outcome

    @property
    def gradients(self) -> FirstGradients:
        """The source model's gradients and logits at the films."""

    def labels(self, positions: np.ndarray) -> np.ndarray:
        """Return the labels whose loss the attacks follow, float32 one-hot [n, classes]."""


class AttackedBatch:
    """A batch of films and their adversarial films; each model sees them once, however many recorders ask.

    Attributes:
        batch: `Batch`.
        changed: the adversarial films, float32 [batch, height, width, 3] in [0, 1], a backend tensor or NumPy array.
        steps: list with each step's effect (see `nosign.attacks.directions.step_effect`) and the logits before it.
    """

    def __init__(self, engine: Engine, batch: Batch, changed: Any, clean: pd.DataFrame, steps: Sequence[tuple] = ()) -> None:
        """Compute nothing yet; `clean` is what `nosign.rows.read_clean_logits` returned."""
        self.engine, self.batch, self.changed, self.clean, self.steps = engine, batch, changed, clean, steps

    @cached_property
    def pixels(self) -> np.ndarray:
        """The adversarial films as a NumPy array."""
        return to_numpy(self.changed)

    @cached_property
    def logits(self) -> dict[str, np.ndarray]:
        """Each model's logits on the adversarial films, float32 [batch, classes]."""
        return self.engine.predict(self.changed)

    @cached_property
    def rounded(self) -> np.ndarray:
        """The adversarial films rounded to 8 bits."""
        return STORAGES[EIGHT_BITS](self.pixels)

    @cached_property
    def rounded_logits(self) -> dict[str, np.ndarray]:
        """Each model's logits on the rounded films; where all changes vanish, those on the clean films."""
        if not np.array_equal(self.rounded, self.batch.films):
            return self.engine.predict(self.rounded)
        clean = self.clean.iloc[self.batch.own]
        return {name: self.batch.filled(logits_in(clean, name)) for name in self.engine.logits}


class Recorder:
    """Records something of every film of a cell.

    Attributes:
        ending: of the cell's file that holds the record; the columns of all records of one file stand side by side.
    """

    ending = ROWS

    def add(self, attacked: AttackedBatch) -> None:
        """Record a batch."""
        raise NotImplementedError

    def frame(self) -> Record | None:
        """Return what the file holds, or arrays for `numpy.savez`; None where there is nothing to write."""
        raise NotImplementedError


class Logits(Recorder):
    """Every model's logits on the adversarial films."""

    def __init__(self) -> None:
        self.parts = Frames()

    def add(self, attacked: AttackedBatch) -> None:
        """Record a batch."""
        self.parts.append(logit_frame(attacked.logits)[: attacked.batch.count])

    def frame(self) -> pd.DataFrame:
        """Return one row per film with each model's `logit_columns`."""
        return self.parts.together()


class RoundedLogits(Logits):
    """Every model's logits on the adversarial films rounded to 8 bits."""

    def add(self, attacked: AttackedBatch) -> None:
        """Record a batch."""
        rounded = {name + ROUNDED: logits for name, logits in attacked.rounded_logits.items()}
        self.parts.append(logit_frame(rounded)[: attacked.batch.count])


class FilmMeasures(Recorder):
    """Numbers of one film after the other, measured in threads while the models see the next batch.

    Attributes:
        columns: names of what `measure` returns.
    """

    columns: Sequence[str] = ()

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.measured: list[Sequence[float]] = []
        self.waiting: deque[Future] = deque()

    def changed(self, attacked: AttackedBatch) -> np.ndarray:
        """Return the films that are measured against the clean ones."""
        return attacked.pixels

    def measure(self, position: int, film: np.ndarray, changed: np.ndarray) -> Sequence[float]:
        """Return the numbers of one film; `position` is its place in the set."""
        return sizes(self.columns, film, changed)

    def add(self, attacked: AttackedBatch) -> None:
        """Start to measure a batch; wait where measuring is the slower part, as what is to be measured takes memory."""
        while len(self.waiting) > (BATCHES_WAITING - 1) * len(attacked.batch.films):
            self.measured.append(self.waiting.popleft().result())
        for position, film, changed in zip(attacked.batch.own, attacked.batch.films, self.changed(attacked)):
            self.waiting.append(self.engine.pool.submit(self.measure, position, film, changed))

    def frame(self) -> pd.DataFrame:
        """Return one row per film with `columns`."""
        self.measured += [future.result() for future in self.waiting]
        self.waiting.clear()
        return pd.DataFrame(self.measured, columns=list(self.columns))


def sizes(names: Iterable[str], film: np.ndarray, changed: np.ndarray) -> list[float]:
    """Return some sizes of a film's perturbation; the names are functions of `nosign.measures.size`."""
    return [getattr(size, name)(film, changed) for name in names]


class Sizes(FilmMeasures):
    """L-inf, L2, SSIM and PSNR."""

    columns = SIZES


class Visibility(FilmMeasures):
    """How far perturbations are above what stays invisible."""

    columns = VISIBILITY

    def measure(self, position: int, film: np.ndarray, changed: np.ndarray) -> Sequence[float]:
        """Return the ratios of one film's perturbation to its limits."""
        return visibility(changed - film, self.engine.limits_of(position, film))


class RoundedSizes(FilmMeasures):
    """L-inf, L2 and SSIM of the films rounded to 8 bits."""

    columns = ROUNDED_MEASURES

    def changed(self, attacked: AttackedBatch) -> np.ndarray:
        """Return the rounded films."""
        return attacked.rounded

    def measure(self, position: int, film: np.ndarray, changed: np.ndarray) -> Sequence[float]:
        """Return the sizes of one film's perturbation."""
        return sizes(NEEDED_MEASURES, film, changed)


class Steps(Recorder):
    """How well the gradient predicts each step's gain; nothing for controls, which take no step along a gradient."""

    ending = STEPS

    def __init__(self, sweep: Attacking) -> None:
        self.sweep = sweep
        self.parts = Frames()

    def add(self, attacked: AttackedBatch) -> None:
        """Record a batch."""
        if not attacked.steps:
            return
        batch, sweep = attacked.batch, self.sweep
        labels = sweep.labels(batch.positions)
        before = [
            batch.filled(sweep.gradients.logits[batch.own]) if logits is None else to_numpy(logits)
            for _, logits in attacked.steps
        ]
        odds = [log_odds_against(labels, logits) for logits in (*before, attacked.logits[sweep.source])]
        losses = [np.logaddexp(0, m) for m in odds]  # cross-entropy
        side = -1 if sweep.outcome.is_targeted else 1  # what targeted attacks climb is minus the loss
        # The gradient of a loss that is a mistake predicts nothing of the loss itself.
        known = 1.0 if sweep.condition.loss == LOSSES[0] else np.nan
        for number, ((cosine, product), _) in enumerate(attacked.steps):
            predicted = known * to_numpy(product).astype(np.float64)
            values = (
                sweep.engine.films.rows[batch.positions],
                number + 1,
                to_numpy(cosine),
                expit(odds[number]) * predicted,
                side * (losses[number + 1] - losses[number]),
                predicted,
                side * (odds[number + 1] - odds[number]),
            )
            self.parts.append(pd.DataFrame(dict(zip(STEP_COLUMNS, values)))[: batch.count])

    def frame(self) -> pd.DataFrame | None:
        """Return one row per film and step.

        Returns:
            Frame, sorted by step, or None:
                film, step
                cosine                                between the step and the gradient
                predicted, gained                     what the gradient predicts and what happened, of cross-entropy
                predicted_log_odds, gained_log_odds   the same of the log-odds against the label
        """
        return in_order(self.parts, STEP_COLUMNS[1]) if self.parts else None


def log_odds_against(labels: np.ndarray, logits: np.ndarray) -> np.ndarray:
    """Return the log-odds against each film's label, float64 [n]; see `nosign.attacks.gradients.log_odds_against`."""
    logits, labelled = logits.astype(np.float64), labels > 0
    return logsumexp(np.where(labelled, -np.inf, logits), axis=-1) - logits[labelled]


class Stored(Recorder):
    """The class that each model sees in the films after storing."""

    ending = STORED

    def __init__(self, engine: Engine, storages: Sequence[str]) -> None:
        self.engine, self.storages = engine, storages
        self.parts = Frames()

    def add(self, attacked: AttackedBatch) -> None:
        """Record a batch."""
        batch = attacked.batch
        for name in self.storages:
            rounded = name == EIGHT_BITS
            logits = attacked.rounded_logits if rounded else self.engine.predict(STORAGES[name](attacked.pixels))
            seen = pd.DataFrame({model: outputs.argmax(-1) for model, outputs in logits.items()})[: batch.count]
            identity = self.engine.identity(batch.own).assign(**{STORAGE: name})
            self.parts.append(pd.concat([identity, seen], axis=1))

    def frame(self) -> pd.DataFrame:
        """Return one row per film and way of storing: film, label, storage, and each model's class."""
        return in_order(self.parts, STORAGE, list(STORAGES))


class ViewerFilms(Recorder):
    """A few films for the report's viewer: the change of each pixel and what each model makes of it."""

    ending = VIEWER

    def __init__(self, sweep: Attacking, clean: pd.DataFrame) -> None:
        """Choose the films, see `viewer_positions`."""
        self.engine, self.clean, self.positions = sweep.engine, clean, viewer_positions(clean, sweep.source)
        self.changes: list[np.ndarray] = []
        self.after: list[list[np.ndarray]] = []

    def add(self, attacked: AttackedBatch) -> None:
        """Keep those of a batch's films that were chosen."""
        for place in np.flatnonzero(np.isin(attacked.batch.own, self.positions)):
            self.changes.append((attacked.pixels[place] - attacked.batch.films[place]).astype(np.float16))
            self.after.append([probabilities(logits[place]) for logits in attacked.logits.values()])

    def frame(self) -> dict[str, np.ndarray]:
        """Return arrays of k films: rows and labels [k], models [m], probabilities [m, k, classes], pixels [k, ...]."""
        films, rows = self.engine.films, self.engine.films.rows[self.positions]
        chosen = self.clean.iloc[self.positions]
        before = [probabilities(logits_in(chosen, name)) for name in self.engine.logits]
        values = (
            rows,
            films.labels[self.positions],
            np.array(list(self.engine.logits)),
            np.array(self.after, np.float32).swapaxes(0, 1),
            np.array(before, np.float32),
            films.images[rows],
            np.stack(self.changes),
        )
        return dict(zip(VIEWER_ARRAYS, values, strict=True))


def viewer_positions(clean: pd.DataFrame, source: str) -> np.ndarray:
    """Return the first films of each class that a model gets right, and where these are too few others, int [k], ascending."""
    right = Outcome().hits(clean[source].to_numpy(), clean[LABEL].to_numpy())
    chosen: list[int] = []
    for label in range(len(CLASSES)):
        of_class = np.flatnonzero(clean[LABEL] == label)
        chosen += [*of_class[right[of_class]], *of_class[~right[of_class]]][:VIEWER_FILMS_PER_CLASS]
    return np.sort(chosen)


def probabilities(logits: np.ndarray) -> np.ndarray:
    """Return the softmax of logits [..., classes], float64."""
    return softmax(logits.astype(np.float64), -1)


class AdversarialFilms(Recorder):
    """The adversarial films themselves, written as they come."""

    def __init__(self, films: np.ndarray) -> None:
        """Write into an array, float32 [films, height, width, 3]."""
        self.films = films

    def add(self, attacked: AttackedBatch) -> None:
        """Write a batch."""
        self.films[attacked.batch.own] = attacked.pixels[: attacked.batch.count]

    def frame(self) -> None:
        """Return nothing: the array is the file."""


def all_recorders(
    sweep: Attacking,
    clean: pd.DataFrame,
    *,
    attacked: bool = True,
    keep: np.ndarray | None = None,
    storages: Sequence[str] = (),
) -> list[Recorder]:
    """Return what is recorded of a cell, in the order of its columns.

    Args:
        sweep: `Sweep`.
        clean: what `nosign.rows.read_clean_logits` returned.
        attacked: whether the films are attacked now, so that steps and the source model are there.
        keep: array that receives the adversarial films, or None.
        storages: keys of `STORAGES` after which the films are scored.
    """
    engine = sweep.engine
    return [
        Logits(),
        RoundedLogits(),
        Sizes(engine),
        Visibility(engine),
        RoundedSizes(engine),
        *([Steps(sweep), ViewerFilms(sweep, clean)] if attacked else []),
        *([Stored(engine, storages)] if storages else []),
        *([AdversarialFilms(keep)] if keep is not None else []),
    ]


def collected(identity: pd.DataFrame, recorders: Iterable[Recorder]) -> dict[str, Record]:
    """Return the records of a cell by the ending of their file; `identity` says which films the cell's rows describe."""
    records: dict[str, Record] = {ROWS: identity}
    for recorder in recorders:
        record, earlier = recorder.frame(), records.get(recorder.ending)
        if isinstance(record, pd.DataFrame) and isinstance(earlier, pd.DataFrame):
            record = pd.concat([earlier, record], axis=1)
        if record is not None:
            records[recorder.ending] = record
    return records
