"""Finished results for the tests of stage 4: four films whose numbers are chosen one by one, ten films without any file, or
many films with everything that stage 3 leaves."""

import json

import numpy as np
import pandas as pd
from law import Films

from nosign.attacks.catalogue import ATTACKS, Condition
from nosign.classifiers.catalogue import BACKBONES
from nosign.findings import FINDINGS
from nosign.finished import FinishedSweep, Run, read_run
from nosign.paper import ITERATIVE_STRENGTHS, PAPER_ATTACKS, SINGLE_STEP_STRENGTHS
from nosign.rows import MEASURES, ROUNDED, STORED, STORED_TURNING, TURNING, CleanFilms, Example
from nosign.statistics.patients import Patients

FILMS = pd.DataFrame({"film": [7, 8, 9, 12], "label": [0, 0, 1, 2]})
CLEAN = {"VGG16": [0, 0, 1, 1], "InceptionV3": [0, 0, 1, 2]}  # 3 and 4 of these 4 right
LIST_OF_MODELS = """model,parameters,correct,films,imagenet_top1,imagenet_top5,weights_sha256
InceptionV3,21942307,3,4,77.9,93.7,ab
VGG16,14749763,1,3,71.3,90.1,cd
"""


def write(path, frame):
    """Write a CSV file as stage 3 does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    frame.to_csv(path, index=False, float_format="%.6g")


def write_clean(results, **predictions):
    """Write the predictions on the four films before the attacks; `CLEAN` if none are given."""
    write(results / "clean.csv", FILMS.assign(**(predictions or CLEAN)))


def write_cell(results, name, **columns):
    """Write the cell `SOURCE/CONDITION/ATTACK/STRENGTH` of the four films, and `CLEAN` where nothing of the kind is there.

    Args:
        columns: each target's predictions, and what a measure is if not the same in all films. After rounding to 8 bits all
            films are taken for class 0.

    Returns:
        The cell's path.
    """
    if not (results / "clean.csv").exists():
        write_clean(results)
    rounded = {f"{model}{ROUNDED}": 0 for model in columns if model not in MEASURES}
    measures = {"linf": 0.1, "l2": 1.0, "ssim": 0.99} | {name: columns.pop(name) for name in MEASURES if name in columns}
    path = results / "attacks" / f"{name}.csv"
    write(path, FILMS.assign(**columns, **rounded, **measures))
    return path


# What `attack.py` solves for on the four films.
BOUNDARY = "film,label,criterion,strength,VGG16\n" + "".join(
    f"{film},{label},JND,{strength},{seen}\n"
    for film, label, strength, seen in [(7, 0, 0.002, 0), (8, 0, 0.004, 1), (9, 1, 0.006, 1), (12, 2, 1, 2)]
)


def write_visible(results, ratios, *, boundary=None, attack="bim"):
    """Write one attack on the four films, all of which VGG16 takes for class 0 before it.

    Args:
        ratios: dict from strength to the four films' JND ratio; at the first strength VGG16 sees class 1 in all, later 2.
        boundary: text of boundary.csv.
    """
    write_clean(results, VGG16=0)
    for place, (strength, ratio) in enumerate(ratios.items(), start=1):
        sizes = {"linf": strength, "ssim": 1, "psnr": 50, "local_ratio": 0.1, "jnd_ratio": ratio}
        path = write_cell(results, f"VGG16/paper/{attack}/{strength:g}", VGG16=min(place, 2), **sizes)
    if boundary is not None:
        path.with_name("boundary.csv").write_text(boundary)


# Steps that `attack.py` records on the four films.
TWO_STEPS = """film,step,cosine,predicted,gained
7,1,0.5,1,1
8,1,,0,0
9,1,0.7,3,2
12,1,0.6,4,3
7,2,0.4,2,1
8,2,0.4,2,1
9,2,0.4,2,1
12,2,0.4,2,1
"""


def write_stored(path, seen):
    """Write a cell's predictions after storing, a dict from storage to the classes of the four films for VGG16."""
    frames = [FILMS.assign(storage=storage, VGG16=classes) for storage, classes in seen.items()]
    write(path.with_suffix(STORED), pd.concat(frames))


def write_turning(results, attack, status, l2, linf, name=TURNING):
    """Write one attack's turning strengths of VGG16 on the four films, the first two of one patient; return their path."""
    write_clean(results, VGG16=0, patient=[5, 5, "", ""])
    path = write_cell(results, f"VGG16/paper/{attack}/0.01", VGG16=1).with_name(name)
    sizes = {"strength": 0.01, "l2": l2, "linf": linf, "ssim": 0.9, "cosine": [0.7, 0.8, 0.6, 0.9], "right_again": 0}
    write(path, FILMS.assign(target="VGG16", status=status, grid="rt", **sizes))
    return path


