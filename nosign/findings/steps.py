"""The theory measured: how far each step goes along the gradient, and how much of the predicted gain in loss happens.

`attack.py` records both for every film and step; see `nosign.attacks.directions.step_effect`.
"""

import math

import matplotlib
import pandas as pd
from matplotlib.figure import Figure

from nosign.attacks.catalogue import ATTACKS, Condition
from nosign.errors import UserError
from nosign.finished import twins
from nosign.output.plot import CLEAN_LINE, GREY, SMALL_POINTS, STYLE, WIDTH, add_legend, attack_style, draw_band, finish_panel
from nosign.output.table import plain_table
from nosign.output.words import MISSING, ordered, percent, plural
from nosign.rows import ADVICE, STEPS, read_fields

STEP_MEASURES = ("cosine", "predicted", "gained")
# The same gains in the log-odds against the label; cross-entropy predicts next to nothing for a confident film.
LOG_ODDS_MEASURES = ("predicted_log_odds", "gained_log_odds")


def read_steps(sweep):
    """Average the record of every step over films.

    Returns:
        Frame with a row a cell and step: source, condition, attack, strength, step, cosine_mean (between step and gradient,
        over the films where both are not zero), predicted_mean and gained_mean (loss), share_percent (gained of predicted;
        NaN where none was predicted); no rows if no steps are on record. What is not finite in a film does not count.

    Raises:
        UserError: a file of steps is malformed.
    """
    frames = []
    for (attack, strength), cell in sweep.paths.items():
        path = cell.with_suffix(STEPS)
        if not path.exists():
            continue
        frame = read_fields(path, ("film", "step", *STEP_MEASURES), ADVICE, empty=(*STEP_MEASURES, *LOG_ODDS_MEASURES))
        films = frame.groupby("step")["film"]
        if (
            not (films.nunique().eq(len(sweep.clean)) & films.count().eq(len(sweep.clean))).all()
            or not frame["film"].isin(sweep.clean["film"]).all()
        ):
            raise UserError(f"{path}: expected each of the {len(sweep.clean)} films of clean.csv once a step; {ADVICE}")
        means = frame.groupby("step")[list(STEP_MEASURES)].mean().add_suffix("_mean").reset_index()
        means.insert(0, "strength", strength)
        means.insert(0, "attack", attack)
        frames.append(means.assign(share_percent=share_of(means["gained_mean"], means["predicted_mean"])))
    if not frames:
        return pd.DataFrame()
    steps = pd.concat(frames, ignore_index=True).astype({"step": int})
    steps.insert(0, "condition", sweep.condition)
    steps.insert(0, "source", sweep.source)
    return steps


def share_of(part, whole):
    """Return a part of a whole in per cent, NaN where there is no whole above 0."""
    return 100 * part / whole.where(whole > 0)


def whole_attacks(steps):
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


def theory_table(sweep, steps):
    """Build the table of the theory measured; tidy by step, shown by cell."""
    rows = [
        [
            ATTACKS[row["attack"]].title,
            f"{row['strength']:g}",
            str(row["steps"]),
            *(
                MISSING if math.isnan(row[column]) else f"{row[column]:.3f}"
                for column in ("cosine_mean", "cosine_first", "cosine_last")
            ),
            f"{row['predicted']:.3g}",
            f"{row['gained']:.3g}",
            percent(row["share_percent"]),
        ]
        for row in whole_attacks(steps).to_dict("records")
    ]
    columns = [
        ("", "Attack"),
        ("", "Strength"),
        ("", "Steps"),
        ("Cosine", "mean"),
        ("Cosine", "first step"),
        ("Cosine", "last step"),
        ("Gain in loss", "predicted"),
        ("Gain in loss", "happened"),
        ("Gain in loss", "share (%)"),
    ]
    grey = " (of colours, although steps are grey)" if Condition.parse(sweep.condition).grey else ""
    gain = f"fall of {sweep.source}'s loss for {sweep.aim}" if sweep.aim else f"gain in {sweep.source}'s loss"
    caption = (
        f"The theory measured: cosine between the step taken, after projection and clipping, and the gradient{grey} "
        f"where it began; {gain} a film, all steps together, that the gradient predicts to first order, and what "
        f"happened; means over {sweep.described}."
    )
    return plain_table("theory" + sweep.suffix, "Theory", caption, steps, rows, columns)


