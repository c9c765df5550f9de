"""Who ranks the values of a search right: its own model, or another."""

from __future__ import annotations

import numpy as np
import torch
from botorch.models import SingleTaskGP
from torch import Tensor

from raytuner.bayes.dataset import Dataset, telling
from raytuner.bayes.posterior import Posterior
from raytuner.history.snapshot import FloatArray

_SAMPLES = 256
_JUDGED = 100  # rows, at most, whose order decides
_SAME_FIDELITY = 0.02


class Ranking:
    """The order of a search's values, and how its own model does at it, leave-one-out.

    Pairs of rows are compared that are of the same fidelity and have different values.

    Source: M. Feurer, B. Letham and E. Bakshy (2018), arXiv:1802.02219, section 4.

    Args:
        model: The model of ``data`` by itself.
        data: The search's rows, of which the most telling m count.
        columns: d, the number of columns.
        seed: Seed of the samples.

    Attributes:
        X: ``(m, ...)`` inputs of these rows.
        draws: ``(S, m)`` standard normal draws that samples are made of.
        own: ``(S,)`` pairs in the wrong order in samples of the model.
    """

    def __init__(self, model: SingleTaskGP, data: Dataset, columns: int, seed: int) -> None:
        rows = telling(data.y, _JUDGED)
        self._y = torch.as_tensor(data.y[rows])
        s = data.X[rows, -1] if data.has_fidelity else np.ones(len(rows))
        alike = torch.as_tensor(np.abs(s[:, None] - s[None, :]) < _SAME_FIDELITY)
        self._counts = alike & (self._y[:, None] != self._y[None, :])
        generator = torch.Generator().manual_seed(seed)
        self.draws = torch.randn(_SAMPLES, len(rows), generator=generator, dtype=torch.double)
        with torch.no_grad():
            posterior = Posterior(model)
            self.X = posterior.X[rows]
            mean, sd = leave_one_out(posterior, data.X[:, :columns])
            left_out = mean[rows] + sd[rows] * self.draws
        # As a trial is left out, the others have the values that were reported.
        self.own = self._wrong(left_out, self._y.expand_as(left_out))

    def wrong(self, samples: Tensor) -> Tensor:
        """``(S,)`` pairs that ``(S, m)`` samples have in the wrong order."""
        return self._wrong(samples, samples)

    def _wrong(self, one: Tensor, other: Tensor) -> Tensor:
        below = self._y[:, None] < self._y[None, :]
        wrong = (one[:, :, None] < other[:, None, :]) != below
        return (wrong & self._counts).sum(dim=(1, 2)).double()


def leave_one_out(posterior: Posterior, trials: FloatArray) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each row's value given the rows of all other trials.

    Source: C. Rasmussen and C. Williams (2006), "Gaussian Processes for Machine Learning",
    equations 5.10 to 5.12, for one row; here the rows of one learning curve are left out together.

    Args:
        posterior: Of n rows.
        trials: ``(n, d)`` the configuration of each row.

    Returns:
        ``(n,)`` each.
    """
    inverse = torch.cholesky_inverse(posterior.L)
    weights = inverse @ posterior.y
    mean, variance = posterior.y.clone(), torch.ones_like(posterior.y)
    _, of_trial = np.unique(trials, axis=0, return_inverse=True)
    for trial in range(of_trial.max() + 1):
        own = torch.as_tensor(np.flatnonzero(of_trial == trial))
        covariance = torch.linalg.inv(inverse[own[:, None], own])
        mean[own] -= covariance @ weights[own]
        variance[own] = covariance.diagonal()
    return posterior.mean + mean, variance.sqrt()
