"""Stage 2: fine-tune VGG16, InceptionV3 and DenseNet201 on the prepared films.

    python train_finetune.py --data data --out model

Writes <MODEL>.keras, <MODEL>.history.csv, <MODEL>.curves.png, models.csv (Table I) and manifest.json. A run that was
stopped goes on from its last finished epoch; a model that is finished is not trained again.
"""

import argparse
import json
import shutil
import time
from pathlib import Path

from nosign.arguments import LARGEST_SEED, add_seeds, as_number, each_seed, whole_number
from nosign.classifiers import BACKBONES, PREPROCESSING, check_buildable
from nosign.errors import UserError, run
from nosign.provenance import (atomic_path, describe_differences, locked, read_manifest, sha256_of_file, write_csv,
                               write_manifest, write_text)

BATCH = 64
# The paper's rate for the head: 5e-4 with legacy Keras's decay of 5e-6 a step.
HEAD_RATE, DECAY, HEAD_EPOCHS = 5e-4, 5e-6, 30
# The paper says "a relatively low rate" for the second phase and does not state its length.
FINE_TUNE_RATE, FINE_TUNE_EPOCHS = 1e-5, 20
# From scratch VGG16, which has no batch normalisation, needs a lower rate than the others.
SCRATCH_RATES, SCRATCH_EPOCHS = {"VGG16": 1e-4, "InceptionV3": 1e-3, "DenseNet201": 1e-3}, 30
WARM_UP_SHARE = 0.1
TABLE = "models.csv"
SETTINGS = "settings.json"


def train_all(arguments):
    """Train every model that is not there yet; see the module's docstring."""
    from nosign.dataset import open_split

    data, out = Path(arguments.data), Path(arguments.out)
    splits = {split: open_split(data, split) for split in ("train", "validation", "test")}
    films = {name: sha256_of_file(data / name) for name in ("index.csv", "images.npy")}
    wanted = {name: settings_of(arguments, name, films) for name in arguments.models}
    todo = [name for name in wanted if arguments.overwrite or has_begun(out, name, wanted[name])
            or not is_finished(out, name, wanted[name])]
    for name in todo:
        check_buildable(name, splits["train"].size, arguments.weights)
    for name in todo:
        check_unfinished(out, name, wanted[name], arguments.overwrite)
    if not todo:
        print(f"{out}: {', '.join(arguments.models)} are trained already; nothing to do")
    else:
        from nosign.gradients import select_device

        device = select_device()
        print(f"device: {device['device']} (Keras on {device['backend']})", flush=True)
        for name in todo:
            train(name, splits, out, wanted[name], device, arguments.tensorboard)
    print_table(out)


def settings_of(arguments, name, films):
    """Return what a trained model depends on."""
    scratch = arguments.weights == "none"
    settings = {"weights": arguments.weights, "preprocessing": arguments.preprocessing, "batch": arguments.batch,
                "seed": arguments.seed, "backbone_batch_norm": arguments.backbone_batch_norm,
                "head_epochs": 0 if scratch else arguments.head_epochs,
                "head_rate": None if scratch else arguments.head_rate,
                "epochs": arguments.epochs or (SCRATCH_EPOCHS if scratch else FINE_TUNE_EPOCHS),
                "rate": arguments.rate or (SCRATCH_RATES[name] if scratch else FINE_TUNE_RATE)}
    return {**settings, "films": films}


def has_begun(out, name, wanted):
    """Tell whether a training with these settings was stopped; it goes on even where it is to replace a finished model."""
    began = unfinished_folder(out, name) / SETTINGS
    return began.is_file() and not describe_differences(json.loads(began.read_text(encoding="utf-8")), wanted)


def is_finished(out, name, wanted):
    """Tell whether a model is trained; raise `UserError` if it was trained with other settings."""
    manifest = read_manifest(out)
    if manifest is None or name not in manifest["settings"] or not (out / f"{name}.keras").is_file():
        return False
    differing = describe_differences(manifest["settings"][name], wanted)
    if differing:
        raise UserError(f"{out}/{name}.keras: trained with other settings: {differing}; "
                        "choose another --out, or give --overwrite")
    return True


def check_unfinished(out, name, wanted, overwrite):
    """Prepare the folder of a training that may have been stopped; raise `UserError` if it began otherwise."""
    folder = unfinished_folder(out, name)
    began = folder / SETTINGS
    if overwrite:
        shutil.rmtree(folder, ignore_errors=True)
    elif began.is_file():
        differing = describe_differences(json.loads(began.read_text(encoding="utf-8")), wanted)
        if differing:
            raise UserError(f"{folder}: an unfinished training began with other settings: {differing}; give them again to "
                            "go on, or --overwrite to start anew")
    write_text(began, json.dumps(wanted) + "\n")


