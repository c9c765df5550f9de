"""BoTorchSearch, driven by hand."""

from __future__ import annotations

import math
import pickle
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from processes import Polled
from ray import tune
from ray.tune.search import ConcurrencyLimiter, Searcher
from searcher_conformance import (
    FINITE_SPACE,
    PARAM_SPACE,
    Driver,
    FiniteConformance,
    Make,
    SearcherConformance,
    key,
    record_of,
)

from raytuner.bayes import SobolProposer
from raytuner.controller.report import last_checkpoint, stop_early
from raytuner.errors import (
    ConfigError,
    HistoryError,
    InUseError,
    MetricError,
    RaytunerError,
    SettingError,
    SpaceError,
)
from raytuner.history import History, Origin, TrialState
from raytuner.search.botorch_search import BoTorchSearch
from raytuner.search.restore import RECORD_FILE
from raytuner.space import Float, Space


class TestInside(FiniteConformance):
    @pytest.fixture
    def make(self) -> Make:
        return lambda seed=0: BoTorchSearch(seed=seed, n_initial=5, background=False)


class TestWithSobol(SearcherConformance):
    @pytest.fixture
    def make(self) -> Make:
        return lambda seed=0: BoTorchSearch(seed=seed, proposer=SobolProposer, background=False)


class TestInBackground(SearcherConformance):
    """Replies come after some polls, here; in processes of their own: tests/integration."""

    @pytest.fixture
    def make(self) -> Make:
        def begin(seed: int = 0) -> BoTorchSearch:
            searcher = BoTorchSearch(seed=seed, n_initial=5)
            searcher.compute_in(Polled)
            return searcher

        return begin

    def check_restored(self, straight: Driver, restored: Driver) -> None:
        """What was in stock is thought of again: nothing is lost, and nothing comes twice."""
        assert len(restored.configs) == len(straight.configs)
        assert len({key(config) for config in restored.configs}) == len(restored.configs)
        record = record_of(restored.searcher)
        assert [trial.config for trial in record.trials] == restored.configs


def search(space: Any = PARAM_SPACE, **settings: Any) -> BoTorchSearch:
    """A searcher that has all it needs. Sobol: these tests are not about models."""
    settings = {"seed": 0, "proposer": SobolProposer, "background": False, **settings}
    return BoTorchSearch(space, "loss", "min", **settings)


def report(t: float, value: Any) -> dict[str, Any]:
    return {"loss": value, "training_iteration": t}


def point(lr: float, layers: int = 2, act: str = "relu") -> dict[str, Any]:
    return {"lr": lr, "net": {"layers": layers, "act": act}}


# -- what the Tuner tells it ----------------------------------------------------------------------


def test_it_takes_everything_from_the_tuner() -> None:
    searcher = BoTorchSearch(seed=0)
    stop = {"training_iteration": 9, "loss": 0.1}
    assert searcher.set_search_properties("loss", "max", PARAM_SPACE, stop=stop, num_samples=4)
    record = searcher.history
    assert (record.metric, record.mode, record.max_t) == ("loss", "max", 9)
    assert [c.name for c in record.space.columns] == ["lr", "net/layers", "net/act"]
    assert (searcher.metric, searcher.mode) == ("loss", "max")


@pytest.mark.parametrize("stop", [None, {}, {"loss": 0.1}, {"training_iteration": True}, print])
def test_other_stop_criteria_say_nothing_of_max_t(stop: Any) -> None:
    searcher = BoTorchSearch()
    assert searcher.set_search_properties("loss", "min", PARAM_SPACE, stop=stop)
    assert searcher.history.max_t is None


def test_the_stop_criterion_also_counts_for_a_space_given_before() -> None:
    searcher = search()
    assert searcher.set_search_properties("loss", "min", {}, stop={"training_iteration": 9})
    assert searcher.history.max_t == 9
    own = search(max_t=5)
    assert own.set_search_properties("loss", "min", {}, stop={"training_iteration": 9})
    assert own.history.max_t == 5


def test_the_schedule_sets_time_attr_and_max_t() -> None:
    searcher = search()
    searcher.join_schedule(time_attr="epoch", max_t=27)
    assert (searcher.history.time_attr, searcher.history.max_t) == ("epoch", 27)
    searcher.suggest("a")
    searcher.on_trial_result("a", {"loss": 1.0, "epoch": 4, "training_iteration": 1})
    assert searcher.history["a"].values == ((4, 1.0),)
    own = search(max_t=5)
    own.join_schedule(time_attr="epoch", max_t=27)
    assert own.history.max_t == 5


