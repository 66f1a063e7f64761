"""Looks into a `.keras` file before Keras loads it: known layers only, no code, and nothing larger than it says.

Keras's own `safe_mode` was bypassed several times (CVE-2025-1550, CVE-2025-8747, CVE-2025-9906), and weights in HDF5 can point
at other files of the machine or claim terabytes (CVE-2026-1669). A classifier needs nothing of that: here is what it may hold.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py

from nosign.errors import UserError

METADATA, CONFIG, WEIGHTS = "metadata.json", "config.json", "model.weights.h5"
# In bytes; the configuration of DenseNet201 has 0.7 MB. Weights, which Keras does not compress, have what the file has.
LARGEST = {METADATA: 1 << 16, CONFIG: 1 << 25}
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


def check_archive(path: str | Path) -> tuple[dict, int]:
    """Refuse a model file that holds anything but a classifier of known layers and its weights.

    Returns:
        Its configuration, and how many numbers its weights hold.

    Raises:
        OSError: the system cannot read the file.
        UserError: the file is missing, no such archive, or holds something else; the message says what.
    """
    if not Path(path).is_file():
        raise UserError(f"{path}: no such model file; run train_finetune.py first, or name the folder that holds it")
    try:
        with zipfile.ZipFile(path) as archive:
            check_members(archive)
            config = json.loads(archive.read(CONFIG))
            check_config(config)
            # In memory: HDF5 goes back and forth, and in an archive each step back reads all again.
            with h5py.File(io.BytesIO(archive.read(WEIGHTS)), "r") as weights:
                return config, check_weights(weights, archive.getinfo(WEIGHTS).file_size)
    except Refused as reason:
        raise UserError(
            f"{path}: not loaded, as {reason}; train the model with train_finetune.py, or attack it by nosign.attack if you "
            "trust whoever made it"
        ) from None
    except Exception as error:  # damaged bytes raise nearly anything
        if isinstance(error, OSError) and error.errno:
            raise
        raise UserError(f"{path}: not a Keras model file (.keras); train it again with train_finetune.py") from None


class Refused(Exception):
    """What a model file holds that none should."""


def check_members(archive: zipfile.ZipFile) -> None:
    """Refuse files that no model needs, such as paths out of the archive, and those that unpack to more than they may."""
    names = [member.filename for member in archive.infolist()]
    for name in names:
        known = name in (METADATA, CONFIG, WEIGHTS)
        if not known or names.count(name) > 1:
            raise Refused(f"the archive holds {name!r}" + (" twice" if known else ""))
    for member in archive.infolist():
        if member.file_size > LARGEST.get(member.filename, member.compress_size):
            raise Refused(f"its {member.filename} unpacks from {member.compress_size} to {member.file_size} bytes")


def check_config(config: Any) -> None:
    """Refuse classes that are not known, and anything registered by a program."""
    # What the model was compiled for is not loaded; what a model inside it was compiled for would be.
    for part in objects_in({key: value for key, value in config.items() if key != "compile_config"}):
        if part.get("compile_config"):
            raise Refused("its configuration has a compiled model inside")
        name, module, registered = (part.get(key) for key in ("class_name", "module", "registered_name"))
        if not isinstance(name, str) or name not in KNOWN:
            raise Refused(f"its configuration names {name!r}, which is not among the known layers")
        if module is not None and str(module).split(".")[0] != "keras":
            raise Refused(f"its configuration takes {name!r} from {module!r}")
        if registered not in (None, name):
            raise Refused(f"its configuration asks for {registered!r}, which a program has registered")


def objects_in(config: Any) -> Iterator[dict]:
    """Yield every object that Keras would make of a model's configuration."""
    if isinstance(config, dict):
        if config.keys() & {"class_name", "compile_config"}:
            yield config
        config = list(config.values())
    for part in config if isinstance(config, list) else ():
        yield from objects_in(part)


def check_weights(weights: h5py.File, size: int) -> int:
    """Refuse links, arrays that lie in other files, and arrays that claim more than the file's `size` in bytes holds.

    Returns:
        How many numbers the arrays hold.
    """
    claimed, numbers, groups, seen = 0, 0, [weights], set()
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
                claimed, numbers = claimed + found.nbytes, numbers + found.size
            elif isinstance(found, h5py.Group):
                groups.append(found)
            else:
                raise Refused(f"its weights hold {found.name}, which is no array")
            if claimed > size:
                raise Refused(f"its weights claim {claimed} bytes and more, and hold {size}")
    return numbers


def check_size(path: str | Path, config: dict, numbers: int) -> None:
    """Refuse a configuration that would make more weights than the file holds, before any memory is taken for them.

    Raises:
        UserError: the numbers of both, or Keras cannot build the model.
    """
    import keras

    try:
        with keras.StatelessScope(initialize_variables=False):
            wanted = keras.saving.deserialize_keras_object(
                {key: value for key, value in config.items() if key != "compile_config"}
            ).count_params()
    except Exception as error:  # whatever a layer makes of wrong settings
        raise UserError(f"{path}: cannot be loaded as a Keras model ({str(error)[:200]}); train it again") from None
    if wanted > numbers:
        raise UserError(
            f"{path}: not loaded, as its layers ask for {wanted:,} weights and it holds {numbers:,}; train it again"
        )
