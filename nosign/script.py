"""What the four scripts share: how they run, report a mistake, and flags that several of them have."""

from __future__ import annotations

import argparse
import contextlib
import itertools
import math
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from nosign.errors import AttackWarning, UserError

LARGEST_SEED = 2**32 - 1


def as_number(text: str) -> float:
    """Return a word of the command line as a float, NaN where it is no number."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def whole_number(least: int, most: int | None = None) -> Callable[[str], int]:
    """Return a parser of whole numbers from `least` to `most` (None: no end), for argparse, which exits with 2."""

    def parse(text: str) -> int:
        expected = f"a whole number of at least {least}" + ("" if most is None else f" and at most {most}")
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not {expected}") from None
        if value < least or (most is not None and value > most):
            raise argparse.ArgumentTypeError(f"{value} is not {expected}")
        return value

    return parse


def strength(text: str) -> float:
    """Return a word of the command line as a strength, for argparse, which exits with 2."""
    number = as_number(text)
    # Cells' paths name the strength with six digits.
    if not (math.isfinite(number) and number >= 0 and float(f"{number:g}") == number):
        raise argparse.ArgumentTypeError(
            f"{text} is not a strength: a finite number of at least 0 and at most six "
            "digits (a fraction of the grey range, such as 0.01)"
        )
    return number


def factor(text: str) -> float:
    """Return a word of the command line as a factor, for argparse, which exits with 2."""
    number = as_number(text)
    # The name of a sweep's folder states it with six digits.
    if not (0 < number < math.inf and float(f"{number:g}") == number):
        raise argparse.ArgumentTypeError(f"{text} is not a factor: a finite number above 0 of at most six digits")
    return number


def learning_rate(text: str) -> float:
    """Return a word of the command line as a learning rate, for argparse, which exits with 2."""
    number = as_number(text)
    if not 0 < number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a number between 0 and 1")
    return number


def names(known: Iterable[str]) -> dict:
    """Return the options of a flag that takes some of a list of names, all by default."""
    known = list(known)
    return {"nargs": "+", "choices": known, "default": known, "metavar": "NAME", "help": f"any of {', '.join(known)}"}


class HelpFormatter(argparse.ArgumentDefaultsHelpFormatter):
    """Shows defaults that are values; flags without one say in words what happens without them."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        without = action.default is None or action.default is False
        return action.help if without else super()._get_help_string(action)


def seed_folder(parent: str | Path, *seeds: int) -> Path:
    """Return where a run reads or writes below a folder: `seed-<d>` for films, `seed-<d>-<m>` for models and results."""
    return Path(parent) / "-".join(["seed", *map(str, seeds)])


def seed_folders(parent: str | Path) -> list[Path]:
    """Return the folders of all runs with seeds below a folder, ascending by data seed, then by model seed."""
    found = {}
    for path in Path(parent).glob("seed-*"):
        seeds = path.name.removeprefix("seed-").split("-")
        if path.is_dir() and len(seeds) <= 2 and all(seed.isdecimal() for seed in seeds):
            found[tuple(map(int, seeds))] = path
    return [found[seeds] for seeds in sorted(found)]


def add_seeds(parser: argparse.ArgumentParser, *, models: bool = True) -> None:
    """Add the flags for several runs: --data-seeds, and --model-seeds to a script that trains or uses models."""
    group = parser.add_argument_group("several runs, instead of --seed")

    def add(flag: str, text: str) -> None:
        group.add_argument(flag, nargs="+", type=whole_number(0, LARGEST_SEED), metavar="SEED", help=text)

    if models:
        add("--data-seeds", "one run for each d, on the films in seed-<d>/ of --data (0 if only --model-seeds is given)")
        add(
            "--model-seeds",
            "one run for each d and m, in seed-<d>-<m>/: other initial weights, order of the films and "
            "random starts (0 if only --data-seeds is given)",
        )
    else:
        add("--data-seeds", "one run for each d, in seed-<d>/ of --out: other films, otherwise split")


def each_seed(
    arguments: argparse.Namespace, films: str, runs: tuple[str, ...] = (), *, pair: bool = False
) -> Iterator[argparse.Namespace]:
    """Yield the arguments of each run: as they are, or one run for each data seed d and model seed m.

    Args:
        arguments: argparse.Namespace with `seed`, `data_seeds` and, if there are `runs`, `model_seeds`.
        films: name of the argument that is the folder of the films, which has a place seed-<d> for each d.
        runs: names of the arguments that are folders of models or results, with a place seed-<d>-<m> for each run.
        pair: whether a run's `seed` is (d, m), so that it differs between any two runs, instead of m alone, which gives
            networks on different films the same start.
    """
    data_seeds, model_seeds = arguments.data_seeds, getattr(arguments, "model_seeds", None)
    if not data_seeds and not model_seeds:
        yield arguments
        return
    for d, m in itertools.product(dict.fromkeys(data_seeds or [0]), dict.fromkeys(model_seeds or [0])):
        folders = {
            films: str(seed_folder(getattr(arguments, films), d)),
            **{name: str(seed_folder(getattr(arguments, name), d, m)) for name in runs},
        }
        seed = (d, m) if pair else m if runs else d
        print(f"data seed {d}, model seed {m}" if runs else f"data seed {d}", flush=True)
        yield argparse.Namespace(**{**vars(arguments), "seed": seed, **folders})


def run(main: Callable, argv: list[str] | None = None) -> int:
    """Run a script's `main(argv)` and return its exit status.

    Args:
        main: function of argv that returns an exit status or None.
        argv: list of command-line words, or None for `sys.argv`.

    Returns:
        0 when done, 1 after a `UserError`, a full disk or an unreadable file, 130 when interrupted or told to end, 141
        when nobody reads the output any more.
        Wrong usage exits with 2 from argparse itself.
    """
    try:
        with terminated_like_interrupted(), warnings.catch_warnings():
            warnings.showwarning = partial(show_warning, warnings.showwarning)
            status = main(argv) or 0
            sys.stdout.flush()
            return status
    except UserError as error:
        message = str(error)
    except BrokenPipeError:
        # The reader, such as `head`, has seen enough; what is left in the buffer must not fail again at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        message = f"{error.strerror or error}{where}: check the path, its permissions and the free space, then run again"
    except KeyboardInterrupt:
        print("\nstopped: run the same command again to go on", file=sys.stderr)
        return 130
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    return 1


def show_warning(show: Callable, message: Warning | str, category: type[Warning], *place: Any, **options: Any) -> None:
    """Show an `AttackWarning` in one line, without the place in the code that a user of the scripts does not know."""
    if issubclass(category, AttackWarning):
        print(f"warning: {message}", file=sys.stderr)
    else:
        show(message, category, *place, **options)


@contextlib.contextmanager
def terminated_like_interrupted() -> Iterator[None]:
    """Turn SIGTERM, by which schedulers end a job, into the exception of Ctrl-C: temporary files are then removed."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous if previous is not None else signal.SIG_DFL)
