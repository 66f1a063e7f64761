"""A finished run, read once and whole: what every finding starts from.

Stage 4 reads all rows here, through `nosign.rows`, and counts them once; findings count nothing twice.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from nosign import rows
from nosign.attacks.catalogue import ATTACKS, PAIRS, Condition
from nosign.attacks.turning import TURNS, WRONG_BEFORE
from nosign.dataset import CLASSES
from nosign.errors import UserError
from nosign.manifest import changed_since
from nosign.measures.outcome import Outcome
from nosign.measures.visibility import CRITERIA, CRITERION_COLUMNS, STRONGEST, interpolated_boundaries
from nosign.output.table import SweepName
from nosign.output.words import condition_suffix, intervals_over
from nosign.rows import ROUNDED
from nosign.statistics.families import can_reject, holm, least_told, verdicts
from nosign.statistics.paired import compare_hits, sign_change_p
from nosign.statistics.patients import Patients

IDENTITY = ("film", "label")
# The ends of the interval of each share.
ACCURACY = ("ci_low_percent", "ci_high_percent")
ACCURACY_8BIT = ("ci_low_8bit_percent", "ci_high_8bit_percent")
REACHED = ("ci_low_reached_percent", "ci_high_reached_percent")
# Holm's correction runs over one question: single-step or iterative attacks white-box, or transfer.
FAMILY = ["source", "condition", "question"]
# Films that could be turned, by which attacks of a pair they were, and those that some larger strength leaves right again.
TURNING_COUNTS = ("films", "both", "only_sign", "only_no_sign", "neither", "right_again")
COUNT_COLUMNS = (
    *("source", "condition", "attack", "strength", "target", "white_box"),
    *("correct", "films", "accuracy_percent", *ACCURACY),
    *("correct_8bit", "accuracy_8bit_percent", *ACCURACY_8BIT),
    *(f"{column}_mean" for column in rows.NEEDED_MEASURES),
    *("reached", "reached_before", "attackable", "reached_percent", *REACHED),
    *("turned", "can_turn", "turned_percent"),
)
COMPARISON_COLUMNS = (
    *FAMILY,
    *("attacks", "sign_attack", "no_sign_attack", "strength", "target", "white_box", "counted", "films", "sign_films"),
    *("no_sign_films", "only_sign", "only_no_sign", "patients"),
    *("difference_points", "ci_low_points", "ci_high_points", "p", "neighbours", "p_neighbours"),
)


@dataclass(frozen=True)
class FinishedSweep:
    """The finished cells of one source model under one condition.

    Attributes:
        source: model whose gradients were followed.
        condition: `Condition`.
        films_are: what the films are, for captions; see `nosign.rows.recorded_films`.
        steps: T of the iterative attacks; None if it is not on record.
        clean: frame of `nosign.rows.read_clean`.
        collections: where each film comes from, str [films]; empty where it is not on record.
        patients: `Patients` of the films; a film without a patient's id is a patient of its own.
        neighbours: the same, neighbours in number among those films being one patient: what that assumes.
        paths: dict from (attack, strength) to the cell's file, in the order of tables.
        cells: dict from the same keys to the cell's frame, one row per film in the order of `clean`.
        turning_paths: dict from attack to the file of its turning strengths; there may be no cell of it.
    """

    source: str
    condition: Condition
    films_are: str
    steps: int | None
    clean: pd.DataFrame
    collections: np.ndarray
    patients: Patients
    neighbours: Patients
    paths: dict[tuple[str, float], Path]
    cells: dict[tuple[str, float], pd.DataFrame]
    turning_paths: dict[str, Path]

    @property
    def name(self) -> SweepName:
        """Which sweep this is, as tables, drawings and sentences say it."""
        return SweepName(self.source, str(self.condition))

    @property
    def keys(self) -> dict[str, str]:
        """The two columns that open every frame about this sweep."""
        return {"source": self.source, "condition": str(self.condition)}

    @property
    def aim(self) -> str | None:
        """The class that the attacks aim at, None if any wrong one will do."""
        return self.condition.target

    @property
    def outcome(self) -> Outcome:
        """What counts as an effect of these attacks."""
        return Outcome.of(self.condition)

    @property
    def suffix(self) -> str:
        """The ending of the names of this sweep's tables and figures."""
        return condition_suffix(*self.name)

    @cached_property
    def labels(self) -> np.ndarray:
        """The test films' classes, float64 [films]."""
        return self.clean["label"].to_numpy()

    @cached_property
    def targets(self) -> list[str]:
        """The models that the attacks were tested on, in the order of `clean`."""
        turned = {target for _, target in self.turning}
        return rows.models_in(turned.union(*self.cells.values()), self.clean)

    @cached_property
    def boundaries(self) -> dict[tuple[str, str], pd.DataFrame]:
        """Each film's visibility boundary under each attack and criterion; see `film_boundaries`."""
        return film_boundaries(self)

    @cached_property
    def turning(self) -> dict[tuple[str, str], pd.DataFrame]:
        """Each attack's turning strengths for each target; see `film_turning`."""
        return film_turning(self)

    @cached_property
    def stored_turning(self) -> dict[tuple[str, str], pd.DataFrame]:
        """The same of films that are rounded to 8 bits."""
        return film_turning(self, stored=True)

    def count_turned(
        self, pair: tuple[str, str], target: str, among: np.ndarray | None = None, *, stored: bool = False
    ) -> dict[str, int]:
        """Count by which attacks of a pair films are turned for a target.

        Args:
            among: bool [films], the films to count; all if None.
            stored: count films that are rounded to 8 bits.

        Returns:
            Dict of `TURNING_COUNTS`.
        """
        turning = self.stored_turning if stored else self.turning
        sign, no_sign = (turning[attack, target] for attack in pair)
        counted = (sign["takes_part"] & no_sign["takes_part"]).to_numpy() & (True if among is None else among)
        by_sign, by_no_sign = (frame["turned"].to_numpy() & counted for frame in (sign, no_sign))
        again = ((sign["right_again"] > 0) | (no_sign["right_again"] > 0)).to_numpy() & counted
        neither = counted & ~by_sign & ~by_no_sign
        masks = (counted, by_sign & by_no_sign, by_sign & ~by_no_sign, by_no_sign & ~by_sign, neither, again)
        return {name: int(mask.sum()) for name, mask in zip(TURNING_COUNTS, masks)}

    def norm_ratio(self, first: str, second: str, target: str, norm: str, *, stored: bool = False) -> np.ndarray:
        """Return each film's norm at turning under a second attack over that under a first, float64 [films].

        0 where only the second turns it, infinite where only the first does; NaN where neither does, or where the film takes no
        part or was not tried with both.

        Args:
            first, second: attacks whose turning strengths for the target are on record.
            norm: "l2" or "linf".
            stored: of films that are rounded to 8 bits.
        """
        turning = self.stored_turning if stored else self.turning
        below, above = (turning[attack, target][norm].to_numpy() for attack in (first, second))
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(np.isinf(below) & np.isinf(above), np.nan, above / below)

    def turning_pairs(self, *, stored: bool = False) -> Iterator[tuple[tuple[str, str], str]]:
        """Yield each (sign, no-sign) pair of attacks and target of which both turning strengths are on record."""
        turning = self.stored_turning if stored else self.turning
        for pair in PAIRS:
            for target in self.targets:
                if all((attack, target) in turning for attack in pair):
                    yield pair, target

    def predicted_ratio(self, pair: tuple[str, str], target: str) -> np.ndarray:
        """Return what first-order theory predicts of `norm_ratio` in L2, float64 [films]: the cosine between gradient and sign.

        NaN where there is no ratio, and in an L-inf ball, which cuts off what makes the step a no-sign step.
        """
        if self.condition.protocol == "budget" and self.condition.norm == "linf":
            return np.full(len(self.clean), np.nan)
        return np.where(np.isnan(self.norm_ratio(*pair, target, "l2")), np.nan, self.turning[pair[0], target]["cosine"])

    def strata(self) -> Iterator[tuple[str, str, np.ndarray]]:
        """Yield class, collection and their films, bool [films], of each class within each collection that holds it."""
        for label, name in enumerate(CLASSES):
            own = self.labels == label
            for collection in np.unique(self.collections[own]):
                yield name, str(collection), own & (self.collections == collection)

    @cached_property
    def stored(self) -> dict[tuple[str, float], dict[str, pd.DataFrame]]:
        """Predictions after storing: dict from those cells that have them to what `nosign.rows.read_by_word` returned."""
        paths = {cell: path.with_suffix(rows.STORED) for cell, path in self.paths.items()}
        return {cell: rows.read_by_word(path, "storage", (), self.clean) for cell, path in paths.items() if path.exists()}

    @property
    def described(self) -> str:
        """What captions say of films and gradients."""
        return f"{len(self.clean)} {self.films_are}, gradients from {self.source}, condition '{self.condition}'"

    @property
    def intervals(self) -> str:
        """What captions say of intervals."""
        return intervals_over(self.patients.draws)

    @property
    def heading(self) -> str:
        """How a sentence about this sweep begins."""
        return f"Condition '{self.condition}', gradients from {self.source}"

    @property
    def effect(self) -> str:
        """The name of what `effect_percent` measures."""
        return "success" if self.aim else "accuracy"

    @property
    def counted(self) -> tuple[str, str]:
        """The names of two columns of tables: the films that show the effect, and the films that could."""
        return ("reached", "attackable") if self.aim else ("correct", "films")

    @cached_property
    def attackable(self) -> np.ndarray:
        """The films that the attacks are counted on, bool [films]."""
        return self.outcome.is_attackable(self.labels)

    def hits(self, seen: np.ndarray | pd.Series) -> np.ndarray:
        """Return which films are right or, with an aim, are taken for it, bool [films]; False where a film does not count.

        Args:
            seen: classes that a model sees, [films].
        """
        return self.outcome.hits(seen, self.labels)

    def effect_percent(self, seen: np.ndarray | pd.Series) -> float:
        """Return the share of `hits` in per cent, NaN if no film counts."""
        return self.patients.percent(self.hits(seen), self.attackable)

    def effect_of(
        self, seen: np.ndarray | pd.Series | None, ending: str = "", among: np.ndarray | None = None
    ) -> dict[str, float]:
        """Return a row's columns on what a model sees: the two of `counted`, the share in per cent and its 95 % interval.

        Args:
            seen: classes that a model sees, [films]; None where it is not on record, which gives NaN.
            ending: of the names of all columns but that of the films that could.
            among: bool [films], the films that the row is about; all if None.
        """
        return self.effect_of_hits(None if seen is None else self.hits(seen), ending, among)

    def effect_of_hits(self, hits: np.ndarray | None, ending: str = "", among: np.ndarray | None = None) -> dict[str, float]:
        """Return the columns of `effect_of` from `hits`, bool [films]; None where they are not on record."""
        count, could = self.counted
        chosen = self.attackable if among is None else self.attackable & among
        names = (f"{self.effect}_percent{ending}", f"ci_low_percent{ending}", f"ci_high_percent{ending}")
        share = [math.nan] * 3 if hits is None else self.patients.share(hits, chosen)
        return {
            could: int(chosen.sum()),
            count + ending: math.nan if hits is None else int((hits & chosen).sum()),
            **dict(zip(names, share)),
        }

    def turned(self, target: str, seen: np.ndarray | pd.Series) -> np.ndarray:
        """Return which films the attack turned for a target model, bool [films]."""
        return self.outcome.is_turned(self.clean[target], np.asarray(seen), self.labels)


