"""Trains a classifier so that a run which is stopped at any moment goes on and ends with the same weights."""

import re
import sys
import time

import keras
import numpy as np
import pandas as pd
from tqdm import tqdm

from nosign.dataset import CLASSES
from nosign.errors import UserError
from nosign.provenance import atomic_path, write_csv

HISTORY = "history.csv"
STATE = re.compile(r"epoch-(\d+)\.weights\.h5")


class Batches(keras.utils.PyDataset):
    """Batches of films or features with one-hot labels, in an order that seed and epoch decide."""

    def __init__(self, source, labels, batch, seed, training):
        """Serve batches.

        Args:
            source: `FilmSet`, or float32 array [films, channels].
            labels: int array [films].
            batch: films a batch.
            seed: of the order.
            training: shuffle before each epoch and leave out a short last batch, which would upset batch
                normalisation; otherwise all films in their own order.
        """
        super().__init__()
        self.source, self.batch, self.seed, self.training = source, min(batch, len(labels)), seed, training
        self.labels = np.eye(len(CLASSES), dtype=np.float32)[labels]
        self.order = np.arange(len(labels))

    def shuffle(self, epoch):
        """Draw the order of an epoch."""
        self.order = np.random.default_rng([self.seed, epoch]).permutation(len(self.labels))

    def __len__(self):
        whole, rest = divmod(len(self.labels), self.batch)
        return whole + (not self.training and rest > 0)

    def __getitem__(self, number):
        chosen = self.order[number * self.batch:(number + 1) * self.batch]
        films = self.source[chosen] if isinstance(self.source, np.ndarray) else self.source.pixels(chosen)
        return films, self.labels[chosen]


class Progress(keras.callbacks.Callback):
    """Keeps the history, the best weights and all that is needed to go on, and shuffles before each epoch.

    The state of an epoch (weights and optimiser) is moved into place last, so it vouches for the other files.
    """

    def __init__(self, folder, batches, title, epochs):
        super().__init__()
        self.title, self.epochs = title, epochs
        self.folder, self.batches = folder, batches
        folder.mkdir(parents=True, exist_ok=True)
        states = {int(STATE.fullmatch(path.name)[1]): path for path in folder.iterdir() if STATE.fullmatch(path.name)}
        self.epoch = max(states, default=0)
        self.state = states.get(self.epoch)
        self.rows = pd.read_csv(folder / HISTORY)[:self.epoch].to_dict("records") if states else []

    @property
    def best(self):
        """Path of the weights with the lowest validation loss so far."""
        return self.folder / "best.weights.h5"

    def restore(self, model):
        """Load the last epoch's state into a compiled model and return how many epochs are done."""
        if self.state:
            model.load_weights(self.state)
        return self.epoch

    def on_train_begin(self, logs=None):
        self.bar = tqdm(total=self.epochs * len(self.batches), initial=self.epoch * len(self.batches), desc=self.title,
                        unit=" steps", disable=None, leave=False)

    def on_epoch_begin(self, epoch, logs=None):
        self.batches.shuffle(epoch)
        self.started = time.time()

    def on_train_batch_end(self, batch, logs=None):
        self.bar.update()

    def on_epoch_end(self, epoch, logs=None):
        row = {"epoch": epoch + 1, **{key: float(value) for key, value in logs.items()}}
        if row["val_loss"] < min((earlier["val_loss"] for earlier in self.rows), default=np.inf):
            save_weights(self.model, self.best)
        self.rows.append(row)
        write_csv(self.folder / HISTORY, pd.DataFrame(self.rows))
        previous, self.state = self.state, self.folder / f"epoch-{epoch + 1}.weights.h5"
        save_weights(self.model, self.state)
        if previous:
            previous.unlink()
        self.bar.write(f"{self.title}: epoch {row['epoch']} of {self.epochs}, loss {row['loss']:.3f}, accuracy "
                       f"{100 * row['accuracy']:.1f} %, validation loss {row['val_loss']:.3f}, accuracy "
                       f"{100 * row['val_accuracy']:.1f} %, {time.time() - self.started:.0f} s", file=sys.stdout)
        sys.stdout.flush()

    def on_train_end(self, logs=None):
        self.bar.close()


def save_weights(model, path):
    """Save a model's weights, its optimiser's included if it is compiled, atomically."""
    with atomic_path(path) as temporary:
        model.save_weights(temporary)


def fit(model, batches, rate, epochs, folder, title, tensorboard=None):
    """Fit a model to logits and leave it with the weights of its best validation epoch.

    Args:
        model: keras.Model from the batches' inputs to logits.
        batches: dict of `Batches`, "train" and "validation".
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
    progress = Progress(folder, batches["train"], title, epochs)
    model.compile(keras.optimizers.Adam(rate), keras.losses.CategoricalCrossentropy(from_logits=True), metrics=["accuracy"],
                  jit_compile=False)
    # Built here, the optimiser is not traced twice: for DenseNet201's 604 weights that halves a two-minute wait.
    model.optimizer.build(model.trainable_variables)
    callbacks = [progress, *([keras.callbacks.TensorBoard(tensorboard)] if tensorboard else [])]
    done = progress.restore(model)
    if done < epochs:
        # Keras would shuffle the batches once more, with a generator whose state a resumed run does not have.
        model.fit(batches["train"], validation_data=batches["validation"], initial_epoch=done, epochs=epochs,
                  callbacks=callbacks, shuffle=False, verbose=0)
    if not progress.best.is_file():
        raise UserError(f"{title}: the validation loss was never a number; train anew (--overwrite) with a lower learning rate")
    model.load_weights(progress.best)
    return pd.DataFrame(progress.rows)
