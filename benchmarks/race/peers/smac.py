"""SMAC by asking and telling."""

from __future__ import annotations

import math
import tempfile
from typing import Any

from benchmarks.race.method import Contest, Search
from benchmarks.race.peers.ask_tell import AskTell, Choice, Range, parameters
from benchmarks.race.peers.staged import Pausing, Stage, StagedSearcher

_MANY = 100_000  # trials: the race's budget is its time
_FIRST = 0.25  # of all trials: SMAC's own limit of its initial design


def multi_fidelity(contest: Contest) -> Search:
    """SMAC's facade for several fidelities: HyperBand whose configurations are from the model.

    SMAC does not define how to continue a training: its target function gets a configuration and
    a budget, and starts again unless it keeps checkpoints. Here it keeps them, as ours do.
    """
    searcher = SmacMultiFidelity(contest)
    return Search(searcher, Pausing(searcher))


class SmacSearcher(AskTell):
    """SMAC's facade for hyperparameters: random forests, after a Sobol design."""

    def __init__(self, contest: Contest) -> None:
        from smac import HyperparameterOptimizationFacade

        super().__init__(contest.problem)
        trials = contest.budget * contest.workers
        self._smac = Smac(HyperparameterOptimizationFacade, contest, trials)

    def ask(self) -> tuple[Any, dict[str, Any]]:
        """Return the next trial."""
        return self._smac.ask()

    def tell(self, handle: Any, loss: float | None) -> None:
        """Tell SMAC the cost."""
        self._smac.tell(handle, loss)


class SmacMultiFidelity(StagedSearcher):
    """SMAC's facade for several fidelities: brackets from one unit of the resource to all."""

    def __init__(self, contest: Contest) -> None:
        from smac import MultiFidelityFacade
        from smac.intensifier.hyperband_utils import get_n_trials_for_hyperband_multifidelity

        super().__init__(contest.problem)
        units: dict[str, float] = {"min_budget": 1, "max_budget": contest.problem.max_t}
        total = contest.budget * contest.workers * contest.problem.max_t
        trials = get_n_trials_for_hyperband_multifidelity(total, **units, print_summary=False)
        self._smac = Smac(MultiFidelityFacade, contest, trials, **units)

    def ask(self) -> tuple[Stage, dict[str, Any]]:
        """Return a configuration and its budget, rounded: SMAC's budgets are fractions."""
        info, config = self._smac.ask()
        return Stage(info, info.config, max(1, round(info.budget))), config

    def tell(self, handle: Stage, loss: float | None) -> None:
        """Tell SMAC the cost at this budget."""
        self._smac.tell(handle.handle, loss)


class Smac:
    """A facade of SMAC.

    Args:
        facade: Its class.
        contest: The run.
        trials: About how many there will be.
        limits: More about the scenario.
    """

    def __init__(self, facade: Any, contest: Contest, trials: float, **limits: float) -> None:
        from ConfigSpace import ConfigurationSpace
        from smac import Scenario

        hyperparameters = parameters(contest.problem.space)
        space = ConfigurationSpace(seed=contest.seed)
        space.add([_hyperparameter(r) for r in hyperparameters])
        self._folder = tempfile.TemporaryDirectory()
        scenario = Scenario(
            space,
            deterministic=True,
            n_trials=_MANY,
            seed=contest.seed,
            output_directory=self._folder.name,
            **limits,
        )
        design = max(1, round(min(10 * len(hyperparameters), _FIRST * trials)))
        self._facade = facade(
            scenario,
            lambda config, seed=0, budget=0: 0.0,  # never called: it is told
            initial_design=facade.get_initial_design(scenario, n_configs=design),
            logging_level=False,
            overwrite=True,
        )
        self._worst = -math.inf
        self._crashed: list[Any] = []

    def ask(self) -> tuple[Any, dict[str, Any]]:
        """Return SMAC's next trial, and its configuration."""
        info = self._facade.ask()
        return info, dict(info.config)

    def tell(self, info: Any, loss: float | None) -> None:
        """Tell SMAC the cost of a trial; None: it crashed.

        SMAC gives a crash an infinite cost, which its own models reject. Here a crash costs as much
        as the worst trial so far. SMAC is told once there is such a trial.
        """
        from smac.runhistory.dataclasses import TrialValue
        from smac.runhistory.enumerations import StatusType

        if loss is None:
            self._crashed.append(info)
        else:
            self._worst = max(self._worst, loss)
            self._facade.tell(info, TrialValue(cost=loss), save=False)
        while self._crashed and self._worst > -math.inf:
            value = TrialValue(cost=self._worst, status=StatusType.CRASHED)
            self._facade.tell(self._crashed.pop(), value, save=False)


def _hyperparameter(hyperparameter: Range | Choice) -> Any:
    from ConfigSpace import Categorical, Float, Integer

    if isinstance(hyperparameter, Choice):
        return Categorical(hyperparameter.name, hyperparameter.values)
    make = Integer if hyperparameter.whole else Float
    bounds = (hyperparameter.low, hyperparameter.high)
    return make(hyperparameter.name, bounds, log=hyperparameter.log)
