"""Security curves: the share of films turned against the norm of the change, for attacks, controls and many steps."""

from __future__ import annotations

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nosign.attacks.catalogue import ATTACKS, SINGLE_STEP
from nosign.finished import FinishedSweep, Run, judged
from nosign.output.finding import Drawing, Finding, Sentence
from nosign.output.plot import SMALL_POINTS, STYLE, WIDTH, attack_style, few_of, finish_panel, scale_log, thinned_note
from nosign.output.table import Table, bold_last, numbers, words
from nosign.output.words import estimate, joined, p_value, plural, starred, tested
from nosign.statistics.families import VERDICTS
from nosign.statistics.intervals import ALPHA, in_columns
from nosign.statistics.paired import compare_hits

HEADING = "Change and films turned"
CONTROL_STRENGTHS = (0.003, 0.03)  # one inside and one at the end of the paper's range
NORMS = {"l2": "L2", "linf": "L-inf"}


def describe(run: Run) -> Finding:
    """Return security curves and half-distortions of each sweep that has turning strengths."""
    tables, drawings, sentences = [], [], []
    for sweep in run.sweeps:
        halves = half_distortions(sweep)
        if halves.empty:
            continue
        tables.append(half_table(sweep, halves))
        compared = compare_controls(sweep)
        if not compared.empty:
            tables.append(controls_table(sweep, compared))
            sentences += control_sentences(sweep, compared)
        caption = (
            "Share of the films that could be turned which a change of at most so much turns. Lines: single steps and "
            "controls, to the largest change that was tried, and iterative attacks whose turning strengths were searched. "
            "Markers alone: iterative attacks at the median norm of each strength; "
            f"{sweep.described} (*: white-box).{thinned_note(len(sweep.clean))}"
        )
        alt = "Rising curves, one per attack; controls need a far larger change, iterative attacks a smaller one."
        drawings.append(Drawing("security" + sweep.suffix, HEADING, caption, alt, draw_curves(sweep), sweep.name))
    return Finding("security", HEADING, tuple(tables), tuple(drawings), tuple(sentences))


def half_distortions(sweep: FinishedSweep) -> pd.DataFrame:
    """Return the change at which half of the films are turned.

    Returns:
        Frame, one row per attack and target, no rows where nothing is on record:
            source, condition, attack, target, white_box
            films, turned, right_again         could be turned and were tried; turned; not turned by some larger strength
            strength, l2, linf                 medians at turning, infinite where fewer than half are turned; each with its 95 %
                                               interval in `_low` and `_high`
    """
    rows = []
    for (attack, target), films in sweep.turning.items():
        turned = films["turned"].to_numpy()
        strength = films["strength"].where(turned | ~films["takes_part"], np.inf)
        medians = {"strength": strength, "l2": films["l2"], "linf": films["linf"]}
        rows.append(
            {
                **sweep.keys,
                "attack": attack,
                "target": target,
                "white_box": target == sweep.source,
                "films": int(films["takes_part"].sum()),
                "turned": int(turned.sum()),
                "right_again": int((films["right_again"] > 0).sum()),
                **in_columns({name: sweep.patients.median(values) for name, values in medians.items()}),
            }
        )
    return pd.DataFrame(rows)


def half_table(sweep: FinishedSweep, halves: pd.DataFrame) -> Table:
    """Build the table of half-distortions."""
    rows = [
        [
            *(ATTACKS[row.attack].title, starred(row.target, sweep.source)),
            *(str(count) for count in (row.films, row.turned, row.right_again)),
            *estimate(row, "strength", 5),
            *estimate(row, "l2", 3),
            *estimate(row, "linf", 4),
        ]
        for row in halves.itertuples()
    ]
    columns = (
        *words("Attack", "Target"),
        *numbers("tried", "turned", "right again", group="Films"),
        *(column for name in ("Strength", "L2", "L-inf") for column in numbers("half turned", "95 % interval", group=name)),
    )
    caption = (
        f"The smallest change that turns half of the films which a target (*: white-box) has right: medians with "
        f"{sweep.intervals}; infinite where fewer than half are turned. Controls are tried on fewer films; {sweep.described}."
    )
    return Table("half" + sweep.suffix, "Half-distortion", caption, halves, columns, rows, None, sweep.name)


