"""All writing to the disk: files whole or not at all, locks, removals. Also hashes files.

A file is written under a temporary name, flushed to the disk and moved into place. Every operation passes through
`nosign.faults`, so that tests can stop a stage at each of them; no other module writes, renames or removes anything.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import itertools
import math
import os
import shutil
import socket
import tempfile
import threading
import time
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TextIO

from nosign.errors import UserError
from nosign.faults import operation

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
# Held by the one process that works in a folder; the second file where there are no locks.
RUNNING, RUNNING_BY = ".running-", ".running-by-"
PART = ".part-"
# Smaller arrays stay in memory; larger ones go into files, up to the second size several into one. Where, without TMPDIR:
# unlike /tmp, it is never kept in memory.
LEAST_MAPPED_BYTES, SHARED_FILE_BYTES, ALIGNED_BYTES, TEMPORARY = 1 << 20, 1 << 26, 64, "/var/tmp"
# So that no two temporary names of a process are equal.
NUMBERS = itertools.count()
# So old is no temporary file of a process at work; of those on another machine no more is known.
LEFTOVER_SECONDS = 86400


def write_bytes(path: str | Path, content: bytes) -> None:
    """Write a file atomically."""
    with atomic_path(path, whole=False) as temporary:
        fill(temporary, content)


def fill(path: str | Path, content: bytes) -> None:
    """Write a file that nobody reads yet; for paths that `atomic_path` gives."""
    with open(path, "wb", buffering=0) as file:
        put(file, content)


def write_text(path: str | Path, text: str) -> None:
    """Write a UTF-8 text file atomically."""
    write_bytes(path, text.encode())


def write_csv(path: str | Path, frame: pd.DataFrame, **options: Any) -> None:
    """Write a pandas frame as CSV atomically, without its index."""
    write_text(path, csv_text(frame, **options))


def csv_text(frame: pd.DataFrame, **options: Any) -> str:
    """Return a pandas frame as CSV, without its index, with lines that end as on Unix."""
    return frame.to_csv(index=False, lineterminator="\n", **options)


def write_arrays(path: str | Path, arrays: Mapping[str, Any]) -> None:
    """Write arrays as one `.npz` file atomically."""
    import numpy as np

    content = io.BytesIO()
    np.savez(content, **arrays)
    write_bytes(path, content.getvalue())


def write_array(path: str | Path, array: Any) -> None:
    """Write an array as a `.npy` file atomically."""
    import numpy as np

    content = io.BytesIO()
    np.save(content, array)
    write_bytes(path, content.getvalue())


def write_at(path: str | Path, offset: int, content: bytes) -> None:
    """Write into an existing file, in place; for files that `atomic_path` gives."""
    with open(path, "r+b", buffering=0) as file:
        file.seek(offset)
        put(file, content)


def put(file: BinaryIO | io.FileIO, content: bytes) -> None:
    """Write all bytes into an open unbuffered file."""

    def write(part: memoryview) -> None:
        while part:
            part = part[file.write(part) :]

    view = memoryview(content)
    with operation("w", file.name, half=lambda: write(view[: len(view) // 2])):
        write(view)


@contextlib.contextmanager
def atomic_path(path: str | Path, *, whole: bool = True) -> Iterator[Path]:
    """Give a temporary path beside `path`; move it into place only if the block succeeds.

    The temporary name keeps the endings, because some writers choose the format by it.

    Args:
        whole: whether the block counts as one write, because a library writes the file.
    """
    path = Path(path)
    make_folder(path.parent)
    temporary = part_of(path)
    try:
        yield temporary
        if whole:
            with operation("w", path, half=lambda: os.truncate(temporary, temporary.stat().st_size // 2)):
                pass
        with operation("f", path):
            flush(temporary)
        move(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def flush(path: Path) -> None:
    """Have the system put a file's bytes on the disk: a file that is moved into place before may be empty after a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in NOT_SUPPORTED:
            raise
    finally:
        os.close(descriptor)


def move(source: Path, target: Path) -> None:
    """Rename a file or a folder; a file takes another's place."""
    with operation("r", target):
        os.replace(source, target)


def make_folder(path: str | Path) -> None:
    """Make a folder and those above it where they are missing."""
    Path(path).mkdir(parents=True, exist_ok=True)


def link_folder(target: str | Path, path: Path) -> None:
    """Make `path` a link to a folder, in place of a link whose target is gone."""
    remove(path)
    os.symlink(target, path, target_is_directory=True)


def remove(path: Path) -> None:
    """Remove a file if it is there."""
    with operation("d", path):
        path.unlink(missing_ok=True)


