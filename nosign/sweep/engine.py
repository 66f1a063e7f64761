"""The engine of stage 3: what lives as long as a run and serves every sweep of it."""

from __future__ import annotations

import os
import tempfile
import weakref
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, Any

import numpy as np
import pandas as pd

from nosign.attacks.directions import step_effect
from nosign.attacks.loop import Attacker
from nosign.backend import compiled, compiled_logits, to_numpy
from nosign.dataset import FilmSet, prefetched
from nosign.measures import visibility
from nosign.rows import FILM, LABEL

FRAMES_APART = 256


@dataclass(frozen=True)
class Batch:
    """Some films of the set. Every batch is equally long; a short one is filled up with its last film.

    Attributes:
        positions: int [batch], which films of the set.
        count: how many of them are not there to fill up.
        films: float32 [batch, height, width, 3] in [0, 1].
    """

    positions: np.ndarray
    count: int
    films: np.ndarray

    @property
    def own(self) -> np.ndarray:
        """The positions without those that fill up, int [count]."""
        return self.positions[: self.count]

    def filled(self, array: np.ndarray) -> np.ndarray:
        """Return an array [count, ...] filled up with zeros to the batch's length."""
        return padded(array, len(self.films))


def padded(array: np.ndarray, length: int) -> np.ndarray:
    """Return an array filled up with zeros along its first axis."""
    return np.pad(array, [(0, length - len(array))] + [(0, 0)] * (array.ndim - 1))


