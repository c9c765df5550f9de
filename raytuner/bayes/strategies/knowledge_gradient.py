"""How much better the best is expected to be known after one more trial."""

from __future__ import annotations

from typing import Any

import torch
from botorch.models import SingleTaskGP
from torch import Tensor

from raytuner.bayes.acquisition import PosteriorAcquisition
from raytuner.bayes.batch import greedy
from raytuner.history.snapshot import FloatArray

_NODES = 32  # of the quadrature over what the trial may come to
_LEAST = 1e-12  # a gain, before its logarithm is taken


class KnowledgeGradient(PosteriorAcquisition):
    """Knowledge gradient for continuous parameters: the gain in the best posterior mean.

    The value of a configuration x is ``E[max over A of the mean, after a trial of x] - max over A
    of the mean``, A being the evaluated configurations that may be the best, the pending ones, and
    x. It differs from the expected improvement where values are noisy: a trial that says much about
    others is worth it, though its own value may not be the best.

    A trial of x moves the means of all of A along one standard normal variable, so that there is
    nothing to optimise inside, as in BoTorch's one-shot ``qKnowledgeGradient``; this works as well
    for choices and conditions and takes hardly longer than an expected improvement. Pending trials
    count as information that is to come. The logarithm is what is returned.

    Sources: P. Frazier, W. Powell and S. Dayanik (2009), "The Knowledge-Gradient Policy for
    Correlated Normal Beliefs", equations 10 to 13; W. Scott, P. Frazier and W. Powell (2011), "The
    Correlated Knowledge Gradient for Simulation Optimization of Continuous Parameters using
    Gaussian Process Regression", for the set A.
    """

    _samples = 1
    _most_contenders = 16

    def __init__(self, model: SingleTaskGP, **known: Any) -> None:
        self._noise = model.likelihood.noise.detach().median()
        middles = (torch.arange(_NODES, dtype=torch.double) + 0.5) / _NODES
        self._nodes = torch.special.ndtri(middles)
        super().__init__(model, **known)

    def __call__(self, X: Tensor) -> Tensor:
        """``(...)`` values of ``(..., d)`` configurations."""
        cross = self._whitened(X)
        mean = (self._posterior.mean + cross @ self._targets).squeeze(-1)
        variance = (self._kernel.variance - cross.square().sum(-1)).clamp_min(1e-12)
        covariance = self._prior(X) - cross @ self._known_cross.mT
        slopes = torch.cat([covariance, variance[..., None]], dim=-1)
        slopes = slopes / (variance + self._noise).sqrt()[..., None]
        known = self._known_mean.expand(*mean.shape, -1)
        means = torch.cat([known, mean[..., None]], dim=-1)
        after = (means[..., None] + slopes[..., None] * self._nodes).max(dim=-2).values
        gain = after.mean(-1) - means.max(dim=-1).values
        return gain.clamp_min(_LEAST).log() + self._log_chance(X)

    def choose(self, candidates: FloatArray, n: int) -> FloatArray:
        """As for every acquisition; see :meth:`PosteriorAcquisition.choose`."""
        return greedy(self, candidates, n)

    def _anchors(self, evaluated: Tensor) -> Tensor:
        self._best = self._likely_best(evaluated)
        return evaluated[:0]

    def _white(self, mean: Tensor, corner: Tensor) -> Tensor:
        return torch.zeros(1, len(mean), dtype=mean.dtype)  # pending ones move no mean

    def _condition(self) -> None:
        super()._condition()
        self._known = torch.cat([self._best, self._pending])
        configurations = self._known[:, :-1] if self._has_fidelity else self._known
        self._known_cross = self._whitened(configurations)
        self._known_mean = (self._posterior.mean + self._known_cross @ self._targets).squeeze(-1)

    def _prior(self, X: Tensor) -> Tensor:
        """``(..., |A|)`` prior covariances with A, all at full fidelity."""
        k: Tensor = self._kernel.of_configurations(X, self._known)
        if not self._has_fidelity:
            return k
        one = torch.ones(1, dtype=torch.double)
        shared, effect = self._kernel.of_fidelities(one, one)
        return shared + effect * k

    def _value(self, mean: Tensor, variance: Tensor, thresholds: Tensor) -> Tensor:
        raise NotImplementedError  # it takes more than the posterior at x alone
