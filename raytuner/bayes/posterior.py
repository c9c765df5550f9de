"""The posterior of fitted surrogates at any configurations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from botorch.models import SingleTaskGP
from botorch.sampling.qmc import NormalQMCEngine
from linear_operator.utils.cholesky import psd_safe_cholesky
from torch import Tensor

from raytuner.history.snapshot import FloatArray, IntArray

_JITTER = 1e-8


class Posterior:
    """The posterior of a fitted surrogate at any inputs.

    It factorises the rows once. Acquisition functions need the factors too, and for a few hundred
    rows most of a library posterior's time goes into its layers.

    Args:
        model: The surrogate of n rows.

    Attributes:
        has_fidelity: Whether the last input is the fidelity.
        kernel: Its kernel.
        mean: Its constant mean, a scalar.
        X: `(n, d)` inputs.
        y: `(n,)` targets minus the mean.
        L: `(n, n)` lower Cholesky factor of the covariance of `y`.
        white_y: `(n, 1)` inverse of `L` times `y`.
        noise: Variance of one more observation, a scalar: the rows' median.
    """

    def __init__(self, model: SingleTaskGP) -> None:
        with torch.no_grad():
            self.kernel = model.covar_module
            self.has_fidelity: bool = self.kernel.has_fidelity
            self.mean = model.mean_module.constant.detach()
            self.X = model.train_inputs[0]
            self.y = model.train_targets - self.mean
            noise = model.likelihood.noise.detach()
            self.noise = noise.median()
            K = self.covariance(self.X, self.X)
            self.L = psd_safe_cholesky(K + noise * torch.eye(len(K), dtype=K.dtype))
            self.white_y = torch.linalg.solve_triangular(self.L, self.y[:, None], upper=False)

    def at_full(self, X: Tensor) -> Tensor:
        """Return `(..., d)` configurations as inputs of the model, at full fidelity."""
        return torch.cat([X, torch.ones_like(X[..., :1])], dim=-1) if self.has_fidelity else X

    def means(self, Z: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean at `(m, d)` inputs, `(m,)`, and their whitened covariances, `(n, m)`."""
        cross = torch.linalg.solve_triangular(self.L, self.covariance(self.X, Z), upper=False)
        return self.mean + (cross.mT @ self.white_y).squeeze(-1), cross

    def joint(self, Z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """As `means`, with the covariance, `(m, m)`, noise left out, between the two."""
        mean, cross = self.means(Z)
        return mean, self.covariance(Z, Z) - cross.mT @ cross, cross

    def mean_at(self, Z: Tensor) -> Tensor:
        """Return the `(...)` means at `(..., d)` inputs, differentiable in them."""
        return self.mean + self.covariance(Z, self.X) @ self._weights

    def covariance(self, X1: Tensor, X2: Tensor) -> Tensor:
        """Return the prior covariance."""
        covariance: Tensor = self.kernel.forward(X1, X2)
        return covariance

    @cached_property
    def _weights(self) -> Tensor:
        with torch.no_grad():
            return torch.linalg.solve_triangular(self.L.mT, self.white_y, upper=True).squeeze(-1)


@dataclass(frozen=True)
class Models:
    """The posteriors of all outcomes.

    Attributes:
        objective: Of the objective, larger is better.
        constraints: Of each outcome constraint's slack, 0 or more within its bound.
    """

    objective: Posterior
    constraints: tuple[Posterior, ...] = ()

    @torch.no_grad()
    def order(self, points: FloatArray) -> IntArray:
        """Sort the rows of `(k, d)` configurations by their means at full fidelity, best first.

        Those that satisfy the constraints come first, then those that violate them least.
        """
        Z = self.objective.at_full(torch.as_tensor(points))
        violation = sum(
            (-model.means(Z)[0]).clamp_min(0.0).numpy() for model in self.constraints
        ) + np.zeros(len(Z))
        return np.lexsort((-self.objective.means(Z)[0].numpy(), violation))

    def feasibility(self, seed: int) -> Feasibility | None:
        """Return the probability of feasibility; None without constraints."""
        return Feasibility(self.constraints, seed) if self.constraints else None


class Feasibility:
    """The probability that configurations satisfy all outcome constraints, taken as independent.

    Source: J. Gardner et al. (2014), "Bayesian Optimization with Inequality Constraints", ICML,
    section 3, in logarithms.

    Args:
        posteriors: Of each constraint's slack; 0 or more is within the bound.
        seed: Seed of `draw`.
    """

    def __init__(self, posteriors: Sequence[Posterior], seed: int) -> None:
        self._posteriors = posteriors
        self._seed = seed
        with torch.no_grad():
            # A product with the inverse takes a fraction of the time of a triangular solve.
            self._whiteners = [
                torch.linalg.solve_triangular(
                    one.L, torch.eye(len(one.L), dtype=one.L.dtype), upper=False
                ).mT.contiguous()
                for one in posteriors
            ]

    def __call__(self, Z: Tensor) -> Tensor:
        """Return `(...)` log probabilities of `(..., d)` inputs of the surrogates."""
        total = Z.new_zeros(())
        for posterior, whitener in zip(self._posteriors, self._whiteners, strict=True):
            cross = posterior.covariance(Z, posterior.X) @ whitener
            mean = posterior.mean + cross @ posterior.white_y.squeeze(-1)
            variance = posterior.kernel.variance - cross.square().sum(-1)
            total = total + torch.special.log_ndtr(mean / variance.clamp_min(1e-12).sqrt())
        return total

    def draw(self, Z: Tensor, n: int) -> Tensor:
        """Return `(n, m)` whether each of `(m, d)` inputs satisfies them all, in n joint draws."""
        kept = torch.ones(n, len(Z), dtype=torch.bool)
        if not len(Z):
            return kept
        for number, posterior in enumerate(self._posteriors):
            mean, covariance, _ = posterior.joint(Z)
            root = psd_safe_cholesky(covariance + _JITTER * torch.eye(len(Z), dtype=Z.dtype))
            engine = NormalQMCEngine(len(Z), seed=self._seed + 1 + number, inv_transform=True)
            kept &= mean + engine.draw(n, dtype=torch.double) @ root.mT >= 0
        return kept
