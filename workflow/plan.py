"""What a grid takes, before any of it runs: jobs, films, passes and hours.

    python -m workflow.plan                                       config/study.yaml, with unit costs measured on this device
    python -m workflow.plan --grid my.yaml --costs gpu.csv        another grid, with costs that --save-costs wrote elsewhere

Films are those that stage 1 deals out. Hours are those of the passes. Not counted is what comes to each job, a minute or more:
Snakemake's own, starting a process, loading models, hashing the films; nor the attack without bounds on up to 200 films, in
each sweep or where its parts are joined. Clean films are counted in each sweep; sweeps that do not run side by side share them.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import attack
import train_finetune
from data_processing import prepare
from data_processing.splits import held_out_of
from nosign import plan
from nosign.classifiers.fine_tune import settings_of
from nosign.dataset import CLASSES
from nosign.errors import UserError
from nosign.script import run
from nosign.sweep.jobs import attack_jobs
from nosign.sweep.options import Shard
from workflow.flags import flags

GRID = Path("config/study.yaml")


@dataclass(frozen=True)
class Jobs:
    """Jobs of one kind.

    Attributes:
        rule: of the Snakefile.
        what: in words.
        runs: how often these are done.
        films: that each goes through.
        works: for each job of a run a list of `nosign.plan.Work`.
    """

    rule: str
    what: str
    runs: int
    films: float
    works: list[list[plan.Work]]

    @property
    def count(self) -> int:
        """How many there are."""
        return self.runs * len(self.works)

    @property
    def passes(self) -> int:
        """Passes of all of them."""
        return self.runs * sum(work.passes for works in self.works for work in works)

    def hours(self, costs: Mapping[str, plan.Cost]) -> list[float]:
        """Return the hours of each job of a run."""
        return [sum(work.hours(costs[work.model]) for work in works) for works in self.works]


def prepared_as(config: Mapping[str, Any]) -> argparse.Namespace:
    """Return what stage 1's parser makes of a grid."""
    sets = ["--covidx", config["covidx"], "--chest-xray", config["chest_xray"]]
    return prepare.parse_args([*sets, *flags(config["preparation"])])


def films_of(per_class: int) -> dict[str, int]:
    """Return how many films each split has, as stage 1 deals them out."""
    held_out = held_out_of(per_class)
    each = {**held_out, "train": per_class - sum(held_out.values())}
    return {split: len(CLASSES) * count for split, count in each.items()}


def jobs_of(config: Mapping[str, Any]) -> Iterator[Jobs]:
    """Yield the jobs of a grid, stage by stage; the scripts' own parsers say what its flags mean."""
    films, seeds = films_of(prepared_as(config).per_class), len(config["data_seeds"])
    runs, shards = seeds * len(config["model_seeds"]), config["shards"]
    yield Jobs("prepare", "films", seeds, sum(films.values()), [[]])
    training = train_finetune.parse_args(flags(config["training"]))
    for model in config["models"]:
        settings = settings_of(training, model, {})
        scratch = not settings["head_epochs"]
        work = plan.training_work(model, films, settings["epochs"], settings["batch"], from_scratch=scratch)
        yield Jobs("train", model, runs, films["train"], [[work]])
    for source in config["sources"]:
        for name, sweep in config["sweeps"].items():
            asked = attack.parse_args(["--source", source, "--targets", *config["models"], *flags(sweep)])
            count = min(films[asked.split], asked.films or films[asked.split])
            tested = [*config["models"], *([source] if asked.twin else [])]
            fitted_on = min(asked.universal_films, films["train"])
            works = [
                [
                    work
                    for place, job in enumerate(attack_jobs(asked, {}))
                    for work in plan.attack_work(
                        job, tested, count, asked.steps, fitted_on=fitted_on, first=not place, part=part
                    )
                ]
                for part in (Shard(number, shards).span(count, asked.batch) for number in range(1, shards + 1))
            ]
            if shards > 1:
                yield Jobs("shard", f"{name}, {source}", runs, count / shards, works)
                yield Jobs("attack", f"{name}, {source}: joins them", runs, count, [[]])
            else:
                yield Jobs("attack", f"{name}, {source}", runs, count, works)
    yield Jobs("tables", "all runs", 1, films["test"], [[]])


def read_grid(path: Path) -> dict[str, Any]:
    """Read a grid and check it by its schema.

    Raises:
        UserError: it is missing, no YAML, or makes no sense.
    """
    try:
        import jsonschema
        import yaml
    except ImportError as error:
        raise UserError(f"{error.name} is not installed; pip install '.[cluster]'") from None
    schema = yaml.safe_load((Path(__file__).parent / "study.schema.yaml").read_text(encoding="utf-8"))
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
        jsonschema.validate(config, schema)
    except FileNotFoundError:
        raise UserError(f"{path}: not found; name the grid with --grid") from None
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not a YAML file ({' '.join(str(error).split())})") from None
    except jsonschema.ValidationError as error:
        raise UserError(f"{path}: {'.'.join(map(str, error.path)) or 'the grid'}: {error.message}") from None
    return config


def main(argv: list[str] | None = None) -> int:
    """Print the plan; return 0."""
    parser = argparse.ArgumentParser(prog="python -m workflow.plan", description=__doc__.split("\n")[0])
    parser.add_argument("--grid", type=Path, default=GRID, metavar="YAML", help="default: %(default)s")
    plan.add_costs(parser)
    arguments = parser.parse_args(argv)
    config = read_grid(arguments.grid)

    from tabulate import tabulate

    costs = plan.costs_of(arguments, config["models"], prepared_as(config).image_size)
    rows: list[list[Any]] = []
    for jobs in jobs_of(config):
        hours = jobs.hours(costs)
        counted = [max(hours), jobs.runs * sum(hours)] if any(hours) else [None, None]
        rows.append([jobs.rule, jobs.what, jobs.count, round(jobs.films), jobs.passes, *counted])
    jobs_in_all, passes, hours_in_all = (sum(row[column] or 0 for row in rows) for column in (2, 4, 6))
    rows.append(["", "together", jobs_in_all, None, passes, None, hours_in_all])
    headings = ("rule", "what", "jobs", "films of each", "passes", "hours of the longest", "hours")
    print(tabulate(rows, headings, intfmt=",", floatfmt=("", "", "", "", "", ".2f", ".1f")))
    print("Side by side they take as long as the longest of each kind, one kind after the other.")
    return 0


if __name__ == "__main__":
    raise SystemExit(run(main))
