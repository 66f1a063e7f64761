"""The paper beside these results: a row for each of its sentences that can be tested, and whether it is so here."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import pandas as pd

from nosign.attacks.catalogue import ATTACKS, PAIRS
from nosign.finished import FinishedSweep, Run
from nosign.output.finding import Finding, Sentence
from nosign.output.table import Table, numbers, words
from nosign.output.words import MISSING, interval, intervals_over, joined, plural, quantity, signed, span
from nosign.paper import (
    AHEAD_BELOW,
    FALL_POINTS,
    GAP_POINTS,
    GAP_STRENGTHS,
    NARROW_FROM,
    PAPER_ATTACKS,
    PAPER_BEST,
    PAPER_CONDITION,
    PAPER_MODELS,
    PAPER_SAYS,
    PAPER_TEST_FILMS,
    PARAMETER_NOTES,
    Said,
)
from nosign.statistics.counts import paired_p_bounds, share_interval, unpaired_p

HEADING = "Comparison with the paper"
YES, IN_PART, NO, NOT_RUN = "yes", "in part", "no", "not run"
ALIKE = 5  # points: "almost the same" means that the whole interval lies within them
RULES = (
    "A share is the same (yes) where it lies within the 95 % interval here, in part where the interval of the paper's own "
    "count overlaps it, else not; the gap where its interval holds the number, in part where that lies above 0. A comparison "
    "is tested by the interval of the difference, at each strength and model that it is about: yes where it holds at all of "
    "them, in part where at some, no where at none; the number is their mean. 'More' and 'fewer' hold where the interval lies "
    f"on that side of 0, 'about' and 'almost' where it lies within {ALIKE} points of the number, 'grow' and 'falls' where the "
    "largest strength leaves fewer right than the smallest and no strength leaves more right than the one before it."
)

Cell = tuple[str, float, str]  # attack, strength, target
Interval = tuple[float, float, float]  # estimate, low, high


@dataclass(frozen=True)
class Answer:
    """What these results say to a sentence of the paper.

    Attributes:
        same: `YES`, `IN_PART`, `NO` or `NOT_RUN`.
        measured, low, high: the same quantity here with its 95 % interval, in the unit of the sentence; NaN for none.
        why: what was counted, or what the answer hangs on.
    """

    same: str = NOT_RUN
    measured: float = math.nan
    low: float = math.nan
    high: float = math.nan
    why: str = ""


def describe(run: Run) -> Finding:
    """Return the table of the paper's sentences, how many hold here, and what its own counts allow to be said."""
    if run.classifiers is None or run.patients is None:
        return Finding("comparison_with_paper", HEADING)
    sweep = next((sweep for sweep in run.sweeps if sweep.name == PAPER_CONDITION), None)
    answers = [*parameter_answers(run.classifiers), *accuracy_answers(run.accuracy)]
    for key, said in PAPER_SAYS.items():
        answers.append((said, TESTS[key](sweep) if sweep and sweep.source in sweep.targets else Answer()))
    table = paper_table(answers, run.patients.draws)
    return Finding("comparison_with_paper", HEADING, (table,), (), (tally(table.frame), own_counts()))


def all_some_none(holds: Iterable[bool]) -> str:
    """Return the answer of several comparisons: `YES` if all hold, `IN_PART` if some do, `NO` if none does."""
    holds = list(holds)
    return NOT_RUN if not holds else YES if all(holds) else IN_PART if any(holds) else NO


def is_above(interval: Interval) -> bool:
    """Whether a difference's whole interval lies above 0."""
    return interval[1] > 0


def is_about(number: float) -> Callable[[Interval], bool]:
    """Return whether a whole interval lies within `ALIKE` points of a number, as a function of the interval."""
    return lambda interval: number - ALIKE <= interval[1] and interval[2] <= number + ALIKE


def same_share(count: int, films: int, interval: Interval) -> str:
    """Return the answer of a share: whether the paper's lies within the interval here, or its own interval overlaps that.

    Args:
        count, films: the paper's.
        interval: of the share here, in per cent.
    """
    (low, high), (_, low_here, high_here) = share_interval(count, films), interval
    if low_here <= 100 * count / films <= high_here:
        return YES
    return IN_PART if low <= high_here and low_here <= high else NO


