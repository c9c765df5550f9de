"""Simulated actors, and the stand-in for Ray's actor manager."""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any, NamedTuple

from ray.exceptions import RayActorError
from ray.tune.result import RESULT_DUPLICATE

from raytuner.simulate.clock import Clock, Order
from raytuner.simulate.inputs import Cluster, Curve, Settings
from raytuner.simulate.simulation import SimulatedTrial

COUNTED = frozenset(
    {"time_this_iter_s", "time_total_s", "time_since_restore", "iterations_since_restore"}
)
"""Metrics that the trainable counts, whatever a report says of them."""


class SimulatedFailure(Exception):  # noqa: N818
    """A simulated training raised."""


class WorkerLost(RayActorError):  # noqa: N818
    """A worker is gone: the error of an actor whose node was lost."""

    def __init__(self) -> None:
        super().__init__(error_msg="The actor died because its node has died.")


class Saved(NamedTuple):
    """The result of saving a trial. Ray's controller reads both fields."""

    checkpoint: tuple[int, float] | None
    metrics: dict[str, Any]


@dataclass(kw_only=True)
class Training(SimulatedTrial):
    """A trial as it proceeds."""

    curve: Curve = field(compare=False, repr=False)
    metric: str = field(compare=False, repr=False)  # name of a report that is a bare number
    settings: Settings = field(compare=False, repr=False)
    t: float = field(default=0.0, repr=False)  # in the scheduler's unit
    # The scheduler's decision on its last report; None: it was not asked.
    decision: str | None = field(default=None, repr=False)


class Actor:
    """One attempt at a trial. It has the tasks of a trainable."""

    def __init__(
        self,
        training: Training,
        on_start: Callable[[Actor], None],
        on_stop: Callable[[Actor], None],
        on_error: Any,
    ) -> None:
        training.attempts += 1
        self.training = training
        self.on_start = on_start
        self.on_stop = on_stop
        self.on_error = on_error
        self.on_task_error: Any = None  # of its newest task
        self.unit: int | None = None  # place of its newest unit of training among all
        self.is_stopping = False
        self.epoch = 0  # events that were scheduled in an earlier one are void
        self.busy_until = 0.0  # virtual second at which its last task ends
        self._iteration = 0
        self._seconds = 0.0
        self._iterations_since_restore = 0
        self._seconds_since_restore = 0.0
        self._metrics: dict[str, Any] = {}  # of the last result

    def set_on_stop(self, on_stop: None) -> None:
        """Do nothing: Ray drops this callback of an actor that is gone."""

    set_on_error = set_on_stop

    def train(self) -> tuple[float, Callable[[], dict[str, Any]]]:
        """Begin a unit of training; return its seconds, and a function that gives its result."""
        curve, t = self.training.curve, self._iteration + 1
        if curve.report(t) is None:
            return 0.0, lambda: {RESULT_DUPLICATE: True}  # a function that returned says no more
        seconds = curve.duration(t)
        return seconds, partial(self._report, seconds)

    def save(self) -> Saved:
        """Return a checkpoint, if it saves one now."""
        saves = self.training.settings.saves_on_pause or self._saves_now()
        state = (self._iteration, self._seconds) if saves else None
        return Saved(state, self._metrics.copy())

    def restore(self, saved: Saved) -> None:
        """Resume from a checkpoint."""
        assert saved.checkpoint is not None
        self._iteration, self._seconds = saved.checkpoint
        self._metrics = saved.metrics.copy()

    def first_result(self) -> dict[str, Any]:
        """Return what Ray takes for the last result of a trial that has not reported."""
        # The search begins with 1970.
        date = datetime.fromtimestamp(int(self.busy_until), UTC).strftime("%Y-%m-%d_%H-%M-%S")
        return {
            "trial_id": self.training.trial_id,
            "date": date,
            "timestamp": int(self.busy_until),
            "pid": 0,
            "hostname": "simulated",
            "node_ip": "127.0.0.1",
            "config": self.training.config,
        }

    def _report(self, seconds: float) -> dict[str, Any]:
        """Count a finished unit, and return its result with the keys of a Ray trainable's."""
        training = self.training
        if training.curve.fails(self._iteration + 1, training.attempts):
            raise SimulatedFailure
        self._iteration += 1
        self._iterations_since_restore += 1
        self._seconds += seconds
        self._seconds_since_restore += seconds
        training.iteration = self._iteration
        training.decision = None
        report: Any = training.curve.report(self._iteration)
        if isinstance(report, int | float):
            report = {training.metric: report}
        result = {
            **self.first_result(),
            "checkpoint_dir_name": None,
            "done": False,
            "training_iteration": self._iteration,
            **report,
            "time_this_iter_s": seconds,
            "time_total_s": self._seconds,
            "time_since_restore": self._seconds_since_restore,
            "iterations_since_restore": self._iterations_since_restore,
        }
        if self._saves_now():
            number = self._iteration // (training.settings.checkpoint_every or 1) - 1
            result["checkpoint_dir_name"] = f"checkpoint_{number:06d}"
            result["should_checkpoint"] = True
        self._metrics = result.copy()
        return result

    def _saves_now(self) -> bool:
        every = self.training.settings.checkpoint_every
        return bool(every and self._iteration % every == 0)


