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
from nosign.output.finding import Drawing, Finding, Sentence
from nosign.output.plot import SMALL_POINTS, STYLE, WIDTH
from nosign.output.table import Table, numbers, words
from nosign.output.words import CLEAN, MISSING, joined, plural, starred
from nosign.rows import ordered

MOST_COLUMNS = 12  # beside each other in the figure
HEADING = "What is taken for what"
ASKED_CLASS = "COVID-19"  # what does it turn into?


def describe(run: Run) -> Finding:
    """Return confusion matrices of each sweep, and what films of `ASKED_CLASS` are taken for."""
    if not run.sweeps:
        return Finding("confusion", HEADING)
    confusion = count_confusion(run.sweeps)
    tables, drawings, sentences = [], [], []
    for sweep in run.sweeps:
        own = run.of(confusion, sweep)
        tables.append(confusion_table(sweep, own))
        caption = f"Confusion matrices before the attacks and under each at its largest strength; {sweep.described}."
        alt = "Matrices of true class by predicted class, one row of them per target model, one column per attack."
        figure = draw_confusion(sweep, own)
        drawings.append(Drawing("confusion" + sweep.suffix, "Confusion matrices", caption, alt, figure, sweep.name))
        sentences += turned_sentences(sweep, own)
    made = tuple(table for table in tables if table is not None)
    return Finding("confusion", HEADING, made, tuple(drawings), tuple(sentences))


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


def turned_sentences(sweep: FinishedSweep, confusion: pd.DataFrame) -> list[Sentence]:
    """Say for each attack, white-box at its largest strength, what the films of `ASKED_CLASS` are taken for.

    Args:
        confusion: the sweep's rows of `count_confusion`.
    """
    own = at_largest_strength(confusion[confusion["white_box"] & (confusion["true_class"] == ASKED_CLASS)])
    sentences, before = [], None
    for (attack, strength), part in own.groupby(["attack", "strength"], sort=False):
        seen = part.set_index("predicted_class")["films"]
        if attack == CLEAN:
            before = seen[ASKED_CLASS]
            continue
        others = joined([f"{number} for {name}" for name, number in seen.drop(ASKED_CLASS).items()])
        text = (
            f"{ATTACKS[attack].title} at {strength:g}, white-box, condition '{sweep.condition}': of "
            f"{plural(seen.sum(), f'{ASKED_CLASS} film')} {sweep.source} recognises {before} before the attack and "
            f"{seen[ASKED_CLASS]} after it, and takes {others}."
        )
        sentences.append(Sentence(text, sweep.name))
    return sentences


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

    More columns than `MOST_COLUMNS` go on below, in as many rows again.

    Args:
        confusion: the sweep's rows of `count_confusion`.
    """
    largest = at_largest_strength(confusion)
    targets = ordered(largest["target"], BACKBONES)
    columns = largest[["attack", "strength"]].drop_duplicates().itertuples(index=False)
    columns = sorted(columns, key=lambda column: [CLEAN, *ATTACKS].index(column.attack))
    parts = -(-len(columns) // MOST_COLUMNS)
    across = -(-len(columns) // parts)
    side = (WIDTH - 1.05) / max(across, 7)  # inches
    row = max(side, 0.78)  # a model's name beside it needs as much
    titles = 0.45 * (parts - 1)
    figure = Figure(figsize=(WIDTH, 0.8 + titles + parts * len(targets) * (row + 0.06)), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0.0, hspace=0.0)
    grid = figure.subplots(parts * len(targets), across, squeeze=False)
    for part in range(parts):
        lines = grid[part * len(targets) : (part + 1) * len(targets)]
        draw_matrices(lines, columns[part * across : (part + 1) * across], largest, targets, sweep.source)
    letters = ", ".join(f"{name[0]}: {name}" for name in CLASSES)
    figure.supxlabel(
        f"taken for ({letters}), % of the films of each true class; below each attack its strength\n"
        f"{len(sweep.clean)} {sweep.films_are}; gradients from {sweep.source} (*: white-box)",
        fontsize=SMALL_POINTS,
    )
    return figure


def draw_matrices(lines: np.ndarray, columns: list, largest: pd.DataFrame, targets: list, source: str) -> None:
    """Draw some columns of `draw_confusion` on axes [targets, at least as many as columns].

    Args:
        columns: list of (attack, strength).
        largest: what `at_largest_strength` returned.
        targets: names of the models, one for each row.
        source: the white-box model.
    """
    for target, panels in zip(targets, lines):
        for axes, (attack, strength) in zip(panels, columns):
            draw_matrix(axes, largest[(largest["target"] == target) & (largest["attack"] == attack)])
            if target == targets[0]:
                name = "clean\n" if attack == CLEAN else f"{ATTACKS[attack].title}\n{strength:g}"
                axes.set_title(name.replace(" ", "\n"))
            if target == targets[-1]:
                axes.set_xticks(range(len(CLASSES)), [name[0] for name in CLASSES])
        for axes in panels[len(columns) :]:
            axes.set_axis_off()
        panels[0].set_yticks(range(len(CLASSES)), CLASSES)
        panels[0].set_ylabel(starred(target, source))


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
