"""Stage 1: balance, split, normalise and resize the films of both data sets into `data/`.

    python -m data_processing.prepare --covidx data/raw/covidx-cxr2 --chest-xray data/raw/chest-xray-pneumonia

Writes images.npy (or, with --films-a-file, several), index.csv, patients.csv, skipped.csv, overview.png and manifest.json.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import hashlib
import io
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from data_processing import chest_xray, covidx
from data_processing.chest_xray import read_chest_xray
from data_processing.covidx import NEGATIVES, read_covidx
from data_processing.film import Film, UnreadableFilm, blamed_on_system, decode, fingerprint, read_bytes, resize
from data_processing.folders import films_elsewhere, name_some
from data_processing.splits import NEIGHBOURS, assign_splits, group_films
from nosign.dataset import CLASSES, INDEX_COLUMNS, PATIENTS, PATIENTS_COLUMNS, SPLITS, running_numbers
from nosign.errors import UserError
from nosign.files import alone, atomic_path, create, fill, remove, remove_leftovers, sha256_of_file, write_at
from nosign.image_files import INDEX, ImageFiles, any_image_files, image_bytes, image_header, open_array, planned_files
from nosign.manifest import MANIFEST, check_settings, read_manifest, write_manifest
from nosign.processes import process_map
from nosign.script import HelpFormatter, add_seeds, each_seed, run, whole_number

if TYPE_CHECKING:
    import numpy as np
    import PIL.Image

PER_CLASS = 1500
IMAGE_SIZE = 224
WORKERS = 15
LONGEST_USUAL_ASPECT = 2.0
# The smallest number of films per class with which each split gets at least one film of the class.
FEWEST_PER_CLASS = 7
FILMS_A_TASK = 16
WARNINGS_SHOWN = 5
# How many folders, from a film's own upwards, may hold the manifest of a set of phantoms:
# raw/chest-xray-pneumonia/chest_xray/train/NORMAL.
LEVELS_ABOVE = 5
SKIPPED = "skipped.csv"
OVERVIEW = "overview.png"
# Beside the images.
OUTPUTS = (INDEX, PATIENTS, SKIPPED, OVERVIEW)


@dataclass(frozen=True)
class Pool:
    """The films that both data sets offer.

    Attributes:
        films: list of `Film`, in an order that does not depend on the file system.
        left_out: Counter of the rows of the lists that are left out, by reason.
        not_read: Counter of the films in folders that are not read, by folder.
        times: one SHA-256 of all files' times, see `times_of`.
        phantoms: SHA-256 of the files around the films that `data_processing.phantom` wrote.
    """

    films: list[Film]
    left_out: Counter[str]
    not_read: Counter[str]
    times: str
    phantoms: set[str]


@dataclass
class Decoded:
    """What is known of a film after decoding it.

    Attributes:
        content: SHA-256 of the file's bytes.
        sha256: SHA-256 of its size and pixels, or None if it could not be read.
        reason: why it could not be read.
        warning: what is odd about its grey levels, or "".
        width, height: in pixels.
        slot: row of `images.npy` that holds it, or None.
    """

    content: str
    sha256: str | None = None
    reason: str = ""
    warning: str = ""
    width: int = 0
    height: int = 0
    slot: int | None = None


@dataclass(frozen=True)
class FilmStore:
    """The image files, written row by row, in any order and by several processes, without holding them in memory.

    Attributes:
        paths: of the files.
        films: how many each holds, as many as the first but for the last.
        size: height and width of a film in pixels.
    """

    paths: Sequence[Path]
    films: Sequence[int]
    size: int

    def create(self) -> None:
        """Create the files of uint8 [films, size, size, 3] and reserve their space."""
        for path, films in zip(self.paths, self.films):
            create(path, image_header(films, self.size), image_bytes(films, self.size))

    def write(self, row: int, grey: PIL.Image.Image) -> None:
        """Write a grey film, PIL image of `size` x `size`, as three equal channels."""
        from PIL import Image

        place, row = divmod(row, self.films[0])
        write_at(self.paths[place], image_bytes(row, self.size), Image.merge("RGB", (grey, grey, grey)).tobytes())


def prepare(arguments: argparse.Namespace) -> None:
    """Run stage 1; see the module's docstring."""
    started = time.time()
    pool = find_films(arguments)
    settings, out = settings_of(arguments, pool.films), Path(arguments.out)
    if arguments.overwrite or not already_prepared(out, settings, pool):
        order = draw_order(pool.films, arguments.seed)
        passed_over = f" ({name_some(pool.not_read)} are not read)" if pool.not_read else ""
        require_enough([len(numbers) for numbers in order], arguments.per_class, f"found{passed_over}")
        with alone(out, "prepares films"):
            # Another process may have prepared them since.
            if arguments.overwrite or not already_prepared(out, settings, pool):
                check_links(out, files_of(arguments))
                for folder in {out.resolve(), *(path.resolve().parent for path in any_image_files(out))}:
                    remove_leftovers(folder, below=folder == out.resolve())
                draw_and_write(arguments, pool, order, settings, started)
                return
    print(f"{out}: these films are already prepared; nothing to do")


