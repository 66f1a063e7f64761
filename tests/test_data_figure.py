"""The script of stage 4 from end to end: what it writes, prints and refuses."""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from finished import run_in, write_cell

import data_figure
from nosign import publish
from nosign.files import sha256_of_file
from nosign.manifest import write_manifest
from nosign.publish import missing_cells
from nosign.rows import logit_columns
from nosign.script import run

ROOT = Path(data_figure.__file__).parent
TABLES = [
    f"tables/{name}.{ending}"
    for name in (
        "table2",
        "table3",
        "comparison",
        "storing-comparison",
        "boundary",
        "collections",
        "effort",
        "confusion",
        "paper",
        "table1",
        "clean",
    )
    for ending in ("csv", "md", "tex")
]
FIGURES = [
    f"figures/{name}.{ending}"
    for name in ("figure4", "boundary", "collections", "figure5", "confusion", "figure2", "figure1")
    for ending in ("png", "pdf")
] + ["tables/summary.md", "report.html"]
SEEDS = [
    f"{name}.{ending}"
    for name, endings in (
        ("tables/seeds", ("csv", "md", "tex")),
        ("tables/runs", ("csv", "md", "tex")),
        ("figures/seeds", ("png", "pdf")),
        ("tables/summary", ("md",)),
        ("report", ("html",)),
    )
    for ending in endings
]

OLD_RUN, RUN = "seed-2", "seed-10-1"


