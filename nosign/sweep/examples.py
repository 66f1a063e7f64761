"""The examples of Figures 2 and 3: one film before and after an attack at two strengths."""

from __future__ import annotations

import numpy as np
import pandas as pd

from nosign.backend import to_numpy
from nosign.dataset import CLASSES
from nosign.paper import EXAMPLE_FACTOR, EXAMPLES
from nosign.rows import Cell
from nosign.sweep.recorders import probabilities
from nosign.sweep.sweep import Sweep

# How much stronger the pair may get where no film falls to the paper's.
EXAMPLE_STRETCH = (1, 2, 5, 10)
FILMS_TRIED = 8


def find_example(sweep: Sweep, attack: str, clean: pd.DataFrame) -> dict[str, np.ndarray]:
    """Find a COVID-19 film that an attack's smaller strength already turns, and attack it at two strengths.

    Only films that the source model gets right are tried; where none falls, both strengths grow.

    Returns:
        Dict of arrays for `numpy.savez`, see `nosign.rows.Example`: original, adversarial, strengths, label, predictions,
        confidences, film; the last film that was tried if none falls at all.
    """
    labels = sweep.engine.films.labels
    right = sweep.outcome.can_turn(clean[sweep.source].to_numpy(), labels)
    candidates = np.flatnonzero((labels == CLASSES.index("COVID-19")) & right)[:FILMS_TRIED]
    if not len(candidates):
        candidates = np.arange(min(FILMS_TRIED, len(clean)))
    for stretch in EXAMPLE_STRETCH:
        strengths = [EXAMPLES[attack] * stretch, EXAMPLES[attack] * stretch * EXAMPLE_FACTOR]
        for position in candidates:
            small = sweep.attack_film(Cell(attack, strengths[0]), position)
            seen = probabilities_of(sweep, [small]).argmax(-1)
            if sweep.outcome.is_reached(seen, labels[[position]]).all():
                return describe_example(sweep, attack, position, strengths, small)
    return describe_example(sweep, attack, position, strengths, small)


def describe_example(
    sweep: Sweep, attack: str, position: int, strengths: list[float], small: np.ndarray
) -> dict[str, np.ndarray]:
    """Return an example's arrays; see `find_example`."""
    pixels = sweep.engine.films.pixels([position])[0]
    films = [pixels, small, sweep.attack_film(Cell(attack, strengths[1]), position)]
    found = probabilities_of(sweep, films)
    return {
        "original": films[0],
        "adversarial": np.stack(films[1:]),
        "strengths": np.array(strengths),
        "label": sweep.engine.films.labels[position],
        "predictions": found.argmax(-1),
        "confidences": found.max(-1).astype(np.float32),
        "film": sweep.engine.films.rows[position],
    }


def probabilities_of(sweep: Sweep, films: list[np.ndarray]) -> np.ndarray:
    """Return the source model's softmax outputs for a few films, float64 [films, classes]."""
    logits = sweep.engine.logits[sweep.source]
    return probabilities(np.concatenate([to_numpy(logits(film[None])) for film in films]))
