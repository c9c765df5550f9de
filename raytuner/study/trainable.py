"""Check, name and import the training function of a study."""

from __future__ import annotations

import inspect
import pkgutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from raytuner.errors import TrainableError
from raytuner.study.trainer import Trainer, check_trainer, is_trainer

# A training function or class, the name of a registered one, or a trainer of Ray Train.
Trainable = Callable[..., Any] | type | str | Trainer


def check_trainable(trainable: object) -> None:
    """Check that a training function can take a configuration."""
    if isinstance(trainable, str | type):
        return
    if is_trainer(trainable):
        check_trainer(trainable)
        trainable = trainable.train_loop_per_worker
    if not callable(trainable):
        raise TrainableError(
            f"the trainable is {trainable!r} ({type(trainable).__name__}); it must be a function of"
            " the configuration, a ray.tune.Trainable class or a trainer of Ray Train"
        )
    try:
        parameters = inspect.signature(trainable).parameters.values()
    except ValueError:  # built in, without a signature
        return
    if not any(p.kind is not p.KEYWORD_ONLY for p in parameters):
        raise TrainableError(
            f"the training function {name_of(trainable)} takes no argument; it must take one, the"
            " configuration (a dict)"
        )


def name_of(trainable: Trainable) -> str:
    """Return the name of a training function or class."""
    if isinstance(trainable, str):
        return trainable
    inner = getattr(trainable, "func", trainable)  # functools.partial
    name: str = getattr(inner, "__name__", type(inner).__name__)
    return name.strip("<>")


def path_of(trainable: Trainable) -> str | None:
    """Return `module:qualified.name` of a function or class; None if it cannot be imported."""
    module = getattr(trainable, "__module__", None)
    name = getattr(trainable, "__qualname__", None)
    importable = module not in (None, "__main__") and name is not None and "<" not in name
    return f"{module}:{name}" if importable else None


def imported(path: str) -> Any:
    """Return the function, class or trainer at `module:qualified.name`.

    Raises:
        TrainableError: It cannot be imported or called.
    """
    module, _, name = path.partition(":")
    if not module or not name:
        raise TrainableError(
            f"{path!r} does not name a training function; write MODULE:FUNCTION. For example,"
            " train:fit is the function fit in train.py"
        )
    try:
        found = pkgutil.resolve_name(path)
    except Exception as error:  # whatever the user's module raises
        raise TrainableError(
            f"cannot import {path!r} from the current directory {Path.cwd()} or the installed"
            f" packages: {type(error).__name__}: {error}"
        ) from error
    if not callable(found) and not is_trainer(found):
        raise TrainableError(
            f"{path!r} is {found!r} ({type(found).__name__}); it must be a function, a"
            " ray.tune.Trainable class or a trainer of Ray Train"
        )
    return found
