"""What the figures show: the numbers behind their lines and images, and that their words can be read."""

import itertools

import matplotlib.colors
import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.patches import FancyBboxPatch
from matplotlib.text import Text

from nosign import rows
from nosign.attacks.catalogue import ATTACKS, Condition
from nosign.classifiers.catalogue import BACKBONES
from nosign.dataset import CLASSES
from nosign.errors import UserError
from nosign.findings import confusion, examples, over_runs, transfer, workflow
from nosign.finished import FinishedSweep, effect_columns
from nosign.measures.visibility import CRITERIA
from nosign.output import plot
from nosign.output.table import SweepName

CLEAN = pd.Series([92.22, 90.11, 96.78], list(BACKBONES))


def draw_accuracy(cells, before=CLEAN, aim=None, boundaries=None):
    """Return Figure 4 of some cells."""
    value, (low, high) = effect_columns(aim)
    percent = cells.rename(columns={value: "percent", low: "low", high: "high"})
    return plot.draw_lines(plot.Lines(percent, before, "VGG16", aim, boundaries), "a note")


def some_sweep(films=60, films_are="test films"):
    """Return a sweep of VGG16/paper without cells, for what a figure says of it."""
    clean = pd.DataFrame({"film": range(films), "label": 0, "VGG16": 0})
    return FinishedSweep("VGG16", Condition(), films_are, 10, clean, np.arange(films), {}, {})


SWEEP_NAME = SweepName("VGG16", "paper")


def some_cells(attacks=tuple(ATTACKS), strengths=(0.003, 0.0005), targets=tuple(BACKBONES)):
    """Return cells of VGG16/paper with a different accuracy each, strengths in falling order."""
    rows = itertools.product(attacks, strengths, targets)
    return pd.DataFrame(
        [
            {
                "source": "VGG16",
                "condition": "paper",
                "attack": attack,
                "strength": strength,
                "target": target,
                "accuracy_percent": float(number),
                "ci_low_percent": number - 0.5,
                "ci_high_percent": number + 0.75,
                "white_box": target == "VGG16",
                "films": 90,
            }
            for number, (attack, strength, target) in enumerate(rows)
        ]
    )


def some_example():
    """Return an 8 x 8 film attacked at two strengths: class 0 becomes 1, then stays 0."""
    original = np.full((8, 8, 3), 0.5, np.float32)
    adversarial = np.stack([original, original])
    adversarial[0, 0, 0] = [0.5001, 0.4999, 0.6]
    return rows.Example(
        "fgnm",
        41,
        0,
        original,
        adversarial,
        np.array([0.003, 0.03]),
        np.array([0, 1, 0]),
        np.array([0.991, 0.87, 0.5], np.float32),
    )


def panels(figure):
    """Return the axes of a figure by title."""
    return {axes.get_title(): axes for axes in figure.get_axes()}


def lines(axes):
    """Return the attacks' lines of a panel by label."""
    handles, labels = axes.get_legend_handles_labels()
    return dict(zip(labels, handles))


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


def some_spread():
    """Return the spread of three runs of VGG16/paper."""
    cells = pd.concat([some_cells(["clean"], [0.0]), some_cells(["fgsm", "fgnm"])], ignore_index=True)
    return cells.assign(
        measure="accuracy",
        runs=3,
        mean_percent=cells["accuracy_percent"] + 20.0,
        sd_points=2.0,
        lowest_percent=cells["accuracy_percent"] + 18.0,
        highest_percent=cells["accuracy_percent"] + 21.0,
    )


def some_boundaries():
    """Return boundaries of both kinds of attack and directions, by all criteria."""
    kinds = itertools.product(("single-step", "iterative"), ("sign", "no-sign"), CRITERIA)
    return pd.DataFrame(
        [(*names, 0.001, "") for names in kinds], columns=["attacks", "direction", "criterion", "strength", "bound"]
    )


def every_figure():
    """Return one figure of each kind."""
    return {
        "workflow": workflow.draw_workflow(),
        "example": examples.draw_example(some_example(), "test films"),
        "accuracy": draw_accuracy(some_cells()),
        "confusion": confusion.draw_confusion(some_sweep(), some_confusion()),
        "confusion of one attack": confusion.draw_confusion(some_sweep(), some_confusion(["fgsm"])),
        "accuracy with boundaries": draw_accuracy(some_cells(), boundaries=some_boundaries()),
        "seeds": over_runs.draw_seeds(some_spread(), SWEEP_NAME, None, "test films").figure,
    }


@pytest.mark.parametrize("name, figure", every_figure().items())
def test_words_are_at_least_seven_points_and_inside_the_figure(name, figure):
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    assert figure.get_figwidth() == pytest.approx(plot.WIDTH) and plot.WIDTH == 7.16
    assert min(text.get_fontsize() for text in figure.findobj(Text) if text.get_text()) >= 7
    drawn, page = figure.get_tightbbox(canvas.get_renderer()), figure.bbox_inches
    assert page.x0 <= drawn.x0 and drawn.x1 <= page.x1 and page.y0 <= drawn.y0 and drawn.y1 <= page.y1


