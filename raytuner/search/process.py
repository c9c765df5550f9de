"""The process that computes proposals: a Ray actor with a copy of the record."""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from concurrent.futures import wait as futures_wait
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import ray
from ray.exceptions import RayActorError, RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
from threadpoolctl import threadpool_limits

from raytuner.bayes import Proposer, SobolProposer
from raytuner.errors import HistoryError, RaytunerError
from raytuner.history import Goal, History, Line, Origin, Snapshot, TrialState
from raytuner.history.snapshot import FloatArray
from raytuner.space import Space

MakeProposer = Callable[[Space, int | None], Proposer]


@dataclass(frozen=True)
class Setup:
    """The parts for making a proposer. It can be pickled.

    Attributes:
        space: The search space.
        goal: What the search optimises.
        make_proposer: Makes the proposer from a space and a seed.
        seed: Seed of the proposer.
        make_design: Makes the proposer of quasi-random configurations, which are used when no
            other proposal is ready.
    """

    space: Space
    goal: Goal
    make_proposer: MakeProposer
    seed: int | None
    make_design: Callable[[Space, int | None], SobolProposer] = SobolProposer

    def proposer(self, state: dict[str, Any] | None) -> Proposer:
        """Return a new proposer. It continues from `state` if there is one.

        Raises:
            HistoryError: The state belongs to another kind of proposer.
        """
        proposer = self.make_proposer(self.space, self.seed)
        try:
            if state is not None:
                proposer.load_state_dict(state)
        except RaytunerError:
            raise
        except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise HistoryError(
                f"the proposer's state in the record cannot be read ({error!r}); it must be the"
                " result of state_dict()"
            ) from error
        return proposer


@dataclass(frozen=True)
class Request:
    """A request for proposals, with the changes of the record.

    Attributes:
        changes: The changes since the previous request (`History.changes`).
        max_t: A trial's full resource, if known.
        promised: Encoded configurations that will be handed out before the reply, `k x d`-dim.
        n: The number of proposals; 0 only applies the changes.
        left: The number of trials that remain to be proposed, if known.
    """

    changes: Sequence[Line]
    max_t: float | None
    promised: FloatArray
    n: int
    left: int | None = None


@dataclass(frozen=True)
class Reply:
    """The answer to a request.

    Attributes:
        proposals: Configurations (from `Space.dump`), each with its origin.
        points: `k x d`-dim encoded configurations.
        state: The proposer's `state_dict`.
    """

    proposals: tuple[tuple[dict[str, Any], Origin], ...]
    points: FloatArray
    state: dict[str, Any]


class Mirror:
    """Mirrors the record from the changes in each request, and computes proposals.

    Args:
        setup: The setup of the proposer.
        state: The proposer's state in the last reply of an earlier mirror. None: a new proposer.
    """

    def __init__(self, setup: Setup, state: dict[str, Any] | None = None) -> None:
        self._proposer = setup.proposer(state)
        self._record = History(setup.space, goal=setup.goal)

    def answer(self, request: Request) -> Reply:
        """Apply the changes, and propose."""
        self._record.apply(request.changes)
        if self._record.max_t != request.max_t:
            self._record.max_t = request.max_t
        self._record.left = request.left
        proposals = []
        if request.n:
            self._proposer.tell(_with_pending(self._record.snapshot(), request.promised))
            proposals = self._proposer.ask(request.n)
        space = self._record.space
        return Reply(
            tuple((space.dump(proposal.config), proposal.origin) for proposal in proposals),
            space.encode([proposal.config for proposal in proposals]),
            self._proposer.state_dict(),
        )


def _with_pending(snapshot: Snapshot, points: FloatArray) -> Snapshot:
    """Return the snapshot with more pending configurations, `k x d`-dim."""
    return replace(
        snapshot,
        trial_ids=snapshot.trial_ids + tuple(f"promised_{i}" for i in range(len(points))),
        states=snapshot.states + (TrialState.PENDING,) * len(points),
        points=np.vstack([snapshot.points, points]),
        left=None if snapshot.left is None else max(snapshot.left - len(points), 0),
    )


class ProcessDied(Exception):  # noqa: N818  # what happened, not what was done wrong
    """The process has ended. The text says why."""


class ProposerFailed(Exception):  # noqa: N818
    """The proposer raised its `__cause__`."""


class Process(Protocol):
    """A process with a `Mirror`. It answers one request at a time.

    If the process has ended, all methods except `now` and `close` raise `ProcessDied`.
    """

    def send(self, request: Request) -> None:
        """Send a request, and return at once."""

    def receive(self) -> Reply | None:
        """Return the reply, or None if there is none yet; raise `ProposerFailed` if it failed."""

    def wait(self, seconds: float) -> None:
        """Wait for the reply, at most this many seconds."""

    def now(self) -> float:
        """Return the time in seconds, on the clock that measures replies."""

    def close(self) -> None:
        """End the process now."""


class ActorProcess:
    """A Ray actor on the driver's node. It takes no CPU slot from the trials.

    It ends when it is closed, when this object is deleted, and when the driver ends.

    Args:
        setup: The setup of the proposer.
        state: The proposer's state. None: a new proposer.
    """

    def __init__(self, setup: Setup, state: dict[str, Any] | None) -> None:
        here = ray.get_runtime_context()
        self._job = here.get_job_id()
        self._actor: Any = (
            ray.remote(RaytunerProposer)
            .options(
                num_cpus=0,
                max_restarts=0,  # a new one needs the whole record
                scheduling_strategy=NodeAffinitySchedulingStrategy(here.get_node_id(), soft=False),
            )
            .remote(setup, state)
        )
        self._answer: Any = None
        self._future: Future[Any] = Future()  # of the answer
        self._end = weakref.finalize(self, _kill, self._actor, self._job)

    def send(self, request: Request) -> None:
        """See `Process.send`."""
        self._check()
        try:
            self._answer = self._actor.answer.remote(request)
            self._future = self._answer.future()
        except RayError as error:
            raise ProcessDied(str(error)) from error

    def receive(self) -> Reply | None:
        """See `Process.receive`."""
        self._check()
        if not self._future.done():  # called in every turn of Ray's loop: ray.wait is too slow
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
        futures_wait([self._future], timeout=seconds)

    def now(self) -> float:
        """Return real seconds."""
        return time.monotonic()

    def close(self) -> None:
        """See `Process.close`."""
        self._end()

    def _check(self) -> None:
        if not _is_in(self._job):
            raise ProcessDied("Ray was shut down since it was started")


class RaytunerProposer(Mirror):
    """The actor's class. Ray's tools and `ps` show this name."""

    def __init__(self, setup: Setup, state: dict[str, Any] | None) -> None:
        threadpool_limits(1)  # the cores belong to the trials
        super().__init__(setup, state)


def _is_in(job: str) -> bool:
    """Return whether Ray is still connected to a job."""
    return ray.is_initialized() and ray.get_runtime_context().get_job_id() == job


def _kill(actor: Any, job: str) -> None:
    if _is_in(job):
        with suppress(RayError):
            ray.kill(actor)
