"""What holds whatever happens: random objectives, failures, schedulers."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ray import tune
from ray.tune.schedulers import (
    ASHAScheduler as RaysASHA,
)
from ray.tune.schedulers import (
    FIFOScheduler,
    HyperBandScheduler,
    MedianStoppingRule,
    TrialScheduler,
)
from ray.tune.search import BasicVariantGenerator, ConcurrencyLimiter

from raytuner import BoTorchSearch
from raytuner.history import TrialState
from raytuner.schedulers import ASHAScheduler
from raytuner.schedulers import HyperBandScheduler as OurHyperBand
from raytuner.simulate import (
    Cluster,
    Curve,
    EventKind,
    Settings,
    Simulation,
    simulate,
)

SPACE = {"x": tune.uniform(0, 1), "kind": tune.choice(["a", "b"])}
SCHEDULERS: dict[str, Callable[[], TrialScheduler]] = {
    "fifo": lambda: FIFOScheduler(),  # type: ignore[no-untyped-call]
    "ray's asha": lambda: RaysASHA(max_t=9, grace_period=1, reduction_factor=3),
    "our asha": lambda: ASHAScheduler(max_t=9, seed=0),
    "our promotion": lambda: ASHAScheduler(max_t=9, variant="promotion", seed=0),
    "our hyperband": lambda: OurHyperBand(max_t=9, variant="promotion", seed=0),
    "median": lambda: MedianStoppingRule(grace_period=1, min_samples_required=2),
    "hyperband": lambda: HyperBandScheduler(max_t=9),
}


def objective(config: dict[str, Any]) -> Curve:
    rng = random.Random(str(config))
    values = [config["x"] + rng.random() / t for t in range(1, rng.randint(2, 12))]
    fails_at = rng.choice([None, None, None, 1, 4])
    return Curve(values, [rng.choice([0.0, 0.5, 1.0, 7.0]) for _ in values], fails_at, 1)


@st.composite
def clusters(draw: st.DrawFn) -> Cluster:
    """A cluster that mostly gains and loses workers, and may lose all for a while."""
    workers = left = draw(st.integers(1, 5))
    changes: list[tuple[float, int]] = []
    for time in sorted(draw(st.lists(st.sampled_from([0.0, 1.0, 2.0, 2.5, 9.0, 20.0])))):
        changes.append((time, draw(st.integers(-left, 3))))
        left += changes[-1][1]
    if left == 0:
        changes.append((30.0, 1))
    return Cluster(workers, draw(st.sampled_from([0.0, 2.0])), changes)


def check(simulation: Simulation, n: int | None) -> None:
    times = [event.time for event in simulation.events]
    assert times == sorted(times), "the clock goes back"
    assert n is None or len(simulation.trials) == n, "a trial is lost"
    assert sum(simulation.counts.values()) == len(simulation.trials)
    spans = simulation._training.reshape(-1, 2)
    assert (spans[:, 0] < spans[:, 1]).all()
    assert spans.max(initial=0.0) <= simulation.end_s
    # The cut at 1 hides nothing: worker-seconds are counted once.
    available = simulation.worker_hours() * 3600
    assert (spans[:, 1] - spans[:, 0]).sum() <= available * (1 + 1e-9) + 1e-9
    for begin, workers in dict(simulation.capacity).items():
        assert ((spans[:, 0] <= begin) & (begin < spans[:, 1])).sum() <= workers
    ends = (EventKind.ENDED, EventKind.FAILED)
    for trial in simulation.trials:
        mine = [event for event in simulation.events if event.trial == trial.number]
        assert mine[0].kind is EventKind.PROPOSED
        assert sum(event.kind in ends for event in mine) == (0 if trial.state.is_live else 1)
        if not trial.state.is_live:
            assert mine[-1].kind in ends, "something happened to a trial that had ended"
        assert trial.attempts >= sum(event.kind is EventKind.STARTED for event in mine)
        steps = [t for t, _ in trial.values]
        assert steps == sorted(set(steps))


@settings(max_examples=60)
@given(
    cluster=clusters(),
    scheduler=st.sampled_from(sorted(set(SCHEDULERS) - {"hyperband"})),
    n=st.integers(1, 12),
    max_failures=st.sampled_from([0, 1, -1]),
    every=st.sampled_from([None, 1, 3]),
    limit=st.sampled_from([None, 1, 4]),
    seed=st.integers(0, 100),
)
def test_every_search_ends_and_loses_nothing(
    cluster: Cluster,
    scheduler: str,
    n: int,
    max_failures: int,
    every: int | None,
    limit: int | None,
    seed: int,
) -> None:
    first, second = (
        simulate(
            objective,
            SPACE,
            scheduler=SCHEDULERS[scheduler](),
            metric="loss",
            mode="min",
            num_samples=n,
            cluster=cluster,
            max_failures=max_failures,
            max_concurrent_trials=limit,
            settings=Settings(checkpoint_every=every),
            seed=seed,
        )
        for _ in range(2)
    )
    check(first, n)
    assert first.ended == "finished"
    assert not any(trial.state.is_live for trial in first.trials)
    assert first == second


@settings(max_examples=20)
@given(cluster=clusters(), budget=st.floats(0.1, 100), seed=st.integers(0, 100))
def test_a_time_budget_always_ends_the_search(cluster: Cluster, budget: float, seed: int) -> None:
    def never_done(config: dict[str, Any]) -> Curve:
        return Curve(1.0 / t for t in itertools.count(1))

    simulation = simulate(
        never_done,
        SPACE,
        metric="loss",
        mode="min",
        num_samples=20,
        cluster=cluster,
        time_budget_s=budget,
        max_failures=-1,
        seed=seed,
    )
    check(simulation, None)
    assert (simulation.ended, simulation.end_s) == ("time_budget", budget)


@pytest.mark.parametrize("scheduler", ["ray's asha", "our asha", "our promotion", "hyperband"])
def test_every_scheduler_with_the_bayesian_searcher(scheduler: str) -> None:
    def curve(config: dict[str, Any]) -> Curve:
        return Curve([(config["x"] - 0.3) ** 2 + 1 / t for t in range(1, 10)], 10.0)

    chosen: TrialScheduler = SCHEDULERS[scheduler]()
    simulation = simulate(
        curve,
        SPACE,
        searcher=ConcurrencyLimiter(BoTorchSearch(seed=0), 4),
        scheduler=chosen,
        metric="loss",
        mode="min",
        num_samples=12,
        cluster=Cluster(workers=4),
        seed=0,
    )
    check(simulation, 12)
    assert simulation.ended == "finished"
    assert simulation.counts[TrialState.COMPLETED] >= 1
    if scheduler in ("hyperband", "our promotion"):
        assert any(event.kind is EventKind.PAUSED for event in simulation.events)
    if "asha" in scheduler:
        assert simulation.counts[TrialState.STOPPED_EARLY] >= 1


def in_steps(config: dict[str, Any]) -> list[dict[str, float]]:
    """Nine reports, of 1,000 steps each."""
    return [{"loss": config["x"] + 1 / t, "steps": 1000.0 * t} for t in range(1, 10)]


SCHEDULED: dict[str, tuple[TrialScheduler, dict[str, Any]]] = {
    "iterations, below the curve's end": (ASHAScheduler(max_t=4, seed=0), {}),
    "steps": (ASHAScheduler("steps", max_t=9000, grace_period=1000, seed=0), {}),
    "Ray's, in steps": (RaysASHA("steps", max_t=4000, grace_period=1000), {}),
    "a criterion": (FIFOScheduler(), {"stop": {"steps": 2000}}),  # type: ignore[no-untyped-call]
    "a criterion beside a scheduler": (ASHAScheduler(max_t=9), {"stop": {"steps": 6000}}),
    "a budget": (ASHAScheduler("steps", max_t=9000, grace_period=1000), {"time_budget_s": 12.5}),
}


@pytest.mark.parametrize(("scheduler", "more"), SCHEDULED.values(), ids=SCHEDULED)
def test_a_trial_ended_as_the_searchers_record_says(
    scheduler: TrialScheduler, more: dict[str, Any]
) -> None:
    searcher = BoTorchSearch(seed=0)
    simulation = simulate(
        in_steps,
        SPACE,
        searcher=searcher,
        scheduler=deepcopy(scheduler),
        metric="loss",
        mode="min",
        num_samples=12,
        cluster=Cluster(workers=4),
        **more,
    )
    assert len(simulation.trials) == len(searcher.history)
    for theirs, ours in zip(searcher.history.trials, simulation.trials, strict=True):
        if ours.ended_at is not None:
            assert theirs.state is ours.state
        values = [value for _, value in theirs.values]
        assert values == [value for _, value in ours.values]
    if "time_budget_s" not in more:
        assert searcher.history.counts == simulation.counts


@pytest.mark.parametrize("ours", [True, False])
def test_beside_another_searcher_the_schedulers_unit_counts(ours: bool) -> None:
    """Nine reports, of 1,000 steps each."""
    rule: dict[str, Any] = {"max_t": 4000, "grace_period": 1000, "reduction_factor": 2}
    simulation = simulate(
        in_steps,
        SPACE,
        scheduler=ASHAScheduler("steps", **rule) if ours else RaysASHA("steps", **rule),
        metric="loss",
        mode="min",
        num_samples=12,
        cluster=Cluster(workers=4),
        seed=0,
    )
    reached = [len(trial.values) for trial in simulation.trials]
    assert simulation.counts[TrialState.COMPLETED] == reached.count(4) > 0
    assert simulation.counts[TrialState.STOPPED_EARLY] == 12 - reached.count(4) > 0


def test_a_generator_of_the_users_with_a_grid() -> None:
    simulation = simulate(
        lambda config: [config["a"] * config["x"]],
        {"a": tune.grid_search([1, 2, 3]), "x": tune.uniform(0, 1)},
        searcher=BasicVariantGenerator(max_concurrent=2, random_state=1),
        metric="loss",
        mode="min",
        num_samples=2,
        cluster=Cluster(workers=8),
    )
    assert len(simulation.trials) == 6
    assert simulation.end_s == 3.0  # two at a time
    assert {trial.trial_id for trial in simulation.trials} == {f"00000_{i:05d}" for i in range(6)}
