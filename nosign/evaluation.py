"""The sweep: which cells there are, what they share, what is already done, and how they are stored.

A cell is one attack at one strength on all test films. Its path names the condition, so a finished cell is a file and a
stopped sweep goes on with the next one.
"""

import copy
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import softmax

from nosign import perceptibility
from nosign.attacks import ATTACKS, Attacker, Condition, unit_noise
from nosign.dataset import CLASSES, prefetched, whole_batches
from nosign.errors import UserError
from nosign.gradients import compiled_logits, to_numpy
from nosign.provenance import write_csv

MEASURES = ("linf", "l2", "ssim")
FILMS_ENDING = ".npy"


@dataclass(frozen=True)
class Cell:
    """One attack at one strength."""

    attack: str
    strength: float


def sweep_folder(results, source, condition):
    """Return the folder of the cells of a source model and a `Condition`."""
    return Path(results) / "attacks" / source / str(condition)


def cell_path(results, source, condition, cell):
    """Return the path of a cell's file; it names source, condition, attack and strength."""
    return sweep_folder(results, source, condition) / cell.attack / f"{cell.strength:g}.csv"


@dataclass(frozen=True)
class Job:
    """The cells of one source model under one condition.

    Attributes:
        results: pathlib.Path of the results folder.
        source: model whose gradients are followed.
        condition: `Condition`.
        cells: list of `Cell`.
        settings: what the cells depend on, JSON-ready.
        kept: results folder whose adversarial films are scored instead of attacking anew, or None.
    """

    results: Path
    source: str
    condition: Condition
    cells: list
    settings: dict
    kept: Path | None = None

    @property
    def folder(self):
        """Where the cells go."""
        return sweep_folder(self.results, self.source, self.condition)

    def path(self, cell):
        """Return the path of a cell's file."""
        return cell_path(self.results, self.source, self.condition, cell)

    def films_path(self, cell):
        """Return the path of a cell's adversarial films: those to score, or those to keep."""
        return cell_path(self.kept or self.results, self.source, self.condition, cell).with_suffix(FILMS_ENDING)

    def unfinished(self, save_films):
        """Return the cells that are not there, or whose films are wanted and not there."""
        return [cell for cell in self.cells
                if not self.path(cell).is_file() or save_films and not self.films_path(cell).is_file()]


def new_films(path, films):
    """Create a file for the adversarial films of a cell and return it as a float32 array [films, height, width, 3]."""
    return np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(len(films), *films.images.shape[1:]))


def open_films(path, films):
    """Open the adversarial films of a cell, float32 [films, height, width, 3] in [0, 1].

    Raises:
        UserError: the file is missing, cut off, or holds other films than were attacked.
    """
    try:
        kept = np.lib.format.open_memmap(path, mode="r")
    except (OSError, ValueError):
        raise UserError(f"{path}: no complete array of films; run attack.py --save-films there again") from None
    if kept.dtype != np.float32 or kept.shape != (len(films), *films.images.shape[1:]):
        raise UserError(f"{path}: holds {kept.dtype} {kept.shape}, expected float32 {(len(films), *films.images.shape[1:])}")
    return kept


def plan(attacks, single_step_strengths, iterative_strengths):
    """Return all cells, each once, attack by attack."""
    cells = [Cell(name, strength) for name in attacks
             for strength in (iterative_strengths if ATTACKS[name].iterative else single_step_strengths)]
    return list(dict.fromkeys(cells))


class GradientStore:
    """The gradients at the test films, which attacks and strengths share: on disk, so memory does not grow."""

    def __init__(self, folder, film_shape):
        """Open an unnamed file in a folder; it vanishes when it is closed, or with the process."""
        self.file = tempfile.TemporaryFile(dir=folder)
        self.film_shape = film_shape
        self.film_bytes = int(np.prod(film_shape)) * 4

    def write(self, start, gradients):
        """Store float32 gradients [films, ...] of the films from `start` on."""
        self.file.seek(start * self.film_bytes)
        self.file.write(np.ascontiguousarray(gradients).data)

    def read(self, start, films):
        """Return float32 gradients [films, ...] of the films from `start` on."""
        self.file.seek(start * self.film_bytes)
        return np.frombuffer(self.file.read(films * self.film_bytes), np.float32).reshape(films, *self.film_shape)


