"""Ten tiny films and three linear models, and engines and sweeps of them, for the tests of `nosign.sweep`."""

from tiny import LinearSoftmax

from nosign.attacks.catalogue import Condition
from nosign.rows import logit_columns
from nosign.sweep.engine import Engine
from nosign.sweep.sweep import Sweep

SIZE, FILMS, STEPS, SEED = 12, 10, 3, 5
TRAINING_FILMS = 3
SPLITS = ["train"] * TRAINING_FILMS + ["test"] * FILMS
NAMES = ("VGG16", "InceptionV3", "DenseNet201")
CONDITIONS = [
    Condition(),
    Condition("budget"),
    Condition("budget", "l2", step_factor=0.5),
    Condition(target="Normal"),
    Condition(grey=True),
    Condition("budget", grey=True),
]


def linear_models():
    """Return three linear models, dict from name to `LinearSoftmax`."""
    return {name: LinearSoftmax((SIZE, SIZE, 3), seed=seed, spread=0.1) for seed, name in enumerate(NAMES)}


def engine_of(films, models, **options):
    """Return an `Engine` of films and `LinearSoftmax` models, in batches of 4: the last of ten films holds 2."""
    logits = {name: model.logits_model() for name, model in models.items()}
    return Engine(films, logits, **{"steps": STEPS, "seed": SEED, "batch": 4, **options})


def sweep_of(films, model, condition=CONDITIONS[0], **options):
    """Return a `Sweep` of one `LinearSoftmax`, called VGG16, on an engine of its own."""
    return Sweep(engine_of(films, {"VGG16": model}, **options), "VGG16", condition)


def logit_names(ending=""):
    """Return the names of all models' columns of logits."""
    return [column for name in NAMES for column in logit_columns(name + ending)]
