"""What attacks spend and what they gain: norms beside accuracy, steps beside the gradient, storing, and grey perturbations.

`everything` makes all that compares attacks beyond Tables II and III: tables, figures and sentences, from finished cells.
"""

import math
from dataclasses import replace

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from nosign import visibility
from nosign.attacks import ATTACKS, Condition
from nosign.cells import STEPS, STORED, ordered
from nosign.dataset import CLASSES
from nosign.errors import UserError
from nosign.figures import (ATTACK_MARKS, CHANCE_LINE, CLEAN_LINE, DIRECTION_COLOURS, GREY, SMALL_POINTS, STYLE, WIDTH,
                            draw_level, scale_strengths)
from nosign.perceptibility import STORAGES
from nosign.records import ADVICE, read_by_word, read_fields
from nosign.statistics import joined, plural
from nosign.sweeps import finished_sweeps, twins
from nosign.tables import MISSING, percent, plain_table, starred

SPENT = {"linf": "L-inf", "l2": "L2"}  # measures of which mean and largest are told
STEP_MEASURES = ("cosine", "predicted", "gained")
STORED_PER_ROW = 3
EFFORT_PANELS = (("strength", "strength"), ("l2_mean", "mean L2 norm"), ("linf_mean", "mean L-inf norm"),
                 ("dissimilarity", "1 − mean SSIM"))


def attack_style(name):
    """Return how an attack is drawn where single-step and iterative attacks share a panel: only these are filled."""
    marker, linestyle = ATTACK_MARKS[name]
    attack = ATTACKS[name]
    return {"marker": marker, "linestyle": linestyle, "color": DIRECTION_COLOURS[attack.direction], "label": attack.title,
            "linewidth": 1.1, "markersize": 3.8, "zorder": 3,
            "markerfacecolor": None if attack.iterative and not attack.random_start else "white"}


def finish_panel(axes):
    """Give a panel its pale grid and take the frame's upper and right edge away."""
    axes.grid(linewidth=0.3, color="#DDDDDD")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def add_legend(figure, attacks, lines=True):
    """Put one legend of some attacks above a figure's panels; with `lines`, or their markers only."""
    styles = [attack_style(name) | ({} if lines else {"linestyle": "none"}) for name in ordered(attacks, ATTACKS)]
    figure.legend(handles=[Line2D([], [], **style) for style in styles], loc="outside upper center", ncols=len(styles),
                  frameon=False, handlelength=3 if lines else 1, columnspacing=1.2)


def measure_effort(sweep):
    """Measure what every cell spends.

    Returns:
        Frame with a row a cell: source, condition, attack, strength, films, the share of films that each target sees rightly
        (or takes for the class aimed at) in per cent, mean and largest L-inf and L2 norm, mean SSIM, and the mean PSNR in dB
        over the films that changed at all, with their number; NaN where it is not on record.
    """
    rows = []
    for (attack, strength), cell in sweep.cells.items():
        row = {"source": sweep.source, "condition": sweep.condition, "attack": attack, "strength": strength,
               "films": len(cell)}
        row |= {f"{sweep.effect}_percent_{target}": sweep.effect_percent(cell[target]) if target in cell else math.nan
                for target in sweep.targets}
        row |= {f"{column}_{how}": value for column in SPENT
                for how, value in (("mean", cell[column].mean()), ("largest", cell[column].max()))}
        psnr = cell["psnr"] if "psnr" in cell else pd.Series(dtype=float)
        changed = psnr[np.isfinite(psnr)]
        rows.append({**row, "ssim_mean": cell["ssim"].mean(), "psnr_mean": changed.mean(),
                     "films_changed": int((cell["linf"] > 0).sum())})
    return pd.DataFrame(rows)


