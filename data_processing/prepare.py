"""Stage 1: balance, split, normalise and resize the films of both data sets into `data/`.

    python -m data_processing.prepare --covidx data/raw/covidx-cxr2 --chest-xray data/raw/chest-xray-pneumonia

Writes images.npy, index.csv, skipped.csv, overview.png and manifest.json.
"""

import argparse
import csv
import hashlib
import io
import os
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from data_processing.chest_xray import read_chest_xray
from data_processing.covidx import NEGATIVES, read_covidx
from data_processing.film import UnreadableFilm, fingerprint, read_pixels, resize
from nosign.dataset import CLASSES, IMAGES, INDEX, INDEX_COLUMNS, SPLITS
from nosign.errors import UserError, run
from nosign.provenance import atomic_path, check_settings, write_manifest, write_text

PER_CLASS = 1500
IMAGE_SIZE = 224
WORKERS = 15
# The paper's 3,240 training, 360 validation and 900 test films of 4,500.
TEST_SHARE = 0.2
VALIDATION_SHARE_OF_REST = 0.1
LONGEST_USUAL_ASPECT = 2.0
FILMS_A_TASK = 16
# numpy pads the header of a four-dimensional array to this length.
HEADER_BYTES = 128
SKIPPED = "skipped.csv"
OVERVIEW = "overview.png"


@dataclass
class Decoded:
    """What is known of a film after decoding it.

    Attributes:
        sha256: of its size and pixels, or None if it could not be read.
        reason: why it could not be read.
        width, height: in pixels.
        slot: row of the array file that holds it, or None.
    """

    sha256: str | None = None
    reason: str = ""
    width: int = 0
    height: int = 0
    slot: int | None = None


@dataclass(frozen=True)
class FilmStore:
    """An `images.npy` written row by row, in any order and by several processes, without holding it in memory."""

    path: Path
    size: int

    def create(self, rows):
        """Create the file of uint8 [rows, size, size, 3] and reserve its space."""
        import numpy as np

        with open(self.path, "wb") as file:
            header = {"descr": "|u1", "fortran_order": False, "shape": (rows, self.size, self.size, 3)}
            np.lib.format.write_array_header_1_0(file, header)
            if file.tell() != HEADER_BYTES:
                raise AssertionError(f"the header of {self.path} has {file.tell()} bytes, not {HEADER_BYTES}")
            os.posix_fallocate(file.fileno(), 0, HEADER_BYTES + rows * self.size * self.size * 3)

    def write(self, row, grey):
        """Write a grey film, uint8 [size, size], as three equal channels."""
        with open(self.path, "r+b", buffering=0) as file:
            file.seek(HEADER_BYTES + row * grey.size * 3)
            file.write(grey.repeat(3))


def prepare(arguments):
    """Run stage 1; see the module's docstring."""
    started = time.time()
    films, left_out = find_films(arguments)
    settings = settings_of(arguments, films)
    out = Path(arguments.out)
    if not arguments.overwrite and check_settings(out, settings, "choose another --out, or give --overwrite") and all(
            (out / name).is_file() for name in (IMAGES, INDEX)):
        print(f"{out}: these films are already prepared; nothing to do")
        return
    order = draw_order(films, arguments.seed)
    require_enough(films, Counter(film.label for film in films), arguments.per_class, "found")
    with atomic_path(out / IMAGES) as temporary:
        store = FilmStore(temporary, arguments.image_size)
        store.create(arguments.per_class * len(CLASSES))
        decoded = decode_all(films, order, store, arguments.workers, arguments.per_class)
        chosen, dropped = choose(films, decoded, order, arguments.per_class)
        fill_gaps(films, decoded, chosen, store)
        splits = assign_splits(films, chosen, by_patient=arguments.split == "patient", seed=arguments.seed)
        rows = sorted(chosen, key=lambda number: decoded[number].slot)
        write_index(out / INDEX, films, decoded, rows, splits)
        write_skipped(out / SKIPPED, films, decoded)
    draw_overview(out, splits, rows, arguments.image_size)
    counts = {"left_out": dict(left_out), "dropped": dict(dropped)}
    write_manifest(out, stage="data_processing.prepare", settings=settings, seed=arguments.seed, started=started,
                   outputs=[out / name for name in (IMAGES, INDEX, SKIPPED, OVERVIEW)], **counts)
    print_summary(out, films, left_out, dropped, chosen, decoded, splits, arguments, time.time() - started)


