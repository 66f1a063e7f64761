"""Speed: the attacks against the bare model, and against other libraries, in one run on one model and the same films.

    python benchmarks/bench.py

All timings are ratios against something in the same run, taken in turns; the median over the rounds counts. Writes
bench.csv, bench.md and scaling.png.
"""

import argparse
import resource
import statistics
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from nosign.arguments import whole_number
from nosign.attacks import ATTACKS, SINGLE_STEP_STRENGTHS, Attacker, Condition, unit_noise
from nosign.cells import cell_path, plan
from nosign.classifiers import BACKBONES
from nosign.dataset import CLASSES, FilmSet
from nosign.errors import run
from nosign.provenance import write_csv, write_text

STRENGTH = 0.003


def timed(work):
    """Return the seconds that a function takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def compare(base, candidates, rounds):
    """Time functions in turns after one call that is not counted, each between two timings of the base.

    Args:
        base: function that all are set against.
        candidates: dict from name to function.
        rounds: how often each is timed.

    Returns:
        Median seconds of `base`, and dict from name to the median of its ratios to the base beside it.
    """
    for work in (base, *candidates.values()):
        work()
    seconds, ratios = [], {name: [] for name in candidates}
    for _ in range(rounds):
        seconds.append(timed(base))
        for name, work in candidates.items():
            # A shared machine's speed drifts within minutes.
            spent = timed(work)
            seconds.append(timed(base))
            ratios[name].append(2 * spent / sum(seconds[-2:]))
    return statistics.median(seconds), {name: statistics.median(found) for name, found in ratios.items()}


class Bench:
    """VGG16 to logits, its films and labels, and what is compiled for them."""

    def __init__(self, films, size, steps, rounds):
        from nosign import classifiers
        from nosign.gradients import compiled_logits, to_numpy

        self.steps, self.rounds, self.to_numpy = steps, rounds, to_numpy
        self.model = classifiers.logits_of(classifiers.build("VGG16", size))
        self.films = np.random.default_rng(0).random((films, size, size, 3), dtype=np.float32)
        self.labels = np.arange(films) % len(CLASSES)
        self.one_hot = np.eye(len(CLASSES), dtype=np.float32)[self.labels]
        self.noise = unit_noise(0, range(films), self.films.shape[1:])
        self.attacker, self.logits = Attacker(self.model), compiled_logits(self.model)
        self.rows = []

    def note(self, what, ratio, against, limit=None, error=""):
        """Keep a row of the table and print it."""
        self.rows.append({"what": what, "ratio": ratio, "against": against, "limit": limit, "error": error})
        shown = f"{ratio:8.3f} x {against}" if ratio is not None else f"cannot run: {error}"
        print(f"{what:<66} {shown}" + (f" (at most {limit})" if limit else ""), flush=True)

    def gradient(self):
        """One bare compiled gradient of all films."""
        self.to_numpy(self.attacker.gradient(self.films, self.one_hot)[0])

    def forward(self):
        """One bare compiled forward pass of all films."""
        self.to_numpy(self.logits(self.films))

    def perturb(self, name, strength=STRENGTH, **options):
        """One attack on all films."""
        return self.to_numpy(self.attacker.perturb(ATTACKS[name], self.films, self.one_hot, strength, steps=self.steps,
                                                   noise=self.noise, **options))

    def table_two(self):
        """FGSM and FGNM at all of the paper's strengths, from one gradient."""
        first = self.attacker.gradient_at(self.films, self.one_hot)
        for name in ("fgsm", "fgnm"):
            for strength in SINGLE_STEP_STRENGTHS:
                self.perturb(name, strength, first_gradient=first)

    def own(self):
        """Set the attacks against the bare gradient."""
        ours = {name: lambda name=name: self.perturb(name) for name in ("bim", "binm", "pgd", "pgdnm", "mifgnm")}
        seconds, ratios = compare(self.gradient, {"forward": self.forward, "Table II": self.table_two, **ours}, self.rounds)
        print(f"bare gradient: {1000 * seconds / len(self.films):.0f} ms a film\n")
        self.note("bare forward pass", ratios["forward"], "bare gradient")
        self.note("Table II's films (13 strengths x FGSM, FGNM)", ratios["Table II"], "bare gradient", 1.3)
        for name in ours:
            self.note(f"{ATTACKS[name].title}, one of {self.steps} steps", ratios[name] / self.steps, "bare gradient", 1.05)

    def rivals(self):
        """Set other libraries against ours, on the same work."""
        work = {"FGSM": lambda: self.perturb("fgsm"),
                f"PGD, {self.steps} steps": lambda: self.perturb("pgd", protocol="budget")}
        for library, prepare in RIVALS.items():
            try:
                theirs = prepare(self)
            except Exception as error:
                self.note(library, None, "", error=" ".join(f"{type(error).__name__}: {error}".split()))
                continue
            for (name, ours), attack in zip(work.items(), theirs):
                _, ratios = compare(ours, {library: attack}, max(1, self.rounds - 1))
                self.note(f"{library}: {name}", ratios[library], "ours")
                if name == "FGSM":
                    half = {library: lambda attack=attack: [attack() for _ in SINGLE_STEP_STRENGTHS]}
                    _, ratios = compare(self.table_two, half, 1)
                    # Half the work: no other library has FGNM.
                    self.note(f"{library}: Table II's FGSM half", ratios[library], "ours, both halves")

    def scaling(self):
        """Time attacks on more films, strengths and steps; each should cost in proportion."""
        from nosign import attack

        found = {"films": [], "strengths": [], "steps": []}
        attack(self.model, self.films, self.labels, logits=True)  # compiles
        first = self.attacker.gradient_at(self.films, self.one_hot)
        for times in (1, 2, 4):
            films, labels = np.tile(self.films, (times, 1, 1, 1)), np.tile(self.labels, times)
            found["films"].append((len(films), timed(lambda: attack(self.model, films, labels, logits=True,
                                                                    batch=len(self.films)))))
            found["strengths"].append((times * 10, timed(lambda: [self.perturb("fgnm", first_gradient=first)
                                                                  for _ in range(times * 10)])))
            self.steps, kept = times, self.steps
            found["steps"].append((times, timed(lambda: self.perturb("binm"))))
            self.steps = kept
        return found


