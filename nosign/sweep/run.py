"""Runs stage 3: which jobs there are, room for their output, the jobs themselves, and what is printed of them."""

from __future__ import annotations

import argparse
import dataclasses
import shlex
import shutil
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from nosign.attacks.catalogue import ATTACKS, Condition, check_norm
from nosign.attacks.turning import PASSES
from nosign.dataset import CLASSES, FilmSet, open_split
from nosign.errors import UserError
from nosign.files import atomic_path, sha256_of_file, sha256_of_model
from nosign.manifest import MANIFEST, check_settings, read_manifest, write_manifest
from nosign.measures.storage import STORAGES
from nosign.rows import (
    CLEAN_ROWS,
    CLEAN_STORED,
    FILMS,
    ROWS,
    Cell,
    example_path,
    find_files,
    logit_columns,
    new_films,
    open_films,
    read_cell,
    read_clean_logits,
    sweep_folder,
    write_cell,
    write_rows,
)
from nosign.sweep.jobs import GRADIENT_COST, Job, boundary_cost, cell_cost, plan
from nosign.sweep.options import ALL_SOURCES, GREY, STORING_STRENGTHS

if TYPE_CHECKING:
    from nosign.sweep.engine import Engine
    from nosign.sweep.sweep import Sweep

ADVICE = "choose another --out, or give --overwrite to remove them"


def attack_all(arguments: argparse.Namespace) -> None:
    """Run stage 3 on one set of films; `arguments` are the flags of attack.py."""
    started = time.time()
    out = Path(arguments.out)
    films = open_split(arguments.data, "test").head(arguments.films)
    identity = identity_of(arguments, len(films))
    jobs = rescoring_jobs(arguments, identity, films) if arguments.rescore else attack_jobs(arguments, identity)
    # A model that cannot be used must not cost the results that it was to replace.
    loaded = load_engine(arguments, films) if arguments.overwrite else None
    prepare_output(out, identity, jobs, arguments, started)
    todo = sum(len(job.unfinished()) for job in jobs)
    count = sum(len(job.cells) for job in jobs)
    extras = stored_clean_wanted(out, jobs) or any(
        examples_wanted(job) or job.without_boundary() or job.without_turning() for job in jobs
    )
    if not todo and not extras and (out / CLEAN_ROWS).is_file():
        print(f"{out}: all {count} cells are finished; nothing to do")
        return
    engine, device = loaded or load_engine(arguments, films)
    print(f"{len(films)} test films, {count} cells, {count - todo} of them finished", flush=True)
    clean = score_clean(engine, out)
    if stored_clean_wanted(out, jobs):
        score_stored_clean(engine, out, clean)
    sweep = None
    for job in jobs:
        job_started = time.time()
        sweep = sweep_of(engine, job, sweep)
        health = run_job(sweep, job, clean, arguments.control_films)
        write_manifests(out, identity, job, arguments, job_started, begun=started, device=device, health=health, finished=True)
        print_summary(job, clean, health, time.time() - job_started)
    print(f"wrote {out} in {time.time() - started:.0f} s; next: {next_command(arguments)}")


def sweep_of(engine: Engine, job: Job, previous: Sweep | None) -> Sweep:
    """Return the sweep of a job, with the previous one's gradients where it follows the same."""
    from nosign.sweep.sweep import Sweep

    # Kept films may come from a model that is not among the targets; they need no gradients.
    source = job.source if job.source in engine.models else next(iter(engine.models))
    sweep = Sweep(engine, source, job.condition)
    if previous is not None and sweep.shares_gradients(previous):
        sweep.share(previous)
    return sweep


def next_command(arguments: argparse.Namespace) -> str:
    """Return the command that goes on from here."""
    return shlex.join(["python", "data_figure.py", "--results", arguments.out, "--models", arguments.models])


def identity_of(arguments: argparse.Namespace, films: int) -> dict:
    """Return what clean.csv depends on."""
    data, models = Path(arguments.data), Path(arguments.models)
    return {
        "films": films,
        **{name: sha256_of_file(data / name) for name in ("index.csv", "images.npy")},
        "models": {name: sha256_of_model(models / f"{name}.keras") for name in arguments.targets},
    }


