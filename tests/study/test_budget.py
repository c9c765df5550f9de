"""Budgets in US dollars and GPU-hours, on a clock and with nodes of their own."""

from __future__ import annotations

import pickle
from types import SimpleNamespace
from typing import Any

import pytest
from ray.tune import PlacementGroupFactory

from raytuner.controller.cluster_state import Node
from raytuner.errors import RaytunerWarning, SettingError
from raytuner.history import History, TrialState
from raytuner.placement.request import ResourceRequest
from raytuner.report.text import SPENT
from raytuner.space import Float, Space
from raytuner.study.budget import PRICE_LABEL, Budget, check_budget
from raytuner.study.lifecycle import Lifecycle


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
    monkeypatch.setattr("raytuner.study.budget.time.monotonic", lambda: clock[0])
    return clock


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch) -> list[Node]:
    live: list[Node] = []
    monkeypatch.setattr("raytuner.study.budget.live_nodes", lambda: tuple(live))
    return live


def node(kind: str = "", price: str | None = None) -> Node:
    labels = {"ray.io/node-group": kind} if kind else {}
    return Node("10.0.0.1", {}, labels=labels | ({} if price is None else {PRICE_LABEL: price}))


def step(budget: Budget, now: list[float], hours: float, *trials: Any) -> None:
    now[0] += 3600 * hours
    for number, one in enumerate(trials):
        one.trial_id = str(number)
        budget.on_trial_start(0, [], one)
    budget.on_step_end(0, list(trials))


def gpu_hours(finder: Any, limit: float, trainer: Any = ()) -> Budget:
    return Budget(finder, {"gpu_hours": limit}, trainer=trainer)


def test_what_running_trials_hold_is_counted(now: list[float]) -> None:
    budget = gpu_hours(search(), 2.0)
    held = [trial(0.5), trial(1), trial(0), trial(1, status="PENDING")]
    step(budget, now, 5, *held)  # nothing was looked at before
    step(budget, now, 1, *held)
    assert budget.spent == {"gpu_hours": pytest.approx(1.5)}
    assert budget.left_s == pytest.approx(1200 - 10)
    assert not budget.stop_all()
    step(budget, now, 0.32, *held)
    assert not budget.stop_all()
    step(budget, now, 0.02, *held)
    assert budget.stop_all()
    assert not budget("a", {})


def test_the_workers_of_a_trainer_count_while_its_trial_runs(now: list[float]) -> None:
    trainer = ResourceRequest.of({"cpu": 1, "trainer": {"workers": 3, "gpu": 0.5}}).trainer
    budget = gpu_hours(search(), 2.0, trainer)
    held = [trial(0), trial(0, status="PAUSED")]
    step(budget, now, 0, *held)
    step(budget, now, 1, *held)
    assert budget.spent["gpu_hours"] == pytest.approx(1.5)
    assert not budget.stop_all()
    step(budget, now, 0.34, *held)
    assert budget.stop_all()


def test_nodes_cost_their_prices_while_they_are_up(now: list[float], nodes: list[Node]) -> None:
    """By type, or else by label; also without a trial, and not before the study."""
    budget = Budget(search(), {"usd": 10.0}, {"head": 0.5, "spot": 1.0})
    nodes[:] = [node("head"), node("spot"), node("big", "4.25")]
    budget.require_prices()
    step(budget, now, 3)
    step(budget, now, 1)
    assert budget.spent["usd"] == pytest.approx(5.75)
    nodes[:] = [node("head"), node("spot"), node("spot")]
    step(budget, now, 0.001)  # sees the nodes that are up now
    left = (10 - 5.75 * 1.001) / 2.5
    assert budget.left_s == pytest.approx(3600 * left - 10)
    step(budget, now, left - 11 / 3600)
    assert not budget.stop_all()
    step(budget, now, 2 / 3600)
    assert budget.stop_all()
    assert budget.why == "the budget of 10 USD is used up"
    step(budget, now, 9 / 3600)  # the trials stop
    budget.on_experiment_end([])
    assert 9.99 < budget.spent["usd"] <= 10


