"""Reports without the metric, and those that come through Ray's wrappers or too late."""

from __future__ import annotations

import math
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from ray import tune
from ray.tune.search import ConcurrencyLimiter, Repeater

from raytuner import BoTorchSearch
from raytuner.bayes import SobolProposer
from raytuner.controller.report import stop_early
from raytuner.errors import MetricError, RaytunerWarning, SettingError
from raytuner.history import TrialState

SPACE: dict[str, Any] = {"x": tune.uniform(0, 1)}

LIVE_REPORT = {"training_iteration": 1, "trial_id": "a", "time_total_s": 1.0, "done": False}


def search(*trials: str, **settings: Any) -> BoTorchSearch:
    """A searcher with these trials. Sobol: these tests are not about models."""
    known = {"metric": "loss", "mode": "min", "proposer": SobolProposer, "background": False}
    searcher = BoTorchSearch(SPACE, **{**known, "seed": 0, **settings})
    for trial_id in trials:
        searcher.suggest(trial_id)
    return searcher


def report(t: int, **metrics: Any) -> dict[str, Any]:
    return {**LIVE_REPORT, "training_iteration": t, **metrics}


# -- reports without the metric --------------------------------------------------------------------

GOALS: dict[str, tuple[dict[str, Any], list[dict[str, Any]]]] = {
    "one": ({}, [{}, {"accuracy": 0.5}, {"loss": None}]),
    "several": (
        {"metric": ["loss", "ms"], "mode": ["min", "min"]},
        [{}, {"loss": 1.0}, {"ms": 1.0}, {"loss": 1.0, "ms": None}],
    ),
    "weighed": (
        {"metric": ["loss", "ms"], "mode": ["min", "min"], "weights": [1, 2]},
        [{"loss": 1.0}, {"ms": 1.0}],
    ),
    "bounded": ({"outcome_constraints": ["mib <= 9"]}, [{"loss": 1.0}, {"mib": 1.0}]),
}


@pytest.mark.parametrize("case", GOALS)
def test_they_are_skipped_even_the_first_one(case: str) -> None:
    settings, lacking = GOALS[case]
    searcher = search("a", **settings)
    full = dict.fromkeys(searcher.history.goal.metrics, 0.5)
    t = 0
    for metrics in lacking:
        searcher.on_trial_result("a", report(t := t + 1, **metrics))
        assert searcher.history.last("a") is None
    searcher.on_trial_result("a", report(t := t + 1, **full))
    for metrics in lacking:
        searcher.on_trial_result("a", report(t := t + 1, **metrics))
    searcher.on_trial_complete("a", report(t, **lacking[-1]))
    trial = searcher.history["a"]
    assert (trial.state, trial.reason, len(trial.values)) == (TrialState.COMPLETED, "", 1)


@pytest.mark.parametrize("case", GOALS)
def test_a_trial_that_never_reports_it_has_failed(case: str) -> None:
    settings, lacking = GOALS[case]
    searcher = search("a", **settings)
    searcher.on_trial_result("a", report(1, accuracy=0.5, epoch=3))
    searcher.on_trial_complete("a", report(2, **lacking[0], **{"val/loss": 0.25}))
    trial = searcher.history["a"]
    assert trial.state is TrialState.FAILED
    for name in searcher.history.goal.required:
        missing = lacking[0].get(name) is None
        assert (f"never reported the metric {name!r}" in trial.reason) <= missing
    assert "'accuracy'" in trial.reason
    assert "'epoch'" in trial.reason
    assert "'val/loss'" in trial.reason
    assert "training_iteration" not in trial.reason


@pytest.mark.parametrize("optional", ["cost", "standard_error"])
def test_a_cost_or_a_standard_error_may_be_missing(optional: str) -> None:
    searcher = search("a", **{optional: "extra"})
    warns = pytest.warns(RaytunerWarning, match="no cost: 'extra' is not in its report")
    with warns if optional == "cost" else nullcontext():
        searcher.on_trial_result("a", report(1, loss=1.0))
    searcher.on_trial_result("a", report(2, loss=0.5, extra=None))  # a second warning is an error
    searcher.on_trial_complete("a", report(2, loss=0.5))
    assert searcher.history["a"].state is TrialState.COMPLETED
    assert [t for t, _ in searcher.history["a"].values] == [1, 2]
    assert math.isnan(searcher.history["a"].value_of("extra"))