@matplotlib.rc_context(STYLE)
def draw_theory(sweep, steps):
    """Draw the cosine by step (left) and the gain that happened against the gain predicted, a mark a cell (right)."""
    figure = Figure(figsize=(WIDTH, 3.1), layout="constrained")
    left, right = figure.subplots(1, 2)
    many = steps.groupby("attack")["step"].transform("max") > 1
    shown = steps[many] if many.any() else steps
    for name in ordered(shown["attack"], ATTACKS):
        cosine = shown[shown["attack"] == name].groupby("step")["cosine_mean"].agg(["mean", "min", "max"])
        left.plot(cosine.index, cosine["mean"], **attack_style(name))
        draw_band(left, cosine.index, cosine["min"], cosine["max"], name)
    left.set(
        xlabel="(a) step",
        ylabel="cosine between step and gradient",
        xticks=sorted(shown["step"].unique()),
        ylim=(min(0, shown["cosine_mean"].min()), 1.03),
    )
    gains = whole_attacks(steps)
    drawable = gains[(gains["predicted"] > 0) & (gains["gained"] > 0)]
    for name in ordered(drawable["attack"], ATTACKS):
        cells = drawable[drawable["attack"] == name]
        right.plot(cells["predicted"], cells["gained"], **{**attack_style(name), "linestyle": "none"})
    draw_diagonal(right, drawable)
    missing = len(gains) - len(drawable)
    right.set(xlabel="(b) gain in loss predicted", ylabel="gain that happened")
    for axes in (left, right):
        finish_panel(axes)
    add_legend(figure, steps["attack"])
    left_out = f"; (b) leaves out {missing} cells without a gain" if missing else ""
    which = "iterative attacks, " if many.any() and not many.all() else ""
    figure.supxlabel(f"{sweep.described}; (a) {which}mean and range over strengths{left_out}", fontsize=SMALL_POINTS)
    return figure


def draw_diagonal(axes, gains):
    """Draw where the gain is what was predicted, and give a panel its logarithmic scales."""
    if gains.empty:
        return
    values = gains[["predicted", "gained"]].to_numpy()
    ends = values.min() / 1.5, values.max() * 1.5
    axes.plot(ends, ends, color=GREY, linewidth=0.8, linestyle=CLEAN_LINE, zorder=1)
    axes.set(xscale="log", yscale="log", xlim=ends, ylim=ends)


def theory_sentences(sweep, steps):
    """Return the sentence on cosine and gain of sign against no-sign attacks, over the strengths at which both ran."""
    cells = whole_attacks(steps).set_index(["attack", "strength"])
    pairs = list(twins(cells.index))
    if not pairs:
        return []
    found = [cells.loc[[pair[place] for pair in pairs]] for place in (0, 1)]
    cosines = [part["cosine_mean"].mean() for part in found]
    shares = [whole_percent(part["share_percent"].median()) for part in found]
    return [
        f"{sweep.heading}: the mean cosine between step and gradient is {cosines[0]:.3f} under sign and {cosines[1]:.3f} "
        f"under no-sign attacks; of the gain in loss that the gradient predicts, {shares[0]} and {shares[1]} happened "
        f"(medians over {plural(len(pairs), 'pair')} of cells)."
    ]


def whole_percent(share):
    """Return a percentage without decimals, or a dash where there is none."""
    return MISSING if math.isnan(share) else f"{share:.0f} %"


def describe_theory(sweep):
    """Return what the steps of one sweep say, as `describe_effort`."""
    steps = read_steps(sweep)
    if steps.empty:
        return [], {}, []
    return ([theory_table(sweep, steps)], {"theory" + sweep.suffix: draw_theory(sweep, steps)}, theory_sentences(sweep, steps))
