"""Budgets of seconds and of trials."""

from __future__ import annotations

import pickle
from types import SimpleNamespace
from typing import Any

import pytest

from raytuner.errors import SettingError
from raytuner.history import History
from raytuner.space import Float, Space
from raytuner.study.settings import StudySettings
from raytuner.study.stoppers import TimeBudget


def search() -> Any:
    history = History(Space({"x": Float(0, 1)}), metric="loss", mode="min")
    return SimpleNamespace(history=history)


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    clock = [1000.0]
    monkeypatch.setattr("raytuner.study.stoppers.time.monotonic", lambda: clock[0])
    return clock


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ((1.5, None), "num_samples is 1.5; it must be at least 1, or -1"),
        ((True, None), "num_samples is True"),
        ((-2, 60), "num_samples is -2"),
        ((0, 60), "num_samples is 0; .*-1 for no limit"),
        ((1, 0), "time_budget_s is 0; it must be a number above 0"),
        ((-1, None), "num_samples is -1 .*give time_budget_s or budget"),
    ],
)
def test_a_budget_that_is_none(given: Any, says: str) -> None:
    with pytest.raises(SettingError, match=says):
        budgets(*given)


def test_one_budget_is_enough() -> None:
    budgets(1, None)
    budgets(-1, 0.5)
    budgets(-1, None, {"usd": 0.5})


def budgets(num_samples: Any, time_budget_s: Any, budget: Any = None) -> StudySettings:
    return StudySettings(
        "registered",
        {},
        mode="min",
        num_samples=num_samples,
        time_budget_s=time_budget_s,
        budget=budget,
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
