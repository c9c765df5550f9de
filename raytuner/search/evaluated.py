"""Configurations that were evaluated elsewhere."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from raytuner.history import History, Origin, TrialState
from raytuner.space import Config, Space


@dataclass(frozen=True)
class Evaluated:
    """One of them; see :meth:`raytuner.BoTorchSearch.add_evaluated_point`."""

    parameters: Mapping[str, Any]
    value: float
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
    """Enter ``point`` into the record, as a trial that has ended."""
    trial_id = f"evaluated_{len(history):05d}"
    history.add(trial_id, completed(history.space, point.parameters), Origin.EVALUATED)
    for t, value in enumerate(point.curve, start=1):
        history.report(trial_id, t, value)
    if point.error:
        history.end(trial_id, TrialState.FAILED, "it failed where it was evaluated")
    elif point.pruned:
        history.end(trial_id, TrialState.STOPPED_EARLY, "stopped where it was evaluated")
    else:
        history.report(trial_id, len(point.curve) or history.max_t or 1.0, point.value)
        if math.isfinite(point.value):
            history.end(trial_id, TrialState.COMPLETED)
        else:
            history.end(trial_id, TrialState.FAILED, f"{history.metric} is {point.value}")
