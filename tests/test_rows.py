"""Reading what stage 3 wrote: files that are whole, files that are not, and what each complaint says."""

import finished
import numpy as np
import pandas as pd
import pytest
from finished import everything_in, run_in, sweep_in, write_cell, write_results

from nosign import rows
from nosign.errors import UserError
from nosign.findings import steps, storage, turning
from nosign.rows import ROWS, find_files


def test_files_beside_cells_are_not_cells(results):
    before = run_in(results).counts
    for name in ("0.001.steps.csv", "0.001.stored.csv", "boundary.csv"):
        (results / "attacks/VGG16/paper/fgsm" / name).write_text("film,step\n")
    pd.testing.assert_frame_equal(run_in(results).counts, before)


def test_later_measures_are_read_and_a_film_that_did_not_change_may_have_an_infinite_psnr(results):
    path = results / "attacks/VGG16/paper/fgsm/0.001.csv"
    before = run_in(results).counts
    pd.read_csv(path).assign(psnr=[np.inf, 50, 40, 30], local_ratio=0.5, jnd_ratio=2.0).to_csv(path, index=False)
    pd.testing.assert_frame_equal(run_in(results).counts, before)
    films = rows.read_films(results, rows.read_clean(results))[0].films
    assert films["psnr"].tolist() == [np.inf, 50, 40, 30]
    pd.read_csv(path).assign(l2=np.inf).to_csv(path, index=False)
    with pytest.raises(UserError, match="line 2: a field is empty or not a number"):
        run_in(results)


def test_a_file_that_is_still_being_written_is_no_cell(results):
    before = run_in(results).counts
    (results / "attacks/VGG16/paper/fgsm/.0.002.123.part.csv").write_text("film,la")
    pd.testing.assert_frame_equal(run_in(results).counts, before)


def test_cells_come_in_the_order_of_the_paper(results):
    write_cell(results, "DenseNet201/budget/fgsm/1e-05", VGG16=[0, 0, 0, 0])
    write_cell(results, "VGG16/budget/fgsm/0.03", VGG16=[0, 0, 0, 0])
    found = find_files(results, ROWS)
    assert [(source, str(condition), *cell) for source, condition, *cell, _ in found] == [
        ("VGG16", "paper", "fgsm", 0.001),
        ("VGG16", "paper", "fgsm", 0.003),
        ("VGG16", "paper", "fgnm", 0.001),
        ("VGG16", "paper", "fgnm", 0.003),
        ("VGG16", "budget", "fgsm", 0.03),
        ("DenseNet201", "budget", "fgsm", 0.00001),
    ]


