"""Configurations that were evaluated elsewhere."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from raytuner.controller.recorder import record_metrics
from raytuner.controller.report import read_metrics
from raytuner.errors import MetricError, SettingError
from raytuner.history import Goal, History, Origin, TrialState
from raytuner.space import Config, Space
from raytuner.space.choices import is_number


@dataclass(frozen=True)
class Evaluated:
    """A configuration that was evaluated elsewhere.

    Attributes:
        parameters: The configuration.
        value: Its metric; with several metrics, all of them by name.
        error: Whether it failed.
        pruned: Whether it was stopped early.
        curve: The metric after 1, 2, ... units of resource.
    """

    parameters: Mapping[str, Any]
    value: float | Mapping[str, float]
    error: bool = False
    pruned: bool = False
    curve: tuple[float, ...] = ()

    @classmethod
    def of(
        cls,
        parameters: Mapping[str, Any],
        value: float | Mapping[str, float],
        error: bool,
        pruned: bool,
        curve: Sequence[float] | None,
        goal: Goal | None,
    ) -> Evaluated:
        """Return the point, checked (see `raytuner.BoTorchSearch.add_evaluated_point`)."""
        if pruned and not curve:
            raise SettingError(
                "add_evaluated_point got pruned=True without intermediate_values; a stopped value"
                " counts at its resource only: pass the metric after 1, 2, ... units"
            )
        if curve and goal is not None and len(goal.metrics) > 1:
            raise SettingError(
                "add_evaluated_point got intermediate_values, which are of one metric; this search"
                f" has {', '.join(goal.metrics)}"
            )
        values = list(value.values()) if isinstance(value, Mapping) else [value]
        for number in [*([] if error else values), *(curve or ())]:
            if not is_number(number):
                raise MetricError(
                    f"add_evaluated_point got {number!r} ({type(number).__name__}); the metric"
                    " must be a number"
                )
        return cls(parameters, value, error, pruned, tuple(curve or ()))


def completed(space: Space, config: Mapping[str, Any]) -> Config:
    """Return the configuration with the space's constants filled in.

    Raises:
        ConfigError: It does not fit the space.
    """
    space.validate(config)
    return space.load(space.dump(config))


def tell(history: History, point: Evaluated) -> None:
    """Record an evaluated point as a trial that has ended.

    Raises:
        ConfigError: Its configuration does not fit the space.
        MetricError: It lacks a metric of the search.
    """
    metrics = _metrics(history, point)
    trial_id = f"evaluated_{len(history):05d}"
    history.add(trial_id, completed(history.space, point.parameters), Origin.EVALUATED)
    for t, value in enumerate(point.curve, start=1):
        history.report(trial_id, t, value)
    if point.error:
        history.end(trial_id, TrialState.FAILED, "it failed where it was evaluated")
    elif point.pruned:
        history.end(trial_id, TrialState.STOPPED_EARLY, "stopped where it was evaluated")
    else:
        record_metrics(history, trial_id, len(point.curve) or history.max_t or 1.0, metrics)
        needed = {name: metrics[name] for name in history.goal.required}
        odd = [f"{name} is {value}" for name, value in needed.items() if not math.isfinite(value)]
        history.end(trial_id, TrialState.FAILED if odd else TrialState.COMPLETED, ", ".join(odd))


def _metrics(history: History, point: Evaluated) -> dict[str, float]:
    """Return every metric of the search that is known of a point."""
    goal = history.goal
    if point.error:
        return {}
    if isinstance(point.value, Mapping):
        return read_metrics(point.value, goal)
    if len(goal.required) > 1:
        raise MetricError(
            f"add_evaluated_point got the one number {point.value!r}; this search has the metrics"
            f" {', '.join(goal.required)}: give a dict of them"
        )
    return read_metrics({history.metric: point.value}, goal)
