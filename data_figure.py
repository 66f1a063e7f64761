"""Stage 4: the predictions that the stages before wrote -> every table and figure, in seconds.

    python data_figure.py --results results --models model

Writes `tables/` (CSV, Markdown, LaTeX; what the tests say in words: summary.md), `figures/` (PNG, PDF) and `report.html`,
which holds them all and a viewer of single films. An unfinished sweep gives tables with gaps. Where the results hold runs
with several seeds, `seed-<d>-<m>/`, each run gets its own in its folder, and the results folder gets the spread over the runs.
"""

import argparse
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nosign.script import run


@dataclass(frozen=True)
class Inputs:
    """The results of one run, read: what tables, figures and sentences derive from.

    Attributes:
        results, models_folder: what `attack.py` and `train_finetune.py` wrote.
        out: where `tables/`, `figures/` and the report go.
        films_are, models, clean_films, sweep: what `recorded_films`, `read_models`, `read_clean` and `read_films` of
            `nosign.rows` returned.
        clean, cells: what `clean_accuracy` and `count_cells` of `nosign.tables` made of them.
        comparison, confusion: what `compare_directions` and `count_confusion` of `nosign.statistics` made of them.
        examples: dict from attack to `nosign.rows.Example` or None.
        files: paths of what was read.
    """

    results: Path
    models_folder: Path
    out: Path
    films_are: str
    models: Any
    clean_films: Any
    sweep: list
    clean: Any
    cells: Any
    comparison: Any
    confusion: Any
    examples: dict
    files: list


def parse_args(argv=None):
    """Return the command line's settings."""
    parser = argparse.ArgumentParser(
        prog="python data_figure.py", description="Make every table and figure from the finished cells of a sweep."
    )
    parser.add_argument(
        "--results", type=Path, default=Path("results"), metavar="DIR", help="what attack.py wrote (default: %(default)s)"
    )
    parser.add_argument(
        "--models", type=Path, default=Path("model"), metavar="DIR", help="what train_finetune.py wrote (default: %(default)s)"
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="where tables/ and figures/ go (default: as --results)")
    return parser.parse_args(argv)


def find_runs(results):
    """Return the folders of the runs below a results folder: itself if it holds one, then `seed-*` in ascending order."""
    from nosign.rows import CLEAN_ROWS
    from nosign.script import seed_folders

    seeds = [folder for folder in seed_folders(results) if (folder / CLEAN_ROWS).exists()]
    own = [results] if not seeds or (results / CLEAN_ROWS).exists() else []
    return own + seeds


def read_inputs(results, models, out):
    """Read one run.

    Args:
        results, models: its folders.
        out: where its `tables/` and `figures/` go.

    Returns:
        `Inputs`.

    Raises:
        nosign.errors.UserError: a file is missing or unusable.
    """
    from nosign import rows
    from nosign.findings import accuracy, classifiers, confusion, directions, examples

    table_one, clean_films = rows.read_models(models), rows.read_clean(results)
    sweep = rows.read_films(results, clean_films)
    examples = {attack: rows.read_example(results, attack) for attack in examples.EXAMPLE_FIGURES}
    return Inputs(
        results,
        models,
        out,
        rows.recorded_films(results),
        table_one,
        clean_films,
        sweep,
        clean=classifiers.clean_accuracy(clean_films),
        cells=accuracy.count_cells(sweep, clean_films),
        comparison=directions.compare_directions(sweep),
        confusion=confusion.count_confusion(sweep, clean_films),
        examples=examples,
        files=[
            models / "models.csv",
            results / rows.CLEAN_ROWS,
            *(path for path in [results / rows.CLEAN_STORED] if path.exists()),
            *dict.fromkeys(path for cell in sweep for path in rows.files_of(cell.path)),
            *(rows.example_path(results, attack) for attack, example in examples.items() if example),
        ],
    )


