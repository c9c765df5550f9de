"""Running trials on Ray, in an experiment of Ray's own in a study's folder."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from ray import tune as ray_tune
from ray.tune.stopper import CombinedStopper

from raytuner.controller.cluster_state import connect
from raytuner.controller.retries import NO_SPACE, Retries
from raytuner.errors import HistoryError, RaytunerError, SettingError
from raytuner.folders import Folder, location
from raytuner.history import History
from raytuner.placement.request import Resources
from raytuner.placement.silence import Silence
from raytuner.schedulers.named import DEFAULT_SCHEDULER, make_scheduler
from raytuner.schedulers.restored import RestoringScheduler, note_retry
from raytuner.search import BoTorchSearch
from raytuner.search.restore import FIRST, counted, open_record
from raytuner.space import Space
from raytuner.study.budgets import GpuHours, TimeBudget
from raytuner.study.callbacks import RAYS_CHOICE, Guarded, guarded
from raytuner.study.ends import Ends
from raytuner.study.failing import Failing, require_success
from raytuner.study.placeable import Placeable, require_room, trials_at_once
from raytuner.study.progress import FIGURES_FILE, Progress

# While a study runs:
_ENVIRONMENT = {
    # Ray's check aborts the experiment at the first report without the metric, with its own error.
    # The searcher and scheduler here look themselves: one trial may fail, the others go on.
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    # Ray's newer console output prints a banner even at verbose=0; the older one keeps quiet.
    "RAY_AIR_NEW_OUTPUT": "0",
    **RAYS_CHOICE,
    # Ray logs the traceback of every trial that fails; Ends logs one for each cause.
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
}


def scheduler_of(given: Any, **settings: Any) -> tuple[Any, str | None]:
    """The scheduler, and its name to be kept with the settings: of one that was made, its class."""
    if given is None and settings["max_t"] is None:
        return None, None
    if given is not None and not isinstance(given, str):
        return given, type(given).__name__
    return make_scheduler(given or DEFAULT_SCHEDULER, **settings), given


def run(
    runnable: Any,
    path: Folder,
    searcher: BoTorchSearch,
    scheduler: Any,
    *,
    num_samples: int,
    resources: Resources | None,
    time_budget_s: float | None,
    gpu_hours: float | None,
    silence: Silence,
    max_concurrent: int | None,
    reuse_actors: bool,
    callbacks: Sequence[Any],
    progress: bool,
    stop_after_failures: int,
) -> History:
    """Run ``num_samples`` trials in an experiment of Ray's own in the study's folder.

    Returns:
        The study's record after them.

    Raises:
        NoResultError: Every trial failed for one cause; see :class:`Failing`.
    """
    history = searcher.history
    before = len(history)
    if scheduler is None:
        scheduler = RestoringScheduler()
    history.set_meta("num_samples", num_samples)
    history.set_meta(FIRST, before)
    history.set_meta("time_budget_s", time_budget_s)
    history.set_meta("finished", False)
    budget = None if gpu_hours is None else GpuHours(searcher, gpu_hours)
    searcher.stop_unreported_after = stop_after_failures
    failing = Failing(searcher, stop_after_failures)
    stoppers: list[Any] = [failing, *([] if budget is None else [budget])]
    if time_budget_s is not None:
        stoppers.append(TimeBudget(time_budget_s))
    # Ends lets go of the record at the end: it comes last.
    ours: list[Any] = [
        *([] if budget is None else [budget]),
        Placeable(),
        silence,
        Retries(partial(note_retry, searcher)),  # a scheduler of ours needs none
        Ends(searcher, stoppers),
    ]
    total = num_samples if num_samples < 0 else before + num_samples
    shows = Guarded(
        Progress(
            # partial, not lambda: Ray pickles its callbacks.
            partial(getattr, searcher, "history"),
            total,
            history.max_t,
            time_budget_s,
            figures_file=path / FIGURES_FILE if isinstance(path, Path) else None,
            study=path.name,
            quiet=not progress,
        )
    )
    theirs = guarded(callbacks)
    with ray_session():
        require_room(runnable)
        max_concurrent = trials_at_once(resources, max_concurrent, gpu_hours=gpu_hours)
        tuner = ray_tune.Tuner(
            runnable,
            # The searcher holds the space: Ray's own handling of a param_space would replace the
            # objects in it by placeholders.
            tune_config=ray_tune.TuneConfig(
                # Ray takes one metric at most; searcher and scheduler know the others.
                metric=history.metric if history.goal.is_plain else None,
                mode=history.mode if history.goal.is_plain else None,
                num_samples=num_samples,
                search_alg=searcher,
                scheduler=scheduler,
                max_concurrent_trials=max_concurrent,
                reuse_actors=reuse_actors,
            ),
            run_config=ray_tune.RunConfig(
                name=path.name,
                storage_path=location(path.parent),
                verbose=0,
                stop=CombinedStopper(*stoppers),
                callbacks=[shows, *ours, *theirs],
            ),
        )
        try:
            finished = fit(tuner, time_budget_s)
        finally:
            shows.call("close")
    finished = finished or any(stopper.why for stopper in stoppers)
    history = settled(path, searcher.history, finished)
    require_success(history, stop_after_failures, path)
    return history


def prepare(
    searcher: BoTorchSearch,
    param_space: Mapping[str, Any] | Space,
    metric: str | Sequence[str] | None,
    mode: str | Sequence[str] | None,
    num_samples: int = -1,
) -> None:
    """Tell the searcher now what the Tuner would at its start: bad input shows before Ray runs."""
    if isinstance(param_space, Space):
        searcher.use_space(param_space)
        param_space = {}
    told = searcher.set_search_properties(metric, mode, dict(param_space), num_samples=num_samples)
    if not told:
        raise SettingError(
            "the searcher has a search space of its own, and param_space names hyperparameters too:"
            " give them in one place"
        )


def fit(tuner: ray_tune.Tuner, time_budget_s: float | None) -> bool:
    """Run to the end.

    Returns:
        Whether the time is used up.
    """
    start = time.monotonic()
    tuner.fit()
    return time_budget_s is not None and time.monotonic() - start >= time_budget_s


def _own_error(error: BaseException) -> BaseException:
    """Return the raytuner error that Ray wrapped, one for a full disk, or the error itself.

    Ray turns what a scheduler or searcher raises into a TuneError with the traceback as its text;
    Python keeps the original as its context.
    """
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
                f"the disk is full: {one}. The record has all that was reported until then: make"
                " room, and go on with `raytuner resume` or study.resume()"
            )
    return error


def settled(path: Folder, known: History, finished: bool) -> History:
    """Return the record of the study in a folder after a run.

    Args:
        path: The folder.
        known: The record as it was known, with the search space.
        finished: Whether a budget is used up. A study with all the trials that were asked for has
            ended too; its record shows that, since Ray returns in the same way after a Ctrl-C.
    """
    history = open_record(path, known, known.space)
    if finished or len(counted(history)) >= history.get_meta("num_samples", -1) > 0:
        history.set_meta("finished", True)
    history.close()
    return history


@contextmanager
def ray_session() -> Iterator[None]:
    """Connect to Ray with the settings of a study, and restore the caller's Ctrl-C handler.

    Errors of raytuner's that Ray wrapped are raised as they were; a full disk raises a
    HistoryError.
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
