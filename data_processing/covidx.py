"""Reads a COVIDx-CXR2 folder: `train/ test/ train.txt test.txt`, rows `patient-id file class source`."""

from __future__ import annotations

import codecs
import contextlib
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path

from data_processing.film import Film
from nosign.dataset import CLASSES
from nosign.errors import UserError

SPLITS = ("train", "test")
LISTS = tuple(f"{split}.txt" for split in SPLITS)
THREE_CLASS_LISTS = tuple(f"{split}_COVIDx8A.txt" for split in SPLITS)
NEGATIVES = ("strict", "paper")
# The folder may have any name, such as a version number in Kaggle's cache; the films' names must not depend on it.
NAME = "covidx-cxr2"
# Ids of one form all name persons if at least this share of their films shows it; see `ids_of_persons`. Figure 1's collection
# has one film of most persons, and the others show it (COVID-00015 has COVID-00015a and b). A single slip in a list of films'
# ids must not be enough.
PERSONS_SHARE = 0.1


def read_covidx(
    folder: str | Path, negatives: str = "strict", three_class_lists: Sequence[str | Path] | None = None
) -> tuple[list[Film], Counter[str]]:
    """Read the films of a COVIDx-CXR2 folder that belong to COVID-19 or Normal.

    A negative is not always normal: the three-class lists of the same films call more than a third of them pneumonia.

    Args:
        folder: holds the lists and the folders `train` and `test`.
        negatives: "strict" takes the negatives that the three-class lists call normal, "paper" takes all.
        three_class_lists: paths of the three-class lists; by default `*_COVIDx8A.txt` beside the others.

    Returns:
        list of `Film`, and a Counter of the rows left out, by reason.

    Raises:
        UserError: the folder has another layout, a row is malformed or names a missing file, or a list is missing.
    """
    folder = find_folder(folder)
    normal, present = None, {path.name: names_in(path) for path in folders_of(folder)}
    if negatives == "strict":
        normal = read_normal_files(
            three_class_lists or [folder / name for name in THREE_CLASS_LISTS], set().union(*present.values())
        )
    rows = {split: list(read_list(folder / f"{split}.txt", ("positive", "negative"), present[split])) for split in SPLITS}
    of_person = ids_of_persons(row for split in SPLITS for row in rows[split])
    films, left_out, missing = [], Counter(), []
    for split in SPLITS:
        for where, listed_id, file, category, collection in rows[split]:
            if category == "negative" and normal is not None and normal.get(file) != "normal":
                left_out[f"negative, but {normal.get(file, 'not')} in the three-class list"] += 1
                continue
            path = folder / split / file
            if not path.is_file():
                missing.append(f"{where} names {path}")
            label = CLASSES.index("COVID-19" if category == "positive" else "Normal")
            patient = f"{collection}:{listed_id}" if (collection, listed_id) in of_person else ""
            films.append(Film(path, f"{NAME}/{split}/{file}", label, patient, f"covidx/{collection}"))
    if missing:
        more = f" (and {len(missing) - 1} more rows)" if len(missing) > 1 else ""
        raise UserError(f"{missing[0]}, which is not there{more}; download the set again or correct the list")
    return films, left_out


def find_folder(folder: str | Path) -> Path:
    """Return the folder that holds the lists: the one given or the only one inside it that does."""
    folder = Path(folder)
    for candidate in (folder, *sorted(path for path in folder.glob("*") if path.name != "__MACOSX")):
        if all((candidate / name).is_file() for name in LISTS):
            return candidate
    raise UserError(
        f"{folder}: not a COVIDx-CXR2 folder; expected {', '.join(LISTS)} and the folders "
        f"{', '.join(SPLITS)} in it; check --covidx"
    )


def folders_of(folder: Path) -> list[Path]:
    """Return the folders whose films are read."""
    return [folder / split for split in SPLITS]


