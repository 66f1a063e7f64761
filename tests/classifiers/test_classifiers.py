"""The classifiers: parameter counts, preprocessing inside the model, weights from files, saving and loading."""

import shutil
import socket
import time
import zipfile

import h5py
import numpy as np
import pytest
from tiny import LinearSoftmax, tiny_backbone

from nosign.backend import to_numpy
from nosign.classifiers import build
from nosign.classifiers.catalogue import BACKBONES
from nosign.errors import UserError
from nosign.files import sha256_of_file, sha256_of_model
from nosign.paper import PAPER_MODELS

# The paper's Table I for DenseNet201; VGG16's with the 4 x 512 numbers of the head's batch normalisation, which its count
# leaves out; InceptionV3's with the two digits that look swapped put right.
PARAMETERS = {"VGG16": 14_747_715 + 2_048, "InceptionV3": 21_942_307, "DenseNet201": 18_452_803}


def films_in_unit_range(films, size, seed=0):
    return np.random.default_rng(seed).random((films, size, size, 3), dtype=np.float32)


@pytest.fixture
def transparent(monkeypatch):
    """Let a backbone hand its input through, so that its input can be seen at its output."""
    import keras

    def identity(name, size, weights):
        films = keras.Input((size, size, 3))
        return keras.Model(films, keras.layers.Activation("linear")(films), name=name)

    monkeypatch.setattr(build, "load_backbone", identity)


@pytest.fixture(scope="module")
def vgg():
    """A VGG16 classifier from scratch at its smallest film size."""
    return build.build("VGG16", 32)