def make_tables(inputs):
    """Return the list of a run's tables, `nosign.output.table.Table`."""
    from nosign import rows
    from nosign.findings import accuracy, classifiers, comparison_with_paper, confusion, directions, storage, transfer

    films_are = inputs.films_are
    stored_clean = storage.count_stored_clean(inputs.results, inputs.clean_films)
    made = [
        classifiers.models_table(inputs.models),
        comparison_with_paper.paper_table(inputs.models, inputs.cells),
        classifiers.clean_table(inputs.clean, films_are),
    ]
    for (source, condition), part in inputs.cells.groupby(["source", "condition"], sort=False):
        steps = rows.recorded_steps(inputs.results, source, condition)
        made += [
            accuracy.attack_table(part, inputs.clean, iterative, steps, inputs.comparison, films_are)
            for iterative in (False, True)
        ]
        made += [
            accuracy.success_table(part, films_are),
            directions.comparison_table(of_sweep(inputs.comparison, source, condition), films_are),
            confusion.confusion_table(of_sweep(inputs.confusion, source, condition), films_are),
        ]
    if stored_clean is not None:
        made.append(storage.stored_clean_table(stored_clean, films_are))
    made += [transfer.transfer_table(part, films_are) for _, part in inputs.cells.groupby("condition", sort=False)]
    return [table for table in made if table is not None]


def of_sweep(frame, source, condition):
    """Return a frame's rows of one source and condition."""
    return frame[(frame["source"] == source) & (frame["condition"] == condition)]


def make_figures(inputs):
    """Return a run's figures, a dict from the file's name, without ending, to the matplotlib figure."""
    from nosign import paper
    from nosign.findings import accuracy, confusion, examples, transfer, workflow
    from nosign.output import words

    made = {"figure1": workflow.draw_workflow()}
    for attack, example in inputs.examples.items():
        if example is not None:
            made[examples.EXAMPLE_FIGURES[attack]] = examples.draw_example(example, inputs.films_are)
    for (source, condition), part in inputs.cells.groupby(["source", "condition"], sort=False):
        suffix = words.condition_suffix(source, condition)
        made["figure4" + suffix] = accuracy.draw_accuracy(part, inputs.clean, inputs.films_are)
        made["confusion" + suffix] = confusion.draw_confusion(of_sweep(inputs.confusion, source, condition), inputs.films_are)
    for condition, part in inputs.cells.groupby("condition", sort=False):
        matrix = transfer.transfer_cells(part)
        if not matrix.empty:
            name = "transfer" + words.condition_suffix(paper.PAPER_CONDITION[0], condition)
            made[name] = transfer.draw_transfer(matrix, inputs.films_are)
    return made


def make_sentences(inputs):
    """Return what a run's tests and confusion matrices say, two groups: (heading, list of sentences)."""
    from nosign.findings import confusion, directions

    return [
        ("Sign against no-sign", list(directions.summarise(inputs.comparison)["sentence"])),
        ("What COVID-19 turns into", list(confusion.turned_sentences(inputs.confusion))),
    ]


def make_everything(out, runs):
    """Return what one folder gets: (list of tables, dict of figures, list of groups of sentences).

    Args:
        out: the folder.
        runs: list of `Inputs`: the folder's own run, if it has one, and those of the seeds below it.
    """
    parts = [make_own(inputs) for inputs in runs if inputs.out == out]
    seeds = [inputs for inputs in runs if inputs.out != out]
    if seeds:
        parts.append(make_spread(seeds))
    made, drawn, sentences = zip(*parts)
    return sum(made, []), {name: figure for part in drawn for name, figure in part.items()}, sum(sentences, [])


def make_own(inputs):
    """Return what a run gives: (list of tables, dict of figures, list of groups of sentences)."""
    made, drawn = make_tables(inputs), make_figures(inputs)
    tested, turned = make_sentences(inputs)
    more, more_drawn, told = describe_sweeps(inputs.sweep, inputs.clean_films, inputs.films_are)
    mark_boundaries(drawn, more, inputs.cells)
    return made + more, drawn | more_drawn, [tested, *told, turned]


