"""Attacks on classifiers of films or other images: `from nosign import attack, turning_strength` (see `nosign.library`)."""


def __getattr__(name):
    # Imported when it is asked for: the first stages need none of what it loads.
    if name in ("attack", "turning_strength"):
        from nosign import library

        return getattr(library, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
