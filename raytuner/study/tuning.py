"""The one call."""

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
from raytuner.study.settings import SETTINGS, StudySettings, Use, check_names, names
from raytuner.study.study import Study
from raytuner.study.trainable import Trainable, name_of, path_of

_LONGEST = 200  # bytes of a name: file systems take 255, and Ray's own names are added to it

_P = ParamSpec("_P")


def _with_arguments_of(
    settings: Callable[_P, StudySettings],
) -> Callable[[Callable[[StudySettings], Study]], Callable[_P, Study]]:
    """Let a function of settings take their fields as arguments, and document them."""

    def decorate(function: Callable[[StudySettings], Study]) -> Callable[_P, Study]:
        signature = inspect.signature(settings).replace(return_annotation="Study")

        @functools.wraps(function)
        def with_arguments(*args: _P.args, **kwargs: _P.kwargs) -> Study:
            check_names(function.__name__, kwargs, list(SETTINGS))
            signature.bind(*args, **kwargs)  # whose errors do not speak of the settings' class
            return function(settings(*args, **kwargs))

        with_arguments.__signature__ = signature  # type: ignore[attr-defined]
        arguments = (settings.__doc__ or "").partition("    Args:\n")[2].partition("\n\n")[0]
        doc = (function.__doc__ or "").replace("        {settings}", arguments)
        with_arguments.__doc__ = doc
        return with_arguments

    return decorate


@_with_arguments_of(StudySettings)
def tune(settings: StudySettings) -> Study:  # noqa: D417
    """Search for the best hyperparameters of a training function.

    Starts a local Ray cluster if none is connected; Ray's own rules (`RAY_ADDRESS`) apply.

    Args:
        {settings}

    Returns:
        The study; after Ctrl-C too, with `interrupted` true and the best so far.

    Raises:
        RaytunerError: Bad input; before any trial starts, if it can be known by then.
            InUseError: Another process runs this study.
        NoResultError: Every trial failed for one cause (see `stop_after_failures`).

    Example:
        .. code-block:: python

            study = raytuner.tune(
                train, {"lr": tune.loguniform(1e-4, 1e-1)},
                metric="loss", mode="min", num_samples=50, max_t=27, resources={"gpu": 0.5},
            )
            print(study.best.config)
    """
    trainable, resources, searcher = settings.trainable, settings.resources, settings.searcher
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
    """Give the searcher what the Tuner gives it later, so that bad input shows before Ray runs."""
    config = param_space if isinstance(param_space, Space) else dict(param_space)
    if not searcher.set_search_properties(metric, mode, config, num_samples=num_samples):
        raise SettingError(
            "the searcher has a search space of its own, and param_space names hyperparameters too:"
            " give them in one place"
        )


def folder_for(trainable: Trainable, storage_path: str | Folder | None, name: str | None) -> Folder:
    """Return the folder of a new study: `storage_path / name`."""
    given = DEFAULT_STORAGE if storage_path is None else storage_path
    try:
        storage = folder_of(given)
        if isinstance(storage, RemoteFolder):
            # Before Ray starts: a network's own errors come late, and one for each trial.
            storage.write(".raytuner-can-write", b"")
            storage.delete(".raytuner-can-write")
    except RaytunerError:
        raise
    except (ValueError, RuntimeError, OSError) as error:
        raise SettingError(
            f"storage_path is {without_secrets(str(given))!r}, which no folder can be: {error}"
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
            f"name is {name!r}; it must be a plain folder name of {_LONGEST} bytes at most"
        )
    if is_remote and in_uri(name) != name:
        raise SettingError(
            f"name is {name!r}; behind a URI it must be of letters without accents, digits and"
            " signs such as . _ - ="  # Ray takes it once as it is, and once as a part of a URI
        )
    path = storage / name
    is_empty = isinstance(path, Path) and path.is_dir() and not any(path.iterdir())
    if path.exists() and not is_empty:
        if (taken := who_writes(record_at(path))) is not None:
            raise InUseError(taken)
        raise SettingError(
            f"{path} holds a study or something else already; choose another name, or go on with"
            " raytuner.load(path).resume()"
        )
    return path