def test_the_time_until_the_first_step_costs_too(
    now: list[float], nodes: list[Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    finder = search()
    finder.history.set_meta("runs", [{"at": 1.0}, {"at": 5000.0}])
    monkeypatch.setattr("raytuner.study.budget.time.time", lambda: 5036.0)
    nodes[:] = [node()]
    budget = Budget(finder, {"usd": 9}, 2.0)
    step(budget, now, 0)
    assert budget.spent == {"usd": pytest.approx(0.02)}


def test_one_price_for_all_nodes(now: list[float], nodes: list[Node]) -> None:
    budget = Budget(search(), None, 2)
    nodes[:] = [node(), node("any", "100")]
    step(budget, now, 0)
    step(budget, now, 0.5)
    assert budget.spent["usd"] == pytest.approx(2.0)
    assert budget.left_s is None


@pytest.mark.parametrize("wrong", [node("gpu"), node("gpu", "dear"), node("gpu", "-1"), node()])
def test_a_node_without_a_price_is_an_error_before_the_study(
    nodes: list[Node], wrong: Node
) -> None:
    nodes[:] = [node("head", "0.1"), wrong]
    says = "of type 'gpu' has no price.*prices={'gpu': 1.2}" if wrong.kind else "prices=1.2 for all"
    with pytest.raises(SettingError, match=says):
        Budget(search(), {"usd": 1.0}).require_prices()
    gpu_hours(search(), 1.0).require_prices()  # needs none


def test_a_node_that_joins_without_a_price_costs_the_highest(
    now: list[float], nodes: list[Node]
) -> None:
    budget = Budget(search(), {"usd": 100.0}, {"head": 1.0, "spot": 3.0})
    nodes[:] = [node("head")]
    step(budget, now, 0)
    nodes[:] = [node("head"), node("new"), node("new")]
    with pytest.warns(RaytunerWarning, match="type 'new' has no price.* 3 USD") as caught:
        step(budget, now, 0.01)
    assert len(caught) == 1
    step(budget, now, 1)
    assert budget.spent["usd"] == pytest.approx(0.01 + 7)


def test_it_goes_on_from_the_record(now: list[float], nodes: list[Node]) -> None:
    finder = search()
    nodes[:] = [node()]
    budget = Budget(finder, {"gpu_hours": 2.0}, 4.0)
    step(budget, now, 0, trial(1))
    step(budget, now, 1.5, trial(1))
    budget.on_experiment_end([])
    assert finder.history.get_meta(SPENT) == {
        "gpu_hours": pytest.approx(1.5),
        "usd": pytest.approx(6),
    }
    again = pickle.loads(pickle.dumps(Budget(finder, {"gpu_hours": 2.0}, 4.0)))
    step(again, now, 100, trial(1))
    assert not again.stop_all()
    step(again, now, 0.6, trial(1))
    assert again.stop_all()
    assert again.spent["usd"] == pytest.approx(6 + 2.4)


def test_trials_that_it_ended_say_so(now: list[float]) -> None:
    finder = search()
    finder.history.add("a", {"x": 0.5})
    finder.history.report("a", 1, 1.0)
    budget = gpu_hours(finder, 1.0)
    step(budget, now, 0, trial(1))
    step(budget, now, 2, trial(1))
    Lifecycle(finder, [budget]).on_step_end(0, [trial(1, status="TERMINATED")])
    (ended,) = finder.history.trials
    assert ended.state is TrialState.STOPPED_EARLY
    assert ended.reason == "the budget of 1 GPU-hours is used up"


@pytest.mark.parametrize(
    ("budget", "prices", "says"),
    [
        ({}, None, r"budget is {}; it must be a dict such as {\"usd\": 200"),
        (200, None, "budget is 200"),
        ({"eur": 1}, None, "budget is {'eur': 1}"),
        ({"usd": 0}, None, "budget: usd is 0; it must be a number above 0"),
        ({"usd": True}, None, "budget: usd is True"),
        ({"gpu_hours": "2"}, None, "budget: gpu_hours is '2'"),
        ({"gpu_hours": float("nan")}, None, "budget: gpu_hours is nan"),
        ({"usd": 1}, -1, "prices is -1; it must be US dollars per hour, at least 0"),
        ({"usd": 1}, {"head": "1"}, "prices: head is '1'"),
        (None, float("inf"), "prices is inf"),
    ],
)
def test_a_bad_budget_or_price_is_an_error(budget: Any, prices: Any, says: str) -> None:
    with pytest.raises(SettingError, match=says):
        check_budget(budget, prices)
    check_budget({"usd": 1, "gpu_hours": 0.5}, {"head": 0, "gpu": 1.5})
    check_budget(None, 2)
