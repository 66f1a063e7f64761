"""Transfer: gradients from every source model, tested on every target model."""

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from nosign.attacks.catalogue import ATTACKS, Condition
from nosign.classifiers.catalogue import BACKBONES
from nosign.output.plot import SMALL_POINTS, STYLE, WIDTH
from nosign.output.table import plain_table
from nosign.output.words import condition_suffix, ordered, percent
from nosign.paper import PAPER_CONDITION


def transfer_table(cells, films_are="test films"):
    """Build the table of all sources against all targets under one condition, at the largest strength that all share.

    Args:
        cells: rows of `count_cells` of one condition.
        films_are: what `nosign.rows.recorded_films` returned.

    Returns:
        The table, or None if there are fewer than two sources.
    """
    tidy = transfer_cells(cells)
    if tidy.empty:
        return None
    condition, films = tidy[["condition", "films"]].iloc[0]
    aimed = Condition.parse(condition).target is not None
    grid = tidy.pivot(
        index=["attack", "strength", "source"], columns="target", values="success_percent" if aimed else "accuracy_percent"
    )
    targets = ordered(tidy["target"], BACKBONES)
    keys = tidy[["attack", "strength", "source"]].drop_duplicates()
    rows = [
        [
            ATTACKS[attack].title,
            f"{strength:g}",
            source,
            *(percent(grid.loc[(attack, strength, source), target]) + "*" * (source == target) for target in targets),
        ]
        for attack, strength, source in keys.itertuples(index=False)
    ]
    columns = [("", "Attack"), ("", "Strength"), ("", "Source"), *(("Target", target) for target in targets)]
    measured = "Success (%)" if aimed else "Accuracy (%)"
    caption = (
        f"{measured} on {films} {films_are} of each target model under attacks with gradients from each source "
        f"model (*: white-box), at the largest strength that was run for all sources, condition '{condition}'. Wilson "
        "95 % intervals stand in the CSV file."
    )
    return plain_table("transfer" + condition_suffix(PAPER_CONDITION[0], condition), "Transfer", caption, tidy, rows, columns)


def transfer_cells(cells):
    """Return the rows of `count_cells` of one condition that make the transfer matrix: each attack at the largest strength
    that was run with gradients from every source; no rows if there is one source only."""
    sources = cells["source"].nunique()
    shared = cells.groupby(["attack", "strength"])["source"].nunique()
    shared = shared[(shared == sources) & (sources > 1)].reset_index()
    largest = shared.groupby("attack", as_index=False)["strength"].max()
    found = cells.merge(largest, on=["attack", "strength"])
    order = {name: place for place, name in enumerate([*ATTACKS, *ordered(cells["source"], BACKBONES)])}
    return found.sort_values(["attack", "source"], key=lambda column: column.map(order), kind="stable")


@matplotlib.rc_context(STYLE)
def draw_transfer(cells, films_are="test films"):
    """Draw the transfer matrix: a panel an attack, a row a source model, a column a target model.

    Args:
        cells: what `tables.transfer_cells` returned.
        films_are: what `nosign.rows.recorded_films` returned.
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
