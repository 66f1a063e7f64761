"""Attacks on classifiers of films or other images: `from nosign import attack, turning_strength` (see `nosign.attacks.api`)."""


def __getattr__(name):
    # Imported when it is asked for: the first stages need none of what it loads.
    if name in ("attack", "turning_strength"):
        from nosign.attacks import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
