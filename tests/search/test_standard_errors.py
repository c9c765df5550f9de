"""Standard errors that trials report: from the report to the model, and what they are worth."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ray import tune
from scipy.stats import spearmanr
from searcher_conformance import PARAM_SPACE, Driver, objective

from raytuner import BoTorchSearch
from raytuner.bayes.dataset import dataset
from raytuner.bayes.posterior import Posterior
from raytuner.bayes.surrogate import WarmFit, fit, numerics
from raytuner.errors import MetricError, RaytunerWarning
from raytuner.history import Goal, History, TrialState
from raytuner.search.mirror import Mirror, Request
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
    """How right the model has the order of all configurations."""
    data = dataset(history.snapshot())
    points = np.random.default_rng(1).random((200, 2))
    with numerics():
        posterior = Posterior(fit(data, SPACE.columns))
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
    warm, again = WarmFit(), WarmFit()
    with numerics():
        warm(first, SPACE.columns)
        again.load_state_dict(json.loads(json.dumps(warm.state_dict())))
        one, other = warm(second, SPACE.columns), again(second, SPACE.columns)
    for a, b in zip(one.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(a, b)


def searched(strategy: str = "bayes") -> Driver:
    searcher = BoTorchSearch(
        PARAM_SPACE,
        "loss",
        "min",
        standard_error="loss_se",
        background=False,
        seed=0,
        n_initial=5,
        strategy=strategy,
    )
    return Noisy(searcher)


class Noisy(Driver):
    def result(self, trial_id: str, t: int, value: float) -> dict[str, Any]:
        return {**super().result(trial_id, t, value), "loss_se": 0.1 / t}


@pytest.mark.parametrize("strategy", ["bayes", "kg", "hedge"])
def test_through_the_searcher_and_the_record(strategy: str, tmp_path: Path) -> None:
    driver = searched(strategy)
    driver.turns(8)
    history = driver.searcher.history
    trial = history["trial_000"]
    assert trial.value_of("loss_se") == pytest.approx(0.1 / 3)
    assert trial.value == pytest.approx(objective(trial.config))
    driver.searcher.save(str(tmp_path / "saved"))
    again = BoTorchSearch(background=False, strategy=strategy, n_initial=5)
    again.restore(str(tmp_path / "saved"))
    assert again.goal.standard_error == "loss_se"
    np.testing.assert_array_equal(
        again.history.snapshot().standard_error, history.snapshot().standard_error
    )
    assert again.suggest("next") == driver.searcher.suggest("next")
    # The process beside it is told too.
    mirror = Mirror(driver.searcher._setup(history))
    mirror.answer(Request(0, history.version, history.changes(0), None, (), n=1))
    assert mirror._record.goal == history.goal
    np.testing.assert_array_equal(
        mirror._record.snapshot().standard_error, history.snapshot().standard_error
    )


def test_one_that_is_nan_or_missing_is_unknown() -> None:
    driver = searched()
    searcher = driver.searcher
    searcher.suggest("a")
    result = {"loss": 1.0, "training_iteration": 1, "loss_se": math.nan}
    with pytest.warns(RaytunerWarning, match="'loss_se' as nan"):
        searcher.on_trial_complete("a", result)
    assert searcher.history["a"].state is TrialState.COMPLETED
    searcher.suggest("b")
    searcher.on_trial_complete("b", {"loss": 1.0, "training_iteration": 1})
    assert searcher.history["b"].state is TrialState.COMPLETED
    assert math.isnan(searcher.history.metrics_of(searcher.history["b"])["loss_se"])


def test_what_cannot_be() -> None:
    space = {"x": tune.uniform(0, 1)}
    with pytest.raises(MetricError, match="standard_error is 3"):
        BoTorchSearch(space, "loss", "min", standard_error=3)  # type: ignore[arg-type]
    with pytest.raises(MetricError, match="it is that of one metric"):
        BoTorchSearch(space, ["loss", "ms"], ["min", "min"], standard_error="se")
