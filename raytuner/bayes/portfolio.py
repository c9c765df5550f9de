"""Further acquisition functions, and a bandit over some of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from raytuner.bayes.acquisition import LogExpectedImprovement, PosteriorAcquisition
from raytuner.bayes.bayes import BayesProposer, Fitted, MakeAcquisition
from raytuner.bayes.surrogate import Posterior
from raytuner.history.snapshot import FloatArray
from raytuner.space import Space

# An improvement, in standard deviations of all values. With 0, the probability would be highest
# very close to the incumbent.
_MARGIN = 0.01
# Quadrature over a trial's value: the middles of 32 equally likely parts.
_NODES = torch.special.ndtri((torch.arange(32, dtype=torch.double) + 0.5) / 32)
_LEAST = 1e-12  # a gain, before its logarithm is taken
_REMEMBERED = 100  # nominations; older ones come from a very different model


class ProbabilityOfImprovement(LogExpectedImprovement):
    """Log probability of beating the incumbent and all pending trials by a small margin.

    Source: H. J. Kushner (1964), "A New Method of Locating the Maximum Point of an Arbitrary
    Multipeak Curve in the Presence of Noise".
    """

    def _value(self, mean: Tensor, variance: Tensor, thresholds: Tensor) -> Tensor:
        sd = variance.clamp_min(1e-12).sqrt().unsqueeze(-1)
        chances = torch.special.log_ndtr((mean - thresholds - _MARGIN) / sd)
        return torch.logsumexp(chances, dim=-1) - math.log(chances.shape[-1])


class UpperConfidenceBound(PosteriorAcquisition):
    """Posterior mean plus `sqrt(0.2 d log(2 n))` standard deviations.

    Pending configurations reduce the standard deviation, not the mean.

    Sources: N. Srinivas et al. (2010), "Gaussian Process Optimization in the Bandit Setting";
    K. Kandasamy, J. Schneider and B. Poczos (2015), arXiv:1503.01673, for the factor; T. Desautels,
    A. Krause and J. Burdick (2014), "Parallelizing Exploration-Exploitation Tradeoffs in Gaussian
    Process Bandit Optimization" (GP-BUCB), for the pending.
    """

    _most_contenders = 0

    def _value(self, mean: Tensor, variance: Tensor, thresholds: Tensor) -> Tensor:
        n, d = self._posterior.X.shape
        factor = math.sqrt(0.2 * (d - self._posterior.has_fidelity) * math.log(2 * n))
        return mean.mean(-1) + factor * variance.clamp_min(1e-12).sqrt()


class PosteriorMean(PosteriorAcquisition):
    """The posterior mean, climbed from the best configurations so far: a local search.

    It refines but does not explore. Pending configurations count as if they had the mean of all
    values, so that the next climb ends elsewhere (a "constant liar").

    Source: D. Ginsbourger, R. Le Riche and L. Carraro (2010), "Kriging Is Well-Suited to
    Parallelize Optimization", section 3.2, for the pending.
    """

    is_local = True
    _samples = 1
    _most_contenders = 0

    def _draws(self, mean: Tensor, corner: Tensor) -> Tensor:
        supposed = self._posterior.mean - mean
        return torch.linalg.solve_triangular(corner, supposed[:, None], upper=False).mT

    def _value(self, mean: Tensor, variance: Tensor, thresholds: Tensor) -> Tensor:
        return mean.squeeze(-1)


class KnowledgeGradient(PosteriorAcquisition):
    """Log knowledge gradient for continuous parameters: the gain in the best posterior mean.

    The value of a configuration x is `E[max over A of the mean, after a trial of x] - max over A
    of the mean`, where A are the evaluated configurations that may be the best, the pending ones,
    and x. If values are noisy, a trial that informs about others is useful even if its own value is
    not the best. Pending trials count as future information. A trial moves all these means along
    one standard normal variable, so there is no inner optimisation.

    Sources: P. Frazier, W. Powell and S. Dayanik (2009), "The Knowledge-Gradient Policy for
    Correlated Normal Beliefs", equations 10 to 13; W. Scott, P. Frazier and W. Powell (2011), "The
    Correlated Knowledge Gradient for Simulation Optimization of Continuous Parameters using
    Gaussian Process Regression", for the set A.
    """

    _samples = 1
    _most_contenders = 16

    def __call__(self, X: Tensor) -> Tensor:
        """Return the `(...)` values of `(..., d)` configurations."""
        cross, mean, variance = self._moments(X)
        variance = variance.clamp_min(1e-12)
        prior = self._kernel.forward(self._posterior.at_full(X), self._known)
        covariance = prior - cross @ self._known_cross.mT
        slopes = torch.cat([covariance, variance[..., None]], dim=-1)
        slopes = slopes / (variance + self._posterior.noise).sqrt()[..., None]
        known = self._known_mean.expand(*mean.shape[:-1], -1)
        means = torch.cat([known, mean], dim=-1)
        after = (means[..., None] + slopes[..., None] * _NODES).max(dim=-2).values
        gain = after.mean(-1) - means.max(dim=-1).values
        return self._with_bonus(gain.clamp_min(_LEAST).log(), X)

    def choose(self, candidates: FloatArray, n: int) -> FloatArray:
        """Choose the best candidates; see `PosteriorAcquisition.choose`."""
        left, chosen = candidates, list[FloatArray]()
        for _ in range(n):
            if chosen:
                self.add_pending(chosen[-1])
            with torch.no_grad():
                best = int(self(torch.as_tensor(left)).argmax())
            chosen.append(left[best])
            left = np.delete(left, best, axis=0)
        return np.array(chosen)

    def _anchors(self, evaluated: Tensor) -> Tensor:
        self._best = super()._anchors(evaluated)
        return evaluated[:0]

    def _draws(self, mean: Tensor, corner: Tensor) -> Tensor:
        return torch.zeros(1, len(mean), dtype=mean.dtype)  # pending ones move no mean

    def _condition(self) -> None:
        super()._condition()
        self._known = torch.cat([self._best, self._pending])
        X = self._known[:, :-1] if self._posterior.has_fidelity else self._known
        self._known_cross, mean, _ = self._moments(X)
        self._known_mean = mean.squeeze(-1)

    def _value(self, mean: Tensor, variance: Tensor, thresholds: Tensor) -> Tensor:
        raise NotImplementedError  # it takes more than the posterior at x alone


PORTFOLIO: Sequence[MakeAcquisition] = (
    LogExpectedImprovement,
    ProbabilityOfImprovement,
    UpperConfidenceBound,
)


class HedgeProposer(BayesProposer):
    """Several acquisition functions nominate one configuration each, and one of them is proposed.

    It is drawn with probabilities proportional to `exp(g)`. Here g is the sum of the current
    posterior means at a function's nominations, including those that were not tried, in standard
    deviations of all values. The arguments are those of `BayesProposer`.

    Source: M. Hoffman, E. Brochu and N. de Freitas (2011), "Portfolio Allocation for Bayesian
    Optimization", arXiv:1009.5419, algorithm 2 (GP-Hedge).
    """

    def __init__(
        self, space: Space, seed: int | None = None, *, n_initial: int | None = None
    ) -> None:
        super().__init__(space, seed, n_initial=n_initial)
        self._nominated = np.empty((0, len(PORTFOLIO), space.dim))

    def state_dict(self) -> dict[str, Any]:
        """Return the state of `BayesProposer`, and the last nominations."""
        return {**super().state_dict(), "nominated": self._nominated.tolist()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict`."""
        super().load_state_dict(state)
        nominated = np.array(state["nominated"], dtype=np.float64)
        self._nominated = nominated.reshape(-1, len(PORTFOLIO), self._space.dim)

    def probabilities(self, posterior: Posterior) -> FloatArray:
        """Return the probability that each of the portfolio is followed, `(k,)`."""
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