def test_a_stop_at_a_report_without_the_metric_is_a_stop() -> None:
    """The value that is known is one of before, and no final one."""
    for scheduled in (True, False):
        searcher = search("a", max_t=9)
        searcher.on_trial_result("a", report(2, loss=0.5))
        if scheduled:
            searcher.join_schedule(time_attr="training_iteration", max_t=9)
            searcher.record("a", report(3, accuracy=0.5))
            stop_early(searcher.history, "a", "rank 3 of 3")
        searcher.on_trial_complete("a", report(3, accuracy=0.5))
        assert searcher.history["a"].state is TrialState.STOPPED_EARLY
        assert searcher.history["a"].values == ((2, 0.5),)


def test_what_a_scheduler_has_recorded_is_not_read_again() -> None:
    searcher, result = search("a", "b"), report(1, loss=1.0)
    searcher.record("a", result)
    result["loss"] = 0.5
    searcher.on_trial_result("a", result)
    assert searcher.history["a"].values == ((1, 1.0),)
    searcher.on_trial_result("a", result)  # only the next report
    assert searcher.history["a"].values == ((1, 0.5),)
    for trial_id, other in (("b", result), ("a", report(1, loss=0.25))):
        searcher.record("a", result)
        searcher.on_trial_result(trial_id, other)
        assert searcher.history[trial_id].values == ((1, other["loss"]),)


def test_a_dict_may_be_used_again() -> None:
    searcher, result = search("a"), report(1, loss=1.0)
    searcher.on_trial_result("a", result)
    result |= report(2, loss=0.5)
    searcher.on_trial_result("a", result)
    assert searcher.history["a"].values == ((1, 1.0), (2, 0.5))


def test_reports_without_the_time_attr() -> None:
    searcher = search("a", "b", "c", time_attr="epoch")
    searcher.on_trial_result("a", report(1, loss=1.0, epoch=1))
    searcher.on_trial_result("a", report(2, loss=0.9))
    searcher.on_trial_result("a", report(3, loss=0.8, epoch=None))
    searcher.on_trial_result("a", report(4, epoch=5))
    searcher.on_trial_complete("a", report(5, loss=0.5))  # the last known epoch
    assert searcher.history["a"].values == ((1, 1.0), (5, 0.5))
    assert searcher.history["a"].state is TrialState.COMPLETED
    searcher.on_trial_complete("b", report(1, loss=1.0, step=3))
    assert searcher.history["b"].state is TrialState.FAILED
    assert "never reported the time_attr 'epoch'; it reported 'loss', 'step'" in (
        searcher.history["b"].reason
    )


# -- when it is the name that is wrong -------------------------------------------------------------


def test_the_search_stops_when_the_first_trials_all_lack_the_metric() -> None:
    searcher = search("a", "b", "c", "d")
    for trial_id in "ab":
        searcher.on_trial_complete(trial_id, report(1, accuracy=0.5))
    searcher.on_trial_complete("c", error=True)  # it may have been another cause
    assert isinstance(searcher.suggest("e"), dict)
    searcher.on_trial_complete("d", report(1, accuracy=0.5))
    with pytest.raises(MetricError, match=r"first 3 trials.*never reported the metric 'loss'") as e:
        searcher.suggest("f")
    assert "it reported 'accuracy'" in str(e.value)
    assert str(e.value).endswith(searcher.history["d"].reason)
    for number in (0, 4):  # as raytuner.tune(..., stop_after_failures=...) asks
        searcher.stop_unreported_after = number
        assert isinstance(searcher.suggest(f"f{number}"), dict)


def test_one_good_trial_keeps_it_going() -> None:
    searcher = search(*"abcd")
    searcher.on_trial_result("d", report(1, loss=0.5))
    for trial_id in "abc":
        searcher.on_trial_complete(trial_id, report(1, accuracy=0.5))
    assert isinstance(searcher.suggest("e"), dict)


