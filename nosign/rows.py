"""The contract between stages 3 and 4: where each file lies, its columns, writing it whole, reading it checked.

A cell is one attack at one strength on all test films. Its path names the condition, so a finished cell is a file and a
stopped sweep goes on with the next one: RESULTS/attacks/SOURCE/CONDITION/ATTACK/STRENGTH.csv and what stands beside it.
Who reads a file here gets numbers that are all there and belong to the same films, or an error that says what to do.
"""

from __future__ import annotations

import itertools
import math
import os
import zipfile
import zlib
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from nosign.attacks.catalogue import ATTACKS, Condition
from nosign.attacks.turning import LEFT_CENSORED, RIGHT_CENSORED, TURNED, WRONG_BEFORE
from nosign.classifiers.catalogue import BACKBONES
from nosign.dataset import CLASSES, FilmSet
from nosign.errors import UserError
from nosign.files import new_array, temporary_array, write_arrays, write_csv
from nosign.manifest import read_manifest
from nosign.measures.visibility import CRITERIA

# Endings of a cell's files: rows, adversarial films, record of steps, predictions after storing, films for the viewer.
ROWS, FILMS, STEPS, STORED, VIEWER = ".csv", ".npy", ".steps.csv", ".stored.csv", ".viewer.npz"
CLEAN_ROWS = "clean.csv"  # predictions on the films before any attack, beside attacks/
CLEAN_STORED = "clean.stored.csv"  # the same after storing, which is the control for STORED
BOUNDARY = "boundary.csv"  # where a single-step attack becomes visible, once an attack
TURNING = "turning.csv"  # the smallest strength of an attack that turns each film, once an attack
STORED_TURNING = "turning.8bit.csv"  # the same where each film that is tried is rounded to 8 bits first
FIELD = "field-"  # beginning of the name of a universal attack's field; the films that it was fitted on, and FILMS, follow
TWIN = "-twin"  # ending of a source model's name: another network of its kind, which is attacked as a target
ROUNDED = "_8bit"  # ending of the columns that describe films rounded to 8 bits
# Columns that say which film a row describes, everywhere; and what is known of it, in `CLEAN_ROWS`.
FILM, LABEL = "film", "label"
IDENTITY = (FILM, LABEL, "collection", "patient", "group")
# Columns with what a perturbation measures: sizes, functions of `nosign.measures.size`, and visibility over its limits. What a
# new recorder adds to a cell's rows is named in MEASURES too.
SIZES = ("linf", "l2", "ssim", "psnr")
VISIBILITY = tuple(criterion.column for criterion in CRITERIA.values() if criterion.ratio)
MEASURES = (*SIZES, *VISIBILITY)
NEEDED_MEASURES = SIZES[:3]  # measured after rounding too; a cell's rows may lack the others
ROUNDED_MEASURES = tuple(name + ROUNDED for name in NEEDED_MEASURES)
# Columns of files with several rows for each film.
STORAGE, CRITERION, TARGET, STRENGTH = "storage", "criterion", "target", "strength"
STEP_MEASURES = ("cosine", "predicted", "gained")
# The same gains in the log-odds against the label; cross-entropy predicts next to nothing for a confident film.
LOG_ODDS_MEASURES = ("predicted_log_odds", "gained_log_odds")
STEP_COLUMNS = (FILM, "step", *STEP_MEASURES, *LOG_ODDS_MEASURES)
TURNING_COLUMNS = [FILM, LABEL, TARGET, STRENGTH, "status", "l2", "linf", "ssim", "cosine", "right_again", "grid"]
VIEWER_ARRAYS = ("films", "labels", "models", "probabilities", "clean_probabilities", "original", "change")


@dataclass(frozen=True)
class Cell:
    """One attack at one strength."""

    attack: str
    strength: float


def logit_columns(model: str) -> list[str]:
    """Return the names of the columns with a model's logits, one for each of `CLASSES`."""
    return [f"{model}_logit{label}" for label in range(len(CLASSES))]


def logits_in(frame: pd.DataFrame, model: str) -> np.ndarray:
    """Return a model's logits in a frame's `logit_columns`, float32 [films, classes]."""
    return frame[logit_columns(model)].to_numpy(np.float32)


def sweep_folder(results: str | Path, source: str, condition: Condition | str) -> Path:
    """Return the folder of the cells of a source model and a `Condition`, or its name."""
    return Path(results) / "attacks" / source / str(condition)


