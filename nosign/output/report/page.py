"""The report: one HTML page, complete in itself: the answer, the findings, a viewer of films, and what was run.

The page loads nothing: style, script and pictures stand in it, and its content security policy forbids the rest.
`page.html.jinja`, `page.css` and `page.js` beside this file are its parts.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from nosign.manifest import read_manifest
from nosign.output.finding import Drawing, Finding, Sentence, parts_of
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
from nosign.output.report.what_was_run import condition_meaning, run_details, run_overview, run_warnings
from nosign.output.summary import sentences_about, short_answer, sweeps_of
from nosign.output.table import SweepName, Table

if TYPE_CHECKING:
    from jinja2 import Template

PARTS = Path(__file__).parent
# How the names of figures begin that stand on the first screen: the first of these that there are.
FIRST_FIGURES = ("figure4", "networks", "seeds")
WIDE_CHARACTERS = 110  # in a line of a table; more want the long side of a page
NO_ANSWER = Sentence("No short answer follows from these cells; what was measured stands below.")


def report_page(runs: dict[str, tuple[Path, Path]], findings: Sequence[Finding], figures: Mapping[str, bytes]) -> str:
    """Return the report, HTML in one file.

    Args:
        runs: dict from a run's name, "" where there is one only, to its folders (results, models): manifests and the films
            that cells kept for the viewer are read.
        findings: in the order of the page.
        figures: what `nosign.output.plot.render_figures` returned of the findings' drawings.

    Raises:
        UserError: a manifest or a file for the viewer is malformed.
    """
    results = {run: folder for run, (folder, _) in runs.items()}
    style, script = ((PARTS / f"page.{ending}").read_text(encoding="utf-8") for ending in ("css", "js"))
    viewer = make_viewer(results)
    choice = Choice(sweeps_of(findings, viewer["sweeps"] if viewer else ()))
    pictures = figure_parts([drawing for finding in findings for drawing in finding.drawings], figures, choice)
    return template().render(
        style=style,
        style_hash=content_hash(style),
        script=script,
        script_hash=content_hash(script),
        synthetic=any((read_manifest(folder) or {}).get("synthetic") for folder in results.values()),
        sweeps=choice.parts(),
        answer=answer_parts(findings, choice),
        first_figures=[part for part in pictures.values() if part["first"]],
        findings=[finding_part(finding, pictures, choice) for finding in findings],
        viewer=viewer,
        overview=run_overview(results),
        details=run_details(runs),
        warnings=run_warnings(results),
    )


def template() -> Template:
    """Return the page's template; everything that it fills in is escaped."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(PARTS), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template("page.html.jinja")