def cleverhans(bench):
    """Return CleverHans's FGSM and PGD (with rand_init off, as it has no start of given noise) as functions."""
    import tensorflow
    from cleverhans.tf2.attacks.fast_gradient_method import fast_gradient_method
    from cleverhans.tf2.attacks.projected_gradient_descent import projected_gradient_descent

    films, labels = tensorflow.constant(bench.films), tensorflow.constant(bench.labels)
    clip = {"clip_min": 0.0, "clip_max": 1.0, "y": labels, "sanity_checks": False}
    return (lambda: fast_gradient_method(bench.model, films, STRENGTH, np.inf, **clip).numpy(),
            lambda: projected_gradient_descent(bench.model, films, STRENGTH, STRENGTH / bench.steps, bench.steps, np.inf,
                                               rand_init=None, **clip).numpy())


def foolbox(bench):
    """Return Foolbox's FGSM and PGD as functions."""
    import foolbox
    import tensorflow

    model = foolbox.TensorFlowModel(bench.model, bounds=(0, 1), device="/CPU:0")
    films, labels = tensorflow.constant(bench.films), tensorflow.constant(bench.labels)
    single = foolbox.attacks.FGSM(random_start=False)
    many = foolbox.attacks.LinfPGD(abs_stepsize=STRENGTH / bench.steps, steps=bench.steps)
    return (lambda: single(model, films, labels, epsilons=STRENGTH), lambda: many(model, films, labels, epsilons=STRENGTH))


def art(bench):
    """Return the Adversarial Robustness Toolbox's FGSM and PGD as functions."""
    import keras
    from art.attacks.evasion import FastGradientMethod, ProjectedGradientDescent
    from art.estimators.classification import TensorFlowV2Classifier

    classifier = TensorFlowV2Classifier(bench.model, nb_classes=len(CLASSES), input_shape=bench.films.shape[1:],
                                        loss_object=keras.losses.CategoricalCrossentropy(from_logits=True), clip_values=(0, 1))
    batch = {"eps": STRENGTH, "batch_size": len(bench.films)}
    single = FastGradientMethod(classifier, **batch)
    many = ProjectedGradientDescent(classifier, eps_step=STRENGTH / bench.steps, max_iter=bench.steps, verbose=False, **batch)
    return tuple(lambda attack=attack: attack.generate(bench.films, bench.one_hot) for attack in (single, many))


def torchattacks(bench):
    """Return torchattacks' FGSM and PGD as functions, on a VGG16 in PyTorch."""
    import torch
    import torchattacks
    from torch import nn

    layers, channels = [], 3
    for width, repeats in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(repeats):
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
            channels = width
        layers.append(nn.MaxPool2d(2))
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.BatchNorm1d(channels), nn.Linear(channels, 64),
                          nn.ReLU(), nn.Linear(64, len(CLASSES))).eval()
    films, labels = torch.from_numpy(bench.films).permute(0, 3, 1, 2).contiguous(), torch.from_numpy(bench.labels)
    single = torchattacks.FGSM(model, eps=STRENGTH)
    many = torchattacks.PGD(model, eps=STRENGTH, alpha=STRENGTH / bench.steps, steps=bench.steps)
    return lambda: single(films, labels), lambda: many(films, labels)


RIVALS = {"CleverHans": cleverhans, "Foolbox": foolbox, "ART": art, "torchattacks": torchattacks}


