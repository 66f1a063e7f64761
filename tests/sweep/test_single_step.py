"""Boundaries against models whose answers are known."""

import pytest
from sweeps import FILMS, NAMES

from nosign.measures import size, visibility
from nosign.measures.visibility import SSIM_INVISIBLE
from nosign.rows import Cell
from nosign.sweep.single_step import find_boundaries


@pytest.mark.parametrize("name", ["fgsm", "fgnm", "universal"])
def test_boundaries_are_where_an_attack_becomes_visible_and_carry_the_predictions_there(models, films, sweep, done, name):
    frame = find_boundaries(sweep, name)
    assert sum(done) == FILMS * 3 * 4
    assert list(frame) == ["film", "label", "criterion", "strength", *NAMES]
    for row in frame.to_dict("records"):
        position = list(films.rows).index(row["film"])
        film, changed = films.pixels([position])[0], sweep.attack_film(Cell(name, row["strength"]), position)
        for model in NAMES:
            assert row[model] == models[model].logits(changed[None]).argmax()
        if row["criterion"] == "SSIM":
            assert size.ssim(film, changed) == pytest.approx(SSIM_INVISIBLE, abs=1e-4)
        else:
            ratio = visibility.visibility(changed - film, visibility.thresholds(film))
            assert ratio[list(visibility.CRITERIA).index(row["criterion"])] == pytest.approx(1, abs=3e-3)
