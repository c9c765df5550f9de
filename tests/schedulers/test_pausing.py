"""Pausing and resuming under the hooks that Ray calls, with fakes for Ray."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from ray import tune
from ray.tune.execution.tune_controller import TuneController
from ray.tune.search import BasicVariantGenerator, ConcurrencyLimiter, Searcher
from ray.tune.trainable import wrap_function
from scheduler_fakes import FakeTrial, Listening, Partner, Wrapper

from raytuner import ASHAScheduler, BoTorchSearch
from raytuner.bayes import SobolProposer
from raytuner.controller.search_layers import count_in, count_out, max_concurrent_of
from raytuner.errors import TrainableError
from raytuner.history import TrialState
from raytuner.simulate import Cluster, Curve, simulate
from raytuner.space import Float, Space


@dataclass
class Alg:
    """Stands for Ray's SearchGenerator."""

    searcher: Any
    finished: bool = False

    def is_finished(self) -> bool:
        return self.finished


@dataclass
class Controller:
    """Ray's controller, as far as a scheduler can see it."""

    scheduler: Any
    search_alg: Any = field(default_factory=lambda: Alg(Listening()))
    trials: list[FakeTrial] = field(default_factory=list)
    caps: list[int] = field(default_factory=list)
    last: dict[str, Any] = field(default_factory=dict)  # report

    def get_trials(self) -> list[FakeTrial]:
        return self.trials

    def update_max_pending_trials(self, cap: int) -> None:
        self.caps.append(cap)

    def stop_trial(self, trial: FakeTrial) -> None:
        self.scheduler.on_trial_remove(self, trial)
        trial.status = "TERMINATED"

    # -- a test's hands -----------------------------------------------------------------------

    def add(self, trial_id: str, status: str = "RUNNING", **more: Any) -> FakeTrial:
        trial = FakeTrial(trial_id, "PENDING", **more)
        self.trials.append(trial)
        self.scheduler.on_trial_add(self, trial)
        if trial.status == "PENDING":
            trial.status = status
        return trial

    def report(self, trial: FakeTrial, t: float, value: float, **more: Any) -> str:
        self.last = {"training_iteration": t, "acc": value, **more}
        decision = self.scheduler.on_trial_result(self, trial, self.last)
        if decision == "PAUSE":
            trial.status = "PAUSED"
        assert isinstance(decision, str)
        return decision

    def choose(self) -> FakeTrial | None:
        chosen: FakeTrial | None = self.scheduler.choose_trial_to_run(self)
        return chosen


def promotion(**more: Any) -> Controller:
    options = {"metric": "acc", "mode": "max", "max_t": 9, "variant": "promotion", **more}
    return Controller(ASHAScheduler(**options))


def some_paused(controller: Controller, values: Sequence[float]) -> list[FakeTrial]:
    trials = [controller.add(str(number)) for number in range(len(values))]
    for trial, value in zip(trials, values, strict=True):
        assert controller.report(trial, 1, value) == "PAUSE"
    return trials


# -- promotion -------------------------------------------------------------------------------------


def test_the_best_paused_trial_goes_on_before_a_new_one() -> None:
    controller = promotion()
    trials = some_paused(controller, [0.9, 0.5, 0.1])
    new = controller.add("new", status="PENDING")
    assert controller.choose() is trials[0]
    assert controller.choose() is trials[0]  # until Ray has taken it up
    trials[0].status = "PENDING"
    assert controller.choose() is trials[0]  # the first that is pending
    trials[0].status = "RUNNING"
    assert controller.choose() is new
    new.status = "RUNNING"
    assert controller.choose() is None


def test_who_would_be_next_does_not_pause_at_all() -> None:
    controller = promotion()
    some_paused(controller, [0.1, 0.5])
    best = controller.add("best")
    assert controller.report(best, 1, 0.9) == "CONTINUE"
    assert controller.search_alg.searcher.heard == [("pause", "0"), ("pause", "1")]


