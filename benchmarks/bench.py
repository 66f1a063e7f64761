"""Speed: the attacks against other libraries, against the machine and against the bare model, on one model and the same films.

    python -m benchmarks.bench

Each library runs in a process of its own, with nothing set that a user would not have set; those on TensorFlow also with oneDNN
switched on, as importing `nosign` does. All timings are ratios within one run, taken in turns; the median over the rounds
counts. Writes bench.csv, bench.md and scaling.png.
"""

import argparse
import importlib.metadata
import statistics
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.table import LIBRARIES, OWN, PEAK, Row, draw_scaling, write_rows
from benchmarks.task import (
    DEVICE,
    FGSM,
    FORWARD,
    GRADIENT,
    ITERATIVE,
    OPERATIONS,
    PGD,
    PRODUCT,
    PRODUCT_SIZE,
    SCALING,
    SWEEP,
    TABLE_TWO,
    TURNING,
    Task,
)
from benchmarks.worker import CannotRun, Worker
from nosign.attacks.catalogue import ATTACKS
from nosign.manifest import git_state, utc
from nosign.paper import SINGLE_STEP_STRENGTHS
from nosign.script import run, whole_number

OURS, NUMPY, STAGE_THREE = "benchmarks.ours:library", "benchmarks.ours:numpy_product", "benchmarks.ours:stage_three"
ON_TENSORFLOW = {
    "CleverHans": "benchmarks.rivals:cleverhans",
    "Foolbox": "benchmarks.rivals:foolbox",
    "ART": "benchmarks.rivals:art",
}
ON_PYTORCH = {"torchattacks": "benchmarks.rivals:torchattacks", "ours on PyTorch": "benchmarks.ours:pytorch"}
PACKAGES = ("tensorflow", "keras", "torch", "numpy", "cleverhans", "foolbox", "adversarial-robustness-toolbox", "torchattacks")
WRAPPER_GRADIENTS = 20  # spent on each film's turning strength by wrappers around other libraries' attacks
PEAK_SHARE, AHEAD = "at least 0.95", "above 1"


@dataclass
class Timing:
    """Median seconds, and the median ratio to what was timed beside it; or why it cannot run."""

    seconds: float | None = None
    ratio: float | None = None
    error: str = ""


def compare(base, candidates, rounds, warm=True):
    """Time work in turns, each between two timings of the base.

    Args:
        base: function that does the work which all are set against, and returns its seconds.
        candidates: dict from name to such a function. One that raises `CannotRun` takes no further part.
        rounds: how often each is timed.
        warm: whether the candidates first run once without being timed; the base always does.

    Returns:
        Median seconds of the base (None if it cannot run), and dict from name to `Timing`.
    """
    beside, spent, errors = [], {name: [] for name in candidates}, {}

    def attempt(name):
        try:
            return None if name in errors else candidates[name]()
        except CannotRun as error:
            errors[name] = str(error)

    try:
        base()
        for name in candidates if warm else ():
            attempt(name)
        beside.append(base())
        for name in [*candidates] * rounds:
            if seconds := attempt(name):
                # A shared machine's speed drifts within minutes.
                beside.append(base())
                spent[name].append((seconds, 2 * seconds / sum(beside[-2:])))
    except CannotRun as error:
        return None, {name: Timing(error=f"what it is set against cannot run: {error}") for name in candidates}
    return statistics.median(beside), {
        name: Timing(error=errors[name]) if name in errors else Timing(*map(statistics.median, zip(*spent[name])))
        for name in candidates
    }


def started(stack, prepare, task, onednn=None):
    """Start a `Worker` in an ExitStack and wait until it is prepared; if it cannot be, it says so when it is to be timed."""
    worker = stack.enter_context(Worker(prepare, task, onednn))
    with suppress(CannotRun):
        worker.ready()
    return worker


def against_tensorflow(name, prepare, task, rounds):
    """Yield the rows of a library on TensorFlow, as it comes and with oneDNN on."""
    with ExitStack() as stack:
        ours, plain = started(stack, OURS, task), started(stack, prepare, task)
        if plain.failure:
            yield Row(LIBRARIES, name, error=plain.failure)
        elif plain.about["onednn"]:
            # TensorFlow chooses by the processor. The better of two equal timings would be better by chance alone.
            yield from library_rows(ours, {f"{name}, as it comes (oneDNN on)": plain}, task, rounds)
        else:
            both = {f"{name}, as it comes": plain, f"{name}, oneDNN on": started(stack, prepare, task, "1")}
            yield from library_rows(ours, both, task, rounds, f"{name}, the better of the two")


