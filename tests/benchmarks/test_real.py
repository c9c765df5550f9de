"""The problems that really train: their curves, their clock, and what their regret refers to."""

import pickle
from itertools import islice
from typing import Any

import numpy as np
import pytest

from benchmarks.problem import reference
from benchmarks.real import RealProblems
from benchmarks.real.data import WORST, split
from benchmarks.real.problems import INSTANCES, MAX_T, METRIC, curve
from benchmarks.real.training import LEARNERS

pytest.importorskip("sklearn")


def sample(instance: str, seed: int) -> dict[str, Any]:
    rng = np.random.RandomState(seed)
    space = RealProblems().problem(instance).space
    return {name: domain.sample(random_state=rng) for name, domain in space.items()}


def losses(instance: str, config: dict[str, Any], count: int) -> list[float]:
    name, learner = INSTANCES[instance]
    return list(islice(LEARNERS[learner].losses(config, split(name)), count))


@pytest.mark.parametrize("instance", ["wine-mlp", "california-torch", "california-boosting"])
def test_a_configuration_has_one_curve(instance: str) -> None:
    config = sample(instance, 0)
    first, second = losses(instance, config, 3), losses(instance, config, 3)
    assert first == second
    assert len(set(first)) > 1  # it trains
    assert losses(instance, sample(instance, 1), 3) != first
    assert curve(instance, config).duration(1) == curve(instance, config).duration(2) > 0


@pytest.mark.parametrize("instance", INSTANCES)
def test_training_learns(instance: str) -> None:
    """A sensible configuration ends below the median of random ones."""
    config = {
        "learning_rate": 0.02 if "torch" in instance or "boosting" not in instance else 0.1,
        "units": 32, "layers": 1, "batch_size": 32, "alpha": 1e-3, "beta_1": 0.9, "momentum": 0.9,
        "weight_decay": 1e-4, "dropout": 0.1, "max_depth": 3, "min_samples_leaf": 8,
        "subsample": 0.7, "max_features": 0.5,
    }  # fmt: skip
    space = RealProblems().problem(instance).space
    trained = curve(instance, {name: config[name] for name in space})
    report = trained.report(MAX_T)
    assert isinstance(report, dict)
    assert report[METRIC] < reference(f"real/{instance}").median
    assert trained.report(MAX_T + 1) is None


def test_every_instance_has_a_reference() -> None:
    for instance in INSTANCES:
        problem = RealProblems().problem(instance)
        assert problem.regret(reference(problem.name).median) == 1.0


def test_what_diverges_is_scored_as_the_worst() -> None:
    regression, classification = split("california"), split("wine")
    assert regression.loss(np.full(len(regression.y_validation), np.nan)) == WORST
    rows = len(classification.y_validation)
    assert classification.loss(np.full((rows, 3), np.nan)) == WORST
    assert classification.loss(np.full((rows, 3), 1 / 3)) == pytest.approx(np.log(3))


def test_problems_are_named_and_go_to_other_processes() -> None:
    problems = RealProblems()
    assert pickle.loads(pickle.dumps(problems)) == problems
    assert problems.chosen(["full"]) == problems.chosen(["test"]) == tuple(INSTANCES)
    assert problems.chosen(["quick", "digits-mlp"])[-1] == "digits-mlp"
    assert problems.name_of("wine-mlp") == "real/wine-mlp"
    with pytest.raises(KeyError, match="there is no 'iris-mlp'; there are digits-mlp"):
        problems.chosen(["iris-mlp"])
