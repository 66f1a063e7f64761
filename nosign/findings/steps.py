"""Steps and the gradient: how far each step goes along the gradient, and how much of the predicted gain happens.

`attack.py` records both for every film and step; see `nosign.attacks.directions.step_effect`.
"""

from __future__ import annotations

import math

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nosign.attacks.catalogue import ATTACKS
from nosign.finished import FinishedSweep, Run, twins
from nosign.output.finding import Drawing, Finding, Sentence
from nosign.output.plot import (
    CLEAN_LINE,
    GREY,
    SMALL_POINTS,
    STYLE,
    WIDTH,
    add_legend,
    attack_style,
    draw_band,
    finish_panel,
    scale_log,
)
from nosign.output.table import Table, numbers, words
from nosign.output.words import MISSING, percent, plural
from nosign.rows import STEP_MEASURES, ordered, read_steps

HEADING = "Steps and the gradient"


def describe(run: Run) -> Finding:
    """Return cosine and gain of every attack's steps, of each sweep that has them on record."""
    tables, drawings, sentences = [], [], []
    for sweep in run.sweeps:
        steps = average_steps(sweep)
        if steps.empty:
            continue
        tables.append(steps_table(sweep, steps))
        gain = "" if with_gain(whole_attacks(steps)).empty else "; (b) the gain in loss that happened against the one predicted"
        caption = f"(a) Cosine between each step and the gradient where it began{gain}; {sweep.described}."
        alt = "Cosine by step, one line per attack" + ("; right, one marker per cell beside the diagonal." if gain else ".")
        drawings.append(Drawing("theory" + sweep.suffix, HEADING, caption, alt, draw_steps(sweep, steps), sweep.name))
        sentences += steps_sentences(sweep, steps)
    return Finding("steps", HEADING, tuple(tables), tuple(drawings), tuple(sentences))


def average_steps(sweep: FinishedSweep) -> pd.DataFrame:
    """Average the record of every step over films; what is not finite in a film does not count.

    Returns:
        Frame, one row per cell and step, no rows if no steps are on record:
            source, condition, attack, strength, step
            cosine_mean                              between step and gradient, where both are not zero
            predicted_mean, gained_mean              gain in loss
            share_percent                            gained of predicted; NaN where none was predicted

    Raises:
        nosign.errors.UserError: a file of steps is malformed.
    """
    frames = []
    for (attack, strength), path in sweep.paths.items():
        steps = read_steps(path, sweep.clean)
        if steps is None:
            continue
        means = steps.groupby("step")[list(STEP_MEASURES)].mean().add_suffix("_mean").reset_index()
        means.insert(0, "strength", strength)
        means.insert(0, "attack", attack)
        frames.append(means.assign(share_percent=share_of(means["gained_mean"], means["predicted_mean"])))
    if not frames:
        return pd.DataFrame()
    joined = pd.concat(frames, ignore_index=True).astype({"step": int})
    joined.insert(0, "condition", str(sweep.condition))
    joined.insert(0, "source", sweep.source)
    return joined


def share_of(part: pd.Series, whole: pd.Series) -> pd.Series:
    """Return a part of a whole in per cent, NaN where there is no whole above 0."""
    return 100 * part / whole.where(whole > 0)


def whole_attacks(steps: pd.DataFrame) -> pd.DataFrame:
    """Return the steps' record by cell: mean and first and last cosine, and the gains of all steps summed.

    Returns:
        Frame with columns attack, strength, steps, cosine_mean, cosine_first, cosine_last, predicted, gained, share_percent.
    """
    cells = steps.groupby(["attack", "strength"], sort=False)
    found = cells.agg(
        steps=("step", "size"),
        cosine_mean=("cosine_mean", "mean"),
        predicted=("predicted_mean", "sum"),
        gained=("gained_mean", "sum"),
    )
    found["cosine_first"], found["cosine_last"] = (cells["cosine_mean"].nth(place).to_numpy() for place in (0, -1))
    return found.assign(share_percent=share_of(found["gained"], found["predicted"])).reset_index()


