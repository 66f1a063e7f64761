"""A classifier's logits: found in a Keras model's graph, then checked by value.

Attacks follow the gradient of logits, because a saturated softmax has a gradient of exactly zero. The search starts at the
model's output tensor and goes back, through nested models, to the input of the last softmax or sigmoid. What it finds must
reproduce the model's own outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from nosign.backend import to_numpy
from nosign.classifiers.kinds import LINEAR, SIGMOID, SOFTMAX, UNKNOWN
from nosign.classifiers.pytorch import Followed
from nosign.errors import UserError, warn

# What else, beside SOFTMAX and SIGMOID, an operation without weights can do to a tensor.
IDENTITY, LOG_SOFTMAX, AFFINE = "identity", "log-softmax", "affine"
# Logits are checked on probabilities between this and 1 minus this; outside of that range rounding errors decide.
LEAST_PROBABILITY = 1e-4
# Tolerances for log-probabilities, and for the sum of probabilities.
TOLERANCES = {"float16": (1e-2, 1e-2), "bfloat16": (0.1, 5e-2), "float32": (1e-4, 1e-3)}
SMALLEST = float(np.finfo(np.float32).tiny)
PROBES, RANDOM_PROBES = 4, 4


@dataclass(frozen=True)
class Reading:
    """How a tensor of a model's graph is computed.

    Attributes:
        kind: `SOFTMAX` or `SIGMOID` of the scores; `LINEAR`, as logits are; or `UNKNOWN`.
        tensors: the graph's tensors from which the scores are computed.
        scores: function from the list of these tensors' values to the scores.
    """

    kind: str
    tensors: list[Any]
    scores: Callable[[list[Any]], Any] = lambda values: values[0]


class Logits:
    """A model from images to logits, in the form that the attacks need.

    Attributes:
        variables: Keras variables that the logits depend on.
        input_shape, output_shape: tuples, with None for any size; `input_shape` is None if the model does not state it.
    """

    def __init__(
        self,
        scores: Callable[[Any], Any],
        classes: int,
        variables: Iterable[Any] = (),
        input_shape: tuple[int | None, ...] | None = None,
    ) -> None:
        """Wrap a function from a backend tensor of images to one of logits [n, classes]."""
        self.scores, self.variables = scores, list(variables)
        self.input_shape, self.output_shape = input_shape, (None, classes)

    def __call__(self, images: Any, training: bool = False) -> Any:
        """Return the logits of images, a backend tensor [n, classes]; `training`, which Keras models take, is ignored."""
        return self.scores(images)


@dataclass
class Outputs:
    """A model's outputs for some images.

    Attributes:
        name: of the model, for messages.
        values: float64 [n, outputs].
        dtype: the coarsest of the model's floating-point types, a key of `TOLERANCES`.
        random: whether a second call gave other values.
    """

    name: str
    values: np.ndarray
    dtype: str
    random: bool

    @property
    def count(self) -> int:
        """Number of outputs per image."""
        return self.values.shape[1]

    @property
    def bounded(self) -> bool:
        """Whether all outputs lie in [0, 1]."""
        return bool(np.all((self.values >= 0) & (self.values <= 1 + TOLERANCES[self.dtype][1])))

    @property
    def sum_to_one(self) -> bool:
        """Whether each image has several outputs, all in [0, 1] and with sum 1: the probabilities of classes."""
        return self.count > 1 and self.bounded and bool(np.all(abs(self.values.sum(1) - 1) <= TOLERANCES[self.dtype][1]))


def find_logits(
    model: Any,
    images: np.ndarray,
    *,
    logits: bool | None = None,
    finding: int | None = None,
    bounds: tuple[float, float] = (0.0, 1.0),
) -> Logits:
    """Return a classifier's `Logits`, which share its weights.

    Args:
        model: keras.Model, or a function from images to outputs [n, outputs].
        images: float32 [n, ...]; the logits are checked on the first of them, and on random images.
        logits: True if the outputs are logits, False if they are probabilities, None to find out.
        finding: number of the output that is attacked in a multi-label model, as two classes: 0 absent, 1 present.
        bounds: smallest and largest value of an image.

    Returns:
        `Logits`. With one sigmoid, or with `finding`, there are two: 0 and the sigmoid's input z.

    Raises:
        UserError: the outputs are not those of a classifier, or it cannot be told whether they are logits.

    Warns:
        AttackWarning: the model is random, or its logits could not be checked or found.
    """
    random = np.random.default_rng(0).uniform(*bounds, (RANDOM_PROBES, *images.shape[1:]))
    probes = np.concatenate([images[:PROBES], random]).astype(np.float32)
    outputs = look_at(model, probes)
    if finding is not None and not 0 <= finding < outputs.count:
        raise UserError(
            f"finding: expected a number from 0 to {outputs.count - 1}, one of the outputs of {outputs.name}, "
            f"received {finding!r}"
        )
    kind = UNKNOWN
    scores: Callable[[Any], Any] = partial(only_output, model)
    if isinstance(model, Followed):
        kind, scores = model.read(outputs, logits)
    elif logits:
        kind = LINEAR
    elif is_graph(model):
        kind, scores = read_model(model)
        kind = UNKNOWN if kind == LINEAR and logits is False else kind
    if kind in (SOFTMAX, SIGMOID) and not agrees(outputs, kind, scores, probes):
        kind = UNKNOWN
    scores = accepted(outputs, kind, scores, partial(only_output, model), logits, finding)
    column = finding if finding is not None else 0 if outputs.count == 1 else None
    return Logits(
        partial(as_classes, scores, column),
        outputs.count if column is None else 2,
        getattr(model, "variables", ()),
        getattr(model, "input_shape", None) if is_graph(model) else None,
    )


def look_at(model: Any, probes: np.ndarray) -> Outputs:
    """Call a model twice on images and return its `Outputs`.

    Raises:
        UserError: it is not a model, it has several inputs or outputs, or the output is not [n, outputs].
    """
    import keras

    name = getattr(model, "name", "") or getattr(model, "__name__", type(model).__name__)
    if not callable(model):
        raise UserError(
            f"model: expected a Keras model, a PyTorch module, or a function of a batch of images, received a {name}"
        )
    inputs = len(model.inputs) if is_graph(model) else 1
    if inputs != 1:
        raise UserError(
            f"{name}: has {inputs} inputs; wrap it in a function of the images alone and give logits=True or logits=False"
        )
    first, second = (only_output(model, keras.ops.convert_to_tensor(probes)) for _ in range(2))
    values, again = (np.asarray(to_numpy(keras.ops.cast(tensor, "float32")), np.float64) for tensor in (first, second))
    if values.ndim == 1:
        values, again = values[:, None], again[:, None]
    if values.ndim != 2 or len(values) != len(probes):
        raise UserError(f"{name}: {len(probes)} images give outputs of shape {values.shape}, expected ({len(probes)}, outputs)")
    random = not np.allclose(values, again, rtol=1e-3, atol=1e-6, equal_nan=True)
    if random:
        warn(
            f"{name}: its outputs differ between two calls on the same images: a random model; each step follows one draw, "
            "and its logits are not checked"
        )
    return Outputs(name, values, coarsest_dtype(model, first), random)


def only_output(model: Any, images: Any) -> Any:
    """Return a model's output in inference mode, a backend tensor [n, outputs]."""
    import keras

    found = model(images, training=False) if isinstance(model, keras.Layer) else model(images)
    flat = keras.tree.flatten(found)
    if len(flat) != 1:
        raise UserError(
            f"{getattr(model, 'name', model)}: has {len(flat)} outputs; attack a model of one of them, such as "
            "keras.Model(model.inputs, model.outputs[0])"
        )
    return flat[0]