@dataclass(frozen=True)
class Run:
    """The results of one run, or of several with different seeds.

    Attributes:
        results, models: folders that stages 3 and 2 wrote.
        films_are: what the films are, for captions; see `nosign.rows.recorded_films`.
        classifiers: frame of `nosign.rows.read_models`; None if the run is nothing but `seeds`.
        films: `nosign.rows.CleanFilms`; None likewise.
        patients: `Patients` of these films; None likewise.
        sweeps: tuple of `FinishedSweep`; empty likewise.
        seeds: the runs in `seed-*` below the folder.
    """

    results: Path
    models: Path
    films_are: str
    classifiers: pd.DataFrame | None = None
    films: rows.CleanFilms | None = None
    patients: Patients | None = None
    sweeps: tuple[FinishedSweep, ...] = ()
    seeds: tuple[Run, ...] = field(default=())

    @property
    def clean(self) -> pd.DataFrame | None:
        """What each model sees in the films before any attack, the frame of `nosign.rows.read_clean`; None likewise."""
        return self.films.predictions if self.films else None

    @cached_property
    def accuracy(self) -> pd.DataFrame:
        """Each model's accuracy on the films before the attacks; see `clean_accuracy`."""
        return clean_accuracy(self.clean, self.patients) if self.patients else pd.DataFrame()

    @cached_property
    def counts(self) -> pd.DataFrame:
        """Counts of all cells and targets; see `count_cells`."""
        return count_cells(self.sweeps)

    @cached_property
    def comparisons(self) -> pd.DataFrame:
        """Sign against no-sign at every strength and target; see `compare_directions`."""
        return compare_directions(self.sweeps)

    def of(self, frame: pd.DataFrame, sweep: FinishedSweep) -> pd.DataFrame:
        """Return the rows of a frame that are about a sweep."""
        return frame[(frame["source"] == sweep.source) & (frame["condition"] == str(sweep.condition))]

    @property
    def with_cells(self) -> tuple[FinishedSweep, ...]:
        """The sweeps that have a finished cell; of others only turning strengths are on record."""
        return tuple(sweep for sweep in self.sweeps if sweep.cells)

    def by_condition(self) -> Iterator[tuple[str, list[FinishedSweep]]]:
        """Yield each condition's name and its sweeps."""
        for name in dict.fromkeys(str(sweep.condition) for sweep in self.sweeps):
            yield name, [sweep for sweep in self.sweeps if str(sweep.condition) == name]

    @property
    def files(self) -> list[Path]:
        """The files that this run's numbers come from."""
        examples = [rows.example_path(self.results, attack) for attack in ATTACKS]
        beside = [self.results / rows.CLEAN_STORED, *examples]
        cells = [path for sweep in self.sweeps for cell in sweep.paths.values() for path in rows.files_of(cell)]
        turning = [path for sweep in self.sweeps for path in sweep.turning_paths.values()]
        return [
            self.models / "models.csv",
            self.results / rows.CLEAN_ROWS,
            *dict.fromkeys([*cells, *turning]),
            *(path for path in beside if path.is_file()),
        ]


