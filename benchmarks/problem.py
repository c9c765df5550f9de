"""What a search is to solve, and by what it is judged."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Protocol

from raytuner.simulate import Workload

REFERENCES = Path(__file__).with_name("references.json")


@dataclass(frozen=True, kw_only=True)
class Problem(Workload):
    """A search whose answer is known.

    Attributes:
        name: Its name in results.
        training_s: Mean seconds of a full training of a random configuration.
        best: The best value that a full training can reach: a regret of 0.
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
        """Return how far a value is from the best, in units of the median's distance."""
        return (self.best - value) / (self.best - self.median)


@dataclass(frozen=True)
class Reference:
    """The best value and the median that regrets on a problem refer to, and the mean time.

    Attributes:
        best: The best value that a full training can reach, as far as a search has found.
        median: The median of fully trained random configurations.
        training_s: Mean seconds of a full training of a random configuration.
    """

    best: float
    median: float
    training_s: float


@lru_cache(maxsize=1)
def references() -> dict[str, Reference]:
    """Return the stored references, by problem; `python -m benchmarks.references` makes them."""
    stored = json.loads(REFERENCES.read_text(encoding="utf-8"))
    return {name: Reference(**fields) for name, fields in stored.items()}


def reference(problem: str) -> Reference:
    """Return the reference of a problem.

    Raises:
        KeyError: It was never measured.
    """
    if problem not in references():
        raise KeyError(
            f"{problem} has no reference in {REFERENCES.name};"
            f" measure it: python -m benchmarks.references --problems {problem}"
        )
    return references()[problem]


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

    def measured(self, instance: str) -> Reference:
        """Measure the reference of an instance, which takes up to minutes."""
