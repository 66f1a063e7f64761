"""The fields of universal perturbations: fitted once for a source and condition, and kept beside the attack's cells."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from nosign.attacks.catalogue import ATTACKS
from nosign.attacks.universal import fit_field
from nosign.backend import to_numpy
from nosign.dataset import FilmSet, prefetched, whole_batches
from nosign.errors import UserError
from nosign.files import write_array
from nosign.sweep.jobs import GRADIENT_COST, Job
from nosign.sweep.sweep import Sweep


def fields_of(sweep: Sweep, job: Job, training: FilmSet) -> dict[str, np.ndarray]:
    """Return the fields of a job's universal attacks; fit those that are not there, and write them.

    Args:
        sweep: `Sweep`.
        job: its `Job`.
        training: the films to fit on.

    Returns:
        Dict from attack to float32 [height, width, 3].

    Raises:
        UserError: a file does not hold such a field.
    """
    fields = {}
    for name, path in job.field_paths().items():
        if not path.is_file():
            found = fit_on_films(sweep, ATTACKS[name].direction, training)
            write_array(path, found)
        fields[name] = read_field(path, training.images.shape[1:])
    return fields


def fit_on_films(sweep: Sweep, direction: str, training: FilmSet) -> np.ndarray:
    """Fit the field of a direction on some films, float32 [height, width, 3]."""
    grey = sweep.condition.grey

    def mean_gradient(change: np.ndarray) -> np.ndarray:
        total = np.zeros(change.shape)
        for films, positions, count in batches_of(training, sweep.engine.batch):
            labels = sweep.labels_of(training.labels[positions])
            found = sweep.attacker.gradient_at(np.clip(films + change, 0, 1), labels, sweep.outcome.is_targeted)
            gradients = to_numpy(found)[:count].astype(np.float64)
            # A film without a finite gradient has no say.
            total += gradients[np.isfinite(gradients).all((1, 2, 3))].sum(0)
            sweep.engine.advance(count * GRADIENT_COST)
        mean = total / len(training)
        return (np.broadcast_to(mean.mean(-1, keepdims=True), mean.shape) if grey else mean).astype(np.float32)

    return fit_field(mean_gradient, training.images.shape[1:], direction, sweep.engine.steps)


def batches_of(films: FilmSet, batch: int) -> Iterator[tuple[np.ndarray, np.ndarray, int]]:
    """Yield (pixels, positions, how many of them are not there to fill up) of batches of one length."""
    return prefetched(
        (films.pixels(positions), positions, stop - start) for start, stop, positions in whole_batches(len(films), batch)
    )


def read_field(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """Read a field, float32 [*shape]; raise `UserError` where a file holds anything else."""
    try:
        field = np.load(path, allow_pickle=False)
    except (ValueError, EOFError):
        field = np.zeros(0)
    if field.dtype != np.float32 or field.shape != shape or not np.isfinite(field).all():
        raise UserError(f"{path}: expected finite float32 {shape}; remove it and the attack's cells, and run attack.py again")
    return field
