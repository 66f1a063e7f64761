"""Cells, and where their files lie: RESULTS/attacks/SOURCE/CONDITION/ATTACK/STRENGTH.csv and what stands beside it.

A cell is one attack at one strength on all test films. Its path names the condition, so a finished cell is a file and a
stopped sweep goes on with the next one.
"""

import math
from dataclasses import dataclass
from pathlib import Path

from nosign.attacks import ATTACKS, Condition
from nosign.classifiers import BACKBONES
from nosign.dataset import CLASSES
from nosign.errors import UserError

# Endings of a cell's files: its rows, adversarial films, record of steps, predictions after storing, films for the report.
ROWS, FILMS, STEPS, STORED, SHOWN = ".csv", ".npy", ".steps.csv", ".stored.csv", ".shown.npz"
CLEAN_ROWS = "clean.csv"  # predictions on the films before any attack, beside attacks/
CLEAN_STORED = "clean.stored.csv"  # the same after storing, which is the control for STORED
BOUNDARY = "boundary.csv"  # where a single-step attack becomes visible, once an attack
TURNING = "turning.csv"  # the smallest strength of a single-step attack that turns each film, once an attack
ROUNDED = "_8bit"  # ending of the columns that describe films rounded to 8 bits
# Columns that say which film a row of `CLEAN_ROWS` describes.
IDENTITY = ("film", "label", "collection", "patient", "group")
# Columns with what a perturbation measures; after rounding, the first three alone.
MEASURES = ("linf", "l2", "ssim", "psnr", "local_ratio", "jnd_ratio", "jnd99_ratio")
ROUNDED_MEASURES = tuple(name + ROUNDED for name in MEASURES[:3])


@dataclass(frozen=True)
class Cell:
    """One attack at one strength."""

    attack: str
    strength: float


def plan(attacks, single_step_strengths, iterative_strengths):
    """Return all cells, each once, attack by attack."""
    cells = [
        Cell(name, strength)
        for name in attacks
        for strength in (iterative_strengths if ATTACKS[name].iterative else single_step_strengths)
    ]
    return list(dict.fromkeys(cells))


def logit_columns(model):
    """Return the names of the columns with a model's logits, one for each of `CLASSES`."""
    return [f"{model}_logit{label}" for label in range(len(CLASSES))]


def sweep_folder(results, source, condition):
    """Return the folder of the cells of a source model and a `Condition`, or its name."""
    return Path(results) / "attacks" / source / str(condition)


def cell_path(results, source, condition, cell):
    """Return the path of a cell's rows; it names source, condition, attack and strength."""
    return sweep_folder(results, source, condition) / cell.attack / f"{cell.strength:g}{ROWS}"


def example_path(results, attack):
    """Return where an attack's example for Figures 2 and 3 is kept."""
    return Path(results) / "examples" / f"{attack}.npz"


def files_of(path):
    """Return which files there are of a cell, given its rows' path: these, what stands beside them, the attack's boundaries.

    Adversarial films, which may be gigabytes, are not among them.
    """
    beside = [
        *(path.with_suffix(ending) for ending in (STEPS, STORED, SHOWN)),
        path.with_name(BOUNDARY),
        path.with_name(TURNING),
    ]
    return [path, *(other for other in beside if other.is_file())]


def ordered(names, known):
    """Return the names without repetition: known ones in their own order, then the others alphabetically."""
    names = set(names)
    return [name for name in known if name in names] + sorted(names - set(known))


def find_files(results, ending):
    """Find the files of one kind of all finished cells.

    Args:
        results: the results folder.
        ending: `ROWS`, `SHOWN` or another of the endings.

    Returns:
        List of (source, condition, attack, strength, path), in the order in which tables list them.

    Raises:
        UserError: a path does not name a condition, an attack and a strength, or two files are of the same cell.
    """
    folder, found = Path(results) / "attacks", {}
    for path in sorted(folder.glob(f"*/*/*/*{ending}")):
        source, condition, attack, name = path.relative_to(folder).parts
        hidden = any(word.startswith(".") for word in (source, condition, attack, name))  # a dot: not finished yet
        if hidden or (ending == ROWS and name.endswith((STEPS, STORED, BOUNDARY, TURNING))):
            continue
        if Condition.parse(condition) is None or attack not in ATTACKS:
            raise UserError(
                f"{path}: the path should read SOURCE/CONDITION/ATTACK/STRENGTH{ending} with a condition such as "
                f"{Condition()} or {Condition('budget', 'l2')} and an attack of {', '.join(ATTACKS)}; move the "
                "file away"
            )
        cell = source, condition, attack, stated_strength(path, ending)
        if cell in found:
            raise UserError(f"{path}: the same cell as {found[cell]}; remove one of the two")
        found[cell] = path
    sources, conditions = ({cell[place] for cell in found} for place in (0, 1))
    names = [*ordered(sources, BACKBONES), *ordered(conditions, [str(Condition())]), *ATTACKS]
    place = {name: number for number, name in enumerate(names)}
    return [(*cell, found[cell]) for cell in sorted(found, key=lambda cell: (*map(place.get, cell[:3]), cell[3]))]


def stated_strength(path, ending):
    """Return the strength that the name of a cell's file states."""
    try:
        strength = float(path.name.removesuffix(ending))
    except ValueError:
        strength = math.nan
    if not 0 <= strength < math.inf:
        raise UserError(f"{path}: the file name should be a strength, at least 0, and {ending}; move the file away")
    return strength


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
        storages: names of the ways of storing that are measured, keys of `nosign.perceptibility.STORAGES`.
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
    def folder(self):
        """Where the cells go."""
        return sweep_folder(self.results, self.source, self.condition)

    def path(self, cell):
        """Return the path of a cell's rows."""
        return cell_path(self.results, self.source, self.condition, cell)

    def films_path(self, cell):
        """Return the path of a cell's adversarial films: those to score, or those to keep."""
        return cell_path(self.kept or self.results, self.source, self.condition, cell).with_suffix(FILMS)

    def boundary_path(self, attack):
        """Return the path of a single-step attack's visibility boundaries."""
        return self.folder / attack / BOUNDARY

    def turning_path(self, attack):
        """Return the path of a single-step attack's turning strengths."""
        return self.folder / attack / TURNING

    def is_stored(self, cell):
        """Tell whether it is measured what storing leaves of a cell's attack."""
        return cell.strength in self.storing and self.kept is None

    def storages_of(self, cell):
        """Return the ways of storing after which a cell's films are scored."""
        return self.storages if self.is_stored(cell) else ()

    def unfinished(self):
        """Return the cells that are not there, or lack the files beside them that are wanted."""

        def is_finished(cell):
            wanted = [self.path(cell), *[self.films_path(cell)] * self.save_films]
            wanted += [self.path(cell).with_suffix(STORED)] * self.is_stored(cell)
            return all(path.is_file() for path in wanted)

        return [cell for cell in self.cells if not is_finished(cell)]

    def without_boundary(self):
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

    def without_turning(self):
        """Return the single-step attacks whose turning strengths are still to be found."""
        return [
            name
            for name in self.attacks
            if self.kept is None and not ATTACKS[name].iterative and not self.turning_path(name).is_file()
        ]
