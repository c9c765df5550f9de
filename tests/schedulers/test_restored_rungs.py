"""A scheduler that begins anew beside a searcher that has a record."""

from __future__ import annotations

import math
from typing import Any, cast

import pytest
from ray.tune.search import SearchGenerator
from scheduler_fakes import FakeController, FakeTrial, Listening

from raytuner import ASHAScheduler, BoTorchSearch
from raytuner.bayes import SobolProposer
from raytuner.history import TrialState
from raytuner.schedulers.restored import RestoringScheduler
from raytuner.space import Float, Space


def scheduler(mode: str) -> ASHAScheduler:
    return ASHAScheduler(metric="loss", mode=mode, max_t=9, seed=0)


def search(mode: str) -> BoTorchSearch:
    return BoTorchSearch(Space({"x": Float(0, 1)}), "loss", mode, seed=0, proposer=SobolProposer)


def trial(name: str) -> Any:
    return cast(Any, FakeTrial(name))


@pytest.mark.parametrize("mode", ["min", "max"])
def test_rungs_are_taken_up_from_the_record(mode: str) -> None:
    searcher, first, second = search(mode), scheduler(mode), scheduler(mode)
    searcher.add_evaluated_point({"x": 0.5}, -99.0)  # never at a rung
    controller = FakeController(searcher)
    values = {"a": 0.3, "b": 0.1, "c": math.nan, "d": 0.2}
    for name in values:
        searcher.suggest(name)
        first.on_trial_add(controller, trial(name))
    for t in (1, 2, 3):
        for name, value in values.items():
            result = {"loss": value - t / 100, "training_iteration": t}
            if first.on_trial_result(controller, trial(name), result) == "CONTINUE":
                searcher.on_trial_result(name, result)
            elif searcher.history[name].state.is_live:
                searcher.on_trial_complete(name, result)

    for name in values:
        second.on_trial_add(controller, trial(name))
    assert second.rule.rungs == first.rule.rungs
    assert [second.rule.verdict(n) for n in values] == [first.rule.verdict(n) for n in values]
    assert sum(rung.recorded for rung in second.rule.rungs) > len(values)
    assert second.debug_string() == first.debug_string()


@pytest.mark.parametrize("make", [RestoringScheduler, lambda: scheduler("min")])
def test_trials_that_ray_has_lost_are_over_before_the_first_runs(make: Any) -> None:
    searcher, one = search("min"), make()
    controller = cast(Any, FakeController(searcher))
    for name in ("a", "b", "c"):
        searcher.suggest(name)
    for name in ("a", "b"):
        one.on_trial_add(controller, trial(name))
    one.choose_trial_to_run(controller)
    states = [one.state for one in searcher.history.trials]
    assert states == [TrialState.PENDING, TrialState.PENDING, TrialState.REMOVED]
    searcher.suggest("d")  # what comes later has its own time
    one.choose_trial_to_run(controller)
    assert searcher.history["d"].state is TrialState.PENDING


def test_without_a_record_new_trials_are_at_no_rung() -> None:
    one = scheduler("min")
    one.on_trial_add(FakeController(Listening()), trial("a"))
    assert all(rung.recorded == 0 for rung in one.rule.rungs)


@pytest.mark.parametrize("counted", [1, 3])
@pytest.mark.parametrize("make", [RestoringScheduler, lambda: scheduler("min")])
def test_ray_goes_on_to_as_many_trials_as_it_was_asked_for(make: Any, counted: int) -> None:
    generator = SearchGenerator(search("min"))
    # Of another moment than the two trials that there are.
    generator.set_state({**generator.get_state(), "total_samples": 3, "counter": counted})
    judge, trials = make(), [trial("a"), trial("b")]
    controller = FakeController(generator, trials)
    for one in trials:
        judge.on_trial_add(controller, one)
    judge.choose_trial_to_run(controller)
    assert generator.get_state()["counter"] == 2
    assert not generator.is_finished()
