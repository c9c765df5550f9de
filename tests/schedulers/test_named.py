"""Schedulers by name."""

from __future__ import annotations

from typing import Any

import pytest
from ray import tune

import raytuner
from raytuner import (
    ASHAScheduler,
    BoTorchSearch,
    FreezeThawScheduler,
    HyperBandScheduler,
    PredictiveTerminationScheduler,
)
from raytuner.errors import SettingError
from raytuner.halving import Action, Rule, Verdict
from raytuner.history import Goal, Table, TrialState
from raytuner.schedulers import RuleScheduler
from raytuner.schedulers.named import SCHEDULERS, default_scheduler, make_scheduler
from raytuner.simulate import Cluster, simulate

SETTINGS: dict[str, Any] = {
    "time_attr": "epoch",
    "max_t": 27,
    "grace_period": 3,
    "reduction_factor": 2,
    "seed": 0,
}


@pytest.mark.parametrize(
    ("name", "kind", "pauses"),
    [
        ("asha", ASHAScheduler, False),
        ("promotion", ASHAScheduler, True),
        ("hyperband", HyperBandScheduler, False),
        ("predictive-termination", PredictiveTerminationScheduler, False),
        ("freeze-thaw", FreezeThawScheduler, True),
    ],
)
def test_each_is_made_as_it_is_set(name: str, kind: Any, pauses: bool) -> None:
    scheduler: Any = make_scheduler(name, **SETTINGS)
    assert type(scheduler) is kind
    assert scheduler.max_t == 27
    assert scheduler.time_attr == "epoch"
    assert scheduler.rule.pauses is pauses
    assert scheduler.rule.rungs[0].level == 3
    assert scheduler.rule.rungs[1].level == 6


def test_all_of_ours_have_a_name() -> None:
    made = {type(make_scheduler(name, **SETTINGS)).__name__ for name in SCHEDULERS}
    assert made == {name for name in raytuner.__all__ if name.endswith("Scheduler")}


TWO: tuple[list[str], list[str]] = (["loss", "ms"], ["min", "min"])


@pytest.mark.parametrize(
    ("goal", "given", "chosen"),
    [
        (Goal.of("loss", "min"), {}, "predictive-termination"),
        (Goal.of("acc", "max", cost="s", standard_error="se"), {}, "predictive-termination"),
        (Goal.of(*TWO, weights=[1, 2]), {}, "predictive-termination"),
        (Goal.of(*TWO), {}, "asha"),
        (Goal.of("loss", "min", outcome_constraints=["ms <= 3"]), {}, "asha"),
        (Goal.of(*TWO, weights=[1, 2], outcome_constraints=["ms <= 3"]), {}, "asha"),
        (Goal.of("loss", "min"), {"reduction_factor": 3}, "asha"),
        (None, {}, "asha"),
        (Goal.of("loss", "min"), {"max_t": None}, None),
        (Goal.of(*TWO), {"max_t": None, "reduction_factor": 3}, None),
    ],
)
def test_what_is_chosen_when_none_is_named(
    goal: Goal | None, given: dict[str, Any], chosen: str | None
) -> None:
    assert default_scheduler(goal, **{"max_t": 9, **given}) == chosen


def test_a_setting_that_is_none_is_the_schedulers_own_default() -> None:
    scheduler: Any = make_scheduler("asha", **{**SETTINGS, "reduction_factor": None})
    assert [rung.level for rung in scheduler.rule.rungs] == [3, 9]


def test_a_name_that_is_none() -> None:
    with pytest.raises(SettingError, match=r"scheduler='freezethaw' is unknown.*'freeze-thaw'\?"):
        make_scheduler("freezethaw", **SETTINGS)


def test_each_needs_to_know_when_a_trial_is_complete() -> None:
    with pytest.raises(SettingError, match="scheduler='asha' needs max_t"):
        make_scheduler("asha", **{**SETTINGS, "max_t": None})


class Halves(Rule):
    """A rule from outside the package: a trial whose value is below 0.5 at half of `max_t` ends."""

    def decide(self, table: Table, trial_id: str, t: float) -> Verdict | None:
        if t < self.max_t / 2 or table.metrics_at(trial_id, t)[table.metric] >= 0.5:
            return None
        return Verdict(Action.STOP, t, rank=2, recorded=2, quota=1)

    def summary(self) -> str:
        return "halves"


class HalvesScheduler(RuleScheduler):
    """The scheduler around it."""

    def __init__(self, time_attr: str = "training_iteration", max_t: float = 100) -> None:
        rule = Halves(max_t)
        super().__init__(rule, name="Halves", time_attr=time_attr, metric=None, mode=None)


@pytest.mark.parametrize("ours", [True, False])
def test_a_new_one_is_a_class_and_a_line(ours: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SCHEDULERS, "halves", HalvesScheduler)
    settings = {**SETTINGS, "time_attr": "training_iteration", "max_t": 9}
    scheduler = make_scheduler("halves", **settings)
    simulation = simulate(
        lambda config: [config["x"]] * 12,
        {"x": tune.uniform(0, 1)},
        searcher=BoTorchSearch(strategy="random", seed=0) if ours else None,
        scheduler=scheduler,
        metric="acc",
        mode="max",
        num_samples=20,
        cluster=Cluster(workers=2),
        seed=0,
    )
    for trial in simulation.trials:
        early = trial.state is TrialState.STOPPED_EARLY
        assert early == (trial.config["x"] < 0.5)
        assert len(trial.values) == (5 if early else 9)
    assert scheduler.debug_string() == "Halves: halves"