def read_run(results: Path, models: Path) -> Run:
    """Read and check the results of one run.

    Raises:
        nosign.errors.UserError: a file is missing or unusable.
    """
    films, classifiers, films_are = rows.read_clean_films(results), rows.read_models(models), rows.recorded_films(results)
    clean, patients, neighbours = films.predictions, Patients(films.patients), Patients(films.neighbours)
    sweeps: dict[SweepName, FinishedSweep] = {}

    def sweep_of(source: str, condition: Condition) -> FinishedSweep:
        name = SweepName(source, str(condition))
        if name not in sweeps:
            steps = condition.steps or rows.recorded_steps(results, *name)
            facts = (films_are, steps, clean, films.collections, patients, neighbours)
            sweeps[name] = FinishedSweep(source, condition, *facts, {}, {}, {})
        return sweeps[name]

    for cell in rows.read_films(results, clean):
        sweep = sweep_of(cell.source, cell.condition)
        sweep.paths[cell.attack, cell.strength] = cell.path
        sweep.cells[cell.attack, cell.strength] = cell.films
    for source, condition, attack, path in rows.find_turning(results):
        sweep_of(source, condition).turning_paths[attack] = path
    for folder in (results, *(rows.sweep_folder(results, *name) for name in sweeps)):
        if changed := changed_since(folder, ".csv"):
            raise UserError(
                f"{changed[0]}: holds something else than its manifest recorded when attack.py wrote it; remove it and run "
                "attack.py again"
            )
    return Run(results, models, films_are, classifiers, films, patients, tuple(sweeps.values()))


