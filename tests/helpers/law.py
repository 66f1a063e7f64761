"""Many films under a simple law instead of networks: film i falls where the strength reaches its own threshold, and every
measure is a power of the strength, so that each number fits the others."""

import numpy as np
import pandas as pd

from nosign.attacks.turning import GRID, RIGHT_CENSORED, TURNED, WRONG_BEFORE
from nosign.measures.storage import STORAGES

MODELS = {"VGG16": 1.0, "InceptionV3": 6.0, "DenseNet201": 9.0}  # how many times harder than the source each falls
COMPONENTS = 3 * 224 * 224
STEPS = 10
LOSS_BY_STORAGE = {
    storage: (0.3 if "JPEG" in storage else 0) + 1 / int(storage.split()[1 if "JPEG" in storage else 0]) for storage in STORAGES
}


class Films:
    """Test films, their clean predictions and how each behaves under attack."""

    def __init__(self, count, seed=0):
        random = np.random.default_rng(seed)
        self.film, self.label = 10 + 3 * np.arange(count), np.arange(count) % 3
        self.clean = {model: np.where(random.random(count) < 0.9, self.label, (self.label + 1) % 3) for model in MODELS}
        self.threshold = 0.004 * np.exp(0.8 * random.standard_normal(count))
        self.visible = {"local mean": 0.006, "JND": 0.012, "JND 99 %": 0.015, "SSIM": 0.009}
        self.visible = {name: limit * np.exp(0.3 * random.standard_normal(count)) for name, limit in self.visible.items()}
        self.peak = np.exp(0.3 * random.standard_normal(count))

    @property
    def identity(self):
        """Return the columns film and label."""
        return pd.DataFrame({"film": self.film, "label": self.label})

    def limit(self, attack, model, hardness=1.0):
        """Return how far each film must be moved until a model takes it for another class."""
        return MODELS[model] * (0.75 if attack.direction == "no-sign" else 1.0) * hardness * self.threshold

    def seen(self, attack, strength, hardness=1.0):
        """Return each model's predictions, one column per model; `strength` is a number or one per film."""
        moved = reach(attack, strength)
        return pd.DataFrame(
            {
                model: np.where(moved < self.limit(attack, model, hardness), self.clean[model], (self.label + 2) % 3)
                for model in MODELS
            }
        )

    def ratio(self, attack, strength, criterion):
        """Return the perturbation over a criterion's limit."""
        sharper = (
            {"JND": 4.0, "JND 99 %": 2.0, "local mean": 1.6, "SSIM": 1.1}[criterion] if attack.direction == "no-sign" else 1.0
        )
        ratio = reach(attack, strength) * sharper / self.visible[criterion]
        return ratio**2 if criterion == "SSIM" else ratio

    def cell(self, attack, strength, hardness):
        """Return the frame of a cell's file."""
        seen, length = self.seen(attack, strength, hardness), reach(attack, strength)
        spread = 7 * self.peak if attack.direction == "no-sign" else 1.0
        return pd.concat([self.identity, seen, seen.add_suffix("_8bit")], axis=1).assign(
            linf=np.minimum(1, length * spread),
            l2=length * COMPONENTS**0.5,
            ssim=1 - 0.01 * self.ratio(attack, strength, "SSIM"),
            psnr=-20 * np.log10(length) if length else np.inf,
            local_ratio=self.ratio(attack, strength, "local mean"),
            jnd_ratio=self.ratio(attack, strength, "JND"),
            jnd99_ratio=self.ratio(attack, strength, "JND 99 %"),
        )

    def steps(self, attack, strength):
        """Return the frame of a cell's record of steps."""
        count = STEPS if attack.iterative else 1
        straight = 1.0 if attack.direction == "no-sign" else 0.73
        frames = []
        for step in range(1, count + 1):
            predicted = 900 * strength * straight * self.peak
            frames.append(
                self.identity[["film"]].assign(
                    step=step,
                    cosine=straight - 0.02 * (step - 1),
                    predicted=predicted,
                    gained=predicted * (0.9 - 12 * strength - 0.02 * step),
                )
            )
        return pd.concat(frames)

    def stored(self, attack, strength, hardness):
        """Return the frame of a cell's predictions after storing; the harsher, the more strength is lost."""
        return pd.concat(
            [
                self.identity.assign(storage=storage).join(self.seen(attack, strength * (1 - loss), hardness))
                for storage, loss in LOSS_BY_STORAGE.items()
            ]
        )

    def boundary(self, attack, hardness):
        """Return the frame of a single-step attack's boundaries."""
        frames = []
        for criterion in self.visible:
            power = 0.5 if criterion == "SSIM" else 1
            strength = 1 / self.ratio(attack, 1.0, criterion) ** power
            seen = self.seen(attack, strength, hardness)
            frames.append(self.identity.assign(criterion=criterion, strength=strength).join(seen))
        return pd.concat(frames)

    def turning(self, attack, hardness):
        """Return the frame of a single-step attack's turning strengths."""
        frames = []
        for model in MODELS:
            strength, is_right = self.limit(attack, model, hardness), self.clean[model] == self.label
            status = np.select([~is_right, strength > GRID[-1]], [WRONG_BEFORE, RIGHT_CENSORED], TURNED)
            length = reach(attack, np.minimum(strength, GRID[-1]))
            sizes = {"strength": length, "l2": length * COMPONENTS**0.5, "linf": length, "ssim": 0.9, "cosine": 0.73}
            frames.append(self.identity.assign(target=model, status=status, **sizes, right_again=0, grid="r"))
        return pd.concat(frames)


def reach(attack, strength):
    """Return how far an attack moves a film: in many steps it moves farther."""
    return strength * (0.7 * STEPS if attack.iterative else 1)