def test_workflow_words_lie_inside_their_boxes():
    figure = workflow.draw_workflow()
    FigureCanvasAgg(figure).draw()
    boxes = [patch.get_window_extent() for patch in figure.get_axes()[0].patches if isinstance(patch, FancyBboxPatch)]
    for text in figure.get_axes()[0].texts:
        extent = text.get_window_extent()
        holding = [area for area in boxes if area.contains(*extent.p0) and area.contains(*extent.p1)]
        assert len(holding) >= (1 if text.get_ha() == "left" else 2), text  # headings stand in their stage's frame


def test_workflow_names_every_backbone_and_attack():
    words = "\n".join(text.get_text() for text in workflow.draw_workflow().findobj(Text)).split()
    assert {*BACKBONES, "VGG16*", *(attack.title for attack in ATTACKS.values() if not attack.control)} <= set(words)


def test_amplified_noise_is_grey_where_nothing_changed_and_clipped():
    example = some_example()
    noise = examples.amplified_noise(example.original, example.adversarial[0])
    assert noise[0, 0] == pytest.approx([0.6, 0.4, 1.0], abs=1e-4)
    assert (noise[1:] == 0.5).all()


def test_example_shows_film_noise_and_adversarial_film_in_turn():
    example = some_example()
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
    figure = examples.draw_example(some_example(), "test films")
    assert [panel.get_xlabel() for panel in figure.get_axes()] == [
        "COVID-19, 99.1 %\n✓ right",
        "",
        "Normal, 87.0 %\n✗ wrong",
        "",
        "COVID-19, 50.0 %\n✓ right",
    ]
    note = figure.get_supxlabel()
    assert "FGNM, test film 41. True class: COVID-19" in note and "0.5 + 1000 × (adversarial − original)" in note


def test_accuracy_lines_carry_the_cells_in_ascending_strength():
    cells = some_cells()
    figure = draw_accuracy(cells)
    places = itertools.product((True, False), BACKBONES)
    for axes, (single_step, target) in zip(figure.get_axes(), places, strict=True):
        drawn = lines(axes)
        assert list(drawn) == (["FGSM", "FGNM"] if single_step else ["BIM", "BINM", "PGD", "PGDNM", "MI-FGSM", "MI-FGNM"])
        for title, line in drawn.items():
            chosen = (cells["attack"] == title.lower().replace("-", "")) & (cells["target"] == target)
            wanted = cells.loc[chosen, "accuracy_percent"].tolist()
            assert line.get_xdata().tolist() == [0.0005, 0.003] and line.get_ydata().tolist() == wanted[::-1]


def test_bands_are_the_intervals_of_the_cells_in_the_colour_of_the_direction():
    cells = some_cells(["fgsm", "fgnm"])
    axes = draw_accuracy(cells).get_axes()[0]
    for attack, band in zip(("fgsm", "fgnm"), axes.collections, strict=True):
        corners = {tuple(corner) for corner in band.get_paths()[0].vertices}
        wanted = {
            (row.strength, end)
            for row in cells.query("attack == @attack and target == 'VGG16'").itertuples()
            for end in (row.ci_low_percent, row.ci_high_percent)
        }
        assert corners == wanted
        assert matplotlib.colors.to_hex(band.get_facecolor()[0]).upper() == plot.DIRECTION_COLOURS[ATTACKS[attack].direction]
        assert band.get_alpha() <= 0.3 and band.get_zorder() < lines(axes)[ATTACKS[attack].title].get_zorder()


def test_panels_are_labelled_by_kind_of_attack_and_target_for_those_who_add_to_them():
    labels = [axes.get_label() for axes in draw_accuracy(some_cells()).get_axes()]
    assert labels == [f"{kind} {target}" for kind in ("single-step", "iterative") for target in BACKBONES]


def test_seeds_are_drawn_as_mean_lines_with_the_range_as_band_and_the_mean_clean_accuracy():
    spread = some_spread()
    figure = over_runs.draw_seeds(spread, SWEEP_NAME, None, "test films").figure
    assert "mean of 3 runs with different seeds" in figure.get_supxlabel()
    axes = panels(figure)["InceptionV3 (black-box)"]
    assert list(lines(axes)) == ["FGSM", "FGNM"]
    rows = spread.query("attack == 'fgsm' and target == 'InceptionV3'").sort_values("strength")
    assert lines(axes)["FGSM"].get_ydata().tolist() == rows["mean_percent"].tolist()
    corners = {value for _, value in axes.collections[0].get_paths()[0].vertices}
    assert corners == {*rows["lowest_percent"], *rows["highest_percent"]}
    assert "clean 21.00 %" in [text.get_text() for text in axes.texts]  # the second clean row's mean is 1 + 20


