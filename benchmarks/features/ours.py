"""raytuner, driven by hand: with what a problem is there to show, and without."""

from __future__ import annotations

from itertools import count
from typing import Any

from ray import tune

import raytuner
from benchmarks.features.player import Player
from benchmarks.features.problem import Config, Earlier, FeatureProblem, Guess, Outcomes
from benchmarks.features.simple import Told
from benchmarks.race.peers.ask_tell import Choice, Range
from raytuner import BoTorchSearch
from raytuner.bayes import best_by_model
from raytuner.errors import RaytunerError

_LOSS = "loss"


class WithFeature(Player):
    """raytuner with the objectives, constraints, conditions, fidelities and prior knowledge."""

    def __init__(self, problem: FeatureProblem, seed: int) -> None:
        self._problem = problem
        self._numbers = count()
        self._configs: dict[str, Config] = {}
        self._search = BoTorchSearch(
            _space(problem),
            **_objectives(problem),
            **_constraints(problem),
            **_knowledge(problem),
            background=False,
            seed=seed,
        )

    def ask(self) -> tuple[str, Config]:
        """One trial."""
        trial_id, config = _asked(self._search, next(self._numbers))
        self._configs[trial_id] = config
        return trial_id, config

    def tell(self, handle: str, outcomes: Outcomes) -> None:
        """Complete the trial."""
        seconds = self._problem.cost(self._configs[handle])
        report = {**outcomes, "training_iteration": 1, "time_total_s": seconds}
        self._search.on_trial_complete(handle, report)

    def best(self) -> Config:
        """By its model; the best value told while there is none."""
        history = self._search.history
        found = best_by_model(history.space, history.snapshot())
        best = history.best if found is None else history[found]
        assert best is not None  # something was told
        return best.config


class WithoutFeature(Player):
    """raytuner with one objective on a flat space, as if it had nothing else."""

    def __init__(self, problem: FeatureProblem, seed: int) -> None:
        self._problem = problem
        self._numbers = count()
        self._told = Told()
        self._configs: dict[str, Config] = {}
        self._search = BoTorchSearch(
            {parameter.name: _domain(parameter) for parameter in problem.parameters},
            _LOSS,
            "min",
            points_to_evaluate=None if problem.guess is None else [problem.guess.config],
            background=False,
            seed=seed,
        )

    def ask(self) -> tuple[str, Config]:
        """One trial."""
        trial_id, config = _asked(self._search, next(self._numbers))
        self._configs[trial_id] = config
        return trial_id, config

    def tell(self, handle: str, outcomes: Outcomes) -> None:
        """Complete the trial with the objectives' sum and what a constraint is exceeded by."""
        if not all(name in outcomes for name in self._problem.objectives):
            self._search.on_trial_complete(handle, None, error=True)
            return
        loss = sum(outcomes[name] for name in self._problem.objectives)
        if self._problem.constraint is not None:
            loss += max(0.0, outcomes[self._problem.constraint])
        self._told.take(self._configs[handle], loss)
        self._search.on_trial_complete(handle, {_LOSS: loss, "training_iteration": 1})

    def best(self) -> Config:
        """The best value told."""
        return self._told.config


def lacks(problem: FeatureProblem) -> str | None:
    """Why this version of raytuner has not the feature; None: it has it."""
    try:
        WithFeature(problem, seed=0)
    except (TypeError, RaytunerError) as error:
        return f"not in this version: {error}"
    return None


def has_switch(problem: FeatureProblem) -> bool:
    """Whether there is a feature to leave out; that in many dimensions is always there."""
    return bool(
        len(problem.objectives) > 1
        or problem.constraint
        or problem.allowed
        or problem.conditions
        or problem.noise_sd
        or problem.earlier
        or problem.guess
        or problem.fidelity
    )


def _asked(search: BoTorchSearch, number: int) -> tuple[str, Config]:
    trial_id = f"trial_{number}"
    config = search.suggest(trial_id)
    assert isinstance(config, dict)  # none of the spaces is ever used up
    return trial_id, config


def _objectives(problem: FeatureProblem) -> dict[str, Any]:
    if len(problem.objectives) == 1:
        return {"metric": problem.objectives[0], "mode": "min"}
    return {"metric": list(problem.objectives), "mode": ["min"] * len(problem.objectives)}


def _constraints(problem: FeatureProblem) -> dict[str, Any]:
    given: dict[str, Any] = {}
    if problem.constraint is not None:
        given["outcome_constraints"] = [f"{problem.constraint} <= 0"]
    if problem.allowed is not None:
        given["parameter_constraints"] = [problem.allowed.expression]
    return given


def _knowledge(problem: FeatureProblem) -> dict[str, Any]:
    given: dict[str, Any] = {}
    if problem.earlier:
        given["earlier"] = [_frame(study) for study in problem.earlier]
    if problem.guess is not None:
        given["priors"] = _priors(problem.guess)
    return given


def _frame(study: Earlier) -> Any:
    import pandas

    rows = zip(study.configs, study.outcomes, strict=True)
    return pandas.DataFrame([{**config, **outcomes} for config, outcomes in rows])


def _priors(guess: Guess) -> dict[str, Any]:
    # Its hyperparameters range over [0, 1]: a standard deviation is a share of the range.
    return {name: raytuner.near(mean, spread=guess.sd) for name, mean in guess.config.items()}


def _space(problem: FeatureProblem) -> dict[str, Any]:
    space = {}
    for parameter in problem.parameters:
        domain = _domain(parameter)
        if parameter.name in problem.conditions:
            parent, value = problem.conditions[parameter.name]
            domain = raytuner.when(domain, **{parent: value})
        space[parameter.name] = domain
    if problem.fidelity is not None:
        space[problem.fidelity.name] = raytuner.fidelity(_domain(problem.fidelity))
    return space


def _domain(parameter: Range | Choice) -> Any:
    if isinstance(parameter, Choice):
        return tune.choice(list(parameter.values))
    if parameter.whole:  # Ray leaves the upper bound out
        draw = tune.lograndint if parameter.log else tune.randint
        return draw(int(parameter.low), int(parameter.high) + 1)
    return (tune.loguniform if parameter.log else tune.uniform)(parameter.low, parameter.high)