def content_hash(text: str) -> str:
    """Return a script's or a style's SHA-256 as a content security policy names it."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


class Choice:
    """The sweeps among which the reader chooses; every part of the page says under which of them it is shown."""

    def __init__(self, sweeps: Sequence[SweepName]) -> None:
        self.sweeps = list(sweeps)

    def parts(self) -> list[dict]:
        """Return what the template needs of each sweep."""
        return [
            {**self.about(sweep), **sweep._asdict(), "meaning": condition_meaning(sweep.condition)} for sweep in self.sweeps
        ]

    def shown(self, sweeps: Iterable[SweepName | None]) -> str:
        """Return the numbers of the sweeps under which a part is shown, such as "0 2"; "" if it always is."""
        sweeps = set(sweeps)
        always = None in sweeps or sweeps >= set(self.sweeps)
        return "" if always else " ".join(str(number) for number, sweep in enumerate(self.sweeps) if sweep in sweeps)

    def about(self, sweep: SweepName | None) -> dict:
        """Return when a part is shown, and its label where all parts are shown at once."""
        label = f"{sweep.source}, {sweep.condition}" if sweep and len(self.sweeps) > 1 else ""
        return {"shown": self.shown([sweep]), "label": label}

    @property
    def sweeps_or_none(self) -> Sequence[SweepName | None]:
        """The sweeps to choose from; None where there is none."""
        return self.sweeps or (None,)

    def statements(self, sentences: Iterable[Sentence], choose: Callable[[SweepName | None], list[Sentence]]) -> list[dict]:
        """Return what the template needs of each sentence that `choose` returns for a sweep."""
        chosen = {sweep: choose(sweep) for sweep in self.sweeps_or_none}
        shown = {sentence: [sweep for sweep, own in chosen.items() if sentence in own] for sentence in sentences}
        return [
            {**self.about(sentence.sweep), "text": sentence.text, "shown": self.shown(sweeps)}
            for sentence, sweeps in shown.items()
            if sweeps
        ]


def answer_parts(findings: Sequence[Finding], choice: Choice) -> list[dict]:
    """Return what the template needs of the sentences that open the page; those about no sweep come last."""
    sentences = [sentence for finding in findings for sentence in finding.sentences]
    sentences = [*sorted(sentences, key=lambda sentence: sentence.sweep is None), NO_ANSWER]
    return choice.statements(sentences, lambda sweep: short_answer(findings, sweep) or [NO_ANSWER])


def finding_part(finding: Finding, pictures: dict[str, dict], choice: Choice) -> dict:
    """Return what the template needs of a finding; only the first sentence under each sweep stands open."""
    parts = parts_of(finding)
    several = (sweep for sweep in choice.sweeps_or_none if len(sentences_about([finding], sweep)) > 1)
    return {
        "name": finding.name,
        "heading": finding.heading,
        "shown": choice.shown(part.sweep for part in parts),
        "sentences": choice.statements(finding.sentences, lambda sweep: sentences_about([finding], sweep)[:1]),
        "further": choice.statements(finding.sentences, lambda sweep: sentences_about([finding], sweep)[1:]),
        "further_shown": choice.shown(several),
        "figures": [pictures[drawing.name] for drawing in finding.drawings],
        "tables": [table_part(table, choice) for table in finding.tables],
    }


def table_part(table: Table, choice: Choice) -> dict:
    """Return what the template needs of a table.

    Returns:
        Dict: name, title, caption, shown, label; groups, pairs of a group of columns and their number, [] if there is none;
        headings, pairs of text and style class; rows of (text, class, bold); wide, if it wants the long side of a page in
        print.
    """
    groups = [(group, len(list(members))) for group, members in groupby(column.group for column in table.columns)]
    begins = [place > 0 and column.group != table.columns[place - 1].group for place, column in enumerate(table.columns)]
    classes = [f"{column.align} begins" if new else column.align for column, new in zip(table.columns, begins)]
    headings = [column.heading for column in table.columns]
    longest = [max(map(len, texts)) for texts in zip(headings, *table.rows)]
    return {
        **choice.about(table.sweep),
        "name": table.name,
        "title": table.title,
        "caption": table.caption,
        "groups": groups if any(group for group, _ in groups) else [],
        "headings": list(zip(headings, classes)),
        "rows": [list(zip(texts, classes, marks)) for texts, marks in zip(table.rows, table.marks.tolist())],
        "wide": sum(longest) + 2 * len(longest) > WIDE_CHARACTERS,
    }


def figure_parts(drawings: Sequence[Drawing], figures: Mapping[str, bytes], choice: Choice) -> dict[str, dict]:
    """Return what the template needs of each figure, by its name: the words, and the picture, smaller than on paper."""
    with ThreadPoolExecutor(ENCODERS) as pool:
        pictures = list(pool.map(open_figure, [figures[f"{drawing.name}.png"] for drawing in drawings]))
    encoded = encode_within(pictures, encode_figure, FIGURE_LADDER, FIGURE_BYTES)
    begins = [begin for begin in FIRST_FIGURES if any(drawing.name.startswith(begin) for drawing in drawings)]
    return {
        drawing.name: {
            **choice.about(drawing.sweep),
            "first": drawing.name.startswith(tuple(begins[:1])),
            "name": drawing.name,
            "title": drawing.title,
            "caption": drawing.caption,
            "alt": drawing.alt,
            "picture": data_uri(data),
            "width": width,
            "height": height,
        }
        for drawing, (data, (width, height)) in zip(drawings, encoded)
    }
