"""The cases that Ray tests its own searchers with, held to BoTorchSearch.

They are some of ``python/ray/tune/tests/test_searchers.py`` in Ray's repository: objectives that
are not finite, trials of another experiment, save and restore. The others are in
``test_botorch_search.py``, ``test_initial.py`` and ``test_missing_metrics.py``.
"""

from __future__ import annotations

import math
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from ray import tune

from raytuner import BoTorchSearch
from raytuner.errors import RaytunerWarning, SpaceError
from raytuner.history import TrialState

SPACE: dict[str, Any] = {"report": tune.uniform(0.0, 5.0)}


def value(x: float) -> float:
    """Not finite in three fifths of the space."""
    for bound, bad in ((4, math.inf), (3, -math.inf), (2, math.nan)):
        if x > bound:
            return bad
    return x or 0.1


def make(**settings: Any) -> BoTorchSearch:
    given: dict[str, Any] = {"metric": "metric", "mode": "max", "background": False, "seed": 0}
    return BoTorchSearch(SPACE, **given | settings)


def test_values_that_are_not_finite(ray_cluster: None, tmp_path: Path) -> None:
    """A config with a list and a constant, NaN and both infinities, and Ray's own saving."""

    def objective(config: dict[str, Any]) -> None:
        x = config["report"]
        bad = math.inf if x > 4 else -math.inf if x > 3 else math.nan
        tune.report({"_metric": bad if x > 2 else x or 0.1})

    search: Any = BoTorchSearch(seed=0, background=False)
    with pytest.warns(RaytunerWarning, match=r"list is \[1, 2, 3\]; to search it"):
        tuner = tune.Tuner(
            objective,
            param_space={**SPACE, "list": [1, 2, 3], "mixed": [1, tune.uniform(2, 3), 4], "num": 4},
            tune_config=tune.TuneConfig(
                search_alg=search,
                metric="_metric",
                mode="max",
                num_samples=12,
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(storage_path=str(tmp_path), verbose=0),
        )
    result = tuner.fit()
    assert result.num_errors == 0
    record = search.history
    best = record.best
    assert best.config["report"] <= 2.0
    assert best.config["list"] == [1, 2, 3]
    assert best.config["num"] == 4
    first, second, third = best.config["mixed"]
    assert (first, third) == (1, 4)
    assert 2 <= second < 3
    states = {trial.state for trial in record.trials if trial.config["report"] > 2}
    assert states == {TrialState.FAILED}


def test_it_stays_out_of_where_values_are_not_finite() -> None:
    search = make()
    found = []
    for number in range(25):
        config: Any = search.suggest(str(number))
        found.append(config["report"])
        result = {"metric": value(found[-1]), "training_iteration": 1}
        search.on_trial_complete(str(number), result)
    assert sum(x <= 2 for x in found[10:]) >= 10
    best = search.history.best
    assert best is not None
    assert best.value > 1.9


def test_trials_of_another_experiment(ray_cluster: None, tmp_path: Path) -> None:
    """``add_evaluated_trials``, which Ray's base class brings, in each of its forms."""
    analysis = tune.run(
        lambda config: tune.report({"metric": config["report"]}),
        config=SPACE,
        metric="metric",
        mode="max",
        num_samples=4,
        reuse_actors=True,
        storage_path=str(tmp_path),
        verbose=0,
    )
    for given, count in ((analysis, 4), (analysis.trials, 4), (analysis.trials[0], 1)):
        search = deepcopy(make())
        search.add_evaluated_trials(given, "metric")
        assert len(search.history) == count
        assert all(trial.value == trial.config["report"] for trial in search.history.trials)
        assert search.suggest("1") is not None


def test_saved_to_and_restored_from_a_folder_as_ray_does(tmp_path: Path) -> None:
    search = make()
    config: Any = search.suggest("0")
    search.on_trial_complete("0", {"metric": config["report"], "training_iteration": 1})
    search.save_to_dir(str(tmp_path), session_str="session")
    again = make(seed=7)
    again.restore_from_dir(str(tmp_path))
    assert again.history["0"].value == config["report"]


def test_a_restore_with_another_space_says_what_differs(tmp_path: Path) -> None:
    space = {"lr": tune.loguniform(1e-4, 1e-1), "units": tune.randint(1, 9)}
    first = BoTorchSearch(space, "loss", "min", background=False)
    for number in range(8):
        first.suggest(str(number))
    first.save(str(tmp_path / "state"))
    other = {"lr": tune.loguniform(1e-3, 1e-1), "depth": tune.randint(1, 9)}
    second = BoTorchSearch(other, "loss", "min", background=False)
    with pytest.raises(SpaceError) as caught:
        second.restore(str(tmp_path / "state"))
    for words in ("lr: Float(low=0.0001", "now Float(low=0.001", "units: ", "depth: none"):
        assert words in str(caught.value)
    assert "damaged" not in str(caught.value)
    BoTorchSearch(space, "loss", "min").restore(str(tmp_path / "state"))
