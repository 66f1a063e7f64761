"""The spread over runs with different seeds, by hand."""

import finished
import numpy as np
import pandas as pd
import pytest
from drawn import check_words, lines, panels
from finished import LABELS, cell, right, run_in, some_counts, sweep_in, sweeps_of

from nosign.findings import over_runs
from nosign.finished import Run
from nosign.output.table import SweepName
from nosign.statistics.patients import Patients


def cells_of(**right_films):
    """Return the cells of a run with FGSM and FGNM at one strength, by how many films VGG16 still gets right."""
    return [cell(attack, 0.01, VGG16=right(range(films))) for attack, films in right_films.items()]


def shares(runs):
    """Return what the tables of several runs, lists of cells, show."""
    own = Patients(np.arange(len(finished.TEN_FILMS)))
    made = [
        Run(None, None, "test films", films=finished.TEN_CLEAN_FILMS, patients=own, sweeps=sweeps_of(cells)) for cells in runs
    ]
    return pd.concat([over_runs.shares_of(run, number) for number, run in enumerate(made)])


def test_spread_has_mean_standard_deviation_and_range_over_the_runs_that_have_a_cell():
    spread = over_runs.spread_over_runs(shares([cells_of(fgsm=4, fgnm=2), cells_of(fgsm=8, fgnm=2), cells_of(fgsm=6)]))
    rows = {row["attack"]: row for row in spread.to_dict("records") if row["target"] == "VGG16"}
    assert list(rows) == ["clean", "fgsm", "fgnm"]
    assert [rows["fgsm"][name] for name in ("runs", "mean_percent", "lowest_percent", "highest_percent")] == [3, 60, 40, 80]
    assert rows["fgsm"]["sd_points"] == pytest.approx(20)  # of 40, 80 and 60: the root of (20**2 + 20**2 + 0) / 2
    assert (rows["fgnm"]["runs"], rows["fgnm"]["sd_points"]) == (2, 0)
    assert (rows["clean"]["mean_percent"], rows["clean"]["runs"], rows["clean"]["strength"]) == (90, 3, 0)


def test_what_one_of_several_runs_alone_has_is_not_called_a_mean():
    spread = over_runs.spread_over_runs(shares([cells_of(fgsm=4, fgnm=2), cells_of(fgsm=8)]))
    assert list(spread.query("target == 'VGG16'")["attack"]) == ["clean", "fgsm"]


def test_one_run_has_no_spread_and_no_directions():
    runs = [cells_of(fgsm=4, fgnm=2)]
    assert over_runs.spread_over_runs(shares(runs))["sd_points"].isna().all()
    assert over_runs.directions_sentences(over_runs.directions_over_runs(shares(runs))) == []


def test_directions_are_compared_within_each_run():
    runs = [cells_of(fgsm=4, fgnm=1), cells_of(fgsm=8, fgnm=7), cells_of(fgsm=5), cells_of(fgnm=5)]
    directions = over_runs.directions_over_runs(shares(runs))
    (row,) = directions.to_dict("records")
    assert (row["runs"], row["no_sign_better"], row["sign_better"], row["equal"]) == (2, 2, 0, 0)
    assert (row["mean_points"], row["lowest_points"], row["highest_points"]) == pytest.approx((-20, -30, -10))
    assert row["sd_points"] == pytest.approx(200**0.5)
    assert [sentence.text for sentence in over_runs.directions_sentences(directions)] == [
        "Condition 'paper', single-step attacks, white-box (VGG16), over 2 runs: of 1 comparison no-sign is better in every "
        "run at 1, sign in every run at 0; no-sign minus sign is \u221220.0 points of accuracy on average, and varies from run "
        "to run by 14.1 points (mean SD)."
    ]
    table = over_runs.runs_table(directions, SweepName("VGG16", "paper"), "test films")
    assert table.rows == [
        ["FGSM / FGNM", "0.01", "VGG16*", "2", "2", "0", "\u221220.00 \u00b1 14.14", "\u221230.00 to \u221210.00"]
    ]


def test_runs_that_disagree_or_tie_are_counted_apart():
    runs = [cells_of(fgsm=4, fgnm=2), cells_of(fgsm=4, fgnm=6), cells_of(fgsm=4, fgnm=4)]
    (row,) = over_runs.directions_over_runs(shares(runs)).to_dict("records")
    assert (row["runs"], row["no_sign_better"], row["sign_better"], row["equal"]) == (3, 1, 1, 1)


