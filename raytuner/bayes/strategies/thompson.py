"""Thompson sampling: the best configuration of a function drawn from the posterior."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch
from linear_operator.utils.cholesky import psd_safe_cholesky
from scipy.stats import qmc
from torch import Tensor

from raytuner.bayes.acquisition import PosteriorAcquisition
from raytuner.bayes.bayes import BayesProposer
from raytuner.bayes.posterior import Posterior
from raytuner.history.snapshot import FloatArray
from raytuner.space import Space

_WIDE = 256  # configurations over the whole space at which a function is drawn
_NEARBY = 128  # and around the likely best
_SPREAD = 0.1  # their standard deviation, as a share of a column's range
_JITTER = 1e-6


class ThompsonSample(PosteriorAcquisition):
    """One function, drawn from the posterior.

    It is drawn exactly at some hundred configurations. In between it is the mean given these, which
    is smooth and can be climbed. Every proposal takes another function, so a batch is diverse
    without a rule for pending configurations.

    Sources: W. R. Thompson (1933), "On the Likelihood that One Unknown Probability Exceeds Another
    in View of the Evidence of Two Samples"; K. Kandasamy et al. (2018), "Parallelised Bayesian
    Optimisation via Thompson Sampling", for asynchronous workers.

    Args:
        space: The search space.
        posterior: As for `PosteriorAcquisition`, as all that follows.
        **known: See there.
    """

    _samples = 1
    _most_contenders = 16

    def __init__(self, space: Space, posterior: Posterior, **known: Any) -> None:
        self._space = space
        self._rng = np.random.default_rng(known["seed"])
        super().__init__(posterior, **known)

    def add_pending(self, point: FloatArray) -> None:
        """Draw another function for the next proposal."""
        with torch.no_grad():
            self._contenders = self._anchors(self._best)
            self._condition()

    def choose(self, candidates: FloatArray, n: int) -> FloatArray:
        """Choose the best candidates of `n` functions, no candidate twice."""
        with torch.no_grad():
            X = torch.as_tensor(candidates)
            mean, covariance, _ = self._posterior.joint(self._posterior.at_full(X))
            noise = _JITTER * torch.eye(len(X), dtype=covariance.dtype)
            draws = torch.as_tensor(self._rng.normal(size=(n, len(X))))
            mean = self._with_bonus(mean, X)
            functions = (mean + draws @ psd_safe_cholesky(covariance + noise).mT).numpy()
        chosen: list[int] = []
        for function in functions:
            function[chosen] = -np.inf
            chosen.append(int(function.argmax()))
        return candidates[chosen]

    def _anchors(self, evaluated: Tensor) -> Tensor:
        """Choose where the function is drawn."""
        self._best = self._likely_best(evaluated)
        d = self._space.dim
        best = self._best[:, :d].numpy()
        wide = qmc.Sobol(d, scramble=True, rng=self._rng).random(_WIDE)
        near = best[self._rng.integers(len(best), size=_NEARBY)]
        near = np.clip(near + self._rng.normal(scale=_SPREAD, size=near.shape), 0.0, 1.0)
        drawn = np.unique(self._space.snap(np.vstack([best, wide, near])), axis=0)
        return self._posterior.at_full(torch.as_tensor(drawn))

    def _condition(self) -> None:
        self._pending = self._pending[:0]
        super()._condition()

    def _draws(self, mean: Tensor, corner: Tensor) -> Tensor:
        return torch.as_tensor(self._rng.normal(size=(1, len(mean))))

    def _value(self, mean: Tensor, variance: Tensor, thresholds: Tensor) -> Tensor:
        return mean.squeeze(-1)


def thompson(space: Space, seed: int | None = None, **settings: Any) -> BayesProposer:
    """Return a `BayesProposer` that samples functions."""
    return BayesProposer(space, seed, acquisition=partial(ThompsonSample, space), **settings)
