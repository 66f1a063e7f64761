"""The results folder of stage 3: making room for a run, refusing to mix it with another, saying in manifests what it is."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from nosign.dataset import FilmSet
from nosign.errors import UserError
from nosign.files import locked
from nosign.manifest import MANIFEST, check_settings, read_manifest, write_manifest
from nosign.rows import CLEAN_ROWS, CLEAN_STORED, FIELD, FILM, FILMS, ROWS, find_files, read_rows
from nosign.sweep.jobs import Job

ADVICE = "choose another --out, or give --overwrite to remove them"


def prepare_output(
    out: Path, identity: dict[str, Any], jobs: Iterable[Job], arguments: argparse.Namespace, started: float
) -> None:
    """Make room for this run's cells.

    Args:
        out: the results folder.
        identity: what clean.csv depends on.
        jobs: list of `Job`.
        arguments: the command line.
        started: `time.time()` when the run began.

    Raises:
        UserError: results of other settings, or of nobody knows what, are in the way.
    """
    for job in jobs:
        if arguments.overwrite:
            remove_cells(out, job.folder, keep_other_sweeps=is_same(out, identity))
        results = [*clean_files(out), *(out / "attacks").rglob("[!.]*.csv")]
        for place, wanted in ((out, identity), (job.folder, job.settings)):
            if any(path.is_relative_to(place) for path in results) and not check_settings(place, wanted, ADVICE):
                raise UserError(f"{place}: holds results but no manifest that says what they are; {ADVICE}")
    find_files(out, ROWS)  # the health report reads them all: a path that names no cell is refused before the work
    for job in jobs:
        if not (is_same(out, identity) and is_same(job.folder, job.settings)):
            write_manifests(out, identity, job, arguments, started, finished=False)


def check_searches(job: Job, films: FilmSet) -> None:
    """Refuse turning strengths of iterative attacks that were found on other films than are asked for.

    How many films they are found on is no setting of the sweep, as they may be asked for when the rest has long been finished.

    Raises:
        UserError: names the file.
    """
    for search in job.searches:
        path = job.turning_path(search)
        if search.iterative and path.is_file():
            wanted, found = films.rows[search.positions(films.labels)], read_rows(path, (FILM,), "remove it")[FILM]
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


def is_same(folder: Path, settings: dict[str, Any]) -> bool:
    """Tell whether a folder has a manifest with these settings."""
    try:
        return check_settings(folder, settings, ADVICE) is not None
    except UserError:
        return False


def remove_cells(out: Path, folder: Path, keep_other_sweeps: bool) -> None:
    """Remove the cells of one sweep's folder; of all sweeps, if films or models are others."""
    shutil.rmtree(folder if keep_other_sweeps else out / "attacks", ignore_errors=True)
    shutil.rmtree(out / "examples", ignore_errors=True)
    if not keep_other_sweeps:
        for path in [*clean_files(out), out / MANIFEST]:
            path.unlink(missing_ok=True)


def clean_files(out: Path) -> list[Path]:
    """Return the files with predictions on clean films that are there."""
    return [out / name for name in (CLEAN_ROWS, CLEAN_STORED) if (out / name).is_file()]


def write_manifests(
    out: Path, identity: dict[str, Any], job: Job, arguments: argparse.Namespace, started: float, **facts: Any
) -> None:
    """Write the manifests of the results and of a sweep; adversarial films, which may be gigabytes, are not hashed.

    Commands for other sweeps may run at the same time and add themselves to the manifest of the results.
    """
    swept = sorted(job.folder.glob("*/[!.]*.*"))
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
    with locked(out):
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