def find_runs(results: Path) -> list[Path]:
    """Return the folders of the runs below a results folder: itself if it holds one, then `seed-*` in ascending order."""
    from nosign.script import seed_folders

    seeds = [folder for folder in seed_folders(results) if (folder / rows.CLEAN_ROWS).exists()]
    own = [results] if not seeds or (results / rows.CLEAN_ROWS).exists() else []
    return own + seeds


def read_runs(results: Path, models: Path) -> Run:
    """Read a results folder: its own run, if it has one, and those with different seeds below it.

    Raises:
        nosign.errors.UserError: a file is missing or unusable.
    """
    places = [folder.relative_to(results) for folder in find_runs(results)]
    runs = {place: read_run(results / place, models / place) for place in places}
    seeds = tuple(run for place, run in runs.items() if place != Path())
    own = runs.get(Path())
    if own is None:
        return Run(results, models, seeds[0].films_are, seeds=seeds)
    return Run(results, models, own.films_are, own.classifiers, own.films, own.patients, own.sweeps, seeds)


def twins(keys: Iterable[tuple[str, float]]) -> Iterator[tuple[tuple[str, float], tuple[str, float]]]:
    """Yield (sign key, no-sign key) of (attack, strength) where both attacks of a pair are finished at the strength."""
    keys = list(keys)
    for sign, no_sign in PAIRS:
        for attack, strength in keys:
            if attack == sign and (no_sign, strength) in keys:
                yield (sign, strength), (no_sign, strength)


