"""What all figures share: size, colours, markers, panels, axes and how they are saved."""

from __future__ import annotations

import io
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from numpy.typing import ArrayLike

from nosign.attacks.catalogue import ATTACKS, CONTROLS, attack_groups
from nosign.classifiers.catalogue import BACKBONES
from nosign.dataset import CLASSES
from nosign.output.words import starred
from nosign.processes import process_map
from nosign.rows import ordered

WIDTH = 7.16  # inches
DPI = 300
FONT_POINTS = 8
SMALL_POINTS = 7
STYLE = {
    "font.size": FONT_POINTS,
    "axes.titlesize": FONT_POINTS,
    "axes.labelsize": FONT_POINTS,
    "xtick.labelsize": SMALL_POINTS,
    "ytick.labelsize": SMALL_POINTS,
    "legend.fontsize": FONT_POINTS,
    "font.family": "DejaVu Sans",
    "mathtext.fontset": "dejavusans",
    "axes.linewidth": 0.6,
    "pdf.fonttype": 42,
}

# Colours of Okabe and Ito (2008), distinct under every common colour blindness and in greyscale.
DIRECTION_COLOURS = {"sign": "#0072B2", "no-sign": "#E69F00", "steepest": "#009E73"}
DIRECTION_MARKS = {"sign": "o", "no-sign": "s", "steepest": "*"}
DIRECTION_SHIFTS = {"sign": -0.17, "no-sign": 0.17, "steepest": 0.0}  # across a line of marks, so that none hides another
DIRECTION_TINTS = {"sign": "#CFE5F2", "no-sign": "#FBE9C4"}
# Of classes, from the same palette: none is a direction's.
CLASS_COLOURS = dict(zip(CLASSES, ("#D55E00", "#009E73", "#CC79A7")))
CLASS_HATCHES = dict(zip(CLASSES, ("", "....", "////")))  # printed in grey, the colours are much alike
PALE = "#EAF3F9"
ATTACK_MARKS = {
    "fgsm": ("o", "-"),
    "fgnm": ("s", "--"),
    "bim": ("o", "-"),
    "binm": ("s", "--"),
    "pgd": ("^", "-."),
    "pgdnm": ("D", ":"),
    "mifgsm": ("v", (0, (8, 2))),
    "mifgnm": ("P", (0, (3, 1, 1, 1, 1, 1))),
    "bim-unclipped": ("p", (0, (5, 1))),
    "binm-unclipped": ("X", (0, (4, 1, 1, 1))),
    "apgd": ("*", (0, (12, 2))),
    "universal-sign": ("<", "-."),
    "universal": (">", ":"),
    "noise-sign": ("x", (0, (6, 2, 1, 2))),
    "noise": ("+", (0, (6, 2, 1, 2, 1, 2))),
    "shuffled": ("1", ":"),
}
BAND_ALPHA = 0.15
MOST_POINTS = 5000  # of a curve: more are not to be seen, and make a PDF large
LEAST_REACH = 2  # of a strength axis to either side, as a factor: its numbers need room beside each other
MOST_BESIDE = 6  # names of attacks in the only row of a legend
MOST_IN_ROWS = 5  # in each of several rows: a column is as wide as its longest name
# How levels are drawn: accuracy on clean films, and that of guessing.
CLEAN_LINE, CHANCE_LINE = (0, (6, 2)), (0, (1, 2))
GREY = "#555555"


def rendered(figure: Figure) -> tuple[bytes, bytes]:
    """Return a figure as the bytes of a PNG (300 dpi) and of a PDF, without dates, so that equal figures have equal bytes."""
    contents = []
    for ending, metadata in (("png", {"Software": None}), ("pdf", {"CreationDate": None})):
        content = io.BytesIO()
        with matplotlib.rc_context(STYLE):
            figure.savefig(content, format=ending, dpi=DPI, metadata=metadata)
        figure.set_layout_engine("none")  # the layout that the PNG has serves the PDF, and takes time to find
        contents.append(content.getvalue())
    return contents[0], contents[1]


# What `render_figures` is at: processes that it forks have it without pickling.
RENDERING: dict[str, Figure] = {}


def render_figures(figures: Mapping[str, Figure]) -> dict[str, bytes]:
    """Render figures by name, on two processes.

    Figures are not pickled. Matplotlib keys what depends on a transform by memory address; in an unpickled figure new addresses
    may meet old ones, and then a PDF has its numbers where a PNG of another resolution had them.

    Returns:
        Dict from a file's name, "NAME.png" and "NAME.pdf", to its bytes.
    """
    RENDERING.update(figures)
    try:
        with process_map(2, start="fork") as spread:
            return {
                f"{name}.{ending}": content
                for name, contents in zip(figures, spread(rendered_by_name, figures))
                for ending, content in zip(("png", "pdf"), contents)
            }
    finally:
        RENDERING.clear()


