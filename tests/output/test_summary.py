"""The short answer: which sentences open the report and fill `summary.md`."""

import pytest

from nosign.output.finding import Finding, Sentence
from nosign.output.summary import MOST_LINES, short_answer, summary_text, sweeps_of
from nosign.output.table import SweepName

PAPER, GREY, OTHER = SweepName("VGG16", "paper"), SweepName("VGG16", "paper-grey"), SweepName("InceptionV3", "paper")


def finding(name, *sentences):
    """Return a finding of sentences alone."""
    return Finding(name, name.title(), sentences=sentences)


def test_sweeps_come_in_the_order_of_tables():
    findings = [finding("a", Sentence("1.", OTHER), Sentence("2.", GREY), Sentence("3.")), finding("b", Sentence("4.", PAPER))]
    assert sweeps_of(findings) == [PAPER, GREY, OTHER]
    assert sweeps_of([], [OTHER, PAPER]) == [PAPER, OTHER]
    assert sweeps_of([finding("a", Sentence("1."))]) == []


def test_answer_is_three_sentences_and_those_of_the_sweep_come_first():
    general = [Sentence(f"General {number}.", answer=True) for number in range(3)]
    own = [Sentence(f"Own {number}.", PAPER, answer=True) for number in range(2)]
    findings = [finding("a", *general, Sentence("No answer.", PAPER)), finding("b", *own)]
    assert short_answer(findings, PAPER) == [*own, general[0]]
    assert short_answer(findings, GREY) == general


def test_summary_says_the_answer_and_the_first_sentence_of_each_other_finding():
    findings = [
        finding("turning", Sentence("Answer.", PAPER, answer=True), Sentence("More of it.", PAPER)),
        finding("transfer", Sentence("Of another.", GREY), Sentence("First.", PAPER), Sentence("Second.", PAPER)),
        finding("workflow"),
    ]
    lines = summary_text(findings).splitlines()
    assert [line for line in lines if line.startswith("-")] == ["- Answer.", "- **Transfer.** First."]


@pytest.mark.parametrize("number", [0, 30])
def test_summary_stays_short(number):
    findings = [finding(f"f{place}", Sentence(f"{place}.", answer=place < 5)) for place in range(number)]
    lines = summary_text(findings).splitlines()
    assert sum(line.startswith("-") for line in lines) == min(number, MOST_LINES)
