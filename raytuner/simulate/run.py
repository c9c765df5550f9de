"""`simulate`: run a search on a virtual clock."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import BasicVariantGenerator, ConcurrencyLimiter, SearchGenerator
from ray.tune.search.search_algorithm import SearchAlgorithm
from ray.tune.search.searcher import Searcher

from raytuner.controller.search_layers import innermost_searcher
from raytuner.errors import MetricError, SettingError
from raytuner.search.botorch_search import BoTorchSearch
from raytuner.simulate.inputs import Cluster, Objective, Settings, check_at_least
from raytuner.simulate.ray_controller import VirtualController, prepare, schedule_of
from raytuner.simulate.simulation import Simulation


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
    stop: Mapping[str, Any] | None = None,
    max_t: float | None = None,
    max_failures: int = 0,
    max_concurrent_trials: int | None = None,
    settings: Settings | None = None,
    seed: int | None = None,
) -> Simulation:
    """Simulate a search on a virtual clock, with any Ray Tune searcher and scheduler.

    No Ray cluster is needed or started. Searcher and scheduler hold the state of the search
    afterwards, so make new ones for each call.

    Args:
        objective: Returns the reports and the duration of a training with a configuration; see
            `Curve`.
        param_space: Ray Tune domains and constants, as for the Tuner. None or empty: the searcher
            has its own space.
        searcher: Any Ray Tune searcher. None: Ray's random search.
        scheduler: Any Ray Tune scheduler. None: FIFO.
        metric: Name of the objective in the reports, as for the Tuner. With several, the simulation
            has the values of the first.
        mode: "min" or "max", or a list, as for the Tuner.
        num_samples: Number of trials; -1 for as many as `time_budget_s` allows.
        cluster: The workers. None: eight.
        time_budget_s: Virtual seconds after which the search ends.
        stop: The stop criterion of `tune.RunConfig`: a dict of thresholds.
        max_t: A trial's full resource in units of the scheduler's `time_attr`. It stops nothing,
            and only distinguishes COMPLETED from STOPPED_EARLY. None: taken from the stop criterion
            or the scheduler. For a `raytuner.BoTorchSearch`, its record tells how a trial ended.
        max_failures: How often a trial is retried; -1: always. In Ray, a lost worker counts as a
            failure. With a raytuner scheduler, up to ten lost workers per trial do not count.
        max_concurrent_trials: `max_concurrent_trials` of `tune.TuneConfig`.
        settings: Settings for checkpoints and for the time of the searcher.
        seed: Seed of the default searcher and of the lost workers. Other searchers have their own.

    Returns:
        The simulation. Equal seeds (also of searcher and scheduler) give equal simulations, unless
        `settings.charge` includes real time.

    Raises:
        SettingError: A number is out of range, or two arguments contradict each other.
        MetricError: `mode` is neither "min" nor "max".
        TrainableError: The objective returned no learning curve.
        ray.tune.TuneError: A hook raised, as it would in Ray.

    Examples:
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
    if num_samples != -1:
        check_at_least("num_samples", num_samples, 1)
    elif time_budget_s is None:
        raise SettingError("num_samples is -1, so nothing ends the search; give time_budget_s too")
    if time_budget_s is not None and not time_budget_s > 0:
        raise SettingError(f"time_budget_s is {time_budget_s!r}; it must be above 0 seconds")
    if _first(mode) not in (None, "min", "max"):
        raise MetricError(f"mode is {mode!r}; it must be 'min' or 'max'")

    criteria = dict(stop or {})
    scheduler = scheduler or FIFOScheduler()  # type: ignore[no-untyped-call]
    search_alg = _search_algorithm(searcher, max_concurrent_trials, seed)
    prepare(
        search_alg,
        scheduler,
        metric,
        mode,
        param_space or {},
        num_samples=sys.maxsize if num_samples == -1 else num_samples,
        stop=criteria,
        time_budget_s=time_budget_s,
        max_failures=max_failures,
    )
    innermost = innermost_searcher(search_alg)
    time_attr, full = schedule_of(scheduler)
    metrics = (metric, search_alg.metric, scheduler.metric)
    controller = VirtualController(
        search_alg,
        scheduler,
        objective,
        cluster or Cluster(),
        settings or Settings(),
        time_budget_s=time_budget_s,
        metric=next(filter(None, map(_first, metrics)), None),
        time_attr=time_attr,
        max_t=criteria.get(time_attr, full) if max_t is None else max_t,
        searcher=innermost,
        seed=seed or 0,
    )
    ended = controller.run()
    recorder, end_s = controller.recorder, controller.clock.now
    if isinstance(innermost, BoTorchSearch):
        for trial in recorder.trainings:
            if trial.trial_id in innermost.history:
                known = innermost.history[trial.trial_id]
                trial.is_full = innermost.history.is_full(known)
                if trial.ended_at is not None and not known.state.is_live:
                    trial.state = known.state
    units = np.array(controller.actors.training).reshape(-1, 2).clip(max=end_s)
    return Simulation(
        metric=recorder.metric,
        mode=_first(mode) or _first(getattr(innermost, "mode", None)) or "min",
        events=tuple(recorder.events),
        trials=tuple(recorder.trainings),
        end_s=end_s,
        ended=ended,
        capacity=tuple(controller.actors.capacity),
        searcher_seconds=controller.timer.seconds,
        _training=units[units[:, 0] < units[:, 1]],
    )


def _search_algorithm(
    searcher: Searcher | SearchAlgorithm | None, max_concurrent_trials: int | None, seed: int | None
) -> SearchAlgorithm:
    """Return the search algorithm that the Tuner makes from a searcher."""
    if max_concurrent_trials is not None:
        check_at_least("max_concurrent_trials", max_concurrent_trials, 1)
    if searcher is None:
        return BasicVariantGenerator(max_concurrent=max_concurrent_trials or 0, random_state=seed)
    if isinstance(searcher, BasicVariantGenerator):
        if max_concurrent_trials is not None:
            raise SettingError("give max_concurrent to the BasicVariantGenerator")
        return searcher
    if not isinstance(searcher, Searcher):
        raise SettingError(
            f"searcher is {searcher!r} ({type(searcher).__name__}); it must be a ray.tune.search"
            " Searcher or a BasicVariantGenerator"
        )
    if max_concurrent_trials is not None:
        searcher = ConcurrencyLimiter(searcher, max_concurrent=max_concurrent_trials)
    return SearchGenerator(searcher)


def _first(names: Any) -> Any:
    """Return a single name, or the first of several."""
    return names[0] if isinstance(names, list | tuple) and names else names
