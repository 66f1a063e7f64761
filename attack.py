"""Stage 3: attack the test films with gradients from one model and test all models on the result.

    python attack.py --data data --models model --out results

Writes clean.csv; below attacks/<SOURCE>/<condition>/<attack>/ one CSV per cell (attack and strength) with what belongs to it,
and turning.csv, the smallest strength that turns each film, with --stored-turning turning.8bit.csv, the same of films in 8
bits; examples/*.npz for the figures; manifest.json. A run that was stopped goes on from its last finished cell. With --rescore
it attacks nothing: it scores films that --save-films kept, by whatever models are given.
"""

import argparse

from nosign.attacks.catalogue import ATTACKS, CONTROLS, LOSSES, NORMS, PROTOCOLS, UNIVERSAL
from nosign.classifiers.catalogue import BACKBONES
from nosign.dataset import CLASSES
from nosign.measures.storage import STORAGES
from nosign.paper import ITERATIVE_STRENGTHS, PAPER_ATTACKS, SINGLE_STEP_STRENGTHS, STEPS
from nosign.script import HelpFormatter, add_seeds, each_seed, factor, names, run, strength, whole_number
from nosign.sweep.options import (
    ALL_SOURCES,
    ATTACKED_SPLITS,
    BATCH,
    CONTROL_FILMS,
    GREY,
    SOURCE,
    STORING_STRENGTHS,
    UNIVERSAL_FILMS,
    shard,
)


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Return the parsed command line."""
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
    parser.add_argument(
        "--twin", metavar="DIR", help="another folder of models: its network of the source's name is one more target"
    )
    parser.add_argument("--attacks", **{**names(ATTACKS), "default": list(PAPER_ATTACKS)})
    parser.add_argument(
        "--single-step-strengths",
        nargs="*",
        type=strength,
        default=list(SINGLE_STEP_STRENGTHS),
        metavar="STRENGTH",
        help="of FGSM, FGNM, universal attacks and controls; if none is given, only their turning strengths are found",
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
    parser.add_argument(
        "--universal-films",
        type=whole_number(len(CLASSES)),
        default=UNIVERSAL_FILMS,
        metavar="FILMS",
        help=f"training films on which {', '.join(UNIVERSAL)} are fitted, as many of each class",
    )
    parser.add_argument(
        "--stored-turning",
        action="store_true",
        help="also find the turning strengths, on the source model, of films that are rounded to 8 bits",
    )
    parser.add_argument(
        "--iterative-turning",
        type=whole_number(0),
        default=0,
        metavar="FILMS",
        help="films of each class on which turning strengths of iterative attacks are found by bisection, on the source "
        "model; each takes a dozen attacks",
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
        "--step-factor",
        type=factor,
        default=1.0,
        metavar="FACTOR",
        help="protocol budget: each step is so many times strength / steps, clipped to the ball",
    )
    parser.add_argument(
        "--restarts", type=whole_number(1), default=1, help="random starts of attacks that have them; each film keeps its best"
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
    parser.add_argument(
        "--split", choices=ATTACKED_SPLITS, default=ATTACKED_SPLITS[0], help="films to attack; settings are tuned on validation"
    )
    parser.add_argument("--films", type=whole_number(1), help="attack the first so many films of the split only")
    parser.add_argument(
        "--shard",
        type=shard,
        metavar="I/N",
        help="attack one of N parts of the films, into shards/I-of-N/ of --out; once all are there, the same command without "
        "--shard joins them",
    )
    parser.add_argument("--seed", type=whole_number(0), default=0, help="of the random starts")
    add_seeds(parser)
    parser.add_argument("--overwrite", action="store_true", help="remove the cells of another run first")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Attack and return the exit status."""
    arguments = parse_args(argv)

    # The help must not wait for what this imports.
    from nosign.sweep.run import attack_all

    for one in each_seed(arguments, "data", ("models", "out"), pair=True):
        attack_all(one)
    return 0


if __name__ == "__main__":
    raise SystemExit(run(main))
