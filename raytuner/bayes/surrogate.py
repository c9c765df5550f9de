"""The Gaussian process of an outcome: how it is fitted, and its posterior."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from typing import Any

import numpy as np
import torch
from botorch.exceptions.errors import ModelFittingError
from botorch.fit import fit_gpytorch_mll
from botorch.models import SingleTaskGP
from gpytorch.constraints import GreaterThan
from gpytorch.likelihoods import FixedNoiseGaussianLikelihood, GaussianLikelihood
from gpytorch.mlls import ExactMarginalLogLikelihood
from gpytorch.priors import LogNormalPrior
from linear_operator.utils.cholesky import psd_safe_cholesky
from linear_operator.utils.errors import NanError, NotPSDError
from linear_operator.utils.warnings import NumericalWarning
from threadpoolctl import ThreadpoolController
from torch import Tensor
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from raytuner.bayes.dataset import Dataset, dataset, standardise
from raytuner.bayes.kernel import ConfigurationKernel
from raytuner.history import Snapshot
from raytuner.history.snapshot import FloatArray, IntArray
from raytuner.space import Column

# The errors of a fit without a stable optimum.
FIT_ERRORS = (ModelFittingError, NotPSDError, NanError)

_LEAST_NOISE = 1e-6  # variance, of objectives with variance 1
_MAX_STEPS_COLD = 100
_MAX_STEPS_WARM = 30
_ENOUGH = {"ftol": 1e-8, "gtol": 1e-5}  # of a loss per row; further digits change no proposal
# A few hundred rows determine a dozen hyperparameters well, and a fit's step costs the cube of
# the number of rows. Predictions use all rows.
_FIT_ROWS = 300
# Up to this many values, every new value leads to a new fit. After that, a tenth more does.
_FEW_ROWS = 50
_LEAST_COSTS = 3  # trials whose cost must be known
_MOST_COSTS = 300  # of more trials, this many from all along the search


class Posterior:
    """The posterior of a fitted surrogate of n rows at any inputs.

    It factorises the rows once. Acquisition functions need the factors too, and for a few hundred
    rows most of a library posterior's time goes into its layers.
    """

    def __init__(
        self,
        kernel: ConfigurationKernel,
        mean: Tensor,
        noise: Tensor,
        rows: tuple[Tensor, Tensor, Tensor],
    ) -> None:
        """Condition the prior of this kernel and constant mean on rows.

        The rows are `(n, d)` inputs, `(n,)` outputs and the `(n,)` known parts of their noise
        variances; `noise` is the unknown part.
        """
        self.kernel = kernel
        self.has_fidelity: bool = kernel.has_fidelity  # then it is the last input
        self.mean = mean
        self._noise = noise
        with torch.no_grad():
            self.X, y, reported = rows  # (n, d)
            self.y = y - mean  # (n,)
            self.noises = reported + noise  # (n,) the variance of each observation
            self.noise = self.noises.median()  # and of one more
            K = kernel.forward(self.X, self.X)
            # (n, n) the lower Cholesky factor of the covariance of y, (n, 1) its inverse times y
            self.L = psd_safe_cholesky(K + self.noises.diag_embed())
            self.white_y = torch.linalg.solve_triangular(self.L, self.y[:, None], upper=False)

    @classmethod
    def of(cls, model: SingleTaskGP, data: Dataset | None = None) -> Posterior:
        """Return the posterior of a model, given the rows of `data`; None: those that it has."""
        gp: Any = model  # GPyTorch's attributes are untyped
        noise = own = gp.likelihood.noise.detach()
        if isinstance(gp.likelihood, FixedNoiseGaussianLikelihood):
            own = gp.likelihood.second_noise.detach()
        y = gp.train_targets
        rows = (gp.train_inputs[0], y, (noise - own).expand_as(y)) if data is None else _rows(data)
        return cls(gp.covar_module, gp.mean_module.constant.detach(), own, rows)

    def given(self, data: Dataset) -> Posterior:
        """Return the posterior with the same hyperparameters, given other rows."""
        return Posterior(self.kernel, self.mean, self._noise, _rows(data))

    def at_full(self, X: Tensor) -> Tensor:
        """Return `(..., d)` configurations as inputs of the model, at full fidelity."""
        return torch.cat([X, torch.ones_like(X[..., :1])], dim=-1) if self.has_fidelity else X

    def means(self, Z: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean at `(m, d)` inputs, `(m,)`, and their whitened covariances, `(n, m)`."""
        cross = torch.linalg.solve_triangular(self.L, self.kernel.forward(self.X, Z), upper=False)
        return self.mean + (cross.mT @ self.white_y).squeeze(-1), cross

    def joint(self, Z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """As `means`, with the covariance, `(m, m)`, noise left out, between the two."""
        mean, cross = self.means(Z)
        return mean, self.kernel.forward(Z, Z) - cross.mT @ cross, cross

    def laws(self, Z: Tensor) -> tuple[Tensor, Tensor]:
        """Return means and standard deviations at `(m, d)` inputs, both `(m,)`."""
        mean, cross = self.means(Z)
        return mean, (self.kernel.variance - cross.square().sum(0)).clamp_min(0.0).sqrt()

    def mean_at(self, Z: Tensor) -> Tensor:
        """Return the `(...)` means at `(..., d)` inputs, differentiable in them."""
        found: Tensor = self.mean + self.kernel.forward(Z, self.X) @ self._weights
        return found

    @cached_property
    def _weights(self) -> Tensor:
        with torch.no_grad():
            return torch.linalg.solve_triangular(self.L.mT, self.white_y, upper=True).squeeze(-1)


def _rows(data: Dataset) -> tuple[Tensor, Tensor, Tensor]:
    """Inputs, outputs and the known parts of their noise variances; see `Posterior`."""
    X, y = (torch.as_tensor(part, dtype=torch.double) for part in (data.X, data.y))
    return X, y, torch.zeros_like(y) if data.noise is None else torch.as_tensor(data.noise)


@dataclass(frozen=True)
class Models:
    """The posteriors of all outcomes."""

    objective: Posterior  # larger is better
    constraints: tuple[Posterior, ...] = ()  # of each slack: 0 or more is within the bound

    @torch.no_grad()
    def order(self, points: FloatArray) -> IntArray:
        """Sort the rows of `(k, d)` configurations by their means at full fidelity, best first.

        Those that satisfy the constraints come first, then those that violate them least.
        """
        Z = self.objective.at_full(torch.as_tensor(points))
        violation = np.zeros(len(Z))
        for model in self.constraints:
            violation += (-model.means(Z)[0]).clamp_min(0.0).numpy()
        return np.lexsort((-self.objective.means(Z)[0].numpy(), violation))


@contextmanager
def numerics() -> Iterator[None]:
    """Compute on one thread, since the cores belong to the trials, and without numerical warnings.

    A little jitter on a covariance's diagonal is part of the method.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        # SciPy's L-BFGS-B spends its time waking BLAS threads for vectors of a dozen numbers.
        with _libraries().limit(limits=1, user_api="blas"), warnings.catch_warnings():
            warnings.simplefilter("ignore", NumericalWarning)
            yield
    finally:
        torch.set_num_threads(before)


@lru_cache(maxsize=1)
def _libraries() -> ThreadpoolController:
    """The loaded BLAS libraries; finding them takes milliseconds."""
    return ThreadpoolController()


def fit(
    data: Dataset, columns: Sequence[Column], warm: Sequence[float] | None = None
) -> SingleTaskGP:
    """Fit a Gaussian process to two or more rows in double precision by maximum a posteriori.

    Args:
        data: The rows; the model's outputs are those of `data.y`.
        columns: The space's columns.
        warm: `hyperparameters` of another fit to start from; ignored if of another structure.

    Raises:
        ModelFittingError, NotPSDError, NanError: No stable fit (see `FIT_ERRORS`).
    """
    sample = data.limited(_FIT_ROWS)
    model = make_model(sample, columns)
    steps = _MAX_STEPS_WARM if set_hyperparameters(model, warm) else _MAX_STEPS_COLD
    with warnings.catch_warnings():
        # Reaching the step limit is not a failure: the next fit continues from here.
        warnings.simplefilter("ignore")
        fit_gpytorch_mll(
            ExactMarginalLogLikelihood(model.likelihood, model),
            closure=partial(_loss_and_gradients, model),
            optimizer_kwargs={"options": {"maxiter": steps, **_ENOUGH}},
            max_attempts=3,
        )
    if len(sample) < len(data):
        fitted, model = hyperparameters(model), make_model(data, columns)
        set_hyperparameters(model, fitted)
    model.eval()
    return model


@dataclass
class WarmFit:
    """Fits growing datasets, each starting from the previous fit.

    With many values, one more value hardly changes the hyperparameters. They are fitted again when
    the number of values has changed by a tenth. In between, the model only adds rows. The fields
    are its state, which JSON can hold.
    """

    known: int = 0  # how many values the last fit had to choose from
    hyperparameters: list[float] | None = None  # of the last fit

    def __call__(self, data: Dataset, columns: Sequence[Column]) -> Posterior:
        """Return the posterior of the model of `data`; see `fit`."""
        change = abs(data.known - self.known)
        if change == 0 or (change < self.known / 10 and data.known > _FEW_ROWS):
            model = make_model(data, columns)
            if set_hyperparameters(model, self.hyperparameters):
                model.eval()
                return Posterior.of(model)
        model = fit(data, columns, self.hyperparameters)
        self.known, self.hyperparameters = data.known, hyperparameters(model)
        return Posterior.of(model)


def leave_one_out(posterior: Posterior, trials: FloatArray) -> tuple[Tensor, Tensor]:
    """`(n,)` means and standard deviations of each row's value given the rows of other trials.

    Source: C. Rasmussen and C. Williams (2006), "Gaussian Processes for Machine Learning",
    equations 5.10 to 5.12, for one row; here the rows of one of `(n, d)` `trials` are left out
    together.
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


def fit_outcomes(
    snapshot: Snapshot, data: Dataset, columns: Sequence[Column], fits: dict[str, WarmFit]
) -> Models:
    """Fit the surrogates of the objective, of which `data` is, and of all outcome constraints.

    `fits` holds the warm fit of each outcome by its number; new ones are added as needed.
    """
    posteriors = []
    for j in range(snapshot.outcomes.shape[1]):
        rows = dataset(snapshot.of_outcome(j), slack=True) if j else data
        posteriors.append(fits.setdefault(str(j), WarmFit())(rows, columns))
    return Models(posteriors[0], tuple(posteriors[1:]))


def fit_log_cost(
    snapshot: Snapshot, columns: Sequence[Column], fit: WarmFit
) -> Callable[[Tensor], Tensor] | None:
    """Fit a Gaussian process to the logarithm of the cost of full trainings.

    Returns:
        A function that returns `(...)` logarithms at `(..., d)` configurations; None while fewer
        than three costs are known.
    """
    assert snapshot.cost is not None
    known = np.flatnonzero(np.isfinite(snapshot.cost) & (snapshot.cost > 0))
    n = len(known)
    if n < _LEAST_COSTS:
        return None
    if n > _MOST_COSTS:
        known = known[np.linspace(0, n - 1, _MOST_COSTS).round().astype(np.int64)]
    X, raw = snapshot.points[known], np.log(snapshot.cost[known])
    posterior = fit(Dataset(X, standardise(raw), raw, X, has_fidelity=False, known=n), columns)
    mean, scale = float(raw.mean()), float(raw.std())
    return lambda X: mean + scale * posterior.mean_at(X)


def make_model(data: Dataset, columns: Sequence[Column]) -> SingleTaskGP:
    """Return the model of `data`; its hyperparameters are at their priors' modes."""
    # Noise of unknown size, almost zero for noiseless objectives. Reported standard errors are
    # added row by row. They cover only noise that a trial observes (over folds, not its own seed).
    prior = LogNormalPrior(-4.0, 1.0)
    unknown: dict[str, Any] = {
        "noise_prior": prior,
        "noise_constraint": GreaterThan(_LEAST_NOISE, transform=None, initial_value=prior.mode),
    }
    if data.noise is None:
        likelihood = GaussianLikelihood(**unknown)
    else:
        reported = torch.as_tensor(data.noise, dtype=torch.double)
        likelihood = FixedNoiseGaussianLikelihood(reported, learn_additional_noise=True, **unknown)
    return SingleTaskGP(
        torch.as_tensor(data.X, dtype=torch.double),
        torch.as_tensor(data.y, dtype=torch.double).unsqueeze(-1),
        covar_module=ConfigurationKernel(columns, data.has_fidelity, data.widths),
        likelihood=likelihood,
        outcome_transform=None,
    )


def _loss_and_gradients(model: SingleTaskGP) -> tuple[Tensor, list[Tensor | None]]:
    """The negative log posterior of the hyperparameters, per row, and its gradients.

    The same as GPyTorch's ExactMarginalLogLikelihood with its priors, without its layers' time.
    """
    gp: Any = model  # GPyTorch's attributes are untyped
    parameters = list(model.parameters())
    for parameter in parameters:
        parameter.grad = None
    X, y = gp.train_inputs[0], gp.train_targets
    n = len(y)
    noise = gp.likelihood.noise * torch.eye(n, dtype=y.dtype)
    L = psd_safe_cholesky(gp.covar_module.forward(X, X) + noise)
    white = torch.linalg.solve_triangular(L, (y - gp.mean_module.constant)[:, None], upper=False)
    loss = 0.5 * white.square().sum() + L.diagonal().log().sum() + 0.5 * n * math.log(2 * math.pi)
    for _, module, prior, value, _ in gp.named_priors():
        loss = loss - prior.log_prob(value(module)).sum()
    loss = loss / n
    loss.backward()
    return loss.detach(), [parameter.grad for parameter in parameters]


def hyperparameters(model: SingleTaskGP) -> list[float]:
    """Return the fitted hyperparameters in the order of the model's parameters."""
    values: list[float] = parameters_to_vector(model.parameters()).detach().tolist()
    return values


def set_hyperparameters(model: SingleTaskGP, values: Sequence[float] | None) -> bool:
    """Set the model's hyperparameters if there are as many values; return whether there are."""
    if values is None or len(values) != parameters_to_vector(model.parameters()).numel():
        return False
    vector_to_parameters(torch.tensor(values, dtype=torch.double), model.parameters())
    return True
