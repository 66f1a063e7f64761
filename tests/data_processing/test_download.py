"""What a download says where there is no network, and that it takes no other version for the pinned one."""

import contextlib
import os
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import replace

import pytest

from data_processing import download
from data_processing.chest_xray import read_chest_xray
from nosign.errors import UserError
from nosign.script import run

UNREACHABLE = "http://127.0.0.1:9"  # the discard port, where nothing listens


@pytest.fixture
def sets(raw_sets, tmp_path):
    return raw_sets(tmp_path).add_all_classes(2)


@pytest.mark.parametrize("installed", [True, False])
def test_without_network_or_kagglehub_one_line_says_what_to_fetch_by_hand(tmp_path, root, installed):
    if not installed:
        (tmp_path / "kagglehub.py").write_text("raise ModuleNotFoundError('No module named kagglehub')")
    environment = {
        **os.environ,
        "KAGGLE_API_ENDPOINT": UNREACHABLE,
        "HTTPS_PROXY": UNREACHABLE,
        "HTTP_PROXY": UNREACHABLE,
        "KAGGLEHUB_CACHE": str(tmp_path / "cache"),
        "PYTHONPATH": str(tmp_path),
    }
    done = subprocess.run(
        [sys.executable, "-m", "data_processing.download", "--out", str(tmp_path / "raw")],
        cwd=root,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    line = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert line.startswith("error: andyczhao/covidx-cxr2/versions/3 could not be fetched (")
    assert "https://www.kaggle.com/datasets/andyczhao/covidx-cxr2/versions/3" in line and str(tmp_path / "raw") in line
    assert not (tmp_path / "raw").exists()


@pytest.fixture
def kaggle(monkeypatch, tmp_path, sets):
    """A stand-in for Kaggle's hub that has the Kermany layout in its cache; returns the handles asked for."""
    asked = []

    class Hub:
        @staticmethod
        def dataset_download(handle):
            asked.append(handle)
            return str(tmp_path)

    monkeypatch.setitem(sys.modules, "kagglehub", Hub)
    return asked


def test_pinned_version_is_linked_and_not_fetched_twice(kaggle, tmp_path):
    for _ in range(2):
        link = download.download(download.CHEST_XRAY, tmp_path / "raw")
    assert kaggle == ["paultimothymooney/chest-xray-pneumonia/versions/2"]
    assert link.is_symlink() and len(read_chest_xray(link)) == 4


def test_link_into_a_cleared_cache_is_replaced(kaggle, tmp_path):
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / download.CHEST_XRAY.folder).symlink_to(tmp_path / "gone")
    assert len(read_chest_xray(download.download(download.CHEST_XRAY, tmp_path / "raw"))) == 4


def test_where_no_link_can_be_made_the_films_stay_in_the_cache(kaggle, tmp_path, monkeypatch, capsys):
    def refuses(*_, **__):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "symlink", refuses)
    folder = download.download(download.CHEST_XRAY, tmp_path / "raw")
    assert folder == tmp_path and len(read_chest_xray(folder)) == 4
    assert f"no link can be made there (Operation not permitted); the films stay in {tmp_path}\n" in capsys.readouterr().out


def test_counts_of_the_published_set_pass_and_others_are_refused(sets, capsys):
    films = read_chest_xray(sets.chest_xray)
    download.check_counts(replace(download.CHEST_XRAY, counts={"Pneumonia": 2, "Normal": 2}), films)
    assert "4 films, as published" in capsys.readouterr().out
    for wrong in (films[:-1], []):
        with pytest.raises(UserError, match="another version or an incomplete download"):
            download.check_counts(replace(download.CHEST_XRAY, counts={"Pneumonia": 2, "Normal": 2}), wrong)


def test_pinned_counts_are_the_sums_of_the_published_splits():
    """COVIDx-CXR2 is list 8B, train and test; Kermany's set has train, val and test."""
    covidx, kermany = download.COVIDX.counts, download.CHEST_XRAY.counts
    assert covidx == {"COVID-19": 2158 + 200, "Normal": 13_794 + 200}
    assert kermany == {"Normal": 1341 + 8 + 234, "Pneumonia": 3875 + 8 + 390}


def test_another_version_already_there_is_one_line(sets, tmp_path, capsys):
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / download.COVIDX.folder).symlink_to(sets.covidx)
    (tmp_path / "raw" / download.CHEST_XRAY.folder).symlink_to(sets.chest_xray)
    assert run(download.main, ["--out", str(tmp_path / "raw")]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "found {'COVID-19': 2} films, the published set has" in line


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_archives_of_the_download_cannot_write_outside_their_folder(tmp_path, kind):
    """kagglehub unpacks them; this holds for the release that is pinned."""
    from kagglehub.http_resolver import _extract_archive

    archive, out = tmp_path / f"archive.{kind}", tmp_path / "out"
    (tmp_path / "evil").write_bytes(b"evil")
    if kind == "zip":
        with zipfile.ZipFile(archive, "w") as file:
            for name in ("../outside", "/outside", "film.png"):
                file.writestr(name, b"evil")
        _extract_archive(str(archive), str(out))
    for name in ("../outside", "link/outside", "film.png") if kind == "tar" else ():
        with tarfile.open(archive, "w") as file:
            if name.startswith("link"):
                link = tarfile.TarInfo("link")
                link.type, link.linkname = tarfile.SYMTYPE, ".."
                file.addfile(link)
            file.add(tmp_path / "evil", name)
        with contextlib.suppress(tarfile.TarError):
            _extract_archive(str(archive), str(out))
    assert (out / "film.png").is_file()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([archive.name, "evil", "out"])