def effort_table(sweep, effort):
    """Build the table of what every cell spends beside what it does."""
    rows = [[ATTACKS[row["attack"]].title, f"{row['strength']:g}",
             *(percent(row[f"{sweep.effect}_percent_{target}"]) for target in sweep.targets),
             *(f"{row[f'{column}_{how}']:.3g}" for column in SPENT for how in ("mean", "largest")),
             f"{row['ssim_mean']:.4f}", MISSING if math.isnan(row["psnr_mean"]) else f"{row['psnr_mean']:.1f}"]
            for row in effort.to_dict("records")]
    columns = [("", "Attack"), ("", "Strength"),
               *((f"{sweep.effect.title()} (%)", starred(target, sweep.source)) for target in sweep.targets),
               *((name, how) for name in SPENT.values() for how in ("mean", "largest")), ("", "SSIM"), ("", "PSNR (dB)")]
    caption = (f"What each attack spends: mean and largest L-inf and L2 norm of the perturbation (pixels in [0, 1]), mean "
               f"SSIM, and mean PSNR over the films that changed; {sweep.described} (*: white-box).")
    return plain_table("effort" + sweep.suffix, "Equal terms", caption, effort, rows, columns)


@matplotlib.rc_context(STYLE)
def draw_effort(sweep, effort):
    """Draw figure 5: the white-box accuracy against strength, L2, L-inf and SSIM, all attacks in each panel.

    Returns:
        The figure, or None if the source model was not attacked itself or no attack changed a film.
    """
    effect = f"{sweep.effect}_percent_{sweep.source}"
    effort = effort[effort["linf_mean"] > 0].assign(dissimilarity=1 - effort["ssim_mean"])
    if effect not in effort or effort.empty:
        return None
    figure = Figure(figsize=(WIDTH, 4.7), layout="constrained")
    panels = figure.subplots(2, 2, sharey=True).ravel()
    for axes, letter, (column, label) in zip(panels, "abcd", EFFORT_PANELS):
        shown = effort[effort[column] > 0]
        for name in ordered(shown["attack"], ATTACKS):
            line = shown[shown["attack"] == name].sort_values("strength")
            axes.plot(line[column], line[effect], **attack_style(name))
        draw_levels(axes, sweep, labelled=letter == "a")
        axes.set_xlabel(f"({letter}) {label}")
        if not shown.empty:
            scale_strengths(axes, shown[column])
        finish_panel(axes)
    panels[0].set(ylim=(-3, 103), yticks=range(0, 101, 20))
    add_legend(figure, effort["attack"])
    measured = f"taken for {sweep.aim} by" if sweep.aim else "accuracy of"
    figure.supylabel(f"{measured} {sweep.source} (%)", fontsize=STYLE["axes.labelsize"])
    figure.supxlabel(sweep.described, fontsize=SMALL_POINTS)
    return figure


def draw_levels(axes, sweep, labelled):
    """Draw the source model's clean accuracy and the chance level, unless the attacks aim at a class."""
    if sweep.aim:
        return
    clean = sweep.effect_percent(sweep.clean[sweep.source])
    for level, text, linestyle in ((clean, "clean", CLEAN_LINE), (100 / len(CLASSES), "chance", CHANCE_LINE)):
        draw_level(axes, level, text if labelled else "", linestyle)


def spent_sentences(sweep):
    """Return the sentence on what no-sign attacks spend of the norms of sign attacks, at equal strength."""
    ratios = {}
    for sign, no_sign in twins(sweep.cells):
        moved = sweep.cells[sign]["linf"] > 0
        for column in SPENT:
            ratio = sweep.cells[no_sign][column][moved] / sweep.cells[sign][column][moved]
            ratios.setdefault((sign[0], no_sign[0]), {}).setdefault(column, []).append(ratio)
    told = [f"{ATTACKS[no_sign].title} has {np.median(np.concatenate(found['l2'])):.2f} times the L2 and "
            f"{np.median(np.concatenate(found['linf'])):.2f} times the L-inf norm of {ATTACKS[sign].title}"
            for (sign, no_sign), found in ratios.items() if sum(map(len, found["l2"]))]
    return [f"{sweep.heading}: at equal strength {joined(told)} (medians over films and strengths)."] if told else []


