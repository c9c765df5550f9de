"""Whether a trial that is paused could go on from where it was."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ray.tune import Trainable
from ray.tune.experiment import Trial
from ray.tune.result import SHOULD_CHECKPOINT
from ray.tune.trainable import FunctionTrainable

from raytuner.errors import TrainableError


def check_can_checkpoint(trial: Trial, who: str) -> None:
    """Refuse a class that cannot save or load checkpoints, before it runs.

    Args:
        trial: The trial.
        who: The scheduler, for the message.

    Raises:
        TrainableError: Its class lacks `save_checkpoint` or `load_checkpoint`.
    """
    trainable = _class_of(trial)
    if trainable is None or issubclass(trainable, FunctionTrainable):
        return  # of a function it is known only by its reports
    names = ("save_checkpoint", "load_checkpoint")
    missing = [name for name in names if getattr(trainable, name) is getattr(Trainable, name)]
    if missing:
        raise TrainableError(
            f"{who} pauses trials and resumes them from their checkpoints, but "
            f"{trainable.__name__} does not define {' and '.join(missing)}; define both, or use "
            f"type='stopping'"
        )


def has_checkpoint(trial: Trial, result: Mapping[str, Any]) -> bool:
    """Whether a trial that pauses after this report can go on from a checkpoint.

    A class saves one when it is paused; a function goes on from the last that it reported.
    """
    trainable = _class_of(trial)
    if trainable is None or not issubclass(trainable, FunctionTrainable):
        return True
    return bool(result.get(SHOULD_CHECKPOINT)) or trial.checkpoint is not None


def _class_of(trial: Trial) -> type | None:
    """The trainable's class; Ray makes one of a function. None if the trial has none to show."""
    found: type | None = trial.get_trainable_cls()  # type: ignore[no-untyped-call]
    return found
