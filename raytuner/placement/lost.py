"""Trials whose node was lost go on elsewhere, and have not failed."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from ray.exceptions import RayActorError, RayTaskError
from ray.tune import Callback
from ray.tune.experiment import Trial

logger = logging.getLogger(__name__)

MOST_LOSSES = 10
"""So often a trial may lose its node. One that brings its node down each time does fail then."""

_SIGN = "node has died"  # Ray has no type for it, except where the node said it would go


class LostNodes(Callback):
    """Lets trials on lost nodes go on from their last checkpoints, elsewhere.

    Ray counts a node's death as a failure of its trials, which by default ends them, unless the
    node was drained as preempted. What a training raises fails it as ever.

    Args:
        note: Called with the trial's id and how many nodes it has lost.
    """

    def __init__(self, note: Callable[[str, int], None] | None = None) -> None:
        self._note = note

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Take up the trials that are new."""
        for trial in reversed(trials):
            if isinstance(trial, _Survivor):
                break  # those before it are known
            # Ray makes the trials and asks each what to do after an error: there is no other place
            # to answer. It is as it was in all else, and is pickled like any other.
            trial.__class__ = _Survivor

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Say that a trial has lost its node. It waits for another by now."""
        lost = getattr(trial, "nodes_lost", 0)
        logger.info("Trial %s has lost its node (%d so far) and goes on.", trial.trial_id, lost)
        if self._note is not None and lost:
            self._note(trial.trial_id, lost)


class _Survivor(Trial):
    """A trial that does not count the loss of its node as its failure."""

    nodes_lost: int = 0

    def handle_error(self, exc: Any = None) -> None:
        """Take note of an error. Ray asks `should_recover` next."""
        counted = self.run_metadata.num_failures
        super().handle_error(exc)
        if is_loss(exc):
            self.nodes_lost += 1
            if self.nodes_lost <= MOST_LOSSES:
                self.run_metadata.num_failures = counted


def is_loss(error: object) -> bool:
    """Whether an error of Ray's says that the process was lost with its node.

    Also the node of another process that the trial depends on, such as a worker of Ray Train's.
    """
    if isinstance(error, RayTaskError):
        error = error.cause
    return isinstance(error, RayActorError) and (error.preempted or _SIGN in str(error))
