"""The plan counts what stages 2 and 3 do."""

from types import SimpleNamespace

import numpy as np
import pytest

import attack
from data_processing import prepare
from nosign import plan
from nosign.classifiers.catalogue import BACKBONES
from nosign.classifiers.training import Batches
from nosign.errors import UserError
from nosign.measures.storage import STORAGES
from nosign.paper import PAPER_TEST_FILMS
from nosign.sweep import jobs
from nosign.sweep.jobs import work_of
from nosign.sweep.options import Shard


def job_of(results, words):
    """Return the job of stage 3 that attack.py's flags ask for, and its searches with how many films each has."""
    arguments = attack.parse_args(["--out", str(results), *words])
    (job,) = jobs.attack_jobs(arguments, {})
    films = SimpleNamespace(labels=np.arange(PAPER_TEST_FILMS) % 3, rows=np.arange(PAPER_TEST_FILMS))
    films.whole = films
    return job, arguments, {search: len(search.positions(films)) for search in job.searches}


SETTINGS = (
    [],
    ["--attacks", "fgsm", "bim", "noise", "--control-films", "7", "--iterative-turning", "5", "--steps", "3"],
    ["--protocol", "budget", "--attacks", "pgd", "apgd", "--restarts", "4", "--storages", "JPEG 95"],
)


@pytest.mark.parametrize("words", SETTINGS)
def test_the_sweep_is_the_work_that_its_progress_bar_counts(tmp_path, words):
    job, arguments, searches = job_of(tmp_path, words)
    for models in (["VGG16"], ["VGG16", "InceptionV3", "DenseNet201"]):
        bar = work_of(job, len(models), arguments.steps, PAPER_TEST_FILMS, job.cells, job.without_boundary(), searches)
        works = list(plan.attack_work(job, models, PAPER_TEST_FILMS, arguments.steps))
        planned = sum(work.forward + jobs.GRADIENT_COST * work.gradient for work in works)
        stored = len(STORAGES) * any(map(job.is_stored, job.cells))
        clean, first = (1 + stored) * len(models), jobs.GRADIENT_COST
        # A forward pass may be left over, as one of the source alone counts as half a gradient.
        assert bar + (clean + first) * PAPER_TEST_FILMS - planned in (0, 1)


def test_the_paper_s_work_is_that_of_default_flags(tmp_path):
    job, arguments, _ = job_of(tmp_path, [])
    planned = [work for work in plan.paper_work(["VGG16", "InceptionV3"]) if work.stage == 3]
    assert planned == list(plan.attack_work(job, ["VGG16", "InceptionV3"], PAPER_TEST_FILMS, arguments.steps))


def test_a_universal_attack_is_fitted_first(tmp_path):
    job, arguments, _ = job_of(tmp_path, ["--attacks", "universal", "universal-sign", "--single-step-strengths", "0.01"])
    _, fitting = plan.attack_work(job, ["VGG16"], 9, arguments.steps, fitted_on=30)
    assert fitting == plan.Work(3, plan.FITTING, "VGG16", gradient=2 * 30 * arguments.steps)


def test_a_second_job_of_a_command_finds_the_films_looked_at_and_a_twin_is_one_more_model(tmp_path):
    job, arguments, _ = job_of(tmp_path, ["--attacks", "fgsm"])
    one, two = (list(plan.attack_work(job, ["VGG16", "VGG16"], 9, arguments.steps, first=first)) for first in (True, False))
    assert [(work.what, work.model) for work in one] == [("attacks", "VGG16"), ("transfer", "VGG16")]
    assert [a.gradient - b.gradient for a, b in zip(one, two)] == [9, 0]
    assert [a.forward - b.forward for a, b in zip(one, two)] == [9 * (1 + len(STORAGES))] * 2


