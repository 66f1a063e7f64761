"""What stage 3 has to do: the cells of each source model and condition, which of them are finished, and what they cost."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from nosign.attacks.catalogue import ATTACKS, Condition, check_ball
from nosign.attacks.turning import BISECTIONS, HALVINGS, PASSES
from nosign.dataset import FilmSet, film_hashes, first_of_each_class
from nosign.errors import UserError
from nosign.files import sha256_of_model
from nosign.manifest import MANIFEST, read_manifest
from nosign.measures.storage import EIGHT_BITS
from nosign.measures.visibility import CRITERIA
from nosign.paper import EXAMPLES, PAPER_CONDITION, STEPS
from nosign.rows import (
    BOUNDARY,
    CLEAN_ROWS,
    CLEAN_STORED,
    FIELD,
    FILMS,
    ROWS,
    STORED,
    STORED_TURNING,
    TURNING,
    TWIN,
    Cell,
    cell_path,
    example_path,
    find_files,
    find_saved_films,
    open_films,
    sweep_folder,
)
from nosign.sweep.options import ALL_SOURCES, ATTACKED_SPLITS, GREY, STORING_STRENGTHS, Shard

SHARD = "shard"  # the setting of a sweep that attacks a part of the films
# A gradient costs about two forward passes.
GRADIENT_COST = 2


@dataclass(frozen=True)
class Search:
    """A search for the smallest strength of an attack that turns each film.

    Attributes:
        attack: name of an attack.
        stored: whether each film that is tried is rounded to 8 bits first, and shown to the source model alone.
        films_per_class: how many films of each class, the first ones, take part; None for all.
    """

    attack: str
    stored: bool = False
    films_per_class: int | None = None

    @property
    def iterative(self) -> bool:
        """Whether every strength that is tried is an attack of many steps."""
        return ATTACKS[self.attack].iterative

    @property
    def source_only(self) -> bool:
        """Whether the source model alone is to turn, not each target."""
        return self.stored or self.iterative

    def positions(self, films: FilmSet) -> np.ndarray:
        """Return which films of a set take part, int [n], ascending; of a part those that would in the whole."""
        whole = films.whole
        chosen = first_of_each_class(whole.labels, self.films_per_class)
        return np.flatnonzero(np.isin(films.rows, whole.rows[chosen]))

    @property
    def title(self) -> str:
        """What is searched for, in words."""
        return f"turning strengths of {ATTACKS[self.attack].title}{', stored' * self.stored}"


@dataclass(frozen=True)
class Job:
    """The cells of one source model under one condition.

    Attributes:
        results: pathlib.Path of the results folder.
        source: model whose gradients are followed.
        condition: `Condition`.
        cells: list of `Cell`.
        settings: what the cells depend on, JSON-ready.
        searches: the searches for turning strengths; they need no cells.
        universal_films: how many training films universal perturbations are fitted on.
        kept: results folder whose adversarial films are scored instead of attacking anew, or None.
        save_films: whether the adversarial films are kept.
        storing: strengths at which it is measured what storing leaves of the attacks.
        storages: names of the ways of storing that are measured, keys of `nosign.measures.storage.STORAGES`.
        shard: the part of the films that is attacked, or None.
    """

    results: Path
    source: str
    condition: Condition
    cells: list[Cell]
    settings: dict[str, Any]
    searches: tuple[Search, ...] = ()
    universal_films: int = 0
    kept: Path | None = None
    save_films: bool = False
    storing: tuple[float, ...] = ()
    storages: tuple[str, ...] = ()
    shard: Shard | None = None

    @property
    def folder(self) -> Path:
        """Where the cells go."""
        return sweep_folder(self.results, self.source, self.condition)

    def path(self, cell: Cell) -> Path:
        """Return the path of a cell's rows."""
        return cell_path(self.results, self.source, self.condition, cell)

    def films_path(self, cell: Cell) -> Path:
        """Return the path of a cell's adversarial films: those to score, or those to keep."""
        return cell_path(self.kept or self.results, self.source, self.condition, cell).with_suffix(FILMS)

    def boundary_path(self, attack: str) -> Path:
        """Return the path of a single-step attack's visibility boundaries."""
        return self.folder / attack / BOUNDARY

    def turning_path(self, search: Search) -> Path:
        """Return the path of the turning strengths that a search finds."""
        return self.folder / search.attack / (STORED_TURNING if search.stored else TURNING)

    def field_paths(self) -> dict[str, Path]:
        """Return where the field of each universal attack lies; the name says how many films it was fitted on."""
        names = dict.fromkeys(search.attack for search in self.searches if ATTACKS[search.attack].universal)
        return {name: self.folder / name / f"{FIELD}{self.universal_films}{FILMS}" for name in names}

    def without_field(self) -> list[str]:
        """Return the universal attacks whose field is still to be fitted."""
        return [name for name, path in self.field_paths().items() if not path.is_file()]

    def is_stored(self, cell: Cell) -> bool:
        """Tell whether it is measured what storing leaves of a cell's attack."""
        return cell.strength in self.storing and self.kept is None

    def storages_of(self, cell: Cell) -> tuple[str, ...]:
        """Return the ways of storing after which a cell's films are scored."""
        return self.storages if self.is_stored(cell) else ()

    def unfinished(self) -> list[Cell]:
        """Return the cells that are not there, or lack the files beside them that are wanted."""

        def is_finished(cell: Cell) -> bool:
            wanted = [self.path(cell), *[self.films_path(cell)] * self.save_films]
            wanted += [self.path(cell).with_suffix(STORED)] * self.is_stored(cell)
            return all(path.is_file() for path in wanted)

        return [cell for cell in self.cells if not is_finished(cell)]

    def finished(self) -> dict[Cell, Path]:
        """Return the finished cells of the folder, those of earlier commands too: attack by attack, strengths ascending."""
        return {
            Cell(attack, strength): path
            for source, condition, attack, strength, path in find_files(self.results, ROWS)
            if (source, condition) == (self.source, self.condition)
        }

    @property
    def with_boundary(self) -> list[str]:
        """The single-step attacks whose visibility boundary belongs to the job."""
        names = [] if self.kept else dict.fromkeys(cell.attack for cell in self.cells)
        return [name for name in names if not ATTACKS[name].iterative and not ATTACKS[name].control]

    def without_boundary(self) -> list[str]:
        """Return those whose boundary is still to be found."""
        return [name for name in self.with_boundary if not self.boundary_path(name).is_file()]

    def without_turning(self) -> list[Search]:
        """Return the searches that are still to be made."""
        return [search for search in self.searches if not self.turning_path(search).is_file()]

    def without_example(self) -> list[str]:
        """Return the attacks whose example for the figures is still to be made; they belong to the paper's sweep alone."""
        if (self.source, str(self.condition)) != PAPER_CONDITION or self.kept or self.shard:
            return []
        attacks = {cell.attack for cell in self.cells}
        return [name for name in EXAMPLES if name in attacks and not example_path(self.results, name).is_file()]

    def is_finished(self) -> bool:
        """Tell whether nothing is left to do."""
        left = self.unfinished() or self.without_boundary() or self.without_turning() or self.without_example()
        return not (left or self.without_field())


