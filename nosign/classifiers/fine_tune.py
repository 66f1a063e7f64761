"""Stage 2: fine-tunes the classifiers in two phases, goes on where it was stopped, and enters what is finished into Table I."""

from __future__ import annotations

import argparse
import io
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nosign.classifiers.build import check_buildable
from nosign.classifiers.catalogue import BACKBONES
from nosign.errors import UserError
from nosign.files import alone, locked, remove_folder, remove_leftovers, write_bytes, write_csv, write_text
from nosign.manifest import describe_differences, read_manifest, write_manifest
from nosign.memory import needed_to_train, require, resident
from nosign.paper import HEAD_BATCH, HEAD_DECAY

if TYPE_CHECKING:
    import pandas as pd

    from nosign.dataset import FilmSet

HEAD_EPOCHS = 30
# Phase 2, everything: the paper says "a relatively low rate" and states neither rate nor length.
FINE_TUNE_BATCH, SCRATCH_EPOCHS = 32, 30
# Phase 2 and training from scratch: the rate rises from a tenth for this share of the steps, then falls to zero.
WARM_UP_SHARE = 0.1
TABLE = "models.csv"
SETTINGS = "settings.json"


def train_all(arguments: argparse.Namespace) -> None:
    """Train every model that is not there yet; `arguments` are the flags of train_finetune.py."""
    from nosign.dataset import film_hashes, open_split

    data, out = Path(arguments.data), Path(arguments.out)
    splits = {split: open_split(data, split) for split in ("train", "validation", "test")}
    films = film_hashes(data)
    wanted = {name: settings_of(arguments, name, films) for name in arguments.models}
    remove_leftovers(out)  # also where nothing is left to do: a training state takes hundreds of megabytes
    todo = [name for name in wanted if arguments.overwrite or is_left(out, name, wanted[name])]
    for name in todo:
        check_buildable(name, splits["train"].size, arguments.weights)
    if not todo:
        print(f"{out}: {', '.join(arguments.models)} are trained already; nothing to do")
    else:
        for name in todo:
            check_unfinished(out, name, wanted[name], arguments.overwrite)
        train_those({name: wanted[name] for name in todo}, splits, out, arguments)
    print_table(out)


def train_those(
    wanted: Mapping[str, dict[str, Any]], splits: Mapping[str, FilmSet], out: Path, arguments: argparse.Namespace
) -> None:
    """Train models one after the other, none that another process is training."""
    from nosign.backend import describe_device, select_device

    device = select_device()
    print(describe_device(device), flush=True)
    for name, settings in wanted.items():
        with alone(out, f"trains {name}", name):
            # Hours may have passed, and another process may have trained it or begun to.
            check_unfinished(out, name, settings, arguments.overwrite)
            if arguments.overwrite or is_left(out, name, settings):
                begin(out, name, settings, arguments.overwrite)
                train(name, splits, out, settings, device, arguments.tensorboard)
            else:
                print(f"{name}: trained by another process meanwhile")


def settings_of(arguments: argparse.Namespace, name: str, films: dict) -> dict:
    """Return what a trained model depends on."""
    scratch, backbone = arguments.weights == "none", BACKBONES[name]
    batch_norm = "train" if scratch else "frozen"
    settings = {
        "weights": arguments.weights,
        "seed": arguments.seed,
        "preprocessing": arguments.preprocessing or ("paper" if scratch else "imagenet"),
        "batch": arguments.batch or (HEAD_BATCH if scratch else FINE_TUNE_BATCH),
        "head_batch": None if scratch else arguments.batch or HEAD_BATCH,
        "head_epochs": 0 if scratch else arguments.head_epochs,
        "head_rate": None if scratch else arguments.head_rate,
        "epochs": arguments.epochs or (SCRATCH_EPOCHS if scratch else backbone.fine_tune_epochs),
        "rate": arguments.rate or (backbone.scratch_rate if scratch else backbone.fine_tune_rate),
        "backbone_batch_norm": arguments.backbone_batch_norm or batch_norm,
        "head_batch_norm": arguments.head_batch_norm or batch_norm,
    }
    return {**settings, "films": films}


