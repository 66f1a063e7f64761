"""Stage 4: the rows that the stages before wrote -> every table and figure, and the report, in seconds.

    python data_figure.py --results results --models model

Writes `tables/` (CSV, Markdown, LaTeX; summary.md), `figures/` (PNG, PDF) and `report.html`, which holds them all and a viewer
of single films. Unfinished results give tables with gaps. Where the results hold runs with several seeds, `seed-<d>-<m>/`, each
run gets its own in its folder, and the results folder gets the spread over the runs.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from nosign.script import run


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Return the command line's settings."""
    parser = argparse.ArgumentParser(
        prog="python data_figure.py", description="Make every table and figure from the finished cells of stage 3."
    )
    parser.add_argument(
        "--results", type=Path, default=Path("results"), metavar="DIR", help="what attack.py wrote (default: %(default)s)"
    )
    parser.add_argument(
        "--models", type=Path, default=Path("model"), metavar="DIR", help="what train_finetune.py wrote (default: %(default)s)"
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="where tables/ and figures/ go (default: as --results)")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Write tables, figures and reports; return 0."""
    args = parse_args(argv)

    from nosign.finished import read_runs
    from nosign.publish import publish_all

    publish_all(read_runs(args.results, args.models), args.out or args.results)
    return 0


if __name__ == "__main__":
    raise SystemExit(run(main))
