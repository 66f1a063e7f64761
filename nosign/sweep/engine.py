"""The engine of stage 3: films, compiled models and what all sweeps of a run share.

It lives for the run; a sweep (`nosign.sweep.sweep`) for a source model and a condition.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import softmax

from nosign.attacks.directions import step_effect
from nosign.attacks.loop import Attacker
from nosign.backend import compiled, compiled_logits, to_numpy
from nosign.dataset import FilmSet, prefetched, whole_batches
from nosign.measures import size
from nosign.measures.storage import EIGHT_BITS, STORAGES
from nosign.measures.visibility import thresholds, visibility
from nosign.rows import NEEDED_MEASURES, SIZES, logit_columns, logit_frame


class FilmCache:
    """One float32 array per film, on disk: what all attacks and strengths share does not fill the memory."""

    def __init__(self, folder: str | Path | None, shape: tuple[int, ...]):
        """Prepare for arrays of a shape, in an unnamed file in a folder (None: where temporary files go)."""
        self.folder, self.shape = folder, tuple(shape)
        self.film_bytes = int(np.prod(shape)) * 4

    @cached_property
    def file(self):
        """The file; it vanishes with the process."""
        return tempfile.TemporaryFile(dir=self.folder)

    def write(self, start: int, arrays: np.ndarray) -> None:
        """Store float32 arrays [films, ...] of the films from `start` on."""
        # Unlike seek and write, safe from several threads.
        data = memoryview(np.ascontiguousarray(arrays, np.float32)).cast("B")  # type: ignore[arg-type]
        offset = start * self.film_bytes
        while data:
            written = os.pwrite(self.file.fileno(), data, offset)
            data, offset = data[written:], offset + written

    def read(self, start: int, films: int) -> np.ndarray:
        """Return float32 arrays [films, ...] of the films from `start` on."""
        data = os.pread(self.file.fileno(), films * self.film_bytes, start * self.film_bytes)
        return np.frombuffer(data, np.float32).reshape(films, *self.shape)


class Engine:
    """Predicts, measures and attacks the films of one set, in batches of one shape."""

    def __init__(
        self,
        films: FilmSet,
        targets: dict[str, Callable],
        *,
        steps: int = 10,
        seed: int | tuple[int, ...] = 0,
        batch: int = 64,
        workers: int = 2,
        folder: str | Path | None = None,
    ):
        """Compile the models for one batch shape.

        Args:
            films: the films to attack.
            targets: dict from a model's name to a callable from films to logits; see `nosign.classifiers.logits`.
            steps: steps of the iterative attacks.
            seed: of the random starts and the controls.
            batch: films in a batch.
            workers: threads that measure perturbations while the models run.
            folder: where unnamed files hold what cells share; None: where temporary files go.
        """
        self.films, self.models, self.steps, self.seed, self.folder = films, targets, steps, seed, folder
        self.batch = min(batch, len(films))
        self.logits = {name: compiled_logits(model) for name, model in targets.items()}
        self.pool, self.step_effect = ThreadPoolExecutor(workers), compiled(step_effect)
        self.limits = FilmCache(folder, (2, *films.images.shape[1:3]))
        self.has_limits = np.zeros(len(films), bool)
        # The last of each is kept: jobs that share it follow each other.
        self.attacker = lru_cache(maxsize=1)(self.new_attacker)
        self.original_probabilities = lru_cache(maxsize=1)(self.predict_originals)

    def new_attacker(self, source: str, loss: str) -> Attacker:
        """Return what attacks with gradients of a loss of a model."""
        return Attacker(self.models[source], loss)

    def batches(self) -> Iterator[tuple[int, int, np.ndarray]]:
        """Yield (start, stop, films float32 [n, ...]) of `whole_batches`; the next is read while this one is used."""
        return prefetched(
            (start, stop, self.films.pixels(positions)) for start, stop, positions in whole_batches(len(self.films), self.batch)
        )

    def predict(self, films) -> dict[str, np.ndarray]:
        """Return each target's logits on a batch, dict from name to float32 [films, classes]."""
        # All models are started before the first result is waited for.
        started = {name: logits(films) for name, logits in self.logits.items()}
        return {name: to_numpy(logits) for name, logits in started.items()}

    def classes(self, films) -> dict[str, np.ndarray]:
        """Return the class that each target sees in a batch, dict from name to int [films]."""
        return {name: logits.argmax(-1) for name, logits in self.predict(films).items()}

    def identity(self) -> pd.DataFrame:
        """Return the columns that say which film a row describes."""
        return pd.DataFrame({"film": self.films.rows, "label": self.films.labels})

    def clean(self, advance: Callable[[int], object]) -> pd.DataFrame:
        """Return the frame of `clean.csv`: one row per film, what is known of it, and each target's logits."""
        parts = []
        for start, stop, films in self.batches():
            parts.append(logit_frame(self.predict(films))[: stop - start])
            advance((stop - start) * len(self.logits))
        known = pd.DataFrame(
            {
                "collection": self.films.collections,
                "patient": pd.Series(self.films.patients, dtype="Int64"),
                "group": self.films.groups,
            }
        )
        known.loc[known["patient"] < 0, "patient"] = pd.NA
        return pd.concat([self.identity(), known, pd.concat(parts, ignore_index=True)], axis=1)

    def clean_stored(self, clean: pd.DataFrame, advance: Callable[[int], object]) -> pd.DataFrame:
        """Return the frame of `clean.stored.csv`: predictions on the films after each of `STORAGES`.

        All of them, whatever a sweep asks for: the file is the control of every sweep in the folder.

        Args:
            clean: frame of `nosign.rows.read_clean_logits`.
        """
        parts, storages = [], list(STORAGES)
        for start, stop, films in self.batches():
            rounded = self.after_rounding(films, films, self.logits_before(clean, start, stop))
            parts += self.stored_rows(start, stop, films, rounded, storages)
            advance((stop - start) * len(self.logits) * len(storages))
        return in_order(parts, "storage", storages)

    def logits_before(self, clean: pd.DataFrame, start: int, stop: int) -> dict[str, np.ndarray]:
        """Return each target's logits on some films before the attack, dict from name to float32 [films, classes]."""
        return {name: clean[logit_columns(name)][start:stop].to_numpy(np.float32) for name in self.logits}

    def after_rounding(self, films: np.ndarray, pixels: np.ndarray, before: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return each target's logits after rounding to 8 bits.

        Args:
            films, pixels: a batch before and after the attack.
            before: each target's logits on `films`, which serve where rounding undoes the attack.
        """
        rounded = STORAGES[EIGHT_BITS](pixels)
        if np.array_equal(rounded, films):
            return {name: padded(logits, len(films)) for name, logits in before.items()}
        return self.predict(rounded)

    def stored_rows(self, start: int, stop: int, pixels: np.ndarray, rounded: dict, storages) -> list[pd.DataFrame]:
        """Return the frames of a batch's predictions after storing, one per way of storing.

        Args:
            pixels: the batch's films.
            rounded: each target's logits on them at 8 bits.
            storages: keys of `STORAGES`.
        """
        at_8_bits = {name: logits.argmax(-1) for name, logits in rounded.items()}
        identity = self.identity()[start:stop].reset_index(drop=True)
        frames = []
        for name in storages:
            seen = at_8_bits if name == EIGHT_BITS else self.classes(STORAGES[name](pixels))
            frames.append(pd.concat([identity.assign(storage=name), pd.DataFrame(seen)[: stop - start]], axis=1))
        return frames

    def measure(self, position: int, original: np.ndarray, changed: np.ndarray) -> tuple[float, ...]:
        """Return the measures of a film's perturbation, in the order of `SIZES`, `VISIBILITY` and `ROUNDED_MEASURES`."""
        rounded = STORAGES[EIGHT_BITS](changed)
        return (
            *(getattr(size, name)(original, changed) for name in SIZES),
            *visibility(changed - original, self.limits_of(position, original)),
            *(getattr(size, name)(original, rounded) for name in NEEDED_MEASURES),
        )

    def limits_of(self, position: int, film: np.ndarray) -> np.ndarray:
        """Return `nosign.measures.visibility.thresholds` of a film of the set, computed once."""
        if not self.has_limits[position]:
            self.limits.write(position, thresholds(film))
            self.has_limits[position] = True
        return self.limits.read(position, 1)[0]

    def predict_originals(self, positions: tuple[int, ...]) -> list[list[np.ndarray]]:
        """Return each target's softmax outputs on some films of the set, [models][films] float64 [classes]."""
        outputs: dict[str, list] = {name: [] for name in self.logits}
        for start, stop, rows in whole_batches(len(positions), self.batch):
            for name, logits in self.predict(self.films.pixels(np.array(positions)[rows])).items():
                outputs[name] += list(softmax(logits[: stop - start].astype(np.float64), -1))
        return list(outputs.values())

    def probabilities(self, name: str, films) -> np.ndarray:
        """Return a target's softmax outputs for a few films, float64 [films, classes]."""
        logits = np.concatenate([to_numpy(self.logits[name](film[None])) for film in films])
        return softmax(logits.astype(np.float64), -1)


def padded(array: np.ndarray, length: int) -> np.ndarray:
    """Return an array filled up with zeros along its first axis."""
    return np.pad(array, [(0, length - len(array))] + [(0, 0)] * (array.ndim - 1))


def in_order(parts: list[pd.DataFrame], column: str, order: list | None = None) -> pd.DataFrame | None:
    """Join batches' frames and sort the rows by a column, in a given order or its own; None if there are none."""
    if not parts:
        return None
    place = order.index if order else int
    return pd.concat(parts, ignore_index=True).sort_values(
        column, key=lambda names: names.map(place), kind="stable", ignore_index=True
    )
