"""A bandit over acquisition functions, which learns from the record which of them pays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from raytuner.bayes.acquisition import LogExpectedImprovement
from raytuner.bayes.bayes import BayesProposer, Fitted, MakeAcquisition
from raytuner.bayes.posterior import Posterior
from raytuner.bayes.strategies.improvement import ProbabilityOfImprovement, UpperConfidenceBound
from raytuner.history.snapshot import FloatArray
from raytuner.space import Space

_REMEMBERED = 100  # nominations; older ones are of another model

PORTFOLIO: Sequence[MakeAcquisition] = (
    LogExpectedImprovement,
    ProbabilityOfImprovement,
    UpperConfidenceBound,
)


class HedgeProposer(BayesProposer):
    """Several acquisition functions nominate a configuration each, and one of these is proposed.

    It is drawn with probabilities proportional to `exp(g)`, where g is the sum of what the
    model now expects of a function's nominations, those not tried included, in standard deviations
    of all values. So a function is judged by all that is known now, not by what was known when it
    made its nominations.

    Source: M. Hoffman, E. Brochu and N. de Freitas (2011), "Portfolio Allocation for Bayesian
    Optimization", arXiv:1009.5419, algorithm 2 (GP-Hedge).

    Args:
        space: The search space, d columns.
        seed: Seed of everything random; None draws one.
        n_initial: As for `BayesProposer`.
    """

    def __init__(
        self, space: Space, seed: int | None = None, *, n_initial: int | None = None
    ) -> None:
        super().__init__(space, seed, n_initial=n_initial)
        self._nominated = np.empty((0, len(PORTFOLIO), space.dim))

    def state_dict(self) -> dict[str, Any]:
        """Return that of `BayesProposer`, and the last nominations."""
        return {**super().state_dict(), "nominated": self._nominated.tolist()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict`."""
        super().load_state_dict(state)
        nominated = np.array(state["nominated"], dtype=np.float64)
        self._nominated = nominated.reshape(-1, len(PORTFOLIO), self._space.dim)

    def probabilities(self, posterior: Posterior) -> FloatArray:
        """Return the probability that each of the portfolio is followed, `(k,)`."""
        gains = np.zeros(len(PORTFOLIO))
        if len(self._nominated):
            points = torch.as_tensor(self._nominated.reshape(-1, self._space.dim))
            with torch.no_grad():
                means = posterior.means(posterior.at_full(points))[0].numpy()
            gains = means.reshape(self._nominated.shape[:2]).sum(axis=0)
        weights = np.exp(gains - gains.max())
        return weights / weights.sum()

    def _choose(self, fitted: Fitted, n: int) -> FloatArray:
        # Each function proposes its share of a batch, given what those before it propose.
        rng = np.random.default_rng(self._seed(self._place))
        shares = rng.multinomial(n, self.probabilities(fitted.models.objective))
        chosen = np.empty((0, self._space.dim))
        nominated = []
        for make, share in zip(PORTFOLIO, shares, strict=True):
            asked = np.vstack([self._asked, chosen])
            found = self._best_of(make, fitted, max(share, 1), asked)
            nominated.append(found[:1])
            chosen = np.vstack([chosen, found[:share]])
        if all(map(len, nominated)):
            latest = np.stack(nominated, axis=1)
            self._nominated = np.concatenate([self._nominated, latest])[-_REMEMBERED:]
        return chosen
