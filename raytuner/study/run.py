"""Run the trials of a study as a Ray Tune experiment in the study's folder."""

from __future__ import annotations

import os
import platform
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ray import tune as ray_tune
from ray.tune.stopper import CombinedStopper

from raytuner.controller.cluster_state import connect
from raytuner.controller.leftovers import FreeLeftovers
from raytuner.controller.retries import NO_SPACE, Retries
from raytuner.controller.tuner import request_of_function
from raytuner.errors import HistoryError, RaytunerError
from raytuner.folders import Folder, location
from raytuner.history import Goal, History
from raytuner.placement.request import Resources
from raytuner.placement.silence import Silence
from raytuner.schedulers.named import (
    check_reduction_factor,
    default_scheduler,
    make_scheduler,
)
from raytuner.schedulers.restored import RestoringScheduler
from raytuner.search.botorch_search import BoTorchSearch
from raytuner.search.restore import FIRST, counted, open_record
from raytuner.study.budget import Budget
from raytuner.study.callbacks import RAYS_CHOICE, Guarded, guarded
from raytuner.study.lifecycle import Lifecycle
from raytuner.study.progress import Progress
from raytuner.study.resources import (
    RequireRoom,
    require_room,
    trainer_of,
    trials_at_once,
    with_resources,
)
from raytuner.study.settings import StudySettings, kept_resources
from raytuner.study.stoppers import (
    FAILED_FOR,
    AlwaysFailing,
    StudyStopper,
    TimeBudget,
    require_success,
)
from raytuner.study.trainable import Trainable

_PACKAGES = ("raytuner", "ray", "torch", "botorch", "gpytorch", "numpy")

# While a study runs:
_ENVIRONMENT = {
    # Ray's check aborts the experiment at the first report without the metric. The searcher and
    # scheduler here check reports themselves, so that one trial fails and the others continue.
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    # Ray's newer console output prints a banner even with verbose=0; the older one does not.
    "RAY_AIR_NEW_OUTPUT": "0",
    **RAYS_CHOICE,
    # Ray logs the traceback of every failed trial; Lifecycle logs one for each cause.
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
}


def with_scheduler(settings: StudySettings, goal: Goal) -> StudySettings:
    """Return the settings, with the default scheduler's name if they have no scheduler."""
    if settings.scheduler is not None:
        return settings
    name = default_scheduler(goal, **settings.some("max_t", "reduction_factor"))
    return replace(settings, scheduler=name)


def scheduler_of(settings: StudySettings, *, reduction_factor: int | None) -> Any:
    """Return the scheduler that the settings name or hold; None for none.

    Args:
        settings: The settings. If they come from a record, the scheduler may ignore their factor.
        reduction_factor: The factor that the user gave now; None if not given.
    """
    given = settings.scheduler
    if not isinstance(given, str):
        return given
    check_reduction_factor(given, reduction_factor)
    known = settings.some("time_attr", "max_t", "grace_period", "reduction_factor", "seed")
    return make_scheduler(given, **known)


def run(
    runnable: Any,
    path: Folder,
    searcher: BoTorchSearch,
    scheduler: Any,
    settings: StudySettings,
) -> History:
    """Run trials as a Ray Tune experiment in the study's folder, and return the record."""
    history = searcher.history
    before = len(history)
    history.set_meta("num_samples", settings.num_samples)
    history.set_meta(FIRST, before)
    history.set_meta("finished", False)
    searcher.stop_unreported_after = settings.stop_after_failures
    asked, most = settings.resources, settings.max_concurrent_trials
    trainer = trainer_of(asked)
    stoppers: list[StudyStopper] = [AlwaysFailing(searcher, settings.stop_after_failures)]
    budget = Budget(searcher, settings.budget, settings.prices, trainer)
    if settings.budget is not None or settings.prices is not None:
        stoppers.append(budget)
    if settings.time_budget_s is not None:
        stoppers.append(TimeBudget(searcher, settings.time_budget_s))
    ours = [
        RequireRoom(),
        Silence(settings.max_silence_s, settings.on_silence),
        Retries(searcher),  # raytuner's schedulers do not need it
        Lifecycle(searcher, stoppers),  # last, since it closes the record at the end
    ]
    progress = Guarded(
        Progress(
            searcher,
            settings.num_samples if settings.num_samples < 0 else before + settings.num_samples,
            settings.time_budget_s,
            path,
            budget,
            quiet=not settings.progress,
        )
    )
    # The stoppers first: at the end, the progress shows what they counted.
    callbacks = [*stoppers, progress, *ours, *guarded(settings.callbacks)]
    with ray_session():
        if trainer:
            callbacks.append(FreeLeftovers())
        budget.require_prices()  # before anything is written
        if (request := request_of_function(runnable)) is not None:
            require_room(request)
        tuner = ray_tune.Tuner(
            runnable,
            # The searcher has the space: Ray would replace objects in a param_space.
            tune_config=ray_tune.TuneConfig(
                # Ray takes at most one metric; searcher and scheduler know the others.
                metric=history.metric if history.goal.is_plain else None,
                mode=history.mode if history.goal.is_plain else None,
                num_samples=settings.num_samples,
                search_alg=searcher,
                scheduler=RestoringScheduler() if scheduler is None else scheduler,
                max_concurrent_trials=trials_at_once(asked, most),
                reuse_actors=settings.reuse_actors,
            ),
            run_config=ray_tune.RunConfig(
                name=path.name,
                storage_path=location(path.parent),
                verbose=0,
                stop=CombinedStopper(*stoppers),
                callbacks=callbacks,
            ),
        )
        try:
            tuner.fit()
        finally:
            progress.call("close")
    return _settled(path, searcher.history)


