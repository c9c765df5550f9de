"""Recovering a study whose record is damaged or missing."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner

import raytuner
from raytuner.cli import BAD_INPUT, main
from raytuner.errors import HistoryError, SettingError
from raytuner.history import History, TrialState
from raytuner.search.restore import RECORD_FILE
from raytuner.space import Categorical, Float, Space

SPACE = Space({"lr": Float(0.0, 1.0), "net": {"act": Categorical(["relu", None]), "depth": 3}})
COPY = "searcher-state-2026-11-25_10-00-00.pkl"


def make(folder: Path, trials: int = 6) -> History:
    """A study as Ray leaves it: the record, and Ray's copy from halfway."""
    folder.mkdir(parents=True)
    history = History(SPACE, metric="loss", mode="min", max_t=3, path=folder / RECORD_FILE)
    history.set_meta("search_id", "mine")
    for i in range(trials):
        history.add(f"t{i}", {"lr": i / 8, "net": {"act": [None, "relu"][i % 2], "depth": 3}})
        for t in range(1, 4 if i % 2 else 2):
            history.report(f"t{i}", t, i + 1 / t)
        history.end(f"t{i}", TrialState.COMPLETED if i % 2 else TrialState.STOPPED_EARLY, "why")
        if i == trials // 2:
            history.copy_to(folder / COPY)
    history.close()
    return history


def values(history: History) -> dict[str, object]:
    return {trial.trial_id: (trial.config, trial.values) for trial in history.trials}


def test_a_whole_record_stays_as_it_is(tmp_path: Path) -> None:
    written = make(tmp_path / "study")
    before = (tmp_path / "study" / RECORD_FILE).read_bytes()
    found = raytuner.recover(tmp_path / "study")
    assert (found.trials, found.values, found.lost, found.kept) == (6, 12, (), None)
    assert (tmp_path / "study" / RECORD_FILE).read_bytes() == before
    elsewhere = raytuner.recover(tmp_path / "study", tmp_path / "new")
    assert elsewhere.path == tmp_path / "new" / RECORD_FILE
    assert repr(raytuner.load(tmp_path / "new").trials) == repr(written.trials)
    with pytest.raises(SettingError, match="is not empty"):
        raytuner.recover(tmp_path / "study", tmp_path / "new")


def test_a_damaged_record_is_completed_and_kept(tmp_path: Path) -> None:
    written = make(tmp_path / "study")
    record = tmp_path / "study" / RECORD_FILE
    torn = record.read_bytes()[:4096]  # the tables' names and no row
    record.write_bytes(torn)
    with pytest.raises(HistoryError, match=r"`raytuner recover \S*test_\S+` saves"):
        raytuner.load(tmp_path / "study")
    result = CliRunner().invoke(main, ["recover", str(tmp_path / "study")])
    assert result.exit_code == 0, result.output
    assert "4 trials and 8 values" in result.stdout
    assert "a copy in Ray's saved state" in result.stdout
    assert f"kept as {record}.damaged" in result.stdout
    assert record.with_name(f"{RECORD_FILE}.damaged").read_bytes() == torn
    found = raytuner.load(tmp_path / "study").history
    assert values(found) == dict([*values(written).items()][:4])
    assert raytuner.recover(tmp_path / "study").kept is None


def test_rows_of_the_record_come_before_those_of_a_copy(tmp_path: Path) -> None:
    written = make(tmp_path / "study")
    record = tmp_path / "study" / RECORD_FILE
    with closing(sqlite3.connect(record)) as database, database:
        database.execute("DELETE FROM meta WHERE key = 'space'")
        database.execute("UPDATE trial SET reason = 'another' WHERE trial_id = 't1'")  # its check
    with closing(History.open(tmp_path / "study" / COPY)) as copy:
        copy.reopen("t2")
    found = raytuner.recover(tmp_path / "study")
    assert (found.trials, found.values, found.from_copies, found.lost) == (6, 12, 1, ())
    assert repr(raytuner.load(tmp_path / "study").trials) == repr(written.trials)


def test_a_copy_of_another_search_is_not_mixed_in(tmp_path: Path) -> None:
    make(tmp_path / "study", trials=2)
    other = History(SPACE, metric="loss", mode="min")
    other.set_meta("search_id", "another")
    other.add("foreign", {"lr": 0.5, "net": {"act": None}})
    other.copy_to(tmp_path / "study" / COPY)
    assert raytuner.recover(tmp_path / "study").trials == 2


def test_nothing_to_recover_from_is_one_clear_line(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["recover", str(tmp_path)])
    assert result.exit_code == BAD_INPUT
    assert len(result.stderr.splitlines()) == 1
    assert "has the study's space and goal" in result.stderr
    make(tmp_path / "study", trials=1)
    shutil.copy(tmp_path / "study" / RECORD_FILE, tmp_path / "file")
    with pytest.raises(SettingError, match="name a new folder"):
        raytuner.recover(tmp_path / "study", tmp_path / "file")
