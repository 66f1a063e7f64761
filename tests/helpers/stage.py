"""Runs one stage in a process of its own: python tests/helpers/stage.py MODULE [OPTION ...] WORD ...

--no-locks     as on a file system without locks
--tiny         with backbones of four channels
--clock-back   with a clock that was set back by ten years
--megabytes=N  with so much memory for each process
"""

import importlib
import resource
import sys
import time

from nosign import files
from nosign.script import run

TEN_YEARS = 315_576_000


def no_locks():
    files.fcntl = None


def tiny():
    from tiny import use_tiny_backbones

    use_tiny_backbones()


def clock_back():
    now = time.time
    time.time = lambda: now() - TEN_YEARS


def megabytes(count):
    resource.setrlimit(resource.RLIMIT_DATA, (int(count) << 20,) * 2)


OPTIONS = {"--no-locks": no_locks, "--tiny": tiny, "--clock-back": clock_back, "--megabytes": megabytes}

if __name__ == "__main__":
    module, *words = sys.argv[1:]
    while words and (option := words[0].partition("="))[0] in OPTIONS:
        OPTIONS[option[0]](*option[2:] if option[1] else ())
        words.pop(0)
    raise SystemExit(run(importlib.import_module(module).main, words))
