"""Turning strengths: what one no-sign step needs to turn a film, against one sign step. The primary endpoint of the study."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter
from scipy.stats import rankdata

from nosign.attacks.catalogue import ATTACKS
from nosign.attacks.turning import HALVINGS
from nosign.dataset import CLASSES
from nosign.finished import TURNING_COUNTS, FinishedSweep, Run
from nosign.output.finding import Drawing, Finding, Sentence
from nosign.output.plot import (
    CLEAN_LINE,
    DIRECTION_COLOURS,
    GREY,
    SMALL_POINTS,
    STYLE,
    WIDTH,
    few_of,
    finish_panel,
    hide_empty,
    short_number,
    thinned_note,
)
from nosign.output.table import Table, numbers, words
from nosign.output.words import MISSING, estimate, pair_title, starred, stratum_title
from nosign.statistics.intervals import in_columns

HEADING = "What it takes to turn a film"
# Of `turning_ratios`: what every table opens with, and the estimates that the table of ratios and that of theory hold.
KEYS = ("source", "condition", "sign_attack", "no_sign_attack", "target", "white_box")
OF_RATIOS = ("l2_ratio", "linf_ratio")
OF_THEORY = ("l2_ratio", "cosine", "level", "spearman", "slope")
REACHABLE = "spearman_at_slope_1"
SHUFFLES, SHUFFLING_SEED = 100, 0  # of films, for `reachable`
# Theory's level holds if the median film needs what it predicts, within a tenth; its order if ranks go together so well.
LEVEL, ORDER = 1.1, 0.5
APART = 2 ** (0.5 / 2**HALVINGS)  # ratio of norms from which two films' turning strengths are not the same step of the search
LEAST_FILMS = 10  # of a class and collection, for a row of its own


def describe(run: Run) -> Finding:
    """Return the ratio of the norms at turning, no-sign over sign, of each sweep that has turning strengths."""
    tables, drawings, sentences = [], [], []
    for sweep in run.sweeps:
        ratios = turning_ratios(sweep)
        if ratios.empty:
            continue
        tables.append(turning_table(sweep, ratios))
        if ratios["cosine"].notna().any():
            tables.append(theory_table(sweep, ratios))
        by_class = ratios_by_class(sweep)
        if not by_class.empty:
            tables.append(classes_table(sweep, by_class))
        drawings += draw_ratios(sweep)
        for row in ratios.sort_values("white_box", ascending=False, kind="stable").itertuples():
            sentences += turning_sentences(sweep, row)
    return Finding("turning", HEADING, tuple(tables), tuple(drawings), tuple(sentences))


def turning_ratios(sweep: FinishedSweep) -> pd.DataFrame:
    """Compare the change at which each film turns under sign and under no-sign.

    Returns:
        Frame, one row per pair and target, no rows where nothing is on record. Each estimate has its 95 % interval in two
        more columns, `_low` and `_high`:
            source, condition, sign_attack, no_sign_attack, target, white_box
            films ...                `TURNING_COUNTS`
            l2_ratio, linf_ratio     medians of `FinishedSweep.norm_ratio`
            linf_for_sign, linf_for_no_sign     films that this one turns at the smaller L-inf norm, by half a step or more
            cosine                   median of that between gradient and sign: the first-order prediction of l2_ratio
            level                    median of l2_ratio / cosine; 1 if theory holds
            spearman, slope          of log2 of l2_ratio on log2 of the cosine, over films that both turn; both 1 if it holds
            spearman_at_slope_1      see `reachable`; without an interval
    """
    return pd.DataFrame([compare(sweep, pair, target) for pair, target in sweep.turning_pairs()])


def compare(sweep: FinishedSweep, pair: tuple[str, str], target: str) -> dict:
    """Return a row of `turning_ratios`."""
    l2, linf, cosine = *(sweep.norm_ratio(*pair, target, norm) for norm in ("l2", "linf")), sweep.predicted_ratio(pair, target)
    both = np.isfinite(l2) & (l2 > 0) & (cosine > 0)
    log_ratio, log_cosine = (np.log2(values, out=np.full(len(l2), np.nan), where=both) for values in (l2, cosine))
    with np.errstate(invalid="ignore"):
        level = l2 / cosine
    estimates = {
        "l2_ratio": sweep.patients.median(l2),
        "linf_ratio": sweep.patients.median(linf),
        "cosine": sweep.patients.median(cosine),
        "level": sweep.patients.median(level),
        "spearman": sweep.patients.line(ranks(log_cosine), ranks(log_ratio))[0],
        "slope": sweep.patients.line(log_cosine, log_ratio)[1],
    }
    return {
        **sweep.keys,
        "sign_attack": pair[0],
        "no_sign_attack": pair[1],
        "target": target,
        "white_box": target == sweep.source,
        **sweep.count_turned(pair, target),
        "linf_for_sign": int((linf > APART).sum()),
        "linf_for_no_sign": int((linf < 1 / APART).sum()),
        **in_columns(estimates),
        REACHABLE: reachable(log_cosine[both], log_ratio[both]),
    }


def reachable(predicted: np.ndarray, found: np.ndarray) -> float:
    """Return the rank correlation that a slope of 1 would give: ratios scatter for other reasons too, and so it is below 1.

    The residuals of the fitted line are shuffled among the films and added to the prediction; the mean over `SHUFFLES`.

    Args:
        predicted, found: float [films], logarithms; NaN for fewer than three films.
    """
    if len(predicted) < 3:
        return np.nan
    random, order, centred = np.random.default_rng(SHUFFLING_SEED), rankdata(predicted), predicted - predicted.mean()
    with np.errstate(invalid="ignore", divide="ignore"):  # NaN where all predictions are equal
        residuals = found - (centred @ found) / (centred @ centred) * centred
        drawn = [np.corrcoef(order, rankdata(predicted + random.permutation(residuals)))[0, 1] for _ in range(SHUFFLES)]
    return float(np.mean(drawn))


def ranks(values: np.ndarray) -> np.ndarray:
    """Return the ranks of values, NaN where they are NaN."""
    return rankdata(values, nan_policy="omit")


def count_texts(row: Any) -> list[str]:
    """Return the texts of `TURNING_COUNTS` of a row."""
    return [str(getattr(row, name)) for name in TURNING_COUNTS]


COUNT_COLUMNS = (
    *numbers("all", "both", "sign only", "no-sign only", "neither", group="Films turned by"),
    *numbers("Right again"),
)


def turning_table(sweep: FinishedSweep, ratios: pd.DataFrame) -> Table:
    """Build the table of the ratios at turning."""
    rows = [
        [
            *(pair_title(row), starred(row.target, sweep.source)),
            *count_texts(row),
            *estimate(row, "l2_ratio", 3),
            *estimate(row, "linf_ratio", 2),
        ]
        for row in ratios.itertuples()
    ]
    columns = (
        *words("Pair", "Target"),
        *COUNT_COLUMNS,
        *numbers("median", "95 % interval", group="L2, no-sign over sign"),
        *numbers("median", "95 % interval", group="L-inf, no-sign over sign"),
    )
    caption = (
        "The smallest change that turns a film, no-sign over sign, for the films that a target (*: white-box) has right: "
        f"medians with {sweep.intervals}. A film that only one of the two turns counts as 0 or infinity, one that neither "
        f"turns is left out. Right again: films that some larger strength does not turn; {sweep.described}."
    )
    frame = ratios[[*KEYS, *TURNING_COUNTS, *with_intervals(OF_RATIOS), "linf_for_sign", "linf_for_no_sign"]]
    return Table("turning" + sweep.suffix, "Turning strengths", caption, frame, columns, rows, None, sweep.name)


def with_intervals(estimates: Iterable[str]) -> list[str]:
    """Return the columns of estimates and of the ends of their intervals."""
    return [name + end for name in estimates for end in ("", "_low", "_high")]


def theory_table(sweep: FinishedSweep, ratios: pd.DataFrame) -> Table:
    """Build the table that sets the ratios beside first-order theory."""
    rows = [
        [
            *(pair_title(row), starred(row.target, sweep.source)),
            *(text for name in OF_THEORY for text in estimate(row, name, 3)),
            MISSING if np.isnan(row.spearman_at_slope_1) else f"{row.spearman_at_slope_1:.3f}",
        ]
        for row in ratios.itertuples()
    ]
    groups = ("L2 ratio", "Cosine: the prediction", "Ratio over prediction", "Spearman", "Slope")
    columns = (
        *words("Pair", "Target"),
        *(column for group in groups for column in numbers("median" if group[0] != "S" else "", "95 % interval", group=group)),
        *numbers("at slope 1", group="Rank correlation"),
    )
    caption = (
        "First-order theory predicts that at turning the L2 norm of no-sign is that of sign times the cosine between the "
        "gradient and its sign: the ratio over its prediction would be 1 (the level), and over films rank correlation and "
        "slope of log ratio on log cosine would be 1 (the order). At slope 1: the rank correlation if log ratios were log "
        f"cosines plus the residuals of the fitted line, shuffled among films (mean of {SHUFFLES} shuffles). Rank correlations "
        f"and slope are over films that both turn. {sweep.intervals}; {sweep.described}."
    )
    frame = ratios[[*KEYS, *with_intervals(OF_THEORY), REACHABLE]]
    return Table("turning-theory" + sweep.suffix, "Theory", caption, frame, columns, rows, None, sweep.name)


def classes_table(sweep: FinishedSweep, frame: pd.DataFrame) -> Table:
    """Build the table of the ratios within each class and collection."""
    rows = [
        [*(pair_title(row), starred(row.target, sweep.source), row.of), *count_texts(row), *estimate(row, "l2_ratio", 3)]
        for row in frame.itertuples()
    ]
    columns = (
        *words("Pair", "Target", "Films of"),
        *COUNT_COLUMNS,
        *numbers("median", "95 % interval", group="L2, no-sign over sign"),
    )
    caption = (
        f"Turning strengths within each class, and within each of its collections that holds at least {LEAST_FILMS} films that "
        f"could be turned; medians with {sweep.intervals}; {sweep.described}."
    )
    title = "Turning strengths by class and collection"
    return Table("turning-classes" + sweep.suffix, title, caption, frame, columns, rows, None, sweep.name)


def ratios_by_class(sweep: FinishedSweep) -> pd.DataFrame:
    """Return the rows of `classes_table`.

    Returns:
        Frame: source, condition, sign_attack, no_sign_attack, target; of: class, or class and collection; `TURNING_COUNTS`;
        l2_ratio with its interval in `_low` and `_high`.
    """
    rows = []
    for pair, target in sweep.turning_pairs():
        values = sweep.norm_ratio(*pair, target, "l2")
        for name, among in classes_and_strata(sweep):
            counts = sweep.count_turned(pair, target, among)
            if counts["films"] >= LEAST_FILMS:
                keys = {**sweep.keys, "sign_attack": pair[0], "no_sign_attack": pair[1], "target": target, "of": name}
                median = sweep.patients.median(np.where(among, values, np.nan))
                rows.append({**keys, **counts, **in_columns({"l2_ratio": median})})
    return pd.DataFrame(rows)


def classes_and_strata(sweep: FinishedSweep) -> Iterator[tuple[str, np.ndarray]]:
    """Yield names and films, bool [films]: each class, and of a class with several collections each of them."""
    strata = list(sweep.strata())
    for label, name in enumerate(CLASSES):
        yield name, sweep.labels == label
        within = [(collection, films) for one, collection, films in strata if one == name]
        yield from ((stratum_title(name, collection), films) for collection, films in within if len(within) > 1)


def turning_sentences(sweep: FinishedSweep, row: Any) -> list[Sentence]:
    """Say what a no-sign step needs, and whether theory predicts it, from a row of `turning_ratios`."""
    if row.films == row.neither:
        return []
    where = f"of {row.target}" if row.white_box else f"of {row.target} with gradients from {sweep.source}"
    predicted = "" if np.isnan(row.cosine) else f"; first-order theory predicts {row.cosine:.2f}"
    text = (
        f"To turn a film {where}, {ATTACKS[row.no_sign_attack].title} needs {row.l2_ratio:.3f} times the L2 norm of "
        f"{ATTACKS[row.sign_attack].title} (median of {row.films - row.neither} films; 95 % interval {row.l2_ratio_low:.3f} to "
        f"{row.l2_ratio_high:.3f}{predicted}) and {row.linf_ratio:.1f} times its L-inf norm."
    )
    sentences = [Sentence(text, sweep.name, answer=bool(row.white_box))]
    if row.white_box and predicted:
        sentences.append(Sentence(theory_sentence(row), sweep.name))
    return sentences


def theory_sentence(row: Any) -> str:
    """Return which of the two holds of first-order theory, level and order, from a row of `turning_ratios`."""
    holds = row.level_low >= 1 / LEVEL and row.level_high <= LEVEL
    level = (
        f"Of first-order theory the level {'holds' if holds else 'does not hold'} within a tenth: the median film needs "
        f"{row.level:.3f} times what it predicts ({row.level_low:.3f} to {row.level_high:.3f})."
    )
    if np.isnan(row.spearman):
        return level
    order = "holds" if row.spearman_low >= ORDER else "hardly holds" if row.spearman_low > 0 else "does not hold"
    return (
        f"{level} The order {order}: over films the rank correlation with the prediction is {row.spearman:.2f} "
        f"({row.spearman_low:.2f} to {row.spearman_high:.2f}); a slope of 1 would give {row.spearman_at_slope_1:.2f}, as the "
        "ratios scatter."
    )


def draw_ratios(sweep: FinishedSweep) -> list[Drawing]:
    """Draw the distribution of the ratios over films beside the prediction."""
    panels = list(sweep.turning_pairs())
    figure = draw_distributions(sweep, panels)
    caption = (
        "Share of films with at most this ratio of the norms at turning, no-sign over sign; dashed, where there is one, "
        f"the first-order prediction for L2, the cosine between gradient and sign; {sweep.described} (*: white-box)."
        f"{thinned_note(len(sweep.clean))}"
    )
    alt = "Cumulative curves of the L2 ratio, of its prediction and of the L-inf ratio, one panel per target model."
    return [Drawing("turning" + sweep.suffix, HEADING, caption, alt, figure, sweep.name)]


@matplotlib.rc_context(STYLE)
def draw_distributions(sweep: FinishedSweep, panels: list[tuple[tuple[str, str], str]]) -> Figure:
    """Draw one panel per pair and target: cumulative shares of films against the ratio."""
    columns = min(2, len(panels))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(WIDTH, 0.7 + 2.3 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
    for axes, (pair, target) in zip(grid, panels):
        l2 = sweep.norm_ratio(*pair, target, "l2")
        draw_cumulative(axes, l2, DIRECTION_COLOURS["no-sign"], "L2, measured", "-")
        predicted = sweep.predicted_ratio(pair, target)
        if not np.isnan(predicted).all():
            draw_cumulative(axes, predicted, GREY, "L2, predicted", (0, (2, 1.5)))
        draw_cumulative(axes, sweep.norm_ratio(*pair, target, "linf"), DIRECTION_COLOURS["sign"], "L-inf, measured", "-")
        axes.axvline(1, color=GREY, linewidth=0.8, linestyle=CLEAN_LINE, zorder=1)
        title = pair_title(pd.Series({"sign_attack": pair[0], "no_sign_attack": pair[1]}))
        axes.set_title(f"{title}, {starred(target, sweep.source)}, {np.count_nonzero(~np.isnan(l2))} films")
        axes.set_xscale("log", base=2)
        axes.set(xlim=(2**-2.2, 2**6.2), ylim=(0, 100))
        axes.xaxis.set_major_formatter(FuncFormatter(short_number))
        finish_panel(axes)
    hide_empty(grid, len(panels), columns)
    named = {label: handle for axes in grid for handle, label in zip(*axes.get_legend_handles_labels())}
    figure.legend(named.values(), named.keys(), loc="outside upper center", ncols=3, frameon=False)
    figure.supylabel("share of films (%)", fontsize=STYLE["axes.labelsize"])
    figure.supxlabel("norm at turning, no-sign over sign", fontsize=SMALL_POINTS + 1)
    return figure


def draw_cumulative(axes: Axes, values: np.ndarray, colour: str, label: str, linestyle: str | tuple) -> None:
    """Draw the share of values at most as large as x; infinite ones lie beyond the right edge."""
    values = np.sort(values[~np.isnan(values)])
    shares = 100 * np.arange(1, len(values) + 1) / max(len(values), 1)
    drawn = few_of(len(values))
    values, shares = np.clip(values[drawn], 1e-3, 1e3), shares[drawn]
    axes.step(values, shares, where="post", color=colour, linewidth=1.3, linestyle=linestyle, label=label)
