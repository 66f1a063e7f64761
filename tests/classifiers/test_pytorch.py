"""`attack` and `turning_strength` on PyTorch modules; run by `make test-torch`, where Keras runs on PyTorch."""

import copy
import gc
import io
import json
import os
import subprocess
import sys
import warnings
import weakref

import numpy as np
import pytest
from scipy.special import softmax
from tiny import LinearSoftmax, reference_attack

from nosign import attack, turning_strength
from nosign.attacks.catalogue import ATTACKS
from nosign.errors import AttackWarning, UserError

torch = pytest.importorskip("torch", reason="needs PyTorch: make test-torch")
if os.environ.get("KERAS_BACKEND") != "torch":
    pytest.skip("needs Keras on PyTorch: make test-torch", allow_module_level=True)
nn = torch.nn

SHAPE = (2, 6, 5)


def linear_module(model, *last):
    """Return a `LinearSoftmax` as a module from images to logits, or to what further layers make of them."""
    dense = nn.Linear(*model.kernel.shape)
    with torch.no_grad():
        dense.weight.copy_(torch.tensor(model.kernel.T))
        dense.bias.copy_(torch.tensor(model.bias))
    return nn.Sequential(nn.Flatten(), dense, *last)


@pytest.fixture
def linear():
    """A linear softmax, nine images and the labels it gives them."""
    model = LinearSoftmax(SHAPE, seed=31)
    images = np.random.default_rng(32).uniform(0.2, 0.8, (9, *SHAPE)).astype(np.float32)
    return model, images, model.logits(images).argmax(-1)


def expected_of(model, images, labels, name, strength, **settings):
    """Return what the slow reference makes of images."""
    settings = {"protocol": "paper", "steps": 3, "noise": 0, **settings}
    return np.stack([reference_attack(model, name, image, label, strength, **settings) for image, label in zip(images, labels)])


