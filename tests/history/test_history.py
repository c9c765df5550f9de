"""The record in memory: states, values, the incumbent, the snapshot."""

import dataclasses
import math
import pickle
import random
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raytuner.errors import ConfigError, HistoryError, MetricError
from raytuner.history import History, Origin, Snapshot, TrialState
from raytuner.space import Categorical, Float, Space

SPACE = Space({"lr": Float(0.0, 1.0), "net": {"act": Categorical(["relu", "tanh"]), "bias": True}})


def config(lr: float, act: str = "relu") -> dict[str, object]:
    return {"lr": lr, "net": {"act": act, "bias": True}}


def history(mode: str = "min", *, path: Path | None = None, max_t: float | None = None) -> History:
    return History(SPACE, metric="loss", mode=mode, path=path, max_t=max_t)


def ended(
    record: History, trial_id: str, state: TrialState, *values: float, lr: float | None = None
) -> None:
    """Add a trial that reported `values` at t = 1, 2, ... and ended in `state`."""
    record.add(trial_id, config(len(record) / 64 if lr is None else lr))
    for t, value in enumerate(values, start=1):
        record.report(trial_id, t, value)
    record.end(trial_id, state)


def test_a_trial_goes_through_its_states() -> None:
    record = history()
    record.add("a", config(0.5), Origin.BAYES)
    assert (record["a"].state, record["a"].origin) == (TrialState.PENDING, Origin.BAYES)
    record.report("a", 1, 2.0)
    assert record["a"].state is TrialState.RUNNING
    record.pause("a")
    assert (record["a"].state, record.live()) == (TrialState.PAUSED, ("a",))
    record.report("a", 2, 1.5)
    assert record["a"].state is TrialState.RUNNING
    record.end("a", TrialState.STOPPED_EARLY, "rank 3 of 3")
    trial = record["a"]
    assert (trial.state, trial.reason) == (TrialState.STOPPED_EARLY, "rank 3 of 3")
    assert trial.ended_at is not None
    assert trial.ended_at >= trial.proposed_at
    assert (trial.t, trial.value, trial.values) == (2, 1.5, ((1, 2.0), (2, 1.5)))
    assert record.live() == ()


def test_what_arrives_after_the_end_changes_nothing() -> None:
    for state in TrialState:
        if not state.is_live:
            record = history()
            ended(record, "a", state, 3.0)
            before, snapshot = record["a"], record.snapshot()
            record.report("a", 1, 2.5)
            record.report("a", 7, 2.5, {"other": 1.0})
            record.pause("a")
            assert record["a"] == before
            assert record.snapshot() is snapshot
            assert record.live() == ()


def test_a_trial_that_ray_runs_again_is_live_again() -> None:
    record = history()
    ended(record, "a", TrialState.FAILED, 3.0)
    record.reopen("a")
    record.report("a", 1, 2.5)
    trial = record["a"]
    assert (trial.state, trial.reason, trial.ended_at) == (TrialState.RUNNING, "", None)
    record.end("a", TrialState.COMPLETED)
    record.reopen("a")
    trial = record["a"]
    assert (trial.state, trial.ended_at) == (TrialState.PENDING, None)
    assert trial.values == ((1, 2.5),)


def test_a_corrected_end_keeps_its_time() -> None:
    record = history()
    ended(record, "a", TrialState.COMPLETED, 1.0)
    first = record["a"].ended_at
    record.end("a", TrialState.STOPPED_EARLY, "seen later")
    assert (record["a"].state, record["a"].ended_at) == (TrialState.STOPPED_EARLY, first)


def test_reports_are_idempotent_by_trial_and_t() -> None:
    record = history()
    record.add("a", config(0.5))
    for t, value in [(1, 3.0), (2, 2.0), (1, 3.0), (2, 1.75), (3, 1.0), (1, 3.0)]:
        record.report("a", t, value)
    assert record["a"].values == ((1, 3.0), (2, 1.75), (3, 1.0))
    assert len(record.snapshot().y) == 3


@pytest.mark.parametrize("t", [math.nan, math.inf])
def test_a_resource_must_be_finite(t: float) -> None:
    record = history()
    record.add("a", config(0.5))
    with pytest.raises(HistoryError, match="must be finite"):
        record.report("a", t, 1.0)
    assert record["a"].values == ()


