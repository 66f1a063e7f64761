"""All four stages where nothing is as usual: the same bytes. And where nothing can be written: one line."""

import os
import subprocess
import sys
import time

import pytest
from walk import contents

STAGES = ("data_processing.prepare", "train_finetune", "attack", "data_figure")
# 200 characters deep, with all that a shell or a careless join would trip over.
ODD = 'a folder/it\'s "quoted"/肺部 X-光片/$HOME;#&*/' + "/".join(["deep" * 5] * 8)


def words(folder):
    """Return the command lines of the four stages in a folder, by their modules."""
    data, model, results = (str(folder / name) for name in ("data", "model", "results"))
    sets = ["--covidx", str(folder / "raw/covidx-cxr2"), "--chest-xray", str(folder / "raw/chest-xray-pneumonia")]
    training = ["--models", "VGG16", "--head-epochs", "1", "--epochs", "1", "--batch", "7", "--preprocessing", "paper"]
    attacking = ["--targets", "VGG16", "--attacks", "fgnm", "--single-step-strengths", "0.02", "--iterative-strengths"]
    lines = (
        [*sets, "--out", data, "--per-class", "10", "--image-size", "32", "--workers", "1"],
        ["--data", data, "--out", model, *training],
        ["--data", data, "--models", model, "--out", results, *attacking, "--storing-strengths", "0.02"],
        ["--results", results, "--models", model],
    )
    return dict(zip(STAGES, lines))


def run_stage(root, module, line, *options, environment=None, **more):
    """Run a stage in a process of its own, with tiny backbones."""
    environment = {**(environment or os.environ), "PYTHONPATH": f"{root}{os.pathsep}{root / 'tests/helpers'}"}
    command = [sys.executable, str(root / "tests/helpers/stage.py"), module, "--tiny", *options, *line]
    return subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, errors="replace", **more)


def put_films(folder, phantom_sets):
    folder.mkdir(parents=True)
    (folder / "raw").symlink_to(phantom_sets, target_is_directory=True)
    return folder


@pytest.fixture(scope="module")
def usual(root, phantom_sets, tmp_path_factory):
    """A folder in which the four stages have run."""
    folder = put_films(tmp_path_factory.mktemp("usual") / "place", phantom_sets)
    for module, line in words(folder).items():
        done = run_stage(root, module, line)
        assert done.returncode == 0, done.stderr
    return folder


def made(folder):
    """Return what the four stages left; hidden files and, as they name folders, pages and manifests aside."""
    found = contents(folder)
    return {name: digest for name, digest in found.items() if not name.endswith(("manifest.json", "report.html"))}


def test_odd_paths_no_home_a_decimal_comma_a_strict_umask_a_clock_set_back_and_a_gigabyte(root, phantom_sets, usual, tmp_path):
    folder = put_films(tmp_path / ODD, phantom_sets)
    assert len(str(folder)) > 200
    environment = {name: value for name, value in os.environ.items() if name not in ("HOME", "XDG_CACHE_HOME", "MPLCONFIGDIR")}
    environment |= {"LC_ALL": "de_DE.UTF-8", "LANG": "de_DE.UTF-8", "http_proxy": "http://127.0.0.1:9"}
    for module, line in words(folder).items():
        # Stages 2 and 3 say what memory they take, and refuse where there is less.
        limits = [] if module in ("train_finetune", "attack") else ["--megabytes=1024"]
        done = run_stage(root, module, line, "--clock-back", *limits, environment=environment, umask=0o077)
        assert done.returncode == 0, done.stderr
    assert made(folder) == made(usual)
    assert len(made(usual)) > 40
    for module, line in words(folder).items():
        if module != "data_figure":
            assert "nothing to do" in run_stage(root, module, line).stdout, f"{module}: the clock is right again"


@pytest.mark.parametrize("module", STAGES)
def test_read_only_output_is_one_line_and_leaves_nothing(root, usual, tmp_path, module):
    """What the system answers is put in, as tests may run as root, to whom nothing is read-only."""
    line = [*words(usual)[module], *(["--out", "any"] if module == "data_figure" else [])]
    line[line.index("--out") + 1] = str(tmp_path / "out")
    done = run_stage(root, module, line, environment={**os.environ, "NOSIGN_FAULT": f"EROFS:1:{tmp_path / 'count'}"})
    said = [text for text in done.stderr.splitlines() if text.startswith("error:")]
    assert done.returncode == 1 and len(said) == 1 and "Read-only file system" in said[0] and "Traceback" not in done.stderr
    assert contents(tmp_path) == {"count": contents(tmp_path)["count"]}


def test_told_to_end_an_attack_ends_within_a_batch_and_leaves_no_half_file(root, usual, tmp_path):
    line = words(usual)["attack"]
    line = [*line[: line.index("--attacks")], "--attacks", "bim", "--single-step-strengths", "--iterative-strengths", "0.001"]
    line += ["--steps", "100000"]
    line[line.index("--out") + 1] = str(tmp_path / "results")
    environment = {**os.environ, "PYTHONPATH": f"{root}{os.pathsep}{root / 'tests/helpers'}"}
    command = [sys.executable, str(root / "tests/helpers/stage.py"), "attack", *line]
    with subprocess.Popen(command, cwd=root, env=environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL) as process:
        while not (tmp_path / "results/clean.csv").is_file():
            time.sleep(0.1)
        time.sleep(2)
        begun = time.monotonic()
        process.terminate()
        said = process.communicate(timeout=120)[1].decode(errors="replace")
    # Its batch takes minutes; ten seconds are for a slow machine.
    assert process.returncode == 130 and time.monotonic() - begun < 10 and "run the same command again" in said
    assert not list((tmp_path / "results").rglob(".part-*"))
