"""The one call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ray.tune.search import Searcher

from raytuner.errors import SettingError
from raytuner.folders import Folder
from raytuner.history import Writer
from raytuner.placement.gpu_memory import wants_fit
from raytuner.placement.request import Resources, recorded
from raytuner.placement.silence import Rule as SilenceRule
from raytuner.placement.silence import Silence
from raytuner.search import BoTorchSearch
from raytuner.search.recorded import Recorded
from raytuner.search.restore import record_at
from raytuner.search.settings import DEFAULT_STRATEGY
from raytuner.space import Config, Rule, Space
from raytuner.study.arguments import (
    Trainable,
    check_count,
    check_trainable,
    folder_for,
    with_resources,
)
from raytuner.study.failing import STOP_AFTER_FAILURES, check_stop_after_failures
from raytuner.study.fit import first_config, fitted
from raytuner.study.provenance import note_run, note_settings
from raytuner.study.run import prepare, ray_session, run, scheduler_of
from raytuner.study.study import Study


def tune(
    trainable: Trainable,
    param_space: Mapping[str, Any] | Space,
    *,
    metric: str | Sequence[str] | None = None,
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
    evaluated_rewards: Sequence[float | Mapping[str, float]] | None = None,
    parameter_constraints: Sequence[Rule] | None = None,
    strategy: str | None = None,
    earlier: Sequence[Any] = (),
    priors: Mapping[str, Any] | None = None,
    searcher: Searcher | None = None,
    scheduler: Any = None,
    stop_after_failures: int = STOP_AFTER_FAILURES,
    max_concurrent: int | None = None,
    reuse_actors: bool = False,
    time_attr: str = "training_iteration",
    curves: Sequence[str] = (),
    callbacks: Sequence[Any] = (),
    progress: bool = True,
) -> Study:
    """Search for the best hyperparameters of a training function.

    Starts a local Ray cluster if none is connected; Ray's own rules (``RAY_ADDRESS``) apply.

    Args:
        trainable: ``f(config)`` that calls ``ray.tune.report({metric: ...})`` after each unit of
            training; a ``ray.tune.Trainable`` class; or the name of a registered one.
        param_space: The search space: Ray Tune domains and constants, nested as you like, or a
            :class:`raytuner.space.Space`. A constant that looks like a hyperparameter causes a
            warning.
        metric: Name of the objective in the reports, or a list of several: the study then has a
            Pareto front (:meth:`Study.pareto`). None: the one number that the training function
            returns.
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
            :meth:`raytuner.placement.ResourceRequest.of` reads, or a function of the configuration
            that returns such. ``{"gpu": "fit"}`` finds out by a short run how many trials the
            memory of a GPU holds (:mod:`raytuner.placement.gpu_memory`). None: what the trainable
            asks for itself, or one CPU.
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
        points_to_evaluate: Configurations to try first. What a configuration leaves out is
            proposed.
        evaluated_rewards: The value of the metric for each of ``points_to_evaluate``, if they were
            evaluated already (of several metrics, a dict by name). They are not tried again.
        parameter_constraints: What every configuration must keep, such as
            ``"layers * units <= 1024"``; see :class:`BoTorchSearch`.
        strategy: How to search: "bayes" (None), "hedge", "evolution", "random", "grid" and others;
            see :class:`BoTorchSearch`.
        earlier: Earlier studies to start from: folders, studies or tables; see
            :class:`BoTorchSearch`.
        priors: Where the optimum is believed to be, by hyperparameter; see :class:`BoTorchSearch`.
        searcher: A :class:`BoTorchSearch` with settings of its own, or another searcher of Ray's,
            such as ``OptunaSearch()``, that takes its space from ``param_space``. None makes a
            BoTorchSearch. :meth:`Study.extend` goes on with a BoTorchSearch in any case.
        scheduler: Stops or pauses trials early: "asha" (None, if there is a ``max_t``),
            "promotion", "hyperband", "predictive-termination", "freeze-thaw", or any Ray Tune
            scheduler.
        stop_after_failures: The study stops, with an error, once this many trials have failed for
            one cause and none has succeeded: the training function is wrong then. 0 runs all
            trials, however many fail.
        max_concurrent: At most so many trials at a time; None: as many as the cluster holds.
        reuse_actors: Keep a trial's process for the next trial. Saves seconds a trial; the training
            function must then leave promptly when it is stopped and keep no state in globals.
        time_attr: Key of a report that says what a trial has spent.
        curves: Names of further metrics whose value at each report is kept, in
            ``trial.others[name]``. Of every other number that a trial reports, the last value is
            kept, in ``trial.metrics``.
        callbacks: Ray Tune callbacks (loggers, say). An error that one raises is logged once and
            does not end the study; KeyboardInterrupt, SystemExit and a RaytunerError end it.
        progress: Show progress while it runs.

    Returns:
        The study. After Ctrl-C too, with ``interrupted`` true and the best so far.

    Raises:
        RaytunerError: Bad input; before any trial starts, wherever it can be known by then.
            InUseError: Another process runs this study.
        NoResultError: Every trial failed for one cause (see ``stop_after_failures``).

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
    check_stop_after_failures(stop_after_failures)
    silence = Silence(max_silence_s, on_silence)
    if max_concurrent is not None and max_concurrent < 1:
        raise SettingError(f"max_concurrent is {max_concurrent!r}; it must be at least 1")
    for_a_new_one = {
        "points_to_evaluate": points_to_evaluate,
        "evaluated_rewards": evaluated_rewards,
        "parameter_constraints": parameter_constraints,
        "outcome_constraints": outcome_constraints or None,
        "weights": weights,
        "cost": cost,
        "standard_error": standard_error,
        "strategy": strategy,
        "earlier": earlier or None,
        "priors": priors or None,
        "curves": curves or None,
    }
    for argument, given in for_a_new_one.items():
        if searcher is not None and given is not None:
            raise SettingError(f"{argument} was given beside a searcher; give it to the searcher")
    if not wants_fit(resources):
        runnable = with_resources(trainable, resources)
    scheduler, scheduler_name = scheduler_of(
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
            evaluated_rewards=evaluated_rewards,
            parameter_constraints=parameter_constraints or (),
            strategy=strategy or DEFAULT_STRATEGY,
            time_attr=time_attr,
            max_t=max_t,
            seed=seed,
            earlier=earlier,
            priors=priors,
            curves=curves,
        )
    elif not isinstance(searcher, BoTorchSearch):
        searcher = Recorded(searcher, time_attr=time_attr, max_t=max_t)
    prepare(searcher, param_space, metric, mode, num_samples)
    path = folder_for(trainable, storage_path, name)
    if wants_fit(resources):
        with ray_session():
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
            "strategy": DEFAULT_STRATEGY if isinstance(searcher, Recorded) else searcher.strategy,
            "searcher": searcher.name if isinstance(searcher, Recorded) else None,
            "scheduler": scheduler_name,
            "time_attr": time_attr,
            "resources": recorded(resources),
            "max_concurrent": max_concurrent,
            "stop_after_failures": stop_after_failures,
            "max_silence_s": max_silence_s,
            "on_silence": on_silence,
            "reuse_actors": reuse_actors,
            "seed": seed,
        },
    )
    note_run(searcher.history, "run")
    with Writer(record_at(path)):
        history = run(
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
            stop_after_failures=stop_after_failures,
        )
    return Study(path, history, trainable)


def _where(trainable: Trainable) -> str | None:
    """``module:qualified.name`` of a function or class; None if it has none to import it by."""
    module = getattr(trainable, "__module__", None)
    name = getattr(trainable, "__qualname__", None)
    importable = module not in (None, "__main__") and name is not None and "<" not in name
    return f"{module}:{name}" if importable else None
