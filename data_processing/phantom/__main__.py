"""Draw synthetic chest films and write them to disk in the layouts of both data sets.

    python -m data_processing.phantom --out data/raw --per-class 200

The films are drawings, made from random numbers alone; no patient's film went into them. They stand in for the real
sets wherever those cannot be had: the demonstration, the tests, a first look at the pipeline. An accuracy reached on
them says nothing about patients. `anatomy` draws a film, `layouts` says which films go where.
"""

from __future__ import annotations

import argparse
import os
import shlex
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from data_processing.phantom.anatomy import DRAWING_VERSION
from data_processing.phantom.layouts import CHEST_XRAY, COVIDX, Film, plan_films, write_films, write_lists
from nosign.errors import UserError
from nosign.files import move, part_of, remove_folder, remove_leftovers
from nosign.manifest import MANIFEST, check_settings, read_manifest, write_manifest
from nosign.script import run, whole_number

STAGE = "phantom"
PER_CLASS = 200
FEWEST_PER_CLASS = 4


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="python -m data_processing.phantom", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--out", type=Path, required=True, help="folder to write, e.g. data/raw")
    parser.add_argument(
        "--per-class",
        type=whole_number(FEWEST_PER_CLASS),
        default=PER_CLASS,
        metavar="N",
        help="films that each class can offer at least (default: %(default)s)",
    )
    parser.add_argument("--seed", type=whole_number(0), default=0, help="same seed, same films (default: %(default)s)")
    parser.add_argument(
        "--workers",
        type=whole_number(1),
        default=os.cpu_count() or 1,
        help="processes; the films do not depend on it (default: %(default)s)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace films that this script drew before")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Write the films and return the exit status."""
    args = parse_args(argv)
    started = time.time()
    settings = {"per_class": args.per_class, "seed": args.seed, "drawing": DRAWING_VERSION}
    check_own(args.out)
    if not args.overwrite and already_there(args.out, settings):
        print(f"already there: {args.out}\nnext: {next_command(args.out, args.per_class)}")
        return 0
    films = plan_films(args.per_class, args.seed)
    remove_leftovers(args.out.parent, below=False)
    part = part_of(args.out)
    try:
        write_films(part, films, args.seed, args.workers)
        write_lists(part, films)
        outputs = [part / path for path in files_in(part)]
        write_manifest(part, stage=STAGE, settings=settings, outputs=outputs, started=started)
        move_into_place(part, args.out)
    finally:
        remove_folder(part)
    print(summary(films, args.out))
    print(f"next: {next_command(args.out, args.per_class)}")
    return 0


def check_own(out: Path) -> None:
    """Refuse a folder that holds anything that this script did not write.

    Raises:
        UserError: `out` is a file, has no manifest of this stage, or holds files that the manifest does not list.
    """
    if not out.exists():
        return
    if not out.is_dir():
        raise UserError(f"{out}: a file, but a folder is to be written there; name another one with --out")
    present = files_in(out)
    manifest = read_manifest(out) or {}
    known = {MANIFEST, *manifest.get("outputs", {})} if manifest.get("stage") == STAGE else set()
    foreign = [path for path in present if path not in known]
    if foreign:
        raise UserError(
            f"{out}: holds {len(foreign)} files that this script did not write, such as {foreign[0]}; "
            "name another folder with --out"
        )


def already_there(out: Path, settings: dict[str, Any]) -> bool:
    """Tell whether a folder holds just the films that these settings give.

    Raises:
        UserError: it holds the films of other settings, or some are missing.
    """
    manifest = check_settings(out, settings, "name another folder with --out, or replace them with --overwrite")
    if manifest is None:
        return False
    missing = [path for path in manifest["outputs"] if not (out / path).is_file()]
    if missing:
        raise UserError(f"{out}: {len(missing)} of its films are gone, such as {missing[0]}; draw them again with --overwrite")
    return True


def files_in(folder: str | Path) -> list[str]:
    """Return the paths of all files in a folder, relative to it."""
    return sorted(str(path.relative_to(folder)) for path in Path(folder).rglob("*") if not path.is_dir())


def move_into_place(part: Path, out: Path) -> None:
    """Give a finished folder its name; what stood there was checked to be this script's own."""
    remove_folder(out)
    move(part, out)


def summary(films: Sequence[Film], out: Path) -> str:
    """Return what was written, as lines of text."""
    counts = Counter(
        (film.row[3], film.row[2], film.class_8a or "in no row of list 8A")
        if film.row
        else ("Kermany", Path(film.path).parent.name, film.class_name)
        for film in films
    )
    lines = [f"{count:6d}  {source:8s} {label:10s} {drawn}" for (source, label, drawn), count in sorted(counts.items())]
    return "\n".join([f"{len(films)} films of {len({film.patient for film in films})} patients in {out}:", *lines])


def next_command(out: Path, per_class: int) -> str:
    """Return the command that goes on from here."""
    return shlex.join(
        [
            "python",
            "-m",
            "data_processing.prepare",
            "--covidx",
            str(out / COVIDX),
            "--chest-xray",
            str(out / CHEST_XRAY),
            "--per-class",
            str(per_class),
        ]
    )


if __name__ == "__main__":
    raise SystemExit(run(main))
