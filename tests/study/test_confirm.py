"""Training the best few again."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ray import tune

import raytuner
from raytuner.errors import HistoryError, SettingError
from raytuner.history import History, TrialState
from raytuner.search.restore import RECORD_FILE
from raytuner.space import Float, Space
from raytuner.study.confirm import ListedConfigs


def trainable() -> Callable[[dict[str, Any]], None]:
    """Trial 3, x = 0.3, was lucky; x = 0.1 is the best by itself."""

    def train(config: dict[str, Any]) -> None:
        luck = (config.get("seed", 0) % 7) / 100 if config.get("seed") else 0.0
        for t in range(1, 3):
            tune.report({"loss": config["x"] + 1 / t + luck, "x": config["x"]})

    return train


def study_of(folder: Path, values: list[float]) -> raytuner.Study:
    """A study whose trials, x = 0, 0.1, ..., came to the values; those that are NaN failed."""
    path = folder / "study"
    path.mkdir()
    history = History(Space({"x": Float(0, 1)}), metric="loss", mode="min", path=path / RECORD_FILE)
    history.max_t = 2
    for i, value in enumerate(values):
        history.add(str(i), {"x": i / 10})
        if not math.isnan(value):
            history.report(str(i), 2, value)
        history.end(str(i), TrialState.FAILED if math.isnan(value) else TrialState.COMPLETED)
    history.close()
    return raytuner.load(path)


def test_the_luckiest_does_not_win(ray_cluster: None, tmp_path: Path) -> None:
    study = study_of(tmp_path, [math.nan, 1.1, 1.2, 0.9])
    found = study.confirm(k=2, repeats=2, trainable=trainable(), seed_key="seed", seed=1)
    assert [c.trial.trial_id for c in found] == ["1", "3"]
    assert all(len(c.values) == 2 for c in found)
    # The seeds are the same for both.
    luck = [[round(v - 0.5 - c.trial.config["x"], 6) for v in c.values] for c in found]
    assert luck[0] == luck[1]
    assert found[0].standard_error == pytest.approx(abs(luck[0][0] - luck[0][1]) / 2)
    assert study.best is not None
    assert study.best.trial_id == "3"  # the search's own
    again = raytuner.load(study.path)
    assert again.confirmed == found
    assert len(again.trials) == 4


def test_bad_input(tmp_path: Path) -> None:
    study = study_of(tmp_path, [1.0])
    with pytest.raises(SettingError, match="k is 0"):
        study.confirm(k=0, trainable=trainable())
    with pytest.raises(SettingError, match=r"seed_key is 'x'.*of the search"):
        study.confirm(seed_key="x", trainable=trainable())
    (tmp_path / "other").mkdir()
    with pytest.raises(HistoryError, match="no completed trial"):
        study_of(tmp_path / "other", [math.nan]).confirm(trainable=trainable())


def test_repeats_of_earlier_calls_are_kept(ray_cluster: None, tmp_path: Path) -> None:
    study = study_of(tmp_path, [1.0, 2.0])
    for k in (2, 1):
        found = study.confirm(k=k, repeats=1, trainable=trainable())
    assert [(c.trial.trial_id, c.values) for c in found] == [("0", (0.5, 0.5)), ("1", (0.6,))]


def test_configurations_are_handed_out_in_order() -> None:
    configs = [{"x": 0.0}, {"x": 0.0}, {"x": 0.1}]
    searcher = ListedConfigs(configs)
    assert [searcher.suggest(str(i)) for i in range(4)] == [*configs, ListedConfigs.FINISHED]
