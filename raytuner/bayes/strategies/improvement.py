"""The classic ways to value an improvement: expected, probable, or within an upper bound."""

from __future__ import annotations

import math
from typing import Any

import torch
from botorch.models import SingleTaskGP
from torch import Tensor

from raytuner.bayes.acquisition import PosteriorAcquisition, mean_log_improvement

# So much, in standard deviations of all values, counts as an improvement at all: without it the
# probability is highest right beside the incumbent.
_MARGIN = 0.01


class ExpectedImprovement(PosteriorAcquisition):
    """Expected improvement over the best posterior mean of the evaluated configurations.

    The incumbent's value counts as known, unlike in :class:`LogExpectedImprovement`. Pending
    configurations are integrated over. Its logarithm is what is returned.

    Sources: D. R. Jones, M. Schonlau and W. J. Welch (1998), "Efficient Global Optimization of
    Expensive Black-Box Functions", equation 15; J. Snoek, H. Larochelle and R. P. Adams (2012),
    "Practical Bayesian Optimization of Machine Learning Algorithms", section 3.2, for the pending.
    """

    def _anchors(self, evaluated: Tensor) -> Tensor:
        means = self._posterior.means(evaluated)[0]
        if self._feasibility is not None:
            means = torch.where(self._feasibility(evaluated).exp() >= 0.5, means, self._worst)
        self._floor = float(means.max())
        return evaluated[:0]

    def _value(self, mean: Tensor, variance: Tensor, thresholds: Tensor) -> Tensor:
        return mean_log_improvement(mean, variance, thresholds)


class ProbabilityOfImprovement(PosteriorAcquisition):
    """Probability to be better than the incumbent and everything pending by a small margin.

    What the incumbent's true value is, is integrated over. Its logarithm is what is returned.

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
    """Posterior mean and, on top, standard deviations: ``mean + sqrt(0.2 d log(2 n)) sd``.

    Pending configurations take away from the standard deviation, not from the mean.

    Sources: N. Srinivas et al. (2010), "Gaussian Process Optimization in the Bandit Setting";
    K. Kandasamy, J. Schneider and B. Poczos (2015), arXiv:1503.01673, for the factor; T. Desautels,
    A. Krause and J. Burdick (2014), "Parallelizing Exploration-Exploitation Tradeoffs in Gaussian
    Process Bandit Optimization" (GP-BUCB), for the pending.
    """

    def __init__(self, model: SingleTaskGP, *, has_fidelity: bool, **known: Any) -> None:
        n, d = model.train_inputs[0].shape
        self._factor = math.sqrt(0.2 * (d - has_fidelity) * math.log(2 * n))
        super().__init__(model, has_fidelity=has_fidelity, **known)

    def _value(self, mean: Tensor, variance: Tensor, thresholds: Tensor) -> Tensor:
        return mean.mean(-1) + self._factor * variance.clamp_min(1e-12).sqrt()
