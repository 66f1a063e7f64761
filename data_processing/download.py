"""Fetch both data sets from Kaggle at pinned versions.

    python -m data_processing.download --out data/raw

Public sets need no account. Without a network, it says what to fetch by hand.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from data_processing.chest_xray import read_chest_xray
from data_processing.covidx import read_covidx
from data_processing.film import Film
from nosign.dataset import CLASSES
from nosign.errors import UserError
from nosign.files import link_folder, make_folder
from nosign.script import run


@dataclass(frozen=True)
class Source:
    """A data set on Kaggle.

    Attributes:
        handle: owner and name.
        version: pinned; later versions of COVIDx-CXR2 are other sets (CXR-3, CXR-4).
        folder: what it is called below the output folder.
        counts: published number of films, by class.
    """

    handle: str
    version: int
    folder: str
    counts: dict[str, int]


COVIDX = Source("andyczhao/covidx-cxr2", 3, "covidx-cxr2", {"COVID-19": 2358, "Normal": 13994})
CHEST_XRAY = Source("paultimothymooney/chest-xray-pneumonia", 2, "chest-xray-pneumonia", {"Normal": 1583, "Pneumonia": 4273})


def download(source: Source, out: str | Path) -> Path:
    """Fetch one data set into Kaggle's cache and link it below `out`.

    Returns:
        Path of the link, or of the folder in the cache where no link can be made.

    Raises:
        UserError: kagglehub is not installed, or Kaggle cannot be reached or refuses.
    """
    link = Path(out) / source.folder
    if link.exists():
        print(f"{link}: already there")
        return link
    pinned = f"{source.handle}/versions/{source.version}"
    try:
        import kagglehub

        cached = kagglehub.dataset_download(pinned)
    except Exception as error:  # kagglehub passes on whatever its network layers raise
        raise UserError(
            f"{pinned} could not be fetched ({type(error).__name__}: {error}); by hand: download the "
            f"archive from https://www.kaggle.com/datasets/{pinned} in a browser, unpack it into {link}; "
            "if Kaggle asks for a login, set KAGGLE_API_TOKEN"
        ) from None
    try:
        make_folder(link.parent)
        link_folder(cached, link)  # a link whose target is gone, because Kaggle's cache was cleared, may stand there
    except OSError as error:  # FAT and some network drives have no links
        print(f"{link}: no link can be made there ({error.strerror}); the films stay in {cached}")
        return Path(cached)
    return link


def check_counts(source: Source, films: Sequence[Film]) -> None:
    """Compare the films found with the published counts; raise `UserError` if they differ."""
    found = Counter(CLASSES[film.label] for film in films)
    if dict(found) != source.counts:
        raise UserError(
            f"{source.handle} version {source.version}: found {dict(found)} films, the published set has "
            f"{source.counts}; this is another version or an incomplete download"
        )
    print(f"{source.folder}: {len(films)} films, as published")


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Return the parsed command line."""
    parser = argparse.ArgumentParser(
        prog="python -m data_processing.download",
        description=__doc__.split("\n")[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--out", default="data/raw", metavar="DIR", help="where the data sets go, as links into Kaggle's cache")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Fetch both data sets and return the exit status."""
    out = Path(parse_args(argv).out)
    covidx, chest_xray = download(COVIDX, out), download(CHEST_XRAY, out)
    check_counts(COVIDX, read_covidx(covidx, "paper")[0])
    check_counts(CHEST_XRAY, read_chest_xray(chest_xray))
    print(
        "The three-class lists train_COVIDx8A.txt and test_COVIDx8A.txt come from the COVID-Net repository "
        f"(github.com/lindawangg/COVID-Net, folder labels); put them into {covidx} for --negatives strict.\n"
        f"next: python -m data_processing.prepare --covidx {covidx} --chest-xray {chest_xray}"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(run(main))
