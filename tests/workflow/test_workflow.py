"""The grid under Snakemake: the same bytes as the scripts alone, nothing done twice, and a GPU for each job."""

import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

pytest.importorskip("snakemake")
from small_grid import left_behind, run_scripts, snakemake, write_grid


def run_grid(root, config, *words):
    """Run the workflow on two cores; return what it did."""
    return subprocess.run(snakemake(root, "local", config, "--cores", "2", *words), cwd=root, capture_output=True, text=True)


def test_the_grid_gives_the_bytes_of_the_scripts_and_does_nothing_twice(root, phantom_sets, tmp_path):
    (alone := tmp_path / "alone").mkdir()
    (flow := tmp_path / "flow").mkdir()
    words = ["--attacks", "fgsm", "binm", "--single-step-strengths", "0.02", "--iterative-strengths", "0.02", "--steps", "2"]
    run_scripts(root, alone, phantom_sets, [*words, "--storing-strengths"])
    config = write_grid(flow, phantom_sets)
    done = run_grid(root, config)
    assert done.returncode == 0, done.stderr[-3000:]
    expected, found = left_behind(alone), left_behind(flow)
    assert sorted(found) == sorted(expected) and len(found) > 40
    assert [name for name in expected if found[name] != expected[name]] == []
    assert "Nothing to be done" in run_grid(root, config).stderr
    # Markers are all that Snakemake may delete: without them the scripts look, and find all there.
    for marker in (flow / ".done").rglob("*"):
        marker.is_file() and marker.unlink()
    assert run_grid(root, config).returncode == 0
    assert left_behind(flow) == expected


@pytest.mark.parametrize(
    "changed, said",
    [
        ({"model": ["VGG16"]}, "model"),
        ({"models": ["ResNet50"]}, "ResNet50"),
        ({"shards": 0}, "shards"),
        ({"sweeps": {"paper": {"out": "elsewhere"}}}, "out"),
        ({"sweeps": {"../x": {}}}, "../x"),
    ],
)
def test_a_grid_that_makes_no_sense_is_refused(root, phantom_sets, tmp_path, changed, said):
    done = run_grid(root, write_grid(tmp_path, phantom_sets, **changed), "-n")
    assert done.returncode != 0 and said in done.stdout + done.stderr


def test_the_grid_that_comes_with_it_is_sound(root):
    done = run_grid(root, root / "config/study.yaml", "-n", "--quiet")
    assert done.returncode == 0, done.stdout


def test_the_plan_has_the_jobs_that_snakemake_has(root, phantom_sets, tmp_path):
    costs = tmp_path / "costs.csv"
    costs.write_text("model,image_size,forward,gradient,training\nVGG16,32,36,72,360\nInceptionV3,32,36,72,360\n")
    changed = {"data_seeds": [0, 1], "model_seeds": [0, 1, 2], "models": ["VGG16", "InceptionV3"], "shards": 3}
    config = write_grid(tmp_path, phantom_sets, **changed)
    listed = run_grid(root, config, "-n", "--quiet", "rules").stdout
    counts = dict(re.findall(r"^(\w+) +(\d+)$", listed, re.MULTILINE))
    command = [sys.executable, "-m", "workflow.plan", "--grid", str(config), "--costs", str(costs)]
    printed = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout
    rows = [re.split(r"  +", line.strip()) for line in printed.splitlines()]
    found = Counter()
    for rule, _what, jobs, *_ in (row for row in rows if row[0] in ("prepare", "train", "shard", "attack", "tables")):
        found[rule] += int(jobs)
    assert found == {name: int(count) for name, count in counts.items() if name not in ("all", "total")}
    assert found == {"prepare": 2, "train": 12, "shard": 18, "attack": 6, "tables": 1}
    # From scratch: one epoch over 21 films in batches of 7, 3 to validate after it, 6 to test.
    (vgg,) = (row for row in rows if row[:2] == ["train", "VGG16"])
    assert vgg[2:4] == ["6", "21"] and vgg[4] == f"{6 * (21 + 3 + 6)}"


@pytest.mark.parametrize(
    "text, said", [("a: [", "not a YAML file"), ("folder: x", "is a required property"), (None, "not found; name the grid")]
)
def test_a_plan_of_no_grid_is_one_line(root, tmp_path, text, said):
    path = tmp_path / "grid.yaml"
    if text:
        path.write_text(text)
    done = subprocess.run([sys.executable, "-m", "workflow.plan", "--grid", path], cwd=root, capture_output=True, text=True)
    assert done.returncode == 1 and said in done.stderr and len(done.stderr.splitlines()) == 1


def test_each_job_on_a_machine_sees_a_gpu_of_its_own(root, tmp_path):
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "3,7", "TMPDIR": str(tmp_path)}
    told = tmp_path / "told"
    told.mkdir()
    # Writes which GPU it sees and waits until it may end.
    code = (
        "import os, pathlib, sys, time; me = pathlib.Path(sys.argv[1]); me.write_text(os.environ['CUDA_VISIBLE_DEVICES'])\n"
        "while me.exists(): time.sleep(0.05)"
    )
    command = [sys.executable, str(root / "workflow/on_gpu.py"), "-c", code]
    jobs = [subprocess.Popen([*command, str(told / str(number))], env=environment) for number in range(3)]

    def seen(count):
        while len(files := [path for path in told.iterdir() if path.read_text()]) < count:
            assert all(job.poll() in (None, 0) for job in jobs)
        return files

    first = seen(2)
    assert {path.read_text() for path in first} == {"3", "7"} and len(list(told.iterdir())) == 2
    freed = first[0].read_text()
    first[0].unlink()
    (third,) = set(seen(2)) - {first[1]}
    assert third.read_text() == freed
    for path in told.iterdir():
        path.unlink()
    assert [job.wait(60) for job in jobs] == [0, 0, 0]


@pytest.mark.parametrize("visible", ["", "5"])
def test_one_gpu_or_none_changes_nothing(root, visible):
    command = [sys.executable, str(root / "workflow/on_gpu.py"), "-c", "import os; print(os.environ['CUDA_VISIBLE_DEVICES'])"]
    done = subprocess.run(command, env={**os.environ, "CUDA_VISIBLE_DEVICES": visible}, capture_output=True, text=True)
    assert done.stdout.strip() == visible


def test_rules_declare_markers_alone(root):
    lines = Path(root / "workflow/Snakefile").read_text().split("    output:\n")[1:]
    assert len(lines) == 5 and all(line.strip().startswith('touch(f"{DONE}/') for line in lines)
