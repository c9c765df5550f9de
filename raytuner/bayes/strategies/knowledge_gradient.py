"""The knowledge gradient: how much one more trial is expected to raise the best known mean."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from raytuner.bayes.acquisition import PosteriorAcquisition
from raytuner.bayes.posterior import Posterior
from raytuner.history.snapshot import FloatArray

_NODES = 32  # of the quadrature over the trial's value
_LEAST = 1e-12  # a gain, before its logarithm is taken


class KnowledgeGradient(PosteriorAcquisition):
    """Log knowledge gradient for continuous parameters: the gain in the best posterior mean.

    The value of a configuration x is `E[max over A of the mean, after a trial of x] - max over A
    of the mean`, where A are the evaluated configurations that may be the best, the pending ones,
    and x. It differs from the expected improvement where values are noisy: a trial that says much
    about others is worth it, though its own value may not be the best.

    A trial of x moves the means of all of A along one standard normal variable, so there is no
    inner optimisation, as in BoTorch's one-shot `qKnowledgeGradient`. This works as well for
    choices and conditions and takes hardly longer than an expected improvement. Pending trials
    count as information to come.

    Sources: P. Frazier, W. Powell and S. Dayanik (2009), "The Knowledge-Gradient Policy for
    Correlated Normal Beliefs", equations 10 to 13; W. Scott, P. Frazier and W. Powell (2011), "The
    Correlated Knowledge Gradient for Simulation Optimization of Continuous Parameters using
    Gaussian Process Regression", for the set A.
    """

    _samples = 1
    _most_contenders = 16

    def __init__(self, posterior: Posterior, **known: Any) -> None:
        middles = (torch.arange(_NODES, dtype=torch.double) + 0.5) / _NODES
        self._nodes = torch.special.ndtri(middles)
        super().__init__(posterior, **known)

    def __call__(self, X: Tensor) -> Tensor:
        """Return the `(...)` values of `(..., d)` configurations."""
        cross, mean, variance = self._moments(X)
        variance = variance.clamp_min(1e-12)
        covariance = self._prior(X) - cross @ self._known_cross.mT
        slopes = torch.cat([covariance, variance[..., None]], dim=-1)
        slopes = slopes / (variance + self._posterior.noise).sqrt()[..., None]
        known = self._known_mean.expand(*mean.shape[:-1], -1)
        means = torch.cat([known, mean], dim=-1)
        after = (means[..., None] + slopes[..., None] * self._nodes).max(dim=-2).values
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
        self._best = self._likely_best(evaluated)
        return evaluated[:0]

    def _draws(self, mean: Tensor, corner: Tensor) -> Tensor:
        return torch.zeros(1, len(mean), dtype=mean.dtype)  # pending ones move no mean

    def _condition(self) -> None:
        super()._condition()
        self._known = torch.cat([self._best, self._pending])
        has_fidelity = self._posterior.has_fidelity
        self._known_cross, mean, _ = self._moments(
            self._known[:, :-1] if has_fidelity else self._known
        )
        self._known_mean = mean.squeeze(-1)

    def _prior(self, X: Tensor) -> Tensor:
        """`(..., |A|)` prior covariances with A, all at full fidelity."""
        k: Tensor = self._kernel.of_configurations(X, self._known)
        if not self._posterior.has_fidelity:
            return k
        one = torch.ones(1, dtype=torch.double)
        shared, effect = self._kernel.of_fidelities(one, one)
        return shared + effect * k

    def _value(self, mean: Tensor, variance: Tensor, thresholds: Tensor) -> Tensor:
        raise NotImplementedError  # it takes more than the posterior at x alone