def attack_jobs(arguments: argparse.Namespace, identity: dict) -> list[Job]:
    """Return the jobs that the command line asks for, a source model each."""
    sources = arguments.targets if arguments.source == ALL_SOURCES else [arguments.source]
    if arguments.source not in (*arguments.targets, ALL_SOURCES):
        raise UserError(f"--source {arguments.source} is not among the targets {' '.join(arguments.targets)}; add it")
    cells = plan(arguments.attacks, arguments.single_step_strengths, arguments.iterative_strengths)
    settings = {
        **identity,
        "steps": arguments.steps,
        "seed": arguments.seed,
        "batch": arguments.batch,
        "storages": arguments.storages,
        "control_films": arguments.control_films,
    }
    conditions = [
        Condition(arguments.protocol, arguments.norm, arguments.target, grey, arguments.loss) for grey in GREY[arguments.grey]
    ]
    check_norm(conditions[0])
    storing, run = tuple(arguments.storing_strengths), {cell.strength for cell in cells}
    beside = [strength for strength in storing if strength not in run]
    if beside and storing != STORING_STRENGTHS:
        raise UserError(
            f"--storing-strengths {' '.join(f'{strength:g}' for strength in beside)}: not among the strengths that "
            "are run; add it to --single-step-strengths or --iterative-strengths"
        )
    return [
        Job(
            Path(arguments.out),
            source,
            condition,
            cells,
            {**settings, "source": source, **dataclasses.asdict(condition)},
            tuple(arguments.attacks),
            save_films=arguments.save_films,
            storing=storing,
            storages=tuple(arguments.storages),
        )
        for condition in conditions
        for source in sources
    ]


def rescoring_jobs(arguments: argparse.Namespace, identity: dict, films: FilmSet) -> list[Job]:
    """Return the jobs that score films which an earlier run kept.

    Raises:
        UserError: no films are there, they are not whole, or they were made from other clean films.
    """
    out, kept = Path(arguments.out), Path(arguments.rescore)
    if out.resolve() == kept.resolve():
        raise UserError(f"--out {out} is where the films came from; name another folder for the new scores")
    found = {}
    for source, condition, attack, strength, path in find_files(kept, ROWS):
        if path.with_suffix(FILMS).is_file():
            found.setdefault((source, condition), []).append(Cell(attack, strength))
    if not found:
        raise UserError(f"{kept}: no films; --rescore takes a results folder that attack.py --save-films wrote")
    jobs = []
    for (source, condition), cells in found.items():
        folder = sweep_folder(kept, source, condition)
        made = (read_manifest(folder) or {}).get("settings")
        if made is None:
            raise UserError(f"{folder}: has no {MANIFEST} that says what its films are; run attack.py --save-films again")
        if any(made[fact] != identity[fact] for fact in ("films", "index.csv", "images.npy")):
            raise UserError(
                f"{folder}: its films were made from others than those of --data {arguments.data} "
                f"(--films {made['films']}); name the data and --films of that run"
            )
        jobs.append(Job(out, source, condition, cells, {**made, **identity, "rescored": str(kept)}, kept=kept))
        for cell in cells:
            open_films(jobs[-1].films_path(cell), films)
    return jobs


def prepare_output(out: Path, identity: dict, jobs: list[Job], arguments: argparse.Namespace, started: float) -> None:
    """Make room for this run's cells, or raise `UserError` if those of another run are in the way."""
    for job in jobs:
        if arguments.overwrite:
            remove_cells(out, job.folder, keep_other_sweeps=same_settings(out, identity))
        results = [*clean_files(out), *(out / "attacks").rglob("[!.]*.csv")]
        for place, wanted in ((out, identity), (job.folder, job.settings)):
            if any(path.is_relative_to(place) for path in results) and not check_settings(place, wanted, ADVICE):
                raise UserError(f"{place}: holds results but no manifest that says what they are; {ADVICE}")
    for job in jobs:
        if not (same_settings(out, identity) and same_settings(job.folder, job.settings)):
            write_manifests(out, identity, job, arguments, started, finished=False)


def same_settings(folder: Path, settings: dict) -> bool:
    """Tell whether a folder has a manifest with these settings."""
    try:
        return check_settings(folder, settings, ADVICE) is not None
    except UserError:
        return False


def remove_cells(out: Path, folder: Path, keep_other_sweeps: bool) -> None:
    """Remove the cells of this sweep; of all sweeps, if films or models are others."""
    shutil.rmtree(folder if keep_other_sweeps else out / "attacks", ignore_errors=True)
    shutil.rmtree(out / "examples", ignore_errors=True)
    if not keep_other_sweeps:
        for path in [*clean_files(out), out / MANIFEST]:
            path.unlink(missing_ok=True)


