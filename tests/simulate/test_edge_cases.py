"""What Ray's loop does at the edges, one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from call_journal import METRIC, Call, Journal, JournalScheduler, JournalSearcher
from ray import tune
from ray.tune import TuneError
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import BasicVariantGenerator, ConcurrencyLimiter
from ray.tune.search.searcher import Searcher

from raytuner.errors import MetricError, SettingError, TrainableError
from raytuner.history import TrialState
from raytuner.simulate import (
    Cluster,
    Curve,
    EventKind,
    Settings,
    Simulation,
    simulate,
)

SPACE = {"index": tune.randint(0, 100), "nested": {"x": tune.uniform(0, 1)}}


class Scripted(FIFOScheduler):
    """Decides by a function of the trial's number and t."""

    def __init__(self, decide: Callable[[int, int], str], resumes: bool = True) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.decide = decide
        self.resumes = resumes

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        return self.decide(trial.config["index"], result["training_iteration"])

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        chosen: Trial | None = super().choose_trial_to_run(tune_controller)
        return chosen if self.resumes or chosen is None or chosen.status == "PENDING" else None


def falling(t_max: int, seconds: float = 1.0, **more: Any) -> Callable[[Any], Curve]:
    return lambda config: Curve([1.0 / t for t in range(1, t_max + 1)], seconds, **more)


def run(
    objective: Callable[[Any], Any],
    n: int,
    scheduler: TrialScheduler | None = None,
    searcher: Callable[[Journal], Searcher] = JournalSearcher,
    **options: Any,
) -> tuple[Journal, Simulation]:
    journal = Journal()
    options.setdefault("cluster", Cluster(workers=1))
    simulation = simulate(
        objective,
        SPACE,
        searcher=searcher(journal),
        scheduler=JournalScheduler(scheduler or FIFOScheduler(), journal),  # type: ignore[no-untyped-call]
        metric=METRIC,
        mode="min",
        num_samples=n,
        **options,
    )
    return journal, simulation


def hooks(journal: Journal, trial: int) -> list[tuple[str, int | None]]:
    return [(call.hook, call.t) for call in journal.calls if call.trial == trial]


def only(journal: Journal, hook: str) -> list[Call]:
    return [call for call in journal.calls if call.hook == hook]


class TestEnds:
    def test_a_result_that_stops_reaches_only_complete(self) -> None:
        stop_at_two = Scripted(lambda i, t: "STOP" if t == 2 else "CONTINUE")
        journal, simulation = run(falling(5), 1, stop_at_two)
        assert hooks(journal, 0) == [
            ("suggest", None),
            ("add", None),
            ("result", 1),
            ("searcher.result", 1),
            ("result", 2),
            ("complete", 2),
            ("searcher.complete", 2),
        ]
        assert simulation.counts == {TrialState.STOPPED_EARLY: 1}

    def test_a_stop_criterion_is_not_shown_to_the_scheduler(self) -> None:
        journal, simulation = run(falling(5), 1, stop={"training_iteration": 2})
        assert hooks(journal, 0)[-3:] == [
            ("searcher.result", 1),
            ("complete", 2),
            ("searcher.complete", 2),
        ]
        assert simulation.counts == {TrialState.COMPLETED: 1}

    def test_a_natural_end_repeats_the_last_result_as_done(self) -> None:
        journal, simulation = run(falling(2), 1)
        assert hooks(journal, 0)[-3:] == [
            ("searcher.result", 2),
            ("complete", 2),
            ("searcher.complete", 2),
        ]
        assert simulation.trials[0].state is TrialState.COMPLETED
        assert simulation.end_s == 2.0

    def test_done_in_a_report_ends_the_trial(self) -> None:
        _, simulation = run(lambda config: [{METRIC: 1.0}, {METRIC: 0.5, "done": True}, 0.1], 1)
        assert simulation.trials[0].values == ((1, 1.0), (2, 0.5))

    def test_a_last_value_that_is_no_number_is_a_failure(self) -> None:
        _, simulation = run(lambda config: [1.0, float("nan")], 1)
        assert simulation.counts == {TrialState.FAILED: 1}

    def test_a_stop_while_paused_completes_without_a_result(self) -> None:
        class Drops(Scripted):
            def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
                for trial in list(tune_controller.get_trials()):
                    if trial.status == Trial.PAUSED:
                        tune_controller.stop_trial(trial)
                return None

        journal, simulation = run(falling(5), 2, Drops(lambda i, t: "PAUSE"))
        assert [h for h, _ in hooks(journal, 0)][-3:] == [
            "searcher.result",
            "remove",
            "searcher.complete",
        ]
        assert only(journal, "searcher.complete")[0].says == (False, ())
        assert simulation.counts == {TrialState.STOPPED_EARLY: 2}
        assert simulation.ended == "finished"

    def test_the_time_budget_ends_without_a_word(self) -> None:
        journal, simulation = run(falling(10), -1, time_budget_s=14.5)
        assert simulation.ended == "time_budget"
        assert simulation.end_s == 14.5
        assert len(only(journal, "complete")) == len(only(journal, "searcher.complete")) == 1
        assert [trial.state for trial in simulation.trials[:2]] == [
            TrialState.COMPLETED,
            TrialState.RUNNING,
        ]
        assert simulation.trials[1].ended_at is None
        assert simulation.utilisation() == pytest.approx(1.0)


