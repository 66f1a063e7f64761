"""A sweep: attacks on all films of an engine with gradients from one model under one condition."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from nosign.attacks.catalogue import ATTACKS, Attack, Condition
from nosign.attacks.controls import control_field
from nosign.attacks.loop import Attacker, unit_noise
from nosign.attacks.restarts import best_start
from nosign.backend import to_numpy
from nosign.measures.outcome import Outcome
from nosign.rows import Cell
from nosign.sweep.engine import Batch, Engine
from nosign.sweep.gradients import ATTACKED_WITHOUT_BOUNDS, LEFT_WITHOUT_BOUNDS, FirstGradients, attacked_labels, key_of
from nosign.sweep.jobs import cell_cost
from nosign.sweep.recorders import AttackedBatch, Record, all_recorders, collected
from nosign.sweep.unbounded import UNBOUNDED_FILMS, random_starts, spread_out, unturned


class Sweep:
    """The attacks of one source model and condition. Gradients are computed when they are first asked for.

    Attributes:
        engine: `Engine`.
        source: name of the model whose gradients are followed.
        condition: `Condition`.
        outcome: `Outcome` that the attacks want.
        fields: dict from universal attacks to the field that they follow, float32 [height, width, 3].
    """

    def __init__(self, engine: Engine, source: str, condition: Condition) -> None:
        """Compute nothing yet."""
        self.engine, self.source, self.condition = engine, source, condition
        self.outcome, self.fields = Outcome.of(condition), dict[str, np.ndarray]()

    @property
    def attacker(self) -> Attacker:
        """The compiled attack on the source model."""
        return self.engine.attacker(self.source, self.condition.loss)

    @cached_property
    def gradients(self) -> FirstGradients:
        """The source model's gradients at all films."""
        key = key_of(self.source, self.condition)
        return self.engine.once(key, lambda: FirstGradients(self.engine, self.source, self.condition))

    def without_bounds(self, clean: pd.DataFrame) -> dict[str, int]:
        """Attack some films without bounds, see `nosign.sweep.unbounded`; return how many, and how many are left."""
        films, outcome = self.engine.films, self.outcome
        chosen = spread_out(np.flatnonzero(outcome.can_turn(clean[self.source].to_numpy(), films.labels)), UNBOUNDED_FILMS)
        starts = random_starts(films, chosen, self.engine.seed)
        labels, targeted = self.labels(chosen), outcome.is_targeted
        left = unturned(self.attacker, starts, labels, targeted=targeted, batch=self.engine.batch)
        return {ATTACKED_WITHOUT_BOUNDS: len(chosen), LEFT_WITHOUT_BOUNDS: int(left.sum())}

    @property
    def geometry(self) -> dict[str, Any]:
        """The part of the condition that says what a step may look like."""
        return {name: getattr(self.condition, name) for name in ("protocol", "norm", "grey", "step_factor")}

    def labels(self, positions: np.ndarray) -> np.ndarray:
        """Return the labels whose loss the attacks follow, float32 one-hot [n, classes]."""
        return self.labels_of(self.engine.films.labels[positions])

    def labels_of(self, labels: np.ndarray) -> np.ndarray:
        """Return the same of films with these classes, int [n], of the engine or not."""
        return attacked_labels(labels, self.outcome)

    def run(
        self,
        cell: Cell,
        clean: pd.DataFrame,
        *,
        keep: np.ndarray | None = None,
        kept: np.ndarray | None = None,
        storages: Sequence[str] = (),
    ) -> dict[str, Record]:
        """Attack all films, or score those that an earlier run kept, and record what comes of it.

        Args:
            cell: `Cell`.
            clean: what `nosign.rows.read_clean_logits` returned.
            keep: float32 array [films, height, width, 3] that receives the adversarial films, or None.
            kept: such an array, whose films are scored instead of attacking anew, or None.
            storages: keys of `storage.STORAGES`, after which the films are scored too.

        Returns:
            What `nosign.rows.write_cell` writes: dict from a file's ending to its frame or arrays.
        """
        recorders = all_recorders(self, clean, attacked=kept is None, keep=keep, storages=storages)
        starts = self.condition.restarts
        cost = cell_cost(cell, self.engine.steps, len(self.engine.logits), kept is None, storages, starts)
        for batch in self.engine.batches():
            steps: list[tuple] = []
            changed = self.attack(cell, batch, steps) if kept is None else batch.filled(kept[batch.own])
            attacked = AttackedBatch(self.engine, batch, changed, clean, steps)
            for recorder in recorders:
                recorder.add(attacked)
            self.engine.advance(batch.count * cost)
        return collected(self.engine.identity(), recorders)

    def attack(self, cell: Cell, batch: Batch, steps: list[tuple] | None = None) -> Any:
        """Return the adversarial films of a batch, a backend tensor, float32 in [0, 1].

        Args:
            cell: `Cell`.
            batch: `Batch`.
            steps: list that receives each step's effect (see `step_effect`) and the logits before it, or None.
        """
        attack = ATTACKS[cell.attack]
        if attack.random_start:
            return self.from_random_starts(attack, batch, cell.strength, steps)
        return self.perturb(attack, batch, cell.strength, steps, **self.start(attack, batch))

    def from_random_starts(self, attack: Attack, batch: Batch, strength: float, steps: list[tuple] | None = None) -> Any:
        """Attack a batch from as many random starts as the condition asks for; each film keeps its best.

        Args:
            attack: an `Attack` with a random start.
            batch, steps: as for `attack`.
            strength: float >= 0.
        """

        def attempt(start: int) -> tuple[Any, list[tuple]]:
            taken: list[tuple] = []
            options = self.start(attack, batch, start)
            changed = self.perturb(attack, batch, strength, None if steps is None else taken, **options)
            return changed, taken

        aims = self.labels(batch.positions), self.outcome.is_targeted
        changed, taken = best_start(attempt, self.condition.restarts, self.engine.logits[self.source], *aims)
        if steps is not None:
            steps += taken
        return changed

    def start(self, attack: Attack, batch: Batch, number: int = 0) -> dict[str, Any]:
        """Return where an attack on a batch begins, options of `perturb`: its noise, or what its first step follows.

        Args:
            number: which of several random starts.
        """
        if attack.random_start:
            noise = unit_noise(self.engine.seed, self.engine.films.rows[batch.own], batch.films.shape[1:], number)
            return {"noise": batch.filled(noise)}
        return {"first_gradient": batch.filled(self.followed(attack, batch.own))}

    def perturb(
        self, attack: Attack, batch: Batch, strength: float | np.ndarray, steps: list[tuple] | None = None, **options: Any
    ) -> Any:
        """Attack a batch under the sweep's condition; `steps` as for `attack`, options as for `Attacker.perturb`.

        Steps of an adaptive attack are not watched: it goes back to earlier points, so they do not follow each other.
        """

        def watch(before: Any, after: Any, gradient: Any, logits: Any) -> None:
            watched.append((self.engine.step_effect(before, after, gradient), logits))

        watched = [] if steps is None else steps
        labels = self.labels(batch.positions)
        settings = {"targeted": self.outcome.is_targeted, "steps": self.engine.steps, **self.geometry}
        options["watch"] = None if steps is None or attack.adaptive else watch
        return self.attacker.perturb(attack, batch.films, labels, strength, **settings, **options)

    def followed(self, attack: Attack, positions: np.ndarray) -> np.ndarray:
        """Return what a single step follows on some films: the gradient there, or a field that takes its place.

        Args:
            attack: an `Attack` without a random start.
            positions: int [n], which films of the set.

        Returns:
            float32 [n, height, width, 3].
        """
        if attack.universal:
            field = self.fields[attack.name]
            return np.broadcast_to(field, (len(positions), *field.shape))
        if not attack.control:
            return self.gradients.at(positions)
        films, gradient = self.engine.films, self.gradients.at(positions) if attack.needs_gradient else None
        return control_field(attack.control, self.engine.seed, films.rows[positions], films.images.shape[1:], gradient)

    def attack_film(self, cell: Cell, position: int) -> np.ndarray:
        """Attack one film alone.

        Args:
            cell: `Cell`.
            position: of the film in the set.

        Returns:
            The adversarial film, float32 [height, width, 3] in [0, 1].
        """
        attack, films, positions = ATTACKS[cell.attack], self.engine.films, np.array([position])
        batch = Batch(positions, 1, films.pixels(positions))
        if attack.random_start:
            return to_numpy(self.from_random_starts(attack, batch, cell.strength))[0]
        first = self.followed(attack, positions) if attack.follows_field else None
        return to_numpy(self.perturb(attack, batch, cell.strength, first_gradient=first))[0]
