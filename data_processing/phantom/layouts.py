"""Plan the films of both data sets and write them, with COVIDx's lists, as the real sets lie on disk.

The file formats are the same for all classes, save that the Kermany layout takes JPEG only.
"""

from __future__ import annotations

import io
import math
import signal
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data_processing.phantom.anatomy import draw_film
from nosign.files import fill, make_folder, write_text
from nosign.processes import process_map

SURPLUS = 0.05  # share of films drawn beyond those asked for

COVIDX = "covidx-cxr2"
CHEST_XRAY = "chest-xray-pneumonia"
PNEUMONIA_NEGATIVES = 0.14  # for each normal negative; list 8A calls these pneumonia
UNLISTED_NEGATIVES = 2  # films in no row of list 8A
POSITIVE_SOURCES = ("sirm", "cohen", "fig1", "actmed", "sirm", "cohen", "sirm", "sirm", "cohen")
FILMS_PER_PATIENT = (1, 2, 1, 1, 1, 3, 1, 1)
COVIDX_TEST_EVERY = 10  # patients
CHEST_XRAY_TEST_EVERY = 8
CHEST_XRAY_VAL_EVERY = 40

ODD_FORMAT_EVERY = 8  # films
COVIDX_FORMATS = ("grey 16-bit PNG", "RGB JPEG", "grey PNG", "progressive JPEG")
CHEST_XRAY_FORMATS = ("RGB JPEG", "progressive JPEG")
JPEG_QUALITY = 93
EXIF_ORIENTATION = 0x0112
ROTATED_BY_VIEWER = 6  # a viewer turns the film by 90 degrees clockwise

FREED_BYTES = 1 << 24


@dataclass(frozen=True)
class Film:
    """One film to draw and where it goes.

    Attributes:
        class_name: what is drawn, one of `nosign.dataset.CLASSES`.
        patient, number: the patient, and which of the patient's films, from 1.
        path: file within the output folder, with forward slashes.
        encoding: see `encoded`.
        row: the row of COVIDx's lists as patient id, file, class, source; None for a film of the other set.
        class_8a: class in COVIDx's three-class list; None if it has no row there.
    """

    class_name: str
    patient: int
    number: int
    path: str
    encoding: str
    row: tuple[str, str, str, str] | None = None
    class_8a: str | None = None


