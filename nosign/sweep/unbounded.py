"""An attack without bounds: it turns every film unless the gradients mislead (Athalye et al., 2018, arXiv:1802.00420)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nosign.attacks.catalogue import ATTACKS
from nosign.attacks.loop import Attacker, unit_noise
from nosign.backend import to_numpy
from nosign.dataset import FilmSet, whole_batches

# PGD in a ball of radius 1, which holds every film; its steps cross that ball more than twice.
UNBOUNDED_FILMS, UNBOUNDED_STEPS, UNBOUNDED_STEP = 200, 50, 0.05


def spread_out(positions: np.ndarray, most: int) -> np.ndarray:
    """Return at most so many of some positions, evenly spaced: films may be sorted by class."""
    return positions[np.linspace(0, len(positions) - 1, min(len(positions), most)).astype(int)]


def random_starts(films: FilmSet, positions: np.ndarray, seed: int | Sequence[int]) -> np.ndarray:
    """Return films moved at random by up to one step, float32 [positions, height, width, 3] in [0, 1]."""
    starts = films.pixels(positions)
    for start, row in zip(starts, films.rows[positions]):
        start += np.float32(UNBOUNDED_STEP) * unit_noise(seed, np.array([row]), start.shape)[0]
    return np.clip(starts, 0, 1, out=starts)


def unturned(attacker: Attacker, films: np.ndarray, labels: np.ndarray, *, targeted: bool, batch: int) -> np.ndarray:
    """Attack films without bounds and return which of them no step turns.

    A film drops out once it is turned, so a model with honest gradients costs a few gradients per film instead of fifty.

    Args:
        attacker: `Attacker` on the source model.
        films: float32 [n, height, width, 3] in [0, 1], where the attack starts; it moves them in place.
        labels: float32 one-hot [n, classes]: the films' own classes or, targeted, the class aimed at.
        targeted: whether a film is turned when it is taken for its label, rather than for another class.
        batch: films in a pass; a short last batch is filled up, as another shape would be compiled anew.

    Returns:
        bool [n].
    """
    left = np.ones(len(films), bool)
    # Each round looks at the films and then moves them; nothing looks at where the last one moves them.
    for _ in range(UNBOUNDED_STEPS + 1):
        still = np.flatnonzero(left)
        for _, _, places in whole_batches(len(still), batch):
            chosen = still[places]
            gradient, logits = attacker.gradient_and_logits(films[chosen], labels[chosen], targeted)
            seen = to_numpy(logits)
            is_label = seen.argmax(-1) == labels[chosen].argmax(-1)
            left[chosen] = (is_label != targeted) | ~np.isfinite(seen).all(-1)
            step = attacker.perturb(ATTACKS["fgsm"], films[chosen], labels[chosen], UNBOUNDED_STEP, first_gradient=gradient)
            films[chosen] = to_numpy(step)
    return left
