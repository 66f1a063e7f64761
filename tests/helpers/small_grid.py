"""A grid of phantoms that is small enough for a test: under Snakemake, by the scripts alone, and what either leaves behind."""

import subprocess
import sys

import yaml
from walk import contents

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


def write_grid(folder, phantom_sets, **changed):
    """Write a grid that works in a folder; return its file."""
    sets = {"covidx": f"{phantom_sets}/covidx-cxr2", "chest_xray": f"{phantom_sets}/chest-xray-pneumonia"}
    path = folder / "grid.yaml"
    path.write_text(yaml.safe_dump({"folder": str(folder), **sets, **GRID, **changed}))
    return path


def snakemake(root, profile, config, *words):
    """Return the command that runs a grid under a profile of the repository, in the environment of this process."""
    return [
        *[sys.executable, "-m", "snakemake", "--profile", str(root / "workflow/profiles" / profile), "--nolock"],
        *["--configfile", str(config), *words],
    ]


def run_scripts(root, folder, phantom_sets, sweep):
    """Do what the grid does with the four scripts alone, the sweep's settings being words of attack.py."""
    seeds, models = ["--data-seeds", "0"], ["--model-seeds", "1"]
    sets = ["--covidx", f"{phantom_sets}/covidx-cxr2", "--chest-xray", f"{phantom_sets}/chest-xray-pneumonia"]
    data, model, out = (
        [f"--{flag}", str(folder / name)] for flag, name in (("data", "data"), ("models", "model"), ("out", "results"))
    )
    stages = (
        ["-m", "data_processing.prepare", *sets, *seeds, "--out", data[1], "--per-class", "10", "--image-size", "32"],
        ["train_finetune.py", *data, "--out", model[1], *seeds, *models, "--models", "VGG16"]
        + ["--weights", "none", "--epochs", "1", "--batch", "7"],
        ["attack.py", *data, *model, *out, *seeds, *models, "--targets", "VGG16", *sweep, "--batch", str(BATCH)],
        ["data_figure.py", "--results", out[1], "--models", model[1]],
    )
    for words in stages:
        subprocess.run([sys.executable, *words], cwd=root, check=True, capture_output=True)


def left_behind(folder):
    """Return what the stages left in a folder, without parts, markers, and what names folders: pages and manifests."""
    found = {name: contents(folder / name) for name in ("data", "model", "results")}
    return {
        f"{name}/{path}": digest
        for name, files in found.items()
        for path, digest in files.items()
        if "/shards/" not in path and not path.endswith(("manifest.json", "report.html"))
    }
