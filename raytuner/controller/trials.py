"""Keep track of Ray's trials: trials with a slot, waiting trials, new trials and restored trials.

Ray requests a worker for each pending trial, and grants workers in the order of the requests. So a
promoted trial waits behind every new trial that was requested before it. This is the reason for the
cap on pending trials (`ActiveTrials.set_cap`).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from pyarrow.fs import FileType

# Private: a trial takes a checkpoint only as one of these.
from ray.train._internal.session import _TrainingResult
from ray.tune import Checkpoint
from ray.tune.experiment import Trial
from ray.tune.search import BasicVariantGenerator

from raytuner.controller.search_layers import max_concurrent_of


def bare(tune_controller: Any) -> Any:
    """Return the controller without the wrapper that hooks get."""
    # Private: the wrapper logs a warning of public methods too.
    return getattr(tune_controller, "_tune_controller", tune_controller)


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
        return next(self.pending(), None)

    def pending(self) -> Iterator[Trial]:
        """Return the pending trials, in the order in which they should run."""
        self._drop_left()
        return (trial for trial in self._active.values() if trial.status == Trial.PENDING)

    def paused(self) -> list[Trial]:
        """Return the trials that gave up their slot by a pause, the oldest pause first."""
        self._drop_left()
        self._paused = {i: one for i, one in self._paused.items() if one.status == Trial.PAUSED}
        return [one for i, one in self._paused.items() if i not in self._active]

    def taken(self) -> int:
        """Return how many trials hold a slot or wait for one."""
        self._drop_left()
        return len(self._active)

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
        self._drop_left()
        running = sum(trial.status == Trial.RUNNING for trial in self._active.values())
        self._most_running = max(self._most_running, running)
        free = self._most_running - running - promoted
        if not self._any_ended and isinstance(search_alg, BasicVariantGenerator):
            free = max(free, self._most_running)  # the slots are unknown: double them
        if (cap := max(1, free)) != self._cap:
            self._cap = cap
            bare(tune_controller).update_max_pending_trials(cap)

    def _drop_left(self) -> None:
        """Drop the trials that left their slot."""
        left = {i: trial for i, trial in self._active.items() if not self._is_active(trial)}
        for trial_id, trial in left.items():
            self._any_ended = True
            del self._active[trial_id]
            if trial.status == Trial.PAUSED:
                self._paused[trial_id] = trial

    def _is_active(self, trial: Trial) -> bool:
        if trial.status == Trial.PAUSED:
            return trial.trial_id in self._resumed
        self._resumed.discard(trial.trial_id)
        return trial.status in (Trial.RUNNING, Trial.PENDING)


class TrialTracker:
    """The trials that a callback has seen so far, found without a visit to all at each turn.

    A copy has seen none: a restored experiment has other trial objects.
    """

    def __init__(self) -> None:
        self._by_id: dict[str, Any] = {}

    def __reduce__(self) -> tuple[type[TrialTracker], tuple[()]]:
        return TrialTracker, ()

    def new(self, trials: Sequence[Any]) -> list[Any]:
        """Return the trials of Ray's list that were not in it before, and remember them."""
        # They are at the end, and so are old trials that Ray retries.
        unknown = (trial for trial in reversed(trials) if trial.trial_id not in self._by_id)
        fresh = list(islice(unknown, len(trials) - len(self._by_id)))[::-1]
        self._by_id.update((trial.trial_id, trial) for trial in fresh)
        return fresh

    def among(self, trial_ids: Iterable[str]) -> list[Any]:
        """Return the trials with these ids that have been seen."""
        return [self._by_id[one] for one in trial_ids if one in self._by_id]


def give_checkpoint(trial: Trial, result: Mapping[str, Any]) -> None:
    """Make the checkpoint of a later report the trial's last one, if it still exists.

    Args:
        trial: The trial, before it runs.
        result: The report; `checkpoint_dir_name` names the checkpoint.
    """
    storage: Any = trial.storage
    name = str(result["checkpoint_dir_name"])
    number = int(name.rpartition("_")[2])
    path = f"{storage.trial_fs_path}/{name}"
    if number <= storage.current_checkpoint_index:
        return
    if storage.storage_filesystem.get_file_info(path).type is not FileType.Directory:
        return
    storage.current_checkpoint_index = number - 1  # on_checkpoint adds one
    checkpoint = Checkpoint(path, storage.storage_filesystem)
    trial.on_checkpoint(_TrainingResult(checkpoint, dict(result)))
