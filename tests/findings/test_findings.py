"""The shape that every finding has, on a results folder with all that stage 3 leaves; and turning strengths by hand."""

import finished
import numpy as np
import pandas as pd
import pytest

from nosign.errors import UserError
from nosign.findings import FINDINGS, turning
from nosign.finished import read_runs
from nosign.output.finding import parts_of

FILMS = pd.DataFrame({"film": [7, 8, 9, 12], "label": [0, 0, 1, 2]})


@pytest.fixture(scope="module")
def findings(tmp_path_factory):
    results = tmp_path_factory.mktemp("results")
    small = {"single_step": (0.0005, 0.003), "iterative": (0.003,)}
    finished.write_results(results, films=12, conditions=("paper", "paper-grey"), **small)
    run = finished.run_in(results)
    return {module: module.describe(run) for module in FINDINGS}


def test_every_finding_has_one_shape(findings):
    for module, finding in findings.items():
        assert finding.name == module.__name__.rpartition(".")[2] and finding.heading == module.HEADING
        for drawing in finding.drawings:
            assert drawing.title and drawing.caption.endswith(".") and drawing.alt.endswith(".") and drawing.figure
        for table in finding.tables:
            assert table.title and table.caption.endswith(".") and not table.frame.empty
            assert {len(row) for row in table.rows} == {len(table.columns)} and table.marks.shape[1] == len(table.columns)
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


def write_turning(results, attack, status, l2, linf):
    """Write one attack's turning strengths of VGG16 on the four films, and a cell beside them."""
    finished.write(results / "clean.csv", FILMS.assign(VGG16=0, group=[0, 0, 1, 2]))
    folder = results / "attacks/VGG16/paper" / attack
    finished.write(folder / "0.01.csv", FILMS.assign(VGG16=1, VGG16_8bit=1, linf=0.1, l2=1, ssim=1))
    sizes = {"strength": 0.01, "l2": l2, "linf": linf, "ssim": 0.9, "cosine": [0.7, 0.8, 0.6, 0.9], "right_again": 0}
    finished.write(folder / "turning.csv", FILMS.assign(target="VGG16", status=status, grid="rt", **sizes))
    return folder / "turning.csv"


def test_ratios_at_turning_count_films_that_one_attack_alone_turns(tmp_path):
    write_turning(tmp_path, "fgsm", ["turned", "left-censored", "right-censored", "wrong before"], [1, 2, 9, 9], [1, 1, 9, 9])
    write_turning(tmp_path, "fgnm", ["turned", "turned", "turned", "wrong before"], [0.5, 1.5, 3, 9], [4, 6, 5, 9])
    (row,) = turning.turning_ratios(finished.run_in(tmp_path).sweeps[0]).to_dict("records")
    counts = ("films", "both", "only_sign", "only_no_sign", "neither")
    assert [row[name] for name in counts] == [3, 2, 0, 1, 0]
    # Ratios 0.5, 0.75 and, for the film that no sign step turns, 0.
    assert (row["l2_ratio"], row["linf_ratio"], row["cosine"]) == (0.5, 4, 0.7)
    assert row["l2_ratio_low"] == 0 and row["l2_ratio_high"] == 0.625  # the patient of two films drawn alone: their middle


def test_films_that_neither_attack_turns_are_counted_and_left_out(tmp_path):
    for attack in ("fgsm", "fgnm"):
        write_turning(tmp_path, attack, ["right-censored"] * 4, 1, 1)
    finding = turning.describe(finished.run_in(tmp_path))
    assert finding.tables[0].frame["neither"].item() == 4 and np.isnan(finding.tables[0].frame["l2_ratio"].item())
    assert finding.sentences == ()


@pytest.mark.parametrize(
    "old, new, complaint",
    [
        ("turned", "fell", "a field is empty or not what it should be"),
        ("0.01,1.0", "0.01,", "a field is empty or not what it should be"),
        ("\n7,0", "\n7,1", "its films are not those of clean.csv"),
        ("VGG16", "ResNet", "of which clean.csv holds no predictions"),
        ("cosine", "angle", "lacks the column cosine"),
    ],
)
def test_a_damaged_file_of_turning_strengths_is_named_with_its_fault(tmp_path, old, new, complaint):
    write_turning(tmp_path, "fgnm", ["turned"] * 4, 1.0, 1.0)
    path = write_turning(tmp_path, "fgsm", ["turned"] * 4, 1.0, 1.0)
    text = path.read_text().replace("0.01,1,", "0.01,1.0,")
    path.write_text(text.replace(old, new))
    with pytest.raises(UserError, match=complaint):
        turning.describe(finished.run_in(tmp_path))
