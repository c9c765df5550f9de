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

    def __init__(self, metric: str | None, mode: str, time_attr: str, max_t: float | None) -> None:
        self.metric = metric
        self._time_attr = time_attr
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
        """Return the metric in a result, if there is one that is a number."""
        return _number(result.get(self.metric)) if self.metric is not None else None

    def t_of(self, result: Mapping[str, Any]) -> float | None:
        """Return the resource in a result, in the scheduler's unit, if it is a number."""
        return _number(result.get(self._time_attr))

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
        recorded: Mapping[str, TrialState],
    ) -> Simulation:
        """Return the record of the simulation."""
        reached = max((run.t for run in runs if run.values), default=0.0)
        return Simulation(
            metric=self.metric,
            mode=self._mode,
            events=tuple(self._events),
            trials=tuple(
                _simulated(
                    run,
                    _state(run, recorded.get(run.trial.trial_id), self._max_t, reached),
                    is_full(run.trial.trial_id),
                )
                for run in runs
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


def _number(value: Any) -> float | None:
    try:
        return None if value is None else float(value)
    except (TypeError, ValueError):
        return None


def _simulated(run: Run, state: TrialState, is_full: bool) -> SimulatedTrial:
    return SimulatedTrial(
        number=run.number,
        trial_id=run.trial.trial_id,
        config=run.trial.config,
        state=state,
        values=tuple(sorted(run.values.items())),
        attempts=run.attempts,
        units=run.units,
        trained_s=run.trained_s,
        proposed_at=run.proposed_at,
        started_at=run.started_at,
        ended_at=run.ended_at,
        is_full=is_full,
    )


def _state(
    run: Run, recorded: TrialState | None, max_t: float | None, reached: float
) -> TrialState:
    """Return how a trial ended: as the searcher's record says, if it has one."""
    if not run.ending:
        return _LIVE[run.cut_off or run.trial.status]
    if recorded is not None and not recorded.is_live:
        return recorded
    if run.ending == "error" or (run.values and not math.isfinite(run.values[max(run.values)])):
        return TrialState.FAILED
    if run.ending in ("criterion", "returned"):
        return TrialState.COMPLETED
    if run.ending == "removed":
        return TrialState.STOPPED_EARLY if run.values else TrialState.REMOVED
    length = math.inf if run.curve.length is None else run.curve.length
    full = max_t or (reached if length == math.inf else math.inf)
    is_full = run.t >= full or run.iteration >= length
    return TrialState.COMPLETED if is_full else TrialState.STOPPED_EARLY
