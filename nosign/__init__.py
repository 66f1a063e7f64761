"""Attacks on classifiers of films or other images: `from nosign import attack, turning_strength` (see `nosign.attacks.api`)."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nosign.attacks.api import attack, turning_strength

__all__ = ["attack", "turning_strength"]


def __getattr__(name: str) -> Any:
    # Imported when it is asked for: the first stages need none of what it loads.
    if name in __all__:
        from nosign.attacks import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
