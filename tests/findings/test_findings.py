"""The shape that every finding has, on a results folder with all that stage 3 leaves."""

import finished
import law
import pytest
from drawn import check_words
from finished import everything_in, run_in, write_results

from nosign.findings import FINDINGS
from nosign.finished import read_runs
from nosign.output import table
from nosign.output.finding import parts_of


@pytest.fixture(scope="module")
def findings(tmp_path_factory):
    results = tmp_path_factory.mktemp("results")
    small = {"single_step": (0.0005, 0.003), "iterative": (0.003,)}
    finished.write_results(results, films=12, conditions=("paper", "paper-grey"), **small)
    run = run_in(results)
    return {module: module.describe(run) for module in FINDINGS}


def test_every_finding_has_one_shape(findings):
    for module, finding in findings.items():
        assert finding.name == module.__name__.rpartition(".")[2] and finding.heading == module.HEADING
        for drawing in finding.drawings:
            assert drawing.title and drawing.caption.endswith(".") and drawing.alt.endswith(".") and drawing.figure
        for one in finding.tables:
            assert one.title and one.caption.endswith(".") and not one.frame.empty
            assert {len(row) for row in one.rows} == {len(one.columns)} and one.marks.shape == (len(one.rows), len(one.columns))
        assert all(sentence.text.endswith(".") for sentence in finding.sentences)


def test_names_of_files_are_unique_over_all_findings(findings):
    for kind in ("tables", "drawings"):
        names = [part.name for finding in findings.values() for part in getattr(finding, kind)]
        assert len(names) == len(set(names))


def test_what_is_about_a_sweep_says_which(findings):
    sweeps = {part.sweep for finding in findings.values() for part in parts_of(finding)}
    assert sweeps == {None, ("VGG16", "paper"), ("VGG16", "paper-grey")}


def test_a_run_of_seeds_alone_gives_empty_findings_but_the_spread(tmp_path):
    finished.write_results(tmp_path / "seed-0", films=12, single_step=(0.003,), iterative=())
    (tmp_path / "seed-0/models.csv").write_text(finished.LIST_OF_MODELS)
    run = read_runs(tmp_path, tmp_path)
    assert [module.__name__.rpartition(".")[2] for module in FINDINGS if module.describe(run)] == ["over_runs"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Return tables, figures and sentences of a small results folder with all that stage 3 leaves."""
    results = tmp_path_factory.mktemp("results")
    finished.write_results(
        results,
        films=24,
        conditions=("paper", "paper-grey", "paper-to-Normal"),
        single_step=(0.0005, 0.003, 0.03),
        iterative=(0.0005, 0.003),
    )
    return everything_in(results)


def test_everything_is_made_for_each_condition(whole):
    made, drawn, sentences = whole
    endings = ("", "-paper-grey", "-paper-to-Normal")
    assert {"turning", "turning-paper-grey"} <= set(made)
    for kind in ("boundary", "storing", "theory"):
        assert {kind + ending for ending in endings} <= set(drawn) & set(made)
    assert {f"{kind}{ending}" for kind in ("figure4", "figure5", "confusion") for ending in endings} | {"grey"} <= set(drawn)
    tables = ("table2", "table3", "effort", "invisible", "comparison", "confusion")
    assert {f"{kind}{ending}" for kind in tables for ending in endings} | {"grey", "table1", "clean", "paper"} <= set(made)
    assert all(sentence.endswith(".") and "nan" not in sentence.split() for sentence in sentences)
    captions = {name: one.caption for name, one in made.items() if name not in ("table1", "paper")}
    assert not [name for name, caption in captions.items() if "synthetic test films" not in caption]


def test_tables_can_be_written_in_every_form(whole):
    for one in whole[0].values():
        latex = table.to_latex(one)
        assert latex.count("{") == latex.count("}") and latex.isascii()
        assert not any("nan" in row for row in one.rows)


@pytest.mark.parametrize("condition", ["", "-paper-to-Normal"])
def test_words_of_every_figure_can_be_read(whole, condition):
    figures = {name: figure for name, figure in whole[1].items() if name.partition("-")[1:] == condition.partition("-")[1:]}
    assert len(figures) > 5
    for figure in figures.values():
        check_words(figure)


# What is there without cells of a kind: of one sign attack at one strength, and of a control.
ALWAYS = {"accuracy", "boundary", "classifiers", "comparison_with_paper", "confusion", "effort", "workflow"}


@pytest.mark.parametrize("attack, expected", [("fgsm", ALWAYS | {"by_collection"}), ("noise", ALWAYS)])
def test_a_finding_without_cells_of_its_kind_is_empty_and_false(tmp_path, attack, expected):
    finished.write_cell(tmp_path, f"VGG16/paper/{attack}/0.01", VGG16=[0, 1, 1, 1])
    found = [module.describe(run_in(tmp_path)) for module in FINDINGS]
    assert {finding.name for finding in found if finding} == expected
    assert all(finding.heading and not parts_of(finding) for finding in found if not finding)


def test_turning_strengths_without_any_cell_are_results(tmp_path):
    finished.write_results(tmp_path, films=12, single_step=(0.003,), iterative=(), attacks=("fgsm", "fgnm"), stored=())
    for path in tmp_path.glob("attacks/*/*/*/0.003*"):
        path.unlink()
    made, drawn, _ = everything_in(tmp_path)
    assert {"turning", "half", "clean"} <= set(made) and {"turning", "security"} <= set(drawn)
    assert not {"table2", "effort", "confusion", "figure4"} & (set(made) | set(drawn))


def test_a_twin_of_the_source_stands_in_every_table_and_figure_that_has_targets(tmp_path, monkeypatch):
    monkeypatch.setitem(law.MODELS, "VGG16-twin", 1.5)
    finished.write_results(
        tmp_path, films=12, conditions=("paper", "paper-grey"), single_step=(0.003, 0.03), iterative=(0.003,)
    )
    made, drawn, sentences = everything_in(tmp_path)
    others = {name for name, one in made.items() if "InceptionV3" in one.frame.to_csv()}
    assert {"table2", "comparison", "turning", "grey", "confusion"} <= others
    assert {name for name, one in made.items() if "VGG16-twin" in one.frame.to_csv()} == others - {"table1", "paper"}
    assert any("VGG16-twin with gradients from VGG16" in sentence for sentence in sentences)
    for figure in drawn.values():
        check_words(figure)


def test_captions_say_over_how_many_draws_intervals_are(tmp_path, monkeypatch):
    monkeypatch.setattr("nosign.statistics.intervals.MOST_COUNTS", 30 * 1234)
    write_results(tmp_path, films=30, single_step=(0.003,), iterative=(0.0005,), stored=(0.003,))
    captions = [table.caption for table in everything_in(tmp_path)[0].values()]
    said = [caption for caption in captions if "draws of patients" in caption and "widest" not in caption]
    assert len(said) > 5 and all("1,234 draws of patients" in caption for caption in said)
    assert not any("{" in caption for caption in captions)


def test_curves_over_many_films_are_thinned_and_captions_say_so(tmp_path, monkeypatch):
    monkeypatch.setattr("nosign.output.plot.MOST_POINTS", 10)
    write_results(tmp_path, films=30, single_step=(0.003,), iterative=(0.0005,), stored=())
    drawings = {one.name: one for module in FINDINGS for one in module.describe(run_in(tmp_path)).drawings}
    for name in ("turning", "security"):
        lines = [line for axes in drawings[name].figure.get_axes() for line in axes.get_lines()]
        assert max(len(line.get_xdata()) for line in lines) == 10
        assert "drawn through at most 10 of their points" in drawings[name].caption
