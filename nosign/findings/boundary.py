"""Where attacks become visible, and what they do up to there."""

import itertools

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.transforms import blended_transform_factory

from nosign.attacks.catalogue import ATTACKS, PAIRS
from nosign.dataset import CLASSES
from nosign.errors import UserError
from nosign.measures.visibility import CRITERIA, CRITERION_COLUMNS, SSIM_INVISIBLE, STRONGEST, interpolated_boundaries
from nosign.output.plot import DIRECTION_COLOURS, GREY, SMALL_POINTS, STYLE, WIDTH, finish_panel, scale_strengths
from nosign.output.table import plain_table
from nosign.output.words import MISSING, condition_suffix, joined, ordered, p_value, pair_title, percent, plural, signed, span
from nosign.rows import ADVICE, BOUNDARY, models_in, read_by_word
from nosign.statistics.families import VERDICTS, with_verdicts
from nosign.statistics.paired import compare_hits

CRITERION_LETTERS = {"local mean": "L", "JND": "J", "JND 99 %": "N", "SSIM": "S"}
MARKS_NOTE = (
    "triangles: median strength up to which perturbations are invisible (hollow: a bound only; of several attacks "
    "the middle),\nby " + ", ".join(f"{letter}: {name}" for name, letter in CRITERION_LETTERS.items())
)
ALL_CLASSES = "all"
CLASS_MARKS = ("o", "s", "^")


def ratio_to_limit(cell, criterion):
    """Return a cell's perturbations over a criterion's limit, one a film: above 1 is visible."""
    measured = cell[CRITERION_COLUMNS[criterion]].to_numpy()
    return (1 - measured) / (1 - SSIM_INVISIBLE) if criterion == "SSIM" else measured


def iterative_boundaries(sweep, attack):
    """Interpolate an attack's boundaries between its finished cells.

    A film's prediction at its boundary is that at its last invisible strength, the clean one where there is none.

    Returns:
        List of frames, one a criterion; see `film_boundaries`.
    """
    frames = []
    for criterion, column in CRITERION_COLUMNS.items():
        cells = {
            strength: cell
            for (name, strength), cell in sorted(sweep.cells.items())
            if name == attack and strength > 0 and column in cell
        }
        if not cells:
            continue
        ratios = np.stack([ratio_to_limit(cell, criterion) for cell in cells.values()])
        boundary, beyond, last = interpolated_boundaries(list(cells), ratios)
        frame = sweep.clean[["film", "label"]].assign(
            attack=attack, criterion=criterion, strength=boundary, beyond=beyond, exact=False
        )
        for target in models_in(set.intersection(*map(set, cells.values())), sweep.clean):
            seen = np.stack([sweep.clean[target], *(cell[target] for cell in cells.values())])
            frame[target] = seen[last + 1, np.arange(len(frame))]
        frames.append(frame)
    return frames


def exact_boundaries(path, attack, clean):
    """Read an attack's boundaries that `attack.py` solved for.

    Returns:
        List of frames, one a criterion; see `film_boundaries`.

    Raises:
        UserError: the file is malformed or of other films than `clean`.
    """
    parts = read_by_word(path, "criterion", ("strength",), clean, infinite=("strength",))
    if unknown := set(parts) - set(CRITERIA):
        raise UserError(f"{path}: criterion {', '.join(sorted(unknown))}, expected {', '.join(CRITERIA)}; {ADVICE}")
    for rows in parts.values():
        if (rows["strength"] < 0).any():
            raise UserError(f"{path}: a strength below 0; {ADVICE}")
    return [
        rows.assign(
            attack=attack,
            strength=rows["strength"].clip(upper=STRONGEST),
            exact=True,
            beyond=(rows["strength"] >= STRONGEST).astype(int),
        )
        for rows in parts.values()
    ]


