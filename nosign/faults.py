"""Makes the n-th operation on the disk fail or kill the process, so that tests can walk through every fault.

    NOSIGN_FAULT=before:17:/tmp/count python attack.py ...

The first word says what happens at operation 17: `before` and `after` end the process there, as a kill does, `torn` in the
middle of a write; the name of an error, such as `ENOSPC`, writes half and then raises it; `count` does nothing. The file gets
one letter for each operation of all processes of the run: w for a write, f for a flush, r for a rename, d for a removal.
Without the variable nothing is done.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

VARIABLE = "NOSIGN_FAULT"
KILLED = 137  # what a shell reports after kill -9
ERRORS = {name: number for number, name in errno.errorcode.items()}


@contextmanager
def operation(letter: str, path: str | os.PathLike[str], half: Callable[[], object] | None = None) -> Iterator[None]:
    """Surround an operation on the disk.

    Args:
        letter: w, f, r or d.
        path: what it works on, for the error's text.
        half: does half of it; None if it is done whole or not at all.

    Raises:
        OSError: the fault that the variable asks for.
    """
    action, number, counter = asked_for()
    due = action != "" and count(counter, letter) == number
    if due and action == "before":
        os._exit(KILLED)
    if due and half and (action == "torn" or action in ERRORS):
        half()
    if due and action in ERRORS:
        raise OSError(ERRORS[action], os.strerror(ERRORS[action]), str(path))
    if due and action == "torn":
        os._exit(KILLED)
    yield
    if due and action == "after":
        os._exit(KILLED)


def asked_for() -> tuple[str, int, str]:
    """Return what is to happen, at which operation, and the file that counts them; "" for nothing."""
    action, number, counter = [*os.environ.get(VARIABLE, "").split(":", 2), "0", ""][:3]
    return action, int(number), counter


def count(counter: str, letter: str) -> int:
    """Add an operation to the counting file and return its number, from 1; safe among processes, as each appends one byte."""
    descriptor = os.open(counter, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        os.write(descriptor, letter.encode())
        return os.lseek(descriptor, 0, os.SEEK_CUR)
    finally:
        os.close(descriptor)
