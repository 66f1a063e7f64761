"""What stage 3's flags offer beside the paper's settings. Plain data; imports nothing heavy."""

from __future__ import annotations

import argparse
from dataclasses import dataclass

SOURCE = "VGG16"
ATTACKED_SPLITS = ("test", "validation")
ALL_SOURCES = "all"
GREY = {"no": (False,), "only": (True,), "both": (False, True)}
STORING_STRENGTHS = (0.001, 0.003)
# The paper's groups of 64 give the same numbers in five times the memory; on a CPU no faster.
BATCH = 8
CONTROL_FILMS = 100
UNIVERSAL_FILMS = 300


@dataclass(frozen=True)
class Shard:
    """One of several parts of the films that are attacked, cut at whole batches.

    Attributes:
        number: which part, from 1.
        count: how many parts there are.
    """

    number: int
    count: int

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    def span(self, films: int, batch: int) -> tuple[int, int]:
        """Return (start, stop), the positions of the part's films among so many; start is a multiple of `batch`.

        There is no film in it where there are more parts than batches.
        """
        batches = -(-films // batch)
        start, stop = (batch * (batches * part // self.count) for part in (self.number - 1, self.number))
        return start, min(stop, films)


def shard(text: str) -> Shard:
    """Return a word of the command line such as 3/16 as a `Shard`, for argparse, which exits with 2."""
    number, slash, count = text.partition("/")
    if not (slash and number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
        raise argparse.ArgumentTypeError(f"{text} is not a part of several, such as 3/16")
    return Shard(int(number), int(count))
