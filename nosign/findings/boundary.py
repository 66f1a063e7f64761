"""Where attacks become visible, and what they do up to there.

For single-step attacks `attack.py` solves for the boundary; for the others it is interpolated between finished cells.
"""

from __future__ import annotations

import itertools

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from nosign.attacks.catalogue import ATTACKS, PAIRS
from nosign.dataset import CLASSES
from nosign.finished import FinishedSweep, Run, judged
from nosign.measures.visibility import CRITERIA, STRONGEST
from nosign.output.finding import Drawing, Finding, Sentence
from nosign.output.plot import DIRECTION_COLOURS, GREY, SMALL_POINTS, STYLE, WIDTH, finish_panel, scale_strengths
from nosign.output.table import Table, bold_last, numbers, words
from nosign.output.words import MISSING, joined, p_value, pair_title, percent, signed, span, tested
from nosign.rows import ordered
from nosign.statistics.families import VERDICTS
from nosign.statistics.intervals import bound_of_median
from nosign.statistics.paired import compare_hits

HEADING = "Where attacks become visible"
ALL_CLASSES = "all"
CLASS_MARKS = ("o", "s", "^")


def describe(run: Run) -> Finding:
    """Return the visibility boundary of each sweep's attacks, and sign against no-sign up to there."""
    tables, drawings, sentences = [], [], []
    for sweep in run.sweeps:
        if not sweep.boundaries:
            continue
        summary, compared = summarise(sweep), compare_invisible(sweep)
        if not compared.empty:
            tables.append(invisible_table(sweep, compared))
            sentences += invisible_sentences(sweep, compared)
        tables.append(boundary_table(sweep, summary))
        caption = (
            f"Median strength up to which perturbations are invisible, by attack and class, with quartiles; {sweep.described}."
        )
        alt = "One panel per criterion: a marker per class and attack on an axis of strengths."
        figure = draw_boundaries(sweep, summary)
        drawings.append(Drawing("boundary" + sweep.suffix, "Visibility boundary", caption, alt, figure, sweep.name))
        sentences += boundary_sentences(sweep, summary)
    return Finding("boundary", HEADING, tuple(tables), tuple(drawings), tuple(sentences))


def summarise(sweep: FinishedSweep) -> pd.DataFrame:
    """Summarise `FinishedSweep.boundaries` by attack, criterion and class.

    Returns:
        Frame, one row per attack, criterion and class (`ALL_CLASSES` for all together):
            source, condition, attack, criterion, class, films
            median, lower_quartile, upper_quartile     boundary as a strength
            at_least, at_most                          films whose boundary lies beyond the strengths that were run
            exact                                      solved for rather than interpolated
            correct_<MODEL>, accuracy_percent_<MODEL>  films right at their boundary, with its 95 % interval; with
            (reached_..., attackable)                  an aim films taken for it; NaN where half of the films or more are
                                                       visible at every strength that was run
    """
    of_class = {name: sweep.labels == label for label, name in enumerate(CLASSES)}
    of_class[ALL_CLASSES] = np.ones(len(sweep.labels), bool)
    return pd.DataFrame(
        [
            {**sweep.keys, "attack": attack, "criterion": criterion, "class": name, **summary_of(sweep, films, among)}
            for (attack, criterion), films in sweep.boundaries.items()
            for name, among in of_class.items()
            if among.any()
        ]
    )


def summary_of(sweep: FinishedSweep, films: pd.DataFrame, among: np.ndarray) -> dict:
    """Return what `summarise` says of the boundaries of some films, as a dict.

    Args:
        films: a frame of `FinishedSweep.boundaries`.
        among: bool [films], which films.
    """
    strength, beyond = (films[name].to_numpy()[among] for name in ("strength", "beyond"))
    is_known = 2 * (beyond == -1).sum() < len(beyond)
    lower, median, upper = np.quantile(strength, (0.25, 0.5, 0.75))
    return {
        "films": len(beyond),
        "median": median,
        "lower_quartile": lower,
        "upper_quartile": upper,
        "at_least": int((beyond == 1).sum()),
        "at_most": int((beyond == -1).sum()),
        "exact": bool(films["exact"].iloc[0]),
        **{
            name: value
            for target in sweep.targets
            if target in films
            for name, value in sweep.effect_of(films[target] if is_known else None, f"_{target}", among).items()
        },
    }