def test_where_attacks_aim_more_is_better_in_a_run():
    runs = []
    for sign, no_sign in ((1, 3), (2, 3)):
        runs.append(
            [
                cell(attack, condition="paper-to-Normal", VGG16=np.where(np.arange(10) < films, 1, LABELS))
                for attack, films in (("fgsm", sign), ("fgnm", no_sign))
            ]
        )
    (row,) = over_runs.directions_over_runs(shares(runs)).to_dict("records")
    assert (row["measure"], row["no_sign_better"]) == ("success", 2) and row["mean_points"] > 0


def test_seeds_show_mean_spread_and_range(results):
    run = run_in(results)
    first, name = over_runs.shares_of(run, 0), sweep_in(results).name
    raised = np.where(first["attack"] == "clean", first["percent"], np.minimum(first["percent"] + 10, 100))
    both = pd.concat([first, first.assign(percent=raised, run=1)])
    table = over_runs.seeds_table(over_runs.spread_over_runs(both), name, "test films")
    assert table.rows[0] == ["clean", "—", "2", "75.00 ± 0.00", "75.00–75.00", "100.00 ± 0.00", "100.00–100.00"]
    # 50 and 60, 50 and 60: the standard deviation with n - 1 is the root of 50.
    assert table.rows[1] == ["FGSM", "0.001", "2", "55.00 ± 7.07", "50.00–60.00", "55.00 ± 7.07", "50.00–60.00"]
    alone = over_runs.seeds_table(over_runs.spread_over_runs(first), name, "test films").rows
    assert alone[4][:5] == ["FGNM", "0.003", "1", "25.00 ± —", "25.00–25.00"] and alone[4][5:] == ["—", "—"]


SWEEP_NAME = SweepName("VGG16", "paper")


def some_spread():
    """Return the spread of three runs of VGG16/paper."""
    cells = pd.concat([some_counts(["clean"], [0.0]), some_counts(["fgsm", "fgnm"])], ignore_index=True)
    return cells.assign(
        measure="accuracy",
        runs=3,
        mean_percent=cells["accuracy_percent"] + 20.0,
        sd_points=2.0,
        lowest_percent=cells["accuracy_percent"] + 18.0,
        highest_percent=cells["accuracy_percent"] + 21.0,
    )


def draw(spread, films_are="test films"):
    """Return the one drawing of a spread."""
    (drawing,) = over_runs.draw_seeds(spread, SWEEP_NAME, None, films_are)
    return drawing


def test_seeds_are_drawn_as_mean_lines_with_the_range_as_band_and_the_mean_clean_accuracy():
    spread = some_spread()
    figure = draw(spread).figure
    assert "mean of 3 runs with different seeds" in figure.get_supxlabel()
    axes = panels(figure)["InceptionV3 (black-box)"]
    assert list(lines(axes)) == ["FGSM", "FGNM"]
    rows = spread.query("attack == 'fgsm' and target == 'InceptionV3'").sort_values("strength")
    assert lines(axes)["FGSM"].get_ydata().tolist() == rows["mean_percent"].tolist()
    corners = {value for _, value in axes.collections[0].get_paths()[0].vertices}
    assert corners == {*rows["lowest_percent"], *rows["highest_percent"]}
    assert "clean 21.00 %" in [text.get_text() for text in axes.texts]  # the second clean row's mean is 1 + 20


def test_cells_that_a_run_lacks_are_not_drawn_beside_those_of_all_runs():
    spread = some_spread()
    first = spread.query("attack == 'fgsm'")["strength"].min()
    lacking = spread.assign(runs=spread["runs"].where((spread["attack"] != "fgsm") | (spread["strength"] > first), 2))
    drawn = lines(draw(lacking).figure.get_axes()[0])
    assert first not in drawn["FGSM"].get_xdata() and first in drawn["FGNM"].get_xdata()


def test_its_figure_says_that_films_are_synthetic_and_can_be_read():
    drawing = draw(some_spread(), "synthetic test films")
    assert "synthetic test films" in drawing.figure.get_supxlabel() and "synthetic test films" in drawing.caption
    check_words(drawing.figure)


def test_nothing_is_drawn_where_no_attack_was_run_for_all_seeds():
    spread = some_spread()
    lacking = spread.assign(runs=spread["runs"].where(spread["attack"] == "clean", 2))
    assert over_runs.draw_seeds(lacking, SWEEP_NAME, None, "test films") == []
