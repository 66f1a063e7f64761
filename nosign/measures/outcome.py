"""What counts as an effect of an attack: the one definition for all stages, tables and figures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nosign.attacks.catalogue import Condition
from nosign.dataset import CLASSES


@dataclass(frozen=True)
class Outcome:
    """What an attack wants of a film, and on which films it can get it.

    Without an aim the attack wants any wrong class, of every film; a film is turned if it was right before. With an aim it
    wants that class, of every film of another class; a film is turned if it was not taken for the aim before.

    Attributes:
        aim: position in `CLASSES` of the class that the attack aims at; None if any wrong one will do.
    """

    aim: int | None = None

    @classmethod
    def of(cls, condition: Condition) -> Outcome:
        """Return the outcome that a condition's attacks want."""
        return cls(None if condition.target is None else CLASSES.index(condition.target))

    @property
    def is_targeted(self) -> bool:
        """Whether there is an aim."""
        return self.aim is not None

    def is_reached(self, seen: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Return which films are seen as the attack wants, bool [films].

        Args:
            seen: classes that a model sees, positions in `CLASSES`, [films].
            labels: the films' own classes, [films].
        """
        seen, labels = np.asarray(seen), np.asarray(labels)
        return seen != labels if self.aim is None else seen == self.aim

    def is_attackable(self, labels: np.ndarray) -> np.ndarray:
        """Return which films the attack is counted on, bool [films]: all, or those of other classes than the aim."""
        labels = np.asarray(labels)
        return np.ones(labels.shape, bool) if self.aim is None else labels != self.aim

    def can_turn(self, before: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Return which films can be turned at all, bool [films]: not yet seen as the attack wants, and counted."""
        return self.is_attackable(labels) & ~self.is_reached(before, labels)

    def is_turned(self, before: np.ndarray, after: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Return which films the attack turned, bool [films]: not seen as it wants before, and seen so after it."""
        return self.can_turn(before, labels) & self.is_reached(after, labels)

    def hits(self, seen: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Return what tables count, bool [films]: films that are right; with an aim, films of other classes taken for it."""
        reached = self.is_reached(seen, labels)
        return ~reached if self.aim is None else reached & self.is_attackable(labels)
