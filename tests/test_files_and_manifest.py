"""Files are whole or absent, and a manifest says what they came from."""

import errno
import hashlib
import json
import os
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path

import pandas
import pytest

from nosign import files
from nosign.errors import UserError
from nosign.files import alone, atomic_path, locked, reserve, sha256_of_file, sha256_of_model, write_csv, write_text
from nosign.manifest import (
    MANIFEST,
    check_settings,
    commands_of,
    describe_differences,
    git_state,
    package_versions,
    read_manifest,
    write_manifest,
)

ADVICE = "give --overwrite"


def manifest_of(folder, settings=None, **more):
    write_manifest(folder, stage="test", settings=settings or {"seed": 0}, started=time.time(), **more)
    return json.loads((folder / MANIFEST).read_text())


def test_atomic_file_appears_only_when_the_block_ends(tmp_path):
    path = tmp_path / "new" / "film.png"
    with atomic_path(path) as temporary:
        temporary.write_bytes(b"film")
        assert temporary.parent == path.parent and temporary.suffix == ".png" and not path.exists()
    assert [file.name for file in path.parent.iterdir()] == ["film.png"] and path.read_bytes() == b"film"


def test_failed_block_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "film.png"
    path.write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt), atomic_path(path) as temporary:
        temporary.write_bytes(b"half")
        raise KeyboardInterrupt
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_block_that_writes_nothing_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError), atomic_path(tmp_path / "film.png"):
        pass


def test_text_is_utf8_and_csv_has_no_index_and_unix_lines(tmp_path):
    write_text(tmp_path / "a.txt", "Röntgen\n")
    assert (tmp_path / "a.txt").read_bytes() == "Röntgen\n".encode()
    write_csv(tmp_path / "a.csv", pandas.DataFrame({"x": [1], "y": ["a,b"]}))
    assert (tmp_path / "a.csv").read_bytes() == b'x,y\n1,"a,b"\n'