def clean_files(out: Path) -> list[Path]:
    """Return the files with predictions on clean films that are there."""
    return [out / name for name in (CLEAN_ROWS, CLEAN_STORED) if (out / name).is_file()]


def write_manifests(out: Path, identity: dict, job: Job, arguments: argparse.Namespace, started: float, **facts) -> None:
    """Write the manifests of the results and of a sweep; adversarial films, which may be gigabytes, are not hashed."""
    outputs = [path for path in sorted(job.folder.glob("*/[!.]*.*")) if path.suffix != FILMS]
    write_manifest(
        job.folder,
        stage="attack.py",
        settings=job.settings,
        started=started,
        seed=arguments.seed,
        outputs=outputs,
        adds=True,
        **facts,
    )
    synthetic = (read_manifest(arguments.data) or {}).get("synthetic", False)
    write_manifest(
        out,
        stage="attack.py",
        settings=identity,
        started=started,
        outputs=clean_files(out),
        adds=True,
        synthetic=synthetic,
        **{name: fact for name, fact in facts.items() if name != "health"},
    )


def examples_wanted(job: Job) -> list[str]:
    """Return the attacks whose example for the figures is still to be made; they belong to untargeted paper sweeps."""
    from nosign import paper

    if job.condition != Condition() or job.kept:
        return []
    attacks = {cell.attack for cell in job.cells}
    return [name for name in paper.EXAMPLES if name in attacks and not example_path(job.results, name).is_file()]


def load_engine(arguments: argparse.Namespace, films: FilmSet) -> tuple[Engine, dict]:
    """Load the models; returns the engine and the device that it runs on."""
    from nosign.backend import describe_device, select_device
    from nosign.classifiers import build
    from nosign.classifiers.logits import PROBES, find_logits
    from nosign.sweep.engine import Engine

    device = select_device()
    print(describe_device(device), flush=True)
    some = films.pixels(slice(0, PROBES))
    targets = {
        name: find_logits(build.load(Path(arguments.models) / f"{name}.keras", films.size), some) for name in arguments.targets
    }
    engine = Engine(films, targets, steps=arguments.steps, seed=arguments.seed, batch=arguments.batch, folder=arguments.out)
    return engine, device


def progress_bar(work: int, what: str):
    """Return a progress bar over work counted in forward passes of a film."""
    from tqdm import tqdm

    return tqdm(total=work, desc=what, unit=" passes", unit_scale=True, mininterval=1 if sys.stderr.isatty() else 30)


def score_clean(engine: Engine, out: Path) -> pd.DataFrame:
    """Return the rows of clean.csv, as `read_clean_logits` reads them; write the file if it is not there.

    Raises:
        UserError: a model gives no finite logits; nothing that it says of a film would mean anything.
    """
    path = out / CLEAN_ROWS
    if not path.is_file():
        with progress_bar(len(engine.films) * len(engine.logits), "clean films") as bar:
            frame = engine.clean(bar.update)
        for name in engine.logits:
            broken = ~np.isfinite(frame[logit_columns(name)]).all(axis=1)
            if broken.any():
                raise UserError(
                    f"{name}: its logits are not finite on {broken.sum()} of {len(frame)} clean films, film "
                    f"{frame['film'][broken.argmax()]} for one; train it again"
                )
        write_rows(path, frame)
    return read_clean_logits(out)[0]


def stored_clean_wanted(out: Path, jobs: Iterable[Job]) -> bool:
    """Tell whether it is still to be measured what storing does to clean films, the control for stored attacks."""
    return any(job.is_stored(cell) for job in jobs for cell in job.cells) and not (out / CLEAN_STORED).is_file()


def score_stored_clean(engine: Engine, out: Path, clean: pd.DataFrame) -> None:
    """Write what the models see in the films after storing, before any attack."""
    with progress_bar(len(engine.films) * len(engine.logits) * len(STORAGES), "clean films, stored") as bar:
        write_rows(out / CLEAN_STORED, engine.clean_stored(clean, bar.update))


def turning_positions(films: FilmSet, name: str, control_films: int) -> np.ndarray:
    """Return which films an attack's turning strengths are found on: all, or for a control the first so many of each class."""
    if not ATTACKS[name].control:
        return np.arange(len(films))
    return np.sort(np.concatenate([np.flatnonzero(films.labels == label)[:control_films] for label in range(len(CLASSES))]))


