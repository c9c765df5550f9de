"""What proposers are made by: objects, since Ray pickles the searcher."""

from __future__ import annotations

from dataclasses import dataclass

from raytuner.bayes import BayesProposer, Proposer, SobolProposer
from raytuner.bayes.belief import Belief, Beliefs
from raytuner.bayes.strategies import Strategy
from raytuner.bayes.transfer import Task, best_in_turn
from raytuner.space import Space


@dataclass(frozen=True)
class BayesFactory:
    """Makes :class:`BayesProposer`.

    Attributes:
        n_initial: See there.
        earlier: See there.
        beliefs: See there.
    """

    n_initial: int | None
    earlier: tuple[Task, ...] = ()
    beliefs: tuple[Belief, ...] = ()

    def __call__(self, space: Space, seed: int | None) -> BayesProposer:
        """The proposer."""
        return BayesProposer(
            space, seed, n_initial=self.n_initial, tasks=self.earlier, beliefs=self.beliefs
        )

    def design(self, space: Space, seed: int | None) -> SobolProposer:
        """What stands in where it has no proposal ready."""
        beliefs = Beliefs(space, self.beliefs) if self.beliefs else None
        return SobolProposer(space, seed, first=best_in_turn(self.earlier), beliefs=beliefs)


@dataclass(frozen=True)
class StrategyFactory:
    """Makes the proposer of a strategy.

    Attributes:
        strategy: The strategy itself, since another process may not know its name.
        n_initial: As for :class:`BayesProposer`.
    """

    strategy: Strategy
    n_initial: int | None

    def __call__(self, space: Space, seed: int | None) -> Proposer:
        """The proposer."""
        return self.strategy.make(space, seed, self.n_initial)