def names_in(folder: Path) -> set[str]:
    """Return the names of the files in a folder; none where there is no folder."""
    return {path.name for path in folder.iterdir()} if folder.is_dir() else set()


def ids_of_persons(rows: Iterable[tuple[str, str, str, str, str]]) -> set[tuple[str, str]]:
    """Tell the ids that name persons from those that name films.

    Some collections' lists only repeat the file name where a patient id should be: "COVID 1234" for COVID-1234.jpg. An id
    names a person if it differs from its file name, or if several films carry it. All ids of one form (the id without its
    digits) name persons if this holds for enough of their films: a share of `PERSONS_SHARE`.

    Args:
        rows: what `read_list` yields.

    Returns:
        Set of (collection, id).
    """
    files = {}
    for _, listed_id, file, _, collection in rows:
        files.setdefault((collection, listed_id), set()).add(file)
    form = {key: (key[0], re.sub(r"\d+", "#", key[1])) for key in files}
    shows = {
        key
        for key, names in files.items()
        if len(names) > 1 or letters_and_digits(key[1]) != letters_and_digits(Path(*names).stem)
    }
    films_of_form, films_that_show = Counter(), Counter()
    for key, names in files.items():
        films_of_form[form[key]] += len(names)
        films_that_show[form[key]] += len(names) * (key in shows)
    return {key for key in files if key in shows or films_that_show[form[key]] >= PERSONS_SHARE * films_of_form[form[key]]}


def letters_and_digits(name: str) -> str:
    """Return a name in lower case without spaces, hyphens, underscores, brackets and other punctuation."""
    return re.sub(r"[\W_]", "", name).casefold()


def read_normal_files(paths: Sequence[str | Path], present: Collection[str]) -> dict[str, str]:
    """Return the class of each film in the three-class lists, by file name; `present` holds the existing files' names."""
    for path in paths:
        if not Path(path).is_file():
            raise UserError(
                f"{path}: not found; --negatives strict needs the three-class lists: put them there, name "
                "them with --three-class-lists, or take every negative with --negatives paper"
            )
    return {
        file: category
        for path in paths
        for _, _, file, category, _ in read_list(path, ("normal", "pneumonia", "COVID-19"), present)
    }


def read_list(
    path: str | Path, categories: Sequence[str], present: Collection[str] = frozenset()
) -> Iterator[tuple[str, str, str, str, str]]:
    """Yield (where, id, file, category, collection) for each row; ids and files may contain spaces.

    Args:
        path: of the list.
        categories: the classes that it may name.
        present: names of the existing files; they tell where the id ends and a file name with spaces begins.
    """
    for number, line in enumerate(text_of(Path(path).read_bytes()).splitlines(), 1):
        if not line.strip():
            continue
        fields = line.rsplit(maxsplit=3)
        if len(fields) != 4 or fields[2] not in categories:
            raise UserError(
                f"{path} line {number}: expected 'patient-id file class source' with class "
                f"{' or '.join(categories)}, found {line[:80]!r}"
            )
        yield f"{path} line {number}", *id_and_file(line, fields, present), fields[2], fields[3]


def id_and_file(line: str, fields: Sequence[str], present: Collection[str]) -> tuple[str, str]:
    """Return the id and the file name of a row.

    The file name is the longest end of the text before the class that is one of the files, with an id before it; if there is
    none, the last word.
    """
    before = line.rsplit(maxsplit=2)[0].strip()
    for space in re.finditer(r"\s+", before):
        if before[space.end() :] in present:
            return before[: space.start()], before[space.end() :]
    return fields[0], fields[1]


def text_of(content: bytes) -> str:
    """Return a list's text: UTF-16 if a byte order mark says so, else UTF-8, else GB18030 (of Chinese Windows)."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16", "replace")
    for encoding in ("utf-8-sig", "gb18030"):
        with contextlib.suppress(UnicodeDecodeError):
            return content.decode(encoding)
    return content.decode("utf-8", "replace")
