"""How a recorded study would have gone on another cluster."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search.searcher import Searcher

from raytuner.history import History, TrialState
from raytuner.schedulers import ASHAScheduler
from raytuner.search import BoTorchSearch
from raytuner.simulate.record import Simulation
from raytuner.simulate.replay import Replay, recorded_seconds
from raytuner.simulate.run import simulate
from raytuner.simulate.settings import Cluster, Settings

if TYPE_CHECKING:
    from raytuner.study import Study


@dataclass(frozen=True)
class Prediction:
    """A study's time, cost and utilisation on a number of workers.

    Attributes:
        simulation: All that would happen.
        workers: Workers it is predicted for.
        time_s: Seconds of the whole study.
        worker_hours: Hours of all workers together, busy or not.
        cost: Its price; None without a price per hour.
        utilisation: Share of the workers' time that is training, from the first start on.
        recorded_s: Seconds that the recorded study took.
        startup_s: Seconds of a trial's start that were assumed.
        own: Trials that got their own recorded curve.
        borrowed: Trials whose configuration is not in the record: they got the nearest one's.
    """

    simulation: Simulation
    workers: int
    time_s: float
    worker_hours: float
    cost: float | None
    utilisation: float
    recorded_s: float
    startup_s: float
    own: int
    borrowed: int


def predict(
    study: Study | History | str | Path,
    *,
    workers: int,
    price_per_hour: float | None = None,
    searcher: Searcher | None = None,
    scheduler: TrialScheduler | None = None,
    num_samples: int | None = None,
    time_budget_s: float | None = None,
    max_concurrent: int | None = None,
    startup_s: float | None = None,
    settings: Settings | None = None,
    seed: int | None = 0,
) -> Prediction:
    """Predict a recorded study's time, cost and utilisation on another number of workers.

    The search runs again on a virtual clock: other workers mean other proposals, since each is made
    from what has been reported by then. See `Replay` for what a trial does.

    Args:
        study: A study, its folder, or its record.
        workers: Trials that run at the same time.
        price_per_hour: Price of one worker for an hour, in any currency.
        searcher: A new searcher that has its space; None: a `BoTorchSearch` on the record's.
        scheduler: A new scheduler that has no metric or mode yet; None: if the record holds trials
            that were stopped early, an `ASHAScheduler` with the record's ``max_t`` and its own
            defaults otherwise (the record does not say more); else FIFO.
        num_samples: Trials; None: as many as were recorded.
        time_budget_s: Seconds after which the study ends; None: never.
        max_concurrent: Trials at a time and proposed ahead; None: Ray's way, one ahead.
        startup_s: Seconds of a trial's start; None: as estimated from the record.
        settings: None: the searcher's own seconds are charged inline.
        seed: Seed of the default searcher and scheduler.

    Returns:
        The prediction.

    Raises:
        HistoryError: There is no record, or nothing was reported in it.
    """
    history = _history_of(study)
    replay = Replay.of(history)
    startup = replay.startup_s if startup_s is None else startup_s
    simulation = simulate(
        replay,
        searcher=searcher or _searcher_for(history, seed),
        scheduler=scheduler or _scheduler_for(history, seed),
        metric=history.metric,
        mode=history.mode,
        num_samples=num_samples or len(history),
        cluster=Cluster(workers=workers, startup_s=startup),
        time_budget_s=time_budget_s,
        max_t=history.max_t,
        max_concurrent=max_concurrent,
        settings=settings or Settings(charge="inline", strict_metrics=False),
        seed=seed,
    )
    return Prediction(
        simulation=simulation,
        workers=workers,
        time_s=simulation.end_s,
        worker_hours=simulation.worker_hours(),
        cost=None if price_per_hour is None else simulation.cost(price_per_hour),
        utilisation=simulation.utilisation(),
        recorded_s=recorded_seconds(history),
        startup_s=startup,
        own=replay.own,
        borrowed=replay.borrowed,
    )


def _history_of(study: Study | History | str | Path) -> History:
    if isinstance(study, History):
        return study
    if isinstance(study, str | Path):
        from raytuner.study import load  # only here: the rest of this room does without studies

        return load(study).history
    return study.history


def _searcher_for(history: History, seed: int | None) -> Searcher:
    return BoTorchSearch(
        history.space,
        history.metric,
        history.mode,
        time_attr=history.time_attr,
        max_t=history.max_t,
        background=False,  # a process beside us knows the real clock only
        seed=seed,
    )


def _scheduler_for(history: History, seed: int | None) -> TrialScheduler:
    stopped = any(trial.state is TrialState.STOPPED_EARLY for trial in history.trials)
    if stopped and history.max_t is not None:
        return ASHAScheduler(history.time_attr, max_t=history.max_t, seed=seed)
    return FIFOScheduler()  # type: ignore[no-untyped-call]