def rendered_by_name(name: str) -> tuple[bytes, bytes]:
    """Return what `rendered` does of one of `RENDERING`."""
    return rendered(RENDERING[name])


@dataclass(frozen=True)
class Lines:
    """What `draw_lines` draws.

    Attributes:
        percent: frame with the columns attack, strength, target, and percent, low and high: the lines and their bands.
        before: what each target's lines start from, films before the attacks in per cent, by target; it may lack targets.
        source: model whose gradients were followed.
        aim: class that the attacks aim at; None if the accuracy is drawn.
        boundaries: frame with the columns attacks ("single-step" or "iterative"), direction, criterion, strength and bound
            ("at least", "at most" or ""), marked below the panels; None or no rows for none.
    """

    percent: pd.DataFrame
    before: pd.Series
    source: str
    aim: str | None = None
    boundaries: pd.DataFrame | None = None


@matplotlib.rc_context(STYLE)
def draw_lines(lines: Lines, note: str) -> Figure | None:
    """Draw a percentage against strength: a row of panels for single-step and one for iterative attacks.

    Args:
        note: line at the foot.

    Returns:
        The figure, None if all attacks are controls, which have no panel. The axes of lines are labelled "single-step VGG16"
        and the like, those of boundaries "single-step boundary VGG16" (`get_label`).
    """
    targets = ordered(lines.percent["target"], BACKBONES)
    strips = [
        (kind, of_kind, boundaries_of(lines, kind))
        for kind, iterative in (("single-step", False), ("iterative", True))
        if not (of_kind := lines_of(lines.percent, iterative)).empty
    ]
    if not strips:
        return None
    heights = [2.45 + 0.75 * (not marks.empty) for _, _, marks in strips]
    figure = Figure(figsize=(WIDTH, sum(heights)), layout="constrained")
    figure.get_layout_engine().set(wspace=0.03, hspace=0.0, h_pad=0.03)
    rows = np.atleast_1d(figure.subfigures(len(strips), 1, hspace=0.04, height_ratios=heights))
    for strip, (kind, of_kind, marks) in zip(rows, strips):
        draw_strip(strip, lines, kind, of_kind, marks, targets)
    figure.supxlabel(note, fontsize=SMALL_POINTS)
    return figure


def lines_of(percent: pd.DataFrame, iterative: bool) -> pd.DataFrame:
    """Return the rows of `Lines.percent` of iterative attacks, or of single-step attacks and, beside these, of controls."""
    attacks = sum(attack_groups(iterative), ())
    if percent["attack"].isin(attacks).any() and not iterative:
        attacks += CONTROLS
    return percent[percent["attack"].isin(attacks)]


def boundaries_of(lines: Lines, kind: str) -> pd.DataFrame:
    """Return the rows of `Lines.boundaries` that belong to one kind of attack; controls have none."""
    if lines.boundaries is None or lines.boundaries.empty:
        return pd.DataFrame()
    return lines.boundaries[lines.boundaries["attacks"] == kind]


def draw_strip(strip: SubFigure, lines: Lines, kind: str, of_kind: pd.DataFrame, marks: pd.DataFrame, targets: list) -> None:
    """Draw one row of panels, a panel per target, and below each the boundaries on the same axis of strengths."""
    ratios = [1] if marks.empty else [1, 0.34]
    grid = strip.subplots(len(ratios), len(targets), sharex=True, sharey="row", squeeze=False, height_ratios=ratios)
    for axes, target in zip(grid[0], targets):
        levels = {}
        if target in lines.before:
            levels[f"clean {lines.before[target]:.2f} %"] = (lines.before[target], CLEAN_LINE)
        if not lines.aim:
            levels["chance"] = (100 / len(CLASSES), CHANCE_LINE)
        draw_panel(axes, of_kind[of_kind["target"] == target], levels)
        axes.set_title(f"{starred(target, lines.source)} ({'white' if target == lines.source else 'black'}-box)")
        axes.set(label=f"{kind} {target}")
    measured = f"taken for {lines.aim}" if lines.aim else "accuracy"
    grid[0, 0].set(ylim=(-2, 108), yticks=range(0, 101, 20), ylabel=f"{kind} attacks\n{measured} (%)")
    scale_strengths(grid[0, 0], of_kind["strength"])
    if not marks.empty:
        for axes, target in zip(grid[1], targets):
            axes.set(label=f"{kind} boundary {target}")
            draw_boundary_marks(axes, marks)
        grid[1, 0].set_ylabel("invisible\nup to", rotation=0, ha="right", va="center", fontsize=SMALL_POINTS)
    for axes in grid[-1]:
        axes.set_xlabel("strength")
    handles = {label: line for axes in grid[0] for line, label in zip(*axes.get_legend_handles_labels())}
    strip.legend(
        handles.values(),
        handles.keys(),
        loc="outside upper center",
        ncols=legend_columns(len(handles)),
        frameon=False,
        handlelength=3.2,
    )


