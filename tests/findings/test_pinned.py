"""The tables of results/reference, pinned: a change of the code must not change what finished rows say.

    NOSIGN_TABLES=/tmp/before pytest tests/findings/test_pinned.py     writes the tables as CSV; do it at two commits, then
    diff -r /tmp/before /tmp/after                                     shows what differs between them
    NOSIGN_PIN=1 pytest tests/findings/test_pinned.py                  writes pinned.json anew, on purpose

Rows that were added since are left out, so that a reference that grows breaks nothing.
"""

import hashlib
import json
import os
from dataclasses import replace
from pathlib import Path

from nosign.files import sha256_of_file
from nosign.findings import FINDINGS
from results.reference.__main__ import HERE, read_reference

PINNED = Path(__file__).with_name("pinned.json")


def tables_of(run):
    """Return each table's rows as CSV, numbers to six digits: the last ones differ between machines."""
    tables = [table for module in FINDINGS for table in module.describe(run).tables]
    return {table.name: table.frame.to_csv(index=False, float_format="%.6g") for table in tables}


def cells_of(run):
    """Return a run's cells, "SOURCE/CONDITION/ATTACK" to strengths joined by spaces."""
    cells = {}
    for sweep in run.sweeps:
        for attack, strength in sweep.cells:
            cells.setdefault("/".join([*sweep.name, attack]), []).append(f"{strength:g}")
    return {attack: " ".join(strengths) for attack, strengths in cells.items()}


def with_cells(run, cells):
    """Return a run with no other cells than those of `cells_of`."""

    def kept(sweep, by_cell):
        strengths = {attack: cells.get("/".join([*sweep.name, attack]), "").split() for attack, _ in by_cell}
        return {cell: value for cell, value in by_cell.items() if f"{cell[1]:g}" in strengths[cell[0]]}

    sweeps = [replace(sweep, paths=kept(sweep, sweep.paths), cells=kept(sweep, sweep.cells)) for sweep in run.sweeps]
    return replace(run, sweeps=tuple(sweep for sweep in sweeps if sweep.cells or sweep.turning_paths))


def as_pinned(whole, pinned):
    """Return the runs of the study by name, each with the cells that are pinned: the spread over seeds, then each seed."""
    seeds = {f"study/{seed.results.name}": seed for seed in whole.seeds}
    if pinned:
        seeds = {key: with_cells(seed, pinned[key]["cells"]) for key, seed in seeds.items() if key in pinned}
    return {"study/results": replace(whole, seeds=tuple(seeds.values())), **seeds}


def digest(text):
    """Return the first digits of a text's SHA-256."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def rows_of(run, unpacked):
    """Return the digest of the files behind a run's tables."""
    files = [path for one in (run, *run.seeds) if one.sweeps for path in one.files]
    names = [path.relative_to(unpacked.parent if path.is_relative_to(unpacked) else HERE) for path in files]
    return digest("".join(f"{name} {sha256_of_file(path)}\n" for name, path in zip(names, files)))


def test_finished_rows_say_what_they_have_always_said(tmp_path):
    anew = bool(os.environ.get("NOSIGN_PIN"))
    pinned = json.loads(PINNED.read_text())
    runs = as_pinned(read_reference(tmp_path / "results"), {} if anew else pinned)
    tables = {key: tables_of(run) for key, run in runs.items()}
    for key, texts in tables.items() if "NOSIGN_TABLES" in os.environ else ():
        folder = Path(os.environ["NOSIGN_TABLES"]) / key
        folder.mkdir(parents=True, exist_ok=True)
        for table, text in texts.items():
            (folder / f"{table}.csv").write_text(text)
    found = {
        key: {
            "cells": cells_of(run),
            "rows": rows_of(run, tmp_path / "results"),
            "tables": {table: digest(text) for table, text in sorted(tables[key].items())},
        }
        for key, run in runs.items()
    }
    if anew:
        PINNED.write_text(json.dumps(found, indent=1) + "\n")
        return
    assert set(found) == set(pinned), "a run of the reference is gone"
    for key, was in pinned.items():
        now, how = found[key], "the top of this file tells how to see what differs, and how to pin new rows"
        assert now["cells"] == was["cells"], f"{key}: cells are gone or in another order; {how}"
        changed = [table for table, text in was["tables"].items() if now["tables"].get(table) != text]
        rows = "the same rows" if now["rows"] == was["rows"] else "rows that are not the pinned ones"
        assert not changed, f"{key}: {', '.join(changed)} changed, from {rows}; {how}"