def parameter_answers(classifiers: pd.DataFrame) -> list[tuple[Said, Answer]]:
    """Return whether each model has the parameters that the paper states; counts are the same or not."""
    here = dict(zip(classifiers["model"], classifiers["parameters"]))
    answers = []
    for model, (stated, _) in PAPER_MODELS.items():
        answer = Answer(why="not trained in this run")
        if model in here:
            same = here[model] == stated
            answer = Answer(YES if same else NO, int(here[model]), why="" if same else PARAMETER_NOTES.get(model, ""))
        answers.append((Said(f"Parameters of {model}", stated, ""), answer))
    return answers


def accuracy_answers(accuracy: pd.DataFrame) -> list[tuple[Said, Answer]]:
    """Return whether each model's accuracy before the attacks is the paper's.

    Args:
        accuracy: `Run.accuracy`.
    """
    here = {row.target: row for row in accuracy.itertuples()}
    answers = []
    for model, (_, count) in PAPER_MODELS.items():
        answer = Answer(why="not trained in this run")
        if own := here.get(model):
            interval = (own.accuracy_percent, own.ci_low_percent, own.ci_high_percent)
            answer = Answer(same_share(count, PAPER_TEST_FILMS, interval), *interval, f"{own.correct}/{own.films}")
        note = f"{count}/{PAPER_TEST_FILMS}"
        answers.append((Said(f"Clean accuracy of {model}", 100 * count / PAPER_TEST_FILMS, "%", note), answer))
    return answers


def right(sweep: FinishedSweep, cell: Cell) -> np.ndarray:
    """Return which films a target has right in a cell, bool [films]."""
    attack, strength, target = cell
    return sweep.cells[attack, strength][target].to_numpy() == sweep.labels


def strengths_of(sweep: FinishedSweep, *attacks: str) -> list[float]:
    """Return the strengths above 0, ascending, at which all of some attacks were run on the source model."""
    run = [{strength for name, strength in sweep.cells if name == attack and strength > 0} for attack in attacks]
    shared = set.intersection(*run)
    return sorted(s for s in shared if all(sweep.source in sweep.cells[attack, s] for attack in attacks))


def compare(sweep: FinishedSweep, pairs: list[tuple[Cell, Cell]], holds: Callable[[Interval], bool] = is_above) -> Answer:
    """Compare pairs of cells by the films right under the first minus those right under the second.

    Args:
        pairs: of cells.
        holds: function of an interval in points that tells whether the sentence holds.

    Returns:
        The answer of `all_some_none`; measured is the mean difference over the pairs, in points.
    """
    return compare_hits(sweep, [(right(sweep, first), right(sweep, second)) for first, second in pairs], holds)


def compare_hits(sweep: FinishedSweep, pairs: list[tuple[np.ndarray, np.ndarray]], holds: Callable[[Interval], bool]) -> Answer:
    """Do what `compare` does for pairs of bool [films]."""
    if not pairs:
        return Answer()
    flags = [holds(sweep.patients.difference(second, first)) for first, second in pairs]
    mean = mean_points(sweep, np.sum([first.astype(int) - second for first, second in pairs], axis=0), len(pairs))
    return Answer(all_some_none(flags), *mean, f"holds in {sum(flags)} of {plural(len(flags), 'comparison')}")


def mean_points(sweep: FinishedSweep, sums: np.ndarray, count: int) -> Interval:
    """Return the mean over films and comparisons in points, with its 95 % interval over draws of patients.

    Args:
        sums: int [films], each film's differences added up; whole numbers give the same digits on every machine.
        count: so many differences, each from -1 to 1.
    """
    return sweep.patients.mean_interval(sums, np.full(len(sums), count), -1.0)


