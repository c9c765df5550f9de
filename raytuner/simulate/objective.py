"""The reports of a simulated trial, and the time that each takes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from raytuner.errors import TrainableError

Report = Mapping[str, Any] | float


@dataclass
class Curve:
    """The learning curve of one configuration.

    Attributes:
        reports: The report after each unit of resource, the first that of t = 1. An iterator, such
            as a generator that trains, is advanced no further than the trial gets. A report is a
            dict of metrics, or a bare number: the metric.
        seconds: Seconds of training for each unit: one number, or a sequence.
        fails_at: Training raises in the unit that would end at this t; None: never.
        failures: How many attempts fail so; None: all. A retry resumes from the last checkpoint.

    Raises:
        TrainableError: `reports` are no reports.
    """

    reports: Iterable[Report]
    seconds: float | Sequence[float] = 1.0
    fails_at: int | None = None
    failures: int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.reports, Iterable) or isinstance(self.reports, str | Mapping):
            raise TrainableError(
                f"the reports of a learning curve are {self.reports!r}; an objective must return a"
                " raytuner.simulate.Curve, or the reports of one training, one after another"
            )
        self._further = iter(self.reports)
        self._known: list[Report] = []

    def report(self, t: int) -> Report | None:
        """Return the report after `t` units; None if training ends before."""
        known = self._known  # a retry goes back
        known.extend(islice(self._further, max(0, t - len(known))))
        return known[t - 1] if t <= len(known) else None

    def duration(self, t: int) -> float:
        """Return the seconds of the unit that ends at `t`.

        Raises:
            TrainableError: They are negative or no number.
        """
        seconds = self.seconds
        if isinstance(seconds, Sequence):
            seconds = seconds[min(t, len(seconds)) - 1]
        if not (math.isfinite(seconds) and seconds >= 0):
            raise TrainableError(
                f"unit {t} of a learning curve takes {seconds!r} seconds; it must be 0 or more"
            )
        return seconds

    @property
    def length(self) -> int | None:
        """Reports of a full training, if that is known beforehand."""
        return len(self.reports) if isinstance(self.reports, Sequence) else None

    def fails(self, t: int, attempt: int) -> bool:
        """Return whether the unit that ends at `t` raises in this attempt (the first is 1)."""
        return t == self.fails_at and (self.failures is None or attempt <= self.failures)


Objective = Callable[[dict[str, Any]], Curve | Iterable[Report]]
"""Returns a configuration's `Curve`, or just its reports (one second each)."""


@dataclass(frozen=True, kw_only=True)
class Workload:
    """A search that was never run: a benchmark, or a guess of your own.

    Attributes:
        space: A `param_space` of Ray Tune.
        objective: Returns a configuration's learning curve.
        metric: Name of the metric in its reports.
        mode: "min" or "max".
        max_t: Units of a full training.
    """

    space: Mapping[str, Any] = field(repr=False)
    objective: Objective = field(repr=False)
    metric: str
    mode: str
    max_t: int
