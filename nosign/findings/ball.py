"""In the ball: what attacks of one budget leave, their worst case, and what the number and the length of steps change.

Sweeps of protocol "budget" that differ in step factor, steps or restarts only are taken together: a pool.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import NamedTuple

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from nosign.attacks.catalogue import ATTACKS, Condition
from nosign.finished import FinishedSweep, Run
from nosign.output.finding import Drawing, Finding, Sentence
from nosign.output.plot import SMALL_POINTS, STYLE, WIDTH, add_legend, attack_colour, attack_style, finish_panel, hide_empty
from nosign.output.table import Table, numbers, words
from nosign.output.words import MISSING, condition_note, condition_suffix, joined, percent, plural
from nosign.paper import STEPS
from nosign.rows import ordered

HEADING = "In the ball"
BALLS = {"linf": "L-inf", "l2": "L2"}
# Over these, as far as they were run, the worst case of a film is taken: line 9 of docs/plan.md.
WORST_CASE = (
    *("fgsm", "fgnm", "bim", "binm", "pgd", "pgdnm", "mifgsm", "mifgnm"),
    *("bim-unclipped", "binm-unclipped", "apgd"),
)
WORST = "worst case"  # stands for the attack
SETTINGS = ["step_factor", "steps", "restarts"]
MOST_PANELS = 3  # beside each other
APART = 1.04  # factor on the axis of T between neighbouring attacks, so that none hides another


class Pool(NamedTuple):
    """Sweeps that share all but `SETTINGS`.

    Attributes:
        condition: `Condition` with the default settings.
        sweeps: list of `FinishedSweep`.
    """

    condition: Condition
    sweeps: list[FinishedSweep]

    @property
    def source(self) -> str:
        """The model whose gradients were followed, which is the one that is attacked here."""
        return self.sweeps[0].source

    @property
    def suffix(self) -> str:
        """The ending of the names of tables and figures."""
        return condition_suffix(self.source, str(self.condition))

    @property
    def described(self) -> str:
        """What captions say of films, gradients and the conditions that were pooled."""
        first, names = self.sweeps[0], ", ".join(f"'{sweep.condition}'" for sweep in self.sweeps)
        return (
            f"{len(first.clean)} {first.films_are}, gradients from {self.source}, white-box; {condition_note(self.condition)}; "
            f"of the conditions {names}"
        )


def describe(run: Run) -> Finding:
    """Return what attacks leave in each ball, the worst case, and the effect of steps and of their length."""
    tables, drawings, sentences = [], [], []
    for pool in pools(run.sweeps):
        cells = pooled_cells(pool)
        if cells.empty:
            continue
        tables += [ball_table(pool, cells), *factor_tables(pool, cells)]
        drawings += steps_drawings(pool, cells)
        sentences += worst_sentences(pool, cells)
    return Finding("ball", HEADING, tuple(tables), tuple(drawings), tuple(sentences))


def pools(sweeps: Iterable[FinishedSweep]) -> list[Pool]:
    """Return the pools of the sweeps of protocol "budget"."""
    found: dict[tuple[str, Condition], list[FinishedSweep]] = {}
    for sweep in sweeps:
        if sweep.condition.protocol == "budget":
            shared = replace(sweep.condition, step_factor=1.0, steps=None, restarts=1)
            found.setdefault((sweep.source, shared), []).append(sweep)
    return [Pool(condition, members) for (_, condition), members in found.items()]


def settings_of(sweep: FinishedSweep, name: str) -> dict[str, float]:
    """Return the `SETTINGS` as they act on an attack: a single step has no T, only random starts can be repeated."""
    attack = ATTACKS[name]
    return {
        "step_factor": 1.0 if attack.adaptive else sweep.condition.step_factor,
        "steps": (sweep.steps or STEPS) if attack.iterative else 1,
        "restarts": attack.starts(sweep.condition.restarts),
    }


def pooled_cells(pool: Pool) -> pd.DataFrame:
    """Count what each attack leaves, and each film's worst case.

    A film is right in the worst case if all of `WORST_CASE` that were run at the strength leave it right; with an aim it is
    reached if one of them reaches it.

    Returns:
        Frame, one row per attack, `SETTINGS` and strength, then one per strength of the worst case; no rows where the source
        model was not attacked:
            source, condition
            attack, step_factor, steps, restarts       as they act on the attack; empty for the worst case
            strength
            pooled                                     over how many such rows the worst case is taken; 1 for an attack
            correct, films                             with an aim reached, attackable
            accuracy_percent                           with an aim success_percent; with its 95 % interval
    """
    first, rows, hits = pool.sweeps[0], {}, {}
    for sweep in pool.sweeps:
        for (attack, strength), films in sweep.cells.items():
            settings = settings_of(sweep, attack)
            key = (list(ATTACKS).index(attack), *settings.values(), strength)
            # What a setting has no effect on was run under another condition already.
            if sweep.source in films and strength > 0 and key not in rows:
                hits[key] = sweep.hits(films[sweep.source])
                rows[key] = {**sweep.keys, "attack": attack, **settings, "strength": strength, "pooled": 1}
    listed = [key for key in sorted(rows) if rows[key]["attack"] in WORST_CASE]
    for strength in sorted({key[-1] for key in listed}):
        chosen = [hits[key] for key in listed if key[-1] == strength]
        key = (len(ATTACKS), strength)
        hits[key] = np.any(chosen, axis=0) if first.aim else np.all(chosen, axis=0)
        keys = {"source": pool.source, "condition": str(pool.condition), "attack": WORST}
        rows[key] = {**keys, **dict.fromkeys(SETTINGS, np.nan), "strength": strength, "pooled": len(chosen)}
    return pd.DataFrame([rows[key] | first.effect_of_hits(hits[key]) for key in sorted(rows)])


def ball_table(pool: Pool, cells: pd.DataFrame) -> Table:
    """Build the table of attacks by strength, the worst case last."""
    effect = pool.sweeps[0].effect
    grid = cells.pivot(index=["attack", *SETTINGS], columns="strength", values=f"{effect}_percent")
    grid = grid.reindex(pd.MultiIndex.from_frame(cells[["attack", *SETTINGS]].drop_duplicates()))
    rows = [[*setting_texts(*keys), *map(percent, values)] for keys, values in zip(grid.index, grid.to_numpy())]
    columns = (
        *words("Attack"),
        *numbers("F", "T", "Starts"),
        *numbers(*(f"{strength:g}" for strength in grid.columns), group=f"{effect.title()} (%) at"),
    )
    caption = (
        f"{effect.title()} within the {BALLS[pool.condition.norm]} ball, by attack, step factor F, steps T and random starts; "
        f"{pool.described}. {worst_note(pool, cells)} Counts and 95 % intervals stand in the CSV file."
    )
    return Table("ball" + pool.suffix, HEADING, caption, cells, columns, rows)


def worst_note(pool: Pool, cells: pd.DataFrame) -> str:
    """Return the sentence on what the worst case is taken over, and what of it was not run."""
    run = [ATTACKS[name].title for name in WORST_CASE if (cells["attack"] == name).any()]
    absent = [ATTACKS[name].title for name in WORST_CASE if not (cells["attack"] == name).any()]
    if not run:
        return "None of the attacks was run over which a worst case is taken."
    counts = "is taken for the target if one of" if pool.condition.target else "is right only if each of"
    does = "takes it there" if pool.condition.target else "leaves it right"
    missing = f" Not run: {joined(absent)}." if absent else ""
    return f"In the worst case a film {counts} {joined(run)}, in all rows at that strength, {does}.{missing}"


def setting_texts(attack: str, step_factor: float, steps: float, restarts: float) -> list[str]:
    """Return the cells of a table that name an attack and its settings; dashes for the worst case."""
    if attack == WORST:
        return [WORST.capitalize(), *[MISSING] * len(SETTINGS)]
    return [ATTACKS[attack].title, *(f"{value:g}" for value in (step_factor, steps, restarts))]


def factor_tables(pool: Pool, cells: pd.DataFrame) -> list[Table]:
    """Build the table of step factors, where an attack was run with several."""
    keys = ["attack", "steps", "restarts", "strength"]
    several = cells[cells.groupby(keys)["step_factor"].transform("nunique") > 1]
    if several.empty:
        return []
    effect = pool.sweeps[0].effect
    grid = several.pivot(index=keys, columns="step_factor", values=f"{effect}_percent")
    grid = grid.reindex(pd.MultiIndex.from_frame(several[keys].drop_duplicates()))
    rows = [
        [ATTACKS[attack].title, f"{steps:g}", f"{restarts:g}", f"{strength:g}", *map(percent, values)]
        for (attack, steps, restarts, strength), values in zip(grid.index, grid.to_numpy())
    ]
    strongest = grid.max(axis=1) if pool.condition.target else grid.min(axis=1)
    bold = np.hstack([np.zeros((len(rows), len(keys)), bool), grid.eq(strongest, axis=0).to_numpy()])
    columns = (
        *words("Attack"),
        *numbers("T", "Starts", "Strength"),
        *numbers(*(f"{factor:g}" for factor in grid.columns), group=f"{effect.title()} (%) with F ="),
    )
    caption = (
        f"{effect.title()} by step factor F: each step is F times strength / T; {pool.described}. Bold: where the attack is "
        "strongest on these very films. That describes them and chooses nothing: the plan tunes F on validation films."
    )
    return [Table("factors" + pool.suffix, "Step factors", caption, several, columns, rows, bold)]


def over_steps(cells: pd.DataFrame) -> pd.DataFrame:
    """Return the rows that show what more steps change: attacks that were run with several T and otherwise alike.

    Of several step factors and starts the ones nearest to the default are taken.
    """
    alike = ["attack", "strength", "step_factor", "restarts"]
    several = cells[cells.groupby(alike)["steps"].transform("nunique") > 1]
    chosen = (
        several[alike]
        .drop_duplicates()
        .sort_values(["step_factor", "restarts"], key=lambda values: np.log(values).abs(), kind="stable")
        .drop_duplicates(["attack", "strength"])
    )
    return several.merge(chosen, on=alike)


def steps_drawings(pool: Pool, cells: pd.DataFrame) -> list[Drawing]:
    """Draw accuracy against T, where several were run."""
    lines = over_steps(cells)
    if lines.empty:
        return []
    effect = pool.sweeps[0].effect
    settings = lines[["step_factor", "restarts"]].drop_duplicates().itertuples(index=False)
    told = joined([f"F = {factor:g} and {plural(int(starts), 'start')}" for factor, starts in settings])
    caption = (
        f"{effect.capitalize()} within the {BALLS[pool.condition.norm]} ball against the number of steps T, with {told}; "
        f"bars: 95 % intervals; markers of one T stand side by side; {pool.described}."
    )
    alt = f"One panel per strength, one line of {effect} per attack over the number of steps."
    return [Drawing("ball" + pool.suffix, HEADING, caption, alt, draw_over_steps(pool, lines))]


@matplotlib.rc_context(STYLE)
def draw_over_steps(pool: Pool, lines: pd.DataFrame) -> Figure:
    """Draw the rows of `over_steps`: one panel per strength, one line per attack."""
    first, strengths, attacks = pool.sweeps[0], sorted(lines["strength"].unique()), ordered(lines["attack"], ATTACKS)
    across = min(len(strengths), MOST_PANELS)
    down = -(-len(strengths) // across)
    figure = Figure(figsize=(WIDTH, 0.7 + 2.4 * down), layout="constrained")
    panels = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False).ravel()
    for axes, strength in zip(panels, strengths):
        panel = lines[lines["strength"] == strength]
        for place, name in enumerate(attacks):
            line = panel[panel["attack"] == name].sort_values("steps")
            at = line["steps"] * APART ** (place - (len(attacks) - 1) / 2)
            axes.vlines(at, line["ci_low_percent"], line["ci_high_percent"], color=attack_colour(name), linewidth=0.7, zorder=2)
            axes.plot(at, line[f"{first.effect}_percent"], clip_on=False, **attack_style(name))
        axes.set(title=f"strength {strength:g}", xlabel="steps T", xscale="log", ylim=(0, 100))
        finish_panel(axes)
    ticks = [int(steps) for steps in sorted(lines["steps"].unique())]
    panels[0].set_xticks(ticks, [str(steps) for steps in ticks])
    panels[0].set_xticks([], minor=True)
    for axes in panels[::across]:
        axes.set_ylabel(f"{first.effect} (%)")
    hide_empty(panels, len(strengths), across)
    add_legend(figure, lines["attack"])
    note = f"{len(first.clean)} {first.films_are}, gradients from {pool.source}, white-box, condition '{pool.condition}'"
    figure.supxlabel(note, fontsize=SMALL_POINTS)
    return figure


def worst_sentences(pool: Pool, cells: pd.DataFrame) -> list[Sentence]:
    """Say what the worst case leaves at each strength, and the strongest single attack."""
    first = pool.sweeps[0]
    count, among = first.counted
    told = []
    for row in cells[cells["attack"] == WORST].to_dict("records"):
        alone = cells[(cells["strength"] == row["strength"]) & cells["attack"].isin(WORST_CASE)]
        strongest = alone.loc[alone[count].idxmax() if first.aim else alone[count].idxmin()]
        told.append(
            f"{row[count]} of {row[among]} ({percent(row[f'{first.effect}_percent'])} %) at {row['strength']:g}, "
            f"{strongest[count]} under {ATTACKS[strongest['attack']].title} alone, the strongest of {row['pooled']}"
        )
    what = f"taken for {first.aim}" if first.aim else "right"
    ball = f"Within the {BALLS[pool.condition.norm]} ball (condition '{pool.condition}'), gradients from {pool.source}"
    return [Sentence(f"{ball}, films {what} in the worst case: {'; '.join(told)}.")] if told else []