@pytest.mark.parametrize("length", [0, 1, 1 << 20, (1 << 20) + 1])
def test_file_hash_is_that_of_its_bytes_across_chunks(tmp_path, length):
    content = bytes(range(256)) * (length // 256) + bytes(length % 256)
    (tmp_path / "file").write_bytes(content)
    assert sha256_of_file(tmp_path / "file") == hashlib.sha256(content).hexdigest()


def test_model_hash_depends_on_the_weights_alone(tmp_path):
    def save(weights, date):
        with zipfile.ZipFile(tmp_path / "model.keras", "w") as archive:
            archive.writestr(zipfile.ZipInfo("metadata.json", date_time=date), "{}")
            archive.writestr(zipfile.ZipInfo("model.weights.h5", date_time=date), weights)
        return sha256_of_model(tmp_path / "model.keras")

    first = save(b"weights", (2020, 1, 1, 0, 0, 0))
    assert first == save(b"weights", (2021, 1, 1, 0, 0, 0)) == hashlib.sha256(b"weights").hexdigest()
    assert first != save(b"others", (2020, 1, 1, 0, 0, 0))


def test_missing_and_foreign_model_files_are_one_line(tmp_path):
    with pytest.raises(UserError, match="no such model file; run train_finetune.py first"):
        sha256_of_model(tmp_path / "a.keras")
    (tmp_path / "a.keras").write_text("text")
    with pytest.raises(UserError, match="not a Keras model file"):
        sha256_of_model(tmp_path / "a.keras")
    with zipfile.ZipFile(tmp_path / "a.keras", "w") as archive:
        archive.writestr("other", "")
    with pytest.raises(UserError, match="not a Keras model file"):
        sha256_of_model(tmp_path / "a.keras")


def test_manifest_says_what_was_run_on_what_with_what_result(tmp_path):
    (tmp_path / "in").write_text("in")
    (tmp_path / "out").mkdir()
    for name in ("a", "b"):
        (tmp_path / "out" / name).write_text(name)
    outputs = [tmp_path / "out" / name for name in ("a", "b")]
    manifest = manifest_of(
        tmp_path / "out",
        {"seed": (1, 2)},
        inputs=[tmp_path / "in"],
        outputs=outputs,
        known_hashes={outputs[1]: "known"},
        films=3,
    )
    assert manifest["stage"] == "test" and manifest["settings"] == {"seed": [1, 2]}
    assert [command["argv"] for command in manifest["commands"]] == [sys.argv[1:]]
    assert manifest["inputs"] == {str(tmp_path / "in"): hashlib.sha256(b"in").hexdigest()}
    assert manifest["outputs"] == {"a": hashlib.sha256(b"a").hexdigest(), "b": "known"}
    assert manifest["films"] == 3 and 0 <= manifest["seconds"] < 10 and manifest["packages"] == package_versions()
    assert time.strftime("%Y-%m-%d", time.gmtime()) == manifest["started"][:10]


def test_a_manifest_lists_every_command_that_made_the_folder_once(tmp_path, monkeypatch):
    for started, words, adds in ((10, ["a"], True), (20, ["b"], True), (20, ["b"], True), (20, ["c"], True)):
        monkeypatch.setattr(sys, "argv", ["script.py", *words])
        write_manifest(tmp_path, stage="test", settings={}, started=started, adds=adds)
    commands = read_manifest(tmp_path)["commands"]
    assert [(command["argv"], command["started"]) for command in commands] == [
        (["a"], "1970-01-01T00:00:10Z"),
        (["b"], "1970-01-01T00:00:20Z"),
        (["c"], "1970-01-01T00:00:20Z"),
    ]
    assert all(command["git"] == git_state() and command["seconds"] > 0 for command in commands)
    write_manifest(tmp_path, stage="test", settings={}, started=25, begun=20, adds=True)
    assert len(read_manifest(tmp_path)["commands"]) == 3 and read_manifest(tmp_path)["started"] == "1970-01-01T00:00:25Z"
    write_manifest(tmp_path, stage="test", settings={}, started=30)
    assert len(read_manifest(tmp_path)["commands"]) == 1


def test_a_manifest_of_one_command_only_is_still_read():
    old = {"argv": ["--seed", "1"], "started": "2026-11-22T00:00:00Z", "seconds": 3.0, "git": None}
    assert commands_of({**old, "stage": "attack.py"}) == [old] and commands_of({}) == []


def test_same_settings_give_the_manifest_and_none_without_one(tmp_path):
    assert check_settings(tmp_path, {"seed": 0}, ADVICE) is None and read_manifest(tmp_path) is None
    manifest = manifest_of(tmp_path, {"sizes": [1, 2]})
    assert check_settings(tmp_path, {"sizes": (1, 2)}, ADVICE) == manifest


def test_other_settings_are_named(tmp_path):
    manifest_of(tmp_path, {"seed": 0, "gone": True})
    with pytest.raises(UserError, match=r'another run: seed 0 \(now 1\), gone true \(now null\), new null \(now "x"\)'):
        check_settings(tmp_path, {"seed": 1, "new": "x"}, ADVICE)
    assert describe_differences({"a": 1}, {"a": 1}) == ""
    assert len(describe_differences({"a": "x" * 500}, {"a": "y" * 500})) < 160


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "\udcff", "[" * 100_000])
def test_damaged_manifest_is_one_line(tmp_path, text):
    (tmp_path / MANIFEST).write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(UserError, match="not a manifest in JSON; remove the file"):
        read_manifest(tmp_path)


def test_another_programs_manifest_is_one_line(tmp_path):
    for text in ("{}", '{"settings": [1]}'):
        (tmp_path / MANIFEST).write_text(text)
        with pytest.raises(UserError, match=f"{MANIFEST}: says no settings, so another program wrote it; .*{ADVICE}"):
            check_settings(tmp_path, {"seed": 0}, ADVICE)


class NoLocks:
    LOCK_EX, LOCK_NB = 2, 4

    @staticmethod
    def flock(*_):
        raise OSError(errno.ENOLCK, "No locks available")


@pytest.fixture(params=["flock", "no fcntl", "a file system without locks"])
def locks(request, monkeypatch):
    """Every way to lock a folder."""
    if request.param != "flock":
        monkeypatch.setattr(files, "fcntl", None if request.param == "no fcntl" else NoLocks)


