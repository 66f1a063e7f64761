"""The primary endpoint over networks: turning strengths of several fine-tuned networks, each counted once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from nosign.attacks.catalogue import ATTACKS
from nosign.finished import FinishedSweep, Run
from nosign.output.finding import Drawing, Finding, Sentence
from nosign.output.plot import DIRECTION_COLOURS, GREY, STYLE, WIDTH, finish_panel
from nosign.output.table import SweepName, Table, numbers, words
from nosign.output.words import condition_suffix, estimate, intervals_over, pair_title, starred
from nosign.statistics.intervals import LEAST_RUNS, in_columns, student

HEADING = "Turning strengths over networks"
KEYS = ["source", "condition", "sign_attack", "no_sign_attack", "target"]
ESTIMATES = ("l2_ratio", "linf_ratio", "cosine")
LEAST_FOR_VERDICT = 5


def describe(run: Run) -> Finding:
    """Return each network's ratio of the norms at turning, and mean and interval over the networks, with a figure of them."""
    networks = pd.DataFrame([row for seed in run.seeds for sweep in seed.sweeps for row in network_rows(seed, sweep)])
    if not networks.empty:  # a condition that one network alone has says nothing over networks
        networks = networks[networks.groupby(["source", "condition"])["network"].transform("nunique") > 1]
    if networks.empty:
        return Finding("networks", HEADING)
    networks = with_repeats(networks)
    # Networks of one data seed share their films; of several seeds the fewest draws are named.
    medians = (
        f"medians over {run.films_are} with {intervals_over(min(seed.patients.draws for seed in run.seeds if seed.patients))}"
    )
    tables, drawings, sentences = [], [], []
    for name, rows in networks.groupby(["source", "condition"], sort=False):
        over, sweep = over_networks(rows), SweepName(*name)
        tables.append(networks_table(rows, over, sweep, medians))
        if (over["networks"] > 1).any():
            drawings.append(networks_drawing(rows, over[over["networks"] > 1], sweep, medians))
        sentences += [network_sentence(row) for row in over.itertuples() if row.networks >= LEAST_RUNS]
    return Finding("networks", HEADING, tuple(tables), tuple(drawings), tuple(sentences))


def network_rows(seed: Run, sweep: FinishedSweep) -> Iterator[dict]:
    """Yield one network's rows: for each pair and target with turning strengths the median ratios and the prediction.

    Yields:
        Dict: network (folder of the run), `KEYS`, white_box, films (turned by one of the two at least), `ESTIMATES` each with
        its interval over patients in `_low` and `_high`, weights (hash of the source's), excluded (why it does not count; "").
    """
    for pair, target in sweep.turning_pairs():
        l2 = sweep.norm_ratio(*pair, target, "l2")
        values = (l2, sweep.norm_ratio(*pair, target, "linf"), sweep.predicted_ratio(pair, target))
        yield {
            "network": seed.results.name,
            **dict(zip(KEYS, (*sweep.name, *pair, target))),
            "white_box": target == sweep.source,
            "films": int((~np.isnan(l2)).sum()),
            **in_columns(dict(zip(ESTIMATES, map(sweep.patients.median, values)))),
            **identity_of(seed, sweep.source),
        }


def identity_of(seed: Run, source: str) -> dict[str, str]:
    """Return the hash of a network's weights, and why it does not count as a network of its own; "" if it does."""
    known = seed.classifiers if seed.classifiers is not None else pd.DataFrame(columns=["model"])
    rows = known[known["model"] == source].to_dict("records")
    if not rows or "phase_kept" not in rows[0]:
        return {"weights": "", "excluded": "its training is not on record"}
    row = rows[0]
    if row["phase_kept"] != "all" or row["epoch_kept"] < 1:
        return {"weights": row["weights_sha256"], "excluded": "its convolutions were not trained"}
    if row["convolutions_changed"] < row["convolutions"]:
        return {"weights": row["weights_sha256"], "excluded": "some convolutions were not trained"}
    return {"weights": row["weights_sha256"], "excluded": ""}