def write_inputs(root, results="results", models="model", fgsm=4):
    """Write what stages 2 and 3 leave of an unfinished sweep: three cells of six films, one example, one model.

    `fgsm` is the number of films that FGSM leaves right. Returns the script's arguments.
    """
    labels = np.array([0, 0, 1, 1, 2, 2])
    films = {"film": range(6), "label": labels}
    (root / models).mkdir(parents=True)
    (root / models / "models.csv").write_text(
        "model,parameters,correct,films,imagenet_top1,imagenet_top5,weights_sha256\nVGG16,14749763,6,6,71.3,90.1,ab\n"
    )
    results = root / results
    for name, right in (("fgsm/0.001", fgsm), ("fgnm/0.001", 2), ("bim/0.001", 1)):
        path = results / "attacks/VGG16/paper" / f"{name}.csv"
        path.parent.mkdir(parents=True)
        predictions = np.where(np.arange(6) < right, labels, (labels + 1) % 3)
        pd.DataFrame({**films, "VGG16": predictions, "VGG16_8bit": labels, "linf": 0.001, "l2": 0.1, "ssim": 0.99}).to_csv(
            path, index=False
        )
    pd.DataFrame({**films, "VGG16": labels}).to_csv(results / "clean.csv", index=False)
    (results / "examples").mkdir()
    film = np.linspace(0, 1, 8 * 8 * 3, dtype=np.float32).reshape(8, 8, 3)
    np.savez(
        results / "examples/fgnm.npz",
        original=film,
        adversarial=np.stack([film, film]),
        label=0,
        film=3,
        strengths=[0.003, 0.03],
        predictions=[0, 1, 2],
        confidences=np.float32([0.9, 0.8, 0.7]),
    )
    return ["--results", str(root / "results"), "--models", str(root / "model")]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Run the script once; return its folder, its arguments and what it printed."""
    root = tmp_path_factory.mktemp("stage4")
    arguments = write_inputs(root)
    done = call(arguments, PYTHONHASHSEED="1")
    assert (done.returncode, done.stderr) == (0, "")
    return root, arguments, done.stdout


def call(arguments, **environment):
    """Run the script in a process of its own."""
    return subprocess.run(
        [sys.executable, str(ROOT / "data_figure.py"), *arguments],
        cwd=ROOT,
        text=True,
        capture_output=True,
        env={**os.environ, **environment},
    )


def test_writes_every_table_and_figure_and_says_where(finished):
    root, _, printed = finished
    written = {
        str(path.relative_to(root / "results"))
        for folder in ("tables", "figures")
        for path in (root / "results" / folder).iterdir()
    } | {"report.html"}
    assert written == {*TABLES, *FIGURES, "tables/manifest.json"}
    results = root / "results"
    assert printed.splitlines()[-3:] == [
        f"wrote {len(TABLES) // 3} tables (CSV, Markdown, LaTeX) to {results / 'tables'}",
        f"wrote 7 figures (PNG, PDF) to {results / 'figures'}",
        f"open {results / 'report.html'}",
    ]


def test_prints_the_white_box_summary(finished):
    lines = finished[2].splitlines()
    start = lines.index("Table II, white-box: accuracy (%) of VGG16 on 6 films, condition 'paper'")
    assert [line.split() for line in lines[start + 1 : start + 4 : 2]] == [
        ["strength", "FGSM", "FGNM"],
        ["0.001", "66.67", "33.33"],
    ]


def test_prints_and_writes_the_sentences(finished):
    root, _, printed = finished
    sentence = (
        "At equal strength, single-step attacks on VGG16 itself: no-sign leaves fewer films right in 0 of 1 comparison, "
        "sign in 0; 1 cannot be told apart."
    )
    assert sentence in printed.splitlines()
    assert f"- {sentence}" in (root / "results/tables/summary.md").read_text().splitlines()


@pytest.fixture(scope="module")
def seeded(tmp_path_factory):
    """Run the script on a parent folder of two runs, an old name and one of data and model seed; return folder and output."""
    root = tmp_path_factory.mktemp("seeds")
    for name, fgsm in ((OLD_RUN, 4), (RUN, 6)):
        write_inputs(root, f"results/{name}", f"model/{name}", fgsm)
    done = call(["--results", str(root / "results"), "--models", str(root / "model")])
    assert (done.returncode, done.stderr) == (0, "")
    return root, done.stdout


def test_each_seed_gets_its_own_tables_and_the_parent_their_spread(seeded):
    root, printed = seeded
    own = [f"{name}/{path}" for name in (OLD_RUN, RUN) for path in TABLES + FIGURES]
    found = {
        str(path.relative_to(root / "results"))
        for pattern in ("tables/*", "figures/*", "report.html")
        for path in root.glob(f"results/**/{pattern}")
    }
    manifests = {f"{folder}tables/manifest.json" for folder in ("", f"{OLD_RUN}/", f"{RUN}/")}
    assert found == {*own, *SEEDS, *manifests}
    reports = [root / "results" / folder / "report.html" for folder in (OLD_RUN, RUN, "")]
    assert [line for line in printed.splitlines() if line.startswith("open ")] == [f"open {report}" for report in reports]
    spread = pd.read_csv(root / "results/tables/seeds.csv").query("attack == 'fgsm'").iloc[0]
    assert (spread["runs"], spread["mean_percent"]) == (2, pytest.approx(100 * 5 / 6))
    assert "over 2 runs: of 1 comparison no-sign is better in every run at 1, sign in every run at 0; " in printed


def test_a_seed_has_the_tables_that_it_has_alone(seeded, tmp_path):
    root, _ = seeded
    words = ["--results", str(root / "results" / RUN), "--models", str(root / "model" / RUN), "--out", str(tmp_path)]
    assert call(words).returncode == 0
    for path in TABLES + FIGURES:
        assert sha256_of_file(tmp_path / path) == sha256_of_file(root / "results" / RUN / path), path


def test_a_parent_with_a_run_of_its_own_gets_both_and_a_seed_that_is_gone_leaves_nothing_behind(tmp_path, capsys):
    arguments = write_inputs(tmp_path) + ["--out", str(tmp_path / "out")]
    write_inputs(tmp_path, "results/seed-0", "model/seed-0")
    for folder in ("model", "model/seed-0", "results", "results/seed-0"):
        write_manifest(tmp_path / folder, stage="any", settings={}, started=time.time())
    assert run(data_figure.main, arguments) == 0
    page = (tmp_path / "out/report.html").read_text()
    for title in ("Training of the classifiers", "Training of the classifiers seed-0", "Attacks", "Attacks seed-0"):
        assert f"{title}</" in page, title
    wanted = [path for path in TABLES + FIGURES + SEEDS if "runs" not in path]  # one seed has none to compare with
    assert {path for path in wanted if not (tmp_path / "out" / path).exists()} == set()
    assert (tmp_path / "out/seed-0/tables/table2.csv").exists()
    (tmp_path / "results/seed-0").rename(tmp_path / "elsewhere")
    capsys.readouterr()
    assert run(data_figure.main, arguments) == 0
    assert not (tmp_path / "out/tables/seeds.csv").exists() and not (tmp_path / "out/seed-0/tables/table2.csv").exists()
    assert (tmp_path / "out/tables/table2.csv").exists()
    assert f"removed {tmp_path / 'out/tables/seeds.csv'}" in capsys.readouterr().out


def test_a_seed_without_its_models_is_named_before_anything_is_written(tmp_path, capsys):
    arguments = write_inputs(tmp_path)
    write_inputs(tmp_path, "results/seed-0", "elsewhere")
    assert run(data_figure.main, arguments) == 1
    assert "model/seed-0/models.csv: not found; run train_finetune.py" in capsys.readouterr().err
    assert not (tmp_path / "results/tables").exists()


def test_says_what_is_missing(finished):
    assert "not run: VGG16/paper: bim at 0.0005 0.0015 0.002 0.0025 0.003\n" in finished[2]
    assert "not run: VGG16/paper: binm pgd pgdnm at 0.0005 0.001 0.0015 0.002 0.0025 0.003\n" in finished[2]
    assert "not made: examples/pgdnm.npz, so Figure 3 is skipped\n" in finished[2]


def test_missing_cells_are_those_of_the_paper_and_those_beside_the_found_ones(results):
    write_cell(results, "VGG16/paper/fgsm/0.5", VGG16=[0, 0, 0, 0])
    cells = missing_cells(run_in(results)).items()
    missing = {f"{sweep}/{attack}": list(absent) for (sweep, absent), attacks in cells for attack in attacks}
    assert missing["VGG16/paper/fgnm"] == [0.0005, 0.002, 0.004, 0.005, 0.006, 0.008, 0.01, 0.015, 0.02, 0.025, 0.03, 0.5]
    assert 0.5 not in missing["VGG16/paper/fgsm"]
    assert missing["VGG16/paper/bim"] == [0.0005, 0.001, 0.0015, 0.002, 0.0025, 0.003]


def test_same_cells_give_the_same_bytes(finished, tmp_path):
    root, arguments, _ = finished
    assert call([*arguments, "--out", str(tmp_path)], PYTHONHASHSEED="2").returncode == 0
    for path in TABLES + FIGURES:
        assert sha256_of_file(tmp_path / path) == sha256_of_file(root / "results" / path), path


def test_figures_have_300_dots_an_inch(finished):
    from PIL import Image

    with Image.open(finished[0] / "results/figures/figure4.png") as image:
        assert image.info["dpi"] == pytest.approx((300, 300), abs=0.1) and image.width == round(7.16 * 300)


def test_files_that_can_no_longer_be_made_are_removed_unless_changed(tmp_path):
    folder = tmp_path / "tables"
    names = [folder / "table2.md", folder / "table3.md", tmp_path / "figures/figure2.png", tmp_path / "figures/figure3.png"]
    for path in names:
        path.parent.mkdir(exist_ok=True)
        path.write_text(path.name)
    write_manifest(folder, stage="data_figure.py", settings={}, outputs=names, started=time.time())
    names[3].write_text("drawn by hand")
    # A command that was stopped among its writes leaves what it was about to write beside what there was.
    earlier = publish.as_listed(publish.earlier_files(folder), folder)
    write_manifest(
        folder,
        stage="data_figure.py",
        settings={},
        outputs=names,
        known_hashes=dict.fromkeys(names, "coming"),
        started=time.time(),
        earlier=earlier,
    )
    assert publish.remove_stale(publish.earlier_files(folder), names[:1]) == names[1:3]
    assert [path.exists() for path in names] == [True, False, False, True]


@pytest.mark.parametrize(
    "spoil, complaint",
    [
        (lambda root: (root / "model/models.csv").unlink(), "models.csv: not found; run train_finetune.py"),
        (lambda root: (root / "results/clean.csv").unlink(), "clean.csv: not found; run attack.py"),
        (
            lambda root: (root / "results/attacks").rename(root / "results/elsewhere"),
            "attacks: no finished cells; run attack.py",
        ),
        (
            lambda root: (root / "results/attacks/VGG16/paper/bim/0.001.csv").write_text("film,label\n0,0\n"),
            "bim/0.001.csv: lacks",
        ),
        (lambda root: (root / "results/examples/fgnm.npz").write_bytes(b"PK"), "fgnm.npz: not a complete example"),
    ],
)
def test_unusable_input_gives_one_line_and_status_1(tmp_path, capsys, spoil, complaint):
    arguments = write_inputs(tmp_path)
    spoil(tmp_path)
    assert run(data_figure.main, arguments) == 1
    message = capsys.readouterr().err
    assert message.startswith("error: ") and complaint in message and message.count("\n") == 1
    assert not (tmp_path / "results/tables").exists()


def test_help_and_wrong_usage():
    done = call(["--help"])
    assert done.returncode == 0 and "--results" in done.stdout
    assert call(["--result-folder", "x"]).returncode == 2


def modules_after(code):
    """Return the names of the modules that a fresh process holds after running some code."""
    code += "; import sys; print(*sys.modules)"
    return set(subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True).stdout.split())


def test_nothing_slow_is_imported_before_the_arguments_are_parsed():
    modules = modules_after("import data_figure; data_figure.parse_args([])")
    assert "data_figure" in modules and not modules & {"numpy", "pandas", "matplotlib", "statsmodels"}


def test_nothing_of_keras_is_imported():
    modules = modules_after("import data_figure, nosign.publish")
    assert "nosign.output.plot" in modules and not modules & {"keras", "tensorflow", "jax", "torch", "statsmodels"}


def give_logits(path, models=("VGG16", "VGG16_8bit"), **more):
    """Rewrite a file of rows with each model's logits in place of the class that it sees, as stage 3 writes them."""
    frame = pd.read_csv(path)
    for model in frame.columns.intersection(models):
        logits = pd.DataFrame(10 * np.eye(3)[frame.pop(model)] - 3.25, columns=logit_columns(model))
        frame = pd.concat([frame, logits], axis=1)
    frame.assign(**more).to_csv(path, index=False)


