"""Figures 2 and 3: films, noise and words in their places."""

import finished
import numpy as np
import pytest
from drawn import check_words
from finished import run_in

from nosign.findings import examples


def test_amplified_noise_is_grey_where_nothing_changed_and_clipped():
    example = finished.some_example()
    noise = examples.amplified_noise(example.original, example.adversarial[0])
    assert noise[0, 0] == pytest.approx([0.6, 0.4, 1.0], abs=1e-4)
    assert (noise[1:] == 0.5).all()


def test_example_shows_film_noise_and_adversarial_film_in_turn():
    example = finished.some_example()
    axes = examples.draw_example(example, "test films").get_axes()
    shown = [panel.get_images()[0].get_array() for panel in axes]
    wanted = [
        example.original,
        examples.amplified_noise(example.original, example.adversarial[0]),
        example.adversarial[0],
        examples.amplified_noise(example.original, example.adversarial[1]),
        example.adversarial[1],
    ]
    for image, film in zip(shown, wanted, strict=True):
        np.testing.assert_array_equal(image, film)
    assert [panel.get_title() for panel in axes] == [
        "(a) original\ntest film",
        "(b) noise × 1000\nstrength 0.003",
        "(c) adversarial\nstrength 0.003",
        "(d) noise × 1000\nstrength 0.03",
        "(e) adversarial\nstrength 0.03",
    ]


def test_example_says_in_words_whether_each_prediction_is_right():
    figure = examples.draw_example(finished.some_example(), "test films")
    assert [panel.get_xlabel() for panel in figure.get_axes()] == [
        "COVID-19, 99.1 %\n✓ right",
        "",
        "Normal, 87.0 %\n✗ wrong",
        "",
        "COVID-19, 50.0 %\n✓ right",
    ]
    note = figure.get_supxlabel()
    assert "FGNM, test film 41. True class: COVID-19" in note and "0.5 + 1000 × (adversarial − original)" in note


def test_captions_say_that_films_are_synthetic_and_can_be_read():
    figure = examples.draw_example(finished.some_example(), "synthetic test films")
    assert figure.get_supxlabel().startswith("FGNM, synthetic test film 41.")
    check_words(figure)


def test_a_figure_is_made_of_each_example_that_is_there(results):
    assert not examples.describe(run_in(results))
    finished.write_example(results)
    (drawing,) = examples.describe(run_in(results)).drawings
    assert (drawing.name, drawing.title) == ("figure2", "Figure 2") and "FGNM" in drawing.caption