def against_pytorch(task, rounds):
    """Yield the rows of what runs on PyTorch."""
    with ExitStack() as stack:
        ours = started(stack, OURS, task)
        others = {name: started(stack, prepare, task) for name, prepare in ON_PYTORCH.items()}
        yield from library_rows(ours, others, task, rounds)


def library_rows(ours, others, task, rounds, better=None):
    """Yield rows that set other processes' work against ours, work by work; one row for a process that cannot be prepared.

    Args:
        ours: `Worker`.
        others: dict from title to `Worker`.
        task: `Task`.
        rounds: how often FGSM is timed.
        better: title of a row with the fastest of the others, or None for no such row.
    """
    yield from (Row(LIBRARIES, name, error=other.failure) for name, other in others.items() if other.failure)
    others = {name: other for name, other in others.items() if not other.failure}
    half = f"Table II's FGSM half, {len(task.strengths)} strengths"
    for work, title, times, against in (
        (FGSM, "FGSM, one strength", rounds, "ours"),
        (PGD, f"PGD, {task.steps} steps", max(1, rounds - 1), "ours"),
        # No other library has FGNM.
        (TABLE_TWO, half, 1, "ours, both halves"),
    ):
        able = {name: partial(other.seconds, work) for name, other in others.items() if work in other.about["works"]}
        _, timings = compare(partial(ours.seconds, work), able, times, warm=work == FGSM)
        for name, timing in timings.items():
            yield timing_row(LIBRARIES, f"{name}: {title}", timing, task, against, "" if better else AHEAD)
        whole = [timing for timing in timings.values() if not timing.error]
        if better and whole:
            yield timing_row(LIBRARIES, f"{better}: {title}", min(whole, key=lambda timing: timing.ratio), task, against, AHEAD)


def timing_row(part, what, timing, task, against, goal="", share=1):
    """Return the row of a `Timing` of work on all films, of which `share` times the ratio is told."""
    if timing.error:
        return Row(part, what, error=timing.error)
    return Row(part, what, timing.ratio * share, against, goal, ms_a_film=1000 * timing.seconds / task.count)


def against_machine(ours, stage_three, numpy, task, rounds):
    """Yield rows on the share of the machine's peak that the bare passes reach.

    The peak is the speed of a large product of float32 matrices, TensorFlow's or NumPy's, whichever is faster.
    """
    passes = {
        "forward pass": (ours, FORWARD),
        "gradient": (ours, GRADIENT),
        "forward pass, deterministic": (stage_three, FORWARD),
        "gradient, deterministic": (stage_three, GRADIENT),
    }
    works = {
        "NumPy": partial(numpy.seconds, PRODUCT),
        **{name: partial(worker.seconds, work) for name, (worker, work) in passes.items()},
    }
    seconds, timings = compare(partial(ours.seconds, PRODUCT), works, rounds)
    product = timings.pop("NumPy")
    if product.error:
        yield Row(PEAK, "matrix product", error=product.error)
        return
    faster, flop = min(1, product.ratio), 2 * PRODUCT_SIZE**3
    for library, share, spent in (("TensorFlow", faster, seconds), ("NumPy", faster / product.ratio, product.seconds)):
        yield Row(
            PEAK,
            f"product of {PRODUCT_SIZE} x {PRODUCT_SIZE} matrices, {library}",
            share,
            "the peak",
            gflop_a_second=flop / spent / 1e9,
        )
    operations = ours.run(OPERATIONS)[1]
    for name, timing in timings.items():
        if timing.error:
            yield Row(PEAK, name, error=timing.error)
            continue
        done = operations[passes[name][1]] * task.count
        yield Row(
            PEAK,
            name,
            done / flop * faster / timing.ratio,
            "the peak",
            PEAK_SHARE,
            1000 * timing.seconds / task.count,
            done / timing.seconds / 1e9,
        )


def turning_rows(ours, task, rounds):
    """Yield the row of turning strengths against what a wrapper spends on them."""
    _, timings = compare(partial(ours.seconds, GRADIENT), {TURNING: partial(ours.seconds, TURNING)}, rounds)
    yield timing_row(
        LIBRARIES,
        "turning strengths of FGNM",
        timings[TURNING],
        task,
        f"{WRAPPER_GRADIENTS} bare gradients",
        "below 1",
        1 / WRAPPER_GRADIENTS,
    )


