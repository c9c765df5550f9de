"""Running a study on Ray."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ray import tune as ray_tune

from raytuner.errors import HistoryError, RaytunerError, SettingError, SpaceError
from raytuner.folders import Folder, location
from raytuner.history import History, TrialState
from raytuner.history.stand_in import StandIn
from raytuner.placement.cluster import connect
from raytuner.placement.gpu_memory import wants_fit
from raytuner.placement.request import Resources, recorded
from raytuner.placement.retries import Retries
from raytuner.placement.silence import Rule as SilenceRule
from raytuner.placement.silence import Silence
from raytuner.schedulers.named import DEFAULT_SCHEDULER, SCHEDULERS, make_scheduler
from raytuner.schedulers.restored import RestoringScheduler
from raytuner.search import BoTorchSearch
from raytuner.search.botorch_search import DEFAULT_STRATEGY
from raytuner.search.restore import RECORD_FILE, record_at
from raytuner.search.tune_space import space_from_tune
from raytuner.space import Config, Rule, Space
from raytuner.study.arguments import (
    Trainable,
    check_count,
    check_trainable,
    folder_for,
    with_resources,
)
from raytuner.study.carry_over import carry_over, searched_space
from raytuner.study.confirm import (
    CONFIRMED,
    Confirmed,
    chosen,
    confirmed,
    note,
    repeated,
    run_again,
)
from raytuner.study.ends import Ends
from raytuner.study.fit import first_config, fitted
from raytuner.study.gpu_hours import GPU_HOURS_USED, GpuHours
from raytuner.study.placeable import Placeable, require_room, trials_at_once
from raytuner.study.progress import FIGURES_FILE, Progress
from raytuner.study.provenance import note_run, note_settings
from raytuner.study.study import Study

# While a study runs:
_ENVIRONMENT = {
    # Ray's check aborts the experiment at the first report without the metric, with its own error.
    # The searcher and scheduler here look themselves: one trial may fail, the others go on.
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    # Ray's newer console output prints a banner even at verbose=0; the older one keeps quiet.
    "RAY_AIR_NEW_OUTPUT": "0",
}


def tune(
    trainable: Trainable,
    param_space: Mapping[str, Any] | Space,
    *,
    metric: str | Sequence[str],
    mode: str | Sequence[str],
    num_samples: int,
    outcome_constraints: Sequence[str] = (),
    weights: Sequence[float] | None = None,
    cost: str | None = None,
    standard_error: str | None = None,
    resources: Resources | None = None,
    max_t: float | None = None,
    grace_period: float = 1,
    reduction_factor: int = 3,
    time_budget_s: float | None = None,
    gpu_hours: float | None = None,
    max_silence_s: float | None = None,
    on_silence: SilenceRule = "retry",
    storage_path: str | Folder | None = None,
    name: str | None = None,
    seed: int | None = None,
    points_to_evaluate: Sequence[Config] | None = None,
    parameter_constraints: Sequence[Rule] | None = None,
    strategy: str | None = None,
    earlier: Sequence[Any] = (),
    priors: Mapping[str, Any] | None = None,
    searcher: BoTorchSearch | None = None,
    scheduler: Any = None,
    max_concurrent: int | None = None,
    reuse_actors: bool = False,
    time_attr: str = "training_iteration",
    callbacks: Sequence[Any] = (),
    progress: bool = True,
) -> Study:
    """Search for the best hyperparameters of a training function.

    Starts a local Ray cluster if none is connected; Ray's own rules (``RAY_ADDRESS``) apply.

    Args:
        trainable: ``f(config)`` that calls ``ray.tune.report({metric: ...})`` after each unit of
            training; a ``ray.tune.Trainable`` class; or the name of a registered one.
        param_space: The search space: Ray Tune domains and constants, nested as you like, or a
            :class:`raytuner.space.Space`.
        metric: Name of the objective in the reports, or a list of several: the study then has a
            Pareto front (:meth:`Study.pareto`).
        mode: "min" or "max", or a list with one for each metric.
        outcome_constraints: Bounds on metrics, such as ``"latency_ms <= 20"``: the best is the best
            that keeps them.
        weights: One number above 0 for each of several metrics, whose weighted sum is then the one
            objective; see :class:`BoTorchSearch`.
        cost: Key of a report that says what a trial has cost so far ("time_total_s"): proposals
            promise the largest improvement per cost.
        standard_error: Key of a report that says the metric's standard error; see
            :class:`BoTorchSearch`.
        num_samples: Number of trials; -1 for as many as a budget allows.
        resources: What one trial needs, such as ``{"cpu": 2, "gpu": 0.5}``, all that
            :meth:`raytuner.placement.Request.of` reads, or a function of the configuration that
            returns such. ``{"gpu": "fit"}`` finds out by a short run how many trials the memory of
            a GPU holds (:mod:`raytuner.placement.gpu_memory`). None: what the trainable asks for
            itself, or one CPU.
        max_t: Full resource of a trial, in units of ``time_attr``: a trial that gets there is
            complete. Trials that do badly before are stopped (:class:`ASHAScheduler`). None runs
            every trial until its training ends.
        grace_period: No trial is stopped before this much resource.
        reduction_factor: About one in so many trials goes on at each rung.
        time_budget_s: Seconds after which the study ends, however many trials are left.
        gpu_hours: The study ends when its trials have held GPUs for so long, counted by what they
            request in ``resources``.
        max_silence_s: A trial that has not reported for so many seconds is ended by the rule of
            ``on_silence``. None: it is only told of, once it has taken ten times as long as any
            before, and at least ten minutes.
        on_silence: "retry" kills its process and lets it go on from its last checkpoint, once;
            "fail" kills it, and the trial has failed; "warn" says so and waits.
        storage_path: Folder that the study's own folder is made in, or the URI of one, such as
            ``s3://bucket/runs`` (:class:`raytuner.folders.RemoteFolder`); default
            ``~/raytuner_results``.
        name: The study's own folder; default: the function's name and the time.
        seed: Makes proposals repeatable for the same order of results.
        points_to_evaluate: Configurations to try first.
        parameter_constraints: What every configuration must keep, such as
            ``"layers * units <= 1024"``; see :class:`BoTorchSearch`.
        strategy: How to search: "bayes" (None), "hedge", "evolution", "random", "grid" and others;
            see :class:`BoTorchSearch`.
        earlier: Earlier studies to start from: folders, studies or tables; see
            :class:`BoTorchSearch`.
        priors: Where the optimum is believed to be, by hyperparameter; see :class:`BoTorchSearch`.
        searcher: A :class:`BoTorchSearch` with settings of its own; None makes one.
        scheduler: What becomes of trials that have begun: "asha" (None, if there is a ``max_t``),
            "promotion", "hyperband", "predictive-termination", "freeze-thaw", or any Ray Tune
            scheduler.
        max_concurrent: At most so many trials at a time; None: as many as the cluster holds.
        reuse_actors: Keep a trial's process for the next trial. Saves seconds a trial; the training
            function must then leave promptly when it is stopped and keep no state in globals.
        time_attr: Key of a report that says what a trial has spent.
        callbacks: Ray Tune callbacks (loggers, say).
        progress: Show progress while it runs.

    Returns:
        The study. After Ctrl-C too, with ``interrupted`` true and the best so far.

    Raises:
        RaytunerError: Bad input; before any trial starts, wherever it can be known by then.

    Example:
        .. code-block:: python

            study = raytuner.tune(
                train, {"lr": tune.loguniform(1e-4, 1e-1)},
                metric="loss", mode="min", num_samples=50, max_t=27, resources={"gpu": 0.5},
            )
            print(study.best.config)
    """
    check_count(num_samples, time_budget_s, gpu_hours)
    check_trainable(trainable)
    silence = Silence(max_silence_s, on_silence)
    if max_concurrent is not None and max_concurrent < 1:
        raise SettingError(f"max_concurrent is {max_concurrent!r}; it must be at least 1")
    for_a_new_one = {
        "points_to_evaluate": points_to_evaluate,
        "parameter_constraints": parameter_constraints,
        "outcome_constraints": outcome_constraints or None,
        "weights": weights,
        "cost": cost,
        "standard_error": standard_error,
        "strategy": strategy,
        "earlier": earlier or None,
        "priors": priors or None,
    }
    for argument, given in for_a_new_one.items():
        if searcher is not None and given is not None:
            raise SettingError(f"{argument} was given beside a searcher; give it to the searcher")
    if not wants_fit(resources):
        runnable = with_resources(trainable, resources)
    scheduler, scheduler_name = _scheduler(
        scheduler,
        time_attr=time_attr,
        max_t=max_t,
        grace_period=grace_period,
        reduction_factor=reduction_factor,
        seed=seed,
    )
    if searcher is None:
        searcher = BoTorchSearch(
            outcome_constraints=outcome_constraints,
            weights=weights,
            cost=cost,
            standard_error=standard_error,
            points_to_evaluate=points_to_evaluate,
            parameter_constraints=parameter_constraints or (),
            strategy=strategy or DEFAULT_STRATEGY,
            time_attr=time_attr,
            max_t=max_t,
            seed=seed,
            earlier=earlier,
            priors=priors,
        )
    _prepare(searcher, param_space, metric, mode)
    path = folder_for(trainable, storage_path, name)
    if wants_fit(resources):
        with _ray_session():
            config = first_config(searcher.history.space, points_to_evaluate, seed)
            resources = fitted(trainable, resources, config, searcher.history)
        runnable = with_resources(trainable, resources)
    searcher.keep_record_in(record_at(path))
    searcher.history.set_meta("trainable", _where(trainable))
    note_settings(
        searcher.history,
        {
            "num_samples": num_samples,
            "time_budget_s": time_budget_s,
            "gpu_hours": gpu_hours,
            "max_t": max_t,
            "grace_period": grace_period,
            "reduction_factor": reduction_factor,
            "strategy": searcher.strategy,
            "scheduler": scheduler_name,
            "time_attr": time_attr,
            "resources": recorded(resources),
            "max_concurrent": max_concurrent,
            "max_silence_s": max_silence_s,
            "on_silence": on_silence,
            "reuse_actors": reuse_actors,
            "seed": seed,
        },
    )
    note_run(searcher.history, "run")
    return _run(
        runnable,
        path,
        searcher,
        scheduler,
        num_samples=num_samples,
        resources=resources,
        time_budget_s=time_budget_s,
        gpu_hours=gpu_hours,
        silence=silence,
        max_concurrent=max_concurrent,
        reuse_actors=reuse_actors,
        callbacks=callbacks,
        progress=progress,
    )


def _scheduler(given: Any, **settings: Any) -> tuple[Any, str | None]:
    """The scheduler, and its name to be kept with the settings: of one that was made, its class."""
    if given is None and settings["max_t"] is None:
        return None, None
    if given is not None and not isinstance(given, str):
        return given, type(given).__name__
    return make_scheduler(given or DEFAULT_SCHEDULER, **settings), given


def _run(
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
) -> Study:
    """Run ``num_samples`` trials in an experiment of Ray's own in the study's folder."""
    history = searcher.history
    before = len(history)
    if scheduler is None:
        scheduler = RestoringScheduler()
    history.set_meta("num_samples", num_samples)
    history.set_meta("time_budget_s", time_budget_s)
    history.set_meta("finished", False)
    budget = None if gpu_hours is None else GpuHours(searcher, gpu_hours)
    # Ends lets go of the record at the end: it comes last.
    ours: list[Any] = [
        *([] if budget is None else [budget]),
        Placeable(),
        silence,
        Retries(searcher.on_trial_retried),  # a scheduler of ours needs none
        Ends(searcher, budget),
    ]
    total = num_samples if num_samples < 0 else before + num_samples
    shows = Progress(
        # partial, not lambda: Ray pickles its callbacks.
        partial(getattr, searcher, "history"),
        total,
        history.max_t,
        time_budget_s,
        figures_file=path / FIGURES_FILE if isinstance(path, Path) else None,
        study=path.name,
        quiet=not progress,
    )
    with _ray_session():
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
                time_budget_s=time_budget_s,
                max_concurrent_trials=max_concurrent,
                reuse_actors=reuse_actors,
            ),
            run_config=ray_tune.RunConfig(
                name=path.name,
                storage_path=location(path.parent),
                verbose=0,
                stop=budget,
                callbacks=[shows, *ours, *callbacks],
            ),
        )
        try:
            finished = _fit(tuner, num_samples, time_budget_s)
        finally:
            shows.close()
    finished = finished or (budget is not None and budget.spent)
    return _settled(path, searcher.history.space, finished)


def resume(study: Study, trainable: Trainable, resources: Resources | None = None) -> Study:
    """Go on with an interrupted study; see :meth:`Study.resume`."""
    check_trainable(trainable)
    if resources is None:
        resources = _known_resources(
            study.history.get_meta("settings", {}), "study.resume(resources=...)"
        )
    runnable = with_resources(trainable, resources)
    with _ray_session():
        if not study.can_resume:
            raise HistoryError(
                f"{study.path} holds no state of Ray's to go on from, only the record: start a new"
                " study"
            )
        with closing(History.open(record_at(study.path), study.history.space)) as history:
            note_run(history, "resumed")
        require_room(runnable)
        tuner = ray_tune.Tuner.restore(location(study.path), runnable)
        num_samples = study.history.get_meta("num_samples", -1)
        finished = _fit(tuner, num_samples, study.history.get_meta("time_budget_s"))
    return _settled(study.path, study.history.space, finished)


def extend(
    study: Study,
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
    max_concurrent: int | None = None,
    callbacks: Sequence[Any] = (),
    progress: bool = True,
) -> Study:
    """Go on with a study that has ended; see :meth:`Study.extend`."""
    check_count(num_samples, time_budget_s, gpu_hours)
    check_trainable(trainable)
    settings = study.history.get_meta("settings")
    if settings is None:
        raise HistoryError(
            f"{study.path} was not run by raytuner.tune: its record does not say with which"
            " settings to go on. Run a new Tuner, and tell its BoTorchSearch of these trials"
        )
    if scheduler is None and (settings["scheduler"] or DEFAULT_SCHEDULER) not in SCHEDULERS:
        raise SettingError(
            f"the study was run with a {settings['scheduler']} of your own; pass one again:"
            " study.extend(n, scheduler=...)"
        )
    if resources is None:
        resources = _known_resources(settings, "study.extend(n, resources=...)")
    record = record_at(study.path)
    if not record.exists():
        raise HistoryError(f"there is no record to go on from at {record}")
    runnable = with_resources(trainable, resources)
    space = _next_space(study, param_space, parameter_constraints)
    with closing(_record_of(study, space)) as history:
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
    with TemporaryDirectory() as place:
        copy = Path(place) / RECORD_FILE
        history.copy_to(copy)
        searcher.restore(str(copy))
    _prepare(searcher, {}, None, None)
    if carried.within is not None:
        searcher.search_within(carried.within)
    searcher.try_again(carried.again)
    scheduler, _ = _scheduler(
        settings["scheduler"] if scheduler is None else scheduler,
        **{
            name: settings[name]
            for name in ("time_attr", "max_t", "grace_period", "reduction_factor", "seed")
        },
    )
    used = searcher.history.get_meta(GPU_HOURS_USED, 0.0)
    return _run(
        runnable,
        study.path,
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
    )


def confirm(
    study: Study,
    trainable: Trainable,
    *,
    k: int,
    repeats: int,
    seed_key: str | None,
    seed: int | None,
    resources: Resources | None,
    max_concurrent: int | None,
) -> tuple[Confirmed, ...]:
    """Train a study's best few again; see :meth:`Study.confirm`."""
    check_trainable(trainable)
    trials = chosen(study, k, repeats, seed_key)
    if resources is None:
        resources = _known_resources(
            study.history.get_meta("settings") or {}, "study.confirm(resources=...)"
        )
    runnable = with_resources(trainable, resources)
    with _ray_session():
        require_room(runnable)
        values = run_again(
            study, runnable, repeated(trials, repeats, seed_key, seed), max_concurrent
        )
    note(study.history, trials, values)
    if record_at(study.path).exists():
        with closing(History.open(record_at(study.path), study.history.space)) as history:
            history.set_meta(CONFIRMED, study.history.get_meta(CONFIRMED))
    return confirmed(study.history)