def film_boundaries(sweep):
    """Return each film's boundary under each attack and criterion.

    Args:
        sweep: `nosign.finished.FinishedSweep`.

    Returns:
        Frame with columns film, label, attack, criterion, strength (the boundary), beyond (1: at least, -1: at most, 0),
        exact (solved for rather than interpolated) and each target model's prediction there; no rows if nothing is on
        record.

    Raises:
        UserError: a boundary.csv is malformed.
    """
    frames = []
    for attack in dict.fromkeys(name for name, _ in sweep.cells):
        path = next(path for (name, _), path in sweep.paths.items() if name == attack).with_name(BOUNDARY)
        frames += exact_boundaries(path, attack, sweep.clean) if path.exists() else iterative_boundaries(sweep, attack)
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def summarise(sweep, boundaries):
    """Summarise `film_boundaries` by attack, criterion and class.

    Returns:
        Frame with columns source, condition, attack, criterion, class (`ALL_CLASSES` for all together), films, median,
        lower_quartile, upper_quartile, at_least and at_most (films whose boundary lies beyond the strengths that were run),
        exact, and per target model the films seen rightly (taken for the class aimed at), in per cent too, with the Wilson
        95 % interval; NaN where half of the films or more are visible at every strength that was run.
    """
    rows, (count, _) = [], sweep.counted
    for attack, criterion in boundaries[["attack", "criterion"]].drop_duplicates().itertuples(index=False):
        part = boundaries[(boundaries["attack"] == attack) & (boundaries["criterion"] == criterion)]
        of_class = {name: part[part["label"] == label] for label, name in enumerate(CLASSES)} | {ALL_CLASSES: part}
        rows += [
            {
                "source": sweep.source,
                "condition": sweep.condition,
                "attack": attack,
                "criterion": criterion,
                "class": name,
                **summary_of(sweep, films),
            }
            for name, films in of_class.items()
            if len(films)
        ]
    frame = pd.DataFrame(rows)
    for target in (target for target in sweep.targets if f"{count}_{target}" in frame):
        frame = sweep.with_percent(frame, f"_{target}")
    return frame


def summary_of(sweep, films):
    """Return what `summarise` says of the boundaries of some films, as a dict."""
    count, among = sweep.counted
    told = 2 * (films["beyond"] == -1).sum() < len(films)
    lower, median, upper = np.quantile(films["strength"], (0.25, 0.5, 0.75))
    return {
        "films": len(films),
        "median": median,
        "lower_quartile": lower,
        "upper_quartile": upper,
        "at_least": int((films["beyond"] == 1).sum()),
        "at_most": int((films["beyond"] == -1).sum()),
        "exact": bool(films["exact"].iloc[0]),
        among: len(sweep.hits(films["label"], films["label"])),
        **{
            f"{count}_{target}": sweep.hits(films[target], films["label"]).sum() if told else np.nan
            for target in sweep.targets
            if target in films and films[target].notna().all()
        },
    }


def bound_of(row):
    """Return how a row's median is to be read: "at least" or "at most" where half of its films lie beyond, else ""."""
    return next((bound for bound in ("at least", "at most") if 2 * row[bound.replace(" ", "_")] >= row["films"]), "")


def bounded_strength(row):
    """Return a median strength for a table: a plus sign for at least, a minus sign for at most."""
    return f"{row['median']:.3g}" + {"at least": "+", "at most": "-", "": ""}[bound_of(row)]


def boundary_table(sweep, summary):
    """Build the table of the boundary by attack and class, with the white-box accuracy there."""
    criteria, column = ordered(summary["criterion"], CRITERIA), f"{sweep.effect}_percent_{sweep.source}"
    rows = []
    for (attack, name), part in summary.groupby(["attack", "class"], sort=False):
        found = {row["criterion"]: row for row in part.to_dict("records")}
        effects = part.set_index("criterion")[column] if column in part else {}
        rows.append(
            [
                ATTACKS[attack].title,
                name,
                str(part["films"].iloc[0]),
                *(bounded_strength(found[criterion]) if criterion in found else MISSING for criterion in criteria),
                *(percent(effects.get(criterion)) for criterion in criteria),
            ]
        )
    columns = [
        ("", "Attack"),
        ("", "Class"),
        ("", "Films"),
        *(
            (group, criterion)
            for group in ("Median boundary (strength)", f"{sweep.effect.title()} there (%)")
            for criterion in criteria
        ),
    ]
    caption = (
        f"The largest strength at which a film's perturbation is invisible, by attack and class: medians over "
        f"{sweep.described}. Plus, minus: at least, at most (half of the films or more lie beyond the strengths that "
        f"were run; where at most, what happens there is not known). {iterative_note(summary)}On the right, what "
        f"{sweep.source} makes of the films, "
        f"each at its own boundary; counts and Wilson 95 % intervals stand in the CSV file. "
        f"{criteria_note(criteria)}."
    )
    return plain_table("boundary" + sweep.suffix, "Visibility boundary", caption, summary, rows, columns)


def criteria_note(criteria):
    """Return what captions say of criteria."""
    return "Invisible is what satisfies: " + "; ".join(f"{name}: {CRITERIA[name]}" for name in criteria)


def iterative_note(summary):
    """Return the sentence on how boundaries were found: solved for, interpolated, or both."""
    ways = {
        True: "solved for",
        False: "interpolated between the strengths that were run, and each film is taken at the last of them that is invisible",
    }
    titles = {exact: [ATTACKS[name].title for name in part["attack"].unique()] for exact, part in summary.groupby("exact")}
    return "".join(f"{joined(titles[exact])}: {way}. " for exact, way in ways.items() if exact in titles)


