"""The sweep: which cells there are, what they share, what is already done, and how they are stored.

A cell is one attack at one strength on all test films. Its path names the condition, so a finished cell is a file and a
stopped sweep goes on with the next one.
"""

import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import softmax

from nosign import perceptibility
from nosign.attacks import ATTACKS, PROTOCOLS, Attacker, unit_noise
from nosign.dataset import CLASSES
from nosign.gradients import compiled_logits, to_numpy
from nosign.provenance import write_csv

CLEAN = "clean.csv"
MEASURES = ("linf", "l2", "ssim")


@dataclass(frozen=True)
class Cell:
    """One attack at one strength."""

    attack: str
    strength: float


def sweep_folder(results, source, protocol):
    """Return the folder of a sweep's cells."""
    return Path(results) / "attacks" / source / protocol


def cell_path(results, source, protocol, cell):
    """Return the path of a cell's file; it names the condition."""
    return sweep_folder(results, source, protocol) / cell.attack / f"{cell.strength:g}.csv"


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

    def __init__(self, films, source, targets, *, protocol="paper", steps=10, seed=0, batch=64, workers=2):
        """Compile the models for one batch shape.

        Args:
            films: `FilmSet`.
            source: name of the target whose gradients are followed.
            targets: dict from name to a keras.Model from films to logits.
            protocol: one of `PROTOCOLS`.
            steps: steps of the iterative attacks.
            seed: of the random starts.
            batch: films a batch.
            workers: threads that measure perturbations while the models run.
        """
        if protocol not in PROTOCOLS:
            raise ValueError(f"protocol {protocol!r} is none of {PROTOCOLS}")
        self.films, self.protocol, self.steps, self.seed = films, protocol, steps, seed
        self.batch = min(batch, len(films))
        self.attacker = Attacker(targets[source])
        self.logits = {name: compiled_logits(model) for name, model in targets.items()}
        self.pool = ThreadPoolExecutor(workers)
        self.gradients = None

    def batches(self):
        """Yield (start, stop, films, one-hot labels); a short last batch is padded with its last film."""
        for start in range(0, len(self.films), self.batch):
            stop = min(start + self.batch, len(self.films))
            positions = np.minimum(np.arange(start, start + self.batch), stop - 1)
            yield start, stop, self.films.pixels(positions), one_hot(self.films.labels[positions])

    def predict(self, films):
        """Return the class that each target sees in a batch, dict from name to int array."""
        return {name: to_numpy(logits(films)).argmax(-1) for name, logits in self.logits.items()}

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
            How many films have a gradient of zero or one that is not finite: no attack moves them from where they are.
        """
        self.gradients = GradientStore(folder, self.films.images.shape[1:])
        without = 0
        for start, stop, films, labels in self.batches():
            gradients = to_numpy(self.attacker.gradient(films, labels)[0])[:stop - start]
            self.gradients.write(start, gradients)
            largest = np.abs(gradients).max(axis=(1, 2, 3))
            without += int((~(np.isfinite(largest) & (largest > 0))).sum())
            advance((stop - start) * GRADIENT_COST)
        return without

    def attack_batch(self, cell, start, stop, films, labels):
        """Return the adversarial films of a batch, float32 in [0, 1]."""
        attack = ATTACKS[cell.attack]
        first = noise = None
        if attack.random_start:
            noise = padded(unit_noise(self.seed, self.films.rows[start:stop], films.shape[1:]), len(films))
        elif self.gradients:
            first = padded(self.gradients.read(start, stop - start), len(films))
        return to_numpy(self.attacker.perturb(attack, films, labels, cell.strength, protocol=self.protocol, steps=self.steps,
                                              noise=noise, first_gradient=first))

    def run(self, cell, clean, advance):
        """Attack all films and return the frame of a cell's file.

        Args:
            cell: `Cell`.
            clean: frame of `clean.csv`.
            advance: called with the work done, for a progress bar.
        """
        parts, measures = [], []
        for start, stop, films, labels in self.batches():
            changed = self.attack_batch(cell, start, stop, films, labels)
            measures += [self.pool.submit(measure, films[i], changed[i]) for i in range(stop - start)]
            rounded = perceptibility.rounded_to_8_bits(changed)
            seen = self.predict(changed)
            if np.array_equal(rounded, films):
                stored = {name: np.resize(clean[name][start:stop], len(films)) for name in self.logits}
            else:
                stored = self.predict(rounded)
            seen |= {f"{name}_8bit": classes for name, classes in stored.items()}
            parts.append(pd.DataFrame(seen)[:stop - start])
            advance((stop - start) * cell_cost(cell, self.steps, len(self.logits)))
        measured = pd.DataFrame([future.result() for future in measures], columns=MEASURES)
        return pd.concat([self.identity(), pd.concat(parts, ignore_index=True), measured], axis=1)

    def attack_film(self, cell, position):
        """Attack one film alone.

        Args:
            cell: `Cell`.
            position: of the film in the set.

        Returns:
            The adversarial film, float32 [height, width, 3] in [0, 1].
        """
        films, labels = self.films.pixels([position]), one_hot(self.films.labels[[position]])
        noise = unit_noise(self.seed, self.films.rows[[position]], films.shape[1:])
        return to_numpy(self.attacker.perturb(ATTACKS[cell.attack], films, labels, cell.strength, protocol=self.protocol,
                                              steps=self.steps, noise=noise))[0]

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


# A gradient costs about two forward passes.
GRADIENT_COST = 2


def cell_cost(cell, steps, targets):
    """Return a cell's work a film in forward passes: gradients, and the predictions before and after rounding."""
    gradients = steps - (not ATTACKS[cell.attack].random_start) if ATTACKS[cell.attack].iterative else 0
    return gradients * GRADIENT_COST + 2 * targets


def write_cell(path, frame):
    """Write a cell's file atomically, measures with six digits."""
    write_csv(path, frame, float_format="%.6g")


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
