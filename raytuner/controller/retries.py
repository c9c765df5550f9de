"""Retry trials after errors that they did not cause, without counting a failure.

- Its node was lost: the trial continues elsewhere from its last checkpoint.
- Its process was killed, by a signal or because the node's memory was full: it continues from its
  last checkpoint. The third kill without progress is the trial's own failure.
- It shared a GPU whose memory was full: it continues once, alone on a whole GPU.
- The disk was full: it continues from its last checkpoint, as the study does once there is room.
- It stopped reporting and was killed (`raytuner.placement.silence`): it continues once.

Ray counts all of these as failures, which by default end the trial. The exception is a node that
was drained as preempted.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import ray
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

from raytuner.history import Table

logger = logging.getLogger(__name__)

MAX_RETRIES = 10
"""The number of retries of a trial for each cause below: a trial may itself be the cause."""

_MAX_RETRIES = {"silences": 1, "out_of_memory": 1}  # where it is less

_NODE_DIED = "node has died"  # Ray has no type for it, unless the node was drained
NO_SPACE = re.compile(r"No space left on device|Disk quota exceeded")
_NO_GPU_MEMORY = re.compile(  # PyTorch, CUDA itself, JAX and TensorFlow
    r"torch\.(cuda\.)?OutOfMemoryError|CUDA out of memory|CUDA_ERROR_OUT_OF_MEMORY"
    r"|RESOURCE_EXHAUSTED: Out of memory"
)


class Retries(Callback):
    """Makes trials resilient if the scheduler does not, as with Ray's own schedulers.

    Args:
        search: The searcher; its `history` is the record.
    """

    def __init__(self, search: Any) -> None:
        self._search = search

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Make the trial resilient: only a trial that has started is ever retried."""
        make_resilient(trial)

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Note why a trial is about to be retried."""
        note_retry(trial, self._search.history)


class ResilientTrial(Trial):
    """A trial that counts only errors that it caused as failures.

    Attributes:
        retries: How often it had an error of each cause (`cause_of`, or "silences").
        retried_for: The cause of the latest retry, until `note_retry` has noted it.
        killed_for: Why `kill` ended its process, until it is retried.
        retries_kill: Whether it may continue after that.
        kills: The iterations that it had done each time that something else killed its process.
    """

    # Class attributes, since `make_resilient` runs no constructor.
    retries: Mapping[str, int] = MappingProxyType({})
    retried_for: str | None = None
    killed_for: str | None = None
    retries_kill: bool = False
    kills: tuple[int, ...] = ()

    def handle_error(self, exc: Any = None) -> None:
        """Record an error. Ray calls `should_recover` next, which compares `num_failures`."""
        failures = self.run_metadata.num_failures
        super().handle_error(exc)
        if (cause := self._cause(exc)) is None:
            return
        count = self.retries.get(cause, 0) + 1
        self.retries = {**self.retries, cause: count}
        if cause == "processes_killed":
            done = int((self.last_result or {}).get(TRAINING_ITERATION, 0))
            self.kills = (*self.kills, done)
            before, last = self.kills[:-2], self.kills[-2:]
            if before and max(last) <= max(before):
                return  # three kills and no progress: two may be chance
        if count <= _MAX_RETRIES.get(cause, MAX_RETRIES):
            self.run_metadata.num_failures = failures
            self.retried_for = cause

    def _cause(self, error: object) -> str | None:
        """Return the cause of an error that is not the trial's own; None if it is."""
        if self.killed_for is not None and self.retries_kill:
            self.killed_for = None
            return "silences"
        cause = cause_of(error)
        if cause == "processes_killed" and self.killed_for is not None:
            return None
        if cause == "out_of_memory" and not shares_gpu(self.placement_group_factory):
            return None
        return cause


def make_resilient(trial: Trial) -> None:
    """Turn a trial into a `ResilientTrial`; a trial of somebody else's subclass stays as it is."""
    # A simulated trial names a class of its own.
    own = ResilientTrial if type(trial) is Trial else getattr(trial, "resilient_class", None)
    if own is not None:
        # Private: Ray constructs its trials and asks only them what to do after an error.
        trial.__class__ = own


def note_retry(trial: Trial, history: Table | None) -> None:
    """Note once, in the record if there is one, why a trial is about to be retried.

    A trial that ran out of GPU memory gets a whole GPU here.
    """
    if not isinstance(trial, ResilientTrial) or trial.retried_for is None:
        return
    cause, trial.retried_for = trial.retried_for, None
    if cause == "out_of_memory":
        request: Any = trial.placement_group_factory
        trial.update_resources(with_whole_gpus(request))
    count = trial.retries[cause]
    logger.info("Trial %s continues: %s, %d so far.", trial.trial_id, cause, count)
    if history is not None:
        history.set_meta(cause, {**history.get_meta(cause, {}), trial.trial_id: count})


def kill(trial: Trial, reason: str, *, retry: bool) -> None:
    """Kill the process of a running trial.

    Args:
        trial: The trial.
        reason: Why, for the record: Ray's error says only that the process ended.
        retry: Whether the trial continues from its last checkpoint; if not, it has failed.
    """
    if isinstance(trial, ResilientTrial):
        trial.killed_for, trial.retries_kill = reason, retry
    # Private: nothing else that a callback gets leads to the process.
    actor = trial.temporary_state.ray_actor
    if actor is not None:
        ray.kill(actor)


def cause_of(error: object) -> str | None:
    """Return the cause of an error that need not be the trial's own; None for any other.

    - "nodes_lost": the process, or one that it depends on (Ray Train's), lost its node.
    - "processes_killed": it, or a worker of its trainer, ended by a signal, by a fault in compiled
      code, or by Ray, when the node's memory was full.
    - "disk_full", "out_of_memory": the training raised that there is no space on a disk, or that a
      GPU's memory is full.
    """
    origin = error.cause if isinstance(error, RayTaskError) else error
    # Ray Train's WorkerGroupError, which most studies should not have to import. If one worker
    # dies, the others fail too, with errors of their own.
    for failure in getattr(origin, "worker_failures", {}).values():
        died = getattr(failure, "health_check_failure", failure)  # private
        if isinstance(died, RayActorError):
            return cause_of(died)
    if isinstance(origin, ActorUnavailableError):
        return "nodes_lost"  # the first sign of it: the node does not answer
    if isinstance(origin, RayActorError) and (origin.preempted or _NODE_DIED in str(origin)):
        return "nodes_lost"
    if isinstance(error, RayActorError):
        return None if error.actor_init_failed else "processes_killed"
    if isinstance(error, WorkerCrashedError | OutOfMemoryError):
        return "processes_killed"
    if isinstance(error, RayTaskError):
        if NO_SPACE.search(str(error)):
            return "disk_full"
        if _NO_GPU_MEMORY.search(str(error)):
            return "out_of_memory"
    return None


def shares_gpu(request: PlacementGroupFactory | None) -> bool:
    """Return whether a request has a part of a GPU."""
    return request is not None and any(0 < bundle.get("GPU", 0) < 1 for bundle in request.bundles)


def with_whole_gpus(request: PlacementGroupFactory) -> PlacementGroupFactory:
    """Return the same request with a whole GPU in place of each part of one."""
    bundles = [
        {**bundle, "GPU": 1.0} if 0 < bundle.get("GPU", 0) < 1 else bundle
        for bundle in request.bundles
    ]
    head: list[dict[str, float]] = [{}] if request.head_bundle_is_empty else []
    return PlacementGroupFactory([*head, *bundles], request.strategy)
