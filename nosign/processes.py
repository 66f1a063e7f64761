"""Spreads work over processes where the system has any to give."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial

POLL_SECONDS = 0.5


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
        pool = ProcessPoolExecutor(
            workers, multiprocessing.get_context(start), initializer=begin_worker, initargs=(os.getpid(), initializer)
        )
    except (OSError, ImportError, NotImplementedError, ValueError) as error:
        print(
            f"warning: worker processes cannot be had here ({error}; is /dev/shm missing?): working in one process, which "
            "takes longer",
            file=sys.stderr,
        )
        yield map
        return
    with pool:
        yield partial(pool.map, chunksize=chunksize)


def begin_worker(parent: int, initializer: Callable | None) -> None:
    """Begin a worker process: it ends with the process that started it, even if that is killed, and calls `initializer`."""
    threading.Thread(target=end_with, args=(parent,), daemon=True).start()
    if initializer:
        initializer()


def end_with(parent: int) -> None:
    """End this process once its parent is another one, because `parent` is gone."""
    while os.getppid() == parent:
        time.sleep(POLL_SECONDS)
    os._exit(1)
