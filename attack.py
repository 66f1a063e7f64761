"""Stage 3: attack the test films with gradients from one model and test all models on the result.

    python attack.py --data data --models model --out results

Writes clean.csv; below attacks/<SOURCE>/<condition>/ one CSV per cell (attack and strength) and what belongs to it, and the
smallest strength of each single-step attack that turns each film, turning.csv; examples/*.npz for the figures; manifest.json. A run that was stopped goes on from its last finished cell. With
--rescore it attacks nothing: it scores films that --save-films kept, by whatever models are given.
"""

import argparse
import dataclasses
import math
import shlex
import shutil
import sys
import time
from pathlib import Path

from nosign.attacks.catalogue import ATTACKS, CONTROLS, LOSSES, NORMS, PROTOCOLS, Condition, check_norm
from nosign.classifiers.catalogue import BACKBONES
from nosign.dataset import CLASSES
from nosign.errors import UserError
from nosign.files import atomic_path, sha256_of_file, sha256_of_model
from nosign.manifest import MANIFEST, check_settings, read_manifest, write_manifest
from nosign.measures.storage import STORAGES
from nosign.paper import ITERATIVE_STRENGTHS, PAPER_ATTACKS, SINGLE_STEP_STRENGTHS
from nosign.rows import CLEAN_ROWS, CLEAN_STORED, FILMS, ROWS, Cell, example_path, find_files, logit_columns, sweep_folder
from nosign.script import HelpFormatter, add_seeds, as_number, each_seed, run, whole_number
from nosign.sweep.jobs import Job, plan

SOURCE = "VGG16"
ALL_SOURCES = "all"
GREY = {"no": (False,), "only": (True,), "both": (False, True)}
STORING_STRENGTHS = (0.001, 0.003)
STEPS = 10
# The paper's groups of 64 give the same numbers in five times the memory; on a CPU no faster.
BATCH = 8
CONTROL_FILMS = 100
ADVICE = "choose another --out, or give --overwrite to remove them"


def attack_all(arguments):
    """Run stage 3; see the module's docstring."""
    from nosign.dataset import open_split

    started = time.time()
    out = Path(arguments.out)
    films = open_split(arguments.data, "test").head(arguments.films)
    identity = identity_of(arguments, len(films))
    jobs = rescoring_jobs(arguments, identity, films) if arguments.rescore else attack_jobs(arguments, identity)
    # A model that cannot be used must not cost the results that it was to replace.
    loaded = load_sweep(arguments, films, jobs[0]) if arguments.overwrite else None
    prepare_output(out, identity, jobs, arguments, started)
    todo = sum(len(job.unfinished()) for job in jobs)
    count = sum(len(job.cells) for job in jobs)
    extras = stored_clean_wanted(out, jobs) or any(
        examples_wanted(job) or job.without_boundary() or job.without_turning() for job in jobs
    )
    if not todo and not extras and (out / CLEAN_ROWS).is_file():
        print(f"{out}: all {count} cells are finished; nothing to do")
        return
    sweep, device = loaded or load_sweep(arguments, films, jobs[0])
    print(f"{len(films)} test films, {count} cells, {count - todo} of them finished", flush=True)
    clean = score_clean(sweep, out)
    if stored_clean_wanted(out, jobs):
        score_stored_clean(sweep, out, clean)
    for job in jobs:
        job_started = time.time()
        sweep = sweep if job.kept else sweep.following(job.source, job.condition)
        health = run_job(sweep, job, clean, arguments.control_films)
        write_manifests(out, identity, job, arguments, job_started, begun=started, device=device, health=health, finished=True)
        print_summary(job, clean, health, time.time() - job_started)
    print(f"wrote {out} in {time.time() - started:.0f} s; next: {next_command(arguments)}")


def next_command(arguments):
    """Return the command that goes on from here."""
    return shlex.join(["python", "data_figure.py", "--results", arguments.out, "--models", arguments.models])


def identity_of(arguments, films):
    """Return what clean.csv depends on."""
    data, models = Path(arguments.data), Path(arguments.models)
    return {
        "films": films,
        **{name: sha256_of_file(data / name) for name in ("index.csv", "images.npy")},
        "models": {name: sha256_of_model(models / f"{name}.keras") for name in arguments.targets},
    }


