"""Work for the benchmark's processes that needs no library, and libraries that do not work."""

import os

import numpy as np

import benchmarks.rivals  # noqa: F401, as where rivals run
from benchmarks.task import FGSM, PGD, TABLE_TWO
from benchmarks.worker import ONEDNN_FLAG


def trivial(task):
    """Work done at once; what it returns is there to be sent back, or not."""
    print("what a library prints must not come between the answers")
    return {
        FGSM: lambda: np.zeros(task.count),
        PGD: lambda: None,
        TABLE_TWO: lambda: {"strengths": task.strengths},
        "flag": lambda: os.environ.get(ONEDNN_FLAG, "not set"),
        "mistake": lambda: 1 / 0,
        "end": lambda: os._exit(3),
    }


def broken(task):
    """A library that is not there."""
    raise ImportError("no such\nlibrary")


def half_broken(task):
    """A library whose PGD fails."""
    return trivial(task) | {PGD: lambda: 1 / 0}
