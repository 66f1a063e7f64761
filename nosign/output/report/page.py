"""The report: one HTML page, complete in itself, with what was run, what follows, tables, figures and a viewer of films.

The page loads nothing: style, script and pictures stand in it, and its content security policy forbids the rest.
`page.html.jinja`, `page.css` and `page.js` beside this file are its parts.
"""

import base64
import hashlib
import shlex
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from pathlib import Path

from nosign.attacks.catalogue import Condition
from nosign.classifiers.catalogue import BACKBONES
from nosign.files import write_text
from nosign.manifest import commands_of, read_manifest
from nosign.output.report.pictures import (
    ENCODERS,
    FIGURE_BYTES,
    FIGURE_LADDER,
    data_uri,
    encode_figure,
    encode_within,
    open_figure,
)
from nosign.output.report.viewer import make_viewer
from nosign.output.table import alignments
from nosign.output.words import condition_note, ordered
from nosign.rows import sweep_folder

PARTS = Path(__file__).parent
MAIN_TABLES = ("table1", "table2", "table3")  # the others are folded away
WIDE_CHARACTERS = 110  # in a line of a table; more want the long side of a page


def write_report(path, runs, tables, figures, sentences):
    """Write the report.

    Args:
        path: of the page.
        runs: dict from a run's name, "" where there is one only, to its folders (results, models): manifests and the films
            that cells kept for the viewer are read.
        tables: list of `nosign.output.table.Table`.
        figures: list of (name, caption, path of the PNG).
        sentences: list of groups, (heading, list of str).

    Returns:
        The path.

    Raises:
        UserError: a manifest or a shown file is malformed.
    """
    results = {run: folder for run, (folder, _) in runs.items()}
    style, script = ((PARTS / f"page.{ending}").read_text(encoding="utf-8") for ending in ("css", "js"))
    viewer = make_viewer(results)
    page = template().render(
        style=style,
        style_hash=content_hash(style),
        script=script,
        script_hash=content_hash(script),
        synthetic=any((read_manifest(folder) or {}).get("synthetic") for folder in results.values()),
        overview=run_overview(results),
        details=run_details(runs),
        warnings=run_warnings(results),
        groups=sentences,
        tables=table_parts(tables),
        figures=figure_parts(figures),
        viewer=viewer,
    )
    write_text(path, page)
    return path


def template():
    """Return the page's template; everything that it fills in is escaped."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(PARTS), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template("page.html.jinja")


def content_hash(text):
    """Return a script's or a style's SHA-256 as a content security policy names it."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def sweep_manifests(results):
    """Yield (run, source, condition, manifest) of every sweep that has a manifest, models in their usual order."""
    for run, folder in results.items():
        sweeps = {path.parent.relative_to(folder / "attacks").parts for path in folder.glob("attacks/*/*/manifest.json")}
        for source in ordered({sweep[0] for sweep in sweeps}, BACKBONES):
            for condition in ordered({sweep[1] for sweep in sweeps if sweep[0] == source}, [str(Condition())]):
                yield run, source, condition, read_manifest(sweep_folder(folder, source, condition))


def part(manifest, key):
    """Return a manifest's entry that is an object, {} where it is absent or something else."""
    found = manifest.get(key)
    return found if isinstance(found, dict) else {}


def run_overview(results):
    """Return a dict of texts for every sweep: what a reader wants to know first."""
    rows = []
    for run, source, condition, manifest in sweep_manifests(results):
        settings, health = part(manifest, "settings"), part(manifest, "health")
        rows.append(
            {
                "Run": run,
                "Gradients from": source,
                "Condition": condition,
                "Films": plain(settings.get("films")),
                "Steps": plain(settings.get("steps")),
                "Seed": plain(settings.get("seed")),
                "Begun (UTC)": plain(manifest.get("started")).replace("T", " ").removesuffix("Z"),
                "Took": duration(manifest.get("seconds")),
                "State": "finished" if manifest.get("finished") else "unfinished",
                "Warnings": str(len(health.get("warnings") or [])),
                "Meaning": condition_meaning(condition),
            }
        )
    return [{name: text for name, text in row.items() if name != "Run" or any(row["Run"] for row in rows)} for row in rows]


def condition_meaning(name):
    """Return a condition's protocol, norm and target in words."""
    condition = Condition.parse(name)
    if condition is None:
        return ""
    return condition_note(condition) + (f"; aims at {condition.target}" if condition.target else "")


def run_details(runs):
    """Return (title, list of (name, text)) of every manifest: the classifiers', the runs' and the sweeps'."""
    found = [(f"Training of the classifiers {run}".strip(), read_manifest(folder)) for run, (_, folder) in runs.items()]
    results = {run: folder for run, (folder, _) in runs.items()}
    for run, folder in results.items():
        found.append((f"Attacks {run}".strip(), read_manifest(folder)))
    found += [
        (f"{run} {source}, {condition}".strip(), manifest) for run, source, condition, manifest in sweep_manifests(results)
    ]
    return [(title, manifest_facts(manifest)) for title, manifest in found if manifest]


