"""What a simulated trial does: its reports and how long each takes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from raytuner.errors import TrainableError

Report = Mapping[str, Any] | float


@dataclass(frozen=True)
class Curve:
    """What training with one configuration would report.

    Attributes:
        reports: The report after each unit of resource: a sequence (the first is that of t = 1), a
            function of t that gives None once training has ended by itself, or an iterator, such as
            a generator that trains: it is advanced no further than the trial gets. A report is a
            dict of metrics, or a bare number: the metric.
        seconds: Seconds of training for each unit: one number, a sequence, or a function of t.
        fails_at: Training raises in the unit that would end at this t; None: never.
        failures: How many attempts fail so; None: all. A retry goes on from the last checkpoint.
        end_s: Seconds from the last report until training returns, or a function that gives them.
    """

    reports: Sequence[Report] | Callable[[int], Report | None] | Iterator[Report]
    seconds: float | Sequence[float] | Callable[[int], float] = 1.0
    fails_at: int | None = None
    failures: int | None = None
    end_s: float | Callable[[], float] = 0.0

    def __post_init__(self) -> None:
        if isinstance(self.reports, Iterator):
            object.__setattr__(self, "reports", _Remembered(self.reports))

    def report(self, t: int) -> Report | None:
        """The report after ``t`` units; None if training ends before."""
        if callable(self.reports):
            return self.reports(t)
        reports = cast(Sequence[Report], self.reports)  # an iterator has become a function
        return reports[t - 1] if t <= len(reports) else None

    def duration(self, t: int) -> float:
        """Seconds of the unit that ends at ``t``.

        Raises:
            TrainableError: It is negative or no number.
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

    def end_duration(self) -> float:
        """Seconds from the last report until training returns."""
        return self.end_s() if callable(self.end_s) else self.end_s

    @property
    def length(self) -> int | None:
        """Reports of a full training, if that is known beforehand."""
        return len(self.reports) if isinstance(self.reports, Sequence) else None

    def fails(self, t: int, attempt: int) -> bool:
        """Whether the unit that ends at ``t`` raises in this attempt (the first is 1)."""
        return t == self.fails_at and (self.failures is None or attempt <= self.failures)


Objective = Callable[[dict[str, Any]], Curve | Iterable[Report]]
"""A configuration's :class:`Curve`, or just its reports (one second each)."""


def curve_of(objective: Objective, config: dict[str, Any]) -> Curve:
    """The learning curve that the objective gives for a configuration.

    Raises:
        TrainableError: It gives something else.
    """
    outcome = objective(config)
    if isinstance(outcome, Curve):
        return outcome
    if isinstance(outcome, Sequence) and not isinstance(outcome, str):
        return Curve(outcome)
    if isinstance(outcome, Iterable) and not isinstance(outcome, str | Mapping):
        return Curve(iter(outcome))
    raise TrainableError(
        f"the objective returned {outcome!r} ({type(outcome).__name__}); it must return a"
        " raytuner.simulate.Curve, or the reports of one training, one after another"
    )


class _Remembered:
    """An iterator's items by number, so that a retry can go back to earlier ones."""

    def __init__(self, items: Iterator[Report]) -> None:
        self._items = items
        self._seen: list[Report] = []

    def __call__(self, t: int) -> Report | None:
        while len(self._seen) < t:
            try:
                self._seen.append(next(self._items))
            except StopIteration:
                return None
        return self._seen[t - 1]
