"""ASHAScheduler under the hooks that Ray calls, with fakes for Ray."""

from __future__ import annotations

import math
import pickle
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ray import tune
from ray.tune.result import DEFAULT_METRIC
from ray.tune.schedulers import TrialScheduler
from scheduler_fakes import FakeController, FakeTrial, Partner, PlainSearcher, Wrapper

from raytuner import BoTorchSearch
from raytuner.errors import MetricError, SettingError
from raytuner.history import TrialState
from raytuner.schedulers import ASHAScheduler, HyperBandScheduler

CONTINUE, STOP = TrialScheduler.CONTINUE, TrialScheduler.STOP


class Run:
    """One scheduler in one experiment."""

    def __init__(self, scheduler: TrialScheduler | None = None, searcher: Any = None) -> None:
        self.scheduler: Any = scheduler or ASHAScheduler(metric="acc", mode="max")
        self.controller = FakeController(searcher)
        self.added: set[str] = set()

    def add(self, trial_id: str) -> FakeTrial:
        self.added.add(trial_id)
        self.scheduler.on_trial_add(self.controller, trial := FakeTrial(trial_id))
        return trial

    def report(self, trial_id: str, t: Any, value: Any, *, metric: str = "acc") -> str:
        if trial_id not in self.added:
            self.add(trial_id)
        result = {"training_iteration": t, metric: value}
        return self.tell(trial_id, result)

    def tell(self, trial_id: str, result: dict[str, Any]) -> str:
        decision = self.scheduler.on_trial_result(self.controller, FakeTrial(trial_id), result)
        assert isinstance(decision, str)
        return decision


# -- decisions -------------------------------------------------------------------------------------


def test_stops_by_rank_and_ends_at_max_t() -> None:
    run = Run(ASHAScheduler("training_iteration", "acc", "max", 9, 1, 3, 1))
    assert run.report("a", 1, 0.5) == CONTINUE
    assert run.report("b", 1, 0.4) == STOP
    assert run.report("a", 2, 0.1) == CONTINUE
    assert run.report("a", 9, 0.6) == STOP
    assert [(rung.level, rung.recorded) for rung in run.scheduler.rule.rungs] == [(1, 2), (3, 0)]


events = st.lists(
    st.tuples(
        st.sampled_from(["report", "report", "report", "retry", "complete", "remove", "fail"]),
        st.sampled_from("abcdef"),
        st.integers(0, 12),
        st.floats(),
    ),
    max_size=60,
)


def play(run: Run, stream: list[tuple[str, str, int, float]]) -> list[str]:
    """Decisions on a stream of events, through the hooks in Ray's order."""
    decisions = []
    for event, trial_id, t, value in stream:
        trial = FakeTrial(trial_id)
        if event == "report":
            decisions.append(run.report(trial_id, t, value))
        elif event == "retry":
            run.scheduler.on_trial_error(run.controller, trial)
            run.add(trial_id)
        elif event == "complete":
            run.scheduler.on_trial_complete(run.controller, trial, None)
        elif event == "remove":
            run.scheduler.on_trial_remove(run.controller, trial)
        else:
            run.scheduler.on_trial_error(run.controller, trial)
    return decisions


@given(events)
def test_only_reports_decide(stream: list[tuple[str, str, int, float]]) -> None:
    """No hook raises, whatever the order, and none changes what later reports come to."""
    searcher = Partner()
    scheduler = ASHAScheduler(metric="acc", mode="max", max_t=10)
    plain = ASHAScheduler(metric="acc", mode="max", max_t=10)
    decisions = play(Run(scheduler, searcher), stream)
    assert decisions == play(Run(plain), [event for event in stream if event[0] == "report"])
    # The table has each stop before max_t, and no other.
    reports = [event for event in stream if event[0] == "report"]
    early = {
        trial_id
        for (_, trial_id, t, _), decision in zip(reports, decisions, strict=True)
        if decision == STOP and t < 10
    }
    history = searcher.history
    assert {trial.trial_id for trial in history.trials if not trial.state.is_live} == early


@given(events)
def test_min_is_max_of_negated_values(stream: list[tuple[str, str, int, float]]) -> None:
    negated = [(event, trial_id, t, -value) for event, trial_id, t, value in stream]
    assert play(Run(ASHAScheduler(metric="acc", mode="min", max_t=10)), stream) == play(
        Run(ASHAScheduler(metric="acc", mode="max", max_t=10)), negated
    )


