"""Lines, bands, levels and marks of Figure 4 and its kin."""

import itertools

import matplotlib.colors
import numpy as np
import pandas as pd
import pytest
from drawn import check_words, lines, panels
from finished import some_counts
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from nosign.attacks.catalogue import ATTACKS
from nosign.classifiers.catalogue import BACKBONES
from nosign.finished import effect_columns
from nosign.measures.visibility import CRITERIA
from nosign.output import plot
from nosign.output.plot import DIRECTION_COLOURS, hide_empty
from nosign.paper import PAPER_ATTACKS

CLEAN = pd.Series([92.22, 90.11, 96.78], list(BACKBONES))
TITLED = {attack.title: attack for attack in ATTACKS.values()}


def draw_accuracy(cells, before=CLEAN, aim=None, boundaries=None):
    """Return Figure 4 of some cells."""
    value, (low, high) = effect_columns(aim)
    percent = cells.rename(columns={value: "percent", low: "low", high: "high"})
    return plot.draw_lines(plot.Lines(percent, before, "VGG16", aim, boundaries), "a note")


def some_boundaries():
    """Return boundaries of both kinds of attack and directions, by all criteria."""
    kinds = itertools.product(("single-step", "iterative"), ("sign", "no-sign"), CRITERIA)
    return pd.DataFrame(
        [(*names, 0.001, "") for names in kinds], columns=["attacks", "direction", "criterion", "strength", "bound"]
    )


def test_accuracy_lines_carry_the_cells_in_ascending_strength():
    cells = some_counts()
    figure = draw_accuracy(cells)
    places = itertools.product((True, False), BACKBONES)
    for axes, (single_step, target) in zip(figure.get_axes(), places, strict=True):
        drawn = lines(axes)
        iterative = ["BIM", "BINM", "PGD", "PGDNM", "MI-FGSM", "MI-FGNM", "BIM unclipped", "BINM unclipped", "APGD"]
        single = ["FGSM", "FGNM", "Universal sign", "Universal no-sign", "Random signs", "Gaussian noise", "Shuffled FGNM"]
        assert list(drawn) == (single if single_step else iterative)
        for title, line in drawn.items():
            chosen = (cells["attack"] == TITLED[title].name) & (cells["target"] == target)
            wanted = cells.loc[chosen, "accuracy_percent"].tolist()
            assert line.get_xdata().tolist() == [0.0005, 0.003] and line.get_ydata().tolist() == wanted[::-1]


def test_bands_are_the_intervals_of_the_cells_in_the_colour_of_the_direction():
    cells = some_counts(["fgsm", "fgnm"])
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
    labels = [axes.get_label() for axes in draw_accuracy(some_counts()).get_axes()]
    assert labels == [f"{kind} {target}" for kind in ("single-step", "iterative") for target in BACKBONES]


def test_boundaries_stand_below_every_panel_on_its_axis_of_strengths():
    figure = draw_accuracy(some_counts(["fgsm", "fgnm"]), boundaries=some_boundaries())
    above, below = figure.get_axes()[:3], figure.get_axes()[3:]
    assert [axes.get_label() for axes in below] == [f"single-step boundary {target}" for target in BACKBONES]
    for over, under in zip(above, below, strict=True):
        assert over.get_xlim() == under.get_xlim() and under.get_xlabel() == "strength"
        assert len(under.get_lines()) == 2 * len(CRITERIA)
    assert [label.get_text() for label in below[0].get_yticklabels()] == list(CRITERIA)


def test_reference_lines_are_the_clean_accuracy_and_chance():
    axes = panels(draw_accuracy(some_counts()))["InceptionV3 (black-box)"]
    levels = [line.get_ydata()[0] for line in axes.get_lines() if line not in lines(axes).values()]
    assert levels == pytest.approx([90.11, 100 / 3])
    assert [text.get_text() for text in axes.texts] == ["clean 90.11 %", "chance"]