def sweep_against_bare_passes(size, films, batch, steps, rounds):
    """Time a sweep of all six attacks on three models, files and measures included, against the passes it cannot avoid.

    Returns:
        Ratio, and the process's largest resident memory in MB.
    """
    from nosign import classifiers, evaluation
    from nosign.records import with_classes

    images = np.random.default_rng(1).integers(0, 256, (films, size, size, 3), dtype=np.uint8)
    chosen = FilmSet(images, np.arange(films), np.arange(films) % len(CLASSES), [""] * films, [""] * films,
                     np.arange(films), np.arange(films))
    targets = {name: classifiers.logits_of(classifiers.build(name, size)) for name in BACKBONES}
    sweep = evaluation.Sweep(chosen, "VGG16", targets, condition=Condition(), steps=steps, batch=batch)
    cells = plan(tuple(ATTACKS)[:6], (0.003, 0.03), (0.003,))
    pixels, labels = chosen.pixels(slice(0, batch)), evaluation.one_hot(chosen.labels[:batch])

    def gradient():
        evaluation.to_numpy(sweep.attacker.gradient_at(pixels, labels))

    def forward():
        sweep.predict(pixels)

    def finish(cell):
        result = sweep.run(cell, clean, lambda work: None)
        evaluation.write_cell(cell_path(folder, "VGG16", Condition(), cell), result)

    batches = films // batch
    clean = with_classes(sweep.clean(lambda work: None))
    # Each part of the sweep with the gradients and the forward passes on three models that it cannot avoid.
    parts = [(0, batches, lambda: sweep.clean(lambda work: None)), (batches, 0, lambda: sweep.first_gradients(lambda work: None))]
    parts += [(batches * evaluation.cell_cost(cell, steps, 0) // evaluation.GRADIENT_COST, 2 * batches, partial(finish, cell))
              for cell in cells]
    with tempfile.TemporaryDirectory() as folder:
        for _, _, part in parts:  # compiles
            part()
        ratios = []
        for _ in range(rounds):
            bare = spent = 0
            # A shared machine's speed drifts within minutes: the bare passes are timed beside each part.
            for gradients, forwards, part in parts:
                bare += gradients * timed(gradient) + forwards * timed(forward)
                spent += timed(part)
            ratios.append(spent / bare)
    return statistics.median(ratios), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def draw_scaling(found, path):
    """Draw seconds against films, strengths and steps, with the line through the first point and the origin."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.16, 2.4), layout="constrained")
    for axes, (what, points) in zip(figure.subplots(1, len(found)), found.items()):
        amounts, seconds = np.transpose(points)
        axes.plot([0, amounts[-1]], [0, seconds[-1]], color="0.6", linestyle="--", label="in proportion")
        axes.plot(amounts, seconds, color="#0072B2", marker="o", linestyle="none", label="measured")
        axes.set(xlabel=what, xlim=(0, None), ylim=(0, None))
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].set_ylabel("seconds")
    figure.axes[0].legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=200)


def main(argv=None):
    """Run the benchmark and return 0."""
    parser = argparse.ArgumentParser(prog="python benchmarks/bench.py", description=__doc__.split("\n")[0],
                                     formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--films", type=whole_number(1), default=2, help="attacked at once")
    parser.add_argument("--size", type=whole_number(75), default=224, help="height and width of a film in pixels")
    parser.add_argument("--steps", type=whole_number(1), default=4, help="of the iterative attacks")
    parser.add_argument("--rounds", type=whole_number(1), default=3, help="how often each is timed")
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parent / "results", help="where results go")
    arguments = parser.parse_args(argv)
    import pandas as pd
    from tabulate import tabulate

    from nosign.gradients import select_device

    device = select_device()
    print(f"device: {device['device']} (Keras on {device['backend']}); VGG16, {arguments.films} films of {arguments.size} px")
    bench = Bench(arguments.films, arguments.size, arguments.steps, arguments.rounds)
    bench.own()
    found = bench.scaling()
    ratio, memory = sweep_against_bare_passes(arguments.size, 2 * arguments.films, arguments.films, arguments.steps,
                                              max(1, arguments.rounds - 1))
    bench.note("a sweep on three models, measures and files included", ratio, "its bare passes", 1.1)
    # The other libraries, whose memory is not ours, come last.
    bench.note("largest resident memory", memory / 1000, "1 GB", 3)
    bench.rivals()
    arguments.out.mkdir(parents=True, exist_ok=True)
    frame = pd.DataFrame(bench.rows)
    write_csv(arguments.out / "bench.csv", frame, float_format="%.4g")
    heading = (f"Device: {device['device']}, Keras on {device['backend']}; VGG16, {arguments.films} films of "
               f"{arguments.size} px, {arguments.steps} steps; median of {arguments.rounds} rounds, one fewer for the sweep and "
               "other libraries, one for their Table II.\n\n")
    shown = [[row["what"], "cannot run" if row["ratio"] is None else f"{row['ratio']:.3f}", row["against"] or row["error"],
              row["limit"] or ""] for row in bench.rows]
    write_text(arguments.out / "bench.md", heading + tabulate(shown, ["what", "times", "of", "at most"], tablefmt="pipe",
                                                              disable_numparse=True) + "\n")
    draw_scaling(found, arguments.out / "scaling.png")
    print(f"wrote {arguments.out}")
    return 0


if __name__ == "__main__":
    raise SystemExit(run(main))