def coarsest_dtype(model: Any, output: Any) -> str:
    """Return the least precise type that a model computes with, a key of `TOLERANCES`."""
    import keras

    layers = model._flatten_layers() if isinstance(model, keras.Layer) else ()
    found = {keras.backend.standardize_dtype(output.dtype)} if hasattr(output, "dtype") else set()
    found |= {layer.compute_dtype for layer in layers}
    return next((dtype for dtype in ("bfloat16", "float16") if dtype in found), "float32")


def log_softmax(scores: np.ndarray) -> np.ndarray:
    """Return the logarithm of the softmax over the last axis of an array."""
    return scores - np.logaddexp.reduce(scores, axis=-1, keepdims=True)


def log_sigmoid(scores: np.ndarray) -> np.ndarray:
    """Return the logarithm of the sigmoid of an array."""
    return -np.logaddexp(0, -scores)


def agrees(outputs: Outputs, kind: str, scores: Callable[[Any], Any], probes: np.ndarray) -> bool:
    """Tell whether scores reproduce a model's outputs; True where that cannot be checked, of which the user is warned."""
    from keras import ops

    if outputs.random:
        return True
    found = np.float64(to_numpy(ops.cast(scores(ops.convert_to_tensor(probes)), "float32"))).reshape(len(probes), -1)
    if found.shape != outputs.values.shape:
        return False
    tell = (outputs.values >= LEAST_PROBABILITY) & (outputs.values <= 1 - LEAST_PROBABILITY)
    if not tell.any():
        warn(
            f"{outputs.name}: sure of all images that it was tried on, so its logits could not be compared with its "
            f"probabilities; the last {kind} of its graph decides alone"
        )
        return True
    logs = log_softmax(found) if kind == SOFTMAX else log_sigmoid(found)
    error = abs(logs[tell] - np.log(outputs.values[tell]))
    return bool(error.max() <= TOLERANCES[outputs.dtype][0])


