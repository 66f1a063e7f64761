"""The short answer: the sentences that open the report, and `summary.md`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from nosign.classifiers.catalogue import BACKBONES
from nosign.output.finding import Finding, Sentence, parts_of
from nosign.output.table import SweepName
from nosign.paper import PAPER_CONDITION
from nosign.rows import ordered

MOST_ANSWERS = 3
MOST_LINES = 10


def sweeps_of(findings: Iterable[Finding], others: Iterable[SweepName] = ()) -> list[SweepName]:
    """Return the sweeps that findings are about, and others, in the order of tables; the first is shown first."""
    about = {part.sweep for finding in findings for part in parts_of(finding)}
    sweeps = {sweep for sweep in about if sweep} | set(others)
    names = [
        *ordered((sweep.source for sweep in sweeps), BACKBONES),
        *ordered((sweep.condition for sweep in sweeps), PAPER_CONDITION[1:]),
    ]
    return sorted(sweeps, key=lambda sweep: (names.index(sweep.source), names.index(sweep.condition)))


def sentences_about(findings: Iterable[Finding], sweep: SweepName | None) -> list[Sentence]:
    """Return the sentences about a sweep or about none, in the order of the report."""
    return [sentence for finding in findings for sentence in finding.sentences if sentence.sweep in (None, sweep)]


def short_answer(findings: Iterable[Finding], sweep: SweepName | None) -> list[Sentence]:
    """Return at most `MOST_ANSWERS` sentences that answer the question, those about the sweep first."""
    answers = [sentence for sentence in sentences_about(findings, sweep) if sentence.answer]
    return sorted(answers, key=lambda sentence: sentence.sweep is None)[:MOST_ANSWERS]


def summary_text(findings: Sequence[Finding]) -> str:
    """Return the answer and the first sentence of each other finding, at most `MOST_LINES` in all, as Markdown.

    Where there are several sweeps, the sentences are those about the first of `sweeps_of`, or about none.
    """
    sweep = next(iter(sweeps_of(findings)), None)
    answer = short_answer(findings, sweep)
    lines = [f"- {sentence.text}" for sentence in answer]
    for finding in findings:
        told = sentences_about([finding], sweep)
        if told and not set(told) & set(answer):
            lines.append(f"- **{finding.heading}.** {told[0].text}")
    return "# The short answer\n\n" + "\n".join(lines[:MOST_LINES]) + "\n\nFigures and all else: report.html\n"
