"""A model of the cost of a full training, learned from the trials."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from raytuner.bayes.acquisition import Acquisition
from raytuner.bayes.dataset import Dataset, standardise
from raytuner.bayes.posterior import Posterior
from raytuner.bayes.surrogate import WarmFit
from raytuner.history import Snapshot
from raytuner.space import Column

_LEAST = 3  # trials whose cost must be known
_MOST = 300  # of more trials, this many from all along the search


class Cost:
    """The expected cost of a full training: a Gaussian process of its logarithm.

    Args:
        posterior: Of the standardised logarithm of costs.
        mean: The mean of that logarithm.
        scale: Its standard deviation.
    """

    def __init__(self, posterior: Posterior, mean: float, scale: float) -> None:
        self.posterior = posterior
        self._mean = mean
        self._scale = scale

    def log(self, X: Tensor) -> Tensor:
        """Return `(...)` logarithms at `(..., d)` configurations."""
        return self._mean + self._scale * self.posterior.mean_at(X)

    def subtracted_from(self, bonus: Acquisition | None) -> Acquisition:
        """Return an acquisition function's bonus minus the log cost."""
        return lambda X: -self.log(X) if bonus is None else bonus(X) - self.log(X)


def fit_cost(snapshot: Snapshot, columns: Sequence[Column], fit: WarmFit) -> Cost | None:
    """Fit the costs of a record; None while too few are known.

    Args:
        snapshot: The record, with costs.
        columns: The space's d columns.
        fit: Where the last fit ended.
    """
    assert snapshot.cost is not None
    known = np.flatnonzero(np.isfinite(snapshot.cost) & (snapshot.cost > 0))
    n = len(known)
    if n < _LEAST:
        return None
    if n > _MOST:
        known = known[np.linspace(0, n - 1, _MOST).round().astype(np.int64)]
    X, raw = snapshot.points[known], np.log(snapshot.cost[known])
    data = Dataset(X, standardise(raw), raw, X, has_fidelity=False, known=n)
    return Cost(fit(data, columns), float(raw.mean()), float(raw.std()))
