"""How a recorded study would have gone on another cluster, or how a made-up one would go."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search.searcher import Searcher

from raytuner.errors import SettingError
from raytuner.history import History, Trial, TrialState
from raytuner.schedulers.named import DEFAULT_SCHEDULER, SCHEDULERS, make_scheduler
from raytuner.search import BoTorchSearch
from raytuner.search.again import begun_again
from raytuner.search.settings import DEFAULT_STRATEGY
from raytuner.simulate.objective import Objective
from raytuner.simulate.record import Simulation
from raytuner.simulate.replay import Replay, recorded_seconds
from raytuner.simulate.run import simulate
from raytuner.simulate.settings import Cluster, Settings
from raytuner.simulate.workload import Workload

if TYPE_CHECKING:
    from raytuner.study import Study

# What Ray takes to start a trial (1.8 to 2.5 s), where no record says.
_STARTUP_S = 2.0


@dataclass(frozen=True)
class Prediction:
    """A search's time, cost and utilisation on a number of workers.

    Attributes:
        simulation: All that would happen.
        workers: Workers it is predicted for.
        time_s: Seconds of the whole search.
        worker_hours: Hours of all workers together, busy or not.
        cost: Its price; None without a price per hour.
        utilisation: Share of the workers' time that is training, from the first start on.
        startup_s: Seconds of a trial's start that were assumed.
        recorded_s: Seconds that the recorded study took; None: there is no record.
        scheduler: Class of the scheduler it is predicted with.
        best: The best trial of the search as its searcher knows it, by its whole goal; None if
            there is none, or the searcher is not raytuner's. Of its times, those of the wall are
            the prediction's own.
        pareto: The trials that no other dominates; see :meth:`raytuner.history.History.pareto`.
        own: Trials that got their own recorded curve.
        borrowed: Trials whose configuration is not in the record: they got the nearest one's.
    """

    simulation: Simulation
    workers: int
    time_s: float
    worker_hours: float
    cost: float | None
    utilisation: float
    startup_s: float
    scheduler: str
    recorded_s: float | None = None
    best: Trial | None = None
    pareto: tuple[Trial, ...] = ()
    own: int = 0
    borrowed: int = 0


def predict(
    search: Study | History | str | Path | Workload,
    *,
    workers: int,
    price_per_hour: float | None = None,
    searcher: Searcher | None = None,
    scheduler: TrialScheduler | str | None = None,
    num_samples: int | None = None,
    time_budget_s: float | None = None,
    max_concurrent: int | None = None,
    startup_s: float | None = None,
    settings: Settings | None = None,
    seed: int | None = 0,
) -> Prediction:
    """Predict a search's time, cost and utilisation on a number of workers.

    A recorded study runs again on a virtual clock, with its whole goal, strategy and scheduler:
    other workers mean other proposals, since each is made from what has been reported by then. See
    `Replay` for what a trial does.

    Args:
        search: A study, its folder, or its record; or a `Workload`.
        workers: Trials that run at the same time.
        price_per_hour: Price of one worker for an hour, in any currency.
        searcher: A new searcher that has its space; None: a `BoTorchSearch` after what the search
            is after, from no trials.
        scheduler: A new scheduler that has no metric or mode yet, or the name of one, such as
            "freeze-thaw" (`raytuner.tune` has the list). None: that of the study, as it was set; an
            `ASHAScheduler` stands for one of the user's own, which no record can hold, and for what
            stopped trials in a record that `raytuner.tune` did not make.
        num_samples: Trials; None: as many as were recorded, or as the time budget allows.
        time_budget_s: Seconds after which the search ends; None: never.
        max_concurrent: Trials at a time and proposed ahead; None: Ray's way, one ahead.
        startup_s: Seconds of a trial's start; None: as estimated from the record, or 2.
        settings: None: the searcher's own seconds are charged inline.
        seed: Seed of the default searcher and scheduler.

    Returns:
        The prediction.

    Raises:
        HistoryError: There is no record, or nothing was reported in it.
        SettingError: Nothing would end the search on a workload, or there is no such scheduler.
    """
    played = (
        _of_workload(search, seed) if isinstance(search, Workload) else _of_record(search, seed)
    )
    searcher = searcher or played.searcher
    if scheduler is None or isinstance(scheduler, str):
        scheduler = played.scheduler(scheduler)
    if num_samples is None and played.num_samples is None and time_budget_s is None:
        raise SettingError(
            "nothing would end this search: give num_samples or time_budget_s with a workload"
        )
    startup = played.startup_s if startup_s is None else startup_s
    simulation = simulate(
        played.objective,
        played.space,
        searcher=searcher,
        scheduler=scheduler,
        metric=played.metric,
        mode=played.mode,
        num_samples=num_samples or played.num_samples or -1,
        cluster=Cluster(workers=workers, startup_s=startup),
        time_budget_s=time_budget_s,
        max_t=played.max_t,
        max_concurrent=max_concurrent,
        settings=settings or Settings(charge="inline", strict_metrics=False),
        seed=seed,
    )
    replay = played.objective if isinstance(played.objective, Replay) else None
    known = searcher.history if isinstance(searcher, BoTorchSearch) else None
    return Prediction(
        simulation=simulation,
        workers=workers,
        time_s=simulation.end_s,
        worker_hours=simulation.worker_hours(),
        cost=None if price_per_hour is None else simulation.cost(price_per_hour),
        utilisation=simulation.utilisation(),
        startup_s=startup,
        scheduler=type(scheduler).__name__,
        best=None if known is None else known.best(),
        pareto=() if known is None else known.pareto(),
        recorded_s=None if replay is None else recorded_seconds(replay.history),
        own=0 if replay is None else replay.own,
        borrowed=0 if replay is None else replay.borrowed,
    )


@dataclass(frozen=True)
class _Played:
    """What is simulated, and by default how; see `simulate`.

    Attributes:
        scheduler: The scheduler of a name; of None, the search's own.
    """

    objective: Objective
    space: Mapping[str, Any] | None
    searcher: Searcher
    scheduler: Callable[[str | None], TrialScheduler]
    metric: str | list[str]
    mode: str | list[str]
    max_t: float | None
    num_samples: int | None
    startup_s: float


def _of_workload(workload: Workload, seed: int | None) -> _Played:
    return _Played(
        objective=workload.objective,
        space=workload.space,
        searcher=BoTorchSearch(max_t=workload.max_t, background=False, seed=seed),
        scheduler=partial(_scheduler, {"max_t": workload.max_t}, seed=seed),
        metric=workload.metric,
        mode=workload.mode,
        max_t=workload.max_t,
        num_samples=None,
        startup_s=_STARTUP_S,
    )


def _of_record(study: Study | History | str | Path, seed: int | None) -> _Played:
    history = _history_of(study)
    settings = history.get_meta("settings") or {}
    replay = Replay.of(history)
    strategy = settings.get("strategy", DEFAULT_STRATEGY)
    searcher = begun_again(history, strategy=strategy, seed=seed)
    return _Played(
        objective=replay,
        space=None,  # the searcher has it
        searcher=searcher,
        scheduler=partial(_scheduler_of, history, settings, seed=seed),
        metric=searcher.metric,
        mode=searcher.mode,
        max_t=history.max_t,
        num_samples=len(history),
        startup_s=replay.startup_s,
    )


def _history_of(study: Study | History | str | Path) -> History:
    if isinstance(study, History):
        return study
    if isinstance(study, str | Path):
        from raytuner.study import load  # only here: the rest of this room does without studies

        return load(study).history
    return study.history


def _scheduler_of(
    history: History, settings: Mapping[str, Any], name: str | None, *, seed: int | None
) -> TrialScheduler:
    """The scheduler of a name, or that of a recorded study."""
    name = name or _name_of(history, settings)
    if name is None:
        return FIFOScheduler()  # type: ignore[no-untyped-call]
    known = {"time_attr": history.time_attr, "max_t": history.max_t}
    return _scheduler({**settings, **known}, name, seed=seed)


def _name_of(history: History, settings: Mapping[str, Any]) -> str | None:
    """What scheduler a recorded study had, or stands for it; None: its trials all ran on."""
    own: str | None = settings.get("scheduler")
    if own in SCHEDULERS:
        return own
    by_default = own is None and settings.get("max_t") is not None
    stopped = any(trial.state is TrialState.STOPPED_EARLY for trial in history.trials)
    return DEFAULT_SCHEDULER if history.max_t is not None and (by_default or stopped) else None


def _scheduler(
    settings: Mapping[str, Any], name: str | None, *, seed: int | None
) -> TrialScheduler:
    """The scheduler of a name, as a study with these settings has it."""
    return make_scheduler(
        name or DEFAULT_SCHEDULER,
        time_attr=settings.get("time_attr", "training_iteration"),
        max_t=settings["max_t"],
        grace_period=settings.get("grace_period", 1),
        reduction_factor=settings.get("reduction_factor", 3),
        seed=seed,
    )
