"""The background process that computes proposals: a Ray actor."""

from __future__ import annotations

import threading
import time
import weakref
from contextlib import suppress
from typing import Any, Protocol

import ray
from ray.exceptions import RayActorError, RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
from threadpoolctl import threadpool_limits

from raytuner.search.mirror import Mirror, Reply, Request, Setup

# Seconds after which an actor that hears nothing ends itself. This is the last resort: a notebook
# keeps the exception that ended a search, and with it the search.
LEASE_S = 30.0


class ProcessDied(Exception):  # noqa: N818  # what happened, not what was done wrong
    """The process has ended; the text says why."""


class ProposerFailed(Exception):  # noqa: N818
    """The proposer raised its `__cause__`."""


class Process(Protocol):
    """A process with a `Mirror`, which answers one request at a time.

    All methods but `now` and `close` raise `ProcessDied` if the process has ended.
    """

    def send(self, request: Request) -> None:
        """Send a request, and return at once."""

    def receive(self) -> Reply | None:
        """Return the reply, or None if there is none yet.

        Raises:
            ProposerFailed: The proposer raised an exception.
        """

    def wait(self, seconds: float) -> None:
        """Wait for the reply, at most this many seconds."""

    def now(self) -> float:
        """Return the time in seconds, by the clock that replies take time on."""

    def keep(self) -> None:
        """Keep the process alive although nothing was sent for a while."""

    def close(self) -> None:
        """End the process now."""


class ActorProcess:
    """A Ray actor on the driver's node that takes no CPU slot from the trials.

    It ends when it is closed, when this object is deleted, when the driver ends, and when nothing
    was sent to it for `LEASE_S`.

    Args:
        setup: What the proposer is made of.
        state: The proposer's state. None begins anew.
        num_gpus: Share of a GPU that the actor reserves. Defaults to none.
    """

    def __init__(
        self, setup: Setup, state: dict[str, Any] | None, *, num_gpus: float = 0.0
    ) -> None:
        here = ray.get_runtime_context()
        self._job = here.get_job_id()
        self._actor: Any = (
            ray.remote(RaytunerProposer)
            .options(
                num_cpus=0,
                num_gpus=num_gpus,
                max_restarts=0,  # a new one needs the whole record
                scheduling_strategy=NodeAffinitySchedulingStrategy(here.get_node_id(), soft=False),
            )
            .remote(setup, state, LEASE_S)
        )
        self._answer: Any = None
        self._kept: Any = None  # the answer to `keep`
        self._sent_at = self.now()
        self._end = weakref.finalize(self, _kill, self._actor, self._job)

    def send(self, request: Request) -> None:
        """See `Process.send`."""
        self._check()
        try:
            self._answer = self._actor.answer.remote(request)
        except RayError as error:
            raise ProcessDied(str(error)) from error
        self._sent_at = self.now()

    def receive(self) -> Reply | None:
        """See `Process.receive`."""
        self._check()
        ready, _ = ray.wait([self._answer], timeout=0)
        if not ready:
            return None
        try:
            reply: Reply = ray.get(self._answer)
        except RayTaskError as error:
            raise ProposerFailed from (error.cause or error)
        except RayActorError as error:
            raise ProcessDied(str(error)) from error
        return reply

    def wait(self, seconds: float) -> None:
        """See `Process.wait`."""
        self._check()
        ray.wait([self._answer], timeout=seconds)

    def now(self) -> float:
        """Return real seconds."""
        return time.monotonic()

    def keep(self) -> None:
        """See `Process.keep`."""
        if self.now() - self._sent_at < LEASE_S / 6:
            return
        self._check()
        self._sent_at = self.now()
        if self._kept is not None:
            ready, _ = ray.wait([self._kept], timeout=0)
            if not ready:  # it is computing
                return
            try:
                ray.get(self._kept)
            except RayActorError as error:
                raise ProcessDied(str(error)) from error
        self._kept = self._actor.keep.remote()

    def close(self) -> None:
        """See `Process.close`."""
        self._end()

    def _check(self) -> None:
        if not _is_in(self._job):
            raise ProcessDied("Ray was shut down since it was started")


class RaytunerProposer:
    """The actor's class. Ray's tools and `ps` show its name.

    Args:
        setup: What the proposer is made of.
        state: The proposer's state.
        lease_s: Seconds without a call after which the actor ends itself.
    """

    def __init__(self, setup: Setup, state: dict[str, Any] | None, lease_s: float) -> None:
        threadpool_limits(1)  # the cores belong to the trials
        self._mirror = Mirror(setup, state)
        self._lease_s = lease_s
        self._heard_at = time.monotonic()
        self._busy = False
        self._self = ray.get_runtime_context().current_actor
        threading.Thread(target=self._watch, daemon=True).start()

    def answer(self, request: Request) -> Reply:
        """See `Mirror.answer`."""
        self._busy = True
        try:
            return self._mirror.answer(request)
        finally:
            self._heard_at = time.monotonic()
            self._busy = False

    def keep(self) -> None:
        """Note that the search goes on."""
        self._heard_at = time.monotonic()

    def _watch(self) -> None:
        while self._busy or time.monotonic() - self._heard_at < self._lease_s:
            time.sleep(min(1.0, self._lease_s / 4))
        # Ray takes an exit from any thread but the main one for a crash, and says so to the user.
        ray.kill(self._self)


def _is_in(job: str) -> bool:
    """Whether Ray is still connected to a job."""
    return ray.is_initialized() and ray.get_runtime_context().get_job_id() == job


def _kill(actor: Any, job: str) -> None:
    if _is_in(job):
        with suppress(RayError):
            ray.kill(actor)