def test_the_searcher_hears_of_a_promotion_before_it_is_asked_for_a_new_trial() -> None:
    controller = promotion()
    some_paused(controller, [0.9, 0.5, 0.1])
    assert controller.search_alg.searcher.heard == [
        ("pause", "0"),
        ("pause", "1"),
        ("pause", "2"),
        ("unpause", "0"),
    ]


def test_a_promoted_trial_whose_checkpoint_is_being_saved_is_waited_for() -> None:
    controller = promotion()
    trials = [controller.add(str(number)) for number in range(3)]
    for trial, value in zip(trials, [0.9, 0.5, 0.1], strict=True):
        controller.report(trial, 1, value)
        trial.status = "RUNNING"  # still saving
    assert controller.choose() is None
    trials[0].status = "PAUSED"
    assert controller.choose() is trials[0]


def test_an_end_promotes_too_and_a_retry_does_not() -> None:
    controller = promotion()
    trials = some_paused(controller, [0.9, 0.8, 0.7, 0.6, 0.5])
    assert controller.choose() is trials[0]
    trials[0].status = "RUNNING"
    runs = controller.add("runs")
    runs.status = "ERROR"  # Ray tries it again
    controller.scheduler.on_trial_error(controller, runs)
    assert ("unpause", "1") not in controller.search_alg.searcher.heard
    runs.status = "PENDING"
    controller.scheduler.on_trial_add(controller, runs)
    assert controller.choose() is runs
    runs.status = "RUNNING"
    assert controller.report(runs, 1, 0.1) == "PAUSE"
    assert controller.choose() is trials[1]


def test_what_waits_when_nothing_new_will_come_is_ended() -> None:
    controller = promotion()
    controller.search_alg = Alg(Partner())
    trials = some_paused(controller, [0.9, 0.8, 0.7, 0.6])
    assert controller.choose() is trials[0]
    trials[0].status = "RUNNING"
    controller.search_alg.finished = True
    assert controller.choose() is None  # one still runs
    assert controller.report(trials[0], 9, 0.9) == "STOP"
    controller.scheduler.on_trial_complete(controller, trials[0], {})
    trials[0].status = "TERMINATED"
    assert controller.choose() is None
    assert [trial.status for trial in trials] == ["TERMINATED"] * 4
    stopped = controller.search_alg.searcher.history["1"]
    assert stopped.state is TrialState.STOPPED_EARLY
    assert stopped.reason == (
        "the search ended while it was paused; rank 2 of 4 at rung 1: only the best continues"
    )
    assert "0 trials paused" in controller.scheduler.debug_string()


def test_where_the_searcher_gives_nothing_paused_trials_make_room_one_by_one() -> None:
    controller = promotion()
    controller.search_alg = Alg(Partner())
    trials = some_paused(controller, [0.1, 0.9])
    assert "2 trials paused" in controller.scheduler.debug_string()
    assert controller.choose() is None
    assert [trial.status for trial in trials] == ["TERMINATED", "PAUSED"]
    stopped = controller.search_alg.searcher.history["0"]
    assert stopped.state is TrialState.STOPPED_EARLY
    assert stopped.reason.startswith("the searcher gave no new trial while it was paused; rank 2")


@pytest.mark.parametrize("variant", ["stopping", "promotion"])
def test_a_trial_that_another_scheduler_paused_is_resumed(variant: str) -> None:
    """Ray's ResourceChangingScheduler pauses a trial and leaves it to ours to resume it."""
    controller = promotion(variant=variant)
    waiting = controller.add("new", status="PENDING")
    trial = controller.add("a", status="PAUSED")
    controller.search_alg.finished = True
    assert controller.choose() is waiting
    waiting.status = "RUNNING"
    assert controller.choose() is trial
    assert controller.choose() is trial  # until Ray has taken it up
    trial.status = "RUNNING"
    assert controller.choose() is None


