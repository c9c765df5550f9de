"""Optuna, asked and told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.features.player import Player
from benchmarks.features.problem import Config, FeatureProblem, Outcomes
from benchmarks.race.peers.ask_tell import Choice


class OptunaPlayer(Player):
    """A study with a sampler: conditions by running, constraints as outcomes."""

    def __init__(self, problem: FeatureProblem, sampler: Any) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._problem = problem
        directions = ["minimize"] * len(problem.objectives)
        self._study = optuna.create_study(directions=directions, sampler=sampler)
        self._worst = dict.fromkeys(problem.objectives, 0.0)
        if problem.guess is not None:
            self._study.enqueue_trial(problem.guess.config)

    def ask(self) -> tuple[Any, Config]:
        """One trial."""
        trial = self._study.ask()
        config: Config = {}
        for parameter in self._problem.parameters:
            if self._problem.exists(parameter.name, config):
                config[parameter.name] = _suggested(trial, parameter)
        return trial, config

    def tell(self, handle: Any, outcomes: Outcomes) -> None:
        """Complete the trial: one without a value gets the worst so far, for none is not taken."""
        for name in self._problem.objectives:
            self._worst[name] = max(self._worst[name], outcomes.get(name, self._worst[name]))
        constraint = self._problem.observed_constraint
        if constraint is not None:
            handle.set_constraint(constraint, outcomes[constraint])
        self._study.tell(handle, [outcomes.get(name, self._worst[name]) for name in self._worst])

    def best(self) -> Config:
        """The best value told."""
        return dict(self._study.best_params)


def _suggested(trial: Any, parameter: Any) -> Any:
    if isinstance(parameter, Choice):
        return trial.suggest_categorical(parameter.name, parameter.values)
    suggest = trial.suggest_int if parameter.whole else trial.suggest_float
    return suggest(parameter.name, parameter.low, parameter.high, log=parameter.log)


def with_sampler(name: str) -> Callable[[FeatureProblem, int], Player]:
    """A study with one of Optuna's samplers as its documentation advises."""

    def make(problem: FeatureProblem, seed: int) -> Player:
        from optuna import samplers

        makers: dict[str, Callable[[], Any]] = {
            "gp": lambda: samplers.GPSampler(seed=seed),
            "tpe": lambda: samplers.TPESampler(
                multivariate=True, constant_liar=True, group=bool(problem.conditions), seed=seed
            ),
            # Its default of 50 a generation would leave these evaluations to chance.
            "nsga2": lambda: samplers.NSGAIISampler(population_size=10, seed=seed),
        }
        return OptunaPlayer(problem, makers[name]())

    return make
