"""A method at work on a problem."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from benchmarks.features.problem import Config, FeatureProblem, Outcomes


class Player(ABC):
    """Is asked for configurations, and told what they came to."""

    @abstractmethod
    def ask(self) -> tuple[Any, Config]:
        """A configuration, and the handle by which the method knows it."""

    @abstractmethod
    def tell(self, handle: Any, outcomes: Outcomes) -> None:
        """The outcomes of a configuration; of one that is not allowed, its excess alone."""

    @abstractmethod
    def best(self) -> Config:
        """What the method says is best: asked of problems with noise only."""


@dataclass(frozen=True)
class FeatureMethod:
    """A method by name.

    Attributes:
        name: Its name in results.
        title: Its name in tables.
        make: Makes a player for a problem and a seed.
        modules: As of `benchmarks.race.method.Method`.
        suits: Whether it belongs beside the others on a problem.
        lacks: Why the installed version cannot do what the problem needs; None: it can.
    """

    name: str
    title: str
    make: Callable[[FeatureProblem, int], Player]
    modules: tuple[str, ...] = ()
    suits: Callable[[FeatureProblem], bool] = lambda problem: True
    lacks: Callable[[FeatureProblem], str | None] = lambda problem: None
