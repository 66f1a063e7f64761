"""The sweep: attacks all films, one cell (`nosign.cells`) after the other, and measures what each does.

What cells share, such as the gradients at the films themselves, is computed once.
"""

import copy
import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from scipy.special import expit, logsumexp, softmax

from nosign.attacks import turning
from nosign.attacks.catalogue import ATTACKS, LOSSES, Condition
from nosign.attacks.controls import control_field
from nosign.attacks.directions import step_effect
from nosign.attacks.gradients import compiled, compiled_logits, to_numpy
from nosign.attacks.loop import Attacker, stepped, unit_noise
from nosign.dataset import CLASSES, prefetched, whole_batches
from nosign.measures import size, storage, visibility
from nosign.paper import EXAMPLE_FACTOR, EXAMPLES
from nosign.rows import MEASURES, ROUNDED, ROUNDED_MEASURES, TURNING_COLUMNS, Cell, logit_columns, logit_frame, read_cell

SHOWN_A_CLASS = 2


class FilmCache:
    """An array a film, float32, on disk: what all attacks and strengths share does not fill the memory."""

    def __init__(self, folder, shape):
        """Prepare for arrays of a shape, in an unnamed file in a folder (None: where temporary files go)."""
        self.folder, self.shape = folder, tuple(shape)
        self.film_bytes = int(np.prod(shape)) * 4

    @cached_property
    def file(self):
        """The file; it vanishes with the process."""
        return tempfile.TemporaryFile(dir=self.folder)

    def write(self, start, arrays):
        """Store float32 arrays [films, ...] of the films from `start` on."""
        # Unlike seek and write, safe from several threads.
        data = memoryview(np.ascontiguousarray(arrays, np.float32)).cast("B")
        offset = start * self.film_bytes
        while data:
            written = os.pwrite(self.file.fileno(), data, offset)
            data, offset = data[written:], offset + written

    def read(self, start, films):
        """Return float32 arrays [films, ...] of the films from `start` on."""
        data = os.pread(self.file.fileno(), films * self.film_bytes, start * self.film_bytes)
        return np.frombuffer(data, np.float32).reshape(films, *self.shape)


@dataclass
class Result:
    """What a cell gives.

    Attributes:
        rows: frame of the cell's file, a row a film.
        steps: frame of the steps, one row per film and step: the cosine between the step and the gradient, the gain that
            the gradient predicts and the gain that happened, in cross-entropy and in log-odds against the label; None for
            controls and for films that were kept.
        stored: frame of the predictions after storing, a row a film and way of storing, or None.
        shown: dict of arrays for `numpy.savez`, a few films for the report, or None.
    """

    rows: pd.DataFrame
    steps: pd.DataFrame | None = None
    stored: pd.DataFrame | None = None
    shown: dict | None = None


