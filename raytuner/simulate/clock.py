"""The virtual clock and the events scheduled on it."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from enum import IntEnum
from typing import Any, NamedTuple

from ray.tune.stopper import Stopper

from raytuner.simulate.training import Actor


class Order(IntEnum):
    """The order of events at the same time.

    Ray handles resources first, then actors that started or stopped, then results. A checkpoint
    that takes no time is saved before anything else happens. Within one kind, the event that was
    scheduled first comes first.
    """

    CLUSTER = 0  # workers are lost or join: no event of Ray's loop
    STOPPED = 1
    STARTED = 2
    SAVED = 3  # or restored
    TRAINED = 4
    DIED = 5
    WAKE_UP = 6


class _Scheduled(NamedTuple):
    """A scheduled event. It is void once `actor.epoch` has moved on."""

    time: float
    order: Order
    number: int
    action: Callable[[], None]
    actor: Actor | None
    epoch: int


class Clock:
    """Virtual seconds since the search began, and a queue of scheduled events.

    Attributes:
        now: The current time. It never decreases.
    """

    def __init__(self) -> None:
        self.now = 0.0
        self._queue: list[_Scheduled] = []
        self._count = 0

    def schedule(
        self, time: float, order: Order, action: Callable[[], None], actor: Actor | None = None
    ) -> None:
        """Schedule `action` at virtual second `time`, unless `actor` is cancelled before."""
        self._count += 1
        epoch = 0 if actor is None else actor.epoch
        heapq.heappush(self._queue, _Scheduled(time, order, self._count, action, actor, epoch))

    def next_time(self) -> float | None:
        """Return the time of the next event, or None if there is none."""
        queue = self._queue
        while queue:
            event = queue[0]
            if event.actor is None or event.actor.epoch == event.epoch:
                return event.time
            heapq.heappop(queue)
        return None

    def pop(self) -> _Scheduled:
        """Remove the event that `next_time` found, and advance to it."""
        event = heapq.heappop(self._queue)
        self.advance_to(event.time)
        return event

    def sleep(self, seconds: float) -> None:
        """Let some seconds pass."""
        self.now += seconds

    def advance_to(self, time: float) -> None:
        """Advance to `time`, unless it has passed."""
        self.now = max(self.now, time)


class Deadline(Stopper):
    """Ends an experiment at a virtual second. Ray's own stopper goes by the real time."""

    def __init__(self, clock: Clock, seconds: float) -> None:
        self._clock = clock
        self._seconds = seconds

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Return False: it ends no single trial."""
        return False

    def stop_all(self) -> bool:
        """Return whether the second has come."""
        return self._clock.now >= self._seconds