def accepted(
    outputs: Outputs,
    kind: str,
    scores: Callable[[Any], Any],
    whole: Callable[[Any], Any],
    logits: bool | None,
    finding: int | None,
) -> Callable[[Any], Any]:
    """Return the function from images to scores that the attacks follow, or raise `UserError`.

    Args:
        outputs: `Outputs`.
        kind: of `Reading`, checked by value.
        scores: function from images to the input of the last softmax or sigmoid.
        whole: function from images to the model's output.
        logits, finding: see `find_logits`.
    """
    classes = finding is None and outputs.count > 1
    refuse_unclear(outputs, kind, logits, finding, classes)
    if kind in (SOFTMAX, SIGMOID):
        return scores
    if kind == LINEAR and not outputs.sum_to_one:
        return whole
    warn(
        f"{outputs.name}: its logits were not found, so the attack follows the logarithm of its probabilities; images of "
        "which it is sure beyond float32 have no gradient"
    )
    return partial(log_probabilities if classes else log_odds, whole)


def refuse_unclear(outputs: Outputs, kind: str, logits: bool | None, finding: int | None, classes: bool) -> None:
    """Raise `UserError` unless a model's outputs are clearly logits or probabilities; see `accepted`.

    Args:
        classes: whether each output is a class of its own.
    """
    several = f"{outputs.count} outputs in [0, 1] that do not sum to 1"
    findings = "finding=k to attack the k-th, with labels 0 (absent) and 1 (present)"
    independent = classes and outputs.bounded and not outputs.sum_to_one
    problem = None
    if finding is not None and (kind == SOFTMAX or outputs.sum_to_one):
        problem = "finding is for multi-label models, and these outputs sum to 1: leave it out, and give classes as labels"
    elif kind == SIGMOID and classes:
        problem = f"a multi-label model, {several}: give {findings}"
    elif kind == LINEAR and outputs.sum_to_one and logits:
        problem = "its outputs lie in [0, 1] and sum to 1 on every image: probabilities, not logits; leave logits=True out"
    elif kind == LINEAR and outputs.count == 1 and not logits:
        problem = "one output without a sigmoid; give logits=True if it is the log-odds of class 1"
    elif kind == UNKNOWN and independent:
        problem = (
            f"{several}; if it is a multi-label model, give logits=False and {findings}; if they are logits, give logits=True"
        )
    elif kind == UNKNOWN and logits is False and not outputs.bounded:
        problem = (
            f"its outputs are no probabilities, they range from {outputs.values.min():g} to {outputs.values.max():g}; "
            "leave logits=False out"
        )
    elif kind == UNKNOWN and logits is None and not outputs.sum_to_one:
        problem = (
            "whether its outputs are logits cannot be told from its graph or its values; give logits=True if they are, "
            "logits=False if they are probabilities"
        )
    if problem:
        raise UserError(f"{outputs.name}: {problem}")