def test_it_does_not_stop_at_once_when_it_is_restored(tmp_path: Path) -> None:
    """The training function may have been mended since."""
    searcher = search(*"abc")
    for trial_id in "abc":
        searcher.on_trial_complete(trial_id, report(1, accuracy=0.5))
    searcher.save(str(tmp_path / "saved"))
    again = search()
    again.restore(str(tmp_path / "saved"))
    assert isinstance(again.suggest("d"), dict)


# -- Ray's wrappers --------------------------------------------------------------------------------


def test_a_repeater_is_an_error() -> None:
    for wrap in (lambda s: s, lambda s: ConcurrencyLimiter(s, max_concurrent=2)):
        wrapped: Any = wrap(Repeater(wrap(search()), repeat=2))
        with pytest.raises(SettingError, match=r"Repeater does not pass on .* study\.confirm"):
            wrapped.suggest("a")


# -- what arrives after the end --------------------------------------------------------------------


@pytest.mark.parametrize("how", ["completed", "stopped", "failed", "removed"])
def test_a_late_report_does_not_revive_a_trial(how: str) -> None:
    searcher = search("a", max_t=9)
    if how != "removed":
        searcher.on_trial_result("a", report(1, loss=1.0))
    if how == "stopped":
        stop_early(searcher.history, "a", "rank 3 of 3")
    error, last = how == "failed", None if how in ("failed", "removed") else report(9, loss=0.5)
    searcher.on_trial_complete("a", last, error=error)
    before = searcher.history["a"]
    assert before.state.value.startswith(how[:4].upper())
    searcher.on_trial_result("a", report(10, loss=0.1))
    searcher.on_trial_result("a", report(11, loss="low"))
    searcher.on_trial_complete("a", report(12, loss=0.1))
    searcher.on_trial_complete("a", error=True)
    searcher.on_pause("a")
    searcher.on_unpause("a")
    assert searcher.history["a"] == before
    assert searcher.history.live() == ()


def test_a_failed_trial_that_is_run_again_after_a_restore_goes_on(tmp_path: Path) -> None:
    """Ray's ``Tuner.restore(..., resume_errored=True)``."""
    searcher = search("a", "b", max_t=9)
    searcher.on_trial_result("a", report(1, loss=1.0))
    searcher.on_trial_complete("a", error=True)
    searcher.on_trial_complete("b", report(9, loss=1.0))
    searcher.save(str(tmp_path / "saved"))
    again = search()
    again.restore(str(tmp_path / "saved"))
    assert again.history["a"].state is TrialState.FAILED
    again.on_trial_result("a", report(2, loss=0.5))
    again.on_trial_result("b", report(10, loss=0.5))  # nobody runs it: it is only late
    assert again.history.live() == ("a",)
    again.on_trial_complete("a", report(9, loss=0.25))
    again.on_trial_result("a", report(10, loss=0.5))
    states = [trial.state for trial in again.history.trials]
    assert states == [TrialState.COMPLETED] * 2
    assert again.history["a"].values == ((1, 1.0), (2, 0.5), (9, 0.25))


# -- a metric without a name -----------------------------------------------------------------------


def test_without_a_metric_the_bare_number_is_optimised() -> None:
    ones = [search(metric=None) for _ in range(3)]
    assert ones[0].set_search_properties(None, None, {})
    ones[1] = BoTorchSearch(seed=0, background=False)
    assert ones[1].set_search_properties(None, "min", dict(SPACE))
    for searcher in ones:
        searcher.suggest("a")
        assert searcher.metric == "_metric"
        searcher.on_trial_complete("a", {"_metric": 0.5, "training_iteration": 1})
        assert searcher.history["a"].value == 0.5
    named = search(metric=None)
    assert named.set_search_properties("loss", None, {})
    assert named.metric == "loss"


def test_failures_of_one_cause_are_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    names = [f"t{number}" for number in range(12)]
    searcher = search(*names)
    for name in names:
        searcher.on_trial_complete(name, report(1, accuracy=0.5))
    (said,) = caplog.messages
    assert said.startswith("Trial t0 has failed: it never reported the metric 'loss'")
