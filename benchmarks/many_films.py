"""How stage 4 grows with the test films: time, memory and disk on made-up rows.

    python -m benchmarks.many_films --films 1000000 --out /tmp/many

Writes results of so many films to DIR as stage 3 would (4 GB for 10^6 films), runs `data_figure.py` on them in a process of
its own, and prints seconds, peak memory and bytes. The rows stay in DIR; remove it afterwards.

The films obey a simple law: each has a margin, and an attack takes from it in proportion to its strength. Measures repeat every
`DISTINCT` films, so that rows are written faster than they are read; film numbers, patients and clean logits do not repeat.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from nosign.attacks.catalogue import ATTACKS, Attack
from nosign.attacks.turning import GRID, RIGHT_CENSORED, TURNED, WRONG_BEFORE
from nosign.measures.visibility import CRITERIA
from nosign.rows import BOUNDARY, ROWS, STEPS, STORED, TURNING, logit_columns

MODELS = {"VGG16": 1.0, "InceptionV3": 0.2}  # source first; how fast an attack on the source takes from each one's margin
CELLS = {"fgsm": (0.001, 0.003, 0.01), "fgnm": (0.001, 0.003, 0.01), "bim": (0.0005,), "binm": (0.0005,)}
STORED_CELL, STORAGE = ("fgnm", 0.003), "JPEG 95"
ITERATIONS = 10
COMPONENTS = 3 * 224 * 224
COLLECTIONS = (("covidx/sirm", "covidx/cohen"), ("covidx/rsna", "chest_xray"), ("chest_xray", "covidx/rsna"))  # by class
DISTINCT = 20_000
FINISHED = "films.txt"  # written last: how many films the rows are of
POLL_SECONDS = 0.1
ROOT = Path(__file__).resolve().parents[1]


class Films:
    """Up to `DISTINCT` films: labels, each model's margin before attacks, and how fast a unit of strength takes from it."""

    def __init__(self, count: int) -> None:
        self.random = np.random.default_rng(0)
        self.count, self.label = count, np.arange(count) % 3
        self.margin = {model: 4 + 3 * self.random.standard_normal(count) for model in MODELS}
        self.fall = 900 * np.exp(0.8 * self.random.standard_normal(count))
        self.limit = {name: 0.01 * np.exp(0.3 * self.random.standard_normal(count)) for name in CRITERIA}

    def falls(self, attack: Attack, model: str) -> np.ndarray:
        """Return what a unit of strength takes from each film's margin, float64 [films]."""
        return self.fall * MODELS[model] * (1.3 if attack.direction == "no-sign" else 1) * (6 if attack.iterative else 1)

    def logits(self, margin: np.ndarray) -> np.ndarray:
        """Return logits with these margins of the own class over the next one, float64 [films, classes]."""
        logits = np.tile([-0.5, -3.0, -0.5], (self.count, 1))
        logits[np.arange(self.count), self.label] = margin - 0.5
        logits[np.arange(self.count), (self.label + 1) % 3] = -0.5
        return logits

    def seen(self, attack: Attack, model: str, strength: float | np.ndarray) -> np.ndarray:
        """Return the class that a model sees at a strength, int [films]."""
        return self.logits(self.margin[model] - self.falls(attack, model) * strength).argmax(1)

    def cell(self, attack: Attack, strength: float) -> pd.DataFrame:
        """Return a cell's rows without the film's number."""
        frame = pd.DataFrame({"label": self.label})
        for ending, reached in (("", strength), ("_8bit", 0.98 * strength)):
            for model in MODELS:
                logits = self.logits(self.margin[model] - self.falls(attack, model) * reached)
                frame[logit_columns(model + ending)] = logits
        peak = np.exp(0.3 * self.random.standard_normal(self.count)) * (7 if attack.direction == "no-sign" else 1)
        sizes = {"linf": strength * peak, "l2": strength * COMPONENTS**0.5 + 0 * peak, "ssim": 1 - 0.01 * strength * peak}
        ratios = {CRITERIA[name].column: strength / self.limit[name] for name in CRITERIA if CRITERIA[name].ratio}
        rounded = {f"{name}_8bit": values for name, values in sizes.items()}
        return frame.assign(**sizes, psnr=-20 * np.log10(strength), **ratios, **rounded)

    def steps(self, attack: Attack, strength: float) -> Iterator[pd.DataFrame]:
        """Yield the record of each step."""
        for step in range(1, 1 + (ITERATIONS if attack.iterative else 1)):
            predicted = self.falls(attack, "VGG16") * strength
            gains = {"predicted": predicted, "gained": 0.8 * predicted}
            gains |= {f"{name}_log_odds": values for name, values in gains.items()}
            yield pd.DataFrame({"step": step, "cosine": self.cosines()} | gains)

    def cosines(self) -> np.ndarray:
        """Return a cosine between gradient and step for each film, float64 [films]."""
        return np.clip(0.7 + 0.05 * self.random.standard_normal(self.count), 0, 1)

    def stored(self, attack: Attack, strength: float) -> pd.DataFrame:
        """Return a cell's predictions after storing."""
        seen = {model: self.seen(attack, model, 0.7 * strength) for model in MODELS}
        return pd.DataFrame({"label": self.label, "storage": STORAGE} | seen)

    def boundary(self, attack: Attack) -> Iterator[pd.DataFrame]:
        """Yield an attack's visibility boundaries by each criterion."""
        for name, strength in self.limit.items():
            seen = {model: self.seen(attack, model, strength) for model in MODELS}
            yield pd.DataFrame({"label": self.label, "criterion": name, "strength": strength} | seen)

    def turning(self, attack: Attack) -> Iterator[pd.DataFrame]:
        """Yield an attack's turning strengths for each target."""
        for model, margin in self.margin.items():
            strength, is_right = margin / self.falls(attack, model), margin > 0
            status = np.select([~is_right, strength > GRID[-1]], [WRONG_BEFORE, RIGHT_CENSORED], TURNED)
            strength = np.where(is_right, np.minimum(strength, GRID[-1]), np.nan)
            sizes = {"l2": strength * COMPONENTS**0.5, "linf": strength, "ssim": 0.99}
            keys = {"label": self.label, "target": model, "strength": strength, "status": status}
            grid = np.where(is_right, "r" * 4 + "t" * (len(GRID) - 4), "")
            again = np.where(is_right, 0.0, np.nan)
            yield pd.DataFrame(keys | sizes | {"cosine": self.cosines(), "right_again": again, "grid": grid})


