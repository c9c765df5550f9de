"""The one call."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import BasicVariantGenerator, ConcurrencyLimiter
from ray.tune.search.search_algorithm import SearchAlgorithm
from ray.tune.search.searcher import Searcher
from ray.tune.stopper import FunctionStopper, Stopper

from raytuner.errors import MetricError, SettingError
from raytuner.schedulers.partner import FidelityKeeper
from raytuner.search import BoTorchSearch
from raytuner.simulate.clock import Clock
from raytuner.simulate.hook_timer import HookTimer
from raytuner.simulate.objective import Objective
from raytuner.simulate.ray_controller import (
    VirtualController,
    VirtualExperiment,
    VirtualSearchGenerator,
    prepare_scheduler,
    prepare_searcher,
    schedule_of,
)
from raytuner.simulate.recorder import Recorder
from raytuner.simulate.settings import Cluster, Settings
from raytuner.simulate.simulation import EventKind, SearcherSeconds, Simulation

Stop = Mapping[str, Any] | Stopper | Callable[[str, dict[str, Any]], bool]


def simulate(
    objective: Objective,
    param_space: Mapping[str, Any] | None = None,
    *,
    searcher: Searcher | SearchAlgorithm | None = None,
    scheduler: TrialScheduler | None = None,
    metric: str | Sequence[str] | None = None,
    mode: str | Sequence[str] | None = None,
    num_samples: int = 1,
    cluster: Cluster | None = None,
    time_budget_s: float | None = None,
    stop: Stop | None = None,
    max_t: float | None = None,
    max_failures: int = 0,
    max_concurrent: int | None = None,
    settings: Settings | None = None,
    seed: int | None = None,
) -> Simulation:
    """Run a search on a virtual clock, with any Ray Tune searcher and scheduler, unchanged.

    Both are driven to the end of the search and hold its state afterwards: make new ones for each
    call. No Ray cluster is needed or started.

    Args:
        objective: What training with a configuration would report, and how long it would take; see
            `Curve`.
        param_space: The Tuner's: Ray Tune domains and constants. None or empty: the searcher has a
            space of its own.
        searcher: Any Ray Tune searcher; None: Ray's random search.
        scheduler: Any Ray Tune scheduler; None: FIFO.
        metric: The Tuner's: name of the objective in the reports. Of several, which Ray's Tuner
            hands to searchers as a list, the record has the values of the first.
        mode: The Tuner's: "min" or "max", or a list.
        num_samples: Trials; -1 for as many as ``time_budget_s`` allows.
        cluster: Workers and what befalls them; None: eight that nothing befalls.
        time_budget_s: Virtual seconds after which the search ends.
        stop: The stop criterion of ``tune.RunConfig``: a dict of thresholds, a stopper, or a
            function of trial id and result.
        max_t: A trial's full resource in the scheduler's ``time_attr``, to tell COMPLETED from
            STOPPED_EARLY: it stops nothing. None: the stop criterion's, the scheduler's, or the
            largest that any trial reached. A trial at the end of its curve is COMPLETED. Where the
            searcher is a :class:`raytuner.BoTorchSearch`, its record says how a trial ended.
        max_failures: How often a trial is tried again; -1: always. As in ``tune.FailureConfig``: a
            trial lost with its node counts as failed.
        max_concurrent: ``max_concurrent_trials`` of ``tune.TuneConfig``.
        settings: How Ray's loop behaves, and what the searcher's own time costs.
        seed: Seed of start-up times, of failures, and of the default searcher. A searcher has its
            own.

    Returns:
        The record. Equal seeds (the searcher's and scheduler's too) give equal records, unless
        ``settings.charge`` lets real time in.

    Raises:
        SettingError, MetricError, TrainableError: What was received cannot be.
        ray.tune.TuneError: A hook raised, as it would in Ray.

    Example:
        >>> from ray import tune
        >>> from raytuner.simulate import Cluster, Curve, simulate
        >>> def objective(config):
        ...     return Curve([{"loss": config["x"] + 1 / t} for t in range(1, 10)], seconds=60)
        >>> simulation = simulate(
        ...     objective, {"x": tune.uniform(0, 1)}, metric="loss", mode="min",
        ...     num_samples=40, cluster=Cluster(workers=4), seed=0,
        ... )
        >>> simulation.end_s / 60, simulation.resource_spent
        (90.0, 360)
    """
    cluster = cluster or Cluster()
    settings = settings or Settings()
    _check(num_samples, time_budget_s, _first(mode), max_failures, max_concurrent)
    criteria, stopper = _stopping(stop)
    experiment = VirtualExperiment(
        dict(param_space or {}),
        num_samples=sys.maxsize if num_samples == -1 else num_samples,
        stop=criteria,
        time_budget_s=time_budget_s,
        max_failures=max_failures,
    )
    search_alg = _search_algorithm(searcher, max_concurrent, seed)
    scheduler = scheduler or FIFOScheduler()  # type: ignore[no-untyped-call]
    prepare_searcher(search_alg, metric, mode, experiment)
    prepare_scheduler(scheduler, metric, mode, experiment)
    time_attr, full = schedule_of(scheduler)
    if max_t is None:
        max_t = criteria.get(time_attr, full)
    clock = Clock()
    recorder = Recorder(clock, _first(metric) or _metric_of(search_alg, scheduler), time_attr)
    innermost = _innermost(search_alg)
    timer = HookTimer(clock, settings, innermost)
    end = _End(stopper, time_budget_s, clock)
    controller = VirtualController(
        search_alg,
        scheduler,
        objective,
        cluster,
        settings,
        clock=clock,
        timer=timer,
        recorder=recorder,
        stopper=end,
        deadline=time_budget_s,
        seed=random.Random(seed).getrandbits(64),
    )
    ended = controller.run()
    if end.reason is not None:
        recorder.add(EventKind.BUDGET_ENDED)
    workers = controller.workers
    workers.close()
    is_ours = isinstance(innermost, BoTorchSearch) and recorder.trainings
    heads = innermost.history.heads() if is_ours else ()
    return Simulation(
        metric=recorder.metric,
        mode=_first(mode) or _mode_of(search_alg),
        events=tuple(recorder.events),
        trials=recorder.simulated_trials(
            max_t,
            {head.trial_id: head.state for head in heads},
            innermost.is_full if isinstance(innermost, FidelityKeeper) else lambda trial_id: True,
        ),
        end_s=clock.now,
        ended=end.reason or ended,
        workers=tuple(workers.present),
        proposals=dict(getattr(innermost, "proposal_counts", {})),
        searcher_seconds=SearcherSeconds(
            np.array(timer.suggest), np.array(timer.hooks), sum(timer.scheduler)
        ),
        _training=np.array(workers.training),
        _held=np.array(workers.held),
    )


class _End(Stopper):
    """Ends trials by the user's stopper, and the experiment by it or at the deadline.

    Attributes:
        reason: Why the experiment has ended; None: it has not.
    """

    def __init__(self, stopper: Stopper | None, deadline: float | None, clock: Clock) -> None:
        self._stopper = stopper
        self._deadline = deadline
        self._clock = clock
        self.reason: Literal["time_budget", "stopper"] | None = None

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return self._stopper is not None and bool(self._stopper(trial_id, result))

    def stop_all(self) -> bool:
        if self.reason is None:
            if self._stopper is not None and self._stopper.stop_all():
                self.reason = "stopper"
            elif self._deadline is not None and self._clock.now >= self._deadline:
                self.reason = "time_budget"
        return self.reason is not None


def _check(
    num_samples: int,
    time_budget_s: float | None,
    mode: str | None,
    max_failures: int,
    max_concurrent: int | None,
) -> None:
    if num_samples < 1 and num_samples != -1:
        raise SettingError(f"num_samples is {num_samples!r}; it must be at least 1, or -1")
    if num_samples == -1 and time_budget_s is None:
        raise SettingError(
            "num_samples=-1 needs a time_budget_s: nothing else would end the search"
        )
    if time_budget_s is not None and not time_budget_s > 0:
        raise SettingError(f"time_budget_s is {time_budget_s!r}; it must be above 0 seconds")
    if mode not in (None, "min", "max"):
        raise MetricError(f"mode is {mode!r}; it must be 'min' or 'max'")
    if max_failures < -1:
        raise SettingError(f"max_failures is {max_failures!r}; it must be 0 or more, or -1")
    if max_concurrent is not None and max_concurrent < 1:
        raise SettingError(f"max_concurrent is {max_concurrent!r}; it must be at least 1")


def _stopping(stop: Stop | None) -> tuple[dict[str, Any], Stopper | None]:
    """The stop criteria of each trial, and the experiment's stopper."""
    if stop is None:
        return {}, None
    if isinstance(stop, Mapping):
        return dict(stop), None
    if isinstance(stop, Stopper):
        return {}, stop
    if callable(stop):
        return {}, FunctionStopper(stop)
    raise SettingError(f"stop is {stop!r}; it must be a dict, a Stopper or a function")


