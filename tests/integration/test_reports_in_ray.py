"""Reports on a real cluster: through Ray's wrappers, without a name, without the metric."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import ray
from ray import tune

import raytuner
from raytuner import ASHAScheduler, BoTorchSearch
from raytuner.errors import MetricError
from raytuner.history import TrialState

# Ray's workers cannot import the tests: they get the functions themselves.
ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # type: ignore[no-untyped-call]

pytestmark = pytest.mark.usefixtures("ray_cluster")

SPACE: dict[str, Any] = {"x": tune.uniform(0, 1)}


def bare(config: dict[str, Any]) -> float:
    noise = 0.01 * config.get("__trial_index__", 0)
    return float(config["x"]) + noise


def rare(config: dict[str, Any]) -> None:
    for epoch in range(1, 5):
        tune.report({"loss": config["x"]} if epoch % 2 == 0 else {"train_loss": config["x"]})


def fitted(trainable: Any, folder: Path, search: Any, scheduler: Any = None, **more: Any) -> Any:
    settings = {"mode": "min", "num_samples": 4, "reuse_actors": True, **more}
    return tune.Tuner(
        trainable,
        param_space=SPACE,
        tune_config=tune.TuneConfig(search_alg=search, scheduler=scheduler, **settings),
        run_config=tune.RunConfig(storage_path=str(folder), verbose=0),
    ).fit()


def test_a_bare_number_in_a_study_and_beside_a_scheduler(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"mode": "min", "num_samples": 2, "progress": False, "seed": 0}
    study = raytuner.tune(
        bare, SPACE, storage_path=tmp_path, max_t=1, reuse_actors=True, **settings
    )
    assert study.counts == {TrialState.COMPLETED: 2}
    best = study.best
    assert best is not None
    assert best.value == best.config["x"]


def test_a_metric_that_only_some_reports_have_and_one_that_none_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUNE_DISABLE_STRICT_METRIC_CHECKING", "1")
    search = BoTorchSearch(seed=0, background=False)
    results = fitted(rare, tmp_path / "rare", search, ASHAScheduler(max_t=9), metric="loss")
    assert (len(results), results.num_errors) == (4, 0)
    record = search.history
    assert set(record.counts) <= {TrialState.COMPLETED, TrialState.STOPPED_EARLY}
    assert {t for trial in record.trials for t, _ in trial.values} == {2, 4}

    search = BoTorchSearch(seed=0, background=False)
    with pytest.raises(MetricError, match="never reported the metric 'los'; it reported 'loss'"):
        fitted(rare, tmp_path / "none", search, metric="los", num_samples=20)
    assert 3 <= len(search.history) <= 6
