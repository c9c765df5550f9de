"""Figures out of a record."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from raytuner.history import TrialState
from raytuner.simulate.events import Event, SimulatedTrial


class Step(NamedTuple):
    """A new incumbent.

    Attributes:
        time: Virtual seconds.
        value: Its metric.
        trial: Its number.
    """

    time: float
    value: float
    trial: int


def covered(spans: npt.NDArray[np.float64], start: float, end: float) -> float:
    """Seconds of ``spans``, an ``n x 2`` array of from and until, that lie in a window."""
    if end <= start or not spans.size:
        return 0.0
    clipped = np.clip(spans.reshape(-1, 2), start, end)
    return float((clipped[:, 1] - clipped[:, 0]).clip(min=0.0).sum())


def incumbent(
    events: Iterable[Event], trials: Sequence[SimulatedTrial], mode: str, *, final: bool
) -> tuple[Step, ...]:
    """The best value so far, each time it improved; see `Simulation.incumbent`."""
    sign = 1.0 if mode == "max" else -1.0
    points: Iterable[Step]
    if final:
        ended = (t for t in trials if t.state is TrialState.COMPLETED and t.ended_at is not None)
        ended = (t for t in ended if t.is_full)
        points = sorted(
            Step(t.ended_at or 0.0, t.value, t.number) for t in ended if t.value is not None
        )
    else:
        points = (
            Step(e.time, e.value, e.trial)
            for e in events
            if e.value is not None and trials[e.trial].is_full
        )
    steps: list[Step] = []
    best = -math.inf
    for point in points:
        if math.isfinite(point.value) and sign * point.value > best:
            best = sign * point.value
            steps.append(point)
    return tuple(steps)
