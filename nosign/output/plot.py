"""What all figures share: size, colours, markers, panels, axes and how they are saved."""

from itertools import repeat
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from nosign.attacks.catalogue import ATTACKS, Condition, attack_pairs
from nosign.classifiers.catalogue import BACKBONES
from nosign.dataset import CLASSES
from nosign.files import atomic_path
from nosign.output.words import ordered, starred
from nosign.processes import process_map

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
DIRECTION_COLOURS = {"sign": "#0072B2", "no-sign": "#E69F00"}
DIRECTION_TINTS = {"sign": "#CFE5F2", "no-sign": "#FBE9C4"}
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
    "noise-sign": ("x", "-"),
    "noise": ("+", "--"),
    "shuffled": ("1", ":"),
}
BAND_ALPHA = 0.15
LEAST_REACH = 2  # of a strength axis to either side, as a factor: its numbers need room beside each other
# How levels are drawn: accuracy on clean films, and that of guessing.
CLEAN_LINE, CHANCE_LINE = (0, (6, 2)), (0, (1, 2))
FIGURE_CAPTIONS = {
    "figure1": "The workflow, from films to tables",
    "figure2": f"One film under {ATTACKS['fgnm'].title}",
    "figure3": f"One film under {ATTACKS['pgdnm'].title}",
    "figure4": "Accuracy against strength, sign and no-sign",
    "transfer": "All sources against all targets",
    "confusion": "Confusion matrices, clean and attacked",
    "seeds": "Accuracy against strength over several runs",
    "figure5": "Accuracy against four measures of effort",
    "theory": "Steps and the gradient",
    "boundary": "Where attacks become visible",
    "storing": "What storing leaves of the attacks",
    "grey": "Coloured and grey perturbations",
}
GREY = "#555555"


def figure_caption(name):
    """Return what a figure's file name stands for, in words; the name itself where `FIGURE_CAPTIONS` does not know it."""
    word, _, condition = name.partition("-")
    caption = FIGURE_CAPTIONS.get(word, word)
    return f"{caption} ({condition})" if condition else caption


def save_figure(figure, folder, name):
    """Write a figure as PNG (300 dpi) and PDF, without dates, so that equal figures have equal bytes.

    Returns:
        The two paths.
    """
    paths = [Path(folder) / f"{name}.png", Path(folder) / f"{name}.pdf"]
    for path, metadata in zip(paths, ({"Software": None}, {"CreationDate": None})):
        with atomic_path(path) as temporary, matplotlib.rc_context(STYLE):
            figure.savefig(temporary, dpi=DPI, metadata=metadata)
        figure.set_layout_engine("none")  # the layout that the PNG has serves the PDF, and takes time to find
    return paths


def save_figures(figures, folder):
    """Write a dict of figures by file name, on two processes; see `save_figure`.

    Returns:
        The paths.
    """
    with process_map(2) as spread:
        written = spread(save_figure, figures.values(), repeat(folder), figures)
        return [path for paths in written for path in paths]


@matplotlib.rc_context(STYLE)
def draw_lines(shown, clean, note):
    """Draw a percentage against strength: a row of panels for single-step and one for iterative attacks.

    Args:
        shown: frame of one source and condition with the columns source, condition, attack, strength, target, and shown,
            low and high in per cent: the lines and their bands.
        clean: what each target's lines start from, clean films in per cent, a series; it may lack targets.
        note: line at the foot.

    Returns:
        The figure; its axes are labelled "single-step VGG16" and the like (`get_label`).
    """
    source, targets = shown["source"].iloc[0], ordered(shown["target"], BACKBONES)
    rows = [
        (kind, part)
        for kind, iterative in (("single-step", False), ("iterative", True))
        if not (part := shown[shown["attack"].isin(sum(attack_pairs(iterative), ()))]).empty
    ]
    figure = Figure(figsize=(WIDTH, 2.45 * len(rows)), layout="constrained")
    figure.get_layout_engine().set(wspace=0.03)
    strips = np.atleast_1d(figure.subfigures(len(rows), 1, hspace=0.04))
    aim = Condition.parse(shown["condition"].iloc[0]).target
    measured = f"taken for {aim}" if aim else "accuracy"
    for strip, (kind, part) in zip(strips, rows):
        panels = strip.subplots(1, len(targets), sharex=True, sharey=True, squeeze=False)[0]
        for axes, target in zip(panels, targets):
            levels = {f"clean {clean[target]:.2f} %": (clean[target], CLEAN_LINE)} if target in clean else {}
            levels |= {} if aim else {"chance": (100 / len(CLASSES), CHANCE_LINE)}
            draw_panel(axes, part[part["target"] == target], levels)
            axes.set_title(f"{starred(target, source)} ({'white' if target == source else 'black'}-box)")
            axes.set(xlabel="strength", label=f"{kind} {target}")
        scale_strengths(panels[0], part["strength"])
        panels[0].set(ylim=(-2, 108), yticks=range(0, 101, 20), ylabel=f"{kind} attacks\n{measured} (%)")
        handles = {label: line for axes in panels for line, label in zip(*axes.get_legend_handles_labels())}
        strip.legend(
            handles.values(), handles.keys(), loc="outside upper center", ncols=len(handles), frameon=False, handlelength=3.2
        )
    figure.supxlabel(note, fontsize=SMALL_POINTS)
    return figure


