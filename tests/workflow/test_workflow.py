"""The grid under Snakemake: the same bytes as the scripts alone, nothing done twice, and a GPU for each job."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from walk import contents

pytest.importorskip("snakemake")
yaml = pytest.importorskip("yaml")
BATCH = 3
JOB = {"threads": 1, "mem_mb": 1000, "runtime": 5, "gpu": 0}
ATTACKS = {"attacks": ["fgsm", "binm"], "single_step_strengths": [0.02], "iterative_strengths": [0.02], "steps": 2}
GRID = {
    "data_seeds": [0],
    "model_seeds": [1],
    "models": ["VGG16"],
    "sources": ["VGG16"],
    "shards": 2,
    "preparation": {"per_class": 10, "image_size": 32},
    "training": {"weights": "none", "epochs": 1, "batch": 7},
    "sweeps": {"paper": {**ATTACKS, "storing_strengths": [], "batch": BATCH}},
    "jobs": dict.fromkeys(("prepare", "train", "attack", "tables"), JOB),
}


def grid(folder, phantom_sets, **changed):
    """Write a grid that works in a folder; return its file."""
    sets = {"covidx": f"{phantom_sets}/covidx-cxr2", "chest_xray": f"{phantom_sets}/chest-xray-pneumonia"}
    path = folder / "grid.yaml"
    path.write_text(yaml.safe_dump({"folder": str(folder), **sets, **GRID, **changed}))
    return path


def snakemake(root, config, *words):
    """Run the workflow on two cores, in a copy of the environment that the tests have; return what it did."""
    command = [
        sys.executable,
        "-m",
        "snakemake",
        "--profile",
        str(root / "workflow/profiles/local"),
        "--cores",
        "2",
        "--nolock",
    ]
    command += ["--configfile", str(config), *words]
    return subprocess.run(command, cwd=root, capture_output=True, text=True)


def results(folder):
    """Return what the stages left in a folder, without parts, markers, and what names folders: pages and manifests."""
    found = {name: contents(folder / name) for name in ("data", "model", "results")}
    return {
        f"{name}/{path}": digest
        for name, files in found.items()
        for path, digest in files.items()
        if "/shards/" not in path and not path.endswith(("manifest.json", "report.html"))
    }


def test_the_grid_gives_the_bytes_of_the_scripts_and_does_nothing_twice(root, phantom_sets, tmp_path):
    (alone := tmp_path / "alone").mkdir()
    (flow := tmp_path / "flow").mkdir()
    seeds, models = ["--data-seeds", "0"], ["--model-seeds", "1"]
    sets = ["--covidx", f"{phantom_sets}/covidx-cxr2", "--chest-xray", f"{phantom_sets}/chest-xray-pneumonia"]
    data, model, out = (
        [f"--{flag}", str(alone / name)] for flag, name in (("data", "data"), ("models", "model"), ("out", "results"))
    )
    stages = (
        ["-m", "data_processing.prepare", *sets, *seeds, "--out", data[1], "--per-class", "10", "--image-size", "32"],
        ["train_finetune.py", *data, "--out", model[1], *seeds, *models, "--models", "VGG16"]
        + ["--weights", "none", "--epochs", "1", "--batch", "7"],
        ["attack.py", *data, *model, *out, *seeds, *models, "--targets", "VGG16", "--attacks", "fgsm", "binm"]
        + ["--single-step-strengths", "0.02", "--iterative-strengths", "0.02", "--steps", "2"]
        + ["--storing-strengths", "--batch", str(BATCH)],
        ["data_figure.py", "--results", out[1], "--models", model[1]],
    )
    for words in stages:
        subprocess.run([sys.executable, *words], cwd=root, check=True, capture_output=True)
    config = grid(flow, phantom_sets)
    done = snakemake(root, config)
    assert done.returncode == 0, done.stderr[-3000:]
    expected, found = results(alone), results(flow)
    assert sorted(found) == sorted(expected) and len(found) > 40
    assert [name for name in expected if found[name] != expected[name]] == []
    assert "Nothing to be done" in snakemake(root, config).stderr
    # Markers are all that Snakemake may delete: without them the scripts look, and find all there.
    for marker in (flow / ".done").rglob("*"):
        marker.is_file() and marker.unlink()
    assert snakemake(root, config).returncode == 0
    assert results(flow) == expected


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
    done = snakemake(root, grid(tmp_path, phantom_sets, **changed), "-n")
    assert done.returncode != 0 and said in done.stdout + done.stderr


def test_the_grid_that_comes_with_it_is_sound(root):
    done = snakemake(root, root / "config/study.yaml", "-n", "--quiet")
    assert done.returncode == 0, done.stdout


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
