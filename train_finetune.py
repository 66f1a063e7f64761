"""Stage 2: fine-tune VGG16, InceptionV3 and DenseNet201 on the prepared films.

    python train_finetune.py --data data --out model

Writes <MODEL>.keras, <MODEL>.history.csv, <MODEL>.curves.png, models.csv (Table I) and manifest.json. A run that was
stopped goes on from its last finished epoch; a model that is finished is not trained again.
"""

import argparse

from nosign.classifiers.catalogue import BACKBONES, PREPROCESSING
from nosign.classifiers.fine_tune import FINE_TUNE_BATCH, HEAD_EPOCHS, SCRATCH_EPOCHS, WARM_UP_SHARE, train_all
from nosign.paper import HEAD_BATCH, HEAD_RATE
from nosign.script import LARGEST_SEED, HelpFormatter, add_seeds, each_seed, learning_rate, names, run, whole_number


def per_model(what: str) -> str:
    """Return one number for each backbone as text for --help."""
    return ", ".join(f"{name} {getattr(backbone, what):g}" for name, backbone in BACKBONES.items())


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Return the parsed command line."""
    parser = argparse.ArgumentParser(
        prog="python train_finetune.py", description=__doc__.split("\n")[0], formatter_class=HelpFormatter
    )
    parser.add_argument("--data", default="data", metavar="DIR", help="prepared films")
    parser.add_argument("--out", default="model", metavar="DIR", help="where the models go")
    parser.add_argument("--models", **names(BACKBONES))
    parser.add_argument(
        "--weights",
        default="imagenet",
        metavar="imagenet|none|DIR",
        help="of the backbones: downloaded by Keras, from scratch, or a folder with Keras's own files",
    )
    parser.add_argument(
        "--preprocessing",
        choices=PREPROCESSING,
        help="inside the model. paper: plain [0, 1]; imagenet: what the backbone was pre-trained with; standardise: "
        "about zero mean and unit variance. By itself imagenet, our choice; from scratch paper",
    )
    parser.add_argument(
        "--batch",
        type=whole_number(1),
        help=f"films a step; by itself {FINE_TUNE_BATCH} in phase 2, otherwise {HEAD_BATCH} as in the paper",
    )
    parser.add_argument(
        "--seed", type=whole_number(0, LARGEST_SEED), default=0, help="of the initial weights and the order of the films"
    )
    parser.add_argument("--tensorboard", action="store_true", help="write TensorBoard logs below the output folder")
    parser.add_argument("--overwrite", action="store_true", help="train again over the models of another run")
    head = parser.add_argument_group("phase 1, the head on the frozen backbone", "left out from scratch")
    head.add_argument("--head-epochs", type=whole_number(1), default=HEAD_EPOCHS, help="cheap: features are computed once")
    head.add_argument("--head-rate", type=learning_rate, default=HEAD_RATE, help="learning rate, the paper's")
    everything = parser.add_argument_group(
        "phase 2, everything; from scratch the only phase",
        f"The rate rises for the first {WARM_UP_SHARE:.0%} of the steps and falls to zero along a cosine. The weights of the "
        "best validation epoch of both phases are kept, with a warning if it is one of phase 1.",
    )
    everything.add_argument(
        "--epochs",
        type=whole_number(1),
        help=f"passes over the films; by itself {per_model('fine_tune_epochs')}, from scratch {SCRATCH_EPOCHS}",
    )
    everything.add_argument(
        "--rate",
        type=learning_rate,
        help=f"largest learning rate; by itself {per_model('fine_tune_rate')}, from scratch {per_model('scratch_rate')}",
    )
    for part, reason in (
        ("backbone", "its pre-trained averages; adapting them costs more than it gains"),
        ("head", "phase 1's averages; adapting, they lag behind features that move"),
    ):
        everything.add_argument(
            f"--{part}-batch-norm",
            choices=("train", "frozen"),
            help=f"frozen keeps {reason}. By itself frozen, from scratch train",
        )
    add_seeds(parser)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Train the models and return the exit status."""
    for arguments in each_seed(parse_args(argv), "data", ("out",)):
        train_all(arguments)
    return 0


if __name__ == "__main__":
    raise SystemExit(run(main))
