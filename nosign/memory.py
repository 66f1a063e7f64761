"""How much memory training and attacking take, and how much there is: said beforehand, and refused where it is too little."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nosign.errors import UserError

GB = 10**9
# Measured at 112 px (docs/speed.md): TensorFlow with its libraries and the films, copies of the weights (weights, gradients and
# Adam's two averages; a model that is attacked has one more), and how many times the outputs of all layers.
RUNTIME_BYTES = 1_050_000_000
WEIGHTS_TRAINED, WEIGHTS_ATTACKED = 4.0, 2.0
LAYERS_TRAINED, LAYERS_ATTACKED = 1.6, 1.6
# What these give is not kept: the layers behind them keep their own.
NOT_KEPT = ("Concatenate",)


def needed_to_train(model: Any, batch: int) -> int:
    """Return the bytes of memory that training a keras.Model with Adam takes, batches being of so many films."""
    return round(RUNTIME_BYTES + WEIGHTS_TRAINED * weights_of(model) + LAYERS_TRAINED * batch * outputs_of(model))


def needed_to_attack(models: list[Any], batch: int) -> int:
    """Return the bytes of memory that attacking one keras.Model and testing the others takes."""
    weights, largest = sum(map(weights_of, models)), max(map(outputs_of, models))
    return round(RUNTIME_BYTES + WEIGHTS_ATTACKED * weights + LAYERS_ATTACKED * batch * largest)


def weights_of(model: Any) -> int:
    """Return the bytes of a keras.Model's weights, float32."""
    return 4 * model.count_params()


def outputs_of(model: Any) -> int:
    """Return the bytes of what the layers of a keras.Model give for one film, float32, but for those of `NOT_KEPT`."""
    return 4 * sum(numbers_in(shape) for layer in layers_of(model) for shape in shapes_of(layer))


def layers_of(model: Any) -> Iterator[Any]:
    """Yield the layers of a keras.Model, those of models in it too, but for those of `NOT_KEPT`."""
    for layer in getattr(model, "layers", []):
        if hasattr(layer, "layers"):
            yield from layers_of(layer)
        elif type(layer).__name__ not in NOT_KEPT:
            yield layer


def shapes_of(layer: Any) -> list[tuple]:
    """Return the shapes of what a layer gives; none where it is used more than once or never."""
    with contextlib.suppress(AttributeError, ValueError):
        output = layer.output
        return [tensor.shape for tensor in (output if isinstance(output, (list, tuple)) else [output])]
    return []


def numbers_in(shape: tuple) -> int:
    """Return how many numbers an array of a shape has; one where a length is not known."""
    count = 1
    for length in shape:
        count *= length or 1
    return count


def available() -> int | None:
    """Return how many bytes of memory this process can still get; None where the system does not say."""
    found = [free() for free in (free_of_machine, free_of_container, free_of_process)]
    return min((size for size in found if size is not None), default=None)


def free_of_machine() -> int | None:
    """Return the bytes that the machine has free, swap included."""
    with contextlib.suppress(OSError, ValueError, KeyError):
        lines = (line.split() for line in Path("/proc/meminfo").read_text().splitlines())
        sizes = {line[0].rstrip(":"): 1024 * int(line[1]) for line in lines}
        return sizes["MemAvailable"] + sizes.get("SwapFree", 0)
    return None


def free_of_container() -> int | None:
    """Return the bytes that the limit of the container or of the scheduler's job leaves (cgroups, both versions)."""
    with contextlib.suppress(OSError, ValueError):
        named = [line.split(":", 2) for line in Path("/proc/self/cgroup").read_text().splitlines()]
        folders = [
            *(Path("/sys/fs/cgroup") / name.lstrip("/") for number, _, name in named if number == "0"),
            *(Path("/sys/fs/cgroup/memory") / name.lstrip("/") for _, kind, name in named if kind == "memory"),
        ]
        return min(
            (left for folder in folders for place in (folder, *folder.parents) if (left := left_in(place)) is not None),
            default=None,
        )
    return None


def left_in(group: Path) -> int | None:
    """Return the bytes that a control group's limit leaves; None where it has none."""
    for limit, used in (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes")):
        with contextlib.suppress(OSError, ValueError):
            return int((group / limit).read_text()) - int((group / used).read_text()) + cached_in(group)
    return None


def cached_in(group: Path) -> int:
    """Return the bytes of files that a control group holds in memory, which the system gives up when it is asked."""
    with contextlib.suppress(OSError, ValueError):
        sizes = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        names = ("inactive_file", "active_file")
        return sum(int(sizes.get(f"total_{name}", sizes.get(name, 0))) for name in names)
    return 0


def free_of_process() -> int | None:
    """Return the bytes that the process's own limit of address space (ulimit -v) leaves."""
    with contextlib.suppress(ImportError, OSError, ValueError, IndexError):
        import resource

        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        if limit != resource.RLIM_INFINITY:
            return limit - int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    return None


def require(needed: int, doing: str, used: int = 0) -> str:
    """Say how much memory something needs, and refuse to begin where there is less.

    Args:
        needed: bytes in all.
        doing: such as "training VGG16".
        used: bytes that this process has of them already.

    Returns:
        The line to print.

    Raises:
        UserError: there is less.
    """
    there = available()
    if there is not None and needed - used > there:
        raise UserError(
            f"{doing} takes about {needed / GB:.1f} GB of memory, and {(there + used) / GB:.1f} GB are to be had: give a "
            "smaller --batch, end other programs, or allow the job more"
        )
    return f"{doing} takes about {needed / GB:.1f} GB of memory" + (f" of {(there + used) / GB:.0f}" if there else "")


def resident() -> int:
    """Return the bytes of memory that this process has; 0 where the system does not say."""
    with contextlib.suppress(ImportError, OSError, ValueError, IndexError):
        import resource

        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    return 0
