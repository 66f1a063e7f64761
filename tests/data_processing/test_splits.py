"""Films that may show one person go to one split, and every split has its exact share of each class."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from tiny import rows_of

from data_processing import prepare
from data_processing.film import Film
from data_processing.splits import NEIGHBOURS, assign_splits, group_films
from nosign.dataset import INDEX, SPLITS
from nosign.errors import UserError
from nosign.script import run


def film(name, patient="", collection="covidx/sirm", label=0):
    return Film(Path(), f"covidx-cxr2/train/{name}.png", label, patient, collection)


def partition(films, chosen=None):
    """Return the groups of films as a set of sets of file stems."""
    groups = {}
    for number, group in group_films(films, range(len(films)) if chosen is None else chosen).items():
        groups.setdefault(group, set()).add(Path(films[number].file).stem)
    return {frozenset(group) for group in groups.values()}


def sets_of(*groups):
    return {frozenset(group.split()) for group in groups}


def sides_of(films, by_patient=True):
    """Return what the films' numbers stay together with."""
    return group_films(films, range(len(films))) if by_patient else {number: number for number in range(len(films))}


@pytest.mark.parametrize(
    "names, groups",
    [
        ("n1 n3 n6", ["n1 n3 n6"]),
        ("n1 n6", ["n1", "n6"]),
        ("n1 n4", ["n1 n4"]),
        ("n1 n5", ["n1", "n5"]),
        ("n9 n10 n11 n20", ["n9 n10 n11", "n20"]),
        ("n0007 n8", ["n0007 n8"]),
        ("a-1-5 a-2-5 a-1-6", ["a-1-5 a-1-6", "a-2-5"]),
        ("case12a case12b case30(left)", ["case12a case12b", "case30(left)"]),
        ("day first other", ["day", "first", "other"]),
    ],
)
def test_neighbours_by_last_number_form_chains(names, groups):
    assert partition([film(name) for name in names.split()]) == sets_of(*groups)


def test_neighbours_of_other_collections_or_with_other_text_before_the_number_are_not_joined():
    films = [film("COVID-1"), film("COVID-2", collection="covidx/fig1"), film("COVID(3"), film("Normal-4")]
    assert len(partition(films)) == 4


def test_numbers_do_not_join_films_whose_patients_are_known():
    films = [film("n1", "sirm:A"), film("n2", "sirm:B"), film("n3"), film("n40", "sirm:A")]
    assert partition(films) == sets_of("n1 n40", "n2", "n3")


def test_only_drawn_films_link_a_chain():
    films = [film(f"n{number}") for number in (1, 3, 6)]
    assert partition(films, [0, 2]) == sets_of("n1", "n6")


def test_chain_is_named_by_its_first_film_whatever_the_order():
    films = [film(f"n{number}") for number in (12, 9, 10)]
    assert set(group_films(films, [2, 0, 1]).values()) == {"covidx-cxr2/train/n9.png"}


def test_groups_of_films_without_patient_stay_on_one_side_whatever_the_seed(raw_sets, tmp_path):
    sets = raw_sets(tmp_path / "raw").add_all_classes(20)
    for number in range(8, 20):
        (sets.covidx / "train" / f"covid{number}.png").write_bytes(b"")
    numbers = [1, 3, 6, 30, 31, 50, 53, 70, 90, 110, 130, 150, 170]
    for place, number in enumerate(numbers):
        sets.add_covidx(f"COVID-{number}.png", f"COVID {number}", class_8a="COVID-19", split=("train", "test")[place % 2])
    sides = set()
    for seed in range(8):
        out = tmp_path / f"data{seed}"
        assert run(prepare.main, sets.words(out, "--per-class", "20", "--seed", str(seed))) == 0
        split_of = {
            int(Path(row["file"]).stem.removeprefix("COVID-")): row["split"]
            for row in rows_of(out / INDEX)
            if "COVID-" in row["file"]
        }
        near = [(split_of[one], split_of[other]) for one in split_of for other in split_of if 0 < other - one <= NEIGHBOURS]
        assert near and all(one == other for one, other in near)
        sides.update(one for one, _ in near)
    assert "train" in sides and len(sides) > 1


