"""Parts of a sweep that were attacked apart, `attack.py --shard 3/16`, and how they become the files of a single run.

A part is a results folder of its own, RESULTS/shards/3-of-16/. It holds whole batches of the films, those that a single run
would attack, so that its rows are the single run's rows: joining them is reading them, in order. What takes all films is left
to the run that joins: the attack without bounds, the health report, the examples.
"""

from __future__ import annotations

import argparse
import csv
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from nosign.dataset import FilmSet
from nosign.errors import UserError
from nosign.files import atomic_path, write_arrays, write_bytes, write_text
from nosign.manifest import MANIFEST, changed_since, commands_of, describe_differences, read_manifest
from nosign.rows import (
    CLEAN_ROWS,
    CLEAN_STORED,
    CRITERION,
    FILM,
    FILMS,
    ROWS,
    STEP_COLUMNS,
    STEPS,
    STORAGE,
    STORED,
    TARGET,
    VIEWER,
    VIEWER_ARRAYS,
    new_films,
    read_clean_logits,
    sweep_folder,
)
from nosign.sweep.gradients import GRADIENT_COUNTS
from nosign.sweep.jobs import SHARD, Job
from nosign.sweep.options import Shard
from nosign.sweep.recorders import viewer_positions
from nosign.sweep.results import check_fields, check_searches

SHARDS, PART_NAME = "shards", re.compile(r"\d+-of-\d+")
# Columns by which files with several rows for each film are sorted; the films' order comes second.
SORTED_BY = (STORAGE, STEP_COLUMNS[1], CRITERION, TARGET)


def shard_folder(out: Path, shard: Shard) -> Path:
    """Return where a part's results go."""
    return out / SHARDS / f"{shard.number}-of-{shard.count}"