def remove_folder(path: Path) -> None:
    """Remove a folder with all in it, if it is there; whatever stops this, no part of it keeps its name."""
    if path.is_symlink():
        for inner in path.iterdir() if path.is_dir() else ():
            remove_folder(inner) if inner.is_dir() and not inner.is_symlink() else remove(inner)
        return
    if not path.exists():
        return
    temporary = part_of(path)
    move(path, temporary)
    with operation("d", path):
        shutil.rmtree(temporary, ignore_errors=True)


def part_of(path: Path) -> Path:
    """Return a temporary path beside a path that says which process of which machine writes it."""
    return path.with_name(f"{PART}{this_process()}-{next(NUMBERS)}-{path.name}")


def this_process() -> str:
    """Return which process of which machine this is, for others to ask whether it `is_gone`."""
    return f"{os.getpid()}-{machine()}"


def machine() -> str:
    """Return eight hexadecimal digits that differ between machines, and between containers that number processes anew."""
    try:
        processes = os.readlink("/proc/self/ns/pid")
    except OSError:
        processes = ""
    return hashlib.sha256(f"{socket.gethostname()} {processes}".encode()).hexdigest()[:8]


def remove_leftovers(folder: str | Path, *, below: bool = True) -> None:
    """Remove what killed processes left under temporary names in a folder and, if `below`, in the folders in it.

    What may not be removed stays: it is in nobody's way.
    """
    for path in sorted(Path(folder).glob(("**/" if below else "") + f"{PART}*")):
        if is_leftover(path):
            with contextlib.suppress(OSError):
                shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


def is_leftover(path: Path) -> bool:
    """Tell whether the process that wrote a temporary path is gone; of another machine's process its age tells."""
    process = path.name.removeprefix(PART)
    try:
        if process.split("-")[1:2] == [machine()]:
            return is_gone(process)
        return time.time() - path.lstat().st_mtime > LEFTOVER_SECONDS
    except FileNotFoundError:
        return False


def is_gone(process: str) -> bool:
    """Tell whether a process that `this_process` named is known to be gone: one of this machine, where the system tells."""
    number, _, rest = process.partition("-")
    if not (number.isdecimal() and rest.startswith(machine()) and os.name == "posix"):
        return False
    try:
        os.kill(int(number), 0)
    except ProcessLookupError:
        return True
    except (PermissionError, OverflowError):
        return False  # another user's, or no number of a process
    return False


def new_array(path: str | Path, dtype: Any, shape: tuple[int, ...]) -> Any:
    """Return a new `.npy` file as a memory-mapped array, with space on the disk; for paths that `atomic_path` gives."""
    import numpy as np

    array = np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)
    with open(path, "r+b") as file:
        reserve(file, os.path.getsize(path))
    return array


def temporary_array(shape: tuple[int, ...], dtype: Any) -> Any:
    """Return a new array; a large one lies in a file that has no name, so that the system can move it out of memory.

    The file is in the folder that TMPDIR names, else in `TEMPORARY`; its space is free again once the arrays in it are gone or
    the process has ended, however it ends. Arrays below `SHARED_FILE_BYTES` share files, as a process may open few.

    Raises:
        OSError: the disk is full.
    """
    import numpy as np

    size = math.prod(shape) * np.dtype(dtype).itemsize
    if size < LEAST_MAPPED_BYTES:
        return np.empty(shape, dtype)
    taken = mapped_file(size) if size >= SHARED_FILE_BYTES else SHARED_FILE.take(size)
    return taken.view(dtype).reshape(shape)


def mapped_file(size: int) -> Any:
    """Return a new file without a name as an array of bytes."""
    import numpy as np

    folder = os.environ.get("TMPDIR") or (TEMPORARY if os.path.isdir(TEMPORARY) else None)
    with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
        try:
            reserve(file, size)
        except OSError as error:  # the file has no name, and whoever reads the message looks for a place
            raise OSError(error.errno, error.strerror, folder or tempfile.gettempdir()) from None
        return np.memmap(file, np.uint8, "r+", shape=(size,))