def attack_jobs(arguments, identity):
    """Return the jobs that the command line asks for, a source model each."""
    sources = arguments.targets if arguments.source == ALL_SOURCES else [arguments.source]
    if arguments.source not in (*arguments.targets, ALL_SOURCES):
        raise UserError(f"--source {arguments.source} is not among the targets {' '.join(arguments.targets)}; add it")
    cells = plan(arguments.attacks, arguments.single_step_strengths, arguments.iterative_strengths)
    settings = {
        **identity,
        "steps": arguments.steps,
        "seed": arguments.seed,
        "batch": arguments.batch,
        "storages": arguments.storages,
        "control_films": arguments.control_films,
    }
    conditions = [
        Condition(arguments.protocol, arguments.norm, arguments.target, grey, arguments.loss) for grey in GREY[arguments.grey]
    ]
    check_norm(conditions[0])
    storing, run = tuple(arguments.storing_strengths), {cell.strength for cell in cells}
    beside = [strength for strength in storing if strength not in run]
    if beside and storing != STORING_STRENGTHS:
        raise UserError(
            f"--storing-strengths {' '.join(f'{strength:g}' for strength in beside)}: not among the strengths that "
            "are run; add it to --single-step-strengths or --iterative-strengths"
        )
    return [
        Job(
            Path(arguments.out),
            source,
            condition,
            cells,
            {**settings, "source": source, **dataclasses.asdict(condition)},
            tuple(arguments.attacks),
            save_films=arguments.save_films,
            storing=storing,
            storages=tuple(arguments.storages),
        )
        for condition in conditions
        for source in sources
    ]


def rescoring_jobs(arguments, identity, films):
    """Return the jobs that score films which an earlier run kept.

    Raises:
        UserError: no films are there, they are not whole, or they were made from other clean films.
    """
    from nosign.rows import open_films

    out, kept = Path(arguments.out), Path(arguments.rescore)
    if out.resolve() == kept.resolve():
        raise UserError(f"--out {out} is where the films came from; name another folder for the new scores")
    found = {}
    for source, condition, attack, strength, path in find_files(kept, ROWS):
        if path.with_suffix(FILMS).is_file():
            found.setdefault((source, condition), []).append(Cell(attack, strength))
    if not found:
        raise UserError(f"{kept}: no films; --rescore takes a results folder that attack.py --save-films wrote")
    jobs = []
    for (source, condition), cells in found.items():
        folder = sweep_folder(kept, source, condition)
        made = (read_manifest(folder) or {}).get("settings")
        if made is None:
            raise UserError(f"{folder}: has no {MANIFEST} that says what its films are; run attack.py --save-films again")
        if any(made[fact] != identity[fact] for fact in ("films", "index.csv", "images.npy")):
            raise UserError(
                f"{folder}: its films were made from others than those of --data {arguments.data} "
                f"(--films {made['films']}); name the data and --films of that run"
            )
        jobs.append(Job(out, source, Condition.parse(condition), cells, {**made, **identity, "rescored": str(kept)}, kept=kept))
        for cell in cells:
            open_films(jobs[-1].films_path(cell), films)
    return jobs


def prepare_output(out, identity, jobs, arguments, started):
    """Make room for this run's cells, or raise `UserError` if those of another run are in the way."""
    for job in jobs:
        if arguments.overwrite:
            remove_cells(out, job.folder, keep_other_sweeps=same_settings(out, identity))
        results = [*clean_files(out), *(out / "attacks").rglob("[!.]*.csv")]
        for place, wanted in ((out, identity), (job.folder, job.settings)):
            if any(path.is_relative_to(place) for path in results) and not check_settings(place, wanted, ADVICE):
                raise UserError(f"{place}: holds results but no manifest that says what they are; {ADVICE}")
    for job in jobs:
        if not (same_settings(out, identity) and same_settings(job.folder, job.settings)):
            write_manifests(out, identity, job, arguments, started, finished=False)


def same_settings(folder, settings):
    """Tell whether a folder has a manifest with these settings."""
    try:
        return check_settings(folder, settings, ADVICE) is not None
    except UserError:
        return False


def remove_cells(out, folder, keep_other_sweeps):
    """Remove the cells of this sweep; of all sweeps, if films or models are others."""
    shutil.rmtree(folder if keep_other_sweeps else out / "attacks", ignore_errors=True)
    shutil.rmtree(out / "examples", ignore_errors=True)
    if not keep_other_sweeps:
        for path in [*clean_files(out), out / MANIFEST]:
            path.unlink(missing_ok=True)


def clean_files(out):
    """Return the files with predictions on clean films that are there."""
    return [out / name for name in (CLEAN_ROWS, CLEAN_STORED) if (out / name).is_file()]