def test_a_space_of_ours_and_given_by_name() -> None:
    searcher = BoTorchSearch(metric="loss", mode="min")
    assert searcher.set_search_properties("loss", "min", Space({"x": Float(0, 1)}))
    assert searcher.set_search_properties("loss", "min", {})
    config = searcher.suggest("a")
    assert isinstance(config, dict)
    assert 0 <= config["x"] <= 1
    assert not searcher.set_search_properties("loss", "min", Space({"x": Float(0, 1)}))
    assert not searcher.set_search_properties("loss", "min", PARAM_SPACE)  # Ray says so then


# -- bad input: one clear error -------------------------------------------------------------------


def told(config: Any, metric: Any = "loss", mode: Any = "min", **settings: Any) -> BoTorchSearch:
    searcher = BoTorchSearch(**settings)
    searcher.set_search_properties(metric, mode, config)
    return searcher


BAD: dict[str, tuple[Callable[[], object], type[RaytunerError], list[str]]] = {
    "empty space": (lambda: told({}), SpaceError, ["{}", "at least one hyperparameter"]),
    "own mode": (lambda: BoTorchSearch(mode="best"), MetricError, ["'best'", "'min' or 'max'"]),
    "no metric, no mode": (
        lambda: told(PARAM_SPACE, metric=None, mode=None),
        MetricError,
        ["None", "TuneConfig"],
    ),
    "modes and no metric": (
        lambda: told(PARAM_SPACE, metric=None, mode=["min", "max"]),
        MetricError,
        ["None", "['min', 'max']"],
    ),
    "no mode": (lambda: told(PARAM_SPACE, mode=None), MetricError, ["None", "TuneConfig"]),
    "two metrics": (
        lambda: told(PARAM_SPACE, metric=["loss", "time"]),
        MetricError,
        ["['loss', 'time']", "one mode for each"],
    ),
    "another metric": (
        lambda: BoTorchSearch(metric="accuracy").set_search_properties("loss", "min", PARAM_SPACE),
        MetricError,
        ["'accuracy'", "'loss'", "once"],
    ),
    "time_attr": (lambda: BoTorchSearch(time_attr=""), MetricError, ["time_attr", "''"]),
    "max_t": (lambda: BoTorchSearch(max_t=0), SettingError, ["max_t", "0", "above 0"]),
    "max_t text": (lambda: BoTorchSearch(max_t="9"), SettingError, ["max_t", "'9'"]),  # type: ignore[arg-type]
    "seed": (lambda: BoTorchSearch(seed=-1), SettingError, ["seed", "-1", ">= 0"]),
    "seed text": (lambda: BoTorchSearch(seed="0"), SettingError, ["seed", "'0'"]),  # type: ignore[arg-type]
    "n_initial": (lambda: told(PARAM_SPACE, n_initial=0), SettingError, ["n_initial", "0"]),
    "background": (lambda: BoTorchSearch(background="yes"), SettingError, ["'yes'"]),  # type: ignore[arg-type]
    "point outside": (
        lambda: told(PARAM_SPACE, points_to_evaluate=[point(0.01), point(0.5)]),
        ConfigError,
        ["points_to_evaluate[1]", "lr", "0.5", "0.1"],
    ),
    "evaluated point with a key missing": (
        lambda: told(PARAM_SPACE, points_to_evaluate=[{"lr": 0.01}], evaluated_rewards=[0.5]),
        ConfigError,
        ["points_to_evaluate[0]", "net", "missing"],
    ),
    "partial point outside": (
        lambda: told(PARAM_SPACE, points_to_evaluate=[{"net": {"layers": 9}}]),
        ConfigError,
        ["points_to_evaluate[0]", "net/layers", "9", "1", "4"],
    ),
    "more points than rewards": (
        lambda: BoTorchSearch(points_to_evaluate=[point(0.01)] * 2, evaluated_rewards=[0.5]),
        SettingError,
        ["evaluated_rewards has 1", "points_to_evaluate 2"],
    ),
    "rewards without points": (
        lambda: BoTorchSearch(evaluated_rewards=[0.5]),
        SettingError,
        ["evaluated_rewards has 1", "points_to_evaluate 0"],
    ),
    "a reward of text": (
        lambda: told(PARAM_SPACE, points_to_evaluate=[point(0.01)], evaluated_rewards=["low"]),
        MetricError,
        ["'low'", "a number"],
    ),
    "point with a wrong key": (
        lambda: told(PARAM_SPACE, points_to_evaluate=[{**point(0.01), "lrr": 1}]),
        ConfigError,
        ["lrr", "unknown", "'lr'"],
    ),
    "a point, not points": (
        lambda: told(PARAM_SPACE, points_to_evaluate=point(0.01)),
        ConfigError,
        ["points_to_evaluate[0]", "'lr'", "a dict"],
    ),
    "told outside": (
        lambda: search().add_evaluated_point(point(0.5), 1.0),
        ConfigError,
        ["lr", "0.5"],
    ),
    "told text": (
        lambda: search().add_evaluated_point(point(0.01), "low"),  # type: ignore[arg-type]
        MetricError,
        ["'low'", "a number"],
    ),
    "told a curve of text": (
        lambda: search().add_evaluated_point(point(0.01), 1.0, intermediate_values=["low"]),  # type: ignore[list-item]
        MetricError,
        ["'low'", "a number"],
    ),
    "told pruned": (
        lambda: search().add_evaluated_point(point(0.01), 1.0, pruned=True),
        SettingError,
        ["pruned", "intermediate_values"],
    ),
    "asked without a space": (
        lambda: BoTorchSearch(metric="loss", mode="min").suggest("a"),
        SpaceError,
        ["no search space", "param_space"],
    ),
    "asked without a metric": (
        lambda: BoTorchSearch(PARAM_SPACE).suggest("a"),
        MetricError,
        ["None", "to BoTorchSearch"],
    ),
    "nothing saved": (
        lambda: BoTorchSearch().restore("no_such_file"),
        HistoryError,
        ["no_such_file"],
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_clear_error(case: str) -> None:
    provoke, kind, words = BAD[case]
    with pytest.raises(kind) as caught:
        provoke()
    for word in words:
        assert word in str(caught.value)


def test_a_first_report_that_cannot_be_used_stops_the_search() -> None:
    for result in (report(1, "low"), {"loss": 1.0, "accuracy": 0.5}):
        searcher = search()
        searcher.add_evaluated_point(point(0.03), 1.0)  # not a report of this search
        searcher.suggest("a")
        with pytest.raises(MetricError) as caught:
            searcher.on_trial_result("a", result)
        assert "loss" in str(caught.value)
        assert "'accuracy'" in str(caught.value) or "'low'" in str(caught.value)


# -- points_to_evaluate and what was evaluated elsewhere ------------------------------------------


def initial_points() -> list[dict[str, Any]]:
    return [point(0.05, 4), {**point(0.001), "epochs": 3}, point(0.02, 1, "tanh")]


def test_initial_points_come_first_and_in_order(tmp_path: Path) -> None:
    searcher = search(points_to_evaluate=initial_points())
    first = [searcher.suggest(str(i)) for i in range(2)]
    assert first == [{**p, "epochs": 3} for p in initial_points()[:2]]
    searcher.on_trial_complete("0", report(1, 1.0))

    searcher.save(str(tmp_path / "saved"))
    again = search(points_to_evaluate=initial_points())
    again.restore(str(tmp_path / "saved"))
    for one in (searcher, again):
        assert one.suggest("2") == {**initial_points()[2], "epochs": 3}
        later = [one.suggest(str(i)) for i in range(3, 8)]
        assert not {key(c) for c in later} & {key({**p, "epochs": 3}) for p in initial_points()}
        origins = [one.history[str(i)].origin for i in range(4)]
        assert origins == [Origin.INITIAL] * 3 + [Origin.SOBOL]


def test_a_search_that_another_process_goes_on_with_is_not_restored(
    tmp_path: Path, another_process: Any
) -> None:
    searcher = search(record=tmp_path / "record")
    searcher.suggest("0")
    searcher.save(str(tmp_path / "saved"))
    searcher.history.close()
    searcher._end()
    with another_process(tmp_path / "record") as first:
        again = search()
        again.restore(str(tmp_path / "saved"))  # an error here would begin the experiment again
        with pytest.raises(InUseError, match=f"process {first.pid} "):
            again.suggest("1")
        with pytest.raises(InUseError, match=f"process {first.pid} "):
            again.save(str(tmp_path / "later"))
        with pytest.raises(InUseError, match=f"process {first.pid} "):
            search(record=tmp_path / "record").suggest("0")
    again.restore(str(tmp_path / "saved"))
    assert isinstance(again.suggest("1"), dict)


def test_initial_points_are_not_changed_by_a_trial() -> None:
    points = initial_points()
    searcher = search(points_to_evaluate=points)
    config = searcher.suggest("0")
    assert isinstance(config, dict)
    config["net"]["layers"] = 99
    assert points == initial_points()


def test_evaluated_points_are_known_before_the_space_is() -> None:
    # Not in a process beside Ray, which an earlier test may have started: its pace varies.
    early, late = (BoTorchSearch(seed=0, background=False) for _ in range(2))
    late.set_search_properties("loss", "min", PARAM_SPACE, stop={"training_iteration": 9})
    for searcher in (early, late):
        searcher.add_evaluated_point(point(0.01), 0.5)
        searcher.add_evaluated_point(point(0.02), 0.4, intermediate_values=[0.9, 0.6, 0.4])
        searcher.add_evaluated_point(point(0.03), 0.9, pruned=True, intermediate_values=[1.5, 0.9])
        searcher.add_evaluated_point(point(0.04), 0.0, error=True)
        searcher.add_evaluated_point(point(0.05), math.nan)
    early.set_search_properties("loss", "min", PARAM_SPACE, stop={"training_iteration": 9})
    for searcher in (early, late):
        trials = searcher.history.trials
        assert [t.state for t in trials] == [
            TrialState.COMPLETED,
            TrialState.COMPLETED,
            TrialState.STOPPED_EARLY,
            TrialState.FAILED,
            TrialState.FAILED,
        ]
        assert {t.origin for t in trials} == {Origin.EVALUATED}
        assert trials[0].values == ((9, 0.5),)  # nothing else said: a full training
        assert trials[1].values == ((1, 0.9), (2, 0.6), (3, 0.4))
        assert trials[2].values == ((1, 1.5), (2, 0.9))
        assert trials[3].values == ()
        assert [t.config["epochs"] for t in trials] == [3] * 5
        best = searcher.history.best
        assert best is not None
        assert best.value == 0.4
        proposals = [searcher.suggest(str(i)) for i in range(3)]
        assert not {key(p) for p in proposals} & {key(t.config) for t in trials}
    assert [t.config for t in early.history.trials] == [t.config for t in late.history.trials]


# -- concurrency ----------------------------------------------------------------------------------


def limited(searcher: BoTorchSearch, n: int) -> Any:
    return ConcurrencyLimiter(searcher, max_concurrent=n)


def test_the_bound_is_kept_and_a_free_slot_is_filled() -> None:
    driver = Driver(limited(search(), 2), slots=5)
    driver.fill()
    assert len(driver.running) == 2
    driver.end_one()
    driver.fill()
    assert len(driver.running) == 2
    driver.searcher.on_trial_complete("trial_001", error=True)
    assert isinstance(driver.searcher.suggest("next"), dict)


def test_paused_trials_hold_no_slot() -> None:
    searcher = search()
    limiter = limited(searcher, 2)
    for name in "ab":
        assert isinstance(limiter.suggest(name), dict)
        limiter.on_trial_result(name, report(1, 1.0))
    assert limiter.suggest("c") is None
    limiter.on_pause("a")
    assert searcher.history.live() == ("a", "b")
    assert searcher.history["a"].state is TrialState.PAUSED
    assert isinstance(limiter.suggest("c"), dict)
    assert limiter.suggest("d") is None
    limiter.on_pause("b")
    limiter.on_pause("c")
    assert isinstance(limiter.suggest("d"), dict)  # nothing runs: it must not wait
    limiter.on_unpause("a")
    assert searcher.history.counts[TrialState.PAUSED] == 2
    assert limiter.suggest("e") is None
    limiter.on_trial_complete("b")
    assert searcher.history["b"].state is TrialState.STOPPED_EARLY


def test_a_bound_outlives_pickling_and_restoring(tmp_path: Path) -> None:
    limiter = limited(search(), 1)
    again = pickle.loads(pickle.dumps(limiter))
    assert isinstance(again.suggest("a"), dict)
    assert again.suggest("b") is None
    again.searcher.save(str(tmp_path / "saved"))
    restored = limited(search(), 1)
    restored.searcher.restore(str(tmp_path / "saved"))
    assert restored.suggest("b") is None
    restored.on_trial_complete("a", report(1, 1.0))
    assert isinstance(restored.suggest("b"), dict)


# -- how trials end -------------------------------------------------------------------------------


class Endings:
    """A searcher with one trial that has reported at t = 1, and another that reached t = 9."""

    def __init__(self, max_t: float | None = 9, scheduled: bool = False) -> None:
        self.searcher = search(max_t=max_t)
        if scheduled:
            self.searcher.join_schedule(time_attr="training_iteration", max_t=9)
        self.searcher.suggest("full")
        self.searcher.on_trial_complete("full", report(9, 0.1))
        self.searcher.suggest("a")
        self.searcher.on_trial_result("a", report(1, 1.0))

    def end(self, *args: Any, **kwargs: Any) -> tuple[TrialState, str, float]:
        self.searcher.on_trial_complete("a", *args, **kwargs)
        trial = self.searcher.history["a"]
        return trial.state, trial.reason, trial.t


def test_our_scheduler_records_which_trials_it_stops() -> None:
    one = Endings(scheduled=True)
    last = report(3, 2.0)
    one.searcher.record("a", last)
    stop_early(one.searcher.history, "a", "rank 3 of 3 at rung 3")
    assert one.end(last) == (TrialState.STOPPED_EARLY, "rank 3 of 3 at rung 3", 3)
    other = Endings(scheduled=True)  # a criterion of the experiment, say: not the scheduler
    assert other.end(report(3, 2.0)) == (TrialState.COMPLETED, "", 3)
    full = Endings(scheduled=True)
    assert full.end(report(9, 2.0)) == (TrialState.COMPLETED, "", 9)


@pytest.mark.parametrize("max_t", [9, None])
def test_beside_rays_schedulers_a_new_last_result_means_stopped(max_t: float | None) -> None:
    assert Endings(max_t).end(report(3, 2.0)) == (TrialState.STOPPED_EARLY, "stopped at t = 3", 3)
    assert Endings(max_t).end(report(1, 1.0)) == (TrialState.COMPLETED, "", 1)  # by itself
    state, _, t = Endings(max_t).end(report(9, 2.0))
    assert (state, t) == (TrialState.COMPLETED, 9)


def test_without_max_t_an_early_stop_is_seen_once_another_trial_gets_further() -> None:
    searcher = search()
    for name in "abc":
        searcher.suggest(name)
    searcher.on_trial_result("a", report(1, 1.0))
    searcher.on_trial_complete("b", report(1, 2.0))  # Ray's ASHA at its first rung
    assert searcher.history.counts[TrialState.COMPLETED] == 1
    searcher.on_trial_result("a", report(2, 0.9))
    searcher.suggest("d")
    assert searcher.history.counts[TrialState.STOPPED_EARLY] == 1
    searcher.on_trial_complete("a", report(3, 0.8))
    searcher.on_trial_complete("c", report(3, 0.7))
    states = [searcher.history[name].state for name in "abc"]
    assert states == [TrialState.COMPLETED, TrialState.STOPPED_EARLY, TrialState.COMPLETED]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_not_finite_at_the_end_is_a_failure(value: float) -> None:
    for scheduled in (False, True):
        one = Endings(scheduled=scheduled)
        if scheduled:
            one.searcher.record("a", report(2, value))
            stop_early(one.searcher.history, "a", "rank 3 of 3")
        state, reason, t = one.end(report(2, value))
        assert (state, t) == (TrialState.FAILED, 2)
        assert f"loss is {value}" in reason
        snapshot = one.searcher.history.snapshot()
        assert len(snapshot.infeasible) == 1


def test_failures_keep_what_was_reported() -> None:
    assert Endings().end(None, error=True) == (TrialState.FAILED, "its training raised an error", 1)
    one = Endings()
    one.searcher.on_trial_result("a", report(2, "text"))
    state, reason, t = one.end(report(2, 2.0))
    assert (state, t) == (TrialState.FAILED, 1)
    assert "'text'" in reason


def test_no_report_is_a_failure_and_never_started_is_removed() -> None:
    searcher = search()
    for name in "abc":
        searcher.suggest(name)
    searcher.on_trial_complete("a", {"training_iteration": 1, "done": True})
    assert searcher.history["a"].state is TrialState.FAILED
    assert "never reported the metric 'loss'" in searcher.history["a"].reason
    assert "no metrics at all" in searcher.history["a"].reason
    searcher.on_trial_complete("b")
    assert searcher.history["b"].state is TrialState.REMOVED
    searcher.on_trial_complete("c", {"training_iteration": 1, "accuracy": 1.0})
    assert "'accuracy'" in searcher.history["c"].reason


def test_stopped_while_it_waited() -> None:
    one = Endings()
    assert one.end() == (TrialState.STOPPED_EARLY, "stopped while it waited", 1)
    other = Endings(scheduled=True)
    stop_early(other.searcher.history, "a", "not promoted")
    assert other.end() == (TrialState.STOPPED_EARLY, "not promoted", 1)


def test_one_bad_report_fails_its_own_trial_only() -> None:
    one = Endings()
    one.searcher.on_trial_result("a", report(2, "low"))
    one.searcher.on_trial_result("a", report(3, 0.5))
    one.searcher.suggest("b")
    one.searcher.on_trial_result("b", report(1, 0.5))
    state, reason, _ = one.end(report(3, 0.5))
    assert state is TrialState.FAILED
    assert "'low'" in reason
    assert one.searcher.history["b"].state is TrialState.RUNNING


# -- save and restore -----------------------------------------------------------------------------


def test_the_live_record_knows_more_than_ray_saved(tmp_path: Path) -> None:
    searcher = search(record=tmp_path / "record", max_t=9)
    for name in ("done", "ends", "runs", "waits"):
        searcher.suggest(name)
    searcher.on_trial_complete("done", report(9, 0.5))
    searcher.on_trial_result("ends", report(1, 1.0))
    searcher.save(str(tmp_path / "saved"))
    # Ray does not save again before its driver is killed:
    searcher.on_trial_result("ends", report(2, 0.9))
    searcher.on_trial_complete("ends", report(3, 0.8))
    searcher.on_trial_result("runs", report(1, 2.0))
    searcher.suggest("lost")
    searcher.suggest("lost_reported")
    searcher.on_trial_result("lost_reported", report(1, 3.0))
    searcher.suggest("lost_done")
    searcher.on_trial_complete("lost_done", report(9, 0.25))

    again = search()
    again.restore(str(tmp_path / "saved"))
    record = again.history
    assert {trial.trial_id: (trial.state, trial.t) for trial in record.trials} == {
        "done": (TrialState.COMPLETED, 9),
        "ends": (TrialState.STOPPED_EARLY, 3),
        "runs": (TrialState.RUNNING, 1),
        "waits": (TrialState.PENDING, 0),
        "lost": (TrialState.REMOVED, 0),
        "lost_reported": (TrialState.REMOVED, 1),
        "lost_done": (TrialState.COMPLETED, 9),
    }
    assert "Ray saved it" in record["lost"].reason
    assert len(record.snapshot().pending) == 2
    best = record.best
    assert best is not None
    assert best.trial_id == "lost_done"
    assert record.path is None  # in memory until it is known where

    # Ray runs it again, since no scheduler has asked:
    for t in (1, 2):
        again.on_trial_result("ends", report(t, 1 / t))
    # Stopped by a scheduler of Ray's at t = 3, as before: not its end, though t = 3 is known.
    again.on_trial_complete("ends", report(3, 0.8))
    assert record["ends"].state is TrialState.STOPPED_EARLY
    assert record["ends"].values == ((1, 1.0), (2, 0.5), (3, 0.8))
    # Ended by itself after its last report, which had come before the kill:
    again.on_trial_complete("runs", report(1, 2.0))
    assert record["runs"].state is TrialState.COMPLETED


def test_what_ended_after_rays_last_save_is_known(tmp_path: Path) -> None:
    searcher = search(record=tmp_path / "record", max_t=9)
    for name in ("ends", "fails", "runs"):
        searcher.suggest(name)
    searcher.save(str(tmp_path / "saved"))
    saves = {"checkpoint_dir_name": "checkpoint_000004", "time_total_s": 2.5, "pid": 7}
    searcher.on_trial_result("runs", {**report(5, 0.5), **saves})
    searcher.on_trial_result("runs", {**report(6, 0.5), "checkpoint_dir_name": None})
    searcher.on_trial_result("ends", report(9, 0.5))
    searcher.on_trial_complete("ends", report(9, 0.5))
    searcher.on_trial_complete("fails", error=True)
    ended_at = searcher.history["ends"].ended_at

    again = search()
    again.restore(str(tmp_path / "saved"))
    assert [again.had_ended(name) for name in ("ends", "fails", "runs")] == [True, True, False]
    assert not again.had_ended("ends")  # it is over now, for Ray too
    assert again.history["ends"].values == ((9, 0.5),)
    assert again.history["fails"].state is TrialState.FAILED
    assert again.history["ends"].ended_at == ended_at
    assert last_checkpoint(again.history, "ends") == {}
    assert last_checkpoint(again.history, "runs") == {
        "checkpoint_dir_name": "checkpoint_000004",
        "training_iteration": 5,
        "time_total_s": 2.5,
    }


def test_what_ray_has_after_all_goes_on(tmp_path: Path) -> None:
    """Ray's state is several files; those of a lost machine need not be of one moment."""
    searcher = search(record=tmp_path / "record", max_t=9)
    searcher.suggest("before")
    searcher.save(str(tmp_path / "saved"))
    for name in ("rays", "reports", "nobodys"):
        searcher.suggest(name)

    again = search()
    again.restore(str(tmp_path / "saved"))
    assert again.history.live() == ("before",)
    assert not again.had_ended("rays")
    again.on_trial_result("reports", report(1, 0.5))  # no scheduler has asked
    assert {trial.trial_id: trial.state for trial in again.history.trials} == {
        "before": TrialState.PENDING,
        "rays": TrialState.PENDING,
        "reports": TrialState.RUNNING,
        "nobodys": TrialState.REMOVED,
    }


def test_what_ray_does_not_have_is_over(tmp_path: Path) -> None:
    searcher = search(record=tmp_path / "record", max_t=9)
    for name in ("rays", "nobodys", "done"):
        searcher.suggest(name)
    searcher.on_trial_complete("done", report(9, 0.5))
    searcher.save(str(tmp_path / "saved"))

    again = search()
    again.restore(str(tmp_path / "saved"))
    again.remove_lost({"rays": None})
    assert again.history["rays"].state is TrialState.PENDING
    assert again.history["nobodys"].state is TrialState.REMOVED
    assert "Ray saved it" in again.history["nobodys"].reason
    assert again.history["done"].state is TrialState.COMPLETED


def test_restoring_without_the_live_record(tmp_path: Path) -> None:
    searcher = search(record=tmp_path / "record")
    searcher.suggest("a")
    searcher.save(str(tmp_path / "saved"))
    searcher.on_trial_result("a", report(1, 1.0))
    searcher.history.close()
    (tmp_path / "record").write_bytes(b"damaged by something else" * 99)
    again = search()
    again.restore(str(tmp_path / "saved"))
    assert again.history["a"].state is TrialState.PENDING
    (tmp_path / "record").unlink()
    again.restore(str(tmp_path / "saved"))
    assert again.history["a"].values == ()


def test_another_searchs_record_is_neither_read_nor_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "record"
    first = search(record=path)
    first.suggest("a")
    first.save(str(tmp_path / "saved"))
    second = search(record=path)
    with pytest.raises(SettingError, match=r"record of another search \(1 trials\)"):
        second.suggest("b")
    assert [t.trial_id for t in History.read(path).trials] == ["a"]

    first.history.close()
    path.unlink()
    second.suggest("b")
    again = search()
    again.restore(str(tmp_path / "saved"))
    assert [t.trial_id for t in again.history.trials] == ["a"]


def test_the_record_is_written_from_the_first_suggestion_on(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "record"
    searcher = search()
    searcher.keep_record_in(path)
    pickle.dumps(searcher)
    assert not path.exists()
    searcher.suggest("a")
    searcher.on_trial_result("a", report(1, math.nan))
    with closing(sqlite3.connect(path)) as database:  # with nothing of ours
        rows = database.execute("SELECT trial_id, t, value FROM value").fetchall()
    assert rows == [("a", 1.0, None)]


class Controller:
    """A stand-in for Ray's controller when the experiment is saved and restored."""

    def __init__(self, folder: Path) -> None:
        self.experiment_path = str(folder)
        self.staging = folder.parent / f"{folder.name}-session" / "driver_artifacts"
        self.staging.mkdir(parents=True, exist_ok=True)
        folder.mkdir(exist_ok=True)

    @property
    def search_alg(self) -> Any:
        return SimpleNamespace(is_finished=lambda: False)

    def get_live_trials(self) -> list[Any]:
        return []

    def get_trials(self) -> list[Any]:
        return []

    def update_max_pending_trials(self, cap: int) -> None:
        """By this a searcher knows its controller."""

    def save(self, searcher: BoTorchSearch) -> Path:
        saved = self.staging / "searcher-state.pkl"
        searcher.save(str(saved))
        return saved

    def restore(self, searcher: BoTorchSearch, saved: Path) -> None:
        searcher.restore(str(saved))


def test_in_a_tuner_the_record_is_in_the_experiments_folder(tmp_path: Path) -> None:
    controller = Controller(tmp_path / "study")
    searcher = search()
    searcher.suggest("a")
    controller.save(searcher)
    searcher.suggest("b")
    assert searcher.history.path == tmp_path / "study" / RECORD_FILE
    assert len(History.read(tmp_path / "study" / RECORD_FILE)) == 2


def test_a_second_experiment_in_a_folder_keeps_the_record_of_the_first(tmp_path: Path) -> None:
    for number in (1, 2):  # Ray does not mind
        controller = Controller(tmp_path / "study")
        searcher = search()
        for i in range(number):
            searcher.suggest(f"{number}-{i}")
        controller.save(searcher)
        searcher.close()
        searcher._end()
    records = [tmp_path / "study" / name for name in (f"{RECORD_FILE}.other", RECORD_FILE)]
    assert [len(History.read(record)) for record in records] == [1, 2]


def test_where_the_folder_is_found_nothing_is_lost_with_the_machine(tmp_path: Path) -> None:
    """The new driver's machine has the folder at another path, and an older copy of Ray's."""
    first = Controller(tmp_path / "study")
    searcher = search()
    searcher.suggest("a")
    saved = first.save(searcher)
    searcher.on_trial_result("a", report(1, 0.25))
    shutil.copytree(tmp_path / "study", tmp_path / "mounted")
    searcher._end()
    shutil.rmtree(tmp_path / "study")
    second = Controller(tmp_path / "mounted")
    again = search()
    second.restore(again, saved)
    assert again.history["a"].values == ((1.0, 0.25),)
    second.save(again)
    assert again.history.path == tmp_path / "mounted" / RECORD_FILE


def test_behind_a_uri_the_record_is_kept_out_of_what_ray_uploads(tmp_path: Path) -> None:
    staging = tmp_path / "experiment" / "driver_artifacts"
    staging.mkdir(parents=True)
    searcher = search()
    searcher.suggest("a")
    searcher.save(str(staging / ".uuid-tmp-searcher-state.pkl"))
    searcher.suggest("b")
    assert searcher.history.path == tmp_path / "experiment" / RECORD_FILE
    assert len(History.read(searcher.history.path)) == 2
    assert [file.name for file in staging.iterdir()] == [".uuid-tmp-searcher-state.pkl"]
    again = search()
    again.restore(str(staging / ".uuid-tmp-searcher-state.pkl"))
    assert again.history["b"].state is TrialState.REMOVED


def test_saved_by_hand_nothing_else_is_written(tmp_path: Path) -> None:
    searcher = search()
    searcher.suggest("a")
    searcher.save(str(tmp_path / "saved"))
    assert [file.name for file in tmp_path.iterdir()] == ["saved"]
    assert searcher.history.path is None


def test_objects_as_choices_come_back_with_the_searcher_only(tmp_path: Path) -> None:
    space = {"kind": tune.choice([dict, list]), "x": tune.uniform(0, 1)}
    searcher = search(space)
    searcher.suggest("a")
    searcher.save(str(tmp_path / "saved"))
    again = search(space)
    again.restore(str(tmp_path / "saved"))
    assert again.history["a"].config["kind"] in (dict, list)
    with pytest.raises(SpaceError, match="is a Python object"):
        BoTorchSearch().restore(str(tmp_path / "saved"))


def test_a_finite_space_stays_used_up_after_a_restore(tmp_path: Path) -> None:
    searcher = search(FINITE_SPACE)
    for i in range(6):
        assert isinstance(searcher.suggest(str(i)), dict)
        searcher.on_trial_complete(str(i), report(1, 1.0))
    searcher.save(str(tmp_path / "saved"))
    again = search(FINITE_SPACE)
    again.restore(str(tmp_path / "saved"))
    assert again.suggest("6") == Searcher.FINISHED
