"""The figures: the workflow, what an attack does to a film, accuracy against strength, and what is taken for what.

Each `draw_*` function returns a figure 7.16 inches wide (two columns of an IEEE page) that `save_figure` writes.
"""

import zipfile
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from nosign.attacks import ATTACKS, PAIRS, Condition
from nosign.cells import example_path, ordered
from nosign.classifiers import BACKBONES, HEAD_UNITS
from nosign.dataset import CLASSES
from nosign.errors import UserError
from nosign.processes import process_map
from nosign.provenance import atomic_path
from nosign.statistics import CLEAN, at_largest_strength, plural
from nosign.tables import INTERVALS, PAPER_CONDITION, attack_pairs, percent_before, starred

WIDTH = 7.16  # inches
DPI = 300
FONT_POINTS = 8
SMALL_POINTS = 7
NOISE_GAIN = 1000  # the paper shows the noise a thousand times larger
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
EXAMPLE_FIGURES = {"fgnm": "figure2", "pgdnm": "figure3"}
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


@dataclass(frozen=True)
class Example:
    """One film before and after an attack at two strengths.

    Attributes:
        attack: name in `ATTACKS`.
        film: row of the film in the data index.
        label: its true class, a position in `CLASSES`.
        original: float32 [height, width, 3] in [0, 1].
        adversarial: float32 [2, height, width, 3] in [0, 1], one film a strength.
        strengths: float64 [2].
        predictions: int [3], the source model's class for the original and the two adversarial films.
        confidences: float32 [3] in [0, 1], its probability of that class.
    """

    attack: str
    film: int
    label: int
    original: np.ndarray
    adversarial: np.ndarray
    strengths: np.ndarray
    predictions: np.ndarray
    confidences: np.ndarray


def read_example(results, attack):
    """Read the film that `attack.py` kept to show an attack.

    Returns:
        An `Example`, or None if there is no such file.

    Raises:
        UserError: the file is not a complete example.
    """
    path = example_path(results, attack)
    try:
        with np.load(path, allow_pickle=False) as arrays:
            example = Example(
                attack,
                int(arrays["film"]),
                int(arrays["label"]),
                arrays["original"],
                arrays["adversarial"],
                *(arrays[name].ravel() for name in ("strengths", "predictions", "confidences")),
            )
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError, EOFError, zipfile.BadZipFile):
        raise UserError(f"{path}: not a complete example; remove it and run attack.py again") from None
    shape = example.original.shape
    classes = [example.label, *example.predictions]
    if (
        len(shape) != 3
        or shape[-1] != 3
        or example.adversarial.shape != (2, *shape)
        or len(example.strengths) != 2
        or len(example.predictions) != 3
        or len(example.confidences) != 3
        or not set(classes) <= set(range(len(CLASSES)))
    ):
        raise UserError(
            f"{path}: expected a film, two adversarial films, two strengths and three predictions; "
            "remove it and run attack.py again"
        )
    return example


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


def box(axes, x, y, width, height, text, colour):
    """Draw a labelled box; x and y are its lower left corner, everything in inches."""
    axes.add_patch(
        FancyBboxPatch(
            (x, y), width, height, boxstyle="round,pad=0,rounding_size=0.05", facecolor=colour, edgecolor=GREY, linewidth=0.7
        )
    )
    axes.text(x + width / 2, y + height / 2, text, ha="center", va="center", fontsize=SMALL_POINTS, linespacing=1.25)


def arrow(axes, start, end, width=0.8):
    """Draw an arrow between two points in inches."""
    axes.add_patch(
        FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=7, linewidth=width, color="black", shrinkA=0, shrinkB=0)
    )


def workflow_stages():
    """Return the workflow's stages: (title, script, rows of boxes from top to bottom).

    A row is a list of (text, fill colour), its boxes side by side.
    """
    blue, amber = DIRECTION_TINTS["sign"], DIRECTION_TINTS["no-sign"]
    sign, no_sign = ("\n".join(ATTACKS[pair[side]].title for pair in PAIRS) for side in (0, 1))
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
def draw_workflow():
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


def draw_stage(axes, left, width, top, rows):
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


def amplified_noise(original, adversarial):
    """Return the noise as an image: 0.5 + 1000 (adversarial - original), clipped to [0, 1]; same shape as the film."""
    return np.clip(0.5 + NOISE_GAIN * (adversarial - original), 0, 1)


def verdict(prediction, confidence, label):
    """Return what stands under a film: predicted class, confidence, and whether that is right, in words."""
    mark = "\N{CHECK MARK} right" if prediction == label else "\N{BALLOT X} wrong"
    return f"{CLASSES[prediction]}, {100 * confidence:.1f} %\n{mark}"


