"""Stage 3: attack the test films with gradients from one model and test all models on the result.

    python attack.py --data data --models model --out results

Writes clean.csv, one CSV a cell (attack and strength) below attacks/<SOURCE>/<protocol>/, examples/*.npz for the
figures, and manifest.json. A run that was stopped goes on from its last finished cell.
"""

import argparse
import math
import shutil
import sys
import time
from pathlib import Path

from nosign.arguments import whole_number
from nosign.attacks import ATTACKS, ITERATIVE_STRENGTHS, PROTOCOLS, SINGLE_STEP_STRENGTHS
from nosign.classifiers import BACKBONES
from nosign.errors import UserError, run
from nosign.provenance import (MANIFEST, atomic_path, check_settings, read_manifest, sha256_of_file, sha256_of_model, write_csv,
                               write_manifest)

SOURCE = "VGG16"
STEPS = 10
# The paper's groups of 64 test films.
BATCH = 64
ADVICE = "choose another --out, or give --overwrite to remove them"


def attack_all(arguments):
    """Run stage 3; see the module's docstring."""
    import numpy as np

    from nosign import evaluation
    from nosign.dataset import open_split

    started = time.time()
    out = Path(arguments.out)
    if arguments.source not in arguments.targets:
        raise UserError(f"--source {arguments.source} is not among the targets {' '.join(arguments.targets)}; add it")
    films = open_split(arguments.data, "test").head(arguments.films)
    identity, settings = settings_of(arguments, len(films))
    cells = evaluation.plan(arguments.attacks, arguments.single_step_strengths, arguments.iterative_strengths)
    # A model that cannot be used must not cost the results that it was to replace.
    loaded = load_sweep(arguments, films) if arguments.overwrite else None
    prepare_output(out, identity, settings, arguments, started)
    todo = [cell for cell in cells if not evaluation.cell_path(out, arguments.source, arguments.protocol, cell).is_file()]
    wanted = [name for name in evaluation.EXAMPLES if arguments.protocol == "paper" and name in arguments.attacks
              and not example_path(out, name).is_file()]
    if not todo and not wanted and (out / evaluation.CLEAN).is_file():
        print(f"{out}: all {len(cells)} cells are finished; nothing to do")
        return
    sweep, device = loaded or load_sweep(arguments, films)
    print(f"{len(films)} test films, {len(cells)} cells, {len(cells) - len(todo)} of them finished", flush=True)
    clean = run_cells(sweep, out, arguments, todo)
    for name in wanted:
        with atomic_path(example_path(out, name)) as temporary:
            np.savez(temporary, **evaluation.find_example(sweep, arguments.source, name, clean))
    write_manifests(out, identity, settings, arguments, started, device=device, finished=True)
    print_summary(out, arguments, cells, clean, time.time() - started)


def settings_of(arguments, films):
    """Return what clean.csv depends on and what the cells depend on besides."""
    data, models = Path(arguments.data), Path(arguments.models)
    identity = {"films": films, **{name: sha256_of_file(data / name) for name in ("index.csv", "images.npy")},
                "models": {name: sha256_of_model(models / f"{name}.keras") for name in arguments.targets}}
    return identity, {**identity, "source": arguments.source, "protocol": arguments.protocol, "steps": arguments.steps,
                      "seed": arguments.seed, "batch": arguments.batch}


def prepare_output(out, identity, settings, arguments, started):
    """Make room for this run's cells, or raise `UserError` if those of another run are in the way."""
    from nosign import evaluation

    folder = evaluation.sweep_folder(out, arguments.source, arguments.protocol)
    if arguments.overwrite:
        remove_cells(out, folder, keep_other_sweeps=same_settings(out, identity))
    results = [*out.glob(evaluation.CLEAN), *(out / "attacks").rglob("[!.]*.csv")]
    for place, wanted in ((out, identity), (folder, settings)):
        if any(path.is_relative_to(place) for path in results) and not check_settings(place, wanted, ADVICE):
            raise UserError(f"{place}: holds results but no manifest that says what they are; {ADVICE}")
    if not (same_settings(out, identity) and same_settings(folder, settings)):
        write_manifests(out, identity, settings, arguments, started, finished=False)


def same_settings(folder, settings):
    """Tell whether a folder has a manifest with these settings."""
    try:
        return check_settings(folder, settings, ADVICE) is not None
    except UserError:
        return False


def remove_cells(out, folder, keep_other_sweeps):
    """Remove the cells of this sweep; of all sweeps, if films or models are others."""
    from nosign import evaluation

    shutil.rmtree(folder if keep_other_sweeps else out / "attacks", ignore_errors=True)
    shutil.rmtree(out / "examples", ignore_errors=True)
    if not keep_other_sweeps:
        (out / evaluation.CLEAN).unlink(missing_ok=True)
        (out / MANIFEST).unlink(missing_ok=True)


def write_manifests(out, identity, settings, arguments, started, **facts):
    """Write the manifests of the results and of this sweep."""
    from nosign import evaluation

    folder = evaluation.sweep_folder(out, arguments.source, arguments.protocol)
    write_manifest(folder, stage="attack.py", settings=settings, started=started, seed=arguments.seed,
                   outputs=sorted(folder.glob("*/[!.]*.csv")), **facts)
    clean = out / evaluation.CLEAN
    synthetic = (read_manifest(arguments.data) or {}).get("synthetic", False)
    write_manifest(out, stage="attack.py", settings=identity, started=started, outputs=[clean] if clean.is_file() else [],
                   synthetic=synthetic, **facts)


