"""What stages 2 and 3 take on a device: films, passes and hours, from a few batches of each model.

    python -m nosign.plan                        the full reproduction: make plan; make paper prints it first
    python -m nosign.plan --image-size 112       films of another size
    python -m nosign.plan --costs costs.csv      with unit costs that --save-costs wrote, on another device or earlier

A pass is one film through one model: forward, forward and back to its pixels (gradient), or a training step. What a grid takes
prints `workflow/plan.py`.
"""

from __future__ import annotations

import argparse
import csv
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nosign.attacks.catalogue import Condition
from nosign.classifiers.catalogue import BACKBONES
from nosign.classifiers.fine_tune import FINE_TUNE_BATCH
from nosign.dataset import CLASSES
from nosign.errors import UserError
from nosign.files import write_text
from nosign.measures.storage import STORAGES
from nosign.paper import ITERATIVE_STRENGTHS, PAPER_ATTACKS, SINGLE_STEP_STRENGTHS, STEPS
from nosign.script import names, run, whole_number
from nosign.sweep import jobs
from nosign.sweep.options import BATCH, CONTROL_FILMS, SOURCE, STORING_STRENGTHS

FILMS = {"train": 3240, "validation": 360, "test": 900}  # 1,500 of each class
BATCHES = 3  # timed, of which the median counts; one more goes before them and compiles
SECONDS_PER_HOUR = 3600
FITTING = "fitting"  # of universal attacks; done by every part of the films anew
COLUMNS = ("forward", "gradient", "training")  # of `Cost`
SIZE = "image_size"
COSTS_ADVICE = "write one with python -m nosign.plan --save-costs"


@dataclass(frozen=True)
class Cost:
    """Milliseconds of one film: forward, gradient, training step."""

    forward: float
    gradient: float
    training: float


class Work(NamedTuple):
    """Some of the work: stage, what, and passes of each kind."""

    stage: int
    what: str
    model: str
    forward: int = 0
    gradient: int = 0
    training: int = 0

    @property
    def passes(self) -> int:
        """Passes of all kinds."""
        return self.forward + self.gradient + self.training

    def hours(self, cost: Cost) -> float:
        """Return how long it takes."""
        ms = self.forward * cost.forward + self.gradient * cost.gradient + self.training * cost.training
        return ms / 1000 / SECONDS_PER_HOUR


