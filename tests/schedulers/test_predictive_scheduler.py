"""PredictiveTerminationScheduler with real forecasts."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Any

import pytest
import ray
from crossing_curves import MAX_T, SPACE, loss_at, run
from ray import tune

import raytuner
from raytuner import BoTorchSearch, PredictiveTerminationScheduler
from raytuner.errors import SettingError
from raytuner.history import TrialState


def train(config: dict[str, Any]) -> None:
    for t in range(1, MAX_T + 1):
        tune.report({"loss": loss_at(config, t)})


def test_it_saves_most_of_the_work_and_loses_no_clear_winner() -> None:
    searcher = BoTorchSearch(background=False, seed=0)
    scheduler = PredictiveTerminationScheduler(max_t=MAX_T)
    simulation = run(scheduler, searcher, 40)
    trials = searcher.history.trials
    stopped = [t for t in trials if t.state is TrialState.STOPPED_EARLY]
    assert len(stopped) >= 10
    assert simulation.resource_spent < 0.8 * 40 * MAX_T
    best = searcher.history.best
    assert best is not None
    assert best.state is TrialState.COMPLETED
    finals = [loss_at(t.config, MAX_T) for t in stopped]
    assert min(finals) > best.value - 0.005  # losses range over 0.5
    for trial in stopped:
        assert "chance of becoming the best" in trial.reason


def test_beside_a_searcher_without_a_record_it_stops_by_rank_and_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    scheduler = PredictiveTerminationScheduler(max_t=MAX_T)
    with caplog.at_level(logging.WARNING):
        simulation = run(scheduler, None, 12)
    assert simulation.counts[TrialState.STOPPED_EARLY] >= 3
    warnings = [r.message for r in caplog.records if "stops trials by rank" in r.message]
    assert len(warnings) == 1
    assert "BasicVariantGenerator keeps no record" in warnings[0]


@pytest.mark.usefixtures("ray_cluster")
def test_in_a_real_ray_beside_a_searcher_that_thinks_in_a_process(tmp_path: Path) -> None:
    for module in (__name__, "crossing_curves"):  # Ray's workers cannot import the tests
        ray.cloudpickle.register_pickle_by_value(sys.modules[module])  # type: ignore[no-untyped-call]
    study = raytuner.tune(
        train,
        SPACE,
        metric="loss",
        mode="min",
        num_samples=14,
        scheduler=PredictiveTerminationScheduler(max_t=MAX_T),
        storage_path=tmp_path,
        seed=0,
        reuse_actors=True,
        progress=False,
    )
    stopped = [t for t in study.history.trials if t.state is TrialState.STOPPED_EARLY]
    assert study.history.counts.total() == 14
    assert stopped
    assert all("chance of becoming the best" in trial.reason for trial in stopped)
    assert study.best is not None
    assert study.best.state is TrialState.COMPLETED


@pytest.mark.parametrize("chance", [1.0])
def test_a_chance_that_is_none(chance: Any) -> None:
    with pytest.raises(SettingError, match=r"least_chance is .* must be a probability below 1"):
        PredictiveTerminationScheduler(least_chance=chance)