def draw_and_write(
    arguments: argparse.Namespace, pool: Pool, order: list[list[int]], settings: dict[str, Any], started: float
) -> None:
    """Draw the films in the order of `draw_order`, write the outputs and say what was done."""
    films, out = pool.films, Path(arguments.out)
    images = files_of(arguments)
    names = (*images, *OUTPUTS)
    described = {"stage": "data_processing.prepare", "settings": settings, "seed": arguments.seed, "started": started}
    # All outputs have temporary names until the last one is complete; the images are hashed while the others are made.
    with contextlib.ExitStack() as outputs, ThreadPoolExecutor(1) as background:
        # An image file that is a link stays one, and lies where it leads.
        part = {name: outputs.enter_context(atomic_path(resolved(out / name), whole=False)) for name in names}
        image_parts = [part[name] for name in images]
        store = FilmStore(image_parts, list(images.values()), arguments.image_size)
        store.create()
        decoded = decode_all(films, order, store, arguments.workers, arguments.per_class)
        chosen, dropped = choose(films, decoded, order, arguments.per_class)
        fill_gaps(films, decoded, chosen, store)
        hashing = background.submit(lambda: list(map(sha256_of_file, image_parts)))
        groups = group_films(films, chosen)
        together = groups if arguments.split == "patient" else {number: number for number in chosen}
        splits = assign_splits(films, together, arguments.seed)
        rows = sorted(chosen, key=lambda number: cast(int, decoded[number].slot))  # each has one by now
        write_index(part[INDEX], films, decoded, rows, splits, groups)
        write_patients(part[PATIENTS], [films[number].patient for number in rows])
        write_skipped(part[SKIPPED], films, decoded)
        draw_overview(part[OVERVIEW], ImageFiles([open_array(path) for path in image_parts]))
        known_hashes = dict(zip([out / name for name in images], hashing.result()))
        # Whoever finds old and new outputs side by side, because this was stopped among the renames, is told so.
        write_manifest(out, **described, finished=False)
    for path in any_image_files(out) - {out / name for name in images}:  # of an earlier run that kept them otherwise
        for place in dict.fromkeys((resolved(path), path)):  # where a link leads goes first, or it would stay unseen
            remove(place)
    write_manifest(
        out,
        **described,
        outputs=[out / name for name in names],
        known_hashes=known_hashes,
        dropped=dict(dropped),
        finished=True,
        **facts_of(pool, decoded),
    )
    print_warnings(films, decoded)
    print_summary(pool, dropped, chosen, splits)
    print_groups(films, groups, kept=arguments.split == "patient")
    print_shapes([decoded[number] for number in chosen], arguments.image_size)
    print(f"wrote {out}/: {', '.join(names)} in {time.time() - started:.1f} s")


def find_films(arguments: argparse.Namespace) -> Pool:
    """Return the `Pool` of both data sets."""
    listed, left_out = read_covidx(arguments.covidx, arguments.negatives, arguments.three_class_lists)
    films = sorted(listed + read_chest_xray(arguments.chest_xray), key=lambda film: film.file)
    return Pool(films, left_out, find_films_not_read(arguments, films), times_of(films), hashes_of_phantoms(films))