def read_steps(sweep):
    """Average the record of every step over films.

    Returns:
        Frame with a row a cell and step: source, condition, attack, strength, step, cosine_mean (between step and gradient,
        over the films where both are not zero), predicted_mean and gained_mean (loss), share_percent (gained of predicted;
        NaN where none was predicted); no rows if no steps are on record.

    Raises:
        UserError: a file of steps is malformed.
    """
    frames = []
    for (attack, strength), cell in sweep.paths.items():
        path = cell.with_suffix(STEPS)
        if not path.exists():
            continue
        frame = read_fields(path, ("film", "step", *STEP_MEASURES), ADVICE, empty=("cosine",))
        films = frame.groupby("step")["film"]
        if not (films.nunique().eq(len(sweep.clean)) & films.count().eq(len(sweep.clean))).all() or not frame["film"].isin(
                sweep.clean["film"]).all():
            raise UserError(f"{path}: expected each of the {len(sweep.clean)} films of clean.csv once a step; {ADVICE}")
        means = frame.groupby("step")[list(STEP_MEASURES)].mean().add_suffix("_mean").reset_index()
        means.insert(0, "strength", strength)
        means.insert(0, "attack", attack)
        frames.append(means.assign(share_percent=share_of(means["gained_mean"], means["predicted_mean"])))
    if not frames:
        return pd.DataFrame()
    steps = pd.concat(frames, ignore_index=True).astype({"step": int})
    steps.insert(0, "condition", sweep.condition)
    steps.insert(0, "source", sweep.source)
    return steps


def share_of(part, whole):
    """Return a part of a whole in per cent, NaN where there is no whole above 0."""
    return 100 * part / whole.where(whole > 0)


def whole_attacks(steps):
    """Return the steps' record by cell: mean and first and last cosine, and the gains of all steps summed.

    Returns:
        Frame with columns attack, strength, steps, cosine_mean, cosine_first, cosine_last, predicted, gained, share_percent.
    """
    cells = steps.groupby(["attack", "strength"], sort=False)
    found = cells.agg(steps=("step", "size"), cosine_mean=("cosine_mean", "mean"), predicted=("predicted_mean", "sum"),
                      gained=("gained_mean", "sum"))
    found["cosine_first"], found["cosine_last"] = (cells["cosine_mean"].nth(place).to_numpy() for place in (0, -1))
    return found.assign(share_percent=share_of(found["gained"], found["predicted"])).reset_index()


def theory_table(sweep, steps):
    """Build the table of the theory measured; tidy by step, shown by cell."""
    rows = [[ATTACKS[row["attack"]].title, f"{row['strength']:g}", str(row["steps"]),
             *(MISSING if math.isnan(row[column]) else f"{row[column]:.3f}" for column in
               ("cosine_mean", "cosine_first", "cosine_last")),
             f"{row['predicted']:.3g}", f"{row['gained']:.3g}", percent(row["share_percent"])]
            for row in whole_attacks(steps).to_dict("records")]
    columns = [("", "Attack"), ("", "Strength"), ("", "Steps"), ("Cosine", "mean"), ("Cosine", "first step"),
               ("Cosine", "last step"), ("Gain in loss", "predicted"), ("Gain in loss", "happened"),
               ("Gain in loss", "share (%)")]
    caption = (f"The theory measured: cosine between the step taken, after projection and clipping, and the gradient where it "
               f"began; gain in {sweep.source}'s loss a film, all steps together, that the gradient predicts to first order, "
               f"and gain that happened; means over {sweep.described}.")
    return plain_table("theory" + sweep.suffix, "Theory", caption, steps, rows, columns)


