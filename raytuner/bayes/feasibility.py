"""Whether configurations will keep the outcome constraints."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from botorch.models import SingleTaskGP
from botorch.sampling.qmc import NormalQMCEngine
from linear_operator.utils.cholesky import psd_safe_cholesky
from torch import Tensor

from raytuner.bayes.posterior import Posterior

_JITTER = 1e-8


class Feasibility:
    """The chance that configurations keep all outcome constraints, these being independent.

    Source: J. Gardner et al. (2014), "Bayesian Optimization with Inequality Constraints", ICML,
    section 3, in logarithms.

    Args:
        models: A surrogate of each constraint's slack; 0 or more is within the bound.
        seed: Seed of what :meth:`draw` draws.
    """

    def __init__(self, models: Sequence[SingleTaskGP], seed: int) -> None:
        self._seed = seed
        with torch.no_grad():
            self._posteriors = [Posterior(model) for model in models]
            # A product with the inverse takes a fraction of a triangular solve.
            self._weights = []
            for posterior in self._posteriors:
                one = torch.eye(len(posterior.L), dtype=posterior.L.dtype)
                white = torch.linalg.solve_triangular(posterior.L, one, upper=False).mT
                self._weights.append((white.contiguous(), posterior.white_y.squeeze(-1)))

    def __call__(self, Z: Tensor) -> Tensor:
        """``(...)`` log chances of ``(..., d)`` inputs of the surrogates."""
        total = Z.new_zeros(())
        for posterior, (whitener, white_y) in zip(self._posteriors, self._weights, strict=True):
            cross = posterior.covariance(Z, posterior.X) @ whitener
            mean = posterior.mean + cross @ white_y
            variance = posterior.kernel.variance - cross.square().sum(-1)
            total = total + torch.special.log_ndtr(mean / variance.clamp_min(1e-12).sqrt())
        return total

    def draw(self, Z: Tensor, n: int) -> Tensor:
        """``(n, m)`` whether each of ``(m, d)`` inputs keeps them all, in n joint draws."""
        kept = torch.ones(n, len(Z), dtype=torch.bool)
        if not len(Z):
            return kept
        for number, posterior in enumerate(self._posteriors):
            mean, covariance, _ = posterior.joint(Z)
            root = psd_safe_cholesky(covariance + _JITTER * torch.eye(len(Z), dtype=Z.dtype))
            engine = NormalQMCEngine(len(Z), seed=self._seed + 1 + number, inv_transform=True)
            kept &= mean + engine.draw(n, dtype=torch.double) @ root.mT >= 0
        return kept
