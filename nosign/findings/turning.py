"""Turning strengths: what one no-sign step needs to turn a film, against one sign step."""

from __future__ import annotations

import pandas as pd

from nosign.attacks.catalogue import ATTACKS, PAIRS
from nosign.finished import FinishedSweep, Run, compare_turning, turning_of_pair
from nosign.output.finding import Finding, Sentence
from nosign.output.table import Table, numbers, words
from nosign.output.words import MISSING, starred

HEADING = "What it takes to turn a film"
SINGLE_STEP = tuple(pair for pair in PAIRS if not ATTACKS[pair[0]].iterative)


def describe(run: Run) -> Finding:
    """Return the ratio of the norms at turning, no-sign over sign, of each sweep that has turning strengths."""
    tables, sentences = [], []
    for sweep in run.sweeps:
        ratios = turning_ratios(sweep)
        if not ratios.empty:
            tables.append(turning_table(sweep, ratios))
            sentences += turning_sentences(sweep, ratios)
    return Finding("turning", HEADING, tuple(tables), (), tuple(sentences))


def turning_ratios(sweep: FinishedSweep) -> pd.DataFrame:
    """Compare the change at which each film turns under sign and under no-sign.

    A film that only one of the two turns counts as a ratio of 0 or infinity; one that neither turns is left out and counted.

    Returns:
        Frame, one row per pair and target, no rows where nothing is on record:
            source, condition, sign_attack, no_sign_attack, target, white_box
            films, both, only_sign, only_no_sign, neither     films that could be turned, and by which they were
            l2_ratio, linf_ratio                              medians of no-sign over sign, each with a 95 % interval over
                                                              10,000 draws of patients
            cosine                                            median of that between gradient and sign: the prediction
    """
    found = [
        {**sweep.keys, **compare(sweep, pair, target, frames)}
        for pair in SINGLE_STEP
        for target, frames in turning_of_pair(sweep, pair).items()
    ]
    return pd.DataFrame(found)


def compare(sweep: FinishedSweep, pair: tuple[str, str], target: str, frames: list[pd.DataFrame]) -> dict:
    """Return a row of `turning_ratios` from the turning strengths of both attacks on the same films."""
    keys = {"sign_attack": pair[0], "no_sign_attack": pair[1], "target": target, "white_box": target == sweep.source}
    return {**keys, **compare_turning(sweep, frames, ("l2", "linf"))}


def turning_table(sweep: FinishedSweep, ratios: pd.DataFrame) -> Table:
    """Build the table of the ratios at turning."""
    rows = [
        [
            *(f"{ATTACKS[row.sign_attack].title} / {ATTACKS[row.no_sign_attack].title}", starred(row.target, sweep.source)),
            *(str(count) for count in (row.films, row.both, row.only_sign, row.only_no_sign, row.neither)),
            *(f"{row.l2_ratio:.3f}", f"{row.l2_ratio_low:.3f}\N{EN DASH}{row.l2_ratio_high:.3f}", f"{row.cosine:.3f}"),
            *(f"{row.linf_ratio:.2f}", f"{row.linf_ratio_low:.2f}\N{EN DASH}{row.linf_ratio_high:.2f}"),
        ]
        for row in ratios.itertuples()
    ]
    rows = [[MISSING if "nan" in text else text for text in row] for row in rows]
    columns = (
        *words("Pair", "Target"),
        *numbers("all", "both", "sign only", "no-sign only", "neither", group="Films turned by"),
        *numbers("median", "95 % interval", "cosine", group="L2, no-sign over sign"),
        *numbers("median", "95 % interval", group="L-inf, no-sign over sign"),
    )
    caption = (
        "The change at which a film turns, no-sign over sign, for the films that a target has right: medians with 95 % "
        "intervals over 10,000 draws of patients. A film that only one of the two turns counts as 0 or infinity. First-order "
        f"theory predicts the cosine between the gradient and its sign for L2 (*: white-box); {sweep.described}."
    )
    return Table("turning" + sweep.suffix, "Turning strengths", caption, ratios, columns, rows, None, sweep.name)


def turning_sentences(sweep: FinishedSweep, ratios: pd.DataFrame) -> list[Sentence]:
    """Say what a no-sign step needs, white-box first."""
    sentences = []
    for row in ratios.sort_values("white_box", ascending=False, kind="stable").itertuples():
        if row.films == row.neither:
            continue
        where = f"of {row.target}" if row.white_box else f"of {row.target} with gradients from {sweep.source}"
        text = (
            f"To turn a film {where}, one no-sign step needs {row.l2_ratio:.3f} times the L2 norm of one sign step (median of "
            f"{row.films - row.neither} films; 95 % interval {row.l2_ratio_low:.3f} to {row.l2_ratio_high:.3f}; first-order "
            f"theory predicts {row.cosine:.2f}) and {row.linf_ratio:.1f} times its L-inf norm."
        )
        sentences.append(Sentence(text, sweep.name, answer=bool(row.white_box)))
    return sentences