def test_long_chain_goes_to_training_and_the_others_fill_the_splits():
    films = [film(f"n{number}") for number in range(14)] + [film(f"other{100 * number}") for number in range(6)]
    films += [film(f"c{label}x{10 * number}", label=label) for label in (1, 2) for number in range(20)]
    for seed in range(10):
        splits = assign_splits(films, sides_of(films), seed)
        assert {splits[number] for number in range(14)} == {"train"}
        assert Counter(splits.values()) == {"train": 42, "validation": 6, "test": 12}


def test_collection_that_is_one_chain_is_refused_with_advice(raw_sets, tmp_path, capsys):
    sets = raw_sets(tmp_path / "raw").add_all_classes(7)
    for number in range(7):
        (sets.covidx / "train" / f"covid{number}.png").write_bytes(b"")
        sets.add_covidx(f"COVID-{number}.png", f"COVID {number}", class_8a="COVID-19")
    assert run(prepare.main, sets.words(tmp_path / "data")) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "no split of 7 films a class keeps every patient on one side" in line
    assert "with covidx-cxr2/train/COVID-0.png, has 7 films" in line and line.endswith("or give --split random")
    assert not any((tmp_path / "data").iterdir())
    assert run(prepare.main, sets.words(tmp_path / "data", "--split", "random")) == 0


def random_pool(rng, per_class, largest, single=0):
    """Return films of patients with 1 to `largest` films, some of them in two classes; `single` have one film each."""
    films, patient = [], 0
    for label in range(3):
        while sum(film.label == label for film in films) < per_class:
            room = per_class - sum(film.label == label for film in films)
            if room <= single:
                room = 1
            elif not single:
                patient -= rng.random() < 0.02
            for _ in range(min(room, rng.integers(1, largest + 1))):
                films.append(Film(Path(), str(len(films)), label, f"p{patient}", "source"))
            patient += 1
    return films


@pytest.mark.parametrize("by_patient", [True, False])
@pytest.mark.parametrize("per_class, sizes", [(1500, (1080, 120, 300)), (20, (14, 2, 4)), (10, (7, 1, 2)), (7, (5, 1, 1))])
def test_split_sizes_are_exact_in_every_class(by_patient, per_class, sizes):
    single = 0 if per_class > 100 else sizes[1] + sizes[2]  # enough for an exact split to exist
    films = random_pool(np.random.default_rng(per_class), per_class, 3, single)
    splits = assign_splits(films, sides_of(films, by_patient), 3)
    counts = Counter((splits[number], film.label) for number, film in enumerate(films))
    assert counts == {(split, label): size for split, size in zip(SPLITS, sizes) for label in range(3)}


def test_no_patient_stands_on_two_sides_even_with_films_in_two_classes():
    for seed in range(30):
        films = random_pool(np.random.default_rng(seed), 30, 4)
        splits = assign_splits(films, sides_of(films), seed)
        sides = {}
        for number, film in enumerate(films):
            sides.setdefault(film.patient, set()).add(splits[number])
        assert all(len(side) == 1 for side in sides.values())
    films = [Film(Path(), str(n), n // 30, f"p{n % 30}", "source") for n in range(90)]  # every patient in every class
    splits = assign_splits(films, sides_of(films), 0)
    assert all(splits[n] == splits[n + 30] == splits[n + 60] for n in range(30))


def test_random_split_ignores_patients():
    films = [Film(Path(), str(n), n // 20, f"p{n // 20}", "source") for n in range(60)]
    splits = assign_splits(films, sides_of(films, False), 0)
    assert Counter(splits.values()) == {"train": 42, "validation": 6, "test": 12}
    with pytest.raises(UserError, match="no split of 20 films a class keeps every patient on one side.*--split random"):
        assign_splits(films, sides_of(films), 0)


def test_split_is_found_where_the_first_order_of_patients_leaves_none():
    """Patients of one, two and three films: only some orders fill both splits exactly."""
    sizes = (3, 3, 3, 3, 2, 2, 1, 1, 1, 1)
    patients = [patient for patient, size in enumerate(sizes) for _ in range(size)]
    films = [
        Film(Path(), f"{label}{n}", label, f"{label}p{patient}", "s")
        for label in range(3)
        for n, patient in enumerate(patients)
    ]
    for seed in range(40):
        assert Counter(assign_splits(films, sides_of(films), seed).values())["test"] == 12