def cell_path(results: str | Path, source: str, condition: Condition | str, cell: Cell) -> Path:
    """Return the path of a cell's rows; it names source, condition, attack and strength."""
    return sweep_folder(results, source, condition) / cell.attack / f"{cell.strength:g}{ROWS}"


def example_path(results: str | Path, attack: str) -> Path:
    """Return where an attack's example for Figures 2 and 3 is kept."""
    return Path(results) / "examples" / f"{attack}.npz"


def files_of(path: Path) -> list[Path]:
    """Return which files there are of a cell, given its rows' path: these, what stands beside them, the attack's boundaries.

    Adversarial films, which may be gigabytes, are not among them.
    """
    beside = [
        *(path.with_suffix(ending) for ending in (STEPS, STORED, VIEWER)),
        *(path.with_name(name) for name in (BOUNDARY, TURNING, STORED_TURNING)),
    ]
    return [path, *(other for other in beside if other.is_file())]


def ordered(names: Iterable[str], known: Iterable[str]) -> list[str]:
    """Return the names without repetition: known ones in their own order, then the others alphabetically."""
    names = set(names)
    return [name for name in known if name in names] + sorted(names - set(known))


def find_files(results: str | Path, ending: str) -> list[tuple[str, Condition, str, float, Path]]:
    """Find the files of one kind of all finished cells.

    Args:
        results: the results folder.
        ending: `ROWS`, `VIEWER` or another of the endings.

    Returns:
        List of (source, `Condition`, attack, strength, path), in the order in which tables list them.

    Raises:
        UserError: a path does not name a condition, an attack and a strength, or two files are of the same cell.
    """
    folder, found = Path(results) / "attacks", {}
    for path in sorted(folder.glob(f"*/*/*/*{ending}")):
        if ending == ROWS and path.name.endswith((STEPS, STORED, BOUNDARY, TURNING, STORED_TURNING)):
            continue
        stated = stated_attack(path, folder, f"STRENGTH{ending}")
        if stated is None:
            continue
        cell = *stated, stated_strength(path, ending)
        if cell in found:
            raise UserError(f"{path}: the same cell as {found[cell]}; remove one of the two")
        found[cell] = path
    return [(*cell, found[cell]) for cell in in_table_order(found)]


def find_turning(results: str | Path) -> list[tuple[str, Condition, str, Path]]:
    """Find all files of turning strengths; they may stand where no cell does.

    Returns:
        List of (source, `Condition`, attack, path), in the order in which tables list them.

    Raises:
        UserError: a path does not name a condition and an attack.
    """
    folder = Path(results) / "attacks"
    paths = {stated_attack(path, folder, TURNING): path for path in sorted(folder.glob(f"*/*/*/{TURNING}"))}
    return [(*stated, paths[stated]) for stated in in_table_order(filter(None, paths))]


def stated_attack(path: Path, folder: Path, name: str) -> tuple[str, Condition, str] | None:
    """Return the source, condition and attack that a path below `folder` states; None if it is not finished yet.

    Args:
        name: what the file's own name should be, for the error.

    Raises:
        UserError: there is no such condition or attack.
    """
    words = path.relative_to(folder).parts
    if any(word.startswith(".") for word in words):
        return None
    condition = Condition.parse(words[1])
    if condition is None or words[2] not in ATTACKS:
        raise UserError(
            f"{path}: the path should read SOURCE/CONDITION/ATTACK/{name} with a condition such as {Condition()} or "
            f"{Condition('budget', 'l2')} and an attack of {', '.join(ATTACKS)}; move the file away"
        )
    return words[0], condition, words[2]


def in_table_order(found: Iterable[tuple]) -> list[tuple]:
    """Return tuples that begin with source, `Condition` and attack in the order in which tables list them."""
    found = list(found)
    sources = ordered({one[0] for one in found}, BACKBONES)
    conditions = ordered({str(one[1]) for one in found}, [str(Condition())])
    attacks = list(ATTACKS)
    return sorted(
        found, key=lambda one: (sources.index(one[0]), conditions.index(str(one[1])), attacks.index(one[2]), *one[3:])
    )


