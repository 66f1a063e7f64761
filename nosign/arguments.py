"""Types of command-line flags that several scripts share."""

import argparse


def whole_number(least, most=None):
    """Return a parser of whole numbers from `least` to `most` (None: no end), for argparse, which exits with 2."""
    def parse(text):
        expected = f"a whole number of at least {least}" + ("" if most is None else f" and at most {most}")
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not {expected}") from None
        if value < least or (most is not None and value > most):
            raise argparse.ArgumentTypeError(f"{value} is not {expected}")
        return value
    return parse
