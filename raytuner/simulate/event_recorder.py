"""The record of a simulation, while it runs."""

from __future__ import annotations

import itertools
import math
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
        self._numbers = itertools.count()
        self.waiting: set[Trial] = set()  # pending or paused

    def put_last(self, trial: Trial) -> None:
        """Add a trial, or move it to the end."""
        self._places.pop(trial, None)
        self._places[trial] = next(self._numbers)
        self.update(trial, trial.status)

    def update(self, trial: Trial, status: str) -> None:
        """Take a trial's new status into account."""
        if status in _WAITS:
            self.waiting.add(trial)
        else:
            self.waiting.discard(trial)

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[Trial]:
        # Schedulers stop trials while they iterate.
        waiting = self.waiting.copy()
        yield from sorted(waiting, key=self._places.__getitem__)
        yield from (trial for trial in list(self._places) if trial not in waiting)


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

    def _add(self, kind: EventKind, training: Training, value: float | None = None) -> None:
        now, number, t = self._clock.now, training.number, training.iteration
        self.events.append(SimulationEvent(now, kind, number, t, value))

    def on_proposed(self, trial: Any) -> None:
        """Record a new trial."""
        self.trainings.append(trial.training)
        self.trials.put_last(trial)
        self._add(EventKind.PROPOSED, trial.training)

    def on_status(self, trial: Any, status: str) -> None:
        """Record a trial's new status."""
        self.trials.update(trial, status)
        if status in (*_WAITS, Trial.RUNNING):
            trial.training.state = TrialState(status)
        if status == Trial.PAUSED:
            self._add(EventKind.PAUSED, trial.training)

    def on_trial_start(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        """Record a start."""
        training: Training = trial.training
        if training.started_at is None:
            training.started_at = self._clock.now
        self._add(EventKind.STARTED, training)

    def on_trial_result(
        self, iteration: int, trials: Any, trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Record a report and the decision on it."""
        training: Training = trial.training
        value = None if self.metric is None else _number(result, self.metric)
        if value is not None:
            training.reports[training.iteration] = value
        training.t = _number(result, self._time_attr) or training.t
        self._add(EventKind.REPORTED, training, value)

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
        self._add(EventKind.RETRIED, trial.training)

    def on_trial_error(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        """Record a final failure."""
        self._end(EventKind.FAILED, trial.training, TrialState.FAILED)

    def _end(self, kind: EventKind, training: Training, state: TrialState) -> None:
        training.state, training.ended_at = state, self._clock.now
        self._add(kind, training)


def _number(result: dict[str, Any], name: str) -> float | None:
    """Return a metric of a result, if it is a number; `a/b` is nested."""
    value = result.get(name)
    if value is None and "/" in name:
        value = flatten_dict(dict(result)).get(name)
    try:
        return None if value is None else float(value)
    except (TypeError, ValueError):
        return None
