"""Keeps the record while a simulation runs."""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np
from ray.tune.experiment import Trial

from raytuner.history import TrialState
from raytuner.simulate.events import Event, EventKind, SimulatedTrial
from raytuner.simulate.record import Ended, SearcherSeconds, Simulation
from raytuner.simulate.trial import Run
from raytuner.simulate.workers import Workers

_Answer = TypeVar("_Answer")

_LIVE = {
    Trial.PENDING: TrialState.PENDING,
    Trial.RUNNING: TrialState.RUNNING,
    Trial.PAUSED: TrialState.PAUSED,
}


class Stopwatch:
    """Real seconds spent in calls of one kind."""

    def __init__(self, timer: Callable[[], float]) -> None:
        self._timer = timer
        self.seconds: array[float] = array("d")

    def call(self, function: Callable[..., _Answer], *args: Any, **kwargs: Any) -> _Answer:
        """Call, and enter how long it took (also if it raises)."""
        begin = self._timer()
        try:
            return function(*args, **kwargs)
        finally:
            self.seconds.append(self._timer() - begin)

    @property
    def last(self) -> float:
        """Seconds of the last call."""
        return self.seconds[-1]


class Log:
    """Events and trials as they come, and the frozen record at the end."""

    def __init__(self, metric: str | None, mode: str, max_t: float | None) -> None:
        self.metric = metric
        self._mode = mode
        self._max_t = max_t
        self._events: list[Event] = []

    def add(
        self,
        time: float,
        kind: EventKind,
        run: Run | None = None,
        t: float = 0,
        value: float | None = None,
        decision: str = "",
    ) -> None:
        """Enter one event; see `Event`."""
        number = -1 if run is None else run.number
        self._events.append(Event(time, kind, number, t, value, decision))

    def value_of(self, result: Mapping[str, Any]) -> float | None:
        """The metric in a result, if there is one that is a number."""
        value = result.get(self.metric) if self.metric is not None else None
        try:
            return None if value is None else float(value)
        except (TypeError, ValueError):
            return None

    def frozen(
        self,
        runs: list[Run],
        workers: Workers,
        end_s: float,
        ended: Ended,
        proposals: Mapping[str, int],
        suggest: Stopwatch,
        hooks: Stopwatch,
        scheduler: Stopwatch,
        is_full: Callable[[str], bool],
    ) -> Simulation:
        """The record."""
        reached = max((max(run.values) for run in runs if run.values), default=0.0)
        return Simulation(
            metric=self.metric,
            mode=self._mode,
            events=tuple(self._events),
            trials=tuple(
                _simulated(run, self._max_t, reached, is_full(run.trial.trial_id)) for run in runs
            ),
            end_s=end_s,
            ended=ended,
            workers=tuple(workers.present),
            proposals=dict(proposals),
            searcher_seconds=SearcherSeconds(
                np.array(suggest.seconds), np.array(hooks.seconds), sum(scheduler.seconds)
            ),
            _training=np.array(workers.training),
            _held=np.array(workers.held),
        )


def _simulated(run: Run, max_t: float | None, reached: float, is_full: bool) -> SimulatedTrial:
    values = tuple(sorted(run.values.items()))
    return SimulatedTrial(
        number=run.number,
        trial_id=run.trial.trial_id,
        config=run.trial.config,
        state=_state(run, values, _full(run, max_t, reached)),
        values=values,
        attempts=run.attempts,
        units=run.units,
        trained_s=run.trained_s,
        proposed_at=run.proposed_at,
        started_at=run.started_at,
        ended_at=run.ended_at,
        is_full=is_full,
    )


def _state(run: Run, values: tuple[tuple[float, float], ...], full: float) -> TrialState:
    if not run.ending:
        return _LIVE[run.cut_off or run.trial.status]
    if run.ending == "error" or (values and not math.isfinite(values[-1][1])):
        return TrialState.FAILED
    if run.ending in ("criterion", "returned"):
        return TrialState.COMPLETED
    if run.ending == "removed":
        return TrialState.STOPPED_EARLY if values else TrialState.REMOVED
    return TrialState.COMPLETED if run.iteration >= full else TrialState.STOPPED_EARLY


def _full(run: Run, max_t: float | None, reached: float) -> float:
    """The resource from which on a scheduler's STOP is an end, not an early one."""
    known = [bound for bound in (max_t, run.curve.length) if bound is not None]
    return min(known, default=reached)