class TestPauses:
    @pytest.mark.parametrize(("saves", "iterations"), [(True, [1, 2, 3]), (False, [1, 2, 1, 2, 3])])
    def test_a_paused_trial_comes_back(self, saves: bool, iterations: list[int]) -> None:
        seen: set[int] = set()

        def decide(trial: int, t: int) -> str:
            if t == 2 and trial not in seen:
                seen.add(trial)
                return "PAUSE"
            return "CONTINUE"

        journal, simulation = run(
            falling(3), 2, Scripted(decide), settings=Settings(saves_on_pause=saves)
        )
        for trial in (0, 1):
            assert [t for hook, t in hooks(journal, trial) if hook == "result"] == iterations
            assert ("searcher.result", 2) in hooks(journal, trial)
        # The worker was free meanwhile: trial 1 began before trial 0 went on.
        kinds = [(e.kind, e.trial) for e in simulation.events]
        assert kinds.index((EventKind.STARTED, 1)) < len(kinds) - kinds[::-1].index(
            (EventKind.STARTED, 0)
        )
        assert [trial.attempts for trial in simulation.trials] == [2, 2]

    def test_a_scheduler_that_never_resumes_stalls_instead_of_hanging(self) -> None:
        _, simulation = run(falling(3), 2, Scripted(lambda i, t: "PAUSE", resumes=False))
        assert simulation.ended == "stalled"
        assert simulation.counts == {TrialState.PAUSED: 2}

    def test_a_scheduler_may_put_a_new_trial_on_hold(self) -> None:
        class Holds(FIFOScheduler):
            held = False

            def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
                if not self.held:
                    self.held = True
                    trial.set_status("PAUSED")  # type: ignore[no-untyped-call]

        journal, simulation = run(falling(1), 3, Holds())  # type: ignore[no-untyped-call]
        assert simulation.counts == {TrialState.COMPLETED: 3}
        assert only(journal, "resume")[0].trial == 0


class TestCap:
    def test_one_trial_is_pending_at_a_time(self) -> None:
        _, simulation = run(falling(100), 4, cluster=Cluster(workers=4, startup_s=3.0))
        assert [trial.proposed_at for trial in simulation.trials] == [0.0, 3.0, 6.0, 9.0]

    def test_a_limiter_raises_the_cap(self) -> None:
        _, simulation = run(
            falling(100), 4, max_concurrent_trials=4, cluster=Cluster(workers=4, startup_s=3.0)
        )
        assert [trial.started_at for trial in simulation.trials] == [3.0] * 4

    def test_a_scheduler_may_raise_the_cap(self) -> None:
        class Raises(FIFOScheduler):
            def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
                tune_controller.update_max_pending_trials(4)

        _, simulation = run(falling(100), 4, Raises(), cluster=Cluster(workers=4, startup_s=3.0))  # type: ignore[no-untyped-call]
        assert [trial.started_at for trial in simulation.trials] == [3.0] * 4

    def test_random_search_is_proposed_ahead(self) -> None:
        simulation = simulate(
            falling(100), SPACE, metric=METRIC, mode="min", num_samples=8, seed=0,
            cluster=Cluster(workers=2, startup_s=3.0),
        )  # fmt: skip
        assert [trial.proposed_at for trial in simulation.trials] == [0.0] * 8


