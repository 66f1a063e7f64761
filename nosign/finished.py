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
from nosign.attacks.turning import LEFT_CENSORED, TURNED, WRONG_BEFORE
from nosign.measures.outcome import Outcome
from nosign.measures.visibility import CRITERIA, CRITERION_COLUMNS, STRONGEST, interpolated_boundaries
from nosign.output.table import SweepName
from nosign.output.words import condition_suffix
from nosign.rows import ROUNDED
from nosign.statistics.families import holm, verdicts
from nosign.statistics.intervals import bootstrap_median, wilson_percent
from nosign.statistics.paired import compare_hits

IDENTITY = ("film", "label")
# The ends of the interval of each share.
ACCURACY = ("ci_low_percent", "ci_high_percent")
ACCURACY_8BIT = ("ci_low_8bit_percent", "ci_high_8bit_percent")
REACHED = ("ci_low_reached_percent", "ci_high_reached_percent")
FAMILY = ["source", "condition", "attacks"]  # one of Tables II and III: Holm's correction runs over it
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
    *("sign_attack", "no_sign_attack", "strength", "target", "white_box", "counted", "films", "sign_films"),
    *("no_sign_films", "only_sign", "only_no_sign", "difference_points", "ci_low_points", "ci_high_points", "p"),
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
        groups: int [films], equal for films that may show one person.
        paths: dict from (attack, strength) to the cell's file, in the order of tables.
        cells: dict from the same keys to the cell's frame, one row per film in the order of `clean`.
    """

    source: str
    condition: Condition
    films_are: str
    steps: int | None
    clean: pd.DataFrame
    groups: np.ndarray
    paths: dict[tuple[str, float], Path]
    cells: dict[tuple[str, float], pd.DataFrame]

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
        """The models that were attacked in at least one cell, in the order of `clean`."""
        return rows.models_in(set().union(*self.cells.values()), self.clean)

    @cached_property
    def boundaries(self) -> pd.DataFrame:
        """Each film's visibility boundary under each attack; see `film_boundaries`."""
        return film_boundaries(self)

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

    def hits(self, seen, labels=None) -> np.ndarray:
        """Return which films are right or, with an aim, are taken for it: bool, one entry per film that counts.

        Args:
            seen: classes that a model sees, [films].
            labels: these films' own classes; those of all test films if None.
        """
        return self.outcome.hits(seen, self.labels if labels is None else labels)

    def effect_percent(self, seen, labels=None) -> float:
        """Return the share of `hits` in per cent, NaN if no film counts."""
        hits = self.hits(seen, labels)
        return 100 * float(hits.mean()) if len(hits) else math.nan

    def with_percent(self, frame: pd.DataFrame, ending: str = "") -> pd.DataFrame:
        """Return a frame with the share of `counted` in per cent and its Wilson 95 % interval.

        Args:
            frame: has the two columns of `counted`, the first with the ending.
            ending: of the names of all columns but that of the films that could.
        """
        count, among = self.counted
        ends = (f"ci_low_percent{ending}", f"ci_high_percent{ending}")
        return with_share(frame, count + ending, among, f"{self.effect}_percent{ending}", ends)

    def turned(self, target: str, seen) -> np.ndarray:
        """Return which films the attack turned for a target model, bool [films]."""
        return self.outcome.is_turned(self.clean[target], np.asarray(seen), self.labels)


@dataclass(frozen=True)
class Run:
    """The results of one run, or of several with different seeds.

    Attributes:
        results, models: folders that stages 3 and 2 wrote.
        films_are: what the films are, for captions; see `nosign.rows.recorded_films`.
        classifiers: frame of `nosign.rows.read_models`; None if the run is nothing but `seeds`.
        clean: frame of `nosign.rows.read_clean`; None likewise.
        sweeps: tuple of `FinishedSweep`; empty likewise.
        seeds: the runs in `seed-*` below the folder.
    """

    results: Path
    models: Path
    films_are: str
    classifiers: pd.DataFrame | None = None
    clean: pd.DataFrame | None = None
    sweeps: tuple[FinishedSweep, ...] = ()
    seeds: tuple[Run, ...] = field(default=())

    @cached_property
    def accuracy(self) -> pd.DataFrame:
        """Each model's accuracy on the films before the attacks; see `clean_accuracy`."""
        return clean_accuracy(self.clean)

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
        return [
            self.models / "models.csv",
            self.results / rows.CLEAN_ROWS,
            *dict.fromkeys(cells),
            *(path for path in beside if path.is_file()),
        ]