def controls_of(sweep: FinishedSweep) -> list[tuple[str, str, str]]:
    """Return (attack, control, target) where both are on record; a control belongs to the single step of its direction."""
    triples = [(SINGLE_STEP[ATTACKS[name].direction], name, target) for name, target in sweep.turning if ATTACKS[name].control]
    return [(attack, control, target) for attack, control, target in triples if (attack, target) in sweep.turning]


def compare_controls(sweep: FinishedSweep) -> pd.DataFrame:
    """Compare controls with the attacks of their size, on the films that both were tried on.

    Returns:
        Frame, one row per control, target and strength of `CONTROL_STRENGTHS`, no rows where nothing is on record:
            source, condition, attack, control, target, white_box
            ratio, ratio_low, ratio_high       median over films of the control's L2 at turning over the attack's, with its 95 %
                                               interval; films that one alone turns count as infinity or 0
            strength, films                    films tried
            attack_percent, control_percent    share of them turned by at most the strength
            only_attack, ...                   see `nosign.statistics.paired.compare_hits`; control minus attack
            holm_p, comparisons, least_points  see `nosign.finished.judged`; the frame is one family
            verdict                            "attack turns more", "control turns more" or "not told apart"
    """
    rows = []
    for attack, control, target in controls_of(sweep):
        frames = [sweep.turning[name, target] for name in (attack, control)]
        tried = (frames[0]["takes_part"] & frames[1]["takes_part"]).to_numpy()
        ratio = sweep.patients.median(sweep.norm_ratio(attack, control, target, "l2"))
        for strength in CONTROL_STRENGTHS:
            turned = [(frame["turned"] & (frame["strength"] <= strength)).to_numpy() for frame in frames]
            rows.append(
                {
                    **sweep.keys,
                    "attack": attack,
                    "control": control,
                    "target": target,
                    "white_box": target == sweep.source,
                    **in_columns({"ratio": ratio}),
                    "strength": strength,
                    "films": int(tried.sum()),
                    "attack_percent": sweep.patients.percent(turned[0], tried),
                    "control_percent": sweep.patients.percent(turned[1], tried),
                    **compare_hits(sweep.patients, turned[0], turned[1], ("attack", "control"), tried),
                }
            )
    if not rows:
        return pd.DataFrame()
    frame = pd.DataFrame(rows)
    frame = judged(frame, frame["difference_points"])
    more = np.where(frame["difference_points"] > 0, "control turns more", "attack turns more")
    return frame.assign(verdict=np.where(frame["holm_p"] < ALPHA, more, VERDICTS[0]))


def controls_table(sweep: FinishedSweep, compared: pd.DataFrame) -> Table:
    """Build the table of controls against the attacks whose size they have."""
    rows = [
        [
            *(ATTACKS[row.control].title, ATTACKS[row.attack].title, starred(row.target, sweep.source), str(row.films)),
            *estimate(row, "ratio", 2),
            *(f"{row.strength:g}", f"{row.attack_percent:.1f}", f"{row.control_percent:.1f}", p_value(row.holm_p), row.verdict),
        ]
        for row in compared.itertuples()
    ]
    columns = (
        *words("Control", "Attack", "Target"),
        *numbers("Films"),
        *numbers("median", "95 % interval", group="L2 at turning, control over attack"),
        *numbers("Up to strength"),
        *numbers("attack", "control", group="Turned (%)"),
        *numbers("Holm p"),
        *words("Verdict"),
    )
    caption = (
        "What a change without the gradient does, beside the attack of the same size, on the same films: L2 at which a film "
        f"turns, median ratio with {sweep.intervals} (films that one alone turns count as infinity or 0), and the films "
        f"turned up to two strengths ({tested(compared['comparisons'].iloc[0])}). Where the control does as much, what is seen "
        f"is not the attack's doing; {sweep.described} (*: white-box)."
    )
    bold = bold_last(rows, compared["verdict"] != VERDICTS[0])
    return Table("controls" + sweep.suffix, "Controls", caption, compared, columns, rows, bold, sweep.name)


