"""Writes files whole: to a temporary name, then into place. Hashes and locks them."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TextIO

from nosign.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

try:
    import fcntl
except ImportError:  # Unix alone has it
    fcntl = None  # type: ignore[assignment]
CHUNK_BYTES = 1 << 20
# What a file system answers that has no locks, or cannot reserve space.
NOT_SUPPORTED = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL}
# A lock that stands as a file so long is a killed process's.
LOCK_SECONDS = 300
LOCK_POLL_SECONDS = 0.02


@contextlib.contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; move it into place only if the block succeeds.

    The temporary name keeps the endings, because some writers choose the format by it.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".part-{os.getpid()}-{path.name}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def reserve(file: BinaryIO, length: int) -> None:
    """Make an open binary file `length` bytes long and take its space from the disk now.

    Whoever writes into a mapped file without space on the disk is killed by the system, without a message. Where the
    system cannot reserve space, zeros are written behind what the file holds.

    Raises:
        OSError: the disk is full.
    """
    try:
        os.posix_fallocate(file.fileno(), 0, length)
    except AttributeError:
        write_zeros(file, length)
    except OSError as error:
        if error.errno not in NOT_SUPPORTED:
            raise
        write_zeros(file, length)


def write_zeros(file: BinaryIO, length: int) -> None:
    """Write zeros at the end of an open binary file until it is `length` bytes long."""
    missing = length - file.seek(0, os.SEEK_END)
    while missing > 0:
        missing -= file.write(bytes(min(missing, CHUNK_BYTES)))
    file.flush()


def write_text(path: str | Path, text: str) -> None:
    """Write a UTF-8 text file atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_csv(path: str | Path, frame: pd.DataFrame, **options: Any) -> None:
    """Write a pandas frame as CSV atomically, without its index."""
    write_text(path, frame.to_csv(index=False, lineterminator="\n", **options))


def sha256_of_file(path: str | Path) -> str:
    """Return the hexadecimal SHA-256 of a file's bytes."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def sha256_of_model(path: str | Path) -> str:
    """Return the SHA-256 of a `.keras` file's weights.

    The file is a zip archive that carries its own date, so two saves of one model differ in bytes; the weights do not.

    Raises:
        UserError: the file is missing or is no Keras model file.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return hashlib.sha256(archive.read("model.weights.h5")).hexdigest()
    except FileNotFoundError:
        raise UserError(f"{path}: no such model file; run train_finetune.py first, or name the folder that holds it") from None
    except (zipfile.BadZipFile, KeyError):
        raise UserError(f"{path}: not a Keras model file (.keras); train it again with train_finetune.py") from None


@contextlib.contextmanager
def locked(folder: str | Path) -> Iterator[None]:
    """Let one process at a time change a folder's shared files; the others wait."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "w") as file, contextlib.nullcontext() if lock(file) else sole_file(folder / ".locked"):
        yield


def lock(file: TextIO) -> bool:
    """Wait for an open file's lock, which closing gives back; return whether the system has such locks."""
    if fcntl is None:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
    except OSError as error:
        if error.errno not in NOT_SUPPORTED:
            raise
        return False
    return True


@contextlib.contextmanager
def sole_file(path: Path) -> Iterator[None]:
    """Wait until no other process has a file, and have it: a lock for file systems without any."""
    seen, since = None, time.monotonic()
    while True:
        try:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL))
            break
        except FileExistsError:
            with contextlib.suppress(FileNotFoundError):
                stamp = path.stat().st_mtime_ns
                if stamp != seen:
                    seen, since = stamp, time.monotonic()
                elif time.monotonic() - since > LOCK_SECONDS:
                    path.unlink()
            time.sleep(LOCK_POLL_SECONDS)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
