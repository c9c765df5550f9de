"""The surrogate of a whole record, in the metric's own units: what reports and studies ask."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from botorch.models import SingleTaskGP
from linear_operator.utils.cholesky import psd_safe_cholesky

from raytuner.bayes.dataset import Dataset, dataset
from raytuner.bayes.surrogate import FIT_ERRORS, fit, numerics
from raytuner.history import Snapshot
from raytuner.history.snapshot import FloatArray
from raytuner.space import Column, Config, Space


class Prediction(NamedTuple):
    """What the model expects of a configuration trained in full.

    Attributes:
        mean: The metric, in its own units.
        sd: Standard deviation of the metric's expected value, noise of a single run left out.
    """

    mean: float
    sd: float


class Surrogate:
    """A Gaussian process fitted to a record.

    It learns transformed values (:mod:`raytuner.bayes.dataset`). The transform is affine in the
    better half and monotone everywhere, so its inverse gives back the metric: the mean is the
    median of the metric, the standard deviation half of what lies between a deviation up and down.

    Args:
        space: The search space, d columns.
        snapshot: The record.
        minimise: Whether small values of the metric are good.

    Raises:
        ValueError: The record says too little (see :func:`fitted`).
    """

    def __init__(self, space: Space, snapshot: Snapshot, minimise: bool) -> None:
        self.space = space
        data = dataset(snapshot)
        if len(data.evaluated) < 2 or len(data) < 2:
            raise ValueError(f"{len(data.evaluated)} evaluated configurations")
        self.rows = len(data)
        self._has_fidelity = data.has_fidelity
        self._to_metric = _Inverse(data, -1.0 if minimise else 1.0)
        with numerics():
            self._model: SingleTaskGP = fit(data, space.columns)

    @property
    def columns(self) -> Sequence[Column]:
        """The space's d columns."""
        return self.space.columns

    def predict(self, points: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Mean and standard deviation of the metric at full resource.

        Args:
            points: ``(k, d)`` encoded configurations.

        Returns:
            Two arrays ``(k,)`` in the metric's units.
        """
        mean, sd = self._moments(points)
        up, down = self._to_metric(mean + sd), self._to_metric(mean - sd)
        return self._to_metric(mean), np.abs(up - down) / 2

    def predict_config(self, config: Config) -> Prediction:
        """The prediction for one configuration (constants may be left out)."""
        self.space.validate(config)
        mean, sd = self.predict(self.space.encode([config]))
        return Prediction(float(mean[0]), float(sd[0]))

    def draws(self, points: FloatArray, n: int, seed: int) -> FloatArray:
        """Joint draws of the objective from the posterior, ``(n, k)``.

        They are on the model's own scale, on which larger is better and a few awful values do not
        outweigh all others.
        """
        with torch.no_grad(), numerics():
            posterior: Any = self._model.posterior(self._input(points))
            law = posterior.mvn
            root = psd_safe_cholesky(law.covariance_matrix).numpy()
            mean = law.mean.numpy()
        normal = np.random.default_rng(seed).standard_normal((n, len(points)))
        return mean + normal @ root.T

    def _moments(self, points: FloatArray) -> tuple[FloatArray, FloatArray]:
        means, sds = [], []
        with torch.no_grad(), numerics():
            for part in np.array_split(points, max(len(points) // 500, 1)):
                law = self._model.posterior(self._input(part))
                means.append(law.mean.squeeze(-1).numpy())
                sds.append(law.variance.squeeze(-1).clamp_min(0).sqrt().numpy())
        return np.concatenate(means), np.concatenate(sds)

    def _input(self, points: FloatArray) -> torch.Tensor:
        full = np.ones((len(points), 1))
        X = np.hstack([points, full]) if self._has_fidelity else np.array(points)
        return torch.as_tensor(X, dtype=torch.double)


def fitted(space: Space, snapshot: Snapshot, minimise: bool) -> Surrogate | None:
    """The surrogate; None if fewer than two configurations have a value or no fit is stable."""
    try:
        return Surrogate(space, snapshot, minimise)
    except (ValueError, *FIT_ERRORS):
        return None


class _Inverse:
    """From the model's outcomes back to the metric."""

    def __init__(self, data: Dataset, sign: float) -> None:
        self._z, first = np.unique(data.y, return_index=True)
        self._raw = data.raw[first]
        self._sign = sign
        # The better half was only shifted and scaled: beyond the best the line goes on.
        middle = len(self._z) // 2
        rise = self._raw[-1] - self._raw[middle]
        run = self._z[-1] - self._z[middle]
        self._slope = rise / run if run > 0 else float(np.abs(self._raw).max() or 1.0)

    def __call__(self, z: FloatArray) -> FloatArray:
        inside = np.interp(z, self._z, self._raw)
        beyond = np.maximum(z - self._z[-1], 0.0) * self._slope
        below = np.minimum(z - self._z[0], 0.0) * self._slope
        return self._sign * (inside + beyond + below)
