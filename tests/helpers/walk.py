"""Walks a stage through every fault: python tests/helpers/walk.py stage.json

Ends a run before each of its operations on the disk, makes each of its writes fail, and says where the rerun does not end in
the bytes of an undisturbed run. Everything runs in children of this process, which has imported all and has one thread.

stage.json:
    stage, argv, folder   module with a main; its words, OUT in place of the output folder; where to work
    before                a folder that the output folder begins as a copy of
    films                 whether the output is read as films, and must then be whole or refused
    imports, prepare      modules that the stage imports late; MODULE:FUNCTION to call first
    most, most_errors     how many kills and failing writes, drawn by `seed`; all if absent
    alike                 false: run again from every point, not only once from points that differ in temporary names alone,
                          and let flushes and renames fail as well as writes
    composes              whether the stage changes nothing and starts no thread before its first operation: the writes then
                          fail in copies of one process that stands there
Prints JSON: letters (one per operation), killed, reran, failed (how many points), wrong (what went wrong, in words).
"""

import contextlib
import hashlib
import importlib
import json
import os
import random
import shutil
import sys
import traceback
import zipfile
from pathlib import Path

from nosign import faults
from nosign.dataset import open_split
from nosign.errors import UserError
from nosign.files import PART

# What differs between two runs of one command; the checkout may have been changed between them.
PASSING = {"commands", "started", "seconds", "begun", "seconds_a_model", "process", "git"}
UNCOUNTED = (".lock", ".running")
REAL_KILLS = 3


def contents(folder):
    """Return what a stage left: dict from path to hash; manifests without what is passing, models by their weights."""
    found = {}
    for path in sorted(Path(folder).rglob("*")):
        if path.is_dir() or path.name.startswith(UNCOUNTED):
            continue
        name, data = str(path.relative_to(folder)), path.read_bytes()
        with contextlib.suppress(zipfile.BadZipFile, KeyError, ValueError):
            if path.suffix == ".keras":
                data = zipfile.ZipFile(path).read("model.weights.h5")
            if path.name == "manifest.json":
                manifest = {key: value for key, value in json.loads(data).items() if key not in PASSING}
                manifest["outputs"] = {
                    key: None if key.endswith(".keras") else value for key, value in manifest.get("outputs", {}).items()
                }
                data = json.dumps(manifest, sort_keys=True).encode()
        found[name] = hashlib.sha256(data).hexdigest()
    return found


def without_parts(found):
    """Return contents without what has a temporary name."""
    return {name: digest for name, digest in found.items() if PART not in name}


