"""The classic acquisition functions: probability of improvement, upper bound, posterior mean."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from raytuner.bayes.acquisition import PosteriorAcquisition
from raytuner.bayes.posterior import Posterior

# An improvement, in standard deviations of all values: with 0 the probability would be highest
# right beside the incumbent.
_MARGIN = 0.01


class ProbabilityOfImprovement(PosteriorAcquisition):
    """Log probability to be better than the incumbent and everything pending by a small margin.

    The incumbent's true value is integrated over.

    Source: H. J. Kushner (1964), "A New Method of Locating the Maximum Point of an Arbitrary
    Multipeak Curve in the Presence of Noise".
    """

    def _anchors(self, evaluated: Tensor) -> Tensor:
        return self._likely_best(evaluated)

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

    def __init__(self, posterior: Posterior, **known: Any) -> None:
        n, d = posterior.X.shape
        self._factor = math.sqrt(0.2 * (d - posterior.has_fidelity) * math.log(2 * n))
        super().__init__(posterior, **known)

    def _value(self, mean: Tensor, variance: Tensor, thresholds: Tensor) -> Tensor:
        return mean.mean(-1) + self._factor * variance.clamp_min(1e-12).sqrt()


class PosteriorMean(PosteriorAcquisition):
    """The posterior mean, climbed from the best configurations so far: a local search.

    It refines and explores nothing. Pending configurations count as if they had the mean of all
    values, so that the next climb ends elsewhere (a "constant liar").

    Source: D. Ginsbourger, R. Le Riche and L. Carraro (2010), "Kriging Is Well-Suited to
    Parallelize Optimization", section 3.2, for the pending.
    """

    is_local = True
    _samples = 1

    def _draws(self, mean: Tensor, corner: Tensor) -> Tensor:
        supposed = self._posterior.mean - mean
        return torch.linalg.solve_triangular(corner, supposed[:, None], upper=False).mT

    def _value(self, mean: Tensor, variance: Tensor, thresholds: Tensor) -> Tensor:
        return mean.squeeze(-1)