@matplotlib.rc_context(STYLE)
def draw_theory(sweep, steps):
    """Draw the cosine by step (left) and the gain that happened against the gain predicted, a mark a cell (right)."""
    figure = Figure(figsize=(WIDTH, 3.1), layout="constrained")
    left, right = figure.subplots(1, 2)
    many = steps.groupby("attack")["step"].transform("max") > 1
    shown = steps[many] if many.any() else steps
    for name in ordered(shown["attack"], ATTACKS):
        cosine = shown[shown["attack"] == name].groupby("step")["cosine_mean"].agg(["mean", "min", "max"])
        left.plot(cosine.index, cosine["mean"], **attack_style(name))
        left.fill_between(cosine.index, cosine["min"], cosine["max"], color=DIRECTION_COLOURS[ATTACKS[name].direction],
                          alpha=0.12, linewidth=0, zorder=1)
    left.set(xlabel="(a) step", ylabel="cosine between step and gradient", xticks=sorted(shown["step"].unique()),
             ylim=(min(0, shown["cosine_mean"].min()), 1.03))
    gains = whole_attacks(steps)
    drawable = gains[(gains["predicted"] > 0) & (gains["gained"] > 0)]
    for name in ordered(drawable["attack"], ATTACKS):
        cells = drawable[drawable["attack"] == name]
        right.plot(cells["predicted"], cells["gained"], **{**attack_style(name), "linestyle": "none"})
    draw_diagonal(right, drawable)
    missing = len(gains) - len(drawable)
    right.set(xlabel="(b) gain in loss predicted", ylabel="gain that happened")
    for axes in (left, right):
        finish_panel(axes)
    add_legend(figure, steps["attack"])
    left_out = f"; (b) leaves out {missing} cells without a gain" if missing else ""
    figure.supxlabel(f"{sweep.described}; (a) mean and range over strengths{left_out}", fontsize=SMALL_POINTS)
    return figure


def draw_diagonal(axes, gains):
    """Draw where the gain is what was predicted, and give a panel its logarithmic scales."""
    if gains.empty:
        return
    values = gains[["predicted", "gained"]].to_numpy()
    ends = values.min() / 1.5, values.max() * 1.5
    axes.plot(ends, ends, color=GREY, linewidth=0.8, linestyle=(0, (6, 2)), zorder=1)
    axes.set(xscale="log", yscale="log", xlim=ends, ylim=ends)


def theory_sentences(sweep, steps):
    """Return the sentence on cosine and gain of sign against no-sign attacks, over the strengths at which both ran."""
    cells = whole_attacks(steps).set_index(["attack", "strength"])
    pairs = list(twins(cells.index))
    if not pairs:
        return []
    found = [cells.loc[[pair[place] for pair in pairs]] for place in (0, 1)]
    cosines = [part["cosine_mean"].mean() for part in found]
    shares = [whole_percent(part["share_percent"].median()) for part in found]
    return [f"{sweep.heading}: the mean cosine between step and gradient is {cosines[0]:.3f} under sign and {cosines[1]:.3f} "
            f"under no-sign attacks; of the gain in loss that the gradient predicts, {shares[0]} and {shares[1]} happened "
            f"(medians over {plural(len(pairs), 'pair')} of cells)."]


def whole_percent(share):
    """Return a percentage without decimals, or a dash where there is none."""
    return MISSING if math.isnan(share) else f"{share:.0f} %"