def is_clean_stored_wanted(results: Path, jobs: Iterable[Job]) -> bool:
    """Tell whether it is still to be measured what storing does to clean films, the control for stored attacks."""
    return any(job.is_stored(cell) for job in jobs for cell in job.cells) and not (results / CLEAN_STORED).is_file()


def is_clean_finished(results: Path, jobs: Sequence[Job]) -> bool:
    """Tell whether all is known of the films before the attacks that these jobs need."""
    return (results / CLEAN_ROWS).is_file() and not is_clean_stored_wanted(results, jobs)


def planned_cells(
    attacks: Iterable[str], single_step_strengths: Iterable[float], iterative_strengths: Iterable[float]
) -> list[Cell]:
    """Return all cells, each once, attack by attack."""
    cells = [
        Cell(name, strength)
        for name in attacks
        for strength in (iterative_strengths if ATTACKS[name].iterative else single_step_strengths)
    ]
    return list(dict.fromkeys(cells))


def planned_searches(arguments: argparse.Namespace) -> tuple[Search, ...]:
    """Return the searches for turning strengths that the command line asks for.

    Controls and iterative attacks are searched on a few films of each class, iterative ones on none unless they are asked for.
    """
    single_step = [
        Search(name, films_per_class=arguments.control_films if ATTACKS[name].control else None)
        for name in dict.fromkeys(arguments.attacks)
        if not ATTACKS[name].iterative
    ]
    stored = [replace(search, stored=True) for search in single_step] if arguments.stored_turning else []
    iterative = [
        Search(name, films_per_class=arguments.iterative_turning)
        for name in dict.fromkeys(arguments.attacks)
        if ATTACKS[name].iterative and arguments.iterative_turning
    ]
    return (*single_step, *stored, *iterative)