def unfinished_folder(out, name):
    """Return where a training keeps what it needs to go on."""
    return Path(out) / f".{name}.unfinished"


def train(name, splits, out, settings, device, tensorboard):
    """Train one model and write its files."""
    import keras
    import pandas as pd

    from nosign import classifiers
    from nosign.training import predict

    started = time.time()
    size = splits["train"].size
    model = classifiers.build(name, size, weights=settings["weights"], preprocessing=settings["preprocessing"],
                              seed=settings["seed"])
    print(f"\n{name}: {model.count_params():,} parameters, {size} px, {len(splits['train'])} training films", flush=True)
    folder = unfinished_folder(out, name)
    backbone = model.get_layer(name)
    phases = {}
    if settings["head_epochs"]:
        backbone.trainable = False
        phases["head"] = train_head(model, name, splits, settings, folder)
    backbone.trainable = True
    if settings["backbone_batch_norm"] == "frozen":
        for layer in backbone.layers:
            layer.trainable = not isinstance(layer, keras.layers.BatchNormalization)
    logits = classifiers.logits_of(model)
    phases["all"] = train_everything(logits, name, splits, settings, folder,
                                     out / "tensorboard" / name if tensorboard else None)
    seen = predict(logits, splits["test"], settings["batch"]).argmax(-1)
    row = {"model": name, "parameters": model.count_params(), "correct": int((seen == splits["test"].labels).sum()),
           "films": len(splits["test"]), "imagenet_top1": BACKBONES[name].top1, "imagenet_top5": BACKBONES[name].top5,
           "weights_sha256": classifiers.weights_sha256(model)}
    history = pd.concat(phases, names=["phase"]).reset_index("phase")
    write_csv(out / f"{name}.history.csv", history)
    draw_curves(history, name, out / f"{name}.curves.png")
    classifiers.save(model, out / f"{name}.keras")
    record(out, row, settings, device, started)
    shutil.rmtree(folder)
    print(f"{name}: {row['correct']} of {row['films']} test films right "
          f"({100 * row['correct'] / row['films']:.2f} %), {time.time() - started:.0f} s", flush=True)


def train_head(model, name, splits, settings, folder):
    """Phase 1: train the head on pooled features, which do not change while the backbone is frozen.

    One forward pass over the films serves all epochs.
    """
    import keras

    from nosign.classifiers import LOGITS
    from nosign.training import Batches, fit, predict

    pooled = keras.Model(model.input, model.get_layer("flatten").output)
    features = {split: predict(pooled, splits[split], settings["batch"], f"features of the {split} films")
                for split in ("train", "validation")}
    x = inputs = keras.Input(features["train"].shape[1:])
    for layer in ("head_batch_norm", "hidden", LOGITS):
        x = model.get_layer(layer)(x)
    head = keras.Model(inputs, x, name=f"{name}_head")
    rate = keras.optimizers.schedules.InverseTimeDecay(settings["head_rate"], decay_steps=1, decay_rate=DECAY)
    batches = Batches(features["train"], splits["train"].labels, settings["batch"], settings["seed"])
    return fit(head, batches, (features["validation"], splits["validation"].labels), rate, settings["head_epochs"],
               folder / "1-head", f"{name}, head")


def train_everything(logits, name, splits, settings, folder, tensorboard):
    """Phase 2: train backbone and head together, at a low rate; from scratch the only phase.

    Args:
        logits: keras.Model from films to logits.
    """
    import keras

    from nosign.training import Batches, fit

    batches = Batches(splits["train"], splits["train"].labels, settings["batch"], settings["seed"])
    if settings["weights"] == "none":
        steps = settings["epochs"] * len(batches)
        warm_up = round(steps * WARM_UP_SHARE)
        rate = keras.optimizers.schedules.CosineDecay(settings["rate"] / 10, steps - warm_up, alpha=0.0,
                                                      warmup_target=settings["rate"], warmup_steps=warm_up)
    else:
        rate = keras.optimizers.schedules.InverseTimeDecay(settings["rate"], decay_steps=1, decay_rate=DECAY)
    validation = splits["validation"], splits["validation"].labels
    return fit(logits, batches, validation, rate, settings["epochs"], folder / "2-all", name, tensorboard)


