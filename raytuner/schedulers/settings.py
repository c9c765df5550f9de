"""The settings that all schedulers share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from raytuner.errors import MetricError
from raytuner.history import Goal
from raytuner.history.goal import names_of

Metric = str | Sequence[str]


@dataclass(frozen=True)
class SchedulerSettings:
    """The resource, metrics and modes that a scheduler was given.

    Args:
        scheduler: The scheduler's class, for messages.
        time_attr: Key of a report that says how much resource `t` the trial has spent.
        metric: Key of the objective, or several. None: the Tuner's, or else the searcher's.
        mode: `"min"` or `"max"`, one for each. None: the Tuner's, or else the searcher's.

    Raises:
        MetricError: One of them cannot be one.
    """

    scheduler: str
    time_attr: str
    metric: Metric | None
    mode: Metric | None

    def __post_init__(self) -> None:
        if not isinstance(self.time_attr, str) or not self.time_attr:
            raise MetricError(
                f"time_attr={self.time_attr!r} is not the name of one key of a report (a str)"
            )
        names: tuple[Literal["metric", "mode"], ...] = ("metric", "mode")
        for name in names:
            if getattr(self, name) is not None:
                names_of(name, getattr(self, name))

    def goal(self) -> Goal:
        """Return the goal that metric and mode make.

        Raises:
            MetricError: One of them is missing.
        """
        if self.metric is None or self.mode is None:
            raise MetricError(
                f"{self.scheduler} has metric={self.metric!r} and mode={self.mode!r}; give both,"
                " mode as 'min' or 'max', to tune.TuneConfig or to the scheduler"
            )
        return Goal.of(self.metric, self.mode)

    def goal_beside(self, searchers: Goal) -> Goal:
        """Return the goal to judge by: the searcher's, unless the scheduler has another one."""
        is_given = self.metric is not None or self.mode is not None
        if is_given and self.goal().objectives != searchers.objectives:
            return self.goal()
        return searchers