def test_events_that_do_not_fit_are_refused() -> None:
    record = history()
    record.add("a", config(0.5))
    with pytest.raises(HistoryError, match="'a' is in the record already"):
        record.add("a", config(0.25))
    for event in (
        lambda: record.report("b", 1, 1.0),
        lambda: record.end("b", TrialState.COMPLETED),
        lambda: record.pause("b"),
        lambda: record.reopen("b"),
        lambda: record["b"],
        lambda: record.last("b"),
    ):
        with pytest.raises(HistoryError, match="'b' is not in the record"):
            event()
    for state in (TrialState.PENDING, TrialState.RUNNING, TrialState.PAUSED):
        with pytest.raises(HistoryError, match=f"live state {state.value}"):
            record.end("a", state)
    with pytest.raises(ConfigError, match="lr: received 2"):
        record.add("c", config(2.0))
    assert [trial.trial_id for trial in record.trials] == ["a"]
    with pytest.raises(MetricError, match="'best'"):
        history("best")


@pytest.mark.parametrize(("mode", "better", "worse"), [("min", 1.0, 2.0), ("max", 2.0, 1.0)])
def test_best_prefers_what_completed(mode: str, better: float, worse: float) -> None:
    record = history(mode)
    assert record.best is None
    record.add("waiting", config(0.5))
    assert record.best is None

    def best_id() -> str:
        best = record.best
        assert best is not None
        return best.trial_id

    ended(record, "early", TrialState.STOPPED_EARLY, better)
    assert best_id() == "early"
    ended(record, "failed", TrialState.FAILED, better * 2 if mode == "max" else better / 2)
    assert best_id() == "early"
    ended(record, "done", TrialState.COMPLETED, worse)
    assert best_id() == "done"  # a final value counts before any stopped one
    ended(record, "nan", TrialState.COMPLETED, math.nan)
    ended(record, "inf", TrialState.COMPLETED, math.inf if mode == "max" else -math.inf)
    assert best_id() == "done"
    ended(record, "better", TrialState.COMPLETED, worse, better)
    assert best_id() == "better"
    ended(record, "same", TrialState.COMPLETED, worse, better)
    assert best_id() == "better"  # the first of equals


def test_best_judges_a_curve_by_its_last_value() -> None:
    record = history("min")
    ended(record, "dips", TrialState.COMPLETED, 0.1, 5.0)
    ended(record, "falls", TrialState.COMPLETED, 9.0, 4.0)
    best = record.best
    assert best is not None
    assert (best.trial_id, best.value) == ("falls", 4.0)


@pytest.mark.parametrize(("mode", "sign"), [("min", -1.0), ("max", 1.0)])
def test_a_snapshot_has_one_order(mode: str, sign: float) -> None:
    record = history(mode, max_t=9)
    ended(record, "b", TrialState.COMPLETED, 5.0, 4.0, lr=0.75)
    record.add("a", config(0.25, "tanh"))
    record.reopen("b")
    record.report("b", 3, 3.0)  # out of turn: still the row of its trial
    record.end("b", TrialState.COMPLETED)
    record.report("a", 2, 7.0)
    record.report("a", 1, 8.0)
    ended(record, "c", TrialState.FAILED, math.nan, lr=0.5)
    ended(record, "d", TrialState.STOPPED_EARLY, 6.0, lr=1.0)
    seen = record.snapshot()
    assert seen.trial_ids == ("b", "a", "c", "d")
    assert seen.states == tuple(trial.state for trial in record.trials)
    assert np.array_equal(seen.points, SPACE.encode([t.config for t in record.trials]))
    assert seen.trial.tolist() == [0, 0, 0, 1, 1, 2, 3]
    assert seen.t.tolist() == [1, 2, 3, 1, 2, 1, 1]
    expected = sign * np.array([5.0, 4.0, 3.0, 8.0, 7.0, math.nan, 6.0])
    assert np.array_equal(seen.y, expected, equal_nan=True)
    assert seen.final.tolist() == [False, False, True, False, False, False, False]
    assert (seen.dim, seen.max_t) == (2, 9)
    assert np.array_equal(seen.pending, SPACE.encode([config(0.25, "tanh")]))
    assert np.array_equal(seen.infeasible, SPACE.encode([config(0.5)]))
    assert seen.rows(TrialState.STOPPED_EARLY, TrialState.COMPLETED).tolist() == [0, 3]


@pytest.mark.parametrize("state", list(TrialState))
def test_what_is_live_is_pending(state: TrialState) -> None:
    record = history()
    record.add("a", config(0.5))
    if state is not TrialState.PENDING:
        record.report("a", 1, 1.0)
    if state is TrialState.PAUSED:
        record.pause("a")
    if not state.is_live:
        record.end("a", state)
    assert record["a"].state is state
    assert len(record.snapshot().pending) == (1 if state.is_live else 0)