@matplotlib.rc_context(STYLE)
def draw_example(example, films_are="test films"):
    """Draw figure 2 or 3: a film, then noise and adversarial film at a small and at a large strength.

    Args:
        example: an `Example`.
    """
    films = [example.original]
    headings, below = ["original\ntest film"], [verdict(example.predictions[0], example.confidences[0], example.label)]
    for position, (adversarial, strength) in enumerate(zip(example.adversarial, example.strengths), start=1):
        films += [amplified_noise(example.original, adversarial), adversarial]
        headings += [f"noise × {NOISE_GAIN}\nstrength {strength:g}", f"adversarial\nstrength {strength:g}"]
        below += ["", verdict(example.predictions[position], example.confidences[position], example.label)]
    figure = Figure(figsize=(WIDTH, 2.55), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.04, wspace=0.02)
    for position, (axes, film) in enumerate(zip(figure.subplots(1, len(films)), films)):
        axes.imshow(np.clip(film, 0, 1), vmin=0, vmax=1)
        axes.set(xticks=[], yticks=[])
        axes.set_title(f"({'abcde'[position]}) {headings[position]}")
        axes.set_xlabel(below[position], linespacing=1.3)
    figure.supxlabel(example_note(example, films_are), fontsize=SMALL_POINTS)
    return figure


def example_note(example, films_are):
    """Return the caption line of figure 2 or 3."""
    film = films_are.removesuffix("s")
    return (
        f"{ATTACKS[example.attack].title}, {film} {example.film}. True class: {CLASSES[example.label]}; "
        f"below each film, the source model's class and confidence.\n"
        f"Noise is shown as 0.5 + {NOISE_GAIN} × (adversarial − original), clipped to [0, 1]: "
        "mid-grey means unchanged."
    )


def draw_accuracy(cells, clean, films_are="test films"):
    """Draw figure 4: accuracy against strength, a row for single-step and one for iterative attacks.

    Where the attacks aim at a class, the share of films that reach it is drawn. Bands are the Wilson 95 % intervals.

    Args:
        cells: rows of `tables.count_cells` of one source and condition.
        clean: what `tables.clean_accuracy` returned.
        films_are: what `nosign.records.recorded_films` returned.

    Returns:
        The figure; a row without any finished cell is left out.
    """
    source, condition, films = cells[["source", "condition", "films"]].iloc[0]
    value = "success_percent" if Condition.parse(condition).target else "accuracy_percent"
    shown = cells.assign(shown=cells[value], low=cells[INTERVALS[value][0]], high=cells[INTERVALS[value][1]])
    before = clean.set_index("target")["accuracy_percent"] if value == "accuracy_percent" else percent_before(cells)
    return draw_lines(shown, before, f"{films} {films_are}; gradients from {source}; bands: Wilson 95 % intervals")


def draw_seeds(spread, films_are="test films"):
    """Draw the mean over runs with different seeds against strength, laid out as figure 4. Bands are the runs' range.

    Cells that some runs lack are left out: beside the others they would show the runs' difference as one of strength.

    Args:
        spread: rows of `statistics.spread_over_runs` of one source and condition.
        films_are: what `nosign.records.recorded_films` returned.
    """
    whole = spread[spread["runs"] == spread["runs"].max()]
    shown = whole.rename(columns={"mean_percent": "shown", "lowest_percent": "low", "highest_percent": "high"})
    clean = shown[shown["attack"] == CLEAN].set_index("target")["shown"]
    return draw_lines(
        shown[shown["attack"] != CLEAN],
        clean,
        f"mean of {plural(spread['runs'].max(), 'run')} with different seeds, {films_are}; gradients from "
        f"{spread['source'].iloc[0]}; bands: lowest to highest run",
    )


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


