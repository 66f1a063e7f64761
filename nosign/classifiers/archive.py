"""Looks into a `.keras` file before Keras loads it: known layers only, no code, and nothing larger than it says.

Keras's own `safe_mode` was bypassed several times (CVE-2025-1550, CVE-2025-8747, CVE-2025-9906), and weights in HDF5 can point
at other files of the machine or claim terabytes (CVE-2026-1669). A classifier needs nothing of that: here is what it may hold.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py

from nosign.errors import UserError

METADATA, CONFIG, WEIGHTS = "metadata.json", "config.json", "model.weights.h5"
# The configuration of DenseNet201 has 0.7 MB.
LARGEST = {METADATA: 1 << 16, CONFIG: 1 << 25, WEIGHTS: 1 << 34}
# Keras stores without compression; nothing useful shrinks more.
MOST_COMPRESSED = 100
LAYERS = {
    *("InputLayer", "Functional", "Sequential", "Activation", "ReLU", "LeakyReLU", "PReLU", "ELU", "Softmax", "Dense"),
    *("Conv2D", "DepthwiseConv2D", "SeparableConv2D", "Conv2DTranspose", "BatchNormalization", "LayerNormalization"),
    *("GroupNormalization", "UnitNormalization", "Normalization", "Rescaling", "Resizing", "CenterCrop", "ZeroPadding2D"),
    *("Cropping2D", "UpSampling2D", "MaxPooling2D", "AveragePooling2D", "GlobalMaxPooling2D", "GlobalAveragePooling2D"),
    *("Flatten", "Reshape", "Permute", "RepeatVector", "Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum"),
    *("Concatenate", "Dot", "Dropout", "SpatialDropout2D", "GaussianDropout", "GaussianNoise", "Identity", "Flip"),
}
INITIALIZERS = {
    *("Zeros", "Ones", "Constant", "Identity", "RandomNormal", "RandomUniform", "TruncatedNormal", "VarianceScaling"),
    *("GlorotNormal", "GlorotUniform", "HeNormal", "HeUniform", "LecunNormal", "LecunUniform", "Orthogonal"),
}
OTHERS = {"DTypePolicy", "L1", "L2", "L1L2", "__keras_tensor__"}
KNOWN = LAYERS | INITIALIZERS | OTHERS


def check_archive(path: str | Path) -> None:
    """Refuse a model file that holds anything but a classifier of known layers and its weights.

    Raises:
        UserError: the file is missing, no such archive, or holds something else; the message says what.
    """
    if not Path(path).is_file():
        raise UserError(f"{path}: no such model file; run train_finetune.py first, or name the folder that holds it")
    try:
        with zipfile.ZipFile(path) as archive:
            check_members(archive)
            check_config(json.loads(archive.read(CONFIG)))
            with archive.open(WEIGHTS) as member, h5py.File(member, "r") as weights:
                check_weights(weights, archive.getinfo(WEIGHTS).file_size)
    except Refused as reason:
        raise UserError(
            f"{path}: not loaded, as {reason}; train the model with train_finetune.py, or attack it by nosign.attack if you "
            "trust whoever made it"
        ) from None
    except (zipfile.BadZipFile, KeyError, OSError, ValueError, RuntimeError, RecursionError, EOFError):
        raise UserError(f"{path}: not a Keras model file (.keras); train it again with train_finetune.py") from None


class Refused(Exception):
    """What a model file holds that none should."""


def check_members(archive: zipfile.ZipFile) -> None:
    """Refuse files that no model needs, such as paths out of the archive, and those that unpack to more than they may."""
    names = [member.filename for member in archive.infolist()]
    for name in names:
        if name not in LARGEST or names.count(name) > 1:
            raise Refused(f"the archive holds {name!r}" + (" twice" if name in LARGEST else ""))
    for member in archive.infolist():
        if member.file_size > min(LARGEST[member.filename], MOST_COMPRESSED * member.compress_size + 1024):
            raise Refused(f"its {member.filename} unpacks from {member.compress_size} to {member.file_size} bytes")


def check_config(config: Any) -> None:
    """Refuse classes that are not known, and anything registered by a program."""
    for part in objects_in(config):
        name, module, registered = (part.get(key) for key in ("class_name", "module", "registered_name"))
        if name not in KNOWN:
            raise Refused(f"its configuration names {name!r}, which is not among the known layers")
        if module is not None and str(module).split(".")[0] != "keras":
            raise Refused(f"its configuration takes {name!r} from {module!r}")
        if registered not in (None, name):
            raise Refused(f"its configuration asks for {registered!r}, which a program has registered")


def objects_in(config: Any) -> Iterator[dict]:
    """Yield every object that Keras would make of a model's configuration."""
    if isinstance(config, dict):
        if "class_name" in config:
            yield config
        # Models are loaded without what they were compiled for.
        parts = [value for key, value in config.items() if key != "compile_config"]
    else:
        parts = config if isinstance(config, list) else []
    for part in parts:
        yield from objects_in(part)


def check_weights(weights: h5py.File, size: int) -> None:
    """Refuse links, arrays that lie in other files, and arrays that claim more than the file's `size` in bytes holds."""
    claimed, groups, seen = 0, [weights], set()
    while groups:
        group = groups.pop()
        place = h5py.h5o.get_info(group.id).addr
        if place in seen:
            raise Refused(f"its weights hold {group.name} twice")
        seen.add(place)
        for name in group:
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise Refused(f"its weights hold {group.name}/{name}, a link")
            found = group[name]
            if isinstance(found, h5py.Dataset):
                if found.external or found.is_virtual:
                    raise Refused(f"its weights take {found.name} from another file")
                claimed += found.nbytes
            else:
                groups.append(found)
            if claimed > size:
                raise Refused(f"its weights claim {claimed} bytes and more, and hold {size}")