def clean_accuracy(clean: pd.DataFrame, patients: Patients) -> pd.DataFrame:
    """Count each model's right predictions on the films before the attacks.

    Returns:
        Frame, one row per model: target, correct, films, accuracy_percent and its 95 % interval, ci_low_percent and
        ci_high_percent.
    """
    names = ("accuracy_percent", *ACCURACY)
    right = {model: (clean[model] == clean["label"]).to_numpy() for model in clean.columns.drop(list(IDENTITY))}
    return pd.DataFrame(
        [
            {"target": model, "correct": int(hits.sum()), "films": len(clean), **dict(zip(names, patients.share(hits)))}
            for model, hits in right.items()
        ]
    )


def count_cells(sweeps: Iterable[FinishedSweep]) -> pd.DataFrame:
    """Count predictions per cell and target model.

    Returns:
        Frame, one row per cell and target; each share has its 95 % interval over draws of patients:
            source, condition, attack, strength, target, white_box
            correct, films, accuracy_percent               after the attack
            correct_8bit, accuracy_8bit_percent            after rounding the film to 8 bits
            linf_mean, l2_mean, ssim_mean                  of the perturbation, over films; pixels in [0, 1]
            reached, attackable, reached_percent           films seen as the attack wants, of those that it is counted on
            reached_before                                 the same before the attack
            turned, can_turn, turned_percent               films newly seen so, of those that were not before
    """
    rows = [
        count_cell(sweep, cell, target)
        for sweep in sweeps
        for cell, films in sweep.cells.items()
        for target in sweep.targets
        if target in films
    ]
    return pd.DataFrame(rows, columns=list(COUNT_COLUMNS))


def count_cell(sweep: FinishedSweep, cell: tuple[str, float], target: str) -> dict:
    """Return a row of `count_cells`."""
    films, labels, outcome = sweep.cells[cell], sweep.labels, sweep.outcome
    before, after = sweep.clean[target].to_numpy(), films[target].to_numpy()
    right, rounded = after == labels, films[target + ROUNDED].to_numpy() == labels
    reached = sweep.attackable & outcome.is_reached(after, labels)
    turned, can_turn = outcome.is_turned(before, after, labels), outcome.can_turn(before, labels)
    shares = (
        ("accuracy_percent", ACCURACY, right, None),
        ("accuracy_8bit_percent", ACCURACY_8BIT, rounded, None),
        ("reached_percent", REACHED, reached, sweep.attackable),
    )
    return {
        **sweep.keys,
        "attack": cell[0],
        "strength": cell[1],
        "target": target,
        "white_box": target == sweep.source,
        "films": len(labels),
        "correct": int(right.sum()),
        "correct_8bit": int(rounded.sum()),
        **{f"{column}_mean": films[column].mean() for column in rows.NEEDED_MEASURES},
        "reached": int(reached.sum()),
        "reached_before": int((sweep.attackable & outcome.is_reached(before, labels)).sum()),
        "attackable": int(sweep.attackable.sum()),
        "turned": int(turned.sum()),
        "can_turn": int(can_turn.sum()),
        "turned_percent": sweep.patients.percent(turned, can_turn),
        **{
            name: value
            for percent, ends, hits, among in shares
            for name, value in zip((percent, *ends), sweep.patients.share(hits, among))
        },
    }


def effect_columns(aim: str | None) -> tuple[str, tuple[str, str]]:
    """Return the columns of `count_cells` that tables show: the accuracy, or with an aim the share that is taken for it."""
    return ("reached_percent", REACHED) if aim else ("accuracy_percent", ACCURACY)


def effect_before(sweep: FinishedSweep, counts: pd.DataFrame) -> pd.Series:
    """Return what `effect_columns` name before the attacks, in per cent by target; NaN where no film counts."""
    shares = {target: sweep.effect_percent(sweep.clean[target]) for target in counts["target"].unique()}
    return pd.Series(shares, dtype=float)