def _next_space(
    study: Study,
    param_space: Mapping[str, Any] | Space | None,
    rules: Sequence[Rule] | None,
) -> Space | None:
    """The space to go on in, None for that of the study.

    The study's constraints go on to hold, unless others are given.
    """
    if param_space is None and rules is None:
        return None
    before = searched_space(study.history)
    space = before if param_space is None else param_space
    if not isinstance(space, Space):
        space = space_from_tune(space)
    if rules is not None:
        return Space(space.template, rules)
    return space.constrained(
        [one for one in before.constraints if not isinstance(one.rule, StandIn)]
    )


def _known_resources(settings: Mapping[str, Any], again: str) -> Resources | None:
    """What the record says a trial needs.

    Raises:
        SettingError: It has their text alone (a function, say).
    """
    resources = settings.get("resources")
    if isinstance(resources, str):
        raise SettingError(
            f"the study was run with resources={resources}, which the record cannot hold; pass them"
            f" again: {again}"
        )
    return resources


def _record_of(study: Study, space: Space | None) -> History:
    """The record, to be written to.

    Raises:
        SpaceError: It has objects that no file can hold, and ``space`` is not the space that has
            them.
    """
    path = record_at(study.path)
    try:
        return History.open(path)
    except SpaceError:
        return History.open(path, space)


