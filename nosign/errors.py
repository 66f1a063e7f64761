"""The one exception for mistakes that a user can mend, and the one warning about an attack."""

from __future__ import annotations

import sys
import warnings


class UserError(Exception):
    """A mistake that the user can mend: what happened, where, what was expected, what to do.

    The message is one line. `run` prints it and turns it into exit status 1.
    """


class AttackWarning(UserWarning):
    """Something about an attack that its result alone would not show."""


def warn(message: str) -> None:
    """Warn with an `AttackWarning` at the line outside this package that called it."""
    level, frame = 2, sys._getframe(1)
    while frame.f_back and frame.f_globals.get("__name__", "").partition(".")[0] == __package__:
        level, frame = level + 1, frame.f_back
    warnings.warn(message, AttackWarning, stacklevel=level)
