"""The benchmark's own machinery: counted operations, processes that are timed in turns, rivals that cannot run."""

from contextlib import ExitStack

import pytest

from benchmarks.bench import compare, library_rows, noted, started
from benchmarks.flops import forward_flops, gradient_flops
from benchmarks.table import write_rows
from benchmarks.task import FGSM, TABLE_TWO, Task
from benchmarks.worker import ONEDNN_FLAG, CannotRun, Worker

TASK = Task(2, 32, 1, [0.001, 0.002])
# VGG16's 13 convolutions and its three dense layers, in multiplications with an addition each, as published: 15.47 billion.
CONVOLUTIONS, DENSE = 15_346_630_656, 25088 * 4096 + 4096 * 4096 + 4096 * 1000


def worker(onednn=None):
    """Return a process with trivial work."""
    return Worker("tests.helpers.trivial:trivial", TASK, onednn)


def test_counted_operations_are_the_published_ones():
    import keras

    model = keras.applications.VGG16(include_top=False, weights=None, input_shape=(224, 224, 3))
    assert forward_flops(model) == 2 * CONVOLUTIONS
    assert round((CONVOLUTIONS + DENSE) / 1e9, 2) == 15.47
    films = keras.Input((224, 224, 3))
    outputs = keras.layers.Dense(3)(keras.layers.GlobalAveragePooling2D()(model(films)))
    whole = keras.Model(films, outputs)
    assert forward_flops(whole) == 2 * CONVOLUTIONS + 2 * 512 * 3
    assert gradient_flops(whole) == 2 * forward_flops(whole)


def test_a_process_runs_what_it_is_asked_for():
    with worker() as process:
        seconds, result = process.run(TABLE_TWO)
        assert 0 <= seconds < 1 and result == {"strengths": TASK.strengths}
        assert process.run(FGSM)[1] is None  # arrays stay where they are
        assert process.about["works"][0] == FGSM


@pytest.mark.parametrize("onednn, seen", [(None, "not set"), ("1", "1")])
def test_a_rival_as_it_comes_does_not_inherit_what_nosign_sets(monkeypatch, onednn, seen):
    monkeypatch.setenv(ONEDNN_FLAG, "1")
    with worker(onednn=onednn) as process:
        assert process.run("flag")[1] == seen


@pytest.mark.parametrize(
    "work, reason", [("mistake", "ZeroDivisionError: division by zero"), ("end", "status 3"), ("no such work", "KeyError")]
)
def test_a_process_that_fails_says_why_and_goes_on_saying_it(work, reason):
    with worker() as process:
        for _ in range(2):
            with pytest.raises(CannotRun, match=reason):
                process.run(work)


def test_rivals_that_cannot_run_become_rows_beside_those_that_can(tmp_path):
    with ExitStack() as stack:
        names = "trivial", "trivial", "broken", "half_broken"
        ours, *others = (started(stack, f"tests.helpers.trivial:{name}", TASK) for name in names)
        rows = noted(library_rows(ours, dict(zip(("whole", "broken", "half"), others)), TASK, 2))
    found = {row.what.partition(",")[0]: row.error for row in rows}
    reason = "ZeroDivisionError: division by zero"
    assert found == {
        "broken": "ImportError: no such library",
        "whole: FGSM": "",
        "half: FGSM": "",
        "whole: PGD": "",
        "half: PGD": reason,
        "whole: Table II's FGSM half": "",
        "half: Table II's FGSM half": reason,
    }
    write_rows(tmp_path, rows, "# Speed")
    assert "cannot run: ImportError: no such library" in (tmp_path / "bench.md").read_text()
    assert (tmp_path / "bench.csv").read_text().count(reason) == 2


def test_without_a_base_nothing_is_compared():
    with ExitStack() as stack:
        ours, other = (started(stack, f"tests.helpers.trivial:{name}", TASK) for name in ("broken", "trivial"))
        rows = list(library_rows(ours, {"whole": other}, TASK, 1))
    assert len(rows) == 3 and all("ImportError" in row.error for row in rows)


def test_each_ratio_is_to_the_base_before_and_after():
    base = iter([9.0, 1.0, 3.0, 1.0, 5.0])
    _, found = compare(lambda: next(base), {"rival": iter([7.0, 4.0, 6.0, 6.0]).__next__}, 3)
    # 4 / 2, 6 / 2 and 6 / 3; the first run of each is not counted.
    assert found["rival"].ratio == 2 and found["rival"].seconds == 6
