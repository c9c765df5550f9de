"""Trials that have not failed, though Ray has an error of theirs: they go on, and are not counted.

- Its node was lost: it goes on from its last checkpoint, elsewhere.
- Its process was killed, by a signal or since the node's memory was full: it goes on from its last
  checkpoint, unless that has happened three times at the same place. Then it is its own doing.
- It shared a GPU, whose memory was too small for all on it: it goes on alone on a whole one, once.
- The disk was full: it goes on from its last checkpoint, as the study does once there is room.
- It had stopped reporting, and was killed for it (:mod:`raytuner.placement.silence`): it goes on
  from its last checkpoint, once.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from typing import Any

from ray.exceptions import (
    ActorUnavailableError,
    OutOfMemoryError,
    RayActorError,
    RayTaskError,
    WorkerCrashedError,
)
from ray.tune import Callback, PlacementGroupFactory
from ray.tune.experiment import Trial
from ray.tune.result import TRAINING_ITERATION  # type: ignore[attr-defined]

from raytuner.placement.known import KnownTrials

logger = logging.getLogger(__name__)

MOST_LOSSES = 10
"""So often a trial may lose its node or its process, or find the disk full. One that is itself the
cause does fail then."""

_TIMES_THERE = 3  # an end at the same place can be chance twice: memory that others had taken

_NODE_DIED = "node has died"  # Ray has no type for it, except where the node said it would go
NO_ROOM = re.compile(r"No space left on device|Disk quota exceeded")
# Of PyTorch, CUDA itself, JAX and TensorFlow.
_NO_MEMORY = re.compile(
    r"torch\.(cuda\.)?OutOfMemoryError|CUDA out of memory|CUDA_ERROR_OUT_OF_MEMORY"
    r"|RESOURCE_EXHAUSTED: Out of memory"
)


class Retries(Callback):
    """Lets trials go on whose error was not theirs, beside a scheduler that does not see to it.

    What a training raises else fails it as ever. Ray counts either as a failure, which by default
    ends the trial, unless its node was drained as preempted.

    Args:
        note: Called with what `taken_again` says, and the trial's id between.
    """

    def __init__(self, note: Callable[[str, str, int], None]) -> None:
        self._note = note
        self._known = KnownTrials()

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Take up the trials that are new."""
        for trial in self._known.new(trials):
            take_up(trial)

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial is about to be tried again."""
        if (again := taken_again(trial)) is not None:
            what, count = again
            self._note(what, trial.trial_id, count)


def take_up(trial: Trial) -> None:
    """Make a trial of Ray's one that does not count what it is not to blame for.

    Ray makes the trials and asks each what to do after an error: there is no other place to answer.
    It is as it was in all else, and is pickled like any other.
    """
    if type(trial) is Trial:
        trial.__class__ = Resilient


def taken_again(trial: Trial) -> tuple[str, int] | None:
    """Give a trial that is about to be tried again its larger share, and say so. Heard once.

    Returns:
        "nodes_lost", "processes_killed", "out_of_memory", "disk_full" or "silences", and how often
        by now; None: the trial is not tried again for any of them.
    """
    if not isinstance(trial, Resilient) or trial.retried_for is None:
        return None
    what, trial.retried_for = trial.retried_for, None
    if what == "out_of_memory":
        trial.update_resources(alone(trial.placement_group_factory))
    count: int = getattr(trial, what)
    logger.info("Trial %s goes on: %s, %d so far.", trial.trial_id, what, count)
    return what, count


class Resilient(Trial):
    """A trial that does not count what it is not to blame for as its failure.

    Attributes:
        nodes_lost: How often it has lost its node.
        processes_killed: How often its process was killed, and its node was not lost.
        killed_at: The most iterations that it had done when its process was killed.
        killed_there: How often it was killed without having got further than that.
        out_of_memory: How often the GPU that it shared was full.
        disk_full: How often it could not write.
        silences: How often it was killed since it did not report.
        retried_for: Which of them has just happened.
        killed_for: Why it was killed, if it was: what Ray has of that is no reason.
        goes_on: Whether it is to go on after it was killed.
    """

    nodes_lost: int = 0
    processes_killed: int = 0
    killed_at: int = -1
    killed_there: int = 0
    out_of_memory: int = 0
    disk_full: int = 0
    silences: int = 0
    retried_for: str | None = None
    killed_for: str | None = None
    goes_on: bool = False

    def handle_error(self, exc: Any = None) -> None:
        """Take note of an error. Ray asks `should_recover` next."""
        counted = self.run_metadata.num_failures
        forgiven: str | None
        super().handle_error(exc)
        if self.killed_for is not None and self.goes_on:
            self.silences += 1
            self.killed_for, forgiven = None, "silences"
        elif is_loss(exc):
            self.nodes_lost += 1
            forgiven = "nodes_lost" if self.nodes_lost <= MOST_LOSSES else None
        elif self.killed_for is None and is_killed(exc):
            self.processes_killed += 1
            done = int((self.last_result or {}).get(TRAINING_ITERATION, 0))
            self.killed_there = 1 if done > self.killed_at else self.killed_there + 1
            self.killed_at = max(done, self.killed_at)
            goes_on = self.killed_there < _TIMES_THERE and self.processes_killed <= MOST_LOSSES
            forgiven = "processes_killed" if goes_on else None
        elif is_disk_full(exc):
            self.disk_full += 1
            forgiven = "disk_full" if self.disk_full <= MOST_LOSSES else None
        elif is_out_of_memory(exc) and shares_gpu(self.placement_group_factory):
            self.out_of_memory += 1
            forgiven = "out_of_memory" if self.out_of_memory == 1 else None
        else:
            return
        if forgiven is not None:
            self.run_metadata.num_failures = counted
            self.retried_for = forgiven


def is_loss(error: object) -> bool:
    """Whether an error of Ray's says that the process was lost with its node.

    Also the node of another process that the trial depends on, such as a worker of Ray Train's.
    """
    if isinstance(error, RayTaskError):
        error = error.cause
    if isinstance(error, ActorUnavailableError):
        return True  # what is heard of a lost node at first: it does not answer
    return isinstance(error, RayActorError) and (error.preempted or _NODE_DIED in str(error))


def is_killed(error: object) -> bool:
    """Whether the trial's process ended without the training's having raised anything.

    A signal, a fault in compiled code, or Ray, to save a node whose memory was full. Not: its
    node was lost, or the process could not be set up.
    """
    if isinstance(error, RayActorError):
        return not error.actor_init_failed and not is_loss(error)
    return isinstance(error, WorkerCrashedError | OutOfMemoryError)


def is_out_of_memory(error: object) -> bool:
    """Whether the training raised that a GPU's memory is full.

    Example:
        >>> is_out_of_memory(ValueError("CUDA out of memory"))  # not from Ray: no trial's
        False
    """
    return isinstance(error, RayTaskError) and _NO_MEMORY.search(str(error)) is not None


def is_disk_full(error: object) -> bool:
    """Whether a trial could not write since there was no room on a disk."""
    return isinstance(error, RayTaskError) and NO_ROOM.search(str(error)) is not None


def shares_gpu(request: Any) -> bool:
    """Whether a trial with this request has a part of a GPU."""
    return any(0 < bundle.get("GPU", 0) < 1 for bundle in _bundles(request))


def alone(request: Any) -> PlacementGroupFactory:
    """The same request with a whole GPU in the place of each part of one."""
    bundles = [
        {**bundle, "GPU": 1.0} if 0 < bundle.get("GPU", 0) < 1 else bundle
        for bundle in _bundles(request)
    ]
    head: list[dict[str, float]] = [{}] if request.head_bundle_is_empty else []
    return PlacementGroupFactory([*head, *bundles], request.strategy)


def _bundles(request: Any) -> list[dict[str, float]]:
    return [] if request is None else request.bundles
