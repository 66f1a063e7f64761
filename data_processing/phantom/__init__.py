"""Synthetic chest films: `python -m data_processing.phantom`; see `__main__`."""


def main(argv: list[str] | None = None) -> int:
    """Write the films and return the exit status."""
    # Imported here, as `python -m` is to find `__main__` not yet imported.
    from data_processing.phantom import __main__

    return __main__.main(argv)
