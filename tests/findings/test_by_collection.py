"""What films of each class and collection turn into, counted by hand; the AUC on parts of the films."""

import finished
import numpy as np
import pandas as pd
import pytest
from drawn import check_words
from finished import run_in
from sklearn.metrics import roc_auc_score

from nosign.findings import by_collection

# Twelve films; VGG16 has all right but the first.
LABELS = np.array([0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 2, 2])
COLLECTIONS = ["sirm"] * 4 + ["xray"] * 2 + ["rsna"] * 4 + ["xray"] * 2
FILMS = pd.DataFrame({"film": range(12), "label": LABELS})
BEFORE = np.array([1, 0, 0, 0, 1, 1, 1, 1, 1, 1, 2, 2])


def seen_after(turned):
    """Return what is seen where some films turn, a dict from film to class; the others as before."""
    seen = BEFORE.copy()
    seen[list(turned)] = list(turned.values())
    return seen


def write_films(results, cells, **clean):
    """Write twelve films and VGG16's classes in cells, a dict from "CONDITION/ATTACK/STRENGTH" to classes [12]."""
    finished.write(results / "clean.csv", FILMS.assign(**({"VGG16": BEFORE, "collection": COLLECTIONS} | clean)))
    for name, seen in cells.items():
        columns = {"VGG16": seen, "VGG16_8bit": 0, "linf": 0.1, "l2": 1.0, "ssim": 0.9}
        finished.write(results / "attacks/VGG16" / f"{name}.csv", FILMS.assign(**columns))


FEW = seen_after({6: 0, 4: 2})
HALF = seen_after({1: 1, 2: 2, 4: 2, 6: 0, 7: 0, 10: 1})
MOST = seen_after({1: 1, 2: 1, 3: 1, 4: 2, 6: 0, 7: 0, 8: 0, 10: 1})


@pytest.fixture
def run(tmp_path):
    cells = {"fgsm/0.001": FEW, "fgsm/0.002": HALF, "fgsm/0.03": MOST, "fgnm/0.001": FEW, "fgnm/0.03": BEFORE}
    write_films(tmp_path, {f"paper/{name}": seen for name, seen in (cells | {"noise/0.03": MOST}).items()})
    return run_in(tmp_path)


def turned_of(run):
    return by_collection.describe(run).tables[0].frame


def test_each_attack_is_asked_at_the_smallest_strength_that_turns_half_and_else_where_it_turns_most(run):
    frame = turned_of(run)
    # 2, 6 and 8 of 11 films under FGSM; 2 and 0 under FGNM; what a control turns is not asked.
    assert dict(zip(frame["attack"], frame["strength"])) == {"fgsm": 0.002, "fgnm": 0.001}


def test_films_are_counted_by_class_collection_and_the_class_that_they_turn_into(run):
    frame = turned_of(run)
    fgsm = frame[frame["attack"] == "fgsm"].set_index(["class", "collection"])
    columns = ["films", "right_before", "turned", "into_COVID-19", "into_Normal", "into_Pneumonia"]
    assert {key: row.tolist() for key, row in fgsm[columns].iterrows()} == {
        ("COVID-19", "sirm"): [4, 3, 2, 0, 1, 1],
        ("Normal", "rsna"): [4, 4, 2, 2, 0, 0],
        ("Normal", "xray"): [2, 2, 1, 0, 0, 1],
        ("Pneumonia", "xray"): [2, 2, 1, 0, 1, 0],
    }
    assert fgsm["accuracy_percent"].tolist() == [75, 100, 100, 100]
    assert (fgsm["ci_low_percent"] < fgsm["accuracy_percent"]).all()


def test_a_film_that_was_wrong_before_is_not_turned(run, tmp_path):
    write_films(tmp_path / "wrong", {"paper/fgsm/0.01": seen_after({0: 2, 1: 1})})
    frame = turned_of(run_in(tmp_path / "wrong"))
    assert frame["turned"].tolist() == [1, 0, 0, 0] and frame["into_Pneumonia"].sum() == 0


def test_the_grid_lays_out_two_attacks_with_their_strengths(run):
    table = by_collection.describe(run).tables[0]
    assert table.rows[0][:5] == ["COVID-19", "sirm", "4", "3", "75.0"]
    assert table.rows[0][6:] == ["2", "0", "1", "1", "0", "0", "0", "0"]
    assert [column.group for column in table.columns[6:]] == ["FGSM 0.002"] * 4 + ["FGNM 0.001"] * 4


def test_without_collections_on_record_films_are_counted_by_class(tmp_path):
    write_films(tmp_path, {"paper/fgsm/0.01": HALF})
    finished.write(tmp_path / "clean.csv", FILMS.assign(VGG16=BEFORE))
    table = by_collection.describe(run_in(tmp_path)).tables[0]
    assert [row[:4] for row in table.rows] == [
        ["COVID-19", "—", "4", "3"],
        ["Normal", "—", "6", "6"],
        ["Pneumonia", "—", "2", "2"],
    ]


