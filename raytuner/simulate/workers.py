"""Workers, and the actors that hold them."""

from __future__ import annotations

import heapq
from array import array
from collections import deque
from collections.abc import Callable
from functools import partial

from raytuner.simulate.clock import Clock, Order
from raytuner.simulate.settings import Cluster
from raytuner.simulate.training import Actor


class Workers:
    """Gives workers to actors in the order of their requests.

    Args:
        cluster: The workers, and their losses and joins.
        clock: The virtual clock.
        on_start: Called when an actor's start-up is over.
        on_stop: Called when an actor has stopped.
        on_death: Called when Ray notices that an actor's node is dead.
        on_change: Called with the change of the number of workers.

    Attributes:
        pending: Actors that wait for a worker.
        training: Start and end of every stretch of training, alternating, in virtual seconds.
        held: Start and end of every hold of a worker by an actor, likewise.
        present: Per worker, by number, `(from, until)` in virtual seconds; until is None while it
            is there.
    """

    def __init__(
        self,
        cluster: Cluster,
        clock: Clock,
        *,
        on_start: Callable[[Actor], None],
        on_stop: Callable[[Actor], None],
        on_death: Callable[[Actor], None],
        on_change: Callable[[int], None],
    ) -> None:
        self._cluster = cluster
        self._clock = clock
        self._on_start = on_start
        self._on_stop = on_stop
        self._on_death = on_death
        self._on_change = on_change
        self._requests: deque[Actor] = deque()
        self._idle: list[int] = []
        self._holder: dict[int, Actor] = {}
        self.pending = 0
        self.training: array[float] = array("d")
        self.held: array[float] = array("d")
        self.present: list[tuple[float, float | None]] = []
        self._add(0.0, cluster.workers)
        for loss in cluster.losses:
            clock.schedule(loss.at_s, Order.CLUSTER, partial(self._lose, loss.at_s, loss.workers))
        for join in cluster.joins:
            clock.schedule(join.at_s, Order.CLUSTER, partial(self._join, join.at_s, join.count))

    @property
    def busy(self) -> int:
        """How many actors hold a worker."""
        return len(self._holder)

    @property
    def total(self) -> int:
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
            ready = max(now, actor.training.ready_at)
            actor.busy_until = ready + self._cluster.startup(actor.rng)
            self._clock.schedule(
                actor.busy_until, Order.STARTED, partial(self._on_start, actor), actor
            )

    def train(self, actor: Actor, seconds: float, then: Callable[[], None]) -> None:
        """Let an actor train for some seconds."""
        if not actor.lost:  # else its death is scheduled
            actor.trains_since = self._clock.now
            actor.time_this_iter = seconds
            actor.busy_until = self._clock.now + seconds
            self._clock.schedule(actor.busy_until, Order.TRAINED, then, actor)

    def save(self, actor: Actor, seconds: float, then: Callable[[], None]) -> None:
        """Let an actor save or restore a checkpoint, after what it does now."""
        if not actor.lost:
            actor.busy_until = max(self._clock.now, actor.busy_until) + seconds
            self._clock.schedule(actor.busy_until, Order.SAVED, then, actor)

    def trained(self, actor: Actor, until: float) -> None:
        """Count the training of an actor up to `until`."""
        since, actor.trains_since = actor.trains_since, None
        if since is not None and until > since:
            self.training.extend((since, until))
            actor.training.trained_s += until - since

    def stop(self, actor: Actor) -> None:
        """End an actor after what it does now. Its scheduled events are void."""
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
        self._clock.schedule(end, Order.STOPPED, partial(self._on_stop, actor), actor)

    def release(self, actor: Actor) -> None:
        """Free the worker of an actor that is gone, if its node lives."""
        if actor.gone or actor.worker is None:
            return
        actor.gone = True
        actor.epoch += 1
        self.trained(actor, min(self._clock.now, actor.busy_until))
        if self._holder.get(actor.worker) is actor:
            del self._holder[actor.worker]
            self._end_hold(actor, self._clock.now)
            heapq.heappush(self._idle, actor.worker)

    def close(self) -> None:
        """Count what still goes on when the search is over."""
        for actor in self._holder.values():
            self.trained(actor, min(self._clock.now, actor.busy_until))
            self._end_hold(actor, self._clock.now)
        self._holder.clear()

    def _lose(self, time: float, workers: tuple[int, ...]) -> None:
        there = [
            w
            for w in dict.fromkeys(workers)
            if w < len(self.present) and self.present[w][1] is None
        ]
        for worker in there:
            self.present[worker] = (self.present[worker][0], time)
            actor = self._holder.pop(worker, None)
            if actor is None:
                self._idle.remove(worker)
                continue
            actor.lost = True
            self._end_hold(actor, time)
            self.trained(actor, min(time, actor.busy_until))
            if not actor.stopping:
                actor.epoch += 1
                noticed = time + self._cluster.notice_s
                self._clock.schedule(noticed, Order.DIED, partial(self._on_death, actor), actor)
        heapq.heapify(self._idle)
        self._on_change(-len(there))

    def _join(self, time: float, count: int) -> None:
        self._add(time, count)
        self._on_change(count)

    def _add(self, time: float, count: int) -> None:
        for _ in range(count):
            heapq.heappush(self._idle, len(self.present))
            self.present.append((time, None))

    def _end_hold(self, actor: Actor, time: float) -> None:
        if time > actor.held_since:
            self.held.extend((actor.held_since, time))