def _search_algorithm(
    searcher: Searcher | SearchAlgorithm | None, max_concurrent: int | None, seed: int | None
) -> SearchAlgorithm:
    """What the Tuner makes of a searcher."""
    if searcher is None:
        return BasicVariantGenerator(max_concurrent=max_concurrent or 0, random_state=seed)
    if isinstance(searcher, Searcher):
        return VirtualSearchGenerator(_limited(searcher, max_concurrent))
    if isinstance(searcher, BasicVariantGenerator):
        if max_concurrent not in (None, searcher.max_concurrent):
            raise SettingError(
                "max_concurrent was given beside a BasicVariantGenerator, and Ray would ignore it;"
                f" make it BasicVariantGenerator(max_concurrent={max_concurrent})"
            )
        return searcher
    raise SettingError(
        f"searcher is {searcher!r} ({type(searcher).__name__}); it must be a ray.tune.search"
        " Searcher or a BasicVariantGenerator"
    )


def _limited(searcher: Searcher, max_concurrent: int | None) -> Searcher:
    if max_concurrent is None:
        return searcher
    if not isinstance(searcher, ConcurrencyLimiter):
        return ConcurrencyLimiter(searcher, max_concurrent=max_concurrent)
    if searcher.max_concurrent != max_concurrent:
        raise SettingError(
            f"max_concurrent is {max_concurrent}, and the searcher is a ConcurrencyLimiter with"
            f" max_concurrent={searcher.max_concurrent}: give it once"
        )
    return searcher


def _metric_of(search_alg: SearchAlgorithm, scheduler: TrialScheduler) -> str | None:
    """The metric that the searcher or the scheduler has by itself."""
    found = (_first(search_alg.metric), _first(scheduler.metric))
    return next((metric for metric in found if isinstance(metric, str)), None)


def _first(names: Any) -> Any:
    """One name as it is; of several, the first."""
    return names[0] if isinstance(names, list | tuple) and names else names


def _mode_of(search_alg: SearchAlgorithm) -> str:
    """The mode that the searcher has by itself."""
    mode = _first(getattr(getattr(search_alg, "searcher", None), "mode", None))
    return mode if mode in ("min", "max") else "min"


def _innermost(search_alg: SearchAlgorithm) -> Any:
    searcher: Any = search_alg
    while (inner := getattr(searcher, "searcher", None)) is not None:
        searcher = inner
    return searcher
