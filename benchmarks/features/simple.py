"""Random search."""

from __future__ import annotations

import math

import numpy as np

from benchmarks.features.player import Player
from benchmarks.features.problem import Config, FeatureProblem, Outcomes


class Told:
    """The best value told so far, and its configuration."""

    def __init__(self) -> None:
        self.config: Config = {}
        self._value = math.inf

    def take(self, config: Config, value: float) -> None:
        """One more."""
        if value < self._value:
            self.config, self._value = config, value


class RandomPlayer(Player):
    """Draws what is allowed, a guess first."""

    def __init__(self, problem: FeatureProblem, seed: int) -> None:
        self._problem = problem
        self._rng = np.random.default_rng(seed)
        self._first = [] if problem.guess is None else [problem.guess.config]
        self._told = Told()

    def ask(self) -> tuple[Config, Config]:
        """A configuration is its own handle."""
        config = self._first.pop() if self._first else self._problem.draw(self._rng)
        return config, config

    def tell(self, handle: Config, outcomes: Outcomes) -> None:
        """Nothing is learned but which is best."""
        self._told.take(handle, outcomes[self._problem.objectives[0]])

    def best(self) -> Config:
        """The best value told."""
        return self._told.config