def sources_of(arguments: argparse.Namespace) -> list[str]:
    """Return the models whose gradients the command line follows."""
    return arguments.targets if arguments.source == ALL_SOURCES else [arguments.source]


def model_paths(arguments: argparse.Namespace) -> dict[str, Path]:
    """Return where each target lies, by name: the models, and with --twin another network of each source's kind."""
    paths = {name: Path(arguments.models) / f"{name}.keras" for name in arguments.targets}
    twins = {name + TWIN: Path(arguments.twin) / f"{name}.keras" for name in sources_of(arguments)} if arguments.twin else {}
    return paths | twins


def identity_of(arguments: argparse.Namespace, films: int) -> dict[str, Any]:
    """Return what clean.csv depends on: the command line's data and models, and which and how many films are attacked.

    Raises:
        UserError: a model is missing, or a twin is the network itself.
    """
    data, paths = Path(arguments.data), model_paths(arguments)
    weights = {name: sha256_of_model(path) for name, path in paths.items()}
    for name in weights:
        if name.endswith(TWIN) and weights[name] == weights.get(name.removesuffix(TWIN)):
            raise UserError(
                f"--twin {arguments.twin}: {paths[name]} is the network that is attacked, weight by weight; name the folder of "
                "another training run"
            )
    return {
        "films": films,
        # Manifests name it where it is not the test films, which earlier ones are all about.
        **({} if arguments.split == ATTACKED_SPLITS[0] else {"split": arguments.split}),
        **({SHARD: str(arguments.shard)} if arguments.shard else {}),
        **film_hashes(data),
        "models": weights,
    }


def attack_jobs(arguments: argparse.Namespace, identity: dict[str, Any]) -> list[Job]:
    """Return the jobs that the command line asks for: for each source model, each condition.

    Raises:
        UserError: the source is not among the targets, or a strength for storing is not among those that are run.
    """
    if arguments.source not in (*arguments.targets, ALL_SOURCES):
        raise UserError(f"--source {arguments.source} is not among the targets {' '.join(arguments.targets)}; add it")
    cells = planned_cells(arguments.attacks, arguments.single_step_strengths, arguments.iterative_strengths)
    settings = {
        **identity,
        "steps": arguments.steps,
        "seed": arguments.seed,
        "batch": arguments.batch,
        "storages": arguments.storages,
        "control_films": arguments.control_films,
    }
    conditions = conditions_of(arguments)
    return [
        Job(
            Path(arguments.out),
            source,
            condition,
            cells,
            {**settings, "source": source, **condition.settings},
            planned_searches(arguments),
            arguments.universal_films,
            save_films=arguments.save_films,
            storing=checked_storing(arguments.storing_strengths, cells),
            storages=tuple(arguments.storages),
            shard=arguments.shard,
        )
        # Conditions of one source follow each other: they share its gradients.
        for source in sources_of(arguments)
        for condition in conditions
    ]


def conditions_of(arguments: argparse.Namespace) -> list[Condition]:
    """Return the conditions that the command line asks for: coloured, grey or both; or raise `UserError`."""
    steps = arguments.steps if arguments.protocol == "budget" and arguments.steps != STEPS else None
    stated = Condition(
        arguments.protocol,
        arguments.norm,
        arguments.target,
        loss=arguments.loss,
        step_factor=arguments.step_factor,
        steps=steps,
        restarts=arguments.restarts,
    )
    check_ball(stated, [ATTACKS[name] for name in arguments.attacks])
    return [replace(stated, grey=grey) for grey in GREY[arguments.grey]]


def checked_storing(strengths: Sequence[float], cells: Iterable[Cell]) -> tuple[float, ...]:
    """Return the strengths for storing; raise `UserError` if one was asked for that is not among the cells'."""
    known = {cell.strength for cell in cells}
    beside = [f"{strength:g}" for strength in strengths if strength not in known]
    if beside and tuple(strengths) != STORING_STRENGTHS:
        raise UserError(
            f"--storing-strengths {' '.join(beside)}: not among the strengths that are run; add it to "
            "--single-step-strengths or --iterative-strengths"
        )
    return tuple(strengths)


