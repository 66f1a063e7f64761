"""What attacks spend, in norms and in SSIM, beside what they do to the accuracy: Figure 5."""

from __future__ import annotations

import math

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nosign.attacks.catalogue import ATTACKS
from nosign.dataset import CLASSES
from nosign.finished import FinishedSweep, Run, twins
from nosign.output.finding import Drawing, Finding, Sentence
from nosign.output.plot import (
    CHANCE_LINE,
    CLEAN_LINE,
    SMALL_POINTS,
    STYLE,
    WIDTH,
    add_legend,
    attack_style,
    clearer_place,
    draw_band,
    draw_level,
    finish_panel,
    scale_strengths,
)
from nosign.output.table import Table, numbers, words
from nosign.output.words import MISSING, joined, percent, starred
from nosign.rows import ordered

HEADING = "What attacks spend"
SPENT = {"linf": "L-inf", "l2": "L2"}  # measures of which mean and largest are told
EFFORT_PANELS = (
    ("strength", "strength"),
    ("l2_mean", "mean L2 norm"),
    ("linf_mean", "mean L-inf norm"),
    ("dissimilarity", "1 \N{MINUS SIGN} mean SSIM"),
)


def describe(run: Run) -> Finding:
    """Return norms and SSIM of every cell, Figure 5, and what no-sign spends of the norms of sign, of each sweep."""
    tables, drawings, sentences = [], [], []
    for sweep in run.with_cells:
        effort = measure_effort(sweep)
        tables.append(effort_table(sweep, effort))
        sentences += spent_sentences(sweep)
        figure = draw_effort(sweep, effort)
        if figure is not None:
            measured = f"Share of films taken for {sweep.aim}" if sweep.aim else "Accuracy"
            caption = f"{measured}, white-box, against strength, mean L2, mean L-inf and 1 - mean SSIM; {sweep.described}."
            alt = "Four panels of lines, one line per attack."
            drawings.append(Drawing("figure5" + sweep.suffix, "Figure 5", caption, alt, figure, sweep.name))
    return Finding("effort", HEADING, tuple(tables), tuple(drawings), tuple(sentences))


def measure_effort(sweep: FinishedSweep) -> pd.DataFrame:
    """Measure what every cell spends.

    Returns:
        Frame, one row per cell:
            source, condition, attack, strength, films
            linf_mean, linf_largest, l2_mean, l2_largest     of the perturbation; pixels in [0, 1]
            ssim_mean                                        mean over films
            psnr_mean, films_changed                         dB, over the films that changed at all, and their number
            correct_<MODEL>, accuracy_percent_<MODEL>        films right, with its 95 % interval; with an aim
            (reached_, attackable, success_percent_)         films taken for it; NaN where it is not on record
    """
    rows = []
    for (attack, strength), cell in sweep.cells.items():
        row = {**sweep.keys, "attack": attack, "strength": strength, "films": len(cell)}
        for target in sweep.targets:
            row |= sweep.effect_of(cell.get(target), f"_{target}")
        row |= {
            f"{column}_{how}": value
            for column in SPENT
            for how, value in (("mean", cell[column].mean()), ("largest", cell[column].max()))
        }
        psnr = cell["psnr"] if "psnr" in cell else pd.Series(dtype=float)
        changed = psnr[np.isfinite(psnr)]
        rows.append(
            {
                **row,
                "ssim_mean": cell["ssim"].mean(),
                "psnr_mean": changed.mean(),
                "films_changed": int((cell["linf"] > 0).sum()),
            }
        )
    return pd.DataFrame(rows)


def effort_table(sweep: FinishedSweep, effort: pd.DataFrame) -> Table:
    """Build the table of what each cell spends."""
    rows = [
        [
            *(ATTACKS[row["attack"]].title, f"{row['strength']:g}"),
            *(percent(row[f"{sweep.effect}_percent_{target}"]) for target in sweep.targets),
            *(f"{row[f'{column}_{how}']:.3g}" for column in SPENT for how in ("mean", "largest")),
            f"{row['ssim_mean']:.4f}",
            MISSING if math.isnan(row["psnr_mean"]) else f"{row['psnr_mean']:.1f}",
        ]
        for row in effort.to_dict("records")
    ]
    columns = (
        *words("Attack"),
        *numbers("Strength"),
        *numbers(*(starred(target, sweep.source) for target in sweep.targets), group=f"{sweep.effect.title()} (%)"),
        *(column for name in SPENT.values() for column in numbers("mean", "largest", group=name)),
        *numbers("SSIM", "PSNR (dB)"),
    )
    caption = (
        f"What each attack spends: mean and largest L-inf and L2 norm of the perturbation (pixels in [0, 1]), mean "
        f"SSIM, and mean PSNR over the films that changed; {sweep.described} (*: white-box). Counts and 95 % "
        "intervals stand in the CSV file."
    )
    return Table("effort" + sweep.suffix, HEADING, caption, effort, columns, rows, None, sweep.name)


