"""Conditions in a real Ray: what does not exist never reaches a trial."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import ray
from ray import tune

import raytuner
from raytuner import BoTorchSearch
from raytuner.errors import SpaceError

# Ray's workers cannot import the tests: they get the functions themselves.
ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # type: ignore[no-untyped-call]

pytestmark = pytest.mark.usefixtures("ray_cluster")

SPACE = {
    "optimizer": tune.choice(["sgd", "adam"]),
    "momentum": raytuner.when(tune.uniform(0, 1), optimizer="sgd"),
    "adam": raytuner.when({"beta": tune.uniform(0.8, 1), "eps": 1e-8}, optimizer="adam"),
    "lr": tune.loguniform(1e-4, 1),
}


def train(config: dict[str, Any]) -> None:
    """Fails if a key is there that should not be, or the other way round."""
    assert ("momentum" in config) == (config["optimizer"] == "sgd")
    assert ("adam" in config) == (config["optimizer"] == "adam")
    loss = (config["momentum"] - 0.9) ** 2 if "momentum" in config else config["adam"]["beta"]
    tune.report({"loss": loss + config["lr"]})


def test_in_a_tuner(tmp_path: Path) -> None:
    results = tune.Tuner(
        train,
        param_space=dict(SPACE),
        tune_config=tune.TuneConfig(
            metric="loss",
            mode="min",
            num_samples=10,
            search_alg=BoTorchSearch(seed=0),
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(storage_path=str(tmp_path), name="conditions", verbose=0),
    ).fit()
    assert results.num_errors == 0
    optimizers = {str((results[i].config or {})["optimizer"]) for i in range(len(results))}
    assert optimizers == {"sgd", "adam"}


def test_in_a_study_and_its_report(tmp_path: Path) -> None:
    study = raytuner.tune(
        train, SPACE, metric="loss", mode="min", num_samples=10, seed=0,
        storage_path=str(tmp_path), name="study", reuse_actors=True, progress=False,
    )  # fmt: skip
    assert {str(state) for state in study.results["state"]} == {"COMPLETED"}
    again = raytuner.load(tmp_path / "study")
    assert again.best is not None
    assert study.best is not None
    assert again.best.config == study.best.config
    assert set(again.best.config) in ({"optimizer", "momentum", "lr"}, {"optimizer", "adam", "lr"})
    mean, sd = again.predict(again.best.config)
    assert sd > 0
    assert abs(mean - again.best.value) < 1.0
    page = again.report(tmp_path / "report.html")
    assert "momentum" in Path(page).read_text(encoding="utf-8")


def multiply(config: dict[str, Any]) -> None:
    tune.report({"gain": config["a"] * config["b"]})


FACTORS = {"a": tune.randint(1, 9), "b": tune.randint(1, 9)}


def bounded(path: Path, rules: list[Any], n: int) -> raytuner.Study:
    return raytuner.tune(
        multiply, FACTORS, metric="gain", mode="max", num_samples=n, seed=0,
        parameter_constraints=rules, storage_path=str(path), name="study", reuse_actors=True,
        progress=False,
    )  # fmt: skip


def test_constraints_hold_through_an_extension(tmp_path: Path) -> None:
    study = bounded(tmp_path, ["a + b <= 9"], 6)
    wider = {**FACTORS, "b": tune.randint(1, 20)}
    study = raytuner.load(study.path).extend(6, multiply, param_space=wider, progress=False)
    assert len(study.results) == 12
    assert (study.results["config/a"] + study.results["config/b"] <= 9).all()
    study = study.extend(3, multiply, parameter_constraints=["a + b > 9"], progress=False)
    assert (study.results["config/a"] + study.results["config/b"] > 9)[12:].all()


def test_a_constraint_that_no_file_can_hold_is_given_again(tmp_path: Path) -> None:
    rules = [lambda config: config["a"] * config["b"] <= 30]
    loaded = raytuner.load(bounded(tmp_path, rules, 2).path)
    assert loaded.best is not None
    with pytest.raises(SpaceError, match="is a Python object"):
        loaded.extend(1, multiply)
    study = loaded.extend(
        2, multiply, param_space=FACTORS, parameter_constraints=rules, progress=False
    )
    assert (study.results["gain"] <= 30).all()
    assert len(study.results) == 4