def rescoring_jobs(arguments: argparse.Namespace, identity: dict[str, Any], films: FilmSet) -> list[Job]:
    """Return the jobs that score films which an earlier run kept.

    Raises:
        UserError: no films are there, they are not whole, or they were made from other clean films.
    """
    out, kept = Path(arguments.out), Path(arguments.rescore)
    if out.resolve() == kept.resolve():
        raise UserError(f"--out {out} is where the films came from; name another folder for the new scores")
    saved = find_saved_films(kept)
    if not saved:
        raise UserError(f"{kept}: no films; --rescore takes a results folder that attack.py --save-films wrote")
    jobs = []
    for (source, condition), cells in saved.items():
        folder = sweep_folder(kept, source, condition)
        made = (read_manifest(folder) or {}).get("settings")
        if made is None:
            raise UserError(f"{folder}: has no {MANIFEST} that says what its films are; run attack.py --save-films again")
        if any(made.get(fact) != identity.get(fact) for fact in ("films", "split", "index.csv", "images.npy")):
            raise UserError(
                f"{folder}: its films were made from others than those of --data {arguments.data} "
                f"(--films {made['films']} --split {made.get('split', ATTACKED_SPLITS[0])}); name the data, --films and "
                "--split of that run"
            )
        jobs.append(Job(out, source, condition, cells, {**made, **identity, "rescored": str(kept)}, kept=kept))
        for cell in cells:
            open_films(jobs[-1].films_path(cell), films)
    return jobs


def attack_cost(name: str, steps: int, restarts: int = 1) -> int:
    """Return the work of attacking one film, in forward passes; the gradients at the films are known already."""
    attack = ATTACKS[name]
    gradients, starts = steps - (not attack.random_start) if attack.iterative else 0, attack.starts(restarts)
    gradients += attack.adaptive  # which looks at the last point as well
    # Where there are several starts, the source model sees what each has led to.
    return starts * gradients * GRADIENT_COST + (starts if starts > 1 else 0)


def cell_cost(
    cell: Cell, steps: int, models: int, attacked: bool = True, storages: Sequence[str] = (), restarts: int = 1
) -> int:
    """Return a cell's work for one film in forward passes: gradients, and each model before and after storing.

    Args:
        cell: `Cell`.
        steps: steps of the iterative attacks.
        models: how many score the films.
        attacked: whether the films are attacked, rather than read.
        storages: ways of storing after which they are scored, beside 8 bits.
        restarts: random starts of the attacks that have them.
    """
    scored = 2 + len(set(storages) - {EIGHT_BITS})
    return attack_cost(cell.attack, steps, restarts) * attacked + scored * models


def search_cost(search: Search, steps: int, models: int) -> int:
    """Return the work for one film of a search for turning strengths, in forward passes; gradients are known already."""
    if search.iterative:
        tried = BISECTIONS + HALVINGS
        return (tried + 1) * attack_cost(search.attack, steps) + tried  # one more, whose change is measured
    return PASSES * (1 if search.source_only else models)


def boundary_cost(models: int) -> int:
    """Return the work for one film of finding a single-step attack's boundaries, in forward passes."""
    return len(CRITERIA) * models


def work_of(
    job: Job,
    models: int,
    steps: int,
    films: int,
    cells: Iterable[Cell],
    boundaries: Sequence[str],
    searches: Mapping[Search, int],
) -> int:
    """Return the work of cells, boundaries and searches in forward passes.

    Args:
        job: which they are of.
        models: how many are tested.
        steps: steps of the iterative attacks.
        films: how many are attacked.
        cells: list of `Cell`.
        boundaries: attacks whose boundaries are looked for.
        searches: dict from `Search` to how many films it is made on.
    """
    attacked, starts = job.kept is None, job.condition.restarts
    per_film = sum(cell_cost(cell, steps, models, attacked, job.storages_of(cell), starts) for cell in cells)
    per_film += len(boundaries) * boundary_cost(models)
    return per_film * films + sum(count * search_cost(search, steps, models) for search, count in searches.items())
