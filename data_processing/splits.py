"""Groups the drawn films that may show one person, and assigns each film to a split."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from data_processing.film import Film
from nosign.dataset import CLASSES
from nosign.errors import UserError

# The paper's 3,240 training, 360 validation and 900 test films of 4,500.
TEST_SHARE = 0.2
VALIDATION_SHARE_OF_REST = 0.1
# How many random orders of the groups are tried before a split counts as impossible.
SPLIT_ATTEMPTS = 100
# The Radiography Database (sirm) took films from publications case by case, numbered them in that order and names no
# patients. Films whose numbers are this close often show one person. In a split made film by film, 176 of 211 test films had
# such a neighbour among the training and validation films.
NEIGHBOURS = 3
LAST_NUMBER = re.compile(r"(.*?)(\d+)\D*", re.DOTALL)


def group_films(films: Sequence[Film], chosen: Iterable[int]) -> dict[int, str]:
    """Group the drawn films that may show one person.

    Films of one patient are a group. Where the patient is not known, films of one collection whose names have the same text
    before the last number are put in the order of that number. A group goes on as long as the number rises by at most
    `NEIGHBOURS` (1, 3, 6 are one group; 1 and 6 alone are two). Any other film is its own group.

    Args:
        films: list of `Film`.
        chosen: the numbers of the drawn ones.

    Returns:
        dict from film number to the group's name: the patient's id, or the file of its first film.
    """
    groups, series = {}, {}
    for number in chosen:
        film = films[number]
        match = LAST_NUMBER.fullmatch(Path(film.file).stem)
        if film.patient or not match:
            groups[number] = film.patient or film.file
        else:
            series.setdefault((film.collection, match[1]), []).append((int(match[2]), film.file, number))
    for numbered in series.values():
        before, group = None, ""
        for place, file, number in sorted(numbered):
            if before is None or place - before > NEIGHBOURS:
                group = file
            groups[number], before = group, place
    return groups


def held_out_of(per_class: int) -> dict[str, int]:
    """Return how many of so many films of a class are for test and validation; the rest is for training."""
    test = round(per_class * TEST_SHARE)
    return {"test": test, "validation": round((per_class - test) * VALIDATION_SHARE_OF_REST)}


def assign_splits(films: Sequence[Film], groups: Mapping[int, str | int], seed: int) -> dict[int, str]:
    """Split the drawn films into train, validation and test, stratified by class, in exact shares.

    Args:
        films: list of `Film`.
        groups: dict from the number of a drawn film to its group; a group goes to one split as a whole.

    Returns:
        dict from film number to split.

    Raises:
        UserError: no split in exact shares was found, because some groups are too large.
    """
    import numpy as np

    per_class = len(groups) // len(CLASSES)
    held_out = held_out_of(per_class)
    members_of = {}
    for number in sorted(groups):
        members_of.setdefault(groups[number], []).append(number)
    members = list(members_of.values())
    for attempt in range(SPLIT_ATTEMPTS):
        positions = np.random.default_rng([seed, len(CLASSES), attempt]).permutation(len(members))
        splits = deal(films, [members[position] for position in positions], held_out)
        if splits is not None:
            return splits
    largest = max(members, key=len)
    raise UserError(
        f"no split of {per_class} films a class keeps every patient on one side: the largest group of films "
        f"that may show one person, with {films[largest[0]].file}, has {len(largest)} films; raise --per-class, "
        "add films of other patients or give --split random"
    )


def deal(films: Sequence[Film], groups: Iterable[Sequence[int]], films_a_class: Mapping[str, int]) -> dict[int, str] | None:
    """Assign each group of films to the first split that has room for all of them; the rest are training films.

    Args:
        groups: lists of film numbers that stay together.
        films_a_class: dict from split to the number of films of each class that it takes.

    Returns:
        dict from film number to split, or None if a split is not full in the end.
    """
    room = {split: Counter(dict.fromkeys(range(len(CLASSES)), films)) for split, films in films_a_class.items()}
    splits = {}
    for group in groups:
        counts = Counter(films[number].label for number in group)
        split = next((split for split, left in room.items() if counts <= left), "train")
        if split != "train":
            room[split] -= counts
        splits.update(dict.fromkeys(group, split))
    return None if any(left.total() for left in room.values()) else splits
