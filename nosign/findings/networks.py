"""The primary endpoint over networks: turning strengths of several fine-tuned networks, each counted once."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from nosign.attacks.catalogue import ATTACKS
from nosign.finished import FinishedSweep, Run
from nosign.output.finding import Finding, Sentence
from nosign.output.table import SweepName, Table, numbers, words
from nosign.output.words import INTERVALS, condition_suffix, estimate, pair_title, starred
from nosign.statistics.intervals import LEAST_RUNS, in_columns, student

HEADING = "Turning strengths over networks"
KEYS = ["source", "condition", "sign_attack", "no_sign_attack", "target"]
ESTIMATES = ("l2_ratio", "linf_ratio", "cosine")
LEAST_FOR_VERDICT = 5


def describe(run: Run) -> Finding:
    """Return each network's ratio of the norms at turning, and mean and interval over the networks."""
    networks = pd.DataFrame([row for seed in run.seeds for sweep in seed.sweeps for row in network_rows(seed, sweep)])
    if networks.empty or networks["network"].nunique() < 2:
        return Finding("networks", HEADING)
    networks = with_repeats(networks)
    tables, sentences = [], []
    for name, rows in networks.groupby(["source", "condition"], sort=False):
        over = over_networks(rows)
        tables.append(networks_table(rows, over, SweepName(*name), run.films_are))
        sentences += [network_sentence(row) for row in over.itertuples() if row.networks >= LEAST_RUNS]
    return Finding("networks", HEADING, tuple(tables), (), tuple(sentences))


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


def networks_table(networks: pd.DataFrame, over: pd.DataFrame, sweep: SweepName, films_are: str) -> Table:
    """Build the table of the networks, each pair and target closed by the mean over them."""
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
        f"The change at which a film turns, no-sign over sign, network by network: medians over {films_are} with {INTERVALS}, "
        f"and the geometric mean of the networks that count, from {LEAST_RUNS} networks on with Student's interval. A network "
        f"counts if its own run trained all of its convolutions. Gradients from {sweep.source} (*: white-box), condition "
        f"'{sweep.condition}'."
    )
    return Table("networks" + condition_suffix(*sweep), HEADING, caption, networks, columns, rows, None, sweep)


def estimates(row) -> list[str]:
    """Return the texts of `ESTIMATES` of a row."""
    return [text for name, digits in zip(ESTIMATES, (3, 2, 3)) for text in estimate(row, name, digits)]


def network_sentence(row) -> Sentence:
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
