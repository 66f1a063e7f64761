"""The grid on a real Slurm: two nodes of this machine, array jobs, a node that dies in the middle, and the scripts' bytes."""

import contextlib
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

pytest.importorskip("snakemake_executor_plugin_slurm")
from small_grid import BATCH, left_behind, run_scripts, snakemake, write_grid

pytestmark = pytest.mark.skipif(
    not os.environ.get("NOSIGN_SLURM"), reason="starts a Slurm and takes eight minutes: make test-cluster"
)
# Many small cells, so that a job can be caught in the middle.
STRENGTHS = [number / 1000 for number in range(1, 31)]
SWEEP = {"attacks": ["binm"], "iterative_strengths": STRENGTHS, "steps": 10, "storing_strengths": [], "batch": BATCH}
WORDS = ["--attacks", "binm", "--iterative-strengths", *map(str, STRENGTHS), "--steps", "10", "--storing-strengths"]
PATIENCE_SECONDS = 300


@pytest.fixture
def slurm(root, tmp_path):
    """Environment that leads to a Slurm of two nodes; it ends with the test."""
    script, folder = root / "tests/cluster/slurm.sh", tmp_path / "slurm"
    subprocess.run([script, "start", folder], check=True)
    yield {**os.environ, "SLURM_CONF": str(folder / "slurm.conf"), "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"}
    subprocess.run([script, "stop", folder], check=True)


def wait_for(condition, run):
    """Return the first true value of a condition, asked for while a process runs."""
    began = time.monotonic()
    while not (found := condition()):
        assert run.poll() is None and time.monotonic() - began < PATIENCE_SECONDS
        time.sleep(0.05)
    return found


def jobs(slurm):
    """Return every job that Slurm remembers, as dicts of what scontrol says."""
    told = subprocess.run(["scontrol", "--oneliner", "show", "job"], env=slurm, capture_output=True, text=True).stdout
    return [dict(re.findall(r"(\w+)=(\S*)", line)) for line in told.splitlines() if line.startswith("JobId=")]


def processes_of(job, slurm):
    """Return the processes of a job of this Slurm, its step daemons included."""
    ours, found = f"SLURM_CONF={slurm['SLURM_CONF']}".encode(), []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            environment = (place / "environ").read_bytes().split(b"\0")
            is_step = f"slurmstepd: [{job}." in (place / "cmdline").read_text()
            # A step's own processes have lost SLURM_CONF, but work in the folder of this test.
            is_job = (
                f"SLURM_JOB_ID={job}".encode() in environment
                and str(Path(slurm["SLURM_CONF"]).parents[1]) in (place / "cmdline").read_text()
            )
            if (is_step and ours in environment) or is_job:
                found.append(int(place.name))
        except (OSError, ValueError):
            continue
    return found


def test_a_node_dies_and_the_grid_ends_in_the_bytes_of_the_scripts(root, phantom_sets, tmp_path, slurm):
    (alone := tmp_path / "alone").mkdir()
    (flow := tmp_path / "flow").mkdir()
    config = write_grid(flow, phantom_sets, sweeps={"paper": SWEEP})
    # This Slurm keeps no accounts; on a cluster that does, the profile alone is enough.
    words = ["--slurm-status-command", "squeue", "--slurm-no-account", "--slurm-logdir", str(tmp_path / "logs")]
    words += ["--slurm-init-seconds-before-status-checks", "3", "--latency-wait", "5"]
    with (tmp_path / "snakemake.log").open("w+") as log:
        run = subprocess.Popen(snakemake(root, "slurm", config, *words), cwd=root, env=slurm, stdout=log, stderr=log)
        try:
            part = flow / "results/seed-0-1/shards/1-of-2/attacks/VGG16/paper/binm"
            wait_for(lambda: len(list(part.glob("*.csv"))) > 2, run)
            first = next(job for job in jobs(slurm) if job["JobState"] == "RUNNING" and job.get("ArrayTaskId") == "1")
            node = first["NodeList"]
            # As if its power were cut: its daemon and its jobs are gone at once, and Slurm is told that it is down.
            daemon = int(Path(slurm["SLURM_CONF"]).with_name(f"{node}.pid").read_text())
            for process in (daemon, *processes_of(first["JobId"], slurm)):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
            Path(slurm["SLURM_CONF"]).with_name(f"{node}.pid").unlink()
            caught = {path.name for path in part.glob("*.csv") if ".steps" not in path.name}
            subprocess.run(["scontrol", "update", f"nodename={node}", "state=down", "reason=killed"], env=slurm, check=True)
            done = run.wait(PATIENCE_SECONDS)
        finally:
            run.kill()
        log.seek(0)
        assert done == 0, log.read()[-3000:]
    assert 0 < len(caught) < len(STRENGTHS)
    again = next(job for job in jobs(slurm) if job["JobId"] == first["JobId"])
    assert again["JobState"] == "COMPLETED" and again["Restarts"] == "1" and again["NodeList"] != node
    # Both parts were one array.
    assert {job["ArrayTaskId"] for job in jobs(slurm) if job.get("ArrayJobId") == first["ArrayJobId"]} == {"1", "2"}
    run_scripts(root, alone, phantom_sets, WORDS)
    assert left_behind(flow) == left_behind(alone)
