"""Stage 4 on tens of thousands of films keeps within a limit of memory."""

import subprocess
import sys

import pandas as pd
import pytest

from benchmarks.many_films import write_results
from nosign.finished import read_run

LIMIT_BYTES = 800 * 10**6
# The limit is on memory that is the process's own: heap, and mappings that are no files'.
STAGE_FOUR = """
import resource, sys
from pathlib import Path
resource.setrlimit(resource.RLIMIT_DATA, ({limit}, {limit}))
from nosign.finished import read_runs
from nosign.publish import describe_all
folder = Path(sys.argv[1])
print(len(describe_all(read_runs(folder, folder))[""]))
"""


@pytest.mark.slow
def test_thirty_thousand_films_are_described_within_the_limit(tmp_path, root, monkeypatch):
    monkeypatch.setattr("benchmarks.many_films.CELLS", {"fgsm": (0.003,), "fgnm": (0.003,)})
    write_results(tmp_path / "results", 30_000)
    code = STAGE_FOUR.format(limit=LIMIT_BYTES)
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "results"], cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout) > 10


@pytest.mark.parametrize("films", [90, 25_000])
def test_made_up_rows_are_what_stage_three_writes_of_films_that_fall_as_strength_grows(tmp_path, monkeypatch, root, films):
    monkeypatch.setattr("benchmarks.many_films.CELLS", {"fgsm": (0.001, 0.01), "fgnm": (0.01,), "bim": (0.0005,)})
    write_results(tmp_path / "results", films)
    run = read_run(tmp_path / "results", tmp_path / "results")
    (sweep,) = run.sweeps
    assert len(sweep.clean) == films and len(sweep.cells) == 4 and len(sweep.turning) == 4
    right = [(sweep.cells[cell]["VGG16"] == sweep.labels).mean() for cell in (("fgsm", 0.001), ("fgsm", 0.01), ("fgnm", 0.01))]
    assert (sweep.clean["VGG16"] == sweep.labels).mean() > right[0] > right[1] > right[2]
    study = root / "results/reference/results/seed-0-0/attacks/VGG16/paper/fgnm"
    for ours, real in (
        ("fgnm/0.01.csv", "0.01.csv"),
        ("fgnm/turning.csv", "turning.csv"),
        ("bim/0.0005.steps.csv", "0.01.steps.csv"),
    ):
        path = tmp_path / "results/attacks/VGG16/paper" / ours
        assert list(pd.read_csv(path, nrows=1)) == list(pd.read_csv(study / f"{real}.gz", nrows=1))
