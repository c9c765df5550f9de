"""Trials that had ended when their driver was killed, though Ray had not saved so by then.

Ray saves an experiment every ten seconds or less often, and restored it runs again, to the end,
whatever ended since. A raytuner searcher's record knows of these.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pyarrow.fs import FileSelector
from ray.train._internal.session import _TrainingResult
from ray.tune import Checkpoint
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler

from raytuner.schedulers.partner import EndKeeper, innermost_searcher
from raytuner.schedulers.slots import count_out

_CHECKPOINT = re.compile(r"checkpoint_(\d+)")


class RestoringScheduler(FIFOScheduler):
    """Runs all trials in full, in the order in which they come, and none of them twice.

    Ray's default scheduler, but for restored experiments.
    """

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        """Leave a trial out that had ended before the experiment was restored."""
        end_again(tune_controller, trial)


def end_again(tune_controller: Any, trial: Trial) -> bool:
    """End a restored trial that the searcher's record says is over.

    Only in ``on_trial_add``, and before Ray has entered the trial anywhere, can it be told so.

    Args:
        tune_controller: Ray's controller.
        trial: The trial that is added, new or restored.

    Returns:
        Whether it is over. Its last result is then what the record has of it, and its last
        checkpoint the last one in its folder: it was whole before the report that came with it.
    """
    searcher = innermost_searcher(tune_controller)
    if trial.status != Trial.PENDING or not isinstance(searcher, EndKeeper):
        return False
    end = searcher.end_again(trial.trial_id)
    if end is None:
        return False
    _take_last_checkpoint(trial, end.report)
    if end.report:
        result = {**trial.last_result, **end.report, "done": True}
        trial.update_last_result(result)  # type: ignore[no-untyped-call]
    trial.set_status(Trial.ERROR if end.failed else Trial.TERMINATED)  # type: ignore[no-untyped-call]
    count_out(tune_controller.search_alg, trial.trial_id)
    return True


def _take_last_checkpoint(trial: Trial, report: Mapping[str, float]) -> None:
    """Tell a trial of the checkpoint that it saved after Ray had last saved the trial.

    By Ray's private result and numbering: there is no public way to hand a trial a checkpoint.
    """
    storage: Any = trial.storage
    folder = FileSelector(storage.trial_fs_path, allow_not_found=True)
    numbered = [
        (info.mtime_ns or 0, int(match[1]), info.path)
        for info in storage.storage_filesystem.get_file_info(folder)
        if (match := _CHECKPOINT.fullmatch(info.base_name)) is not None
        and int(match[1]) > storage.current_checkpoint_index
    ]
    if numbered:
        # By its time: a trial that was killed before, and went on from an earlier one, may have
        # left one with a larger number.
        _, number, path = max(numbered)
        storage.current_checkpoint_index = number - 1  # the hook adds one
        checkpoint = Checkpoint(path, storage.storage_filesystem)
        trial.on_checkpoint(_TrainingResult(checkpoint, {**trial.last_result, **report}))
