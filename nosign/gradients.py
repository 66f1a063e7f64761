"""d loss / d input, and everything else that differs between Keras backends: no other file knows which one runs."""

import contextlib
import os
import sys

import numpy as np

from nosign.errors import UserError

# TensorFlow's start-up chatter hides what a user should read; errors still come through as exceptions.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# Winograd's convolution loses a few bits of float32; TF32 loses thirteen.
FLOAT32_ERROR = 1e-5
CPU_BATCH, LARGEST_BATCH = 8, 64


def select_device():
    """Make the numbers repeatable and truly float32, and say which device does the work.

    TF32 keeps 10 mantissa bits, which is as coarse as the smallest strengths; it is switched off.

    Returns:
        dict for the manifest: backend, device, whether that is an accelerator, precision and the error that was found.

    Raises:
        UserError: the device computes with fewer bits all the same.
    """
    with silenced_start():
        import keras

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
    return {"backend": backend, "device": ", ".join(names) or f"CPU, {cores} cores", "precision": "float32",
            "accelerator": bool(names), "precision_error": check_precision()}


def fitting_batch(model, film_shape, device):
    """Return how many films of a shape a logits model can follow the gradient of at once.

    Results do not depend on it. A CPU is as fast with 8 films as with 32, in a fifth of the memory; on an accelerator
    the paper's 64 are halved until they fit.

    Args:
        model: keras.Model from films to logits.
        film_shape: height, width, channels.
        device: what `select_device` returned.
    """
    if not device["accelerator"]:
        return CPU_BATCH
    batch = LARGEST_BATCH
    gradient = compiled_gradient(model)
    while batch > 1:
        try:
            labels = np.zeros((batch, model.output_shape[-1]), np.float32)
            to_numpy(gradient(np.zeros((batch, *film_shape), np.float32), labels)[0])
            return batch
        except Exception as error:  # each backend has a class of its own for this
            if not any(word in str(error).lower() for word in ("resource_exhausted", "out of memory", "oom")):
                raise
            batch //= 2
    return batch


def check_precision():
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
        raise UserError(f"this device computes with an error of {error:.0e} where float32 has 1e-7: too coarse for strengths "
                        "near 0.0005; unset variables such as ONEDNN_DEFAULT_FPMATH_MODE, NVIDIA_TF32_OVERRIDE or "
                        "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE")
    return error


@contextlib.contextmanager
def silenced_start():
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


def to_numpy(tensor):
    """Return a backend tensor as a NumPy array; waits until it is computed."""
    import keras

    return keras.ops.convert_to_numpy(tensor)


def compiled(function):
    """Compile a function of tensors that holds no model."""
    import keras

    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow

        return tensorflow.function(function, autograph=False)
    if backend == "jax":
        import jax

        return jax.jit(function)
    return function


def compiled_logits(model):
    """Compile a logits model in inference mode: float32 films [n, h, w, c] -> logits [n, classes].

    One compilation serves one shape: callers pad a short last batch.
    """
    import keras

    if keras.backend.backend() == "jax":
        import jax

        run = jax.jit(lambda trainable, fixed, films: model.stateless_call(trainable, fixed, films, training=False)[0])
        return lambda films: run(*weights_of(model), films)
    if keras.backend.backend() == "torch":
        import torch

        def forward(films):
            with torch.no_grad():
                return model(films, training=False)

        return forward
    return compiled(lambda films: model(films, training=False))


def compiled_gradient(model):
    """Compile d loss / d input of a logits model in inference mode.

    The loss is cross-entropy on logits, summed over the batch, so no film's gradient depends on its neighbours.

    Args:
        model: keras.Model from films to logits.

    Returns:
        Function of films, float32 [n, h, w, c], and labels, float32 one-hot [n, classes], that returns the gradient
        (float32, the films' shape) and the logits (float32 [n, classes]) as backend tensors.
    """
    import keras

    return {"tensorflow": tensorflow_gradient, "jax": jax_gradient, "torch": torch_gradient}[keras.backend.backend()](model)


def summed_loss(labels, logits):
    """Return the cross-entropy on logits, summed over the batch."""
    from keras import ops

    return -ops.sum(labels * ops.log_softmax(logits, axis=-1))


def tensorflow_gradient(model):
    """`compiled_gradient` for TensorFlow."""
    import tensorflow

    def gradient(films, labels):
        films = tensorflow.convert_to_tensor(films)
        with tensorflow.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(films)
            logits = model(films, training=False)
            loss = summed_loss(labels, logits)
        # Zero where no differentiable path leads back to the films; such films are counted by whoever asks.
        return tape.gradient(loss, films, unconnected_gradients=tensorflow.UnconnectedGradients.ZERO), logits

    return tensorflow.function(gradient, autograph=False)


def jax_gradient(model):
    """`compiled_gradient` for JAX. The weights are arguments, so they are not copied into the program."""
    import jax

    def loss(films, labels, trainable, fixed):
        logits, _ = model.stateless_call(trainable, fixed, films, training=False)
        return summed_loss(labels, logits), logits

    run = jax.jit(jax.grad(loss, has_aux=True))
    return lambda films, labels: run(films, labels, *weights_of(model))


def torch_gradient(model):
    """`compiled_gradient` for PyTorch."""
    import torch
    from keras import ops

    def gradient(films, labels):
        films = ops.convert_to_tensor(films).detach().requires_grad_(True)
        logits = model(films, training=False)
        loss = summed_loss(ops.convert_to_tensor(labels), logits)
        return torch.autograd.grad(loss, films, allow_unused=True, materialize_grads=True)[0], logits.detach()

    return gradient


def weights_of(model):
    """Return a model's trainable and non-trainable weights as backend tensors."""
    return [v.value for v in model.trainable_variables], [v.value for v in model.non_trainable_variables]
