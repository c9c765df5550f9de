"""Check that a trial can continue where it was paused."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from ray.tune import Trainable
from ray.tune.experiment import Trial
from ray.tune.result import SHOULD_CHECKPOINT
from ray.tune.trainable import FunctionTrainable

from raytuner.errors import TrainableError

logger = logging.getLogger(__name__)

_METHODS = ("save_checkpoint", "load_checkpoint")


class CheckpointCheck:
    """Checks trainable classes before they run, and functions when a trial is to be paused.

    Args:
        scheduler: The scheduler's class, for messages.
    """

    def __init__(self, scheduler: str) -> None:
        self._needs = f"{scheduler} pauses trials and resumes them from their checkpoints, but"
        self._has_paused = False  # a trial with a checkpoint
        self._has_warned = False

    def check_class(self, trial: Trial) -> None:
        """Raise a TrainableError if the trial's class cannot save and load checkpoints."""
        trainable = _class_of(trial)
        if trainable is None or issubclass(trainable, FunctionTrainable):
            return
        missing = [n for n in _METHODS if getattr(trainable, n) is getattr(Trainable, n)]
        if missing:
            raise TrainableError(
                f"{self._needs} {trainable.__name__} does not define {' and '.join(missing)};"
                " define both, or use ASHAScheduler(variant='stopping')"
            )

    def check_report(self, trial: Trial, result: Mapping[str, Any], time_attr: str) -> None:
        """Raise a TrainableError if the trial's function has reported no checkpoint.

        Only log a warning once a trial of this experiment has been paused with one.
        """
        trainable = _class_of(trial)
        if (
            trainable is None
            or not issubclass(trainable, FunctionTrainable)  # Ray saves it when it is paused
            or result.get(SHOULD_CHECKPOINT)
            or trial.checkpoint is not None
        ):
            self._has_paused = True
            return
        what = (
            f"trial {trial.trial_id} is to be paused at {time_attr} = {result[time_attr]} and its"
            " training function has reported no checkpoint"
        )
        if not self._has_paused:
            raise TrainableError(
                f"{self._needs} {what}; pass one to tune.report(..., checkpoint=...) at least where"
                " a trial can be paused, and begin from tune.get_checkpoint(), or use"
                " ASHAScheduler(variant='stopping')"
            )
        if not self._has_warned:
            self._has_warned = True
            logger.warning("If it is resumed it begins anew: %s.", what)


def _class_of(trial: Trial) -> type | None:
    """The trainable's class; Ray makes one of a function. None if the trial has none to show."""
    found: type | None = trial.get_trainable_cls()  # type: ignore[no-untyped-call]
    return found
