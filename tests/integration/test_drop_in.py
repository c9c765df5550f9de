"""The two lines that change in a script of Ray Tune's, on a real cluster."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from integration_driver import MAX_T, loss, train
from ray import tune
from ray.tune.schedulers import ASHAScheduler as RaysASHA

import raytuner
from raytuner.history import History, TrialState
from raytuner.search.restore import RECORD_FILE

pytestmark = pytest.mark.usefixtures("ray_cluster")

EVERY_DOMAIN: dict[str, Any] = {
    "x": tune.uniform(-1, 1),
    "floats": {
        "quniform": tune.quniform(0.0, 1.0, 0.25),
        "loguniform": tune.loguniform(1e-4, 1e-1),
        "qloguniform": tune.qloguniform(1e-2, 1.0, 1e-2),
        "randn": tune.randn(3, 2),
        "qrandn": tune.qrandn(3, 2, 0.5),
    },
    "integers": [
        tune.randint(1, 5),
        {"qrandint": tune.qrandint(2, 12, 2), "lograndint": tune.lograndint(1, 100)},
        tune.qlograndint(2, 64, 2),
    ],
    "choice": tune.choice(["relu", "tanh", None]),
    "ordered": tune.choice([16, 32, 64]),
    "shapes": tune.choice([(8,), (8, 8)]),
    "constant": {"epochs": 3, "name": "net"},
}
_SAMPLES = 5


def run(folder: Path, scheduler: Any, **settings: Any) -> tuple[list[tune.Result], History]:
    """Ray's results and the record."""
    search = raytuner.BoTorchSearch(seed=0, n_initial=3)
    grid = tune.Tuner(
        train,
        param_space=EVERY_DOMAIN,
        tune_config=tune.TuneConfig(
            metric="loss",
            mode="min",
            num_samples=_SAMPLES,
            search_alg=search,
            scheduler=scheduler,
            reuse_actors=True,
            max_concurrent_trials=2,
        ),
        run_config=tune.RunConfig(
            name="experiment", storage_path=str(folder), verbose=0, **settings
        ),
    ).fit()
    return [grid[i] for i in range(len(grid))], search.history


def check(results: list[tune.Result], record: History, folder: Path) -> None:
    """The record agrees with what Ray says, in memory and read back."""
    assert len(results) == len(record) == _SAMPLES
    assert record.live() == ()
    assert record.path == folder / "experiment" / RECORD_FILE
    for result in results:
        metrics = result.metrics or {}
        trial = record[metrics["trial_id"]]
        assert trial.config == result.config
        record.space.validate(trial.config)
        assert (trial.t, trial.value) == (metrics["training_iteration"], metrics["loss"])
        assert trial.values == tuple((t, loss(trial.config, t)) for t in range(1, int(trial.t) + 1))
        full = trial.t == MAX_T
        assert trial.state is (TrialState.COMPLETED if full else TrialState.STOPPED_EARLY)
    study = raytuner.load(folder / "experiment")
    assert not study.interrupted
    # Ray's placeholders stand for tuples and the like in what the searcher sees.
    assert repr(study.trials) == repr(record.trials)
    best = record.best
    assert best is not None
    finals = [trial.value for trial in record.trials if trial.t == MAX_T]
    assert best.value == min(finals)


def test_with_our_scheduler(tmp_path: Path) -> None:
    results, record = run(tmp_path, raytuner.ASHAScheduler(max_t=MAX_T, seed=0))
    check(results, record, tmp_path)
    assert record.max_t == MAX_T
    stopped = [t for t in record.trials if t.state is TrialState.STOPPED_EARLY]
    assert stopped
    assert all("rank" in trial.reason for trial in stopped)


def test_with_rays_scheduler_which_says_nothing(tmp_path: Path) -> None:
    results, record = run(tmp_path, RaysASHA(max_t=MAX_T, grace_period=1, reduction_factor=3))
    check(results, record, tmp_path)
    assert record.max_t is None
    assert record.counts[TrialState.STOPPED_EARLY] > 0


def test_without_early_stopping(tmp_path: Path) -> None:
    results, record = run(tmp_path, None, stop={"training_iteration": MAX_T})
    check(results, record, tmp_path)
    assert record.max_t == MAX_T
    assert record.counts == {TrialState.COMPLETED: _SAMPLES}
    assert all(math.isfinite(trial.value) for trial in record.trials)
