"""Model files that hold anything but a classifier are refused before Keras sees them."""

import io
import json
import resource
import zipfile

import h5py
import numpy as np
import pytest
from tiny import LinearSoftmax

from nosign.classifiers import build
from nosign.classifiers.archive import CONFIG, METADATA, WEIGHTS, check_archive
from nosign.errors import UserError

SIZE = 12


@pytest.fixture(scope="module")
def members(tmp_path_factory):
    """The files in the archive of a linear classifier, dict from name to bytes."""
    path = tmp_path_factory.mktemp("model") / "VGG16.keras"
    build.save(LinearSoftmax((SIZE, SIZE, 3)).classifier(), path)
    check_archive(path)
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write(path, members, compression=zipfile.ZIP_STORED):
    """Write an archive of (name, bytes) or dict from name to bytes; return its path."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items() if isinstance(members, dict) else members:
            archive.writestr(name, content)
    return path


def refusal(path):
    """Return the words with which a file is refused, by the check and by loading."""
    with pytest.raises(UserError) as checked:
        check_archive(path)
    with pytest.raises(UserError) as loaded:
        build.load(path)
    assert str(checked.value) == str(loaded.value) and str(path) in str(loaded.value) and "\n" not in str(loaded.value)
    return str(checked.value)


def with_config(members, change):
    """Return the members with a configuration that `change` has changed."""
    config = json.loads(members[CONFIG])
    change(config)
    return {**members, CONFIG: json.dumps(config)}


def with_weights(members, change):
    """Return the members with weights that `change` has changed, an h5py.File."""
    content = io.BytesIO(members[WEIGHTS])
    with h5py.File(content, "r+") as weights:
        change(weights)
    return {**members, WEIGHTS: content.getvalue()}


def to_code(config):
    """Put a layer of Python code into a model's configuration."""
    config["config"]["layers"][1] = {"module": "keras.layers", "class_name": "Lambda", "config": {"function": "4wAAAA=="}}


def to_a_function(config):
    """Have a layer's argument be any function of any module."""
    layer = config["config"]["layers"][1]
    layer["config"]["activation"] = {
        "module": "os",
        "class_name": "function",
        "config": "system",
        "registered_name": "function",
    }


def to_a_compiled_model_inside(config):
    config["config"]["layers"][1]["compile_config"] = {"metrics": [{"class_name": "Lambda", "config": {}}]}


def to_another_module(config):
    config["config"]["layers"][1]["module"] = "subprocess"


def to_a_registered_class(config):
    config["config"]["layers"][1]["registered_name"] = "package>Dense"


@pytest.mark.parametrize(
    "change, words",
    [
        (to_code, "names 'Lambda', which is not among the known layers"),
        (to_a_function, "names 'function', which is not among"),
        (to_another_module, "takes 'Flatten' from 'subprocess'"),
        (to_a_compiled_model_inside, "a compiled model inside"),
        (to_a_registered_class, "asks for 'package>Dense', which a program has registered"),
    ],
)
def test_code_and_unknown_classes_are_refused(members, tmp_path, change, words):
    assert words in refusal(write(tmp_path / "model.keras", with_config(members, change)))


def test_what_a_model_was_compiled_for_is_not_looked_at_as_it_is_not_loaded(members, tmp_path):
    def compiled(config):
        config["compile_config"] = {"loss": {"module": "mine", "class_name": "MyLoss", "registered_name": "mine>MyLoss"}}

    assert build.load(write(tmp_path / "model.keras", with_config(members, compiled)), SIZE).output_shape[-1] == 3


@pytest.mark.parametrize("name", ["../../evil.py", "/etc/evil", "assets/vocabulary.txt", "model.pkl", "..\\evil"])
def test_other_files_and_paths_out_of_the_archive_are_refused(members, tmp_path, name):
    words = refusal(write(tmp_path / "model.keras", {**members, name: b"evil"}))
    assert f"the archive holds {name!r}" in words.replace("\\\\\\\\", "\\\\")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_member_that_stands_twice_is_refused(members, tmp_path):
    path = write(tmp_path / "model.keras", [*members.items(), (CONFIG, b"{}")])
    assert f"the archive holds '{CONFIG}' twice" in refusal(path)


@pytest.mark.parametrize("name", [METADATA, CONFIG, WEIGHTS])
def test_a_bomb_of_zeros_is_refused_without_unpacking_it(members, tmp_path, name):
    path = write(tmp_path / "model.keras", {**members, name: bytes(50_000_000)}, zipfile.ZIP_DEFLATED)
    assert f"its {name} unpacks from" in refusal(path)


def linked(weights):
    weights["evil"] = h5py.ExternalLink("/etc/passwd", "/")


def softly_linked(weights):
    weights["evil"] = h5py.SoftLink("/layers")


def elsewhere(weights):
    weights.create_dataset("evil", (4,), np.uint8, external=[("/etc/passwd", 0, 4)])


def virtual(weights):
    layout = h5py.VirtualLayout((4,), np.uint8)
    layout[:] = h5py.VirtualSource("/etc/passwd", "any", (4,))
    weights.create_virtual_dataset("evil", layout)


def large(weights):
    weights.create_dataset("evil", (1 << 40,), np.float32, chunks=(1024,))


def circular(weights):
    weights["layers/evil"] = weights["/"]


@pytest.mark.parametrize(
    "change, words",
    [
        (linked, "a link"),
        (softly_linked, "a link"),
        (elsewhere, "take /evil from another file"),
        (virtual, "take /evil from another file"),
        (large, "its weights claim"),
        (circular, "twice"),
    ],
)
def test_weights_that_point_elsewhere_or_claim_too_much_are_refused(members, tmp_path, change, words):
    assert words in refusal(write(tmp_path / "model.keras", with_weights(members, change)))


@pytest.mark.parametrize("units", [10, 10**6, 10**12])
def test_layers_that_ask_for_more_than_the_file_holds_are_refused_before_memory_is_taken(members, tmp_path, units):
    def larger(config):
        layer = next(one for one in config["config"]["layers"] if one["class_name"] == "Dense")
        layer["config"]["units"] = units
        del layer["build_config"]

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UserError, match=f"its layers ask for {(SIZE * SIZE * 3 + 1) * units:,} weights and it holds 1,299"):
        build.load(write(tmp_path / "model.keras", with_config(members, larger)))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000


def test_model_that_the_system_does_not_give_is_not_called_damaged(members, tmp_path, monkeypatch):
    def fails(*_, **__):
        raise PermissionError(13, "Permission denied", "model.keras")

    monkeypatch.setattr(zipfile, "ZipFile", fails)
    (tmp_path / "model.keras").touch()
    with pytest.raises(PermissionError):
        check_archive(tmp_path / "model.keras")


@pytest.mark.parametrize("cut", [0, 10, 0.5, -1])
def test_truncated_files_are_one_line(members, tmp_path, cut):
    path = write(tmp_path / "model.keras", members)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(cut * len(whole)) if 0 < cut < 1 else cut])
    assert "not a Keras model file (.keras)" in refusal(path)


@pytest.mark.parametrize("name", [CONFIG, WEIGHTS])
@pytest.mark.parametrize("content", [b"", b"{", b"[" * 100_000, b"\xff\xfe"])
def test_damaged_members_are_one_line(members, tmp_path, name, content):
    assert "not a Keras model file (.keras)" in refusal(write(tmp_path / "model.keras", {**members, name: content}))