def find_films(arguments):
    """Return the films of both data sets, in an order that no file system decides, and what the lists left out."""
    covidx, left_out = read_covidx(arguments.covidx, arguments.negatives, arguments.three_class_lists)
    films = sorted(covidx + read_chest_xray(arguments.chest_xray), key=lambda film: film.file)
    return films, left_out


def settings_of(arguments, films):
    """Return what the outputs depend on."""
    listing = "\n".join(f"{film.file} {film.label} {film.patient} {film.path.stat().st_size}" for film in films)
    names = ("per_class", "image_size", "split", "negatives", "seed")
    return {**{name: getattr(arguments, name) for name in names},
            "films_found": len(films), "films_sha256": hashlib.sha256(listing.encode()).hexdigest()}


def draw_order(films, seed):
    """Return for each class the numbers of its films in the order in which they are drawn."""
    import numpy as np

    order = []
    for label in range(len(CLASSES)):
        numbers = [number for number, film in enumerate(films) if film.label == label]
        order.append([int(number) for number in np.random.default_rng([seed, label]).permutation(numbers)])
    return order


def decode_all(films, order, store, workers, per_class):
    """Decode every film once: the duplicates of a drawn film may stand anywhere in the pool.

    The first films in the order of drawing are resized and stored on the way.

    Returns:
        list of `Decoded`, one a film.
    """
    from tqdm import tqdm

    slots = {number: place * len(CLASSES) + label
             for label, numbers in enumerate(order) for place, number in enumerate(numbers[:per_class])}
    work = [(film.path, slots.get(number)) for number, film in enumerate(films)]
    with ProcessPoolExecutor(min(workers, useful_workers())) as pool:
        results = pool.map(partial(decode_film, store), work, chunksize=FILMS_A_TASK)
        return list(tqdm(results, "decoding", len(films), unit=" films", delay=1, leave=False))


