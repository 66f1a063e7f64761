"""What is taken for what: confusion matrices before and after attacks."""

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from nosign.attacks.catalogue import ATTACKS
from nosign.classifiers.catalogue import BACKBONES
from nosign.dataset import CLASSES
from nosign.output.plot import SMALL_POINTS, STYLE, WIDTH
from nosign.output.table import plain_table
from nosign.output.words import CLEAN, MISSING, condition_suffix, joined, ordered, plural, starred

ASKED_CLASS = "COVID-19"  # what does it turn into?


def count_confusion(sweep, clean):
    """Count how often each class is taken for each, on the clean films and under every attack.

    Args:
        sweep: list of `nosign.rows.CellFilms`.
        clean: what `nosign.rows.read_clean` returned.

    Returns:
        Frame: source, condition, attack (`CLEAN` for none, with strength 0), strength, target, white_box, true_class,
        predicted_class, films. The clean films' rows open each source and condition.
    """
    parts = []
    for cell in sweep:
        same = (cell.source, cell.condition)
        if not parts or same != parts[-1][0][:2]:
            parts += [((*same, CLEAN, 0.0, target), clean[target]) for target in clean.columns.drop(["film", "label"])]
        parts += [((*same, cell.attack, cell.strength, target), cell.films[target]) for target in cell.targets]
    size, labels = len(CLASSES), clean["label"].to_numpy(int)
    counts = [np.bincount(labels * size + seen.to_numpy(int), minlength=size * size) for _, seen in parts]
    keys = pd.DataFrame([key for key, _ in parts], columns=["source", "condition", "attack", "strength", "target"])
    frame = keys.assign(white_box=keys["source"] == keys["target"]).loc[keys.index.repeat(size * size)]
    return frame.reset_index(drop=True).assign(
        true_class=np.tile(np.repeat(CLASSES, size), len(parts)),
        predicted_class=np.tile(CLASSES, size * len(parts)),
        films=np.concatenate(counts),
    )


def at_largest_strength(confusion):
    """Return the rows of `count_confusion` of each attack's largest strength, the clean films' rows among them."""
    largest = confusion.groupby(["source", "condition", "attack"])["strength"].transform("max")
    return confusion[confusion["strength"] == largest]


def turned_sentences(confusion):
    """Say for each attack, white-box at its largest strength, what the films of `ASKED_CLASS` are taken for.

    Args:
        confusion: what `count_confusion` returned.

    Returns:
        List of str.
    """
    own = at_largest_strength(confusion[confusion["white_box"] & (confusion["true_class"] == ASKED_CLASS)])
    sentences, before = [], {}
    for (source, condition, attack, strength), part in own.groupby(["source", "condition", "attack", "strength"], sort=False):
        seen = part.set_index("predicted_class")["films"]
        if attack == CLEAN:
            before[source, condition] = seen[ASKED_CLASS]
            continue
        others = joined([f"{number} for {name}" for name, number in seen.drop(ASKED_CLASS).items()])
        sentences.append(
            f"Condition '{condition}', {ATTACKS[attack].title} at {strength:g}, white-box: of "
            f"{plural(seen.sum(), f'{ASKED_CLASS} film')} {source} recognises {before[source, condition]} before the attack "
            f"and {seen[ASKED_CLASS]} after it; it then takes {others}."
        )
    return sentences


def confusion_table(confusion, films_are="test films"):
    """Build the table of confusion matrices of one source and condition; white-box at the largest strengths is shown.

    Args:
        confusion: rows of `statistics.count_confusion` of one source and condition.
        films_are: what `nosign.rows.recorded_films` returned.

    Returns:
        The table, or None if the source model was not among the targets.
    """
    own = at_largest_strength(confusion[confusion["white_box"]])
    if set(own["attack"]) <= {CLEAN}:
        return None
    source, condition = own[["source", "condition"]].iloc[0]
    shown = []
    for (attack, strength, true), part in own.groupby(["attack", "strength", "true_class"], sort=False):
        title, strength = (attack, MISSING) if attack == CLEAN else (ATTACKS[attack].title, f"{strength:g}")
        shown.append([title, strength, true, *map(str, part.set_index("predicted_class")["films"].loc[list(CLASSES)])])
    columns = [("", "Attack"), ("", "Strength"), ("", "True class"), *(("Taken for", name) for name in CLASSES)]
    caption = (
        f"What {source} takes the {films_are} for: counts before the attacks and under each at the largest strength "
        f"run, gradients from {source} (white-box), condition '{condition}'. The CSV file holds all strengths and "
        "targets."
    )
    return plain_table(
        "confusion" + condition_suffix(source, condition), "Confusion matrices", caption, confusion, shown, columns
    )


@matplotlib.rc_context(STYLE)
def draw_confusion(confusion, films_are="test films"):
    """Draw confusion matrices: a row a target model, a column for the clean films and for each attack at its largest strength.

    Args:
        confusion: rows of `statistics.count_confusion` of one source and condition.
        films_are: what `nosign.rows.recorded_films` returned.
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