def shard_of(arguments: argparse.Namespace, whole: FilmSet) -> tuple[FilmSet, Path]:
    """Return the films of the part that the command line asks for, and where its results go.

    Raises:
        UserError: there are fewer batches than parts, or what is asked for cannot be done in parts.
    """
    start, stop = arguments.shard.span(len(whole), arguments.batch)
    if start == stop:
        batches = -(-len(whole) // arguments.batch)
        raise UserError(
            f"--shard {arguments.shard}: only {batches} batches of {arguments.batch} films; ask for at most as many parts"
        )
    if arguments.rescore:
        raise UserError("--rescore and --shard: films are scored whole; leave --shard out")
    return whole.part(start, stop), shard_folder(Path(arguments.out), arguments.shard)


def refuse_joined(out: Path, jobs: Iterable[Job]) -> None:
    """Refuse to attack a part anew whose rows stand in a whole already, which nothing would replace.

    Args:
        out: the results folder of the whole.
        jobs: list of `Job` of the part.

    Raises:
        UserError: names the whole.
    """
    for job in jobs:
        folder = sweep_folder(out, job.source, job.condition)
        if (read_manifest(folder) or {}).get("shards"):
            raise UserError(f"{folder}: joined from the parts as they are; remove it before one of them is attacked anew")


def find_shards(out: Path, identity: Mapping[str, Any], jobs: Sequence[Job], films: FilmSet) -> list[Path]:
    """Return the parts below a results folder, in order; none where there are none of these sweeps.

    Args:
        out: the results folder.
        identity: what clean.csv depends on.
        jobs: list of `Job`.
        films: what is attacked.

    Raises:
        UserError: one is missing, not finished, of other settings, or not what its manifest recorded.
    """
    found = [path for path in (out / SHARDS).glob("*") if PART_NAME.fullmatch(path.name)]
    jobs = [job for job in jobs if is_in(found, out, job)]
    if SHARD in identity or not jobs:
        return []
    counts = {int(path.name.rpartition("-")[2]) for path in found}
    if len(counts) > 1:
        raise UserError(f"{out / SHARDS}: parts of {' and of '.join(map(str, sorted(counts)))}; remove all but one kind")
    count = counts.pop()
    folders = [shard_folder(out, Shard(number, count)) for number in range(1, count + 1)]
    for number, folder in enumerate(folders, 1):
        shard = Shard(number, count)
        check_settings_of(folder, {**identity, SHARD: str(shard)}, folder)
        for job in jobs:
            part = replace(job, results=folder, settings={**job.settings, SHARD: str(shard)}, shard=shard)
            check_settings_of(part.folder, part.settings, folder)
            check_part(part, films.part(*shard.span(len(films), job.settings["batch"])))
    return folders


def is_in(shards: Iterable[Path], out: Path, job: Job) -> bool:
    """Tell whether some part, finished or not, is of a job's sweep."""
    return any((shard / job.folder.relative_to(out) / MANIFEST).is_file() for shard in shards)


def check_settings_of(place: Path, wanted: Mapping[str, Any], folder: Path) -> None:
    """Refuse a part that was not begun, is of other settings, or holds rows that are not what its manifest recorded."""
    manifest = read_manifest(place)
    if not manifest:
        raise UserError(unfinished(place, wanted[SHARD], folder))
    if differing := describe_differences(manifest["settings"], dict(wanted)):
        raise UserError(f"{place}: of another run: {differing}; {remedy(wanted[SHARD], folder)}")
    if changed := changed_since(place, ROWS):
        raise UserError(
            f"{changed[0]}: holds something else than its manifest recorded when attack.py wrote it; remove it and "
            f"{remedy(wanted[SHARD], folder)}"
        )


def check_part(part: Job, films: FilmSet) -> None:
    """Refuse a part of a sweep that is not finished, or whose searches and fields are of other films than are asked for.

    A manifest that is not finished may be that of another sweep under the same condition, at work beside this one.
    """
    check_searches(part, films)
    check_fields(part)
    manifest = read_manifest(part.folder) or {}
    whole = part.is_finished() and (manifest.get("health") or {}).keys() >= set(GRADIENT_COUNTS)
    if not whole and not manifest.get("finished"):
        raise UserError(unfinished(part.folder, str(part.shard), part.results))


def unfinished(place: Path, shard: str, folder: Path) -> str:
    """Return what is said of a part that is not finished."""
    return f"{place}: part {shard} is not finished; {remedy(shard, folder)}"


def remedy(shard: str, folder: Path) -> str:
    """Return what to do about a part that cannot be joined."""
    return f"run attack.py with --shard {shard} and otherwise the same words, or remove {folder.parent}"


def join_shards(
    out: Path, identity: Mapping[str, Any], jobs: Sequence[Job], shards: Sequence[Path], films: FilmSet
) -> dict[Path, dict[str, int]]:
    """Join the files that this run lacks and that all parts have.

    Args:
        out: the results folder.
        identity: what clean.csv depends on.
        jobs: list of `Job`.
        shards: what `find_shards` returned.
        films: what is attacked.

    Returns:
        Dict from the folder of each job that was attacked in parts to the `GRADIENT_COUNTS` of all films.
    """
    jobs = [job for job in jobs if is_in(shards, out, job)]
    if not jobs:
        return {}
    for name in (CLEAN_ROWS, CLEAN_STORED):
        join_tables(out / name, [shard / name for shard in shards])
    for job in jobs:
        for name in job.without_field():
            path = job.field_paths()[name]
            first = shards[0] / path.relative_to(out)  # all parts fitted the same
            if first.is_file():
                write_bytes(path, first.read_bytes())
        for path in wanted_files(job):
            parts = [shard / path.relative_to(out) for shard in shards]
            if path.is_file() or not all(part.is_file() for part in parts):
                continue
            if path.name.endswith(VIEWER):
                join_viewer_films(path, parts, out, job.source)
            elif path.suffix == FILMS:
                join_films(path, parts, films)
            else:
                join_tables(path, parts)
    print(f"{out}: joined {len(shards)} parts", flush=True)
    return {job.folder: counts_of([shard / job.folder.relative_to(out) for shard in shards]) for job in jobs}


def wanted_files(job: Job) -> Iterator[Path]:
    """Yield the files of a job that hold rows film by film; those that vouch for others come after them."""
    for cell in job.unfinished():
        path = job.path(cell)
        yield from (path.with_suffix(ending) for ending in (STEPS, STORED, VIEWER))
        if job.save_films:
            yield job.films_path(cell)
        yield path.with_suffix(ROWS)
    yield from (job.boundary_path(name) for name in job.without_boundary())
    yield from (job.turning_path(search) for search in job.without_turning())


def join_tables(path: Path, parts: Sequence[Path]) -> None:
    """Write a CSV file that holds the rows of all parts, sorted as a single run sorts them."""
    if path.is_file() or not all(part.is_file() for part in parts):
        return
    tables = [part.read_text(encoding="utf-8").splitlines(keepends=True) for part in parts]
    heading = tables[0][0]
    if any(table[0] != heading or not table[-1].endswith("\n") for table in tables):
        raise UserError(
            f"{path}: its parts have different columns, or one is cut off: {', '.join(map(str, parts))}; remove them"
        )
    columns = next(csv.reader([heading]))
    place = next((columns.index(name) for name in SORTED_BY if name in columns), None)
    lines = [line for table in tables for line in table[1:]]
    if place is not None:
        keys = [row[place] for row in csv.reader(lines)]
        order = {key: number for number, key in enumerate(dict.fromkeys(keys))}
        lines = [lines[i] for i in sorted(range(len(lines)), key=lambda i: order[keys[i]])]
    write_text(path, heading + "".join(lines))


def join_films(path: Path, parts: Sequence[Path], films: FilmSet) -> None:
    """Write the adversarial films of all parts as one array."""
    with atomic_path(path) as temporary:
        whole, start = new_films(temporary, films), 0
        for part in parts:
            some = np.lib.format.open_memmap(part, mode="r")
            whole[start : start + len(some)] = some
            start += len(some)


def join_viewer_films(path: Path, parts: Sequence[Path], out: Path, source: str) -> None:
    """Write the films for the viewer that a single run would choose; each part kept more than its share."""
    clean = read_clean_logits(out)[0]
    wanted = clean[FILM].to_numpy()[viewer_positions(clean, source)]
    loaded = []
    for part in parts:
        with np.load(part, allow_pickle=False) as arrays:
            loaded.append({name: arrays[name] for name in VIEWER_ARRAYS})
    found = np.concatenate([arrays["films"] for arrays in loaded])
    places = [int(np.flatnonzero(found == film)[0]) for film in wanted]
    joined = {}
    for name in VIEWER_ARRAYS:
        axis = 1 if name.endswith("probabilities") else 0
        several = [arrays[name] for arrays in loaded]
        joined[name] = several[0] if name == "models" else np.concatenate(several, axis).take(places, axis)
    write_arrays(path, joined)


def counts_of(folders: Sequence[Path]) -> dict[str, int]:
    """Add up the `GRADIENT_COUNTS` that the parts of a sweep recorded."""
    recorded = [(read_manifest(folder) or {}).get("health") or {} for folder in folders]
    return {name: sum(health[name] for health in recorded) for name in GRADIENT_COUNTS}


def commands_of_shards(folders: Sequence[Path]) -> list[dict[str, Any]]:
    """Return the commands that made some parts of a sweep, for the manifest of the whole."""
    return [command for folder in folders for command in commands_of(read_manifest(folder) or {})]