class Engine:
    """Films, compiled models, what is invisible on each film, and threads that measure while the models run.

    Attributes:
        films: `FilmSet`.
        models: dict from name to a model from films to logits.
        logits: dict from name to the same, compiled.
        steps: steps of the iterative attacks.
        seed: of random starts and controls.
        batch: films in a batch.
        pool: threads.
        folder: where unnamed files hold arrays that do not fit the memory; None: where temporary files go.
        advance: called with work that is done, in forward passes of a film.
    """

    def __init__(
        self,
        films: FilmSet,
        models: Mapping[str, Any],
        *,
        steps: int = 10,
        seed: int | Sequence[int] = 0,
        batch: int = 64,
        workers: int = 2,
        folder: str | Path | None = None,
        advance: Callable[[int], Any] = lambda work: None,
    ) -> None:
        """Compile the models for one batch shape; the first call compiles."""
        self.films, self.models, self.steps, self.seed = films, models, steps, seed
        self.batch, self.folder, self.advance = batch, folder, advance
        self.logits = {name: compiled_logits(model) for name, model in models.items()}
        self.pool, self.step_effect = ThreadPoolExecutor(workers), compiled(step_effect)
        self.attackers: dict[tuple[str, str], Attacker] = {}
        self.kept: tuple[Hashable, Any] | None = None
        self.limits = FilmCache(folder, (2, *films.images.shape[1:3]))
        self.has_limits = np.zeros(len(films), bool)

    def attacker(self, source: str, loss: str) -> Attacker:
        """Return the `Attacker` that follows a model's gradients of a loss; made once."""
        if (source, loss) not in self.attackers:
            self.attackers[source, loss] = Attacker(self.models[source], loss)
        return self.attackers[source, loss]

    def once(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """Return what `make` returns, made once for a key; the last one is kept, for sweeps that follow each other."""
        if self.kept is None or self.kept[0] != key:
            self.kept = None  # gives its disk space back first
            self.kept = key, make()
        return self.kept[1]

    def keeps(self, key: Hashable) -> bool:
        """Tell whether what belongs to a key is there."""
        return self.kept is not None and self.kept[0] == key

    def batches(self, positions: np.ndarray | None = None) -> Iterator[Batch]:
        """Yield batches of the films at some positions, or of all; the next is read while this one is used.

        Args:
            positions: int array, ascending. A film's neighbours in a batch are those of them that it has in a batch of all
                films, so that a part of the films goes in the batches of the whole.
        """
        positions = np.arange(len(self.films)) if positions is None else positions
        parts = np.split(positions, np.searchsorted(positions, np.arange(self.batch, len(self.films), self.batch)))
        return prefetched(self.batch_of(part) for part in parts if len(part))

    def batch_of(self, positions: np.ndarray) -> Batch:
        """Return the batch of the films at some positions, at most as many as it holds."""
        filled = np.pad(positions, (0, self.batch - len(positions)), "edge")
        return Batch(filled, len(positions), self.films.pixels(filled))

    def predict(self, films: Any) -> dict[str, np.ndarray]:
        """Return each model's logits on a batch, dict from name to float32 [films, classes]."""
        # All models are started before the first result is waited for.
        started = {name: logits(films) for name, logits in self.logits.items()}
        return {name: to_numpy(logits) for name, logits in started.items()}

    def classes(self, films: Any) -> dict[str, np.ndarray]:
        """Return the class that each model sees in a batch, dict from name to int [films]."""
        return {name: logits.argmax(-1) for name, logits in self.predict(films).items()}

    def identity(self, positions: np.ndarray | slice = slice(None)) -> pd.DataFrame:
        """Return the columns that say which films rows describe."""
        return pd.DataFrame({FILM: self.films.rows[positions], LABEL: self.films.labels[positions]})

    def limits_of(self, position: int, film: np.ndarray) -> np.ndarray:
        """Return `visibility.thresholds` of a film of the set, computed once."""
        if not self.has_limits[position]:
            self.limits.write(position, visibility.thresholds(film))
            self.has_limits[position] = True
        return self.limits.read(position, 1)[0]

    def new_cache(self) -> FilmCache:
        """Return a `FilmCache` of one array of a film's shape for each film."""
        return FilmCache(self.folder, self.films.images.shape[1:])


class FilmCache:
    """One float32 array for each film, on disk: what all attacks and strengths share does not fill the memory."""

    def __init__(self, folder: str | Path | None, shape: Sequence[int]) -> None:
        """Prepare for arrays of a shape, in an unnamed file in a folder (None: where temporary files go)."""
        self.folder, self.shape = folder, tuple(shape)
        self.film_bytes = int(np.prod(shape)) * 4

    @cached_property
    def file(self) -> IO[bytes]:
        """The file; it vanishes with the cache."""
        file = tempfile.TemporaryFile(dir=self.folder)  # noqa: SIM115, open as long as the cache
        weakref.finalize(self, file.close)
        return file

    def write(self, start: int, arrays: np.ndarray) -> None:
        """Store float32 arrays [films, ...] of the films from `start` on."""
        # Unlike seek and write, safe from several threads.
        data = np.ascontiguousarray(arrays, np.float32).data.cast("B")
        offset = start * self.film_bytes
        while data:
            written = os.pwrite(self.file.fileno(), data, offset)
            data, offset = data[written:], offset + written

    def read(self, start: int, films: int) -> np.ndarray:
        """Return float32 arrays [films, ...] of the films from `start` on."""
        data = os.pread(self.file.fileno(), films * self.film_bytes, start * self.film_bytes)
        return np.frombuffer(data, np.float32).reshape(films, *self.shape)


class Frames:
    """The frames of batch after batch, joined as they come: each takes kilobytes beside its few rows."""

    def __init__(self) -> None:
        self.joined: list[pd.DataFrame] = []
        self.apart: list[pd.DataFrame] = []

    def append(self, frame: pd.DataFrame) -> None:
        """Add the frame of a batch."""
        self.apart.append(frame)
        if len(self.apart) >= FRAMES_APART:
            self.joined.append(pd.concat(self.apart, ignore_index=True))
            self.apart = []

    def __bool__(self) -> bool:
        """Tell whether there is any."""
        return bool(self.joined or self.apart)

    def together(self) -> pd.DataFrame:
        """Return the rows of all, in order."""
        return pd.concat([*self.joined, *self.apart], ignore_index=True)


def in_order(parts: Frames, column: str, order: Sequence[str] | None = None) -> pd.DataFrame:
    """Join batches' frames and sort the rows by a column, in a given order or its own."""
    place = order.index if order else int
    return parts.together().sort_values(column, key=lambda values: values.map(place), kind="stable", ignore_index=True)