@given(events)
def test_a_seed_decides_the_brackets(stream: list[tuple[str, str, int, float]]) -> None:
    one, two = (
        ASHAScheduler(metric="acc", mode="max", max_t=10, brackets=3, seed=5) for _ in range(2)
    )
    assert play(Run(one), stream) == play(Run(two), stream)


# -- the searcher beside it ------------------------------------------------------------------------


def test_stops_and_failures_are_in_the_searchers_table() -> None:
    searcher = Partner()
    run = Run(searcher=Wrapper(Wrapper(searcher)))
    run.report("a", 1, 0.5)
    run.report("b", 1, 0.4)
    run.report("c", 1, math.nan)
    run.tell("a", {"training_iteration": 2, "acc": "high"})
    run.report("d", 100, 0.9)
    assert searcher.joined == [("training_iteration", 100)]
    ended = {t.trial_id: (t.state, t.reason) for t in searcher.history.trials}
    assert ended == {
        "a": (
            TrialState.FAILED,
            "the metric 'acc' was reported as 'high' (str), which is not a number; report an int "
            "or a float. The report has the metrics 'acc'",
        ),
        "b": (TrialState.STOPPED_EARLY, "rank 2 of 2 at rung 1: only the best continues"),
        "c": (TrialState.FAILED, "acc is nan at its end"),
        "d": (TrialState.RUNNING, ""),  # complete, as the searcher will hear from Ray
    }
    assert [trial.value for trial in searcher.history.trials][::3] == [0.5, 0.9]


def test_what_the_table_does_not_have_runs_to_its_end() -> None:
    """Of a trial that a restored Ray has and the record has lost."""
    searcher: Any = BoTorchSearch({"x": tune.uniform(0, 1)}, "acc", "max", background=False)
    run = Run(searcher=searcher)
    searcher.suggest("a")
    assert run.report("a", 1, 0.5) == CONTINUE
    assert [run.report("lost", t, 0.1) for t in (1, 3, 100)] == [CONTINUE, CONTINUE, STOP]
    assert "lost" not in searcher.history


def test_a_metric_that_only_the_scheduler_has_is_an_error() -> None:
    run = Run(ASHAScheduler(metric="acc", mode="max", max_t=9), Partner("loss", "min"))
    with pytest.raises(MetricError, match="uses 'acc', but the searcher knows only loss"):
        run.add("a")


def test_works_beside_a_searcher_that_does_not_listen() -> None:
    run = Run(searcher=PlainSearcher())
    assert [run.report("a", 1, 0.5), run.report("b", 1, 0.4)] == [CONTINUE, STOP]
    assert run.report("a", 2, "high") == STOP


# -- reports that cannot be used -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("result", "message"),
    [
        ({"training_iteration": 1, "acc": "high"}, "metric 'acc' was reported as 'high' (str)"),
        (
            {"training_iteration": math.nan, "acc": 1},
            "reported as nan (float), which is not a fini",
        ),
        # Complete by its t, but without a final value.
        ({"training_iteration": 100, "acc": [1]}, "metric 'acc' was reported as [1] (list)"),
    ],
)
def test_a_bad_report_is_an_error_first_and_one_trials_failure_later(
    result: dict[str, Any], message: str, caplog: pytest.LogCaptureFixture
) -> None:
    searcher = Partner()
    run = Run(searcher=searcher)
    run.add("bad")
    with pytest.raises(MetricError, match=re.escape(message)):
        run.tell("bad", result)
    run.report("good", 1, math.nan)  # a number, as far as reading it goes
    assert run.tell("bad", result) == STOP
    assert searcher.history["bad"].state is TrialState.FAILED
    assert message in searcher.history["bad"].reason
    assert "Trial bad has failed: " in caplog.text
    assert run.report("good", 2, 0.5) == CONTINUE


# -- settings --------------------------------------------------------------------------------------


def test_metric_and_mode_from_the_tuner() -> None:
    scheduler = ASHAScheduler()
    assert scheduler.set_search_properties("acc", "min", stop=None, num_samples=3)
    assert scheduler.metric == "acc"
    run = Run(scheduler)
    assert [run.report("a", 1, 0.5), run.report("b", 1, 0.6)] == [CONTINUE, STOP]


def test_metric_or_mode_given_twice_is_refused_as_ray_does() -> None:
    scheduler = ASHAScheduler(metric="acc", mode="max")
    assert scheduler.set_search_properties(None, None)
    assert not scheduler.set_search_properties("loss", None)
    assert not scheduler.set_search_properties(None, "min")
    assert scheduler.metric == "acc"


def test_metric_here_and_mode_there() -> None:
    scheduler = ASHAScheduler(metric="acc")
    assert scheduler.set_search_properties(None, "max")
    assert Run(scheduler).report("a", 1, 0.5) == CONTINUE