def draw_boundary_marks(axes: Axes, marks: pd.DataFrame) -> None:
    """Mark the strengths up to which perturbations are invisible: one line per criterion, one marker per direction.

    Args:
        marks: rows of `Lines.boundaries` of one kind of attack. A marker is hollow where the strength is a bound only; what
            lies outside the axis is marked at its edge by an arrowhead.
    """
    criteria = list(dict.fromkeys(marks["criterion"]))
    low, high = axes.get_xlim()
    for row in marks.itertuples():
        inside = low <= row.strength <= high
        marker = DIRECTION_MARKS[row.direction] if inside else "<" if row.strength < low else ">"
        axes.plot(
            min(max(row.strength, low), high),
            criteria.index(row.criterion) + DIRECTION_SHIFTS[row.direction],
            linestyle="none",
            marker=marker,
            markersize=3.8,
            color=DIRECTION_COLOURS[row.direction],
            markerfacecolor="white" if row.bound else DIRECTION_COLOURS[row.direction],
            clip_on=False,
            zorder=3,
        )
    axes.set_ylim(len(criteria) - 0.5, -0.5)
    axes.set_yticks(range(len(criteria)), criteria)
    axes.tick_params(axis="y", length=0)
    finish_panel(axes)
    axes.set_xlim(low, high)


def draw_panel(axes: Axes, lines: pd.DataFrame, levels: dict) -> None:
    """Draw one target model's lines and bands, one an attack, and levels across.

    Args:
        lines: this target's rows of `Lines.percent`.
        levels: dict from a level's label to the level in per cent and its style of line.
    """
    for name in ordered(lines["attack"], ATTACKS):
        line = lines[lines["attack"] == name].sort_values("strength")
        marker, linestyle = marks_of(name)
        colour = attack_colour(name)
        draw_band(axes, line["strength"], line["low"], line["high"], name)
        axes.plot(
            line["strength"],
            line["percent"],
            marker=marker,
            linestyle=linestyle,
            linewidth=1.2,
            color=colour,
            label=ATTACKS[name].title,
            markersize=3.6,
            clip_on=False,
            zorder=3,
            markerfacecolor="white" if ATTACKS[name].random_start else None,
        )
    for text, (level, linestyle) in levels.items():
        draw_level(axes, level, text, linestyle, *clearer_place(lines, level))
    finish_panel(axes, "y")


def draw_band(axes: Axes, x: Collection[float], low: ArrayLike, high: ArrayLike, attack: str) -> None:
    """Draw an interval around an attack's line in its colour: a band, or a bar where the line is a single point."""
    colour = attack_colour(attack)
    if len(x) == 1:
        axes.vlines(x, low, high, color=colour, linewidth=0.8, zorder=2)
    else:
        axes.fill_between(x, low, high, color=colour, alpha=BAND_ALPHA, linewidth=0, zorder=2)


def draw_level(axes: Axes, level: float, text: str, linestyle: str | tuple, side: str = "right", above: bool = True) -> None:
    """Draw a level in per cent with its label at one side ("left" or "right") and above or below it."""
    axes.axhline(level, color=GREY, linewidth=0.8, linestyle=linestyle, zorder=1)
    axes.annotate(
        text,
        (0.015 if side == "left" else 0.985, level),
        xycoords=("axes fraction", "data"),
        color=GREY,
        xytext=(0, 3 if above else -3),
        textcoords="offset points",
        fontsize=SMALL_POINTS,  # clear of markers
        va="bottom" if above else "top",
        ha=side,
    )


def clearer_place(lines: pd.DataFrame, level: float) -> tuple[str, bool]:
    """Return where a label beside a level in per cent is farthest from the lines: "left" or "right", and if above."""
    ends = {"left": lines["strength"].min(), "right": lines["strength"].max()}
    places = [(side, above) for above in (True, False) for side in ends]

    def distance(place: tuple[str, bool]) -> float:
        middle = level + (4 if place[1] else -4)  # half the height of a label
        return (lines["percent"] - middle).abs()[lines["strength"] == ends[place[0]]].min()

    return max(places, key=distance)


