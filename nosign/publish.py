"""Writes what a run gives: tables, figures, summary and report, with a manifest; removes what went stale."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from nosign import rows
from nosign.attacks.catalogue import ATTACKS, attack_groups
from nosign.files import alone, remove, remove_leftovers, sha256_of_file, write_bytes
from nosign.findings import FINDINGS
from nosign.findings.accuracy import accuracy_grid
from nosign.findings.examples import FIGURES
from nosign.finished import Run
from nosign.manifest import read_manifest, write_manifest
from nosign.output.finding import Finding
from nosign.output.plot import render_figures
from nosign.output.report.page import report_page
from nosign.output.summary import short_answer, summary_text, sweeps_of
from nosign.output.table import table_files
from nosign.output.words import percent, plural
from nosign.paper import ITERATIVE_STRENGTHS, PAPER_ATTACKS, SINGLE_STEP_STRENGTHS


def publish_all(run: Run, out: Path) -> dict[str, list[Finding]]:
    """Write what a results folder gives, and first what each run with other seeds below it gives.

    Args:
        run: the folder's own run, and the runs below it.
        out: where `tables/`, `figures/` and `report.html` go; those of the runs below in folders of their names.

    Returns:
        What was written: dict from the name of a run below, "" for the folder's own, to its findings.
    """
    started = time.time()
    # All is read and described before anything is written: a damaged file leaves the earlier tables as they are.
    described = describe_all(run)
    written: list[Path] = []
    with alone(out / "tables", "makes tables and figures"):
        remove_leftovers(out)
        figures = render_all(described)
        for seed in run.seeds:
            name = seed.results.name
            print(f"{seed.results}:")
            written += publish(seed, described[name], figures[name], out / name, started)
        publish(run, described[""], figures[""], out, started, written)
    return described


def describe_all(run: Run) -> dict[str, list[Finding]]:
    """Return the findings of a results folder, under "", and of each run below it, under its name."""
    return {seed.results.name: describe(seed) for seed in run.seeds} | {"": describe(run)}


def describe(run: Run) -> list[Finding]:
    """Return the findings that a run has anything to say about, in the order of the report."""
    return [finding for finding in (module.describe(run) for module in FINDINGS) if finding]


def render_all(described: Mapping[str, list[Finding]]) -> dict[str, dict[str, bytes]]:
    """Return the figures of all findings as files.

    Args:
        described: what `describe_all` returned.

    Returns:
        Dict from the run's name to what `render_figures` returns of its figures.
    """
    drawings = {run: [drawing for finding in findings for drawing in finding.drawings] for run, findings in described.items()}
    rendered: dict[str, dict[str, bytes]] = {run: {} for run in described}
    figures = {f"{run}/{drawing.name}": drawing.figure for run, several in drawings.items() for drawing in several}
    for place, content in render_figures(figures).items():
        run, _, name = place.rpartition("/")
        rendered[run][name] = content
    return rendered


def publish(
    run: Run, findings: list[Finding], figures: Mapping[str, bytes], out: Path, started: float, elsewhere: Iterable[Path] = ()
) -> list[Path]:
    """Write what one folder gets and its manifest, remove what went stale, and say all of it.

    Args:
        findings: those of the run.
        figures: those of the findings, as files by name.
        out: the folder; `tables/`, `figures/` and `report.html` are written there.
        started: when the command began, as `time.time()`.
        elsewhere: paths written below the folders of seeds; the manifest lists them too, so that they can go stale.

    Returns:
        The written paths.
    """
    print_missing(run)
    print_table_two(run)
    tables, report = out / "tables", out / "report.html"
    contents = compose(run, findings, figures, out)
    hashes = {path: hashlib.sha256(content).hexdigest() for path, content in contents.items()}
    described: dict[str, Any] = {
        "stage": "data_figure.py",
        "settings": {"results": str(run.results), "models": str(run.models)},
        "started": started,
    }
    earlier = earlier_files(tables)
    # Until all is written the manifest says so. It lists what was there and what comes, so that nothing stale is forgotten.
    write_manifest(tables, **described, outputs=hashes, known_hashes=hashes, finished=False, earlier=as_listed(earlier, tables))
    for path, content in contents.items():
        write_bytes(path, content)
    for path in remove_stale(earlier, [*contents, *elsewhere]):
        print(f"removed {path}: nothing to make it from any more")
    inputs = [path for one in (run, *run.seeds) if one.sweeps for path in one.files]
    write_manifest(tables, **described, inputs=inputs, outputs=[*elsewhere, *contents], known_hashes=hashes, finished=True)
    print_answer(findings, tables / "summary.md")
    print(f"wrote {plural(sum(path.suffix == '.csv' for path in contents), 'table')} (CSV, Markdown, LaTeX) to {tables}")
    print(f"wrote {plural(sum(path.suffix == '.png' for path in contents), 'figure')} (PNG, PDF) to {out / 'figures'}")
    print(f"open {report}")
    return list(contents)


def compose(run: Run, findings: list[Finding], figures: Mapping[str, bytes], out: Path) -> dict[Path, bytes]:
    """Return what is to be written below a folder, by path; nothing is written before all of it is there."""
    texts = {name: text for finding in findings for table in finding.tables for name, text in table_files(table).items()}
    return {
        **{out / "tables" / name: text.encode() for name, text in texts.items()},
        **{out / "figures" / name: content for name, content in figures.items()},
        out / "tables" / "summary.md": summary_text(findings).encode(),
        out / "report.html": report_page(folders_of(run), findings, figures).encode(),
    }


def folders_of(run: Run) -> dict[str, tuple[Path, Path]]:
    """Return the folders (results, models) behind a report, by the run's name, "" for the folder's own."""
    own = {"": (run.results, run.models)} if run.sweeps else {}
    return own | {seed.results.name: (seed.results, seed.models) for seed in run.seeds}


def earlier_files(folder: Path) -> dict[Path, set[str]]:
    """Return what earlier commands wrote, by the manifest in `tables/`: dict from path to SHA-256.

    There are several where a command was stopped among its writes.
    """
    manifest, files = read_manifest(folder) or {}, {}
    for name, digest in [*manifest.get("outputs", {}).items(), *manifest.get("earlier", [])]:
        files.setdefault(Path(os.path.normpath(folder / name)), set()).add(digest)
    return files


def as_listed(earlier: Mapping[Path, set[str]], folder: Path) -> list[tuple[str, str]]:
    """Return `earlier_files` for the manifest: list of (path relative to the folder, SHA-256)."""
    return [(os.path.relpath(path, folder), digest) for path, digests in earlier.items() for digest in sorted(digests)]


def remove_stale(earlier: Mapping[Path, set[str]], written: Iterable[Path]) -> list[Path]:
    """Remove tables and figures that an earlier command wrote and that this one, from other rows, did not.

    Args:
        earlier: what `earlier_files` returned.
        written: this command's paths.

    Returns:
        The removed paths; files that somebody has changed since are kept.
    """
    kept, removed = {path.resolve() for path in written}, []
    for path, digests in earlier.items():
        if path.resolve() not in kept and path.is_file() and sha256_of_file(path) in digests:
            remove(path)
            removed.append(path)
    return removed


def missing_cells(run: Run) -> dict[tuple[str, tuple[float, ...]], list[str]]:
    """List the cells that full results would add to those there.

    Full results have, for every sweep, all attacks at the paper's strengths and at those found beside them.

    Returns:
        Dict from ("SOURCE/CONDITION", ascending absent strengths) to the attacks that lack them; complete attacks are left out.
    """
    missing: dict[tuple[str, tuple[float, ...]], list[str]] = {}
    for sweep in run.sweeps:
        names = {name for name, _ in sweep.cells}
        for attack in (attack for attack in ATTACKS.values() if attack.name in (*PAPER_ATTACKS, *names)):
            alike = {name for group in attack_groups(attack.iterative) for name in group}
            paper = ITERATIVE_STRENGTHS if attack.iterative else SINGLE_STEP_STRENGTHS
            wanted = {*paper, *(strength for name, strength in sweep.cells if name in alike)}
            if absent := tuple(sorted(wanted - {strength for name, strength in sweep.cells if name == attack.name})):
                missing.setdefault(("/".join(sweep.name), absent), []).append(attack.name)
    return missing


def print_missing(run: Run) -> None:
    """Say which cells and examples of full results are not there."""
    for (sweep, absent), attacks in missing_cells(run).items():
        print(f"not run: {sweep}: {' '.join(attacks)} at {' '.join(f'{strength:g}' for strength in absent)}")
    for attack, number in FIGURES.items() if run.sweeps else ():
        if not rows.example_path(run.results, attack).is_file():
            print(f"not made: examples/{attack}.npz, so Figure {number} is skipped")


def print_table_two(run: Run) -> None:
    """Print the white-box accuracies of Table II."""
    from tabulate import tabulate

    for sweep in run.sweeps:
        counts = run.of(run.counts, sweep)
        groups = [group for group in attack_groups(iterative=False) if counts["attack"].isin(group).any()]
        own = counts[counts["white_box"] & counts["attack"].isin(sum(groups, ()))]
        if own.empty:
            continue
        grid = accuracy_grid(own, groups, "accuracy_percent").droplevel("target", axis=1)
        lines = [[f"{strength:g}", *map(percent, shares)] for strength, shares in zip(grid.index, grid.to_numpy())]
        headings = ["strength", *(ATTACKS[attack].title for attack in grid.columns)]
        films, condition = own["films"].iloc[0], sweep.condition
        print(f"\nTable II, white-box: accuracy (%) of {sweep.source} on {films} films, condition '{condition}'")
        print(tabulate(lines, headings, disable_numparse=True, stralign="right"))


def print_answer(findings: list[Finding], summary: Path) -> None:
    """Print the sentences that answer the question, and where more of them are."""
    answers = [sentence.text for sentence in short_answer(findings, next(iter(sweeps_of(findings)), None))]
    print("", *answers, f"more of this: {summary}", "", sep="\n")