class SimulatedActors:
    """Gives workers to actors in the order of their requests, and runs their tasks.

    The methods without an underscore are those of Ray's `RayActorManager`.
    """

    def __init__(
        self, cluster: Cluster, clock: Clock, wait_until: Callable[[], float], seed: int
    ) -> None:
        self._startup_s = cluster.startup_s
        self._clock = clock
        self._random = random.Random(seed)
        # Virtual seconds, and the number of workers from then on.
        self.capacity: list[tuple[float, int]] = [(0.0, cluster.workers)]
        for time, change in cluster.changes:
            clock.schedule(time, Order.CHANGED, partial(self._change, change))
        self._wait_until = wait_until
        self._requests: deque[Actor] = deque()
        self.live: dict[Actor, tuple[Actor]] = {}  # with a worker, each with its handle
        self.training: list[tuple[float, float]] = []  # start and end of every unit
        self.is_exhausted = False  # whether nothing will ever happen again
        self.num_actor_tasks = 0  # counts for buffered results only

    @property
    def workers(self) -> int:
        """The number of workers now."""
        return self.capacity[-1][1]

    @property
    def num_live_actors(self) -> int:
        """The number of actors that have a worker."""
        return len(self.live)

    @property
    def num_pending_actors(self) -> int:
        """The number of actors that wait for a worker."""
        return len(self._requests)

    def is_actor_started(self, tracked_actor: Actor) -> bool:
        """Return whether an actor has a worker."""
        return tracked_actor in self.live

    def add_actor(self, cls: Any, resource_request: Any, kwargs: Any, **on: Any) -> Actor:
        """Request a worker for an actor."""
        actor = Actor(kwargs["storage"].training, **on)
        self._requests.append(actor)
        return actor

    def remove_actor(self, tracked_actor: Actor, **how: Any) -> bool:
        """Stop an actor after what it does now, and return whether it has a worker."""
        actor = tracked_actor
        if actor in self._requests:
            self._requests.remove(actor)
        if actor not in self.live:
            return False
        actor.epoch += 1
        actor.is_stopping = True
        self._schedule(max(self._clock.now, actor.busy_until), Order.STOPPED, actor, self._stopped)
        return True

    def schedule_actor_task(
        self, tracked_actor: Actor, method_name: str, args: Any = (), **more: Any
    ) -> object:
        """Let an actor train, save or restore. A stop is left to `remove_actor`."""
        actor = tracked_actor
        if method_name == "stop":
            return None
        begin = max(self._clock.now, actor.busy_until)
        order, seconds = Order.SAVED, 0.0
        task: Callable[[], Any] = partial(getattr(actor, method_name), *args)
        if method_name == "train":
            order, (seconds, task) = Order.TRAINED, task()
            actor.unit = len(self.training)
            self.training.append((begin, begin + seconds))
        actor.busy_until = begin + seconds
        actor.on_task_error = more["on_error"]
        end = partial(_end, task=task, on_result=more["on_result"], on_error=more["on_error"])
        self._schedule(actor.busy_until, order, actor, end)
        return end

    def clear_actor_task_futures(self, tracked_actor: Actor) -> None:
        """Do nothing: `remove_actor` follows, which voids the ends of tasks."""

    def next(self, timeout: float | None = None) -> bool:
        """Advance the clock to the next event, handle it, and return whether there was one."""
        self._start_waiting()
        limit, time = self._wait_until(), self._clock.next_time()
        self.is_exhausted = time is None
        if time is not None and time <= limit:
            self._clock.run_next()
            self._start_waiting()
            return True
        if limit < math.inf:
            self._clock.advance_to(limit)
        return False

    def _schedule(
        self, time: float, order: Order, actor: Actor, action: Callable[[Actor], None]
    ) -> None:
        self._clock.schedule(time, order, partial(action, actor), actor)

    def _start_waiting(self) -> None:
        while self._requests and len(self.live) < self.workers:
            actor = self._requests.popleft()
            self.live[actor] = (actor,)
            actor.busy_until = self._clock.now + self._startup_s
            self._schedule(actor.busy_until, Order.STARTED, actor, actor.on_start)

    def _stopped(self, actor: Actor) -> None:
        del self.live[actor]
        actor.epoch += 1
        actor.on_stop(actor)

    def _change(self, change: int) -> None:
        """Gain or lose workers. Busy and idle ones are equally likely to be lost."""
        now, workers, busy = self._clock.now, self.workers, list(self.live)
        self.capacity.append((now, workers + change))
        for number in sorted(self._random.sample(range(workers), max(-change, 0))):
            if number < len(busy):
                self._lose(busy[number], now)

    def _lose(self, actor: Actor, now: float) -> None:
        if actor.unit is not None:
            begin, end = self.training[actor.unit]
            self.training[actor.unit] = (begin, min(end, now))
        if actor.is_stopping:
            self._stopped(actor)
            return
        del self.live[actor]
        actor.epoch += 1
        error = WorkerLost()
        # The order of Ray's manager. An actor that starts has no task yet.
        actor.on_error(actor, error)
        if actor.on_task_error is not None:
            actor.on_task_error(actor, error)


def _end(actor: Actor, task: Callable[[], Any], on_result: Any, on_error: Any) -> None:
    try:
        result = task()
    except SimulatedFailure as error:
        on_error(actor, error)
    else:
        on_result(actor, result)
