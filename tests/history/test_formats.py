"""Records that earlier versions left are read for ever: one of each format is kept."""

from __future__ import annotations

import math
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from raytuner.errors import HistoryError
from raytuner.history import FORMAT_VERSION, History, Origin, Remains, Store, TrialState, salvaged

KEPT = Path(__file__).parent / "records"
FORMATS = range(1, FORMAT_VERSION + 1)


@pytest.fixture(params=FORMATS)
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return Path(shutil.copy(KEPT / f"format-{request.param}.sqlite", tmp_path / "record"))


def check(history: History, before: bytes) -> None:
    assert [trial.trial_id for trial in history.trials] == ["a", "b", "c", "d"]
    assert history["a"].config == {"lr": 0.25, "net": {"layers": 2, "bias": True}, "opt": "sgd"}
    assert history["b"].config["opt"] is None
    assert [trial.state for trial in history.trials] == [
        TrialState.COMPLETED,
        TrialState.STOPPED_EARLY,
        TrialState.FAILED,
        TrialState.PENDING,
    ]
    assert [trial.origin for trial in history.trials][:2] == [Origin.INITIAL, Origin.BAYES]
    assert history["a"].values == ((1.0, 3.0), (3.0, 2.5), (9.0, 0.125))
    assert history["b"].reason == "rank 2 of 2 at rung 1: only the best goes on"
    assert math.isnan(history["c"].value)
    assert (history.metric, history.mode, history.max_t) == ("loss", "min", 9)
    assert history.get_meta("finished") is False
    if b"CREATE TABLE last" in before:
        assert history["a"].metrics == {
            **{"loss": 0.125, "ms": 90.0},
            **{"accuracy": 0.75, "train": 1.25, "n": 7.0},
        }
        assert math.isnan(history["c"].metrics["accuracy"])
        assert history["a"].others["train"] == ((3.0, 1.5), (9.0, 1.25))
        assert history.curves == ("train",)
    if b"CREATE TABLE other" in before:
        assert history.goal.metrics == ("loss", "ms")
        assert history.metrics_at("a", 9).items() >= {"loss": 0.125, "ms": 90.0}.items()
        assert history["c"].value_of("ms") == math.inf


def test_the_last_format_keeps_further_metrics() -> None:
    history = History.read(KEPT / f"format-{FORMAT_VERSION}.sqlite")
    assert history.further_metrics() == ("accuracy", "train", "n")


def test_it_is_read_and_stays_as_it_is(kept: Path) -> None:
    before = kept.read_bytes()
    check(History.read(kept), before)
    assert kept.read_bytes() == before


def test_it_is_written_on_in_the_format_of_today(kept: Path) -> None:
    several = b"CREATE TABLE other" in kept.read_bytes()
    history = History.open(kept)
    history.report("d", 1, 2.0, {"ms": 1.0} if several else None)
    history.close()
    store = Store.open(kept)
    assert store.get_meta("format", None) == FORMAT_VERSION
    store.close()
    again = History.read(kept)
    assert again["d"].values == ((1.0, 2.0),)
    assert again["d"].state is TrialState.RUNNING
    again.end("d", TrialState.REMOVED)
    assert again["a"].value == 0.125


def test_it_can_be_recovered_row_by_row(kept: Path) -> None:
    before = kept.read_bytes()
    remains = Remains.of(kept)
    assert remains.is_checked == (b"crc INTEGER" in before)
    found = salvaged(remains, kept)
    assert found.lost == ()
    assert found.values == 5
    check(found.history, before)


@pytest.mark.parametrize("kept", [1, FORMAT_VERSION], indirect=True)
@pytest.mark.parametrize(
    "sql",
    [
        "CREATE VIEW extra AS SELECT 1",
        "CREATE TRIGGER t AFTER INSERT ON value BEGIN DELETE FROM trial; END",
        "DROP TABLE value; CREATE VIEW value AS WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL"
        " SELECT x FROM n) SELECT 'a', x, x, x, x FROM n",  # it would never end
        "DROP TABLE meta; CREATE VIEW meta AS WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL"
        " SELECT x FROM n) SELECT x AS key, x AS value, x AS crc FROM n",
    ],
)
def test_what_somebody_put_into_a_record_is_never_run(kept: Path, sql: str) -> None:
    with closing(sqlite3.connect(kept)) as file:
        file.executescript(sql)
    for read in (History.read, History.open):
        with pytest.raises(HistoryError, match="raytuner recover"):
            read(kept)