def run_warnings(results):
    """Return the health reports' warnings, each with the sweep that it is about."""
    return [
        f"{run} {source}, {condition}: {warning}".strip()
        for run, source, condition, manifest in sweep_manifests(results)
        for warning in part(manifest, "health").get("warnings") or []
    ]


def manifest_facts(manifest):
    """Return what a manifest says as a list of (name, text), without the hashes of its files."""
    device, git, packages = part(manifest, "device"), part(manifest, "git"), part(manifest, "packages")
    stage, commands = plain(manifest.get("stage")), commands_of(manifest)
    lines = [shlex.join(["python", stage, *map(str, command["argv"])]) for command in commands] or [f"python {stage}"]
    changed = " with local changes" if git.get("dirty") else ""
    facts = [
        *(("Command" if len(lines) == 1 else f"Command {number}", line) for number, line in enumerate(lines, 1)),
        ("Begun (UTC)", plain(manifest.get("started"))),
        ("Took", duration(manifest.get("seconds"))),
        ("Device", ", ".join(f"{name.replace('_', ' ')} {plain(value)}" for name, value in device.items())),
        ("Git commit", f"{git['commit']}{changed}" if git.get("commit") else ""),
        ("Python", f"{plain(manifest.get('python'))} on {plain(manifest.get('platform'))}"),
        ("Packages", ", ".join(f"{name} {plain(version)}" for name, version in packages.items())),
    ]
    facts += [(f"Setting: {name}", plain(value)) for name, value in part(manifest, "settings").items()]
    facts += [
        (f"Health: {name.replace('_', ' ')}", plain(value))
        for name, value in part(manifest, "health").items()
        if name != "warnings"
    ]
    return [(name, text) for name, text in facts if text]


def plain(value):
    """Return an entry of a manifest as text; a hash of 64 digits is cut to twelve."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {plain(inner)}" for name, inner in value.items())
    if isinstance(value, list):
        return "; ".join(map(plain, value)) or "none"
    if value is None:
        return "\N{EM DASH}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = str(value)
    return f"{text[:12]}\N{HORIZONTAL ELLIPSIS}" if len(text) == 64 and " " not in text else text


def duration(seconds):
    """Return seconds as minutes or hours."""
    if not isinstance(seconds, (int, float)):
        return "\N{EM DASH}"
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def table_parts(tables):
    """Return what the template needs of each table.

    Returns:
        List of dicts: name, title, caption; link, the title, with the name where several have the title; main, if it is
        one of `MAIN_TABLES`; groups, pairs of a group of columns and their number, [] if there is none; headings; classes,
        one a column; rows of (text, class, bold); wide, if it wants the long side of a page in print.
    """
    titles = [table.title for table in tables]
    parts = []
    for table in tables:
        groups = [(group, len(list(members))) for group, members in groupby(column[0] for column in table.shown.columns)]
        headings, classes = [heading for _, heading in table.shown.columns], column_classes(table)
        rows = [list(zip(texts, classes, marks)) for texts, marks in zip(table.shown.to_numpy().tolist(), table.bold.tolist())]
        longest = [max(map(len, column)) for column in zip(headings, *table.shown.to_numpy().tolist())]
        parts.append(
            {
                "name": table.name,
                "title": table.title,
                "caption": table.caption,
                "main": table.name in MAIN_TABLES,
                "link": table.title if titles.count(table.title) == 1 else f"{table.title} ({table.name})",
                "groups": groups if any(group for group, _ in groups) else [],
                "headings": headings,
                "classes": classes,
                "rows": rows,
                "wide": sum(longest) + 2 * len(longest) > WIDE_CHARACTERS,
            }
        )
    return parts


def column_classes(table):
    """Return the style classes of a table's columns: their side, and "begins" where another group of columns begins."""
    groups = [group for group, _ in table.shown.columns]
    begins = [place > 0 and group != groups[place - 1] for place, group in enumerate(groups)]
    return [f"{side} begins" if new else side for side, new in zip(alignments(table), begins)]


def figure_parts(figures):
    """Return what the template needs of each figure: name, title, caption and the picture, smaller than on paper."""
    with ThreadPoolExecutor(ENCODERS) as pool:
        pictures = list(pool.map(open_figure, [path for _, _, path in figures]))
    encoded = encode_within(pictures, encode_figure, FIGURE_LADDER, FIGURE_BYTES)
    return [
        {
            "name": name,
            "title": figure_title(name),
            "caption": caption,
            "alt": caption.split(". ")[0],
            "picture": data_uri(data),
            "width": width,
            "height": height,
        }
        for (name, caption, _), (data, (width, height)) in zip(figures, encoded)
    ]


def figure_title(name):
    """Return a figure's file name as a title, such as "Figure 4 (budget)" for "figure4-budget"."""
    word, _, rest = name.partition("-")
    number = word.removeprefix("figure")
    title = f"Figure {number}" if number.isdigit() else word.capitalize()
    return f"{title} ({rest})" if rest else title
