"""The one file that knows Keras's backends: device, precision, compiling, gradients of a total, and NumPy arrays."""

import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from nosign.errors import UserError

# TensorFlow's start-up chatter hides what a user should read; errors still come through as exceptions.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# TensorFlow leaves oneDNN off on processors without AVX-512 VNNI, where it makes a gradient about 1.5 times faster. Read when
# TensorFlow is imported.
ONEDNN_FLAG = "TF_ENABLE_ONEDNN_OPTS"
os.environ.setdefault(ONEDNN_FLAG, "1")
# Winograd's convolution loses a few bits of float32; TF32 loses thirteen.
FLOAT32_ERROR = 1e-5


def select_device() -> dict:
    """Make the numbers repeatable and truly float32, and say which device does the work.

    TF32 keeps 10 mantissa bits, which is as coarse as the smallest strengths; it is switched off.

    Returns:
        dict for the manifest: backend, device, whether that is an accelerator, whether TensorFlow uses oneDNN (None on other
        backends), precision and the error that was found.

    Raises:
        UserError: the device computes with fewer bits all the same.
    """
    onednn = None
    with silenced_start():
        import keras

        # A user's keras.json may say otherwise; the films and the models here are so.
        keras.config.set_image_data_format("channels_last")
        keras.config.set_floatx("float32")
        backend = keras.backend.backend()
        if backend == "tensorflow":
            import tensorflow

            gpus = tensorflow.config.list_physical_devices("GPU")
    if backend == "tensorflow":
        # With two threads for operations, a sum of four branches' gradients (InceptionV3) starts with the one that comes
        # first, and its last bits differ from run to run. Once the runtime has started, the number is fixed.
        with contextlib.suppress(RuntimeError):
            tensorflow.config.threading.set_inter_op_parallelism_threads(1)
        tensorflow.config.experimental.enable_tensor_float_32_execution(False)
        tensorflow.config.experimental.enable_op_determinism()
        for gpu in gpus:
            # Once a GPU has been used its memory setting is fixed.
            with contextlib.suppress(RuntimeError):
                tensorflow.config.experimental.set_memory_growth(gpu, True)
        names = [tensorflow.config.experimental.get_device_details(gpu).get("device_name", gpu.name) for gpu in gpus]
        onednn = uses_onednn()
    elif backend == "jax":
        import jax

        jax.config.update("jax_default_matmul_precision", "highest")
        names = [device.device_kind for device in jax.devices() if device.platform != "cpu"]
    else:
        import torch

        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
        torch.use_deterministic_algorithms(True, warn_only=True)
        names = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "backend": backend,
        "device": ", ".join(names) or f"CPU, {cores} cores",
        "accelerator": bool(names),
        "onednn": onednn,
        "precision": "float32",
        "precision_error": check_precision(),
    }


def describe_device(device: dict) -> str:
    """Return what `select_device` found as a line for the screen."""
    onednn = {None: "", True: ", oneDNN on", False: ", oneDNN off"}[device["onednn"]]
    return f"device: {device['device']} (Keras on {device['backend']}{onednn})"


def uses_onednn() -> bool | None:
    """Tell whether TensorFlow computes with oneDNN, whoever decided so; None if this release does not say."""
    try:
        from tensorflow.python.util._pywrap_util_port import IsMklEnabled
    except ImportError:
        return None
    return bool(IsMklEnabled())


def check_precision() -> float:
    """Return the largest error of a convolution and a matrix product that should give back their input in [0, 1].

    Raises:
        UserError: it is that of TF32 (5e-4), bfloat16 (4e-3) or float16, not of float32.
    """
    from keras import ops

    channels = 32
    films = np.random.default_rng(0).random((8, channels, channels, channels), dtype=np.float32)
    kernel = np.zeros((3, 3, channels, channels), np.float32)
    kernel[1, 1] = np.eye(channels)
    found = ops.conv(films, kernel, padding="same"), ops.matmul(films, kernel[1, 1])
    error = max(float(np.abs(to_numpy(result) - films).max()) for result in found)
    if not error < FLOAT32_ERROR:
        raise UserError(
            f"this device computes with an error of {error:.0e} where float32 has 1e-7: too coarse for strengths "
            "near 0.0005; unset variables such as ONEDNN_DEFAULT_FPMATH_MODE, NVIDIA_TF32_OVERRIDE or "
            "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE"
        )
    return error


