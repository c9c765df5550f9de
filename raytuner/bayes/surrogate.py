"""The Gaussian process of an outcome, and how it is fitted."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

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
from threadpoolctl import threadpool_limits
from torch import Tensor
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from raytuner.bayes.dataset import Dataset, dataset, most_informative
from raytuner.bayes.kernel import ConfigurationKernel
from raytuner.bayes.posterior import Models, Posterior
from raytuner.history import Snapshot, TrialState
from raytuner.space import Column, Space

# What a fit raises when the data leave it no stable optimum.
FIT_ERRORS = (ModelFittingError, NotPSDError, NanError)

_LEAST_NOISE = 1e-6  # variance, of objectives with variance 1
_MAX_STEPS_COLD = 100
_MAX_STEPS_WARM = 30
_ENOUGH = {"ftol": 1e-8, "gtol": 1e-5}  # of a loss per row; further digits change no proposal
# A dozen hyperparameters are known well from a few hundred rows, and each step of a fit costs the
# cube of their number. Predictions use all rows.
_FIT_ROWS = 300
# Up to this many values every new one leads to a new fit, after that a tenth more.
_FEW_ROWS = 50


@contextmanager
def numerics() -> Iterator[None]:
    """Compute on one thread (the cores belong to the trials), without numerical warnings.

    A little jitter on a covariance's diagonal is part of the method.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        # SciPy's L-BFGS-B spends its time waking BLAS threads for vectors of a dozen numbers.
        with threadpool_limits(1, user_api="blas"), warnings.catch_warnings():
            warnings.simplefilter("ignore", NumericalWarning)
            yield
    finally:
        torch.set_num_threads(before)


def fit(
    data: Dataset, columns: Sequence[Column], warm: Sequence[float] | None = None
) -> SingleTaskGP:
    """Fit a Gaussian process in double precision by maximum a posteriori.

    Args:
        data: n >= 2 rows.
        columns: The space's d columns.
        warm: `hyperparameters` of another fit to start from; ignored if of another structure.

    Returns:
        The model, in evaluation mode; its outputs are those of `data.y`.

    Raises:
        ModelFittingError, NotPSDError, NanError: No stable fit (see `FIT_ERRORS`).
    """
    sample = data.take(most_informative(data.y, _FIT_ROWS))
    model = _model(sample, columns)
    steps = _MAX_STEPS_WARM if _set(model, warm) else _MAX_STEPS_COLD
    with warnings.catch_warnings():
        # Reaching the step limit is no failure: the next fit continues from here.
        warnings.simplefilter("ignore")
        fit_gpytorch_mll(
            ExactMarginalLogLikelihood(model.likelihood, model),
            closure=partial(_loss_and_gradients, model),
            optimizer_kwargs={"options": {"maxiter": steps, **_ENOUGH}},
            max_attempts=3,
        )
    if len(sample) < len(data):
        fitted, model = hyperparameters(model), _model(data, columns)
        _set(model, fitted)
    model.eval()
    return model


@dataclass
class WarmFit:
    """Fits growing datasets, each from where the previous fit ended, as often as it pays.

    Where much is known, one more value hardly moves the hyperparameters. They are fitted again when
    the number of values has changed by a tenth; in between the model takes in new rows only.

    Attributes:
        known: How many values the last fit had to choose from.
        hyperparameters: Those of the last fit. `vars` of this object is its JSON-able state.
    """

    known: int = 0
    hyperparameters: list[float] | None = None

    def __call__(self, data: Dataset, columns: Sequence[Column]) -> Posterior:
        """Return the posterior of the model of `data`; see `fit`."""
        change = abs(data.known - self.known)
        if change == 0 or (change < self.known / 10 and data.known > _FEW_ROWS):
            model = _model(data, columns)
            if _set(model, self.hyperparameters):
                model.eval()
                return Posterior(model)
        model = fit(data, columns, self.hyperparameters)
        self.known, self.hyperparameters = data.known, hyperparameters(model)
        return Posterior(model)


def best_by_model(space: Space, snapshot: Snapshot) -> str | None:
    """Return the COMPLETED trial with the largest posterior mean at full fidelity.

    The best of noisy values is the best partly by luck; the model corrects for it by what similar
    configurations reached. Trials whose means satisfy the outcome constraints come first. Of
    several objectives the first counts, unless weights have made one of them.

    Source: W. Scott, P. Frazier and W. Powell (2011), "The Correlated Knowledge Gradient for
    Simulation Optimization of Continuous Parameters using Gaussian Process Regression".

    Args:
        space: The search space, d columns.
        snapshot: The record.

    Returns:
        The trial's id; None if fewer than two configurations have a value, none is complete, or no
        stable model fits.
    """
    rows = snapshot.rows(TrialState.COMPLETED)
    rows = rows[space.is_full(snapshot.points[rows])]
    data = dataset(snapshot.of_outcome(0))
    if not len(rows) or len(data.evaluated) < 2:
        return None
    try:
        with numerics():
            models = fit_outcomes(snapshot.with_objective(snapshot.y), data, space.columns, [])
            order = models.order(snapshot.points[rows])
    except FIT_ERRORS:
        return None
    return snapshot.trial_ids[int(rows[order[0]])]


def fit_outcomes(
    snapshot: Snapshot, data: Dataset, columns: Sequence[Column], fits: list[WarmFit]
) -> Models:
    """Fit the surrogates of the objective and of all outcome constraints.

    Args:
        snapshot: The record, of one objective.
        data: The rows of the objective.
        columns: The space's d columns.
        fits: The warm fit of each outcome; new ones are appended as needed.
    """
    n = snapshot.outcomes.shape[1]
    while len(fits) < n:
        fits.append(WarmFit())
    objective = fits[0](data, columns)
    constraints = (
        fits[j](dataset(snapshot.of_outcome(j), slack=True), columns) for j in range(1, n)
    )
    return Models(objective, tuple(constraints))


def _model(data: Dataset, columns: Sequence[Column]) -> SingleTaskGP:
    # Noise of unknown size, next to nothing for noiseless objectives. Reported standard errors are
    # added row by row: they say what a trial saw of its noise (over folds), not what it did not see
    # (its own seed).
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
        covar_module=ConfigurationKernel(columns, data.has_fidelity),
        likelihood=likelihood,
        outcome_transform=None,
    )


def _loss_and_gradients(model: SingleTaskGP) -> tuple[Tensor, list[Tensor | None]]:
    """The negative log posterior of the hyperparameters, per row, and its gradients.

    The same as GPyTorch's ExactMarginalLogLikelihood with its priors. Written out, because for a
    few hundred rows most of the library's time goes into its layers.
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


def _set(model: SingleTaskGP, values: Sequence[float] | None) -> bool:
    """Set the model's hyperparameters if there are as many values; return whether there are."""
    if values is None or len(values) != parameters_to_vector(model.parameters()).numel():
        return False
    vector_to_parameters(torch.tensor(values, dtype=torch.double), model.parameters())
    return True
