"""All search strategies by name, with one interface (`raytuner.bayes.Proposer`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from raytuner.bayes.acquisition import PosteriorAcquisition
from raytuner.bayes.bayes import BayesProposer
from raytuner.bayes.evolution import EvolutionProposer
from raytuner.bayes.portfolio import (
    HedgeProposer,
    KnowledgeGradient,
    PosteriorMean,
    ProbabilityOfImprovement,
    UpperConfidenceBound,
)
from raytuner.bayes.proposer import Proposer, RandomProposer, SobolProposer
from raytuner.errors import SettingError
from raytuner.history import Goal
from raytuner.space import Normal, Ordinal, Path, Space
from raytuner.space.template import rebuilt

GRID_POINTS = 5
"""The number of values of each numeric hyperparameter in a grid."""


def gridded(space: Space, points: int = GRID_POINTS) -> Space:
    """Return the space of all combinations of a few values of each hyperparameter.

    Choices keep all their values, and so do hyperparameters on which conditions depend. Other
    numbers keep at most `points` values (two or more), evenly spaced on their own scale, including
    both ends. For a normal distribution, these are the midpoints of equally likely parts.

    Examples:
        >>> from raytuner.space import Float, Integer
        >>> grid = gridded(Space({"lr": Float(0.01, 1, log=True), "n": Integer(1, 3)}), 3)
        >>> [round(value, 6) for value in grid.columns[0].domain.values], grid.cardinality
        ([0.01, 0.1, 1.0], 9.0)
    """
    needed = {r.column for column in space.columns for r in column.requires}
    thinned: dict[Path, Any] = {}
    for j, column in enumerate(space.columns):
        few = column.n_levels is not None and column.n_levels <= points
        if few or j in needed or column.kind == "categorical" or isinstance(column.domain, Ordinal):
            continue
        units = np.linspace(0.0, 1.0, points)
        if isinstance(column.domain, Normal):
            units = (np.arange(points) + 0.5) / points
        thinned[column.path] = Ordinal(list(dict.fromkeys(column.domain.from_units(units))))
    if not thinned:
        return space
    template = rebuilt(space.template, lambda leaf, path: thinned.get(path, leaf))
    return Space(template, space.constraints)


@dataclass(frozen=True)
class Strategy:
    """A search strategy.

    `proposer` makes the proposer from a space and a seed. With a model, it also takes `n_initial`,
    like `BayesProposer`.
    """

    proposer: Callable[..., Proposer]
    has_model: bool = True  # whether it learns by a model, which takes time
    within: Callable[[Space], Space] = lambda space: space  # the part of a space to search
    goals: bool = True  # whether it supports several objectives and outcome constraints
    costs: bool = False  # and costs: what it maximises is a logarithm of an improvement

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
    "thompson": Strategy(partial(BayesProposer, fleet=0), costs=True),
    "gradient": _by(PosteriorMean),
    # Evolution selects by one ranking of one value.
    "evolution": Strategy(EvolutionProposer, has_model=False, goals=False),
    "sobol": Strategy(SobolProposer, has_model=False),
    "random": Strategy(RandomProposer, has_model=False),
    # The grid's points in the order of a Sobol sequence.
    "grid": Strategy(SobolProposer, has_model=False, within=gridded),
}
"""The strategies by name, as in `BoTorchSearch(strategy=...)`. See `docs/guides/strategies.md`.

To add your own strategy: `STRATEGIES["mine"] = Strategy(MyProposer)`.
"""


def strategy(name: object) -> Strategy:
    """Return the strategy of this name.

    Raises:
        SettingError: The name is unknown.
    """
    if not isinstance(name, str) or name not in STRATEGIES:
        raise SettingError(f"strategy is {name!r}; it must be one of {', '.join(STRATEGIES)}")
    return STRATEGIES[name]


def check_goal(name: str, goal: Goal) -> None:
    """Check that a strategy supports a goal.

    Raises:
        SettingError: The strategy does not support several objectives, constraints or a cost.
    """
    asked = strategy(name)
    if not asked.goals and (goal.n_objectives > 1 or goal.constraints):
        more = [o.metric for o in goal.objectives] + [str(c) for c in goal.constraints]
        raise SettingError(
            f"strategy {name!r} takes one objective without outcome constraints, but there are"
            f" {', '.join(more)}; use another strategy such as 'bayes', or combine the objectives"
            " with weights"
        )
    if goal.cost is not None and not asked.costs:
        able = [one for one, known in STRATEGIES.items() if known.costs]
        raise SettingError(
            f"strategy {name!r} does not support a cost, but cost is {goal.cost!r}; use one of"
            f" {', '.join(able)}"
        )