def facts_of(pool: Pool, decoded: Sequence[Decoded]) -> dict[str, Any]:
    """Return what the manifest says of the pool, beside the settings.

    The films count as synthetic if `data_processing.phantom` drew any of them, so that no caption presents drawings as
    patients' films.
    """
    return {
        "left_out": dict(pool.left_out),
        "not_read": dict(pool.not_read),
        "warnings": {film.file: found.warning for film, found in zip(pool.films, decoded) if found.warning},
        "film_contents_sha256": contents_of(pool.films, (found.content for found in decoded)),
        "film_times_sha256": pool.times,
        "synthetic": any(found.content in pool.phantoms for found in decoded),
    }


def find_films_not_read(arguments: argparse.Namespace, films: Iterable[Film]) -> Counter[str]:
    """Count the films of both data sets in folders that are not read, by folder."""
    covidx_folder = covidx.find_folder(arguments.covidx)
    chest_xray_folder = chest_xray.find_folder(arguments.chest_xray)
    folders = {
        *covidx.folders_of(covidx_folder),
        *chest_xray.folders_of(chest_xray_folder),
        *(film.path.parent for film in films),
    }
    read = {os.path.realpath(folder) for folder in folders}
    return films_elsewhere(covidx_folder, covidx.NAME, read) + films_elsewhere(
        chest_xray_folder, chest_xray.NAME, read, skipped=("chest_xray",)
    )


def hashes_of_phantoms(films: Iterable[Film]) -> set[str]:
    """Return the SHA-256 of all files that manifests of `data_processing.phantom` around the films list.

    A drawing is recognised by its hash, whatever its folder is called and wherever that is linked from.
    """
    folders = {path.parent for film in films for path in (film.path.absolute(), film.path.resolve())}
    hashes = set()
    for folder in {above for one in folders for above in (one, *one.parents)[:LEVELS_ABOVE]}:
        with contextlib.suppress(UserError, OSError):  # somebody else's manifest.json
            manifest = read_manifest(folder) or {}
            if manifest.get("stage") == "phantom" and isinstance(manifest.get("outputs"), dict):
                hashes.update(map(str, manifest["outputs"].values()))
    return hashes


def settings_of(arguments: argparse.Namespace, films: Sequence[Film]) -> dict[str, Any]:
    """Return what the outputs depend on."""
    listing = "\n".join(f"{film.file} {film.label} {film.patient} {film.path.stat().st_size}" for film in films)
    names = ("per_class", "image_size", "split", "negatives", "seed")
    return {
        **{name: getattr(arguments, name) for name in names},
        # Manifests name it where there are several files, which earlier ones did not know.
        **({"films_a_file": arguments.films_a_file} if len(files_of(arguments)) > 1 else {}),
        "films_found": len(films),
        "films_sha256": hashlib.sha256(listing.encode()).hexdigest(),
    }


def resolved(path: Path) -> Path:
    """Return where a link leads, also if nothing is there yet; any other path as it is."""
    return path.resolve() if path.is_symlink() else path


def check_links(out: Path, names: Iterable[str]) -> None:
    """Refuse links through which one image file would replace another, or the films of another folder.

    Args:
        out: the folder.
        names: of the image files that are to be written there.

    Raises:
        UserError: names the link, and where it leads.
    """
    led: dict[Path, Path] = {}
    for path in sorted({*(out / name for name in names), *any_image_files(out)}):
        place = path.resolve()
        if place in led:
            raise UserError(f"{path}: leads to {place}, as {led[place]} does; each file needs a place of its own")
        led[place] = path
        if place.parent != out.resolve() and (place.parent / INDEX).exists():
            raise UserError(f"{path}: leads to {place}, among the films of another folder; remove the link")


def files_of(arguments: argparse.Namespace) -> dict[str, int]:
    """Return the names of the image files and how many films each holds."""
    return planned_files(arguments.per_class * len(CLASSES), arguments.films_a_file)