def test_attacks_differ_in_marker_and_line_and_directions_in_colour_and_grey():
    for axes in draw_accuracy(some_counts()).get_axes():
        drawn = lines(axes)
        assert len({line.get_marker() for line in drawn.values()}) == len(drawn)
        controls = {title for title in drawn if TITLED[title].control}
        assert {drawn.pop(title).get_color() for title in controls} <= {plot.GREY}
        assert len({str(plot.ATTACK_MARKS[TITLED[title].name][1]) for title in drawn}) == len(drawn)
        colours = {TITLED[title].direction: line.get_color() for title, line in drawn.items()}
        greys = [np.dot(matplotlib.colors.to_rgb(colour), [0.299, 0.587, 0.114]) for colour in colours.values()]
        assert set(colours) == {TITLED[title].direction for title in drawn} and abs(greys[0] - greys[1]) > 0.25
        assert len(set(colours.values())) == len(colours)


def test_reference_labels_keep_away_from_the_lines():
    cells = some_counts(["fgsm"], [0.001, 0.01], ["VGG16"]).assign(accuracy_percent=[90.0, 36.0])
    assert [plot.clearer_place(cells.assign(percent=[90.0, 36.0]), level) for level in (92.22, 100 / 3)] == [
        ("right", True),
        ("left", False),
    ]
    flat = cells.assign(percent=[88.0, 86.0])
    assert plot.clearer_place(flat, 83.33) == ("left", False)
    sides = [text.get_ha() for text in draw_accuracy(cells).get_axes()[0].texts]
    assert sides == ["right", "left"]


def test_where_attacks_aim_at_a_class_their_success_is_drawn():
    cells = some_counts(["fgsm"])
    cells["reached_percent"] = 100 - cells["accuracy_percent"]
    cells = cells.assign(ci_low_reached_percent=cells["reached_percent"], ci_high_reached_percent=cells["reached_percent"])
    cells = cells.drop(columns=["accuracy_percent", "ci_low_percent", "ci_high_percent"])
    axes = draw_accuracy(cells, pd.Series({"VGG16": 10.0}), "Normal").get_axes()[0]
    wanted = cells.query("target == 'VGG16'").sort_values("strength")["reached_percent"].tolist()
    assert lines(axes)["FGSM"].get_ydata().tolist() == wanted
    assert "taken for Normal" in axes.get_ylabel() and [text.get_text() for text in axes.texts] == ["clean 10.00 %"]


def test_star_marks_the_white_box_panel():
    titles = [axes.get_title() for axes in draw_accuracy(some_counts()).get_axes()]
    assert titles == ["VGG16* (white-box)", "InceptionV3 (black-box)", "DenseNet201 (black-box)"] * 2


def test_unfinished_sweep_is_drawn_as_far_as_it_goes():
    figure = draw_accuracy(some_counts(["fgnm"], [0.001], ["VGG16", "DenseNet201"]))
    assert list(panels(figure)) == ["VGG16* (white-box)", "DenseNet201 (black-box)"]
    assert [line.get_xdata().tolist() for axes in figure.get_axes() for line in lines(axes).values()] == [[0.001]] * 2


def test_strength_zero_has_a_place_on_the_axis():
    axes = draw_accuracy(some_counts(["fgsm"], [0.0, 0.001])).get_axes()[0]
    assert axes.get_xscale() == "symlog" and axes.get_xlim()[0] <= 0


def test_attacks_in_one_panel_differ_in_marker_fill_or_line():
    styles = [plot.attack_style(name) for name in plot.ATTACK_MARKS]
    assert len({(style["marker"], style["markerfacecolor"], style["color"]) for style in styles}) == len(styles)