def compare_directions(sweeps: Iterable[FinishedSweep]) -> pd.DataFrame:
    """Test at each strength and target whether sign and no-sign differ on the same films.

    Untargeted attacks are compared by the films that stay right, of all films; targeted ones by the films that are taken
    for the aim, of those of other classes. Strength 0, which is no attack, is left out.

    Returns:
        Frame, one row per comparison:
            source, condition, question                          the family of Holm's correction
            attacks                                              `kind`
            sign_attack, no_sign_attack, strength, target, white_box
            counted                                              what is counted, in words
            films, sign_films, no_sign_films                     all, and those counted under each
            only_sign, only_no_sign                              counted under one direction only
            patients                                             whose films do not balance
            difference_points, ci_low_points, ci_high_points     no-sign minus sign
            p                                                    of `sign_change_p`
            neighbours, p_neighbours                             patients and p, neighbours counted as one patient
            holm_p, comparisons, least_points, verdict           of `judged`
            verdict_neighbours                                   the verdict of p_neighbours
    """
    rows = []
    for sweep in sweeps:
        for sign, no_sign in ((sign, no_sign) for sign, no_sign in twins(sweep.cells) if sign[1] > 0):
            targets = [name for name in sweep.targets if name in sweep.cells[sign] and name in sweep.cells[no_sign]]
            rows += [compare_pair(sweep, sign, no_sign, target) for target in targets]
    frame = pd.DataFrame(rows, columns=list(COMPARISON_COLUMNS))
    gain = np.where(frame["counted"] == "right", -1, 1) * (frame["no_sign_films"] - frame["sign_films"])
    neighbours = judged(frame.assign(p=frame["p_neighbours"], patients=frame["neighbours"]), gain, FAMILY)
    return judged(frame, gain, FAMILY).assign(verdict_neighbours=neighbours["verdict"])


def compare_pair(sweep: FinishedSweep, sign: tuple[str, float], no_sign: tuple[str, float], target: str) -> dict:
    """Return a row of `compare_directions`, without Holm's correction."""
    hits = [sweep.hits(sweep.cells[cell][target]) for cell in (sign, no_sign)]
    white_box = target == sweep.source
    of_neighbours = sweep.neighbours.sums(hits[0].astype(int) - hits[1])
    return {
        **sweep.keys,
        "question": kind(sign[0]) if white_box else "transfer",
        "attacks": kind(sign[0]),
        "sign_attack": sign[0],
        "no_sign_attack": no_sign[0],
        "strength": sign[1],
        "target": target,
        "white_box": white_box,
        "counted": f"taken for {sweep.aim}" if sweep.aim else "right",
        "films": int(sweep.attackable.sum()),
        "sign_films": int(hits[0].sum()),
        "no_sign_films": int(hits[1].sum()),
        **compare_hits(sweep.patients, hits[0], hits[1], ("sign", "no_sign"), sweep.attackable),
        "neighbours": int(np.count_nonzero(of_neighbours)),
        "p_neighbours": sign_change_p(of_neighbours),
    }


def judged(frame: pd.DataFrame, gain: np.ndarray | pd.Series, family: list[str] | None = None) -> pd.DataFrame:
    """Return rows of `compare_hits` with what their tests allow to be said.

    Args:
        frame: has the columns films, patients, p, and those of `family`.
        gain: float [rows], above 0 where the no-sign attack, or the second of the two, is the stronger.
        family: columns that name a row's family; all rows are one if None.

    Returns:
        The frame with more columns:
            comparisons      tests in the family: those that could reject
            holm_p           p after Holm's correction over them; NaN outside
            least_points     the smallest difference, all on one side and no patient with two films, that the family would
                             have told for certain; NaN where the films are too few
            verdict          one of `nosign.statistics.families.VERDICTS`
    """
    keys = [frame[name] for name in family] if family else np.zeros(len(frame))
    members = can_reject(frame["patients"])
    size = pd.Series(members, frame.index).groupby(keys).transform("sum").astype(int)
    holm_p = pd.Series(np.nan, frame.index)
    for _, rows_of in frame.groupby(keys, sort=False):
        holm_p[rows_of.index] = holm(rows_of["p"], rows_of["patients"])
    tests = size + ~members  # were it one of them
    least = (100 * tests.map(least_told) / frame["films"]).where(lambda points: points <= 100)
    return frame.assign(comparisons=size, holm_p=holm_p, least_points=least, verdict=verdicts(gain, holm_p))


