"""What the stages before wrote, read and checked: `models.csv`, `clean.csv`, the rows of each cell, and the files beside them.

Who reads a file here gets numbers that are all there and belong to the same films, or an error that says what to do.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from nosign.cells import (
    CLEAN_ROWS,
    IDENTITY,
    MEASURES,
    ROUNDED,
    ROUNDED_MEASURES,
    ROWS,
    find_files,
    logit_columns,
    ordered,
    sweep_folder,
)
from nosign.classifiers import BACKBONES
from nosign.dataset import CLASSES
from nosign.errors import UserError
from nosign.provenance import read_manifest

MODEL_COLUMNS = ("model", "parameters", "correct", "films", "imagenet_top1", "imagenet_top5")
NEEDED_MEASURES = MEASURES[:3]  # a cell's rows may lack the others
ADVICE = "remove it and the cell beside it, and run attack.py again"


@dataclass(frozen=True)
class CellFilms:
    """A finished cell, film by film.

    Attributes:
        source: model whose gradients were followed.
        condition: name of a `Condition`.
        attack: name in `ATTACKS`.
        strength: float.
        path: the cell's file.
        targets: list of the target models' names.
        films: float64 frame, a row a film in the order of `clean.csv`, with the file's columns.
    """

    source: str
    condition: str
    attack: str
    strength: float
    path: Path
    targets: list
    films: pd.DataFrame


def read_rows(path, required, advice):
    """Read a CSV file that must have certain columns and at least one row.

    Args:
        path: the file.
        required: names of columns that must be there.
        advice: what the user can do if the file is unusable.

    Raises:
        UserError: the file is missing, is no CSV, lacks a column or has no rows.
    """
    try:
        frame = pd.read_csv(path)
    except FileNotFoundError:
        raise UserError(f"{path}: not found; {advice}") from None
    except ValueError as error:  # pandas' parser errors and undecodable bytes are ValueErrors
        raise UserError(f"{path}: not a readable CSV file ({error}); {advice}") from None
    if absent := [column for column in required if column not in frame.columns]:
        raise UserError(f"{path}: lacks the column {', '.join(absent)}; {advice}")
    if frame.empty:
        raise UserError(f"{path}: has a heading but no rows; {advice}")
    return frame


def read_fields(path, required, advice, *, words=None, infinite=(), empty=()):
    """Read a CSV file of finite numbers, with exceptions.

    Args:
        path, required, advice: as for `read_rows`.
        words: the one column that holds words, if it is there.
        infinite: columns that may hold infinity; they may be absent.
        empty: columns with fields that may be empty; they may be absent.

    Returns:
        Frame, float64 but for `words`; empty fields are NaN.

    Raises:
        UserError: as `read_rows`, or a field is no such number.
    """
    frame = read_rows(path, required, advice)
    numbers = [column for column in frame.columns if column != words]
    fields = frame[numbers].apply(pd.to_numeric, errors="coerce").astype(float)
    fine = np.isfinite(fields)
    for column in fields.columns.intersection(infinite):
        fine[column] |= fields[column] == math.inf
    for column in fields.columns.intersection(empty):
        fine[column] |= frame[column].isna()
    if words in frame.columns:
        fine[words] = frame[words].notna()
        fields[words] = frame[words].astype(str)
    broken = ~fine.to_numpy().all(axis=1)
    if broken.any():
        raise UserError(f"{path}: line {broken.argmax() + 2}: a field is empty or not a number; {advice}")
    return fields


def check_classes(path, frame, columns, advice):
    """Refuse predictions or labels that are not positions in `CLASSES`."""
    for column in columns:
        wrong = frame.loc[~frame[column].isin(range(len(CLASSES))), column]
        if not wrong.empty:
            raise UserError(
                f"{path}: line {wrong.index[0] + 2}: {column} is {wrong.iloc[0]:g}, expected a class from "
                f"0 to {len(CLASSES) - 1}; {advice}"
            )


def read_clean(results):
    """Read `clean.csv`: each test film's label and every model's prediction on the clean film.

    Returns:
        float64 frame with columns film, label and one per model, in the order of `BACKBONES`; see `read_clean_logits`.

    Raises:
        UserError: the file is missing or malformed.
    """
    frame, models = read_clean_logits(results)
    return frame[["film", "label", *models]]


def read_clean_logits(results):
    """Read `clean.csv` with the models' logits.

    Returns:
        (float64 frame with columns film, label, one per model with the class it sees, and where the file holds them each
        model's `logit_columns`; names of the models, in the order of `BACKBONES`).

    Raises:
        UserError: the file is missing or malformed.
    """
    path = Path(results) / CLEAN_ROWS
    advice = "run attack.py, or name its output folder with --results"
    frame = read_fields(path, ("film", "label"), advice, words="collection", empty=("patient",))
    frame = with_classes(frame.drop(columns=[name for name in IDENTITY[2:] if name in frame]))
    models = ordered(set(frame.columns) - {"film", "label"} - all_logits(frame), BACKBONES)
    if not models:
        raise UserError(f"{path}: no model's predictions in it; {advice}")
    check_classes(path, frame, ["label", *models], advice)
    return frame, models


def all_logits(frame):
    """Return the names of a frame's columns that hold logits."""
    return {column for column in frame.columns if column.rpartition("_")[2].startswith("logit")}


def with_classes(frame):
    """Return a frame with a column of the class that each model sees, where it holds logits; earlier files hold the class."""
    models = dict.fromkeys(column.rpartition("_")[0] for column in frame.columns if column in all_logits(frame))
    seen = {}
    for model in models:
        logits = frame[[column for column in logit_columns(model) if column in frame]]
        if logits.shape[1] == len(CLASSES):
            seen[model] = logits.to_numpy().argmax(-1).astype(float)
    return pd.concat([frame, pd.DataFrame(seen, index=frame.index)], axis=1)


def read_cell(path, clean):
    """Read one cell and check that it belongs to the clean predictions.

    Args:
        path: the cell's file.
        clean: what `read_clean` returned.

    Returns:
        (float64 frame, names of the target models in it).

    Raises:
        UserError: the file is malformed or unfinished, or it was computed on other films or other models.
    """
    advice = "remove the file and run attack.py again; it recomputes missing cells only"
    frame = with_classes(read_fields(path, ("film", "label", *NEEDED_MEASURES), advice, infinite=("psnr",)))
    predictions = set(frame.columns) - {"film", "label", *MEASURES, *ROUNDED_MEASURES} - all_logits(frame)
    targets = ordered((name for name in predictions if not name.endswith(ROUNDED)), BACKBONES)
    if not targets or predictions != {name + ending for name in targets for ending in ("", ROUNDED)}:
        raise UserError(f"{path}: expected a column per target model and one more that ends in {ROUNDED}; {advice}")
    if unknown := [target for target in targets if target not in clean.columns]:
        raise UserError(f"{path}: targets {', '.join(unknown)}, of which clean.csv holds no predictions; {advice}")
    if not np.array_equal(frame[["film", "label"]], clean[["film", "label"]]):
        raise UserError(f"{path}: its {len(frame)} films are not the {len(clean)} films of clean.csv; {advice}")
    check_classes(path, frame, predictions, advice)
    return frame, targets


def read_films(results, clean):
    """Read every finished cell film by film.

    Args:
        results: the results folder.
        clean: what `read_clean` returned.

    Returns:
        List of `CellFilms`, in the order in which tables list them.

    Raises:
        UserError: there are no cells, or one of them is unusable.
    """
    found = find_files(results, ROWS)
    if not found:
        raise UserError(
            f"{Path(results) / 'attacks'}: no finished cells; run attack.py, or name its output folder with --results"
        )
    read = []
    for *cell, path in found:
        films, targets = read_cell(path, clean)
        read.append(CellFilms(*cell, path, targets, films))
    return read


def models_in(columns, clean):
    """Return the models of the clean predictions of which a file has columns."""
    return [model for model in clean.columns.drop(["film", "label"]) if model in columns]


def read_by_word(path, word, required, clean, **options):
    """Read a file that holds, for every value of one column of words, a row a film.

    Args:
        path: the file.
        word: that column.
        required: the other columns that must be there; "film" and "label" always must.
        clean: what `read_clean` returned.
        options: for `read_fields`.

    Returns:
        Dict from the column's values, in the file's order, to frames, one row a film in the order of `clean`.

    Raises:
        UserError: the file is malformed or of other films than `clean`.
    """
    frame = read_fields(path, ("film", "label", word, *required), ADVICE, words=word, **options)
    models = models_in(frame.columns, clean)
    if not models:
        raise UserError(f"{path}: predictions of no model of clean.csv in it; {ADVICE}")
    check_classes(path, frame, models, ADVICE)
    parts = {value: rows.reset_index(drop=True) for value, rows in frame.groupby(word, sort=False)}
    for rows in parts.values():
        if not np.array_equal(rows[["film", "label"]], clean[["film", "label"]]):
            raise UserError(f"{path}: its films under '{rows[word].iloc[0]}' are not the {len(clean)} of clean.csv; {ADVICE}")
    return parts


def read_models(folder):
    """Read `models.csv`: parameters and clean accuracy of each classifier.

    Raises:
        UserError: the file is missing or malformed.
    """
    path = Path(folder) / "models.csv"
    advice = "run train_finetune.py, or name its output folder with --models"
    frame = read_rows(path, MODEL_COLUMNS, advice)
    numeric = frame[list(MODEL_COLUMNS[1:])].apply(pd.to_numeric, errors="coerce")
    counts = numeric[["parameters", "correct", "films"]]
    whole = (counts % 1 == 0).all(axis=1)
    if not (whole & (counts["films"] >= 1) & counts["correct"].between(0, counts["films"])).all():
        raise UserError(f"{path}: parameters, correct and films should be whole numbers, correct at most films; {advice}")
    if frame["model"].duplicated().any():
        raise UserError(f"{path}: names a model twice; {advice}")
    frame = pd.concat([frame["model"].astype(str), counts.astype(int), numeric.drop(columns=counts.columns)], axis=1)
    return frame.set_index("model").loc[ordered(frame["model"], BACKBONES)].reset_index()


def recorded_films(results):
    """Return what the attacked films are, for captions: phantoms must not pass for patients' films."""
    return "synthetic test films" if (read_manifest(results) or {}).get("synthetic") else "test films"


def recorded_steps(results, source, condition):
    """Return T, the steps of the iterative attacks, from the sweep's manifest; None if it is not there."""
    manifest = read_manifest(sweep_folder(results, source, condition)) or {}
    return manifest.get("settings", {}).get("steps")
