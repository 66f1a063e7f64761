"""Stage 4: the predictions that the stages before wrote -> every table and figure, in seconds.

    python data_figure.py --results results --models model

Writes `tables/` (CSV, Markdown, LaTeX) and `figures/` (PNG, PDF). An unfinished sweep gives tables with gaps.
"""

import argparse
import time
from pathlib import Path

from nosign.errors import run


def parse_args(argv=None):
    """Return the command line's settings."""
    parser = argparse.ArgumentParser(description="Make every table and figure from the finished cells of a sweep.")
    parser.add_argument("--results", type=Path, default=Path("results"), metavar="DIR",
                        help="what attack.py wrote (default: %(default)s)")
    parser.add_argument("--models", type=Path, default=Path("model"), metavar="DIR",
                        help="what train_finetune.py wrote (default: %(default)s)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where tables/ and figures/ go (default: as --results)")
    return parser.parse_args(argv)


def make_tables(models, cells, clean, results):
    """Build every table: Table I, the comparison with the paper, Tables II and III of each condition.

    Args:
        models, cells, clean: what `read_models`, `read_cells` and `clean_accuracy` of `nosign.tables` returned.
        results: the results folder, for the sweeps' manifests.

    Returns:
        List of `nosign.tables.Table`.
    """
    from nosign import tables
    films_are = tables.recorded_films(results)
    made = [tables.models_table(models), tables.paper_table(models, cells)]
    for (source, condition), part in cells.groupby(["source", "condition"], sort=False):
        steps = tables.recorded_steps(results, source, condition)
        made += filter(None, (tables.attack_table(part, clean, iterative, steps, films_are) for iterative in (False, True)))
    made += filter(None, (tables.transfer_table(part, films_are) for _, part in cells.groupby("condition", sort=False)))
    return made


def make_figures(cells, clean, examples, films_are):
    """Draw every figure.

    Args:
        cells, clean: as for `make_tables`.
        examples: dict from attack to `nosign.figures.Example` or None.
        films_are: what `nosign.tables.recorded_films` returned.

    Returns:
        Dict from the figure's file name, without ending, to the matplotlib figure.
    """
    from nosign import figures, tables
    made = {"figure1": figures.draw_workflow()}
    for attack, example in examples.items():
        if example is not None:
            made[figures.EXAMPLE_FIGURES[attack]] = figures.draw_example(example, films_are)
    for (source, condition), part in cells.groupby(["source", "condition"], sort=False):
        made["figure4" + tables.condition_suffix(source, condition)] = figures.draw_accuracy(part, clean, films_are)
    for condition, part in cells.groupby("condition", sort=False):
        matrix = tables.transfer_cells(part)
        if not matrix.empty:
            name = "transfer" + tables.condition_suffix(tables.PAPER_CONDITION[0], condition)
            made[name] = figures.draw_transfer(matrix, films_are)
    return made


def input_files(results, models):
    """Return the paths of the files that tables and figures derive from."""
    from nosign import figures, tables
    examples = (results / "examples" / f"{attack}.npz" for attack in figures.EXAMPLE_FIGURES)
    return [models / "models.csv", results / "clean.csv", *(cell[-1] for cell in tables.find_cells(results)),
            *(path for path in examples if path.exists())]


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


def print_missing(cells, examples):
    """Say which cells and examples of a full sweep are not there."""
    from nosign import figures, tables
    for (source, condition, attack), strengths in tables.missing_cells(cells).items():
        print(f"not there: {source}/{condition}/{attack}: {' '.join(f'{strength:g}' for strength in strengths)}")
    for attack, example in examples.items():
        if example is None:
            print(f"not there: examples/{attack}.npz, so {figures.EXAMPLE_FIGURES[attack]} is skipped")


def main(argv=None):
    """Write tables and figures; return 0."""
    args = parse_args(argv)
    started = time.time()
    from nosign import figures, provenance, tables
    out = args.out or args.results
    models, cells = tables.read_models(args.models), tables.read_cells(args.results)
    clean = tables.clean_accuracy(tables.read_clean(args.results))
    examples = {attack: figures.read_example(args.results, attack) for attack in figures.EXAMPLE_FIGURES}
    written = []
    for table in make_tables(models, cells, clean, args.results):
        written += tables.write_table(out / "tables", table)
    for name, figure in make_figures(cells, clean, examples, tables.recorded_films(args.results)).items():
        written += figures.save_figure(figure, out / "figures", name)
    removed = remove_stale(out / "tables", written)
    provenance.write_manifest(
        out / "tables", stage="data_figure.py", settings={"results": str(args.results), "models": str(args.models)},
        inputs=input_files(args.results, args.models), outputs=written, started=started)
    print_missing(cells, examples)
    print_summary(cells)
    print()
    for path in removed:
        print(f"removed {path}: nothing to make it from any more")
    for path in written:
        print(path)
    return 0


if __name__ == "__main__":
    raise SystemExit(run(main))
