"""FreezeThawScheduler with real forecasts."""

from __future__ import annotations

import json
import logging
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import ray
from crossing_curves import MAX_T, SPACE, loss_at, run
from ray import tune

import raytuner
from raytuner import BoTorchSearch, FreezeThawScheduler, PredictiveTerminationScheduler
from raytuner.errors import MetricError
from raytuner.history import TrialState
from raytuner.simulate import Cluster, Curve, EventKind, simulate


def train(config: dict[str, Any]) -> None:
    first = 1
    checkpoint = tune.get_checkpoint()
    if checkpoint is not None:
        with checkpoint.as_directory() as folder:
            first = json.loads(Path(folder, "t").read_text()) + 1
    for t in range(first, MAX_T + 1):
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "t").write_text(json.dumps(t))
            report = {"loss": loss_at(config, t), "epoch": t}
            tune.report(report, checkpoint=tune.Checkpoint.from_directory(folder))


def test_it_pauses_most_and_trains_those_that_win() -> None:
    searcher = BoTorchSearch(background=False, seed=0)
    simulation = run(FreezeThawScheduler(max_t=MAX_T), searcher, 40)
    trials = searcher.history.trials
    assert not searcher.history.live()
    assert simulation.resource_spent < 0.8 * 40 * MAX_T
    kinds = Counter((event.trial, event.kind) for event in simulation.events)
    paused = {trial for trial, kind in kinds if kind is EventKind.PAUSED}
    resumed = {trial for trial in paused if kinds[trial, EventKind.STARTED] > 1}
    assert len(paused) >= 10
    assert 1 <= len(resumed) < len(paused)
    best = searcher.history.best
    assert best is not None
    assert best.state is TrialState.COMPLETED
    assert best.value is not None
    stopped = [t for t in trials if t.state is TrialState.STOPPED_EARLY]
    assert min(loss_at(t.config, MAX_T) for t in stopped) > best.value - 0.005
    for trial in stopped:
        assert "chance of becoming the best" in trial.reason


def test_within_a_budget_it_is_ahead_of_stopping_by_the_same_forecasts() -> None:
    """Time for six full trainings on each of four workers; three seeds."""
    found: dict[type, list[float]] = {}
    for kind in (FreezeThawScheduler, PredictiveTerminationScheduler):
        for seed in range(3):
            searcher = BoTorchSearch(background=False, seed=seed)
            run(kind(max_t=MAX_T), searcher, -1, time_budget_s=6.0 * MAX_T)
            best = searcher.history.best
            assert best is not None
            found.setdefault(kind, []).append(best.value or 0.0)
    ours, stopping = (sorted(losses) for losses in found.values())
    assert ours[1] <= stopping[1] + 0.002  # the medians; losses range over 0.5


def test_where_a_start_takes_as_long_as_a_training_it_pauses_less_often() -> None:
    resumed = dict[float, int]()
    for start_s in (0.5, float(MAX_T)):
        resumed[start_s] = 0
        for seed in (1, 2, 3):
            scheduler = FreezeThawScheduler(max_t=MAX_T)
            searcher = BoTorchSearch(background=False, seed=seed)
            simulation = run(scheduler, searcher, 24, cluster=Cluster(4, start_s))
            kinds = Counter(event.kind for event in simulation.events)
            resumed[start_s] += kinds[EventKind.STARTED] - len(simulation.trials)
            assert scheduler.start_s == start_s  # as measured
    assert resumed[MAX_T] < resumed[0.5] / 2


def test_equal_seeds_give_equal_studies() -> None:
    one, other = (
        run(FreezeThawScheduler(max_t=MAX_T), BoTorchSearch(background=False, seed=1), 14)
        for _ in range(2)
    )
    assert one == other


def test_beside_a_searcher_without_a_record_it_promotes_by_rank_and_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING):
        simulation = run(FreezeThawScheduler(max_t=MAX_T), None, 12)
    assert simulation.counts[TrialState.STOPPED_EARLY] >= 3
    warnings = [r.message for r in caplog.records if "promotes trials by rank" in r.message]
    assert len(warnings) == 1
    assert "BasicVariantGenerator keeps no record" in warnings[0]


def test_several_objectives_are_not_forecast() -> None:
    searcher = BoTorchSearch(
        SPACE, metric=["loss", "size"], mode=["min", "min"], background=False, seed=0
    )
    with pytest.raises(MetricError, match="FreezeThawScheduler forecasts a single objective"):
        simulate(
            lambda config: Curve([{"loss": 1.0, "size": 2.0}] * MAX_T, seconds=1.0),
            searcher=searcher,
            scheduler=FreezeThawScheduler(max_t=MAX_T),
            num_samples=2,
            cluster=Cluster(workers=1),
        )


@pytest.mark.usefixtures("ray_cluster")
def test_in_a_real_ray_trials_go_on_from_their_checkpoints(tmp_path: Path) -> None:
    for module in (__name__, "crossing_curves"):  # Ray's workers cannot import the tests
        ray.cloudpickle.register_pickle_by_value(sys.modules[module])  # type: ignore[no-untyped-call]
    study = raytuner.tune(
        train,
        SPACE,
        metric="loss",
        mode="min",
        num_samples=9,
        scheduler="freeze-thaw",
        max_t=9,
        storage_path=tmp_path,
        seed=0,
        progress=False,
    )
    history = study.history
    assert history.counts.total() == 9
    assert not history.live()
    stopped = [t for t in history.trials if t.state is TrialState.STOPPED_EARLY]
    assert stopped
    for trial in history.trials:
        # Each epoch was trained once, wherever the trial was paused.
        assert [t for t, _ in trial.values] == list(range(1, len(trial.values) + 1))
        assert [loss for _, loss in trial.values] == pytest.approx(
            [loss_at(trial.config, int(t)) for t, _ in trial.values]
        )
    assert study.best is not None
    assert study.best.state is TrialState.COMPLETED
    assert study.history.get_meta("settings")["scheduler"] == "freeze-thaw"
    # Its name is in the record: nobody has to give it again.
    assert len(study.extend(2, train, progress=False).trials) == 11
