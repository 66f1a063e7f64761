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

from nosign.errors import run


@dataclass(frozen=True)
class Inputs:
    """The results of one run, read: what tables, figures and sentences derive from.

    Attributes:
        results, models_folder: what `attack.py` and `train_finetune.py` wrote.
        out: where `tables/`, `figures/` and the report go.
        films_are, models, clean_films, sweep: what `recorded_films`, `read_models`, `read_clean` and `read_films` of
            `nosign.records` returned.
        clean, cells: what `clean_accuracy` and `count_cells` of `nosign.tables` made of them.
        comparison, confusion: what `compare_directions` and `count_confusion` of `nosign.statistics` made of them.
        examples: dict from attack to `nosign.figures.Example` or None.
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
    from nosign.arguments import seed_folders
    from nosign.cells import CLEAN_ROWS

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
    from nosign import cells, figures, records, statistics, tables

    table_one, clean_films = records.read_models(models), records.read_clean(results)
    sweep = records.read_films(results, clean_films)
    examples = {attack: figures.read_example(results, attack) for attack in figures.EXAMPLE_FIGURES}
    return Inputs(
        results,
        models,
        out,
        records.recorded_films(results),
        table_one,
        clean_films,
        sweep,
        clean=tables.clean_accuracy(clean_films),
        cells=tables.count_cells(sweep, clean_films),
        comparison=statistics.compare_directions(sweep),
        confusion=statistics.count_confusion(sweep, clean_films),
        examples=examples,
        files=[
            models / "models.csv",
            results / cells.CLEAN_ROWS,
            *(path for path in [results / cells.CLEAN_STORED] if path.exists()),
            *dict.fromkeys(path for cell in sweep for path in cells.files_of(cell.path)),
            *(cells.example_path(results, attack) for attack, example in examples.items() if example),
        ],
    )


def make_tables(inputs):
    """Return the list of a run's tables, `nosign.tables.Table`."""
    from nosign import records, storing, tables

    films_are = inputs.films_are
    stored_clean = storing.count_stored_clean(inputs.results, inputs.clean_films)
    made = [
        tables.models_table(inputs.models),
        tables.paper_table(inputs.models, inputs.cells),
        tables.clean_table(inputs.clean, films_are),
    ]
    for (source, condition), part in inputs.cells.groupby(["source", "condition"], sort=False):
        steps = records.recorded_steps(inputs.results, source, condition)
        made += [
            tables.attack_table(part, inputs.clean, iterative, steps, inputs.comparison, films_are)
            for iterative in (False, True)
        ]
        made += [
            tables.success_table(part, films_are),
            tables.comparison_table(of_sweep(inputs.comparison, source, condition), films_are),
            tables.confusion_table(of_sweep(inputs.confusion, source, condition), films_are),
        ]
    if stored_clean is not None:
        made.append(storing.stored_clean_table(stored_clean, films_are))
    made += [tables.transfer_table(part, films_are) for _, part in inputs.cells.groupby("condition", sort=False)]
    return [table for table in made if table is not None]


def of_sweep(frame, source, condition):
    """Return a frame's rows of one source and condition."""
    return frame[(frame["source"] == source) & (frame["condition"] == condition)]


def make_figures(inputs):
    """Return a run's figures, a dict from the file's name, without ending, to the matplotlib figure."""
    from nosign import figures, tables

    made = {"figure1": figures.draw_workflow()}
    for attack, example in inputs.examples.items():
        if example is not None:
            made[figures.EXAMPLE_FIGURES[attack]] = figures.draw_example(example, inputs.films_are)
    for (source, condition), part in inputs.cells.groupby(["source", "condition"], sort=False):
        suffix = tables.condition_suffix(source, condition)
        made["figure4" + suffix] = figures.draw_accuracy(part, inputs.clean, inputs.films_are)
        made["confusion" + suffix] = figures.draw_confusion(of_sweep(inputs.confusion, source, condition), inputs.films_are)
    for condition, part in inputs.cells.groupby("condition", sort=False):
        matrix = tables.transfer_cells(part)
        if not matrix.empty:
            name = "transfer" + tables.condition_suffix(tables.PAPER_CONDITION[0], condition)
            made[name] = figures.draw_transfer(matrix, inputs.films_are)
    return made