def run_job(sweep: Sweep, job: Job, clean: pd.DataFrame, control_films: int) -> dict | None:
    """Run the cells of a job that are not finished, with a progress bar, and return its health report."""
    from nosign.sweep.examples import find_example
    from nosign.sweep.health import health_report

    todo, without_boundary = job.unfinished(), job.without_boundary()
    without_turning = {name: turning_positions(sweep.films, name, control_films) for name in job.without_turning()}
    health = (read_manifest(job.folder) or {}).get("health") or {}
    with progress_bar(work_of(job, sweep, todo, without_boundary, without_turning), job.source) as bar:
        if job.kept is None and (not health or needs_gradients(todo, without_boundary, without_turning)):
            bar.total += 0 if sweep.knows_gradients else len(sweep.films) * GRADIENT_COST
            bar.set_description(f"gradients of {job.source}")
            health = sweep.health(bar.update)
        for name, positions in without_turning.items():
            bar.set_description(f"{job.source}: turning strengths of {ATTACKS[name].title}")
            write_rows(job.turning_path(name), sweep.find_turning(name, clean, positions, bar.update))
        for cell in todo:
            bar.set_description(f"{job.source}: {ATTACKS[cell.attack].title} {cell.strength:g}")
            run_cell(sweep, job, cell, clean, bar.update)
        for name in without_boundary:
            bar.set_description(f"{job.source}: where {ATTACKS[name].title} becomes visible")
            write_rows(job.boundary_path(name), sweep.find_boundaries(name, bar.update))
        for name in examples_wanted(job):
            bar.set_description(f"example of {ATTACKS[name].title}")
            with atomic_path(example_path(job.results, name)) as temporary:
                np.savez(temporary, **find_example(sweep, name, clean))  # type: ignore[arg-type]
    return health_report(health, job, clean) if job.kept is None else None


def needs_gradients(todo: list[Cell], without_boundary: Iterable[str], without_turning: Iterable[str]) -> bool:
    """Tell whether anything that is to do starts from the gradients at the films themselves."""
    names = [*without_boundary, *without_turning, *(cell.attack for cell in todo)]
    return any(ATTACKS[name].needs_gradient and not ATTACKS[name].random_start for name in names)


def work_of(job: Job, sweep: Sweep, todo: list[Cell], without_boundary: list[str], without_turning: dict) -> int:
    """Return the work of some cells of a job and of some attacks' boundaries and turning strengths, in forward passes."""
    targets = len(sweep.engine.logits)
    per_film = sum(cell_cost(cell, sweep.engine.steps, targets, job.kept is None, len(job.storages_of(cell))) for cell in todo)
    per_film += len(without_boundary) * boundary_cost(targets)
    return per_film * len(sweep.films) + sum(map(len, without_turning.values())) * PASSES * targets


def run_cell(sweep: Sweep, job: Job, cell: Cell, clean: pd.DataFrame, advance) -> None:
    """Run one cell and write its files, and the films if they are wanted."""
    if job.kept:
        recorded = sweep.run(cell, clean, advance, kept=open_films(job.films_path(cell), sweep.films))
    elif job.save_films:
        # The films go first: the cell's file then vouches for them.
        with atomic_path(job.films_path(cell)) as temporary:
            keep = new_films(temporary, sweep.films)
            recorded = sweep.run(cell, clean, advance, keep=keep, storages=job.storages_of(cell))
    else:
        recorded = sweep.run(cell, clean, advance, storages=job.storages_of(cell))
    write_cell(job.path(cell), recorded)


def print_summary(job: Job, clean: pd.DataFrame, health: dict | None, seconds: float) -> None:
    """Print the source model's accuracy at the largest strength of each attack, and what is wrong with its gradients."""
    if job.source in clean:
        right = (clean[job.source] == clean["label"]).sum()
        print(
            f"\n{job.source}, white-box, {job.condition}: {right} of {len(clean)} clean films right "
            f"({100 * right / len(clean):.2f} %)"
        )
        names = dict.fromkeys(cell.attack for cell in job.cells)
        width = max((len(ATTACKS[name].title) for name in names), default=0)
        for name in names:
            cell = max((cell for cell in job.cells if cell.attack == name), key=lambda cell: cell.strength)
            frame, _ = read_cell(job.path(cell), clean)
            right = (frame[job.source] == frame["label"]).sum()
            print(
                f"  {ATTACKS[name].title:<{max(width, 8)}} at {cell.strength:<7g} {right} right "
                f"({100 * right / len(frame):.2f} %)"
            )
    for line in (health or {}).get("warnings", ()):
        print(f"  warning: {line}")
    print(f"wrote {job.folder} in {seconds:.0f} s", flush=True)
