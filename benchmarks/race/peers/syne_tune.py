"""Syne Tune's schedulers, which both propose and stop, as a searcher and a scheduler of Ray's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from benchmarks.race.method import Contest, Search
from benchmarks.race.peers.ask_tell import Choice, PeerSearcher, Range, parameters
from benchmarks.race.peers.deciding import Deciding

Make = Callable[[Contest], Any]

_T = "training_iteration"


def alone(name: str) -> Make:
    """The searcher of a Syne Tune baseline that trains every trial in full."""

    def make(contest: Contest) -> Any:
        return SyneSearcher(contest, _baseline(name, contest))

    return make


def with_its_own_stopping(name: str) -> Callable[[Contest], Search]:
    """A Syne Tune baseline that stops trials itself."""

    def make(contest: Contest) -> Search:
        rungs = {"max_t": contest.problem.max_t, "grace_period": 1, "reduction_factor": 3}
        searcher = SyneSearcher(contest, _baseline(name, contest, time_attr=_T, **rungs))
        return Search(searcher, Deciding(searcher))

    return make


class SyneSearcher(PeerSearcher):
    """Hands on what a Syne Tune scheduler suggests.

    Args:
        contest: The run.
        peer: The Syne Tune scheduler.
    """

    def __init__(self, contest: Contest, peer: Any) -> None:
        super().__init__(contest.problem)
        self.peer = peer
        self._trials: dict[str, Any] = {}
        self._count = 0

    def suggest(self, trial_id: str) -> dict[str, Any]:
        """Ask the peer."""
        from syne_tune.backend.trial_status import Trial as SyneTrial

        config = dict(self.peer.suggest().config)
        trial = SyneTrial(self._count, config, datetime.fromtimestamp(self._count))
        self._count += 1
        self._trials[trial_id] = trial
        self.peer.on_trial_add(trial)
        return config

    def decision(self, trial_id: str, result: Mapping[str, Any]) -> str:
        """Whether a trial goes on: "CONTINUE" or "STOP"."""
        decision = str(self.peer.on_trial_result(self._trials[trial_id], self._report(result)))
        if decision == "STOP":
            self.peer.on_trial_remove(self._trials.pop(trial_id))
        return decision

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Tell the peer, unless it has stopped the trial itself."""
        trial = self._trials.pop(trial_id, None)
        if trial is None:
            return
        if error or not result:
            self.peer.on_trial_error(trial)
        else:
            self.peer.on_trial_complete(trial, self._report(result))

    def _report(self, result: Mapping[str, Any]) -> dict[str, Any]:
        return {self.key: result[self.key], _T: result[_T]}


def _baseline(name: str, contest: Contest, **arguments: Any) -> Any:
    from syne_tune.optimizer import baselines

    problem = contest.problem
    return getattr(baselines, name)(
        domains(problem.space),
        metric=problem.metric,
        do_minimize=problem.mode == "min",
        random_seed=contest.seed,
        **arguments,
    )


def domains(space: Mapping[str, Any]) -> dict[str, Any]:
    """Return a space as Syne Tune's."""
    return {p.name: _domain(p) for p in parameters(space)}


def _domain(hyperparameter: Range | Choice) -> Any:
    from syne_tune import config_space

    if isinstance(hyperparameter, Choice):
        return config_space.choice(list(hyperparameter.values))
    kind = ("log" if hyperparameter.log else "") + (
        "randint" if hyperparameter.whole else "uniform"
    )
    return getattr(config_space, kind)(hyperparameter.low, hyperparameter.high)
