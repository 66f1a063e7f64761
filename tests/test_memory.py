"""How much memory a stage takes is said before it begins, and too little is refused in one line."""

import subprocess
import sys

import pytest
from tiny import LinearSoftmax, tiny_backbone

from nosign import memory
from nosign.errors import UserError


def test_the_outputs_of_all_layers_are_counted():
    # Films 32 x 32 x 3, a convolution of 4 channels with windows of 3 at every fourth pixel, and its normalisation.
    assert memory.outputs_of(tiny_backbone("VGG16", 32, None)) == 4 * (32 * 32 * 3 + 2 * 8 * 8 * 4)
    model = LinearSoftmax((4, 4, 3)).classifier()  # films, flattened films, logits, probabilities
    assert memory.outputs_of(model) == 4 * (48 + 48 + 3 + 3) and memory.weights_of(model) == 4 * (48 * 3 + 3)


def test_layers_of_a_model_in_a_model_count_and_unknown_lengths_count_once():
    import keras

    inner = tiny_backbone("VGG16", 8, None)
    films = keras.Input((8, 8, 3))
    outer = keras.Model(films, keras.layers.Flatten()(inner(films)))
    assert memory.outputs_of(outer) >= memory.outputs_of(inner) + 4 * 8 * 8 * 3
    assert memory.numbers_in((None, None, 3)) == 3


def test_more_films_and_training_take_more():
    model = tiny_backbone("VGG16", 32, None)
    small, large = memory.needed_to_train(model, 8), memory.needed_to_train(model, 32)
    assert large - small == pytest.approx(memory.LAYERS_TRAINED * 24 * memory.outputs_of(model), abs=1)
    assert memory.needed_to_attack([model, model], 8) > memory.needed_to_attack([model], 8) > memory.RUNTIME_BYTES


def test_too_little_is_refused_and_enough_is_said(monkeypatch):
    monkeypatch.setattr(memory, "available", lambda: 2 * memory.GB)
    with pytest.raises(UserError, match="training VGG16 takes about 3.0 GB of memory, and 2.5 GB are to be had"):
        memory.require(3 * memory.GB, "training VGG16", used=memory.GB // 2)
    assert memory.require(2 * memory.GB, "this attack", used=memory.GB // 2).startswith("this attack takes about 2.0 GB of")
    monkeypatch.setattr(memory, "available", lambda: None)
    assert memory.require(10**15, "this attack")


def test_what_is_to_be_had_is_the_least_of_machine_container_and_process(monkeypatch, tmp_path):
    assert memory.resident() > 10**7 and memory.available() > 10**7
    monkeypatch.setattr(memory, "free_of_container", lambda: 12345)
    assert memory.available() == 12345
    for names, left in ((("memory.max", "memory.current"), 700), (("memory.limit_in_bytes", "memory.usage_in_bytes"), 500)):
        for name, size in zip(names, (1000, 1000 - left)):
            (tmp_path / name).write_text(f"{size}\n")
        assert memory.left_in(tmp_path) == left
        for name in names:
            (tmp_path / name).unlink()
    for name, size in (("memory.max", 1000), ("memory.current", 900)):
        (tmp_path / name).write_text(f"{size}\n")
    (tmp_path / "memory.stat").write_text("anon 600\ninactive_file 200\nactive_file 100\n")
    assert memory.left_in(tmp_path) == 400
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.left_in(tmp_path) is None


def test_the_limit_of_the_process_counts(root):
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_AS, (10**9, 10**9)); from nosign import memory; "
        "print(memory.free_of_process())"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True)
    assert 5 * 10**8 < int(done.stdout) < 10**9