def as_classes(scores: Callable[[Any], Any], column: int | None, images: Any) -> Any:
    """Return logits, float32 [n, classes]: the scores, or 0 and the scores of one column."""
    from keras import ops

    found = ops.cast(scores(images), "float32")
    if column is None:
        return found
    z = ops.reshape(found, (found.shape[0], -1))[:, column : column + 1]
    return ops.concatenate([ops.zeros_like(z), z], axis=1)


def log_probabilities(whole: Callable[[Any], Any], images: Any) -> Any:
    """Return the logarithm of a model's probabilities: logits whose softmax is these probabilities."""
    from keras import ops

    return ops.log(ops.maximum(ops.cast(whole(images), "float32"), SMALLEST))


def log_odds(whole: Callable[[Any], Any], images: Any) -> Any:
    """Return the log-odds of a model's probabilities, whose sigmoid is these probabilities."""
    from keras import ops

    p = ops.cast(whole(images), "float32")
    return ops.log(ops.maximum(p, SMALLEST)) - ops.log(ops.maximum(1 - p, SMALLEST))


def is_graph(model: Any) -> bool:
    """Tell whether a model, or an operation of one, is a functional or built sequential Keras model."""
    import keras

    if not isinstance(model, keras.Model):
        return False
    # A sequential model knows its tensors once it was built; a subclassed one never does.
    return all(
        hasattr(tensor, "_keras_history") for name in ("inputs", "outputs") for tensor in getattr(model, name, None) or [None]
    )


def read_model(model: Any) -> tuple[str, Callable[[Any], Any]]:
    """Return the kind of a model's output and the function from images to its scores; see `Reading`."""
    reading = read(model.outputs[0])
    compute = computing(model.inputs, reading.tensors)
    return reading.kind, lambda images: reading.scores(compute(images))


def computing(inputs: list[Any], tensors: list[Any]) -> Callable[[Any], list[Any]]:
    """Return a function from the values of a graph's inputs to a list of the values of some of its tensors."""
    import keras

    model = keras.Model(inputs[0] if len(inputs) == 1 else inputs, tensors)

    def compute(values: Any) -> list[Any]:
        found = model(values, training=False)
        return list(found) if isinstance(found, (list, tuple)) else [found]

    return compute


def read(tensor: Any) -> Reading:
    """Return the `Reading` of a tensor, from the operation that made it."""
    operation, number, place = tensor._keras_history
    inputs = operation._inbound_nodes[number].input_tensors
    unknown = Reading(UNKNOWN, [tensor])
    if is_graph(operation):
        return read_nested(operation, place, inputs, tensor)
    if parts := summands(tensor):
        return read_sum(parts, tensor)
    if type(operation).__name__ == "Concatenate":
        return read_joined(operation, inputs, tensor)
    if len(inputs) != 1:
        return unknown
    if getattr(operation, "weights", None):
        return read_weighted(operation, inputs[0], tensor)
    arguments = operation._inbound_nodes[number].arguments

    def call(value: Any) -> Any:
        given, named = arguments.fill_in({id(inputs[0]): value})
        return operation(*given, **named)

    kind = behaviour(call, inputs[0].shape)
    if kind in (SOFTMAX, SIGMOID):
        return Reading(kind, inputs)
    if kind == LOG_SOFTMAX:
        return Reading(LINEAR, [tensor])
    before = read(inputs[0]) if kind in (IDENTITY, AFFINE) else unknown
    if kind == IDENTITY and before.kind in (SOFTMAX, SIGMOID):
        return Reading(before.kind, before.tensors, lambda values: call(before.scores(values)))
    return Reading(LINEAR if before.kind == LINEAR else UNKNOWN, [tensor])


