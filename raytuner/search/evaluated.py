"""Configurations that were evaluated elsewhere."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from raytuner.controller.recorder import record_metrics
from raytuner.controller.report import read_metrics
from raytuner.errors import MetricError
from raytuner.history import History, Origin, TrialState
from raytuner.space import Config, Space


@dataclass(frozen=True)
class Evaluated:
    """One of them; see :meth:`raytuner.BoTorchSearch.add_evaluated_point`."""

    parameters: Mapping[str, Any]
    value: float | Mapping[str, float]
    error: bool
    pruned: bool
    curve: tuple[float, ...]


def completed(space: Space, config: Mapping[str, Any]) -> Config:
    """The configuration with the space's constants filled in.

    Raises:
        ConfigError: It does not fit the space.
    """
    space.validate(config)
    return space.load(space.dump(config))


def tell(history: History, point: Evaluated) -> None:
    """Enter ``point`` into the record, as a trial that has ended.

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
    """Every metric of the search that is known of a point."""
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