def count_stored(sweep):
    """Count what storing leaves of the attacks.

    Returns:
        Frame with a row a cell, storage and target: source, condition, attack, strength, storage, target, films, the share of
        films seen rightly (or taken for the class aimed at) in per cent, turned (films that the attack turned before storing:
        right on the clean film and wrong now, or newly taken for the aim), surviving (of these, still so after storing) and
        share_percent; no rows if nothing was stored.

    Raises:
        UserError: a file of predictions after storing is malformed.
    """
    rows = []
    for (attack, strength), path in sweep.paths.items():
        beside = path.with_suffix(STORED)
        if not beside.exists():
            continue
        cell = sweep.cells[attack, strength]
        for storage, stored in read_by_word(beside, "storage", (), sweep.clean).items():
            for target in (target for target in sweep.targets if target in stored and target in cell):
                turned = sweep.turned(target, cell[target])
                surviving = turned & sweep.turned(target, stored[target])
                rows.append({"source": sweep.source, "condition": sweep.condition, "attack": attack, "strength": strength,
                             "storage": storage, "target": target, "films": len(stored),
                             f"{sweep.effect}_percent": sweep.effect_percent(stored[target]), "turned": int(turned.sum()),
                             "surviving": int(surviving.sum()),
                             "share_percent": 100 * surviving.sum() / turned.sum() if turned.any() else math.nan})
    return pd.DataFrame(rows)


def storing_table(sweep, stored):
    """Build the table of what storing leaves of the white-box attacks; tidy for all targets."""
    own = stored[stored["target"] == sweep.source]
    storages = storages_in(stored)
    rows = []
    for (attack, strength), part in own.groupby(["attack", "strength"], sort=False):
        found = part.set_index("storage")
        rows.append([ATTACKS[attack].title, f"{strength:g}", str(part["turned"].iloc[0]),
                     *(percent(found["share_percent"].get(storage)) for storage in storages)])
    columns = [("", "Attack"), ("", "Strength"), ("", "Turned"),
               *(("Still turned (%) after", storage) for storage in storages)]
    turned = f"newly taken for {sweep.aim}" if sweep.aim else "right before it, wrong after it"
    caption = (f"What storing leaves of the attacks: the films that an attack turned for {sweep.source} ({turned}), and the "
               f"share of them that is still turned after the film was stored; {sweep.described}.")
    return plain_table("storing" + sweep.suffix, "Storing", caption, stored, rows, columns)


def storages_in(stored):
    """Return the storages on record, more bits before fewer and JPEG last."""
    bits = [name for name in STORAGES if name.endswith("bits")]
    gentlest_first = sorted(bits, key=lambda name: -int(name.split()[0])) + [name for name in STORAGES if name not in bits]
    return ordered(stored["storage"], gentlest_first)