class Walk:
    """One stage, its command and the folder that it writes."""

    def __init__(self, stage, argv, folder, *, before=None, imports=(), prepare=None, **options):
        self.folder, self.out = Path(folder), Path(folder) / "out"
        self.main = importlib.import_module(stage).main
        for module in imports:
            importlib.import_module(module)
        if prepare:
            module, function = prepare.split(":")
            getattr(importlib.import_module(module), function)()
        self.argv = [word.replace("OUT", str(self.out)) for word in argv]
        self.before = before
        self.films, self.composes, self.alike = (options.pop(name, name == "alike") for name in ("films", "composes", "alike"))
        self.most, self.most_errors, self.seed = (options.pop(name, None) for name in ("most", "most_errors", "seed"))
        if options:
            raise UserError(f"stage.json says {', '.join(options)}, which mean nothing")
        self.counter, self.said = self.folder / "count", self.folder / "said"
        self.wrong = []

    def restore(self, snapshot=None):
        """Make the output folder a copy of a snapshot, or what it was at the beginning."""
        shutil.rmtree(self.out, ignore_errors=True)
        source = snapshot or self.before
        if source and Path(source).is_dir():
            shutil.copytree(source, self.out, symlinks=True)

    def child(self, fault="", hook=None):
        """Run the stage in a child process; return its exit status and what it said on stderr."""
        self.counter.unlink(missing_ok=True)
        process = os.fork()
        if process:
            return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), self.said.read_text(errors="replace")
        try:
            for number, path in ((1, os.devnull), (2, self.said)):
                os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
            os.environ[faults.VARIABLE] = f"{fault}:{self.counter}" if fault else ""
            if hook:
                hook()
            from nosign.script import run

            status = run(self.main, self.argv)
            sys.stderr.flush()
        except SystemExit as exit_:
            status = exit_.code
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
            status = 70
        os._exit(status)

    def snapshots(self):
        """Return where the output folder is kept as it is before each operation, by number; and the operations' letters."""
        kept = self.folder / "snapshots"

        def hook():
            counted = faults.count

            def count(counter, letter):
                number = counted(counter, letter)
                if self.out.is_dir():
                    shutil.copytree(self.out, kept / str(number), symlinks=True)
                return number

            faults.count = count

        self.restore()
        status, said = self.child("count:0", hook)
        letters = self.counter.read_text()
        self.check(status == 0, f"traced run: exit {status}: {said}")
        # After the last operation there is one more place to die.
        shutil.copytree(self.out, kept / str(len(letters) + 1), symlinks=True)
        return kept, letters

    def check(self, holds, words):
        """Keep words about what went wrong."""
        if not holds:
            self.wrong.append(" ".join(words.split())[:600])

    def rerun(self, expected, where):
        """Run the command again; check that it ends as an undisturbed run does."""
        status, said = self.child()
        self.check(status == 0, f"{where}: the rerun exits with {status}: {said}")
        found = contents(self.out)
        differing = sorted(name for name in {*found, *expected} if found.get(name) != expected.get(name))
        self.check(not differing, f"{where}: the rerun leaves other bytes in {differing}")

    def is_whole_or_refused(self, expected):
        """Tell whether the output can be read as films only if it is what was there before, or what is to come."""
        found = without_parts(contents(self.out))
        if found == expected or self.before and found == contents(self.before):
            return True
        with contextlib.suppress(UserError):
            open_split(self.out, "train")
            return False
        return True

    def walk(self):
        """Walk; return what is printed."""
        self.restore()
        status, said = self.child()
        if status:
            raise UserError(f"undisturbed run: exit {status}: {said}")
        expected = contents(self.out)
        kept, letters = self.snapshots()
        self.check(contents(self.out) == expected, "two undisturbed runs differ")
        numbers = range(1, len(letters) + 2)
        # The last removals are where something is forgotten most easily.
        kills = sorted({*self.some(numbers, self.most), *numbers[-3:]})
        last = {json.dumps(without_parts(contents(kept / str(number)))): number for number in kills}
        reruns = sorted(last.values()) if self.alike else kills
        for number in reruns:
            where = f"killed before operation {number} of {len(letters)} ({letters[number - 1 :][:1] or 'end'})"
            self.restore(kept / str(number))
            self.check(not self.films or self.is_whole_or_refused(expected), f"{where}: half of the films are taken for all")
            self.rerun(expected, where)
        self.real_kills(kept, letters, expected)
        fallible = "w" if self.alike else "wfr"
        failing = self.some([number for number, letter in enumerate(letters, 1) if letter in fallible], self.most_errors)
        faults_of = {number: ("ENOSPC", "EIO")[place % 2] for place, number in enumerate(failing)}
        said = self.at_first_operation(faults_of) if self.composes else {}
        for number, error in faults_of.items():
            self.fail(error, number, kept / str(number), expected, said.get(number))
        return {"letters": letters, "killed": len(kills), "reran": len(reruns), "failed": len(failing), "wrong": self.wrong}

    def at_first_operation(self, faults_of):
        """Let one process come to its first operation, and each of these fail in a copy of it that goes on from there.

        Returns:
            Dict from the operation's number to the exit status, what was said on stderr, and where the output folder was kept.
        """
        kept = {number: self.folder / f"failed-{number}" for number in faults_of}

        def hook():
            counted = faults.count

            def count(counter, letter):
                faults.count = counted
                for number, error in faults_of.items():
                    process = os.fork()
                    if not process:
                        os.dup2(os.open(kept[number].with_suffix(".said"), os.O_WRONLY | os.O_CREAT), 2)
                        os.environ[faults.VARIABLE] = f"{error}:{number}:{self.counter}"
                        if number == counted(counter, letter):
                            raise OSError(faults.ERRORS[error], os.strerror(faults.ERRORS[error]), "the first file")
                        return 0
                    status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
                    kept[number].with_suffix(".status").write_text(str(status))
                    self.out.rename(kept[number])
                    self.counter.unlink()
                    self.restore()
                os._exit(0)

            faults.count = count

        self.restore()
        self.child("count:0", hook)
        return {
            number: (int(folder.with_suffix(".status").read_text()), folder.with_suffix(".said").read_text(), folder)
            for number, folder in kept.items()
        }

    def some(self, numbers, most):
        """Return at most so many of the numbers, ascending, drawn by the seed; all if `most` is None."""
        numbers = list(numbers)
        return numbers if most is None or most >= len(numbers) else sorted(random.Random(self.seed).sample(numbers, most))

    def real_kills(self, kept, letters, expected):
        """End the process itself at some operations: the folder is then what the snapshot says, half a file more if torn."""
        step = max(1, len(letters) // REAL_KILLS)
        for place, number in enumerate(range(1, len(letters) + 1, step)):
            action = ("before", "torn", "after")[place % 3]
            self.restore()
            self.child(f"{action}:{number}")
            found = without_parts(contents(self.out))
            near = [without_parts(contents(kept / str(one))) for one in (number, number + 1)]
            differing = sorted(name for name in {*found, *near[0]} if found.get(name) not in {one.get(name) for one in near})
            self.check(not differing, f"{action} operation {number}: another state than the snapshot's in {differing}")
            self.rerun(expected, f"{action} operation {number}, a real end")

    def fail(self, error, number, snapshot, expected, known=None):
        """Make an operation fail: one line, exit 1, no file with a temporary name, and what was there is still there.

        Args:
            known: what `at_first_operation` returned of it.
        """
        where = f"{error} at operation {number}"
        self.restore(known and known[2])
        status, said = known[:2] if known else self.child(f"{error}:{number}")
        lines = [line for line in said.splitlines() if line.startswith("error:")]
        self.check(status == 1 and len(lines) == 1, f"{where}: exit {status}: {said}")
        self.check("Traceback" not in said, f"{where}: {said}")
        found = contents(self.out)
        self.check(found == without_parts(found), f"{where}: left {sorted(set(found) - set(without_parts(found)))}")
        if found != without_parts(contents(snapshot)):
            self.rerun(expected, where)


if __name__ == "__main__":
    try:
        print(json.dumps(Walk(**json.loads(Path(sys.argv[1]).read_text())).walk()))
    except UserError as error:
        raise SystemExit(f"error: {error}") from None