def stage_three_rows(stage_three, task, rounds):
    """Yield rows that set what stage 3 runs against its bare passes, and end with its memory."""
    table_two = f"Table II's films ({len(task.strengths)} strengths x FGSM, FGNM)"
    works = {"bare forward pass": (FORWARD, 1, ""), table_two: (TABLE_TWO, 1, "at most 1.3")}
    works |= {f"{ATTACKS[name].title}, one of {task.steps} steps": (name, 1 / task.steps, "at most 1.05") for name in ITERATIVE}
    _, timings = compare(
        partial(stage_three.seconds, GRADIENT),
        {what: partial(stage_three.seconds, work) for what, (work, _, _) in works.items()},
        rounds,
    )
    for what, (_, share, goal) in works.items():
        yield timing_row(OWN, what, timings[what], task, "bare gradient", goal, share)
    try:
        found = stage_three.run(SWEEP)[1]
    except CannotRun as error:
        yield Row(OWN, "a sweep on three models", error=str(error))
        return
    yield Row(OWN, "a sweep on three models, measures and files included", found["ratio"], "its bare passes", "at most 1.1")
    yield Row(OWN, "largest resident memory", found["memory"], "1 GB", "at most 3")


def our_rows(ours, stage_three, task, rounds):
    """Yield the rows that need no other library."""
    with ExitStack() as stack:
        yield from against_machine(ours, stage_three, started(stack, NUMPY, task), task, rounds)
    yield from turning_rows(ours, task, max(1, rounds - 1))
    yield from stage_three_rows(stage_three, task, max(1, rounds - 1))


def rival_rows(task, rounds):
    """Yield the rows of all other libraries."""
    for name, prepare in ON_TENSORFLOW.items():
        yield from against_tensorflow(name, prepare, task, rounds)
    yield from against_pytorch(task, rounds)


def noted(rows):
    """Print rows as they come and return them as a list."""
    kept = []
    for row in rows:
        print(row, flush=True)
        kept.append(row)
    return kept


def versions():
    """Return the versions of the packages that are compared, those that are installed, as text."""
    found = []
    for name in PACKAGES:
        with suppress(importlib.metadata.PackageNotFoundError):
            found.append(f"{name} {importlib.metadata.version(name)}")
    return ", ".join(found)


def describe(device, task, rounds, seconds):
    """Return the head of bench.md: what was run on what, when, and how long it took."""
    state = git_state()
    commit = f"; commit {state['commit'][:7]}" + " with local changes" * state["dirty"] if state else ""
    return (
        f"# Speed\n\n{device[0].upper()}{device[1:]}. VGG16 with random weights, {task.count} films of {task.size} px at "
        f"once, {task.steps} steps; medians of {rounds} rounds, one fewer for PGD, turning strengths and stage 3, one "
        f"for other libraries' Table II and the sweep. {utc(time.time())}, {seconds / 60:.0f} min{commit}.\n\n"
        f"{versions()}.\n\n"
        "A library *as it comes* runs with nothing set; *oneDNN on* is TF_ENABLE_ONEDNN_OPTS=1, which is TensorFlow's own "
        "choice on some processors and that of `nosign` on all."
    )


def parse_args(argv=None):
    """Return the arguments of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.bench",
        description=__doc__.split("\n")[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--films", type=whole_number(1), default=4, help="attacked at once")
    parser.add_argument("--size", type=whole_number(75), default=224, help="height and width of a film in pixels")
    parser.add_argument("--steps", type=whole_number(1), default=4, help="of the iterative attacks")
    parser.add_argument("--rounds", type=whole_number(1), default=3, help="how often each is timed")
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parent / "results", help="where results go")
    return parser.parse_args(argv)


def main(argv=None):
    """Run the benchmark and return 0."""
    arguments = parse_args(argv)
    task = Task(arguments.films, arguments.size, arguments.steps, list(SINGLE_STEP_STRENGTHS))
    arguments.out.mkdir(parents=True, exist_ok=True)
    began = time.time()
    with ExitStack() as stack:
        ours, stage_three = started(stack, OURS, task), started(stack, STAGE_THREE, task)
        device = stage_three.run(DEVICE)[1]
        print(f"{device}; VGG16, {task.count} films of {task.size} px")
        rows = noted(our_rows(ours, stage_three, task, arguments.rounds))
        scaling = stage_three.run(SCALING)[1]
    rows += noted(rival_rows(task, arguments.rounds))
    write_rows(arguments.out, rows, describe(device, task, arguments.rounds, time.time() - began))
    draw_scaling(scaling, arguments.out / "scaling.png")
    print(f"wrote {arguments.out}")
    return 0


if __name__ == "__main__":
    raise SystemExit(run(main))