def read_joined(operation: Any, inputs: list[Any], tensor: Any) -> Reading:
    """Return the `Reading` of heads that are joined to one output, all of them with a sigmoid or all without."""
    members = [read(part) for part in inputs]
    kinds = {member.kind for member in members}
    if kinds == {SIGMOID}:
        return Reading(SIGMOID, together(members), lambda values: operation(scores_of_members(members, values)))
    return Reading(LINEAR if kinds == {LINEAR} else UNKNOWN, [tensor])


def together(members: Iterable[Reading]) -> list[Any]:
    """Return the tensors of several readings as one list."""
    return [tensor for member in members for tensor in member.tensors]


def scores_of_members(members: Iterable[Reading], values: Iterable[Any]) -> list[Any]:
    """Return the scores of several readings from the values of `together`'s tensors."""
    values = list(values)
    return [member.scores([values.pop(0) for _ in member.tensors]) for member in members]


def read_nested(model: Any, place: int, inputs: Iterable[Any], tensor: Any) -> Reading:
    """Return the `Reading` of an output of a model inside a model."""
    inner = read(model.outputs[place])
    if inner.kind not in (SOFTMAX, SIGMOID):
        return Reading(inner.kind, [tensor])
    compute = computing(model.inputs, inner.tensors)
    return Reading(inner.kind, list(inputs), lambda values: inner.scores(compute(values[0] if len(values) == 1 else values)))


def read_weighted(layer: Any, before: Any, tensor: Any) -> Reading:
    """Return the `Reading` of the output of a layer with weights, with or without an activation."""
    import keras

    activation = getattr(layer, "activation", None)
    kind = IDENTITY if activation is None else behaviour(activation, (2, 4))
    if kind in (SOFTMAX, SIGMOID):
        return Reading(kind, [before], lambda values: without_activation(layer, values[0]))
    # Of a user's own layer, only the name is known.
    of_keras = type(layer).__module__.partition(".")[0] == "keras" or isinstance(
        layer, (keras.layers.Dense, keras.layers.EinsumDense)
    )
    return Reading(LINEAR if of_keras and kind in (IDENTITY, LOG_SOFTMAX) else UNKNOWN, [tensor])


def without_activation(layer: Any, values: Any) -> Any:
    """Call a layer without its activation; all else, such as quantised weights, is left to the layer itself."""
    held = vars(layer)
    missing = object()
    kept, held["activation"] = held.get("activation", missing), lambda x: x
    try:
        return layer(values)
    finally:
        # On PyTorch, an activation that is a layer is stored elsewhere.
        if kept is missing:
            del held["activation"]
        else:
            held["activation"] = kept


def summands(tensor: Any) -> list[tuple[float, Any]]:
    """Return the summands of a tensor, a list of (positive weight, tensor); [] if it is not a sum."""
    import keras

    operation, number, _ = tensor._keras_history
    node = operation._inbound_nodes[number]
    inputs, name = node.input_tensors, type(operation).__name__
    if isinstance(operation, keras.layers.Average):
        return [(1 / len(inputs), part) for part in inputs]
    if isinstance(operation, keras.layers.Add) or name == "Add" and len(inputs) == 2:
        return [(1.0, part) for part in inputs]
    if name in ("Mean", "Sum") and len(inputs) == 1 and type(inputs[0]._keras_history.operation).__name__ == "Stack":
        stack, number, _ = inputs[0]._keras_history
        parts = stack._inbound_nodes[number].input_tensors
        if operation.axis in (stack.axis, [stack.axis], (stack.axis,)):
            return [(1 / len(parts) if name == "Mean" else 1.0, part) for part in parts]
    if name in ("Multiply", "Divide", "TrueDivide") and len(inputs) == 1:
        factor = next((value for value in node.arguments.args if isinstance(value, (int, float, np.number))), None)
        if factor is not None and factor > 0 and (name == "Multiply" or node.arguments.args[0] is inputs[0]):
            return [(float(factor) if name == "Multiply" else 1 / float(factor), inputs[0])]
    return []


