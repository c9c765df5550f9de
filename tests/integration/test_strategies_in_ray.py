"""Strategies in studies on a real Ray."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import pytest
import ray
from ray import tune

import raytuner
from raytuner.errors import SettingError
from raytuner.history import Origin
from raytuner.study.study import Study

# Ray's workers cannot import the tests: they get the functions themselves.
ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # type: ignore[no-untyped-call]

pytestmark = pytest.mark.usefixtures("ray_cluster")


def train(config: dict[str, Any]) -> None:
    tune.report({"loss": (config["x"] - 0.3) ** 2})


def search(folder: Path, **settings: Any) -> Study:
    return raytuner.tune(
        train, {"x": tune.uniform(0, 1)}, metric="loss", mode="min", seed=0, storage_path=folder,
        name="study", reuse_actors=True, progress=False, **settings,
    )  # fmt: skip


def test_a_model_thinks_in_a_process_of_its_own() -> None:
    rules = ["x + y <= 1"]
    space = {"x": tune.uniform(0, 1), "y": tune.uniform(0, 1)}
    searcher = raytuner.BoTorchSearch(
        space, "loss", "min", strategy="hedge", parameter_constraints=rules, seed=0, n_initial=3
    )
    deadline = time.monotonic() + 200
    number = 0
    # Trials end faster here than replies come, so that these are stale.
    while not {Origin.BAYES, Origin.STALE} & {trial.origin for trial in searcher.history.trials}:
        assert time.monotonic() < deadline
        config: Any = searcher.suggest(f"trial_{number}")
        searcher.on_trial_complete(
            f"trial_{number}", {"loss": config["x"], "training_iteration": 1}
        )
        number += 1
        time.sleep(2)
    state = searcher._search().source().state_dict()
    assert state is not None
    assert len(state["nominated"]) >= 1  # it came back from the process
    searcher.close()


def test_a_study_goes_on_as_it_was_searched(tmp_path: Path) -> None:
    study = search(tmp_path, num_samples=3, strategy="random")
    study = raytuner.load(study.path).extend(3, train, progress=False)
    assert [trial.origin for trial in study.trials] == [Origin.RANDOM] * 6


def test_a_grid_is_all_there_is(tmp_path: Path) -> None:
    study = search(tmp_path, num_samples=20, strategy="grid", points_to_evaluate=[{"x": 0.3}])
    assert sorted(study.results["config/x"]) == [0, 0.25, 0.3, 0.5, 0.75, 1]
    assert not study.interrupted


def test_it_is_given_in_one_place(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="strategy was given together with a searcher"):
        search(tmp_path, num_samples=1, strategy="grid", searcher=raytuner.BoTorchSearch())
