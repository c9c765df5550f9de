"""A bandit over acquisition functions, which learns from the record which of them pays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from botorch.models import SingleTaskGP

from raytuner.bayes.acquisition import LogExpectedImprovement, PosteriorAcquisition
from raytuner.bayes.bayes import BayesProposer, Learned
from raytuner.bayes.dataset import Dataset
from raytuner.bayes.posterior import Posterior
from raytuner.bayes.strategies.improvement import ProbabilityOfImprovement, UpperConfidenceBound
from raytuner.history.snapshot import FloatArray
from raytuner.space import Space

# Nominations this far back count no more: the model was another then.
_REMEMBERED = 100

PORTFOLIO: Sequence[Callable[..., PosteriorAcquisition]] = (
    LogExpectedImprovement,
    ProbabilityOfImprovement,
    UpperConfidenceBound,
)


class HedgeProposer(BayesProposer):
    """Several acquisition functions nominate a configuration each; one of these is proposed.

    Which one, is drawn by how much the nominations of each have paid: with chances proportional to
    ``exp(eta g)``, where g is the sum of what the model now expects of them, nominations that were
    not tried included, in standard deviations of all values. So what a function is worth is seen
    with all that is known now, rather than when it made its nominations, and follows from these and
    the record.

    Source: M. Hoffman, E. Brochu and N. de Freitas (2011), "Portfolio Allocation for Bayesian
    Optimization", arXiv:1009.5419, algorithm 2 (GP-Hedge).

    Args:
        space: The search space, d columns.
        seed: Seed of everything random; None draws one.
        n_initial: As for :class:`BayesProposer`.
        portfolio: The acquisition functions, k of them.
        eta: How fast it learns.
    """

    def __init__(
        self,
        space: Space,
        seed: int | None = None,
        *,
        n_initial: int | None = None,
        portfolio: Sequence[Callable[..., PosteriorAcquisition]] = PORTFOLIO,
        eta: float = 1.0,
    ) -> None:
        super().__init__(space, seed, n_initial=n_initial)
        self._portfolio = tuple(portfolio)
        self._eta = eta
        self._nominated = np.empty((0, len(self._portfolio), space.dim))

    def state_dict(self) -> dict[str, Any]:
        """As of :class:`BayesProposer`, and the last nominations."""
        return {**super().state_dict(), "nominated": self._nominated.tolist()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from :meth:`state_dict`."""
        super().load_state_dict(state)
        shape = (-1, len(self._portfolio), self._space.dim)
        self._nominated = np.array(state["nominated"], dtype=np.float64).reshape(shape)

    def chances(self, model: SingleTaskGP, *, has_fidelity: bool) -> FloatArray:
        """How likely each of the portfolio is to be followed, ``(k,)``.

        Args:
            model: The fitted surrogate.
            has_fidelity: Whether it has a fidelity as its last input.
        """
        gains = np.zeros(len(self._portfolio))
        if len(self._nominated):
            points = torch.as_tensor(self._nominated.reshape(-1, self._space.dim))
            if has_fidelity:
                points = torch.cat([points, torch.ones_like(points[:, :1])], dim=-1)
            with torch.no_grad():
                means = Posterior(model).means(points)[0].numpy()
            gains = means.reshape(self._nominated.shape[:2]).sum(axis=0)
        weights = np.exp(self._eta * (gains - gains.max()))
        return weights / weights.sum()

    def _maximisers(self, learned: Learned, data: Dataset, n: int) -> np.ndarray:
        chances = self.chances(learned.models.objective, has_fidelity=data.has_fidelity)
        rng = np.random.default_rng(self._seed_of(self._place))
        # Of a batch each function proposes its share, given what those before it propose.
        shares = rng.multinomial(n, chances)
        chosen = np.empty((0, self._space.dim))
        nominated = []
        asked = self._asked
        try:
            for make, share in zip(self._portfolio, shares, strict=True):
                found = self._best_of(make, learned, data, max(share, 1))
                nominated.append(found[:1])
                chosen = np.vstack([chosen, found[:share]])
                self._asked = np.vstack([asked, chosen])
        finally:
            self._asked = asked
        if all(map(len, nominated)):
            latest = np.stack(nominated, axis=1)
            self._nominated = np.concatenate([self._nominated, latest])[-_REMEMBERED:]
        return chosen