def describe_sweeps(cells, clean, films_are):
    """Return what `make_own` does, on effort, theory, visibility, storing and grey perturbations, where it is on record.

    Args:
        cells, clean, films_are: what `read_films`, `read_clean` and `recorded_films` of `nosign.rows` returned.
    """
    from nosign import finished
    from nosign.findings import boundary, effort, grey, steps, storage

    sweeps = finished.finished_sweeps(cells, clean, films_are)
    descriptions = (
        ("On equal terms", effort.describe_effort),
        ("Steps and the gradient", steps.describe_theory),
        ("Where attacks become visible", boundary.describe_boundary),
        ("What storing leaves", storage.describe_storing),
    )
    parts = [(heading, describe(sweep)) for sweep in sweeps for heading, describe in descriptions]
    parts += [("Grey perturbations", grey.describe_grey(*pair)) for pair in grey.grey_twins(sweeps)]
    made, drawn, told = [], {}, {}
    for heading, (tables, figures, sentences) in parts:
        made += tables
        drawn |= figures
        told.setdefault(heading, []).extend(sentences)
    return made, drawn, [(heading, sentences) for heading, sentences in told.items() if sentences]


def mark_boundaries(drawn, made, cells):
    """Mark in every Figure 4 where its attacks become visible.

    Args:
        drawn: dict of figures.
        made: list of tables that may hold the boundary tables.
        cells: what `count_cells` of `nosign.tables` returned.
    """
    import matplotlib

    from nosign.attacks.catalogue import ATTACKS
    from nosign.findings import boundary
    from nosign.output import plot, words

    for source, condition in cells[["source", "condition"]].drop_duplicates().itertuples(index=False):
        medians = boundary.median_boundaries(made, source, condition)
        figure = drawn["figure4" + words.condition_suffix(source, condition)]
        for axes in figure.get_axes() if len(medians) else ():
            steps = medians["attack"].map(lambda name: "iterative" if ATTACKS[name].iterative else "single-step")
            with matplotlib.rc_context(plot.STYLE):
                boundary.mark_boundaries(axes, medians[steps == axes.get_label().split(" ")[0]])
        if len(medians):
            figure.supxlabel(f"{figure.get_supxlabel()}\n{boundary.MARKS_NOTE}", fontsize=plot.SMALL_POINTS)


def make_spread(runs):
    """Return what `make_own` does, on how several runs, a list of `Inputs`, differ."""
    from nosign.findings import directions, over_runs

    spread = over_runs.spread_over_runs([(inputs.cells, inputs.clean) for inputs in runs])
    made, drawn = [], {}
    for (source, condition), part in spread.groupby(["source", "condition"], sort=False):
        made.append(over_runs.seeds_table(part, runs[0].films_are))
        drawn[made[-1].name] = over_runs.draw_seeds(part, runs[0].films_are)
    directions = over_runs.directions_over_runs([(inputs.cells, inputs.clean) for inputs in runs])
    made += [
        over_runs.runs_table(part, runs[0].films_are) for _, part in directions.groupby(["source", "condition"], sort=False)
    ]
    return made, drawn, [("Over several seeds", over_runs.directions_sentences(directions))]


def publish(out, runs, products, settings, started, elsewhere=()):
    """Write what one folder gets and its manifest, and remove what went stale.

    Args:
        out: the folder; `tables/`, `figures/` and `report.html` are written there.
        runs, products: what `make_everything` took and returned.
        settings, started: for the manifest.
        elsewhere: paths written below the folders of seeds; the manifest lists them too, so that they can go stale.

    Returns:
        (written paths, removed paths).
    """
    from nosign import manifest
    from nosign.findings import directions
    from nosign.output import plot, table
    from nosign.output.report import page

    made, drawn, sentences = products
    written = [path for table in made for path in table.write_table(out / "tables", table)]
    counts = [directions.summarise(inputs.comparison) for inputs in runs if inputs.out == out]
    written += table.write_summary(out / "tables", sentences, counts[0] if counts else None)
    written += plot.save_figures(drawn, out / "figures")
    pictures = [(name, plot.figure_caption(name), out / "figures" / f"{name}.png") for name in drawn]
    folders = {"" if inputs.out == out else inputs.results.name: (inputs.results, inputs.models_folder) for inputs in runs}
    written.append(page.write_report(out / "report.html", folders, made, pictures, sentences))
    removed = remove_stale(out / "tables", [*written, *elsewhere])
    manifest.write_manifest(
        out / "tables",
        stage="data_figure.py",
        settings=settings,
        started=started,
        inputs=[path for inputs in runs for path in inputs.files],
        outputs=[*elsewhere, *written],
    )
    return written, removed