def write_tiled(path: Path, films: int, parts: Iterator[pd.DataFrame] | list[pd.DataFrame]) -> None:
    """Write one part below the other, each with the column `film` in front and repeated until it has all films."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w") as file:
        for number, part in enumerate(parts):
            heading, *lines = part.to_csv(index=False, float_format="%.6g").splitlines()
            if not number:
                file.write(f"film,{heading}\n")
            for first in range(0, films, len(lines)):
                count = min(len(lines), films - first)
                file.writelines(f"{first + place},{lines[place]}\n" for place in range(count))


def write_clean(path: Path, films: int) -> None:
    """Write the predictions before the attacks block by block; four films in ten belong to patients with up to four films."""
    for first in range(0, films, DISTINCT):
        block = Films(min(DISTINCT, films - first))
        film, random = first + np.arange(block.count), np.random.default_rng(first)
        collection = np.array(COLLECTIONS)[block.label, (random.random(block.count) < 0.3).astype(int)]
        patient = pd.Series(film // 4).where(film % 10 < 4).astype("Int64")
        frame = pd.DataFrame({"film": film, "label": block.label, "collection": collection, "patient": patient})
        frame["group"] = patient.fillna(pd.Series(film))
        for model in MODELS:
            # The small noise changes no class, but no two films have one score.
            noise = 0.001 * random.random((block.count, 3))
            frame[logit_columns(model)] = block.logits(block.margin[model]) + noise
        frame.to_csv(path, index=False, float_format="%.9g", mode="a" if first else "w", header=not first)


def write_results(folder: Path, films: int) -> None:
    """Write a results folder, with the list of models in it."""
    folder.mkdir(parents=True)
    write_clean(folder / "clean.csv", films)
    law = Films(min(DISTINCT, films))
    lines = ["model,parameters,correct,films,imagenet_top1,imagenet_top5", f"VGG16,14749763,{films},{films},71.3,90.1"]
    lines.append(f"InceptionV3,21942307,{films},{films},77.9,93.7")
    (folder / "models.csv").write_text("\n".join(lines) + "\n")
    (folder / "manifest.json").write_text(json.dumps({"synthetic": True}))
    sweep = folder / "attacks" / "VGG16" / "paper"
    for name, strengths in CELLS.items():
        attack = ATTACKS[name]
        for strength in strengths:
            path = sweep / name / f"{strength:g}{ROWS}"
            write_tiled(path, films, [law.cell(attack, strength)])
            write_tiled(path.with_suffix(STEPS), films, law.steps(attack, strength))
            if (name, strength) == STORED_CELL:
                write_tiled(path.with_suffix(STORED), films, [law.stored(attack, strength)])
        if not attack.iterative:
            write_tiled(sweep / name / BOUNDARY, films, law.boundary(attack))
            write_tiled(sweep / name / TURNING, films, law.turning(attack))
    (sweep / "manifest.json").write_text(json.dumps({"settings": {"steps": ITERATIONS}}))


def run_stage_four(folder: Path) -> tuple[float, int, int, int]:
    """Run `data_figure.py` and watch it.

    Returns:
        (seconds; peak bytes of anonymous memory, summed over its processes, in which pages that they share count in each; the
        same with shared pages counted once; peak bytes of all resident memory of the largest process, with mapped files).

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    command = [sys.executable, ROOT / "data_figure.py", "--results", folder, "--models", folder]
    started, peak, peak_once = time.time(), 0, 0
    with subprocess.Popen(command, cwd=ROOT) as process:
        while process.poll() is None:
            processes = list(family(process.pid))
            peak = max(peak, sum(bytes_of(number, "status", "RssAnon") for number in processes))
            peak_once = max(peak_once, sum(bytes_of(number, "smaps_rollup", "Pss_Anon") for number in processes))
            time.sleep(POLL_SECONDS)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return time.time() - started, peak, peak_once, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024


