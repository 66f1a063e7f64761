"""The one exception for mistakes that a user can mend, and how a script reports it."""

import contextlib
import os
import signal
import sys
import threading
import warnings
from functools import partial


class UserError(Exception):
    """A mistake that the user can mend: what happened, where, what was expected, what to do.

    The message is one line. `run` prints it and turns it into exit status 1.
    """


class AttackWarning(UserWarning):
    """Something about an attack that its result alone would not show."""


def warn(message):
    """Warn with an `AttackWarning` at the line outside this package that called it."""
    level, frame = 2, sys._getframe(1)
    while frame.f_back and frame.f_globals.get("__name__", "").partition(".")[0] == __package__:
        level, frame = level + 1, frame.f_back
    warnings.warn(message, AttackWarning, stacklevel=level)


def run(main, argv=None):
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


def show_warning(show, message, category, *place, **options):
    """Show an `AttackWarning` in one line, without the place in the code that a user of the scripts does not know."""
    if issubclass(category, AttackWarning):
        print(f"warning: {message}", file=sys.stderr)
    else:
        show(message, category, *place, **options)


@contextlib.contextmanager
def terminated_like_interrupted():
    """Turn SIGTERM, by which schedulers end a job, into the exception of Ctrl-C: temporary files are then removed."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous if previous is not None else signal.SIG_DFL)
