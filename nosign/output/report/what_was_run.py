"""What the report says of the commands behind it: manifests as texts."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

from nosign.attacks.catalogue import Condition
from nosign.classifiers.catalogue import BACKBONES
from nosign.manifest import commands_of, read_manifest
from nosign.output.words import MISSING, condition_note
from nosign.rows import ordered, sweep_folder


def condition_meaning(name: str) -> str:
    """Return a condition's protocol, norm and target in words; "" for a name that states no condition."""
    condition = Condition.parse(name)
    if condition is None:
        return ""
    return condition_note(condition) + (f"; aims at {condition.target}" if condition.target else "")


def sweep_manifests(results: dict[str, Path]) -> Iterator[tuple[str, str, str, dict]]:
    """Yield (run, source, condition, manifest) of every sweep that has a manifest, models in their usual order."""
    for run, folder in results.items():
        sweeps = {path.parent.relative_to(folder / "attacks").parts for path in folder.glob("attacks/*/*/manifest.json")}
        for source in ordered({sweep[0] for sweep in sweeps}, BACKBONES):
            for condition in ordered({sweep[1] for sweep in sweeps if sweep[0] == source}, [str(Condition())]):
                yield run, source, condition, read_manifest(sweep_folder(folder, source, condition)) or {}


def part(manifest: dict, key: str) -> dict:
    """Return a manifest's entry that is an object, {} where it is absent or something else."""
    found = manifest.get(key)
    return found if isinstance(found, dict) else {}


def run_overview(results: dict[str, Path]) -> list[dict[str, str]]:
    """Return a dict of texts for every sweep: what a reader wants to know first."""
    rows = []
    for run, source, condition, manifest in sweep_manifests(results):
        settings, health = part(manifest, "settings"), part(manifest, "health")
        rows.append(
            {
                "Run": run,
                "Gradients from": source,
                "Condition": condition,
                "Films": plain(settings.get("films")),
                "Steps": plain(settings.get("steps")),
                "Seed": plain(settings.get("seed")),
                "Begun (UTC)": plain(manifest.get("started")).replace("T", " ").removesuffix("Z"),
                "Took": duration(manifest.get("seconds")),
                "State": "finished" if manifest.get("finished") else "unfinished",
                "Warnings": str(len(health.get("warnings") or [])),
                "Meaning": condition_meaning(condition),
            }
        )
    return [{name: text for name, text in row.items() if name != "Run" or any(row["Run"] for row in rows)} for row in rows]


def run_details(runs: dict[str, tuple[Path, Path]]) -> list[tuple[str, list[tuple[str, str]]]]:
    """Return (title, list of (name, text)) of every manifest: the classifiers', the runs' and the sweeps'."""
    results = {run: folder for run, (folder, _) in runs.items()}
    found = [
        *((f"Training of the classifiers {run}", read_manifest(folder)) for run, (_, folder) in runs.items()),
        *((f"Attacks {run}", read_manifest(folder)) for run, folder in results.items()),
        *((f"{run} {source}, {condition}", manifest) for run, source, condition, manifest in sweep_manifests(results)),
    ]
    return [(title.strip(), manifest_facts(manifest)) for title, manifest in found if manifest]


def run_warnings(results: dict[str, Path]) -> list[str]:
    """Return the health reports' warnings, each with the sweep that it is about."""
    return [
        f"{run} {source}, {condition}: {warning}".strip()
        for run, source, condition, manifest in sweep_manifests(results)
        for warning in part(manifest, "health").get("warnings") or []
    ]


def manifest_facts(manifest: dict) -> list[tuple[str, str]]:
    """Return what a manifest says as a list of (name, text), without the hashes of its files."""
    device, git, packages = part(manifest, "device"), part(manifest, "git"), part(manifest, "packages")
    stage, commands = plain(manifest.get("stage")), commands_of(manifest)
    lines = [shlex.join(["python", stage, *map(str, command["argv"])]) for command in commands] or [f"python {stage}"]
    changed = " with local changes" if git.get("dirty") else ""
    facts = [
        *(("Command" if len(lines) == 1 else f"Command {number}", line) for number, line in enumerate(lines, 1)),
        ("Begun (UTC)", plain(manifest.get("started"))),
        ("Took", duration(manifest.get("seconds"))),
        ("Device", ", ".join(f"{name.replace('_', ' ')} {plain(value)}" for name, value in device.items())),
        ("Git commit", f"{git['commit']}{changed}" if git.get("commit") else ""),
        ("Python", f"{plain(manifest.get('python'))} on {plain(manifest.get('platform'))}"),
        ("Packages", ", ".join(f"{name} {plain(version)}" for name, version in packages.items())),
    ]
    facts += [(f"Setting: {name}", plain(value)) for name, value in part(manifest, "settings").items()]
    facts += [
        (f"Health: {name.replace('_', ' ')}", plain(value))
        for name, value in part(manifest, "health").items()
        if name != "warnings"
    ]
    return [(name, text) for name, text in facts if text]


def plain(value: object) -> str:
    """Return an entry of a manifest as text; a hash of 64 digits is cut to twelve."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {plain(inner)}" for name, inner in value.items())
    if isinstance(value, list):
        return "; ".join(map(plain, value)) or "none"
    if value is None:
        return MISSING
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = str(value)
    return f"{text[:12]}\N{HORIZONTAL ELLIPSIS}" if len(text) == 64 and " " not in text else text


def duration(seconds: object) -> str:
    """Return seconds as minutes or hours."""
    if not isinstance(seconds, (int, float)):
        return MISSING
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
