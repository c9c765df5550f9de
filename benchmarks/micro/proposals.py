"""How long a proposal takes with so many observations."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from ray import tune
from ray.tune.search import Searcher

from raytuner import BoTorchSearch

METRIC = "loss"

Make = Callable[[int], Searcher]


def ours(seed: int) -> Searcher:
    """raytuner, in the foreground."""
    return BoTorchSearch(background=False, seed=seed)


def optuna_gp(seed: int) -> Searcher:
    """Optuna's Gaussian process, as Ray's searcher."""
    import optuna
    from ray.tune.search.optuna import OptunaSearch

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return OptunaSearch(sampler=optuna.samplers.GPSampler(seed=seed))


@dataclass(frozen=True)
class Timing:
    """Seconds of proposals, each after one more observation.

    Attributes:
        first: Of the first, which learns all observations at once.
        median: Of those after it.
        worst: Of those after it.
    """

    first: float
    median: float
    worst: float


def space_of(dimensions: int) -> dict[str, Any]:
    """A space of so many hyperparameters, half of them on a logarithmic scale."""
    return {
        f"x{i}": tune.loguniform(1e-3, 1.0) if i % 2 else tune.uniform(0.0, 1.0)
        for i in range(dimensions)
    }


def loss_of(config: Mapping[str, float]) -> float:
    """A bowl with ripples, in the units of the space."""
    u = [1 + math.log10(x) / 3 if i % 2 else x for i, x in enumerate(config.values())]
    return sum((x - 0.4) ** 2 + 0.02 * math.sin(12 * x) for x in u)


def measure(make: Make, dimensions: int, observations: int, proposals: int, seed: int) -> Timing:
    """Time a searcher that knows ``observations`` random points for ``proposals`` more."""
    space = space_of(dimensions)
    searcher: Any = make(seed)
    searcher.set_search_properties(METRIC, "min", space)
    rng = np.random.RandomState(seed)
    for _ in range(observations):
        config = {name: domain.sample(random_state=rng) for name, domain in space.items()}
        searcher.add_evaluated_point(config, loss_of(config))
    seconds = []
    for number in range(1 + proposals):
        start = time.perf_counter()
        config = searcher.suggest(f"trial_{number}")
        seconds.append(time.perf_counter() - start)
        report = {METRIC: loss_of(config), "training_iteration": 1}
        searcher.on_trial_complete(f"trial_{number}", report)
    later = seconds[1:]
    return Timing(seconds[0], float(np.median(later)), max(later))
