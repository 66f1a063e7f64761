"""A sweep: the attacks of one source model under one condition. What its cells share is computed once, when first asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from nosign.attacks import turning
from nosign.attacks.catalogue import ATTACKS, Attack, Condition
from nosign.attacks.controls import control_field
from nosign.attacks.loop import stepped, unit_noise
from nosign.backend import to_numpy
from nosign.dataset import CLASSES, prefetched, whole_batches
from nosign.measures import size
from nosign.measures.outcome import Outcome
from nosign.measures.visibility import CRITERIA, boundaries
from nosign.rows import NEEDED_MEASURES, TURNING_COLUMNS, Cell, logit_columns
from nosign.sweep.engine import Engine, FilmCache, in_order, padded
from nosign.sweep.jobs import GRADIENT_COST, boundary_cost, cell_cost
from nosign.sweep.recorders import Batch, record, recorders_for

PAPER = Condition()
# So many films, or a batch more, show whether an attack without bounds reaches chance.
UNBOUNDED_FILMS = 20


class FirstGradients:
    """The gradients of one source model at the films themselves, which all attacks that start there share.

    Attributes:
        gradients: `FilmCache` of float32 [height, width, 3].
        logits: float32 [films, classes], the source model's.
        counts: dict: how many films have a gradient of zero, and how many one that is not finite; no attack moves them.
    """

    def __init__(self, sweep: Sweep, advance: Callable[[int], object]):
        """Compute them, batch by batch."""
        films = sweep.engine.films
        self.gradients = FilmCache(sweep.engine.folder, films.images.shape[1:])
        self.logits = np.empty((len(films), len(CLASSES)), np.float32)
        self.counts = {"films_with_zero_gradient": 0, "films_with_nan_or_infinite_gradient": 0}
        for start, stop, pixels, labels in sweep.batches():
            gradients, logits = (
                to_numpy(tensor)[: stop - start]
                for tensor in sweep.attacker.gradient_and_logits(pixels, labels, sweep.targeted)
            )
            self.gradients.write(start, gradients)
            self.logits[start:stop] = logits
            largest = np.abs(gradients).max(axis=(1, 2, 3))
            self.counts["films_with_zero_gradient"] += int((largest == 0).sum())
            self.counts["films_with_nan_or_infinite_gradient"] += int((~np.isfinite(largest)).sum())
            advance((stop - start) * GRADIENT_COST)


class Sweep:
    """Attacks the engine's films with gradients from one model under one condition, and tests them on all its models."""

    def __init__(self, engine: Engine, source: str, condition: Condition = PAPER):
        """Prepare to attack; nothing is computed yet.

        Args:
            source: name of the model whose gradients are followed.
        """
        self.engine, self.source, self.condition, self.films = engine, source, condition, engine.films
        self.outcome, self.attacker = Outcome.of(condition), engine.attacker(source, condition.loss)
        self.known_first: FirstGradients | None = None
        self.known_health: dict | None = None

    @property
    def targeted(self) -> bool:
        """Whether the attacks aim at one class."""
        return self.condition.target is not None

    def shares_gradients(self, other: Sweep) -> bool:
        """Tell whether another sweep follows the same gradients."""
        ours, theirs = ((one.source, one.condition.target, one.condition.loss) for one in (self, other))
        return self.engine is other.engine and ours == theirs

    def share(self, other: Sweep) -> None:
        """Take over what another sweep with the same gradients has computed."""
        self.known_first, self.known_health = other.known_first, other.known_health

    @property
    def knows_gradients(self) -> bool:
        """Whether the gradients at the films are computed."""
        return self.known_first is not None

    def first(self, advance: Callable[[int], object] = lambda work: None) -> FirstGradients:
        """Return the gradients at the films, computed when first asked; `advance` is called with the work done."""
        if self.known_first is None:
            self.known_first = FirstGradients(self, advance)
        return self.known_first

    def health(self, advance: Callable[[int], object] = lambda work: None) -> dict:
        """Return what the sweep itself tells of masked gradients, computed when first asked; see `nosign.sweep.health`."""
        if self.known_health is None:
            self.known_health = {**self.first(advance).counts, "unbounded_accuracy": self.unbounded_accuracy()}
        return self.known_health

    def batches(self):
        """Yield (start, stop, films, one-hot labels to attack) of the engine's batches."""
        for start, stop, pixels in self.engine.batches():
            positions = np.arange(start, stop)
            labels = self.attacked_labels(np.pad(positions, (0, len(pixels) - len(positions)), mode="edge"))
            yield start, stop, pixels, labels

    def attacked_labels(self, positions: np.ndarray) -> np.ndarray:
        """Return the labels whose loss the attacks follow, float32 one-hot [n, classes]: the films' own or the target."""
        labels = self.films.labels[positions]
        if self.targeted:
            labels = np.full_like(labels, self.outcome.aim)
        return one_hot(labels)

    def perturb(self, attack: Attack, films, labels: np.ndarray, strength, **options):
        """Attack a batch under the sweep's condition; returns a backend tensor. See `Attacker.perturb`."""
        return self.attacker.perturb(
            attack, films, labels, strength, targeted=self.targeted, steps=self.engine.steps, **self.geometry, **options
        )

    @property
    def geometry(self) -> dict:
        """The part of the condition that says what a step may look like."""
        return {"protocol": self.condition.protocol, "norm": self.condition.norm, "grey": self.condition.grey}

    def attack_batch(self, cell: Cell, start: int, stop: int, films: np.ndarray, labels: np.ndarray, watch=None):
        """Return the adversarial films of a batch, a backend tensor, float32 in [0, 1]."""
        attack = ATTACKS[cell.attack]
        first = noise = None
        if attack.random_start:
            noise = padded(unit_noise(self.engine.seed, self.films.rows[start:stop], films.shape[1:]), len(films))
        else:
            first = self.followed(attack, np.arange(start, stop), films)
        return self.perturb(attack, films, labels, cell.strength, noise=noise, first_gradient=first, watch=watch)

    def followed(self, attack: Attack, positions: np.ndarray, films: np.ndarray) -> np.ndarray:
        """Return what a single step follows, the gradient at the films or a control's field; float32, filled up with zeros.

        Args:
            attack: one without a random start.
            positions: which films of the set; they may be fewer than `films`.
            films: the batch.
        """
        gradient = None
        if attack.needs_gradient:
            cache = self.first().gradients
            gradient = np.concatenate([cache.read(position, 1) for position in positions])
        if attack.control:
            gradient = control_field(attack.control, self.engine.seed, self.films.rows[positions], films.shape[1:], gradient)
        return padded(np.asarray(gradient), len(films))

    def run(
        self,
        cell: Cell,
        clean: pd.DataFrame,
        advance: Callable[[int], object],
        *,
        keep: np.ndarray | None = None,
        kept: np.ndarray | None = None,
        storages: Sequence[str] = (),
    ) -> dict:
        """Attack all films and record what comes of it.

        Args:
            clean: frame of `nosign.rows.read_clean_logits`.
            advance: called with the work done, for a progress bar.
            keep: float32 array [films, height, width, 3] that receives the adversarial films, or None.
            kept: such an array, whose films are scored instead of attacking anew, or None.
            storages: keys of `nosign.measures.storage.STORAGES`, after which the films are scored too.

        Returns:
            Dict from the ending of a cell's file to what it holds; see `nosign.sweep.recorders`.
        """
        recorders = recorders_for(self, clean, storages=storages, keep=keep, attacks=kept is None)
        targets = len(self.engine.logits)
        for start, stop, films, labels in self.batches():
            steps: list = []
            if kept is None:
                changed = self.attack_batch(cell, start, stop, films, labels, watch=self.watch(steps))
            else:
                changed = padded(kept[start:stop], len(films))
            batch = Batch(self, start, stop, films, labels, changed, steps, self.engine.logits_before(clean, start, stop))
            for recorder in recorders:
                recorder.add(batch)
            advance((stop - start) * cell_cost(cell, self.engine.steps, targets, kept is None, len(storages)))
        return record(self.engine.identity(), recorders)

    def watch(self, steps: list) -> Callable:
        """Return a function for `Attacker.perturb` that keeps each step's effect and the logits before it."""
        return lambda before, after, gradient, logits: steps.append((self.engine.step_effect(before, after, gradient), logits))

    def find_boundaries(self, name: str, advance: Callable[[int], object]) -> pd.DataFrame:
        """Find the strength at which a single-step attack becomes visible on each film.

        Returns:
            Frame of a `boundary.csv`: one row per film and criterion, the largest invisible strength, each target's
            prediction at it.
        """

        def solve():
            for start, stop, films, _ in self.batches():
                gradients = self.followed(ATTACKS[name], np.arange(start, stop), films)
                units = to_numpy(self.attacker.unit_step(ATTACKS[name], gradients, **self.geometry))

                def of_film(i, films=films, units=units, start=start):
                    return boundaries(films[i], units[i], self.engine.limits_of(start + i, films[i]))

                yield start, stop, films, units, pd.DataFrame(self.engine.pool.map(of_film, range(stop - start)))

        self.first()  # before the thread that reads ahead
        parts = []
        for start, stop, films, units, solved in prefetched(solve()):
            identity = self.engine.identity()[start:stop].reset_index(drop=True)
            for criterion in CRITERIA:
                strengths = padded(solved[criterion].to_numpy(np.float32), len(films)).reshape(-1, 1, 1, 1)
                seen = pd.DataFrame(self.engine.classes(np.clip(films + strengths * units, 0, 1)))[: stop - start]
                parts.append(pd.concat([identity.assign(criterion=criterion, strength=solved[criterion]), seen], axis=1))
            advance((stop - start) * boundary_cost(len(self.engine.logits)))
        return in_order(parts, "criterion", list(CRITERIA))

    def find_turning(
        self, name: str, clean: pd.DataFrame, positions: np.ndarray, advance: Callable[[int], object]
    ) -> pd.DataFrame:
        """Find the smallest strength of a single-step attack that turns each film, for each target.

        Args:
            name: of a single-step attack.
            clean: frame of `nosign.rows.read_clean_logits`.
            positions: int array, which films of the set to attack.
            advance: called with the work done, for a progress bar.

        Returns:
            Frame of a `turning.csv`, one row per film and target:
                film, label, target
                strength, status           see `nosign.attacks.turning.Turning`
                l2, linf, ssim             of the change at that strength; empty for films that take no part
                cosine                     between what the attack follows and its sign
                right_again                strengths of the grid beyond it that do not turn the film
                grid                       a letter for each strength of `nosign.attacks.turning.GRID`: t if it turns the film,
                                           r if it does not; empty for films that take no part
        """
        attack, parts = ATTACKS[name], []
        for start, stop, places in whole_batches(len(positions), self.engine.batch):
            batch = positions[places]
            films = self.films.pixels(batch)
            followed = self.followed(attack, batch, films)
            units = to_numpy(self.attacker.unit_step(attack, followed, **self.geometry))
            for target in self.engine.logits:
                rows = self.search_turning(attack, target, batch, films, units, clean.iloc[batch])
                parts.append(rows.assign(cosine=sign_cosine(followed, self.condition.grey))[: stop - start])
                advance((stop - start) * turning.PASSES)
        whole = in_order(parts, "target", list(self.engine.logits))
        assert whole is not None  # there are positions, so there are parts
        return whole[TURNING_COLUMNS]

    def search_turning(
        self, attack: Attack, target: str, batch: np.ndarray, films: np.ndarray, units: np.ndarray, clean: pd.DataFrame
    ) -> pd.DataFrame:
        """Return the frame of `find_turning` for one batch and target, without the cosine."""
        labels = self.films.labels[batch]

        def changed(strengths):
            return stepped(attack, films, units, strengths, self.condition.protocol)

        def turned_at(strengths):
            logits = to_numpy(self.engine.logits[target](changed(strengths)))
            return self.outcome.is_reached(logits.argmax(-1), labels) & np.isfinite(logits).all(-1)

        takes_part = self.outcome.can_turn(np.float32(clean[logit_columns(target)]).argmax(-1), labels)
        result = turning.search(turned_at, takes_part)
        pairs = zip(films, changed(np.nan_to_num(result.strength)))
        names = NEEDED_MEASURES
        sizes = pd.DataFrame(
            self.engine.pool.map(lambda pair: [getattr(size, name)(*pair) for name in names], pairs), columns=names
        )
        sizes[~takes_part] = np.nan
        identity = self.engine.identity().iloc[batch].reset_index(drop=True)
        letters = np.array(["r", "t"])[result.turned.astype(int)]
        return pd.concat([identity, sizes], axis=1).assign(
            target=target,
            strength=result.strength,
            status=result.status,
            right_again=result.right_again,
            grid=["".join(row) if part else "" for row, part in zip(letters, takes_part)],
        )

    def unbounded_accuracy(self) -> float:
        """Return the source model's accuracy on the first films after an attack without bounds.

        Three sign steps of 0.5 reach every film in [0, 1]: where more than chance is left right, gradients mislead.
        """
        right: list = []
        for start, stop, films, labels in self.batches():
            changed = self.attacker.perturb(ATTACKS["bim"], films, labels, 0.5, targeted=self.targeted, steps=3)
            seen = to_numpy(self.engine.logits[self.source](changed)).argmax(-1)[: stop - start]
            right += list(seen == self.films.labels[start:stop])
            if len(right) >= UNBOUNDED_FILMS:
                break
        return float(np.mean(right))

    def attack_film(self, cell: Cell, position: int) -> np.ndarray:
        """Attack one film of the set alone; returns float32 [height, width, 3] in [0, 1]."""
        positions = np.array([position])
        films, labels = self.films.pixels(positions), self.attacked_labels(positions)
        attack, first = ATTACKS[cell.attack], None
        noise = unit_noise(self.engine.seed, self.films.rows[positions], films.shape[1:])
        if attack.control:
            first = self.followed(attack, positions, films)
        return to_numpy(self.perturb(attack, films, labels, cell.strength, noise=noise, first_gradient=first))[0]


def one_hot(labels: np.ndarray) -> np.ndarray:
    """Return int labels [n] as float32 [n, classes]."""
    return np.eye(len(CLASSES), dtype=np.float32)[labels]


def sign_cosine(followed: np.ndarray, grey: bool) -> np.ndarray:
    """Return the cosine between each field, float32 [n, ...], and its sign, float64 [n]; NaN where the field is zero."""
    followed = followed.astype(np.float64)
    if grey:
        followed = np.broadcast_to(followed.mean(-1, keepdims=True), followed.shape)
    flat = followed.reshape(len(followed), -1)
    largest = np.abs(flat).max(1, keepdims=True)
    relative = np.divide(flat, largest, out=np.zeros_like(flat), where=np.isfinite(largest) & (largest > 0))
    lengths = np.linalg.norm(relative, axis=1) * np.sqrt(np.count_nonzero(relative, axis=1))
    return np.divide(np.abs(relative).sum(1), lengths, out=np.full(len(flat), np.nan), where=lengths > 0)
