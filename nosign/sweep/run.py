"""Runs stage 3: goes through the jobs of a command line, and leaves whole files, a manifest and a summary."""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from nosign import rows
from nosign.attacks.catalogue import ATTACKS, UNIVERSAL
from nosign.backend import describe_device, select_device
from nosign.classifiers import build
from nosign.dataset import CLASSES, FilmSet, first_of_each_class, open_split
from nosign.errors import UserError
from nosign.files import atomic_path, write_arrays
from nosign.manifest import read_manifest
from nosign.measures.storage import STORAGES
from nosign.memory import needed_to_attack, require, resident
from nosign.rows import CLEAN_ROWS, CLEAN_STORED, Cell, example_path, logit_columns
from nosign.sweep.clean import clean_rows, clean_stored_rows
from nosign.sweep.engine import Engine
from nosign.sweep.examples import find_example
from nosign.sweep.gradients import GRADIENT_COUNTS, GRADIENT_FACTS, key_of
from nosign.sweep.health import Evidence, health_report, read_evidence
from nosign.sweep.jobs import (
    GRADIENT_COST,
    Job,
    Search,
    attack_jobs,
    identity_of,
    is_clean_stored_wanted,
    model_paths,
    rescoring_jobs,
    work_of,
)
from nosign.sweep.results import is_finished, prepare_output, refuse_others, write_manifests
from nosign.sweep.shards import commands_of_shards, find_shards, join_shards, refuse_joined, shard_of
from nosign.sweep.single_step import find_boundaries
from nosign.sweep.sweep import Sweep
from nosign.sweep.turning import find_turning
from nosign.sweep.universal import fields_of


class Progress:
    """Shows one bar after the other; called with work that is done, in forward passes of a film."""

    def __init__(self) -> None:
        self.bar: Any = None

    @contextmanager
    def over(self, work: int, what: str) -> Iterator[Progress]:
        """Show a bar over so much work while the block runs."""
        from tqdm import tqdm

        interval = 1 if sys.stderr.isatty() else 30
        with tqdm(total=work, desc=what, unit=" passes", unit_scale=True, mininterval=interval) as self.bar:
            yield self
        self.bar = None

    def say(self, what: str) -> None:
        """Say what is being done."""
        self.bar.set_description(what)

    def __call__(self, work: int) -> None:
        """Move the bar."""
        self.bar.update(work)


def attack_all(arguments: argparse.Namespace) -> None:
    """Run stage 3 as the command line of attack.py says.

    Raises:
        UserError: something that it names cannot be used, or would be mixed with results of another run.
    """
    started = time.time()
    whole = open_split(arguments.data, arguments.split).head(arguments.films)
    parent = Path(arguments.out)
    films, out = shard_of(arguments, whole) if arguments.shard else (whole, parent)
    arguments = argparse.Namespace(**{**vars(arguments), "out": str(out)})
    identity = identity_of(arguments, len(whole))
    jobs = rescoring_jobs(arguments, identity, films) if arguments.rescore else attack_jobs(arguments, identity)
    if arguments.shard and arguments.overwrite:
        refuse_joined(parent, jobs)
    progress = Progress()
    # A model that cannot be used must not cost the results that it was to replace.
    loaded = load_engine(arguments, films, progress) if arguments.overwrite else None
    count = sum(len(job.cells) for job in jobs)
    if not arguments.overwrite and is_finished(out, identity, jobs):
        refuse_others(out, identity, jobs, films)
        print(f"{out}: all {count} cells are finished; nothing to do")
        return
    shards = find_shards(out, identity, jobs, films)
    prepare_output(out, identity, jobs, films, arguments, started)
    merged = join_shards(out, identity, jobs, shards, films)
    left = sum(len(job.unfinished()) for job in jobs)
    engine, device = loaded or load_engine(arguments, films, progress)
    print(f"{len(films)} {arguments.split} films, {count} cells, {count - left} of them finished", flush=True)
    clean = score_clean(engine, out, progress)
    if is_clean_stored_wanted(out, jobs):
        score_clean_stored(engine, out, clean, progress)
    training = training_films(arguments)
    for job in jobs:
        job_started = time.time()
        gradient_facts = run_job(engine, job, clean, training, merged.get(job.folder), progress)
        evidence = read_evidence(job, clean) if job.source in clean and not job.shard else None
        health = health_report(gradient_facts, evidence) if evidence and not job.kept else gradient_facts or None
        facts = {"begun": started, "device": device, "health": health, "finished": True}
        if job.folder in merged:
            facts["shards"] = commands_of_shards([shard / job.folder.relative_to(out) for shard in shards])
        write_manifests(out, identity, job, arguments, job_started, **facts)
        print_summary(job, evidence, health, time.time() - job_started)
    command = shlex.join(["python", "data_figure.py", "--results", arguments.out, "--models", arguments.models])
    if arguments.shard:
        command = "once all parts are there, the same command without --shard"
    print(f"wrote {out} in {time.time() - started:.0f} s; next: {command}")


