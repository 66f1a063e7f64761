"""The manifest of a folder: every command that made it, settings, commit, packages, device, seeds, hashes."""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from nosign.errors import UserError
from nosign.files import sha256_of_file, write_text

MANIFEST = "manifest.json"
PACKAGES = (
    "keras",
    "tensorflow",
    "jax",
    "torch",
    "numpy",
    "pillow",
    "scikit-learn",
    "scikit-image",
    "statsmodels",
    "scipy",
    "pandas",
    "matplotlib",
)


def write_manifest(
    folder: str | Path,
    *,
    stage: str,
    settings: Mapping[str, Any],
    inputs: Iterable[str | Path] = (),
    outputs: Iterable[Path] = (),
    known_hashes: Mapping[Path, str] | None = None,
    started: float,
    begun: float | None = None,
    adds: bool = False,
    **facts: Any,
) -> None:
    """Write `folder/manifest.json` atomically.

    Its `commands` are all that made the folder, in order: the command line, when it began, how long it took and the commit.

    Args:
        folder: the stage's output folder.
        stage: name of the script.
        settings: everything that the outputs depend on, JSON-ready; compared by `check_settings`.
        inputs, outputs: paths whose SHA-256 is recorded, outputs relative to `folder`.
        known_hashes: dict of the outputs' SHA-256 that need not be computed again, by path.
        started: `time.time()` at the start of what made these outputs.
        begun: the same of the whole command, if that is another; a command that writes twice is listed once.
        adds: whether this command added to what earlier ones left there, so that theirs stay listed.
        facts: whatever else is worth keeping, JSON-ready.
    """
    folder = Path(folder)
    known_hashes, git = known_hashes or {}, git_state()
    begun, now = started if begun is None else begun, time.time()
    command = {"argv": sys.argv[1:], "started": utc(begun), "seconds": round(now - begun, 1), "git": git}
    earlier = [
        other
        for other in (commands_of(read_manifest(folder) or {}) if adds else ())
        if (other["argv"], other["started"]) != (command["argv"], command["started"])
    ]
    manifest = {
        "stage": stage,
        "commands": [*earlier, command],
        "settings": settings,
        "git": git,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": package_versions(),
        "inputs": {str(path): sha256_of_file(path) for path in inputs},
        "outputs": {os.path.relpath(path, folder): known_hashes.get(path) or sha256_of_file(path) for path in outputs},
        "started": utc(started),
        "seconds": round(now - started, 1),
        **facts,
    }
    write_text(folder / MANIFEST, json.dumps(manifest, indent=2) + "\n")


def changed_since(folder: str | Path, ending: str) -> list[Path]:
    """Return the files of a name's ending that a folder's manifest records, and that hold something else now."""
    outputs = (read_manifest(folder) or {}).get("outputs", {})
    paths = {Path(folder) / name: digest for name, digest in outputs.items() if name.endswith(ending)}
    return [path for path, digest in paths.items() if path.is_file() and sha256_of_file(path) != digest]


def write_unfinished(folder: str | Path, **facts: Any) -> None:
    """Have a folder's manifest, if there is one, say that its outputs are not complete; and more facts, JSON-ready."""
    manifest = read_manifest(folder)
    if manifest:
        write_text(Path(folder) / MANIFEST, json.dumps({**manifest, "finished": False, **facts}, indent=2) + "\n")


def commands_of(manifest: dict) -> list[dict]:
    """Return the commands that a manifest lists; one that was written before there was a list names its last in `argv`."""
    if "commands" in manifest:
        return manifest["commands"]
    return (
        [{"argv": manifest["argv"], **{name: manifest.get(name) for name in ("started", "seconds", "git")}}]
        if "argv" in manifest
        else []
    )


def utc(seconds: float) -> str:
    """Return a time since the epoch as text, to the second."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def read_manifest(folder: str | Path) -> dict | None:
    """Return the manifest of a folder as a dict, or None where there is none.

    Raises:
        UserError: the file is there but holds no JSON object.
    """
    path = Path(folder) / MANIFEST
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError):
        manifest = None
    if not isinstance(manifest, dict):
        raise UserError(f"{path}: not a manifest in JSON; remove the file, or run the stage again with --overwrite")
    return manifest


def check_settings(folder: str | Path, settings: dict, advice: str) -> dict | None:
    """Tell whether a folder holds this run's outputs.

    Args:
        folder: the stage's output folder.
        settings: this run's settings, JSON-ready.
        advice: what the user can do if the settings differ.

    Returns:
        The manifest if it was written with the same settings, None if there is no manifest.

    Raises:
        UserError: the folder holds the outputs of a run with other settings; the message names them.
    """
    manifest = read_manifest(folder)
    if manifest is None:
        return None
    found = manifest.get("settings")
    if not isinstance(found, dict):
        raise UserError(f"{Path(folder) / MANIFEST}: says no settings, so another program wrote it; move it away, or {advice}")
    differing = describe_differences(found, settings)
    if differing:
        raise UserError(f"{folder}: holds the outputs of another run: {differing}; {advice}")
    return manifest


def describe_differences(found: dict, wanted: dict) -> str:
    """Name the settings that differ: "seed 0 (now 1), ..."; an empty text if none does."""
    wanted = json.loads(json.dumps(wanted))
    return ", ".join(
        f"{key} {short(found.get(key))} (now {short(wanted.get(key))})"
        for key in {**found, **wanted}
        if found.get(key) != wanted.get(key)
    )


def short(value: object, limit: int = 60) -> str:
    """Return a setting as text that fits into a line."""
    text = json.dumps(value)
    return text if len(text) <= limit else f"{text[:limit]}..."


def git_state() -> dict | None:
    """Return the commit of this checkout and whether it has local changes; None outside a checkout."""
    folder = Path(__file__).resolve().parent.parent

    def git(*words: str) -> str:
        command = ["git", "-C", str(folder), *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        return {"commit": git("rev-parse", "HEAD"), "dirty": bool(git("status", "--porcelain"))}
    except (OSError, subprocess.CalledProcessError):
        return None


def package_versions() -> dict[str, str]:
    """Return the versions of the packages that the numbers may depend on, those that are installed."""
    versions = {}
    for name in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return versions
