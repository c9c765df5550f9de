"""Peers with an interface of asking and telling, as Ray Tune searchers."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ray.tune.search import Searcher
from ray.tune.search.sample import Categorical, Float, Integer, LogUniform

from benchmarks.problem import Problem


@dataclass(frozen=True)
class Range:
    """A numeric hyperparameter.

    Attributes:
        name: Its name.
        low: The lowest value.
        high: The highest value, which is one of its values.
        whole: Whether only whole numbers are.
        log: Whether it is searched by its logarithm.
    """

    name: str
    low: float
    high: float
    whole: bool
    log: bool


@dataclass(frozen=True)
class Choice:
    """A hyperparameter that is one of several names."""

    name: str
    values: tuple[str, ...]


def parameters(space: Mapping[str, Any]) -> list[Range | Choice]:
    """Return the hyperparameters of a space of uniform and loguniform numbers, and choices.

    Raises:
        ValueError: It has others.
    """
    found: list[Range | Choice] = []
    for name, domain in space.items():
        if isinstance(domain, Categorical):
            found.append(Choice(name, tuple(domain.categories)))
            continue
        if not isinstance(domain, Float | Integer):
            raise ValueError(f"{name} is {domain!r}; the race's adapters know numbers and choices")
        whole = isinstance(domain, Integer)
        sampler: Any = domain.get_sampler()  # type: ignore[no-untyped-call]
        log = isinstance(sampler, LogUniform)
        # Ray leaves the upper bound of whole numbers out.
        found.append(Range(name, domain.lower, domain.upper - whole, whole, log))
    return found


class PeerSearcher(Searcher):
    """A searcher that knows its problem from the start."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(metric=problem.metric, mode=problem.mode)
        self.key = problem.metric

    def set_search_properties(
        self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any
    ) -> bool:
        """All that could be said is known."""
        return True

    def save(self, checkpoint_path: str) -> None:
        """The race saves nothing: its runs are short."""

    def restore(self, checkpoint_path: str) -> None:
        """See `save`."""


class AskTell(PeerSearcher):
    """What Ray's own adapters do: a stopped trial's last value is told as if it were final."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        self._sign = 1.0 if problem.mode == "min" else -1.0
        self._handles: dict[str, Any] = {}

    @abstractmethod
    def ask(self) -> tuple[Any, dict[str, Any]]:
        """A configuration to try, and the handle by which the peer knows it."""

    @abstractmethod
    def tell(self, handle: Any, loss: float | None) -> None:
        """The loss of a configuration, the lower the better; None: it failed."""

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        """Ask the peer."""
        self._handles[trial_id], config = self.ask()
        return config

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Tell the peer."""
        self.tell(self._handles.pop(trial_id), None if error else self.loss(result))

    def loss(self, result: Mapping[str, Any] | None) -> float | None:
        """The loss in a report; None: it has no finite one."""
        value = self._sign * float(result[self.key]) if result else math.nan
        return value if math.isfinite(value) else None