class Convolutions(nn.Module):
    """Convolution, batch normalisation and dropout, then a linear head."""

    def __init__(self, classes=3, flatten=lambda x: x.flatten(1)):
        super().__init__()
        torch.manual_seed(3)
        self.features = nn.Sequential(
            nn.Conv2d(2, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.Conv2d(8, 8, 3),
            nn.BatchNorm2d(8),
            nn.GELU(),
            nn.Dropout2d(0.5),
        )
        self.head, self.flatten = nn.Linear(8 * 4 * 3, classes), flatten
        for part in self.features:
            if isinstance(part, nn.BatchNorm2d):
                part.running_mean.normal_()
                part.running_var.uniform_(0.5, 2)

    def forward(self, images):
        return self.head(self.flatten(self.features(images)))


class Returning(nn.Module):
    """A linear softmax's logits, returned in any form."""

    def __init__(self, model, form):
        super().__init__()
        self.inner, self.form = linear_module(model), form

    def forward(self, images):
        return self.form(self.inner(images))


def fgsm_in_torch(module, images, labels, strength):
    """Return what fast gradient sign in five lines of PyTorch makes of images, NumPy."""
    module = copy.deepcopy(module).eval()
    images = torch.tensor(images, requires_grad=True)
    nn.functional.cross_entropy(module(images), torch.tensor(labels)).backward()
    return (images + strength * images.grad.sign()).clamp(0, 1).detach().numpy()


@pytest.mark.parametrize("name", [name for name, row in ATTACKS.items() if not (row.follows_field or row.adaptive)])
@pytest.mark.parametrize("batch", [1, 4, 64])
def test_every_attack_equals_the_slow_reference_in_any_batch(linear, name, batch):
    model, images, labels = linear
    found = attack(linear_module(model), images, labels, name, 0.02, steps=3, seed=5, batch=batch)
    noise = [np.random.default_rng([5, row]).random(SHAPE, dtype=np.float32) * 2.0 - 1.0 for row in range(len(images))]
    expected = [
        reference_attack(model, name, image, label, 0.02, protocol="paper", steps=3, noise=start)
        for image, label, start in zip(images, labels, noise)
    ]
    assert isinstance(found, np.ndarray) and found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_tensors_give_a_detached_float32_tensor_on_their_device(linear, dtype):
    model, images, labels = linear
    given = torch.tensor(images, dtype=dtype, requires_grad=True)
    before = given.detach().clone()
    found = attack(linear_module(model), given, torch.tensor(labels), "fgnm", torch.full((9,), 0.02))
    assert found.dtype == torch.float32 and found.device == given.device and not found.requires_grad and given.grad is None
    assert torch.equal(given.detach(), before)
    np.testing.assert_allclose(found, expected_of(model, before.float().numpy(), labels, "fgnm", 0.02), atol=1e-5)


def test_turning_strengths_are_where_the_linear_model_turns(linear):
    model, images, labels = linear
    found = turning_strength(linear_module(model), torch.tensor(images), torch.tensor(labels), "fgsm")
    for image, label, strength, status in zip(images, labels, found.strength, found.status):
        assert status == "turned"
        at, below = (expected_of(model, image[None], [label], "fgsm", strength * factor) for factor in (1.002, 0.99))
        assert model.logits(at).argmax() != label == model.logits(below).argmax()


def test_a_convolutional_network_is_attacked_as_pytorch_itself_would(linear):
    _, images, labels = linear
    module = Convolutions().train()
    found = attack(module, images, labels, "fgsm", 0.02)
    assert (abs(found - fgsm_in_torch(module, images, labels, 0.02)) > 1e-6).mean() < 1e-3


def test_fgsm_and_bim_equal_torchattacks(linear):
    torchattacks = pytest.importorskip("torchattacks")
    _, images, labels = linear
    module = Convolutions().eval()
    for name, rival, settings in (
        ("fgsm", torchattacks.FGSM(module, eps=0.02), {}),
        ("bim", torchattacks.BIM(module, eps=0.02, alpha=0.005, steps=4), {"steps": 4}),
    ):
        found = attack(module, images, labels, name, 0.02, protocol="budget", **settings)
        expected = rival(torch.tensor(images), torch.tensor(labels)).numpy()
        assert (abs(found - expected) > 1e-6).mean() < 1e-3


def test_the_module_is_left_as_it_was_also_by_a_call_that_raises(linear):
    _, images, labels = linear
    module = Convolutions().train()
    module.features[1].eval()
    module.head.weight.requires_grad_(False)
    module.head.bias.grad = torch.full((3,), 7.0)

    def state():
        return (
            [part.training for part in module.modules()],
            [p.requires_grad for p in module.parameters()],
            [p.grad is not None for p in module.parameters()],
            module.head.bias.grad.tolist(),
            {name: value.tolist() for name, value in module.state_dict().items()},
            torch.get_rng_state().tolist(),
            sorted(vars(module)),
        )

    before = state()
    attack(module, images, labels, "pgd", 0.02, steps=2)
    turning_strength(module, images, labels)
    with pytest.raises(UserError, match="Convolutions"):
        attack(module, images.transpose(0, 2, 3, 1), labels)
    assert state() == before


def test_grey_and_shuffled_take_the_second_axis_for_channels(linear):
    _, images, labels = linear
    grey = np.repeat(images[:, :1], 2, axis=1)
    change = attack(Convolutions(), grey, labels, "fgnm", 0.01, grey=True) - grey
    assert np.ptp(change, axis=1).max() < 1e-6 < np.abs(change).max()
    middle = np.full_like(images, 0.5)
    change = attack(Convolutions(), middle, labels, "fgnm", 0.01) - middle
    control = attack(Convolutions(), middle, labels, "shuffled", 0.01) - middle
    pixels = [np.sort_complex(field[:, 0].reshape(9, -1) + 1j * field[:, 1].reshape(9, -1)) for field in (change, control)]
    np.testing.assert_allclose(*pixels, atol=1e-6)
    last = attack(Convolutions(), middle, labels, "shuffled", 0.01, channels=-1) - middle
    assert abs(last - control).max() > 1e-3


@pytest.mark.parametrize(
    "last, logits",
    [
        ((nn.Softmax(dim=1),), False),
        ((nn.Softmax(dim=1),), None),
        ((nn.LogSoftmax(dim=1),), None),
        ((nn.Sequential(nn.Softmax(-1)),), False),
    ],
)
def test_a_last_softmax_is_taken_off_and_saturated_images_move(linear, last, logits):
    model, images, labels = linear
    sure = LinearSoftmax(SHAPE, kernel=300 * model.kernel, bias=300 * model.bias)
    found = attack(linear_module(sure, *last), images, labels, "fgnm", 0.02, logits=logits)
    wanted = []
    for image, label, logits in zip(np.float64(images), labels, sure.logits(images)):
        # d m / d pixel, m being the log-odds against the label: softmax over the other classes, minus the label.
        logits[label] = -np.inf
        gradient = (sure.kernel @ (softmax(logits) - np.eye(3)[label])).reshape(SHAPE)
        wanted.append(image + 0.02 * np.sqrt(image.size) * gradient / np.linalg.norm(gradient))
    np.testing.assert_allclose(found, np.clip(wanted, 0, 1), atol=1e-4)


def test_probabilities_of_an_unseen_softmax_are_refused_until_they_are_named(linear):
    model, images, labels = linear
    module = Returning(model, lambda logits: logits.softmax(1))
    for logits in (None, True):
        with pytest.raises(UserError, match="Returning.*logits=False"):
            attack(module, images, labels, logits=logits)
    with pytest.warns(AttackWarning, match="Returning.*logarithm of its probabilities"):
        found = attack(module, images, labels, "fgnm", 0.02, logits=False)
    np.testing.assert_allclose(found, expected_of(model, images, labels, "fgnm", 0.02), atol=1e-4)
    with pytest.raises(UserError, match="no probabilities"):
        attack(linear_module(model), images, labels, logits=False)


@pytest.mark.parametrize("last, logits", [((), None), ((), True), ((nn.Sigmoid(),), False), ((nn.Sigmoid(),), None)])
def test_one_finding_of_a_multi_label_model_is_attacked(linear, last, logits):
    model, images, _ = linear
    present = (model.logits(images)[:, 1] > 0).astype(int)
    found = attack(linear_module(model, *last), images, present, "fgnm", 0.02, finding=1, logits=logits)
    slope = model.kernel[:, 1].reshape(SHAPE)
    wanted = images + 0.02 * np.sqrt(slope.size) * slope / np.linalg.norm(slope) * np.where(present, -1, 1)[:, None, None, None]
    np.testing.assert_allclose(found, np.clip(wanted, 0, 1), atol=1e-5)


def test_bounds_of_hounsfield_like_images_scale_the_step(linear):
    model, images, labels = linear
    wide = nn.Sequential(nn.Flatten(), linear_module(model)[1])
    with torch.no_grad():
        wide[1].bias += wide[1].weight.sum(1) / 2
        wide[1].weight /= 2048
    found = attack(wide, images * 2048 - 1024, labels, "fgnm", 0.02, bounds=(-1024, 1024))
    np.testing.assert_allclose((found + 1024) / 2048, expected_of(model, images, labels, "fgnm", 0.02), atol=1e-4)


def test_one_output_needs_to_be_told_what_it_is(linear):
    model, images, _ = linear
    single = Returning(model, lambda logits: logits[:, :1])
    probability = Returning(model, lambda logits: logits[:, 0].sigmoid())
    labels = (model.logits(images)[:, 0] > 0).astype(int)
    for module in (single, probability):
        with pytest.raises(UserError, match="Returning.*logits=True"):
            attack(module, images, labels)
    found = attack(single, images, labels, logits=True)
    with pytest.warns(AttackWarning, match="logarithm"):
        np.testing.assert_allclose(attack(probability, images, labels, logits=False), found, atol=1e-5)


def test_sigmoids_in_an_unknown_module_are_not_taken_for_logits(linear):
    model, images, _ = linear
    module = Returning(model, torch.sigmoid)
    with pytest.raises(UserError, match="finding=k.*logits=True"):
        attack(module, images, np.zeros(9, int))
    with pytest.raises(UserError, match="logits=False"):
        attack(module, images, np.zeros(9, int), finding=1)


class Output(dict):
    """A mapping whose entries are attributes too, as HuggingFace's outputs are."""

    __getattr__ = dict.get


@pytest.mark.parametrize(
    "form", [lambda x: Output(loss=x.sum(), logits=x, hidden=(x, x)), lambda x: (x,), lambda x: {"out": x}, lambda x: (x, None)]
)
def test_logits_inside_an_output_are_taken(linear, form):
    model, images, labels = linear
    found = attack(Returning(model, form), images, labels, "fgnm", 0.02)
    np.testing.assert_allclose(found, expected_of(model, images, labels, "fgnm", 0.02), atol=1e-5)


@pytest.mark.parametrize("form", [lambda x: (x, x), lambda x: {"a": x, "b": x}, lambda x: (x, [x]), lambda x: "logits"])
def test_several_outputs_are_refused(linear, form):
    model, images, labels = linear
    with pytest.raises(UserError, match="Returning.*expected one tensor"):
        attack(Returning(model, form), images, labels)


def test_a_module_that_is_random_in_eval_mode_is_named_and_leaves_the_random_state(linear):
    model, images, labels = linear
    module = Returning(model, lambda logits: nn.functional.dropout(logits, 0.5, training=True))
    before = torch.get_rng_state()
    with pytest.warns(AttackWarning, match="Returning.*random model"):
        attack(module, images, labels)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_module_without_a_gradient_leaves_images_and_is_named(linear):
    model, images, labels = linear
    with pytest.warns(AttackWarning, match="9 of 9 images have no gradient"):
        found = attack(Returning(model, torch.detach), images, labels)
    np.testing.assert_array_equal(found, images)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_modules_of_other_types_are_followed_in_float32_also_when_cast_between_calls(linear, dtype):
    model, images, labels = linear
    module = linear_module(model)
    attack(module, images, labels)
    found = attack(module.to(dtype), images, labels, "fgnm", 0.02)
    assert found.dtype == np.float32
    change, wanted = found - images, expected_of(model, images, labels, "fgnm", 0.02) - images
    assert abs(change - wanted).max() < {torch.float16: 1e-3, torch.bfloat16: 8e-3, torch.float64: 1e-6}[dtype]
    np.testing.assert_allclose(
        attack(module.float(), images, labels, "fgnm", 0.02) - images, wanted, atol=1e-2 if dtype == torch.bfloat16 else 1e-3
    )


@pytest.mark.parametrize("flatten", [lambda x: x.view(len(x), -1), lambda x: x.reshape(len(x), -1)])
def test_a_module_that_views_its_features_gives_the_same_as_one_that_reshapes(linear, flatten):
    _, images, labels = linear
    found = attack(Convolutions(flatten=flatten), images, labels, "fgnm", 0.02)
    np.testing.assert_allclose(found, attack(Convolutions(), images, labels, "fgnm", 0.02), atol=1e-6)


def test_a_module_that_reads_memory_as_it_lies_is_not_given_another_layout(linear):
    _, images, labels = linear

    def raw(x):
        return torch.as_strided(x, (len(x), 96), (96, 1))

    found = attack(Convolutions(flatten=raw), images, labels, "fgsm", 0.02)
    assert (abs(found - fgsm_in_torch(Convolutions(), images, labels, 0.02)) > 1e-6).mean() < 1e-3


def test_what_is_replaced_or_trained_between_two_calls_is_attacked_as_it_is(linear):
    model, images, labels = linear
    module = linear_module(model, nn.Softmax(dim=1))
    attack(module, images, labels)
    del module[-1]
    other = LinearSoftmax(SHAPE, seed=33)
    found = attack(module, images, labels, "fgnm", 0.02)
    np.testing.assert_allclose(found, expected_of(model, images, labels, "fgnm", 0.02), atol=1e-5)
    module.load_state_dict(linear_module(other).state_dict())
    found = attack(module, images, labels, "fgnm", 0.02)
    np.testing.assert_allclose(found, expected_of(other, images, labels, "fgnm", 0.02), atol=1e-5)


def test_an_attacked_module_can_be_copied_and_saved_and_is_let_go(linear):
    model, images, labels = linear
    module = linear_module(model)
    found = attack(module, images, labels)
    file = io.BytesIO()
    torch.save(module, file)
    file.seek(0)
    for other in (copy.deepcopy(module), torch.load(file, weights_only=False)):
        np.testing.assert_array_equal(attack(other, images, labels), found)
    assert set(module.state_dict()) == {"1.weight", "1.bias"}
    gone = weakref.ref(module)
    del module
    gc.collect()
    assert gone() is None


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize(
    "wrap",
    [
        torch.jit.script,
        lambda module: torch.jit.trace(module, torch.zeros(2, *SHAPE)),
        lambda module: torch.compile(module, backend="eager"),
        nn.DataParallel,
    ],
    ids=["script", "trace", "compile", "parallel"],
)
def test_compiled_and_wrapped_modules_are_attacked_twice(linear, wrap):
    model, images, labels = linear
    module = wrap(nn.Sequential(*linear_module(model), nn.Dropout(0.5)).eval()).train()
    for _ in range(2):
        np.testing.assert_allclose(
            attack(module, images, labels, "fgnm", 0.02), expected_of(model, images, labels, "fgnm", 0.02), atol=1e-5
        )
    assert module.training


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize(
    "wrap", [torch.jit.script, lambda module: torch.compile(module, backend="eager")], ids=["script", "compile"]
)
def test_an_error_names_the_class_that_is_wrapped(linear, wrap):
    _, images, labels = linear
    with pytest.raises(UserError, match="^Linear: fails on images of shape"):
        attack(wrap(nn.Linear(7, 3)), images, labels)


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_an_attack_inside_no_grad_or_inference_mode_has_gradients(linear, context):
    model, images, labels = linear
    module = linear_module(model)
    with context():
        found = attack(module, torch.tensor(images), labels, "fgnm", 0.02)
    np.testing.assert_allclose(found, expected_of(model, images, labels, "fgnm", 0.02), atol=1e-5)
    assert torch.is_grad_enabled()


def test_a_module_without_parameters_is_attacked(linear):
    _, images, labels = linear
    module = nn.Sequential(nn.AvgPool2d((6, 5)), nn.Flatten())
    with warnings.catch_warnings():
        warnings.simplefilter("error", AttackWarning)
        found = attack(module, images, labels % 2, "fgsm", 0.02, logits=True)
    away = np.where(np.arange(2) == labels[:, None] % 2, -0.02, 0.02)[..., None, None]
    np.testing.assert_allclose(found, images + away, atol=1e-6)


def in_a_new_process(root, code, **environment):
    """Run Python code in the checkout without KERAS_BACKEND, but with what is given; return what it printed."""
    inherited = {name: value for name, value in os.environ.items() if name != "KERAS_BACKEND"}
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=root,
        env={**inherited, "PYTHONPATH": str(root), **environment},
        capture_output=True,
        text=True,
        check=True,
    ).stdout


