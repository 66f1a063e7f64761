"""Stage 4 killed, or failed by the disk, at every operation: the rerun ends in the same bytes."""

import shutil

import pytest
from finished import LIST_OF_MODELS, write_cell
from walking import walk

import data_figure


@pytest.fixture
def results(tmp_path):
    """Results of one cell of each attack; and the tables that were made of them when there was another attack."""
    folder = tmp_path / "results"
    for attack, seen in (("bim", [2, 2, 2, 2]), ("fgsm", [1, 0, 1, 1]), ("fgnm", [1, 1, 1, 0])):
        write_cell(folder, f"VGG16/paper/{attack}/0.01", VGG16=seen)
    (tmp_path / "model").mkdir()
    (tmp_path / "model/models.csv").write_text(LIST_OF_MODELS)
    assert data_figure.main(words(tmp_path, str(tmp_path / "before"))) == 0
    shutil.rmtree(folder / "attacks/VGG16/paper/bim")
    return tmp_path


def words(folder, out):
    """Return the command line of stage 4."""
    return ["--results", str(folder / "results"), "--models", str(folder / "model"), "--out", out]


def test_stage_four_survives_every_kill_and_every_failing_write(results, every_kill):
    before = results / "before"
    assert (before / "tables/table3.csv").is_file(), "goes stale"
    imports = ["nosign.publish", "nosign.finished", "nosign.output.report.page", "matplotlib.backends.backend_agg"]
    options = {"imports": imports, "composes": True, "prepare": "walking:draw_once", "alike": not every_kill}
    letters = walk("data_figure", words(results, "OUT"), results, before=str(before), **options)
    assert letters.count("w") >= 40 and letters.count("d") >= 3
    assert not (results / "out/tables/table3.csv").exists()
