"""The study's results, made again from the rows here: tables, figures, and the numbers in README and docs.

    python -m results.reference

unpacks the rows to `results/again/rows/` and writes tables and figures to `results/again/`, the figures that README and docs
show, and the marked blocks of README and docs. A block stands between `<!-- from texts.jinja: NAME -->` and `<!-- end -->`. Its
text, numbers included, follows the line `== NAME ==` of `texts.jinja`, the one place to change it.

Needs no films, models or Keras.
"""

from __future__ import annotations

import argparse
import gzip
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jinja2
import pandas as pd

from nosign.errors import UserError
from nosign.files import remove_folder, write_bytes, write_text
from nosign.findings.networks import over_networks
from nosign.finished import Run, read_runs
from nosign.output.finding import Finding
from nosign.paper import PAPER_SAYS
from nosign.publish import describe_all, publish_all
from nosign.script import run

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
AGAIN = ROOT / "results/again"
# Folders here with rows: the study's; and, beside it, of step factors on validation films, and in the ball on test films.
STUDY, BESIDE = "results", ("tuning", "ball")
TEXTS = ("README.md", "README.zh-CN.md", "docs/numbers.md")
FIRST = "seed-0-0"  # the network that every attack was run on
SECOND = "seed-0-1"  # the network whose attacks went to other networks
# What README and docs show: (run, figure) of each file.
FIGURES = {"docs/figure4.png": (FIRST, "figure4"), "docs/transfer.png": (SECOND, "security")}
TEMPLATE = HERE / "texts.jinja"
BLOCK = re.compile(r"^== (\w+) ==\n", re.MULTILINE)  # what stands before the first is read with each: values and macros
MARKED = re.compile(r"(<!-- from texts\.jinja: (?P<name>\w+) -->\n).*?(^<!-- end -->$)", re.DOTALL | re.MULTILINE)
MINUS = "\N{MINUS SIGN}"


class Tables:
    """The tables of all runs, as templates read them.

    Attributes:
        frames: dict from the run's folder, "" for what stands over all networks, to a dict from a table's name to its frame.
        networks: the folders of the study's runs.
    """

    def __init__(self, described: dict[str, list[Finding]]) -> None:
        self.frames = {
            name: {table.name: table.frame for finding in findings for table in finding.tables}
            for name, findings in described.items()
        }
        self.networks = [name for name in described if name and "/" not in name]

    def rows(self, table: str, run: str = FIRST, **where: Any) -> list[SimpleNamespace]:
        """Return the rows of a table in which columns have the given values.

        Raises:
            UserError: there is no such table or column.
        """
        try:
            frame = self.frames[run][table]
            for column, value in where.items():
                frame = frame[frame[column] == value]
        except KeyError as error:
            raise UserError(f"texts.jinja asks for {run}/{table} {where}, but there is no {error}") from None
        return [SimpleNamespace(**row) for row in frame.to_dict("records")]

    def row(self, table: str, run: str = FIRST, **where: Any) -> SimpleNamespace:
        """Return the one row of a table in which columns have the given values.

        Raises:
            UserError: there is none, or several.
        """
        found = self.rows(table, run, **where)
        if len(found) != 1:
            raise UserError(f"texts.jinja asks for one row of {run}/{table} with {where}, and there are {len(found)}")
        return found[0]

    def over_networks(self, target: str) -> SimpleNamespace:
        """Return mean and interval over the networks of a target; see `nosign.findings.networks.over_networks`."""
        frame = over_networks(self.frames[""]["networks"])
        return SimpleNamespace(**frame[frame["target"] == target].iloc[0].to_dict())


def read_reference(unpacked: Path, part: str = STUDY) -> Run:
    """Unpack the rows of a folder here into another, which is made anew, and read them."""
    remove_folder(unpacked)
    for path in sorted(path for path in (HERE / part).rglob("*") if path.is_file()):
        content, place = path.read_bytes(), unpacked / path.relative_to(HERE / part)
        if path.suffix == ".gz":
            content, place = gzip.decompress(content), place.with_suffix("")
        write_bytes(place, content)
    return read_runs(unpacked, HERE / "model")