def is_left(out: Path, name: str, wanted: dict) -> bool:
    """Tell whether a model is to be trained: it is not there, or its training, or that of a successor, was stopped.

    Raises:
        UserError: it is there and was trained with other settings.
    """
    began = read_begun(out, name)
    return began is not None and not describe_differences(began, wanted) or not is_finished(out, name, wanted)


def read_begun(out: Path, name: str) -> dict | None:
    """Return the settings of a training that was stopped, None if there is none.

    Raises:
        UserError: the file does not hold any.
    """
    path = unfinished_folder(out, name) / SETTINGS
    if not path.is_file():
        return None
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        settings = None
    if not isinstance(settings, dict):
        raise UserError(f"{path}: not the settings of an unfinished training; remove the folder {path.parent} to start anew")
    return settings


def is_finished(out: Path, name: str, wanted: dict) -> bool:
    """Tell whether a model is trained; raise `UserError` if it was trained with other settings."""
    manifest = read_manifest(out)
    if manifest is None or name not in manifest["settings"] or not (out / f"{name}.keras").is_file():
        return False
    differing = describe_differences(manifest["settings"][name], wanted)
    if differing:
        raise UserError(
            f"{out}/{name}.keras: trained with other settings: {differing}; choose another --out, or give --overwrite"
        )
    return True


def check_unfinished(out: Path, name: str, wanted: dict, overwrite: bool) -> None:
    """Raise `UserError` if a training was stopped that began otherwise and is not to be overwritten."""
    began = None if overwrite else read_begun(out, name)
    if began is not None:
        differing = describe_differences(began, wanted)
        if differing:
            raise UserError(
                f"{unfinished_folder(out, name)}: an unfinished training began with other settings: {differing}; give them "
                "again to go on, or --overwrite to start anew"
            )


def begin(out: Path, name: str, wanted: dict, overwrite: bool) -> None:
    """Make the folder of a training, or keep that of one that was stopped."""
    folder = unfinished_folder(out, name)
    if overwrite:
        remove_folder(folder)
    write_text(folder / SETTINGS, json.dumps(wanted) + "\n")


def unfinished_folder(out: Path, name: str) -> Path:
    """Return where a training keeps what it needs to go on."""
    return Path(out) / f".{name}.unfinished"


def train(
    name: str, splits: Mapping[str, FilmSet], out: Path, settings: dict[str, Any], device: dict[str, Any], tensorboard: bool
) -> None:
    """Train one model and write its files."""
    from nosign.classifiers import build
    from nosign.classifiers.training import predict

    started = time.time()
    size = splits["train"].size
    model = build.build(name, size, weights=settings["weights"], preprocessing=settings["preprocessing"], seed=settings["seed"])
    print(f"\n{name}: {model.count_params():,} parameters, {size} px, {len(splits['train'])} training films", flush=True)
    if not device["accelerator"]:
        print(require(needed_to_train(model, settings["batch"]), f"training {name}", resident()), flush=True)
    folder = unfinished_folder(out, name)
    history, kept = train_phases(model, name, splits, settings, folder, out / "tensorboard" / name if tensorboard else None)
    seen = predict(build.logits_of(model), splits["test"], settings["batch"]).argmax(-1)
    row = {
        "model": name,
        "parameters": model.count_params(),
        "correct": int((seen == splits["test"].labels).sum()),
        "films": len(splits["test"]),
        "imagenet_top1": BACKBONES[name].top1,
        "imagenet_top5": BACKBONES[name].top5,
        "weights_sha256": build.weights_sha256(model),
        **kept,
    }
    write_csv(out / f"{name}.history.csv", history)
    draw_curves(history, name, out / f"{name}.curves.png")
    build.save(model, out / f"{name}.keras")
    record(out, row, settings, device, started)
    remove_folder(folder)
    print(
        f"{name}: {row['correct']} of {row['films']} test films right "
        f"({100 * row['correct'] / row['films']:.2f} %), {time.time() - started:.0f} s",
        flush=True,
    )