def write_manifests(out, identity, job, arguments, started, **facts):
    """Write the manifests of the results and of a sweep; adversarial films, which may be gigabytes, are not hashed."""
    outputs = [path for path in sorted(job.folder.glob("*/[!.]*.*")) if path.suffix != FILMS]
    write_manifest(
        job.folder,
        stage="attack.py",
        settings=job.settings,
        started=started,
        seed=arguments.seed,
        outputs=outputs,
        adds=True,
        **facts,
    )
    synthetic = (read_manifest(arguments.data) or {}).get("synthetic", False)
    write_manifest(
        out,
        stage="attack.py",
        settings=identity,
        started=started,
        outputs=clean_files(out),
        adds=True,
        synthetic=synthetic,
        **{name: fact for name, fact in facts.items() if name != "health"},
    )


def examples_wanted(job):
    """Return the attacks whose example for the figures is still to be made; they belong to untargeted paper sweeps."""
    from nosign import paper

    if job.condition != Condition() or job.kept:
        return []
    attacks = {cell.attack for cell in job.cells}
    return [name for name in paper.EXAMPLES if name in attacks and not example_path(job.results, name).is_file()]


def load_sweep(arguments, films, job):
    """Load the models and return the sweep of a job and the device it runs on."""
    from nosign.attacks.gradients import describe_device, select_device
    from nosign.classifiers import build
    from nosign.classifiers.logits import PROBES, find_logits
    from nosign.sweep.evaluation import Sweep

    device = select_device()
    print(describe_device(device), flush=True)
    some = films.pixels(slice(0, PROBES))
    targets = {
        name: find_logits(build.load(Path(arguments.models) / f"{name}.keras", films.size), some) for name in arguments.targets
    }
    source = job.source if job.source in targets else next(iter(targets))
    return Sweep(
        films,
        source,
        targets,
        condition=job.condition,
        steps=arguments.steps,
        seed=arguments.seed,
        batch=arguments.batch,
        folder=arguments.out,
    ), device


def progress_bar(work, what):
    """Return a progress bar over work counted in forward passes of a film."""
    from tqdm import tqdm

    return tqdm(total=work, desc=what, unit=" passes", unit_scale=True, mininterval=1 if sys.stderr.isatty() else 30)


def score_clean(sweep, out):
    """Return what clean.csv holds, read by `read_clean_logits`; write it if it is not there.

    Raises:
        UserError: a model gives no finite logits; nothing that it says of a film would mean anything.
    """
    import numpy as np

    from nosign.rows import read_clean_logits, write_rows

    path = out / CLEAN_ROWS
    if not path.is_file():
        with progress_bar(len(sweep.films) * len(sweep.logits), "clean films") as bar:
            frame = sweep.clean(bar.update)
        for name in sweep.logits:
            broken = ~np.isfinite(frame[logit_columns(name)]).all(axis=1)
            if broken.any():
                raise UserError(
                    f"{name}: its logits are not finite on {broken.sum()} of {len(frame)} clean films, film "
                    f"{frame['film'][broken.argmax()]} for one; train it again"
                )
        write_rows(path, frame)
    return read_clean_logits(out)[0]


def stored_clean_wanted(out, jobs):
    """Tell whether it is still to be measured what storing does to clean films, the control for stored attacks."""
    return any(job.is_stored(cell) for job in jobs for cell in job.cells) and not (out / CLEAN_STORED).is_file()


def score_stored_clean(sweep, out, clean):
    """Write what the models see in clean films after storing."""
    from nosign.rows import write_rows

    with progress_bar(len(sweep.films) * len(sweep.logits) * len(STORAGES), "clean films, stored") as bar:
        write_rows(out / CLEAN_STORED, sweep.clean_stored(clean, bar.update))


def turning_positions(sweep, name, control_films):
    """Return which films an attack's turning strengths are found on: all, or for a control the first so many of each class."""
    import numpy as np

    if not ATTACKS[name].control:
        return np.arange(len(sweep.films))
    labels = sweep.films.labels
    return np.sort(np.concatenate([np.flatnonzero(labels == label)[:control_films] for label in range(len(CLASSES))]))