def can_resume(path: Folder) -> bool:
    """Return whether Ray has saved a state from which `resume` can continue."""
    return bool(ray_tune.Tuner.can_restore(location(path)))


def resume(
    path: Folder, history: History, trainable: Trainable, resources: Resources | None = None
) -> History:
    """Continue an interrupted study and return its record; see `Study.resume`."""
    runnable = with_resources(trainable, kept_resources(history, resources, "study.resume"))
    with ray_session():
        if not can_resume(path):
            raise HistoryError(
                f"cannot resume {path}: Ray has saved no state there, only the record exists. Start"
                " a new study, or continue with study.extend()"
            )
        with closing(open_record(path, history, history.space)) as live:
            note_run(live, "resumed")
        ray_tune.Tuner.restore(location(path), runnable).fit()
    return _settled(path, history)


def note_run(history: History, what: str, changes: Sequence[str] = ()) -> None:
    """Add a run to the record's list: "run", "resumed" or "extended", and its changes as text."""
    history.set_meta(FAILED_FOR, None)
    versions = {"Python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:  # a checkout that is not installed
            continue
    program = Path(sys.argv[0]).name if sys.argv else ""  # its arguments may hold secrets
    run = {
        "what": what,
        "at": time.time(),
        "program": None if program in ("", "-c", "ipykernel_launcher.py") else program,
        "folder": str(Path.cwd()),
        "changes": list(changes),
        "versions": versions,
    }
    history.set_meta("runs", [*history.get_meta("runs", []), run])


def _settled(path: Folder, known: History) -> History:
    """Return the record of the study in a folder after a run.

    The study is finished if all requested trials have ended or a stopper ended it.
    """
    history = open_record(path, known, known.space)
    if len(counted(history)) >= history.get_meta("num_samples", -1) > 0:
        history.set_meta("finished", True)
    history.close()
    require_success(history, path)
    return history


@contextmanager
def ray_session() -> Iterator[None]:
    """Connect to Ray with the settings of a study, and restore the caller's Ctrl-C handler.

    If Ray wrapped an error of raytuner, the original is raised. A full disk raises a HistoryError.
    """
    connect()
    before = {key: os.environ.get(key) for key in _ENVIRONMENT}
    os.environ.update(_ENVIRONMENT)
    in_main = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGINT) if in_main else None
    try:
        yield
    except Exception as error:
        raise _own_error(error) from error
    finally:
        for key, value in before.items():
            if value is None:
                os.environ.pop(key, None)
            else:
                os.environ[key] = value
        if handler is not None:
            # Tune leaves its handler behind, which would swallow the next Ctrl-C.
            signal.signal(signal.SIGINT, handler)


def _own_error(error: BaseException) -> BaseException:
    """Return the raytuner error that Ray wrapped, one for a full disk, or the error itself."""
    inner: BaseException | None = error
    chain: list[BaseException] = []
    while inner is not None and inner not in chain:
        if isinstance(inner, RaytunerError):
            return inner
        chain.append(inner)
        inner = inner.__cause__ or inner.__context__
    for one in chain:
        if isinstance(one, OSError) and NO_SPACE.search(str(one)):
            return HistoryError(
                f"the disk is full: {one}. The record has all reports so far. Make room, then"
                " continue with `raytuner resume` or study.resume()"
            )
    return error
