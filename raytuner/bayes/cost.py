"""Improvement per second, where some configurations cost more than others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from torch import Tensor

from raytuner.bayes.batch import Batched, greedy
from raytuner.bayes.dataset import Dataset
from raytuner.bayes.outcome import standardise
from raytuner.bayes.posterior import Posterior
from raytuner.bayes.surrogate import WarmFit
from raytuner.history import Snapshot
from raytuner.history.snapshot import FloatArray
from raytuner.space import Column

_LEAST = 3  # trials of which the cost must be known
_MOST = 300  # of more, as many from all along the search: each is one of many that say the same


class LogAcquisition(Batched, Protocol):
    """The logarithm of an improvement."""

    is_local: bool

    def choose(self, candidates: FloatArray, n: int) -> FloatArray:
        """The best of some candidates, as :func:`raytuner.bayes.batch.greedy` chooses them."""


class CostModel:
    """A Gaussian process of the logarithm of what a full training costs."""

    def __init__(self) -> None:
        self._fit = WarmFit()

    def __call__(self, snapshot: Snapshot, columns: Sequence[Column]) -> Cost | None:
        """What trials cost; None while too little is known of it.

        Args:
            snapshot: The record, with costs.
            columns: The space's d columns.
        """
        if snapshot.cost is None:
            return None
        known = np.flatnonzero(np.isfinite(snapshot.cost) & (snapshot.cost > 0))
        n = len(known)
        if n < _LEAST:
            return None
        if n > _MOST:
            known = known[np.linspace(0, n - 1, _MOST).round().astype(np.int64)]
        X, raw = snapshot.points[known], np.log(snapshot.cost[known])
        data = Dataset(X, standardise(raw), raw, X, has_fidelity=False, known=n)
        posterior = Posterior(self._fit(data, columns))
        return Cost(posterior, float(raw.mean()), float(raw.std()))

    def state_dict(self) -> dict[str, Any]:
        """What the next fit starts from."""
        return self._fit.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from :meth:`state_dict`."""
        self._fit.load_state_dict(state)


class Cost:
    """What a full training is expected to cost.

    Args:
        posterior: Of the standardised logarithm of costs.
        mean: The mean of that logarithm.
        scale: Its standard deviation.
    """

    def __init__(self, posterior: Posterior, mean: float, scale: float) -> None:
        self._posterior = posterior
        self._mean = mean
        self._scale = scale

    def log(self, X: Tensor) -> Tensor:
        """``(...)`` logarithms at ``(..., d)`` configurations."""
        return self._mean + self._scale * self._posterior.mean_at(X)


class PerCost:
    """The logarithm of an improvement, less that of the cost that is expected.

    Source: J. Snoek, H. Larochelle and R. P. Adams (2012), "Practical Bayesian Optimization of
    Machine Learning Algorithms", section 3.2 (expected improvement per second).

    Args:
        acquisition: The logarithm of an improvement.
        cost: Of a full training.
    """

    def __init__(self, acquisition: LogAcquisition, cost: Cost) -> None:
        self.is_local = acquisition.is_local
        self._acquisition = acquisition
        self._cost = cost

    def __call__(self, X: Tensor) -> Tensor:
        """``(...)`` values of ``(..., d)`` configurations."""
        return self._acquisition(X) - self._cost.log(X)

    def add_pending(self, point: FloatArray) -> None:
        """One more configuration, ``(d,)``, is on its way."""
        self._acquisition.add_pending(point)

    def choose(self, candidates: FloatArray, n: int) -> FloatArray:
        """The best of some candidates; see :func:`raytuner.bayes.batch.greedy`."""
        return greedy(self, candidates, n)
