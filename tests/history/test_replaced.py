"""A record whose file is removed or replaced while it is written to."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from raytuner.errors import HistoryError
from raytuner.history import History, TrialState
from raytuner.search.restore import RECORD_FILE, open_record
from raytuner.space import Float, Space

SPACE = Space({"x": Float(0.0, 1.0)})
MINE, OTHER = "1" * 32, "2" * 32


def record(path: Path, search_id: str = MINE, n: int = 3) -> History:
    """A record of a search with a few trials."""
    path.parent.mkdir(exist_ok=True)
    history = History(SPACE, metric="loss", mode="min")
    history.set_meta("search_id", search_id)
    for number in range(n):
        run(history, number)
    history.move_to(path)
    return history


def run(history: History, number: int) -> None:
    """One trial, from its proposal to its end."""
    trial_id = f"{history.get_meta('search_id')[0]}_{number}"
    history.add(trial_id, {"x": number / 100})
    history.report(trial_id, 1, float(number))
    history.end(trial_id, TrialState.COMPLETED)


def remove_file(path: Path, other: Path) -> None:
    path.unlink()


def remove_all_files(path: Path, other: Path) -> None:
    for file in path.parent.iterdir():
        file.unlink()


def remove_folder(path: Path, other: Path) -> None:
    shutil.rmtree(path.parent)


def move_folder(path: Path, other: Path) -> None:
    path.parent.rename(path.parent.with_name("elsewhere"))


def move_other_there(path: Path, other: Path) -> None:
    os.replace(other, path)


def link_other_there(path: Path, other: Path) -> None:
    path.unlink()
    path.symlink_to(other)


def put_a_folder_there(path: Path, other: Path) -> None:
    path.unlink()
    path.mkdir()


REMOVED = (remove_file, remove_all_files, remove_folder, move_folder)
REPLACED = (move_other_there, link_other_there, put_a_folder_there)


def act_by_end(history: History) -> None:
    history.close()


def act_by_trial(history: History) -> None:
    run(history, len(history))


def act_by_note(history: History) -> None:
    history.set_meta("num_samples", 7)


def act_by_copy(history: History) -> None:
    assert isinstance(history.path, Path)
    history.copy_to(history.path.parent.parent / "copy")


@pytest.mark.parametrize(
    ("displace", "act"),
    [
        *((displace, act_by_trial) for displace in (*REMOVED, *REPLACED)),
        *((remove_folder, act) for act in (act_by_note, act_by_end, act_by_copy)),
        *((move_other_there, act) for act in (act_by_note, act_by_end, act_by_copy)),
    ],
)
def test_it_goes_on_in_a_new_file_and_says_where(
    displace: Callable[[Path, Path], None],
    act: Callable[[History], None],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    path, other = tmp_path / "study" / RECORD_FILE, tmp_path / "other" / RECORD_FILE
    history = record(path)
    record(other, OTHER).close()
    others = other.read_bytes()
    displace(path, other)
    act(history)
    for number in range(10, 13) if act is not act_by_end else ():
        run(history, number)
    history.close()
    kept_other = path.with_name(f"{RECORD_FILE}.other")
    (said,) = [line.getMessage() for line in caplog.records]
    assert f"The record {path} was removed while the study ran" in said
    assert (f"now {kept_other}" in said) == (displace in REPLACED)
    kept = History.read(path, SPACE)
    assert repr(kept.trials) == repr(history.trials)
    assert kept.get_meta("search_id") == MINE
    with closing(open_record(path.parent, history, SPACE)) as found:
        assert repr(found.trials) == repr(history.trials)
    # Nothing was written to what is another's.
    for place in (kept_other, other):
        if place.is_file():
            assert place.read_bytes() == others
            assert History.read(place).get_meta("search_id") == OTHER


def test_it_may_happen_again(tmp_path: Path) -> None:
    path, other = tmp_path / "study" / RECORD_FILE, tmp_path / "other"
    history = record(path)
    for number in range(10, 13):
        other.write_bytes(b"no record")
        other.replace(path)
        run(history, number)
    history.close()
    kept = {RECORD_FILE, *(f"{RECORD_FILE}.other{end}" for end in ("", "-2", "-3"))}
    assert {file.name for file in path.parent.iterdir()} == kept
    assert len(History.read(path)) == 6


def test_the_log_of_another_record_goes_with_it(tmp_path: Path) -> None:
    path, other = tmp_path / "study" / RECORD_FILE, tmp_path / "other" / RECORD_FILE
    history, others = record(path), record(other, OTHER)
    for end in ("", "-wal"):  # of a killed process
        shutil.copyfile(f"{other}{end}", f"{other}.new{end}")
    others.close()
    for end in ("", "-wal"):
        os.replace(f"{other}.new{end}", f"{path}{end}")
    run(history, 10)
    history.close()
    assert len(History.read(path)) == 4
    assert len(History.read(path.with_name(f"{RECORD_FILE}.other"))) == 3


def test_a_record_that_others_look_at_is_not_taken_for_another(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "study" / RECORD_FILE
    history = record(path)
    for number in range(10, 15):
        with closing(sqlite3.connect(path)) as another:
            another.execute("SELECT * FROM trial").fetchall()
            another.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # writes to the file itself
        path.touch()
        path.chmod(0o600)
        run(history, number)
        assert len(History.read(path, SPACE)) == len(history)
    history.close()
    assert not caplog.records
    assert [file.name for file in path.parent.iterdir()] == [RECORD_FILE]


def test_a_file_system_that_is_away_for_a_moment_moves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "study" / RECORD_FILE
    history = record(path)

    def away(path: Path) -> None:
        raise OSError("stale file handle")

    with monkeypatch.context() as patch:
        patch.setattr("raytuner.history.file._inode", away)
        run(history, 10)
    run(history, 11)
    history.close()
    assert not caplog.records
    assert len(History.read(path)) == len(history)


def test_where_nothing_can_be_written_it_is_one_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "study" / RECORD_FILE
    history = record(path)
    shutil.rmtree(path.parent)
    path.parent.write_text("a file in the place of the folder")
    with pytest.raises(HistoryError, match=r"was removed while the study ran, and a new one"):
        run(history, 10)


@pytest.mark.parametrize("displace", [remove_folder, move_other_there])
def test_a_record_that_is_gone_or_anothers_is_not_opened_as_this_studys(
    displace: Callable[[Path, Path], None], tmp_path: Path
) -> None:
    path, other = tmp_path / "study" / RECORD_FILE, tmp_path / "other" / RECORD_FILE
    history = record(path)
    history.close()
    record(other, OTHER).close()
    others = other.read_bytes()
    displace(path, other)
    what = "there is no record" if displace is remove_folder else "is the record of another"
    with pytest.raises(HistoryError, match=what):
        open_record(path.parent, history, SPACE)
    assert displace is remove_folder or path.read_bytes() == others
