"""Predict the time and utilisation of a search on another cluster."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ray.air.constants import TRAINING_ITERATION
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search.searcher import Searcher

from raytuner.errors import SettingError
from raytuner.history import Goal, History, Trial, TrialState
from raytuner.schedulers.named import (
    ASHA,
    SCHEDULERS,
    default_scheduler,
    make_scheduler,
    recorded_scheduler,
)
from raytuner.search.botorch_search import BoTorchSearch
from raytuner.search.priors import PRIORS
from raytuner.search.settings import DEFAULT_STRATEGY
from raytuner.search.transfer import EARLIER
from raytuner.simulate.inputs import Cluster, Settings, Workload
from raytuner.simulate.replay import Replay
from raytuner.simulate.run import simulate
from raytuner.simulate.simulation import Simulation

if TYPE_CHECKING:
    from raytuner.study.study import Study

# What Ray takes to start a trial (1.8 to 2.5 s), where no record says.
_STARTUP_S = 2.0


@dataclass(frozen=True)
class SearchPrediction:
    """A search on a number of workers.

    Attributes:
        simulation: The simulated search: its time, worker-hours and utilisation.
        startup_s: Assumed seconds to start a trial.
        scheduler: Class name of the scheduler.
        recorded_s: Seconds that the recorded study took; None without a record.
        best: The best trial by the searcher's whole goal; None if there is none, or if the searcher
            is not a raytuner searcher.
        pareto: The Pareto front; see `raytuner.history.History.pareto`.
        borrowed: Number of trials with a configuration that is not in the record. They got the
            curve of the nearest recorded one.
    """

    simulation: Simulation
    startup_s: float
    scheduler: str
    recorded_s: float | None
    best: Trial | None
    pareto: tuple[Trial, ...]
    borrowed: int


def predict(
    search: Study | History | str | Path | Workload,
    *,
    workers: int,
    searcher: Searcher | None = None,
    scheduler: TrialScheduler | str | None = None,
    num_samples: int | None = None,
    time_budget_s: float | None = None,
    max_concurrent_trials: int | None = None,
    startup_s: float | None = None,
    settings: Settings | None = None,
    seed: int | None = 0,
) -> SearchPrediction:
    """Predict the time, utilisation and result of a search on a number of workers.

    A recorded study runs again on a virtual clock, with its goal, strategy and scheduler. With
    another number of workers, the search makes other proposals. `Replay` describes the trials.

    Args:
        search: A study, its folder or its record, or a `Workload`.
        workers: Number of trials that run at the same time.
        searcher: A new searcher with a search space. None: a `BoTorchSearch` with the search's goal
            and no trials.
        scheduler: A new scheduler without metric and mode, or the name of one, such as
            "freeze-thaw" (see `raytuner.tune`). None: the scheduler of the study. An
            `ASHAScheduler` replaces a user's own scheduler, which a record cannot hold. It also
            replaces the unknown scheduler of a record with stopped trials that `raytuner.tune` did
            not make.
        num_samples: Number of trials. None: as many as were recorded, or as the time budget allows.
        time_budget_s: Seconds after which the search ends. None: no limit.
        max_concurrent_trials: Largest number of trials that run or are proposed ahead. None: as in
            Ray, one is proposed ahead.
        startup_s: Seconds to start a trial. None: estimated from the record, or 2.
        settings: Settings of the simulation. None: the searcher computes in a separate process, and
            its real seconds count (`Settings.charge` is "background").
        seed: Seed of the default searcher and scheduler.

    Returns:
        The prediction.

    Raises:
        HistoryError: There is no record, or it has no reports.
        SettingError: Nothing would end the search on a workload, or the scheduler is unknown.
    """
    replay, recorded_s = None, None
    study: Mapping[str, Any] = {}
    goal: Workload | BoTorchSearch
    max_t: float | None
    if isinstance(search, Workload):
        goal, objective, space = search, search.objective, search.space
        max_t, time_attr = search.max_t, TRAINING_ITERATION
        searcher = searcher or BoTorchSearch(max_t=max_t, seed=seed)
        keeps = isinstance(searcher, BoTorchSearch)
        known = Goal.of(search.metric, search.mode) if keeps else None
        scheduler = scheduler or default_scheduler(known, max_t=max_t)
    else:
        from raytuner.study.study import load  # only here: nothing else needs studies

        search = load(search) if isinstance(search, str | Path) else search
        history = search if isinstance(search, History) else search.history
        study = history.get_meta("settings") or {}
        strategy = study.get("strategy", DEFAULT_STRATEGY)
        goal = restarted(history, strategy=strategy, seed=seed, background=True)
        objective, space = (replay := Replay(history)), None
        recorded_s = history.last_event_at - history.trials[0].proposed_at
        max_t, time_attr = history.max_t, history.time_attr
        scheduler = scheduler or _scheduler_of(history, study)
        searcher = searcher or goal  # it has the space
        num_samples = num_samples or len(history)
    if num_samples is None and time_budget_s is None:
        raise SettingError(
            "nothing would end this search; give num_samples or time_budget_s with a workload"
        )
    if startup_s is None:
        startup_s = _STARTUP_S if replay is None else replay.startup_s
    if isinstance(scheduler, str):
        scheduler = make_scheduler(
            scheduler,
            time_attr=time_attr,
            max_t=max_t,
            grace_period=study.get("grace_period", 1),
            reduction_factor=study.get("reduction_factor"),
            seed=seed,
        )
    simulation = simulate(
        objective,
        space,
        searcher=searcher,
        scheduler=scheduler,
        metric=goal.metric,
        mode=goal.mode,
        num_samples=num_samples or -1,
        cluster=Cluster(workers=workers, startup_s=startup_s),
        time_budget_s=time_budget_s,
        max_t=max_t,
        max_concurrent_trials=max_concurrent_trials,
        settings=settings or Settings(charge="background"),
        seed=seed,
    )
    record = searcher.history if isinstance(searcher, BoTorchSearch) else None
    return SearchPrediction(
        simulation=simulation,
        startup_s=startup_s,
        scheduler=type(scheduler).__name__,
        recorded_s=recorded_s,
        best=None if record is None else record.best,
        pareto=() if record is None else record.pareto,
        borrowed=0 if replay is None else replay.borrowed,
    )


def _scheduler_of(history: History, settings: Mapping[str, Any]) -> str | TrialScheduler:
    """Return the name of a study's scheduler, or of one that stands for it, or FIFO."""
    own = recorded_scheduler(settings)
    if own in SCHEDULERS:
        return own
    if history.max_t is not None and history.counts[TrialState.STOPPED_EARLY] > 0:
        return ASHA
    return FIFOScheduler()  # type: ignore[no-untyped-call]


def restarted(
    history: History, *, strategy: str, seed: int | None, background: bool = False
) -> BoTorchSearch:
    """Return a searcher with the space, goal, priors and earlier studies of a record.

    It has none of the trials.
    """
    blank = History(
        history.space, goal=history.goal, time_attr=history.time_attr, max_t=history.max_t
    )
    for key in (EARLIER, PRIORS):
        blank.set_meta(key, history.get_meta(key))
    searcher = BoTorchSearch(history.space, background=background, seed=seed, strategy=strategy)
    searcher.continue_from(blank)
    return searcher