def find_saved_films(results: str | Path) -> dict[tuple[str, Condition], list[Cell]]:
    """Find the finished cells whose adversarial films were kept.

    Returns:
        Dict from source model and condition to the cells.

    Raises:
        UserError: as `find_files`.
    """
    found: dict[tuple[str, Condition], list[Cell]] = {}
    for source, condition, attack, strength, path in find_files(results, ROWS):
        if path.with_suffix(FILMS).is_file():
            found.setdefault((source, condition), []).append(Cell(attack, strength))
    return found


def stated_strength(path: Path, ending: str) -> float:
    """Return the strength that the name of a cell's file states."""
    try:
        strength = float(path.name.removesuffix(ending))
    except ValueError:
        strength = math.nan
    if not 0 <= strength < math.inf:
        raise UserError(f"{path}: the file name should be a strength, at least 0, and {ending}; move the file away")
    return strength


MODEL_COLUMNS = ("model", "parameters", "correct", "films", "imagenet_top1", "imagenet_top5")
# Which network it is, and whether its own run trained it; earlier files lack some.
TRAINED_COLUMNS = ("weights_sha256", "phase_kept", "epoch_kept", "convolutions", "convolutions_changed")
BLOCK_ROWS = 20_000  # of a CSV file that are parsed at once
ADVICE = "remove it and the cell beside it, and run attack.py again"


@dataclass(frozen=True)
class CellFilms:
    """A finished cell, film by film.

    Attributes:
        source: model whose gradients were followed.
        condition: `Condition`.
        attack: name in `ATTACKS`.
        strength: float.
        path: the cell's file.
        targets: list of the target models' names.
        films: float64 frame, a row a film in the order of `clean.csv`, with the file's columns.
    """

    source: str
    condition: Condition
    attack: str
    strength: float
    path: Path
    targets: list
    films: pd.DataFrame


def read_rows(path: Path, required: Iterable[str], advice: str, *, empty: bool = False) -> pd.DataFrame:
    """Read a CSV file that must have certain columns and at least one row.

    Args:
        path: the file.
        required: names of columns that must be there.
        advice: what the user can do if the file is unusable.
        empty: whether it may have no rows.

    Raises:
        UserError: the file is missing, is no CSV, is cut off, lacks a column or has no rows.
    """
    blocks = list(read_blocks(path, required, advice, empty=empty))
    return blocks[0] if len(blocks) == 1 else pd.concat(blocks, ignore_index=True)


def read_blocks(path: Path, required: Iterable[str], advice: str, *, empty: bool = False) -> Iterator[pd.DataFrame]:
    """Yield the rows of `read_rows` in blocks of `BLOCK_ROWS`, at least one block; their index goes on from block to block."""
    required = list(required)
    try:
        with open(path, "rb") as file:
            # A number that is cut off is a number still.
            if file.seek(0, os.SEEK_END) and not (file.seek(-1, os.SEEK_END), file.read())[1] == b"\n":
                raise ValueError("its last line is cut off")
            file.seek(0)
            for frame in pd.read_csv(file, chunksize=BLOCK_ROWS):
                if absent := [column for column in required if column not in frame.columns]:
                    raise UserError(f"{path}: lacks the column {', '.join(absent)}; {advice}")
                if frame.empty and not empty:
                    raise UserError(f"{path}: has a heading but no rows; {advice}")
                yield frame
    except FileNotFoundError:
        raise UserError(f"{path}: not found; {advice}") from None
    except ValueError as error:  # pandas' parser errors and undecodable bytes are ValueErrors
        raise UserError(f"{path}: not a readable CSV file ({error}); {advice}") from None


def read_fields(
    path: Path,
    required: Iterable[str],
    advice: str,
    *,
    words: str | None = None,
    infinite: Sequence[str] = (),
    empty: Sequence[str] = (),
    reduce: Callable[[pd.DataFrame], pd.DataFrame] = lambda block: block,
) -> pd.DataFrame:
    """Read a CSV file of finite numbers, with exceptions.

    Args:
        path, required, advice: as for `read_rows`.
        words: the one column that holds words, if it is there.
        infinite: columns that may hold infinity; they may be absent.
        empty: columns with fields that may be empty; they may be absent.
        reduce: given a block of rows, returns what of it is kept.

    Returns:
        Frame, float64 but for `words`; empty fields are NaN. The numbers of a large one lie in a `temporary_array`.

    Raises:
        UserError: as `read_rows`, or a field is no such number.
    """

    def fields_of(frame: pd.DataFrame) -> pd.DataFrame:
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
            line = frame.index[0] + broken.argmax() + 2
            raise UserError(f"{path}: line {line}: a field is empty or not a number; {advice}")
        return reduce(fields)

    return joined_blocks(map(fields_of, read_blocks(path, required, advice)), lambda: lines_in(path))


