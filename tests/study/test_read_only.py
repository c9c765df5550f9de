"""A study on a read-only file system can be read; a write raises one clear error."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import raytuner
from raytuner.cli import BAD_INPUT, main
from raytuner.errors import RaytunerError
from raytuner.history import History, TrialState
from raytuner.search.restore import RECORD_FILE
from raytuner.space import Float, Space
from raytuner.study.study import Study

SPACE = Space({"x": Float(0.0, 1.0)})


@pytest.fixture
def read_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a study of one trial; nobody can write to it, and Ray is not started."""
    monkeypatch.setattr("raytuner.study.run.ray_session", lambda: pytest.fail("Ray starts"))
    place = tmp_path / "disk"
    place.mkdir()
    if os.geteuid() == 0:  # root may write to any folder, but not to a read-only disk
        mount = ["mount", "-t", "tmpfs", "none", str(place)]
        if (refused := subprocess.run(mount, capture_output=True, text=True)).returncode:
            pytest.skip(f"root cannot mount here, and no folder keeps root out: {refused.stderr}")
    try:
        (place / "study").mkdir()
        history = History(SPACE, metric="loss", mode="min", path=place / "study" / RECORD_FILE)
        history.add("a", {"x": 0.5})
        history.report("a", 1, 0.25)
        history.end("a", TrialState.COMPLETED)
        (place / "killed").mkdir()  # its last transactions stand beside the file, in SQLite's log
        for end in ("", "-wal"):
            shutil.copy(place / "study" / f"{RECORD_FILE}{end}", place / "killed")
        history.close()
        (place / "damaged").mkdir()
        damaged = (place / "study" / RECORD_FILE).read_bytes()[:-4096]
        (place / "damaged" / RECORD_FILE).write_bytes(damaged)
        if os.geteuid() == 0:
            subprocess.run(["mount", "-o", "remount,ro", str(place)], check=True)
        else:
            for folder in (*place.iterdir(), place):
                folder.chmod(0o555)
        yield place
    finally:
        if os.geteuid() == 0:
            subprocess.run(["umount", "-l", str(place)], check=True)
        else:
            for folder in (place, *place.iterdir()):
                folder.chmod(0o755)


def train(config: dict[str, Any]) -> None:
    pytest.fail("a trial runs")


WRITES: dict[str, Callable[[Path], object]] = {
    "new": lambda place: raytuner.tune(
        train, SPACE, metric="loss", mode="min", num_samples=1, storage_path=place
    ),
    "new, in a folder that is not there": lambda place: raytuner.tune(
        train, SPACE, metric="loss", mode="min", num_samples=1, storage_path=place / "new"
    ),
    "extend": lambda place: raytuner.load(place / "study").extend(1, train),
    "resume": lambda place: raytuner.load(place / "study").resume(train),
    "confirm": lambda place: raytuner.load(place / "study").confirm(1, 1, train),
    "report": lambda place: raytuner.load(place / "study").report(),
    "recover": lambda place: raytuner.recover(place / "damaged"),
}


@pytest.mark.parametrize("what", WRITES)
def test_what_writes_is_one_clear_error(what: str, read_only: Path) -> None:
    with pytest.raises(RaytunerError, match=str(read_only)) as caught:
        WRITES[what](read_only)
    assert re.search("Read-only file system|Permission denied", str(caught.value))
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("name", ["study", "killed"])
def test_what_reads_goes_on(name: str, read_only: Path, tmp_path: Path) -> None:
    study: Study = raytuner.load(read_only / name)
    assert study.best.value == 0.25
    study.report(tmp_path / "report.html")
    for command in (
        ["show", str(read_only / name)],
        ["best", str(read_only / name)],
        ["list", str(read_only)],
        ["export", str(read_only / name), str(tmp_path / "trials.csv")],
        ["report", str(read_only / name), "-o", str(tmp_path / "again.html")],
    ):
        result = CliRunner().invoke(main, command)
        assert result.exit_code == 0, (command, result.output)


@pytest.mark.parametrize("name", ["trials.csv", "trials.parquet", "trials.db"])
def test_an_export_that_cannot_be_written_is_one_clear_line(name: str, read_only: Path) -> None:
    file = read_only / name
    result = CliRunner().invoke(main, ["export", str(read_only / "study"), str(file)])
    assert result.exit_code == BAD_INPUT, result.exception
    assert re.fullmatch(f"Error: cannot write {file}: .*(Read-only|denied).*\n", result.stderr)


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_nor_one_that_fills_the_disk(form: str, read_only: Path, tmp_path: Path) -> None:
    file = tmp_path / f"full.{form}"
    file.symlink_to("/dev/full")
    result = CliRunner().invoke(main, ["export", str(read_only / "study"), str(file)])
    assert result.exit_code == BAD_INPUT, result.exception
    assert re.fullmatch(f"Error: cannot write {file}: .*No space.*\n", result.stderr)