def some_example():
    """Return an 8 x 8 film attacked at two strengths: class 0 becomes 1, then stays 0."""
    original = np.full((8, 8, 3), 0.5, np.float32)
    adversarial = np.stack([original, original])
    adversarial[0, 0, 0] = [0.5001, 0.4999, 0.6]
    return Example(
        "fgnm",
        41,
        0,
        original,
        adversarial,
        np.array([0.003, 0.03]),
        np.array([0, 1, 0]),
        np.array([0.991, 0.87, 0.5], np.float32),
    )


def write_example(results, **changes):
    """Write `examples/fgnm.npz`, some of its arrays changed, and return its path."""
    example = vars(some_example()) | changes
    path = results / "examples" / "fgnm.npz"
    path.parent.mkdir(exist_ok=True)
    np.savez(path, **{name: value for name, value in example.items() if name != "attack"})
    return path


def run_in(results) -> Run:
    """Return the run of a results folder, which gets a list of models if it has none."""
    if not (results / "models.csv").exists():
        (results / "models.csv").write_text(LIST_OF_MODELS)
    return read_run(results, results)


def sweep_in(results, source="VGG16", condition="paper") -> FinishedSweep:
    """Return one sweep of a results folder."""
    return next(sweep for sweep in run_in(results).sweeps if sweep.name == (source, condition))


def everything_in(results):
    """Return all findings of a results folder: tables by name, figures by name, and the texts of the sentences."""
    findings = [module.describe(run_in(results)) for module in FINDINGS]
    tables = {table.name: table for finding in findings for table in finding.tables}
    figures = {drawing.name: drawing.figure for finding in findings for drawing in finding.drawings}
    return tables, figures, [sentence.text for finding in findings for sentence in finding.sentences]


LABELS = np.array([0, 0, 0, 1, 1, 1, 2, 2, 2, 2])  # of ten films


def right(films):
    """Return predictions that are right on those of the ten films that stand at these positions, wrong on the others."""
    return np.where(np.isin(np.arange(len(LABELS)), films), LABELS, (LABELS + 1) % 3)


TEN_FILMS = pd.DataFrame({"film": range(10), "label": LABELS, "VGG16": right(range(1, 10)), "InceptionV3": LABELS}, dtype=float)
TEN_CLEAN_FILMS = CleanFilms(TEN_FILMS, {}, np.full(10, ""), np.arange(10), np.arange(10))


def cell(attack, strength=0.001, condition="paper", source="VGG16", **predictions):
    """Return a cell of the ten films: (source, condition, attack, strength, frame)."""
    seen = {name + ending: classes for name, classes in predictions.items() for ending in ("", ROUNDED)}
    films = pd.DataFrame({"film": range(10), "label": LABELS, **seen, "linf": 0.1, "l2": 1.0, "ssim": 0.9}, dtype=float)
    return source, condition, attack, strength, films


def sweeps_of(cells, clean=TEN_FILMS):
    """Return the finished sweeps of some `cell`s, which stand in no file."""
    made = {}
    for source, condition, attack, strength, films in cells:
        stated, own = Condition.parse(condition), Patients(np.arange(len(clean)))
        facts = (clean, np.full(len(clean), ""), own, own, {}, {}, {})
        sweep = FinishedSweep(source, stated, "test films", stated.steps or 10, *facts)
        made.setdefault(sweep.name, sweep).cells[attack, strength] = films
    return tuple(made.values())


def some_counts(attacks=tuple(ATTACKS), strengths=(0.003, 0.0005), targets=tuple(BACKBONES)):
    """Return rows as of `Run.counts` of VGG16/paper with a different accuracy each, strengths in falling order."""
    keys = pd.MultiIndex.from_product([attacks, strengths, targets], names=["attack", "strength", "target"])
    accuracy = np.arange(len(keys), dtype=float)
    return keys.to_frame(index=False).assign(
        source="VGG16",
        condition="paper",
        accuracy_percent=accuracy,
        ci_low_percent=accuracy - 0.5,
        ci_high_percent=accuracy + 0.75,
        white_box=lambda rows: rows["target"] == "VGG16",
        films=90,
    )


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
                if "-to-" not in condition:
                    write(folder / TURNING, films.turning(attack, hardness))
                    write(folder / STORED_TURNING, films.turning(attack, 1.1 * hardness).query("target == 'VGG16'"))
    return films