def train_phases(
    model: Any, name: str, splits: Mapping[str, FilmSet], settings: Mapping[str, Any], folder: Path, tensorboard: Path | None
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Train the head, then everything; leave the model with the weights of the best validation epoch of both phases.

    Args:
        model: keras.Model as `nosign.classifiers.build.build` returns it.
        folder: where the state of an unfinished training is kept.

    Returns:
        (history as `mark_kept` returns it, dict of facts about the weights that are kept: phase, epoch, warning or "", how
        many convolutions there are, and in how many the kernel differs from the one that training began with).
    """
    import pandas as pd

    from nosign.classifiers import build

    phases = {}
    if settings["head_epochs"]:
        model.get_layer(name).trainable = False
        phases["head"] = train_head(model, name, splits, settings, folder)
    build.unfreeze(model, name, settings["backbone_batch_norm"], settings["head_batch_norm"])
    before = model.get_weights()
    kernels = build.convolution_kernels(model, name)
    phases["all"] = train_everything(build.logits_of(model), name, splits, settings, folder, tensorboard)
    history = mark_kept(pd.concat(phases, names=["phase"]).reset_index("phase"))
    kept = history[history["kept"]].iloc[0]
    if kept["phase"] == "head":
        model.set_weights(before)
        print(f"warning: {name}: {kept['warning']}", flush=True)
    after = build.convolution_kernels(model, name)
    changed = sum((old != new).any() for old, new in zip(kernels, after))
    return history, {
        "phase_kept": kept["phase"],
        "epoch_kept": int(kept["epoch"]),
        "convolutions": len(after),
        "convolutions_changed": int(changed),
        "warning": kept["warning"],
    }


def mark_kept(history: pd.DataFrame) -> pd.DataFrame:
    """Mark the epoch whose weights are kept: the lowest validation loss of both phases.

    Args:
        history: frame, one row per epoch, with `phase` and `val_loss`.

    Returns:
        The frame with the columns `kept` (True in one row) and `warning` (text in that row if it is one of phase 1).
    """
    best = history["val_loss"].reset_index(drop=True).idxmin()
    marked = history.assign(kept=[row == best for row in range(len(history))], warning="").reset_index(drop=True)
    if marked["phase"][best] == "head" and (marked["phase"] == "all").any():
        losses = marked.groupby("phase")["val_loss"].min()
        marked.loc[best, "warning"] = (
            f"phase 2 did not improve on phase 1 (validation loss {losses['all']:.4f} against "
            f"{losses['head']:.4f}): the weights of phase 1 are kept, the backbone's are untrained"
        )
    return marked


def train_head(model: Any, name: str, splits: Mapping[str, FilmSet], settings: Mapping[str, Any], folder: Path) -> pd.DataFrame:
    """Phase 1: train the head on pooled features, which do not change while the backbone is frozen.

    One forward pass over the films serves all epochs.
    """
    import keras

    from nosign.classifiers.build import LOGITS
    from nosign.classifiers.training import Batches, fit, predict

    pooled = keras.Model(model.input, model.get_layer("flatten").output)
    features = {
        split: predict(pooled, splits[split], settings["batch"], f"features of the {split} films")
        for split in ("train", "validation")
    }
    x = inputs = keras.Input(features["train"].shape[1:])
    for layer in ("head_batch_norm", "hidden", LOGITS):
        x = model.get_layer(layer)(x)
    head = keras.Model(inputs, x, name=f"{name}_head")
    rate = keras.optimizers.schedules.InverseTimeDecay(settings["head_rate"], decay_steps=1, decay_rate=HEAD_DECAY)
    batches = Batches(features["train"], splits["train"].labels, settings["head_batch"], settings["seed"])
    return fit(
        head,
        batches,
        (features["validation"], splits["validation"].labels),
        rate,
        settings["head_epochs"],
        folder / "1-head",
        f"{name}, head",
    )


def train_everything(
    logits: Any, name: str, splits: Mapping[str, FilmSet], settings: Mapping[str, Any], folder: Path, tensorboard: Path | None
) -> pd.DataFrame:
    """Phase 2: train backbone and head together; from scratch the only phase.

    Args:
        logits: keras.Model from films to logits.
    """
    import keras

    from nosign.classifiers.training import Batches, fit

    batches = Batches(splits["train"], splits["train"].labels, settings["batch"], settings["seed"])
    steps = settings["epochs"] * len(batches)
    warm_up = round(steps * WARM_UP_SHARE)
    rate = keras.optimizers.schedules.CosineDecay(
        settings["rate"] / 10, steps - warm_up, alpha=0.0, warmup_target=settings["rate"], warmup_steps=warm_up
    )
    validation = splits["validation"], splits["validation"].labels
    return fit(logits, batches, validation, rate, settings["epochs"], folder / "2-all", name, tensorboard)


def draw_curves(history: pd.DataFrame, name: str, path: Path) -> None:
    """Draw loss and accuracy against the epoch, for training and validation films, and mark the epoch that is kept."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.ticker import MaxNLocator

    figure, panels = pyplot.subplots(1, 2, figsize=(7.2, 2.8), layout="constrained")
    epochs, kept = range(1, len(history) + 1), 1 + list(history["kept"]).index(True)
    for panel, (column, title) in zip(panels, (("loss", "Cross-entropy"), ("accuracy", "Accuracy (%)"))):
        scale = 100 if column == "accuracy" else 1
        panel.plot(epochs, history[column] * scale, color="#0072B2", marker="o", markersize=3, label="training films")
        panel.plot(
            epochs,
            history[f"val_{column}"] * scale,
            color="#D55E00",
            marker="s",
            markersize=3,
            linestyle="--",
            label="validation films",
        )
        head = int((history["phase"] == "head").sum())
        if head:
            panel.axvline(head + 0.5, color="0.6", linewidth=0.8)
            panel.text(head + 0.6, panel.get_ylim()[1], " everything", va="top", fontsize=7, color="0.3")
        panel.axvline(kept, color="#009E73", linewidth=0.8, linestyle=":", label="weights kept")
        panel.set(xlabel="Epoch", ylabel=title)
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    panels[0].legend(frameon=False, fontsize=8)
    figure.suptitle(name, fontsize=10)
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=200, metadata={"Software": None})
    pyplot.close(figure)
    write_bytes(path, content.getvalue())