def _end_abandoned(history: History) -> None:
    """Nobody runs the trials that an earlier run left live."""
    for trial_id in history.live():
        reported = history.last(trial_id) is not None
        state = TrialState.STOPPED_EARLY if reported else TrialState.REMOVED
        history.end(trial_id, state, "its run was interrupted, and not resumed")


def _prepare(
    searcher: BoTorchSearch,
    param_space: Mapping[str, Any] | Space,
    metric: str | Sequence[str] | None,
    mode: str | Sequence[str] | None,
) -> None:
    """Tell the searcher now what the Tuner would at its start: bad input shows before Ray runs."""
    if isinstance(param_space, Space):
        searcher.use_space(param_space)
        param_space = {}
    if not searcher.set_search_properties(metric, mode, dict(param_space)):
        raise SettingError(
            "the searcher has a search space of its own, and param_space names hyperparameters too:"
            " give them in one place"
        )


def _fit(tuner: ray_tune.Tuner, num_samples: int, time_budget_s: float | None) -> bool:
    """Run to the end, with raytuner's own errors as they were raised.

    Returns:
        Whether it ran as far as it was asked to, for all that can be seen from here: Ray returns
        from a Ctrl-C as it does from an end.
    """
    start = time.monotonic()
    try:
        trials = len(tuner.fit())
    except Exception as error:
        raise _own_error(error) from error
    in_time = time_budget_s is None or time.monotonic() - start < time_budget_s
    return trials == num_samples or not in_time


