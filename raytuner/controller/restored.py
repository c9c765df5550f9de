"""Correct what Ray has restored of an experiment that went on after Ray's last save of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pyarrow.fs import FileType

# Private: a trial takes a checkpoint only as one of these.
from ray.train._internal.session import _TrainingResult
from ray.tune import Checkpoint
from ray.tune.experiment import Trial
from ray.tune.search import SearchGenerator


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


def set_trial_count(search_alg: Any, count: int) -> None:
    """Set how many trials Ray has asked the searcher for.

    Ray saves that number and the trials in two files. After a lost machine they may disagree, and
    Ray would run fewer or more trials than `num_samples`.
    """
    if isinstance(search_alg, SearchGenerator):
        search_alg.set_state({**search_alg.get_state(), "counter": count})