def training_films(arguments: argparse.Namespace) -> FilmSet | None:
    """Return the films that universal perturbations are fitted on, as many of each class; None where there is nothing to fit.

    Raises:
        UserError: there are no training films.
    """
    if arguments.rescore or not set(arguments.attacks) & set(UNIVERSAL):
        return None
    films = open_split(arguments.data, "train")
    return films.at(first_of_each_class(films.labels, arguments.universal_films // len(CLASSES)))


def load_engine(arguments: argparse.Namespace, films: FilmSet, progress: Progress) -> tuple[Engine, dict[str, Any]]:
    """Load the models; return the engine and the device that it runs on."""
    from nosign.classifiers.logits import PROBES, find_logits

    device = select_device()
    print(describe_device(device), flush=True)
    some = films.whole.pixels(slice(0, PROBES))
    loaded = {name: build.load(path, films.size) for name, path in model_paths(arguments).items()}
    if not device["accelerator"]:
        print(require(needed_to_attack(list(loaded.values()), arguments.batch), "this attack", resident()), flush=True)
    models = {name: find_logits(model, some) for name, model in loaded.items()}
    settings = {"steps": arguments.steps, "seed": arguments.seed, "folder": arguments.out}
    return Engine(films, models, advance=progress, batch=min(arguments.batch, len(films.whole)), **settings), device


def score_clean(engine: Engine, out: Path, progress: Progress) -> pd.DataFrame:
    """Return what `read_clean_logits` reads of clean.csv; write it if it is not there.

    Raises:
        UserError: a model gives no finite logits; nothing that it says of a film would mean anything.
    """
    path = out / CLEAN_ROWS
    if not path.is_file():
        with progress.over(len(engine.films) * len(engine.logits), "clean films"):
            frame = clean_rows(engine)
        for name in engine.logits:
            broken = ~np.isfinite(frame[logit_columns(name)]).all(axis=1)
            if broken.any():
                raise UserError(
                    f"{name}: its logits are not finite on {broken.sum()} of {len(frame)} clean films, film "
                    f"{frame['film'][broken.argmax()]} for one; train it again"
                )
        rows.write_rows(path, frame)
    return rows.read_clean_logits(out)[0]


def score_clean_stored(engine: Engine, out: Path, clean: pd.DataFrame, progress: Progress) -> None:
    """Write what the models see in clean films after storing."""
    with progress.over(len(engine.films) * len(engine.logits) * len(STORAGES), "clean films, stored"):
        rows.write_rows(out / CLEAN_STORED, clean_stored_rows(engine, clean))


def run_job(
    engine: Engine, job: Job, clean: pd.DataFrame, training: FilmSet | None, counts: dict[str, int] | None, progress: Progress
) -> dict[str, int]:
    """Do what is left of a job.

    Args:
        engine: `Engine`.
        job: `Job`.
        clean: what `nosign.rows.read_clean_logits` returned.
        training: what `training_films` returned.
        counts: the `GRADIENT_COUNTS` of all films, where they are known.
        progress: `Progress`.

    Returns:
        Films by `GRADIENT_FACTS`, counted now or in an earlier run, of a part of the films by `GRADIENT_COUNTS`; empty where
        no film is attacked.
    """
    sweep, cells, boundaries = Sweep(engine, job.source, job.condition), job.unfinished(), job.without_boundary()
    searches = {search: search.positions(engine.films) for search in job.without_turning()}
    health = (read_manifest(job.folder) or {}).get("health") or {}
    new_health = job.kept is None and not health.keys() >= set(GRADIENT_COUNTS if job.shard else GRADIENT_FACTS)
    needs_gradients = (new_health and counts is None) or follows_gradients(cells, boundaries, searches)
    searched = {search: len(positions) for search, positions in searches.items()}
    work = work_of(job, len(engine.logits), engine.steps, len(engine.films), cells, boundaries, searched)
    if training:
        work += len(job.without_field()) * len(training) * engine.steps * GRADIENT_COST
    if needs_gradients and not engine.keeps(key_of(job.source, job.condition)):
        work += len(engine.films) * GRADIENT_COST
    with progress.over(work, job.source):
        if new_health:
            progress.say(f"{job.source}: gradients, and an attack without bounds")
            health = counts or sweep.gradients.counts
            if not job.shard:
                health = {**health, **sweep.without_bounds(clean)}
        if training:
            progress.say(f"{job.source}: universal perturbations")
            sweep.fields = fields_of(sweep, job, training)
        for search, positions in searches.items():
            progress.say(f"{job.source}: {search.title}")
            rows.write_rows(job.turning_path(search), find_turning(sweep, search, clean, positions))
        for cell in cells:
            progress.say(f"{job.source}: {ATTACKS[cell.attack].title} {cell.strength:g}")
            run_cell(sweep, job, cell, clean)
        for name in boundaries:
            progress.say(f"{job.source}: where {ATTACKS[name].title} becomes visible")
            rows.write_rows(job.boundary_path(name), find_boundaries(sweep, name))
        for name in job.without_example():
            progress.say(f"example of {ATTACKS[name].title}")
            write_arrays(example_path(job.results, name), find_example(sweep, name, clean))
    return health


def follows_gradients(cells: list[Cell], boundaries: list[str], searches: Iterable[Search]) -> bool:
    """Tell whether some of the work starts from the source model's gradients at the films."""
    names = [*boundaries, *(search.attack for search in searches), *(cell.attack for cell in cells)]
    attacks = [ATTACKS[name] for name in names]
    return any(attack.needs_gradient and not attack.random_start for attack in attacks)


def run_cell(sweep: Sweep, job: Job, cell: Cell, clean: pd.DataFrame) -> None:
    """Run one cell and write its files, and the films if they are wanted."""
    films, storages = sweep.engine.films, job.storages_of(cell)
    if job.kept:
        records = sweep.run(cell, clean, kept=rows.open_films(job.films_path(cell), films))
    elif job.save_films:
        # The films go first: the cell's file then vouches for them.
        with atomic_path(job.films_path(cell)) as temporary:
            records = sweep.run(cell, clean, keep=rows.new_films(temporary, films), storages=storages)
    else:
        records = sweep.run(cell, clean, storages=storages)
    rows.write_cell(job.path(cell), records)


def print_summary(job: Job, evidence: Evidence | None, health: Mapping[str, Any] | None, seconds: float) -> None:
    """Print the source model's accuracy at the largest strength of each attack, and what is wrong with its gradients."""
    if evidence:
        films = len(evidence.clean)

        def accuracy(right: int) -> str:
            return f"({100 * right / films:.2f} %)"

        before = evidence.films_right()
        print(f"\n{job.source}, white-box, {job.condition}: {before} of {films} clean films right {accuracy(before)}")
        strongest = {cell.attack: cell for cell in evidence.cells if cell in job.cells}  # strengths ascend
        width = max([8, *(len(ATTACKS[name].title) for name in strongest)])
        for name, cell in strongest.items():
            right = evidence.films_right(cell)
            print(f"  {ATTACKS[name].title:<{width}} at {cell.strength:<7g} {right} right {accuracy(right)}")
    for line in (health or {}).get("warnings", ()):
        print(f"  warning: {line}")
    print(f"wrote {job.folder} in {seconds:.0f} s", flush=True)
