"""The trials that hold a slot or wait for one, and Ray's cap on pending trials.

Ray requests a worker for each pending trial and grants workers in the order of the requests, so a
promoted trial waits behind every new trial that was requested before it.
"""

from __future__ import annotations

import os
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.search import BasicVariantGenerator

from raytuner.controller.search_layers import max_concurrent_of


class ActiveTrials:
    """The trials that hold a slot or wait for one, in the order in which they should run."""

    def __init__(self) -> None:
        self._active: dict[str, Trial] = {}
        self._resumed: set[str] = set()  # entered while paused, and still paused for Ray
        self._paused: dict[str, Trial] = {}  # gave up their slot and have not been resumed
        self._most_running = 0
        self._any_ended = False
        self._cap: int | None = None

    def enter(self, trial: Trial) -> None:
        """Add a trial that is about to wait for a slot; a paused one goes before all others.

        The trial leaves by itself as soon as its status says that it has no slot.
        """
        self._active.pop(trial.trial_id, None)
        if trial.status == Trial.PAUSED:
            self._resumed.add(trial.trial_id)
            self._active = {trial.trial_id: trial, **self._active}
        else:
            self._active[trial.trial_id] = trial

    def first_pending(self) -> Trial | None:
        """Return the pending trial that should run next. Ray's own way visits every trial."""
        self._counts()
        waiting = (trial for trial in self._active.values() if trial.status == Trial.PENDING)
        return next(waiting, None)

    def paused(self) -> list[Trial]:
        """Return the trials that gave up their slot by a pause, the oldest pause first."""
        self._counts()
        self._paused = {i: one for i, one in self._paused.items() if one.status == Trial.PAUSED}
        return [one for i, one in self._paused.items() if i not in self._active]

    def taken(self) -> int:
        """Return how many trials hold a slot or wait for one."""
        return sum(self._counts())

    def set_cap(self, tune_controller: Any, promoted: int) -> None:
        """Cap Ray's pending trials at the number of free slots that are known, or at one.

        Ray needs one pending trial to notice a free slot. Its own cap for random search is at least
        200, and a promoted trial would wait behind all of these. A cap that the user has set
        (`max_concurrent_trials`, `TUNE_MAX_PENDING_TRIALS_PG`) stays.

        Args:
            tune_controller: Ray's controller, as a scheduler's hook gets it.
            promoted: How many trials will be resumed next, each into a slot.
        """
        search_alg = tune_controller.search_alg
        if max_concurrent_of(search_alg) is not None or "TUNE_MAX_PENDING_TRIALS_PG" in os.environ:
            return
        running, _ = self._counts()
        self._most_running = max(self._most_running, running)
        free = self._most_running - running - promoted
        if not self._any_ended and isinstance(search_alg, BasicVariantGenerator):
            free = max(free, self._most_running)  # the slots are unknown: double them
        if (cap := max(1, free)) != self._cap:
            self._cap = cap
            # Private: the wrapper that hooks get logs a warning of this public method.
            bare = getattr(tune_controller, "_tune_controller", tune_controller)
            bare.update_max_pending_trials(cap)

    def _counts(self) -> tuple[int, int]:
        """Drop the trials that left their slot; return how many run and how many are pending."""
        left = {i: trial for i, trial in self._active.items() if not self._is_active(trial)}
        for trial_id, trial in left.items():
            del self._active[trial_id]
            if trial.status == Trial.PAUSED:
                self._paused[trial_id] = trial
        self._any_ended = self._any_ended or bool(left)
        running = sum(trial.status == Trial.RUNNING for trial in self._active.values())
        return running, len(self._active) - running

    def _is_active(self, trial: Trial) -> bool:
        if trial.status == Trial.PAUSED:
            return trial.trial_id in self._resumed
        self._resumed.discard(trial.trial_id)
        return trial.status in (Trial.RUNNING, Trial.PENDING)
