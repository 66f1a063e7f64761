"""The health report: signs of masked gradients (Athalye et al., 2018, arXiv:1802.00420) in all finished cells of a sweep.

Each rule sets films side by side that attacks turn, and warns where ten films or more speak against the gradients.
`docs/health.md` says of each warning what it means and what to do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations, product
from typing import Any

import numpy as np
import pandas as pd

from nosign.attacks.catalogue import ATTACKS, CONTROLS, SINGLE_STEP, Condition
from nosign.attacks.turning import TURNS, WRONG_BEFORE
from nosign.measures.outcome import Outcome
from nosign.rows import FILM, LABEL, STRENGTH, TARGET, Cell, read_cell, read_turning
from nosign.sweep.gradients import ATTACKED_WITHOUT_BOUNDS, BROKEN_GRADIENT, GRADIENT_FACTS, LEFT_WITHOUT_BOUNDS, ZERO_GRADIENT
from nosign.sweep.jobs import Job, Search

WARNING_FILMS = 10  # of whatever size the run is; fewer are taken for chance


@dataclass(frozen=True)
class SideBySide:
    """Films turned on the two sides of a comparison, at one strength."""

    strength: float
    first: int
    second: int


@dataclass(frozen=True)
class Comparison:
    """What one rule finds for one attack, where it looks worst.

    Attributes:
        facts: for the manifest, JSON-ready.
        warning: a sentence; "" where too few films speak against the gradients.
    """

    facts: dict[str, Any]
    warning: str


@dataclass(frozen=True)
class Evidence:
    """The finished cells and turning strengths of a sweep.

    Attributes:
        source: model whose gradients were followed.
        condition: `Condition`.
        clean: frame, one row per film: label, and a column per model with the class that it sees before the attack.
        cells: dict from cell to such a frame of after the attack, attack by attack, strengths ascending.
        turning: dict from the name of a single-step attack to its rows for the source, indexed by film.
    """

    source: str
    condition: Condition
    clean: pd.DataFrame
    cells: Mapping[Cell, pd.DataFrame]
    turning: Mapping[str, pd.DataFrame]

    @property
    def outcome(self) -> Outcome:
        """What the attacks want."""
        return Outcome.of(self.condition)

    @property
    def others(self) -> list[str]:
        """The models to which attacks transfer."""
        return [name for name in self.clean.columns if name not in (LABEL, self.source)]

    def films_right(self, cell: Cell | None = None) -> int:
        """Return how many films the source model has right in a cell, or before any attack."""
        frame = self.clean if cell is None else self.cells[cell]
        return int((frame[self.source] == frame[LABEL]).sum())

    def turned(self, cell: Cell, model: str) -> np.ndarray:
        """Return which films of a cell are turned for a model, bool [films]."""
        before, after = (frame[model].to_numpy() for frame in (self.clean, self.cells[cell]))
        return self.outcome.is_turned(before, after, self.clean[LABEL].to_numpy())

    def can_turn(self, model: str) -> np.ndarray:
        """Return which films can be turned for a model, bool [films]."""
        return self.outcome.can_turn(self.clean[model].to_numpy(), self.clean[LABEL].to_numpy())

    def side_by_side(self, first: str, second: str) -> Iterator[SideBySide]:
        """Yield how many films two attacks turn for the source at each strength that both have."""
        for cell in self.cells:
            other = Cell(second, cell.strength)
            if cell.attack == first and other in self.cells:
                yield SideBySide(cell.strength, *(int(self.turned(one, self.source).sum()) for one in (cell, other)))


def read_evidence(job: Job, clean: pd.DataFrame) -> Evidence:
    """Read all finished cells of a job's folder, those of earlier commands too.

    Args:
        job: `Job`.
        clean: what `nosign.rows.read_clean_logits` returned.

    Raises:
        UserError: a file there is unusable; it says which.
    """
    cells, models, turning = {}, [job.source], {}
    for cell, path in job.finished().items():
        frame, targets = read_cell(path, clean)
        cells[cell] = frame[[LABEL, *targets]]
        models += targets
    for name in (*SINGLE_STEP.values(), *CONTROLS):
        frame = read_turning(job.turning_path(Search(name)), clean)
        if frame is not None:
            turning[name] = frame[frame[TARGET] == job.source].set_index(FILM)
    return Evidence(job.source, job.condition, clean[[LABEL, *dict.fromkeys(models)]], cells, turning)


def health_report(facts: Mapping[str, int], evidence: Evidence) -> dict[str, Any]:
    """Look for signs of masked gradients.

    Args:
        facts: films by `GRADIENT_FACTS`.
        evidence: `Evidence`.

    Returns:
        Dict for the manifest: `GRADIENT_FACTS`, films wrong before the attack, a list of facts for each of `RULES`, and
        `warnings`, a sentence each.
    """
    found = {name: list(rule(evidence)) for name, rule in RULES.items()}
    return {
        **{fact: facts[fact] for fact in GRADIENT_FACTS},
        "films_wrong_before_the_attack": len(evidence.clean) - evidence.films_right(),
        **{name: [comparison.facts for comparison in comparisons] for name, comparisons in found.items()},
        "warnings": [
            *gradient_warnings(facts, evidence),
            *(comparison.warning for comparisons in found.values() for comparison in comparisons if comparison.warning),
        ],
    }


def gradient_warnings(facts: Mapping[str, int], evidence: Evidence) -> Iterator[str]:
    """Yield a sentence for each kind of gradient that moves no film, and one if an attack without bounds leaves a film."""
    for fact in (ZERO_GRADIENT, BROKEN_GRADIENT):
        if facts[fact]:
            what = fact.replace("_", " ")
            yield f"{facts[fact]} of {len(evidence.clean)} {what}: no attack moves them; is {evidence.source} saturated?"
    if facts[LEFT_WITHOUT_BOUNDS]:
        yield (
            f"an attack without bounds does not turn {facts[LEFT_WITHOUT_BOUNDS]} of {facts[ATTACKED_WITHOUT_BOUNDS]} "
            f"films: the gradients of {evidence.source} mislead"
        )


def controls_like_attacks(evidence: Evidence) -> Iterator[Comparison]:
    """Compare each control with the attack of its size, where it comes closest; the attack turns ten films or more there."""
    for control in CONTROLS:
        attack = SINGLE_STEP[ATTACKS[control].direction]
        counts = [*evidence.side_by_side(control, attack), *turned_by_strength(evidence, control, attack)]
        counts = [count for count in counts if count.second >= WARNING_FILMS]
        if not counts:
            continue
        worst = max(counts, key=lambda count: count.first / count.second)
        warning = (
            f"{ATTACKS[control].title} turns {worst.first} films at {worst.strength:.3g} where {ATTACKS[attack].title} turns "
            f"{worst.second}: half of what the gradients do needs no gradients"
        )
        facts = {"control": control, "attack": attack, "strength": worst.strength}
        facts |= {"control_films": worst.first, "attack_films": worst.second}
        yield Comparison(facts, warning if 2 * worst.first >= worst.second else "")


def turned_by_strength(evidence: Evidence, control: str, attack: str) -> Iterator[SideBySide]:
    """Yield how many films have turned at the strength where an attack has turned half of its films, ten at least.

    Not further up: at 0.25 noise turns most films of an honest model.
    """
    if not {control, attack} <= evidence.turning.keys():
        return
    films = evidence.turning[control].index.intersection(evidence.turning[attack].index)
    strengths = [turning_strengths(evidence.turning[name].loc[films]) for name in (control, attack)]
    turned = np.sort(strengths[1][np.isfinite(strengths[1])])
    if len(turned) >= WARNING_FILMS:
        strength = turned[max(WARNING_FILMS, (len(turned) + 1) // 2) - 1]
        yield SideBySide(float(strength), *(int((each <= strength).sum()) for each in strengths))


def turning_strengths(rows: pd.DataFrame) -> np.ndarray:
    """Return turning strengths of films that can be turned, infinite where no strength that was tried turns them."""
    rows = rows[rows["status"] != WRONG_BEFORE]
    return np.where(rows["status"].isin(TURNS), rows[STRENGTH], np.inf)


def iterative_below_single_step(evidence: Evidence) -> Iterator[Comparison]:
    """Compare each iterative attack with the single step of its direction; they spend the same in protocol `budget` alone.

    APGD, whose direction is the ball's, is compared with both.
    """
    if evidence.condition.protocol != "budget":
        return
    iterative = [(name, attack.direction) for name, attack in ATTACKS.items() if attack.iterative]
    for (name, direction), single in product(iterative, SINGLE_STEP.values()):
        if SINGLE_STEP.get(direction, single) != single:
            continue
        worst = max(evidence.side_by_side(name, single), key=lambda count: count.second - count.first, default=None)
        if worst is None:
            continue
        warning = (
            f"{ATTACKS[name].title} turns {worst.first} films at {worst.strength:g} and {ATTACKS[single].title} "
            f"{worst.second}: many steps should not do less than one"
        )
        facts = {"attack": name, "single_step": single, "strength": worst.strength}
        facts |= {"attack_films": worst.first, "single_step_films": worst.second}
        yield Comparison(facts, warning if worst.second - worst.first >= WARNING_FILMS else "")


def transfer_above_white_box(evidence: Evidence) -> Iterator[Comparison]:
    """Compare, for each attack and other model, films turned there and for the source, of those that both can lose."""
    source, attacks = evidence.source, [name for name in ATTACKS if name not in CONTROLS]
    for name, target in product(attacks, evidence.others):
        cells = [cell for cell, frame in evidence.cells.items() if cell.attack == name and target in frame]
        if not cells:
            continue
        both = evidence.can_turn(source) & evidence.can_turn(target)
        counts = [
            SideBySide(cell.strength, *(int((evidence.turned(cell, model) & both).sum()) for model in (target, source)))
            for cell in cells
        ]
        worst = max(counts, key=lambda count: count.first - count.second)
        warning = (
            f"{ATTACKS[name].title} at {worst.strength:g} turns {worst.first} films for {target} and {worst.second} for "
            f"{source}, whose gradients it follows"
        )
        facts = {"attack": name, "target": target, "strength": worst.strength}
        facts |= {"target_films": worst.first, "source_films": worst.second}
        yield Comparison(facts, warning if worst.first - worst.second >= WARNING_FILMS else "")


def accuracy_rises_with_strength(evidence: Evidence) -> Iterator[Comparison]:
    """Find each attack's largest rise of accuracy from one strength to any larger one; an aim may well leave films right."""
    for name in ATTACKS:
        right = {cell: evidence.films_right(cell) for cell in evidence.cells if cell.attack == name}
        if name in CONTROLS or evidence.outcome.is_targeted or len(right) < 2:
            continue
        low, high = max(combinations(right, 2), key=lambda pair: right[pair[1]] - right[pair[0]])
        rise = right[high] - right[low]
        warning = (
            f"{ATTACKS[name].title}: {rise} more films right at {high.strength:g} than at {low.strength:g}; a stronger "
            "attack should not do less"
        )
        facts = {"attack": name, "from": low.strength, "to": high.strength, "films": rise}
        if rise > 0:
            yield Comparison(facts, warning if rise >= WARNING_FILMS else "")


RULES: dict[str, Callable[[Evidence], Iterator[Comparison]]] = {
    rule.__name__: rule
    for rule in (controls_like_attacks, iterative_below_single_step, transfer_above_white_box, accuracy_rises_with_strength)
}