# -- limits ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [1, 2])
def test_a_limit_holds_for_those_that_run_and_promotion_comes_first(limit: int) -> None:
    """Beside a searcher of ours and one that counts paused trials, at most so many run."""
    for searcher in (
        ConcurrencyLimiter(BoTorchSearch(seed=0, proposer=SobolProposer), limit),
        BasicVariantGenerator(max_concurrent=limit, random_state=0),
    ):
        scheduler = ASHAScheduler(max_t=9, variant="promotion", seed=0)
        simulation = simulate(
            lambda config: Curve([config["x"] + 1 / t for t in range(1, 10)]),
            {"x": tune.uniform(0, 1)},
            searcher=searcher,
            scheduler=scheduler,
            metric="loss",
            mode="min",
            num_samples=20,
            cluster=Cluster(workers=4),
        )
        assert simulation.ended == "finished"
        spans = simulation._training.reshape(-1, 2)
        assert max(((spans[:, 0] <= at) & (at < spans[:, 1])).sum() for at in spans[:, 0]) == limit
        rung = scheduler.rule.rungs[0]
        assert (rung.recorded, rung.went_on) == (20, 6)
        # Of the limit's slots none was idle before the last few trials.
        assert simulation.worker_hours() * 3600 * simulation.utilisation() / simulation.end_s > (
            limit * 0.75
        )


def test_rays_limiters_do_not_count_paused_trials() -> None:
    class Plain(Searcher):
        def suggest(self, trial_id: str) -> dict[str, Any]:
            return {}

    limiter = ConcurrencyLimiter(Plain(), max_concurrent=1)
    search_alg = Wrapper(limiter)
    assert limiter.suggest("a") == {}
    assert limiter.suggest("b") is None
    count_out(search_alg, "a")
    assert limiter.suggest("b") == {}
    count_in(search_alg, "a")
    assert limiter.live_trials == {"a", "b"}

    generator = BasicVariantGenerator(max_concurrent=1)
    generator._live_trials.add("a")
    count_out(generator, "a")
    assert not generator._live_trials
    assert [max_concurrent_of(x) for x in (search_alg, generator, Wrapper(Plain()), None)] == [
        1,
        1,
        None,
        None,
    ]
    assert max_concurrent_of(BasicVariantGenerator()) is None


def test_ray_is_let_ask_ahead_for_no_more_than_the_free_slots() -> None:
    controller = promotion()
    controller.search_alg = BasicVariantGenerator()
    trials = [controller.add(str(number)) for number in range(4)]
    controller.choose()
    # So long as none was given up there may be more: twice as many, and again.
    assert controller.caps == [1, 2, 3, 4]
    controller.report(trials[0], 1, 0.9)
    controller.choose()
    assert controller.caps[4:] == [1]
    controller.report(trials[1], 1, 0.8)
    controller.report(trials[2], 1, 0.7)  # the first is promoted into one of three
    trials[0].status = "RUNNING"
    controller.choose()
    assert controller.caps[5:] == [2]


def test_a_limit_of_the_users_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    controller = promotion()
    controller.search_alg = BasicVariantGenerator(max_concurrent=2)
    controller.add("a")
    controller.choose()
    controller.search_alg = BasicVariantGenerator()
    monkeypatch.setenv("TUNE_MAX_PENDING_TRIALS_PG", "7")
    controller.choose()
    assert controller.caps == []


def test_a_paused_trial_is_entered_as_paused() -> None:
    """`on_trial_add` may set a restored trial to PAUSED before Ray has entered it anywhere."""
    source = inspect.getsource(TuneController.add_trial)
    assert source.index("on_trial_add") < source.index("status_str_map[trial.status].add(trial)")


# -- checkpoints -----------------------------------------------------------------------------------


def function(config: dict[str, Any]) -> None:
    pass


class Half(tune.Trainable):
    def save_checkpoint(self, checkpoint_dir: str) -> None:
        pass


class Whole(Half):
    def load_checkpoint(self, checkpoint: Any) -> None:
        pass


