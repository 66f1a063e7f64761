"""Command-line flags that several scripts share."""

import argparse
import math
from pathlib import Path

LARGEST_SEED = 2**32 - 1


def as_number(text):
    """Return a word of the command line as a float, NaN where it is no number."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def whole_number(least, most=None):
    """Return a parser of whole numbers from `least` to `most` (None: no end), for argparse, which exits with 2."""
    def parse(text):
        expected = f"a whole number of at least {least}" + ("" if most is None else f" and at most {most}")
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not {expected}") from None
        if value < least or (most is not None and value > most):
            raise argparse.ArgumentTypeError(f"{value} is not {expected}")
        return value
    return parse


def seed_folder(parent, seed):
    """Return where the run with a seed reads or writes below a folder."""
    return Path(parent) / f"seed-{seed}"


def seed_folders(parent):
    """Return the folders of all runs with a seed below a folder, ascending by seed."""
    seeds = [path.name.removeprefix("seed-") for path in Path(parent).glob("seed-*") if path.is_dir()]
    return [seed_folder(parent, seed) for seed in sorted((seed for seed in seeds if seed.isdecimal()), key=int)]


def add_seeds(parser, folders):
    """Add the flag --seeds to a script; `folders` says where a run of it reads and writes."""
    parser.add_argument("--seeds", nargs="+", type=whole_number(0, LARGEST_SEED), metavar="SEED",
                        help=f"one run a seed, instead of --seed, each in {folders}")


def each_seed(arguments, folders):
    """Yield the arguments of each run: as they are, or one run a seed in folders named after it.

    Args:
        arguments: argparse.Namespace with `seed` and `seeds`.
        folders: names of the arguments that are folders with a place for each seed.
    """
    if not arguments.seeds:
        yield arguments
    for seed in dict.fromkeys(arguments.seeds or ()):
        own = {name: str(seed_folder(getattr(arguments, name), seed)) for name in folders}
        print(f"seed {seed}", flush=True)
        yield argparse.Namespace(**{**vars(arguments), "seed": seed, **own})
