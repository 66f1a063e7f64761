"""Work is done by processes where there are any, and by this one where there are none; the results are the same."""

import _multiprocessing
import errno
import os

import pytest

from nosign.processes import process_map


def square_and_process(number):
    return number**2, os.getpid()


@pytest.mark.parametrize("start", [None, "spawn"])
def test_results_keep_their_order_and_come_from_other_processes(start):
    with process_map(2, chunksize=3, start=start) as spread:
        results = list(spread(square_and_process, range(20)))
    assert [square for square, _ in results] == [number**2 for number in range(20)]
    assert os.getpid() not in {process for _, process in results}


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSYS, "Function not implemented"),
        ImportError("no SemLock"),
        PermissionError(errno.EACCES, "Permission denied"),
    ],
)
def test_without_semaphores_this_process_works_and_says_so(monkeypatch, capsys, error):
    def fails(*_):
        raise error

    monkeypatch.setattr(_multiprocessing, "SemLock", fails)
    with process_map(2) as spread:
        results = list(spread(square_and_process, range(5)))
    assert results == [(number**2, os.getpid()) for number in range(5)]
    (line,) = capsys.readouterr().err.splitlines()
    assert str(error) in line and "/dev/shm" in line


def test_error_in_a_process_is_raised_here():
    with pytest.raises(ZeroDivisionError), process_map(1) as spread:
        list(spread(divmod, [1, 1], [1, 0]))