class TestSearcherThatWaits:
    def test_none_is_asked_again_after_an_event(self) -> None:
        _journal, simulation = run(
            falling(2),
            4,
            searcher=lambda journal: ConcurrencyLimiter(JournalSearcher(journal), 1),
            cluster=Cluster(workers=3),
        )
        assert [trial.proposed_at for trial in simulation.trials] == [0.0, 2.0, 4.0, 6.0]
        assert (
            len(simulation.searcher_seconds["suggest"]) == 4
        )  # what was asked in vain is elsewhere

    def test_none_with_nothing_live_waits_a_second_a_time(self) -> None:
        class Slow(JournalSearcher):
            asked = 0

            def suggest(self, trial_id: str) -> dict[str, Any]:
                self.asked += 1
                if self.asked <= 5:
                    return None  # type: ignore[return-value]
                return super().suggest(trial_id)

        _, simulation = run(falling(1), 1, searcher=Slow)
        assert simulation.trials[0].proposed_at == 5.0

    def test_none_for_ever_stalls(self) -> None:
        class Mute(JournalSearcher):
            def suggest(self, trial_id: str) -> dict[str, Any]:
                return None  # type: ignore[return-value]

        _, simulation = run(falling(1), 1, searcher=Mute)
        assert simulation.ended == "stalled"
        assert simulation.end_s == 600.0

    def test_a_poll_asks_between_events(self) -> None:
        class Later(JournalSearcher):
            asked = 0

            def suggest(self, trial_id: str) -> dict[str, Any]:
                self.asked += 1
                if 2 <= self.asked <= 11:
                    return None  # type: ignore[return-value]
                return super().suggest(trial_id)

        _, simulation = run(
            falling(1, seconds=100.0), 2, searcher=Later, settings=Settings(poll_s=0.1),
            cluster=Cluster(workers=2),
        )  # fmt: skip
        assert simulation.trials[1].proposed_at == pytest.approx(1.0)

    def test_finished_ends_the_search(self) -> None:
        class Ends(JournalSearcher):
            def suggest(self, trial_id: str) -> dict[str, Any]:
                if len(self.journal.numbers) == 2:
                    return Searcher.FINISHED  # type: ignore[return-value]
                return super().suggest(trial_id)

        _, simulation = run(falling(1), 100, searcher=Ends)
        assert (len(simulation.trials), simulation.ended) == (2, "finished")


class TestFailures:
    def test_a_final_failure_is_told_to_scheduler_then_searcher(self) -> None:
        journal, simulation = run(falling(3, fails_at=2), 1)
        assert hooks(journal, 0)[-2:] == [("error", None), ("searcher.complete", None)]
        assert only(journal, "error")[0].says == ("RUNNING", ())
        assert only(journal, "searcher.complete")[0].says == (True, ())
        assert simulation.counts == {TrialState.FAILED: 1}
        assert simulation.utilisation() == 1.0  # the unit that raised is training, too

    @pytest.mark.parametrize(("every", "again"), [(None, [1, 2, 3, 4]), (2, [3, 4])])
    def test_a_retry_goes_to_the_scheduler_only(self, every: int | None, again: list[int]) -> None:
        journal, simulation = run(
            falling(4, fails_at=4, failures=1),
            1,
            max_failures=1,
            settings=Settings(checkpoint_every=every),
        )
        assert [t for hook, t in hooks(journal, 0) if hook == "result"] == [1, 2, 3, *again]
        error = [h for h, _ in hooks(journal, 0)].index("error")
        assert [h for h, _ in hooks(journal, 0)][error : error + 2] == ["error", "add"]
        assert only(journal, "error")[0].says == ("ERROR", ())
        assert len(only(journal, "searcher.complete")) == 1
        assert simulation.resource_spent == 3 + len(again)
        assert len(simulation.trials[0].values) == 4

    def test_a_retried_trial_goes_to_the_end_of_the_line(self) -> None:
        seen: list[list[int]] = []

        class Watches(FIFOScheduler):
            def on_trial_complete(self, tune_controller: Any, *rest: Any) -> None:
                seen.append([t.config["index"] for t in tune_controller.get_trials()])

        def objective(config: dict[str, Any]) -> Curve:
            return Curve([1.0], fails_at=1 if config["index"] == 0 else None, failures=1)

        run(objective, 3, Watches(), max_failures=1, max_concurrent_trials=3)  # type: ignore[no-untyped-call]
        assert seen[0] == [2, 0, 1]  # trial 1 ends: 2 and the retried 0 wait, in this order
        assert seen[1] == [0, 1, 2]

    def test_what_a_searcher_raises_comes_out_as_in_ray(self) -> None:
        class Bad(JournalSearcher):
            def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
                raise KeyError("planned")

        with pytest.raises(TuneError, match="planned"):
            run(falling(1), 1, searcher=Bad)

        class Raw(JournalSearcher):
            def suggest(self, trial_id: str) -> dict[str, Any]:
                raise KeyError("planned")

        with pytest.raises(KeyError, match="planned"):
            run(falling(1), 1, searcher=Raw)

    def test_what_a_scheduler_raises_at_the_end_is_blamed_on_the_trial(self) -> None:
        class Bad(FIFOScheduler):
            def on_trial_complete(self, *args: Any) -> None:
                raise KeyError("planned")

        _, simulation = run(falling(1), 2, Bad())  # type: ignore[no-untyped-call]
        assert simulation.counts == {TrialState.FAILED: 2}


