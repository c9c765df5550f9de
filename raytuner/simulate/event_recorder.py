"""The record of a simulation, while it runs."""

from __future__ import annotations

import math
from bisect import insort
from collections.abc import Iterator
from typing import Any

from ray.tune import Callback
from ray.tune.experiment import Trial
from ray.tune.schedulers import TrialScheduler
from ray.tune.utils import flatten_dict

from raytuner.history import TrialState
from raytuner.simulate.actors import Training
from raytuner.simulate.clock import Clock
from raytuner.simulate.simulation import EventKind, SimulationEvent

_WAITS = (Trial.PENDING, Trial.PAUSED)


class Trials:
    """All trials in Ray's order, but those that wait come first.

    Schedulers look through Ray's list at each turn for a trial that can run. With these trials
    first that costs the same however many run or have ended.
    """

    def __init__(self) -> None:
        self._places: dict[Trial, int] = {}
        self._next = 0
        self.waiting: list[Trial] = []  # pending or paused, in Ray's order

    def put_last(self, trial: Trial) -> None:
        """Add a trial, or move it to the end."""
        self._places.pop(trial, None)
        self._places[trial] = self._next
        self._next += 1
        if trial in self.waiting:
            self.waiting.remove(trial)
        self.update(trial, trial.status)

    def update(self, trial: Trial, status: str) -> None:
        """Take a trial's new status into account."""
        waits, waited = status in _WAITS, trial in self.waiting
        if waits and not waited:
            insort(self.waiting, trial, key=self._places.__getitem__)
        elif waited and not waits:
            self.waiting.remove(trial)

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[Trial]:
        waiting = list(self.waiting)  # schedulers stop trials while they iterate
        yield from waiting
        first = set(waiting)
        yield from (trial for trial in list(self._places) if trial not in first)


class EventRecorder(Callback):
    """A Ray callback that records events and the state of trials."""

    def __init__(
        self, clock: Clock, metric: str | None, time_attr: str, max_t: float | None
    ) -> None:
        self._clock = clock
        self.metric = metric
        self._time_attr = time_attr
        self._max_t = max_t or math.inf
        self.events: list[SimulationEvent] = []
        self.trainings: list[Training] = []  # in the order of proposal
        self.trials = Trials()

    def add(self, kind: EventKind, training: Training | None = None, **more: Any) -> None:
        """Record an event now; see `SimulationEvent` for more of it."""
        if training is not None:
            more = {"trial": training.number, "t": training.iteration, **more}
        self.events.append(SimulationEvent(self._clock.now, kind, **more))

    def on_proposed(self, trial: Any) -> None:
        """Record a new trial."""
        self.trainings.append(trial.training)
        self.trials.put_last(trial)
        self.add(EventKind.PROPOSED, trial.training)

    def on_status(self, trial: Any, status: str) -> None:
        """Record a trial's new status."""
        self.trials.update(trial, status)
        if status in (*_WAITS, Trial.RUNNING):
            trial.training.state = TrialState(status)
        if status == Trial.PAUSED:
            self.add(EventKind.PAUSED, trial.training)

    def on_trial_start(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        """Record a start."""
        training: Training = trial.training
        if training.started_at is None:
            training.started_at = self._clock.now
        self.add(EventKind.STARTED, training)

    def on_trial_result(
        self, iteration: int, trials: Any, trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Record a report and the decision on it."""
        training: Training = trial.training
        value = None if self.metric is None else _number(result, self.metric)
        if value is not None:
            training.reports[training.iteration] = value
        training.t = _number(result, self._time_attr) or training.t
        decision = training.decision or TrialScheduler.STOP  # it meets a stop criterion
        self.add(EventKind.REPORTED, training, value=value, decision=decision)

    def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        """Record an end."""
        training: Training = trial.training
        length = training.curve.length or math.inf
        is_full = training.t >= self._max_t or training.iteration >= length
        stopped = training.decision == TrialScheduler.STOP or not trial.last_result.get("done")
        if trial.status in _WAITS and not training.reports:
            state = TrialState.REMOVED
        elif trial.status in _WAITS or (stopped and not is_full):
            state = TrialState.STOPPED_EARLY
        else:
            state = TrialState.COMPLETED
        is_usable = training.value is None or math.isfinite(training.value)
        self._end(EventKind.ENDED, training, state if is_usable else TrialState.FAILED)

    def on_trial_recover(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        """Record a retry. Ray puts the trial at the end of its list."""
        self.trials.put_last(trial)
        self.add(EventKind.RETRIED, trial.training)

    def on_trial_error(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        """Record a final failure."""
        self._end(EventKind.FAILED, trial.training, TrialState.FAILED)

    def _end(self, kind: EventKind, training: Training, state: TrialState) -> None:
        training.state, training.ended_at = state, self._clock.now
        self.add(kind, training)


def _number(result: dict[str, Any], name: str) -> float | None:
    """Return a metric of a result, if it is a number; `a/b` is nested."""
    value = result.get(name)
    if value is None and "/" in name:
        value = flatten_dict(dict(result)).get(name)
    try:
        return None if value is None else float(value)
    except (TypeError, ValueError):
        return None
