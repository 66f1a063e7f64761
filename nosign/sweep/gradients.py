"""The source model's gradient at every film: attacks that start there share it, whatever their direction and strength."""

from __future__ import annotations

import numpy as np

from nosign.attacks.catalogue import Condition
from nosign.backend import to_numpy
from nosign.dataset import CLASSES
from nosign.measures.outcome import Outcome
from nosign.sweep.engine import Engine
from nosign.sweep.jobs import GRADIENT_COST

# What is counted for the health report, in films.
ZERO_GRADIENT, BROKEN_GRADIENT = "films_with_zero_gradient", "films_with_nan_or_infinite_gradient"
ATTACKED_WITHOUT_BOUNDS, LEFT_WITHOUT_BOUNDS = "films_attacked_without_bounds", "films_unturned_without_bounds"
GRADIENT_COUNTS = (ZERO_GRADIENT, BROKEN_GRADIENT)
GRADIENT_FACTS = (*GRADIENT_COUNTS, ATTACKED_WITHOUT_BOUNDS, LEFT_WITHOUT_BOUNDS)


def one_hot(labels: np.ndarray) -> np.ndarray:
    """Return int labels [n] as float32 [n, classes]."""
    return np.eye(len(CLASSES), dtype=np.float32)[labels]


def attacked_labels(labels: np.ndarray, outcome: Outcome) -> np.ndarray:
    """Return the labels whose loss attacks follow, float32 one-hot [n, classes]: the films' own, or the aim."""
    return one_hot(labels if outcome.aim is None else np.full_like(labels, outcome.aim))


def key_of(source: str, condition: Condition) -> tuple:
    """Return what the gradients at the films depend on; ball and grey make no difference to them."""
    return source, condition.target, condition.loss


class FirstGradients:
    """The gradients of one model at all films, for one aim and loss, and what they say of the model's health.

    Attributes:
        logits: float32 [films, classes], the model's at the films.
        counts: dict of `GRADIENT_COUNTS`, how many films have a gradient of zero, and how many one that is not finite; no
            attack moves them.
    """

    def __init__(self, engine: Engine, source: str, condition: Condition) -> None:
        """Compute them; they lie on disk."""
        self.engine, self.source, self.outcome = engine, source, Outcome.of(condition)
        self.attacker, self.cache = engine.attacker(source, condition.loss), engine.new_cache()
        self.logits = np.empty((len(engine.films), len(CLASSES)), np.float32)
        self.counts = dict.fromkeys(GRADIENT_COUNTS, 0)
        for batch in engine.batches():
            labels = attacked_labels(engine.films.labels[batch.positions], self.outcome)
            found = self.attacker.gradient_and_logits(batch.films, labels, self.outcome.is_targeted)
            gradients, logits = (to_numpy(tensor)[: batch.count] for tensor in found)
            self.cache.write(batch.positions[0], gradients)
            self.logits[batch.own] = logits
            largest = np.abs(gradients).max(axis=(1, 2, 3))
            self.counts[ZERO_GRADIENT] += int((largest == 0).sum())
            self.counts[BROKEN_GRADIENT] += int((~np.isfinite(largest)).sum())
            engine.advance(batch.count * GRADIENT_COST)

    def at(self, positions: np.ndarray) -> np.ndarray:
        """Return the gradients at some films, float32 [positions, height, width, 3]."""
        return np.concatenate([self.cache.read(position, 1) for position in positions])
