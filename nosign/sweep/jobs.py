"""What stage 3 has to do: the cells of one source model under one condition, and which of them are finished."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from nosign.attacks.catalogue import ATTACKS, Condition
from nosign.measures.visibility import CRITERIA
from nosign.rows import BOUNDARY, FILMS, STORED, TURNING, Cell, cell_path, sweep_folder


def plan(attacks: Iterable[str], single_step_strengths: Iterable[float], iterative_strengths: Iterable[float]) -> list[Cell]:
    """Return all cells, each once, attack by attack."""
    cells = [
        Cell(name, strength)
        for name in attacks
        for strength in (iterative_strengths if ATTACKS[name].iterative else single_step_strengths)
    ]
    return list(dict.fromkeys(cells))


@dataclass(frozen=True)
class Job:
    """The cells of one source model under one condition.

    Attributes:
        results: pathlib.Path of the results folder.
        source: model whose gradients are followed.
        condition: `Condition`.
        cells: list of `Cell`.
        settings: what the cells depend on, JSON-ready.
        attacks: names of attacks; they may have no cells, as turning strengths need none.
        kept: results folder whose adversarial films are scored instead of attacking anew, or None.
        save_films: whether the adversarial films are kept.
        storing: strengths at which it is measured what storing leaves of the attacks.
        storages: names of the ways of storing that are measured, keys of `nosign.measures.storage.STORAGES`.
    """

    results: Path
    source: str
    condition: Condition
    cells: list
    settings: dict
    attacks: tuple = ()
    kept: Path | None = None
    save_films: bool = False
    storing: tuple = ()
    storages: tuple = ()

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

    def turning_path(self, attack: str) -> Path:
        """Return the path of a single-step attack's turning strengths."""
        return self.folder / attack / TURNING

    def is_stored(self, cell: Cell) -> bool:
        """Tell whether it is measured what storing leaves of a cell's attack."""
        return cell.strength in self.storing and self.kept is None

    def storages_of(self, cell: Cell) -> tuple[str, ...]:
        """Return the ways of storing after which a cell's films are scored."""
        return self.storages if self.is_stored(cell) else ()

    def unfinished(self) -> list[Cell]:
        """Return the cells that are not there, or lack the files beside them that are wanted."""

        def is_finished(cell):
            wanted = [self.path(cell), *[self.films_path(cell)] * self.save_films]
            wanted += [self.path(cell).with_suffix(STORED)] * self.is_stored(cell)
            return all(path.is_file() for path in wanted)

        return [cell for cell in self.cells if not is_finished(cell)]

    def without_boundary(self) -> list[str]:
        """Return the single-step attacks whose visibility boundary is still to be found."""
        names = dict.fromkeys(cell.attack for cell in self.cells)
        return [
            name
            for name in names
            if self.kept is None
            and not ATTACKS[name].iterative
            and not ATTACKS[name].control
            and not self.boundary_path(name).is_file()
        ]

    def without_turning(self) -> list[str]:
        """Return the single-step attacks whose turning strengths are still to be found."""
        return [
            name
            for name in self.attacks
            if self.kept is None and not ATTACKS[name].iterative and not self.turning_path(name).is_file()
        ]


# A gradient costs about two forward passes.
GRADIENT_COST = 2


def cell_cost(cell: Cell, steps: int, targets: int, attacked: bool = True, storages: int = 0) -> int:
    """Return a cell's work per film in forward passes: gradients, and the predictions before and after storing."""
    gradients = steps - (not ATTACKS[cell.attack].random_start) if attacked and ATTACKS[cell.attack].iterative else 0
    return gradients * GRADIENT_COST + (1 + max(1, storages)) * targets


def boundary_cost(targets: int) -> int:
    """Return the work per film of finding a single-step attack's boundaries, in forward passes."""
    return len(CRITERIA) * targets
