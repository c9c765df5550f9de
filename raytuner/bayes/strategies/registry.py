"""All strategies by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType

from raytuner.bayes.acquisition import PosteriorAcquisition
from raytuner.bayes.bayes import BayesProposer
from raytuner.bayes.proposer import Proposer
from raytuner.bayes.sobol import SobolProposer
from raytuner.bayes.strategies.chance import RandomProposer
from raytuner.bayes.strategies.evolution import EvolutionProposer
from raytuner.bayes.strategies.gradient import PosteriorMean
from raytuner.bayes.strategies.grid import gridded
from raytuner.bayes.strategies.hedge import HedgeProposer
from raytuner.bayes.strategies.improvement import (
    ExpectedImprovement,
    ProbabilityOfImprovement,
    UpperConfidenceBound,
)
from raytuner.bayes.strategies.knowledge_gradient import KnowledgeGradient
from raytuner.bayes.strategies.thompson import ThompsonSample
from raytuner.errors import SettingError
from raytuner.history import Goal
from raytuner.space import Space

Make = Callable[[Space, int | None, int | None], Proposer]


@dataclass(frozen=True)
class Strategy:
    """A way to search.

    Attributes:
        make: Makes the proposer, for a space, a seed and a number of quasi-random configurations
            before the first model (None: the default; without a model it plays no part).
        has_model: Whether it learns by a model, which takes time.
        within: The part of a space that is searched.
        goals: Whether it takes several objectives, and outcome constraints.
        costs: Whether it can look at improvement per cost: what it maximises is a logarithm.
    """

    make: Make
    has_model: bool = True
    within: Callable[[Space], Space] = lambda space: space
    goals: bool = True
    costs: bool = False


def _by(acquisition: Callable[..., PosteriorAcquisition]) -> Strategy:
    def make(space: Space, seed: int | None, n_initial: int | None) -> Proposer:
        return BayesProposer(space, seed, n_initial=n_initial, acquisition=acquisition)

    return Strategy(make)


def _without_model(
    proposer: Callable[[Space, int | None], Proposer],
    within: Callable[[Space], Space] = lambda space: space,
) -> Strategy:
    return Strategy(lambda space, seed, _: proposer(space, seed), has_model=False, within=within)


def _thompson(space: Space, seed: int | None, n_initial: int | None) -> Proposer:
    sample = partial(ThompsonSample, space)
    return BayesProposer(space, seed, n_initial=n_initial, acquisition=sample)


def _hedge(space: Space, seed: int | None, n_initial: int | None) -> Proposer:
    return HedgeProposer(space, seed, n_initial=n_initial)


def _bayes(space: Space, seed: int | None, n_initial: int | None) -> Proposer:
    return BayesProposer(space, seed, n_initial=n_initial)


STRATEGIES: Mapping[str, Strategy] = MappingProxyType(
    {
        "bayes": Strategy(_bayes, costs=True),
        "hedge": Strategy(_hedge),
        "ei": replace(_by(ExpectedImprovement), costs=True),
        "pi": replace(_by(ProbabilityOfImprovement), costs=True),
        "ucb": _by(UpperConfidenceBound),
        "kg": replace(_by(KnowledgeGradient), costs=True),
        "thompson": Strategy(_thompson),
        "gradient": _by(PosteriorMean),
        # What it breeds from is one ranking, by one value.
        "evolution": replace(_without_model(EvolutionProposer), goals=False),
        "sobol": _without_model(SobolProposer),
        "random": _without_model(RandomProposer),
        # The points of the grid, in the order of a Sobol sequence.
        "grid": _without_model(SobolProposer, within=gridded),
    }
)
"""By the name that ``BoTorchSearch(strategy=...)`` takes; ``docs/search.md`` says which is when."""


def strategy(name: object) -> Strategy:
    """The strategy of that name.

    Raises:
        SettingError: There is none.
    """
    if not isinstance(name, str) or name not in STRATEGIES:
        raise SettingError(f"strategy is {name!r}; it must be one of {', '.join(STRATEGIES)}")
    return STRATEGIES[name]


def check_goal(name: str, goal: Goal) -> None:
    """Whether a strategy can be after a goal.

    Raises:
        SettingError: It takes one objective alone, or no cost, and the goal has more.
    """
    asked = strategy(name)
    if not asked.goals and (goal.n_objectives > 1 or goal.constraints):
        more = [o.metric for o in goal.objectives] + [str(c) for c in goal.constraints]
        raise SettingError(
            f"strategy {name!r} takes one objective without outcome constraints, and there are"
            f" {', '.join(more)}; use another, such as 'bayes', or weights, which make one"
            " objective of several"
        )
    if goal.cost is not None and not asked.costs:
        able = [one for one, known in STRATEGIES.items() if known.costs]
        raise SettingError(
            f"strategy {name!r} takes no cost, and it is {goal.cost!r}; use one of"
            f" {', '.join(able)}"
        )
