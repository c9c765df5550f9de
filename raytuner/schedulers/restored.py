"""Where trials are that something befell: their driver was killed, or their own process.

Ray saves an experiment every ten seconds or less often. Restored, trials begin again from where
they were at the time, those that ended since among them. A raytuner searcher's record knows better.

And a trial whose node is lost has failed, to Ray, unless the user has said how often it may.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Any

from pyarrow.fs import FileType
from ray.train._internal.session import _TrainingResult
from ray.tune import Checkpoint
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import SearchGenerator

from raytuner.placement.retries import take_up, taken_again
from raytuner.schedulers.partner import ProgressKeeper, RetryListener, innermost_searcher
from raytuner.schedulers.slots import Slots, count_out


class RestoringScheduler(FIFOScheduler):
    """Runs all trials in full, in the order in which they come, and none of them twice.

    Ray's default scheduler, but for restored experiments and for errors that are no trial's own,
    and at the same pace after many trials. Nothing is paused here.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._slots = Slots()
        self._added: set[str] = set()
        self._roll_call = RollCall()

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        """Bring a restored trial to where it was. A retry comes here again."""
        go_on(tune_controller, trial)
        self._added.add(trial.trial_id)
        if not bring_up_to_date(tune_controller, trial) and trial.status == Trial.PENDING:
            self._slots.enter(trial)

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        """The first that is pending."""
        self._roll_call.take(tune_controller, self._added)
        return self._slots.first_pending()


def go_on(tune_controller: Any, trial: Trial) -> None:
    """Let a trial that is added go on from now on whenever it is not to blame for its error.

    See :mod:`raytuner.placement.retries`. The searcher notes it where that has just happened.
    """
    take_up(trial)
    if (again := taken_again(trial)) is None:
        return
    searcher = innermost_searcher(tune_controller)
    if isinstance(searcher, RetryListener):
        what, count = again
        searcher.on_trial_retried(what, trial.trial_id, count)


class RollCall:
    """Tells the searcher and its generator, before the first trial runs, which trials there are.

    What Ray saves of an experiment is several files. Where a machine was lost between two of them,
    its searcher may know of trials that Ray does not: nobody runs them. And Ray counts the trials
    that it has asked for in another file than it keeps them in: it would run fewer or more.
    """

    def __init__(self) -> None:
        self._is_over = False

    def take(self, tune_controller: Any, known: Container[str]) -> None:
        """At each turn, with all trials that were added; the first time counts."""
        if self._is_over:
            return
        self._is_over = True
        searcher = innermost_searcher(tune_controller)
        if isinstance(searcher, ProgressKeeper):
            searcher.end_unknown(known)
        generator = tune_controller.search_alg
        if isinstance(generator, SearchGenerator):
            # There is no public way to set it; public is what it leads to, `is_finished`.
            generator._counter = len(tune_controller.get_trials())


def bring_up_to_date(tune_controller: Any, trial: Trial) -> bool:
    """Bring a restored trial to where the searcher's record says it was.

    It goes on from its last checkpoint, or is over, with its last result. Only in ``on_trial_add``,
    before Ray has entered the trial anywhere, can it be told so.

    Args:
        tune_controller: Ray's controller.
        trial: The trial that is added, new or restored.

    Returns:
        Whether it is over.
    """
    searcher = innermost_searcher(tune_controller)
    if trial.status != Trial.PENDING or not isinstance(searcher, ProgressKeeper):
        return False
    progress = searcher.last_checkpoint(trial.trial_id) or {}
    end = searcher.end_again(trial.trial_id)
    report = {} if end is None else end.report
    if progress:
        _take_checkpoint(trial, {**trial.last_result, **progress, **report})
    if end is None:
        return False
    if report:
        result = {**trial.last_result, **progress, **report, "done": True}
        trial.update_last_result(result)  # type: ignore[no-untyped-call]
    trial.set_status(Trial.ERROR if end.failed else Trial.TERMINATED)  # type: ignore[no-untyped-call]
    count_out(tune_controller.search_alg, trial.trial_id)
    return True


def _take_checkpoint(trial: Trial, result: Mapping[str, Any]) -> None:
    """Tell a trial of a later checkpoint than it knows of, if that is still there.

    By Ray's private result and numbering: there is no public way to hand a trial a checkpoint.
    """
    storage: Any = trial.storage
    name = str(result["checkpoint_dir_name"])
    number = int(name.rpartition("_")[2])
    path = f"{storage.trial_fs_path}/{name}"
    if number <= storage.current_checkpoint_index:
        return
    if storage.storage_filesystem.get_file_info(path).type is not FileType.Directory:
        return
    storage.current_checkpoint_index = number - 1  # the hook adds one
    checkpoint = Checkpoint(path, storage.storage_filesystem)
    trial.on_checkpoint(_TrainingResult(checkpoint, dict(result)))
