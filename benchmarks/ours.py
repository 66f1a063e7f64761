"""This library's work: as a user calls it, on PyTorch, as stage 3 runs it; and the machine's own speed."""

import resource
import tempfile
import time
from functools import partial

import numpy as np

from benchmarks import rivals
from benchmarks.flops import forward_flops, gradient_flops
from benchmarks.task import (
    DEVICE,
    FGSM,
    FORWARD,
    GRADIENT,
    ITERATIVE,
    OPERATIONS,
    PGD,
    PRODUCT,
    SCALING,
    STRENGTH,
    SWEEP,
    TABLE_TWO,
    TURNING,
    large_matrices,
)

SWEEP_FILMS, SWEEP_BATCHES = 2, 2  # a batch's films; enough, as all is told as a ratio


def library(task):
    """`nosign` as a user has it: imported, called, nothing else set; and the bare passes in the same process."""
    from nosign import attack, turning_strength
    from nosign.attacks.loop import Attacker
    from nosign.backend import to_numpy

    model, films, labels = task.classifier, task.films, task.labels
    attacker = Attacker(task.logits_model)
    return {
        FGSM: lambda: attack(model, films, labels, "fgsm", STRENGTH),
        PGD: lambda: attack(model, films, labels, "pgd", STRENGTH, protocol="budget", steps=task.steps),
        TABLE_TWO: lambda: table_two(attacker, task),
        TURNING: lambda: turning_strength(model, films, labels, "fgnm"),
        **bare_passes(attacker, task),
        PRODUCT: tensorflow_product(to_numpy),
        OPERATIONS: lambda: operations(model),
    }


def table_two(attacker, task):
    """Attack with FGSM and FGNM at all of the paper's strengths, from one gradient."""
    from nosign.attacks.catalogue import ATTACKS
    from nosign.backend import to_numpy

    # The public way to share a gradient between strengths; `attack` computes it anew at each call.
    first = attacker.gradient_at(task.films, task.one_hot)
    for name in ("fgsm", "fgnm"):
        for strength in task.strengths:
            to_numpy(attacker.perturb(ATTACKS[name], task.films, task.one_hot, strength, first_gradient=first))


def bare_passes(attacker, task):
    """Return one compiled forward pass and one compiled gradient of all films, as work."""
    from nosign.backend import to_numpy

    return {
        FORWARD: lambda: to_numpy(attacker.logits(task.films)),
        GRADIENT: lambda: to_numpy(attacker.gradient(task.films, task.one_hot)[0]),
    }


def tensorflow_product(to_numpy):
    """Return Keras's product of two large matrices as work."""
    from keras import ops

    matrices = [ops.convert_to_tensor(matrix) for matrix in large_matrices()]
    return lambda: to_numpy(ops.matmul(*matrices))


def operations(model):
    """Return the floating-point operations of each bare pass over one film."""
    return {FORWARD: forward_flops(model), GRADIENT: gradient_flops(model)}


def numpy_product(task):
    """NumPy's product of two large matrices."""
    left, right = large_matrices()
    return {PRODUCT: lambda: left @ right}


def pytorch(task):
    """`nosign` on a model in PyTorch, films in that model's own layout."""
    from nosign import attack

    model, films = rivals.pytorch_vgg16(), rivals.channels_first(task.films)
    # Its weights are random, so all its logits may lie in [0, 1].
    options = {"protocol": "budget", "steps": task.steps, "logits": True}
    works = {
        FGSM: lambda: attack(model, films, task.labels, "fgsm", STRENGTH, logits=True),
        PGD: lambda: attack(model, films, task.labels, "pgd", STRENGTH, **options),
    }
    works[FGSM]()  # tells at once where such models cannot be attacked
    return works


def stage_three(task):
    """The attacks as attack.py runs them, with determinism: bare passes, attacks, a whole sweep and how costs grow."""
    from nosign.attacks.catalogue import ATTACKS
    from nosign.attacks.loop import Attacker, unit_noise
    from nosign.backend import describe_device, select_device, to_numpy

    device = describe_device(select_device())
    attacker = Attacker(task.logits_model)
    noise = unit_noise(0, range(task.count), task.films.shape[1:])

    def perturb(name, steps=task.steps, **options):
        changed = attacker.perturb(ATTACKS[name], task.films, task.one_hot, STRENGTH, steps=steps, noise=noise, **options)
        return to_numpy(changed)

    iterative = {name: partial(perturb, name) for name in ITERATIVE}
    return {
        DEVICE: lambda: device,
        **bare_passes(attacker, task),
        **iterative,
        TABLE_TWO: lambda: table_two(attacker, task),
        SCALING: lambda: scaling(task, attacker, perturb),
        SWEEP: lambda: sweep_against_bare_passes(task),
    }


