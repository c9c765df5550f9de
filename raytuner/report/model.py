"""The model of a whole study, in the metric's own units, and the importance computed from it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from botorch.models import SingleTaskGP
from gpytorch.distributions import MultivariateNormal
from linear_operator.utils.cholesky import psd_safe_cholesky
from scipy.stats import qmc, sobol_indices

from raytuner.bayes.dataset import Dataset, dataset
from raytuner.bayes.surrogate import FIT_ERRORS, fit, numerics
from raytuner.history import Snapshot
from raytuner.history.snapshot import FloatArray
from raytuner.space import Config, Space

if TYPE_CHECKING:
    import pandas as pd

_SOBOL_POINTS = 2048  # the model predicts them jointly; more cost seconds
_DRAWS = 100


class Prediction(NamedTuple):
    """The prediction for a configuration at full resource, in units of the metric.

    Attributes:
        mean: The predicted mean.
        sd: Standard deviation of the mean, without the noise of a single run.
    """

    mean: float
    sd: float


class Surrogate:
    """A Gaussian process fitted to a record; see `fitted`.

    The model learns transformed values (`raytuner.bayes.dataset`). The transform is affine in the
    better half and monotone everywhere, so it can be inverted. Transformed back, the mean is the
    median of the metric. The standard deviation is half the distance between the points one
    deviation above and below.
    """

    def __init__(self, space: Space, data: Dataset, minimise: bool) -> None:
        self.space = space
        self.rows = len(data)
        self._has_fidelity = data.has_fidelity
        self._sign = -1.0 if minimise else 1.0
        self._z, first = np.unique(data.y, return_index=True)
        self._raw = data.raw[first]
        # The better half was only shifted and scaled: beyond the best, extrapolate linearly.
        middle = len(self._z) // 2
        rise, run = self._raw[-1] - self._raw[middle], self._z[-1] - self._z[middle]
        self._slope = rise / run if run > 0 else float(np.abs(self._raw).max() or 1.0)
        with numerics():
            self._model: SingleTaskGP = fit(data, space.columns)

    def predict(self, points: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return mean and standard deviation at full resource of `k x d`-dim points, `k`-dim."""
        with torch.no_grad(), numerics():
            law = self._law(points)
            mean, sd = law.mean.numpy(), law.variance.clamp_min(0).sqrt().numpy()
        up, down = self._to_metric(mean + sd), self._to_metric(mean - sd)
        return self._to_metric(mean), np.abs(up - down) / 2

    def predict_config(self, config: Config) -> Prediction:
        """Return the prediction for one configuration; constants may be left out."""
        self.space.validate(config)
        mean, sd = self.predict(self.space.encode([config]))
        return Prediction(float(mean[0]), float(sd[0]))

    def draws(self, points: FloatArray, n: int, seed: int) -> FloatArray:
        """Return joint `n x k`-dim draws from the posterior, on the model's transformed scale.

        On this scale larger is better, and a few very bad values do not dominate.
        """
        with torch.no_grad(), numerics():
            law = self._law(points)
            root = psd_safe_cholesky(law.covariance_matrix).numpy()
            mean = law.mean.numpy()
        normal = np.random.default_rng(seed).standard_normal((n, len(points)))
        return mean + normal @ root.T

    def _law(self, points: FloatArray) -> MultivariateNormal:
        full = np.ones((len(points), int(self._has_fidelity)))
        X = torch.as_tensor(np.hstack([points, full]), dtype=torch.double)
        posterior: Any = self._model.posterior(X)
        return posterior.mvn

    def _to_metric(self, z: FloatArray) -> FloatArray:
        inside = np.interp(z, self._z, self._raw)
        outside = z - np.clip(z, self._z[0], self._z[-1])
        return self._sign * (inside + outside * self._slope)


def fitted(space: Space, snapshot: Snapshot, minimise: bool) -> Surrogate | None:
    """Return the model; None if fewer than two configurations have a value or the fit fails."""
    data = dataset(snapshot)
    if len(data.evaluated) < 2:
        return None
    try:
        return Surrogate(space, data, minimise)
    except (ValueError, *FIT_ERRORS):
        return None


def importance(surrogate: Surrogate, seed: int = 0) -> pd.DataFrame:
    """Return the Sobol indices of the hyperparameters, the most important first.

    `main` is the share of the objective's variance that a hyperparameter explains alone. `total`
    includes all its interactions. The variance is over the search space's distribution, at full
    resource, on the model's transformed scale.

    The 90 % intervals cover both the uncertainty of the model and the error of the integration:
    each posterior draw uses its own bootstrap sample of the points.

    Source: L. Le Gratiet, C. Cannamela, B. Iooss (2014), "A Bayesian approach for global
    sensitivity analysis of (multifidelity) computer codes", SIAM/ASA JUQ 2, 336-363. The estimators
    are SciPy's (A. Saltelli et al. 2010).

    Returns:
        A row for each hyperparameter, indexed by name. Columns: the medians `main` and `total`, and
        the ends of their intervals `main_low`, `main_high`, `total_low`, `total_high`.
    """
    import pandas as pd

    space = surrogate.space
    d = space.dim
    n = max(2 ** int(np.log2(_SOBOL_POINTS / (d + 2))), 16)
    A, B = np.hsplit(qmc.Sobol(2 * d, seed=seed).random(n), 2)
    # AB_i is A with column i of B.
    mixed = [np.where(np.arange(d) == i, B, A) for i in range(d)]
    points = space.snap(np.vstack([A, B, *mixed]))
    values = surrogate.draws(points, _DRAWS, seed).reshape(_DRAWS, d + 2, n)
    sample = np.random.default_rng(seed).integers(n, size=(_DRAWS, 1, n))
    values = np.take_along_axis(values, sample, axis=2)
    f_A, f_B, f_AB = values[:, 0], values[:, 1], np.moveaxis(values[:, 2:], 1, 0)
    found = sobol_indices(func={"f_A": f_A, "f_B": f_B, "f_AB": f_AB}, n=n)
    frame = pd.DataFrame(index=pd.Index([c.name for c in space.columns], name="hyperparameter"))
    for name, indices in (("main", found.first_order), ("total", found.total_order)):
        low, middle, high = np.quantile(np.clip(indices, 0, 1), [0.05, 0.5, 0.95], axis=0)
        frame[name], frame[f"{name}_low"], frame[f"{name}_high"] = middle, low, high
    return frame.sort_values("total", ascending=False)