def bound_of(row: dict) -> str:
    """Return how a row's median is to be read: "at least" or "at most" where half of its films lie beyond, else ""."""
    return bound_of_median(row["films"], row["at_least"], row["at_most"])


def bounded_strength(row: dict) -> str:
    """Return a median strength for a table: a plus sign for at least, a minus sign for at most."""
    return f"{row['median']:.3g}" + {"at least": "+", "at most": "-", "": ""}[bound_of(row)]


def boundary_table(sweep: FinishedSweep, summary: pd.DataFrame) -> Table:
    """Build the table of the boundary by attack and class, with the white-box accuracy there."""
    criteria, column = ordered(summary["criterion"], CRITERIA), f"{sweep.effect}_percent_{sweep.source}"
    rows = []
    for (attack, name), part in summary.groupby(["attack", "class"], sort=False):
        by_criterion = {row["criterion"]: row for row in part.to_dict("records")}
        effects = part.set_index("criterion")[column] if column in part else {}
        medians = (bounded_strength(by_criterion[name]) if name in by_criterion else MISSING for name in criteria)
        shares = (percent(effects.get(criterion)) for criterion in criteria)
        rows.append([ATTACKS[attack].title, name, str(part["films"].iloc[0]), *medians, *shares])
    columns = (
        *words("Attack", "Class"),
        *numbers("Films"),
        *numbers(*criteria, group="Median boundary (strength)"),
        *numbers(*criteria, group=f"{sweep.effect.title()} there (%)"),
    )
    caption = (
        f"The largest strength at which a film's perturbation is invisible, by attack and class: medians over "
        f"{sweep.described}. Plus, minus: at least, at most (half of the films or more lie beyond the strengths that "
        f"were run; where at most, what happens there is not known). {iterative_note(summary)}On the right, what "
        f"{sweep.source} makes of the films, each at its own boundary; counts and intervals stand in the CSV file. "
        f"{criteria_note(criteria)}."
    )
    return Table("boundary" + sweep.suffix, "Visibility boundary", caption, summary, columns, rows, None, sweep.name)


def criteria_note(criteria: list[str]) -> str:
    """Return what captions say of criteria."""
    return "Invisible is what satisfies: " + "; ".join(f"{name}: {CRITERIA[name]}" for name in criteria)


def iterative_note(summary: pd.DataFrame) -> str:
    """Return the sentence on how boundaries were found: solved for, interpolated, or both."""
    ways = {
        True: "solved for",
        False: "interpolated between the strengths that were run, and each film is taken at the last of them that is invisible",
    }
    titles = {exact: [ATTACKS[name].title for name in part["attack"].unique()] for exact, part in summary.groupby("exact")}
    return "".join(f"{joined(titles[exact])}: {way}. " for exact, way in ways.items() if exact in titles)


@matplotlib.rc_context(STYLE)
def draw_boundaries(sweep: FinishedSweep, summary: pd.DataFrame) -> Figure:
    """Draw the boundary by attack and class: one panel per criterion, medians with quartiles on a logarithmic strength axis."""
    criteria, attacks = ordered(summary["criterion"], CRITERIA), ordered(summary["attack"], ATTACKS)
    classes = ordered(set(summary["class"]) - {ALL_CLASSES}, CLASSES)
    figure = Figure(figsize=(WIDTH, 0.95 + 0.13 * len(attacks) * (len(classes) + 1)), layout="constrained")
    panels = figure.subplots(1, len(criteria), sharex=True, sharey=True, squeeze=False)[0]
    for axes, criterion in zip(panels, criteria):
        for row in summary[(summary["criterion"] == criterion) & (summary["class"] != ALL_CLASSES)].to_dict("records"):
            place = classes.index(row["class"])
            height = attacks.index(row["attack"]) + (place - (len(classes) - 1) / 2) / (len(classes) + 0.6)
            draw_boundary(axes, row, height, CLASS_MARKS[place % len(CLASS_MARKS)])
        axes.set(title=criterion, xlabel="strength")
        finish_panel(axes, "x")
    for border in np.arange(len(attacks) - 1) + 0.5:
        for axes in panels:
            axes.axhline(border, color="#DDDDDD", linewidth=0.5)
    scale_strengths(panels[0], strengths_of_axis(summary))
    panels[0].set_yticks(range(len(attacks)), [ATTACKS[name].title for name in attacks])
    panels[0].set_ylim(len(attacks) - 0.5, -0.5)
    figure.legend(
        handles=boundary_legend(classes),
        loc="outside upper center",
        ncols=len(classes) + 4,
        frameon=False,
        handletextpad=0.3,
        columnspacing=1.2,
    )
    figure.supxlabel(f"{sweep.described}; bars: quartiles; tips: beyond what was run", fontsize=SMALL_POINTS)
    return figure