@pytest.mark.parametrize(
    "change, complaint",
    [
        (lambda text: text[: len(text) // 2], "its last line is cut off"),
        (lambda text: text[:-2], "its last line is cut off"),
        (lambda text: text[: text.index("\n9,") + 1], "2 films are not the 4 films"),
        (lambda text: text.replace("\n9,", "\n10,"), "films are not the 4 films"),
        (lambda text: text.replace("\n9,1,", "\n9,2,"), "films are not the 4 films"),
        (lambda text: text.replace("\n9,1,2,", "\n9,1,5,"), "line 4: VGG16 is 5, expected a class from 0 to 2"),
        (lambda text: text.replace("\n9,1,2,", "\n9,1,x,"), "line 4: a field is empty or not a number"),
        (lambda text: text.replace("VGG16_8bit", "VGG19_8bit"), "one more that ends in _8bit"),
        (lambda text: text.replace("VGG16", "VGG19"), "targets VGG19, of which clean.csv holds no predictions"),
        (lambda text: text.replace("ssim", "ssin"), "lacks the column ssim"),
        (lambda text: text[: text.index("\n") + 1], "has a heading but no rows"),
        (lambda text: "", "not a readable CSV file"),
        (lambda text: text + "1,2,3,4,5,6,7,8,9,10,11,12\n", "not a readable CSV file"),
    ],
)
def test_a_damaged_cell_is_named_with_its_fault_and_the_cure(results, change, complaint):
    path = results / "attacks/VGG16/paper/fgsm/0.001.csv"
    path.write_text(change(path.read_text()))
    with pytest.raises(UserError) as caught:
        run_in(results)
    message = str(caught.value)
    assert message.startswith(f"{path}: ") and complaint in message
    assert "remove the file and run attack.py again" in message


@pytest.mark.parametrize(
    "name, complaint",
    [
        ("VGG16/paper/fgsm/strong", "should be a strength"),
        ("VGG16/paper/fgsm/-0.1", "should be a strength"),
        ("VGG16/paper/fgsm/inf", "should be a strength"),
        ("VGG16/paper/fgsm/0.0010", "the same cell as"),
        ("VGG16/paper/deepfool/0.001", "should read SOURCE/CONDITION"),
        ("VGG16/free/fgsm/0.001", "should read SOURCE/CONDITION"),
    ],
)
def test_a_path_that_names_no_cell_is_refused(results, name, complaint):
    write_cell(results, name, VGG16=[0, 0, 0, 0])
    with pytest.raises(UserError, match=complaint):
        run_in(results)


def test_a_folder_without_cells_is_refused(tmp_path):
    with pytest.raises(UserError, match="clean.csv: not found; run attack.py"):
        run_in(tmp_path)
    finished.write_clean(tmp_path)
    with pytest.raises(UserError, match="attacks: no finished cells; run attack.py"):
        run_in(tmp_path)


@pytest.mark.parametrize(
    "text, complaint",
    [
        (finished.LIST_OF_MODELS.replace("parameters", "size"), "lacks the column parameters"),
        (finished.LIST_OF_MODELS.replace(",3,4,", ",5,4,"), "at most films"),
        (finished.LIST_OF_MODELS.replace(",3,4,", ",,4,"), "whole numbers"),
        (finished.LIST_OF_MODELS.replace("VGG16", "InceptionV3"), "names a model twice"),
        ("", "not a readable CSV file"),
    ],
)
def test_a_damaged_list_of_models_is_refused(tmp_path, text, complaint):
    (tmp_path / "models.csv").write_text(text)
    with pytest.raises(UserError, match=complaint):
        rows.read_models(tmp_path)


@pytest.mark.parametrize(
    "change, complaint",
    [
        (lambda text: text.replace("\n12,2,0.4,2,1", ""), "each of the 4 films of clean.csv once a step"),
        (lambda text: text.replace("\n12,2", "\n9,2"), "each of the 4 films of clean.csv once a step"),
        (lambda text: text.replace("\n12,", "\n13,"), "each of the 4 films of clean.csv once a step"),
        (lambda text: text.replace("0.7,3", "x,3"), "line 4: a field is empty or not a number"),
        (lambda text: text.replace("0.7,3", "inf,3"), "line 4: a field is empty or not a number"),
        (lambda text: text.replace("gained", "won"), "lacks the column gained"),
        (lambda text: text[: text.index("\n") + 1], "has a heading but no rows"),
    ],
)
def test_a_damaged_record_of_steps_is_named_with_its_fault(tmp_path, change, complaint):
    path = write_cell(tmp_path, "VGG16/paper/bim/0.01", VGG16=finished.CLEAN["VGG16"])
    path.with_suffix(".steps.csv").write_text(change(finished.TWO_STEPS))
    with pytest.raises(UserError) as caught:
        steps.average_steps(sweep_in(tmp_path))
    assert "bim/0.01.steps.csv: " in str(caught.value) and complaint in str(caught.value)
    assert "run attack.py again" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "change, complaint",
    [
        (lambda text: text.replace("\n12,2,JPEG 75,2", ""), "films under 'JPEG 75' are not the 4 of clean.csv"),
        (lambda text: text.replace("VGG16", "seen"), "no model of clean.csv"),
        (lambda text: text.replace("JPEG 75,0", "JPEG 75,9", 1), "VGG16 is 9, expected a class from 0 to 2"),
    ],
)
def test_a_damaged_file_of_stored_films_is_named_with_its_fault(tmp_path, change, complaint):
    path = write_cell(tmp_path, "VGG16/paper/fgsm/0.01", VGG16=[1, 1, 1, 1])
    finished.write_stored(path, {"JPEG 75": [0, 0, 1, 2]})
    path = path.with_suffix(".stored.csv")
    path.write_text(change(path.read_text()))
    with pytest.raises(UserError) as caught:
        storage.count_stored(sweep_in(tmp_path))
    assert "fgsm/0.01.stored.csv: " in str(caught.value) and complaint in str(caught.value)


@pytest.mark.parametrize(
    "change, complaint",
    [
        (lambda text: text.replace("\n12,2,JND,1,2", ""), "films under 'JND' are not the 4"),
        (lambda text: text.replace("\n9,1", "\n9,2"), "films under 'JND' are not the 4"),
        (lambda text: text.replace("JND", "VIF"), "criterion VIF, expected local mean, JND, JND 99 %, SSIM"),
        (lambda text: text.replace("0.006", ""), "line 4: a field is empty or not a number"),
        (lambda text: text.replace("0.006", "-0.006"), "a strength below 0"),
        (lambda text: text.replace("9,1,JND", "9,1,"), "line 4: a field is empty or not a number"),
        (lambda text: text.replace("0.006,1", "0.006,7"), "line 4: VGG16 is 7, expected a class from 0 to 2"),
        (lambda text: text.replace("criterion", "rule"), "lacks the column criterion"),
        (lambda text: "", "not a readable CSV file"),
    ],
)
def test_a_damaged_boundary_file_is_named_with_its_fault(tmp_path, change, complaint):
    finished.write_visible(tmp_path, {0.001: [0.5] * 4}, boundary=change(finished.BOUNDARY), attack="fgsm")
    with pytest.raises(UserError) as caught:
        sweep_in(tmp_path).boundaries.info()
    assert "fgsm/boundary.csv: " in str(caught.value) and complaint in str(caught.value)
    assert "run attack.py again" in str(caught.value) and "\n" not in str(caught.value)


def test_turning_strengths_that_were_bisected_have_no_grid(tmp_path):
    path = finished.write_turning(tmp_path, "bim", ["turned"] * 3 + ["wrong before"], 1.0, 1.0)
    finished.write(path, pd.read_csv(path).assign(right_again=np.nan, grid=""))
    frame = rows.read_turning(path, rows.read_clean(tmp_path))
    assert frame["strength"].tolist() == [0.01] * 4 and frame[["right_again", "grid"]].isna().all(axis=None)
    assert "turning" not in finished.everything_in(tmp_path)[0]


def test_turning_strengths_of_stored_films_are_read_from_their_own_file_and_are_no_cell(tmp_path):
    path = finished.write_turning(tmp_path, "fgsm", ["turned"] * 4, 1.0, 1.0)
    before = run_in(tmp_path).counts
    clean = rows.read_clean(tmp_path)
    assert rows.read_turning(path, clean, stored=True) is None
    finished.write_turning(tmp_path, "fgsm", ["turned"] * 4, 2.0, 1.0, name=rows.STORED_TURNING)
    assert set(rows.read_turning(path, clean, stored=True)["l2"]) == {2} and set(rows.read_turning(path, clean)["l2"]) == {1}
    pd.testing.assert_frame_equal(run_in(tmp_path).counts, before)
    assert path.with_name(rows.STORED_TURNING) in rows.files_of(path.with_name("0.01.csv"))


@pytest.mark.parametrize(
    "old, new, complaint",
    [
        ("turned", "fell", "a field is empty or not what it should be"),
        ("0.01,1.0", "0.01,", "a field is empty or not what it should be"),
        ("\n7,0", "\n7,1", "its films are not those of clean.csv"),
        ("VGG16", "ResNet", "of which clean.csv holds no predictions"),
        ("cosine", "angle", "lacks the column cosine"),
        ("0.7,0\n", "0.7,\n", "a field is empty or not what it should be"),
        ("turned,rt", "turned,", "a field is empty or not what it should be"),
    ],
)
def test_a_damaged_file_of_turning_strengths_is_named_with_its_fault(tmp_path, old, new, complaint):
    finished.write_turning(tmp_path, "fgnm", ["turned"] * 4, 1.0, 1.0)
    path = finished.write_turning(tmp_path, "fgsm", ["turned"] * 4, 1.0, 1.0)
    text = path.read_text().replace("0.01,1,", "0.01,1.0,")
    path.write_text(text.replace(old, new))
    with pytest.raises(UserError, match=complaint):
        turning.describe(run_in(tmp_path))


def test_example_is_read_back_as_written(tmp_path):
    finished.write_example(tmp_path)
    read, written = rows.read_example(tmp_path, "fgnm"), finished.some_example()
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
    path = finished.write_example(tmp_path, **changes)
    with pytest.raises(UserError, match="fgnm.npz: .*remove it and run attack.py again"):
        rows.read_example(tmp_path, path.stem)


def test_truncated_example_is_refused(tmp_path):
    path = finished.write_example(tmp_path)
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(UserError, match="not a complete example"):
        rows.read_example(tmp_path, "fgnm")


def in_blocks(monkeypatch, block):
    """Have files of more rows than a block read as large ones are, their numbers in mapped files."""
    monkeypatch.setattr(rows, "BLOCK_ROWS", block)
    monkeypatch.setattr("nosign.files.LEAST_MAPPED_BYTES", 0)


def test_large_files_are_read_in_blocks_and_say_the_same(tmp_path, monkeypatch):
    write_results(tmp_path, films=30, single_step=(0.001, 0.003), iterative=(0.0005,), stored=(0.003,))
    wanted = [(table.caption, table.frame) for table in everything_in(tmp_path)[0].values()]
    in_blocks(monkeypatch, 7)
    found = [(table.caption, table.frame) for table in everything_in(tmp_path)[0].values()]
    assert [caption for caption, _ in found] == [caption for caption, _ in wanted]
    for (_, now), (_, before) in zip(found, wanted):
        pd.testing.assert_frame_equal(now, before, rtol=1e-12)


def test_rows_of_one_word_need_not_stand_together(tmp_path, monkeypatch):
    write_results(tmp_path, films=30, attacks=("fgsm",), single_step=(0.003,))
    path, clean = tmp_path / "attacks/VGG16/paper/fgsm/0.003.csv", rows.read_clean(tmp_path)
    wanted = rows.read_boundaries(path, clean)
    pd.read_csv(path.with_name("boundary.csv")).sort_values("film", kind="stable").to_csv(
        path.with_name("boundary.csv"), index=False
    )
    in_blocks(monkeypatch, 7)
    found = rows.read_boundaries(path, clean)
    for criterion, films in wanted.items():
        assert found[criterion]["strength"].tolist() == films["strength"].tolist()


def test_a_fault_in_a_later_block_is_named_by_its_line_in_the_file(tmp_path, monkeypatch):
    in_blocks(monkeypatch, 3)
    write_results(tmp_path, films=30, attacks=("fgsm",), single_step=(0.003,))
    path, clean = tmp_path / "attacks/VGG16/paper/fgsm/0.003.csv", rows.read_clean(tmp_path)
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:20], lines[20].rpartition(",")[0] + ",x", *lines[21:]]) + "\n")
    with pytest.raises(UserError, match="line 21: a field is empty or not a number"):
        rows.read_cell(path, clean)
    path.write_text("\n".join([*lines[:20], lines[20] + ",1", *lines[21:]]) + "\n")
    with pytest.raises(UserError, match="not a readable CSV file .*line 21"):
        rows.read_cell(path, clean)


def test_a_cell_is_kept_without_its_logits_and_a_large_one_without_a_copy(tmp_path, monkeypatch):
    write_results(tmp_path, films=30, attacks=("fgsm",), single_step=(0.003,))
    path, clean = tmp_path / "attacks/VGG16/paper/fgsm/0.003.csv", rows.read_clean(tmp_path)
    logits = {f"{name}_logit{place}": place == 1 for name in ("VGG16", "VGG16_8bit") for place in range(3)}
    pd.read_csv(path).drop(columns=["VGG16", "VGG16_8bit"]).assign(**logits).astype(float).to_csv(path, index=False)
    in_blocks(monkeypatch, 7)
    films, targets = rows.read_cell(path, clean)
    assert not rows.all_logits(films) and "VGG16" in targets and (films["VGG16"] == 1).all()
    assert not films["linf"].to_numpy().flags.owndata and films["linf"].to_numpy().flags.c_contiguous
