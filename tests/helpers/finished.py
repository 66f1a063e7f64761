"""Writes a results folder as stage 3 leaves it, from a simple law instead of networks: film i falls where the strength
reaches its own threshold, and every measure is a power of the strength. So each number is consistent with the others."""

import json

import numpy as np
import pandas as pd

from nosign.attacks.catalogue import ATTACKS
from nosign.findings import FINDINGS
from nosign.finished import Run, read_run
from nosign.measures.storage import STORAGES
from nosign.paper import ITERATIVE_STRENGTHS, PAPER_ATTACKS, SINGLE_STEP_STRENGTHS

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

    def seen(self, attack, strength, hardness=1.0):
        """Return each model's predictions, a column a model; `strength` is a number or one a film."""
        ease = (0.75 if attack.direction == "no-sign" else 1.0) * hardness
        return pd.DataFrame(
            {
                model: np.where(
                    reach(attack, strength) < harder * ease * self.threshold, self.clean[model], (self.label + 2) % 3
                )
                for model, harder in MODELS.items()
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


def reach(attack, strength):
    """Return how far an attack moves a film: in many steps it moves farther."""
    return strength * (0.7 * STEPS if attack.iterative else 1)


def write(path, frame):
    """Write a CSV file as stage 3 does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    frame.to_csv(path, index=False, float_format="%.6g")


def write_results(
    results,
    films=30,
    conditions=("paper",),
    attacks=PAPER_ATTACKS,
    single_step=SINGLE_STEP_STRENGTHS,
    iterative=ITERATIVE_STRENGTHS,
    stored=(0.0005, 0.003),
):
    """Write a results folder with all that stage 3 leaves beside cells.

    Returns:
        `Films`.
    """
    films = Films(films)
    write(results / "clean.csv", films.identity.assign(**films.clean))
    (results / "manifest.json").write_text(json.dumps({"synthetic": True}))
    for condition in conditions:
        hardness = 1.5 if "grey" in condition else 1.0
        for attack in map(ATTACKS.get, attacks):
            folder = results / "attacks" / "VGG16" / condition / attack.name
            for strength in iterative if attack.iterative else single_step:
                write(folder / f"{strength:g}.csv", films.cell(attack, strength, hardness))
                write(folder / f"{strength:g}.steps.csv", films.steps(attack, strength))
                if strength in stored:
                    write(folder / f"{strength:g}.stored.csv", films.stored(attack, strength, hardness))
            if not attack.iterative:
                write(folder / "boundary.csv", films.boundary(attack, hardness))
    return films


LIST_OF_MODELS = "model,parameters,correct,films,imagenet_top1,imagenet_top5\nVGG16,14749763,1,3,71.3,90.1\n"


def run_in(results) -> Run:
    """Return the run of a results folder, which gets a list of models if it has none."""
    if not (results / "models.csv").exists():
        (results / "models.csv").write_text(LIST_OF_MODELS)
    return read_run(results, results)


def everything_in(results):
    """Return all findings of a results folder: tables by name, figures by name, and the texts of the sentences."""
    findings = [module.describe(run_in(results)) for module in FINDINGS]
    tables = {table.name: table for finding in findings for table in finding.tables}
    figures = {drawing.name: drawing.figure for finding in findings for drawing in finding.drawings}
    return tables, figures, [sentence.text for finding in findings for sentence in finding.sentences]