def median_boundaries(tables, source, condition):
    """Return the median boundaries over all classes of one condition, for `mark_boundaries`.

    Args:
        tables: list that holds what `boundary_table` returned, if anything.
        source, condition: whose.

    Returns:
        Frame with columns attack, criterion, strength, bound ("at least", "at most" or ""); no rows without such a table.
    """
    name = "boundary" + condition_suffix(source, condition)
    rows = [
        (row["attack"], row["criterion"], row["median"], bound_of(row))
        for table in tables
        if table.name == name
        for row in table.tidy.to_dict("records")
        if row["class"] == ALL_CLASSES
    ]
    return pd.DataFrame(rows, columns=["attack", "criterion", "strength", "bound"])


def mark_boundaries(axes, medians):
    """Mark median boundaries above a panel whose horizontal axis is the strength, and lift its title over them.

    A triangle stands at each median, a lane a direction, and the letters of `CRITERION_LETTERS` beside it; it is hollow
    where the median is a bound only. Where several attacks of a direction are given, the median of their medians is marked.
    `MARKS_NOTE` explains it to readers.

    Args:
        axes: panel with its limits and title set; marks beyond the limits are left out.
        medians: rows of `median_boundaries` of the attacks in the panel.
    """
    low, high = axes.get_xlim()
    medians = medians.assign(direction=directions_of(medians))
    middle = medians.groupby(["direction", "criterion"]).agg(strength=("strength", "median"), bound=("bound", "max"))
    seen = middle[middle["strength"].between(low, high)]
    place = blended_transform_factory(axes.transData, axes.transAxes)
    lanes = [direction for direction in reversed(DIRECTION_COLOURS) if direction in seen.index.get_level_values(0)]
    for lane, direction in enumerate(lanes):
        height = 1.11 + 0.085 * lane  # above the label of a line at 100 %
        marked, colour = seen.loc[direction].sort_values("strength"), DIRECTION_COLOURS[direction]
        for row in marked.itertuples():
            axes.plot(
                row.strength,
                height,
                linestyle="none",
                marker="v",
                markersize=4,
                clip_on=False,
                transform=place,
                color=colour,
                markerfacecolor="white" if row.bound else colour,
                label="_boundary",
            )
        for strength, letters in letters_beside(marked["strength"], (high / low) ** 0.09 if low > 0 else 1.3):
            axes.annotate(
                letters,
                (strength, height),
                xycoords=place,
                xytext=(3, 0),
                textcoords="offset points",
                va="center",
                fontsize=SMALL_POINTS,
                color=GREY,
                annotation_clip=False,
            )
    if lanes:
        axes.set_title(axes.get_title(), pad=11 + 8 * len(lanes))


def directions_of(medians):
    """Return the direction, "sign" or "no-sign", of each row's attack."""
    return medians["attack"].map(lambda name: ATTACKS[name].direction)


def letters_beside(marked, apart):
    """Join the letters of marks that lie too close for a letter each.

    Args:
        marked: Series of ascending strengths by criterion.
        apart: ratio of two strengths between which a letter fits.

    Returns:
        List of (strength of the last mark of a group, the group's letters).
    """
    groups = []
    for criterion, strength in marked.items():
        letter = CRITERION_LETTERS[criterion]
        if groups and strength < groups[-1][0] * apart:
            groups[-1] = strength, groups[-1][1] + letter
        else:
            groups.append((strength, letter))
    return groups


@matplotlib.rc_context(STYLE)
def draw_boundaries(sweep, summary):
    """Draw the boundary by attack and class: a panel a criterion, medians with quartiles on a logarithmic strength axis."""
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
    scale_strengths(panels[0], shown_strengths(summary))
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


def shown_strengths(summary):
    """Return the strengths between which the axis of `draw_boundaries` runs, all above 0."""
    strengths = pd.concat([summary["lower_quartile"], summary["upper_quartile"]])
    strengths = strengths[strengths > 0]
    room = 1.3 if summary.apply(bound_of, axis=1).any() else 1.0  # for the arrows
    return pd.Series([strengths.min() / room, strengths.max() * room] if len(strengths) else [STRONGEST])


def draw_boundary(axes, row, height, marker):
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


def boundary_legend(classes):
    """Return the legend of `draw_boundaries`: markers of the classes, colours of the directions, and the arrow."""
    marks = [(name, GREY, CLASS_MARKS[place % len(CLASS_MARKS)], GREY) for place, name in enumerate(classes)]
    marks += [("bound only", GREY, CLASS_MARKS[0], "white")]
    lines = [Line2D([], [], color=colour, linewidth=2.5, label=name) for name, colour in DIRECTION_COLOURS.items()]
    return lines + [
        Line2D([], [], linestyle="none", marker=marker, markersize=5, color=colour, markerfacecolor=face, label=name)
        for name, colour, marker, face in marks
    ]


