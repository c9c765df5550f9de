"""Functions drawn from a posterior, each of which can be evaluated anywhere."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from raytuner.bayes.acquisition import Acquisition
from raytuner.bayes.surrogate import Posterior
from raytuner.history.snapshot import FloatArray

_FEATURES = 1024
# A gain, in standard deviations of all values. Below it, the logarithm continues as its tangent, so
# gradient ascent works from any point.
_LEAST_GAIN = 1e-2


class SamplePaths:
    """Functions drawn from a posterior, each of which can be evaluated anywhere.

    The best configuration of each is a proposal (Thompson sampling). A batch is diverse because the
    functions differ, so pending trials need not be known.

    A function of the prior is a sum of random features. A correction for its residuals at the rows
    (minus drawn noise) turns it into a function of the posterior.

    Sources: W. R. Thompson (1933), "On the Likelihood that One Unknown Probability Exceeds Another
    in View of the Evidence of Two Samples"; K. Kandasamy et al. (2018), "Parallelised Bayesian
    Optimisation via Thompson Sampling", for asynchronous workers; J. Wilson et al. (2020),
    "Efficiently Sampling Functions from Gaussian Process Posteriors", arXiv:2002.09309, equation
    13, for the functions (Matheron's rule).

    Args:
        posterior: The posterior of the surrogate with m rows. All values are at full fidelity.
        n: Number of functions.
        rng: Source of the functions.
        trend: A term to add to the model's outputs, as a function of its inputs; None: 0.
        extra: A term to add to all values, at `(..., d)` configurations; None: 0.
        over: If given, `(e, d)` configurations: the values are logarithms of each function's gain
            over its best value at these. `extra` can then be minus the logarithm of a cost.
    """

    def __init__(
        self,
        posterior: Posterior,
        n: int,
        rng: np.random.Generator,
        *,
        trend: Acquisition | None = None,
        extra: Acquisition | None = None,
        over: FloatArray | None = None,
    ) -> None:
        self.n = n
        self._posterior = posterior
        self._trend = trend
        self._extra = extra
        with torch.no_grad():
            self._features, sizes = posterior.kernel.features(_FEATURES, rng)
            prior = self._features(posterior.X)
            self._weights = torch.as_tensor(rng.normal(size=(len(sizes), n))) * sizes[:, None]
            noise = torch.as_tensor(rng.normal(size=(len(prior), n)))
            noise = noise * posterior.noises.sqrt()[:, None]
            missing = posterior.y[:, None] - prior @ self._weights - noise
            self._updates = torch.cholesky_solve(missing, posterior.L)
            self._best: Tensor | None = None
            if over is not None:
                self._best = self._functions(torch.as_tensor(over)).amax(dim=1, keepdim=True)

    def everywhere(self, X: Tensor) -> Tensor:
        """Return `(c, n)` values of all functions at `(c, d)` configurations."""
        return self._values(self._functions(X), X).mT

    def own(self, X: Tensor) -> Tensor:
        """Return `(n k,)` values at `(n k, d)` points: each function's at its own k in turn."""
        X = X.reshape(self.n, -1, X.shape[-1])
        Z = self._posterior.at_full(X)
        prior = self._features(Z) @ self._weights.mT[..., None]
        update = self._kernel(Z) @ self._updates.mT[..., None]
        return self._values(self._with_trend((prior + update).squeeze(-1), Z), X).flatten()

    def _functions(self, X: Tensor) -> Tensor:
        """`(n, c)` drawn functions at `(c, d)` configurations."""
        Z = self._posterior.at_full(X)
        found = self._features(Z) @ self._weights + self._kernel(Z) @ self._updates
        return self._with_trend(found.mT, Z)

    def _with_trend(self, found: Tensor, Z: Tensor) -> Tensor:
        found = found + self._posterior.mean
        return found if self._trend is None else found + self._trend(Z)

    def _values(self, found: Tensor, X: Tensor) -> Tensor:
        """`(n, k)` values, given `(n, k)` drawn functions at `(..., k, d)` configurations."""
        if self._best is not None:
            found = _log_gain(found - self._best)
        return found if self._extra is None else found + self._extra(X)

    def _kernel(self, Z: Tensor) -> Tensor:
        found: Tensor = self._posterior.kernel.forward(Z, self._posterior.X)
        return found


def _log_gain(gain: Tensor) -> Tensor:
    line = gain.clamp_max(_LEAST_GAIN) / _LEAST_GAIN - 1
    return gain.clamp_min(_LEAST_GAIN).log() + line