class Sweep:
    """Attacks the films of one set with gradients from one model and tests them on several."""

    def __init__(self, films, source, targets, *, condition=Condition(), steps=10, seed=0, batch=64, workers=2, folder=None):
        """Compile the models for one batch shape.

        Args:
            films: `FilmSet`.
            source: name of the target whose gradients are followed.
            targets: dict from name to a keras.Model from films to logits.
            condition: `Condition`.
            steps: steps of the iterative attacks.
            seed: of the random starts.
            batch: films a batch.
            workers: threads that measure perturbations while the models run.
            folder: where an unnamed file holds what cells share; None: where temporary files go.
        """
        self.films, self.condition, self.steps, self.seed = films, condition, steps, seed
        self.batch = min(batch, len(films))
        self.models, self.source = targets, source
        self.attacker = Attacker(targets[source], condition.loss)
        self.logits = {name: compiled_logits(model) for name, model in targets.items()}
        self.pool, self.step_effect = ThreadPoolExecutor(workers), compiled(step_effect)
        self.folder, self.gradients, self.clean_logits, self.health, self.shown_clean = folder, None, None, None, None
        self.limits = FilmCache(folder, (2, *films.images.shape[1:3]))
        self.has_limits = np.zeros(len(films), bool)

    def following(self, source, condition):
        """Return a sweep that follows a target's gradients under a condition and shares what need not be done again."""
        other = copy.copy(self)
        other.source, other.condition = source, condition
        if (source, condition.loss) != (self.source, self.condition.loss):
            other.attacker = Attacker(self.models[source], condition.loss)
        if (source, condition.target, condition.loss) != (self.source, self.condition.target, self.condition.loss):
            other.gradients = other.clean_logits = other.health = None
        return other

    def batches(self):
        """Yield (start, stop, films, one-hot labels to attack) of `whole_batches`; the next is read while this one is used."""
        return prefetched(
            (start, stop, self.films.pixels(positions), self.attacked_labels(positions))
            for start, stop, positions in whole_batches(len(self.films), self.batch)
        )

    def attacked_labels(self, positions):
        """Return the labels whose loss the attacks follow, float32 one-hot [n, classes]: the films' own or the target."""
        labels = self.films.labels[positions]
        return one_hot(labels if self.condition.target is None else np.full_like(labels, CLASSES.index(self.condition.target)))

    def predict(self, films):
        """Return each target's logits on a batch, dict from name to float32 array [films, classes]."""
        # All models are started before the first result is waited for.
        started = {name: logits(films) for name, logits in self.logits.items()}
        return {name: to_numpy(logits) for name, logits in started.items()}

    def classes(self, films):
        """Return the class that each target sees in a batch, dict from name to int array."""
        return {name: logits.argmax(-1) for name, logits in self.predict(films).items()}

    def clean(self, advance):
        """Return the frame of `clean.csv`: one row per film, what is known of it, and each target's logits."""
        parts = []
        for start, stop, films, _ in self.batches():
            parts.append(logit_frame(self.predict(films))[: stop - start])
            advance((stop - start) * len(self.logits))
        known = pd.DataFrame(
            {
                "collection": self.films.collections,
                "patient": pd.Series(self.films.patients, dtype="Int64"),
                "group": self.films.groups,
            }
        )
        known.loc[known["patient"] < 0, "patient"] = pd.NA
        return pd.concat([self.identity(), known, pd.concat(parts, ignore_index=True)], axis=1)

    def clean_stored(self, clean, advance):
        """Return the frame of `clean.stored.csv`: predictions on the films after each of `storage.STORAGES`.

        All of them, whatever a sweep asks for: the file is the control of every sweep in the folder.
        """
        parts, storages = [], list(storage.STORAGES)
        for start, stop, films, _ in self.batches():
            rounded = self.after_rounding(films, films, self.clean_part(clean, start, stop))
            parts += self.stored_rows(start, stop, films, rounded, storages)
            advance((stop - start) * len(self.logits) * len(storages))
        return in_order(parts, "storage", storages)

    def clean_part(self, clean, start, stop):
        """Return each target's logits on some clean films, dict from name to float32 [films, classes]."""
        return {name: np.float32(clean[logit_columns(name)][start:stop]) for name in self.logits}

    def identity(self):
        """Return the columns that say which film a row describes."""
        return pd.DataFrame({"film": self.films.rows, "label": self.films.labels})

    def first_gradients(self, advance):
        """Compute the gradient at every film, once for all attacks that start there.

        Returns:
            dict: how many films have a gradient of zero, and how many one that is not finite; no attack moves them.
        """
        self.gradients = FilmCache(self.folder, self.films.images.shape[1:])
        self.clean_logits = np.empty((len(self.films), len(CLASSES)), np.float32)
        found = {"films_with_zero_gradient": 0, "films_with_nan_or_infinite_gradient": 0}
        for start, stop, films, labels in self.batches():
            gradients, logits = (
                to_numpy(tensor)[: stop - start] for tensor in self.attacker.gradient_and_logits(films, labels, self.targeted)
            )
            self.gradients.write(start, gradients)
            self.clean_logits[start:stop] = logits
            largest = np.abs(gradients).max(axis=(1, 2, 3))
            found["films_with_zero_gradient"] += int((largest == 0).sum())
            found["films_with_nan_or_infinite_gradient"] += int((~np.isfinite(largest)).sum())
            advance((stop - start) * GRADIENT_COST)
        return found

    @property
    def targeted(self):
        """Whether the attacks aim at one class."""
        return self.condition.target is not None

    def perturb(self, attack, films, labels, strength, **options):
        """Attack a batch under the sweep's condition; returns a backend tensor. See `Attacker.perturb`."""
        return self.attacker.perturb(
            attack, films, labels, strength, targeted=self.targeted, steps=self.steps, **self.geometry, **options
        )

    @property
    def geometry(self):
        """The part of the condition that says what a step may look like."""
        return {"protocol": self.condition.protocol, "norm": self.condition.norm, "grey": self.condition.grey}

    def attack_batch(self, cell, start, stop, films, labels, watch=None):
        """Return the adversarial films of a batch, a backend tensor, float32 in [0, 1]."""
        attack = ATTACKS[cell.attack]
        first = noise = None
        if attack.random_start:
            noise = padded(unit_noise(self.seed, self.films.rows[start:stop], films.shape[1:]), len(films))
        elif attack.control or self.gradients:
            first = self.followed(attack, np.arange(start, stop), films, labels)
        return self.perturb(attack, films, labels, cell.strength, noise=noise, first_gradient=first, watch=watch)

    def followed(self, attack, positions, films, labels):
        """Return what a single step follows, the gradient at the films or a control's field; float32, filled up with zeros.

        Args:
            attack: an `Attack` without a random start.
            positions: int array, which films of the set; they may be fewer than `films`.
            films, labels: the batch, for a gradient that is not known yet.
        """
        gradient = None
        if attack.needs_gradient and self.gradients:
            gradient = np.concatenate([self.gradients.read(position, 1) for position in positions])
        elif attack.needs_gradient:
            gradient = to_numpy(self.attacker.gradient_at(films, labels, self.targeted))[: len(positions)]
        if attack.control:
            gradient = control_field(attack.control, self.seed, self.films.rows[positions], films.shape[1:], gradient)
        return padded(gradient, len(films))

    def run(self, cell, clean, advance, *, keep=None, kept=None, storages=()):
        """Attack all films and return the cell's `Result`.

        Args:
            cell: `Cell`.
            clean: what `nosign.rows.read_clean_logits` returned.
            advance: called with the work done, for a progress bar.
            keep: float32 array [films, height, width, 3] that receives the adversarial films, or None.
            kept: such an array, whose films are scored instead of attacking anew, or None.
            storages: keys of `storage.STORAGES`, after which the films are scored too.
        """
        rows, steps, stored, measures, shown = [], [], [], [], Shown(self, clean)
        for start, stop, films, labels in self.batches():
            seen_steps = []
            if kept is None:
                changed = self.attack_batch(cell, start, stop, films, labels, watch=self.watch(seen_steps))
            else:
                changed = padded(kept[start:stop], len(films))
            pixels = to_numpy(changed)
            if keep is not None:
                keep[start:stop] = pixels[: stop - start]
            measures += [self.pool.submit(self.measure, start + i, films[i], pixels[i]) for i in range(stop - start)]
            logits = self.predict(changed)
            shown.add(start, stop, films, pixels, logits)
            rounded = self.after_rounding(films, pixels, self.clean_part(clean, start, stop))
            outputs = {**logits, **{name + ROUNDED: of_rounded for name, of_rounded in rounded.items()}}
            rows.append(logit_frame(outputs)[: stop - start])
            if seen_steps:
                steps.append(self.step_rows(start, stop, labels, seen_steps, logits[self.source]))
            if storages:
                stored += self.stored_rows(start, stop, pixels, rounded, storages)
            advance((stop - start) * cell_cost(cell, self.steps, len(self.logits), kept is None, len(storages)))
        measured = pd.DataFrame([future.result() for future in measures], columns=(*MEASURES, *ROUNDED_MEASURES))
        return Result(
            pd.concat([self.identity(), pd.concat(rows, ignore_index=True), measured], axis=1),
            in_order(steps, "step"),
            in_order(stored, "storage", list(storage.STORAGES)),
            None if kept is not None else shown.arrays(),
        )

    def measure(self, position, original, changed):
        """Return the measures of a film's perturbation, in the order of `MEASURES` and `ROUNDED_MEASURES`."""
        sizes = tuple(getattr(size, name)(original, changed) for name in MEASURES[:4])
        rounded = storage.STORAGES["8 bits"](changed)
        return (
            *sizes,
            *visibility.visibility(changed - original, self.limits_of(position, original)),
            *(getattr(size, name)(original, rounded) for name in MEASURES[:3]),
        )

    def limits_of(self, position, film):
        """Return `visibility.thresholds` of a film of the set, computed once."""
        if not self.has_limits[position]:
            self.limits.write(position, visibility.thresholds(film))
            self.has_limits[position] = True
        return self.limits.read(position, 1)[0]

    def after_rounding(self, films, pixels, clean):
        """Return each target's logits after rounding to 8 bits, as `predict`; `clean` are those of the films themselves."""
        rounded = storage.STORAGES["8 bits"](pixels)
        if np.array_equal(rounded, films):
            return {name: padded(logits, len(films)) for name, logits in clean.items()}
        return self.predict(rounded)

    def watch(self, steps):
        """Return a function for `Attacker.perturb` that keeps each step's effect and the logits before it."""
        return lambda before, after, gradient, logits: steps.append((self.step_effect(before, after, gradient), logits))

    def step_rows(self, start, stop, labels, steps, last_logits):
        """Return the frame of a batch's steps; see `Result`."""
        logits = [
            padded(self.clean_logits[start:stop], len(labels)) if before is None else to_numpy(before) for _, before in steps
        ]
        side = -1 if self.targeted else 1  # what targeted attacks climb is minus the loss
        odds = [log_odds_against(labels, outputs) for outputs in (*logits, last_logits)]
        losses = [np.logaddexp(0, m) for m in odds]  # cross-entropy
        # The gradient of a loss that is a mistake predicts nothing of the loss itself.
        known = 1.0 if self.condition.loss == LOSSES[0] else np.nan
        parts = []
        for number, ((cosine, product), _) in enumerate(steps):
            predicted = known * to_numpy(product).astype(np.float64)
            parts.append(
                pd.DataFrame(
                    {
                        "film": padded(self.films.rows[start:stop], len(labels)),
                        "step": number + 1,
                        "cosine": to_numpy(cosine),
                        "predicted": expit(odds[number]) * predicted,
                        "gained": side * (losses[number + 1] - losses[number]),
                        "predicted_log_odds": predicted,
                        "gained_log_odds": side * (odds[number + 1] - odds[number]),
                    }
                )[: stop - start]
            )
        return pd.concat(parts, ignore_index=True)

    def stored_rows(self, start, stop, pixels, rounded, storages):
        """Return the frames of a batch's predictions after storing, one per way of storing; `rounded` are logits at 8 bits."""
        rounded = {name: logits.argmax(-1) for name, logits in rounded.items()}
        found = {name: rounded if name == "8 bits" else self.classes(storage.STORAGES[name](pixels)) for name in storages}
        identity = self.identity()[start:stop].reset_index(drop=True)
        return [
            pd.concat([identity.assign(storage=name), pd.DataFrame(seen)[: stop - start]], axis=1)
            for name, seen in found.items()
        ]

    def find_boundaries(self, name, advance):
        """Find the strength at which a single-step attack becomes visible on each film; needs `first_gradients`.

        Returns:
            Frame of a `boundary.csv`: a row a film and criterion, the largest invisible strength, each target's prediction
            at it.
        """

        def read():
            for start, stop, films, _ in self.batches():
                gradients = self.followed(ATTACKS[name], np.arange(start, stop), films, None)
                units = to_numpy(self.attacker.unit_step(ATTACKS[name], gradients, **self.geometry))

                def of_film(i, films=films, units=units, start=start):
                    return visibility.boundaries(films[i], units[i], self.limits_of(start + i, films[i]))

                found = self.pool.map(of_film, range(stop - start))
                yield start, stop, films, units, pd.DataFrame(found)

        parts = []
        for start, stop, films, units, found in prefetched(read()):
            identity = self.identity()[start:stop].reset_index(drop=True)
            for criterion in visibility.CRITERIA:
                strengths = padded(found[criterion].to_numpy(np.float32), len(films)).reshape(-1, 1, 1, 1)
                seen = pd.DataFrame(self.classes(np.clip(films + strengths * units, 0, 1)))[: stop - start]
                parts.append(pd.concat([identity.assign(criterion=criterion, strength=found[criterion]), seen], axis=1))
            advance((stop - start) * boundary_cost(len(self.logits)))
        return in_order(parts, "criterion", list(visibility.CRITERIA))

    def find_turning(self, name, clean, positions, advance):
        """Find the smallest strength of a single-step attack that turns each film, for each target.

        Args:
            name: of a single-step attack.
            clean: what `nosign.rows.read_clean_logits` returned.
            positions: int array, which films of the set to attack.
            advance: called with the work done, for a progress bar.

        Returns:
            Frame of a `turning.csv`, one row per film and target:
                film, label, target
                strength, status           see `nosign.attacks.turning.Turning`
                l2, linf, ssim             of the change at that strength; empty for films that take no part
                cosine                     between what the attack follows and its sign
                right_again                strengths of the grid beyond it that do not turn the film
                grid                       a letter for each strength of `nosign.attacks.turning.GRID`: t if it turns the film, r if the
                                           film is right, or for a targeted attack not taken for the aim; else empty
        """
        attack, parts = ATTACKS[name], []
        for start, stop, places in whole_batches(len(positions), self.batch):
            batch = positions[places]
            films, labels = self.films.pixels(batch), self.attacked_labels(batch)
            followed = self.followed(attack, batch, films, labels)
            units = to_numpy(self.attacker.unit_step(attack, followed, **self.geometry))
            for target in self.logits:
                found = self.search_turning(attack, target, batch, films, units, clean.iloc[batch])
                parts.append(found.assign(cosine=sign_cosine(followed, self.condition.grey))[: stop - start])
                advance((stop - start) * turning.PASSES)
        return in_order(parts, "target", list(self.logits))[TURNING_COLUMNS]

    def search_turning(self, attack, target, batch, films, units, clean):
        """Return the frame of `find_turning` for one batch and target, without the cosine."""
        aim, labels = self.condition.target, self.films.labels[batch]
        seen = np.float32(clean[logit_columns(target)]).argmax(-1)

        def turns(classes):
            """Tell which films of the batch are seen as the attack wants."""
            return classes != labels if aim is None else classes == CLASSES.index(aim)

        def changed(strengths):
            return stepped(attack, films, units, strengths, self.condition.protocol)

        takes_part = ~turns(seen) if aim is None else ~turns(seen) & (labels != CLASSES.index(aim))

        def turned_at(strengths):
            logits = to_numpy(self.logits[target](changed(strengths)))
            return turns(logits.argmax(-1)) & np.isfinite(logits).all(-1)

        found = turning.search(turned_at, takes_part)
        pairs = zip(films, changed(np.nan_to_num(found.strength)))
        sizes = pd.DataFrame(
            self.pool.map(lambda pair: [getattr(size, name)(*pair) for name in MEASURES[:3]], pairs), columns=MEASURES[:3]
        )
        sizes[~takes_part] = np.nan
        identity = self.identity().iloc[batch].reset_index(drop=True)
        grid = [
            "".join("rt"[turns] for turns in row.astype(int)) if part else "" for row, part in zip(found.turned, takes_part)
        ]
        return pd.concat([identity, sizes], axis=1).assign(
            target=target, strength=found.strength, status=found.status, right_again=found.right_again, grid=grid
        )

    def unbounded_accuracy(self):
        """Return the source model's accuracy on the first films after an attack without bounds.

        Three sign steps of 0.5 reach every film in [0, 1]: where more than chance is left right, gradients mislead.
        """
        right = []
        for start, stop, films, labels in self.batches():
            changed = self.attacker.perturb(ATTACKS["bim"], films, labels, 0.5, targeted=self.targeted, steps=3)
            seen = to_numpy(self.logits[self.source](changed)).argmax(-1)[: stop - start]
            right += list(seen == self.films.labels[start:stop])
            if len(right) >= UNBOUNDED_FILMS:
                break
        return float(np.mean(right))

    def attack_film(self, cell, position):
        """Attack one film alone.

        Args:
            cell: `Cell`.
            position: of the film in the set.

        Returns:
            The adversarial film, float32 [height, width, 3] in [0, 1].
        """
        films, labels = self.films.pixels([position]), self.attacked_labels([position])
        attack, first = ATTACKS[cell.attack], None
        noise = unit_noise(self.seed, self.films.rows[[position]], films.shape[1:])
        if attack.control:
            first = self.followed(attack, np.array([position]), films, labels)
        return to_numpy(self.perturb(attack, films, labels, cell.strength, noise=noise, first_gradient=first))[0]

    def clean_probabilities(self, positions):
        """Return each target's softmax outputs on some films of the set, list of float64 [films, classes]; computed once."""
        if self.shown_clean is None or self.shown_clean[0] != positions:
            found = {name: [] for name in self.logits}
            for start, stop, rows in whole_batches(len(positions), self.batch):
                for name, logits in self.predict(self.films.pixels(np.array(positions)[rows])).items():
                    found[name] += list(softmax(logits[: stop - start].astype(np.float64), -1))
            self.shown_clean = positions, list(found.values())
        return self.shown_clean[1]

    def probabilities(self, source, films):
        """Return a target's softmax outputs for a few films, float64 [films, classes]."""
        return softmax(np.concatenate([to_numpy(self.logits[source](film[None])) for film in films]).astype(np.float64), -1)