def boundary_sentences(sweep, summary):
    """Return, a sentence a criterion, what each attack does to the white-box model where it is invisible."""
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
        notes = "".join(f"; {note}" for note in notes)
        if found:
            sentences.append(
                f"{sweep.heading}: where each film is attacked as strongly as stays invisible by the criterion "
                f"'{criterion}', {sweep.source} {sees} {joined(found)}; without an attack, {before:.1f} "
                f"%{notes}."
            )
    return sentences


def compare_invisible(sweep, boundaries):
    """Test sign against no-sign where each film is attacked as strongly as stays invisible, white-box.

    Args:
        boundaries: what `film_boundaries` returned. A pair is compared where both attacks' boundaries were solved for.

    Returns:
        Frame with a row a pair and criterion: source, condition, sign_attack, no_sign_attack, criterion, films, sign_films
        and no_sign_films (seen rightly, or taken for the class aimed at), what `statistics.compare_hits` returns, holm_p
        (over the frame) and verdict; no rows where there is nothing to compare.
    """
    exact = boundaries[boundaries["exact"]]
    parts = {key: part for key, part in exact.groupby(["attack", "criterion"])} if sweep.source in exact else {}
    rows = []
    for (sign, no_sign), criterion in itertools.product(PAIRS, CRITERIA):
        if (sign, criterion) in parts and (no_sign, criterion) in parts:
            hits = [sweep.hits(parts[attack, criterion][sweep.source]) for attack in (sign, no_sign)]
            rows.append(
                {
                    "source": sweep.source,
                    "condition": sweep.condition,
                    "sign_attack": sign,
                    "no_sign_attack": no_sign,
                    "criterion": criterion,
                    "films": len(hits[0]),
                    "sign_films": int(hits[0].sum()),
                    "no_sign_films": int(hits[1].sum()),
                    **compare_hits(*hits, ("sign", "no_sign")),
                }
            )
    return with_verdicts(pd.DataFrame(rows), sweep.aim) if rows else pd.DataFrame()


def invisible_table(sweep, compared):
    """Build the table of sign against no-sign where both are invisible."""
    counted = f"taken for {sweep.aim}" if sweep.aim else "right"
    rows = [
        [
            pair_title(row),
            row.criterion,
            str(row.films),
            str(row.sign_films),
            str(row.no_sign_films),
            str(row.only_sign),
            str(row.only_no_sign),
            signed(row.difference_points),
            span(row.ci_low_points, row.ci_high_points),
            p_value(row.holm_p),
            row.verdict,
        ]
        for row in compared.itertuples()
    ]
    group = f"Films {counted} under"
    columns = [
        ("", "Pair"),
        ("", "Criterion"),
        ("", "Films"),
        (group, "sign"),
        (group, "no-sign"),
        (group, "only sign"),
        (group, "only no-sign"),
        ("", "Difference"),
        ("", "95 % interval"),
        ("", "Holm p"),
        ("", "Verdict"),
    ]
    caption = (
        f"Sign against no-sign where each film is attacked as strongly as stays invisible, white-box: films {counted}; "
        "difference in points, no-sign minus sign, with the interval of Agresti and Min; exact McNemar test, Holm's "
        f"correction over {plural(len(compared), 'comparison')}; {sweep.described}."
    )
    table = plain_table("invisible" + sweep.suffix, "As strong as invisible", caption, compared, rows, columns)
    table.bold[:, -1] = compared["verdict"] != VERDICTS[0]
    return table


def invisible_sentences(sweep, compared):
    """Return, a sentence a pair, at which criteria sign and no-sign can be told apart where they are invisible."""
    sentences = []
    for sign, part in compared.groupby("sign_attack", sort=False):
        told = [f"{row.verdict} by {row.criterion} ({signed(row.difference_points)} points)" for row in part.itertuples()]
        sentences.append(
            f"{sweep.heading}: {pair_title(part.iloc[0])}, each film attacked as strongly as stays invisible: "
            f"{joined(told)} (no-sign minus sign; exact McNemar, Holm over "
            f"{plural(len(compared), 'comparison')})."
        )
    return sentences


def describe_boundary(sweep):
    """Return what one sweep says of the visibility boundary: (list of `Table`, dict from name to figure, list of sentences).

    Raises:
        UserError: a boundary.csv is malformed.
    """
    boundaries = film_boundaries(sweep)
    if boundaries.empty:
        return [], {}, []
    summary, compared = summarise(sweep, boundaries), compare_invisible(sweep, boundaries)
    tested = [] if compared.empty else [invisible_table(sweep, compared)]
    return (
        [boundary_table(sweep, summary), *tested],
        {"boundary" + sweep.suffix: draw_boundaries(sweep, summary)},
        boundary_sentences(sweep, summary) + (invisible_sentences(sweep, compared) if tested else []),
    )
