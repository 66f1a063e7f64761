"""What is taken for what: confusion matrices before and after attacks."""

from __future__ import annotations

from collections.abc import Iterable

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nosign.attacks.catalogue import ATTACKS
from nosign.classifiers.catalogue import BACKBONES
from nosign.dataset import CLASSES
from nosign.finished import IDENTITY, FinishedSweep, Run
from nosign.output.finding import Drawing, Finding
from nosign.output.plot import SMALL_POINTS, STYLE, WIDTH
from nosign.output.table import Table, numbers, words
from nosign.output.words import CLEAN, MISSING, starred
from nosign.rows import ordered

HEADING = "What is taken for what"
LEAST_COLUMNS = 7  # for which there is room, so that few matrices stand close together
MOST_COLUMNS = 8  # of matrices beside each other; more would be too small to read


def describe(run: Run) -> Finding:
    """Return confusion matrices of each sweep."""
    if not run.with_cells:
        return Finding("confusion", HEADING)
    confusion = count_confusion(run.with_cells)
    tables, drawings = [], []
    for sweep in run.with_cells:
        own = run.of(confusion, sweep)
        tables.append(confusion_table(sweep, own))
        caption = f"Confusion matrices before the attacks and under each at its largest strength; {sweep.described}."
        alt = "Matrices of true class by predicted class, one row of them per target model, one column per attack."
        figure = draw_confusion(sweep, own)
        drawings.append(Drawing("confusion" + sweep.suffix, "Confusion matrices", caption, alt, figure, sweep.name))
    made = tuple(table for table in tables if table is not None)
    return Finding("confusion", HEADING, made, tuple(drawings))


def count_confusion(sweeps: Iterable[FinishedSweep]) -> pd.DataFrame:
    """Count how often each class is taken for each, before the attacks and under each of them.

    Returns:
        Frame; each sweep opens with the rows before its attacks:
            source, condition, target, white_box
            attack, strength                      `CLEAN` and 0 before the attacks
            true_class, predicted_class, films
    """
    parts = []
    for sweep in sweeps:
        models = sweep.clean.columns.drop(list(IDENTITY))
        parts += [((*sweep.name, CLEAN, 0.0, model), sweep.clean[model]) for model in models]
        for (attack, strength), films in sweep.cells.items():
            targets = [target for target in sweep.targets if target in films]
            parts += [((*sweep.name, attack, strength, target), films[target]) for target in targets]
    size, labels = len(CLASSES), sweep.labels.astype(int)
    counts = [np.bincount(labels * size + seen.to_numpy(int), minlength=size * size) for _, seen in parts]
    keys = pd.DataFrame([key for key, _ in parts], columns=["source", "condition", "attack", "strength", "target"])
    frame = keys.assign(white_box=keys["source"] == keys["target"]).loc[keys.index.repeat(size * size)]
    return frame.reset_index(drop=True).assign(
        true_class=np.tile(np.repeat(CLASSES, size), len(parts)),
        predicted_class=np.tile(CLASSES, size * len(parts)),
        films=np.concatenate(counts),
    )


def at_largest_strength(confusion: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of `count_confusion` of each attack's largest strength, the clean films' rows among them."""
    largest = confusion.groupby(["source", "condition", "attack"])["strength"].transform("max")
    return confusion[confusion["strength"] == largest]


def confusion_table(sweep: FinishedSweep, confusion: pd.DataFrame) -> Table | None:
    """Build the table of a sweep's confusion matrices; white-box at the largest strengths is laid out.

    Args:
        confusion: the sweep's rows of `count_confusion`.

    Returns:
        The table, or None if the source model was not among the targets.
    """
    own = at_largest_strength(confusion[confusion["white_box"]])
    if set(own["attack"]) <= {CLEAN}:
        return None
    rows = []
    for (attack, strength, true), part in own.groupby(["attack", "strength", "true_class"], sort=False):
        name, at = (attack, MISSING) if attack == CLEAN else (ATTACKS[attack].title, f"{strength:g}")
        rows.append([name, at, true, *map(str, part.set_index("predicted_class")["films"].loc[list(CLASSES)])])
    columns = (*words("Attack"), *numbers("Strength"), *words("True class"), *numbers(*CLASSES, group="Taken for"))
    caption = (
        f"What {sweep.source} takes the {sweep.films_are} for: counts before the attacks and under each at the largest "
        f"strength run, gradients from {sweep.source} (white-box), condition '{sweep.condition}'. The CSV file holds all "
        "strengths and targets."
    )
    return Table("confusion" + sweep.suffix, "Confusion matrices", caption, confusion, columns, rows, None, sweep.name)


@matplotlib.rc_context(STYLE)
def draw_confusion(sweep: FinishedSweep, confusion: pd.DataFrame) -> Figure:
    """Draw confusion matrices: a row a target model, a column for the clean films and for each attack at its largest strength.

    More than `MOST_COLUMNS` go on below, for all target models.

    Args:
        confusion: the sweep's rows of `count_confusion`.
    """
    largest = at_largest_strength(confusion)
    targets = ordered(largest["target"], BACKBONES)
    columns = largest[["attack", "strength"]].drop_duplicates().itertuples(index=False)
    columns = sorted(columns, key=lambda column: [CLEAN, *ATTACKS].index(column.attack))
    blocks = [columns[first : first + MOST_COLUMNS] for first in range(0, len(columns), MOST_COLUMNS)]
    widest = len(blocks[0])
    across = max(widest, LEAST_COLUMNS)
    side = (WIDTH - 1.05) / across  # inches
    row = max(side, 0.78)  # a model's name beside it needs as much
    lines = [(target, block) for block in blocks for target in targets]
    figure = Figure(figsize=(WIDTH, 0.3 + len(blocks) * 0.5 + len(lines) * (row + 0.06)), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0.0, hspace=0.0)
    for (target, block), panels in zip(lines, figure.subplots(len(lines), across, squeeze=False)):
        for axes, (attack, strength) in zip(panels, block):
            part = largest[(largest["target"] == target) & (largest["attack"] == attack)]
            draw_matrix(axes, part)
            if target == targets[0]:
                name = "clean\n" if attack == CLEAN else f"{ATTACKS[attack].title}\n{strength:g}"
                axes.set_title(name.replace(" ", "\n"))
            if target == targets[-1]:
                axes.set_xticks(range(len(CLASSES)), [name[0] for name in CLASSES])
        for axes in panels[len(block) :]:
            axes.set_visible(False)
        panels[0].set_yticks(range(len(CLASSES)), CLASSES)
        panels[0].set_ylabel(starred(target, sweep.source))
    letters = ", ".join(f"{name[0]}: {name}" for name in CLASSES)
    figure.supxlabel(
        f"taken for ({letters}), % of the films of each true class; below each attack its strength\n"
        f"{len(sweep.clean)} {sweep.films_are}; gradients from {sweep.source} (*: white-box)",
        fontsize=SMALL_POINTS,
    )
    return figure


def draw_matrix(axes: Axes, part: pd.DataFrame) -> None:
    """Draw one confusion matrix in per cent of each row; a class without films stays empty.

    Args:
        part: rows of `count_confusion` of one cell and target; none leaves the axes out.
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