def times_of(films: Iterable[Film]) -> str:
    """Return one SHA-256 of the times (mtime and ctime) of all films' files."""
    stats = ((film, film.path.stat()) for film in films)
    listing = "\n".join(f"{film.file} {stat.st_mtime_ns} {stat.st_ctime_ns}" for film, stat in stats)
    return hashlib.sha256(listing.encode()).hexdigest()


def contents_of(films: Iterable[Film], hashes: Iterable[str]) -> str:
    """Return one SHA-256 of the contents of all films' files, from the SHA-256 of each."""
    return hashlib.sha256("\n".join(f"{film.file} {sha256}" for film, sha256 in zip(films, hashes)).encode()).hexdigest()


def hash_of_film(film: Film) -> str:
    """Return the SHA-256 of a film's file."""
    return hashlib.sha256(read_bytes(film.path)).hexdigest()


def replaced(manifest: Mapping[str, Any], pool: Pool) -> bool:
    """Tell whether a film's file was replaced by another of the same length since a manifest was written.

    If the files' times are those in the manifest, none was. Otherwise the contents are read and compared: a copy of the data
    set has other times and the same contents. Older manifests record neither times nor contents; then the answer is no.
    """
    if manifest.get("film_times_sha256") in (None, pool.times):
        return False
    with ThreadPoolExecutor(useful_workers()) as threads:
        return contents_of(pool.films, threads.map(hash_of_film, pool.films)) != manifest.get("film_contents_sha256")


def already_prepared(out: Path, settings: dict[str, Any], pool: Pool) -> bool:
    """Tell whether `out` holds these films already.

    Raises:
        UserError: it holds the films of another run or of an unknown one, or the films' files were replaced since.
    """
    advice = "choose another --out, or give --overwrite"
    lengths = {path.name: path.stat().st_size for path in any_image_files(out) if path.exists()}
    present = [*sorted(lengths), *(name for name in OUTPUTS if (out / name).exists())]
    if manifest := check_settings(out, settings, advice):
        files = planned_files(settings["per_class"] * len(CLASSES), settings.get("films_a_file"))
        whole = {name: image_bytes(films, settings["image_size"]) for name, films in files.items()}
        if not manifest.get("finished", True) or lengths != whole or len(present) < len(files) + len(OUTPUTS):
            return False
        if replaced(manifest, pool):
            raise UserError(f"{out}: holds films of these names and lengths, but their files hold something else now; {advice}")
        return True
    if present:
        raise UserError(f"{out}: holds {', '.join(present)} but no {MANIFEST} that says which run wrote them; {advice}")
    return False


def draw_order(films: Sequence[Film], seed: int) -> list[list[int]]:
    """Return for each class the numbers of its films in the order in which they are drawn."""
    import numpy as np

    order = []
    for label in range(len(CLASSES)):
        numbers = [number for number, film in enumerate(films) if film.label == label]
        order.append([int(number) for number in np.random.default_rng([seed, label]).permutation(numbers)])
    return order


def decode_all(
    films: Sequence[Film], order: Sequence[Sequence[int]], store: FilmStore, workers: int, per_class: int
) -> list[Decoded]:
    """Decode every film once, because the duplicates of a drawn film may be anywhere in the pool.

    The first `per_class` films of each class, in the order of drawing, are also resized and stored.

    Returns:
        list of `Decoded`, one per film.

    Raises:
        UserError: a worker process was killed, or the operating system cannot read a film's file.
    """
    from tqdm import tqdm

    slots = {
        number: place * len(CLASSES) + label
        for label, numbers in enumerate(order)
        for place, number in enumerate(numbers[:per_class])
    }
    work = [(film.path, slots.get(number)) for number, film in enumerate(films)]
    try:
        with process_map(
            min(workers, useful_workers()), chunksize=FILMS_A_TASK, initializer=leave_interrupts_to_parent
        ) as spread:
            results = spread(partial(decode_film, store), work)
            return list(tqdm(results, "decoding", len(films), unit=" films", delay=1, leave=False, disable=None))
    except BrokenProcessPool:
        raise UserError(
            f"{store.paths[0].parent}: nothing written, as a decoding process was killed, most likely for want "
            "of memory; run again with fewer --workers"
        ) from None


