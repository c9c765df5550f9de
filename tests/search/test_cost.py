"""Improvement per cost, through the searcher and the simulator."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ray import tune

from raytuner import BoTorchSearch
from raytuner.errors import RaytunerWarning, SettingError
from raytuner.history import Goal, History, TrialState
from raytuner.simulate import Cluster, Curve, simulate
from raytuner.space import Float, Space

SPACE = {"x": tune.uniform(0, 1), "y": tune.uniform(0, 1), "z": tune.uniform(0, 1)}


def objective(config: dict[str, Any]) -> Curve:
    """Two valleys of nearly one depth; a trial takes a hundred times longer in that at x = 0.9."""
    x, rest = config["x"], (config["y"] - 0.6) ** 2 + (config["z"] - 0.3) ** 2
    loss = min((x - 0.2) ** 2 + 0.001, (x - 0.9) ** 2) + rest
    return Curve([{"loss": loss + 0.1 / t} for t in range(1, 4)], seconds=float(100**x))


def searcher(cost: str | None, seed: int) -> BoTorchSearch:
    return BoTorchSearch(cost=cost, background=False, seed=seed)


def test_more_is_found_in_the_same_time() -> None:
    found: dict[str | None, list[float]] = {None: [], "time_total_s": []}
    for seed in range(3):
        for cost, values in found.items():
            simulation = simulate(
                objective,
                SPACE,
                searcher=searcher(cost, seed),
                metric="loss",
                mode="min",
                num_samples=-1,
                time_budget_s=600.0,
                cluster=Cluster(workers=2),
                seed=seed,
            )
            values.append(simulation.incumbent()[-1].value - 0.1 / 3)
    assert np.mean(found["time_total_s"]) < 0.6 * np.mean(found[None])


def test_costs_are_of_a_full_training(tmp_path: Path) -> None:
    history = History(Space({"x": Float(0, 1)}), goal=Goal.of("loss", "min", cost="s"))
    history.max_t = 10
    ends = {"a": (10, TrialState.COMPLETED), "b": (5, TrialState.STOPPED_EARLY)}
    ends["c"] = (4, TrialState.COMPLETED)  # its training ended by itself
    for trial_id, (t, state) in ends.items():
        history.add(trial_id, {"x": 0.1 * t / 10})
        history.report(trial_id, t, 1.0, {"s": 2.0 * t})
        history.end(trial_id, state)
    history.add("d", {"x": 0.9})
    np.testing.assert_equal(history.snapshot().cost, [20.0, 20.0, 8.0, np.nan])
    history.copy_to(tmp_path / "record")
    assert History.read(tmp_path / "record").goal.cost == "s"
    history.max_t = None
    np.testing.assert_equal(history.snapshot().cost, [20.0, np.nan, 8.0, np.nan])


def test_bad_costs() -> None:
    with pytest.raises(SettingError, match="strategy 'ucb' does not support a cost"):
        BoTorchSearch(SPACE, "loss", "min", cost="s", strategy="ucb")


@pytest.mark.parametrize(
    ("role", "bad"), [("cost", -3.0), ("cost", math.inf), ("standard_error", math.nan)]
)
def test_a_bad_cost_or_standard_error_is_ignored_with_one_warning(role: str, bad: float) -> None:
    more: dict[str, Any] = {role: "s"}
    search = BoTorchSearch(SPACE, "loss", "min", background=False, max_t=2, **more)
    told = [math.nan if number % 3 == 0 else 2.0 for number in range(9)]

    def drive() -> None:
        for number, known in enumerate(told):
            search.suggest(str(number))
            result: dict[str, Any] = {}
            for t in (1, 2):
                result = {"loss": 1.0 / (number + t), "training_iteration": t}
                result["s"] = bad if math.isnan(known) else known
                search.on_trial_result(str(number), result)
            search.on_trial_complete(str(number), result)
        search.add_evaluated_point({"x": 0.5, "y": 0.5, "z": 0.5}, {"loss": 0.5, "s": bad})

    with pytest.warns(RaytunerWarning) as caught:
        drive()
    (warning,) = caught
    words = "cost" if role == "cost" else "standard error"
    assert f"trial 0 reported the {words} 's' as {bad}" in str(warning.message)
    assert "must be finite and not negative" in str(warning.message)
    assert search.history.counts == {TrialState.COMPLETED: 10}
    snapshot = search.history.snapshot()
    if role == "cost":
        np.testing.assert_equal(snapshot.cost, [*told, np.nan])
    else:
        np.testing.assert_equal(snapshot.standard_error, [*np.repeat(told, 2), np.nan])
    search.suggest("next")


def test_a_cost_that_is_missing_is_unknown() -> None:
    search = BoTorchSearch(SPACE, "loss", "min", cost="s", background=False, max_t=2)
    search.suggest("a")
    search.on_trial_result("a", {"loss": 1.0, "s": 3.0, "training_iteration": 1})
    np.testing.assert_equal(search.history.snapshot().cost, [6.0])
    with pytest.warns(RaytunerWarning, match="no cost: 's' is not in its report"):
        search.on_trial_complete("a", {"loss": 0.5, "training_iteration": 2})
    assert search.history["a"].state is TrialState.COMPLETED
    assert search.history["a"].values == ((1, 1.0), (2, 0.5))
    np.testing.assert_equal(search.history.snapshot().cost, [np.nan])