def hide_empty(panels: Sequence[Axes], filled: int, columns: int) -> None:
    """Hide the panels behind the filled ones, which go row by row; the lowest one of each column has numbers below it."""
    for axes in panels[filled:]:
        axes.set_visible(False)
    for axes in panels[max(0, filled - columns) : filled]:
        axes.tick_params(labelbottom=True)  # also where the row below is not full


def few_of(points: int) -> np.ndarray:
    """Return positions of a curve's points to draw, int [at most `MOST_POINTS`]: all, or evenly many with both ends."""
    return np.arange(points) if points <= MOST_POINTS else np.linspace(0, points - 1, MOST_POINTS).astype(int)


def thinned_note(films: int) -> str:
    """Return what a caption says of curves over films, one point a film; nothing where all points are drawn."""
    return f" Curves are drawn through at most {MOST_POINTS:,} of their points." if films > MOST_POINTS else ""


def short_number(value: float, _: int | None) -> str:
    """Return a tick's number without needless zeros."""
    return f"{value:g}"


def scale_strengths(axes: Axes, strengths: pd.Series) -> None:
    """Give a row of panels a logarithmic strength axis with plain numbers, linear near 0 if strength 0 was run."""
    positive = strengths[strengths > 0]
    if (strengths == 0).any():
        axes.set_xscale("symlog", linthresh=positive.min() if len(positive) else 1)
    else:
        middle, ratio = (strengths.min() * strengths.max()) ** 0.5, (strengths.max() / strengths.min()) ** 0.5
        reach = max(1.2 * ratio, LEAST_REACH)
        axes.set_xlim(middle / reach, middle * reach)
        axes.set_xscale("log")
        place_log_numbers(axes.xaxis, ratio**2)
    set_plain_numbers(axes.xaxis)


def place_log_numbers(axis: Axis, reach: float) -> None:
    """Give a logarithmic axis as many numbers as find room beside each other; `reach` is its upper end over its lower one."""
    numbers = (1, 2, 3, 5) if reach <= 8 else (1, 3) if reach <= 1000 else (1,)
    axis.set_major_locator(LogLocator(subs=numbers))
    axis.set_minor_locator(LogLocator(subs=range(2, 10)))


def set_plain_numbers(axis: Axis) -> None:
    """Write the numbers of an axis without powers of ten."""
    axis.set_major_formatter(FuncFormatter(short_number))
    axis.set_minor_formatter(NullFormatter())


def scale_log(axis: Axis) -> None:
    """Give a logarithmic axis, its ends being set, plain numbers that find room."""
    low, high = axis.get_view_interval()
    place_log_numbers(axis, high / low)
    if high / low <= 3:  # no two of these are so far apart
        axis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 4, 5, 7)))
    set_plain_numbers(axis)


def marks_of(name: str) -> tuple:
    """Return an attack's marker and style of line; an attack without a row of its own gets plain ones."""
    return ATTACK_MARKS.get(name, ("h", "-"))


def attack_colour(name: str) -> str:
    """Return an attack's colour: that of its direction, or grey for a control."""
    return GREY if ATTACKS[name].control else DIRECTION_COLOURS[ATTACKS[name].direction]


def attack_style(name: str) -> dict:
    """Return how an attack is drawn where single-step and iterative attacks share a panel: only these are filled."""
    marker, linestyle = marks_of(name)
    attack = ATTACKS[name]
    return {
        "marker": marker,
        "linestyle": linestyle,
        "color": attack_colour(name),
        "label": attack.title,
        "linewidth": 1.1,
        "markersize": 3.8,
        "zorder": 3,
        "markerfacecolor": None if attack.iterative and not attack.random_start else "white",
    }


def finish_panel(axes: Axes, across: str = "both") -> None:
    """Give a panel its pale grid, across "x", "y" or "both", and take the frame's upper and right edge away."""
    axes.grid(axis=across, linewidth=0.3, color="#DDDDDD")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def legend_columns(entries: int) -> int:
    """Return the columns of a legend above panels: one row, or several where the names would not fit beside each other."""
    return entries if entries <= MOST_BESIDE else -(-entries // -(-entries // MOST_IN_ROWS))


def add_legend(figure: Figure, attacks: Iterable[str], lines: bool = True) -> None:
    """Put one legend of some attacks above a figure's panels; with `lines`, or their markers only."""
    styles = [attack_style(name) | ({} if lines else {"linestyle": "none"}) for name in ordered(attacks, ATTACKS)]
    figure.legend(
        handles=[Line2D([], [], **style) for style in styles],
        loc="outside upper center",
        ncols=legend_columns(len(styles)),
        frameon=False,
        handlelength=3 if lines else 1,
        columnspacing=1.2,
    )
