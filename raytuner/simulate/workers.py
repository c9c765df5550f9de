"""Workers and who holds them: the stand-in for Ray's actor manager."""

from __future__ import annotations

import heapq
from array import array
from collections import deque

from raytuner.simulate.clock import Clock, Kind
from raytuner.simulate.settings import Cluster
from raytuner.simulate.trial import Actor


class Workers:
    """Gives workers to actors in the order of request.

    Attributes:
        training: Start and end of every stretch of training, alternating, in virtual seconds.
        held: Start and end of every hold of a worker by an actor, likewise.
        present: Per worker, by number, ``(from, until)`` in virtual seconds; until is None while it
            is there.
    """

    def __init__(self, cluster: Cluster, clock: Clock) -> None:
        self._cluster = cluster
        self._clock = clock
        self._requests: deque[Actor] = deque()
        self._idle: list[int] = []
        self._holder: dict[int, Actor] = {}
        self.pending = 0
        self.training: array[float] = array("d")
        self.held: array[float] = array("d")
        self.present: list[tuple[float, float | None]] = []
        self._join(0.0, cluster.workers)
        for number, loss in enumerate(cluster.losses):
            clock.push(loss.at_s, Kind.LOSS, None, number)
        for number, join in enumerate(cluster.joins):
            clock.push(join.at_s, Kind.JOIN, None, number)

    @property
    def there(self) -> int:
        """How many workers there are now; one that was lost counts until Ray notices."""
        return len(self._idle) + len(self._holder)

    def request(self, actor: Actor) -> None:
        """Queue an actor for a worker."""
        self._requests.append(actor)
        self.pending += 1

    def start_waiting(self) -> None:
        """Give idle workers to the actors that wait."""
        while self._idle and self.pending:
            actor = self._requests.popleft()
            if actor.gone:
                continue
            self.pending -= 1
            actor.worker = heapq.heappop(self._idle)
            self._holder[actor.worker] = actor
            now = self._clock.now
            actor.held_since = now
            started = max(now, actor.ready_at) + self._cluster.startup(actor.rng)
            actor.busy_until = started
            self._clock.push(started, Kind.STARTED, actor)

    def train(self, actor: Actor, seconds: float, kind: Kind) -> None:
        """Let an actor train for so long, to the outcome ``kind``."""
        if actor.lost:
            return  # its death is on the way
        now = self._clock.now
        actor.trains_since = now
        actor.time_this_iter = seconds
        actor.busy_until = now + seconds
        self._clock.push(actor.busy_until, kind, actor)

    def trained(self, actor: Actor, until: float) -> float:
        """An actor's training ended at ``until``: enter it. Returns its seconds."""
        since, actor.trains_since = actor.trains_since, None
        if since is None or until <= since:
            return 0.0
        self.training.append(since)
        self.training.append(until)
        return until - since

    def task(self, actor: Actor, seconds: float, kind: Kind) -> None:
        """Let an actor do something beside training, once it is through with what it does."""
        if actor.lost:
            return
        actor.busy_until = max(self._clock.now, actor.busy_until) + seconds
        self._clock.push(actor.busy_until, kind, actor)

    def stop(self, actor: Actor) -> None:
        """End an actor: what it does now is finished first, and nobody hears of it."""
        if actor.gone:
            return
        actor.epoch += 1
        if actor.worker is None:
            actor.gone = True
            self.pending -= 1
            return
        actor.stopping = True
        end = self._clock.now
        if not actor.lost:
            end = max(end, actor.busy_until) + self._cluster.teardown_s
        self._clock.push(end, Kind.STOPPED, actor)

    def release(self, actor: Actor) -> None:
        """An actor is gone: its worker is free, if its node lives."""
        if actor.gone:
            return
        actor.gone = True
        actor.epoch += 1
        if actor.worker is None:
            return
        self.trained(actor, min(self._clock.now, actor.busy_until))
        if self._holder.get(actor.worker) is actor:
            del self._holder[actor.worker]
            if not actor.lost:
                self._hold_ended(actor, self._clock.now)
                heapq.heappush(self._idle, actor.worker)

    def lose(self, time: float, number: int) -> tuple[int, ...]:
        """The node of loss ``number`` dies at ``time``. Returns the workers that were there."""
        gone: list[int] = []
        for worker in self._cluster.losses[number].workers:
            if worker >= len(self.present) or self.present[worker][1] is not None:
                continue  # not there yet, or lost before
            self.present[worker] = (self.present[worker][0], time)
            gone.append(worker)
            actor = self._holder.pop(worker, None)
            if actor is None:
                self._idle.remove(worker)
                heapq.heapify(self._idle)
                continue
            actor.lost = True
            self._hold_ended(actor, time)
            self.trained(actor, min(time, actor.busy_until))
            if actor.stopping:
                continue
            actor.epoch += 1
            self._clock.push(time + self._cluster.notice_s, Kind.DIED, actor)
        return tuple(gone)

    def join(self, time: float, number: int) -> int:
        """The workers of join ``number`` come at ``time``. Returns how many."""
        count = self._cluster.joins[number].count
        self._join(time, count)
        return count

    def close(self, time: float) -> None:
        """The search is over: enter what is still going on."""
        for actor in self._holder.values():
            self.trained(actor, min(time, actor.busy_until))
            self._hold_ended(actor, time)
        self._holder.clear()

    def _join(self, time: float, count: int) -> None:
        for _ in range(count):
            heapq.heappush(self._idle, len(self.present))
            self.present.append((time, None))

    def _hold_ended(self, actor: Actor, time: float) -> None:
        if time > actor.held_since:
            self.held.append(actor.held_since)
            self.held.append(time)
