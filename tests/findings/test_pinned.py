"""The tables of results/reference, pinned: a change of the code must not change what finished rows say.

`NOSIGN_PIN=1 pytest tests/findings/test_pinned.py` writes pinned.json anew; do it only where the rows themselves are new.
"""

import hashlib
import json
import os
from pathlib import Path

import pytest

from nosign.findings import FINDINGS
from nosign.finished import read_runs

REFERENCE = Path(__file__).resolve().parents[2] / "results/reference"
PINNED = Path(__file__).with_name("pinned.json")
RUNS = {
    "pilot": (REFERENCE / "results", REFERENCE / "model"),
    "study": (REFERENCE / "study/results", REFERENCE / "study/model"),
}


def digests_of(run):
    """Return the SHA-256 of each table's rows as CSV, numbers to six digits: the last ones differ between machines."""
    tables = [table for module in FINDINGS for table in module.describe(run).tables]
    return {
        table.name: hashlib.sha256(table.frame.to_csv(index=False, float_format="%.6g").encode()).hexdigest()[:16]
        for table in tables
    }


@pytest.mark.parametrize("name", RUNS)
def test_finished_rows_say_what_they_have_always_said(name):
    whole = read_runs(*RUNS[name])
    found = {f"{name}/{run.results.name}": digests_of(run) for run in (whole, *whole.seeds)}
    pinned = json.loads(PINNED.read_text()) if PINNED.exists() else {}
    if os.environ.get("NOSIGN_PIN"):
        PINNED.write_text(json.dumps(pinned | found, indent=1, sort_keys=True) + "\n")
        return
    assert set(found) <= set(pinned)
    changed = [f"{run}: {table}" for run in found for table in found[run] if found[run][table] != pinned[run].get(table)]
    gone = [f"{run}: {table}" for run in found for table in pinned[run] if table not in found[run]]
    assert not changed + gone, "these tables say something else than before; if the rows are new, see the top of this file"