def one_hot(labels):
    """Return int labels [n] as float32 [n, classes]."""
    return np.eye(len(CLASSES), dtype=np.float32)[labels]


def sign_cosine(followed, grey):
    """Return the cosine between each field, float32 [n, ...], and its sign, float64 [n]; NaN where the field is zero."""
    followed = np.float64(followed)
    if grey:
        followed = np.broadcast_to(followed.mean(-1, keepdims=True), followed.shape)
    flat = followed.reshape(len(followed), -1)
    largest = np.abs(flat).max(1, keepdims=True)
    relative = np.divide(flat, largest, out=np.zeros_like(flat), where=np.isfinite(largest) & (largest > 0))
    lengths = np.linalg.norm(relative, axis=1) * np.sqrt(np.count_nonzero(relative, axis=1))
    return np.divide(np.abs(relative).sum(1), lengths, out=np.full(len(flat), np.nan), where=lengths > 0)


def padded(array, length):
    """Return an array filled up with zeros along its first axis."""
    return np.pad(array, [(0, length - len(array))] + [(0, 0)] * (array.ndim - 1))


def log_odds_against(labels, logits):
    """Return the log-odds against each film's label, float64 [n]; see `nosign.attacks.gradients.log_odds_against`."""
    logits, labelled = logits.astype(np.float64), labels > 0
    return logsumexp(np.where(labelled, -np.inf, logits), axis=-1) - logits[labelled]


