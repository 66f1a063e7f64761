"""Trains a classifier so that a run which is stopped at any moment goes on and ends with the same weights.

The loop is our own: `keras.Model.fit` serves films through TensorFlow's generator data set, which makes malloc return
all freed memory at once (VGG16's steps then take 1.4 times as long on a CPU), shuffles with a generator whose state a
resumed run does not have, and compiles anew for a short last batch.
"""

from __future__ import annotations

import io
import re
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import keras
import numpy as np
import pandas as pd
from scipy.special import log_softmax
from tqdm import tqdm

from nosign.dataset import CLASSES, FilmSet, prefetched, whole_batches
from nosign.errors import UserError
from nosign.files import atomic_path, make_folder, remove, write_csv

HISTORY = "history.csv"
STATE = re.compile(r"epoch-(\d+)\.weights\.h5")


class Batches:
    """Training batches of films or features with one-hot labels, in an order that seed and epoch decide."""

    def __init__(self, source: FilmSet | np.ndarray, labels: np.ndarray, batch: int, seed: int) -> None:
        """Serve batches of equal length; a short last one is left out, as it would upset batch normalisation.

        Args:
            source: `FilmSet`, or float32 array [films, channels].
            labels: int array [films].
            batch: films a batch; all of them if they are fewer.
            seed: of the order.
        """
        self.source, self.batch, self.seed = source, min(batch, len(labels)), seed
        self.labels = np.eye(len(CLASSES), dtype=np.float32)[labels]

    def __len__(self) -> int:
        return len(self.labels) // self.batch

    def epoch(self, number: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield an epoch's batches: float32 films or features, float32 one-hot labels [batch, classes]."""
        order = np.random.default_rng([self.seed, number]).permutation(len(self.labels))
        for start in range(0, len(self) * self.batch, self.batch):
            chosen = order[start : start + self.batch]
            yield take(self.source, chosen), self.labels[chosen]


def take(source: FilmSet | np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Return chosen films of a `FilmSet` or rows of an array, float32."""
    return source[positions] if isinstance(source, np.ndarray) else source.pixels(positions)


def predict(model: keras.Model, source: FilmSet | np.ndarray, batch: int, progress: str | None = None) -> np.ndarray:
    """Return a model's outputs for all films or features, float32 [n, outputs].

    Args:
        model: keras.Model.
        source: `FilmSet`, or float32 array [n, channels].
        batch: films a batch.
        progress: what to call the work on a progress bar, or None for no bar.
    """
    batch = min(batch, len(source))
    films: Iterable[np.ndarray] = prefetched(take(source, positions) for _, _, positions in whole_batches(len(source), batch))
    films = tqdm(films, progress, -(-len(source) // batch), unit=" batches", leave=False, disable=None if progress else True)
    return np.concatenate([model.predict_on_batch(part) for part in films])[: len(source)]


def score(logits: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Return mean cross-entropy and accuracy of logits [n, classes] against int labels [n]."""
    losses = -log_softmax(np.asarray(logits, np.float64), axis=-1)[np.arange(len(labels)), labels]
    return {"val_loss": float(losses.mean()), "val_accuracy": float((logits.argmax(-1) == labels).mean())}


class Progress:
    """Keeps the history, the best weights and all that is needed to go on.

    The state of an epoch (weights and optimiser) is moved into place last, so it vouches for the other files.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        make_folder(folder)
        states = {int(match[1]): path for path in folder.iterdir() if (match := STATE.fullmatch(path.name))}
        self.epoch = max(states, default=0)
        self.state = states.get(self.epoch)
        self.rows = read_history(folder / HISTORY, self.epoch)

    @property
    def best(self) -> Path:
        """Path of the weights with the lowest validation loss so far."""
        return self.folder / "best.weights.h5"

    def restore(self, model: keras.Model) -> int:
        """Load the last epoch's state into a compiled model and return how many epochs are done."""
        if self.state:
            load_weights(model, self.state)
        return self.epoch

    def add(self, model: keras.Model, row: Mapping[str, float]) -> None:
        """Store the state after an epoch, and the model's weights if they are the best so far."""
        if row["val_loss"] < min((earlier["val_loss"] for earlier in self.rows), default=np.inf):
            save_weights(model, self.best)
        self.rows.append(dict(row))
        write_csv(self.folder / HISTORY, pd.DataFrame(self.rows))
        previous, self.state = self.state, self.folder / f"epoch-{row['epoch']}.weights.h5"
        save_weights(model, self.state)
        if previous:
            remove(previous)


def read_history(path: Path, epochs: int) -> list[dict]:
    """Return the first rows of an unfinished training's history, one per epoch.

    Raises:
        UserError: the file does not hold as many.
    """
    if not epochs:
        return []
    try:
        text = path.read_text(encoding="utf-8")
        rows = pd.read_csv(io.StringIO(text))[:epochs].to_dict("records") if text.endswith("\n") else []
    except (FileNotFoundError, ValueError):
        rows = []
    if [row.get("epoch") for row in rows] != list(range(1, epochs + 1)):
        raise damaged(path)
    return rows


def load_weights(model: keras.Model, path: Path) -> None:
    """Load weights that `save_weights` wrote.

    Raises:
        UserError: the file does not hold them.
    """
    try:
        model.load_weights(path)
    except (OSError, ValueError, KeyError) as error:
        if isinstance(error, OSError) and error.errno:
            raise
        raise damaged(path) from None


def damaged(path: Path) -> UserError:
    """Return the error about a file of an unfinished training that something else has changed."""
    return UserError(f"{path}: damaged since it was written; remove the folder {path.parent} to start that phase anew")


def save_weights(model: keras.Model, path: Path) -> None:
    """Save a model's weights, its optimiser's included if it is compiled, atomically."""
    with atomic_path(path) as temporary:
        model.save_weights(temporary)


def fit(
    model: keras.Model,
    batches: Batches,
    validation: tuple[FilmSet | np.ndarray, np.ndarray],
    rate: float | keras.optimizers.schedules.LearningRateSchedule,
    epochs: int,
    folder: Path,
    title: str,
    tensorboard: Path | None = None,
) -> pd.DataFrame:
    """Fit a model to logits and leave it with the weights of its best validation epoch.

    Args:
        model: keras.Model from the batches' inputs to logits.
        batches: `Batches` of the training films.
        validation: films or features, and their int labels.
        rate: learning rate or schedule for Adam.
        epochs: passes over the training films.
        folder: pathlib.Path where the state of an unfinished training is kept.
        title: what is trained, for the progress lines.
        tensorboard: folder for TensorBoard, or None.

    Returns:
        pandas frame of the history, a row an epoch.

    Raises:
        UserError: no epoch had a finite validation loss.
    """
    prepare(model, rate)
    progress = Progress(folder)
    done = progress.restore(model)
    if done < epochs:
        callbacks = keras.callbacks.CallbackList([keras.callbacks.TensorBoard(tensorboard)] if tensorboard else [], model=model)
        callbacks.on_train_begin()
        with tqdm(
            total=epochs * len(batches), initial=done * len(batches), desc=title, unit=" steps", disable=None, leave=False
        ) as bar:
            for epoch in range(done, epochs):
                started = time.time()
                row = train_epoch(model, batches, validation, epoch, callbacks, bar)
                progress.add(model, row)
                bar.write(
                    f"{title}: epoch {epoch + 1} of {epochs}, {describe(row)}, {time.time() - started:.0f} s", file=sys.stdout
                )
                sys.stdout.flush()
        callbacks.on_train_end()
    if not progress.best.is_file():
        raise UserError(f"{title}: the validation loss was never a number; train anew (--overwrite) with a lower learning rate")
    load_weights(model, progress.best)
    return pd.DataFrame(progress.rows)


def prepare(model: keras.Model, rate: float | keras.optimizers.schedules.LearningRateSchedule) -> None:
    """Compile a model to logits for training.

    Optimiser and metrics make their variables here, not inside the first step, which TensorFlow would then trace
    twice: for DenseNet201 that is a minute.
    """
    model.compile(
        keras.optimizers.Adam(rate),
        keras.losses.CategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        jit_compile=False,
    )
    model.optimizer.build(model.trainable_variables)
    some = np.zeros((1, len(CLASSES)), np.float32)
    model.compute_metrics(None, some, some)


def train_epoch(
    model: keras.Model,
    batches: Batches,
    validation: tuple[FilmSet | np.ndarray, np.ndarray],
    epoch: int,
    callbacks: keras.callbacks.CallbackList,
    bar: tqdm,
) -> dict[str, float]:
    """Train for one epoch and return its row of the history."""
    callbacks.on_epoch_begin(epoch)
    steps = []
    for number, (films, labels) in enumerate(prefetched(batches.epoch(epoch))):
        callbacks.on_train_batch_begin(number)
        # Keras gives these numbers of the one batch; batches are equally long, so their mean is that of the epoch.
        steps.append(model.train_on_batch(films, labels, return_dict=True))
        callbacks.on_train_batch_end(number, steps[-1])
        bar.update()
    source, labels = validation
    row = {
        "epoch": epoch + 1,
        **{key: float(np.mean([step[key] for step in steps])) for key in steps[0]},
        **score(predict(model, source, batches.batch), labels),
    }
    callbacks.on_epoch_end(epoch, row)
    return row


def describe(row: Mapping[str, float]) -> str:
    """Return a row of the history as a line for the screen."""
    return (
        f"loss {row['loss']:.3f}, accuracy {100 * row['accuracy']:.1f} %, validation loss {row['val_loss']:.3f}, accuracy "
        f"{100 * row['val_accuracy']:.1f} %"
    )
