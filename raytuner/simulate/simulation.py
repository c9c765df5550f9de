"""The result of a simulation: events, trials and figures."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal, NamedTuple

import numpy as np

from raytuner.history import TrialState
from raytuner.history.snapshot import FloatArray

Ended = Literal["finished", "time_budget", "stalled"]


class EventKind(StrEnum):
    """The kind of an event."""

    PROPOSED = "proposed"  # the searcher gave a configuration: the trial waits for a worker
    STARTED = "started"  # it trains (also again, after a pause or a failure)
    REPORTED = "reported"
    PAUSED = "paused"
    ENDED = "ended"  # stopped or returned
    RETRIED = "retried"  # it failed, and waits for a worker again
    FAILED = "failed"  # for good


class SimulationEvent(NamedTuple):
    """One event of a simulation."""

    time: float  # virtual seconds since the search began
    kind: EventKind
    trial: int  # its number in the order of proposals
    t: int  # the trial's `training_iteration`
    value: float | None  # the metric, if it was reported


@dataclass(kw_only=True)
class SimulatedTrial:
    """One trial.

    Attributes:
        number: Number of the trial in the order of proposals, from 0.
        trial_id: Ray's id.
        config: The configuration.
        proposed_at: When it was proposed, in virtual seconds.
        state: COMPLETED: it reached the full resource, met a stop criterion or returned.
            STOPPED_EARLY: the scheduler ended it before. FAILED: it raised, or its last value is
            not finite. REMOVED: it was ended before its first report. A live state: the search
            ended while it ran.
        reports: The metric by `training_iteration`.
        iteration: The latest `training_iteration`.
        attempts: Number of actors that were requested for it.
        started_at: First start in virtual seconds; None if it never started.
        ended_at: End in virtual seconds; None while it is live.
        is_full: Whether it is at full fidelity, according to a searcher with fidelities.
    """

    number: int
    trial_id: str
    config: dict[str, Any]
    proposed_at: float
    state: TrialState = TrialState.PENDING
    reports: dict[float, float] = field(default_factory=dict)
    iteration: int = 0
    attempts: int = 0
    started_at: float | None = None
    ended_at: float | None = None
    is_full: bool = True

    @property
    def values(self) -> tuple[tuple[float, float], ...]:
        """Pairs `(training_iteration, metric)` in ascending order."""
        return tuple(sorted(self.reports.items()))

    @property
    def value(self) -> float | None:
        """Its last value."""
        return self.reports[max(self.reports)] if self.reports else None


class Step(NamedTuple):
    """A new best trial.

    Attributes:
        time: Virtual seconds.
        value: The metric.
        trial: Number of the trial.
    """

    time: float
    value: float
    trial: int


@dataclass(frozen=True)
class Simulation:
    """A simulated search.

    Two simulations are equal if they have the same events; real seconds are not compared.

    Attributes:
        metric: Name of the objective; None if there was none.
        mode: "min" or "max".
        events: All events, in the order in which the loop handled them.
        trials: All trials, in the order of proposal.
        end_s: End of the search in virtual seconds.
        ended: Why it ended: "finished", "time_budget", or "stalled" if nothing more could happen
            (Ray would wait for ever).
        capacity: Pairs of a virtual second and the number of workers from then on, from 0 s.
        searcher_seconds: Real seconds of each call: "suggest" for calls that returned a
            configuration, "hooks" for all other calls of the searcher, and "scheduler".
    """

    metric: str | None
    mode: str
    events: tuple[SimulationEvent, ...] = field(repr=False)
    trials: tuple[SimulatedTrial, ...] = field(repr=False)
    end_s: float
    ended: Ended
    capacity: tuple[tuple[float, int], ...]
    searcher_seconds: Mapping[str, list[float]] = field(repr=False, compare=False)
    _training: FloatArray = field(repr=False, compare=False)

    def incumbent(self, *, final: bool = True) -> tuple[Step, ...]:
        """Return the improvements of the best value, among trials at full fidelity.

        Args:
            final: Whether only last values of COMPLETED trials count. False: all reported values.

        Returns:
            Steps `(time, value, trial)`, in ascending time.
        """
        points = [Step(e.time, e.value, e.trial) for e in self.events if e.value is not None]
        if final:
            points = sorted(
                Step(trial.ended_at, trial.value, trial.number)
                for trial in self.trials
                if trial.state is TrialState.COMPLETED
                if trial.ended_at is not None and trial.value is not None
            )
        sign = 1.0 if self.mode == "max" else -1.0
        steps: list[Step] = []
        best = -math.inf
        for point in points:
            is_full = self.trials[point.trial].is_full
            if is_full and math.isfinite(point.value) and sign * point.value > best:
                best = sign * point.value
                steps.append(point)
        return tuple(steps)

    @property
    def best(self) -> SimulatedTrial | None:
        """The best trial by final values, or by any value if no trial completed."""
        steps = self.incumbent() or self.incumbent(final=False)
        return self.trials[steps[-1].trial] if steps else None

    @property
    def counts(self) -> Counter[TrialState]:
        """The number of trials in each end state."""
        return Counter(trial.state for trial in self.trials)

    @property
    def resource_spent(self) -> int:
        """Units of resource that all trials computed, including repeated ones."""
        return sum(event.kind is EventKind.REPORTED for event in self.events)

    @property
    def workers(self) -> int:
        """The largest number of workers at one time."""
        return max(workers for _, workers in self.capacity)

    def utilisation(self, end_s: float | None = None) -> float:
        """Return the share of the workers' time that is spent on training, from 0 to 1.

        The time counts from the first start of a trial, for each worker only while it existed.

        Args:
            end_s: End of the period in virtual seconds; None: the end of the search.
        """
        starts = (trial.started_at for trial in self.trials if trial.started_at is not None)
        start = min(starts, default=self.end_s)
        end = self.end_s if end_s is None else end_s
        busy = float(np.diff(np.clip(self._training, start, max(start, end))).sum())
        available = self._worker_seconds(start, end)
        # Sums in two orders may differ in the last digit.
        return min(1.0, busy / available) if available > 0 else 0.0

    def worker_hours(self) -> float:
        """Return the total hours of all workers, busy or idle."""
        return self._worker_seconds(0.0, self.end_s) / 3600.0

    def _worker_seconds(self, start: float, end: float) -> float:
        times, workers = zip(*self.capacity, strict=True)
        return float(np.diff(np.clip([*times, math.inf], start, max(start, end))) @ workers)