def read_run(results: Path, models: Path) -> Run:
    """Read and check the results of one run.

    Raises:
        nosign.errors.UserError: a file is missing or unusable.
    """
    clean, classifiers, films_are = rows.read_clean(results), rows.read_models(models), rows.recorded_films(results)
    groups = rows.read_groups(results)
    sweeps: dict[SweepName, FinishedSweep] = {}
    for cell in rows.read_films(results, clean):
        name = SweepName(cell.source, str(cell.condition))
        if name not in sweeps:
            steps = rows.recorded_steps(results, *name)
            sweeps[name] = FinishedSweep(cell.source, cell.condition, films_are, steps, clean, groups, {}, {})
        sweeps[name].paths[cell.attack, cell.strength] = cell.path
        sweeps[name].cells[cell.attack, cell.strength] = cell.films
    return Run(results, models, films_are, classifiers, clean, tuple(sweeps.values()))


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
    return Run(results, models, own.films_are, own.classifiers, own.clean, own.sweeps, seeds)


def twins(keys: Iterable[tuple[str, float]]) -> Iterator[tuple[tuple[str, float], tuple[str, float]]]:
    """Yield (sign key, no-sign key) of (attack, strength) where both attacks of a pair are finished at the strength."""
    keys = list(keys)
    for sign, no_sign in PAIRS:
        for attack, strength in keys:
            if attack == sign and (no_sign, strength) in keys:
                yield (sign, strength), (no_sign, strength)


def with_share(frame: pd.DataFrame, count: str, total: str, percent: str, ends=ACCURACY) -> pd.DataFrame:
    """Return a frame with a share in per cent and its Wilson 95 % interval, NaN where the total is 0.

    Args:
        frame: has the columns `count` and `total`.
        percent, ends: names of the share's column and of the interval's two.
    """
    low, high = wilson_percent(frame[count], frame[total])
    return frame.assign(**{percent: 100 * frame[count] / frame[total], ends[0]: low, ends[1]: high})


def clean_accuracy(clean: pd.DataFrame) -> pd.DataFrame:
    """Count each model's right predictions on the films before the attacks.

    Returns:
        Frame, one row per model: target, correct, films, accuracy_percent and its Wilson 95 % interval, ci_low_percent
        and ci_high_percent.
    """
    models = clean.columns.drop(list(IDENTITY))
    counts = [
        {"target": model, "correct": int((clean[model] == clean["label"]).sum()), "films": len(clean)} for model in models
    ]
    return with_share(pd.DataFrame(counts), "correct", "films", "accuracy_percent")


def count_cells(sweeps: Iterable[FinishedSweep]) -> pd.DataFrame:
    """Count predictions per cell and target model.

    Returns:
        Frame, one row per cell and target:
            source, condition, attack, strength, target, white_box
            correct, films, accuracy_percent               after the attack; with the Wilson interval, as all shares
            correct_8bit, accuracy_8bit_percent            after rounding the film to 8 bits
            linf_mean, l2_mean, ssim_mean                  of the perturbation, over films; pixels in [0, 1]
            reached, attackable, reached_percent           films seen as the attack wants, of those that it is counted on
            reached_before                                 the same before the attack
            turned, can_turn, turned_percent               films newly seen so, of those that were not before
    """
    frame = pd.DataFrame(
        [
            count_cell(sweep, cell, target)
            for sweep in sweeps
            for cell, films in sweep.cells.items()
            for target in sweep.targets
            if target in films
        ]
    )
    for count, total, percent, ends in (
        ("correct", "films", "accuracy_percent", ACCURACY),
        ("correct_8bit", "films", "accuracy_8bit_percent", ACCURACY_8BIT),
        ("reached", "attackable", "reached_percent", REACHED),
    ):
        frame = with_share(frame, count, total, percent, ends)
    frame["turned_percent"] = 100 * frame["turned"] / frame["can_turn"]
    return frame[list(COUNT_COLUMNS)]


