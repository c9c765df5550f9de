"""A study with several objectives and a bound, on Ray."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ray import tune

import raytuner
from raytuner.cli.results import show
from raytuner.errors import MetricError, SettingError


def trainable() -> Callable[[dict[str, Any]], None]:
    """A function that Ray pickles by value: this module is not there in its processes."""

    def train(config: dict[str, Any]) -> None:
        width = config["width"]
        for t in range(1, 4):
            tune.report({"loss": 1 / width + 1 / t, "ms": width / 4, "mib": float(width)})

    return train


SPACE = {"width": tune.randint(1, 65), "lr": tune.loguniform(1e-4, 1e-1)}


def test_a_study_has_a_front_and_keeps_its_bound(
    ray_cluster: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = raytuner.tune(
        trainable(),
        SPACE,
        metric=["loss", "ms"],
        mode=["min", "min"],
        outcome_constraints=["mib <= 40"],
        num_samples=8,
        max_t=3,
        storage_path=tmp_path,
        name="several",
        seed=0,
        reuse_actors=True,
        progress=False,
    )
    assert study.pareto
    assert all(trial.value_of("mib") <= 40 for trial in study.pareto)
    assert {"loss", "ms", "mib"} <= set(study.results.columns)
    grown = study.hypervolume()
    assert grown["hypervolume"].is_monotonic_increasing
    given = study.hypervolume({"loss": 2.0, "ms": 20.0})
    assert given["hypervolume"].iloc[-1] > 0
    with pytest.raises(SettingError, match=r"\['loss', 'ms'\]"):
        study.hypervolume({"loss": 2.0})
    page = study.report().read_text()
    assert "Pareto front" in page
    again = raytuner.load(study.path).extend(2, trainable(), progress=False)
    assert len(again.trials) == 10
    assert again.history.goal == study.history.goal
    show.callback(study.path)  # type: ignore[misc]  # click's callback is optional to mypy
    assert "Pareto front" in capsys.readouterr().out


def test_bad_goals_are_refused_before_ray_is_asked(tmp_path: Path) -> None:
    def study(**more: Any) -> None:
        raytuner.tune(trainable(), SPACE, num_samples=1, storage_path=tmp_path, **more)

    with pytest.raises(MetricError, match="2 and 1"):
        study(metric=["loss", "ms"], mode=["min"])
    with pytest.raises(MetricError, match="'mib < 40'"):
        study(metric="loss", mode="min", outcome_constraints=["mib < 40"])
    searcher = raytuner.BoTorchSearch()
    with pytest.raises(SettingError, match="together with a searcher"):
        study(metric="loss", mode="min", outcome_constraints=["mib <= 40"], searcher=searcher)
    assert list(tmp_path.iterdir()) == []
