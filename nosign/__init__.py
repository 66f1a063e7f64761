"""Attacks on classifiers of films or other images: `from nosign import attack` (see `nosign.library.attack`)."""


def __getattr__(name):
    # Imported when it is asked for: the first stages need none of what it loads.
    if name == "attack":
        from nosign.library import attack

        return attack
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
