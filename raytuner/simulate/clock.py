"""The virtual clock and the events scheduled on it."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from enum import IntEnum
from typing import Any, NamedTuple


class Order(IntEnum):
    """The order of events at the same time, as in Ray's loop; of one kind, as scheduled."""

    STOPPED = 0
    STARTED = 1
    SAVED = 2  # or restored
    TRAINED = 3
    WAKE_UP = 4


class _Event(NamedTuple):
    time: float
    order: Order
    number: int
    action: Callable[[], None]
    actor: Any
    epoch: int


class Clock:
    """Virtual seconds since the search began, `now`, and a queue of scheduled events."""

    def __init__(self) -> None:
        self.now = 0.0
        self._queue: list[_Event] = []
        self._count = 0

    def schedule(
        self, time: float, order: Order, action: Callable[[], None], actor: Any = None
    ) -> None:
        """Schedule `action` at virtual second `time`, unless `actor.epoch` changes before."""
        self._count += 1
        epoch = 0 if actor is None else actor.epoch
        heapq.heappush(self._queue, _Event(time, order, self._count, action, actor, epoch))

    def next_time(self) -> float | None:
        """Return the time of the next event, or None if there is none."""
        queue = self._queue
        while queue and queue[0].actor is not None and queue[0].actor.epoch != queue[0].epoch:
            heapq.heappop(queue)
        return queue[0].time if queue else None

    def run_next(self) -> None:
        """Advance to the event that `next_time` found, and run it."""
        event = heapq.heappop(self._queue)
        self.advance_to(event.time)
        event.action()

    def advance_to(self, time: float) -> None:
        """Advance to `time`, unless it has passed."""
        self.now = max(self.now, time)
