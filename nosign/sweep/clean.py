"""What the models see in the films before any attack: the rows of clean.csv and clean.stored.csv."""

from __future__ import annotations

import pandas as pd

from nosign.measures.storage import STORAGES
from nosign.rows import IDENTITY, logit_frame
from nosign.sweep.engine import Engine, Frames
from nosign.sweep.recorders import AttackedBatch, Stored


def clean_rows(engine: Engine) -> pd.DataFrame:
    """Score the films.

    Returns:
        Frame, one row per film:
            film, label
            collection, patient, group     what is known of it; patient is empty where it is not known
            <MODEL>_logit0 ...             each model's `logit_columns`
    """
    parts = Frames()
    for batch in engine.batches():
        parts.append(logit_frame(engine.predict(batch.films))[: batch.count])
        engine.advance(batch.count * len(engine.logits))
    films = engine.films
    patients = pd.Series(films.patients, dtype="Int64").mask(films.patients < 0)
    known = pd.DataFrame(dict(zip(IDENTITY[2:], (films.collections, patients, films.groups), strict=True)))
    return pd.concat([engine.identity(), known, parts.together()], axis=1)


def clean_stored_rows(engine: Engine, clean: pd.DataFrame) -> pd.DataFrame:
    """Score the films after each of `STORAGES`: the control for what storing leaves of attacks.

    All of them, whatever a sweep asks for: the file serves every sweep in the folder.

    Returns:
        Frame as `Stored` records it.
    """
    recorder = Stored(engine, list(STORAGES))
    for batch in engine.batches():
        recorder.add(AttackedBatch(engine, batch, batch.films, clean))
        engine.advance(batch.count * len(engine.logits) * len(STORAGES))
    return recorder.frame()