def read_sum(parts: list[tuple[float, Any]], tensor: Any) -> Reading:
    """Return the `Reading` of a weighted sum; for an ensemble (a mean of probabilities) it keeps the members' logits."""
    while any(inner := [summands(part) for _, part in parts]):
        parts = [
            (weight * factor, leaf) for (weight, part), split in zip(parts, inner) for factor, leaf in split or [(1.0, part)]
        ]
    members = [read(part) for _, part in parts]
    weights = np.array([weight for weight, _ in parts])
    kinds = {member.kind for member in members}
    if kinds == {LINEAR}:
        return Reading(LINEAR, [tensor])
    if len(kinds) != 1 or UNKNOWN in kinds or abs(weights.sum() - 1) > 1e-6:
        return Reading(UNKNOWN, [tensor])
    return Reading(kinds.pop(), together(members), partial(mixed, members, weights))


def mixed(members: Sequence[Reading], weights: np.ndarray, values: list[Any]) -> Any:
    """Return the scores of a weighted mean of softmaxes or of sigmoids, from the values of all members' tensors."""
    from keras import ops

    scores = [ops.cast(z, "float32") for z in scores_of_members(members, values)]
    shares = [float(np.log(weight)) for weight in weights]

    def mean(logs: Iterable[Any]) -> Any:
        return ops.logsumexp(ops.stack([log + share for log, share in zip(logs, shares)]), axis=0)

    if members[0].kind == SOFTMAX:
        return mean([ops.log_softmax(z, axis=-1) for z in scores])
    return mean([ops.log_sigmoid(z) for z in scores]) - mean([ops.log_sigmoid(-z) for z in scores])


def behaviour(function: Callable[[Any], Any], shape: Sequence[int | None]) -> str:
    """Tell what a function of one tensor does, by trying it: one of the kinds above, or `UNKNOWN`.

    By its name, a softmax could not be recognised in a function of TensorFlow, a `Lambda` layer or a `Softmax` object.

    Args:
        function: an activation, or an operation or layer without weights.
        shape: of its input, with None for any size.
    """
    import keras

    sizes = (2, *(4 if size is None else size for size in shape[1:]))
    trials = [3 * np.random.default_rng(seed).standard_normal(sizes).astype(np.float32) for seed in (0, 1)]
    trials += [np.zeros(sizes, np.float32), trials[0] + trials[1]]
    try:
        found = [
            np.float64(to_numpy(keras.ops.cast(function(keras.ops.convert_to_tensor(trial)), "float32"))) for trial in trials
        ]
    except Exception:  # a user's own function may raise anything on a shape that it was not made for
        return UNKNOWN
    known = {
        IDENTITY: lambda x: x,
        SIGMOID: lambda scores: np.exp(log_sigmoid(scores)),
        SOFTMAX: lambda scores: np.exp(log_softmax(scores)),
        LOG_SOFTMAX: log_softmax,
    }
    for kind, reference in known.items():
        expected = [reference(np.float64(trial)) for trial in trials]
        # A reshaped tensor keeps its values.
        if all(
            result.size == trial.size and np.allclose(result.ravel(), trial.ravel(), rtol=1e-2, atol=1e-2)
            for trial, result in zip(expected, found)
        ):
            return kind
    zero = found[2]
    return AFFINE if np.allclose(found[0] + found[1], found[3] + zero, rtol=1e-2, atol=1e-2) else UNKNOWN
