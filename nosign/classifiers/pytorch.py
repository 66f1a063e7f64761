"""PyTorch: the attacks follow a `torch.nn.Module`, with Keras on its torch backend doing the arithmetic."""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import sys
import weakref
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar, cast

import numpy as np

from nosign.classifiers.kinds import LINEAR, SIGMOID, SOFTMAX, UNKNOWN
from nosign.errors import UserError

# The `Followed` of each module. It is kept here rather than in the module, so that the module is saved, copied and freed as if
# it had never been attacked.
FOLLOWED = weakref.WeakKeyDictionary()
CHANNELS = 1
# Largest difference, relative to the largest output, at which the outputs in the two memory layouts count as the same.
SAME = 1e-4
Function = TypeVar("Function", bound=Callable[..., Any])


def takes_modules(function: Function) -> Function:
    """Let a function of a Keras model, images and labels take a `torch.nn.Module` and tensors too.

    For a module, `channels` is 1 unless it is given. If the images are a tensor and the result is an array, the result becomes
    a float32 tensor on the images' device.
    """

    @functools.wraps(function)
    def call(model: Any, images: Any, labels: Any, *words: Any, **settings: Any) -> Any:
        if not is_module(model):
            return function(model, images, labels, *words, **settings)
        import torch

        use_keras_on_torch(model)
        if settings.get("channels") is None:
            settings["channels"] = CHANNELS
        with left_as_it_was(model, images):
            found = function(
                followed(model),
                in_numpy(images),
                in_numpy(labels),
                *map(in_numpy, words),
                **{name: in_numpy(value) for name, value in settings.items()},
            )
        tensor = isinstance(images, torch.Tensor) and isinstance(found, np.ndarray)
        return torch.from_numpy(found).to(images.device) if tensor else found

    return cast(Function, call)


def is_module(model: Any) -> bool:
    """Tell whether a model is a PyTorch module but not a Keras layer; on the torch backend, Keras layers are modules too."""
    torch, keras = sys.modules.get("torch"), sys.modules.get("keras")
    return torch is not None and isinstance(model, torch.nn.Module) and not (keras and isinstance(model, keras.Layer))


def name_of(module: Any) -> str:
    """Return the name of a module's class; if TorchScript or `torch.compile` wraps the module, that of the original's class."""
    module = getattr(module, "_orig_mod", module)
    return getattr(module, "original_name", None) or type(module).__name__


def use_keras_on_torch(module: Any) -> None:
    """Import Keras on its torch backend, whatever keras.json says, or raise `UserError`."""
    if "keras" not in sys.modules:
        os.environ["KERAS_BACKEND"] = "torch"
    import keras

    if keras.backend.backend() != "torch":
        raise UserError(
            f"{name_of(module)}: a PyTorch module needs Keras on PyTorch, and Keras was imported on "
            f"{keras.backend.backend()}: set KERAS_BACKEND=torch before Keras is imported, or start a new process"
        )


def in_numpy(value: Any) -> Any:
    """Return a tensor as a NumPy array, float32 if its type is floating-point; return anything else as it is."""
    import torch

    if not isinstance(value, torch.Tensor):
        return value
    value = value.detach().cpu()
    return (value.float() if value.is_floating_point() else value).numpy()


@contextlib.contextmanager
def left_as_it_was(module: Any, images: Any) -> Iterator[None]:
    """Run a module in eval mode and on its own device; afterwards restore its modes and PyTorch's random state."""
    import keras
    import torch

    tensors = itertools.chain(module.parameters(), module.buffers(), [images] if isinstance(images, torch.Tensor) else [])
    device = next((tensor.device for tensor in tensors), torch.device("cpu"))
    # The flags are set one by one: a module's own `eval` and `train` may do more, such as merging weights.
    training = [part for part in module.modules() if getattr(part, "training", False)]
    with (
        keras.device(str(device)),
        torch.inference_mode(False),
        torch.no_grad(),
        torch.random.fork_rng([device.index] if device.type == "cuda" else []),
    ):
        try:
            for part in training:
                part.training = False
            yield
        finally:
            for part in training:
                part.training = True


def followed(module: Any) -> Followed:
    """Return the `Followed` of a module: that of the last call, unless a part of the module has been replaced since."""
    try:
        known = FOLLOWED.get(module)
    except TypeError:  # a module that compares by value has no hash
        return Followed(module)
    if known is None or not known.has_parts(module):
        known = FOLLOWED[module] = Followed(module)
    return known