def test_a_class_that_cannot_checkpoint_is_refused() -> None:
    controller = Controller(ASHAScheduler(metric="acc", mode="max", variant="promotion"))
    controller.add("whole", trainable=Whole)
    message = (
        "pauses trials .* but Half does not define load_checkpoint; define both methods, or use"
    )
    with pytest.raises(TrainableError, match=message):
        controller.add("half", trainable=Half)
    Controller(ASHAScheduler(metric="acc", mode="max")).add("half", trainable=Half)


def test_a_function_that_reports_no_checkpoint_is_an_error_first_and_a_warning_later(
    caplog: pytest.LogCaptureFixture,
) -> None:
    trainable = wrap_function(function)
    controller = promotion()
    without = controller.add("without", trainable=trainable)
    message = (
        r"trial without should be paused at training_iteration = 1, but its training function has "
        r"reported no checkpoint; pass one to tune.report\(..., checkpoint=...\)"
    )
    with pytest.raises(TrainableError, match=message):
        controller.report(without, 1, 0.5)
    now = controller.add("now", trainable=trainable)
    assert controller.report(now, 1, 0.4, should_checkpoint=True) == "PAUSE"
    earlier = controller.add("earlier", trainable=trainable, checkpoint="one")
    assert controller.report(earlier, 2, 0.3) == "PAUSE"
    with caplog.at_level(logging.WARNING):
        again = controller.add("again", trainable=trainable)
        assert controller.report(again, 1, 0.2) == "PAUSE"
    assert (
        "If it is resumed, it will start from the beginning: trial again should be paused"
        in caplog.text
    )


# -- restores --------------------------------------------------------------------------------------


def test_beside_a_searcher_without_a_record_last_reports_rebuild_the_rungs() -> None:
    def last(t: int, value: float) -> dict[str, Any]:
        return {"training_iteration": t, "acc": value}

    controller = promotion()
    waits = controller.add("waits", last_result=last(1, 0.3))
    better = controller.add("better", last_result=last(1, 0.5))
    further = controller.add("further", last_result=last(2, 0.1))
    complete = FakeTrial("complete", "TERMINATED", last(9, 0.9))
    controller.scheduler.on_trial_add(controller, complete)
    new = controller.add("new", status="PENDING")
    assert [trial.status for trial in (waits, better, further, new)] == [
        "PAUSED",
        "PAUSED",
        "RUNNING",
        "PENDING",
    ]
    assert [(r.level, r.recorded, r.went_on) for r in controller.scheduler.rule.rungs] == [
        (1, 4, 2),
        (3, 1, 1),
    ]
    assert controller.choose() is new
    new.status = "RUNNING"
    controller.report(new, 1, 0.0)
    fifth = controller.add("fifth")
    controller.report(fifth, 1, 0.1)
    assert controller.choose() is None  # 6 came to the rung and 2 went on


def test_a_searcher_of_ours_knows_who_is_paused() -> None:
    searcher = BoTorchSearch(
        Space({"x": Float(0, 1)}), "acc", "max", seed=0, proposer=SobolProposer
    )
    controller = promotion()
    controller.search_alg = Alg(searcher)
    trials = []
    for trial_id, value in (("a", 0.9), ("b", 0.8), ("c", 0.7)):
        searcher.suggest(trial_id)
        trials.append(controller.add(trial_id))
        assert controller.report(trials[-1], 1, value) == "PAUSE"
        searcher.on_trial_result(trial_id, controller.last)  # Ray calls it after the decision
    assert [searcher.history[trial_id].state for trial_id in "abc"] == [
        TrialState.PENDING,  # promoted when the third came
        TrialState.PAUSED,
        TrialState.PAUSED,
    ]
    restored = promotion()
    restored.search_alg = Alg(searcher)
    again = [FakeTrial(trial_id, "PENDING") for trial_id in "abc"]
    for trial in again:
        restored.scheduler.on_trial_add(restored, trial)
    assert [trial.status for trial in again] == ["PENDING", "PAUSED", "PAUSED"]
    assert restored.choose() is again[0]
    assert searcher.history["a"].state is TrialState.PENDING
