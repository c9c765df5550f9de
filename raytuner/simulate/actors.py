"""The stand-in for Ray's actor manager: actors on simulated workers."""

from __future__ import annotations

import heapq
import math
import random
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from ray.exceptions import RayActorError

from raytuner.simulate.clock import Clock, Order
from raytuner.simulate.settings import Cluster
from raytuner.simulate.training import Actor, SimulatedFailure, Training


class SimulatedActors:
    """Gives workers to actors in the order of their requests, and runs their tasks.

    The methods without an underscore are those of Ray's `RayActorManager`.

    Args:
        cluster: The workers.
        clock: The virtual clock.
        seed: Seed of start-up times and failures.
        on_loss: Called with the number of workers that are lost at once.
        wait_until: Returns the virtual second until which `next` waits at most.

    Attributes:
        lost_at: Per worker the virtual second when it was lost; infinite if it was not.
        training: Pairs of start and end of every stretch of training, in virtual seconds.
        handles: Per started actor what Ray keeps of it: its handle, first of all.
        is_exhausted: Whether nothing will ever happen again.
    """

    def __init__(
        self,
        cluster: Cluster,
        clock: Clock,
        seed: int | None,
        *,
        on_loss: Callable[[int], None],
        wait_until: Callable[[], float],
    ) -> None:
        self._cluster = cluster
        self._clock = clock
        self._seed = random.Random(seed).getrandbits(64)
        self._on_loss = on_loss
        self._wait_until = wait_until
        self._requests: deque[Actor] = deque()
        self._idle = list(range(cluster.workers))  # a heap
        self._holder: dict[int, Actor] = {}
        self.lost_at = [math.inf] * cluster.workers
        self.training: list[tuple[float, float]] = []
        self.handles: dict[Actor, tuple[Actor]] = {}
        self.is_exhausted = False
        self.num_pending_actors = 0
        self.num_actor_tasks = 0  # counts for buffered results only
        for loss in cluster.losses:
            clock.schedule(loss.at_s, Order.CLUSTER, partial(self._lose, loss.at_s, loss.workers))

    @property
    def num_live_actors(self) -> int:
        """The number of actors that have a worker."""
        return len(self._holder)

    @property
    def workers(self) -> int:
        """The number of workers now."""
        return len(self._idle) + len(self._holder)

    def add_actor(self, cls: Any, resource_request: Any, kwargs: Any, **on: Any) -> Actor:
        """Request a worker for an actor."""
        training: Training = kwargs["storage"].training
        actor = Actor(training, self._seed, self._cluster.failure_rate, **on)
        self._requests.append(actor)
        self.num_pending_actors += 1
        return actor

    def remove_actor(self, tracked_actor: Actor, **how: Any) -> bool:
        """Stop an actor after what it does now, and return whether it has a worker."""
        actor = tracked_actor
        if actor.is_gone:
            return False
        actor.epoch += 1
        if actor.worker is None:
            actor.is_gone = True
            self.num_pending_actors -= 1
            return False
        actor.is_stopping = True
        end = 0.0 if actor.is_lost else actor.busy_until
        self._schedule(max(self._clock.now, end), Order.STOPPED, actor, self._stopped)
        return True

    def schedule_actor_task(
        self, tracked_actor: Actor, method_name: str, args: Any = (), **more: Any
    ) -> object:
        """Let an actor train, save or restore. A stop is left to `remove_actor`."""
        actor = tracked_actor
        if method_name == "stop" or actor.is_lost:
            return None
        begin = max(self._clock.now, actor.busy_until)
        order, seconds = Order.SAVED, 0.0
        task: Callable[[], Any] = partial(getattr(actor, method_name), *args)
        if method_name == "train":
            seconds, task = task()
            order, actor.trains_since = Order.TRAINED, begin
        actor.busy_until = begin + seconds
        actor.task_errors.append(more["on_error"])
        end = partial(
            self._end_task, task=task, on_result=more["on_result"], on_error=more["on_error"]
        )
        self._schedule(actor.busy_until, order, actor, end)
        return end

    def clear_actor_task_futures(self, tracked_actor: Actor) -> None:
        """Forget an actor's tasks. `remove_actor` follows, which voids their ends."""
        tracked_actor.task_errors.clear()

    def next(self, timeout: float | None = None) -> bool:
        """Advance the clock to the next event of Ray's loop, and handle it.

        Returns:
            Whether there was one.
        """
        self.is_exhausted = False
        self._start_waiting()
        limit = self._wait_until()
        while (time := self._clock.next_time()) is not None and time <= limit:
            event = self._clock.pop()
            event.action()
            self._start_waiting()
            if event.order is not Order.CLUSTER:
                return True
        if limit < math.inf:
            self._clock.advance_to(limit)
        self.is_exhausted = time is None
        return False

    def close(self) -> None:
        """Count the training that still goes on when the search is over."""
        for actor in self._holder.values():
            self._count_training(actor, min(self._clock.now, actor.busy_until))

    def _schedule(
        self, time: float, order: Order, actor: Actor, action: Callable[[Actor], None]
    ) -> None:
        self._clock.schedule(time, order, partial(action, actor), actor)

    def _start_waiting(self) -> None:
        while self._idle and self.num_pending_actors:
            actor = self._requests.popleft()
            if actor.is_gone:
                continue
            self.num_pending_actors -= 1
            actor.worker = heapq.heappop(self._idle)
            self._holder[actor.worker] = actor
            actor.busy_until = self._clock.now + self._cluster.startup(actor.rng)
            self._schedule(actor.busy_until, Order.STARTED, actor, self._started)

    def _started(self, actor: Actor) -> None:
        self.handles[actor] = (actor,)
        actor.on_start(actor)

    def _stopped(self, actor: Actor) -> None:
        self._release(actor)
        actor.on_stop(actor)

    def _died(self, actor: Actor) -> None:
        self._release(actor)
        error, tasks = RayActorError(), list(actor.task_errors)
        actor.on_error(actor, error)
        for on_error in tasks[:1]:  # Ray drops the others with the actor
            on_error(actor, error)

    def _end_task(
        self, actor: Actor, task: Callable[[], Any], on_result: Any, on_error: Any
    ) -> None:
        self._count_training(actor, actor.busy_until)
        actor.task_errors.remove(on_error)
        try:
            result = task()
        except SimulatedFailure as error:
            on_error(actor, error)
        else:
            on_result(actor, result)

    def _release(self, actor: Actor) -> None:
        """Free the worker of an actor that is gone, if its node lives."""
        self.handles.pop(actor, None)
        actor.is_gone = True
        actor.epoch += 1
        self._count_training(actor, min(self._clock.now, actor.busy_until))
        assert actor.worker is not None
        if self._holder.get(actor.worker) is actor:
            del self._holder[actor.worker]
            heapq.heappush(self._idle, actor.worker)

    def _lose(self, time: float, workers: tuple[int, ...]) -> None:
        """A node dies; Ray notices later, by the actors there."""
        there = [worker for worker in workers if self.lost_at[worker] == math.inf]
        for worker in there:
            self.lost_at[worker] = time
            actor = self._holder.pop(worker, None)
            if actor is None:
                self._idle.remove(worker)
                continue
            actor.is_lost = True
            self._count_training(actor, min(time, actor.busy_until))
            if not actor.is_stopping:
                actor.epoch += 1
                self._schedule(time + self._cluster.notice_s, Order.DIED, actor, self._died)
        heapq.heapify(self._idle)
        self._on_loss(len(there))

    def _count_training(self, actor: Actor, until: float) -> None:
        since, actor.trains_since = actor.trains_since, None
        if since is not None and until > since:
            self.training.append((since, until))
