"""Processes that are timed in turns: each prepares its work, then runs what it is asked for, one at a time.

    python -m benchmarks.worker MODULE:FUNCTION TASK

The function takes a `Task` and returns its work, a dict from name to a function without arguments; TASK is the task's fields in
JSON. On standard input comes one name of work a line; on standard output goes one JSON object a line: once ready, the names of
the work and whether TensorFlow uses oneDNN; then for each work its seconds and, where it returns a dict or text, that; or an
error.
"""

import importlib
import json
import os
import select
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from benchmarks.task import Task

ROOT = Path(__file__).resolve().parent.parent
ONEDNN_FLAG = "TF_ENABLE_ONEDNN_OPTS"
# A caller may have them set for an old NumPy; each process is to find its kernels itself.
NOT_INHERITED = (ONEDNN_FLAG, "OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
# After work, threads wait actively for milliseconds; the next process is to find both cores idle.
SETTLE_SECONDS = 0.05
LONGEST_SECONDS = 900


class CannotRun(Exception):
    """A process cannot do its work; the message, one line, says why."""


class Worker:
    """A process with its work; use it in a `with` statement, which ends the process."""

    def __init__(self, prepare, task, onednn=None):
        """Start it; it prepares on its own until the first `run` or `ready`.

        Args:
            prepare: "module:function", see above.
            task: `Task`.
            onednn: value of TensorFlow's variable that switches oneDNN on or off; None: not set, as it comes.
        """
        environment = {name: value for name, value in os.environ.items() if name not in NOT_INHERITED}
        environment |= {} if onednn is None else {ONEDNN_FLAG: onednn}
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the process)
        command = [sys.executable, "-m", "benchmarks.worker", prepare, json.dumps(asdict(task))]
        self.process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors
        )
        self.about, self.failure = {}, ""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()
        self.errors.close()

    def ready(self):
        """Wait until it is prepared; return what it says about itself.

        Returns:
            Dict: works, the names of its work; onednn, whether TensorFlow uses it, None if not known.

        Raises:
            CannotRun: it cannot be prepared, or has failed since.
        """
        if self.failure:
            raise CannotRun(self.failure)
        self.about = self.about or self.reply()
        return self.about

    def run(self, work):
        """Run work of a name and wait for it; return its seconds and its result.

        Raises:
            CannotRun: the process cannot be prepared, the work failed, or the process ended or hangs.
        """
        self.ready()
        time.sleep(SETTLE_SECONDS)
        # A process that has ended takes no request; `reply` then raises with the reason that it left behind.
        with suppress(BrokenPipeError):
            self.process.stdin.write(f"{work}\n".encode())
            self.process.stdin.flush()
        answer = self.reply()
        return answer["seconds"], answer["result"]

    def seconds(self, work):
        """Return the seconds of one run of work; see `run`."""
        return self.run(work)[0]

    def reply(self):
        """Return the process's next answer, a dict, or raise `CannotRun`."""
        answered = select.select([self.process.stdout], [], [], LONGEST_SECONDS)[0]
        line = self.process.stdout.readline() if answered else b""
        answer = json.loads(line) if line else {"error": self.last_words() if answered else f"no answer in {LONGEST_SECONDS} s"}
        if "error" in answer:
            self.failure = answer["error"]
            raise CannotRun(self.failure)
        return answer

    def last_words(self):
        """Return how a process that ended without an answer ended, and the last line that it wrote to standard error."""
        status = self.process.wait()
        self.errors.seek(0)
        lines = [line.strip() for line in self.errors.read().decode(errors="replace").splitlines() if line.strip()]
        return f"its process ended with status {status}: {one_line(lines[-1]) if lines else 'it said nothing'}"


def serve(prepare, task, requests, answer):
    """Prepare work and run what is asked for, until there are no more requests.

    Args:
        prepare: "module:function".
        task: `Task`.
        requests: iterable of lines, each the name of work.
        answer: function that sends a dict.
    """
    module, function = prepare.split(":")
    works = getattr(importlib.import_module(module), function)(task)
    answer({"works": list(works), "onednn": tensorflow_uses_onednn()})
    for line in requests:
        started = time.perf_counter()
        result = works[line.strip()]()
        seconds = time.perf_counter() - started
        answer({"seconds": seconds, "result": result if isinstance(result, (dict, str)) else None})


def tensorflow_uses_onednn():
    """Tell whether TensorFlow, if this process has imported it, computes with oneDNN."""
    if "tensorflow" not in sys.modules:
        return None
    # Imported late: at its import it would switch oneDNN on for a TensorFlow that comes after.
    from nosign.backend import uses_onednn

    return uses_onednn()


def one_line(text, longest=200):
    """Return text as one line; the middle of a long one, where a whole model may be printed, is left out."""
    text = " ".join(text.split())
    return text if len(text) <= longest else f"{text[: longest // 2]} ... {text[-longest // 2 :]}"


def main(argv=None):
    """Serve until standard input ends; return 0, or 1 after an error, which is the last answer."""
    prepare, task = argv or sys.argv[1:]
    # What libraries print must not come between the answers.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    def answer(message):
        print(json.dumps(message), file=answers, flush=True)

    try:
        serve(prepare, Task(**json.loads(task)), sys.stdin, answer)
    except Exception as error:
        answer({"error": one_line(f"{type(error).__name__}: {error}")})
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