class Sweep:
    """Attacks the films of one set with gradients from one model and tests them on several."""

    def __init__(self, films, source, targets, *, condition=Condition(), steps=10, seed=0, batch=64, workers=2):
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
        """
        self.films, self.condition, self.steps, self.seed = films, condition, steps, seed
        self.batch = min(batch, len(films))
        self.models, self.source = targets, source
        self.attacker = Attacker(targets[source])
        self.logits = {name: compiled_logits(model) for name, model in targets.items()}
        self.pool = ThreadPoolExecutor(workers)
        self.gradients = None

    def following(self, source):
        """Return a sweep that follows another target's gradients and shares what is compiled."""
        other = copy.copy(self)
        other.source, other.attacker, other.gradients = source, Attacker(self.models[source]), None
        return other

    def batches(self):
        """Yield (start, stop, films, one-hot labels to attack) of `whole_batches`; the next is read while this one is used."""
        return prefetched((start, stop, self.films.pixels(positions), self.attacked_labels(positions))
                          for start, stop, positions in whole_batches(len(self.films), self.batch))

    def attacked_labels(self, positions):
        """Return the labels whose loss the attacks follow, float32 one-hot [n, classes]: the films' own or the target."""
        labels = self.films.labels[positions]
        return one_hot(labels if self.condition.target is None else np.full_like(labels, CLASSES.index(self.condition.target)))

    def predict(self, films):
        """Return the class that each target sees in a batch, dict from name to int array."""
        # All models are started before the first result is waited for.
        started = {name: logits(films) for name, logits in self.logits.items()}
        return {name: to_numpy(logits).argmax(-1) for name, logits in started.items()}

    def clean(self, advance):
        """Return the frame of `clean.csv`: a row a film, its label and each target's prediction."""
        parts = []
        for start, stop, films, _ in self.batches():
            parts.append(pd.DataFrame(self.predict(films))[:stop - start])
            advance((stop - start) * len(self.logits))
        return pd.concat([self.identity(), pd.concat(parts, ignore_index=True)], axis=1)

    def identity(self):
        """Return the columns that say which film a row describes."""
        return pd.DataFrame({"film": self.films.rows, "label": self.films.labels})

    def first_gradients(self, folder, advance):
        """Compute the gradient at every film, once for all attacks that start there.

        Returns:
            dict: how many films have a gradient of zero, and how many one that is not finite; no attack moves them.
        """
        self.gradients = GradientStore(folder, self.films.images.shape[1:])
        found = {"films_with_zero_gradient": 0, "films_with_nan_or_infinite_gradient": 0}
        for start, stop, films, labels in self.batches():
            gradients = to_numpy(self.attacker.gradient_at(films, labels, self.targeted))[:stop - start]
            self.gradients.write(start, gradients)
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
        return self.attacker.perturb(attack, films, labels, strength, protocol=self.condition.protocol,
                                     norm=self.condition.norm, targeted=self.targeted, steps=self.steps, **options)

    def attack_batch(self, cell, start, stop, films, labels):
        """Return the adversarial films of a batch, a backend tensor, float32 in [0, 1]."""
        attack = ATTACKS[cell.attack]
        first = noise = None
        if attack.random_start:
            noise = padded(unit_noise(self.seed, self.films.rows[start:stop], films.shape[1:]), len(films))
        elif self.gradients:
            first = padded(self.gradients.read(start, stop - start), len(films))
        return self.perturb(attack, films, labels, cell.strength, noise=noise, first_gradient=first)

    def run(self, cell, clean, advance, keep=None, kept=None):
        """Attack all films and return the frame of a cell's file.

        Args:
            cell: `Cell`.
            clean: frame of `clean.csv`.
            advance: called with the work done, for a progress bar.
            keep: float32 array [films, height, width, 3] that receives the adversarial films, or None.
            kept: such an array, whose films are scored instead of attacking anew, or None.
        """
        parts, measures = [], []
        for start, stop, films, labels in self.batches():
            if kept is None:
                changed = self.attack_batch(cell, start, stop, films, labels)
            else:
                changed = padded(kept[start:stop], len(films))
            pixels = to_numpy(changed)
            if keep is not None:
                keep[start:stop] = pixels[:stop - start]
            measures += [self.pool.submit(measure, films[i], pixels[i]) for i in range(stop - start)]
            seen = self.predict(changed)
            rounded = perceptibility.rounded_to_8_bits(pixels)
            if np.array_equal(rounded, films):
                stored = {name: np.resize(clean[name][start:stop], len(films)) for name in self.logits}
            else:
                stored = self.predict(rounded)
            seen |= {f"{name}_8bit": classes for name, classes in stored.items()}
            parts.append(pd.DataFrame(seen)[:stop - start])
            advance((stop - start) * cell_cost(cell, self.steps, len(self.logits), attacked=kept is None))
        measured = pd.DataFrame([future.result() for future in measures], columns=MEASURES)
        return pd.concat([self.identity(), pd.concat(parts, ignore_index=True), measured], axis=1)

    def unbounded_accuracy(self):
        """Return the source model's accuracy on the first films after an attack without bounds.

        Three sign steps of 0.5 reach every film in [0, 1]: where more than chance is left right, gradients mislead.
        """
        right = []
        for start, stop, films, labels in self.batches():
            changed = self.attacker.perturb(ATTACKS["bim"], films, labels, 0.5, targeted=self.targeted, steps=3)
            seen = to_numpy(self.logits[self.source](changed)).argmax(-1)[:stop - start]
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
        noise = unit_noise(self.seed, self.films.rows[[position]], films.shape[1:])
        return to_numpy(self.perturb(ATTACKS[cell.attack], films, labels, cell.strength, noise=noise))[0]

    def probabilities(self, source, films):
        """Return a target's softmax outputs for a few films, float64 [films, classes]."""
        return softmax(np.concatenate([to_numpy(self.logits[source](film[None])) for film in films]).astype(np.float64), -1)