def strengths_of_axis(summary: pd.DataFrame) -> pd.Series:
    """Return the strengths between which the axis of `draw_boundaries` runs, all above 0."""
    strengths = pd.concat([summary["lower_quartile"], summary["upper_quartile"]])
    strengths = strengths[strengths > 0]
    room = 1.3 if summary.apply(bound_of, axis=1).any() else 1.0  # for the arrows
    return pd.Series([strengths.min() / room, strengths.max() * room] if len(strengths) else [STRONGEST])


def draw_boundary(axes: Axes, row: dict, height: float, marker: str) -> None:
    """Draw one attack's and class's median with its quartiles; an arrow at a median that is a bound only."""
    colour = DIRECTION_COLOURS[ATTACKS[row["attack"]].direction]
    bound = bound_of(row)
    axes.plot([row["lower_quartile"], row["upper_quartile"]], [height] * 2, color=colour, linewidth=1.2, zorder=2)
    for beyond, end, tip in (("at_most", "lower_quartile", "<"), ("at_least", "upper_quartile", ">")):
        if 4 * row[beyond] > row["films"] and bound != beyond.replace("_", " "):
            axes.plot(row[end], height, color=colour, marker=tip, markersize=3.5, zorder=2, clip_on=False)
    axes.plot(
        row["median"],
        height,
        color=colour,
        marker=marker,
        markersize=4.5,
        zorder=3,
        markerfacecolor="white" if bound else colour,
        clip_on=False,
    )
    if bound:
        axes.annotate(
            "",
            (row["median"], height),
            xytext=(-13 if bound == "at most" else 13, 0),
            textcoords="offset points",
            arrowprops={"arrowstyle": "<-", "color": colour, "linewidth": 0.8, "shrinkA": 0, "shrinkB": 3},
        )


def boundary_legend(classes: list[str]) -> list[Line2D]:
    """Return the legend of `draw_boundaries`: markers of the classes, colours of the directions, and the arrow."""
    marks = [(name, GREY, CLASS_MARKS[place % len(CLASS_MARKS)], GREY) for place, name in enumerate(classes)]
    marks += [("bound only", GREY, CLASS_MARKS[0], "white")]
    lines = [Line2D([], [], color=colour, linewidth=2.5, label=name) for name, colour in DIRECTION_COLOURS.items()]
    return lines + [
        Line2D([], [], linestyle="none", marker=marker, markersize=5, color=colour, markerfacecolor=face, label=name)
        for name, colour, marker, face in marks
    ]


def boundary_sentences(sweep: FinishedSweep, summary: pd.DataFrame) -> list[Sentence]:
    """Return, one sentence per criterion, what each attack does to the white-box model where it is invisible."""
    column = f"{sweep.effect}_percent_{sweep.source}"
    if column not in summary:
        return []
    before = sweep.effect_percent(sweep.clean[sweep.source])
    sees = f"takes for {sweep.aim}, of the films of other classes," if sweep.aim else "is right on"
    sentences = []
    for criterion, part in summary[summary["class"] == ALL_CLASSES].groupby("criterion", sort=False):
        found = [
            f"{row[column]:.1f} % under {ATTACKS[row['attack']].title} (median boundary "
            f"{f'{bound_of(row)} '.lstrip()}{row['median']:.3g})"
            for row in part.to_dict("records")
            if not np.isnan(row[column])
        ]
        unknown = [ATTACKS[name].title for name in part.loc[part[column].isna(), "attack"]]
        stepped = [ATTACKS[name].title for name in part.loc[part[column].notna() & ~part["exact"], "attack"]]
        notes = [f"for {joined(unknown)} no strength that was run is weak enough to tell"] if unknown else []
        notes += [f"{joined(stepped)} at the last strength run that is invisible"] if stepped else []
        further = "".join(f"; {note}" for note in notes)
        if found:
            text = (
                f"{sweep.heading}: where each film is attacked as strongly as stays invisible by the criterion "
                f"'{criterion}', {sweep.source} {sees} {joined(found)}; without an attack, {before:.1f} "
                f"%{further}."
            )
            sentences.append(Sentence(text, sweep.name))
    return sentences