def lowest_accuracy(attack: str) -> Callable[[FinishedSweep], Answer]:
    """Return the test of the lowest accuracy under an attack at any strength that was run, white-box."""

    def test(sweep: FinishedSweep) -> Answer:
        cells = [(attack, strength, sweep.source) for strength in strengths_of(sweep, attack)]
        if not cells:
            return Answer()
        best = lowest_cell(sweep, cells)
        hits = right(sweep, best)
        share = sweep.patients.share(hits)
        why = f"{hits.sum()}/{len(hits)} at {best[1]:g} ({plural(len(cells), 'strength')} run)"
        return Answer(same_share(PAPER_BEST[attack], PAPER_TEST_FILMS, share), *share, why)

    return test


def lowest_cell(sweep: FinishedSweep, cells: list[Cell]) -> Cell:
    """Return the cell that leaves the fewest films right, the first of several."""
    return min(cells, key=lambda cell: right(sweep, cell).sum())


def gaps_of_films(sweep: FinishedSweep, strengths: list[float]) -> np.ndarray:
    """Return at how many strengths each film is right under FGSM minus under FGNM, int [films]."""
    cells = [[(attack, strength, sweep.source) for strength in strengths] for attack in ("fgsm", "fgnm")]
    sign, no_sign = (np.sum([right(sweep, cell) for cell in of_attack], axis=0) for of_attack in cells)
    return sign - no_sign


def is_inside(strength: float) -> bool:
    """Whether a strength lies strictly within `GAP_STRENGTHS`."""
    return GAP_STRENGTHS[0] < strength < GAP_STRENGTHS[1]


def gap(sweep: FinishedSweep) -> Answer:
    """Test the gap between FGSM and FGNM: yes if the number lies within the interval of its mean, in part if it is above 0."""
    inside = [strength for strength in strengths_of(sweep, "fgsm", "fgnm") if is_inside(strength)]
    if not inside:
        return Answer()
    mean = mean_points(sweep, gaps_of_films(sweep, inside), len(inside))
    is_within = mean[1] <= GAP_POINTS <= mean[2]
    same = YES if is_within else IN_PART if is_above(mean) else NO
    return Answer(same, *mean, f"mean of {plural(len(inside), 'strength')}")


def narrows(sweep: FinishedSweep) -> Answer:
    """Test whether the mean gap within `GAP_STRENGTHS` is wider than that from `NARROW_FROM` on."""
    shared = strengths_of(sweep, "fgsm", "fgnm")
    inside, beyond = [s for s in shared if is_inside(s)], [s for s in shared if s >= NARROW_FROM]
    if not inside or not beyond:
        return Answer()
    # The difference of two means, over one denominator.
    sums = len(beyond) * gaps_of_films(sweep, inside) - len(inside) * gaps_of_films(sweep, beyond)
    mean = mean_points(sweep, sums, len(inside) * len(beyond))
    return Answer(all_some_none([is_above(mean)]), *mean, "mean gap before minus mean gap after")


def single_step_pairs(sweep: FinishedSweep) -> Answer:
    """Test whether FGNM leaves fewer right than FGSM at every strength below `AHEAD_BELOW`, white-box."""
    pairs = direction_pairs(sweep, iterative=False)
    return compare(sweep, [pair for pair in pairs if pair[0][1] < AHEAD_BELOW])


def iterative_pairs(sweep: FinishedSweep) -> Answer:
    """Test whether no-sign leaves fewer right than sign at every strength of Table III, white-box."""
    return compare(sweep, direction_pairs(sweep, iterative=True))


def direction_pairs(sweep: FinishedSweep, iterative: bool) -> list[tuple[Cell, Cell]]:
    """Return the white-box cells of sign and no-sign at each strength, of the paper's attacks."""
    return [
        ((sign, strength, sweep.source), (no_sign, strength, sweep.source))
        for sign, no_sign in PAIRS
        if sign in PAPER_ATTACKS and ATTACKS[sign].iterative == iterative
        for strength in strengths_of(sweep, sign, no_sign)
    ]


def fall(sweep: FinishedSweep) -> Answer:
    """Test how far FGSM and FGNM lower accuracy from `NARROW_FROM` on, white-box."""
    clean = sweep.clean[sweep.source].to_numpy() == sweep.labels
    cells = [(attack, s, sweep.source) for attack in ("fgsm", "fgnm") for s in strengths_of(sweep, attack) if s >= NARROW_FROM]
    return compare_hits(sweep, [(clean, right(sweep, cell)) for cell in cells], is_about(FALL_POINTS))