ALONE = """
import sys, time
from nosign import files
if sys.argv[2] == "no locks":
    files.fcntl = None
with files.alone(sys.argv[1], "trains VGG16"):
    print("in", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("system", ["flock", "no locks"])
def test_only_one_process_works_in_a_folder_and_a_killed_one_does_not_block_it(tmp_path, monkeypatch, root, system):
    if system == "no locks":
        monkeypatch.setattr(files, "fcntl", None)
    command = [sys.executable, "-c", ALONE, str(tmp_path), system]
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "in\n"
        with pytest.raises(UserError, match="another process trains VGG16 there"), alone(tmp_path, "trains VGG16"):
            pass
        with alone(tmp_path, "trains InceptionV3", "InceptionV3"):
            pass
        other.kill()
    for _ in range(2):
        with alone(tmp_path, "trains VGG16"):
            pass
    assert list(tmp_path.iterdir()) == []


def test_lock_is_not_held_by_workers_that_outlive_the_process(tmp_path):
    """As those of a killed process do."""
    with alone(tmp_path, "prepares films"):
        worker = os.fork()
        if not worker:
            time.sleep(60)
            os._exit(0)
    try:
        code = f"from nosign.files import alone\nwith alone({str(tmp_path)!r}, 'prepares films'): pass"
        (tmp_path / ".running-").touch()
        assert subprocess.run([sys.executable, "-c", code], cwd=files.__file__.split("/nosign/")[0]).returncode == 0
    finally:
        os.kill(worker, 9)
        os.waitpid(worker, 0)


def test_claim_made_in_between_is_not_taken_for_the_dead_ones(tmp_path, monkeypatch):
    path, dead = tmp_path / ".running-by-", f"{dead_process()}-{files.machine()}"
    path.write_text(dead)
    replace = os.replace

    def replace_late(source, target):
        path.write_text(files.this_process())  # another process was quicker
        replace(source, target)

    monkeypatch.setattr(files.os, "replace", replace_late)
    files.discard_claim_of_the_dead(path)
    assert path.read_text() == files.this_process() and list(tmp_path.iterdir()) == [path]


def dead_process():
    """Return the number of a process that is gone."""
    done = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True)
    return int(done.stdout)


def test_process_of_another_machine_is_not_taken_for_a_dead_one(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "fcntl", None)
    (tmp_path / ".running-by-").write_text("1-elsewhere")
    with pytest.raises(UserError, match="or, if it was killed, remove .*running-by-"), alone(tmp_path, "trains"):
        pass


def test_leftovers_of_dead_processes_are_removed_and_of_living_ones_kept(tmp_path):
    dead, alive, here = dead_process(), os.getppid(), files.machine()
    names = [f".part-{dead}-{here}-a.csv", f".part-{alive}-{here}-a.csv", ".part-1-elsewhere-a.csv", ".part-7-old.csv", "a.csv"]
    for name in names:
        (tmp_path / "below").mkdir(exist_ok=True)
        (tmp_path / "below" / name).touch()
    os.utime(tmp_path / "below" / names[3], (0, 0))
    files.remove_leftovers(tmp_path, below=False)
    assert len(list((tmp_path / "below").iterdir())) == len(names)
    files.remove_leftovers(tmp_path)
    assert sorted(path.name for path in (tmp_path / "below").iterdir()) == sorted(names[1:3] + names[4:])


def test_removed_folder_never_keeps_a_part_of_itself_under_its_name(tmp_path, monkeypatch):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").touch()
    monkeypatch.setattr(files.shutil, "rmtree", failing(errno.EIO))
    with pytest.raises(OSError, match="EIO"):
        files.remove_folder(tmp_path / "folder")
    assert not (tmp_path / "folder").exists()
    files.remove_folder(tmp_path / "absent")


def test_linked_folder_is_emptied_and_stays_a_link(tmp_path):
    (tmp_path / "disk/cells").mkdir(parents=True)
    (tmp_path / "disk/cells/cell.csv").touch()
    (tmp_path / "disk/file").touch()
    (tmp_path / "attacks").symlink_to(tmp_path / "disk", target_is_directory=True)
    files.remove_folder(tmp_path / "attacks")
    assert (tmp_path / "attacks").is_symlink() and list((tmp_path / "disk").iterdir()) == []


FAULTY = "from nosign.files import write_text; write_text('new', 'abcdef')"


@pytest.mark.parametrize(
    "fault, status, left",
    [
        ("before:1", 137, {".part": b""}),
        ("torn:1", 137, {".part": b"abc"}),
        ("after:1", 137, {".part": b"abcdef"}),
        ("before:3", 137, {".part": b"abcdef"}),
        ("after:3", 137, {"new": b"abcdef"}),
        ("ENOSPC:1", 1, {}),
        ("EIO:3", 1, {}),
        ("count:0", 0, {"new": b"abcdef"}),
    ],
)
def test_faults_happen_at_the_operation_that_is_asked_for(root, tmp_path, fault, status, left):
    count = tmp_path.parent / f"{tmp_path.name}.count"
    environment = {**os.environ, "NOSIGN_FAULT": f"{fault}:{count}", "PYTHONPATH": str(root)}
    done = subprocess.run([sys.executable, "-c", FAULTY], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == status
    assert {path.name[:5] if path.name[0] == "." else path.name: path.read_bytes() for path in tmp_path.iterdir()} == left
    assert "wfr".startswith(count.read_text())
    if status == 1:
        assert fault[:3] in done.stderr or "No space left" in done.stderr or "Input/output error" in done.stderr


def test_lock_of_a_killed_process_is_broken(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "fcntl", None)
    monkeypatch.setattr(files, "LOCK_SECONDS", 0.1)
    (tmp_path / ".locked").touch()
    begun = time.monotonic()
    with locked(tmp_path):
        assert time.monotonic() - begun >= 0.1 and (tmp_path / ".locked").exists()
    assert not (tmp_path / ".locked").exists()


def test_lock_that_fails_otherwise_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(NoLocks, "flock", staticmethod(failing(errno.EIO)))
    monkeypatch.setattr(files, "fcntl", NoLocks)
    with pytest.raises(OSError, match="EIO"), locked(tmp_path):
        pass


def failing(number):
    def fails(*_, **__):
        raise OSError(number, errno.errorcode[number])

    return fails


@pytest.mark.parametrize("reserving", [None, failing(errno.EOPNOTSUPP), failing(errno.ENOSYS), failing(errno.EINVAL)])
@pytest.mark.parametrize("length", [3, 10, (1 << 20) + 5])
def test_space_that_cannot_be_reserved_is_filled_with_zeros(tmp_path, monkeypatch, reserving, length):
    monkeypatch.delattr(os, "posix_fallocate") if reserving is None else monkeypatch.setattr(os, "posix_fallocate", reserving)
    with open(tmp_path / "file", "wb") as file:
        file.write(b"head")
        reserve(file, length)
    assert (tmp_path / "file").read_bytes() == b"head" + bytes(max(0, length - 4))
    assert (tmp_path / "file").stat().st_blocks * 512 >= length  # no hole


def test_full_disk_is_not_taken_for_one_that_cannot_reserve(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "posix_fallocate", failing(errno.ENOSPC))
    with pytest.raises(OSError, match="ENOSPC"), open(tmp_path / "file", "wb") as file:
        reserve(file, 10)


def test_lock_lets_one_in_at_a_time(tmp_path, locks):
    inside, most = [], []

    def visit():
        with locked(tmp_path / "new"):
            inside.append(1)
            most.append(len(inside))
            time.sleep(0.01)
            inside.pop()

    threads = [threading.Thread(target=visit) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 8


def test_git_state_is_that_of_the_checkout(root):
    def git(*words):
        return subprocess.run(["git", *words], cwd=root, capture_output=True, text=True)

    if git("rev-parse", "HEAD").returncode:
        assert git_state() is None
    else:
        assert git_state()["commit"] == git("rev-parse", "HEAD").stdout.strip()
        assert git_state()["dirty"] == bool(git("status", "--porcelain").stdout)


def test_installed_packages_are_listed_and_others_are_not():
    versions = package_versions()
    assert versions["pandas"] == pandas.__version__ and all(versions.values())


def test_importing_it_is_light():
    code = "import sys, nosign.files, nosign.manifest; print({'numpy', 'pandas', 'keras'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"


def test_a_large_temporary_array_is_a_file_without_a_name_and_its_space_comes_back(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    before = os.statvfs(tmp_path).f_bfree
    small, large = (files.temporary_array((rows, 1024), "float64") for rows in (16, 8192))
    large[:], small[:] = 7, 7
    assert list(tmp_path.iterdir()) == [] and large.sum() == 7 * 1024 * 8192
    assert str(tmp_path) in (maps := Path("/proc/self/maps")).read_text()
    assert before - os.statvfs(tmp_path).f_bfree > 0
    del large
    assert str(tmp_path) not in maps.read_text()


SHARED = """
import os
from nosign.files import temporary_array

def numbered(numbers):
    arrays = [temporary_array((300, 1001), ("float64", "uint32")[number % 2]) for number in numbers]
    for array, number in zip(arrays, numbers):
        array[:] = number
    return arrays

before = len(os.listdir("/proc/self/fd"))
arrays = numbered(range(70))
print(len(os.listdir("/proc/self/fd")) - before)
reading, writing = os.pipe()
child = os.fork()
if not child:
    os.read(reading, 1)  # once the parent has written its own
    numbered(range(100, 110))
    os._exit(0)
arrays += numbered(range(70, 80))
os.write(writing, b".")
os.waitpid(child, 0)
print(all((array == number).all() for number, array in enumerate(arrays)))
"""


def test_temporary_arrays_share_files_and_no_bytes_also_in_a_process_that_was_forked():
    done = subprocess.run([sys.executable, "-c", SHARED], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["2", "True"]  # 126 MB of them in files of 64 MB


def test_a_temporary_array_that_the_disk_has_no_room_for_is_refused_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with pytest.raises(OSError):
        files.temporary_array((1 << 50,), "uint8")
    assert list(tmp_path.iterdir()) == []