ATTACKED = """
import sys, torch
from nosign import attack
assert "keras" not in sys.modules
torch.manual_seed(0)
module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 3))
{before}
try:
    print(type(attack(module, torch.rand(2, 3, 2, 2), [0, 1])).__name__)
    import keras
    print(keras.backend.backend(), "tensorflow" in sys.modules)
except Exception as error:
    print(type(error).__name__, error)
"""


@pytest.mark.parametrize("environment", [{}, {"KERAS_BACKEND": "tensorflow"}])
def test_keras_is_put_on_pytorch_whatever_else_is_configured_and_tensorflow_is_not_loaded(root, tmp_path, environment):
    (tmp_path / "keras.json").write_text(json.dumps({"backend": "tensorflow"}))
    told = in_a_new_process(root, ATTACKED.format(before=""), KERAS_HOME=str(tmp_path), **environment)
    assert told.split() == ["Tensor", "torch", "False"]


def test_keras_on_another_backend_is_named_in_one_line(root):
    before = "import os; os.environ['KERAS_BACKEND'] = 'torch'; import keras; keras.backend.backend = lambda: 'tensorflow'"
    told = in_a_new_process(root, ATTACKED.format(before=before))
    assert told.count("\n") == 1 and "UserError Sequential" in told and "KERAS_BACKEND=torch before Keras is imported" in told
