"""How numbers, attacks and conditions are written in tables, captions and sentences."""

import numbers
from collections.abc import Sequence
from typing import Any

import pandas as pd

from nosign.attacks.catalogue import ATTACKS, Condition
from nosign.paper import PAPER_CONDITION

CLEAN = "clean"  # stands for the attack where there is none


def plural(number: int, word: str) -> str:
    """Return a number and what it counts, such as "1 film" or "2 films"."""
    return f"{number} {word}{'' if number == 1 else 's'}"


def joined(words: Sequence[str]) -> str:
    """Return words as a list in prose: "a", "a and b", "a, b and c"."""
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))


PROTOCOL_NOTES = {"paper": "each step as long as the strength", "budget": "every attack kept within the strength of the film"}
NORM_NOTES = {"linf": "", "l2": " (in L2: a change by it in every component)"}
GREY_NOTES = {False: "", True: "; perturbations equal in all channels"}
LOSS_NOTES = {
    "cross-entropy": "",
    "softmax": "; a mistake made on purpose: the softmax taken for logits",
    "probabilities": "; a mistake made on purpose: cross-entropy on clipped probabilities",
}
MISSING = "\N{EM DASH}"


def intervals_over(draws: int) -> str:
    """Return what captions say of intervals, from the number of draws."""
    return f"95 % intervals over {draws:,} draws of patients"


def condition_suffix(source: str, condition: str) -> str:
    """Return what distinguishes a condition's file names: nothing for the paper's own."""
    words = [word for word, default in zip((source, condition), PAPER_CONDITION) if word != default]
    return "".join(f"-{word}" for word in words)


def starred(target: str, source: str) -> str:
    """Return a target model's heading; a star marks the white-box model."""
    return f"{target}*" if target == source else target


def percent(value: float | None) -> str:
    """Return a percentage with two decimals, or a dash where there is none."""
    return MISSING if pd.isna(value) else f"{value:.2f}"


def counted(correct: int, films: int) -> str:
    """Return an accuracy with its counts, such as "92.22 (830/900)"."""
    return f"{100 * correct / films:.2f} ({correct}/{films})"


def interval(low: float, high: float) -> str:
    """Return an interval in per cent, such as "90.28–93.79"."""
    return f"{low:.2f}\N{EN DASH}{high:.2f}"


def condition_note(settings: Condition) -> str:
    """Return what a `Condition` means, in words."""
    steps = "" if settings.step_factor == 1 else f"; each step {settings.step_factor:g} times strength / T"
    starts = "" if settings.restarts == 1 else f"; the best of {settings.restarts} random starts"
    ball = PROTOCOL_NOTES[settings.protocol] + NORM_NOTES[settings.norm]
    return ball + steps + starts + LOSS_NOTES[settings.loss] + GREY_NOTES[settings.grey]


def estimate(row: Any, name: str, digits: int) -> tuple[str, str]:
    """Return an estimate and its interval, such as ("0.723", "0.721–0.728"); a dash where there is none.

    Args:
        row: has the columns of `nosign.statistics.intervals.in_columns`.
        name: of the estimate.
        digits: decimals.
    """
    value, low, high = (getattr(row, name + end) for end in ("", "_low", "_high"))
    if pd.isna(value):
        return MISSING, MISSING
    if pd.isna(low):
        return f"{value:.{digits}f}", MISSING
    ends = ["∞" if end == float("inf") else f"{end:.{digits}f}" for end in (low, high)]
    return "∞" if value == float("inf") else f"{value:.{digits}f}", "–".join(ends)


def stratum_title(name: str, collection: str) -> str:
    """Return how a class and collection is written, such as "Normal of covidx/rsna"."""
    return f"{name} of {collection}" if collection else name


def pair_title(row: Any) -> str:
    """Return the name of a row's pair of attacks, such as "FGSM / FGNM"."""
    return f"{ATTACKS[row.sign_attack].title} / {ATTACKS[row.no_sign_attack].title}"


def span(low: float, high: float) -> str:
    """Return the interval of a difference in points, such as "-3.10 to +0.25" with a true minus sign."""
    return f"{signed(low)} to {signed(high)}"


def tested(tests: int) -> str:
    """Return how two attacks were compared on the same films, in a family of so many tests."""
    return f"exact sign-change test by patient, Holm over {plural(tests, 'comparison')}"


def signed(points: float, digits: int = 2) -> str:
    """Return a difference with some decimals, and its sign unless it is zero."""
    if pd.isna(points):
        return MISSING
    return f"{points:+.{digits}f}".replace("-", "\N{MINUS SIGN}") if points else f"{0:.{digits}f}"


def p_value(p: float) -> str:
    """Return a p value with three significant digits, a bound for a very small one, or a dash where there is none."""
    if pd.isna(p):
        return MISSING
    return "<0.0001" if p < 0.0001 else f"{p:#.3g}"


def quantity(value: float, unit: str) -> str:
    """Return a count in full, another number with two decimals, each with its unit."""
    if pd.isna(value):
        return MISSING
    number = f"{value:,}" if isinstance(value, numbers.Integral) else f"{value:.2f}"
    return f"{number} {unit}".rstrip()