def test_a_mode_alone_takes_rays_anonymous_metric() -> None:
    scheduler = ASHAScheduler(mode="max")
    assert scheduler.set_search_properties(None, None)
    assert Run(scheduler).report("a", 1, 0.5, metric=DEFAULT_METRIC) == CONTINUE


def test_a_metric_without_a_mode_is_an_error_before_any_trial() -> None:
    message = re.escape("ASHAScheduler has metric='acc' and mode=None; give both")
    with pytest.raises(MetricError, match=message):
        ASHAScheduler().set_search_properties("acc", None)
    with pytest.raises(MetricError, match=message):
        Run(ASHAScheduler(metric="acc")).add("a")
    scheduler = ASHAScheduler()
    assert scheduler.set_search_properties(None, None)
    with pytest.raises(MetricError, match="metric=None and mode=None"):
        Run(scheduler).add("a")


@pytest.mark.parametrize("mode", ["maximize", []])
def test_unknown_modes(mode: Any) -> None:
    message = re.escape(f"mode is {mode!r}; it must be 'min' or 'max'")
    with pytest.raises(MetricError, match=message):
        ASHAScheduler(metric="acc", mode=mode)
    with pytest.raises(MetricError, match=message):
        ASHAScheduler().set_search_properties("acc", mode)


@pytest.mark.parametrize("name", ["", ["acc", 3], 3])
def test_names_that_cannot_be_keys(name: Any) -> None:
    with pytest.raises(MetricError, match=re.escape(f"metric is {name!r}; it must be the name")):
        ASHAScheduler(metric=name, mode="max")
    with pytest.raises(MetricError, match=re.escape(f"time_attr={name!r} is not the name")):
        ASHAScheduler(time_attr=name)


@pytest.mark.parametrize("kind", ["Stopping", ["stopping"]])
def test_unknown_variants(kind: Any) -> None:
    message = f"variant={kind!r} is unknown; it must be 'stopping' or 'promotion'"
    for scheduler in (ASHAScheduler, HyperBandScheduler):
        with pytest.raises(SettingError, match=re.escape(message)):
            scheduler(variant=kind)


def test_bad_numbers_are_errors_at_once() -> None:
    with pytest.raises(SettingError, match="max_t=1 is below grace_period=5"):
        ASHAScheduler(max_t=1, grace_period=5)
    with pytest.raises(SettingError, match="at most 5 can have a rung before max_t"):
        ASHAScheduler(brackets=6)
    with pytest.raises(SettingError, match="seed is -1"):
        ASHAScheduler(seed=-1)


# -- Ray's other hooks -----------------------------------------------------------------------------


def test_starts_waiting_trials_in_order_and_resumes_none() -> None:
    scheduler: Any = ASHAScheduler(metric="acc", mode="max")
    statuses = ["TERMINATED", "PAUSED", "RUNNING", "PENDING", "PENDING"]
    trials = [FakeTrial(str(i), status) for i, status in enumerate(statuses)]
    controller = FakeController(trials=trials)
    for trial in trials:
        scheduler.on_trial_add(controller, trial)
    assert scheduler.choose_trial_to_run(controller) is trials[3]
    assert scheduler.choose_trial_to_run(controller) is trials[3]
    trials[3].status = "RUNNING"
    assert scheduler.choose_trial_to_run(controller) is trials[4]
    trials[3].status = "PENDING"  # tried again: Ray puts it last, and adds it once more
    scheduler.on_trial_add(controller, trials[3])
    assert scheduler.choose_trial_to_run(controller) is trials[4]
    trials[3].status = trials[4].status = "RUNNING"
    assert scheduler.choose_trial_to_run(controller) is None


def test_pickles_as_constructed_and_in_the_middle() -> None:
    run = Run(ASHAScheduler(metric="acc", mode="max", seed=1))
    run.scheduler = pickle.loads(pickle.dumps(run.scheduler))
    run.report("a", 1, 0.5)
    run.scheduler = pickle.loads(pickle.dumps(run.scheduler))
    assert run.report("b", 1, 0.4) == STOP


def test_debug_string_is_one_line() -> None:
    run = Run(ASHAScheduler(metric="acc", mode="max", max_t=9, brackets=2, seed=0))
    for i in range(3):
        run.report(str(i), 1, 1.0 - i)
    text = run.scheduler.debug_string()
    assert "\n" not in text
    assert "bracket 0 1: " in text
    assert ASHAScheduler(max_t=1).debug_string().endswith("rungs none")
