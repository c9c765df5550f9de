"""Public bug reports of other libraries, tried on raytuner; public_reports.md lists them all."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

import pytest
from ray import tune

from raytuner import ASHAScheduler, BoTorchSearch, HyperBandScheduler
from raytuner.errors import SpaceError
from raytuner.search.tune_space import space_from_tune

Config = dict[str, Any]


def drive(
    space: Config, objective: Callable[[Config], float], trials: int, **settings: Any
) -> tuple[BoTorchSearch, list[Any]]:
    """Ask and tell by hand; returns the searcher and what it answered."""
    searcher = BoTorchSearch(space, "loss", "min", background=False, seed=0, **settings)
    answers: list[Any] = []
    for number in range(trials):
        answers.append(config := searcher.suggest(f"t{number}"))
        if not isinstance(config, dict):
            break
        report = {"loss": objective(config), "training_iteration": 1}
        searcher.on_trial_complete(f"t{number}", report)
    return searcher, answers


OBJECTIVES: dict[str, Callable[[float], float]] = {
    "constant": lambda x: 1.0,
    "zero": lambda x: 0.0,
    "the smallest float": lambda x: 5e-324,
    "two values": lambda x: float(x > 0.5),
    "300 decades": lambda x: 10.0 ** (300 * x),
    "near the smallest float": lambda x: 1e-300 * x,
    "near the largest float": lambda x: 1.7e308 * (2 * x - 1),
    "a large offset": lambda x: 1e12 + x,
}


@pytest.mark.parametrize("name", OBJECTIVES)
def test_extreme_objectives(name: str) -> None:
    """luinardi/hypermapper#59: a Gaussian process failed on a constant objective."""
    objective = OBJECTIVES[name]
    space = {"x": tune.uniform(0, 1), "y": tune.randint(0, 5)}
    searcher, answers = drive(space, lambda c: objective(c["x"]), 10, n_initial=5)
    assert len({tuple(one.values()) for one in answers}) == 10
    best = searcher.history.best
    assert best is not None
    assert best.value == min(objective(one["x"]) for one in answers)


def test_many_mixed_hyperparameters() -> None:
    """optuna/optuna#5642: the fit failed with 27 hyperparameters of several kinds."""
    kinds = [
        tune.randint(0, 4000),
        tune.uniform(0, 1),
        tune.choice([True, False]),
        tune.choice(["median", "mean", "max"]),
        tune.loguniform(1e-6, 1e3),
    ]
    space = {f"p{i}": kinds[i % 5] for i in range(27)}
    noise = random.Random(0)
    _, answers = drive(
        space, lambda c: abs(c["p1"] - 0.3) + abs(math.log(c["p4"])) + noise.random() / 100, 24
    )
    assert all(isinstance(one, dict) for one in answers)


@pytest.mark.parametrize("strategy", ["bayes", "grid", "random", "sobol", "evolution"])
def test_a_finite_space_is_tried_once_and_then_ends(strategy: str) -> None:
    """facebook/Ax#313 found no more candidates; syne-tune/syne-tune#560 tried one twice."""
    space = {"depth": tune.choice([6, 7]), "weight": tune.choice([1, 2])}
    _, answers = drive(space, lambda c: c["weight"], 10, strategy=strategy)
    assert answers[4:] == ["FINISHED"]
    assert len({tuple(one.values()) for one in answers[:4]}) == 4


def test_numbers_as_choices() -> None:
    """facebook/Ax#688: the sixth trial of two choices of numbers failed."""
    space = {"a": tune.choice([-10, 0, 10]), "b": tune.choice([-10, 0, 10])}
    searcher, answers = drive(space, lambda c: (c["a"] + 2 * c["b"] - 7) ** 2, 9)
    assert len({tuple(one.values()) for one in answers}) == 9
    best = searcher.history.best
    assert best is not None
    assert best.value == 9


def test_domains_in_lists() -> None:
    """ray-project/ray#14472: domains in a list within nested dicts failed."""
    space = {"model": {"hidden": [tune.lograndint(64, 512), tune.lograndint(64, 512)]}}
    _, answers = drive(space, lambda c: sum(c["model"]["hidden"]), 12)
    assert all(64 <= width < 512 for one in answers for width in one["model"]["hidden"])


def test_points_to_evaluate_of_a_nested_space() -> None:
    """ray-project/ray#28753: their results could not be told to the searcher."""
    space = {"a": {"x": tune.uniform(0, 1)}, "b": tune.uniform(0, 1)}
    point = {"a": {"x": 0.5}, "b": 0.25}
    searcher, answers = drive(space, lambda c: c["a"]["x"], 3, points_to_evaluate=[point])
    assert answers[0] == point
    assert searcher.history.trials[0].value == 0.5


def test_hyperband_of_every_size() -> None:
    """ray-project/ray#6780: some pairs of max_t and reduction_factor raised errors."""
    for max_t in (1, 2, 3, 5, 9, 10, 27, 81, 100, 243, 1000):
        for factor in (2, 3, 4, 5, 10):
            HyperBandScheduler(metric="loss", mode="min", max_t=max_t, reduction_factor=factor)
            ASHAScheduler(metric="loss", mode="min", max_t=max_t, reduction_factor=factor)


@pytest.mark.parametrize(
    "space",
    [
        {0: tune.uniform(0, 1), "a": tune.uniform(0, 1)},
        {"a": tune.uniform(0, 1), "weights": {0: 1.0, "other": 2.0}},
        {"a": {None: tune.uniform(0, 1), "b": 1}},
    ],
)
def test_keys_that_ray_cannot_sort_are_refused(space: Config) -> None:
    """Ray sorts the keys of a configuration for a trial's name, and raised a TypeError."""
    with pytest.raises(SpaceError, match=r"keys of several types.*make them all strings"):
        space_from_tune(space)
    assert space_from_tune({"a": tune.uniform(0, 1), "class_weight": {0: 1.0, 1: 5.0}})
