"""Sign against no-sign at equal effort: the accuracy that each leaves at the same strength, L2, L-inf or SSIM.

Attacks run at strengths, and the same strength is not the same effort: a no-sign step has the L2 norm of a sign step and
a far larger L-inf norm. So the lines of Figure 5 are compared where both have been run, film by film.
"""

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from nosign.attacks import ATTACKS, PAIRS
from nosign.cells import ordered
from nosign.figures import DIRECTION_COLOURS, GREY, SMALL_POINTS, STYLE, WIDTH, finish_panel
from nosign.statistics import ALPHA, VERDICTS, joined, plural, with_verdicts
from nosign.tables import p_value, pair_title, percent, plain_table, signed, span

# What is held equal, in words, and its value in a cell.
MEASURES = {
    "strength": lambda strength, cell: strength,
    "L2": lambda strength, cell: cell["l2"].mean(),
    "L-inf": lambda strength, cell: cell["linf"].mean(),
    "SSIM": lambda strength, cell: 1 - cell["ssim"].mean(),
}
NO_RANGE = "no range in common"
PAIR_MARKS = ("o", "s", "^", "D")
COLUMNS = (
    "source",
    "condition",
    "sign_attack",
    "no_sign_attack",
    "measure",
    "lowest",
    "highest",
    "films",
    "sign_percent",
    "no_sign_percent",
    "difference_points",
    "ci_low_points",
    "ci_high_points",
    "p",
)


def mean_weights(places, low, high):
    """Return the weights by which values at some places average over a range, linear between places.

    Args:
        places: float [k], ascending; the range lies within them.
        low, high: the range's ends, low below high.

    Returns:
        float64 [k], with the sum 1.
    """
    # The trapezoidal rule is exact for lines that bend at the grid's points only.
    grid = np.unique(np.concatenate([np.clip(places, low, high), [low, high]]))
    bases = np.stack([np.interp(grid, places, base) for base in np.eye(len(places))])
    return np.trapezoid(bases, grid, axis=1) / (high - low)


def line_of(sweep, attack, measure):
    """Return an attack's line: where its cells stand on the logarithm of a measure, and each film's result there.

    Returns:
        (float [k], ascending; bool [k, films], what `FinishedSweep.hits` returned). Cells that change nothing are left out.
    """
    cells = {strength: cell for (name, strength), cell in sweep.cells.items() if name == attack and sweep.source in cell}
    found = sorted((MEASURES[measure](strength, cell), strength) for strength, cell in cells.items())
    found = [
        (value, strength)
        for place, (value, strength) in enumerate(found)
        if value > 0 and (place == 0 or value > found[place - 1][0])
    ]
    hits = [sweep.hits(cells[strength][sweep.source]) for _, strength in found]
    return np.log([value for value, _ in found]), np.array(hits)


def mean_of_films(films):
    """Estimate the mean of one difference a film, and test whether it is zero, by Student's t.

    Args:
        films: float [films].

    Returns:
        (mean, low and high end of its 95 % interval, two-sided p).
    """
    from scipy.stats import ttest_1samp

    if np.ptp(films) == 0:  # nothing to estimate a spread from
        return films[0], films[0], films[0], float(films[0] == 0)
    found = ttest_1samp(films, 0)
    return films.mean(), *found.confidence_interval(1 - ALPHA), found.pvalue


def compare_pair(sweep, pair, measure):
    """Compare a sign and a no-sign attack over the range of a measure that both cover, white-box.

    Between cells the share of films is taken as linear in the logarithm of the measure, whose mean over films is taken as
    known; so each film has one mean difference, and these are compared with zero.

    Returns:
        Dict with `COLUMNS`, or None where the two have no range in common.
    """
    lines = [line_of(sweep, attack, measure) for attack in pair]
    if any(len(places) < 2 for places, _ in lines):
        return None
    low, high = (end(places[side] for places, _ in lines) for end, side in ((max, 0), (min, -1)))
    if low >= high or lines[0][1].shape[1] < 2:
        return None
    sign, no_sign = (100 * mean_weights(places, low, high) @ hits for places, hits in lines)
    mean, *interval, p = mean_of_films(no_sign - sign)
    return dict(
        zip(
            COLUMNS,
            (
                sweep.source,
                sweep.condition,
                *pair,
                measure,
                np.exp(low),
                np.exp(high),
                len(sign),
                sign.mean(),
                no_sign.mean(),
                mean,
                *interval,
                p,
            ),
        )
    )


def compare_equal(sweep):
    """Compare every pair of a sweep by each of `MEASURES`; see `compare_pair`.

    Returns:
        Frame with `COLUMNS`, holm_p (over the frame) and verdict, one of `VERDICTS`; no rows where nothing can be compared.
    """
    rows = [compare_pair(sweep, pair, measure) for pair in PAIRS for measure in MEASURES]
    frame = pd.DataFrame([row for row in rows if row], columns=COLUMNS)
    if frame.empty:
        return frame
    return with_verdicts(frame, sweep.aim)