def count_cell(sweep: FinishedSweep, cell: tuple[str, float], target: str) -> dict:
    """Return the counts and means of a row of `count_cells`."""
    films, labels, outcome = sweep.cells[cell], sweep.labels, sweep.outcome
    before, after = sweep.clean[target].to_numpy(), films[target].to_numpy()
    attackable = outcome.is_attackable(labels)
    return {
        **sweep.keys,
        "attack": cell[0],
        "strength": cell[1],
        "target": target,
        "white_box": target == sweep.source,
        "films": len(labels),
        "correct": int((after == labels).sum()),
        "correct_8bit": int((films[target + ROUNDED] == labels).sum()),
        **{f"{column}_mean": films[column].mean() for column in rows.NEEDED_MEASURES},
        "reached": int((attackable & outcome.is_reached(after, labels)).sum()),
        "reached_before": int((attackable & outcome.is_reached(before, labels)).sum()),
        "attackable": int(attackable.sum()),
        "turned": int(outcome.is_turned(before, after, labels).sum()),
        "can_turn": int(outcome.can_turn(before, labels).sum()),
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
            source, condition, attacks                           `kind`; together the family of Holm's correction
            sign_attack, no_sign_attack, strength, target, white_box
            counted                                              what is counted, in words
            films, sign_films, no_sign_films                     all, and those counted under each
            only_sign, only_no_sign                              counted under one direction only
            difference_points, ci_low_points, ci_high_points     no-sign minus sign
            p, holm_p, comparisons                               exact McNemar; after Holm over so many comparisons
            verdict                                              one of `nosign.statistics.families.VERDICTS`
    """
    found = []
    for sweep in sweeps:
        for sign, no_sign in ((sign, no_sign) for sign, no_sign in twins(sweep.cells) if sign[1] > 0):
            targets = [name for name in sweep.targets if name in sweep.cells[sign] and name in sweep.cells[no_sign]]
            found += [compare_pair(sweep, sign, no_sign, target) for target in targets]
    frame = pd.DataFrame(found, columns=list(COMPARISON_COLUMNS))
    if frame.empty:
        return frame.assign(holm_p=[], comparisons=[], verdict=[])
    families = frame.groupby(FAMILY, sort=False)["p"]
    frame = frame.assign(holm_p=families.transform(holm), comparisons=families.transform("size"))
    gain = np.where(frame["counted"] == "right", -1, 1) * (frame["no_sign_films"] - frame["sign_films"])
    return frame.assign(verdict=verdicts(gain, frame["holm_p"]))


def compare_pair(sweep: FinishedSweep, sign: tuple[str, float], no_sign: tuple[str, float], target: str) -> dict:
    """Return a row of `compare_directions`, without Holm's correction."""
    hits = [sweep.hits(sweep.cells[cell][target]) for cell in (sign, no_sign)]
    return {
        **sweep.keys,
        "attacks": kind(sign[0]),
        "sign_attack": sign[0],
        "no_sign_attack": no_sign[0],
        "strength": sign[1],
        "target": target,
        "white_box": target == sweep.source,
        "counted": f"taken for {sweep.aim}" if sweep.aim else "right",
        "films": len(hits[0]),
        "sign_films": int(hits[0].sum()),
        "no_sign_films": int(hits[1].sum()),
        **compare_hits(hits[0], hits[1], ("sign", "no_sign")),
    }


def kind(attack: str) -> str:
    """Return "iterative" or "single-step", the word for an attack's table."""
    return "iterative" if ATTACKS[attack].iterative else "single-step"


def film_boundaries(sweep: FinishedSweep) -> pd.DataFrame:
    """Return each film's visibility boundary under each attack and criterion, as far as it is on record.

    Returns:
        Frame, one row per film, attack and criterion, no rows if nothing is on record:
            film, label, attack, criterion
            strength            the boundary
            beyond              1: it is at least that, -1: at most, 0: known
            exact               solved for rather than interpolated
            one per model       its prediction there

    Raises:
        nosign.errors.UserError: a boundary.csv is malformed.
    """
    frames = []
    for attack in dict.fromkeys(name for name, _ in sweep.cells):
        path = next(path for (name, _), path in sweep.paths.items() if name == attack)
        solved = rows.read_boundaries(path, sweep.clean)
        if solved is None:
            frames += interpolated(sweep, attack)
            continue
        for films in solved.values():
            strength = films["strength"].clip(upper=STRONGEST)
            beyond = (films["strength"] >= STRONGEST).astype(int)
            frames.append(films.assign(attack=attack, strength=strength, exact=True, beyond=beyond))
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def interpolated(sweep: FinishedSweep, attack: str) -> list[pd.DataFrame]:
    """Interpolate an attack's boundaries between its finished cells, one frame per criterion; see `film_boundaries`.

    A film's prediction at its boundary is that at its last invisible strength, that before the attack where there is none.
    """
    frames = []
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
        frame = sweep.clean[list(IDENTITY)].assign(
            attack=attack, criterion=criterion, strength=boundary, beyond=beyond, exact=False
        )
        for target in rows.models_in(set.intersection(*map(set, cells.values())), sweep.clean):
            seen = np.stack([sweep.clean[target], *(cell[target] for cell in cells.values())])
            frame[target] = seen[last + 1, np.arange(len(frame))]
        frames.append(frame)
    return frames


def turning_of_pair(sweep: FinishedSweep, pair: tuple[str, str], *, stored: bool = False) -> dict[str, list[pd.DataFrame]]:
    """Read the turning strengths of both attacks of a pair, of stored films or of films as they are.

    Returns:
        Dict from target to two frames of `nosign.rows.read_turning`, indexed by film, with the same films; empty where one of
        the attacks has none on record.

    Raises:
        nosign.errors.UserError: a file is malformed.
    """
    paths = [next((path for (name, _), path in sweep.paths.items() if name == attack), None) for attack in pair]
    frames = [rows.read_turning(path, sweep.clean, stored=stored) for path in paths if path is not None]
    frames = [frame for frame in frames if frame is not None]
    if len(frames) < len(pair):
        return {}
    found = {}
    for target in dict.fromkeys(frames[0]["target"]):
        of_target = [frame[frame["target"] == target].set_index("film") for frame in frames]
        films = of_target[0].index.intersection(of_target[1].index)
        if len(films):
            found[target] = [frame.loc[films] for frame in of_target]
    return found


def compare_turning(sweep: FinishedSweep, frames: list[pd.DataFrame], sizes: tuple[str, ...]) -> dict[str, float]:
    """Compare the change at which each film turns under sign and under no-sign.

    A film that only one of the two turns counts as a ratio of 0 or infinity; one that neither turns is left out and counted.

    Args:
        sweep: `FinishedSweep`.
        frames: sign's and no-sign's, what `turning_of_pair` returned for a target.
        sizes: names of columns, such as "l2".

    Returns:
        Dict: films (that could be turned), both, only_sign, only_no_sign, neither (by which they were); for each size
        <size>_ratio, the median of no-sign over sign, with its 95 % interval over 10,000 draws of patients in
        <size>_ratio_low and <size>_ratio_high; and cosine, the median of that between gradient and sign.
    """
    frames = [frame[(frames[0]["status"] != WRONG_BEFORE).to_numpy()] for frame in frames]
    turned = [frame["status"].isin([TURNED, LEFT_CENSORED]).to_numpy() for frame in frames]
    chosen = turned[0] | turned[1]
    found: dict[str, float] = {
        "films": len(chosen),
        "both": int((turned[0] & turned[1]).sum()),
        "only_sign": int((turned[0] & ~turned[1]).sum()),
        "only_no_sign": int((~turned[0] & turned[1]).sum()),
        "neither": int((~chosen).sum()),
    }
    patients = pd.Series(sweep.groups, sweep.clean["film"]).loc[frames[0].index[chosen]]
    for size in sizes:
        sign, no_sign = (np.where(mark, frame[size], np.inf)[chosen] for mark, frame in zip(turned, frames))
        names = (f"{size}_ratio", f"{size}_ratio_low", f"{size}_ratio_high")
        found |= dict(zip(names, bootstrap_median(no_sign / sign, patients)))
    return {**found, "cosine": frames[0]["cosine"][chosen].median()}
