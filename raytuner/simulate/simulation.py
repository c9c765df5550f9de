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
        number: Its place in the order of proposals, from 0.
        trial_id: Ray's id.
        config: Its configuration.
        proposed_at: Virtual seconds.
        state: COMPLETED: it reached the full resource, met a stop criterion or returned.
            STOPPED_EARLY: the scheduler ended it before. FAILED: it raised, or its last value is no
            finite number. REMOVED: it was ended before it reported. A live state: the end of the
            search cut it off.
        reports: The metric by `training_iteration`.
        iteration: Its newest `training_iteration`.
        attempts: How many actors were requested for it.
        started_at: Virtual seconds of its first start; None: never.
        ended_at: Virtual seconds; None while it is live.
        is_full: Whether it is at full fidelity, by a searcher that knows of fidelities.
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
    """A new incumbent."""

    time: float  # virtual seconds
    value: float  # its metric
    trial: int  # its number


@dataclass(frozen=True)
class Simulation:
    """A search on a virtual clock.

    Two simulations are equal if the same happened; real seconds are left out.

    Attributes:
        metric: Name of the objective; None: none was named.
        mode: "min" or "max".
        events: All events, in the order in which the loop handled them.
        trials: All trials in the order of proposal.
        end_s: Virtual seconds when it ended.
        ended: Why: "finished"; "time_budget"; "stalled": nothing could happen any more, where Ray
            would wait for ever.
        capacity: Pairs of a virtual second and the number of workers from then on, from 0 s.
        searcher_seconds: The real seconds of each call: "suggest" has those that gave a
            configuration, "hooks" all others to the searcher, "scheduler" those to the scheduler.
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
        """Return the best value so far of trials at full fidelity, each time it improved.

        Args:
            final: Only last values of COMPLETED trials count; False: every value ever reported.

        Returns:
            Steps `(time, value, trial)` in ascending time (virtual seconds).
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
        """The last incumbent by final values, or by any value if no trial completed."""
        steps = self.incumbent() or self.incumbent(final=False)
        return self.trials[steps[-1].trial] if steps else None

    @property
    def counts(self) -> Counter[TrialState]:
        """The number of trials in each end state."""
        return Counter(trial.state for trial in self.trials)

    @property
    def resource_spent(self) -> int:
        """Units of resource that all trials computed, repeated ones included."""
        return sum(event.kind is EventKind.REPORTED for event in self.events)

    @property
    def workers(self) -> int:
        """The largest number of workers at one time."""
        return max(workers for _, workers in self.capacity)

    def utilisation(self, end_s: float | None = None) -> float:
        """Return the share of the workers' time, from 0 to 1, that is training.

        It counts from the first start of a trial until `end_s` (virtual seconds; None: the end),
        and for each worker only the time in which it existed.
        """
        starts = (trial.started_at for trial in self.trials if trial.started_at is not None)
        start = min(starts, default=self.end_s)
        end = self.end_s if end_s is None else end_s
        busy = float(np.diff(np.clip(self._training, start, max(start, end))).sum())
        available = self._worker_seconds(start, end)
        # Sums in two orders may differ in the last digit.
        return min(1.0, busy / available) if available > 0 else 0.0

    def worker_hours(self) -> float:
        """Return the hours that all workers together existed, busy or not."""
        return self._worker_seconds(0.0, self.end_s) / 3600.0

    def _worker_seconds(self, start: float, end: float) -> float:
        times, workers = zip(*self.capacity, strict=True)
        return float(np.diff(np.clip([*times, math.inf], start, max(start, end))) @ workers)
