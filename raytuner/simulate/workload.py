"""A search that was never run, as far as a simulation needs to know it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from raytuner.errors import MetricError, SettingError
from raytuner.simulate.objective import Objective


@dataclass(frozen=True, kw_only=True)
class Workload:
    """What is searched, and what training would report: a benchmark, or a guess of one's own.

    Attributes:
        space: A ``param_space`` of Ray Tune.
        objective: A configuration's learning curve.
        metric: What it reports.
        mode: "min" or "max".
        max_t: Units of a full training.
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