class TestCharge:
    """A timer on which each reading is a second later: each call takes one."""

    def simulate(self, charge: Any) -> Simulation:
        ticks = iter(range(10**6))
        settings = Settings(charge=charge, timer=lambda: float(next(ticks)))
        return run(falling(2, 10.0), 2, cluster=Cluster(workers=2), settings=settings)[1]

    def test_none_costs_nothing(self) -> None:
        assert self.simulate("none").end_s == 20.0

    def test_inline_holds_the_loop(self) -> None:
        simulation = self.simulate("inline")
        assert simulation.end_s > 25.0
        assert simulation.trials[1].started_at is not None
        assert simulation.trials[1].started_at > 2.0
        assert simulation.utilisation() < 0.9


def test_incumbents() -> None:
    values = {0: [3.0, 2.0], 1: [0.5, 4.0], 2: [9.0, 1.0]}
    _, simulation = run(lambda config: values[config["index"]], 3)
    assert [(s.time, s.value) for s in simulation.incumbent()] == [(2.0, 2.0), (6.0, 1.0)]
    every = simulation.incumbent(final=False)
    assert [(s.time, s.value) for s in every] == [(1.0, 3.0), (2.0, 2.0), (3.0, 0.5)]
    assert simulation.best is not None
    assert simulation.best.number == 2


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"mode": "up"}, MetricError),
        ({"num_samples": 0}, SettingError),
        ({"num_samples": -1}, SettingError),
        ({"time_budget_s": 0}, SettingError),
        ({"max_concurrent_trials": 0}, SettingError),
        ({"searcher": "optuna"}, SettingError),
        ({"searcher": BasicVariantGenerator(), "max_concurrent_trials": 3}, SettingError),
    ],
)
def test_bad_input_is_named(options: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        simulate(falling(1), SPACE, **{"metric": METRIC, "mode": "min", **options})


@pytest.mark.parametrize(
    "make",
    [
        lambda: Cluster(workers=0),
        lambda: Cluster(startup_s=-1.0),
        lambda: Settings(charge="later"),  # type: ignore[arg-type]
    ],
)
def test_bad_settings_are_named(make: Callable[[], Any]) -> None:
    with pytest.raises(SettingError):
        make()


@pytest.mark.parametrize("outcome", [3.0, "abc", {"loss": 1.0}])
def test_an_objective_must_give_reports(outcome: Any) -> None:
    with pytest.raises(TrainableError, match="must return"):
        run(lambda config: outcome, 1)


def test_negative_seconds_are_refused() -> None:
    with pytest.raises(TrainableError, match="seconds"):
        run(lambda config: Curve([1.0], seconds=-1.0), 1)


def test_a_generator_may_be_retried() -> None:
    def objective(config: dict[str, Any]) -> Any:
        return Curve((1.0 / t for t in range(1, 4)), fails_at=2, failures=1)

    _, simulation = run(objective, 1, max_failures=1)
    assert simulation.trials[0].values == ((1, 1.0), (2, 0.5), (3, 1 / 3))


def test_a_generator_in_a_curve_trains_no_further_than_its_trial() -> None:
    trained: list[int] = []

    def training() -> Iterator[float]:
        for t in range(1, 100):
            trained.append(t)
            yield 1.0 / t

    _, simulation = run(
        lambda config: Curve(training(), seconds=10.0), 1, stop={"training_iteration": 3}
    )
    assert simulation.end_s == 30.0
    assert trained == [1, 2, 3]
