"""The cases that Ray tests its own searchers with, held to BoTorchSearch.

They are those of ``python/ray/tune/tests/test_searchers.py`` in Ray's repository: objectives that
are not finite, points that were evaluated elsewhere, reports after the end, save and restore.
"""

from __future__ import annotations

import math
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from ray import cloudpickle, tune
from ray.tune.search import ConcurrencyLimiter, Searcher

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


@pytest.mark.parametrize("limited", [False, True])
def test_values_that_are_not_finite(limited: bool, ray_cluster: None, tmp_path: Path) -> None:
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
                search_alg=ConcurrencyLimiter(search, max_concurrent=2) if limited else search,
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
    best = record.best()
    assert best.config["report"] <= 2.0
    assert best.config["list"] == [1, 2, 3]
    assert best.config["num"] == 4
    first, second, third = best.config["mixed"]
    assert (first, third) == (1, 4)
    assert 2 <= second < 3
    states = {trial.state for trial in record.trials if trial.config["report"] > 2}
    assert states == {TrialState.FAILED}


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, None])
def test_a_bad_value_at_any_time_leaves_the_search_going(bad: float | None) -> None:
    search = make()
    for number in range(12):
        config: Any = search.suggest(str(number))
        good = number % 3 != 1
        result = {"metric": config["report"] if good else bad, "training_iteration": 1}
        search.on_trial_complete(str(number), result)
    assert search.history.counts()[TrialState.FAILED] == 4
    assert search.history.counts()[TrialState.COMPLETED] == 8
    best = search.history.best()
    assert best is not None
    assert math.isfinite(best.value)


def test_it_stays_out_of_where_values_are_not_finite() -> None:
    search = make()
    found = []
    for number in range(25):
        config: Any = search.suggest(str(number))
        found.append(config["report"])
        result = {"metric": value(found[-1]), "training_iteration": 1}
        search.on_trial_complete(str(number), result)
    assert sum(x <= 2 for x in found[10:]) >= 10
    best = search.history.best()
    assert best is not None
    assert best.value > 1.9


def test_reports_after_the_end_are_harmless() -> None:
    search = make()
    search.suggest("trial_1")
    search.on_trial_result("trial_1", {"training_iteration": 1, "metric": 1})
    search.on_trial_complete("trial_1", {"training_iteration": 2, "metric": 1})
    search.on_trial_result("trial_1", {"training_iteration": 3, "metric": 9})
    search.on_trial_complete("trial_1", {"training_iteration": 4, "metric": 9})
    assert search.history.live() == ()
    assert search.history["trial_1"].values == ((1, 1), (2, 1))
    assert search.suggest("trial_2") is not None


def test_an_evaluated_point_as_completed_failed_and_stopped() -> None:
    search = make()
    curve = [0.8, 0.9]
    search.add_evaluated_point({"report": 1.0}, 1.0, intermediate_values=curve)
    search.add_evaluated_point({"report": 2.0}, 1.0, intermediate_values=curve, error=True)
    search.add_evaluated_point({"report": 3.0}, 0.9, intermediate_values=curve, pruned=True)
    assert [trial.state for trial in search.history.trials] == [
        TrialState.COMPLETED,
        TrialState.FAILED,
        TrialState.STOPPED_EARLY,
    ]
    assert search.suggest("1") is not None


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


def test_points_to_evaluate_come_first_and_the_rest_is_searched() -> None:
    points = [{"report": 1.0}, {"report": 2.5}]
    search = make(points_to_evaluate=points)
    assert [search.suggest(str(number)) for number in range(2)] == points
    after: Any = search.suggest("2")
    assert after not in points


def test_saved_and_restored_into_a_searcher_that_knows_nothing(tmp_path: Path) -> None:
    search = make()
    running: Any = None
    for number in range(6):
        running = search.suggest(str(number))
        if number < 4:
            result = {"metric": running["report"], "training_iteration": 1}
            search.on_trial_complete(str(number), result)
    search.save(str(tmp_path / "checkpoint.pkl"))
    again = BoTorchSearch(SPACE, metric="metric", mode="max", background=False)
    again.restore(str(tmp_path / "checkpoint.pkl"))
    assert again.history["5"].config == running
    assert again.history.live() == ("4", "5")
    again.on_trial_complete("4", {"metric": 1.0, "training_iteration": 1})
    assert again.history["4"].state is TrialState.COMPLETED
    assert again.suggest("6") not in [trial.config for trial in search.history.trials]
    thawed: Searcher = cloudpickle.loads(cloudpickle.dumps(search))  # type: ignore[no-untyped-call]
    assert thawed.suggest("6") is not None


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
    for words in ("lr: a number from 0.0001", "now a number from 0.001", "units: ", "depth: none"):
        assert words in str(caught.value)
    assert "damaged" not in str(caught.value)
    BoTorchSearch(space, "loss", "min").restore(str(tmp_path / "state"))
