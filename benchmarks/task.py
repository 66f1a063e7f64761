"""What every process of the benchmark works on: the same films, labels and VGG16; and the names of the work."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

# Nothing of `nosign` that switches oneDNN on may be imported here: a rival's process imports this file first.
from nosign.classifiers import build
from nosign.dataset import CLASSES

FGSM, PGD, TABLE_TWO = "FGSM", "PGD", "Table II"
FORWARD, GRADIENT, PRODUCT, TURNING = "forward pass", "gradient", "matrix product", "turning strengths"
DEVICE, OPERATIONS, SWEEP, SCALING = "device", "operations", "sweep", "scaling"
ITERATIVE = "bim", "binm", "pgd", "pgdnm", "mifgnm"
STRENGTH = 0.003
PRODUCT_SIZE = 4096


@dataclass
class Task:
    """Films to attack and how; a process receives it as JSON and makes films and model itself.

    Attributes:
        count: number of films, all attacked at once.
        size: height and width of a film in pixels.
        steps: of the iterative attacks.
        strengths: list of float, those of Table II's single-step attacks.
    """

    count: int
    size: int
    steps: int
    strengths: list

    @cached_property
    def films(self):
        """float32 [count, size, size, 3] of noise in [0, 1)."""
        return np.random.default_rng(0).random((self.count, self.size, self.size, 3), dtype=np.float32)

    @cached_property
    def labels(self):
        """int64 [count], each class in turn."""
        return np.arange(self.count) % len(CLASSES)

    @cached_property
    def one_hot(self):
        """The labels as float32 [count, classes]."""
        return np.eye(len(CLASSES), dtype=np.float32)[self.labels]

    @cached_property
    def classifier(self):
        """VGG16 with the paper's head and random weights, from films to probabilities; the same in every process."""
        return build.build("VGG16", self.size)

    @cached_property
    def logits_model(self):
        """The classifier up to its logits, as the other libraries want it."""
        return build.logits_of(self.classifier)


def large_matrices():
    """Return two float32 matrices [PRODUCT_SIZE, PRODUCT_SIZE] whose product shows what the machine can do."""
    return np.random.default_rng(2).random((2, PRODUCT_SIZE, PRODUCT_SIZE), dtype=np.float32)
