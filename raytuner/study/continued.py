"""Going on with a study: where it was interrupted, or after its end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import Any

from ray import tune as ray_tune

from raytuner.errors import HistoryError, SettingError, SpaceError
from raytuner.folders import Folder, location
from raytuner.history import History, OpaqueValue, TrialState
from raytuner.placement.request import Resources
from raytuner.placement.silence import Silence
from raytuner.schedulers.named import DEFAULT_SCHEDULER, SCHEDULERS
from raytuner.search import BoTorchSearch
from raytuner.search.again import take_up
from raytuner.search.restore import open_record, record_at
from raytuner.search.settings import DEFAULT_STRATEGY
from raytuner.search.tune_space import space_from_tune
from raytuner.space import Rule, Space
from raytuner.study.arguments import Trainable, check_count, check_trainable, with_resources
from raytuner.study.budgets import GPU_HOURS_USED
from raytuner.study.carry_over import carry_over, searched_space
from raytuner.study.failing import (
    STOP_AFTER_FAILURES,
    check_stop_after_failures,
    require_success,
)
from raytuner.study.placeable import require_room
from raytuner.study.provenance import known_resources, note_run, note_settings
from raytuner.study.run import fit, prepare, ray_session, run, scheduler_of, settled


def can_resume(path: Folder) -> bool:
    """Whether Ray has saved what :func:`resume` goes on from."""
    return bool(ray_tune.Tuner.can_restore(location(path)))


def resume(
    path: Folder, history: History, trainable: Trainable, resources: Resources | None = None
) -> History:
    """Go on with an interrupted study; see :meth:`Study.resume`.

    ``path`` is the study's folder, ``history`` its record; returned is its record after the run.
    """
    check_trainable(trainable)
    if resources is None:
        resources = known_resources(history.get_meta("settings", {}), "study.resume(resources=...)")
    runnable = with_resources(trainable, resources)
    with ray_session():
        if not can_resume(path):
            raise HistoryError(
                f"{path} holds no state of Ray's to go on from, only the record: start a new study"
            )
        with closing(open_record(path, history, history.space)) as live:
            note_run(live, "resumed")
        require_room(runnable)
        tuner = ray_tune.Tuner.restore(location(path), runnable)
        finished = fit(tuner, history.get_meta("time_budget_s"))
    after = settled(path, history, finished)
    require_success(after, _stop_after_failures(history), path)
    return after


def extend(
    path: Folder,
    before: History,
    trainable: Trainable,
    *,
    num_samples: int,
    time_budget_s: float | None = None,
    gpu_hours: float | None = None,
    max_t: float | None = None,
    param_space: Mapping[str, Any] | Space | None = None,
    parameter_constraints: Sequence[Rule] | None = None,
    resources: Resources | None = None,
    scheduler: Any = None,
    stop_after_failures: int | None = None,
    max_concurrent: int | None = None,
    callbacks: Sequence[Any] = (),
    progress: bool = True,
) -> History:
    """Go on with a study that has ended; see :meth:`Study.extend`.

    ``path`` is the study's folder, ``before`` its record; returned is its record after the run.
    """
    check_count(num_samples, time_budget_s, gpu_hours)
    check_trainable(trainable)
    if stop_after_failures is not None:
        check_stop_after_failures(stop_after_failures)
    settings = before.get_meta("settings")
    if settings is None:
        raise HistoryError(
            f"{path} was not run by raytuner.tune: its record does not say with which"
            " settings to go on. Run a new Tuner, and tell its BoTorchSearch of these trials"
        )
    if scheduler is None and (settings["scheduler"] or DEFAULT_SCHEDULER) not in SCHEDULERS:
        raise SettingError(
            f"the study was run with a {settings['scheduler']} of your own; pass one again:"
            " study.extend(n, scheduler=...)"
        )
    if resources is None:
        resources = known_resources(settings, "study.extend(n, resources=...)")
    record = record_at(path)
    if not record.exists():
        raise HistoryError(f"there is no record to go on from at {record}")
    runnable = with_resources(trainable, resources)
    space = _next_space(before, param_space, parameter_constraints)
    with closing(_record_of(path, before, space)) as history:
        record = history.path or record
        carried = carry_over(
            history,
            space,
            max_t,
            reduction_factor=settings["reduction_factor"],
            num_samples=num_samples,
        )
        if max_t is not None:
            settings["max_t"] = max_t
        note_settings(history, settings)
        _end_abandoned(history)
        note_run(history, "extended", carried.changes)
    searcher = BoTorchSearch(
        history.space,
        time_attr=settings["time_attr"],
        max_t=history.max_t,
        seed=settings["seed"],
        strategy=settings.get("strategy", DEFAULT_STRATEGY),
    )
    searcher.keep_record_in(record)
    take_up(searcher, history)
    prepare(searcher, {}, None, None)
    if carried.within is not None:
        searcher.search_within(carried.within)
    searcher.try_again(carried.again)
    scheduler, _ = scheduler_of(
        settings["scheduler"] if scheduler is None else scheduler,
        **{
            name: settings[name]
            for name in ("time_attr", "max_t", "grace_period", "reduction_factor", "seed")
        },
    )
    used = searcher.history.get_meta(GPU_HOURS_USED, 0.0)
    return run(
        runnable,
        path,
        searcher,
        scheduler,
        num_samples=num_samples,
        resources=resources,
        time_budget_s=time_budget_s,
        gpu_hours=None if gpu_hours is None else used + gpu_hours,
        silence=Silence(settings.get("max_silence_s"), settings.get("on_silence", "retry")),
        max_concurrent=settings["max_concurrent"] if max_concurrent is None else max_concurrent,
        reuse_actors=settings["reuse_actors"],
        callbacks=callbacks,
        progress=progress,
        stop_after_failures=_stop_after_failures(before)
        if stop_after_failures is None
        else stop_after_failures,
    )


def _stop_after_failures(history: History) -> int:
    """Return the number of failures that end the study, by its settings."""
    settings = history.get_meta("settings") or {}
    return int(settings.get("stop_after_failures", STOP_AFTER_FAILURES))


def _next_space(
    history: History,
    param_space: Mapping[str, Any] | Space | None,
    rules: Sequence[Rule] | None,
) -> Space | None:
    """The space to go on in, None for that of the study.

    The study's constraints go on to hold, unless others are given.
    """
    if param_space is None and rules is None:
        return None
    before = searched_space(history)
    space = before if param_space is None else param_space
    if not isinstance(space, Space):
        space = space_from_tune(space)
    if rules is not None:
        return Space(space.template, rules)
    return space.constrained(
        [one for one in before.constraints if not isinstance(one.rule, OpaqueValue)]
    )


def _record_of(folder: Folder, before: History, space: Space | None) -> History:
    """Open the record for writing.

    Raises:
        SpaceError: It has objects that no file can hold, and ``space`` is not the space that has
            them.
    """
    try:
        return open_record(folder, before)
    except SpaceError:
        return open_record(folder, before, space)


def _end_abandoned(history: History) -> None:
    """Nobody runs the trials that an earlier run left live."""
    for trial_id in history.live():
        reported = history.last(trial_id) is not None
        state = TrialState.STOPPED_EARLY if reported else TrialState.REMOVED
        history.end(trial_id, state, "its run was interrupted, and not resumed")