def with_repeats(networks: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of networks, those of weights that an earlier network has marked as excluded."""
    repeated = networks.duplicated([*KEYS, "weights"]) & (networks["excluded"] == "")
    return networks.assign(excluded=networks["excluded"].mask(repeated, "the same weights as another"))


def over_networks(networks: pd.DataFrame) -> pd.DataFrame:
    """Average the networks' medians.

    Returns:
        Frame, one row per pair and target: `KEYS`, white_box, networks (that count), and geometric means of `ESTIMATES`, each
        with its 95 % interval by Student's t on the logarithms in `_low` and `_high` (NaN for fewer than three networks).
    """
    rows = []
    for keys, part in networks.groupby(KEYS, sort=False):
        counted = part[part["excluded"] == ""]
        logs = {name: student(np.log2(counted[name])) for name in ESTIMATES if len(counted)}
        means = {name: 2**value for name, value in in_columns(logs).items()}
        rows.append({**dict(zip(KEYS, keys)), "white_box": part["white_box"].iloc[0], "networks": len(counted), **means})
    return pd.DataFrame(rows)


def networks_table(networks: pd.DataFrame, over: pd.DataFrame, sweep: SweepName, medians: str) -> Table:
    """Build the table of the networks, each pair and target closed by the mean over them.

    Args:
        medians: what a row's medians are over, for the caption.
    """
    rows = []
    for mean in over.itertuples():
        part = networks[(networks[KEYS] == pd.Series({key: getattr(mean, key) for key in KEYS})).all(axis=1)]
        names = (pair_title(mean), starred(mean.target, sweep.source))
        for row in part.itertuples():
            rows.append([*names, row.network, str(row.films), *estimates(row), row.excluded])
        if mean.networks:
            rows.append([*names, f"mean of {mean.networks}", "", *estimates(mean), ""])
    columns = (
        *words("Pair", "Target", "Network"),
        *numbers("Films"),
        *(
            column
            for group in ("L2, no-sign over sign", "L-inf, no-sign over sign", "Cosine: the prediction for L2")
            for column in numbers("median", "95 % interval", group=group)
        ),
        *words("Does not count, as"),
    )
    caption = (
        f"The change at which a film turns, no-sign over sign, network by network: {medians}, "
        f"and the geometric mean of the networks that count, from {LEAST_RUNS} networks on with Student's interval. A network "
        f"counts if its own run trained all of its convolutions. Gradients from {sweep.source} (*: white-box), condition "
        f"'{sweep.condition}'."
    )
    return Table("networks" + condition_suffix(*sweep), HEADING, caption, networks, columns, rows, None, sweep)


def estimates(row: Any) -> list[str]:
    """Return the texts of `ESTIMATES` of a row."""
    return [text for name, digits in zip(ESTIMATES, (3, 2, 3)) for text in estimate(row, name, digits)]


def network_sentence(row: Any) -> Sentence:
    """Say what no-sign needs over networks, from a row of `over_networks`."""
    where = f"of {row.target}" if row.white_box else f"of {row.target} with gradients from {row.source}"
    predicted = "" if np.isnan(row.cosine) else f"; theory {row.cosine:.2f}"
    text = (
        f"Over {row.networks} networks, to turn a film {where}, {ATTACKS[row.no_sign_attack].title} needs {row.l2_ratio:.3f} "
        f"times the L2 norm of {ATTACKS[row.sign_attack].title} (95 % interval {row.l2_ratio_low:.3f} to "
        f"{row.l2_ratio_high:.3f}{predicted}) and {row.linf_ratio:.1f} times its L-inf norm "
        f"({row.linf_ratio_low:.1f} to {row.linf_ratio_high:.1f})."
    )
    if row.networks < LEAST_FOR_VERDICT:
        text += f" For a verdict {LEAST_FOR_VERDICT} networks are needed."
    return Sentence(text, SweepName(row.source, row.condition), answer=bool(row.white_box))


def networks_drawing(networks: pd.DataFrame, over: pd.DataFrame, sweep: SweepName, medians: str) -> Drawing:
    """Draw the networks that count, each pair and target of which there are several closed by the mean over them.

    Args:
        medians: as for `networks_table`.
    """
    figure = draw_networks(networks[networks["excluded"] == ""], over, sweep)
    caption = (
        f"The change at which a film turns, no-sign over sign, network by network: {medians}, "
        f"and below them the geometric mean, from {LEAST_RUNS} networks on with Student's interval. Crosses: what first-order "
        f"theory predicts. Gradients from {sweep.source} (*: white-box), condition '{sweep.condition}'."
    )
    alt = "Two panels of points with intervals, one row per network: L2 ratios beside their predictions, and L-inf ratios."
    return Drawing("networks" + condition_suffix(*sweep), HEADING, caption, alt, figure, sweep)


@matplotlib.rc_context(STYLE)
def draw_networks(networks: pd.DataFrame, over: pd.DataFrame, sweep: SweepName) -> Figure:
    """Draw one row per network and mean: the ratio in L2 (left), beside its prediction, and in L-inf (right)."""
    rows = []
    for mean in over.to_dict("records"):
        own = networks[(networks[KEYS] == pd.Series(mean)[KEYS]).all(axis=1)]
        rows += [row | {"name": row["network"], "style": {"marker": "o", "markersize": 3.8}} for row in own.to_dict("records")]
        rows.append(mean | {"name": f"mean of {mean['networks']}", "style": {"marker": "D", "markersize": 5}})
    figure = Figure(figsize=(WIDTH, 0.75 + 0.2 * len(rows)), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for axes, (measure, title) in zip(panels, (("l2_ratio", "L2"), ("linf_ratio", "L-inf"))):
        for place, row in enumerate(rows):
            value, low, high = (row[measure + end] for end in ("", "_low", "_high"))
            axes.plot([low, high], [place, place], color="black", linewidth=1.1)
            axes.plot([value], [place], color=DIRECTION_COLOURS["no-sign"], markeredgecolor="black", **row["style"])
            if measure == "l2_ratio":
                axes.plot([row["cosine"]], [place], marker="x", color=GREY, markersize=4.5)
        axes.set_xlabel(f"{title} norm at turning, no-sign over sign")
        finish_panel(axes)
    labels = [f"{pair_title(row)}, {starred(row['target'], sweep.source)}, {row['name']}" for row in map(pd.Series, rows)]
    panels[0].set_yticks(range(len(rows)), labels)
    panels[0].set_ylim(len(rows) - 0.5, -0.5)
    return figure