def in_order(parts, column, order=None):
    """Join batches' frames and sort the rows by a column, in a given order or its own; None if there are none."""
    if not parts:
        return None
    place = order.index if order else int
    return pd.concat(parts, ignore_index=True).sort_values(
        column, key=lambda names: names.map(place), kind="stable", ignore_index=True
    )


class Shown:
    """Collects what the report shows of a few films: the change of each pixel and what each model makes of it."""

    def __init__(self, sweep, clean):
        """Choose the films: the first of each class that the source model gets right, or the first if it gets none right."""
        right = (clean[sweep.source] == clean["label"]).to_numpy()
        positions = []
        for label in range(len(CLASSES)):
            of_class = np.flatnonzero(sweep.films.labels == label)
            positions += list(np.concatenate([of_class[right[of_class]], of_class[~right[of_class]]])[:SHOWN_A_CLASS])
        self.sweep, self.positions, self.changes, self.probabilities = sweep, sorted(map(int, positions)), [], []

    def add(self, start, stop, films, pixels, logits):
        """Keep those of a batch's films that are shown."""
        for position in self.positions:
            if start <= position < stop:
                i = position - start
                self.changes.append((pixels[i] - films[i]).astype(np.float16))
                self.probabilities.append([softmax(outputs[i].astype(np.float64)) for outputs in logits.values()])

    def arrays(self):
        """Return the arrays for `numpy.savez`: a few films [k, ...], models [m], probabilities [m, k, classes]."""
        sweep, rows = self.sweep, self.sweep.films.rows[self.positions]
        return {
            "films": rows,
            "labels": sweep.films.labels[self.positions],
            "original": sweep.films.images[rows],
            "change": np.stack(self.changes),
            "models": np.array(list(sweep.logits)),
            "probabilities": np.float32(self.probabilities).swapaxes(0, 1),
            "clean_probabilities": np.float32(sweep.clean_probabilities(tuple(self.positions))),
        }