def run_job(sweep, job, clean, control_films):
    """Run the cells of a job that are not finished, with a progress bar, and return its health report."""
    import numpy as np

    from nosign import rows
    from nosign.sweep import evaluation

    todo, without_boundary = job.unfinished(), job.without_boundary()
    without_turning = {name: turning_positions(sweep, name, control_films) for name in job.without_turning()}
    attacks = job.kept is None
    health = (read_manifest(job.folder) or {}).get("health") or {}
    with progress_bar(work_of(job, sweep, todo, without_boundary, without_turning), job.source) as bar:
        wants_gradients = (
            not health
            or without_boundary
            or any(
                ATTACKS[name].needs_gradient and not ATTACKS[name].random_start
                for name in [*without_turning, *(cell.attack for cell in todo)]
            )
        )
        if attacks and wants_gradients and sweep.health is None:
            bar.total += len(sweep.films) * evaluation.GRADIENT_COST
            bar.set_description(f"gradients of {job.source}")
            sweep.health = {**sweep.first_gradients(bar.update), "unbounded_accuracy": sweep.unbounded_accuracy()}
        health = sweep.health or health
        for name, positions in without_turning.items():
            bar.set_description(f"{job.source}: turning strengths of {ATTACKS[name].title}")
            rows.write_rows(job.turning_path(name), sweep.find_turning(name, clean, positions, bar.update))
        for cell in todo:
            bar.set_description(f"{job.source}: {ATTACKS[cell.attack].title} {cell.strength:g}")
            run_cell(sweep, job, cell, clean, bar.update)
        for name in without_boundary:
            bar.set_description(f"{job.source}: where {ATTACKS[name].title} becomes visible")
            rows.write_rows(job.boundary_path(name), sweep.find_boundaries(name, bar.update))
        for name in examples_wanted(job):
            bar.set_description(f"example of {ATTACKS[name].title}")
            with atomic_path(example_path(job.results, name)) as temporary:
                np.savez(temporary, **evaluation.find_example(sweep, job.source, name, clean))
    return evaluation.health_report(health, job, clean) if attacks else None


def work_of(job, sweep, todo, without_boundary, without_turning):
    """Return the work of some cells of a job and of some attacks' boundaries and turning strengths, in forward passes."""
    from nosign.attacks.turning import PASSES
    from nosign.sweep import evaluation

    targets = len(sweep.logits)
    per_film = sum(
        evaluation.cell_cost(cell, sweep.steps, targets, job.kept is None, len(job.storages_of(cell))) for cell in todo
    ) + len(without_boundary) * evaluation.boundary_cost(targets)
    return per_film * len(sweep.films) + sum(map(len, without_turning.values())) * PASSES * targets


def run_cell(sweep, job, cell, clean, advance):
    """Run one cell and write its files, and the films if they are wanted."""
    from nosign import rows

    if job.kept:
        result = sweep.run(cell, clean, advance, kept=rows.open_films(job.films_path(cell), sweep.films))
    elif job.save_films:
        # The films go first: the cell's file then vouches for them.
        with atomic_path(job.films_path(cell)) as temporary:
            result = sweep.run(
                cell, clean, advance, keep=rows.new_films(temporary, sweep.films), storages=job.storages_of(cell)
            )
    else:
        result = sweep.run(cell, clean, advance, storages=job.storages_of(cell))
    rows.write_cell(job.path(cell), result)


def print_summary(job, clean, health, seconds):
    """Print the source model's accuracy at the largest strength of each attack, and what is wrong with its gradients."""
    from nosign.rows import read_cell

    if job.source in clean:
        right = (clean[job.source] == clean["label"]).sum()
        print(
            f"\n{job.source}, white-box, {job.condition}: {right} of {len(clean)} clean films right "
            f"({100 * right / len(clean):.2f} %)"
        )
        names = dict.fromkeys(cell.attack for cell in job.cells)
        width = max((len(ATTACKS[name].title) for name in names), default=0)
        for name in names:
            cell = max((cell for cell in job.cells if cell.attack == name), key=lambda cell: cell.strength)
            frame, _ = read_cell(job.path(cell), clean)
            right = (frame[job.source] == frame["label"]).sum()
            print(
                f"  {ATTACKS[name].title:<{max(width, 8)}} at {cell.strength:<7g} {right} right ({100 * right / len(frame):.2f} %)"
            )
    for line in (health or {}).get("warnings", ()):
        print(f"  warning: {line}")
    print(f"wrote {job.folder} in {seconds:.0f} s", flush=True)


