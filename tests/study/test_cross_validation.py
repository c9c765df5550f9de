"""Cross-validation as a trial."""

from __future__ import annotations

import math
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ray import tune

import raytuner
from raytuner.errors import SettingError
from raytuner.history import TrialState
from raytuner.study.cross_validation import means

FOLDS = 4


@pytest.mark.parametrize("folds", [1, 2.0, True])
def test_folds_are_a_number(folds: Any) -> None:
    with pytest.raises(SettingError, match="folds is"):
        raytuner.cross_validate(folds)


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=20))
def test_the_standard_error_is_that_of_a_mean(values: list[float]) -> None:
    report = means([{"loss": value} for value in values])
    assert report["loss"] == pytest.approx(math.fsum(values) / len(values), abs=1e-6)
    mean = sum(values) / len(values)
    spread = math.fsum((value - mean) ** 2 for value in values)
    expected = math.sqrt(spread / (len(values) - 1) / len(values))
    assert report["loss_se"] == pytest.approx(expected, abs=1e-6)


def test_a_fold_that_fails_is_told_as_it_is() -> None:
    report = means([{"loss": 1.0}, {"loss": math.inf}])
    assert report["loss"] == math.inf
    assert report["loss_se"] is None
    assert means([{"loss": 1.0}])["loss_se"] is None


def test_a_study_finds_the_function_again() -> None:
    @raytuner.cross_validate(folds=2)
    def train(config: dict[str, Any], fold: int) -> dict[str, float]:
        """Its own words."""
        return {"loss": 1.0}

    assert train.__name__ == "train"
    assert train.__module__ == __name__
    assert train.__doc__ == "Its own words."


def test_folds_are_the_resource(ray_cluster: None, tmp_path: Path) -> None:
    evaluated = tmp_path / "evaluated"
    evaluated.mkdir()

    @raytuner.cross_validate(folds=FOLDS)
    def train(config: dict[str, Any], fold: int) -> dict[str, float]:
        with (evaluated / str(config["x"])).open("a") as file:
            file.write(f"{fold} ")
        if config["x"] == "dies" and len((evaluated / "dies").read_text().split()) == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        if config["x"] == "odd" and fold == 1:
            return {"accuracy": 1.0}
        return {"loss": {"bad": 9.0, "worse": 10.0}.get(config["x"], 1.0) + fold}

    study = raytuner.tune(
        train,
        {"x": tune.choice(["good", "dies", "odd", "bad", "worse"])},
        metric="loss",
        mode="min",
        standard_error="loss_se",
        num_samples=5,
        max_t=FOLDS,
        scheduler="asha",
        max_concurrent_trials=1,
        points_to_evaluate=[{"x": x} for x in ("good", "dies", "odd", "bad", "worse")],
        storage_path=tmp_path,
        name="study",
        seed=0,
        progress=False,
    )
    trials = {trial.config["x"]: trial for trial in study.trials}
    assert [value for _, value in trials["good"].values] == [1.0, 1.5, 2.0, 2.5]
    errors = trials["good"].others["loss_se"]
    assert [round(error, 4) for _, error in errors] == [0.5, 0.5774, 0.6455]
    # It went on with the fold in which it died.
    assert trials["dies"].state is TrialState.COMPLETED
    assert trials["dies"].values == trials["good"].values
    assert (evaluated / "dies").read_text().split() == ["0", "1", "2", "2", "3"]
    assert trials["odd"].state is TrialState.FAILED
    assert "on fold 1 the function returned {'accuracy': 1.0}" in trials["odd"].reason
    assert "['loss']" in trials["odd"].reason
    assert trials["worse"].state is TrialState.STOPPED_EARLY
    assert (evaluated / "worse").read_text().split() == ["0"]
