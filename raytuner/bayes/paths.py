"""Functions drawn from a posterior, each of which can be evaluated anywhere."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from raytuner.bayes.acquisition import Acquisition
from raytuner.bayes.surrogate import Posterior

_FEATURES = 1024


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
        extra: A term to add to all of them, at `(..., d)` configurations; None: 0.
    """

    def __init__(
        self,
        posterior: Posterior,
        n: int,
        rng: np.random.Generator,
        extra: Acquisition | None = None,
    ) -> None:
        self.n = n
        self._posterior = posterior
        self._extra = extra
        with torch.no_grad():
            self._features, sizes = posterior.kernel.features(_FEATURES, rng)
            prior = self._features(posterior.X)
            self._weights = torch.as_tensor(rng.normal(size=(len(sizes), n))) * sizes[:, None]
            noise = torch.as_tensor(rng.normal(size=(len(prior), n)))
            noise = noise * posterior.noises.sqrt()[:, None]
            missing = posterior.y[:, None] - prior @ self._weights - noise
            self._updates = torch.cholesky_solve(missing, posterior.L)

    def everywhere(self, X: Tensor) -> Tensor:
        """Return `(c, n)` values of all functions at `(c, d)` configurations."""
        Z = self._posterior.at_full(X)
        found = self._features(Z) @ self._weights + self._kernel(Z) @ self._updates
        return found + self._shared(X)[:, None]

    def own(self, X: Tensor) -> Tensor:
        """Return `(n k,)` values at `(n k, d)` points: each function's at its own k in turn."""
        Z = self._posterior.at_full(X)
        prior = self._features(Z).reshape(self.n, -1, len(self._weights))
        found = (prior @ self._weights.mT[..., None]).flatten()
        update = self._kernel(Z).reshape(self.n, -1, len(self._updates))
        found = found + (update @ self._updates.mT[..., None]).flatten()
        return found + self._shared(X)

    def _kernel(self, Z: Tensor) -> Tensor:
        found: Tensor = self._posterior.kernel.forward(Z, self._posterior.X)
        return found

    def _shared(self, X: Tensor) -> Tensor:
        mean = self._posterior.mean.expand(len(X))
        return mean if self._extra is None else mean + self._extra(X)