def record(out: Path, row: dict[str, Any], settings: dict[str, Any], device: dict[str, Any], started: float) -> None:
    """Enter a finished model into Table I and the manifest; another process may do so for another model."""
    import pandas as pd

    name = row["model"]
    with locked(out):
        manifest = read_manifest(out) or {}
        row_of = {**{earlier["model"]: earlier for earlier in manifest.get("models", [])}, name: row}
        rows = [row_of[known] for known in BACKBONES if known in row_of]
        write_csv(out / TABLE, pd.DataFrame(rows))
        outputs = [path for known in rows for path in sorted(out.glob(f"{known['model']}.*"))] + [out / TABLE]
        write_manifest(
            out,
            stage="train_finetune.py",
            started=started,
            device=device,
            models=rows,
            outputs=outputs,
            adds=True,
            settings={**manifest.get("settings", {}), name: settings},
            seconds_a_model={**manifest.get("seconds_a_model", {}), name: round(time.time() - started, 1)},
        )


def print_table(out: Path) -> None:
    """Print Table I as far as it is finished."""
    rows = (read_manifest(out) or {}).get("models", [])
    print(f"\n{'model':<14}{'parameters':>12}{'clean accuracy':>18}{'ImageNet top-1 / top-5':>26}")
    for row in rows:
        accuracy = f"{100 * row['correct'] / row['films']:.2f} % ({row['correct']}/{row['films']})"
        print(
            f"{row['model']:<14}{row['parameters']:>12,}{accuracy:>18}"
            f"{row['imagenet_top1']:>15.1f} % / {row['imagenet_top5']:.1f} %"
        )
    for row in rows:
        if row.get("warning"):
            print(f"warning: {row['model']}: {row['warning']}")
    print(f"wrote {out / TABLE}")
