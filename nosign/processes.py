"""Spreads work over processes where the system has any to give."""

from __future__ import annotations

import contextlib
import multiprocessing
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial


@contextlib.contextmanager
def process_map(
    workers: int, *, chunksize: int = 1, start: str | None = None, initializer: Callable | None = None
) -> Iterator[Callable]:
    """Give a `map` that spreads its calls over processes and keeps their order.

    Processes share semaphores, which need /dev/shm; some containers and sandboxes have none. There the built-in `map` is
    given, and a line on stderr says so.

    Args:
        workers: how many processes.
        chunksize: calls that a process gets at once.
        start: how processes are started, "fork" or "spawn"; None is the system's own way.
        initializer: called in each process first; not called where there are none.
    """
    try:
        pool = ProcessPoolExecutor(workers, multiprocessing.get_context(start), initializer=initializer)
    except (OSError, ImportError, NotImplementedError) as error:
        print(
            f"warning: worker processes cannot be had here ({error}; is /dev/shm missing?): working in one process, which "
            "takes longer",
            file=sys.stderr,
        )
        yield map
        return
    with pool:
        yield partial(pool.map, chunksize=chunksize)