def lines_in(path: Path) -> int:
    """Count the lines of a file."""
    with open(path, "rb") as file:
        return sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(1 << 20), b""))


def joined_blocks(blocks: Iterator[pd.DataFrame], most: Callable[[], int]) -> pd.DataFrame:
    """Return blocks of rows as one frame, its numbers in a `temporary_array`; a single block is returned as it is.

    Args:
        blocks: frames with the same columns: float64, or words, which come last.
        most: returns a number of rows that they do not exceed; called if there are several.
    """
    first = next(blocks)
    second = next(blocks, None)
    if second is None:
        return first
    names = list(first.select_dtypes(float))
    numbers, rows, texts = temporary_array((len(names), most()), np.float64), 0, []
    for block in itertools.chain((first, second), blocks):
        for place, name in enumerate(names):
            numbers[place, rows : rows + len(block)] = block[name]
        rows += len(block)
        texts.append(block.drop(columns=names))
    frame = pd.DataFrame(numbers[:, :rows].T, columns=names, copy=False)
    others = pd.concat(texts, ignore_index=True)
    return frame.assign(**{name: others[name] for name in others})


def paged(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a frame of which the float64 columns, which come first then, lie in a `temporary_array` if they are large."""
    return joined_blocks(iter((frame, frame.head(0))), lambda: len(frame)) if len(frame) > BLOCK_ROWS else frame


def check_classes(path: Path, frame: pd.DataFrame, columns: Iterable[str], advice: str) -> None:
    """Refuse predictions or labels that are not positions in `CLASSES`."""
    for column in columns:
        wrong = frame.loc[~frame[column].isin(range(len(CLASSES))), column]
        if not wrong.empty:
            raise UserError(
                f"{path}: line {wrong.index[0] + 2}: {column} is {wrong.iloc[0]:g}, expected a class from "
                f"0 to {len(CLASSES) - 1}; {advice}"
            )


def read_clean(results: str | Path) -> pd.DataFrame:
    """Read `clean.csv`: each test film's label and every model's prediction on the clean film.

    Returns:
        float64 frame with columns film, label and one per model, in the order of `BACKBONES`; see `read_clean_logits`.

    Raises:
        UserError: the file is missing or malformed.
    """
    frame, models = read_clean_logits(results)
    return frame[["film", "label", *models]]


def read_clean_logits(results: str | Path) -> tuple[pd.DataFrame, list[str]]:
    """Read `clean.csv` with the models' logits.

    Returns:
        (float64 frame with columns film, label, one per model with the class it sees, and where the file holds them each
        model's `logit_columns`; names of the models, in the order of `BACKBONES`).

    Raises:
        UserError: the file is missing or malformed.
    """
    frame, models = read_clean_fields(results)
    return frame.drop(columns=[name for name in IDENTITY[2:] if name in frame]), models


def read_clean_fields(results: str | Path) -> tuple[pd.DataFrame, list[str]]:
    """Return what `read_clean_logits` does, the frame with what is known of each film (`IDENTITY`) where the file holds it."""
    path = Path(results) / CLEAN_ROWS
    advice = "run attack.py, or name its output folder with --results"
    frame = with_classes(read_fields(path, ("film", "label"), advice, words="collection", empty=("patient",)))
    models = ordered(set(frame.columns) - set(IDENTITY) - all_logits(frame), BACKBONES)
    if not models:
        raise UserError(f"{path}: no model's predictions in it; {advice}")
    check_classes(path, frame, ["label", *models], advice)
    return frame, models


@dataclass(frozen=True)
class CleanFilms:
    """All that `clean.csv` holds.

    Attributes:
        predictions: what `read_clean` returns.
        logits: dict from model to float32 [films, classes]; models of earlier files, which hold classes alone, are not in it.
        collections: where each film comes from, str [films]; empty where it is not on record.
        patients: int [films], equal for films of one patient; a film without a patient's id is a patient of its own.
        neighbours: the same, a film without an id being one with those whose numbers lie close to its own.
    """

    predictions: pd.DataFrame
    logits: dict[str, np.ndarray]
    collections: np.ndarray
    patients: np.ndarray
    neighbours: np.ndarray


def read_clean_films(results: str | Path) -> CleanFilms:
    """Read `clean.csv`; see `CleanFilms`.

    Raises:
        UserError: the file is missing or malformed.
    """
    frame, models = read_clean_fields(results)
    known = frame.reindex(columns=IDENTITY)
    patients = known["patient"].fillna(pd.Series(-1 - np.arange(len(frame))))
    return CleanFilms(
        frame[[FILM, LABEL, *models]],
        {model: logits_in(frame, model) for model in models if set(logit_columns(model)) <= set(frame)},
        known["collection"].fillna("").to_numpy(str),
        patients.to_numpy(np.int64),
        known["group"].fillna(patients).to_numpy(np.int64),
    )


def all_logits(frame: pd.DataFrame) -> set[str]:
    """Return the names of a frame's columns that hold logits."""
    return {column for column in frame.columns if column.rpartition("_")[2].startswith("logit")}


def with_classes(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a frame with a column of the class that each model sees, where it holds logits; earlier files hold the class."""
    models = dict.fromkeys(column.rpartition("_")[0] for column in frame.columns if column in all_logits(frame))
    seen = {}
    for model in models:
        logits = frame[[column for column in logit_columns(model) if column in frame]]
        if logits.shape[1] == len(CLASSES):
            seen[model] = logits.to_numpy().argmax(-1).astype(float)
    return pd.concat([frame, pd.DataFrame(seen, index=frame.index)], axis=1)


def classes_for_logits(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a frame with `with_classes` in place of the logits."""
    return with_classes(frame).drop(columns=list(all_logits(frame)))


def read_cell(path: Path, clean: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Read one cell and check that it belongs to the clean predictions.

    Args:
        path: the cell's file.
        clean: what `read_clean` returned.

    Returns:
        (float64 frame with the classes that the targets see but not their logits, names of these target models).

    Raises:
        UserError: the file is malformed or unfinished, or it was computed on other films or other models.
    """
    advice = "remove the file and run attack.py again; it recomputes missing cells only"
    needed = ("film", "label", *NEEDED_MEASURES)
    frame = read_fields(path, needed, advice, infinite=("psnr",), reduce=classes_for_logits)
    predictions = set(frame.columns) - {"film", "label", *MEASURES, *ROUNDED_MEASURES}
    targets = ordered((name for name in predictions if not name.endswith(ROUNDED)), BACKBONES)
    if not targets or predictions != {name + ending for name in targets for ending in ("", ROUNDED)}:
        raise UserError(f"{path}: expected a column per target model and one more that ends in {ROUNDED}; {advice}")
    if unknown := [target for target in targets if target not in clean.columns]:
        raise UserError(f"{path}: targets {', '.join(unknown)}, of which clean.csv holds no predictions; {advice}")
    if not np.array_equal(frame[["film", "label"]], clean[["film", "label"]]):
        raise UserError(f"{path}: its {len(frame)} films are not the {len(clean)} films of clean.csv; {advice}")
    check_classes(path, frame, predictions, advice)
    return frame, targets


def read_films(results: str | Path, clean: pd.DataFrame) -> list[CellFilms]:
    """Read every finished cell film by film.

    Args:
        results: the results folder.
        clean: what `read_clean` returned.

    Returns:
        List of `CellFilms`, in the order in which tables list them.

    Raises:
        UserError: there are neither cells nor turning strengths, or a cell is unusable.
    """
    found = find_files(results, ROWS)
    if not found and not find_turning(results):
        raise UserError(
            f"{Path(results) / 'attacks'}: no finished cells; run attack.py, or name its output folder with --results"
        )
    read = []
    for source, condition, attack, strength, path in found:
        films, targets = read_cell(path, clean)
        read.append(CellFilms(source, condition, attack, strength, path, targets, films))
    return read


def models_in(columns: Container[str], clean: pd.DataFrame) -> list[str]:
    """Return the models of the clean predictions of which a file has columns."""
    return [model for model in clean.columns.drop(["film", "label"]) if model in columns]


def read_by_word(
    path: Path, word: str, required: Iterable[str], clean: pd.DataFrame, **options: Any
) -> dict[str, pd.DataFrame]:
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
    codes, values = pd.factorize(frame[word])
    parts = {value: rows_at(frame, codes == code).reset_index(drop=True) for code, value in enumerate(values)}
    for value, rows in parts.items():
        if not np.array_equal(rows[["film", "label"]], clean[["film", "label"]]):
            raise UserError(f"{path}: its films under '{value}' are not the {len(clean)} of clean.csv; {ADVICE}")
    return parts


def rows_at(frame: pd.DataFrame, chosen: np.ndarray) -> pd.DataFrame:
    """Return some rows of a frame, bool [rows]; if they stand together, without a copy."""
    places = np.flatnonzero(chosen)
    together = slice(places[0], places[-1] + 1)
    return frame.iloc[together] if chosen[together].all() else frame.iloc[places]


def read_models(folder: str | Path) -> pd.DataFrame:
    """Read `models.csv`: parameters and clean accuracy of each classifier.

    Returns:
        Frame with `MODEL_COLUMNS` and those of `TRAINED_COLUMNS` that the file has, one row per model.

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
    trained = frame[[name for name in TRAINED_COLUMNS if name in frame]]
    frame = pd.concat([frame["model"].astype(str), counts.astype(int), numeric.drop(columns=counts.columns), trained], axis=1)
    return frame.set_index("model").loc[ordered(frame["model"], BACKBONES)].reset_index()


def recorded_films(results: str | Path) -> str:
    """Return what the attacked films are, for captions: phantoms must not pass for patients' films."""
    manifest = read_manifest(results) or {}
    films = f"{manifest.get('settings', {}).get('split', 'test')} films"
    return f"synthetic {films}" if manifest.get("synthetic") else films


def recorded_steps(results: str | Path, source: str, condition: Condition | str) -> int | None:
    """Return T, the steps of the iterative attacks, from the sweep's manifest; None if it is not there."""
    manifest = read_manifest(sweep_folder(results, source, condition)) or {}
    return manifest.get("settings", {}).get("steps")


def recorded_health(results: str | Path, source: str, condition: str) -> dict[str, Any]:
    """Return the health report in the sweep's manifest; empty if it is not there."""
    return (read_manifest(sweep_folder(results, source, condition)) or {}).get("health") or {}


def new_films(path: str | Path, films: FilmSet) -> np.ndarray:
    """Create a file for the adversarial films of a cell and return it as a float32 array [films, height, width, 3]."""
    return new_array(path, np.float32, (len(films), *films.images.shape[1:]))


def open_films(path: str | Path, films: FilmSet) -> np.ndarray:
    """Open the adversarial films of a cell, float32 [films, height, width, 3] in [0, 1].

    Raises:
        UserError: the file is missing, cut off, or holds other films than were attacked.
    """
    try:
        kept = np.lib.format.open_memmap(path, mode="r")
    except (OSError, ValueError):
        raise UserError(f"{path}: no complete array of films; run attack.py --save-films there again") from None
    if kept.dtype != np.float32 or kept.shape != (len(films), *films.images.shape[1:]):
        raise UserError(f"{path}: holds {kept.dtype} {kept.shape}, expected float32 {(len(films), *films.images.shape[1:])}")
    return kept


def logit_frame(outputs: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """Return logits as a frame, one row per film: dict from name to float32 [n, classes] -> its `logit_columns`."""
    return pd.concat([pd.DataFrame(logits, columns=logit_columns(name)) for name, logits in outputs.items()], axis=1)


def write_cell(path: Path, recorded: dict) -> None:
    """Write a cell's files, each whole; the rows come last and vouch for the others.

    Args:
        path: of the rows.
        recorded: dict from a file's ending to a frame, or for `VIEWER` to arrays.
    """
    for ending, content in sorted(recorded.items(), key=lambda item: item[0] == ROWS):
        if isinstance(content, dict):
            write_arrays(path.with_suffix(ending), content)
        else:
            write_rows(path.with_suffix(ending), content)


def write_rows(path: str | Path, frame: pd.DataFrame) -> None:
    """Write a frame as CSV atomically, logits with nine digits, which hold a float32 exactly, other numbers with six."""
    logits = [name for name in frame.columns if "_logit" in name]
    write_csv(path, frame.assign(**{name: frame[name].map("{:.9g}".format) for name in logits}), float_format="%.6g")


@dataclass(frozen=True)
class Example:
    """One film before and after an attack at two strengths.

    Attributes:
        attack: name in `ATTACKS`.
        film: row of the film in the data index.
        label: its true class, a position in `CLASSES`.
        original: float32 [height, width, 3] in [0, 1].
        adversarial: float32 [2, height, width, 3] in [0, 1], one film a strength.
        strengths: float64 [2].
        predictions: int [3], the source model's class for the original and the two adversarial films.
        confidences: float32 [3] in [0, 1], its probability of that class.
    """

    attack: str
    film: int
    label: int
    original: np.ndarray
    adversarial: np.ndarray
    strengths: np.ndarray
    predictions: np.ndarray
    confidences: np.ndarray


def read_example(results: str | Path, attack: str) -> Example | None:
    """Read the film that `attack.py` kept to show an attack.

    Returns:
        An `Example`, or None if there is no such file.

    Raises:
        UserError: the file is not a complete example.
    """
    path = example_path(results, attack)
    try:
        with np.load(path, allow_pickle=False) as arrays:
            example = Example(
                attack,
                int(arrays["film"]),
                int(arrays["label"]),
                arrays["original"],
                arrays["adversarial"],
                *(arrays[name].ravel() for name in ("strengths", "predictions", "confidences")),
            )
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError, EOFError, zipfile.BadZipFile):
        raise UserError(f"{path}: not a complete example; remove it and run attack.py again") from None
    shape = example.original.shape
    classes = [example.label, *example.predictions]
    if (
        len(shape) != 3
        or shape[-1] != 3
        or example.adversarial.shape != (2, *shape)
        or len(example.strengths) != 2
        or len(example.predictions) != 3
        or len(example.confidences) != 3
        or not set(classes) <= set(range(len(CLASSES)))
    ):
        raise UserError(
            f"{path}: expected a film, two adversarial films, two strengths and three predictions; "
            "remove it and run attack.py again"
        )
    return example


@dataclass(frozen=True)
class ViewerFilms:
    """The films of one cell that the viewer shows.

    Attributes:
        path: where it was read.
        attack: name in `ATTACKS`.
        strength: float.
        films: list of int [k], rows of the data index.
        labels: list of int [k], positions in `CLASSES`.
        models: list of str [m].
        probabilities: float32 [m, k, classes], on the adversarial films.
        clean_probabilities: float32 [m, k, classes], on the originals.
        original: uint8 [k, height, width, 3].
        change: float16 [k, height, width, 3], adversarial - original in [0, 1] units.
    """

    path: Path
    attack: str
    strength: float
    films: list
    labels: list
    models: list
    probabilities: np.ndarray
    clean_probabilities: np.ndarray
    original: np.ndarray
    change: np.ndarray


def read_viewer_films(attack: str, strength: float, path: Path, most: int | None = None) -> ViewerFilms:
    """Read the first `most` films that a cell kept for the viewer.

    Raises:
        UserError: the file is no such archive, lacks an array, or its arrays do not fit each other.
    """
    advice = "remove it and run attack.py again"
    try:
        with open(path, "rb") as file, np.lib.npyio.NpzFile(file, allow_pickle=False) as arrays:
            films, labels, models, after, before, original, change = (arrays[name] for name in VIEWER_ARRAYS)
        change = change.astype(np.float16)
    except (ValueError, TypeError, KeyError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError) as error:
        raise UserError(f"{path}: not a complete archive of films to show ({error}); {advice}") from None
    scores = (len(models) if models.ndim == 1 else 0, len(films) if films.ndim == 1 else 0, len(CLASSES))
    fits = (
        min(scores) >= 1
        and labels.shape == films.shape
        and films.dtype.kind == labels.dtype.kind == "i"
        and models.dtype.kind == "U"
        and after.shape == before.shape == scores
        and original.dtype == np.uint8
        and original.shape == change.shape == (scores[1], *change.shape[1:3], 3)
        and min(change.shape) >= 1
        and set(labels.tolist()) <= set(range(len(CLASSES)))
    )
    if not fits or not all(np.isfinite(array).all() for array in (after, before, change)):
        raise UserError(
            f"{path}: its arrays are not k films with labels, [k, height, width, 3] pixels and changes, and "
            f"[models, k, {len(CLASSES)}] probabilities; {advice}"
        )
    return ViewerFilms(
        path,
        attack,
        strength,
        films.tolist()[:most],
        labels.tolist()[:most],
        models.tolist(),
        after[:, :most],
        before[:, :most],
        original[:most],
        change[:most].copy(),
    )


def read_steps(path: Path, clean: pd.DataFrame) -> pd.DataFrame | None:
    """Read the record of a cell's steps.

    Args:
        path: the cell's file; the record stands beside it.
        clean: what `read_clean` returned.

    Returns:
        Float64 frame, one row per film and step: film, step, `STEP_MEASURES` and, where they are on record,
        `LOG_ODDS_MEASURES`; None if nothing is on record.

    Raises:
        UserError: the file is malformed or of other films than `clean`.
    """
    path = path.with_suffix(STEPS)
    if not path.exists():
        return None
    frame = read_fields(path, ("film", "step", *STEP_MEASURES), ADVICE, empty=(*STEP_MEASURES, *LOG_ODDS_MEASURES))
    films = frame.groupby("step")["film"]
    whole = films.nunique().eq(len(clean)) & films.count().eq(len(clean))
    if not whole.all() or not frame["film"].isin(clean["film"]).all():
        raise UserError(f"{path}: expected each of the {len(clean)} films of clean.csv once a step; {ADVICE}")
    return frame


def read_boundaries(path: Path, clean: pd.DataFrame) -> dict[str, pd.DataFrame] | None:
    """Read the visibility boundaries of an attack that `attack.py` solved for.

    Args:
        path: the file of one of the attack's cells; the boundaries stand beside it.
        clean: what `read_clean` returned.

    Returns:
        Dict from criterion to a frame, one row per film in the order of `clean`: film, label, criterion, strength (the
        largest invisible one, infinite or `STRONGEST` where none is visible) and each target's prediction at it; None if
        nothing is on record.

    Raises:
        UserError: the file is malformed or of other films than `clean`.
    """
    path = path.with_name(BOUNDARY)
    if not path.exists():
        return None
    parts = read_by_word(path, "criterion", ("strength",), clean, infinite=("strength",))
    if unknown := set(parts) - set(CRITERIA):
        raise UserError(f"{path}: criterion {', '.join(sorted(unknown))}, expected {', '.join(CRITERIA)}; {ADVICE}")
    for frame in parts.values():
        if (frame["strength"] < 0).any():
            raise UserError(f"{path}: a strength below 0; {ADVICE}")
    return parts


STATUSES = (TURNED, LEFT_CENSORED, RIGHT_CENSORED, WRONG_BEFORE)
TURNING_NUMBERS = ("film", "label", "strength", "l2", "linf", "ssim", "cosine", "right_again")


def read_turning(path: Path, clean: pd.DataFrame, *, stored: bool = False) -> pd.DataFrame | None:
    """Read the turning strengths of an attack.

    Args:
        path: the file of one of the attack's cells, or the attack's folder joined with any name; they stand beside it.
        clean: what `read_clean` returned.
        stored: whether those of films that are rounded to 8 bits are meant.

    Returns:
        Frame with the columns of `TURNING_COLUMNS`, one row per film and target; None if nothing is on record.

    Raises:
        UserError: the file is malformed, or of films or models that `clean` does not have.
    """
    path = path.with_name(STORED_TURNING if stored else TURNING)
    if not path.exists():
        return None
    frame = read_rows(path, TURNING_COLUMNS, ADVICE)
    numbers = frame[list(TURNING_NUMBERS)].apply(pd.to_numeric, errors="coerce")
    part = frame["status"] != WRONG_BEFORE
    untried = frame["grid"].isna()  # iterative attacks, which are not tried at all strengths
    if (
        not frame["status"].isin(STATUSES).all()
        or numbers.loc[part, ["film", "label", "strength", "l2", "linf"]].isna().any(axis=None)
        or not (numbers["right_again"].isna() == untried)[part].all()
    ):
        raise UserError(f"{path}: a field is empty or not what it should be; {ADVICE}")
    searched = [np.sort(films) for _, films in numbers["film"].groupby(frame["target"])]
    if any((np.diff(films) == 0).any() or not np.array_equal(films, searched[0]) for films in searched):
        raise UserError(f"{path}: expected every target's row of every film that was tried, once; {ADVICE}")
    known = clean.set_index("film")["label"]
    if not (known.reindex(numbers["film"]).to_numpy() == numbers["label"].to_numpy()).all():
        raise UserError(f"{path}: its films are not those of clean.csv; {ADVICE}")
    if unknown := set(frame["target"]) - set(clean.columns):
        raise UserError(f"{path}: targets {', '.join(sorted(unknown))}, of which clean.csv holds no predictions; {ADVICE}")
    return frame.assign(**numbers)