@settings(max_examples=40)
@given(st.randoms(use_true_random=False), st.integers(1, 300))
def test_a_snapshot_is_the_same_whenever_others_were_taken(rng: random.Random, events: int) -> None:
    record = history(max_t=9)
    for number in range(rng.randrange(200)):
        ended(record, f"before {number}", TrialState.COMPLETED, 1.0, lr=0.5)
    for number in range(events):
        known = [trial.trial_id for trial in record.heads()]
        what = rng.choice(["add", "report", "end", "reopen", "look", "longer"])
        if what == "add" or not known:
            record.add(str(number), config(rng.random()))
        elif what == "report":
            record.report(rng.choice(known), rng.randint(1, 9), rng.random())
        elif what == "end":
            record.end(rng.choice(known), rng.choice([s for s in TrialState if not s.is_live]))
        elif what == "reopen":
            record.reopen(rng.choice(known))
        elif what == "longer":
            record.max_t = rng.randint(9, 12)
        else:
            record.snapshot()
    again = pickle.loads(pickle.dumps(record))  # which has taken none
    for one in dataclasses.fields(Snapshot):
        mine, theirs = (getattr(r.snapshot(), one.name) for r in (record, again))
        assert np.array_equal(mine, theirs) if isinstance(mine, np.ndarray) else mine == theirs


def test_a_snapshot_is_taken_once_until_something_changes() -> None:
    record = history(max_t=9)
    record.left = 5
    seen = record.snapshot()
    assert record.snapshot() is seen
    changes: list[Callable[[], object]] = [
        lambda: record.add("a", config(0.5)),
        lambda: record.report("a", 1, 0.5),
        lambda: record.end("a", TrialState.STOPPED_EARLY),
        lambda: setattr(record, "max_t", 12),
        lambda: setattr(record, "left", 1),
    ]
    for change in changes:
        change()
        assert record.snapshot() is not seen
        seen = record.snapshot()


def test_a_snapshot_is_frozen() -> None:
    record = history()
    ended(record, "a", TrialState.COMPLETED, 1.0)
    seen = record.snapshot()
    for array in (seen.points, seen.trial, seen.t, seen.y, seen.final):
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0
    with pytest.raises(dataclasses.FrozenInstanceError):
        seen.t = seen.y  # type: ignore[misc]
    ended(record, "b", TrialState.COMPLETED, 2.0)
    assert seen.trial_ids == ("a",)


def test_an_empty_snapshot_has_its_dimensions() -> None:
    seen = history().snapshot()
    assert seen.points.shape == (0, 2)
    assert seen.pending.shape == (0, 2)
    assert seen.infeasible.shape == (0, 2)
    assert seen.y.shape == (0,)


def test_a_snapshot_checks_itself() -> None:
    some, none = np.zeros((1, 2)), np.zeros(0)
    rows, flags, Y = np.zeros(0, np.int64), np.zeros(0, np.bool_), np.zeros((0, 1))
    with pytest.raises(ValueError, match="1 trials"):
        Snapshot(("a",), (), some, rows, none, Y, flags)
    with pytest.raises(ValueError, match="m = 0"):
        Snapshot(("a",), (TrialState.PENDING,), some, rows, np.zeros(1), Y, flags)


def test_what_is_known_of_values() -> None:
    record = history()
    assert (record.has_values, record.largest_t) == (False, 0.0)
    record.add("told", config(0.1), Origin.EVALUATED)
    record.report("told", 4, 1.0)
    assert (record.has_values, record.largest_t) == (False, 4.0)  # not reported in this search
    record.add("a", config(0.5))
    assert record.last("a") is None
    assert math.isnan(record["a"].value)
    record.report("a", 2, 1.0)
    record.report("a", 1, 9.0)
    assert record.has_values
    assert record.last("a") == (2.0, 1.0)
    assert (record.has_value("a", 1), record.has_value("a", 3)) == (True, False)
    assert record.counts == {TrialState.RUNNING: 2}


def test_a_pickled_record_is_a_copy_in_memory(tmp_path: Path) -> None:
    record = history(path=tmp_path / "record")
    ended(record, "a", TrialState.COMPLETED, 2.0, math.nan, math.inf, 1.0)
    record.set_meta("key", [1, None, "x"])
    copy = pickle.loads(pickle.dumps(record))
    assert copy.path is None
    assert repr(copy.trials) == repr(record.trials)  # NaN is not equal to itself
    assert (copy.metric, copy.mode, copy.get_meta("key")) == ("loss", "min", [1, None, "x"])
    copy.add("b", config(0.9))
    assert "b" not in record
    record.add("c", config(0.8))
    assert "c" not in copy


def test_the_first_start_of_a_trial_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [10.0]
    monkeypatch.setattr("raytuner.history.table.time.time", lambda: now[0])
    history = History(Space({"lr": Float(0.0, 1.0)}), metric="loss", mode="min")
    history.add("a", {"lr": 0.5})
    history.add("b", {"lr": 0.25})
    history.start("a")
    now[0] = 20.0
    history.start("a")  # a retry
    assert [head.started_at for head in history.heads()] == [10.0, None]


