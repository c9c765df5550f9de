"""The reports of a simulated trial, and the time that each takes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from raytuner.errors import MetricError, SettingError, TrainableError

Report = Mapping[str, Any] | float


@dataclass(frozen=True)
class Curve:
    """The learning curve of one configuration.

    Attributes:
        reports: The report after each unit of resource: a sequence (the first is that of t = 1), a
            function of t that returns None once training has ended by itself, or an iterator, such
            as a generator that trains: it is advanced no further than the trial gets. A report is a
            dict of metrics, or a bare number: the metric.
        seconds: Seconds of training for each unit: one number, a sequence, or a function of t.
        fails_at: Training raises in the unit that would end at this t; None: never.
        failures: How many attempts fail so; None: all. A retry resumes from the last checkpoint.
    """

    reports: Sequence[Report] | Callable[[int], Report | None] | Iterator[Report]
    seconds: float | Sequence[float] | Callable[[int], float] = 1.0
    fails_at: int | None = None
    failures: int | None = None

    def __post_init__(self) -> None:
        if isinstance(self.reports, Iterator):
            object.__setattr__(self, "reports", _by_number(self.reports))

    def report(self, t: int) -> Report | None:
        """Return the report after `t` units; None if training ends before."""
        if callable(self.reports):
            return self.reports(t)
        reports = cast(Sequence[Report], self.reports)  # an iterator has become a function
        return reports[t - 1] if t <= len(reports) else None

    def duration(self, t: int) -> float:
        """Return the seconds of the unit that ends at `t`.

        Raises:
            TrainableError: They are negative or no number.
        """
        if callable(self.seconds):
            seconds = self.seconds(t)
        elif isinstance(self.seconds, Sequence):
            seconds = self.seconds[min(t, len(self.seconds)) - 1]
        else:
            seconds = self.seconds
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

    Raises:
        MetricError: `mode` is neither.
        SettingError: `max_t` is below 1.
    """

    space: Mapping[str, Any] = field(repr=False)
    objective: Objective = field(repr=False)
    metric: str
    mode: str
    max_t: int

    def __post_init__(self) -> None:
        if self.mode not in ("min", "max"):
            raise MetricError(f"Workload.mode is {self.mode!r}; it must be 'min' or 'max'")
        if self.max_t < 1:
            raise SettingError(f"Workload.max_t is {self.max_t!r}; it must be at least 1")


def curve_of(objective: Objective, config: dict[str, Any]) -> Curve:
    """Return the learning curve of a configuration.

    Raises:
        TrainableError: The objective returns something else.
    """
    outcome = objective(config)
    if isinstance(outcome, Curve):
        return outcome
    if isinstance(outcome, Iterable) and not isinstance(outcome, str | Mapping):
        return Curve(outcome if isinstance(outcome, Sequence) else iter(outcome))
    raise TrainableError(
        f"the objective returned {outcome!r} ({type(outcome).__name__}); it must return a"
        " raytuner.simulate.Curve, or the reports of one training, one after another"
    )


def _by_number(items: Iterator[Report]) -> Callable[[int], Report | None]:
    """Return a function of t that remembers the items, so that a retry can go back."""
    known: list[Report] = []

    def report(t: int) -> Report | None:
        while len(known) < t:
            try:
                known.append(next(items))
            except StopIteration:
                return None
        return known[t - 1]

    return report
