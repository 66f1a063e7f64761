"""The film of Figures 2 and 3: found once for an attack, and attacked at two strengths."""

from __future__ import annotations

import numpy as np
import pandas as pd

from nosign.dataset import CLASSES
from nosign.paper import EXAMPLE_FACTOR, EXAMPLES
from nosign.rows import Cell
from nosign.sweep.sweep import Sweep

# How much stronger the pair may get where no film falls to the paper's.
EXAMPLE_STRETCH = (1, 2, 5, 10)
FILMS_TRIED = 8


def find_example(sweep: Sweep, attack: str, clean: pd.DataFrame) -> dict[str, np.ndarray]:
    """Find a COVID-19 film that an attack's smaller strength already turns, and attack it at two strengths.

    Only films that the source model gets right are tried; where none falls, both strengths grow.

    Returns:
        dict of arrays for `numpy.savez`: original, adversarial, strengths, label, predictions, confidences, film; the
        last film that was tried if none falls at all.
    """
    right = np.flatnonzero((clean["label"] == CLASSES.index("COVID-19")) & (clean[sweep.source] == clean["label"]))
    tried = right[:FILMS_TRIED] if len(right) else np.arange(min(FILMS_TRIED, len(clean)))
    for stretch in EXAMPLE_STRETCH:
        strengths = [EXAMPLES[attack] * stretch, EXAMPLES[attack] * stretch * EXAMPLE_FACTOR]
        for position in tried:
            small = sweep.attack_film(Cell(attack, strengths[0]), position)
            if sweep.engine.probabilities(sweep.source, [small]).argmax() != sweep.films.labels[position]:
                return describe_example(sweep, attack, position, strengths, small)
    return describe_example(sweep, attack, position, strengths, small)


def describe_example(sweep: Sweep, attack: str, position: int, strengths: list, small: np.ndarray) -> dict[str, np.ndarray]:
    """Return an example's arrays; see `find_example`."""
    films = [sweep.films.pixels([position])[0], small, sweep.attack_film(Cell(attack, strengths[1]), position)]
    probabilities = sweep.engine.probabilities(sweep.source, films)
    return {
        "original": films[0],
        "adversarial": np.stack(films[1:]),
        "strengths": np.array(strengths),
        "label": sweep.films.labels[position],
        "predictions": probabilities.argmax(-1),
        "confidences": probabilities.max(-1).astype(np.float32),
        "film": sweep.films.rows[position],
    }