def with_gain(cells: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of `whole_attacks` that have a gain, predicted and happened: those that a logarithmic scale can show."""
    return cells[(cells["predicted"] > 0) & (cells["gained"] > 0)]


def steps_table(sweep: FinishedSweep, steps: pd.DataFrame) -> Table:
    """Build the table of cosine and gain; the frame by step, the grid by cell."""
    rows = [
        [
            *(ATTACKS[row["attack"]].title, f"{row['strength']:g}", str(row["steps"])),
            *(
                MISSING if math.isnan(row[column]) else f"{row[column]:.3f}"
                for column in ("cosine_mean", "cosine_first", "cosine_last")
            ),
            *(f"{row['predicted']:.3g}", f"{row['gained']:.3g}", percent(row["share_percent"])),
        ]
        for row in whole_attacks(steps).to_dict("records")
    ]
    columns = (
        *words("Attack"),
        *numbers("Strength", "Steps"),
        *numbers("mean", "first step", "last step", group="Cosine"),
        *numbers("predicted", "happened", "share (%)", group="Gain in loss"),
    )
    grey = " (of colours, although steps are grey)" if sweep.condition.grey else ""
    gain = f"fall of {sweep.source}'s loss for {sweep.aim}" if sweep.aim else f"gain in {sweep.source}'s loss"
    caption = (
        f"Cosine between the step taken, after projection and clipping, and the gradient{grey} where it began; {gain} per "
        f"film, all steps together, that the gradient predicts to first order, and what happened; means over {sweep.described}."
    )
    return Table("theory" + sweep.suffix, HEADING, caption, steps, columns, rows, None, sweep.name)


@matplotlib.rc_context(STYLE)
def draw_steps(sweep: FinishedSweep, steps: pd.DataFrame) -> Figure:
    """Draw the cosine by step (left) and the gain that happened against the gain predicted, one marker per cell (right).

    Where no cell has a gain, the cosine stands alone.
    """
    gains = whole_attacks(steps)
    drawable = with_gain(gains)
    figure = Figure(figsize=(WIDTH, 3.1), layout="constrained")
    panels = figure.subplots(1, 1 if drawable.empty else 2, squeeze=False)[0]
    left = panels[0]
    many = steps.groupby("attack")["step"].transform("max") > 1
    several = steps[many] if many.any() else steps
    for name in ordered(several["attack"], ATTACKS):
        cosine = several[several["attack"] == name].groupby("step")["cosine_mean"].agg(["mean", "min", "max"])
        left.plot(cosine.index, cosine["mean"], **attack_style(name))
        draw_band(left, cosine.index, cosine["min"], cosine["max"], name)
    left.set(
        xlabel="(a) step",
        ylabel="cosine between step and gradient",
        xticks=sorted(several["step"].unique()),
        ylim=(min(0, several["cosine_mean"].min()), 1.03),
    )
    if len(panels) > 1:
        draw_gains(panels[1], drawable)
    for axes in panels:
        finish_panel(axes)
    add_legend(figure, steps["attack"])
    missing = len(gains) - len(drawable)
    left_out = f"; (b) leaves out {plural(missing, 'cell')} without a gain" if missing and len(panels) > 1 else ""
    which = "iterative attacks, " if many.any() and not many.all() else ""
    figure.supxlabel(f"{sweep.described}\n(a) {which}mean and range over strengths{left_out}", fontsize=SMALL_POINTS)
    return figure


def draw_gains(axes: Axes, gains: pd.DataFrame) -> None:
    """Draw the gain that happened against the gain predicted, one marker per cell, and the diagonal where they are equal."""
    for name in ordered(gains["attack"], ATTACKS):
        cells = gains[gains["attack"] == name]
        axes.plot(cells["predicted"], cells["gained"], **{**attack_style(name), "linestyle": "none"})
    values = gains[["predicted", "gained"]].to_numpy()
    ends = values.min() / 1.5, values.max() * 1.5
    axes.plot(ends, ends, color=GREY, linewidth=0.8, linestyle=CLEAN_LINE, zorder=1)
    axes.set(xscale="log", yscale="log", xlim=ends, ylim=ends)
    for axis in (axes.xaxis, axes.yaxis):
        scale_log(axis)
    axes.set(xlabel="(b) gain in loss predicted", ylabel="gain that happened")


def steps_sentences(sweep: FinishedSweep, steps: pd.DataFrame) -> list[Sentence]:
    """Return the sentence on cosine and gain of sign against no-sign attacks, over the strengths at which both ran."""
    cells = whole_attacks(steps).set_index(["attack", "strength"])
    pairs = list(twins(cells.index))
    if not pairs:
        return []
    found = [cells.loc[[pair[place] for pair in pairs]] for place in (0, 1)]
    cosines = [part["cosine_mean"].mean() for part in found]
    shares = [whole_percent(part["share_percent"].median()) for part in found]
    text = (
        f"{sweep.heading}: the mean cosine between step and gradient is {cosines[0]:.3f} under sign and {cosines[1]:.3f} "
        f"under no-sign attacks; of the gain in loss that the gradient predicts, {shares[0]} and {shares[1]} happened "
        f"(medians over {plural(len(pairs), 'pair')} of cells)."
    )
    return [Sentence(text, sweep.name)]


def whole_percent(share: float) -> str:
    """Return a percentage without decimals, or a dash where there is none."""
    return MISSING if math.isnan(share) else f"{share:.0f} %"
