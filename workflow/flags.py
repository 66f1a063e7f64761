"""Settings of a grid as words of a script's command line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def flags(settings: Mapping[str, Any]) -> list[str]:
    """Return settings as words of a command line: protocol: budget is --protocol budget; true is a flag alone."""
    words = []
    for name, value in settings.items():
        if value is not False:
            words.append("--" + name.replace("_", "-"))
            words += [] if value is True else map(str, value) if isinstance(value, list) else [str(value)]
    return words
