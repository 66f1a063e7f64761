"""Fixtures for the tests of `nosign.sweep`."""

import numpy as np
import pytest
from sweeps import CONDITIONS, SIZE, SPLITS, engine_of, linear_models
from tiny import random_films, write_data

from nosign.attacks.catalogue import UNIVERSAL
from nosign.dataset import open_split
from nosign.rows import with_classes
from nosign.sweep.clean import clean_rows
from nosign.sweep.sweep import Sweep


@pytest.fixture(scope="module")
def models():
    return linear_models()


@pytest.fixture(scope="module")
def films(models, tmp_path_factory):
    """Ten test films behind three training films; VGG16 gets all but the last right."""
    images = random_films(len(SPLITS), SIZE, seed=11)
    labels = models["VGG16"].logits(images / 255).argmax(-1)
    labels[-1] = (labels[-1] + 1) % 3
    return open_split(write_data(tmp_path_factory.mktemp("data"), images, labels, SPLITS), "test")


@pytest.fixture(scope="module")
def reported():
    """The work that the engine reports."""
    return []


@pytest.fixture
def done(reported):
    """The work that the engine reports in one test."""
    reported.clear()
    return reported


@pytest.fixture(scope="module")
def engine(models, films, reported):
    return engine_of(films, models, advance=reported.append)


@pytest.fixture(scope="module", params=CONDITIONS, ids=str)
def sweep(request, engine):
    """A sweep whose gradients at the films are known already, with some field for universal attacks."""
    sweep = Sweep(engine, "VGG16", request.param)
    random = np.random.default_rng(6)
    sweep.fields = {name: random.standard_normal((SIZE, SIZE, 3), np.float32) for name in UNIVERSAL}
    assert sweep.gradients
    return sweep


@pytest.fixture(scope="module")
def clean(engine):
    return with_classes(clean_rows(engine))