def with_others(study: dict[str, list[Finding]], beside: dict[str, dict[str, list[Finding]]]) -> dict[str, list[Finding]]:
    """Return the findings of the study, and those of the folders `BESIDE` it under such names as "tuning/seed-0-1"."""
    return study | {f"{part}/{name}": findings for part, runs in beside.items() for name, findings in runs.items()}


def rows_of_file(name: str) -> list[SimpleNamespace]:
    """Return the rows of a CSV file below this folder."""
    return [SimpleNamespace(**row) for row in pd.read_csv(HERE / name).to_dict("records")]


def says(key: str) -> str:
    """Return a sentence of the paper, as the table `paper` has it."""
    return PAPER_SAYS[key].text


def decimal(value: float, digits: int = 0) -> str:
    """Return a number with so many decimals and a true minus sign; no minus before a zero."""
    text = f"{value:.{digits}f}"
    return text.replace("-", MINUS) if float(text) else text.removeprefix("-")


def signed(value: float, digits: int = 0) -> str:
    """Return a number with its sign."""
    return ("+" if value > 0 else "") + decimal(value, digits)


def span(row: SimpleNamespace, name: str, digits: int, to: str = " to ") -> str:
    """Return the interval of an estimate, such as "0.721 to 0.727"."""
    return to.join(decimal(getattr(row, name + end), digits) for end in ("_low", "_high"))


def claim(holds: bool, words: str) -> str:
    """Return words that are true of these rows.

    Raises:
        UserError: they are not, and the sentence must be written anew.
    """
    if not holds:
        raise UserError(f"texts.jinja says '{words}', which the rows no longer bear out: write the sentence anew")
    return words


def blocks(described: dict[str, list[Finding]]) -> dict[str, str]:
    """Return the text of every block of `texts.jinja`, by its name.

    Args:
        described: what `with_others` returned.

    Raises:
        UserError: a block asks for a row that is not there, or claims what the rows do not bear out.
    """
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"n": decimal, "signed": signed}
    tables = Tables(described)
    environment.globals |= {"row": tables.row, "rows": tables.rows, "networks": tables.networks, "span": span, "claim": claim}
    environment.globals |= {"over": tables.over_networks, "says": says, "file": rows_of_file}
    common, *parts = BLOCK.split(TEMPLATE.read_text(encoding="utf-8"))
    named = zip(parts[::2], parts[1::2])
    return {name: environment.from_string(common + text).render().strip() for name, text in named}


def filled(text: str, written: dict[str, str]) -> str:
    """Return a text with its marked blocks filled.

    Raises:
        UserError: a marked block has no text.
    """
    if missing := {match["name"] for match in MARKED.finditer(text)} - written.keys():
        raise UserError(f"a text has marked blocks that texts.jinja does not have: {', '.join(sorted(missing))}")
    return MARKED.sub(lambda match: match[1] + written[match["name"]] + "\n" + match[3], text)


def main(argv: list[str] | None = None) -> int:
    """Write tables, figures and texts; return 0."""
    argparse.ArgumentParser(prog="python -m results.reference", description=__doc__.split("\n")[0]).parse_args(argv)
    print("reading the rows of every network and drawing their figures, under a minute", flush=True)
    study = publish_all(read_reference(AGAIN / "rows"), AGAIN)
    written = blocks(with_others(study, {part: describe_all(read_reference(AGAIN / f"rows-{part}", part)) for part in BESIDE}))
    for name, (network, figure) in FIGURES.items():
        write_bytes(ROOT / name, (AGAIN / network / "figures" / f"{figure}.png").read_bytes())
    for name in TEXTS:
        before = (ROOT / name).read_text(encoding="utf-8")
        after = filled(before, written)
        if after != before:
            write_text(ROOT / name, after)
        print(f"{name}: {'written anew' if after != before else 'as it was'}")
    return 0


if __name__ == "__main__":
    raise SystemExit(run(main))