@matplotlib.rc_context(STYLE)
def draw_effort(sweep: FinishedSweep, effort: pd.DataFrame) -> Figure | None:
    """Draw Figure 5: the white-box accuracy against strength, L2, L-inf and SSIM, all attacks in each panel.

    Returns:
        The figure, or None if the source model was not attacked itself or no attack changed a film.
    """
    effect = f"{sweep.effect}_percent_{sweep.source}"
    effort = effort[effort["linf_mean"] > 0].assign(dissimilarity=1 - effort["ssim_mean"])
    if effect not in effort or effort.empty:
        return None
    figure = Figure(figsize=(WIDTH, 4.7), layout="constrained")
    panels = figure.subplots(2, 2, sharey=True).ravel()
    for axes, letter, (column, label) in zip(panels, "abcd", EFFORT_PANELS):
        inside = effort[effort[column] > 0]
        for name in ordered(inside["attack"], ATTACKS):
            line = inside[inside["attack"] == name].sort_values("strength")
            axes.plot(line[column], line[effect], **attack_style(name))
            low, high = (line[f"ci_{end}_percent_{sweep.source}"] for end in ("low", "high"))
            draw_band(axes, line[column], low, high, name)
        draw_levels(axes, sweep, inside.assign(percent=inside[effect]) if letter == "a" else None)
        axes.set_xlabel(f"({letter}) {label}")
        if not inside.empty:
            scale_strengths(axes, inside[column])
        finish_panel(axes)
    panels[0].set(ylim=(-3, 103), yticks=range(0, 101, 20))
    add_legend(figure, effort["attack"])
    measured = f"taken for {sweep.aim} by" if sweep.aim else "accuracy of"
    figure.supylabel(f"{measured} {sweep.source} (%)", fontsize=STYLE["axes.labelsize"])
    figure.supxlabel(f"{sweep.described}; bands: 95 % intervals", fontsize=SMALL_POINTS)
    return figure


def draw_levels(axes: Axes, sweep: FinishedSweep, lines: pd.DataFrame | None) -> None:
    """Draw the source model's clean accuracy and the chance level, unless the attacks aim at a class.

    Args:
        lines: frame with the columns strength and percent, of which the levels' labels keep clear; None for no labels.
    """
    if sweep.aim:
        return
    clean = sweep.effect_percent(sweep.clean[sweep.source])
    for level, text, linestyle in ((clean, "clean", CLEAN_LINE), (100 / len(CLASSES), "chance", CHANCE_LINE)):
        draw_level(
            axes,
            level,
            text if lines is not None else "",
            linestyle,
            *(clearer_place(lines, level) if lines is not None else ()),
        )


def spent_sentences(sweep: FinishedSweep) -> list[Sentence]:
    """Return the sentence on what no-sign attacks spend of the norms of sign attacks, at equal strength."""
    pairs: dict[tuple[str, str], list] = {}
    for sign, no_sign in twins(sweep.cells):
        pairs.setdefault((sign[0], no_sign[0]), []).append((sweep.cells[sign], sweep.cells[no_sign]))
    told = [
        f"{ATTACKS[no_sign].title} has {median_ratio(cells, 'l2'):.2f} times the L2 and "
        f"{median_ratio(cells, 'linf'):.2f} times the L-inf norm of {ATTACKS[sign].title}"
        for (sign, no_sign), cells in pairs.items()
        if any((below["linf"] > 0).any() for below, _ in cells)
    ]
    return (
        [Sentence(f"{sweep.heading}: at equal strength {joined(told)} (medians over films and strengths).", sweep.name)]
        if told
        else []
    )


def median_ratio(cells: list[tuple[pd.DataFrame, pd.DataFrame]], norm: str) -> float:
    """Return the median of a norm over another, over films and pairs of cells; films count that the first of a pair moved.

    Args:
        cells: (below, above) the line, frames of `FinishedSweep.cells`.
        norm: a column of theirs.
    """
    moved = [(below["linf"] > 0).to_numpy() for below, _ in cells]
    ratios = [above[norm].to_numpy()[films] / below[norm].to_numpy()[films] for films, (below, above) in zip(moved, cells)]
    return float(np.median(np.concatenate(ratios)))
