"""A searcher that has seen so many observations, and is asked for more."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
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


OURS = "raytuner"
MAKE: dict[str, Make] = {OURS: ours, "Optuna GPSampler": optuna_gp}


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


class Search:
    """A searcher that knows random points, driven as Ray's loop drives one.

    Args:
        make: Makes the searcher.
        dimensions: Hyperparameters.
        observations: Points that it knows from the start.
        seed: Seed of the searcher and of the points.

    Attributes:
        hooks_s: Processor seconds of the calls that told it of a trial, for each trial.
    """

    def __init__(self, make: Make, dimensions: int, observations: int, seed: int) -> None:
        space = space_of(dimensions)
        self._searcher: Any = make(seed)
        self._searcher.set_search_properties(METRIC, "min", space)
        rng = np.random.RandomState(seed)
        for _ in range(observations):
            config = {name: domain.sample(random_state=rng) for name, domain in space.items()}
            self._searcher.add_evaluated_point(config, loss_of(config))
        self._count = 0
        self._config: dict[str, float] = {}
        self.hooks_s: list[float] = []

    def suggest(self) -> None:
        """Ask for a proposal."""
        self._config = self._searcher.suggest(self._trial_id)

    def tell(self) -> None:
        """Tell of the trial that was proposed last: one report, and its end."""
        report = {METRIC: loss_of(self._config), "training_iteration": 1}
        start = time.process_time()
        self._searcher.on_trial_result(self._trial_id, report)
        self._searcher.on_trial_complete(self._trial_id, report)
        self.hooks_s.append(time.process_time() - start)
        self._count += 1

    @property
    def _trial_id(self) -> str:
        return f"trial_{self._count}"