def training_work(
    name: str, films: Mapping[str, int], epochs: int, batch: int = FINE_TUNE_BATCH, *, from_scratch: bool = False
) -> Work:
    """Return the work of training a backbone on so many films of each split; from scratch there is no phase 1."""
    features = 0 if from_scratch else films["train"] + films["validation"]
    looked_at = features + films["test"] + epochs * films["validation"]
    return Work(2, "training", name, forward=looked_at, training=epochs * (films["train"] // batch * batch))


def attack_work(
    job: jobs.Job,
    models: Sequence[str],
    films: int,
    steps: int,
    *,
    fitted_on: int = 0,
    first: bool = True,
    part: tuple[int, int] | None = None,
) -> Iterator[Work]:
    """Yield the work of a whole job of stage 3, model by model; its source's is called attacks, that of others transfer.

    Args:
        job: `nosign.sweep.jobs.Job`.
        models: those that are tested; a twin by its source's name once more.
        films: how many are attacked.
        steps: steps of the iterative attacks.
        fitted_on: films that each universal attack is fitted on, work of its own, called fitting.
        first: whether the films themselves are looked at, and their gradients taken; other jobs of a command find them.
        part: (start, stop), the positions of those that are attacked; all if None. Classes are taken to alternate, so that
            the first films of each class are the first of all.
    """
    start, stop = part or (0, films)
    reach = {search: (search.films_per_class or films) * len(CLASSES) for search in job.searches}
    searches = {search: max(0, min(stop, last) - start) for search, last in reach.items()}
    films = stop - start

    def work(tested: int) -> int:
        return jobs.work_of(job, tested, steps, films, job.cells, job.with_boundary, searches)

    # Without a model that is tested, gradients are left; a forward pass of the source alone counts as half of one.
    each, gradients = work(1) - work(0), work(0) // jobs.GRADIENT_COST
    if first:
        each += films * (1 + len(STORAGES) * any(map(job.is_stored, job.cells)))
        gradients += films
    for place, name in enumerate(models):
        is_source = name == job.source and name not in models[:place]
        yield Work(3, "attacks" if is_source else "transfer", name, forward=each, gradient=gradients * is_source)
    if job.field_paths():
        yield Work(3, FITTING, job.source, gradient=fitted_on * steps * len(job.field_paths()))


def paper_work(models: Sequence[str], source: str = SOURCE) -> Iterator[Work]:
    """Yield the work of the full reproduction: stages 2 and 3 with their default settings.

    Args:
        models: the backbones that are trained, and that every film is shown to.
        source: the one whose gradients are followed.
    """
    for name in models:
        yield training_work(name, FILMS, BACKBONES[name].fine_tune_epochs)
    cells = jobs.planned_cells(PAPER_ATTACKS, SINGLE_STEP_STRENGTHS, ITERATIVE_STRENGTHS)
    defaults = argparse.Namespace(attacks=PAPER_ATTACKS, control_films=CONTROL_FILMS, stored_turning=False, iterative_turning=0)
    searches = jobs.planned_searches(defaults)
    job = jobs.Job(Path(), source, Condition(), cells, {}, searches, storing=STORING_STRENGTHS, storages=tuple(STORAGES))
    yield from attack_work(job, models, FILMS["test"], STEPS)


def measure(name: str, size: int) -> Cost:
    """Time a backbone's passes on random films of a size, with random weights: speed does not depend on them."""
    from nosign.attacks.gradients import compiled_gradient
    from nosign.backend import compiled_logits, to_numpy
    from nosign.classifiers import build
    from nosign.classifiers.training import prepare

    random = np.random.default_rng(0)
    films = random.random((FINE_TUNE_BATCH, size, size, 3), np.float32)
    labels = np.eye(len(CLASSES), dtype=np.float32)[random.integers(len(CLASSES), size=FINE_TUNE_BATCH)]
    model = build.build(name, size)
    logits = build.logits_of(model)
    forward, gradient = compiled_logits(logits), compiled_gradient(logits)
    timed = {
        "forward": ms_of(lambda: to_numpy(forward(films[:BATCH]))) / BATCH,
        "gradient": ms_of(lambda: to_numpy(gradient(films[:BATCH], labels[:BATCH])[0])) / BATCH,
    }
    build.unfreeze(model, name, "frozen", "frozen")
    prepare(logits, 1e-5)
    return Cost(**timed, training=ms_of(lambda: logits.train_on_batch(films, labels)) / FINE_TUNE_BATCH)


def ms_of(work: Callable[[], Any]) -> float:
    """Return the median milliseconds of some work, which is done once before it is timed."""
    work()
    taken = []
    for _ in range(BATCHES):
        began = time.perf_counter()
        work()
        taken.append(time.perf_counter() - began)
    return 1000 * float(np.median(taken))


def read_costs(path: Path, models: Sequence[str], size: int) -> dict[str, Cost]:
    """Read the unit costs of some models, on films of a size, from a CSV file as `write_costs` writes it.

    Raises:
        UserError: the file is missing, lacks a model or a cost, or is of films of another size.
    """
    try:
        with open(path, newline="", encoding="utf-8") as file:
            rows = {row.get("model"): row for row in csv.DictReader(file)}
        costs = {name: Cost(**{column: float(rows[name][column]) for column in COLUMNS}) for name in models}
        sizes = {int(rows[name][SIZE]) for name in models}
    except FileNotFoundError:
        raise UserError(f"{path}: not found; {COSTS_ADVICE}") from None
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        expected = f"a row for each of {', '.join(models)} with model, {SIZE}, and {', '.join(COLUMNS)} in milliseconds"
        found = f"there is no {error}" if isinstance(error, KeyError) else error
        raise UserError(f"{path}: expected {expected} ({found}); {COSTS_ADVICE}") from None
    if sizes != {size}:
        raise UserError(f"{path}: costs of films of {', '.join(map(str, sorted(sizes)))} px, not {size}; {COSTS_ADVICE}")
    if not all(0 < ms < math.inf for cost in costs.values() for ms in asdict(cost).values()):
        raise UserError(f"{path}: a cost is not a number of milliseconds above 0; {COSTS_ADVICE}")
    return costs


def write_costs(path: Path, costs: Mapping[str, Cost], size: int) -> None:
    """Write unit costs on films of a size: the columns model, `SIZE` in pixels, and those of `Cost`."""
    lines = [",".join(("model", SIZE, *COLUMNS))]
    lines += [",".join((name, str(size), *(f"{ms:.4g}" for ms in asdict(cost).values()))) for name, cost in costs.items()]
    write_text(path, "\n".join(lines) + "\n")


def add_costs(parser: argparse.ArgumentParser) -> None:
    """Add the flags that say where unit costs come from, and where they go."""
    parser.add_argument("--costs", type=Path, metavar="CSV", help="take the unit costs from a file instead of measuring them")
    parser.add_argument("--save-costs", type=Path, metavar="CSV", help="write the unit costs, for another device's plan")


def costs_of(arguments: argparse.Namespace, models: Sequence[str], size: int) -> dict[str, Cost]:
    """Return the unit costs of some models on films of a size, measured or read; say which."""
    if arguments.costs:
        costs = read_costs(arguments.costs, models, size)
        print(f"unit costs from {arguments.costs}")
    else:
        from nosign.backend import describe_device, select_device

        print(describe_device(select_device()))
        print("timing a few batches of each model, a minute or two on a CPU", flush=True)
        costs = {name: measure(name, size) for name in models}
    if arguments.save_costs:
        write_costs(arguments.save_costs, costs, size)
    return costs


def main(argv: list[str] | None = None) -> int:
    """Print the plan; return 0."""
    parser = argparse.ArgumentParser(prog="python -m nosign.plan", description=__doc__.split("\n")[0])
    parser.add_argument("--image-size", type=whole_number(75), default=224, metavar="PIXELS", help="default: %(default)s")
    parser.add_argument("--models", **names(BACKBONES))
    add_costs(parser)
    arguments = parser.parse_args(argv)
    # Gradients come from the source, so that it is trained and attacked beside whatever is named.
    models = [name for name in BACKBONES if name in (SOURCE, *arguments.models)]

    from tabulate import tabulate

    films = ", ".join(f"{count:,} {split}" for split, count in FILMS.items())
    print(f"{sum(FILMS.values()):,} films of {arguments.image_size} px: {films}; gradients from {SOURCE}")
    costs = costs_of(arguments, models, arguments.image_size)
    rows: list[list[Any]] = []
    total = 0.0
    for work in paper_work(models):
        cost, hours = costs[work.model], work.hours(costs[work.model])
        total += hours
        rows.append([work.stage, f"{work.what}, {work.model}", work.passes, hours, *asdict(cost).values()])
    rows.append(["", "together", sum(row[2] for row in rows), total, None, None, None])
    headings = ("stage", "what", "passes", "hours", "ms forward", "ms gradient", "ms training")
    print(tabulate(rows, headings, intfmt=",", floatfmt=("", "", "", ".2f", ".1f", ".1f", ".1f")))
    print("Stage 1 takes minutes beside it; reading, measuring and writing add about a tenth.")
    return 0


if __name__ == "__main__":
    raise SystemExit(run(main))