def test_targeted_attacks_and_sweeps_without_the_source_model_are_not_asked(tmp_path):
    write_films(tmp_path, {"paper-to-Normal/fgsm/0.01": HALF})
    path = tmp_path / "attacks/InceptionV3/paper/fgsm/0.01.csv"
    finished.write(path, pd.read_csv(tmp_path / "attacks/VGG16/paper-to-Normal/fgsm/0.01.csv"))
    assert not by_collection.describe(run_in(tmp_path))


def some_turned(into):
    """Return rows as of `count_turned`: of each attack and collection of normal films what 20 turned films turn into."""
    rows = [
        {
            "attack": attack,
            "strength": 0.01,
            "class": "Normal",
            "collection": collection,
            "right_before": 25,
            "turned": sum(films),
        }
        | dict(zip(by_collection.INTO.values(), films))
        for attack, of_attack in into.items()
        for collection, films in of_attack.items()
    ]
    return pd.DataFrame(rows)


def test_the_sentence_says_where_films_of_each_collection_go_and_leaves_out_where_few_turn(run):
    turned = some_turned({
        "fgsm": {"rsna": (19, 0, 1), "xray": (1, 0, 19), "cohen": (20, 0, 0)},
        "bim": {"rsna": (20, 0, 0), "xray": (1, 0, 19), "cohen": (9, 0, 0)},
    })  # fmt: skip
    (sentence,) = by_collection.turned_sentences(run.sweeps[0], turned)
    assert "Normal of rsna to COVID-19 (95 to 100 %) and Normal of xray to Pneumonia (95 %) (shares" in sentence.text
    assert "cohen" not in sentence.text and sentence.sweep == ("VGG16", "paper")
    assert by_collection.turned_sentences(run.sweeps[0], turned[turned["collection"] == "cohen"]) == []


def test_each_bar_is_all_films_that_were_right_and_its_parts_are_what_they_are_taken_for():
    turned = some_turned({name: {"rsna": (15, 0, 5), "xray": (0, 0, 0)} for name in ("fgsm", "fgnm", "bim")})
    figure = by_collection.draw_turned(turned)
    check_words(figure)
    axes = figure.get_axes()
    assert [panel.get_title() for panel in axes if panel.get_visible()] == ["FGSM 0.01", "FGNM 0.01", "BIM 0.01"]
    assert [label.get_text() for label in axes[0].get_yticklabels()] == ["Normal of rsna (25)", "Normal of xray (25)"]
    widths = {bars.get_label(): [bar.get_width() for bar in bars] for bars in axes[0].containers}
    # In per cent of 25 films.
    assert widths == {"still right": [20, 100], "COVID-19": [60, 0], "Normal": [0, 0], "Pneumonia": [20, 0]}
    assert [bars[0].get_x() for bars in axes[0].containers] == [0, 20, 80, 80]


def test_films_without_any_right_before_have_no_bar():
    turned = some_turned({"fgsm": {"rsna": (15, 0, 5), "xray": (0, 0, 0)}})
    turned.loc[1, "right_before"] = 0
    assert len(by_collection.draw_turned(turned).get_axes()[0].containers[0]) == 1


def test_the_parts_of_the_films_tell_classes_from_collections_as_far_as_they_can():
    labels = np.array([0, 0, 1, 1, 2])
    sets = dict(by_collection.film_sets(labels, np.array(["sirm", "rsna", "rsna", "xray", "xray"])))
    assert {name: np.flatnonzero(films).tolist() for name, films in sets.items()} == {
        "all films": [0, 1, 2, 3, 4],
        "COVID-19 against others of rsna": [0, 1, 2],
        "rsna alone": [1, 2],
        "COVID-19 against others of xray": [0, 1, 3, 4],
    }
    assert [name for name, _ in by_collection.film_sets(labels, np.array([""] * 5))] == ["all films"]


def test_the_auc_is_that_of_the_log_odds_of_covid(tmp_path):
    logits = np.random.default_rng(0).normal(size=(12, 3)) * 2
    columns = {f"VGG16_logit{place}": logits[:, place] for place in range(3)}
    write_films(tmp_path, {"paper/fgsm/0.01": HALF}, **columns)
    finished.write(tmp_path / "clean.csv", pd.read_csv(tmp_path / "clean.csv").drop(columns="VGG16"))
    finding = by_collection.describe(run_in(tmp_path))
    frame = finding.tables[-1].frame.set_index("set")
    odds = np.exp(logits[:, 0]) / np.exp(logits[:, 1:]).sum(1)
    rsna = np.array([0, 1, 2, 3, 6, 7, 8, 9])
    assert frame.loc["all films", "auc"] == pytest.approx(roc_auc_score(LABELS == 0, odds))
    assert frame.loc["COVID-19 against others of rsna", "auc"] == pytest.approx(roc_auc_score(LABELS[rsna] == 0, odds[rsna]))
    assert frame.loc["COVID-19 against others of rsna", ["positive", "negative", "patients"]].tolist() == [4, 4, 8]
    assert finding.sentences[-1].text.startswith(
        f"AUC before the attacks, COVID-19 against the rest: VGG16 {frame['auc'].iloc[0]:.3f}"
    )