def cells_on(sweep: FinishedSweep, white_box: bool) -> list[list[Cell]]:
    """Return each paper's attack's cells on the source model, or on each other target, strengths ascending and above 0."""
    targets = [target for target in sweep.targets if (target == sweep.source) == white_box]
    lines = [
        [
            (attack, s, target)
            for (name, s), films in sorted(sweep.cells.items())
            if name == attack and s > 0 and target in films
        ]
        for attack in PAPER_ATTACKS
        for target in targets
    ]
    return [line for line in lines if line]


def white_box_does_more(sweep: FinishedSweep) -> Answer:
    """Test whether each attack leaves more films right on every other model than on the source model."""
    cells = [cell for line in cells_on(sweep, white_box=False) for cell in line]
    pairs = [(cell, (*cell[:2], sweep.source)) for cell in cells if sweep.source in sweep.cells[cell[:2]]]
    return compare(sweep, pairs)


def black_box_is_fooled(sweep: FinishedSweep) -> Answer:
    """Test whether each attack at its largest strength lowers the accuracy of every other model."""
    largest = [line[-1] for line in cells_on(sweep, white_box=False)]
    pairs = [(sweep.clean[cell[2]].to_numpy() == sweep.labels, right(sweep, cell)) for cell in largest]
    answer = compare_hits(sweep, pairs, is_above)
    return replace(answer, why=f"{answer.why}; without controls, see their table") if pairs else answer


def falls_with_strength(white_box: bool) -> Callable[[FinishedSweep], Answer]:
    """Return the test of whether accuracy falls with strength, for each attack and model with several strengths.

    It does if the interval of the fall from the smallest to the largest lies above 0, and none of a rise from one strength to
    the next does. Measured is the largest rise.
    """

    def test(sweep: FinishedSweep) -> Answer:
        lines = [line for line in cells_on(sweep, white_box) if len(line) > 1]
        if not lines:
            return Answer()
        rises = [[rise(sweep, weak, strong) for weak, strong in pairwise(line)] for line in lines]
        falls = [is_above(rise(sweep, line[-1], line[0])) for line in lines]
        flags = [fell and not any(map(is_above, of_line)) for fell, of_line in zip(falls, rises)]
        told = f"{sum(flags)} of {plural(len(flags), 'line')}, one per attack and model"
        return Answer(all_some_none(flags), *max(sum(rises, [])), f"largest rise between neighbours; holds for {told}")

    return test


def rise(sweep: FinishedSweep, first: Cell, second: Cell) -> Interval:
    """Return by how many points more films are right in the second cell, with the interval."""
    return sweep.patients.difference(right(sweep, first), right(sweep, second))


def start_makes_no_difference(sweep: FinishedSweep) -> Answer:
    """Test whether BIM and PGD leave about as many right at every strength, white-box."""
    pairs = [(("bim", s, sweep.source), ("pgd", s, sweep.source)) for s in strengths_of(sweep, "bim", "pgd")]
    return compare(sweep, pairs, is_about(0))


def strongest(sweep: FinishedSweep) -> Answer:
    """Test whether PGDNM where it is strongest leaves fewer right than each other attack where that is, white-box."""
    best = {line[0][0]: lowest_cell(sweep, line) for line in cells_on(sweep, white_box=True)}
    own = best.pop("pgdnm", None)
    return compare(sweep, [(other, own) for other in best.values()]) if own else Answer()


def equal_total_pairs(sweep: FinishedSweep) -> list[tuple[Cell, Cell]]:
    """Return the white-box cells of FGSM and BIM, and of FGNM and BINM, where the strength of the first is T times alpha."""
    pairs = []
    for one, many in ("fgsm", "bim"), ("fgnm", "binm"):
        for strength in strengths_of(sweep, many):
            total = next((s for s in strengths_of(sweep, one) if math.isclose(s, strength * (sweep.steps or math.nan))), None)
            if total:
                pairs.append(((one, total, sweep.source), (many, strength, sweep.source)))
    return pairs