@pytest.mark.parametrize(
    "attacks", [list(ATTACKS), [name for name, row in ATTACKS.items() if not row.iterative], PAPER_ATTACKS]
)
def test_a_legend_of_many_attacks_fits_into_the_figure(attacks):
    with matplotlib.rc_context(plot.STYLE):
        figure = Figure(figsize=(plot.WIDTH, 3), layout="constrained")
        figure.subplots()
        plot.add_legend(figure, attacks)
        FigureCanvasAgg(figure).draw()
    assert figure.legends[0].get_window_extent().width <= figure.bbox.width


def marks_of(boundaries, limits=(0.001, 0.03)):
    """Return what `draw_boundary_marks` draws: (strength, line, colour, face, marker) of each mark."""
    axes = Figure().subplots()
    axes.set(xscale="log", xlim=limits)
    columns = ["attacks", "direction", "criterion", "strength", "bound"]
    plot.draw_boundary_marks(axes, pd.DataFrame(boundaries, columns=columns))
    assert axes.get_xlim() == limits
    return [
        (line.get_xdata()[0], round(line.get_ydata()[0]), line.get_color(), line.get_markerfacecolor(), line.get_marker())
        for line in axes.get_lines()
    ]


def test_marks_stand_at_the_strengths_on_the_line_of_their_criterion_hollow_where_they_are_bounds():
    blue, amber = DIRECTION_COLOURS["sign"], DIRECTION_COLOURS["no-sign"]
    assert marks_of(
        [
            ("single-step", "sign", "local mean", 0.002, ""),
            ("single-step", "no-sign", "local mean", 0.002, "at most"),
            ("single-step", "no-sign", "SSIM", 0.5, ""),
        ]
    ) == [
        (0.002, 0, blue, blue, "o"),
        (0.002, 0, amber, "white", "s"),
        (0.03, 1, amber, amber, ">"),  # beyond the axis: an arrowhead at its edge
    ]


def test_marks_of_both_directions_do_not_hide_each_other():
    axes = Figure().subplots()
    axes.set(xscale="log", xlim=(0.001, 0.03))
    same = [("single-step", direction, "SSIM", 0.002, "") for direction in ("sign", "no-sign")]
    plot.draw_boundary_marks(axes, pd.DataFrame(same, columns=["attacks", "direction", "criterion", "strength", "bound"]))
    first, second = (line.get_ydata()[0] for line in axes.get_lines())
    assert abs(first - second) > 0.3


@pytest.mark.parametrize("boundaries", [None, some_boundaries()])
def test_words_can_be_read(boundaries):
    check_words(draw_accuracy(some_counts(), boundaries=boundaries))


def test_figures_are_rendered_without_pickling_which_once_in_150_times_misplaces_a_pdfs_numbers():
    figure = Figure(figsize=(2, 2))
    figure.subplots().plot([1, 2])
    expected = plot.rendered(figure)
    figure.never_pickled = lambda: None  # pickle refuses it
    found = plot.render_figures({"one": figure, "two": figure})
    assert found == {
        f"{name}.{ending}": content for name in ("one", "two") for ending, content in zip(("png", "pdf"), expected)
    }
    assert not plot.RENDERING


def test_a_long_curve_is_drawn_through_some_of_its_points_with_both_ends():
    assert plot.few_of(3).tolist() == [0, 1, 2] and plot.few_of(0).tolist() == []
    places = plot.few_of(10**6)
    assert len(places) == plot.MOST_POINTS and (places[0], places[-1]) == (0, 10**6 - 1)
    assert np.diff(places).min() > 0 and np.ptp(np.diff(places)) <= 1
    assert plot.thinned_note(plot.MOST_POINTS) == "" and "5,000" in plot.thinned_note(plot.MOST_POINTS + 1)


def test_the_lowest_panel_of_each_column_has_numbers_and_empty_ones_are_hidden():
    panels = Figure().subplots(2, 2, sharex=True, squeeze=False).ravel()
    hide_empty(panels, 3, 2)
    assert [axes.get_visible() for axes in panels] == [True, True, True, False]
    assert [axes.xaxis.get_tick_params()["labelbottom"] for axes in panels[:3]] == [False, True, True]