def one_hot(labels):
    """Return int labels [n] as float32 [n, classes]."""
    return np.eye(len(CLASSES), dtype=np.float32)[labels]


def padded(array, length):
    """Return an array filled up with zeros along its first axis."""
    return np.pad(array, [(0, length - len(array))] + [(0, 0)] * (array.ndim - 1))


def measure(original, changed):
    """Return a perturbation's measures, in the order of `MEASURES`."""
    return tuple(getattr(perceptibility, name)(original, changed) for name in MEASURES)


# So many films, or a batch more, show whether an attack without bounds reaches chance.
UNBOUNDED_FILMS = 20
# A gradient costs about two forward passes.
GRADIENT_COST = 2


def cell_cost(cell, steps, targets, attacked=True):
    """Return a cell's work a film in forward passes: gradients, and the predictions before and after rounding."""
    gradients = steps - (not ATTACKS[cell.attack].random_start) if attacked and ATTACKS[cell.attack].iterative else 0
    return gradients * GRADIENT_COST + 2 * targets


def write_cell(path, frame):
    """Write a cell's file atomically, measures with six digits."""
    write_csv(path, frame, float_format="%.6g")


def health_report(found, job, clean):
    """Look for the signs of masked gradients (Athalye et al., 2018, arXiv:1802.00420) in a finished sweep.

    Args:
        found: dict of `Sweep.first_gradients` and `unbounded_accuracy`.
        job: has `source`, `condition`, `cells` and `path(cell)`.
        clean: frame of `clean.csv`.

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
            frame = pd.read_csv(job.path(Cell(attack, strength)), usecols=["label", source])
            right.append(int((frame[source] == frame["label"]).sum()))
        rises += [{"attack": attack, "from": low, "to": high, "films": after - before}
                  for low, high, before, after in zip(strengths, strengths[1:], right, right[1:]) if after > before]
    warnings = []
    for what in ("films_with_zero_gradient", "films_with_nan_or_infinite_gradient"):
        if found[what]:
            warnings.append(f"{found[what]} of {len(clean)} {what.replace('_', ' ')}: no attack moves them; is {source} "
                            "saturated?")
    # Two standard errors of a count, at most sqrt(n) / 2 each.
    noise = np.sqrt(len(clean))
    for rise in rises:
        if rise["films"] > noise and job.condition.target is None:
            warnings.append(f"{ATTACKS[rise['attack']].title}: {rise['films']} more films right at {rise['to']:g} than at "
                            f"{rise['from']:g}; a stronger attack should not do less")
    error = np.sqrt(chance * (1 - chance) / min(UNBOUNDED_FILMS, len(clean)))
    if found["unbounded_accuracy"] > chance + 2 * error and job.condition.target is None:
        warnings.append(f"an attack without bounds leaves {100 * found['unbounded_accuracy']:.0f} % right, more than chance: "
                        f"the gradients of {source} mislead")
    return {**found, "films_wrong_before_the_attack": wrong, "accuracy_rises_with_strength": rises, "warnings": warnings}


# Figures 2 and 3: attack, and the smaller of their two strengths a factor of ten apart.
EXAMPLES = {"fgnm": 0.003, "pgdnm": 0.0003}
EXAMPLE_FACTOR = 10
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
    return {"original": films[0], "adversarial": np.stack(films[1:]), "strengths": np.array(strengths),
            "label": sweep.films.labels[position], "predictions": probabilities.argmax(-1),
            "confidences": probabilities.max(-1).astype(np.float32), "film": sweep.films.rows[position]}
