"""What the surrogate says of configurations, given its rows."""

from __future__ import annotations

from functools import cached_property

import torch
from botorch.models import SingleTaskGP
from linear_operator.utils.cholesky import psd_safe_cholesky
from torch import Tensor


class Posterior:
    """The posterior of a fitted surrogate at any inputs, its rows factorised once.

    Written out rather than asked of the model: an acquisition function needs the factors too, and
    for some hundred rows most of a library posterior's time goes into its layers.

    Args:
        model: The surrogate of n rows.

    Attributes:
        kernel: Its kernel.
        mean: Its constant mean, a scalar.
        X: ``(n, d)`` its inputs.
        y: ``(n,)`` its targets, less the mean.
        L: ``(n, n)`` lower Cholesky factor of the covariance of ``y``.
        white_y: ``(n, 1)`` targets by the inverse of ``L``.
        noise: Variance of one more observation, a scalar: the rows' median.
    """

    def __init__(self, model: SingleTaskGP) -> None:
        with torch.no_grad():
            self.kernel = model.covar_module
            self.mean = model.mean_module.constant.detach()
            self.X = model.train_inputs[0]
            self.y = model.train_targets - self.mean
            noise = model.likelihood.noise.detach()
            K = self.covariance(self.X, self.X)
            self.noise = noise.median()
            self.L = psd_safe_cholesky(K + noise * torch.eye(len(K), dtype=K.dtype))
            self.white_y = self._whiten(self.y[:, None])

    def means(self, Z: Tensor) -> tuple[Tensor, Tensor]:
        """The mean at ``(m, d)`` inputs, ``(m,)``, and their whitened covariances, ``(n, m)``."""
        cross = self._whiten(self.covariance(self.X, Z))
        return self.mean + (cross.mT @ self.white_y).squeeze(-1), cross

    def mean_at(self, Z: Tensor) -> Tensor:
        """``(...)`` means at ``(..., d)`` inputs, differentiable in them."""
        return self.mean + self.covariance(Z, self.X) @ self._weights

    def joint(self, Z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """As :meth:`means`, and between the two the covariance, ``(m, m)``, noise left out."""
        mean, cross = self.means(Z)
        return mean, self.covariance(Z, Z) - cross.mT @ cross, cross

    def covariance(self, X1: Tensor, X2: Tensor) -> Tensor:
        """The prior's."""
        covariance: Tensor = self.kernel.forward(X1, X2)
        return covariance

    @cached_property
    def _weights(self) -> Tensor:
        """``(n,)`` what a covariance with each row adds to the mean."""
        with torch.no_grad():
            weights = torch.linalg.solve_triangular(self.L.mT, self.white_y, upper=True)
            return weights.squeeze(-1)

    def _whiten(self, columns: Tensor) -> Tensor:
        return torch.linalg.solve_triangular(self.L, columns, upper=False)