@matplotlib.rc_context(STYLE)
def draw_storing(sweep, stored):
    """Draw the share of the white-box attacks' successes that survives storing, a panel a strength."""
    stored, storages = stored[stored["target"] == sweep.source], storages_in(stored)
    strengths = sorted(stored["strength"].unique())
    rows = -(-len(strengths) // STORED_PER_ROW)
    columns = -(-len(strengths) // rows)
    figure = Figure(figsize=(WIDTH, 0.8 + 1.75 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
    for axes, strength in zip(panels, strengths):
        part = stored[stored["strength"] == strength]
        for name in ordered(part["attack"], ATTACKS):
            share = part[part["attack"] == name].set_index("storage")["share_percent"].reindex(storages)
            axes.plot(range(len(storages)), share, clip_on=False, **attack_style(name))
        axes.set_title(f"strength {strength:g}")
        axes.set_xticks(range(len(storages)), storages, rotation=40, ha="right", rotation_mode="anchor")
        finish_panel(axes)
    for axes in panels[len(strengths):]:
        axes.set_visible(False)
    for axes in panels[max(0, len(strengths) - columns):len(strengths)]:
        axes.tick_params(labelbottom=True)  # also where the row below is not full
    panels[0].set(ylim=(0, 105), yticks=range(0, 101, 20))
    add_legend(figure, stored["attack"])
    figure.supylabel("successes that survive storing (%)", fontsize=STYLE["axes.labelsize"])
    figure.supxlabel(sweep.described, fontsize=SMALL_POINTS)
    return figure


def storing_sentences(sweep, stored):
    """Return the sentence on what storing leaves of sign and no-sign attacks, over the strengths at which both were stored."""
    own = stored[stored["target"] == sweep.source].set_index(["attack", "strength"])
    pairs = list(twins(own.index.unique()))
    told = []
    for storage in storages_in(stored) if pairs else ():
        shares = []
        for place in (0, 1):
            found = own.loc[[pair[place] for pair in pairs]]
            counts = found.loc[found["storage"] == storage, ["surviving", "turned"]].sum()
            shares.append(whole_percent(100 * counts["surviving"] / counts["turned"] if counts["turned"] else math.nan))
        told.append(f"{' / '.join(shares)} after {storage}")
    return [f"{sweep.heading}: of the films that sign / no-sign attacks turned, so many are still turned after storing: "
            f"{joined(told)} (all stored strengths at which both ran)."] if told else []


def grey_twins(sweeps):
    """Yield (coloured, grey) sweeps that differ in nothing else."""
    found = {(sweep.source, sweep.condition): sweep for sweep in sweeps}
    for sweep in sweeps:
        condition = Condition.parse(sweep.condition)
        grey = found.get((sweep.source, str(replace(condition, grey=True))))
        if not condition.grey and grey is not None:
            yield sweep, grey


def compare_grey(coloured, grey):
    """Compare two sweeps cell by cell.

    Returns:
        Frame with a row a common cell and target: source, condition (the coloured one), attack, strength, target, and the
        share of films seen rightly (or taken for the class aimed at) under coloured and grey perturbations in per cent, with
        the difference in points, grey minus coloured.
    """
    rows, effect = [], coloured.effect
    for (attack, strength), cell in coloured.cells.items():
        other = grey.cells.get((attack, strength), ())
        for target in (target for target in coloured.targets if target in cell and target in other):
            shares = [sweep.effect_percent(frame[target]) for sweep, frame in ((coloured, cell), (grey, other))]
            rows.append({"source": coloured.source, "condition": coloured.condition, "attack": attack, "strength": strength,
                         "target": target, f"{effect}_percent_coloured": shares[0], f"{effect}_percent_grey": shares[1],
                         "difference_points": shares[1] - shares[0]})
    return pd.DataFrame(rows)


def grey_table(sweep, compared):
    """Build the table of coloured against grey perturbations."""
    targets = ordered(compared["target"], sweep.targets)
    rows = []
    for (attack, strength), part in compared.groupby(["attack", "strength"], sort=False):
        found = part.set_index("target").reindex(targets)
        rows.append([ATTACKS[attack].title, f"{strength:g}", *(text for row in found.to_dict("records") for text in (
            *(percent(row[f"{sweep.effect}_percent_{kind}"]) for kind in ("coloured", "grey")),
            MISSING if math.isnan(row["difference_points"]) else f"{row['difference_points']:+.2f}"))])
    columns = [("", "Attack"), ("", "Strength"), *((starred(target, sweep.source), heading) for target in targets
                                                   for heading in ("coloured", "grey", "difference"))]
    caption = (f"{sweep.effect.title()} (%) under coloured perturbations and under grey ones, equal in all channels, and the "
               f"difference in points; {sweep.described} (*: white-box).")
    return plain_table("grey" + sweep.suffix, "Grey perturbations", caption, compared, rows, columns)


@matplotlib.rc_context(STYLE)
def draw_grey(sweep, compared):
    """Draw the accuracy under grey against that under coloured perturbations, a panel a target, a mark a cell."""
    targets = ordered(compared["target"], sweep.targets)
    figure = Figure(figsize=(WIDTH, 0.9 + 6.6 / max(3, len(targets))), layout="constrained")
    for axes, target in zip(figure.subplots(1, len(targets), sharex=True, sharey=True, squeeze=False)[0], targets):
        for name in ordered(compared["attack"], ATTACKS):
            part = compared[(compared["attack"] == name) & (compared["target"] == target)]
            axes.plot(part[f"{sweep.effect}_percent_coloured"], part[f"{sweep.effect}_percent_grey"], clip_on=False,
                      **{**attack_style(name), "linestyle": "none"})
        axes.plot([0, 100], [0, 100], color=GREY, linewidth=0.8, linestyle=(0, (6, 2)), zorder=1)
        axes.set(title=starred(target, sweep.source), xlabel=f"{sweep.effect} (%), coloured", aspect="equal",
                 xlim=(0, 100), ylim=(0, 100), xticks=range(0, 101, 25), yticks=range(0, 101, 25))
        finish_panel(axes)
    figure.get_axes()[0].set_ylabel(f"{sweep.effect} (%), grey")
    add_legend(figure, compared["attack"], lines=False)
    figure.supxlabel(sweep.described, fontsize=SMALL_POINTS)
    return figure


def grey_sentences(sweep, compared):
    """Return the sentence on how much a grey perturbation costs each attack against the white-box model."""
    own = compared[compared["target"] == sweep.source]
    if own.empty:
        return []
    told = [f"{part['difference_points'].mean():+.1f} under {ATTACKS[name].title}"
            for name, part in own.groupby("attack", sort=False)]
    return [f"{sweep.heading}: where the perturbation is grey, the {sweep.effect} changes by so many "
            f"points, on average over strengths: {joined(told)}."]


def describe_effort(sweep):
    """Return what one sweep spends: (list of `Table`, dict from name to figure, list of sentences)."""
    effort = measure_effort(sweep)
    figure = draw_effort(sweep, effort)
    return ([effort_table(sweep, effort)], {} if figure is None else {"figure5" + sweep.suffix: figure},
            spent_sentences(sweep))


def describe_theory(sweep):
    """Return what the steps of one sweep say, as `describe_effort`."""
    steps = read_steps(sweep)
    if steps.empty:
        return [], {}, []
    return ([theory_table(sweep, steps)], {"theory" + sweep.suffix: draw_theory(sweep, steps)},
            theory_sentences(sweep, steps))


def describe_storing(sweep):
    """Return what storing leaves of one sweep, as `describe_effort`."""
    stored = count_stored(sweep)
    if stored.empty:
        return [], {}, []
    if not (stored["target"] == sweep.source).any():
        return [], {}, []
    return ([storing_table(sweep, stored)], {"storing" + sweep.suffix: draw_storing(sweep, stored)},
            storing_sentences(sweep, stored))


def describe_grey(coloured, grey):
    """Return what two sweeps say of grey perturbations, as `describe_effort`."""
    compared = compare_grey(coloured, grey)
    if compared.empty:
        return [], {}, []
    return ([grey_table(coloured, compared)], {"grey" + coloured.suffix: draw_grey(coloured, compared)},
            grey_sentences(coloured, compared))


DESCRIPTIONS = {"On equal terms": describe_effort, "Steps and the gradient": describe_theory,
                "Where attacks become visible": visibility.describe_boundary, "What storing leaves": describe_storing}


def everything(cells, clean, films_are):
    """Make the tables, figures and sentences on effort, theory, visibility, storing and grey perturbations.

    Args:
        cells, clean, films_are: what `read_films`, `read_clean` and `recorded_films` of `nosign.records` returned.

    Returns:
        (list of `Table`, dict from a figure's file name, without ending, to the matplotlib figure, list of (heading, list of
        sentences)), without what nothing is on record for.

    Raises:
        UserError: a file is malformed.
    """
    sweeps = finished_sweeps(cells, clean, films_are)
    parts = [(heading, describe(sweep)) for sweep in sweeps for heading, describe in DESCRIPTIONS.items()]
    parts += [("Grey perturbations", describe_grey(*pair)) for pair in grey_twins(sweeps)]
    made, drawn, told = [], {}, {}
    for heading, (tables, figures, sentences) in parts:
        made += tables
        drawn |= figures
        told.setdefault(heading, []).extend(sentences)
    return made, drawn, [(heading, sentences) for heading, sentences in told.items() if sentences]