def leave_interrupts_to_parent() -> None:
    """Let Ctrl-C end the script with one line, not with one traceback per worker."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def useful_workers() -> int:
    """Return how many processes can decode at once: the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def decode_film(store: FilmStore, work: tuple[Path, int | None]) -> Decoded:
    """Decode a film, given as (path, slot); store it resized if it has a slot."""
    path, slot = work
    content = read_bytes(path)
    found = Decoded(hashlib.sha256(content).hexdigest())
    with blamed_on_system(path):
        try:
            image, found.warning = decode(content)
        except UnreadableFilm as error:
            found.reason = str(error)
            return found
        found.sha256, found.width, found.height, found.slot = fingerprint(image), image.width, image.height, slot
        small = None if slot is None else resize(image, store.size)
    if slot is not None and small is not None:
        store.write(slot, small)
    return found


def choose(
    films: Sequence[Film], decoded: Sequence[Decoded], order: Sequence[Sequence[int]], per_class: int
) -> tuple[list[int], Counter[str]]:
    """Draw films class by class, without unreadable ones and duplicates.

    Returns:
        list of the numbers of the drawn films, and a Counter of what was dropped, by reason.

    Raises:
        UserError: too few films are left of a class.
    """
    labels = {}
    for film, found in zip(films, decoded):
        labels.setdefault(found.sha256, set()).add(film.label)
    in_two_classes = {sha256 for sha256, of_film in labels.items() if len(of_film) > 1}
    dropped = Counter()
    kept = [drop(numbers, decoded, in_two_classes, dropped) for numbers in order]
    require_enough([len(numbers) for numbers in kept], per_class, what_is_left(films, decoded, dropped))
    return [number for numbers in kept for number in numbers[:per_class]], dropped


def drop(
    numbers: Iterable[int], decoded: Sequence[Decoded], in_two_classes: set[str | None], dropped: Counter[str]
) -> list[int]:
    """Return a class's films without unreadable ones and duplicates, and count those in `dropped`.

    Of equal films in the class the first is kept; a film that stands in two classes is dropped in both.
    """
    kept = {}
    for number in numbers:
        sha256 = decoded[number].sha256
        if sha256 is None:
            dropped["unreadable"] += 1
        elif sha256 in in_two_classes:
            dropped["equal films in two classes"] += 1
        elif sha256 in kept:
            dropped["duplicate of a film in its class"] += 1
        else:
            kept[sha256] = number
    return list(kept.values())


def what_is_left(films: Iterable[Film], decoded: Iterable[Decoded], dropped: Mapping[str, int]) -> str:
    """Say what was dropped, with one unreadable film as an example."""
    reasons = ", ".join(f"{count} {reason}" for reason, count in dropped.items())
    example = next((f"; {film.file}: {found.reason}" for film, found in zip(films, decoded) if found.reason), "")
    return f"left after dropping from all classes {reasons}{example}"


def require_enough(counts: Sequence[int], per_class: int, what: str) -> None:
    """Raise `UserError` if a class has fewer films than are to be drawn."""
    fewest = min(counts)
    lower = f"lower --per-class to {fewest} or " if fewest >= FEWEST_PER_CLASS else ""
    for name, count in zip(CLASSES, counts):
        if count < per_class:
            raise UserError(f"class {name}: {count} films {what}; {per_class} wanted: {lower}add films")


def fill_gaps(films: Sequence[Film], decoded: Sequence[Decoded], chosen: Sequence[int], store: FilmStore) -> None:
    """Store the films that are drawn in place of dropped ones, in the slots of the dropped ones."""
    taken = {decoded[number].slot for number in chosen}
    total = len(chosen)
    for label in range(len(CLASSES)):
        free = [slot for slot in range(label, total, len(CLASSES)) if slot not in taken]
        late = [number for number in chosen if films[number].label == label and decoded[number].slot is None]
        for slot, number in zip(free, late):
            store.write(slot, resize(read_again(films[number], decoded[number]), store.size))
            decoded[number].slot = slot


