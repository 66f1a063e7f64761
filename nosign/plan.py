"""What the full reproduction takes on this device: films, passes and hours, from a few batches of each model.

    python -m nosign.plan                        make plan; make paper prints it first
    python -m nosign.plan --image-size 112       films of another size

Stages 2 and 3 with their default settings: training from pre-trained weights, and the sweep of the paper. A pass is one film
through one model: forward, forward and back to its pixels (gradient), or a training step.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from nosign.classifiers.catalogue import BACKBONES
from nosign.classifiers.fine_tune import FINE_TUNE_BATCH
from nosign.dataset import CLASSES
from nosign.measures.storage import STORAGES
from nosign.paper import ITERATIVE_STRENGTHS, PAPER_ATTACKS, SINGLE_STEP_STRENGTHS, STEPS
from nosign.script import names, run, whole_number
from nosign.sweep import jobs
from nosign.sweep.options import BATCH, SOURCE, STORING_STRENGTHS

FILMS = {"train": 3240, "validation": 360, "test": 900}  # 1,500 of each class
BATCHES = 3  # timed, of which the median counts; one more goes before them and compiles
SECONDS_PER_HOUR = 3600


@dataclass(frozen=True)
class Cost:
    """Seconds of one film: forward, gradient, training step."""

    forward: float
    gradient: float
    step: float


class Work(NamedTuple):
    """Some of the work: stage, what, and passes of each kind."""

    stage: int
    what: str
    model: str
    forward: int = 0
    gradient: int = 0
    step: int = 0

    @property
    def passes(self) -> int:
        """Passes of all kinds."""
        return self.forward + self.gradient + self.step

    def seconds(self, cost: Cost) -> float:
        """Return how long it takes."""
        return self.forward * cost.forward + self.gradient * cost.gradient + self.step * cost.step


def all_work(models: list[str], source: str = SOURCE) -> Iterator[Work]:
    """Yield the work of stages 2 and 3, model by model.

    Args:
        models: the backbones that are trained, and that every film is shown to.
        source: the one whose gradients are followed.
    """
    for name in models:
        epochs, trained = BACKBONES[name].fine_tune_epochs, FILMS["train"] // FINE_TUNE_BATCH * FINE_TUNE_BATCH
        looked_at = sum(FILMS.values()) + epochs * FILMS["validation"]  # features of phase 1, test films, and after each epoch
        yield Work(2, "training", name, forward=looked_at, step=epochs * trained)
    gradients, forwards = sweep_passes()
    for name in models:
        gradient = FILMS["test"] * gradients if name == source else 0
        yield Work(3, "attacks" if name == source else "transfer", name, forward=FILMS["test"] * forwards, gradient=gradient)


def sweep_passes() -> tuple[int, int]:
    """Return, for one film of the paper's sweep, gradients of the source model and forward passes of each model."""
    cells = jobs.planned_cells(PAPER_ATTACKS, SINGLE_STEP_STRENGTHS, ITERATIVE_STRENGTHS)
    single_steps = [jobs.Search(name) for name in PAPER_ATTACKS if not jobs.Search(name).iterative]
    gradients = 1 + sum(jobs.attack_cost(cell.attack, STEPS) for cell in cells) // jobs.GRADIENT_COST
    forwards = 1 + len(STORAGES)  # the films themselves
    for cell in cells:
        storages = tuple(STORAGES) if cell.strength in STORING_STRENGTHS else ()
        forwards += jobs.cell_cost(cell, STEPS, 1, attacked=False, storages=storages)
    forwards += len(single_steps) * jobs.boundary_cost(1) + sum(jobs.search_cost(search, STEPS, 1) for search in single_steps)
    return gradients, forwards


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
        "forward": seconds_of(lambda: to_numpy(forward(films[:BATCH]))) / BATCH,
        "gradient": seconds_of(lambda: to_numpy(gradient(films[:BATCH], labels[:BATCH])[0])) / BATCH,
    }
    build.unfreeze(model, name, "frozen", "frozen")
    prepare(logits, 1e-5)
    return Cost(**timed, step=seconds_of(lambda: logits.train_on_batch(films, labels)) / FINE_TUNE_BATCH)


def seconds_of(work: Callable[[], Any]) -> float:
    """Return the median seconds of some work, which is done once before it is timed."""
    work()
    taken = []
    for _ in range(BATCHES):
        began = time.perf_counter()
        work()
        taken.append(time.perf_counter() - began)
    return float(np.median(taken))


def main(argv: list[str] | None = None) -> int:
    """Print the plan; return 0."""
    parser = argparse.ArgumentParser(prog="python -m nosign.plan", description=__doc__.split("\n")[0])
    parser.add_argument("--image-size", type=whole_number(75), default=224, metavar="PIXELS", help="default: %(default)s")
    parser.add_argument("--models", **names(BACKBONES))
    arguments = parser.parse_args(argv)

    from tabulate import tabulate

    from nosign.backend import describe_device, select_device

    print(describe_device(select_device()))
    films = ", ".join(f"{count:,} {split}" for split, count in FILMS.items())
    print(f"{sum(FILMS.values()):,} films of {arguments.image_size} px: {films}; gradients from {SOURCE}")
    print("timing a few batches of each model, a minute or two on a CPU", flush=True)
    costs = {name: measure(name, arguments.image_size) for name in arguments.models}
    rows: list[list[Any]] = []
    total = 0.0
    for work in all_work(arguments.models):
        cost, seconds = costs[work.model], work.seconds(costs[work.model])
        total += seconds
        rows.append([work.stage, f"{work.what}, {work.model}", work.passes, seconds / SECONDS_PER_HOUR])
        rows[-1] += [1000 * cost.forward, 1000 * cost.gradient, 1000 * cost.step]
    rows.append(["", "together", sum(row[2] for row in rows), total / SECONDS_PER_HOUR, None, None, None])
    headings = ("stage", "what", "passes", "hours", "ms forward", "ms gradient", "ms training")
    print(tabulate(rows, headings, intfmt=",", floatfmt=("", "", "", ".2f", ".1f", ".1f", ".1f")))
    print(
        f"Stage 1 takes minutes beside it; reading, measuring and writing add about a tenth. Timed now, on {BATCHES} batches."
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(run(main))
