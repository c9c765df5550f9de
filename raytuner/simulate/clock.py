"""The virtual clock and what is to happen on it."""

from __future__ import annotations

import heapq
from enum import IntEnum

from raytuner.simulate.trial import Actor


class Kind(IntEnum):
    """What can happen, in the order in which equal times are handled.

    Ray looks at resources first, then at actors that started or stopped, then at results.
    """

    LOSS = 0
    JOIN = 1
    STOPPED = 2
    STARTED = 3
    RESTORED = 4
    SAVED = 5
    RESULT = 6
    RETURNED = 7  # the training function ended by itself
    RAISED = 8
    DIED = 9
    THOUGHT = 10  # the searcher's own process has a reply


CLUSTER_KINDS = frozenset((Kind.LOSS, Kind.JOIN))  # not events of Ray's loop: they take no turn

_Entry = tuple[float, int, int, Actor | None, int]


class Clock:
    """Virtual seconds since the search began, and a queue of what is to happen.

    Attributes:
        now: The time at which the loop is. It never goes back.
    """

    def __init__(self) -> None:
        self.now = 0.0
        self._queue: list[_Entry] = []
        self._count = 0

    def push(self, time: float, kind: Kind, actor: Actor | None, number: int = 0) -> None:
        """Let something happen at ``time``.

        Args:
            time: Virtual seconds.
            kind: What.
            actor: Whose; what was pushed before the actor's ``epoch`` moved on never happens.
            number: Which loss or join.
        """
        self._count += 1
        marker = number if actor is None else actor.epoch
        # The count keeps the order of equal times, and actors from being compared.
        heapq.heappush(self._queue, (time, kind * 2**48 + self._count, kind, actor, marker))

    def next_time(self) -> float | None:
        """When the next thing happens; None if nothing will."""
        queue = self._queue
        while queue:
            time, _, _, actor, marker = queue[0]
            if actor is None or actor.epoch == marker:
                return time
            heapq.heappop(queue)
        return None

    def pop(self) -> tuple[float, Kind, Actor | None, int]:
        """Take the next thing that happens off the queue; ``next_time`` must have been asked."""
        time, _, kind, actor, marker = heapq.heappop(self._queue)
        return time, Kind(kind), actor, marker

    def advance_to(self, time: float) -> None:
        """Go on to ``time``, unless it has passed."""
        self.now = max(self.now, time)
