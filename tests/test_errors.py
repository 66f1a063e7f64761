"""A user's mistake becomes one line and an exit status, never a traceback."""

import os
import signal
import subprocess
import sys
import time
import warnings
from functools import partial

import pytest

from nosign.errors import UserError, warn
from nosign.script import run


def raising(error):
    def main(argv):
        raise error

    return main


def test_result_of_main_is_the_exit_status_and_none_is_0():
    assert run(lambda argv: None) == 0 and run(lambda argv: 3) == 3
    assert run(lambda argv: len(argv), ["a", "b"]) == 2


def test_user_error_is_one_line_and_1(capsys):
    assert run(raising(UserError("films:\n  too few;\nadd some"))) == 1
    assert capsys.readouterr().err == "error: films: too few; add some\n"


@pytest.mark.parametrize(
    "error, line",
    [
        (PermissionError(13, "Permission denied", "data/images.npy"), "Permission denied (data/images.npy): check the"),
        (OSError(28, "No space left on device"), "No space left on device: check the"),
        (OSError("odd"), "odd: check"),
    ],
)
def test_file_system_error_names_the_file_and_is_1(capsys, error, line):
    assert run(raising(error)) == 1
    (printed,) = capsys.readouterr().err.splitlines()
    assert printed.startswith(f"error: {line}")


def test_a_warning_about_an_attack_is_one_line_and_others_are_shown_as_ever(capsys):
    def main(argv):
        warn("3 of 9 images have no gradient")
        warnings.warn("something else")

    shown = warnings.showwarning
    with pytest.warns(UserWarning, match="something else") as others:
        assert run(main) == 0
    assert len(others) == 1 and capsys.readouterr().err == "warning: 3 of 9 images have no gradient\n"
    assert warnings.showwarning is shown


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupt_and_termination_are_130_after_cleaning_up(capsys, request, number):
    # A shell starts its background jobs with Ctrl-C ignored; the tests may be such a job.
    request.addfinalizer(partial(signal.signal, signal.SIGINT, signal.signal(signal.SIGINT, signal.default_int_handler)))
    cleaned = []

    def main(argv):
        try:
            os.kill(os.getpid(), number)
            time.sleep(10)
        finally:
            cleaned.append(True)

    before = signal.getsignal(signal.SIGTERM)
    assert run(main) == 130 and cleaned
    assert capsys.readouterr().err.strip() == "stopped: run the same command again to go on"
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_reader_that_has_seen_enough_ends_a_script_without_a_word():
    code = "from nosign.script import run; run(lambda argv: print('line\\n' * 100_000))"
    script = subprocess.run(f'{sys.executable} -c "{code}" | head -n 1', shell=True, capture_output=True, text=True)
    assert (script.stdout, script.stderr) == ("line\n", "")


def test_mistakes_of_the_program_keep_their_traceback():
    with pytest.raises(ZeroDivisionError):
        run(lambda argv: 1 / 0)