def timed(work):
    """Return the seconds that a function takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def scaling(task, attacker, perturb):
    """Time attacks on more films, strengths and steps; each should cost in proportion.

    Returns:
        Dict from what grows to a list of (amount, seconds).
    """
    from nosign import attack

    found = {"films": [], "strengths": [], "steps": []}
    attack(task.classifier, task.films, task.labels, batch=task.count)  # compiles
    first = attacker.gradient_at(task.films, task.one_hot)
    for times in (1, 2, 4):
        films, labels = np.tile(task.films, (times, 1, 1, 1)), np.tile(task.labels, times)
        found["films"].append((len(films), timed(lambda: attack(task.classifier, films, labels, batch=task.count))))
        found["strengths"].append(
            (times * 10, timed(lambda: [perturb("fgnm", first_gradient=first) for _ in range(times * 10)]))
        )
        found["steps"].append((times, timed(lambda: perturb("binm", steps=times))))
    return found


def sweep_against_bare_passes(task):
    """Time a sweep of all six attacks on three models, files and measures included, against the passes it cannot avoid.

    Returns:
        Dict: ratio, and the process's largest resident memory in GB.
    """
    from nosign.backend import to_numpy
    from nosign.sweep.gradients import attacked_labels

    with tempfile.TemporaryDirectory() as folder:
        sweep = small_sweep(task)
        engine, parts = sweep.engine, sweep_parts(sweep, folder, task.steps)
        pixels = engine.films.pixels(slice(0, SWEEP_FILMS))
        labels = attacked_labels(engine.films.labels[:SWEEP_FILMS], sweep.outcome)
        for _, _, part in parts:  # compiles
            part()
        bare = spent = 0
        # A shared machine's speed drifts within minutes: the bare passes are timed beside each part.
        for gradients, forwards, part in parts:
            bare += gradients * timed(lambda: to_numpy(sweep.attacker.gradient_at(pixels, labels)))
            bare += forwards * timed(lambda: engine.predict(pixels))
            spent += timed(part)
    return {"ratio": spent / bare, "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6}


def sweep_parts(sweep, folder, steps):
    """Return the parts of a sweep, each a function, with the passes that it cannot avoid.

    Returns:
        List of (gradients, forward passes on three models, function), both numbers in batches.
    """
    from nosign import rows
    from nosign.paper import PAPER_ATTACKS
    from nosign.sweep.clean import clean_rows
    from nosign.sweep.gradients import FirstGradients
    from nosign.sweep.jobs import GRADIENT_COST, attack_cost, planned_cells

    engine = sweep.engine
    clean = rows.with_classes(clean_rows(engine))

    def finish(cell):
        rows.write_cell(rows.cell_path(folder, sweep.source, sweep.condition, cell), sweep.run(cell, clean))

    parts = [
        (0, SWEEP_BATCHES, lambda: clean_rows(engine)),
        (SWEEP_BATCHES, 0, lambda: FirstGradients(engine, sweep.source, sweep.condition)),
    ]
    for cell in planned_cells(PAPER_ATTACKS, (0.003, 0.03), (STRENGTH,)):
        gradients = attack_cost(cell.attack, steps) // GRADIENT_COST
        parts.append((SWEEP_BATCHES * gradients, 2 * SWEEP_BATCHES, partial(finish, cell)))
    return parts


def small_sweep(task):
    """Return a `Sweep` of a few batches of films on the three models with random weights."""
    from nosign.attacks.catalogue import Condition
    from nosign.classifiers import build, catalogue
    from nosign.dataset import CLASSES, FilmSet
    from nosign.sweep.engine import Engine
    from nosign.sweep.sweep import Sweep

    count = SWEEP_BATCHES * SWEEP_FILMS
    images = np.random.default_rng(1).integers(0, 256, (count, task.size, task.size, 3), dtype=np.uint8)
    numbers, unnamed = np.arange(count), [""] * count
    films = FilmSet(images, numbers, numbers % len(CLASSES), unnamed, unnamed, numbers, numbers)
    models = {name: build.logits_of(build.build(name, task.size)) for name in catalogue.BACKBONES}
    engine = Engine(films, models, steps=task.steps, batch=SWEEP_FILMS)
    return Sweep(engine, "VGG16", Condition())
