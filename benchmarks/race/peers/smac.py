"""SMAC by asking and telling."""

from __future__ import annotations

import tempfile
from typing import Any

from benchmarks.race.method import Contest
from benchmarks.race.peers.ask_tell import AskTell, Choice, Range, parameters

_MANY = 100_000  # trials: the race's budget is its time
_FIRST = 0.25  # of the trials that are trained in full: SMAC's own limit of its initial design


class SmacSearcher(AskTell):
    """SMAC's facade for hyperparameters: random forests, after a Sobol design."""

    def __init__(self, contest: Contest) -> None:
        from ConfigSpace import ConfigurationSpace
        from smac import HyperparameterOptimizationFacade, Scenario

        super().__init__(contest.problem)
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
        )
        design = min(10 * len(hyperparameters), _FIRST * contest.budget * contest.workers)
        self._smac = HyperparameterOptimizationFacade(
            scenario,
            lambda config, seed=0: 0.0,  # never called: it is told
            initial_design=HyperparameterOptimizationFacade.get_initial_design(
                scenario, n_configs=max(1, round(design))
            ),
            logging_level=False,
            overwrite=True,
        )

    def ask(self) -> tuple[Any, dict[str, Any]]:
        """One trial."""
        info = self._smac.ask()
        return info, dict(info.config)

    def tell(self, handle: Any, loss: float | None) -> None:
        """Its cost."""
        from smac.runhistory.dataclasses import TrialValue
        from smac.runhistory.enumerations import StatusType

        if loss is None:
            value = TrialValue(cost=float("inf"), status=StatusType.CRASHED)
        else:
            value = TrialValue(cost=loss)
        self._smac.tell(handle, value, save=False)


def _hyperparameter(hyperparameter: Range | Choice) -> Any:
    from ConfigSpace import Categorical, Float, Integer

    if isinstance(hyperparameter, Choice):
        return Categorical(hyperparameter.name, hyperparameter.values)
    make = Integer if hyperparameter.whole else Float
    bounds = (hyperparameter.low, hyperparameter.high)
    return make(hyperparameter.name, bounds, log=hyperparameter.log)
