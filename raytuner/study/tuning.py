"""`raytuner.tune`."""

from __future__ import annotations

import functools
import inspect
import itertools
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ParamSpec

from raytuner.errors import InUseError, RaytunerError, SettingError, without_secrets
from raytuner.folders import DEFAULT_STORAGE, Folder, RemoteFolder, folder_of, in_uri
from raytuner.history import Writer, who_writes
from raytuner.placement.gpu_memory import wants_fit
from raytuner.search.botorch_search import BoTorchSearch
from raytuner.search.recorded import Recorded
from raytuner.search.restore import record_at
from raytuner.space import Space
from raytuner.study.resources import first_config, fitted, with_resources
from raytuner.study.run import note_run, ray_session, run, scheduler_of, with_scheduler
from raytuner.study.settings import ARGUMENTS, SETTINGS, StudySettings, Use, check_names, names
from raytuner.study.study import Study
from raytuner.study.trainable import Trainable, name_of, path_of
from raytuner.study.trainer import is_trainer, resources_of

_LONGEST = 200  # bytes of a name: file systems allow 255, and Ray adds its own names

_P = ParamSpec("_P")


def _with_arguments_of(
    settings: Callable[_P, StudySettings],
) -> Callable[[Callable[[StudySettings], Study]], Callable[_P, Study]]:
    """Give a function of settings their fields as documented arguments."""

    def decorate(function: Callable[[StudySettings], Study]) -> Callable[_P, Study]:
        signature = inspect.signature(settings).replace(return_annotation="Study")

        @functools.wraps(function)
        def with_arguments(*args: _P.args, **kwargs: _P.kwargs) -> Study:
            check_names(function.__name__, kwargs, list(SETTINGS))
            signature.bind(*args, **kwargs)  # its errors do not mention the settings' class
            return function(settings(*args, **kwargs))

        with_arguments.__signature__ = signature  # type: ignore[attr-defined]
        doc = inspect.cleandoc(function.__doc__ or "")
        with_arguments.__doc__ = doc.replace("    {settings}", ARGUMENTS)
        return with_arguments

    return decorate


@_with_arguments_of(StudySettings)
def tune(settings: StudySettings) -> Study:  # noqa: D417
    """Search for the best hyperparameters of a training function.

    Runs on the connected Ray cluster. Without a connection it uses the cluster that `RAY_ADDRESS`
    names, then one that `ray start` began on this machine, or else starts a local cluster.

    Args:
        {settings}

    Returns:
        The study. Ctrl-C also returns it, with the results so far and `interrupted` set to True.

    Raises:
        RaytunerError: Bad input. Raised before any trial starts if possible.
        InUseError: Another process runs this study.
        NoResultError: Every trial failed for the same cause (see `stop_after_failures`).

    Examples:
        ```python
        study = raytuner.tune(
            train, {"lr": tune.loguniform(1e-4, 1e-1)},
            metric="loss", mode="min", num_samples=50, max_t=27, resources={"gpu": 0.5},
        )
        print(study.best.config)
        ```
    """
    trainable, resources, searcher = settings.trainable, settings.resources, settings.searcher
    if is_trainer(trainable):
        resources = resources_of(trainable, resources)
        settings = replace(settings, resources=resources)
    if searcher is None:
        given = settings.some(*names(Use.SEARCH), "time_attr", "max_t", "seed")
        searcher = BoTorchSearch(**given)
    elif not isinstance(searcher, BoTorchSearch):
        searcher = Recorded(searcher, time_attr=settings.time_attr, max_t=settings.max_t)
    prepare(searcher, settings.param_space, settings.metric, settings.mode, settings.num_samples)
    settings = with_scheduler(settings, searcher.history.goal)
    scheduler = scheduler_of(settings, reduction_factor=settings.reduction_factor)
    path = folder_for(trainable, settings.storage_path, settings.name)
    if wants_fit(resources):
        with ray_session():
            space, points = searcher.history.space, settings.points_to_evaluate
            config = first_config(space, points, settings.seed)
            resources = fitted(trainable, resources, config)
        settings = replace(settings, resources=resources)
    runnable = with_resources(trainable, resources)
    searcher.keep_record_in(record_at(path))
    history = searcher.history
    history.set_meta("trainable", path_of(trainable))
    other = searcher.name if isinstance(searcher, Recorded) else None
    strategy = SETTINGS["strategy"].default if other else searcher.strategy
    settings.keep(history, strategy=strategy, searcher=other)
    note_run(history, "run")
    with Writer(record_at(path)):
        return Study(path, run(runnable, path, searcher, scheduler, settings), trainable)


def prepare(
    searcher: BoTorchSearch,
    param_space: Mapping[str, Any] | Space,
    metric: str | Sequence[str] | None,
    mode: str | Sequence[str] | None,
    num_samples: int = -1,
) -> None:
    """Set up the searcher as the Tuner would later, to find bad input before Ray starts."""
    config = param_space if isinstance(param_space, Space) else dict(param_space)
    if not searcher.set_search_properties(metric, mode, config, num_samples=num_samples):
        raise SettingError(
            "both the searcher and param_space have hyperparameters; give the search space to only"
            " one of them"
        )


def folder_for(trainable: Trainable, storage_path: str | Folder | None, name: str | None) -> Folder:
    """Return the folder of a new study: `storage_path / name`."""
    given = DEFAULT_STORAGE if storage_path is None else storage_path
    try:
        storage = folder_of(given)
        if isinstance(storage, RemoteFolder):
            # Checked before Ray starts: network errors would come late, one for each trial.
            storage.write(".raytuner-can-write", b"")
            storage.delete(".raytuner-can-write")
    except RaytunerError:
        raise
    except (ValueError, RuntimeError, OSError) as error:
        raise SettingError(
            f"storage_path is {without_secrets(str(given))!r}, which cannot be used as a folder:"
            f" {error}"
        ) from error
    is_remote = isinstance(storage, RemoteFolder)
    if name is None:
        stem = re.sub(r"[^\w.-]+", "_", name_of(trainable), flags=re.ASCII)[: _LONGEST // 5]
        stem += time.strftime("_%Y-%m-%d_%H-%M-%S")
        others = (f"{stem}_{number}" for number in itertools.count(2))
        name = next(n for n in itertools.chain([stem], others) if not (storage / n).exists())
    is_plain = isinstance(name, str) and name.isprintable() and Path(name).name == name
    if not is_plain or name in ("", "..") or len(name.encode()) > _LONGEST:
        raise SettingError(
            f"name is {name!r}; it must be a plain folder name of at most {_LONGEST} bytes"
        )
    if is_remote and in_uri(name) != name:
        raise SettingError(
            f"name is {name!r}; at a URI it may have only letters without accents, digits and"
            " characters such as . _ - ="  # Ray uses it both as it is and as a part of a URI
        )
    path = storage / name
    is_empty = isinstance(path, Path) and path.is_dir() and not any(path.iterdir())
    if path.exists() and not is_empty:
        if (taken := who_writes(record_at(path))) is not None:
            raise InUseError(taken)
        raise SettingError(
            f"{path} already exists and is not empty; choose another name, or continue its study"
            " with raytuner.load(path).resume()"
        )
    return path
