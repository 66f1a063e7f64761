"""Universal perturbations of linear models: the field against a slow refit, film by film."""

import numpy as np
import pytest
from sweeps import SIZE, STEPS

from nosign.attacks.universal import RADIUS, REACH
from nosign.dataset import CLASSES
from nosign.errors import UserError
from nosign.sweep.universal import fit_on_films, read_field


@pytest.mark.parametrize("direction", ["sign", "no-sign"])
def test_a_field_follows_the_mean_gradient_of_its_films_where_it_stands(models, films, sweep, direction):
    chosen, condition = [0, 2, 3, 5, 8], sweep.condition
    found = fit_on_films(sweep, direction, films.at(np.array(chosen)))
    side, field = (1 if condition.target is None else -1), np.zeros((SIZE, SIZE, 3))
    for _ in range(STEPS):
        gradients = []
        for film, label in zip(films.pixels(chosen), films.labels[chosen]):
            own = label if condition.target is None else CLASSES.index(condition.target)
            gradients.append(side * models["VGG16"].log_odds_gradient(np.clip(film + field, 0, 1), own))
        mean = np.mean(gradients, axis=0)
        mean = np.broadcast_to(mean.mean(-1, keepdims=True), mean.shape) if condition.grey else mean
        unit = np.sign(mean) if direction == "sign" else mean * np.sqrt(mean.size) / np.linalg.norm(mean)
        field = field + REACH * RADIUS / STEPS * unit
        if direction == "sign":
            field = np.clip(field, -RADIUS, RADIUS)
        else:
            field = field * min(1, RADIUS * np.sqrt(field.size) / np.linalg.norm(field))
    np.testing.assert_allclose(found, field, atol=1e-6)
    assert found.dtype == np.float32


WHOLE = (SIZE, SIZE, 3)


@pytest.mark.parametrize("bad", [np.zeros(WHOLE[:2]), np.zeros(WHOLE), np.full(WHOLE, np.nan, np.float32)])
def test_a_file_that_holds_no_field_is_refused(tmp_path, bad):
    np.save(tmp_path / "field-3.npy", bad)
    with pytest.raises(UserError, match="field-3.npy: expected finite float32"):
        read_field(tmp_path / "field-3.npy", WHOLE)
    (tmp_path / "field-3.npy").write_bytes(b"cut off")
    with pytest.raises(UserError, match="expected finite float32"):
        read_field(tmp_path / "field-3.npy", WHOLE)