def example_path(out, attack):
    """Return where an attack's example for the figures is kept."""
    return out / "examples" / f"{attack}.npz"


def load_sweep(arguments, films):
    """Load the models and return the sweep and the device it runs on."""
    from nosign import classifiers
    from nosign.evaluation import Sweep
    from nosign.gradients import select_device

    device = select_device()
    print(f"device: {device['device']} (Keras on {device['backend']})", flush=True)
    targets = {name: classifiers.logits_of(classifiers.load(Path(arguments.models) / f"{name}.keras", films.size))
               for name in arguments.targets}
    return Sweep(films, arguments.source, targets, protocol=arguments.protocol, steps=arguments.steps, seed=arguments.seed,
                 batch=arguments.batch), device


def run_cells(sweep, out, arguments, todo):
    """Run the cells that are not finished, with a progress bar, and return the frame of clean.csv."""
    import pandas as pd
    from tqdm import tqdm

    from nosign import evaluation

    clean_path = out / evaluation.CLEAN
    work = len(sweep.films) * sum(evaluation.cell_cost(cell, arguments.steps, len(arguments.targets)) for cell in todo)
    with tqdm(total=work, unit=" passes", unit_scale=True, mininterval=1 if sys.stderr.isatty() else 30) as bar:
        if not clean_path.is_file():
            bar.total += len(sweep.films) * len(arguments.targets)
            bar.set_description("clean films")
            write_csv(clean_path, sweep.clean(bar.update))
        clean = pd.read_csv(clean_path)
        if any(not ATTACKS[cell.attack].random_start for cell in todo):
            bar.total += len(sweep.films) * evaluation.GRADIENT_COST
            bar.set_description("gradients at the films")
            without = sweep.first_gradients(out, bar.update)
            if without:
                bar.write(f"{without} of {len(sweep.films)} films have no gradient to follow: {arguments.source} is saturated "
                          "there")
        for cell in todo:
            bar.set_description(f"{ATTACKS[cell.attack].title} {cell.strength:g}")
            frame = sweep.run(cell, clean, bar.update)
            evaluation.write_cell(evaluation.cell_path(out, arguments.source, arguments.protocol, cell), frame)
    return clean


def print_summary(out, arguments, cells, clean, seconds):
    """Print the source model's accuracy at the largest strength of each attack."""
    import pandas as pd

    from nosign import evaluation

    source = arguments.source
    right = (clean[source] == clean["label"]).sum()
    print(f"\n{source}, white-box: {right} of {len(clean)} clean films right ({100 * right / len(clean):.2f} %)")
    for name in arguments.attacks:
        cell = max((cell for cell in cells if cell.attack == name), key=lambda cell: cell.strength)
        frame = pd.read_csv(evaluation.cell_path(out, source, arguments.protocol, cell))
        right = (frame[source] == frame["label"]).sum()
        print(f"  {ATTACKS[name].title:<6} at {cell.strength:<7g} {right} right ({100 * right / len(frame):.2f} %)")
    print(f"wrote {evaluation.sweep_folder(out, source, arguments.protocol)} in {seconds:.0f} s; "
          "next: python data_figure.py")


def parse_args(argv=None):
    """Return the parsed command line."""
    def strength(text):
        number = float(text)
        # Cells' paths name the strength with six digits.
        if not (math.isfinite(number) and number >= 0 and float(f"{number:g}") == number):
            raise argparse.ArgumentTypeError(f"{text} is not a strength: a finite number of at least 0 and at most six "
                                             "digits (a fraction of the grey range, such as 0.01)")
        return number

    def names(known):
        return {"nargs": "+", "choices": tuple(known), "default": list(known), "metavar": "NAME",
                "help": f"any of {', '.join(known)}"}

    parser = argparse.ArgumentParser(prog="python attack.py", description=__doc__.split("\n")[0],
                                     formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--data", default="data", metavar="DIR", help="prepared films")
    parser.add_argument("--models", default="model", metavar="DIR", help="trained models")
    parser.add_argument("--out", default="results", metavar="DIR", help="where the results go")
    parser.add_argument("--source", choices=tuple(BACKBONES), default=SOURCE, help="model whose gradients are followed")
    parser.add_argument("--targets", **names(BACKBONES))
    parser.add_argument("--attacks", **names(ATTACKS))
    parser.add_argument("--single-step-strengths", nargs="+", type=strength, default=list(SINGLE_STEP_STRENGTHS),
                        metavar="STRENGTH", help="of FGSM and FGNM")
    parser.add_argument("--iterative-strengths", nargs="+", type=strength, default=list(ITERATIVE_STRENGTHS),
                        metavar="STRENGTH", help="of the others")
    parser.add_argument("--steps", type=whole_number(1), default=STEPS, help="of an iterative attack")
    parser.add_argument("--protocol", choices=PROTOCOLS, default=PROTOCOLS[0],
                        help="paper: the strength is each step's; budget: it is the whole L-inf budget of every attack")
    parser.add_argument("--batch", type=whole_number(1), default=BATCH, help="films attacked at once")
    parser.add_argument("--films", type=whole_number(1), help="attack the first so many test films only")
    parser.add_argument("--seed", type=whole_number(0), default=0, help="of the random starts")
    parser.add_argument("--overwrite", action="store_true", help="remove the cells of another run first")
    return parser.parse_args(argv)


def main(argv=None):
    """Attack and return the exit status."""
    attack_all(parse_args(argv))
    return 0


if __name__ == "__main__":
    raise SystemExit(run(main))
