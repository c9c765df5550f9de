"""What a search is to solve, and by what it is judged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from raytuner.simulate import Workload


@dataclass(frozen=True, kw_only=True)
class Problem(Workload):
    """A search whose answer is known.

    Attributes:
        name: Its name in results.
        training_s: Mean seconds of a full training of a random configuration.
        best: The best value known: a regret of 0.
        median: Median value of fully trained random configurations: a regret of 1.
    """

    name: str
    training_s: float
    best: float
    median: float

    def __post_init__(self) -> None:
        sign = 1 if self.mode == "max" else -1
        if not sign * self.best > sign * self.median:
            raise ValueError(
                f"{self.name}: the best value {self.best} is no better than the median"
                f" {self.median}"
            )

    def regret(self, value: float) -> float:
        """How far a value is from the best known, in units of the median's distance.

        Below 0 if it is better than what was known.
        """
        return (self.best - value) / (self.best - self.median)


class Benchmark(Protocol):
    """A family of problems: a value that can be sent to another process, to make them there."""

    def chosen(self, names: Sequence[str]) -> tuple[str, ...]:
        """The instances that these names stand for; a group of instances has a name too.

        Raises:
            KeyError: There is no such instance.
        """

    def name_of(self, instance: str) -> str:
        """The name of an instance's problem: that of the benchmark, a slash, and the instance."""

    def problem(self, instance: str) -> Problem:
        """The search on an instance."""