def test_reports_keep_their_order_though_the_clock_is_set_back(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    now = [1000.0]
    monkeypatch.setattr("raytuner.history.table.time.time", lambda: now[0])
    record = history(path=tmp_path / "r")
    record.add("a", config(0.5))
    record.report("a", 1, 3.0)
    now[0] = 500.0
    record.report("a", 2, 2.0)
    record.close()
    again = History.open(tmp_path / "r")
    again.report("a", 3, 1.0)
    times = again["a"].reported_at
    assert times[0] == 1000.0
    assert times[0] < times[1] < times[2] < 1000.001


def test_a_trial_runs_from_its_start() -> None:
    """Before its first report, and again when Ray runs it again; its end and a pause stay."""
    history = History(Space({"lr": Float(0.0, 1.0)}), metric="loss", mode="min")
    for name in "abcd":
        history.add(name, {"lr": 0.5})
    for name in "abc":
        history.start(name)
    assert history.counts == {TrialState.RUNNING: 3, TrialState.PENDING: 1}
    history.reopen("a")
    assert history.counts == {TrialState.RUNNING: 2, TrialState.PENDING: 2}
    history.start("a")
    assert history["a"].state is TrialState.RUNNING
    history.report("b", 1, 0.5)
    history.pause("b")
    history.end("c", TrialState.FAILED)
    for name in "bc":
        history.start(name)
    assert [history[name].state for name in "bc"] == [TrialState.PAUSED, TrialState.FAILED]


def test_changes_bring_a_copy_up_to_date() -> None:
    record, copy = history(), history()
    known = 0

    def follow() -> None:
        nonlocal known
        copy.apply(record.changes(known))
        known = record.version
        for each in ("trial_ids", "states"):
            assert getattr(copy.snapshot(), each) == getattr(record.snapshot(), each)
        for each in ("points", "trial", "t", "y", "final"):
            mine, theirs = getattr(copy.snapshot(), each), getattr(record.snapshot(), each)
            assert np.array_equal(mine, theirs, equal_nan=each == "y")

    record.add("a", config(0.5), Origin.BAYES)
    follow()
    record.report("a", 1, 0.5)
    record.add("b", config(0.25))
    follow()
    assert record.changes(known) == []
    record.report("a", 2, math.nan)
    record.report("a", 1, 0.75)  # a retry
    record.pause("b")
    changed = [(table, row[0]) for table, row in record.changes(known)]
    assert changed == [("trial", "a"), ("value", "a"), ("value", "a"), ("trial", "b")]
    follow()
    record.end("a", TrialState.FAILED, "it raised")
    record.reopen("b")
    follow()
    record.end("b", TrialState.STOPPED_EARLY)
    record.end("a", TrialState.COMPLETED)
    follow()


def test_what_is_counted_as_it_happens_is_what_there_is() -> None:
    record = history()
    for number in range(6):
        record.add(f"t{number}", config(number / 10))
    assert record.ended_version == 0 < record.version
    record.report("t0", 3, 1.0)
    assert (record.has_values, record.largest_t) == (True, 3.0)
    record.end("t1", TrialState.REMOVED)
    at = record.ended_version
    assert at == record.version
    record.end("t1", TrialState.REMOVED, "a reason that came later")
    assert record.ended_version == at  # it had ended
    record.end("t2", TrialState.COMPLETED)
    record.reopen("t2")
    record.pause("t3")
    for each in (record, pickle.loads(pickle.dumps(record))):
        states = Counter(trial.state for trial in each.trials)
        assert each.counts == states
        live = tuple(trial.trial_id for trial in each.trials if trial.state.is_live)
        assert each.live() == live == ("t0", "t2", "t3", "t4", "t5")
        assert len(each.points(4)) == 2
        assert each.largest_t == 3.0


@pytest.mark.parametrize(("mode", "order"), [("min", ["b", "c", "a"]), ("max", ["a", "c", "b"])])
def test_what_can_be_used_is_ranked_the_best_first(mode: str, order: list[str]) -> None:
    record = history(mode)
    for trial_id, value in (("a", 3.0), ("b", 1.0), ("c", 2.0)):
        ended(record, trial_id, TrialState.COMPLETED, value)
    ended(record, "failed", TrialState.FAILED, 0.0)
    assert [trial.trial_id for trial in record.ranked] == order


def test_another_thread_may_go_on_with_the_record(tmp_path: Path) -> None:
    record = history(path=tmp_path / "r")
    with ThreadPoolExecutor(1) as pool:
        pool.submit(ended, record, "a", TrialState.COMPLETED, 1.0).result()
    assert record.counts == {TrialState.COMPLETED: 1}