class Followed:
    """A module in the form that the package needs: a function of a batch of images, a tensor on the module's device.

    Attributes:
        name: the name of the module's class, for messages.
        module: weak reference to the module.
        channels_last: whether films are laid out with channels last in memory, with which PyTorch is faster on a CPU; None
            until a call has tried it.
    """

    def __init__(self, module: Any) -> None:
        """Follow a module."""
        self.name = name_of(module)
        self.module: Callable[[], Any] = weakref.ref(module)
        self.channels_last: bool | None = None
        self.parts = [weakref.ref(part) for part in module.modules()]

    def has_parts(self, module: Any) -> bool:
        """Tell whether a module still has the parts for which this `Followed` was made."""
        return [part() for part in self.parts] == list(module.modules())

    def __call__(self, images: Any) -> Any:
        """Return the module's output, a tensor [n, outputs] of its own type."""
        return self.run(self.module(), images)

    def before_activation(self, images: Any) -> Any:
        """Return the input of a sequential module's last layer."""
        return self.run(
            lambda images: functools.reduce(lambda x, layer: layer(x), layers_of(self.module())[:-1], images), images
        )

    def run(self, function: Callable[[Any], Any], images: Any) -> Any:
        """Return a function's only output for float32 images, which are first cast to the module's type.

        Raises:
            UserError: the module raises an error, or gives anything but one tensor.
        """
        import torch

        module = self.module()
        images = images.to(dtype_of(module))
        try:
            if self.channels_last is None:
                self.channels_last = lays_out(module) and self.allows_channels_last(function, images)
            if self.channels_last and lies_on_cpu(images):
                images = images.to(memory_format=torch.channels_last)
            output = function(images)
        except torch.OutOfMemoryError:
            raise
        except (RuntimeError, TypeError, ValueError, IndexError) as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise UserError(
                f"{self.name}: fails on images of shape {tuple(images.shape)} ({reason}); images come in the module's "
                "own layout, mostly [n, channels, height, width], and the module takes them alone"
            ) from error
        return self.only_tensor(output)

    def allows_channels_last(self, function: Callable[[Any], Any], images: Any) -> bool | None:
        """Tell whether the outputs are the same with channels last in memory; None where the layout does not matter.

        A module that calls `view`, for example, may refuse that layout.
        """
        import torch

        if not lies_on_cpu(images):
            return None
        try:
            found = self.only_tensor(function(images.to(memory_format=torch.channels_last)))[:1]
        except RuntimeError:
            return False
        expected = self.only_tensor(function(images[:1].contiguous()))
        return bool(torch.allclose(found, expected, rtol=SAME, atol=SAME * float(expected.abs().max()), equal_nan=True))

    def only_tensor(self, output: Any) -> Any:
        """Return the `logits` of a module's output, else its only tensor; raise `UserError` if it has neither."""
        import torch

        if isinstance(getattr(output, "logits", None), torch.Tensor):
            return output.logits
        values = output.values() if isinstance(output, Mapping) else output if isinstance(output, (tuple, list)) else [output]
        values = [value for value in values if value is not None]
        if len(values) != 1 or not isinstance(values[0], torch.Tensor):
            kinds = ", ".join(type(value).__name__ for value in values)
            raise UserError(
                f"{self.name}: gives {type(output).__name__} of ({kinds}), expected one tensor; attack a module that "
                "returns the logits alone"
            )
        return values[0]

    def read(self, outputs: Any, logits: bool | None) -> tuple[str, Callable[[Any], Any]]:
        """Return the kind of the module's outputs and the function from images to its scores; see `nosign.classifiers.logits`.

        Args:
            outputs: `nosign.classifiers.logits.Outputs`.
            logits: as for `attack`; with None, outputs are taken as logits unless all lie in [0, 1].

        Raises:
            UserError: the outputs are probabilities, and `logits` is not False.
        """

        layers = layers_of(self.module()) or [None]
        kind = {"Softmax": SOFTMAX, "Sigmoid": SIGMOID}.get(type(layers[-1]).__name__)
        if kind and len(layers) > 1 and not logits:
            return kind, self.before_activation
        if outputs.sum_to_one and logits is not False:
            raise UserError(
                f"{self.name}: its outputs lie in [0, 1] and sum to 1 on every image: probabilities, not logits; "
                "give logits=False"
            )
        taken = logits or logits is None and not outputs.bounded
        return LINEAR if taken else UNKNOWN, self


def layers_of(module: Any) -> list[Any]:
    """Return the layers of a sequential module, with those of sequential modules inside it; [module] for any other module."""
    import torch

    if type(module) is not torch.nn.Sequential or module._forward_hooks or module._forward_pre_hooks:
        return [module]
    return [layer for part in module for layer in layers_of(part)]


def dtype_of(module: Any) -> Any:
    """Return the floating-point type of a module's parameters, or of its buffers; float32 where it has none."""
    import torch

    known = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
    return next(
        (tensor.dtype for tensor in itertools.chain(module.parameters(), module.buffers()) if tensor.dtype in known),
        torch.float32,
    )


def lies_on_cpu(images: Any) -> bool:
    """Tell whether images are float32 films on the CPU, for which the layout in memory matters."""
    import torch

    return images.dim() == 4 and images.device.type == "cpu" and images.dtype == torch.float32


def lays_out(module: Any) -> bool:
    """Tell whether a module may be given another memory layout: a compiled one would be compiled again."""
    import torch

    return not (
        isinstance(module, torch.jit.ScriptModule)
        or hasattr(module, "_orig_mod")
        or getattr(module, "_compiled_call_impl", None)
    )