def remove_stale(folder, written):
    """Remove tables and figures that an earlier run wrote and that this one, from other inputs, did not.

    Args:
        folder: `tables/`, whose manifest lists what the earlier run wrote.
        written: this run's paths.

    Returns:
        The removed paths; files that somebody has changed since are kept.
    """
    from nosign.files import sha256_of_file
    from nosign.manifest import read_manifest

    kept, removed = {path.resolve() for path in written}, []
    for name, digest in (read_manifest(folder) or {}).get("outputs", {}).items():
        path = (folder / name).resolve()
        if path not in kept and path.is_file() and sha256_of_file(path) == digest:
            path.unlink()
            removed.append(path)
    return removed


def print_missing(inputs):
    """Say which cells and examples of a full sweep are not there."""
    from nosign.findings import accuracy, examples

    for (source, condition, attack), strengths in accuracy.missing_cells(inputs.cells).items():
        print(f"not run: {source}/{condition}/{attack}: {' '.join(f'{strength:g}' for strength in strengths)}")
    for attack, example in inputs.examples.items():
        if example is None:
            print(f"not made: examples/{attack}.npz, so {examples.EXAMPLE_FIGURES[attack]} is skipped")


def print_summary(cells):
    """Print the white-box accuracies of Table II."""
    from nosign.findings import accuracy

    for (source, condition), part in cells.groupby(["source", "condition"], sort=False):
        pairs = catalogue.attack_pairs(iterative=False)
        own = part[part["white_box"] & part["attack"].isin(sum(pairs, ()))]
        if own.empty:
            continue
        grid = accuracy.accuracy_grid(own, pairs, "accuracy_percent").droplevel("target", axis=1)
        print(f"\nTable II, white-box: accuracy (%) of {source} on {own['films'].iloc[0]} films, condition '{condition}'")
        print(accuracy.plain_grid(grid))


def print_paths(written, removed):
    """Print what was removed and what was written."""
    for path in removed:
        print(f"removed {path}: nothing to make it from any more")
    for path in written:
        print(path)


def main(argv=None):
    """Write tables and figures; return 0."""
    args = parse_args(argv)
    started = time.time()
    out = args.out or args.results
    settings = {"results": str(args.results), "models": str(args.models)}
    places = [folder.relative_to(args.results) for folder in find_runs(args.results)]
    # All is read before anything is written: a damaged file leaves the earlier tables as they are.
    runs = [read_inputs(args.results / place, args.models / place, out / place) for place in places]
    written, removed = [], []
    for folder, behind in [*((inputs.out, [inputs]) for inputs in runs if inputs.out != out), (out, runs)]:
        products = make_everything(folder, behind)
        for inputs in behind:
            if inputs.out == folder:
                if len(runs) > 1:
                    print(f"{inputs.results}:")
                print_missing(inputs)
                print_summary(inputs.cells)
        print("", *products[-1][0][1], f"more of this: {folder / 'tables' / 'summary.md'}", "", sep="\n")
        done = publish(folder, behind, products, settings, started, written if folder == out else ())
        written, removed = written + done[0], removed + done[1]
    print_paths(written, removed)
    return 0


if __name__ == "__main__":
    raise SystemExit(run(main))
