"""The report: one HTML page, complete in itself, with what was run, what follows, tables, figures and a viewer of films.

The page loads nothing: style, script and pictures stand in it, and its content security policy forbids the rest.
`report.html.jinja`, `report.css` and `report.js` beside this file are its parts.
"""

import base64
import hashlib
import io
import json
import shlex
import zipfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from nosign.attacks import ATTACKS, Condition
from nosign.cells import ROWS, SHOWN, find_files, ordered, sweep_folder
from nosign.classifiers import BACKBONES
from nosign.dataset import CLASSES
from nosign.errors import UserError
from nosign.figures import NOISE_GAIN
from nosign.perceptibility import SSIM_INVISIBLE
from nosign.provenance import commands_of, read_manifest, write_text
from nosign.tables import alignments, condition_note, starred
from nosign.visibility import CRITERION_COLUMNS

PARTS = Path(__file__).parent
MAIN_TABLES = ("table1", "table2", "table3")  # the others are folded away
WIDE_CHARACTERS = 110  # in a line of a table; more want the long side of a page

# Bytes before base64, which adds a third: together with the tables the page stays below 15 MB.
PICTURE_BYTES = 8_200_000
FIGURE_BYTES = 2_500_000
MOST_PICTURES = 1000  # a change is 300 kB in memory; where there are more cells, fewer films are shown
SAMPLE = 12  # pictures that are encoded to choose a rung of a ladder
# From good to small. Of changes: every how many pixels, and how coarse; of figures: width in pixels and WebP's quality.
CHANGE_LADDER = ((1, 0.5), (1, 1.0), (1, 1.5), (1, 1.9), (1, 2.4), (1, 3.0), (2, 1.5), (2, 2.4), (4, 2.4))
FIGURE_LADDER = ((1432, 88), (1432, 70), (1074, 60), (716, 50), (716, 20))
LOSSLESS_BYTES = 120_000  # of a figure: one of lines only is smaller and crisper without loss
ENCODERS = 2  # threads; Pillow encodes outside the interpreter's lock

# A change is stored as levels: 0, and on either side one level between each two of these multiples of the first bound.
# They are even where most components are, and then a third apart, so that rare large ones keep their size.
LEVEL_BOUNDS = np.array([1, 3, 5, 7, 9, 12, 16, 21, 28, 37, 49, 65, 86, 114, 152], np.float32)
ZERO_BYTE, LEVEL_BYTES = 128, 8  # of a picture of levels; the script rounds, should a browser shift bytes a little
GAIN_STEPS = (1, 2, 5)
GAIN_SHARE = 0.99  # of a change's components stay within the grey range at the gain that is chosen for it


@dataclass(frozen=True)
class Shown:
    """The films of one cell that the viewer shows.

    Attributes:
        path: where it was read.
        attack: name in `ATTACKS`.
        strength: float.
        films: list of int [k], rows of the data index.
        labels: list of int [k], positions in `CLASSES`.
        models: list of str [m].
        probabilities: float32 [m, k, classes], on the adversarial films.
        clean_probabilities: float32 [m, k, classes], on the originals.
        original: uint8 [k, height, width, 3].
        change: float16 [k, height, width, 3], adversarial - original in [0, 1] units.
    """

    path: Path
    attack: str
    strength: float
    films: list
    labels: list
    models: list
    probabilities: np.ndarray
    clean_probabilities: np.ndarray
    original: np.ndarray
    change: np.ndarray


def write_report(path, runs, tables, figures, sentences):
    """Write the report.

    Args:
        path: of the page.
        runs: dict from a run's name, "" where there is one only, to its folders (results, models): manifests and the films
            that cells kept for the viewer are read.
        tables: list of `nosign.tables.Table`.
        figures: list of (name, caption, path of the PNG).
        sentences: list of groups, (heading, list of str).

    Returns:
        The path.

    Raises:
        UserError: a manifest or a shown file is malformed.
    """
    results = {run: folder for run, (folder, _) in runs.items()}
    style, script = ((PARTS / f"report.{ending}").read_text(encoding="utf-8") for ending in ("css", "js"))
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
    return environment.get_template("report.html.jinja")


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