def family(process: int) -> Iterator[int]:
    """Yield a process's number and those of the processes that it started, theirs among them."""
    yield process
    try:
        children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    except OSError:  # it is gone
        return
    for child in children:
        yield from family(int(child))


def bytes_of(process: int, file: str, line: str) -> int:
    """Return a size that the system states of a process in a file of its folder below /proc; 0 if the process is gone."""
    try:
        text = Path(f"/proc/{process}/{file}").read_text()
    except OSError:
        return 0
    return next((1024 * int(one.split()[1]) for one in text.splitlines() if one.startswith(f"{line}:")), 0)


def main(argv: list[str] | None = None) -> int:
    """Write the rows if they are not there, run stage 4 and print what it took."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.many_films", description=__doc__.partition("\n")[0])
    parser.add_argument("--films", type=int, required=True, metavar="N", help="test films")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the rows; used again if it is there")
    args = parser.parse_args(argv)
    if not (args.out / FINISHED).exists():
        write_results(args.out, args.films)
        (args.out / FINISHED).write_text(f"{args.films}\n")
    if (found := (args.out / FINISHED).read_text().strip()) != str(args.films):
        parser.error(f"{args.out} holds rows of {found} films")
    size = sum(path.stat().st_size for path in args.out.rglob("*.csv") if "tables" not in path.parts)
    seconds, anonymous, once, resident = run_stage_four(args.out)
    print(
        f"{args.films} films, {size / 1e9:.2f} GB of rows: {seconds:.0f} s, at most {anonymous / 1e9:.2f} GB of anonymous "
        f"memory over all processes ({once / 1e9:.2f} GB with shared pages counted once) and {resident / 1e9:.2f} "
        "GB resident (largest process)"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