@pytest.mark.parametrize("words", SETTINGS)
def test_parts_are_together_the_whole_and_those_with_controls_are_longer(tmp_path, words):
    job, arguments, searches = job_of(tmp_path, words)
    spans = [Shard(number, 16).span(PAPER_TEST_FILMS, 8) for number in range(1, 17)]
    whole, *parts = (
        list(plan.attack_work(job, ["VGG16", "InceptionV3"], PAPER_TEST_FILMS, arguments.steps, part=part))
        for part in (None, *spans)
    )
    for place, work in enumerate(whole):
        assert sum(part[place].forward for part in parts) == work.forward
        # A gradient is two forward passes, of which one may be left over.
        assert 0 <= work.gradient - sum(part[place].gradient for part in parts) <= len(parts)
    each = [sum(work.passes for work in part) / (stop - start) for part, (start, stop) in zip(parts, spans)]
    assert (each[0] > 1.01 * each[-1]) == any(films < PAPER_TEST_FILMS for films in searches.values())


def test_films_are_those_that_stage_1_deals_out():
    assert sum(plan.FILMS.values()) == 3 * prepare.PER_CLASS
    assert plan.FILMS["test"] == PAPER_TEST_FILMS


def test_training_steps_are_those_of_whole_batches():
    films = [0] * plan.FILMS["train"]
    batches = Batches(films, films, plan.FINE_TUNE_BATCH, 0)
    work = next(work for work in plan.paper_work(["VGG16"]) if work.stage == 2)
    assert work.training == BACKBONES["VGG16"].fine_tune_epochs * len(batches) * batches.batch
    # From scratch there is no phase 1, whose features the films of two splits are looked at for.
    works = [plan.training_work("VGG16", plan.FILMS, 2, from_scratch=scratch) for scratch in (False, True)]
    assert works[0].forward - works[1].forward == 3240 + 360 and works[1].forward == 900 + 2 * 360


def test_only_the_source_takes_gradients_and_every_model_sees_every_film():
    works = [work for work in plan.paper_work(["VGG16", "InceptionV3"], "InceptionV3") if work.stage == 3]
    assert [(work.what, work.model, work.gradient > 0) for work in works] == [
        ("transfer", "VGG16", False),
        ("attacks", "InceptionV3", True),
    ]
    assert works[0].forward == works[1].forward


def test_hours_are_passes_times_their_milliseconds():
    work = plan.Work(3, "attacks", "VGG16", forward=10_000, gradient=20_000, training=30_000)
    assert work.hours(plan.Cost(1, 2, 3)) * 3600 == pytest.approx(10 + 40 + 90)
    assert work.passes == 60_000


def test_unit_costs_are_kept_and_read_again(tmp_path, capsys):
    path = tmp_path / "costs.csv"
    costs = {"VGG16": plan.Cost(1.5, 2.25, 3), "InceptionV3": plan.Cost(0.0123, 4, 5)}
    plan.write_costs(path, costs, 224)
    assert plan.read_costs(path, ["InceptionV3", "VGG16"], 224) == costs
    with pytest.raises(UserError, match="costs of films of 224 px, not 112"):
        plan.read_costs(path, ["VGG16"], 112)
    assert plan.main(["--costs", str(path), "--models", "VGG16"]) == 0
    assert "unit costs from" in (printed := capsys.readouterr().out) and "InceptionV3" not in printed
    for text, said in (
        ("model,forward\nVGG16,1\n", "a row for each of VGG16 with model, image_size, and forward, gradient, training"),
        ("model,image_size,forward,gradient,training\nVGG16,224,1,x,2\n", "expected a row"),
        ("model,image_size,forward,gradient,training\nVGG16,224,1,0,2\n", "above 0"),
        ("model,image_size,forward,gradient,training\nVGG16,224,1,inf,2\n", "above 0"),
        ("name,forward\nVGG16,1\n", "there is no 'VGG16'"),
        ("\0", "expected a row"),
    ):
        path.write_text(text)
        with pytest.raises(UserError, match=said):
            plan.read_costs(path, ["VGG16"], 224)
    with pytest.raises(UserError, match="not found"):
        plan.read_costs(tmp_path / "absent.csv", ["VGG16"], 224)


def test_the_command_prints_models_passes_and_hours(capsys):
    assert plan.main(["--image-size", "75", "--models", "InceptionV3"]) == 0
    printed = capsys.readouterr().out
    assert "4,500 films of 75 px" in printed and "transfer, InceptionV3" in printed and "together" in printed
    assert "attacks, VGG16" in printed, "gradients come from it, so that it is part of the plan"