def test_confusion_has_a_row_a_target_and_a_column_for_clean_and_each_attack_at_its_largest_strength():
    figure = confusion.draw_confusion(some_sweep(), some_confusion(["fgsm", "fgnm", "bim"]))
    axes = figure.get_axes()
    assert len(axes) == 3 * 4
    assert [panel.get_title() for panel in axes[:4]] == ["clean\n", "FGSM\n0.03", "FGNM\n0.03", "BIM\n0.03"]
    assert [panel.get_ylabel() for panel in axes[::4]] == ["VGG16*", "InceptionV3", "DenseNet201"]
    for panel in axes:  # a class without films has no shares
        assert [text.get_text() for text in panel.texts] == ["100", "0", "0", "0", "50", "50"]
        assert [text.get_position() for text in panel.texts][-1] == (2, 1)
    assert [label.get_text() for label in axes[0].get_yticklabels()] == list(CLASSES)
    assert "60 test films; gradients from VGG16" in figure.get_supxlabel()


def test_a_target_that_a_sweep_lacks_leaves_its_place_empty():
    counts = some_confusion(["fgsm"])
    counts = counts[(counts["attack"] == "clean") | (counts["target"] != "DenseNet201")]
    figure = confusion.draw_confusion(some_sweep(), counts)
    assert [bool(panel.texts) for panel in figure.get_axes()] == [True, True, True, True, True, False]


def test_boundaries_stand_below_every_panel_on_its_axis_of_strengths():
    figure = draw_accuracy(some_cells(["fgsm", "fgnm"]), boundaries=some_boundaries())
    above, below = figure.get_axes()[:3], figure.get_axes()[3:]
    assert [axes.get_label() for axes in below] == [f"single-step boundary {target}" for target in BACKBONES]
    for over, under in zip(above, below, strict=True):
        assert over.get_xlim() == under.get_xlim() and under.get_xlabel() == "strength"
        assert len(under.get_lines()) == 2 * len(CRITERIA)
    assert [label.get_text() for label in below[0].get_yticklabels()] == list(CRITERIA)


def test_reference_lines_are_the_clean_accuracy_and_chance():
    axes = panels(draw_accuracy(some_cells()))["InceptionV3 (black-box)"]
    levels = [line.get_ydata()[0] for line in axes.get_lines() if line not in lines(axes).values()]
    assert levels == pytest.approx([90.11, 100 / 3])
    assert [text.get_text() for text in axes.texts] == ["clean 90.11 %", "chance"]


def test_attacks_differ_in_marker_and_line_and_directions_in_colour_and_grey():
    for axes in draw_accuracy(some_cells()).get_axes():
        drawn = lines(axes)
        assert len({line.get_marker() for line in drawn.values()}) == len(drawn)
        assert len({str(plot.ATTACK_MARKS[title.lower().replace("-", "")][1]) for title in drawn}) == len(drawn)
        colours = {ATTACKS[title.lower().replace("-", "")].direction: line.get_color() for title, line in drawn.items()}
        greys = [np.dot(matplotlib.colors.to_rgb(colour), [0.299, 0.587, 0.114]) for colour in colours.values()]
        assert len(greys) == 2 and abs(greys[0] - greys[1]) > 0.25


def test_reference_labels_keep_away_from_the_lines():
    cells = some_cells(["fgsm"], [0.001, 0.01], ["VGG16"]).assign(accuracy_percent=[90.0, 36.0])
    assert [plot.clearer_place(cells.assign(percent=[90.0, 36.0]), level) for level in (92.22, 100 / 3)] == [
        ("right", True),
        ("left", False),
    ]
    flat = cells.assign(percent=[88.0, 86.0])
    assert plot.clearer_place(flat, 83.33) == ("left", False)
    sides = [text.get_ha() for text in draw_accuracy(cells).get_axes()[0].texts]
    assert sides == ["right", "left"]


def test_the_transfer_matrix_shows_every_source_and_target_of_an_attack():
    cells = pd.concat([some_cells(["fgsm", "pgdnm"], [0.003]).assign(source=name) for name in BACKBONES], ignore_index=True)
    cells["accuracy_percent"] = np.arange(len(cells)) * 5.0
    figure = transfer.draw_transfer(cells, None, "test films")
    shown = [axes for axes in figure.get_axes() if axes.get_title()]
    assert [axes.get_title() for axes in shown] == ["FGSM, strength 0.003", "PGDNM, strength 0.003"]
    for axes, attack in zip(shown, ("fgsm", "pgdnm")):
        words = {text.get_position(): text.get_text() for text in axes.texts}
        for row in cells[cells["attack"] == attack].itertuples():
            place = list(BACKBONES).index(row.target), list(BACKBONES).index(row.source)
            assert words.pop(place) == f"{row.accuracy_percent:.1f}" + "*" * (row.source == row.target)
        assert not words


