"""The examples of Figures 2 and 3."""

import numpy as np
import pytest
from sweeps import FILMS, SEED, SIZE, STEPS, sweep_of
from tiny import LinearSoftmax, random_films, reference_attack, write_data

from nosign import paper
from nosign.attacks.catalogue import Condition
from nosign.attacks.loop import unit_noise
from nosign.dataset import CLASSES, open_split
from nosign.rows import with_classes
from nosign.sweep.clean import clean_rows
from nosign.sweep.examples import find_example, probabilities_of
from nosign.sweep.sweep import Sweep


@pytest.fixture(scope="module")
def near_the_boundary(tmp_path_factory):
    """Ten COVID-19 films, some of them wrong, some far from the boundary, one so near that a tiny change turns it."""
    model = LinearSoftmax((SIZE, SIZE, 3), seed=13, spread=0.1)
    images = random_films(FILMS, SIZE, seed=14)
    logits = model.logits(images / 255)
    margins = logits[:, 0] - logits[:, 1:].max(-1)
    nearest = np.argsort(margins)[FILMS // 2]
    model.bias[0] -= np.float32(margins[nearest] - 0.003)
    films = open_split(write_data(tmp_path_factory.mktemp("near"), images, [0] * FILMS, ["test"] * FILMS), "test")
    return model, sweep_of(films, model), nearest


@pytest.mark.parametrize("attack", paper.EXAMPLES)
def test_the_example_is_the_covid_film_that_the_smaller_strength_turns(near_the_boundary, attack):
    model, sweep, nearest = near_the_boundary
    clean = with_classes(clean_rows(sweep.engine))
    assert 1 < (clean["VGG16"] == 0).sum() < FILMS
    example = find_example(sweep, attack, clean)
    strength = {"fgnm": 0.003, "pgdnm": 0.0003}[attack]
    original, noise = sweep.engine.films.pixels([nearest])[0], unit_noise(SEED, [nearest], (SIZE, SIZE, 3))[0]
    assert (example["film"], example["label"]) == (nearest, CLASSES.index("COVID-19"))
    np.testing.assert_allclose(example["strengths"], [strength, 10 * strength])
    np.testing.assert_array_equal(example["original"], original)
    expected = [
        reference_attack(model, attack, original, 0, s, protocol="paper", steps=STEPS, noise=noise)
        for s in (strength, 10 * strength)
    ]
    np.testing.assert_allclose(example["adversarial"], expected, atol=1e-5)
    logits = model.logits(np.stack([original, *expected]))
    probabilities = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    np.testing.assert_array_equal(example["predictions"], probabilities.argmax(-1))
    np.testing.assert_allclose(example["confidences"], probabilities.max(-1), atol=1e-3)
    assert example["predictions"][0] == 0 != example["predictions"][1]


def test_an_example_is_found_even_where_no_film_falls(films):
    stubborn = LinearSoftmax((SIZE, SIZE, 3), kernel=np.zeros((SIZE * SIZE * 3, 3)), bias=np.float32([9, 0, 0]))
    sweep = sweep_of(films, stubborn, steps=1)
    example = find_example(sweep, "fgnm", with_classes(clean_rows(sweep.engine)))
    assert list(example["predictions"]) == [0, 0, 0] and example["adversarial"].shape == (2, SIZE, SIZE, 3)


def test_probabilities_are_the_softmax_of_the_source_models_logits(models, films, engine):
    logits = models["InceptionV3"].logits(films.pixels([0, 1]))
    expected = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    found = probabilities_of(Sweep(engine, "InceptionV3", Condition()), films.pixels([0, 1]))
    np.testing.assert_allclose(found, expected, atol=1e-5)
