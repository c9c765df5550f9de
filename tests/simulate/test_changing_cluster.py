"""A cluster that gains and loses workers while a search runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ray import tune
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from raytuner import BoTorchSearch
from raytuner.controller.retries import cause_of
from raytuner.errors import SettingError
from raytuner.history import TrialState
from raytuner.schedulers import ASHAScheduler
from raytuner.simulate import Cluster, Curve, EventKind, Settings, Simulation, simulate
from raytuner.simulate.actors import WorkerLost

SPACE = {"x": tune.uniform(0, 1)}


def run(n: int, cluster: Cluster, seconds: float = 10.0, **options: Any) -> Simulation:
    """Trials of ten units, by default of 10 s each."""

    def objective(config: dict[str, Any]) -> Curve:
        return Curve([config["x"] + 1 / t for t in range(1, 11)], seconds)

    options = {"metric": "loss", "mode": "min", "seed": 0, **options}
    return simulate(objective, SPACE, num_samples=n, cluster=cluster, **options)


def of(simulation: Simulation, kind: EventKind) -> list[tuple[float, int]]:
    return [(event.time, event.trial) for event in simulation.events if event.kind is kind]


@settings(max_examples=25)
@given(workers=st.integers(1, 12), data=st.data())
def test_exactly_the_trials_on_lost_workers_are_retried(workers: int, data: st.DataObject) -> None:
    lost, left = data.draw(st.integers(1, workers)), data.draw(st.integers(0, 20))
    cluster = Cluster(workers, changes=((25.0, -lost), (40.0, lost)))
    simulation = run(workers + left, cluster, max_failures=1)
    retried = of(simulation, EventKind.RETRIED)
    assert [time for time, _ in retried] == [25.0] * lost  # all workers were busy
    assert len({trial for _, trial in retried} & {*range(workers)}) == lost
    started = [trial for _, trial in of(simulation, EventKind.STARTED)]
    for trial in simulation.trials:
        is_lost = (25.0, trial.number) in retried
        assert started.count(trial.number) == trial.attempts == 1 + is_lost
    assert simulation.counts == {TrialState.COMPLETED: workers + left}
    assert simulation.resource_spent == 10 * (workers + left) + 2 * lost


def test_idle_workers_are_lost_as_likely_as_busy_ones() -> None:
    cluster = Cluster(200, changes=((25.0, -100),))
    retried = len(of(run(100, cluster, max_failures=1), EventKind.RETRIED))
    assert 35 <= retried <= 65


def test_a_trial_on_a_lost_worker_has_failed_once_too_often() -> None:
    cluster = Cluster(4, changes=((25.0, -2),))
    simulation = run(4, cluster)
    assert simulation.counts == {TrialState.FAILED: 2, TrialState.COMPLETED: 2}
    assert [time for time, _ in of(simulation, EventKind.FAILED)] == [25.0, 25.0]
    assert (simulation.end_s, simulation.utilisation()) == (100.0, 1.0)


@pytest.mark.parametrize("time", [1.0, 25.0])  # while trials start, and while they train
def test_beside_a_scheduler_of_raytuners_no_trial_fails(time: float) -> None:
    searcher = BoTorchSearch(seed=0, background=False)
    scheduler = ASHAScheduler(max_t=10, grace_period=5)
    cluster = Cluster(3, startup_s=2.0, changes=((time, -3), (time, 3)))
    simulation = run(3, cluster, searcher=searcher, scheduler=scheduler)
    assert simulation.counts[TrialState.FAILED] == 0
    assert searcher.history.get_meta("nodes_lost") == {t.trial_id: 1 for t in simulation.trials}
    assert cause_of(WorkerLost()) == "nodes_lost"


def test_a_lost_trial_continues_from_its_checkpoint() -> None:
    cluster = Cluster(1, changes=((75.0, -1), (80.0, 1)))
    saving = Settings(checkpoint_every=3)
    simulation = run(1, cluster, max_failures=1, settings=saving)
    # Units 7 and 8 are lost: 80 s, and the 40 s from the checkpoint after unit 6.
    assert (simulation.end_s, simulation.resource_spent) == (120.0, 11)


def test_a_worker_that_is_lost_at_a_trials_end_takes_nothing_with_it() -> None:
    class Stops(FIFOScheduler):
        def on_trial_result(self, controller: Any, trial: Any, result: dict[str, Any]) -> str:
            return TrialScheduler.STOP if result["training_iteration"] == 3 else "CONTINUE"

    cluster = Cluster(2, changes=((30.0, -2), (31.0, 2)))
    simulation = run(2, cluster, scheduler=Stops())  # type: ignore[no-untyped-call]
    assert simulation.counts == {TrialState.STOPPED_EARLY: 2}


def test_new_workers_are_used_at_once() -> None:
    simulation = run(5, Cluster(1, startup_s=2.0, changes=((10.0, 1), (20.0, 3))))
    assert [trial.started_at for trial in simulation.trials] == [2.0, 12.0, 22.0, 22.0, 22.0]


def test_the_searcher_sees_the_present_number_of_slots() -> None:
    cluster = Cluster(1, startup_s=3.0, changes=((10.0, 7), (50.0, -6)))
    simulation = run(12, cluster, searcher=BoTorchSearch(seed=0, background=False), max_failures=-1)
    # Ray's own cap of one pending trial would start one after another.
    assert [trial.started_at for trial in simulation.trials][:8] == [3.0] + [13.0] * 7
    later = [trial.proposed_at for trial in simulation.trials[8:]]
    assert sum(time < 60 for time in later) <= 1  # those that wait fill both workers


def test_a_search_begins_without_workers() -> None:
    cluster = Cluster(0, changes=[(60.0 * n, 2) for n in range(1, 4)])
    searcher = BoTorchSearch(seed=0, background=False)
    simulation = run(6, cluster, searcher=searcher)
    assert [trial.started_at for trial in simulation.trials] == [60, 60, 120, 120, 160, 160]
    assert simulation.ended == "finished"


def test_hours_and_utilisation_count_the_workers_that_existed() -> None:
    cluster = Cluster(2, changes=((1800.0, 2), (3600.0, -3), (9000.0, 5)))
    simulation = run(-1, cluster, 60.0, time_budget_s=7200.0, max_failures=-1)
    assert simulation.worker_hours() == pytest.approx(1 + 2 + 1)
    assert simulation.utilisation() == pytest.approx(1.0)
    assert simulation.utilisation(1800.0) == pytest.approx(1.0)
    assert simulation.capacity == ((0.0, 2), (1800.0, 4), (3600.0, 1))
    assert simulation.workers == 4
    # Two trials on the first two workers; nothing is left for the others.
    idle = run(2, Cluster(2, changes=((50.0, 2),)))
    assert idle.utilisation() == pytest.approx(200 / (2 * 50 + 4 * 50))


def test_seeds_choose_the_lost_workers() -> None:
    cluster = Cluster(20, changes=((25.0, -5),))

    def lost(seed: int | None) -> list[int]:
        simulation = run(20, cluster, seed=seed, max_failures=1)
        return [trial for _, trial in of(simulation, EventKind.RETRIED)]

    assert lost(0) == lost(0) == lost(None)
    assert lost(0) != lost(1)


@pytest.mark.parametrize("charge", ["inline", "background"])
def test_utilisation_holds_where_the_loop_is_late(charge: Any) -> None:
    """Each reading of the timer is 0.3 s later, so changes come late."""
    ticks = iter(range(10**6))
    charged = Settings(charge=charge, timer=lambda: 0.3 * next(ticks))
    cluster = Cluster(4, 2.0, [(20.0, -2), (20.1, 2), (40.0, -4), (41.0, 8)])
    simulation = run(12, cluster, 1.0, max_failures=-1, settings=charged)
    busy = (simulation._training[:, 1] - simulation._training[:, 0]).sum()
    assert busy <= simulation.worker_hours() * 3600
    assert simulation.counts == {TrialState.COMPLETED: 12}
    assert simulation.capacity[1][0] > 20.0


@pytest.mark.parametrize(
    ("workers", "changes", "says"),
    [
        (8, [(60.0, 10.0)], r"changes\[0\] is \(60.0, 10.0\)"),
        (8.5, [(60.0, 1)], "Cluster.workers is 8.5; it must be a whole number, at least 0"),
        (8, [(60.0, 1.5)], r"changes\[0\] is \(60.0, 1.5\)"),
        (8, [(-1.0, 1)], "of at least 0 here"),
        (8, [(60.0, 1), (30.0, 1)], r"changes\[1\] is \(30.0, 1\).*of at least 60 here"),
        (8, [(float("nan"), 1)], r"changes\[0\]"),
        (8, [60.0], r"changes\[0\] is 60.0"),
        (8, [("soon", 1)], r"changes\[0\]"),
        (8, [(60.0, -9), (70.0, 9)], "leave -1 workers at 60 s"),
        (8, [(60.0, -8)], "leave 0 workers at 60 s; there must be at least 1 in the end"),
        (-1, [(60.0, 8)], "Cluster.workers is -1"),
    ],
)
def test_changes_that_cannot_be_are_named(
    workers: Any, changes: Sequence[tuple[float, int]], says: str
) -> None:
    with pytest.raises(SettingError, match=says):
        Cluster(workers, changes=changes)