def test_rows_with_logits_give_the_tables_of_rows_with_classes(finished, tmp_path):
    arguments = write_inputs(tmp_path)
    # No patient is known in rows with classes, nor a collection, after which one table is ordered.
    give_logits(tmp_path / "results/clean.csv", collection="covidx/sirm", patient=None, group=range(6))
    for path in (tmp_path / "results/attacks").rglob("*.csv"):
        give_logits(path, linf_8bit=0.0, l2_8bit=0.0, ssim_8bit=1.0)
    turning = (
        "film,label,target,strength,status,l2,linf,ssim,cosine,right_again,grid\n"
        "3,1,VGG16,0.001,turned,0.1,0.001,0.99,0.7,0,rrttttttttttt\n"
    )
    (tmp_path / "results/attacks/VGG16/paper/fgsm/turning.csv").write_text(turning)
    done = call(arguments)
    assert (done.returncode, done.stderr) == (0, "")
    for table in (name for name in TABLES if "collections" not in name):
        assert (tmp_path / "results" / table).read_bytes() == (finished[0] / "results" / table).read_bytes(), table


@pytest.mark.parametrize(
    "name, column", [("clean.csv", "VGG16_logit1"), ("attacks/VGG16/paper/fgsm/0.001.csv", "VGG16_8bit_logit0")]
)
def test_logits_that_are_no_numbers_are_refused(tmp_path, name, column):
    arguments = write_inputs(tmp_path)
    give_logits(tmp_path / "results" / name)
    frame = pd.read_csv(tmp_path / "results" / name)
    frame.loc[2, column] = np.nan
    frame.to_csv(tmp_path / "results" / name, index=False)
    done = call(arguments)
    assert done.returncode == 1 and f"{name}: line 4: a field is empty or not a number" in done.stderr


@pytest.mark.parametrize("name, column", [("clean.csv", "VGG16"), ("attacks/VGG16/paper/fgsm/0.001.csv", "l2")])
def test_rows_that_were_changed_since_are_refused(tmp_path, capsys, name, column):
    arguments, results = write_inputs(tmp_path), tmp_path / "results"
    for folder, rows_of in ((results, "*.csv"), (results / "attacks/VGG16/paper", "*/*.csv")):
        write_manifest(folder, stage="attack.py", settings={}, outputs=sorted(folder.glob(rows_of)), started=time.time())
    assert run(data_figure.main, arguments) == 0
    frame = pd.read_csv(results / name)
    frame.assign(**{column: 2 - frame[column]}).to_csv(results / name, index=False)  # as good as any for every other check
    capsys.readouterr()
    assert run(data_figure.main, arguments) == 1
    message = capsys.readouterr().err
    assert message.count("\n") == 1 and f"{name}: holds something else than its manifest recorded" in message
