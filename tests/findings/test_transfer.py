"""All sources against all targets: which cells, which places."""

import numpy as np
import pandas as pd
from drawn import check_words
from finished import run_in, some_counts, write_cell

from nosign import rows
from nosign.classifiers.catalogue import BACKBONES
from nosign.findings import transfer


def test_the_transfer_table_takes_the_largest_strength_that_all_sources_share(results):
    assert not transfer.describe(run_in(results))
    for strength in ("0.003", "0.03"):
        write_cell(results, f"VGG16/budget/fgsm/{strength}", VGG16=[0, 0, 0, 0], InceptionV3=[0, 1, 0, 0])
    write_cell(results, "InceptionV3/budget/fgsm/0.003", VGG16=[1, 1, 1, 1], InceptionV3=[2, 2, 2, 2])
    (table,) = transfer.describe(run_in(results)).tables
    labels = rows.read_clean(results)["label"]
    percent = [f"{100 * (np.array(seen) == labels).mean():.2f}" for seen in ([0] * 4, [0, 1, 0, 0], [1] * 4, [2] * 4)]
    assert table.rows == [
        ["FGSM", "0.003", "VGG16", percent[0] + "*", percent[1]],
        ["FGSM", "0.003", "InceptionV3", percent[2], percent[3] + "*"],
    ]
    assert table.name == "transfer-budget"


def test_the_transfer_matrix_shows_every_source_and_target_of_an_attack():
    cells = pd.concat([some_counts(["fgsm", "pgdnm"], [0.003]).assign(source=name) for name in BACKBONES], ignore_index=True)
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
    check_words(figure)


def test_the_sentence_averages_over_source_models_white_box_and_others_apart(results):
    for source, own, other in (("VGG16", [0, 0, 1, 2], [0, 0, 0, 0]), ("InceptionV3", [0, 0, 0, 0], [1, 1, 1, 1])):
        seen = {source: own, "InceptionV3" if source == "VGG16" else "VGG16": other}
        write_cell(results, f"{source}/budget/fgsm/0.003", **seen)
    (sentence,) = transfer.describe(run_in(results)).sentences
    # White-box 4 and 2 of 4 right, on the other model 2 and 1.
    assert sentence.text == (
        "Condition 'budget', mean accuracy over source models: 75.0 % white-box and 37.5 % on the others under FGSM (at 0.003)."
    )