@pytest.fixture(scope="module")
def weight_folder(tmp_path_factory):
    """A folder with VGG16's weights in the file format that Keras distributes, and these weights."""
    import keras
    from keras.src.legacy.saving import legacy_h5_format

    folder = tmp_path_factory.mktemp("weights")
    keras.utils.set_random_seed(7)
    model = keras.applications.VGG16(include_top=False, weights=None, input_shape=(32, 32, 3))
    with h5py.File(folder / BACKBONES["VGG16"].weights, "w") as file:
        legacy_h5_format.save_weights_to_hdf5_group(file, model)
    return folder, model.get_weights()


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A tiny classifier and its file."""
    model = LinearSoftmax((8, 8, 3)).classifier()
    path = tmp_path_factory.mktemp("saved") / "VGG16.keras"
    build.save(model, path)
    return model, path


@pytest.mark.parametrize("name", BACKBONES)
def test_parameter_counts_are_the_papers(name):
    model = build.build(name, 224)
    assert model.count_params() == PARAMETERS[name]
    assert model.input_shape == (None, 224, 224, 3) and model.output_shape == (None, 3)


def test_the_published_table_holds_the_papers_numbers():
    assert {name: (backbone.top1, backbone.top5, *PAPER_MODELS[name]) for name, backbone in BACKBONES.items()} == {
        "VGG16": (71.3, 90.1, 14_747_715, 830),
        "InceptionV3": (77.9, 93.7, 21_934_307, 811),
        "DenseNet201": (77.3, 93.6, 18_452_803, 871),
    }
    # 92.22, 90.11 and 96.78 % of 900 films.
    assert [round(correct / 9, 2) for _, correct in PAPER_MODELS.values()] == [92.22, 90.11, 96.78]


@pytest.mark.parametrize("name", BACKBONES)
def test_imagenet_preprocessing_inside_the_model_is_the_backbones_own(transparent, tmp_path, name):
    import keras

    module = {
        "VGG16": keras.applications.vgg16,
        "InceptionV3": keras.applications.inception_v3,
        "DenseNet201": keras.applications.densenet,
    }[name]
    films = films_in_unit_range(2, 80)
    expected = module.preprocess_input(films.astype(np.float64) * 255)
    build.save(build.build(name, 80, preprocessing="imagenet"), tmp_path / "model.keras")
    model = build.load(tmp_path / "model.keras")
    found = keras.Model(model.inputs, model.get_layer("average_pooling").input).predict_on_batch(films)
    np.testing.assert_allclose(found, expected, atol=2e-5 * np.abs(expected).max())


@pytest.mark.parametrize("preprocessing, expected", [("paper", (0, 0.5, 1)), ("standardise", (-2, 0, 2))])
def test_other_preprocessings_are_plain_or_centred(transparent, preprocessing, expected):
    import keras

    model = build.build("VGG16", 32, preprocessing=preprocessing)
    seen = keras.Model(model.inputs, model.get_layer("average_pooling").input)
    for value, wanted in zip((0, 0.5, 1), expected):
        np.testing.assert_allclose(seen.predict_on_batch(np.full((1, 32, 32, 3), value, np.float32)), wanted, atol=1e-6)


@pytest.mark.filterwarnings("error:The structure of")
def test_logits_and_softmax_are_the_probabilities(vgg):
    films = films_in_unit_range(5, 32)
    logits = np.float64(to_numpy(build.logits_of(vgg)(films)))
    expected = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    assert np.ptp(logits) > 1e-3
    np.testing.assert_allclose(to_numpy(vgg(films)), expected, atol=1e-6)


def test_logits_share_the_classifiers_weights():
    model = LinearSoftmax((8, 8, 3)).classifier()
    logits = build.logits_of(model)
    model.get_layer("logits").set_weights([np.zeros((192, 3)), np.float32([1, 2, 3])])
    np.testing.assert_array_equal(to_numpy(logits(films_in_unit_range(2, 8))), [[1, 2, 3]] * 2)


def test_the_seed_decides_the_initial_weights(vgg):
    again, other = build.build("VGG16", 32), build.build("VGG16", 32, seed=1)
    equal = [np.array_equal(a, b) for a, b in zip(vgg.get_weights(), again.get_weights())]
    assert all(equal)
    # Biases and batch normalisation start at constants; the 13 convolutions and 2 dense layers do not.
    assert sum(not np.array_equal(a, b) for a, b in zip(vgg.get_weights(), other.get_weights())) == 15


def test_from_scratch_convolutions_start_as_he_et_al(vgg):
    import keras

    kernels = [layer.get_weights()[0] for layer in vgg.get_layer("VGG16").layers if isinstance(layer, keras.layers.Conv2D)]
    assert len(kernels) == 13
    for kernel in kernels:
        assert kernel.std() == pytest.approx(np.sqrt(2 / np.prod(kernel.shape[:3])), rel=0.1)
    assert vgg.get_layer("head_batch_norm").momentum ** 30 < 0.01  # of the first average is left after 30 steps


@pytest.mark.parametrize("name", BACKBONES)
def test_films_too_small_for_the_backbone_are_refused(name):
    smallest = {"VGG16": 32, "InceptionV3": 75, "DenseNet201": 32}[name]
    with pytest.raises(UserError, match=f"at least {smallest} px, these have {smallest - 1} px"):
        build.build(name, smallest - 1)


def test_weights_from_a_folder_fill_the_backbone_and_leave_the_head(weight_folder):
    folder, expected = weight_folder
    model = build.build("VGG16", 32, weights=str(folder))
    for found, wanted in zip(model.get_layer("VGG16").get_weights(), expected, strict=True):
        np.testing.assert_array_equal(found, wanted)
    assert model.get_layer("hidden").get_weights()[0].std() > 0


def test_a_folder_without_the_backbones_file_is_refused(weight_folder, tmp_path):
    for name, folder in (("InceptionV3", weight_folder[0]), ("VGG16", tmp_path), ("VGG16", tmp_path / "nowhere")):
        with pytest.raises(UserError, match="not found.*imagenet, none, or a folder") as caught:
            build.load_backbone(name, 80, str(folder))
        assert str(folder / BACKBONES[name].weights) in str(caught.value)


def spoil(kind, folder, good):
    """Write a file that is no weights file of VGG16 under the name of one."""
    path = folder / BACKBONES["VGG16"].weights
    if kind == "text":
        path.write_text("<html>404</html>")
    elif kind == "empty":
        path.touch()
    elif kind == "cut off":
        path.write_bytes(good.read_bytes()[:1_000_000])
    elif kind == "another backbone's":
        from keras.src.legacy.saving import legacy_h5_format

        with h5py.File(path, "w") as file:
            legacy_h5_format.save_weights_to_hdf5_group(file, tiny_backbone("InceptionV3", 32, "none"))
    elif kind == "other HDF5":
        with h5py.File(path, "w") as file:
            file["x"] = np.zeros(3)
    else:
        shutil.copy(good, path)
        with h5py.File(path, "r+") as file:
            group = file["block1_conv1"]
            name = group.attrs["weight_names"][0]
            del group[name]
            if kind == "other shapes":
                group[name] = np.zeros((3, 3, 1, 64), np.float32)


@pytest.mark.parametrize(
    "kind", ["text", "empty", "cut off", "another backbone's", "other HDF5", "other shapes", "a missing weight"]
)
def test_a_wrong_weights_file_is_refused_with_one_line(weight_folder, tmp_path, kind):
    spoil(kind, tmp_path, weight_folder[0] / BACKBONES["VGG16"].weights)
    with pytest.raises(UserError, match="does not fit VGG16 without its top") as caught:
        build.load_backbone("VGG16", 32, str(tmp_path))
    assert "download it again" in str(caught.value)


def test_imagenet_weights_without_a_network_name_the_alternatives(monkeypatch, tmp_path):
    def no_network(*address, **options):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", no_network)
    monkeypatch.setattr("keras.src.utils.file_utils.config.keras_home", lambda: str(tmp_path))
    with pytest.raises(UserError, match="could not be downloaded") as caught:
        build.build("VGG16", 32, weights="imagenet")
    for alternative in ("--weights FOLDER", "--weights none", BACKBONES["VGG16"].weights):
        assert alternative in str(caught.value)


def test_a_saved_classifier_comes_back_with_the_same_outputs(saved):
    model, path = saved
    films = films_in_unit_range(3, 8)
    np.testing.assert_array_equal(to_numpy(build.load(path, 8)(films)), to_numpy(model(films)))


def test_two_saves_of_one_model_have_one_hash_and_another_model_another(saved, tmp_path):
    model, path = saved
    again, other = tmp_path / "again.keras", tmp_path / "other.keras"
    time.sleep(1.1)
    build.save(model, again)
    assert sha256_of_file(path) != sha256_of_file(again)
    assert sha256_of_model(path) == sha256_of_model(again)
    assert build.weights_sha256(model) == build.weights_sha256(build.load(again))
    changed = LinearSoftmax((8, 8, 3), bias=np.float32([0, 0, 1e-6])).classifier()
    build.save(changed, other)
    assert sha256_of_model(other) != sha256_of_model(path)
    assert build.weights_sha256(changed) != build.weights_sha256(model)


def test_a_model_of_another_film_size_is_refused(saved):
    with pytest.raises(UserError, match="films of 8 px, these have 16 px"):
        build.load(saved[1], 16)


def test_a_model_of_other_classes_is_refused(tmp_path):
    import keras

    films = keras.Input((8, 8, 3))
    keras.Model(films, keras.layers.Dense(2, name="logits")(keras.layers.Flatten()(films))).save(tmp_path / "two.keras")
    with pytest.raises(UserError, match="3 classes"):
        build.load(tmp_path / "two.keras", 8)


@pytest.mark.parametrize("kind", ["missing", "text", "cut off", "another zip"])
def test_what_is_no_model_file_is_refused(saved, tmp_path, kind):
    path = tmp_path / "model.keras"
    if kind == "text":
        path.write_text("not a model")
    elif kind == "cut off":
        path.write_bytes(saved[1].read_bytes()[:500])
    elif kind == "another zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("readme", "hello")
    for read in (build.load, sha256_of_model):
        with pytest.raises(UserError, match="no such model file" if kind == "missing" else "train (it again|the model) with"):
            read(path)
