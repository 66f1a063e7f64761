"""The plan counts what stages 2 and 3 do."""

import argparse
from types import SimpleNamespace

import pytest

from data_processing import prepare
from nosign import plan
from nosign.attacks.catalogue import Condition
from nosign.classifiers.catalogue import BACKBONES
from nosign.classifiers.training import Batches
from nosign.measures.storage import STORAGES
from nosign.paper import ITERATIVE_STRENGTHS, PAPER_ATTACKS, PAPER_TEST_FILMS, SINGLE_STEP_STRENGTHS, STEPS
from nosign.sweep import jobs
from nosign.sweep.options import STORING_STRENGTHS
from nosign.sweep.run import work_of


def test_the_sweep_is_the_work_that_its_progress_bar_counts(tmp_path):
    cells = jobs.planned_cells(PAPER_ATTACKS, SINGLE_STEP_STRENGTHS, ITERATIVE_STRENGTHS)
    arguments = argparse.Namespace(attacks=PAPER_ATTACKS, control_films=100, stored_turning=False, iterative_turning=0)
    searches = jobs.planned_searches(arguments)
    job = jobs.Job(tmp_path, "VGG16", Condition(), cells, {}, searches, storing=STORING_STRENGTHS, storages=tuple(STORAGES))
    for models in (1, 3):
        films = range(PAPER_TEST_FILMS)
        engine = SimpleNamespace(logits=dict.fromkeys(range(models)), steps=STEPS, films=films)
        bar = work_of(job, engine, cells, job.without_boundary(), dict.fromkeys(searches, films))
        gradients, forwards = plan.sweep_passes()
        clean = (1 + len(STORAGES)) * models
        first = jobs.GRADIENT_COST
        assert (gradients * jobs.GRADIENT_COST + forwards * models) * PAPER_TEST_FILMS == bar + (
            clean + first
        ) * PAPER_TEST_FILMS


def test_films_are_those_that_stage_1_deals_out():
    assert sum(plan.FILMS.values()) == 3 * prepare.PER_CLASS
    assert plan.FILMS["test"] == PAPER_TEST_FILMS


def test_training_steps_are_those_of_whole_batches():
    films = [0] * plan.FILMS["train"]
    batches = Batches(films, films, plan.FINE_TUNE_BATCH, 0)
    work = next(work for work in plan.all_work(["VGG16"]) if work.stage == 2)
    assert work.step == BACKBONES["VGG16"].fine_tune_epochs * len(batches) * batches.batch


def test_only_the_source_takes_gradients_and_every_model_sees_every_film():
    works = [work for work in plan.all_work(["VGG16", "InceptionV3"], "InceptionV3") if work.stage == 3]
    assert [(work.what, work.model, work.gradient > 0) for work in works] == [
        ("transfer", "VGG16", False),
        ("attacks", "InceptionV3", True),
    ]
    assert works[0].forward == works[1].forward


def test_hours_are_passes_times_their_costs():
    work = plan.Work(3, "attacks", "VGG16", forward=10, gradient=20, step=30)
    assert work.seconds(plan.Cost(1, 2, 3)) == pytest.approx(10 + 40 + 90)
    assert work.passes == 60


def test_the_command_prints_models_passes_and_hours(capsys):
    assert plan.main(["--image-size", "75", "--models", "InceptionV3"]) == 0
    printed = capsys.readouterr().out
    assert "4,500 films of 75 px" in printed and "training, InceptionV3" in printed and "together" in printed