@matplotlib.rc_context(STYLE)
def draw_transfer(cells, films_are="test films"):
    """Draw the transfer matrix: a panel an attack, a row a source model, a column a target model.

    Args:
        cells: what `tables.transfer_cells` returned.
        films_are: what `nosign.records.recorded_films` returned.
    """
    attacks = ordered(cells["attack"], ATTACKS)
    sources, targets = ordered(cells["source"], BACKBONES), ordered(cells["target"], BACKBONES)
    aim = Condition.parse(cells["condition"].iloc[0]).target
    value = "success_percent" if aim else "accuracy_percent"
    columns = min(2, len(attacks))
    rows = -(-len(attacks) // columns)
    figure = Figure(figsize=(WIDTH, 0.6 + rows * (0.55 + 0.36 * len(sources))), layout="constrained")
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
    for axes, name in zip(panels, attacks):
        part = cells[cells["attack"] == name]
        grid = part.pivot(index="source", columns="target", values=value).loc[sources, targets].to_numpy()
        image = axes.imshow(grid, vmin=0, vmax=100, cmap="cividis", aspect="auto")
        for (row, column), percent in np.ndenumerate(grid):
            star = "*" if sources[row] == targets[column] else ""
            axes.text(
                column,
                row,
                f"{percent:.1f}{star}",
                ha="center",
                va="center",
                fontsize=SMALL_POINTS + 1,
                color="black" if percent > 55 else "white",
            )
        axes.set_title(f"{ATTACKS[name].title}, strength {part['strength'].iloc[0]:g}")
        axes.set_xticks(range(len(targets)), targets)
        axes.set_yticks(range(len(sources)), sources)
        axes.tick_params(length=0)
    for axes in panels[len(attacks) :]:
        axes.set_visible(False)
    bar = figure.colorbar(image, ax=list(panels), aspect=30, pad=0.02)
    bar.set_label(f"taken for {aim} (%)" if aim else "accuracy (%)")
    figure.supxlabel(f"target model (*: white-box); {cells['films'].iloc[0]} {films_are}", fontsize=SMALL_POINTS)
    figure.supylabel("source of the gradients", fontsize=SMALL_POINTS)
    return figure


@matplotlib.rc_context(STYLE)
def draw_confusion(confusion, films_are="test films"):
    """Draw confusion matrices: a row a target model, a column for the clean films and for each attack at its largest strength.

    Args:
        confusion: rows of `statistics.count_confusion` of one source and condition.
        films_are: what `nosign.records.recorded_films` returned.
    """
    largest = at_largest_strength(confusion)
    source, targets = largest["source"].iloc[0], ordered(largest["target"], BACKBONES)
    columns = largest[["attack", "strength"]].drop_duplicates().itertuples(index=False)
    columns = sorted(columns, key=lambda column: [CLEAN, *ATTACKS].index(column.attack))
    side = (WIDTH - 1.05) / max(len(columns), 7)  # inches
    row = max(side, 0.78)  # a model's name beside it needs as much
    figure = Figure(figsize=(WIDTH, 0.8 + len(targets) * (row + 0.06)), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0.0, hspace=0.0)
    for line, (target, panels) in enumerate(zip(targets, figure.subplots(len(targets), len(columns), squeeze=False))):
        for axes, (attack, strength) in zip(panels, columns):
            part = largest[(largest["target"] == target) & (largest["attack"] == attack)]
            draw_matrix(axes, part)
            if line == 0:
                name = "clean\n" if attack == CLEAN else f"{ATTACKS[attack].title}\n{strength:g}"
                axes.set_title(name.replace(" ", "\n"))
            if line == len(targets) - 1:
                axes.set_xticks(range(len(CLASSES)), [name[0] for name in CLASSES])
        panels[0].set_yticks(range(len(CLASSES)), CLASSES)
        panels[0].set_ylabel(starred(target, source))
    films = confusion.groupby(["attack", "strength", "target"])["films"].sum().iloc[0]
    letters = ", ".join(f"{name[0]}: {name}" for name in CLASSES)
    figure.supxlabel(
        f"taken for ({letters}), % of the films of each true class; below each attack its strength\n"
        f"{films} {films_are}; gradients from {source} (*: white-box)",
        fontsize=SMALL_POINTS,
    )
    return figure


def draw_matrix(axes, part):
    """Draw one confusion matrix in per cent of each row; a class without films stays empty.

    Args:
        part: rows of `statistics.count_confusion` of one cell and target; none leaves the axes out.
    """
    axes.set(xticks=[], yticks=[])
    axes.tick_params(length=0)
    if part.empty:
        axes.set_axis_off()
        return
    counts = part.pivot(index="true_class", columns="predicted_class", values="films").loc[list(CLASSES), list(CLASSES)]
    shares = counts.div(counts.sum(axis=1).where(lambda films: films > 0), axis=0).to_numpy() * 100
    axes.imshow(shares, vmin=0, vmax=100, cmap="cividis", aspect="equal")
    for (row, column), share in np.ndenumerate(shares):
        if np.isfinite(share):
            axes.text(
                column,
                row,
                f"{share:.0f}",
                ha="center",
                va="center",
                fontsize=SMALL_POINTS,
                color="black" if share > 55 else "white",
            )


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
