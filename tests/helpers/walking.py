"""Starts walks through every fault of a stage, see `walk.py`."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def draw_once():
    """Have stage 4 draw each figure once: later runs, in other processes, take what the first one drew of the same rows."""
    from nosign import publish

    render, kept = publish.render_figures, Path(os.environ["NOSIGN_DRAWN"])

    def render_figures(figures):
        if not kept.is_dir():
            kept.mkdir()
            for name, content in render(figures).items():
                (kept / name.strip("/")).write_bytes(content)
        names = [f"{name}.{ending}" for name in figures for ending in ("png", "pdf")]
        return {name: (kept / name.strip("/")).read_bytes() for name in names}

    publish.render_figures = render_figures


def walk(stage, argv, folder, **more):
    """Walk a stage through its faults; fail the test where a rerun does not mend them.

    Args:
        stage: module with a `main`.
        argv: its command line, OUT in place of the output folder.
        folder: to work in.
        more: see `walk.py`.

    Returns:
        One letter per operation on the disk.
    """
    plan = folder / "stage.json"
    plan.write_text(json.dumps({"stage": stage, "argv": argv, "folder": str(folder), **more}))
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "2", "NOSIGN_DRAWN": str(folder / "drawn")}
    command = [sys.executable, str(ROOT / "tests/helpers/walk.py"), str(plan)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-2000:]
    result = json.loads(done.stdout.splitlines()[-1])
    print(
        f"{stage}: {len(result['letters'])} operations, killed at {result['killed']}, "
        f"run again from {result['reran']} states, {result['failed']} made to fail"
    )
    if result["wrong"]:
        raise AssertionError("\n".join(result["wrong"][:10]))
    return result["letters"]
