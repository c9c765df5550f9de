"""Which trial is recommended where values are noisy."""

from __future__ import annotations

import numpy as np

from raytuner.bayes import best_by_model
from raytuner.history import Goal, History, TrialState
from raytuner.space import Float, Space

SPACE = Space({"x": Float(0, 1)})


def noisy(goal: Goal, seed: int, n: int = 40) -> History:
    """``(x - 0.4)^2`` with as much noise as it varies over half the range; cost is x."""
    history, rng = History(SPACE, goal=goal), np.random.default_rng(seed)
    for i in range(n):
        x = float(rng.random())
        history.add(str(i), {"x": x})
        loss = (x - 0.4) ** 2 + 0.1 * rng.normal()
        history.report(str(i), 1, loss, {"cost": x} if goal.constraints else None)
        history.end(str(i), TrialState.COMPLETED)
    return history


def test_the_model_s_best_is_better_than_the_luckiest() -> None:
    away = {"by model": 0.0, "luckiest": 0.0}
    for seed in range(8):
        history = noisy(Goal.of("loss", "min"), seed)
        luckiest, found = history.best, best_by_model(SPACE, history.snapshot())
        assert luckiest is not None
        assert found is not None
        away["by model"] += abs(history[found].config["x"] - 0.4)
        away["luckiest"] += abs(luckiest.config["x"] - 0.4)
    assert away["by model"] < 0.6 * away["luckiest"]


def test_it_keeps_the_bounds() -> None:
    history = noisy(Goal.of("loss", "min", outcome_constraints=["cost <= 0.2"]), 0)
    found = best_by_model(SPACE, history.snapshot())
    assert found is not None
    assert history[found].config["x"] <= 0.2


def test_none_is_recommended_of_too_few() -> None:
    assert best_by_model(SPACE, History(SPACE, metric="loss", mode="min").snapshot()) is None
    assert best_by_model(SPACE, noisy(Goal.of("loss", "min"), 0, n=1).snapshot()) is None
