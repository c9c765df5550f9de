"""Check that trials have checkpoints, so that they can be paused and resumed."""

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

# In a report from a trainer of Ray Train, if the report has a checkpoint. The trainer keeps it.
_OF_A_TRAINER = "checkpoint_path"


def check_class(trial: Trial, scheduler: str) -> None:
    """Raise a TrainableError if the trial's class cannot save and load checkpoints."""
    trainable: Any = trial.get_trainable_cls()  # type: ignore[no-untyped-call]
    if trainable is None or issubclass(trainable, FunctionTrainable):
        return
    methods = ("save_checkpoint", "load_checkpoint")
    missing = [n for n in methods if getattr(trainable, n) is getattr(Trainable, n)]
    if missing:
        raise TrainableError(
            f"{scheduler} pauses trials and resumes them from their checkpoints, but"
            f" {trainable.__name__} does not define {' and '.join(missing)};"
            " define both methods, or use ASHAScheduler(variant='stopping')"
        )


def has_checkpoint(trial: Trial, result: Mapping[str, Any], at: str, *, or_fail: bool) -> bool:
    """Return whether a trial that will be paused `at` a resource has a checkpoint.

    Logs a warning if it has none.

    Raises:
        TrainableError: It has none, and `or_fail` is set.
    """
    trainable: Any = trial.get_trainable_cls()  # type: ignore[no-untyped-call]
    # Ray wraps a function in a class. It saves any other class when it is paused.
    is_function = trainable is not None and issubclass(trainable, FunctionTrainable)
    if not is_function or result.get(SHOULD_CHECKPOINT) or trial.checkpoint is not None:
        return True
    if _OF_A_TRAINER in result or _OF_A_TRAINER in trial.last_result:
        return True
    what = (
        f"trial {trial.trial_id} should be paused at {at}, but its training function has reported"
        " no checkpoint"
    )
    if or_fail:
        raise TrainableError(
            f"{what}; pass one to tune.report(..., checkpoint=...) at least where a trial can be"
            " paused, and start from tune.get_checkpoint() (in a trainer's loop: ray.train.report"
            " and ray.train.get_checkpoint), or use ASHAScheduler(variant='stopping')"
        )
    logger.warning("If it is resumed, it will start from the beginning: %s.", what)
    return False
