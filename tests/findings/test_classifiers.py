"""Table I beside the paper's numbers."""

import finished
from finished import run_in

from nosign import rows
from nosign.findings import classifiers


def test_table_one_sets_the_paper_beside_the_measured(tmp_path):
    (tmp_path / "models.csv").write_text(finished.LIST_OF_MODELS + "MyNet,1000,2,4,,,ef\n")
    table = classifiers.table_one(rows.read_models(tmp_path))
    assert table.rows == [
        ["VGG16", "14,749,763", "33.33 (1/3)", "71.3", "90.1", "14,747,715", "92.22 (830/900)"],
        ["InceptionV3", "21,942,307", "75.00 (3/4)", "77.9", "93.7", "21,934,307", "90.11 (811/900)"],
        ["MyNet", "1,000", "50.00 (2/4)", "—", "—", "—", "—"],
    ]


def test_the_sentence_counts_the_attacked_films_that_each_model_has_right(results):
    finding = classifiers.describe(run_in(results))
    (sentence,) = finding.sentences
    assert (
        sentence.text == "Of 4 test films, before any attack, so many are right: VGG16 3 (75.0 %) and InceptionV3 4 (100.0 %)."
    )
    assert finding.tables[1].rows == [["VGG16", "75.00 (3/4)", "25.00–100.00"], ["InceptionV3", "100.00 (4/4)", "39.76–100.00"]]