def control_sentences(sweep: FinishedSweep, compared: pd.DataFrame) -> list[Sentence]:
    """Say for each target whether the attacks turn more films than their controls, and what these need to turn the median one.

    What transfers is no answer without it.
    """
    sentences = []
    strengths = joined([f"{strength:g}" for strength in CONTROL_STRENGTHS])
    for target, rows in compared.groupby("target", sort=False):
        by_control = rows.drop_duplicates("control")
        ratios = joined([f"{ratio:.2g}" for ratio in by_control["ratio"]])
        controls = joined([ATTACKS[control].title for control in by_control["control"]])
        told = (rows["verdict"] == "attack turns more").sum()
        white_box = target == sweep.source
        box = f"On {target} itself" if white_box else f"On {target}, by transfer,"
        text = (
            f"{box} attacks turn more films than noise of their size in {told} of {plural(len(rows), 'comparison')} (up to "
            f"strengths {strengths}); to turn the median film {controls} need {ratios} times the attack's L2."
        )
        sentences.append(Sentence(text, sweep.name, answer=not white_box))
    return sentences


@matplotlib.rc_context(STYLE)
def draw_curves(sweep: FinishedSweep) -> Figure:
    """Draw one row of panels per target: share of films turned against L2 and against L-inf."""
    targets = list(dict.fromkeys(target for _, target in sweep.turning))
    figure = Figure(figsize=(WIDTH, 0.7 + 2.3 * len(targets)), layout="constrained")
    grid = figure.subplots(len(targets), len(NORMS), sharex="col", sharey=True, squeeze=False)
    for row, target in zip(grid, targets):
        for axes, norm in zip(row, NORMS):
            for (attack, name), films in sweep.turning.items():
                if name == target:
                    draw_curve(axes, attack, films[norm].to_numpy())
            draw_iterative(axes, sweep, target, norm)
            axes.set_xscale("log")
            axes.set(ylim=(0, 102), title=f"{starred(target, sweep.source)}, {NORMS[norm]}")
            finish_panel(axes)
    for axes, name in zip(grid[-1], NORMS.values()):
        axes.set_xlabel(f"{name} norm of the change")
        scale_log(axes.xaxis)
    lines = dict(zip(*reversed(grid[0, 0].get_legend_handles_labels())))
    figure.legend(lines.values(), lines.keys(), loc="outside upper center", ncols=5, frameon=False, handlelength=3)
    figure.supylabel("films turned (%)", fontsize=STYLE["axes.labelsize"])
    figure.supxlabel(sweep.described, fontsize=SMALL_POINTS)
    return figure


def draw_curve(axes: Axes, attack: str, norms: np.ndarray) -> None:
    """Draw the share of films turned by at most a norm, of all that could be; iterative attacks have markers on their line."""
    films = int(np.count_nonzero(~np.isnan(norms)))
    norms = np.sort(norms[np.isfinite(norms)])
    shares = 100 * np.arange(1, len(norms) + 1) / max(films, 1)
    marked = {"markevery": 0.1} if ATTACKS[attack].iterative else {"marker": ""}
    drawn = few_of(len(norms))
    axes.step(norms[drawn], shares[drawn], where="post", **{**attack_style(attack), "linewidth": 1.3, **marked})


def draw_iterative(axes: Axes, sweep: FinishedSweep, target: str, norm: str) -> None:
    """Mark the share turned against the median norm, one marker per strength, of iterative attacks without a curve."""
    attacks = dict.fromkeys(name for name, _ in sweep.cells if ATTACKS[name].iterative)
    for attack in (name for name in attacks if (name, target) not in sweep.turning):
        cells = [(cell[norm], cell) for (name, _), cell in sweep.cells.items() if name == attack and target in cell]
        can_turn = sweep.outcome.can_turn(sweep.clean[target].to_numpy(), sweep.labels)
        points = [
            (float(np.median(norms[can_turn])), sweep.patients.percent(sweep.turned(target, cell[target]), can_turn))
            for norms, cell in cells
        ]
        if points:
            axes.plot(*zip(*sorted(points)), **{**attack_style(attack), "linestyle": "none"})