def useful_workers():
    """Return how many processes can decode at once: the cores that this one may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def decode_film(store, work):
    """Decode a film, given as (path, slot); store it resized if it has a slot."""
    path, slot = work
    try:
        image = read_pixels(path)
    except UnreadableFilm as error:
        return Decoded(reason=str(error))
    if slot is not None:
        store.write(slot, resize(image, store.size))
    return Decoded(fingerprint(image), width=image.width, height=image.height, slot=slot)


def choose(films, decoded, order, per_class):
    """Draw films class by class, without unreadable ones and duplicates.

    Of equal films in one class the first is kept; a film that stands in two classes is dropped in both.

    Returns:
        list of the numbers of the drawn films, and a Counter of what was dropped, by reason.

    Raises:
        UserError: a class runs short.
    """
    labels = {}
    for film, found in zip(films, decoded):
        if found.sha256:
            labels.setdefault(found.sha256, set()).add(film.label)
    dropped, kept = Counter(), []
    for numbers in order:
        seen = set()
        for number in numbers:
            sha256 = decoded[number].sha256
            if sha256 is None:
                dropped["unreadable"] += 1
            elif len(labels[sha256]) > 1:
                dropped["equal films in two classes"] += 1
            elif sha256 in seen:
                dropped["duplicate of a film in its class"] += 1
            else:
                seen.add(sha256)
                kept.append(number)
    require_enough(films, Counter(films[number].label for number in kept), per_class,
                   f"left ({sum(dropped.values())} dropped: {dict(dropped)})")
    drawn = Counter()
    chosen = []
    for number in kept:
        drawn[films[number].label] += 1
        if drawn[films[number].label] <= per_class:
            chosen.append(number)
    return chosen, dropped


def require_enough(films, counts, per_class, what):
    """Raise `UserError` if a class has fewer films than are to be drawn."""
    for label, name in enumerate(CLASSES):
        if counts[label] < per_class:
            raise UserError(f"class {name}: {counts[label]} films {what}, {per_class} wanted; lower --per-class to "
                            f"{min(counts[label] for label in range(len(CLASSES)))} or add films")


def fill_gaps(films, decoded, chosen, store):
    """Store the drawn films that stand in for dropped ones, in the slots that those leave free."""
    taken = {decoded[number].slot for number in chosen}
    total = len(chosen)
    for label in range(len(CLASSES)):
        free = [slot for slot in range(label, total, len(CLASSES)) if slot not in taken]
        late = [number for number in chosen if films[number].label == label and decoded[number].slot is None]
        for slot, number in zip(free, late):
            store.write(slot, resize(read_pixels(films[number].path), store.size))
            decoded[number].slot = slot


def assign_splits(films, chosen, by_patient, seed):
    """Split the drawn films into train, validation and test, stratified by class, in exact shares.

    Patients come in a random order and go to the first split that has room for all their films.

    Returns:
        dict from film number to split.

    Raises:
        UserError: patients with many films leave no exact split.
    """
    import numpy as np

    per_class = len(chosen) // len(CLASSES)
    test = round(per_class * TEST_SHARE)
    validation = round((per_class - test) * VALIDATION_SHARE_OF_REST)
    room = {split: [films_a_class] * len(CLASSES) for split, films_a_class in (("test", test), ("validation", validation))}
    groups = {}
    for number in sorted(chosen):
        groups.setdefault(films[number].patient if by_patient else number, []).append(number)
    groups = list(groups.values())
    splits = {}
    for position in np.random.default_rng([seed, len(CLASSES)]).permutation(len(groups)):
        counts = Counter(films[number].label for number in groups[position])
        split = next((split for split, left in room.items() if all(counts[label] <= left[label] for label in counts)), "train")
        for label in counts if split != "train" else ():
            room[split][label] -= counts[label]
        splits.update((number, split) for number in groups[position])
    if any(map(any, room.values())) or set(splits.values()) != set(SPLITS):
        raise UserError(f"no split of {per_class} films a class keeps every patient on one side; raise --per-class or "
                        "give --split random")
    return splits


def write_index(path, films, decoded, rows, splits):
    """Write `index.csv`: row i describes image i."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(INDEX_COLUMNS)
    for row, number in enumerate(rows):
        film = films[number]
        writer.writerow([row, splits[number], film.label, CLASSES[film.label], film.source, film.patient, film.file,
                         decoded[number].sha256])
    write_text(path, text.getvalue())