def compare_invisible(sweep: FinishedSweep) -> pd.DataFrame:
    """Test sign against no-sign where each film is attacked as strongly as stays invisible, white-box.

    A pair is compared where both attacks' boundaries were solved for.

    Returns:
        Frame, one row per pair and criterion, no rows where there is nothing to compare:
            source, condition, sign_attack, no_sign_attack, criterion, films
            sign_films, no_sign_films                            films right, or taken for the aim
            only_sign, only_no_sign, difference_points, ...      see `compare_hits`
            holm_p, comparisons, least_points, verdict           see `judged`; the frame is one family
    """
    parts = {
        key: films[sweep.source] for key, films in sweep.boundaries.items() if films["exact"].all() and sweep.source in films
    }
    rows = []
    for (sign, no_sign), criterion in itertools.product(PAIRS, CRITERIA):
        if (sign, criterion) in parts and (no_sign, criterion) in parts:
            hits = [sweep.hits(parts[attack, criterion]) for attack in (sign, no_sign)]
            rows.append(
                {
                    **sweep.keys,
                    "sign_attack": sign,
                    "no_sign_attack": no_sign,
                    "criterion": criterion,
                    "films": int(sweep.attackable.sum()),
                    "sign_films": int(hits[0].sum()),
                    "no_sign_films": int(hits[1].sum()),
                    **compare_hits(sweep.patients, hits[0], hits[1], ("sign", "no_sign"), sweep.attackable),
                }
            )
    if not rows:
        return pd.DataFrame()
    frame = pd.DataFrame(rows)
    return judged(frame, frame["difference_points"] * (1 if sweep.aim else -1))


def invisible_table(sweep: FinishedSweep, compared: pd.DataFrame) -> Table:
    """Build the table of sign against no-sign where both are invisible."""
    counted = f"taken for {sweep.aim}" if sweep.aim else "right"
    rows = [
        [
            *(pair_title(row), row.criterion, str(row.films), str(row.sign_films), str(row.no_sign_films), str(row.only_sign)),
            *(str(row.only_no_sign), signed(row.difference_points), span(row.ci_low_points, row.ci_high_points)),
            *(p_value(row.holm_p), row.verdict),
        ]
        for row in compared.itertuples()
    ]
    columns = (
        *words("Pair", "Criterion"),
        *numbers("Films"),
        *numbers("sign", "no-sign", "only sign", "only no-sign", group=f"Films {counted} under"),
        *numbers("Difference", "95 % interval", "Holm p"),
        *words("Verdict"),
    )
    caption = (
        f"Sign against no-sign where each film is attacked as strongly as stays invisible, white-box: films {counted}; "
        f"difference in points, no-sign minus sign; {tested(compared['comparisons'].iloc[0])}; {sweep.described}."
    )
    bold = bold_last(rows, compared["verdict"] != VERDICTS[0])
    return Table("invisible" + sweep.suffix, "As strong as invisible", caption, compared, columns, rows, bold, sweep.name)


def invisible_sentences(sweep: FinishedSweep, compared: pd.DataFrame) -> list[Sentence]:
    """Return, one sentence per pair, at which criteria sign and no-sign can be told apart where they are invisible."""
    sentences = []
    for _, part in compared.groupby("sign_attack", sort=False):
        told = [f"{row.verdict} by {row.criterion} ({signed(row.difference_points)} points)" for row in part.itertuples()]
        text = (
            f"{sweep.heading}: {pair_title(part.iloc[0])}, each film attacked as strongly as stays invisible: "
            f"{joined(told)} (no-sign minus sign; {tested(compared['comparisons'].iloc[0])})."
        )
        sentences.append(Sentence(text, sweep.name))
    return sentences