def test_where_attacks_aim_at_a_class_their_success_is_drawn():
    cells = some_cells(["fgsm"])
    cells["reached_percent"] = 100 - cells["accuracy_percent"]
    cells = cells.assign(ci_low_reached_percent=cells["reached_percent"], ci_high_reached_percent=cells["reached_percent"])
    cells = cells.drop(columns=["accuracy_percent", "ci_low_percent", "ci_high_percent"])
    axes = draw_accuracy(cells, pd.Series({"VGG16": 10.0}), "Normal").get_axes()[0]
    wanted = cells.query("target == 'VGG16'").sort_values("strength")["reached_percent"].tolist()
    assert lines(axes)["FGSM"].get_ydata().tolist() == wanted
    assert "taken for Normal" in axes.get_ylabel() and [text.get_text() for text in axes.texts] == ["clean 10.00 %"]


def test_star_marks_the_white_box_panel():
    titles = [axes.get_title() for axes in draw_accuracy(some_cells()).get_axes()]
    assert titles == ["VGG16* (white-box)", "InceptionV3 (black-box)", "DenseNet201 (black-box)"] * 2


def test_unfinished_sweep_is_drawn_as_far_as_it_goes():
    figure = draw_accuracy(some_cells(["fgnm"], [0.001], ["VGG16", "DenseNet201"]))
    assert list(panels(figure)) == ["VGG16* (white-box)", "DenseNet201 (black-box)"]
    assert [line.get_xdata().tolist() for axes in figure.get_axes() for line in lines(axes).values()] == [[0.001]] * 2


def test_strength_zero_has_a_place_on_the_axis():
    axes = draw_accuracy(some_cells(["fgsm"], [0.0, 0.001])).get_axes()[0]
    assert axes.get_xscale() == "symlog" and axes.get_xlim()[0] <= 0


def write_example(results, **changes):
    """Write `examples/fgnm.npz`, some of its arrays changed, and return its path."""
    example = vars(some_example()) | changes
    path = results / "examples" / "fgnm.npz"
    path.parent.mkdir()
    np.savez(path, **{name: value for name, value in example.items() if name != "attack"})
    return path


def test_example_is_read_back_as_written(tmp_path):
    write_example(tmp_path)
    read, written = rows.read_example(tmp_path, "fgnm"), some_example()
    assert (read.attack, read.film, read.label) == ("fgnm", 41, 0)
    for name in ("original", "adversarial", "strengths", "predictions", "confidences"):
        np.testing.assert_array_equal(getattr(read, name), getattr(written, name))
    assert rows.read_example(tmp_path, "pgdnm") is None


@pytest.mark.parametrize(
    "changes",
    [
        {"label": 3},
        {"strengths": np.ones(3)},
        {"original": np.ones((8, 8))},
        {"adversarial": np.ones((2, 8, 9, 3))},
        {"predictions": np.array([0, 1, -1])},
        {"film": np.array(None, dtype=object)},
    ],
)
def test_example_of_wrong_shape_or_class_is_refused(tmp_path, changes):
    path = write_example(tmp_path, **changes)
    with pytest.raises(UserError, match="fgnm.npz: .*remove it and run attack.py again"):
        rows.read_example(tmp_path, path.stem)


def test_truncated_example_is_refused(tmp_path):
    path = write_example(tmp_path)
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(UserError, match="not a complete example"):
        rows.read_example(tmp_path, "fgnm")


def test_captions_say_that_films_are_synthetic():
    example = examples.draw_example(some_example(), "synthetic test films")
    assert example.get_supxlabel().startswith("FGNM, synthetic test film 41.")
    drawn = confusion.draw_confusion(some_sweep(films_are="synthetic test films"), some_confusion())
    assert "synthetic test films" in drawn.get_supxlabel()
    seeds = over_runs.draw_seeds(some_spread(), SWEEP_NAME, None, "synthetic test films")
    assert "synthetic test films" in seeds.figure.get_supxlabel() and "synthetic test films" in seeds.caption


def test_cells_that_a_run_lacks_are_not_drawn_beside_those_of_all_runs():
    spread = some_spread()
    first = spread.query("attack == 'fgsm'")["strength"].min()
    lacking = spread.assign(runs=spread["runs"].where((spread["attack"] != "fgsm") | (spread["strength"] > first), 2))
    drawn = lines(over_runs.draw_seeds(lacking, SWEEP_NAME, None, "test films").figure.get_axes()[0])
    assert first not in drawn["FGSM"].get_xdata() and first in drawn["FGNM"].get_xdata()