def open_figure(path):
    """Return a figure as a Pillow image, no wider than the first rung of `FIGURE_LADDER`."""
    with Image.open(path) as picture:
        return no_wider(picture.convert("RGB"), FIGURE_LADDER[0][0])


def no_wider(picture, width):
    """Return a Pillow image, scaled down to a width in pixels if it is wider."""
    if picture.width <= width:
        return picture
    return picture.resize((width, round(picture.height * width / picture.width)), Image.Resampling.BILINEAR)


def encode_figure(picture, rung):
    """Return a figure as (WebP, (width, height)) at a rung of `FIGURE_LADDER`: lines without loss, films with."""
    width, quality = rung
    picture = no_wider(picture, width)
    pixels = np.asarray(picture)
    lossless = webp(pixels, lossless=True, quality=0)
    return lossless if len(lossless) <= LOSSLESS_BYTES else webp(pixels, quality=quality), picture.size


def encode_within(items, encode, ladder, allowance):
    """Encode items at the best rung of a ladder at which all of them together stay within an allowance.

    Args:
        items: list.
        encode: function of an item and a rung that returns a tuple whose first entry is bytes.
        ladder: rungs from good to small.
        allowance: bytes; a sample of the items tells whether a rung keeps to it.

    Returns:
        List of what `encode` returned.
    """
    places = range(len(items))
    sample = places[:: max(1, len(items) // SAMPLE)]
    with ThreadPoolExecutor(ENCODERS) as pool:
        for rung in ladder:
            at_rung = partial(encode, rung=rung)
            encoded = dict(zip(sample, pool.map(at_rung, [items[place] for place in sample])))
            if sum(len(result[0]) for result in encoded.values()) * len(items) <= allowance * len(sample):
                break
        others = [place for place in places if place not in encoded]
        encoded.update(zip(others, pool.map(at_rung, [items[place] for place in others])))
    return [encoded[place] for place in places]


def webp(pixels, **options):
    """Return pixels, uint8 [height, width, 3], as the bytes of a WebP file."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "WEBP", method=2, **options)
    return buffer.getvalue()


def data_uri(encoded):
    """Return a WebP file's bytes as an address that holds them."""
    return "data:image/webp;base64," + base64.b64encode(encoded).decode()


def read_shown(attack, strength, path, most=None):
    """Read the first `most` films that a cell kept for the viewer.

    Raises:
        UserError: the file is no such archive, lacks an array, or its arrays do not fit each other.
    """
    advice = "remove it and run attack.py again"
    names = ("films", "labels", "models", "probabilities", "clean_probabilities", "original", "change")
    try:
        with open(path, "rb") as file, np.lib.npyio.NpzFile(file, allow_pickle=False) as arrays:
            films, labels, models, after, before, original, change = (arrays[name] for name in names)
        change = change.astype(np.float16)
    except (ValueError, TypeError, KeyError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError) as error:
        raise UserError(f"{path}: not a complete archive of films to show ({error}); {advice}") from None
    scores = (len(models) if models.ndim == 1 else 0, len(films) if films.ndim == 1 else 0, len(CLASSES))
    fits = (
        min(scores) >= 1
        and labels.shape == films.shape
        and films.dtype.kind == labels.dtype.kind == "i"
        and models.dtype.kind == "U"
        and after.shape == before.shape == scores
        and original.dtype == np.uint8
        and original.shape == change.shape == (scores[1], *change.shape[1:3], 3)
        and min(change.shape) >= 1
        and set(labels.tolist()) <= set(range(len(CLASSES)))
    )
    if not fits or not all(np.isfinite(array).all() for array in (after, before, change)):
        raise UserError(
            f"{path}: its arrays are not k films with labels, [k, height, width, 3] pixels and changes, and "
            f"[models, k, {len(CLASSES)}] probabilities; {advice}"
        )
    return Shown(
        path,
        attack,
        strength,
        films.tolist()[:most],
        labels.tolist()[:most],
        models.tolist(),
        after[:, :most],
        before[:, :most],
        original[:most],
        change[:most].copy(),
    )


def make_viewer(results):
    """Return what the viewer shows, of the first run that has films to show; None for none.

    Returns:
        Dict with run; index, JSON that the script reads; pictures, a list of (name, WebP in base64).
    """
    for run, folder in results.items():
        if found := find_files(folder, SHOWN):
            break
    else:
        return None
    most = max(1, MOST_PICTURES // len(found))
    sweeps = {place: [cell[2:] for cell in cells] for place, cells in groupby(found, key=lambda cell: cell[:2])}
    pictures = Pictures()
    index = {
        "classes": CLASSES,
        "gain": NOISE_GAIN,
        "zeroByte": ZERO_BYTE,
        "levelBytes": LEVEL_BYTES,
        "sweeps": [sweep_index(*key, cells, most, pictures) for key, cells in sweeps.items()],
    }
    films, changes, index["levels"] = pictures.encoded()
    named = [
        (f"{kind}-{number}", base64.b64encode(data).decode())
        for kind, pictures in (("film", films), ("change", changes))
        for number, data in enumerate(pictures)
    ]
    return {"run": run, "index": script_json(index), "pictures": named}


def script_json(value):
    """Return JSON that can stand inside a script element: no text in it can end the element."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("&", r"\u0026").replace("<", r"\u003c").replace(">", r"\u003e")


class Pictures:
    """The pictures of the viewer, each kept once: films and changes."""

    def __init__(self):
        self.films, self.places, self.changes = [], {}, []

    def add_film(self, film):
        """Keep a film, uint8 [height, width, 3], and return its number among the films."""
        key = hashlib.sha256(film.tobytes()).digest()
        if key not in self.places:
            self.places[key] = len(self.films)
            self.films.append(webp(film, lossless=True))
        return self.places[key]

    def add_change(self, change):
        """Keep a change, float16 [height, width, 3], and return its number among the changes."""
        self.changes.append(change)
        return len(self.changes) - 1

    def encoded(self):
        """Return the WebP files of all films and of all changes, together within `PICTURE_BYTES`, and the changes' levels."""
        allowance = PICTURE_BYTES - sum(map(len, self.films))
        encoded = encode_within(self.changes, encode_change, CHANGE_LADDER, allowance)
        return self.films, [data for data, _ in encoded], [sizes for _, sizes in encoded]


def levels_of_change(change, coarseness):
    """Put a change's components into levels: 0 near zero, beyond it one for each of `LEVEL_BOUNDS`.

    Args:
        change: float32 array.
        coarseness: width of the zero level in mean absolute components. A change that has one size only keeps it.

    Returns:
        (int8 array of the same shape, levels from -15 to 15; float64 [16], the mean absolute component of each level).
    """
    sizes = np.abs(change)
    bound = min(coarseness * sizes.mean() / 2, 0.99 * sizes.max())
    levels = np.zeros(change.shape, np.int8)
    means = np.zeros(len(LEVEL_BOUNDS) + 1)
    for edge in bound * LEVEL_BOUNDS if bound else ():
        beyond = sizes >= edge
        if not beyond.any():
            break
        levels += beyond
    counts, sums = (np.bincount(levels.ravel(), weights, len(means)) for weights in (None, sizes.ravel()))
    means[1:] = sums[1:] / np.maximum(counts[1:], 1)
    return levels * np.sign(change).astype(np.int8), means


def encode_change(change, rung):
    """Return a change as (WebP of its levels, the levels' sizes) at a rung of `CHANGE_LADDER`.

    Noise has nothing that a picture's codec could leave out, so its numbers are made coarse here and stored without loss.
    Where pixels are left out, the script repeats their neighbours.
    """
    every, coarseness = rung
    levels, sizes = levels_of_change(change[::every, ::every].astype(np.float32), coarseness)
    picture = (ZERO_BYTE + LEVEL_BYTES * levels.astype(np.int16)).astype(np.uint8)
    return webp(picture, lossless=True, quality=10), [float(f"{size:.5g}") for size in sizes]


def sweep_index(source, condition, cells, most, pictures):
    """Return the viewer's index of one source model and condition.

    Args:
        source, condition: what the sweep's folder is named after.
        cells: list of (attack, strength, path).
        most: films a cell to show.
        pictures: `Pictures` that receives the films and changes.
    """
    attacks, films, models = {}, {}, None
    for attack, strength, path in cells:
        shown = read_shown(attack, strength, path, most)
        if models not in (None, shown.models):
            raise UserError(
                f"{path}: its models are {', '.join(shown.models)}, those of other cells {', '.join(models)}; "
                "remove it and run attack.py again"
            )
        models = shown.models
        for place, film in enumerate(shown.films):
            films.setdefault(
                film,
                {
                    "film": film,
                    "label": shown.labels[place],
                    "picture": pictures.add_film(shown.original[place]),
                    "probabilities": rounded(shown.clean_probabilities[:, place]),
                },
            )
        attacks.setdefault(attack, []).append(cell_index(shown, pictures))
    return {
        "source": source,
        "condition": condition,
        "meaning": condition_meaning(condition),
        "models": models,
        "headings": [starred(model, source) for model in models],
        "films": list(films.values()),
        "attacks": [
            {"name": name, "title": ATTACKS[name].title, "direction": ATTACKS[name].direction, "cells": found}
            for name, found in attacks.items()
        ],
    }


def cell_index(shown, pictures):
    """Return the viewer's index of one cell: strength, and an entry a film."""
    measures = read_measures(shown)
    entries = {}
    for place, film in enumerate(shown.films):
        change = shown.change[place].astype(np.float32)
        entries[film] = {
            "picture": pictures.add_change(shown.change[place]),
            "gain": fitting_gain(change),
            "measures": describe_change(change, measures.get(film, {})),
            "probabilities": rounded(shown.probabilities[:, place]),
        }
    return {"strength": f"{shown.strength:g}", "films": entries}


def rounded(probabilities):
    """Return float32 [models, classes] as lists of numbers with six decimals."""
    return [[round(float(value), 6) for value in row] for row in probabilities]


def fitting_gain(change):
    """Return the largest of 1, 2, 5, 10, 20 ... at which nearly all of a change stays within mid-grey +- half the range."""
    usual = float(np.quantile(np.abs(change), GAIN_SHARE)) or float(np.abs(change).max())
    gains = [step * 10**power for power in range(5) for step in GAIN_STEPS]
    return max([gain for gain in gains if gain * usual <= 0.5001] or [1]) if usual else NOISE_GAIN


def read_measures(shown):
    """Return what the cell's rows say of the films shown: dict from film to a dict of measures; {} without rows."""
    wanted = ("film", "psnr", *CRITERION_COLUMNS.values())
    path = shown.path.with_name(shown.path.name.removesuffix(SHOWN) + ROWS)
    try:
        frame = pd.read_csv(path, usecols=lambda column: column in wanted)
    except (FileNotFoundError, ValueError):  # the tables, which need the file, say what is wrong with it
        return {}
    if "film" not in frame:
        return {}
    frame = frame[frame["film"].isin(shown.films)].apply(pd.to_numeric, errors="coerce")
    return {
        int(row.pop("film")): {name: value for name, value in row.items() if not np.isnan(value)}
        for row in frame.to_dict("records")
    }


def describe_change(change, measures):
    """Return a change's size in words, and by which criteria one can see it.

    Args:
        change: float32 [height, width, 3].
        measures: dict that may have psnr (dB) and `CRITERION_COLUMNS`, of which all but ssim say "visible" above 1.
    """
    largest = float(np.abs(change).max())
    words = [
        f"largest change {largest:.4f} ({255 * largest:.1f} of 255 grey levels)",
        f"L2 {np.sqrt(np.square(change).sum(dtype=np.float64)):.3g}",
    ]
    if np.isfinite(measures.get("psnr", np.inf)):
        words.append(f"PSNR {measures['psnr']:.1f} dB")
    seen = [
        (f"{name} ({measures[key]:.2g} of its bound)", measures[key] > 1)
        for name, key in CRITERION_COLUMNS.items()
        if key in measures and key != "ssim"
    ]
    if "ssim" in measures:
        seen.append((f"SSIM ({measures['ssim']:.4f})", measures["ssim"] < SSIM_INVISIBLE))
    for word, which in (("visible", True), ("invisible", False)):
        if names := [name for name, visible in seen if visible == which]:
            words.append(f"{word} by {', '.join(names)}")
    return "; ".join(words)
