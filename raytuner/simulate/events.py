"""What happened in a simulation, frozen: events, and trials as they ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

from raytuner.history import TrialState


class EventKind(StrEnum):
    """What happened."""

    PROPOSED = "proposed"  # the searcher gave a configuration: the trial waits for a worker
    STARTED = "started"  # it trains (also again, after a pause or a failure)
    REPORTED = "reported"  # with the decision that Ray carries out
    PAUSED = "paused"
    ENDED = "ended"  # stopped or returned
    RETRIED = "retried"  # it failed, and waits for a worker again
    FAILED = "failed"  # for good
    NODE_LOST = "node lost"
    WORKERS_JOINED = "workers joined"
    BUDGET_ENDED = "budget ended"  # the time budget, or a stopper that ends the experiment


class Event(NamedTuple):
    """One thing that happened.

    Attributes:
        time: Virtual seconds since the search began.
        kind: What.
        trial: The trial's number in the order of proposals; -1 if it is about none.
        t: The trial's ``training_iteration``; the number of workers for a node or a join.
        value: The metric, if it was reported.
        decision: "CONTINUE", "PAUSE", "STOP" or "NOOP" for a report; else empty.
    """

    time: float
    kind: EventKind
    trial: int = -1
    t: float = 0
    value: float | None = None
    decision: str = ""


@dataclass(frozen=True)
class SimulatedTrial:
    """One trial as it ended.

    Attributes:
        number: Its place in the order of proposals, from 0.
        trial_id: Ray's id.
        config: Its configuration.
        state: COMPLETED: it reached the full resource, met a stop criterion or returned.
            STOPPED_EARLY: the scheduler ended it before. FAILED: it raised, or its last value is no
            finite number. REMOVED: it was ended before it reported. A live state: the end of the
            search cut it off.
        values: Pairs ``(training_iteration, metric)`` in ascending order.
        attempts: How often it was started.
        units: Units of resource that were computed for it, repeated ones included.
        trained_s: Seconds of training, repeated ones included.
        proposed_at: Virtual seconds.
        started_at: Virtual seconds of its first start; None: never.
        ended_at: Virtual seconds; None while it is live.
        is_full: Whether it is at full fidelity, by a searcher that knows of fidelities.
    """

    number: int
    trial_id: str
    config: Mapping[str, Any]
    state: TrialState
    values: tuple[tuple[float, float], ...]
    attempts: int
    units: int
    trained_s: float
    proposed_at: float
    started_at: float | None
    ended_at: float | None
    is_full: bool = True

    @property
    def value(self) -> float | None:
        """Its last value."""
        return self.values[-1][1] if self.values else None
