"""Flags of several scripts: which runs the seeds make, and where they read and write."""

import argparse

import pytest

from nosign.script import add_seeds, each_seed, seed_folders


def runs(words, films, folders=(), **options):
    """Return the arguments of each run of a script with these flags."""
    parser = argparse.ArgumentParser()
    for name in (films, *folders):
        parser.add_argument(f"--{name}", default=name)
    parser.add_argument("--seed", type=int, default=0)
    add_seeds(parser, models=bool(folders))
    return list(each_seed(parser.parse_args(words), films, folders, **options))


def test_without_the_flags_there_is_one_run_in_plain_folders():
    (run,) = runs(["--seed", "7"], "data", ("models", "out"), pair=True)
    assert (run.data, run.models, run.out, run.seed) == ("data", "models", "out", 7)


def test_stage_1_has_a_run_for_each_data_seed():
    assert [(run.out, run.seed) for run in runs(["--data-seeds", "3", "0", "3"], "out")] == [
        ("out/seed-3", 3),
        ("out/seed-0", 0),
    ]
    with pytest.raises(SystemExit):
        runs(["--model-seeds", "1"], "out")


def test_stage_2_trains_every_model_seed_on_the_films_of_every_data_seed():
    found = [
        (run.data, run.out, run.seed) for run in runs(["--data-seeds", "0", "1", "--model-seeds", "4", "5"], "data", ("out",))
    ]
    assert found == [(f"data/seed-{d}", f"out/seed-{d}-{m}", m) for d in (0, 1) for m in (4, 5)]


@pytest.mark.parametrize(
    "words, expected",
    [(["--data-seeds", "2", "3"], [(2, 0), (3, 0)]), (["--model-seeds", "2", "3"], [(0, 2), (0, 3)])],
    ids=["data", "model"],
)
def test_one_flag_alone_leaves_the_other_seed_at_zero(words, expected):
    found = runs(words, "data", ("models", "out"), pair=True)
    assert [(run.data, run.models, run.out) for run in found] == [
        (f"data/seed-{d}", f"models/seed-{d}-{m}", f"out/seed-{d}-{m}") for d, m in expected
    ]


def test_the_pair_of_seeds_differs_between_any_two_runs():
    found = runs(["--data-seeds", "0", "1", "2", "--model-seeds", "0", "1", "2"], "data", ("out",), pair=True)
    assert sorted(run.seed for run in found) == [(d, m) for d in range(3) for m in range(3)]


def test_folders_of_runs_are_found_in_the_order_of_their_seeds(tmp_path):
    names = ["seed-2", "seed-10", "seed-2-0", "seed-2-10", "seed-2-9", "seed-10-1"]
    for name in [*reversed(names), "seed-x", "seed-1-2-3", "seed-1-", "seeds"]:
        (tmp_path / name).mkdir()
    (tmp_path / "seed-3").touch()
    assert [folder.name for folder in seed_folders(tmp_path)] == [
        "seed-2",
        "seed-2-0",
        "seed-2-9",
        "seed-2-10",
        "seed-10",
        "seed-10-1",
    ]