TESTS: dict[str, Callable[[FinishedSweep], Answer]] = {
    **{f"best {attack}": lowest_accuracy(attack) for attack in PAPER_BEST},
    "gap": gap,
    "narrows": narrows,
    "ahead": single_step_pairs,
    "fall": fall,
    "white box": white_box_does_more,
    "black box": black_box_is_fooled,
    "strength": falls_with_strength(white_box=False),
    "strength white": falls_with_strength(white_box=True),
    "iterative": iterative_pairs,
    "start": start_makes_no_difference,
    "strongest": strongest,
    "steps": lambda sweep: compare(sweep, equal_total_pairs(sweep)),
    "figure 4": lambda sweep: compare(sweep, equal_total_pairs(sweep), is_about(0)),
}


def paper_table(answers: list[tuple[Said, Answer]], draws: int) -> Table:
    """Build the table of the paper's sentences and what these results say to each; `draws` of patients."""
    frame = pd.DataFrame(
        [
            {
                "sentence": said.text,
                "unit": said.unit,
                "paper": math.nan if said.number is None else said.number,
                "paper_note": said.note,
                "measured": answer.measured,
                "ci_low": answer.low,
                "ci_high": answer.high,
                "same": answer.same,
                "why": answer.why,
            }
            for said, answer in answers
        ]
    )
    rows = [
        [
            *(said.text, MISSING if said.number is None else quantity(said.number, said.unit), said.note),
            *(measured(answer, said.unit), ends(answer, said.unit), answer.same, answer.why),
        ]
        for said, answer in answers
    ]
    columns = (
        *words("The paper says"),
        *numbers("number", group="Paper"),
        *words("note", group="Paper"),
        *numbers("number", "95 % interval", group="Here"),
        *words("Same?", "What was counted"),
    )
    caption = (
        f"The paper's sentences that can be tested, beside these results (gradients from {PAPER_CONDITION[0]}, condition "
        f"'{PAPER_CONDITION[1]}'; {intervals_over(draws)}). {RULES}"
    )
    return Table("paper", HEADING, caption, frame, columns, rows)


def measured(answer: Answer, unit: str) -> str:
    """Return the number of an answer with its unit, a difference with its sign; a dash where there is none."""
    is_difference = unit == "points" and not math.isnan(answer.measured)
    return f"{signed(answer.measured)} points" if is_difference else quantity(answer.measured, unit)


def ends(answer: Answer, unit: str) -> str:
    """Return the interval of an answer, a dash where there is none."""
    if math.isnan(answer.low):
        return MISSING
    return span(answer.low, answer.high) if unit == "points" else interval(answer.low, answer.high)


def tally(frame: pd.DataFrame) -> Sentence:
    """Say how many of the paper's sentences hold here, and which do not.

    Args:
        frame: of `paper_table`.
    """
    times = frame["same"].value_counts()
    told = joined([f"{times.get(same, 0)} {what}" for same, what in ((YES, "hold"), (IN_PART, "hold in part"), (NO, "do not"))])
    failed = "; ".join(frame.loc[frame["same"] == NO, "sentence"])
    text = f"Of the paper's {len(frame)} sentences that can be tested, {told}{failed and f' ({failed})'}"
    return Sentence(f"{text}; {times.get(NOT_RUN, 0)} were not run.")


def own_counts() -> Sentence:
    """Say whether the paper's own lowest counts differ, by what they alone allow."""
    counts, films = sorted(PAPER_BEST.values(), reverse=True), PAPER_TEST_FILMS
    unpaired = min(unpaired_p(first, second, films) for first, second in pairwise([*counts, counts[0]]))
    least, most = paired_p_bounds(counts[0], counts[-1], films)
    told = joined([f"{count} ({ATTACKS[attack].title})" for attack, count in PAPER_BEST.items()])
    return Sentence(
        f"The paper's own lowest counts, {told} of {films} films right, do not differ as counts of different films (Fisher's "
        f"exact p at least {unpaired:.2f}); its films were the same, and there the exact p of {counts[0]} against {counts[-1]} "
        f"lies between {least:.3f} (all {counts[-1]} are among the {counts[0]}) and {most:.2f} (none is)."
    )