@contextlib.contextmanager
def silenced_start() -> Iterator[None]:
    """Send what TensorFlow's C++ start-up writes to stderr nowhere; no setting of its own silences all of it."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def to_numpy(tensor: Any) -> np.ndarray:
    """Return a backend tensor as a NumPy array; waits until it is computed."""
    import keras

    if keras.backend.backend() == "torch" and keras.ops.is_tensor(tensor):
        # Keras's own copies, and NumPy 2 warns of how.
        tensor = tensor.detach().cpu()
        return (tensor.float() if tensor.is_floating_point() and tensor.itemsize < 4 else tensor).numpy()
    return keras.ops.convert_to_numpy(tensor)


def compiled(function: Callable, fused: bool = False) -> Callable:
    """Compile a function of tensors that holds no model; `fused` makes one loop of operations on single components."""
    import keras

    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow

        return tensorflow.function(function, autograph=False, jit_compile=fused)
    if backend == "jax":
        import jax

        return jax.jit(function)
    return function


def compiled_logits(model: Callable) -> Callable:
    """Compile a logits model in inference mode: float32 films [n, ...] -> logits [n, classes].

    One compilation serves one shape: callers pad a short last batch.

    Args:
        model: callable with `films` and `training=False`, a keras.Model for one; what it depends on are its `variables`.
    """
    import keras

    if keras.backend.backend() == "jax":
        import jax

        run = jax.jit(lambda weights, films: with_weights(model, weights, films))
        return lambda films: run(weights_of(model), films)
    if keras.backend.backend() == "torch":
        import torch

        def forward(films: Any) -> Any:
            with torch.no_grad():
                return model(keras.ops.convert_to_tensor(films), training=False)

        return forward
    return compiled(lambda films: model(films, training=False))


def gradient_of_total(model: Callable, total: Callable) -> Callable:
    """Compile the gradient of a total of labels and logits with respect to a model's input.

    Args:
        model: callable from films to logits.
        total: function of labels and logits, tensors, that returns a scalar tensor.

    Returns:
        Function of films and labels that returns the gradient and the logits; see `nosign.attacks.gradients.compiled_gradient`.
    """
    import keras

    make = {"tensorflow": tensorflow_gradient, "jax": jax_gradient, "torch": torch_gradient}[keras.backend.backend()]
    return make(model, total)


def in_float32(model: Callable, films: Any) -> Any:
    """Return a model's logits in inference mode, float32 whatever the model computes with."""
    from keras import ops

    return ops.cast(model(films, training=False), "float32")


def nan_where_not_finite(gradient: Any, logits: Any) -> Any:
    """Return a gradient with NaN for films whose logits are not finite; m's gradient can be finite there and mean nothing."""
    from keras import ops

    finite = ops.all(ops.isfinite(logits), axis=-1)
    each = ops.reshape(finite, (-1, *[1] * (len(gradient.shape) - 1)))
    # Nearly always nothing is to be done: then it costs no pass over the gradient.
    return ops.cond(ops.all(finite), lambda: gradient, lambda: ops.where(each, gradient, float("nan")))


def tensorflow_gradient(model: Callable, total: Callable) -> Callable:
    """`gradient_of_total` for TensorFlow; `total` is the summed loss of labels and logits."""
    import tensorflow

    def gradient(films: Any, labels: Any) -> tuple[Any, Any]:
        films = tensorflow.convert_to_tensor(films)
        with tensorflow.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(films)
            logits = in_float32(model, films)
            loss = total(labels, logits)
        # Zero where no differentiable path leads back to the films; such films are counted by whoever asks.
        found = tape.gradient(loss, films, unconnected_gradients=tensorflow.UnconnectedGradients.ZERO)
        return nan_where_not_finite(found, logits), logits

    return tensorflow.function(gradient, autograph=False)


def jax_gradient(model: Callable, total: Callable) -> Callable:
    """`gradient_of_total` for JAX. The weights are arguments, so they are not copied into the program."""
    import jax

    def loss(films: Any, labels: Any, weights: list[Any]) -> tuple[Any, Any]:
        logits = with_weights(model, weights, films).astype("float32")
        return total(labels, logits), logits

    def gradient(films: Any, labels: Any, weights: list[Any]) -> tuple[Any, Any]:
        found, logits = jax.grad(loss, has_aux=True)(films, labels, weights)
        return nan_where_not_finite(found, logits), logits

    run = jax.jit(gradient)
    return lambda films, labels: run(films, labels, weights_of(model))


def torch_gradient(model: Callable, total: Callable) -> Callable:
    """`gradient_of_total` for PyTorch. The weights' own gradients are neither computed nor touched."""
    import torch
    from keras import ops

    def gradient(films: Any, labels: Any) -> tuple[Any, Any]:
        films = ops.convert_to_tensor(films).detach().requires_grad_(True)
        with torch.enable_grad():
            logits = in_float32(model, films)
            loss = total(ops.convert_to_tensor(labels), logits)
        if loss.requires_grad:
            found = torch.autograd.grad(loss, films, allow_unused=True, materialize_grads=True)[0]
        else:
            found = torch.zeros_like(films)  # no differentiable path leads back to the films
        return nan_where_not_finite(found, logits.detach()), logits.detach()

    return gradient


def weights_of(model: Callable) -> list[Any]:
    """Return the values of a model's variables, a list of backend tensors."""
    return [variable.value for variable in getattr(model, "variables", ())]


def with_weights(model: Callable, weights: Sequence[Any], films: Any) -> Any:
    """Call a model in inference mode with values in place of its variables' own; JAX's traced functions hold no state."""
    import keras

    pairs = zip(getattr(model, "variables", ()), weights, strict=True)
    with keras.StatelessScope(state_mapping=list(pairs)):
        return model(films, training=False)