def read_again(film: Film, found: Decoded) -> PIL.Image.Image:
    """Decode a film a second time.

    Raises:
        UserError: its file has changed since, or the operating system cannot read it.
    """
    content = read_bytes(film.path)
    if hashlib.sha256(content).hexdigest() != found.content:
        raise UserError(f"{film.path}: changed while the films were being prepared, so nothing was written; run again")
    with blamed_on_system(film.path):
        return decode(content)[0]


def write_index(
    path: Path,
    films: Sequence[Film],
    decoded: Sequence[Decoded],
    rows: Iterable[int],
    splits: Mapping[int, str],
    groups: Mapping[int, str],
) -> None:
    """Write `index.csv`: row i describes image i."""
    described = ((films[number], number) for number in rows)
    write_rows(
        path,
        INDEX_COLUMNS,
        (
            [
                row,
                splits[number],
                film.label,
                CLASSES[film.label],
                film.collection,
                film.patient,
                groups[number],
                film.file,
                decoded[number].sha256,
            ]
            for row, (film, number) in enumerate(described)
        ),
    )


def write_patients(path: Path, patients: Sequence[str]) -> None:
    """Write `patients.csv`: the id behind each patient's running number.

    Args:
        patients: list of str, the patient's id of each row of the index.
    """
    numbers = running_numbers(patients).tolist()
    write_rows(path, PATIENTS_COLUMNS, sorted({(number, patient) for number, patient in zip(numbers, patients) if patient}))


def write_skipped(path: Path, films: Iterable[Film], decoded: Iterable[Decoded]) -> None:
    """Write `skipped.csv`: the files that could not be read, and why."""
    write_rows(
        path, ("file", "reason"), ([film.file, found.reason] for film, found in zip(films, decoded) if found.sha256 is None)
    )


