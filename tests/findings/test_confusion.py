"""Confusion matrices, counted by hand and drawn."""

import itertools

import numpy as np
import pandas as pd
import pytest
from drawn import check_words
from finished import cell, run_in, sweep_in, sweeps_of

from nosign.attacks.catalogue import ATTACKS, Condition
from nosign.classifiers.catalogue import BACKBONES
from nosign.dataset import CLASSES
from nosign.findings import confusion
from nosign.finished import FinishedSweep
from nosign.statistics.patients import Patients


def test_confusion_counts_every_pair_of_classes_before_and_under_each_attack():
    turned = np.array([0, 1, 1, 1, 1, 2, 0, 0, 0, 2])
    counts = confusion.count_confusion(sweeps_of([cell("fgsm", 0.03, VGG16=turned)]))
    assert counts["attack"].unique().tolist() == ["clean", "fgsm"]
    matrix = {
        attack: part.pivot(index="true_class", columns="predicted_class", values="films").to_numpy().tolist()
        for attack, part in counts[counts["target"] == "VGG16"].groupby("attack")
    }
    assert matrix == {"clean": [[2, 1, 0], [0, 3, 0], [0, 0, 4]], "fgsm": [[1, 2, 0], [0, 2, 1], [3, 0, 1]]}
    assert set(counts.groupby(["attack", "target"])["films"].sum()) == {10}
    assert set(counts["true_class"].head(3)) == {"COVID-19"} and counts["white_box"].sum() == 18


def test_confusion_shows_the_white_box_matrices_at_the_largest_strengths(results):
    run = run_in(results)
    counts = confusion.count_confusion(run.sweeps)
    table = confusion.confusion_table(sweep_in(results), counts)
    assert table.rows == [  # labels 0, 0, 1, 2
        ["clean", "—", "COVID-19", "2", "0", "0"],
        ["clean", "—", "Normal", "0", "1", "0"],
        ["clean", "—", "Pneumonia", "0", "1", "0"],
        ["FGSM", "0.003", "COVID-19", "1", "1", "0"],
        ["FGSM", "0.003", "Normal", "1", "0", "0"],
        ["FGSM", "0.003", "Pneumonia", "1", "0", "0"],
        ["FGNM", "0.003", "COVID-19", "1", "1", "0"],
        ["FGNM", "0.003", "Normal", "1", "0", "0"],
        ["FGNM", "0.003", "Pneumonia", "1", "0", "0"],
    ]
    assert len(table.frame) == 9 * (2 + 7)  # two models clean, seven times a model in a cell
    assert confusion.confusion_table(sweep_in(results), counts[counts["target"] == "InceptionV3"]) is None


def some_confusion(attacks=tuple(ATTACKS)):
    """Return confusion matrices of VGG16/paper with three targets: clean and under attacks, of 60 films in two classes."""
    counts = {("COVID-19", "COVID-19"): 30, ("Normal", "Normal"): 15, ("Normal", "Pneumonia"): 15}
    rows = itertools.product(
        [("clean", 0.0), *((attack, strength) for attack in attacks for strength in (0.001, 0.03))], BACKBONES, CLASSES, CLASSES
    )
    return pd.DataFrame(
        [
            {
                "source": "VGG16",
                "condition": "paper",
                "attack": attack,
                "strength": strength,
                "target": target,
                "white_box": target == "VGG16",
                "true_class": true,
                "predicted_class": predicted,
                "films": counts.get((true, predicted), 0),
            }
            for (attack, strength), target, true, predicted in rows
        ]
    )


def some_sweep(films=60, films_are="test films"):
    """Return a sweep of VGG16/paper without cells, for what a figure says of it."""
    clean = pd.DataFrame({"film": range(films), "label": 0, "VGG16": 0})
    own = Patients(np.arange(films))
    return FinishedSweep("VGG16", Condition(), films_are, 10, clean, np.full(films, ""), own, own, {}, {}, {})


def shown(figure):
    """Return the panels of a figure that can be seen, in order, laid out as they will be drawn."""
    figure.draw_without_rendering()
    return [axes for axes in figure.get_axes() if axes.get_visible()]


def test_confusion_has_a_row_a_target_and_a_column_for_clean_and_each_attack_at_its_largest_strength():
    figure = confusion.draw_confusion(some_sweep(), some_confusion(["fgsm", "fgnm", "bim"]))
    axes = shown(figure)
    assert len(axes) == 3 * 4
    assert [panel.get_title() for panel in axes[:4]] == ["clean\n", "FGSM\n0.03", "FGNM\n0.03", "BIM\n0.03"]
    assert [panel.get_ylabel() for panel in axes[::4]] == ["VGG16*", "InceptionV3", "DenseNet201"]
    for panel in axes:  # a class without films has no shares
        assert [text.get_text() for text in panel.texts] == ["100", "0", "0", "0", "50", "50"]
        assert [text.get_position() for text in panel.texts][-1] == (2, 1)
    assert [label.get_text() for label in axes[0].get_yticklabels()] == list(CLASSES)
    assert "60 test films; gradients from VGG16" in figure.get_supxlabel()


def test_more_attacks_than_fit_beside_each_other_go_on_below():
    attacks = list(ATTACKS)[:13]
    axes = confusion.draw_confusion(some_sweep(), some_confusion(attacks)).get_axes()
    titles = [panel.get_title().replace("\n", " ") for panel in axes]
    names = [ATTACKS[name].title for name in attacks]
    assert len(axes) == 2 * 3 * 8
    assert titles[:8] == ["clean ", *(f"{name} 0.03" for name in names[:7])] and titles[24:30] == [
        f"{name} 0.03" for name in names[7:]
    ]
    assert not any(titles[8:24]) and [panel.get_ylabel() for panel in axes[::8]] == ["VGG16*", "InceptionV3", "DenseNet201"] * 2


def test_a_target_that_a_sweep_lacks_leaves_its_place_empty():
    counts = some_confusion(["fgsm"])
    counts = counts[(counts["attack"] == "clean") | (counts["target"] != "DenseNet201")]
    figure = confusion.draw_confusion(some_sweep(), counts)
    assert [bool(panel.texts) for panel in shown(figure)] == [True, True, True, True, True, False]


def test_few_matrices_stand_as_close_as_many():
    first, second = shown(confusion.draw_confusion(some_sweep(), some_confusion(["fgsm"])))[:2]
    assert second.get_position().x0 - first.get_position().x1 < first.get_position().width


def test_its_caption_says_that_films_are_synthetic():
    drawn = confusion.draw_confusion(some_sweep(films_are="synthetic test films"), some_confusion())
    assert "synthetic test films" in drawn.get_supxlabel()


@pytest.mark.parametrize("attacks", [("fgsm",), tuple(ATTACKS)])
def test_its_words_can_be_read(attacks):
    check_words(confusion.draw_confusion(some_sweep(), some_confusion(attacks)))