class SharedFile:
    """Hands out the parts of one mapped file after the other."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Go on in a new file."""
        self.lock, self.used = threading.Lock(), 0
        self.file: Any = None

    def take(self, size: int) -> Any:
        """Return an array of so many bytes, which no other has."""
        with self.lock:
            if self.file is None or self.used + size > len(self.file):
                self.file, self.used = mapped_file(SHARED_FILE_BYTES), 0
            start = self.used
            self.used += -(-size // ALIGNED_BYTES) * ALIGNED_BYTES
            return self.file[start : start + size]


SHARED_FILE = SharedFile()
if hasattr(os, "register_at_fork"):  # a process that was forked would hand out what its parent does
    os.register_at_fork(after_in_child=SHARED_FILE.begin)


def create(path: str | Path, head: bytes, length: int) -> None:
    """Make a file of `length` bytes that begins with `head`, for `write_at`; its space is taken from the disk now."""
    with open(path, "wb") as file:
        file.write(head)
        reserve(file, length)


def reserve(file: BinaryIO, length: int) -> None:
    """Make an open binary file `length` bytes long and take its space from the disk now.

    Whoever writes into a mapped file without space on the disk is killed by the system, without a message. Where the
    system cannot reserve space, zeros are written behind what the file holds.

    Raises:
        OSError: the disk is full.
    """
    with operation("w", file.name):
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


def sha256_of_file(path: str | Path) -> str:
    """Return the hexadecimal SHA-256 of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of_model(path: str | Path) -> str:
    """Return the SHA-256 of a `.keras` file's weights.

    The file is a zip archive that carries its own date, so two saves of one model differ in bytes; the weights do not.

    Raises:
        UserError: the file is missing or is no Keras model file.
    """
    try:
        with zipfile.ZipFile(path) as archive, archive.open("model.weights.h5") as weights:
            digest = hashlib.sha256()
            while chunk := weights.read(CHUNK_BYTES):
                digest.update(chunk)
            return digest.hexdigest()
    except FileNotFoundError:
        raise UserError(f"{path}: no such model file; run train_finetune.py first, or name the folder that holds it") from None
    except (zipfile.BadZipFile, zlib.error, KeyError, EOFError, NotImplementedError, RuntimeError):
        raise UserError(f"{path}: not a Keras model file (.keras); train it again with train_finetune.py") from None


@contextlib.contextmanager
def locked(folder: str | Path) -> Iterator[None]:
    """Let one process at a time change a folder's shared files; the others wait."""
    make_folder(folder)
    with open(Path(folder, ".lock"), "w") as file, contextlib.nullcontext() if lock(file) else awaited(Path(folder, ".locked")):
        yield


@contextlib.contextmanager
def alone(folder: str | Path, doing: str, what: str = "") -> Iterator[None]:
    """Do something in a folder as the only process that does it; not for two threads of one process.

    Args:
        doing: such as "trains VGG16", for the message.
        what: a name, where several things may be done in the folder at once.

    Raises:
        UserError: another process is at work there.
    """
    make_folder(folder)
    path, claim = Path(folder, RUNNING + what), Path(folder, RUNNING_BY + what)
    with contextlib.ExitStack() as held:
        file = held.enter_context(open(path, "w"))
        try:
            if not lock(file, wait=False):
                held.enter_context(claimed(claim))
            # The one that had it may have removed the file in between, and a third one made it anew.
            if not is_still(file, path):
                raise BlockingIOError
        except (BlockingIOError, FileExistsError):
            remedy = f" (or, if it was killed, remove {claim})" if claim.exists() else ""
            raise UserError(
                f"{folder}: another process {doing} there: wait until it is done, or end it{remedy}; then run again"
            ) from None
        held.callback(path.unlink, missing_ok=True)
        yield


def is_still(file: TextIO, path: Path) -> bool:
    """Tell whether an open file is what a path names now."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def lock(file: TextIO, *, wait: bool = True) -> bool:
    """Take an open file's lock, which closing gives back.

    Args:
        wait: for whoever has it. A lock that is not waited for belongs to this process, not to those that it starts, which may
            outlive it.

    Returns:
        Whether the system has such locks.

    Raises:
        BlockingIOError: another process has it.
    """
    if fcntl is None:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX) if wait else fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EAGAIN):
            raise BlockingIOError from None
        if error.errno not in NOT_SUPPORTED:
            raise
        return False
    return True


@contextlib.contextmanager
def claimed(path: Path) -> Iterator[None]:
    """Hold a file that names this process: a lock for file systems without any.

    Raises:
        FileExistsError: another process has it.
    """
    discard_claim_of_the_dead(path)
    with open(path, "x", encoding="utf-8") as file:
        file.write(this_process())
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def awaited(path: Path) -> Iterator[None]:
    """Wait for a file that `claimed` holds, and hold it; one that stands for `LOCK_SECONDS` is a killed process's."""
    seen, since = None, time.monotonic()
    with contextlib.ExitStack() as held:
        while True:
            try:
                held.enter_context(claimed(path))
                break
            except FileExistsError:
                with contextlib.suppress(FileNotFoundError):
                    stamp = path.stat().st_mtime_ns
                    if stamp != seen:
                        seen, since = stamp, time.monotonic()
                    elif time.monotonic() - since > LOCK_SECONDS:
                        path.unlink()
                time.sleep(LOCK_POLL_SECONDS)
        yield


def discard_claim_of_the_dead(path: Path) -> None:
    """Remove a claim whose process is gone. It is taken away first and read then, as another process may do the same."""
    taken = part_of(path)
    with contextlib.suppress(FileNotFoundError, FileExistsError):
        if is_gone(path.read_text(encoding="utf-8")):
            os.replace(path, taken)
            if not is_gone(taken.read_text(encoding="utf-8")):
                os.link(taken, path)  # another one's, made in between
    taken.unlink(missing_ok=True)
