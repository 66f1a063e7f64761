"""Runs one stage in a process of its own: python tests/helpers/stage.py MODULE [--no-locks] WORD ..."""

import importlib
import sys

from nosign import files
from nosign.script import run

if __name__ == "__main__":
    module, *words = sys.argv[1:]
    if words[:1] == ["--no-locks"]:
        files.fcntl = None
        words = words[1:]
    raise SystemExit(run(importlib.import_module(module).main, words))