def write_rows(path: Path, columns: Iterable[str], rows: Iterable[Iterable[Any]]) -> None:
    """Write a CSV file."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    fill(path, text.getvalue().encode())


def draw_overview(path: Path, images: np.ndarray | ImageFiles, columns: int = 10, film_px: int = 128) -> None:
    """Draw `overview.png`: the first films of each class, one row per class."""
    import numpy as np
    from PIL import Image, ImageDraw, ImageFont

    per_class = images.shape[0] // len(CLASSES)
    columns = min(columns, per_class)
    margin, gap, heading = 12, 4, 28
    width = 2 * margin + columns * (film_px + gap) - gap
    sheet = Image.new("L", (max(width, 480), margin + len(CLASSES) * (heading + film_px + gap)), 255)
    draw = ImageDraw.Draw(sheet)
    for label, name in enumerate(CLASSES):
        top = margin + label * (heading + film_px + gap)
        draw.text(
            (margin, top),
            f"{name}: {per_class} films, {columns} shown as the classifiers see them",
            fill=0,
            font=ImageFont.load_default(16),
        )
        for column in range(columns):
            film = Image.fromarray(images[np.array([column * len(CLASSES) + label])][0, :, :, 0])
            sheet.paste(
                film.resize((film_px, film_px), Image.Resampling.LANCZOS),
                (margin + column * (film_px + gap), top + heading - gap),
            )
    content = io.BytesIO()
    sheet.save(content, "PNG")
    fill(path, content.getvalue())


def print_warnings(films: Iterable[Film], decoded: Iterable[Decoded]) -> None:
    """Print on stderr which films have odd grey levels, the first few by name."""
    odd = [f"warning: {film.file}: {found.warning}" for film, found in zip(films, decoded) if found.warning]
    for line in odd[:WARNINGS_SHOWN]:
        print(line, file=sys.stderr)
    if len(odd) > WARNINGS_SHOWN:
        print(f"warning: the same of {len(odd) - WARNINGS_SHOWN} more films, which {MANIFEST} names", file=sys.stderr)


def print_summary(pool: Pool, dropped: Counter[str], chosen: Sequence[int], splits: Mapping[int, str]) -> None:
    """Print what was found, passed over, dropped and drawn, by class, collection and split."""
    films = pool.films
    print(f"found {len(films)} films")
    for what, counts in (("left out by the lists", pool.left_out), ("dropped", dropped)):
        for reason, count in counts.items():
            print(f"  {what}: {count} {reason}")
    if pool.not_read:
        print(f"  not read: {name_some(pool.not_read)}")
    collections = sorted({film.collection for film in films})
    print(f"drawn {len(chosen)} films")
    print(f"  {'class':<12}", *(f"{name:>15}" for name in (*SPLITS, *collections)))
    for label, name in enumerate(CLASSES):
        numbers = [number for number in chosen if films[number].label == label]
        counts = Counter(splits[number] for number in numbers) + Counter(films[number].collection for number in numbers)
        print(f"  {name:<12}", *(f"{counts[column]:>15}" for column in (*SPLITS, *collections)))


def print_groups(films: Sequence[Film], groups: Mapping[int, str], kept: bool) -> None:
    """Print how many drawn films have no patient id, and how many groups of neighbours they form.

    Args:
        groups: dict from the number of a drawn film to its group.
        kept: whether the split kept groups together.
    """
    sizes = Counter(group for number, group in groups.items() if not films[number].patient)
    several = [size for size in sizes.values() if size > 1]
    print(
        f"  {sizes.total()} of the drawn films have no patient id; groups of neighbours (numbers within {NEIGHBOURS}) "
        f"{'kept together' if kept else 'not kept together'}: {len(several)}, of {sum(several)} films"
    )


def print_shapes(drawn: Sequence[Decoded], image_size: int) -> None:
    """Print how many of the drawn films were smaller than the square that they are scaled to, and how many far from square."""
    small = sum(min(film.width, film.height) < image_size for film in drawn)
    long = sum(max(film.width, film.height) > LONGEST_USUAL_ASPECT * min(film.width, film.height) for film in drawn)
    print(
        f"  every film is scaled to {image_size} x {image_size} px without keeping its shape, as in the paper; "
        f"{small} were enlarged, {long} are more than twice as long as wide"
    )


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Return the parsed command line."""
    parser = argparse.ArgumentParser(
        prog="python -m data_processing.prepare", description=__doc__.split("\n")[0], formatter_class=HelpFormatter
    )
    parser.add_argument("--covidx", required=True, metavar="DIR", help="COVIDx-CXR2 folder")
    parser.add_argument("--chest-xray", required=True, metavar="DIR", help="Kermany chest_xray folder")
    parser.add_argument("--out", default="data", metavar="DIR", help="where the prepared films go")
    parser.add_argument(
        "--per-class", type=whole_number(FEWEST_PER_CLASS), default=PER_CLASS, help="films drawn from each class"
    )
    parser.add_argument("--image-size", type=whole_number(1), default=IMAGE_SIZE, help="height and width in pixels")
    parser.add_argument(
        "--films-a-file",
        type=whole_number(1),
        metavar="FILMS",
        help="films in each of images-0.npy, images-1.npy, ..., which may lie on other disks, as links (default: all in one)",
    )
    parser.add_argument(
        "--split",
        choices=("patient", "random"),
        default="patient",
        help="keep every patient on one side, or split film by film as the paper did",
    )
    parser.add_argument(
        "--negatives",
        choices=NEGATIVES,
        default="strict",
        help="which COVIDx negatives count as normal: those that the three-class lists call so, or all",
    )
    parser.add_argument("--three-class-lists", nargs="+", metavar="FILE", help="instead of *_COVIDx8A.txt beside the lists")
    parser.add_argument("--workers", type=whole_number(1), default=WORKERS, help="films decoded at once, at most one a core")
    parser.add_argument("--seed", type=whole_number(0), default=0, help="of drawing and splitting")
    add_seeds(parser, models=False)
    parser.add_argument("--overwrite", action="store_true", help="replace the films of another run")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Prepare the films and return the exit status."""
    for arguments in each_seed(parse_args(argv), "out"):
        prepare(arguments)
    return 0


if __name__ == "__main__":
    raise SystemExit(run(main))
