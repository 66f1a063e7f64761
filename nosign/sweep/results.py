"""The results folder of stage 3: making room for a run, refusing to mix it with another, saying in manifests what it is."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nosign.dataset import FilmSet
from nosign.errors import UserError
from nosign.files import is_gone, locked, remove, remove_folder, remove_leftovers, this_process
from nosign.manifest import MANIFEST, check_settings, read_manifest, write_manifest, write_unfinished
from nosign.rows import CLEAN_ROWS, CLEAN_STORED, FIELD, FILM, FILMS, ROWS, find_files, read_rows
from nosign.sweep.jobs import Job, is_clean_finished

ADVICE = "choose another --out, or give --overwrite to remove them"


def is_finished(out: Path, identity: dict[str, Any], jobs: Sequence[Job]) -> bool:
    """Tell whether a results folder holds all that jobs ask for, and its manifests say so."""
    return (
        is_same(out, identity)
        and is_clean_finished(out, jobs)
        and all(is_same(job.folder, job.settings) and is_done(job) for job in jobs)
    )


def prepare_output(
    out: Path, identity: dict[str, Any], jobs: Sequence[Job], films: FilmSet, arguments: argparse.Namespace, started: float
) -> None:
    """Make room for this run's cells.

    Args:
        out: the results folder.
        identity: what clean.csv depends on.
        jobs: list of `Job`.
        films: what is attacked.
        arguments: the command line.
        started: `time.time()` when the run began.

    Raises:
        UserError: as `refuse_others`.
    """
    # Two commands with other settings must not both find the folder empty.
    with locked(out):
        remove_leftovers(out)
        for job in jobs if arguments.overwrite else ():
            for folder in (out, job.folder):
                refuse_company(folder)
            remove_cells(out, job.folder, keep_other_sweeps=is_same(out, identity))
        refuse_others(out, identity, jobs, films)
        for job in jobs:
            if not (is_same(out, identity) and is_same(job.folder, job.settings)):
                write_both_manifests(out, identity, job, arguments, started, finished=False, process=this_process())
            elif not is_done(job):
                # A run that is stopped before its last word writes it anew.
                for folder in (out, job.folder):
                    write_unfinished(folder, process=this_process())


def refuse_others(out: Path, identity: dict[str, Any], jobs: Sequence[Job], films: FilmSet) -> None:
    """Refuse a results folder that holds anything with which this run's results would be mixed.

    Raises:
        UserError: results of other settings, or of nobody knows what, are in the way, or come from a process at work.
    """
    results = [*clean_files(out), *(out / "attacks").rglob("[!.]*.csv")]
    for job in jobs:
        for place, wanted in ((out, identity), (job.folder, job.settings)):
            if not is_same(place, wanted):
                refuse_company(place)
            if any(path.is_relative_to(place) for path in results) and not check_settings(place, wanted, ADVICE):
                raise UserError(f"{place}: holds results but no manifest that says what they are; {ADVICE}")
        check_searches(job, films)
        check_fields(job)
    find_files(out, ROWS)  # the health report reads them all: a path that names no cell is refused before the work


def refuse_company(folder: Path) -> None:
    """Refuse a folder in which another process is at work, though it may hold no results yet.

    Raises:
        UserError: says so.
    """
    manifest = read_manifest(folder) or {}
    process = manifest.get("process")
    if process and not manifest.get("finished") and process != this_process() and not is_gone(process):
        raise UserError(
            f"{folder}: another process is at work there ({process}): wait until it is done, or choose another --out; if "
            f"it was killed on another machine, remove {folder / MANIFEST}"
        )


def check_searches(job: Job, films: FilmSet) -> None:
    """Refuse turning strengths of iterative attacks that were found on other films than are asked for.

    How many films they are found on is no setting of the sweep, as they may be asked for when the rest has long been finished.

    Raises:
        UserError: names the file.
    """
    for search in job.searches:
        path = job.turning_path(search)
        if search.iterative and path.is_file():
            wanted = films.rows[search.positions(films)]
            found = read_rows(path, (FILM,), "remove it", empty=films.parent is not None)[FILM]
            if set(found) != set(wanted):
                raise UserError(
                    f"{path}: turning strengths of {found.nunique()} films, where --iterative-turning "
                    f"{search.films_per_class} asks for {len(wanted)}; remove it, or ask for as many as before"
                )


def check_fields(job: Job) -> None:
    """Refuse universal attacks whose field was fitted on other films than are asked for; no setting, as `check_searches` says.

    Raises:
        UserError: names the file.
    """
    for path in job.field_paths().values():
        others = [other for other in path.parent.glob(f"{FIELD}*{FILMS}") if other != path]
        if others:
            raise UserError(
                f"{others[0]}: a field that was fitted on other films than --universal-films {job.universal_films} asks for; "
                "remove the folder, or ask for as many as before"
            )


def is_done(job: Job) -> bool:
    """Tell whether all files of a job are there, and its manifest says so."""
    return job.is_finished() and bool((read_manifest(job.folder) or {}).get("finished"))


def is_same(folder: Path, settings: dict[str, Any]) -> bool:
    """Tell whether a folder has a manifest with these settings."""
    try:
        return check_settings(folder, settings, ADVICE) is not None
    except UserError:
        return False


def remove_cells(out: Path, folder: Path, keep_other_sweeps: bool) -> None:
    """Remove the cells of one sweep's folder; of all sweeps, if films or models are others."""
    remove_folder(folder if keep_other_sweeps else out / "attacks")
    remove_folder(out / "examples")
    if not keep_other_sweeps:
        for path in [*clean_files(out), out / MANIFEST]:
            remove(path)


def clean_files(out: Path) -> list[Path]:
    """Return the files with predictions on clean films that are there."""
    return [out / name for name in (CLEAN_ROWS, CLEAN_STORED) if (out / name).is_file()]


def write_manifests(
    out: Path, identity: dict[str, Any], job: Job, arguments: argparse.Namespace, started: float, **facts: Any
) -> None:
    """Write the manifests of the results and of a sweep; adversarial films, which may be gigabytes, are not hashed.

    Commands for other sweeps may run at the same time and add themselves to the manifest of the results.
    """
    with locked(out):
        write_both_manifests(out, identity, job, arguments, started, **facts)


def write_both_manifests(
    out: Path, identity: dict[str, Any], job: Job, arguments: argparse.Namespace, started: float, **facts: Any
) -> None:
    """Do what `write_manifests` does, for a caller that has the folder's lock; the sweep's comes last and vouches for both."""
    swept = sorted(job.folder.glob("*/[!.]*.*"))
    write_manifest(
        out,
        stage="attack.py",
        settings=identity,
        started=started,
        outputs=clean_files(out),
        adds=True,
        synthetic=(read_manifest(arguments.data) or {}).get("synthetic", False),
        **{name: fact for name, fact in facts.items() if name != "health"},
    )
    write_manifest(
        job.folder,
        stage="attack.py",
        settings=job.settings,
        started=started,
        seed=arguments.seed,
        outputs=[path for path in swept if path.suffix != FILMS or path.name.startswith(FIELD)],
        adds=True,
        **facts,
    )