def equal_table(sweep, equal):
    """Build the table of sign against no-sign at equal effort; what has no range in common is left out."""
    rows = [
        [
            pair_title(row),
            row.measure,
            f"{row.lowest:.2g}\N{EN DASH}{row.highest:.2g}",
            percent(row.sign_percent),
            percent(row.no_sign_percent),
            signed(row.difference_points),
            span(row.ci_low_points, row.ci_high_points),
            p_value(row.holm_p),
            row.verdict,
        ]
        for row in equal.itertuples()
    ]
    effect = f"{sweep.effect.title()} (%)"
    columns = [
        ("", "Pair"),
        ("", "Measure"),
        ("", "Range"),
        (effect, "sign"),
        (effect, "no-sign"),
        ("", "Difference"),
        ("", "95 % interval"),
        ("", "Holm p"),
        ("", "Verdict"),
    ]
    caption = (
        f"Sign against no-sign at equal effort, white-box: mean {sweep.effect} over the range of each measure that both "
        f"attacks cover (SSIM: 1 \N{MINUS SIGN} SSIM), linear in its logarithm between the strengths that were run; "
        "difference in points, no-sign minus sign, with Student's 95 % interval over films, and p after Holm's "
        f"correction over {plural(len(equal), 'comparison')}; {sweep.described}."
    )
    table = plain_table("equal" + sweep.suffix, "Equal effort", caption, equal, rows, columns)
    table.bold[:, -1] = equal["verdict"] != VERDICTS[0]
    return table


@matplotlib.rc_context(STYLE)
def draw_equal(sweep, equal):
    """Draw the difference between no-sign and sign at equal effort with its interval, a row a measure, a mark a pair."""
    measures, pairs = ordered(equal["measure"], MEASURES), ordered(equal["sign_attack"], [sign for sign, _ in PAIRS])
    figure = Figure(figsize=(WIDTH, 1.25 + 0.2 * len(measures) * len(pairs)), layout="constrained")
    axes = figure.subplots()
    colours = {VERDICTS[1]: DIRECTION_COLOURS["no-sign"], VERDICTS[-1]: DIRECTION_COLOURS["sign"], VERDICTS[0]: GREY}

    def height_of(measure, sign):
        return measures.index(measure) + (pairs.index(sign) - (len(pairs) - 1) / 2) / (len(pairs) + 0.6)

    for row in equal.itertuples():
        height, marker = height_of(row.measure, row.sign_attack), PAIR_MARKS[pairs.index(row.sign_attack)]
        colour = colours[row.verdict]
        axes.plot([row.ci_low_points, row.ci_high_points], [height] * 2, color=colour, linewidth=1.2)
        axes.plot(
            row.difference_points,
            height,
            color=colour,
            marker=marker,
            markersize=4.5,
            markerfacecolor=colour if row.verdict != VERDICTS[0] else "white",
        )
    axes.axvline(0, color=GREY, linewidth=0.8)
    there = set(zip(equal["measure"], equal["sign_attack"]))
    for measure, sign in ((measure, sign) for measure in measures for sign in pairs if (measure, sign) not in there):
        axes.annotate(
            NO_RANGE,
            (0, height_of(measure, sign)),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=SMALL_POINTS,
            color=GREY,
        )
    for border in np.arange(len(measures) - 1) + 0.5:
        axes.axhline(border, color="#DDDDDD", linewidth=0.5)
    reach = 1.1 * max(1, equal[["ci_low_points", "ci_high_points"]].abs().to_numpy().max())
    axes.set(
        xlim=(-reach, reach),
        ylim=(len(measures) - 0.5, -0.5),
        xlabel=f"difference in {sweep.effect}, no-sign minus sign (points)",
    )
    axes.set_yticks(range(len(measures)), [f"at equal {measure}" for measure in measures])
    sides = ("no-sign is stronger", "sign is stronger")
    for side, text, place in zip(("left", "right"), reversed(sides) if sweep.aim else sides, (0, 1)):
        axes.annotate(
            text,
            (place, 1),
            xycoords="axes fraction",
            xytext=(0, 3),
            textcoords="offset points",
            ha=side,
            va="bottom",
            fontsize=SMALL_POINTS,
            color=GREY,
        )
    finish_panel(axes, "x")
    marks = [
        Line2D(
            [],
            [],
            linestyle="none",
            marker=PAIR_MARKS[place],
            markersize=4.5,
            color=GREY,
            label=pair_title(equal[equal["sign_attack"] == sign].iloc[0]),
        )
        for place, sign in enumerate(pairs)
    ]
    figure.legend(handles=marks, loc="outside upper center", ncols=len(marks), frameon=False, handletextpad=0.3)
    figure.supxlabel(
        f"{sweep.described}; bars: 95 % intervals; filled: told apart after Holm's correction", fontsize=SMALL_POINTS
    )
    return figure


def equal_sentences(sweep, equal):
    """Return, a sentence a pair, how many more or fewer films the no-sign attack leaves right at equal effort."""
    does = f"has taken for {sweep.aim}" if sweep.aim else "leaves right"
    sentences = []
    for sign, no_sign in PAIRS:
        own = equal[equal["sign_attack"] == sign]
        apart = [measure for measure in ordered(equal["measure"], MEASURES) if measure not in set(own["measure"])]
        left_out = f", {NO_RANGE} at equal {joined(apart)}" if apart else ""
        told = [
            f"{abs(row.difference_points):.1f} points {'more' if row.difference_points > 0 else 'fewer'} at equal "
            f"{row.measure} ({row.verdict})"
            for row in own.itertuples()
        ]
        if told:
            sentences.append(
                f"{sweep.heading}, white-box: of the films {ATTACKS[no_sign].title} {does}, against "
                f"{ATTACKS[sign].title}, {joined(told)}; means over the range that both cover{left_out} "
                f"(Student's t over films, Holm over {plural(len(equal), 'comparison')})."
            )
    return sentences


def describe_equal(sweep):
    """Return what one sweep says at equal effort: (list of `Table`, dict from name to figure, list of sentences)."""
    equal = compare_equal(sweep)
    if equal.empty:
        return [], {}, []
    return [equal_table(sweep, equal)], {"equal" + sweep.suffix: draw_equal(sweep, equal)}, equal_sentences(sweep, equal)