def draw_panel(axes, shown, levels):
    """Draw one target model's lines and bands, one an attack, and levels across.

    Args:
        shown: this target's rows of what `draw_lines` takes.
        levels: dict from a level's label to the level in per cent and its style of line.
    """
    for name in ordered(shown["attack"], ATTACKS):
        line = shown[shown["attack"] == name].sort_values("strength")
        marker, linestyle = ATTACK_MARKS[name]
        colour = attack_colour(name)
        draw_band(axes, line["strength"], line["low"], line["high"], name)
        axes.plot(
            line["strength"],
            line["shown"],
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
        draw_level(axes, level, text, linestyle, *clearer_place(shown, level))
    finish_panel(axes, "y")


def draw_band(axes, x, low, high, attack):
    """Draw an interval around an attack's line in its colour: a band, or a bar where the line is a single point."""
    colour = attack_colour(attack)
    if len(x) == 1:
        axes.vlines(x, low, high, color=colour, linewidth=0.8, zorder=2)
    else:
        axes.fill_between(x, low, high, color=colour, alpha=BAND_ALPHA, linewidth=0, zorder=2)


def draw_level(axes, level, text, linestyle, side="right", above=True):
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


def clearer_place(cells, level):
    """Return where a label beside a level in per cent is farthest from the attacks' lines: "left" or "right", and if above."""
    ends = {"left": cells["strength"].min(), "right": cells["strength"].max()}
    places = [(side, above) for above in (True, False) for side in ends]

    def distance(place):
        middle = level + (4 if place[1] else -4)  # half the height of a label
        return (cells["shown"] - middle).abs()[cells["strength"] == ends[place[0]]].min()

    return max(places, key=distance)


def short_number(value, _):
    """Return a tick's number without needless zeros."""
    return f"{value:g}"


def scale_strengths(axes, strengths):
    """Give a row of panels a logarithmic strength axis with plain numbers, linear near 0 if strength 0 was run."""
    positive = strengths[strengths > 0]
    if (strengths == 0).any():
        axes.set_xscale("symlog", linthresh=positive.min() if len(positive) else 1)
    else:
        middle, ratio = (strengths.min() * strengths.max()) ** 0.5, (strengths.max() / strengths.min()) ** 0.5
        reach = max(1.2 * ratio, LEAST_REACH)
        axes.set_xlim(middle / reach, middle * reach)
        axes.set_xscale("log")
        # As many numbers as find room beside each other.
        numbers = (1, 2, 3, 5) if ratio**2 <= 8 else (1, 3) if ratio**2 <= 1000 else (1,)
        axes.xaxis.set_major_locator(LogLocator(subs=numbers))
        axes.xaxis.set_minor_locator(LogLocator(subs=range(2, 10)))
    axes.xaxis.set_major_formatter(FuncFormatter(short_number))
    axes.xaxis.set_minor_formatter(NullFormatter())


def attack_colour(name):
    """Return an attack's colour: that of its direction, or grey for a control."""
    return GREY if ATTACKS[name].control else DIRECTION_COLOURS[ATTACKS[name].direction]


def attack_style(name):
    """Return how an attack is drawn where single-step and iterative attacks share a panel: only these are filled."""
    marker, linestyle = ATTACK_MARKS[name]
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


def finish_panel(axes, across="both"):
    """Give a panel its pale grid, across "x", "y" or "both", and take the frame's upper and right edge away."""
    axes.grid(axis=across, linewidth=0.3, color="#DDDDDD")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def add_legend(figure, attacks, lines=True):
    """Put one legend of some attacks above a figure's panels; with `lines`, or their markers only."""
    styles = [attack_style(name) | ({} if lines else {"linestyle": "none"}) for name in ordered(attacks, ATTACKS)]
    figure.legend(
        handles=[Line2D([], [], **style) for style in styles],
        loc="outside upper center",
        ncols=len(styles),
        frameon=False,
        handlelength=3 if lines else 1,
        columnspacing=1.2,
    )
