"""The benchmark's results: rows, as a CSV file and as tables; and the figure of how costs grow."""

from dataclasses import asdict, dataclass

import numpy as np

from nosign.files import write_csv, write_text

PARTS = LIBRARIES, PEAK, OWN = "Other libraries against ours", "Ours against the machine", "Ours as stage 3 runs it"


@dataclass
class Row:
    """One line of the results.

    Attributes:
        part: one of `PARTS`.
        what: what was timed.
        ratio: its time as a multiple of `against`, or its speed as a share of a speed; None if it cannot run.
        against: what the ratio is to.
        goal: what the ratio should be, or empty.
        ms_a_film: median milliseconds for one film, or None.
        gflop_a_second: or None.
        error: why it cannot run, or empty.
    """

    part: str
    what: str
    ratio: float | None = None
    against: str = ""
    goal: str = ""
    ms_a_film: float | None = None
    gflop_a_second: float | None = None
    error: str = ""

    def __str__(self):
        if self.error:
            return f"{self.what:<62} cannot run: {self.error}"
        extra = [
            f"{value:.0f} {unit}"
            for value, unit in ((self.ms_a_film, "ms a film"), (self.gflop_a_second, "GFLOP/s"))
            if value is not None
        ]
        return f"{self.what:<62} {self.ratio:8.3f} x {self.against}" + (f" ({', '.join(extra)})" if extra else "")

    @property
    def cells(self):
        """The row as texts for a table."""
        shown = [f"cannot run: {self.error}", ""] if self.error else [f"{self.ratio:.3f}", self.against]
        numbers = ["" if value is None else f"{value:.0f}" for value in (self.ms_a_film, self.gflop_a_second)]
        return [self.what, *shown, self.goal, *numbers]


def write_rows(folder, rows, heading):
    """Write bench.csv and bench.md, a table per part below a heading."""
    import pandas as pd
    from tabulate import tabulate

    write_csv(folder / "bench.csv", pd.DataFrame([asdict(row) for row in rows]), float_format="%.4g")
    columns = ["what", "times", "of", "goal", "ms a film", "GFLOP/s"]
    tables = [
        f"## {part}\n\n"
        + tabulate([row.cells for row in rows if row.part == part], columns, tablefmt="pipe", disable_numparse=True)
        for part in PARTS
    ]
    write_text(folder / "bench.md", "\n\n".join([heading, *tables]) + "\n")


def draw_scaling(found, path):
    """Draw seconds against films, strengths and steps, with the line through the last point and the origin."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.16, 2.4), layout="constrained")
    for axes, (what, points) in zip(figure.subplots(1, len(found)), found.items()):
        amounts, seconds = np.transpose(points)
        axes.plot([0, amounts[-1]], [0, seconds[-1]], color="0.6", linestyle="--", label="in proportion")
        axes.plot(amounts, seconds, color="#0072B2", marker="o", linestyle="none", label="measured")
        axes.set(xlabel=what, xlim=(0, None), ylim=(0, None))
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].set_ylabel("seconds")
    figure.axes[0].legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=200)