def parse_args(argv=None):
    """Return the parsed command line."""

    def strength(text):
        number = as_number(text)
        # Cells' paths name the strength with six digits.
        if not (math.isfinite(number) and number >= 0 and float(f"{number:g}") == number):
            raise argparse.ArgumentTypeError(
                f"{text} is not a strength: a finite number of at least 0 and at most six "
                "digits (a fraction of the grey range, such as 0.01)"
            )
        return number

    def names(known):
        return {
            "nargs": "+",
            "choices": tuple(known),
            "default": list(known),
            "metavar": "NAME",
            "help": f"any of {', '.join(known)}",
        }

    parser = argparse.ArgumentParser(prog="python attack.py", description=__doc__.split("\n")[0], formatter_class=HelpFormatter)
    parser.add_argument("--data", default="data", metavar="DIR", help="prepared films")
    parser.add_argument("--models", default="model", metavar="DIR", help="trained models")
    parser.add_argument("--out", default="results", metavar="DIR", help="where the results go")
    parser.add_argument(
        "--source",
        choices=(*BACKBONES, ALL_SOURCES),
        default=SOURCE,
        help="model whose gradients are followed; all: each target in turn",
    )
    parser.add_argument("--targets", **names(BACKBONES))
    parser.add_argument("--attacks", **{**names(ATTACKS), "default": list(PAPER_ATTACKS)})
    parser.add_argument(
        "--single-step-strengths",
        nargs="*",
        type=strength,
        default=list(SINGLE_STEP_STRENGTHS),
        metavar="STRENGTH",
        help="of FGSM, FGNM and controls; if none is given, only their turning strengths are found",
    )
    parser.add_argument(
        "--iterative-strengths",
        nargs="*",
        type=strength,
        default=list(ITERATIVE_STRENGTHS),
        metavar="STRENGTH",
        help="of iterative attacks; may be none",
    )
    parser.add_argument(
        "--control-films",
        type=whole_number(1),
        default=CONTROL_FILMS,
        metavar="FILMS",
        help=f"films of each class on which the turning strengths of {', '.join(CONTROLS)} are found",
    )
    parser.add_argument("--steps", type=whole_number(1), default=STEPS, help="steps of an iterative attack")
    parser.add_argument(
        "--protocol",
        choices=PROTOCOLS,
        default=PROTOCOLS[0],
        help="paper: the strength is each step's; budget: it is the whole L-inf budget of every attack",
    )
    parser.add_argument(
        "--norm",
        choices=NORMS,
        default=NORMS[0],
        help="norm of the budget ball; for l2 its radius is strength x sqrt(components)",
    )
    parser.add_argument(
        "--target", choices=CLASSES, metavar="CLASS", help=f"aim at one class instead of at any wrong one: {', '.join(CLASSES)}"
    )
    parser.add_argument(
        "--loss",
        choices=LOSSES,
        default=LOSSES[0],
        help="softmax, probabilities: two common mistakes, the softmax taken for logits and cross-entropy on "
        "clipped probabilities; for comparison only, confident films then have no gradient",
    )
    parser.add_argument(
        "--grey",
        choices=tuple(GREY),
        nargs="?",
        const="only",
        default="no",
        help="change all channels alike, so that a grey film stays grey; both: with and without",
    )
    parser.add_argument(
        "--storing-strengths",
        nargs="*",
        type=strength,
        default=list(STORING_STRENGTHS),
        metavar="STRENGTH",
        help="at these, of those that are run, measure what storing leaves; may be none",
    )
    parser.add_argument(
        "--storages",
        nargs="+",
        choices=tuple(STORAGES),
        default=list(STORAGES),
        metavar="STORAGE",
        help=f"ways of storing: any of {', '.join(STORAGES)}",
    )
    parser.add_argument(
        "--save-films",
        action="store_true",
        help="keep the adversarial films beside each cell, as float32 arrays [films, size, size, 3] (.npy)",
    )
    parser.add_argument(
        "--rescore", metavar="DIR", help="score the films that --save-films kept in this results folder; needs another --out"
    )
    parser.add_argument("--batch", type=whole_number(1), default=BATCH, help="films attacked at once; 64 is faster on a GPU")
    parser.add_argument("--films", type=whole_number(1), help="attack the first so many test films only")
    parser.add_argument("--seed", type=whole_number(0), default=0, help="of the random starts")
    add_seeds(parser)
    parser.add_argument("--overwrite", action="store_true", help="remove the cells of another run first")
    return parser.parse_args(argv)


def main(argv=None):
    """Attack and return the exit status."""
    for arguments in each_seed(parse_args(argv), "data", ("models", "out"), pair=True):
        attack_all(arguments)
    return 0


if __name__ == "__main__":
    raise SystemExit(run(main))