def kind(attack: str) -> str:
    """Return "iterative" or "single-step", the word for an attack's table."""
    return "iterative" if ATTACKS[attack].iterative else "single-step"


def film_turning(sweep: FinishedSweep, *, stored: bool = False) -> dict[tuple[str, str], pd.DataFrame]:
    """Return what turns each film, as far as it is on record; `stored`: each film that is rounded to 8 bits.

    Returns:
        Dict from (attack, target) to a frame, one row per film in the order of `FinishedSweep.clean`:
            takes_part          could be turned, and was tried
            turned              was, at a strength of the search
            l2, linf            of the smallest change that turns it: infinite where none does, NaN where it takes no part
            strength, cosine, right_again     see `nosign.rows.read_turning`; NaN where it takes no part

    Raises:
        nosign.errors.UserError: a turning.csv is malformed.
    """
    frames = {}
    for attack, path in sweep.turning_paths.items():
        turning = rows.read_turning(path, sweep.clean, stored=stored)
        for target, films in turning.groupby("target", sort=False) if turning is not None else ():
            films = films.set_index("film").reindex(sweep.clean["film"]).reset_index()
            takes_part = films["status"].notna() & (films["status"] != WRONG_BEFORE)
            turned = films["status"].isin(TURNS)
            films = films[["film", "strength", "l2", "linf", "cosine", "right_again"]].astype(float)
            films.loc[takes_part & ~turned, ["l2", "linf"]] = np.inf
            films.loc[~takes_part, films.columns[1:]] = np.nan
            frames[attack, target] = rows.paged(films.assign(takes_part=takes_part, turned=turned))
    return frames


def film_boundaries(sweep: FinishedSweep) -> dict[tuple[str, str], pd.DataFrame]:
    """Return each film's visibility boundary under each attack and criterion, as far as it is on record.

    Returns:
        Dict from (attack, criterion) to a frame, one row per film in the order of `FinishedSweep.clean`:
            film, label
            strength            the boundary
            beyond              1: it is at least that, -1: at most, 0: known
            exact               solved for rather than interpolated
            one per model       its prediction there

    Raises:
        nosign.errors.UserError: a boundary.csv is malformed.
    """
    frames = {}
    for attack in dict.fromkeys(name for name, _ in sweep.cells):
        path = next(path for (name, _), path in sweep.paths.items() if name == attack)
        solved = rows.read_boundaries(path, sweep.clean)
        of_attack = interpolated(sweep, attack) if solved is None else map(solved_for, solved.items())
        frames |= {(attack, criterion): rows.paged(films) for criterion, films in of_attack}
    return frames


def solved_for(solved: tuple[str, pd.DataFrame]) -> tuple[str, pd.DataFrame]:
    """Return a criterion and the films' boundaries, as of `film_boundaries`, from an item of `nosign.rows.read_boundaries`."""
    criterion, films = solved
    beyond = (films["strength"] >= STRONGEST).astype(np.int8)
    return criterion, films.assign(strength=films["strength"].clip(upper=STRONGEST), exact=True, beyond=beyond)


def interpolated(sweep: FinishedSweep, attack: str) -> Iterator[tuple[str, pd.DataFrame]]:
    """Interpolate an attack's boundaries between its finished cells: yield criterion and frame; see `film_boundaries`.

    A film's prediction at its boundary is that at its last invisible strength, that before the attack where there is none.
    """
    for criterion, column in CRITERION_COLUMNS.items():
        cells = {
            strength: cell
            for (name, strength), cell in sorted(sweep.cells.items())
            if name == attack and strength > 0 and column in cell
        }
        if not cells:
            continue
        ratios = np.stack([CRITERIA[criterion].over_limit(cell[column]) for cell in cells.values()])
        boundary, beyond, last = interpolated_boundaries(list(cells), ratios)
        frame = sweep.clean[list(IDENTITY)].assign(strength=boundary, beyond=beyond.astype(np.int8), exact=False)
        for target in rows.models_in(set.intersection(*map(set, cells.values())), sweep.clean):
            seen = np.stack([sweep.clean[target], *(cell[target] for cell in cells.values())])
            frame[target] = seen[last + 1, np.arange(len(frame))]
        yield criterion, frame
