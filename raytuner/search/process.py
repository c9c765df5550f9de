"""The process in which proposals are thought of: a Ray actor."""

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

# An actor that hears nothing for so long ends itself. It is the last resort, for a search that
# ended with an exception that somebody keeps, and its loop with it (a notebook does).
LEASE_S = 30.0


class ProcessDied(Exception):  # noqa: N818  # what happened, not what was done wrong
    """The process is gone; the text says why."""


class ProposerFailed(Exception):  # noqa: N818
    """The proposer raised its ``__cause__``."""


class Process(Protocol):
    """Where a mirror lives. It answers one request at a time."""

    def send(self, request: Request) -> None:
        """Let it answer ``request``; returns at once.

        Raises:
            ProcessDied: It is gone.
        """

    def receive(self) -> Reply | None:
        """The answer to what was sent, or None while it is not there; returns at once.

        Raises:
            ProcessDied: It is gone.
            ProposerFailed: The proposer raised.
        """

    def wait(self, seconds: float) -> None:
        """Wait for the answer to what was sent, but no longer than ``seconds``.

        Raises:
            ProcessDied: The process is gone.
        """

    def now(self) -> float:
        """Seconds by the clock that its answers take time on."""

    def keep(self) -> None:
        """The search goes on, though nothing was sent for a while.

        Raises:
            ProcessDied: It is gone.
        """

    def close(self) -> None:
        """End it now."""


class ActorProcess:
    """A Ray actor on the driver's node that takes no CPU slot from the trials.

    It is gone when it is closed, when this object is, when the driver is, and when it has not been
    sent anything for ``LEASE_S``.

    Args:
        setup: What its proposer needs.
        state: What the proposer goes on from.
        num_gpus: Share of a GPU that it reserves.
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
                max_restarts=0,  # a new one is told the record
                scheduling_strategy=NodeAffinitySchedulingStrategy(here.get_node_id(), soft=False),
            )
            .remote(setup, state, LEASE_S)
        )
        self._answer: Any = None
        self._word: Any = None  # the answer to `keep`
        self._sent_at = self.now()
        self._end = weakref.finalize(self, _kill, self._actor, self._job)

    def send(self, request: Request) -> None:
        """See :meth:`Process.send`."""
        self._check()
        try:
            self._answer = self._actor.answer.remote(request)
        except RayError as error:
            raise ProcessDied(str(error)) from error
        self._sent_at = self.now()

    def receive(self) -> Reply | None:
        """See :meth:`Process.receive`."""
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
        """See :meth:`Process.wait`."""
        self._check()
        ray.wait([self._answer], timeout=seconds)

    def now(self) -> float:
        """Real seconds."""
        return time.monotonic()

    def keep(self) -> None:
        """See :meth:`Process.keep`."""
        if self.now() - self._sent_at < LEASE_S / 6:
            return
        self._check()
        self._sent_at = self.now()
        if self._word is not None:
            ready, _ = ray.wait([self._word], timeout=0)
            if not ready:  # it thinks
                return
            try:
                ray.get(self._word)
            except RayActorError as error:
                raise ProcessDied(str(error)) from error
        self._word = self._actor.keep.remote()

    def close(self) -> None:
        """See :meth:`Process.close`."""
        self._end()

    def _check(self) -> None:
        if not _is_in(self._job):
            raise ProcessDied("Ray was shut down since it was started")


class RaytunerProposer:
    """The actor's class. Its name is what Ray's tools and ``ps`` show.

    Args:
        setup: What the proposer needs.
        state: What it goes on from.
        lease_s: It ends itself after so many seconds without a word.
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
        """See :meth:`Mirror.answer`."""
        self._busy = True
        try:
            return self._mirror.answer(request)
        finally:
            self._heard_at = time.monotonic()
            self._busy = False

    def keep(self) -> None:
        """The search goes on."""
        self._heard_at = time.monotonic()

    def _watch(self) -> None:
        while self._busy or time.monotonic() - self._heard_at < self._lease_s:
            time.sleep(min(1.0, self._lease_s / 4))
        # Ray takes an exit from any thread but the main one for a crash, and says so to the user.
        ray.kill(self._self)


def _is_in(job: str) -> bool:
    """Whether Ray is connected as it was in ``job``."""
    return ray.is_initialized() and ray.get_runtime_context().get_job_id() == job


def _kill(actor: Any, job: str) -> None:
    if _is_in(job):
        with suppress(RayError):
            ray.kill(actor)