def write_skipped(path, films, decoded):
    """Write `skipped.csv`: the files that could not be read, and why."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["file", "reason"])
    writer.writerows([film.file, found.reason] for film, found in zip(films, decoded) if found.sha256 is None)
    write_text(path, text.getvalue())


def draw_overview(out, splits, rows, size, columns=10, film_px=128):
    """Draw `overview.png`: the first films of each class, a row a class."""
    import numpy as np
    from PIL import Image, ImageDraw, ImageFont

    images = np.load(out / IMAGES, mmap_mode="r", allow_pickle=False)
    columns = min(columns, len(rows) // len(CLASSES))
    margin, gap, heading = 12, 4, 28
    width = 2 * margin + columns * (film_px + gap) - gap
    sheet = Image.new("L", (max(width, 480), margin + len(CLASSES) * (heading + film_px + gap)), 255)
    draw = ImageDraw.Draw(sheet)
    for label, name in enumerate(CLASSES):
        top = margin + label * (heading + film_px + gap)
        draw.text((margin, top), f"{name}: {len(rows) // len(CLASSES)} films, {columns} shown as the classifiers see them",
                  fill=0, font=ImageFont.load_default(16))
        for column in range(columns):
            film = Image.fromarray(images[column * len(CLASSES) + label, :, :, 0])
            sheet.paste(film.resize((film_px, film_px), Image.Resampling.LANCZOS),
                        (margin + column * (film_px + gap), top + heading - gap))
    with atomic_path(out / OVERVIEW) as temporary:
        sheet.save(temporary)


def print_summary(out, films, left_out, dropped, chosen, decoded, splits, arguments, seconds):
    """Print what was found, dropped and drawn, by class, source and split."""
    print(f"found {len(films)} films", *(f"  left out by the lists: {count} {reason}" for reason, count in left_out.items()),
          *(f"  dropped: {count} {reason}" for reason, count in dropped.items()), sep="\n")
    sources = sorted({film.source for film in films})
    print(f"drawn {len(chosen)} films", f"  {'class':<12}" + "".join(f"{name:>16}" for name in (*SPLITS, *sources)), sep="\n")
    for label, name in enumerate(CLASSES):
        numbers = [number for number in chosen if films[number].label == label]
        by_split = Counter(splits[number] for number in numbers)
        by_source = Counter(films[number].source for number in numbers)
        print(f"  {name:<12}" + "".join(f"{count:>16}" for count in (*(by_split[s] for s in SPLITS),
                                                                   *(by_source[s] for s in sources))))
    small = sum(min(decoded[n].width, decoded[n].height) < arguments.image_size for n in chosen)
    long = sum(max(decoded[n].width, decoded[n].height) > LONGEST_USUAL_ASPECT * min(decoded[n].width, decoded[n].height)
               for n in chosen)
    print(f"  every film is scaled to {arguments.image_size} x {arguments.image_size} px without keeping its shape, as in "
          f"the paper; {small} were enlarged, {long} are more than twice as long as wide")
    print(f"wrote {out}/: {IMAGES}, {INDEX}, {SKIPPED}, {OVERVIEW} in {seconds:.1f} s")


def parse_args(argv=None):
    """Return the parsed command line."""
    def positive(text):
        number = int(text)
        if number < 1:
            raise argparse.ArgumentTypeError(f"{text} is not a whole number above 0")
        return number

    parser = argparse.ArgumentParser(prog="python -m data_processing.prepare", description=__doc__.split("\n")[0],
                                     formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--covidx", required=True, metavar="DIR", help="COVIDx-CXR2 folder")
    parser.add_argument("--chest-xray", required=True, metavar="DIR", help="Kermany chest_xray folder")
    parser.add_argument("--out", default="data", metavar="DIR", help="where the prepared films go")
    parser.add_argument("--per-class", type=positive, default=PER_CLASS, help="films drawn from each class")
    parser.add_argument("--image-size", type=positive, default=IMAGE_SIZE, help="height and width in pixels")
    parser.add_argument("--split", choices=("patient", "random"), default="patient",
                        help="keep every patient on one side, or split film by film as the paper did")
    parser.add_argument("--negatives", choices=NEGATIVES, default="strict",
                        help="which COVIDx negatives count as normal: those that the three-class lists call so, or all")
    parser.add_argument("--three-class-lists", nargs="+", metavar="FILE", help="instead of *_COVIDx8A.txt beside the lists")
    parser.add_argument("--workers", type=positive, default=WORKERS, help="films decoded at once, at most one a core")
    parser.add_argument("--seed", type=int, default=0, help="of drawing and splitting")
    parser.add_argument("--overwrite", action="store_true", help="replace the films of another run")
    return parser.parse_args(argv)


def main(argv=None):
    """Prepare the films and return the exit status."""
    prepare(parse_args(argv))
    return 0


if __name__ == "__main__":
    raise SystemExit(run(main))
