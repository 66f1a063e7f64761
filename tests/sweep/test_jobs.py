"""What there is to do, and where it lies."""

import pandas as pd

from nosign import rows
from nosign.attacks.catalogue import Condition
from nosign.rows import ROWS, Cell, cell_path
from nosign.sweep.jobs import planned_cells


def test_the_plan_holds_every_cell_once_with_the_strengths_of_its_kind():
    cells = planned_cells(["fgsm", "pgd", "fgsm"], [0.1, 0.2, 0.1], [0.3])
    assert cells == [Cell("fgsm", 0.1), Cell("fgsm", 0.2), Cell("pgd", 0.3)]


def test_a_cells_path_names_its_condition():
    path = cell_path("results", "VGG16", Condition("budget", "l2", "Normal", grey=True), Cell("fgsm", 0.0005))
    assert path.as_posix() == "results/attacks/VGG16/budget-l2-grey-to-Normal/fgsm/0.0005.csv"


def test_a_cells_file_keeps_six_digits(tmp_path):
    frame = pd.DataFrame({"film": [3], "label": [0], "linf": [0.00050000003], "l2": [1 / 3], "ssim": [1.0]})
    rows.write_cell(tmp_path / "a/b.csv", {ROWS: frame})
    assert (tmp_path / "a/b.csv").read_text() == "film,label,linf,l2,ssim\n3,0,0.0005,0.333333,1\n"
