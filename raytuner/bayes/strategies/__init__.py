"""All strategies by name: ways to search behind one protocol (`raytuner.bayes.Proposer`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from raytuner.bayes.acquisition import PosteriorAcquisition
from raytuner.bayes.bayes import BayesProposer
from raytuner.bayes.design import SobolProposer
from raytuner.bayes.proposer import Proposer
from raytuner.bayes.strategies.evolution import EvolutionProposer
from raytuner.bayes.strategies.grid import gridded
from raytuner.bayes.strategies.hedge import HedgeProposer
from raytuner.bayes.strategies.improvement import (
    PosteriorMean,
    ProbabilityOfImprovement,
    UpperConfidenceBound,
)
from raytuner.bayes.strategies.knowledge_gradient import KnowledgeGradient
from raytuner.bayes.strategies.random import RandomProposer
from raytuner.bayes.strategies.thompson import thompson
from raytuner.errors import SettingError
from raytuner.history import Goal
from raytuner.space import Space


def _whole(space: Space) -> Space:
    return space


@dataclass(frozen=True)
class Strategy:
    """A way to search.

    Attributes:
        proposer: A class or function that makes the proposer from a space and a seed; with a model
            it also takes `n_initial`, the number of quasi-random configurations before the first
            model (None: the default).
        has_model: Whether it learns by a model, which takes time.
        within: Returns the part of a space that is searched.
        goals: Whether it supports several objectives and outcome constraints.
        costs: Whether it supports costs: what it maximises is a logarithm of an improvement.
    """

    proposer: Callable[..., Proposer]
    has_model: bool = True
    within: Callable[[Space], Space] = _whole
    goals: bool = True
    costs: bool = False

    def make(self, space: Space, seed: int | None, n_initial: int | None = None) -> Proposer:
        """Return the proposer; without a model `n_initial` is ignored."""
        if self.has_model:
            return self.proposer(space, seed, n_initial=n_initial)
        return self.proposer(space, seed)


def _by(acquisition: type[PosteriorAcquisition], *, costs: bool = False) -> Strategy:
    return Strategy(partial(BayesProposer, acquisition=acquisition), costs=costs)


STRATEGIES: dict[str, Strategy] = {
    "bayes": Strategy(BayesProposer, costs=True),
    "hedge": Strategy(HedgeProposer),
    "pi": _by(ProbabilityOfImprovement, costs=True),
    "ucb": _by(UpperConfidenceBound),
    "kg": _by(KnowledgeGradient, costs=True),
    "thompson": Strategy(thompson),
    "gradient": _by(PosteriorMean),
    # Evolution selects by one ranking of one value.
    "evolution": Strategy(EvolutionProposer, has_model=False, goals=False),
    "sobol": Strategy(SobolProposer, has_model=False),
    "random": Strategy(RandomProposer, has_model=False),
    # The grid's points in the order of a Sobol sequence.
    "grid": Strategy(SobolProposer, has_model=False, within=gridded),
}
"""By the name that `BoTorchSearch(strategy=...)` takes; `docs/search.md` says when to use which.

To add a strategy, from outside too: `STRATEGIES["mine"] = Strategy(MyProposer)`.
"""


def strategy(name: object) -> Strategy:
    """Return the strategy of that name.

    Raises:
        SettingError: There is none.
    """
    if not isinstance(name, str) or name not in STRATEGIES:
        raise SettingError(f"strategy is {name!r}; it must be one of {', '.join(STRATEGIES)}")
    return STRATEGIES[name]


def check_goal(name: str, goal: Goal) -> None:
    """Check that a strategy supports a goal.

    Raises:
        SettingError: It supports one objective only, or no cost, and the goal has more.
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