# So many films, or a batch more, show whether an attack without bounds reaches chance.
UNBOUNDED_FILMS = 20
# A gradient costs about two forward passes.
GRADIENT_COST = 2


def cell_cost(cell, steps, targets, attacked=True, storages=0):
    """Return a cell's work per film in forward passes: gradients, and the predictions before and after storing."""
    gradients = steps - (not ATTACKS[cell.attack].random_start) if attacked and ATTACKS[cell.attack].iterative else 0
    return gradients * GRADIENT_COST + (1 + max(1, storages)) * targets


def boundary_cost(targets):
    """Return the work a film of finding a single-step attack's boundaries, in forward passes."""
    return len(visibility.CRITERIA) * targets


def health_report(found, job, clean):
    """Look for the signs of masked gradients (Athalye et al., 2018, arXiv:1802.00420) in a finished sweep.

    Args:
        found: dict of `Sweep.first_gradients` and `unbounded_accuracy`.
        job: `nosign.sweep.jobs.Job`.
        clean: what `nosign.rows.read_clean_logits` returned.

    Returns:
        dict for the manifest: what was counted, and `warnings`, a sentence each.
    """
    source, chance = job.source, 1 / len(CLASSES)
    wrong = int((clean[source] != clean["label"]).sum())
    rises = []
    for attack in dict.fromkeys(cell.attack for cell in job.cells):
        strengths = sorted(cell.strength for cell in job.cells if cell.attack == attack)
        right = []
        for strength in strengths:
            frame, _ = read_cell(job.path(Cell(attack, strength)), clean)
            right.append(int((frame[source] == frame["label"]).sum()))
        rises += [
            {"attack": attack, "from": low, "to": high, "films": after - before}
            for low, high, before, after in zip(strengths, strengths[1:], right, right[1:])
            if after > before
        ]
    warnings = []
    for what in ("films_with_zero_gradient", "films_with_nan_or_infinite_gradient"):
        if found[what]:
            warnings.append(
                f"{found[what]} of {len(clean)} {what.replace('_', ' ')}: no attack moves them; is {source} saturated?"
            )
    # Two standard errors of a count, at most sqrt(n) / 2 each.
    noise = np.sqrt(len(clean))
    for rise in rises:
        if rise["films"] > noise and job.condition.target is None:
            warnings.append(
                f"{ATTACKS[rise['attack']].title}: {rise['films']} more films right at {rise['to']:g} than at "
                f"{rise['from']:g}; a stronger attack should not do less"
            )
    error = np.sqrt(chance * (1 - chance) / min(UNBOUNDED_FILMS, len(clean)))
    if found["unbounded_accuracy"] > chance + 2 * error and job.condition.target is None:
        warnings.append(
            f"an attack without bounds leaves {100 * found['unbounded_accuracy']:.0f} % right, more than chance: "
            f"the gradients of {source} mislead"
        )
    return {**found, "films_wrong_before_the_attack": wrong, "accuracy_rises_with_strength": rises, "warnings": warnings}