def _own_error(error: BaseException) -> BaseException:
    """The raytuner error that Ray wrapped, if there is one, else the error itself.

    Ray turns what a scheduler or searcher raises into a TuneError with the traceback as its text;
    Python keeps the original as its context.
    """
    inner: BaseException | None = error
    while inner is not None:
        if isinstance(inner, RaytunerError):
            return inner
        inner = inner.__cause__ or inner.__context__
    return error


def _settled(path: Folder, space: Space, finished: bool) -> Study:
    """The study after a run."""
    history = History.open(record_at(path), space)
    if finished:
        history.set_meta("finished", True)
    history.close()
    return Study(path, history)


def _where(trainable: Trainable) -> str | None:
    """``module:qualified.name`` of a function or class; None if it has none to import it by."""
    module = getattr(trainable, "__module__", None)
    name = getattr(trainable, "__qualname__", None)
    importable = module not in (None, "__main__") and name is not None and "<" not in name
    return f"{module}:{name}" if importable else None


@contextmanager
def _ray_session() -> Iterator[None]:
    """A connected Ray, its settings for a study, and the caller's Ctrl-C handler back after it."""
    connect()
    before = {key: os.environ.get(key) for key in _ENVIRONMENT}
    os.environ.update(_ENVIRONMENT)
    in_main = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGINT) if in_main else None
    try:
        yield
    finally:
        for key, value in before.items():
            if value is None:
                os.environ.pop(key, None)
            else:
                os.environ[key] = value
        if handler is not None:
            # Tune leaves its handler behind, which would swallow the next Ctrl-C.
            signal.signal(signal.SIGINT, handler)
