"""The report's viewer: one film under one attack at one strength, and what each model sees."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path

import numpy as np

from nosign.attacks.catalogue import ATTACKS
from nosign.dataset import CLASSES
from nosign.errors import UserError
from nosign.measures.visibility import CRITERIA
from nosign.output.report.pictures import LEVEL_BYTES, ZERO_BYTE, Pictures
from nosign.output.table import SweepName
from nosign.output.words import starred
from nosign.paper import NOISE_GAIN
from nosign.rows import ADVICE, ROWS, VIEWER, ViewerFilms, find_files, read_fields, read_viewer_films

MOST_PICTURES = 1000  # a change is 300 kB in memory; where there are more cells, fewer films are shown
GAIN_STEPS = (1, 2, 5)
GAIN_SHARE = 0.99  # of a change's components stay within the grey range at the gain that is chosen for it


def make_viewer(results: dict[str, Path]) -> dict | None:
    """Return what the viewer shows, of the first run that has films to show; None for none.

    Args:
        results: dict from a run's name to its folder.

    Returns:
        Dict with run; sweeps, a list of `SweepName`; index, JSON that the script reads; pictures, a list of (name, WebP in
        base64).
    """
    kept = ((run, find_files(folder, VIEWER)) for run, folder in results.items())
    run, cells = next(((run, cells) for run, cells in kept if cells), (None, []))
    if not cells:
        return None
    most = max(1, MOST_PICTURES // len(cells))
    by_sweep = groupby(cells, key=lambda cell: cell[:2])
    sweeps = {SweepName(source, str(condition)): list(own) for (source, condition), own in by_sweep}
    pictures = Pictures()
    index = {
        "classes": CLASSES,
        "gain": NOISE_GAIN,
        "zeroByte": ZERO_BYTE,
        "levelBytes": LEVEL_BYTES,
        "sweeps": [sweep_index(sweep, own, most, pictures) for sweep, own in sweeps.items()],
    }
    films, changes, index["levels"] = pictures.encoded()
    named = [
        (f"{kind}-{number}", base64.b64encode(data).decode())
        for kind, pictures in (("film", films), ("change", changes))
        for number, data in enumerate(pictures)
    ]
    return {"run": run, "sweeps": list(sweeps), "index": script_json(index), "pictures": named}


def script_json(value: object) -> str:
    """Return JSON that can stand inside a script element: no text in it can end the element."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("&", r"\u0026").replace("<", r"\u003c").replace(">", r"\u003e")


def sweep_index(sweep: SweepName, cells: Iterable[tuple], most: int, pictures: Pictures) -> dict:
    """Return the viewer's index of one sweep.

    Args:
        cells: what `find_files` returned of the sweep.
        most: films to show of each cell.
        pictures: receives the films and changes.
    """
    attacks, films, models = {}, {}, None
    for *_, attack, strength, path in cells:
        shown = read_viewer_films(attack, strength, path, most)
        if models not in (None, shown.models):
            raise UserError(
                f"{path}: its models are {', '.join(shown.models)}, those of other cells {', '.join(models)}; "
                "remove it and run attack.py again"
            )
        models = shown.models
        for place, film in enumerate(shown.films):
            films.setdefault(
                film,
                {
                    "film": film,
                    "label": shown.labels[place],
                    "picture": pictures.add_film(shown.original[place]),
                    "probabilities": rounded(shown.clean_probabilities[:, place]),
                },
            )
        attacks.setdefault(attack, []).append(cell_index(shown, pictures))
    return {
        **sweep._asdict(),
        "models": models,
        "headings": [starred(model, sweep.source) for model in models or ()],
        "films": list(films.values()),
        "attacks": [
            {"name": name, "title": ATTACKS[name].title, "direction": ATTACKS[name].direction, "cells": strengths}
            for name, strengths in attacks.items()
        ],
    }


def cell_index(shown: ViewerFilms, pictures: Pictures) -> dict:
    """Return the viewer's index of one cell: strength, and one entry per film."""
    measures = read_measures(shown)
    entries = {}
    for place, film in enumerate(shown.films):
        change = shown.change[place].astype(np.float32)
        entries[film] = {
            "picture": pictures.add_change(shown.change[place]),
            "gain": fitting_gain(change),
            "measures": describe_change(change, measures.get(film, {})),
            "probabilities": rounded(shown.probabilities[:, place]),
        }
    return {"strength": f"{shown.strength:g}", "films": entries}


def rounded(probabilities: np.ndarray) -> list:
    """Return float32 [models, classes] as lists of numbers with six decimals."""
    return [[round(float(value), 6) for value in row] for row in probabilities]


def fitting_gain(change: np.ndarray) -> float:
    """Return the largest of 1, 2, 5, 10, 20 ... at which nearly all of a change stays within mid-grey +- half the range."""
    usual = float(np.quantile(np.abs(change), GAIN_SHARE)) or float(np.abs(change).max())
    gains = [step * 10**power for power in range(5) for step in GAIN_STEPS]
    return max([gain for gain in gains if gain * usual <= 0.5001] or [1]) if usual else NOISE_GAIN


def read_measures(shown: ViewerFilms) -> dict[int, dict[str, float]]:
    """Return what the cell's rows say of the films shown, by film; {} where the cell has no rows yet.

    Raises:
        UserError: the rows are malformed.
    """
    path = shown.path.with_name(shown.path.name.removesuffix(VIEWER) + ROWS)
    if not path.is_file():
        return {}
    rows = read_fields(path, ("film",), ADVICE, infinite=("psnr",), reduce=lambda block: block[block["film"].isin(shown.films)])
    return rows.set_index("film").to_dict("index")


def describe_change(change: np.ndarray, measures: dict[str, float]) -> str:
    """Return a change's size in words, and by which criteria one can see it.

    Args:
        change: float32 [height, width, 3].
        measures: dict that may have psnr (dB) and the columns of `CRITERIA`.
    """
    largest = float(np.abs(change).max())
    words = [
        f"largest change {largest:.4f} ({255 * largest:.1f} of 255 grey levels)",
        f"L2 {np.sqrt(np.square(change).sum(dtype=np.float64)):.3g}",
    ]
    if np.isfinite(measures.get("psnr", np.inf)):
        words.append(f"PSNR {measures['psnr']:.1f} dB")
    recorded = [(criterion, measures[criterion.column]) for criterion in CRITERIA.values() if criterion.column in measures]
    seen = [(criterion.describe(measured), criterion.over_limit(measured) > 1) for criterion, measured in recorded]
    for word, which in (("visible", True), ("invisible", False)):
        if names := [name for name, visible in seen if visible == which]:
            words.append(f"{word} by {', '.join(names)}")
    return "; ".join(words)