def make_sentences(inputs):
    """Return what a run's tests and confusion matrices say, two groups: (heading, list of sentences)."""
    from nosign import statistics

    return [
        ("Sign against no-sign", list(statistics.summarise(inputs.comparison)["sentence"])),
        ("What COVID-19 turns into", list(statistics.turned_sentences(inputs.confusion))),
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
        cells, clean, films_are: what `read_films`, `read_clean` and `recorded_films` of `nosign.records` returned.
    """
    from nosign import effort, grey, storing, sweeps, theory, visibility

    finished = sweeps.finished_sweeps(cells, clean, films_are)
    descriptions = (
        ("On equal terms", effort.describe_effort),
        ("Steps and the gradient", theory.describe_theory),
        ("Where attacks become visible", visibility.describe_boundary),
        ("What storing leaves", storing.describe_storing),
    )
    parts = [(heading, describe(sweep)) for sweep in finished for heading, describe in descriptions]
    parts += [("Grey perturbations", grey.describe_grey(*pair)) for pair in grey.grey_twins(finished)]
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

    from nosign import figures, tables, visibility
    from nosign.attacks import ATTACKS

    for source, condition in cells[["source", "condition"]].drop_duplicates().itertuples(index=False):
        medians = visibility.median_boundaries(made, source, condition)
        figure = drawn["figure4" + tables.condition_suffix(source, condition)]
        for axes in figure.get_axes() if len(medians) else ():
            steps = medians["attack"].map(lambda name: "iterative" if ATTACKS[name].iterative else "single-step")
            with matplotlib.rc_context(figures.STYLE):
                visibility.mark_boundaries(axes, medians[steps == axes.get_label().split(" ")[0]])
        if len(medians):
            figure.supxlabel(f"{figure.get_supxlabel()}\n{visibility.MARKS_NOTE}", fontsize=figures.SMALL_POINTS)


def make_spread(runs):
    """Return what `make_own` does, on how several runs, a list of `Inputs`, differ."""
    from nosign import figures, statistics, tables

    spread = statistics.spread_over_runs([(inputs.cells, inputs.clean) for inputs in runs])
    made, drawn = [], {}
    for (source, condition), part in spread.groupby(["source", "condition"], sort=False):
        made.append(tables.seeds_table(part, runs[0].films_are))
        drawn[made[-1].name] = figures.draw_seeds(part, runs[0].films_are)
    directions = statistics.directions_over_runs([(inputs.cells, inputs.clean) for inputs in runs])
    made += [tables.runs_table(part, runs[0].films_are) for _, part in directions.groupby(["source", "condition"], sort=False)]
    return made, drawn, [("Over several seeds", statistics.directions_sentences(directions))]


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
    from nosign import figures, provenance, report, statistics, tables

    made, drawn, sentences = products
    written = [path for table in made for path in tables.write_table(out / "tables", table)]
    counts = [statistics.summarise(inputs.comparison) for inputs in runs if inputs.out == out]
    written += tables.write_summary(out / "tables", sentences, counts[0] if counts else None)
    written += figures.save_figures(drawn, out / "figures")
    pictures = [(name, figures.figure_caption(name), out / "figures" / f"{name}.png") for name in drawn]
    folders = {"" if inputs.out == out else inputs.results.name: (inputs.results, inputs.models_folder) for inputs in runs}
    written.append(report.write_report(out / "report.html", folders, made, pictures, sentences))
    removed = remove_stale(out / "tables", [*written, *elsewhere])
    provenance.write_manifest(
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
    from nosign.provenance import read_manifest, sha256_of_file

    kept, removed = {path.resolve() for path in written}, []
    for name, digest in (read_manifest(folder) or {}).get("outputs", {}).items():
        path = (folder / name).resolve()
        if path not in kept and path.is_file() and sha256_of_file(path) == digest:
            path.unlink()
            removed.append(path)
    return removed


def print_missing(inputs):
    """Say which cells and examples of a full sweep are not there."""
    from nosign import figures, tables

    for (source, condition, attack), strengths in tables.missing_cells(inputs.cells).items():
        print(f"not run: {source}/{condition}/{attack}: {' '.join(f'{strength:g}' for strength in strengths)}")
    for attack, example in inputs.examples.items():
        if example is None:
            print(f"not made: examples/{attack}.npz, so {figures.EXAMPLE_FIGURES[attack]} is skipped")


def print_summary(cells):
    """Print the white-box accuracies of Table II."""
    from nosign import tables

    for (source, condition), part in cells.groupby(["source", "condition"], sort=False):
        pairs = tables.attack_pairs(iterative=False)
        own = part[part["white_box"] & part["attack"].isin(sum(pairs, ()))]
        if own.empty:
            continue
        grid = tables.accuracy_grid(own, pairs, "accuracy_percent").droplevel("target", axis=1)
        print(f"\nTable II, white-box: accuracy (%) of {source} on {own['films'].iloc[0]} films, condition '{condition}'")
        print(tables.plain_grid(grid))


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
