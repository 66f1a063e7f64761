"""Runs a script on a GPU of its own: python workflow/on_gpu.py attack.py --out results ...

Where a machine shows several GPUs, the script sees the first that no other script started this way has; it waits where all are
taken. A scheduler that gives a job one GPU, and a machine without any, change nothing.
"""

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

VISIBLE = "CUDA_VISIBLE_DEVICES"
POLL_SECONDS = 1


def visible_gpus() -> list[str]:
    """Return the names of the GPUs that this process may use, as CUDA_VISIBLE_DEVICES has them."""
    if VISIBLE in os.environ:
        return [name for name in os.environ[VISIBLE].split(",") if name]
    if not shutil.which("nvidia-smi"):
        return []
    listed = subprocess.run(["nvidia-smi", "--query-gpu=uuid", "--format=csv,noheader"], capture_output=True, text=True)
    return listed.stdout.split()


def take(gpus: list[str]) -> str:
    """Wait for a GPU that is free, and lock it for as long as this process, and what takes its place, lives."""
    while True:
        for gpu in gpus:
            path = Path(tempfile.gettempdir(), f"nosign-gpu-{os.getuid()}-{gpu}.lock")
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
                continue
            os.set_inheritable(descriptor, True)
            return gpu
        time.sleep(POLL_SECONDS)


if __name__ == "__main__":
    found = visible_gpus()
    if len(found) > 1:
        os.environ[VISIBLE] = take(found)
    os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
