"""Figure 1: the workflow."""

from __future__ import annotations

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from nosign.attacks.catalogue import ATTACKS, PAIRS
from nosign.classifiers.catalogue import BACKBONES
from nosign.dataset import CLASSES
from nosign.finished import Run
from nosign.output.finding import Drawing, Finding
from nosign.output.plot import DIRECTION_TINTS, GREY, PALE, SMALL_POINTS, STYLE, WIDTH
from nosign.paper import HEAD_UNITS, PAPER_CONDITION

HEADING = "The workflow"


def describe(run: Run) -> Finding:
    """Return Figure 1; it shows no number of the run."""
    if run.classifiers is None:
        return Finding("workflow", HEADING)
    caption = "The workflow: four stages, from the raw films to tables and figures."
    alt = "Four columns of boxes: films, classifiers, attacks, comparison."
    return Finding("workflow", HEADING, (), (Drawing("figure1", "Figure 1", caption, alt, draw_workflow()),))


def box(axes: Axes, x: float, y: float, width: float, height: float, text: str, colour: str) -> None:
    """Draw a labelled box; x and y are its lower left corner, everything in inches."""
    axes.add_patch(
        FancyBboxPatch(
            (x, y), width, height, boxstyle="round,pad=0,rounding_size=0.05", facecolor=colour, edgecolor=GREY, linewidth=0.7
        )
    )
    axes.text(x + width / 2, y + height / 2, text, ha="center", va="center", fontsize=SMALL_POINTS, linespacing=1.25)


def arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float], width: float = 0.8) -> None:
    """Draw an arrow between two points in inches."""
    axes.add_patch(
        FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=7, linewidth=width, color="black", shrinkA=0, shrinkB=0)
    )


def workflow_stages() -> tuple[tuple[str, str, list[list[tuple[str, str]]]], ...]:
    """Return the workflow's stages: (title, script, rows of boxes from top to bottom).

    A row is a list of (text, fill colour), its boxes side by side.
    """
    blue, amber = DIRECTION_TINTS["sign"], DIRECTION_TINTS["no-sign"]
    pairs = PAIRS[:4]  # the boxes have room for four lines
    sign, no_sign = ("\n".join(ATTACKS[pair[side]].title for pair in pairs) for side in (0, 1))
    source = PAPER_CONDITION[0]
    others = "\n".join(name for name in BACKBONES if name != source)
    return (
        (
            "1  Films",
            "data_processing/",
            [
                [("COVIDx-\nCXR2", PALE), ("Chest\nX-Ray", PALE)],
                [("balance the classes\n" + "\n".join(CLASSES), "white")],
                [("normalise to [0, 1]\nresize, three channels", "white")],
                [("split into\ntrain, validation, test", "white")],
            ],
        ),
        (
            "2  Classifiers",
            "train_finetune.py",
            [
                [("backbones\n" + "\n".join(BACKBONES), PALE)],
                [(f"adaptation head\naverage pooling, flatten\nbatch norm, dense {HEAD_UNITS}\ndense {len(CLASSES)}", "white")],
                [("phase 1: base frozen\ntrain the head", "white")],
                [("phase 2: train all\nat a lower rate", "white")],
            ],
        ),
        (
            "3  Attacks",
            "attack.py",
            [
                [(f"gradient of the loss\nof {source} on a test film\n" + r"$g = \partial J \,/\, \partial x$", PALE)],
                [("sign\nstep along\nsign$(g)$", blue), ("no-sign\n$g$ scaled to\n$\\|\\mathrm{sign}(g)\\|$", amber)],
                [(sign, blue), (no_sign, amber)],
                [("adversarial films\nclipped to [0, 1]", "white")],
            ],
        ),
        (
            "4  Comparison",
            "data_figure.py",
            [
                [(f"white-box\n{source}*", PALE), (f"black-box\n{others}", PALE)],
                [("accuracy and\nperturbation size\nfilm by film", "white")],
                [("sign against no-sign\nat every strength", "white")],
                [("tables and figures", "white")],
            ],
        ),
    )


@matplotlib.rc_context(STYLE)
def draw_workflow() -> Figure:
    """Draw figure 1: the four stages from films to tables."""
    height, gap = 2.95, 0.18
    figure = Figure(figsize=(WIDTH, height))
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, WIDTH), ylim=(0, height))
    axes.set_axis_off()
    stages = workflow_stages()
    column = (WIDTH - 0.04 - gap * (len(stages) - 1)) / len(stages)
    for position, (title, script, boxes) in enumerate(stages):
        left = 0.02 + position * (column + gap)
        axes.add_patch(
            FancyBboxPatch(
                (left, 0.02),
                column,
                height - 0.04,
                boxstyle="round,pad=0,rounding_size=0.06",
                facecolor="#F6F6F6",
                edgecolor="#BBBBBB",
                linewidth=0.7,
            )
        )
        axes.text(left + 0.09, height - 0.17, title, fontsize=9, fontweight="bold", va="center")
        axes.text(left + 0.09, height - 0.33, script, fontsize=SMALL_POINTS, family="DejaVu Sans Mono", va="center", color=GREY)
        draw_stage(axes, left + 0.08, column - 0.16, height - 0.45, boxes)
        if position:
            arrow(axes, (left - gap + 0.02, height / 2), (left - 0.02, height / 2), width=1.6)
    return figure


def draw_stage(axes: Axes, left: float, width: float, top: float, rows: list[list[tuple[str, str]]]) -> None:
    """Draw one stage's rows of boxes from `top` down to the lower edge, joined by arrows; all in inches."""
    gap, side_gap, bottom, margin_lines = 0.13, 0.05, 0.09, 0.9
    lines = [max(text.count("\n") + 1 for text, _ in row) + margin_lines for row in rows]
    line_height = (top - bottom - gap * (len(rows) - 1)) / sum(lines)
    middles = []
    for row, count in zip(rows, lines):
        height, above = count * line_height, middles
        part = (width - side_gap * (len(row) - 1)) / len(row)
        middles = [left + position * (part + side_gap) + part / 2 for position in range(len(row))]
        for middle, (text, colour) in zip(middles, row):
            box(axes, middle - part / 2, top - height, part, height, text, colour)
        for x in max(above, middles, key=len) if above else ():
            arrow(axes, (x, top + gap), (x, top))
        top -= height + gap
