"""Budgets of seconds and GPU-hours, on a clock of their own."""

from __future__ import annotations

import pickle
from types import SimpleNamespace
from typing import Any

import pytest
from ray.tune import PlacementGroupFactory

from raytuner.errors import SettingError
from raytuner.history import History, TrialState
from raytuner.placement.request import ResourceRequest
from raytuner.space import Float, Space
from raytuner.study.lifecycle import Lifecycle
from raytuner.study.settings import StudySettings
from raytuner.study.stoppers import GPU_HOURS_USED, GpuHours, TimeBudget


def search() -> Any:
    history = History(Space({"x": Float(0, 1)}), metric="loss", mode="min")
    return SimpleNamespace(history=history)


def trial(gpus: float, status: str = "RUNNING", name: str = "a") -> Any:
    request = PlacementGroupFactory([{"CPU": 1, "GPU": gpus}] if gpus else [{"CPU": 1}])
    return SimpleNamespace(
        RUNNING="RUNNING",
        ERROR="ERROR",
        status=status,
        trial_id=name,
        placement_group_factory=request,
        is_finished=lambda: status == "TERMINATED",
    )


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    clock = [1000.0]
    monkeypatch.setattr("raytuner.study.stoppers.time.monotonic", lambda: clock[0])
    return clock


def step(budget: GpuHours, now: list[float], hours: float, *trials: Any) -> None:
    now[0] += 3600 * hours
    for number, one in enumerate(trials):
        one.trial_id = str(number)
        budget.on_trial_start(0, [], one)
    budget.on_step_end(0, list(trials))
    for one in trials:
        one.status = "TERMINATED"


def test_what_running_trials_hold_is_counted(now: list[float]) -> None:
    budget = GpuHours(search(), 2.0)
    step(budget, now, 5, trial(1))  # nothing was looked at before
    step(budget, now, 1, trial(0.5), trial(1), trial(0), trial(1, status="PENDING"))
    assert not budget.stop_all()
    step(budget, now, 0.32, trial(1.5))
    assert not budget.stop_all()
    step(budget, now, 0.02, trial(1.5))
    assert budget.stop_all()
    assert not budget("a", {})


def test_the_workers_of_a_trainer_count_while_its_trial_runs(now: list[float]) -> None:
    trainer = ResourceRequest.of({"cpu": 1, "trainer": {"workers": 3, "gpu": 0.5}}).trainer
    budget = GpuHours(search(), 2.0, trainer)
    step(budget, now, 0, trial(0))
    step(budget, now, 1, trial(0), trial(0, status="PAUSED"))
    assert not budget.stop_all()
    step(budget, now, 0.34, trial(0))
    assert budget.stop_all()


def test_it_goes_on_from_the_record(now: list[float]) -> None:
    finder = search()
    budget = GpuHours(finder, 2.0)
    step(budget, now, 0, trial(1))
    step(budget, now, 1.5, trial(1))
    budget.on_experiment_end([])
    assert finder.history.get_meta(GPU_HOURS_USED) == pytest.approx(1.5)
    again = pickle.loads(pickle.dumps(GpuHours(finder, 2.0)))
    step(again, now, 100, trial(1))
    assert not again.stop_all()
    step(again, now, 0.6, trial(1))
    assert again.stop_all()


def test_trials_that_it_ended_say_so(now: list[float]) -> None:
    finder = search()
    finder.history.add("a", {"x": 0.5})
    finder.history.report("a", 1, 1.0)
    budget = GpuHours(finder, 1.0)
    step(budget, now, 0, trial(1))
    step(budget, now, 2, trial(1))
    Lifecycle(finder, [budget]).on_step_end(0, [trial(1, status="TERMINATED")])
    (ended,) = finder.history.trials
    assert (ended.state, ended.reason) == (TrialState.STOPPED_EARLY, "the GPU-hours are used up")


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ((1.5, None), "num_samples is 1.5; it must be at least 1, or -1"),
        ((True, None), "num_samples is True"),
        ((-2, 60), "num_samples is -2"),
        ((0, 60), "num_samples is 0; .*-1 for no limit"),
        ((1, 0), "time_budget_s is 0; it must be a number above 0"),
        ((-1, None), "num_samples is -1 .*give time_budget_s or gpu_hours"),
        ((-1, None, 0), "gpu_hours is 0; .*above 0"),
        ((-1, None, True), "gpu_hours is True"),
        ((-1, None, "2"), "gpu_hours is '2'"),
    ],
)
def test_a_budget_that_is_none(given: Any, says: str) -> None:
    with pytest.raises(SettingError, match=says):
        budgets(*given)


def test_one_budget_is_enough() -> None:
    budgets(1, None)
    budgets(-1, 0.5)
    budgets(-1, None, 0.5)


def budgets(num_samples: Any, time_budget_s: Any, gpu_hours: Any = None) -> StudySettings:
    return StudySettings(
        "registered",
        {},
        mode="min",
        num_samples=num_samples,
        time_budget_s=time_budget_s,
        gpu_hours=gpu_hours,
    )


def test_a_time_budget_goes_by_a_clock_that_nobody_sets(
    now: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    budget = TimeBudget(search(), 60)
    now[0] = 5000  # the time until Ray begins does not count
    assert not budget.stop_all()
    for day in (1e9, -1e9):
        monkeypatch.setattr("time.time", lambda day=day: day)
        now[0] += 29
        assert not budget.stop_all()
    restored = pickle.loads(pickle.dumps(budget))
    now[0] += 2
    assert budget.stop_all()
    assert budget.why == "the time budget ended"
    assert not budget("trial", {})
    assert not restored.stop_all()  # by the clock of another process
    now[0] += 3
    assert restored.stop_all()
