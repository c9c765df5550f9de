"""The record of a simulation, while it runs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ray.tune import Callback
from ray.tune.experiment import Trial
from ray.tune.schedulers import TrialScheduler
from ray.tune.utils import flatten_dict

from raytuner.history import TrialState
from raytuner.simulate.clock import Clock
from raytuner.simulate.simulation import EventKind, SimulationEvent
from raytuner.simulate.training import Training
from raytuner.simulate.trial_index import TrialIndex

_LIVE = {
    Trial.PENDING: TrialState.PENDING,
    Trial.RUNNING: TrialState.RUNNING,
    Trial.PAUSED: TrialState.PAUSED,
}


class EventRecorder(Callback):
    """A Ray callback that records events and the state of trials.

    Args:
        clock: The virtual clock.
        metric: Name of the metric whose values are recorded.
        time_attr: Name of the resource in a result.

    Attributes:
        events: The events so far.
        trainings: The trials in the order of proposal.
        trials: Ray's trials.
        decision: The scheduler's decision on the report that is handled; None: it was not asked.
    """

    def __init__(self, clock: Clock, metric: str | None, time_attr: str) -> None:
        self._clock = clock
        self.metric = metric
        self._time_attr = time_attr
        self.events: list[SimulationEvent] = []
        self.trainings: list[Training] = []
        self.trials = TrialIndex()
        self.decision: str | None = None

    def add(self, kind: EventKind, training: Training | None = None, **more: Any) -> None:
        """Record an event now; see `SimulationEvent` for more of it."""
        if training is not None:
            more = {"trial": training.number, "t": training.iteration, **more}
        self.events.append(SimulationEvent(self._clock.now, kind, **more))

    def on_loss(self, workers: int) -> None:
        """Record that workers were lost."""
        self.add(EventKind.NODE_LOST, t=workers)

    def on_proposed(self, trial: Any) -> None:
        """Record a new trial."""
        self.trainings.append(trial.training)
        self.trials.add(trial)
        self.add(EventKind.PROPOSED, trial.training)

    def on_status(self, trial: Any, status: str) -> None:
        """Record a trial's new status."""
        self.trials.update(trial, status)
        trial.training.state = _LIVE.get(status, trial.training.state)
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
        decision, self.decision = self.decision, None
        if decision is None:  # the report meets a stop criterion
            training.ending, decision = "criterion", TrialScheduler.STOP
        elif decision == TrialScheduler.STOP:
            training.ending = "scheduler"
        value = None if self.metric is None else _number(result, self.metric)
        if value is not None:
            training.reports[training.iteration] = value
        training.t = _number(result, self._time_attr) or training.t
        self.add(EventKind.REPORTED, training, value=value, decision=decision)

    def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        """Record an end."""
        training: Training = trial.training
        if trial.status in (Trial.PENDING, Trial.PAUSED):
            training.ending = "removed"
        elif not training.ending:
            training.ending = "criterion" if trial.last_result.get("done") else "scheduler"
        self._end(EventKind.ENDED, trial)

    def on_trial_recover(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        """Record a retry. Ray puts the trial at the end of its list."""
        trial.training.ending = ""
        self.trials.add(trial)
        self.add(EventKind.RETRIED, trial.training)

    def on_trial_error(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        """Record a final failure."""
        trial.training.ending = "error"
        self._end(EventKind.FAILED, trial)

    def close(self, max_t: float | None) -> tuple[Training, ...]:
        """Enter how each trial ended, and return them.

        Args:
            max_t: The full resource; None: unknown.
        """
        reached = max((one.t for one in self.trainings if one.reports), default=0.0)
        for training in self.trainings:
            if training.ended_at is not None:
                training.state = _end_state(training, max_t, reached)
        return tuple(self.trainings)

    def _end(self, kind: EventKind, trial: Any) -> None:
        trial.training.ended_at = self._clock.now
        self.add(kind, trial.training)


def _number(result: Mapping[str, Any], name: str) -> float | None:
    """Return a metric of a result, if it is a number; `a/b` is nested."""
    value = result.get(name)
    if value is None and "/" in name:
        value = flatten_dict(dict(result)).get(name)
    try:
        return None if value is None else float(value)
    except (TypeError, ValueError):
        return None


def _end_state(training: Training, max_t: float | None, reached: float) -> TrialState:
    value = training.value
    if training.ending == "error" or (value is not None and not math.isfinite(value)):
        return TrialState.FAILED
    if training.ending == "criterion":
        return TrialState.COMPLETED
    if training.ending == "removed":
        return TrialState.STOPPED_EARLY if training.reports else TrialState.REMOVED
    length = math.inf if training.curve.length is None else training.curve.length
    full = max_t or (reached if length == math.inf else math.inf)
    is_full = training.t >= full or training.iteration >= length
    return TrialState.COMPLETED if is_full else TrialState.STOPPED_EARLY
