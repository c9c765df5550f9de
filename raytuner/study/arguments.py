"""What a study may be asked to do: checked before anything starts."""

from __future__ import annotations

import functools
import inspect
import itertools
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ray import tune as ray_tune

from raytuner.errors import InUseError, RaytunerError, SettingError, TrainableError, without_secrets
from raytuner.folders import DEFAULT_STORAGE, Folder, RemoteFolder, folder_of, in_uri
from raytuner.history import who_writes
from raytuner.placement.request import Resources, for_ray
from raytuner.search.restore import record_at

_TRIED = ".raytuner-can-write"
_LONGEST = 200  # bytes of a name: file systems take 255, and Ray's own names are added to it

# A training function or class, or the name of a registered one; Ray's own type is as wide.
Trainable = Callable[..., Any] | type | str


def check_count(
    num_samples: object, time_budget_s: float | None, gpu_hours: float | None = None
) -> None:
    """``num_samples`` is a positive whole number, or -1 with a budget to end the study.

    Raises:
        SettingError: It is not.
    """
    if isinstance(num_samples, bool) or not isinstance(num_samples, int) or num_samples < -1:
        raise SettingError(f"num_samples is {num_samples!r}; it must be at least 1, or -1")
    if num_samples == 0:
        raise SettingError("num_samples is 0; it must be at least 1, or -1 for no limit")
    if time_budget_s is not None and not _is_above_0(time_budget_s):
        raise SettingError(f"time_budget_s is {time_budget_s!r}; it must be above 0 seconds")
    if gpu_hours is not None and not _is_above_0(gpu_hours):
        raise SettingError(f"gpu_hours is {gpu_hours!r}; it must be a number above 0")
    if num_samples == -1 and time_budget_s is None and gpu_hours is None:
        raise SettingError(
            "num_samples is -1 (no limit) and there is no time_budget_s or gpu_hours to end it"
        )


def _is_above_0(amount: object) -> bool:
    return isinstance(amount, int | float) and not isinstance(amount, bool) and amount > 0


def check_trainable(trainable: object) -> None:
    """A training function takes the configuration.

    Raises:
        TrainableError: It is nothing that can be called, or a function of no argument.
    """
    if isinstance(trainable, str | type):
        return
    if not callable(trainable):
        raise TrainableError(
            f"the trainable is {trainable!r} ({type(trainable).__name__}); it must be a function of"
            " the configuration or a ray.tune.Trainable class"
        )
    try:
        parameters = inspect.signature(trainable).parameters.values()
    except ValueError:  # built in, without a signature: Ray will say
        return
    if not any(p.kind is not p.KEYWORD_ONLY for p in parameters):
        raise TrainableError(
            f"the training function {name_of(trainable)} takes no argument; it must take the"
            " configuration, a dict"
        )


def with_resources(trainable: Trainable, resources: Resources | None) -> Any:
    """The trainable with its request for resources; as it is if there is none.

    Raises:
        SettingError: An amount that Ray cannot place.
    """
    if resources is None:
        return trainable
    if isinstance(trainable, str):
        raise SettingError(
            f"resources were given for the registered trainable {trainable!r}; give them to the"
            " function itself with ray.tune.with_resources before registering it"
        )
    request = for_ray(resources)
    if not isinstance(trainable, type):
        # Ray writes the request onto the function, where the next study would find it.
        trainable = functools.update_wrapper(functools.partial(trainable), trainable)
    return ray_tune.with_resources(trainable, request)


def folder_for(trainable: Trainable, storage_path: str | Folder | None, name: str | None) -> Folder:
    """The folder of a new study: ``storage_path / name``.

    Raises:
        SettingError: There is something in it already, or nothing can be written there.
        InUseError: A study runs in it.
    """
    given = DEFAULT_STORAGE if storage_path is None else storage_path
    try:
        storage = folder_of(given)
        if isinstance(storage, RemoteFolder):
            _try_to_write(storage)
    except RaytunerError:
        raise
    except (ValueError, RuntimeError, OSError) as error:
        raise SettingError(
            f"storage_path is {without_secrets(str(given))!r}, which no folder can be: {error}"
        ) from error
    if name is None:
        ascii_only = re.ASCII if isinstance(storage, RemoteFolder) else re.NOFLAG
        stem = re.sub(r"[^\w.-]+", "_", name_of(trainable), flags=ascii_only)[: _LONGEST // 5]
        stem += time.strftime("_%Y-%m-%d_%H-%M-%S")
        again = (f"{stem}_{number}" for number in itertools.count(2))
        name = next(n for n in itertools.chain([stem], again) if not (storage / n).exists())
    is_plain = isinstance(name, str) and name.isprintable() and Path(name).name == name
    if not is_plain or name in ("", "..") or len(name.encode()) > _LONGEST:
        raise SettingError(
            f"name is {name!r}; it must be a plain folder name of {_LONGEST} bytes at most"
        )
    if isinstance(storage, RemoteFolder) and in_uri(name) != name:
        raise SettingError(
            f"name is {name!r}; behind a URI it must be of letters without accents, digits and"
            " signs such as . _ - ="  # Ray takes it once as it is, and once as a part of a URI
        )
    path = storage / name
    if _has_content(path):
        if (taken := who_writes(record_at(path))) is not None:
            raise InUseError(taken)
        raise SettingError(
            f"{path} holds a study or something else already; choose another name, or go on with"
            " raytuner.load(path).resume()"
        )
    return path


def _has_content(path: Folder) -> bool:
    if isinstance(path, RemoteFolder):
        return path.exists()
    return path.is_file() or (path.is_dir() and any(path.iterdir()))


def _try_to_write(storage: RemoteFolder) -> None:
    """Before Ray starts: a network's own errors come late, and one for each trial."""
    storage.write(_TRIED, b"")
    storage.delete(_TRIED)


def name_of(trainable: Trainable) -> str:
    """Return the name of a training function or class."""
    if isinstance(trainable, str):
        return trainable
    inner = getattr(trainable, "func", trainable)  # functools.partial
    name: str = getattr(inner, "__name__", type(inner).__name__)
    return name.strip("<>")
