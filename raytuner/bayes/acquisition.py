"""How much a configuration is worth trying next."""

from __future__ import annotations

from collections.abc import Callable

import torch
from botorch.acquisition.logei import qLogNoisyExpectedImprovement
from botorch.models import SingleTaskGP
from botorch.sampling.normal import SobolQMCNormalSampler
from torch import Tensor

from raytuner.history.snapshot import FloatArray

# f(X) with X ``(..., d)`` encoded configurations gives ``(...)`` values, differentiable in X.
Acquisition = Callable[[Tensor], Tensor]

_SAMPLES = 128


class LogExpectedImprovement:
    """Log expected improvement over the incumbent, jointly with the pending configurations.

    qLogNEI: the incumbent is the best of the evaluated configurations under the posterior, so noise
    in their values is integrated out; with a fidelity, it is the best at full fidelity, also of
    configurations that were only seen at a lower one. Pending configurations are part of the batch
    whose best counts, so a configuration near one of them gains little.

    Source: S. Ament et al. (2023), "Unexpected Improvements to Expected Improvement for Bayesian
    Optimization", arXiv:2310.20708.

    Args:
        model: The fitted surrogate.
        evaluated: ``(e, d)`` configurations that have a value, e >= 1.
        pending: ``(p, d)`` configurations without a final value yet.
        has_fidelity: Whether the model has a fidelity as its last input; improvement is at 1.
        seed: Seed of the quasi-random posterior samples.
    """

    def __init__(
        self,
        model: SingleTaskGP,
        evaluated: FloatArray,
        pending: FloatArray,
        has_fidelity: bool,
        seed: int,
    ) -> None:
        self._has_fidelity = has_fidelity
        self._pending = self._lift(torch.as_tensor(pending, dtype=torch.double))
        self._acquisition = qLogNoisyExpectedImprovement(
            model,
            X_baseline=self._lift(torch.as_tensor(evaluated, dtype=torch.double)),
            sampler=SobolQMCNormalSampler(torch.Size([_SAMPLES]), seed=seed),
            prune_baseline=True,
            X_pending=self._pending if len(pending) else None,
        )

    def __call__(self, X: Tensor) -> Tensor:
        """``(...)`` values of ``(..., d)`` configurations."""
        value: Tensor = self._acquisition(self._lift(X).unsqueeze(-2))
        return value

    def add_pending(self, point: FloatArray) -> None:
        """One more configuration, ``(d,)``, is on its way: the sequential-greedy batch."""
        lifted = self._lift(torch.as_tensor(point, dtype=torch.double).unsqueeze(0))
        self._pending = torch.cat([self._pending, lifted])
        self._acquisition.set_X_pending(self._pending)

    def _lift(self, X: Tensor) -> Tensor:
        """Put configurations at full fidelity."""
        if not self._has_fidelity:
            return X
        return torch.cat([X, torch.ones_like(X[..., :1])], dim=-1)