def plan_films(per_class: int, seed: int) -> list[Film]:
    """Plan all films of a run.

    Args:
        per_class: films that each class must offer at least: COVID-19 positives, Kermany pneumonias, and normals of
            both sets together.

    Returns:
        list of `Film`.
    """
    films = per_class + math.ceil(SURPLUS * per_class)
    normal_negatives = films - films // 2
    groups = [
        (films, "COVID-19", "COVID-19"),
        (normal_negatives, "Normal", "normal"),
        (max(1, round(PNEUMONIA_NEGATIVES * normal_negatives)), "Pneumonia", "pneumonia"),
        (UNLISTED_NEGATIVES, "Normal", None),
    ]
    planned = []
    for count, class_name, class_8a in groups:
        planned += covidx_films(count, class_name, class_8a, next_patient(planned), seed)
    planned += chest_xray_films(films // 2, "Normal", next_patient(planned))
    planned += chest_xray_films(films, "Pneumonia", next_patient(planned))
    return planned


def next_patient(planned: Sequence[Film]) -> int:
    """Return the first patient number that is still free."""
    return planned[-1].patient + 1 if planned else 0


def covidx_films(films: int, class_name: str, class_8a: str | None, first_patient: int, seed: int) -> list[Film]:
    """Plan one group of COVIDx films.

    Args:
        films: how many.
        class_8a: class in the three-class list, or None.
    """
    positive = class_8a == "COVID-19"
    planned = []
    for patient, rank, number, film_rank in visits(films, first_patient):
        source = POSITIVE_SOURCES[rank % len(POSITIVE_SOURCES)] if positive else "rsna"
        patient_id, stem = covidx_name(source, patient, number, seed)
        encoding = encoding_of(film_rank, COVIDX_FORMATS, 0 if positive else 2)
        name = stem + (".png" if encoding.endswith("PNG") else ".jpg")
        split = "test" if rank % COVIDX_TEST_EVERY == 1 else "train"
        row = (patient_id, name, "positive" if positive else "negative", source)
        planned.append(Film(class_name, patient, number, f"{COVIDX}/{split}/{name}", encoding, row, class_8a))
    return planned


def chest_xray_films(films: int, class_name: str, first_patient: int) -> list[Film]:
    """Plan one group of Kermany films."""
    planned = []
    for patient, rank, number, film_rank in visits(films, first_patient):
        if class_name == "Normal":
            folder, offset = "NORMAL", 0
            name = f"{'NORMAL2-' if rank % 2 else ''}IM-{rank + 1:04d}-{number:04d}.jpeg"
        else:
            folder, offset = "PNEUMONIA", 1
            name = f"person{rank + 1}_{'virus' if rank % 3 == 1 else 'bacteria'}_{film_rank + 1}.jpeg"
        split = "test" if rank % CHEST_XRAY_TEST_EVERY == 1 else "val" if rank % CHEST_XRAY_VAL_EVERY == 2 else "train"
        path = f"{CHEST_XRAY}/chest_xray/{split}/{folder}/{name}"
        planned.append(Film(class_name, patient, number, path, encoding_of(film_rank, CHEST_XRAY_FORMATS, offset)))
    return planned


def visits(films: int, first_patient: int) -> Iterator[tuple[int, int, int, int]]:
    """Deal films out to patients, one to three each.

    Yields:
        patient number, rank of the patient in this group (from 0), number of the film (from 1), rank of the film.
    """
    rank, film_rank = 0, 0
    while film_rank < films:
        count = FILMS_PER_PATIENT[rank % len(FILMS_PER_PATIENT)]
        for number in range(1, min(count, films - film_rank) + 1):
            yield first_patient + rank, rank, number, film_rank
            film_rank += 1
        rank += 1


def covidx_name(source: str, patient: int, number: int, seed: int) -> tuple[str, str]:
    """Return patient id and file stem as the source writes them."""
    if source == "rsna":
        name = str(uuid.uuid5(uuid.NAMESPACE_URL, f"phantom/{seed}/{patient}"))
        return name, name if number == 1 else f"{name}-{number}"
    if source == "sirm":
        return f"COVID {patient + 1}", f"COVID-{patient + 1}" + (f"-{number}" if number > 1 else "")
    if source == "fig1":
        return f"COVID-{patient + 1:05d}", f"COVID-{patient + 1:05d}" + "abc"[number - 1]
    if source == "actmed":
        return f"ANON{patient + 1}", f"CR.1.2.840.113564.{patient + 1}.{number}"
    return str(patient + 1), f"covid-19-phantom-{patient + 1}-day{number}"


def encoding_of(rank: int, formats: Sequence[str], offset: int) -> str:
    """Return the file format of a group's film: odd ones at regular intervals, EXIF orientation once."""
    if rank == 1:
        return "JPEG with EXIF orientation"
    if rank % ODD_FORMAT_EVERY == 0:
        return formats[(rank // ODD_FORMAT_EVERY + offset) % len(formats)]
    return "grey JPEG"


def encoded(film: np.ndarray, encoding: str) -> bytes:
    """Return a film as the bytes of an image file.

    Args:
        film: float32 [height, width] in [0, 1].
        encoding: one of `COVIDX_FORMATS`, "grey JPEG" or "JPEG with EXIF orientation".
    """
    from PIL import Image

    if encoding == "grey 16-bit PNG":
        image = Image.fromarray(np.round(film * 65535).astype(np.uint16))
    else:
        image = Image.fromarray(np.round(film * 255).astype(np.uint8))
    options: dict[str, Any] = {"format": "PNG"} if encoding.endswith("PNG") else {"format": "JPEG", "quality": JPEG_QUALITY}
    if encoding == "RGB JPEG":
        image = image.convert("RGB")
    elif encoding == "progressive JPEG":
        options["progressive"] = True
    elif encoding == "JPEG with EXIF orientation":
        image = image.transpose(Image.Transpose.ROTATE_90)
        options["exif"] = Image.Exif()
        options["exif"][EXIF_ORIENTATION] = ROTATED_BY_VIEWER
    buffer = io.BytesIO()
    image.save(buffer, **options)
    return buffer.getvalue()


def write_films(folder: Path, films: Sequence[Film], seed: int, workers: int) -> None:
    """Draw all films into a folder, spread over processes, with a progress bar."""
    from tqdm import tqdm

    for parent in {Path(folder, film.path).parent for film in films}:
        make_folder(parent)
    jobs = [(str(folder), seed, film) for film in films]
    if workers == 1:
        keep_freed_memory()
        for job in tqdm(jobs, unit="film", disable=None):
            write_film(job)
        return
    with process_map(min(workers, len(jobs)), chunksize=8, start="spawn", initializer=start_worker) as spread:
        for _ in tqdm(spread(write_film, jobs), total=len(jobs), unit="film", disable=None):
            pass


def write_film(job: tuple[str, int, Film]) -> None:
    """Draw and write one film; runs in a worker process.

    Args:
        job: (output folder, seed, `Film`).
    """
    folder, seed, film = job
    pixels = draw_film(seed, film.class_name, film.patient, film.number)
    fill(Path(folder, film.path), encoded(pixels, film.encoding))


def start_worker() -> None:
    """Prepare a worker process; an interrupt is the parent's to handle."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    keep_freed_memory()


def keep_freed_memory() -> None:
    """Save a third of the drawing time: have the C library keep the memory of freed arrays for the next ones.

    GNU's allocator does so for blocks no larger than the largest it has seen freed; elsewhere this does nothing.
    """
    np.empty(FREED_BYTES, np.uint8)


def write_lists(folder: Path, films: Sequence[Film]) -> None:
    """Write COVIDx's two-class and three-class lists."""
    for split in ("train", "test"):
        listed = [(film.row, film.class_8a) for film in films if film.row and film.path.startswith(f"{COVIDX}/{split}/")]
        write_text(Path(folder, COVIDX, f"{split}.txt"), "".join(" ".join(row) + "\n" for row, _ in listed))
        rows = [(*row[:2], class_8a, row[3]) for row, class_8a in listed if class_8a]
        write_text(Path(folder, COVIDX, f"{split}_COVIDx8A.txt"), "".join(" ".join(row) + "\n" for row in rows))
