"""Standard errors that trials report: what the model makes of them."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from raytuner.bayes.dataset import dataset
from raytuner.bayes.surrogate import Posterior, WarmFit, fit, numerics
from raytuner.history import Goal, History, TrialState
from raytuner.space import Float, Space

SPACE = Space({"x": Float(0, 1), "y": Float(0, 1)})
GOAL = Goal.of("loss", "min", standard_error="loss_se")


def valley(config: dict[str, Any]) -> float:
    return float((config["x"] - 0.3) ** 2 + (config["y"] - 0.6) ** 2)


def noisy(seed: int, *, told: bool, n: int = 30) -> History:
    """Half of the values are next to worthless, and say so or not."""
    rng = np.random.default_rng(seed)
    goal = GOAL if told else Goal.of("loss", "min")
    history = History(SPACE, goal=goal)
    for number, config in enumerate(SPACE.sample(rng, n)):
        sd = float(rng.choice([0.01, 0.6]))
        value = valley(config) + sd * rng.standard_normal()
        history.add(str(number), config)
        history.report(str(number), 1, value, {"loss_se": sd} if told else {})
        history.end(str(number), TrialState.COMPLETED)
    return history


def agreement(history: History) -> float:
    """The rank correlation of the model's means with the truth, over 200 configurations."""
    data = dataset(history.snapshot())
    points = np.random.default_rng(1).random((200, 2))
    with numerics():
        posterior = Posterior.of(fit(data, SPACE.columns))
        means = posterior.means(torch.as_tensor(points))[0].detach().numpy()
    truth = [-valley(config) for config in SPACE.decode(points)]
    return float(spearmanr(truth, means).statistic)


def test_the_model_is_the_better_for_them() -> None:
    with_them, without = (
        [agreement(noisy(seed, told=told)) for seed in range(4)] for told in (True, False)
    )
    assert np.mean(with_them) > np.mean(without) + 0.1
    assert min(with_them) > 0.75


def test_they_are_variances_on_the_models_scale() -> None:
    """Of values that are only shifted and scaled, in the better half."""
    history = noisy(0, told=True)
    snapshot = history.snapshot()
    data = dataset(snapshot)
    assert data.noise is not None
    order = np.argsort(data.raw)
    a, b = order[-1], order[-2]
    scale = (data.y[a] - data.y[b]) / (data.raw[a] - data.raw[b])
    assert snapshot.standard_error is not None
    np.testing.assert_allclose(data.noise, (scale * snapshot.standard_error) ** 2)
    few = data.take(np.array([3, 5]))
    np.testing.assert_array_equal(few.noise, data.noise[[3, 5]])


def test_what_is_not_known_of_a_value_counts_as_nothing() -> None:
    history = noisy(0, told=True, n=6)
    history.add("unknown", {"x": 0.5, "y": 0.5})
    history.report("unknown", 1, 0.1, {"loss_se": math.nan})
    history.end("unknown", TrialState.COMPLETED)
    history.add("failed", {"x": 0.9, "y": 0.5})
    history.end("failed", TrialState.FAILED)
    noise = dataset(history.snapshot()).noise
    assert noise is not None
    assert np.isfinite(noise).all()
    np.testing.assert_array_equal(noise[-2:], [0.0, 0.0])


@pytest.mark.parametrize("values", [[1.0, 1.0, 1.0], [1e300, -1e300, 0.0], [1e-300, 2e-300, 0.0]])
def test_a_scale_that_is_hard_to_see(values: list[float]) -> None:
    history = History(SPACE, goal=GOAL)
    for number, value in enumerate(values):
        history.add(str(number), {"x": number / 4, "y": 0.5})
        history.report(str(number), 1, value, {"loss_se": 0.1})
        history.end(str(number), TrialState.COMPLETED)
    data = dataset(history.snapshot())
    assert data.noise is not None
    assert np.isfinite(data.noise).all()


def test_a_fit_goes_on_from_the_last() -> None:
    first, second = (dataset(noisy(0, told=True, n=n).snapshot()) for n in (12, 13))
    warm = WarmFit()
    with numerics():
        warm(first, SPACE.columns)
        restored = WarmFit(**json.loads(json.dumps(vars(warm))))
        one, other = warm(second, SPACE.columns), restored(second, SPACE.columns)
    torch.testing.assert_close(one.white_y, other.white_y)