# How much stronger the pair may get where no film falls to the paper's.
EXAMPLE_STRETCH = (1, 2, 5, 10)
FILMS_TRIED = 8


def find_example(sweep, source, attack, clean):
    """Find a COVID-19 film that an attack's smaller strength already turns, and attack it at two strengths.

    Only films that the source model gets right are tried; where none falls, both strengths grow.

    Returns:
        dict of arrays for `numpy.savez`: original, adversarial, strengths, label, predictions, confidences, film; the
        last film that was tried if none falls at all.
    """
    right = np.flatnonzero((clean["label"] == CLASSES.index("COVID-19")) & (clean[source] == clean["label"]))
    tried = right[:FILMS_TRIED] if len(right) else np.arange(min(FILMS_TRIED, len(clean)))
    for stretch in EXAMPLE_STRETCH:
        strengths = [EXAMPLES[attack] * stretch, EXAMPLES[attack] * stretch * EXAMPLE_FACTOR]
        for position in tried:
            small = sweep.attack_film(Cell(attack, strengths[0]), position)
            if sweep.probabilities(source, [small]).argmax() != sweep.films.labels[position]:
                return describe_example(sweep, source, attack, position, strengths, small)
    return describe_example(sweep, source, attack, position, strengths, small)


def describe_example(sweep, source, attack, position, strengths, small):
    """Return an example's arrays; see `find_example`."""
    films = [sweep.films.pixels([position])[0], small, sweep.attack_film(Cell(attack, strengths[1]), position)]
    probabilities = sweep.probabilities(source, films)
    return {
        "original": films[0],
        "adversarial": np.stack(films[1:]),
        "strengths": np.array(strengths),
        "label": sweep.films.labels[position],
        "predictions": probabilities.argmax(-1),
        "confidences": probabilities.max(-1).astype(np.float32),
        "film": sweep.films.rows[position],
    }
