"""Records events and trials while a simulation runs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, overload

from ray.tune import Callback
from ray.tune.experiment import Trial
from ray.tune.schedulers import TrialScheduler
from ray.tune.utils import flatten_dict

from raytuner.history import TrialState
from raytuner.simulate.clock import Clock
from raytuner.simulate.simulation import EventKind, SimulatedTrial, SimulationEvent
from raytuner.simulate.training import Training

_LIVE = {
    Trial.PENDING: TrialState.PENDING,
    Trial.RUNNING: TrialState.RUNNING,
    Trial.PAUSED: TrialState.PAUSED,
}


class Recorder(Callback):
    """A Ray callback that records what happens.

    Args:
        clock: The virtual clock.
        metric: Name of the metric whose values are recorded.
        time_attr: Name of the resource in a result.

    Attributes:
        events: The events so far.
        trainings: The trials in the order of proposal.
        trials: Ray's trials, live ones first.
    """

    def __init__(self, clock: Clock, metric: str | None, time_attr: str) -> None:
        self._clock = clock
        self.metric = metric
        self._time_attr = time_attr
        self.events: list[SimulationEvent] = []
        self.trainings: list[Training] = []
        self.trials = TrialIndex()
        self._decision: str | None = None  # on the report that is handled; None: not asked

    def add(
        self,
        kind: EventKind,
        training: Training | None = None,
        t: float = 0,
        value: float | None = None,
        decision: str = "",
    ) -> None:
        """Record an event now."""
        number = -1 if training is None else training.number
        self.events.append(SimulationEvent(self._clock.now, kind, number, t, value, decision))

    def on_proposed(self, trial: Any) -> None:
        """Record a new trial."""
        self.trainings.append(trial.training)
        self.trials.live[trial] = None
        self.add(EventKind.PROPOSED, trial.training)

    def on_workers(self, change: int) -> None:
        """Record that workers were lost or joined."""
        self.add(EventKind.WORKERS_JOINED if change > 0 else EventKind.NODE_LOST, t=abs(change))

    def on_status(self, trial: Any, status: str) -> None:
        """Record that a trial's status changes."""
        if status == Trial.TERMINATED:
            trial.training.live_status = trial.status
        elif status == Trial.PAUSED:
            self._add(EventKind.PAUSED, trial)

    def on_decision(self, decision: str) -> None:
        """Keep the scheduler's decision on the report that is handled."""
        self._decision = decision

    def on_trial_start(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        """Record a start."""
        if trial.training.started_at is None:
            trial.training.started_at = self._clock.now
        self._add(EventKind.STARTED, trial)

    def on_trial_result(
        self, iteration: int, trials: Any, trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Record a report and the decision on it."""
        training: Training = trial.training
        decision, self._decision = self._decision, None
        value = None if self.metric is None else _number(result, self.metric)
        if value is not None:
            training.values[training.iteration] = value
        training.t = _number(result, self._time_attr) or training.t
        if decision is None:  # the report meets a stop criterion
            training.ending, decision = "criterion", TrialScheduler.STOP
        elif decision == TrialScheduler.STOP:
            training.ending = "scheduler"
        self.add(EventKind.REPORTED, training, training.iteration, value, decision)

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
        del self.trials.live[trial]
        self.trials.live[trial] = None
        self._add(EventKind.RETRIED, trial)

    def on_trial_error(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        """Record a final failure."""
        trial.training.ending = "error"
        self._end(EventKind.FAILED, trial)

    def simulated_trials(
        self,
        max_t: float | None,
        recorded: Mapping[str, TrialState],
        is_full: Callable[[str], bool],
    ) -> tuple[SimulatedTrial, ...]:
        """Return the trials as they are now.

        Args:
            max_t: The full resource, if it is known.
            recorded: The states of trials in the searcher's own record.
            is_full: Whether a trial is at full fidelity.
        """
        reached = max((one.t for one in self.trainings if one.values), default=0.0)
        status = {trial.trial_id: trial.status for trial in self.trials}

        def state_of(training: Training) -> TrialState:
            if training.ended_at is None:
                live = status[training.trial_id]
                return _LIVE[live if live in _LIVE else training.live_status]
            in_record = recorded.get(training.trial_id)
            if in_record is not None and not in_record.is_live:
                return in_record
            return _state(training, max_t, reached)

        return tuple(
            SimulatedTrial(
                number=one.number,
                trial_id=one.trial_id,
                config=one.config,
                state=state_of(one),
                values=tuple(sorted(one.values.items())),
                attempts=one.attempts,
                units=one.units,
                trained_s=one.trained_s,
                proposed_at=one.proposed_at,
                started_at=one.started_at,
                ended_at=one.ended_at,
                is_full=is_full(one.trial_id),
            )
            for one in self.trainings
        )

    def _add(self, kind: EventKind, trial: Any) -> None:
        self.add(kind, trial.training, trial.training.iteration)

    def _end(self, kind: EventKind, trial: Any) -> None:
        trial.training.ended_at = self._clock.now
        self.trials.live.pop(trial, None)
        self.trials.ended.append(trial)
        self._add(kind, trial)


class TrialIndex(Sequence[Trial]):
    """All trials: live ones in Ray's order, then the others.

    Ray keeps one list, and schedulers look through it at each turn for a trial that can run. With
    the live ones first this costs the same however many trials have ended.
    """

    def __init__(self) -> None:
        self.live: dict[Trial, None] = {}
        self.ended: list[Trial] = []

    def __len__(self) -> int:
        return len(self.live) + len(self.ended)

    def __iter__(self) -> Iterator[Trial]:
        return chain(list(self.live), self.ended)  # schedulers stop trials while they iterate

    @overload
    def __getitem__(self, index: int) -> Trial: ...
    @overload
    def __getitem__(self, index: slice) -> list[Trial]: ...
    def __getitem__(self, index: int | slice) -> Trial | list[Trial]:
        return list(self)[index]


def _number(result: Mapping[str, Any], name: str) -> float | None:
    """Return a metric of a result, if it is a number; `a/b` is nested."""
    value = result.get(name)
    if value is None and "/" in name:
        value = flatten_dict(dict(result)).get(name)
    try:
        return None if value is None else float(value)
    except (TypeError, ValueError):
        return None


def _state(training: Training, max_t: float | None, reached: float) -> TrialState:
    """Return the state in which a trial ended."""
    values = training.values
    if training.ending == "error" or (values and not math.isfinite(values[max(values)])):
        return TrialState.FAILED
    if training.ending == "criterion":
        return TrialState.COMPLETED
    if training.ending == "removed":
        return TrialState.STOPPED_EARLY if values else TrialState.REMOVED
    length = math.inf if training.curve.length is None else training.curve.length
    full = max_t or (reached if length == math.inf else math.inf)
    is_full = training.t >= full or training.iteration >= length
    return TrialState.COMPLETED if is_full else TrialState.STOPPED_EARLY