def draw_curves(history, name, path):
    """Draw loss and accuracy against the epoch, for training and validation films."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.ticker import MaxNLocator

    figure, panels = pyplot.subplots(1, 2, figsize=(7.2, 2.8), layout="constrained")
    epochs = range(1, len(history) + 1)
    for panel, (column, title) in zip(panels, (("loss", "Cross-entropy"), ("accuracy", "Accuracy (%)"))):
        scale = 100 if column == "accuracy" else 1
        panel.plot(epochs, history[column] * scale, color="#0072B2", marker="o", markersize=3, label="training films")
        panel.plot(epochs, history[f"val_{column}"] * scale, color="#D55E00", marker="s", markersize=3, linestyle="--",
                   label="validation films")
        head = int((history["phase"] == "head").sum())
        if head:
            panel.axvline(head + 0.5, color="0.6", linewidth=0.8)
            panel.text(head + 0.6, panel.get_ylim()[1], " everything", va="top", fontsize=7, color="0.3")
        panel.set(xlabel="Epoch", ylabel=title)
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    panels[0].legend(frameon=False, fontsize=8)
    figure.suptitle(name, fontsize=10)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=200, metadata={"Software": None})
    pyplot.close(figure)


def record(out, row, settings, device, started):
    """Enter a finished model into Table I and the manifest; another process may do so for another model."""
    import pandas as pd

    name = row["model"]
    with locked(out):
        manifest = read_manifest(out) or {}
        rows = {**{earlier["model"]: earlier for earlier in manifest.get("models", [])}, name: row}
        rows = [rows[known] for known in BACKBONES if known in rows]
        write_csv(out / TABLE, pd.DataFrame(rows))
        outputs = [path for known in rows for path in sorted(out.glob(f"{known['model']}.*"))] + [out / TABLE]
        write_manifest(out, stage="train_finetune.py", started=started, device=device, models=rows, outputs=outputs,
                       settings={**manifest.get("settings", {}), name: settings},
                       seconds_a_model={**manifest.get("seconds_a_model", {}), name: round(time.time() - started, 1)})


def print_table(out):
    """Print Table I as far as it is finished."""
    rows = (read_manifest(out) or {}).get("models", [])
    print(f"\n{'model':<14}{'parameters':>12}{'clean accuracy':>18}{'ImageNet top-1 / top-5':>26}")
    for row in rows:
        accuracy = f"{100 * row['correct'] / row['films']:.2f} % ({row['correct']}/{row['films']})"
        print(f"{row['model']:<14}{row['parameters']:>12,}{accuracy:>18}"
              f"{row['imagenet_top1']:>15.1f} % / {row['imagenet_top5']:.1f} %")
    print(f"wrote {out / TABLE}")


def parse_args(argv=None):
    """Return the parsed command line."""
    def learning_rate(text):
        number = as_number(text)
        if not 0 < number < 1:
            raise argparse.ArgumentTypeError(f"{text} is not a number between 0 and 1")
        return number

    parser = argparse.ArgumentParser(prog="python train_finetune.py", description=__doc__.split("\n")[0],
                                     formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--data", default="data", metavar="DIR", help="prepared films")
    parser.add_argument("--out", default="model", metavar="DIR", help="where the models go")
    parser.add_argument("--models", nargs="+", choices=tuple(BACKBONES), default=list(BACKBONES), metavar="NAME",
                        help=f"any of {', '.join(BACKBONES)}")
    parser.add_argument("--weights", default="imagenet", metavar="imagenet|none|DIR",
                        help="of the backbones: downloaded by Keras, from scratch, or a folder with Keras's own files")
    parser.add_argument("--preprocessing", choices=PREPROCESSING, default="paper",
                        help="inside the model: plain [0, 1], each backbone's own, or about zero mean and unit variance")
    parser.add_argument("--batch", type=whole_number(1), default=BATCH, help="films a step")
    parser.add_argument("--head-epochs", type=whole_number(1), default=HEAD_EPOCHS, help="with the backbone frozen")
    parser.add_argument("--head-rate", type=learning_rate, default=HEAD_RATE, help="learning rate of that phase")
    parser.add_argument("--epochs", type=whole_number(1),
                        help=f"with everything trainable; default {FINE_TUNE_EPOCHS}, from scratch {SCRATCH_EPOCHS}")
    parser.add_argument("--rate", type=learning_rate, help=f"learning rate of that phase; default {FINE_TUNE_RATE}, from "
                        f"scratch {', '.join(f'{name} {rate}' for name, rate in SCRATCH_RATES.items())}")
    parser.add_argument("--backbone-batch-norm", choices=("train", "frozen"), default="train",
                        help="whether the backbone's batch normalisation adapts once it is unfrozen")
    parser.add_argument("--seed", type=whole_number(0, LARGEST_SEED), default=0,
                        help="of the initial weights and the order of the films")
    add_seeds(parser, "seed-<n>/ of --data and --out")
    parser.add_argument("--tensorboard", action="store_true", help="write TensorBoard logs below the output folder")
    parser.add_argument("--overwrite", action="store_true", help="train again over the models of another run")
    return parser.parse_args(argv)


def main(argv=None):
    """Train the models and return the exit status."""
    for arguments in each_seed(parse_args(argv), ("data", "out")):
        train_all(arguments)
    return 0


if __name__ == "__main__":
    raise SystemExit(run(main))
