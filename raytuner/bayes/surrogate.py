"""The Gaussian process that stands in for the objective."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
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

from raytuner.bayes.dataset import Dataset, telling
from raytuner.bayes.kernel import ConfigurationKernel
from raytuner.space import Column

# What a fit may raise when the data leave it no stable optimum.
FIT_ERRORS = (ModelFittingError, NotPSDError, NanError)

_LEAST_NOISE = 1e-6  # variance, of objectives with variance 1

_MAX_STEPS_COLD = 100
_MAX_STEPS_WARM = 30
_ENOUGH = {"ftol": 1e-8, "gtol": 1e-5}  # of a loss per row; further digits change no proposal
_FIT_ROWS = 300  # more are predicted from, not fitted to
# Up to so many values each new one is reason enough to fit again, after that a tenth more.
_FEW_ROWS = 50


@contextmanager
def numerics() -> Iterator[None]:
    """How all computing here is done: on one thread (the cores belong to the trials), quietly.

    A little jitter on a covariance's diagonal is part of the method and nothing to tell the user.
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


def _likelihood(data: Dataset) -> GaussianLikelihood | FixedNoiseGaussianLikelihood:
    """Noise of unknown size; it may be next to nothing, for objectives without any.

    What is reported of it comes on top, row by row: a standard error says what a trial saw of its
    noise (over folds, say), not what it did not (its own seed).
    """
    prior = LogNormalPrior(-4.0, 1.0)
    unknown = {
        "noise_prior": prior,
        "noise_constraint": GreaterThan(_LEAST_NOISE, transform=None, initial_value=prior.mode),
    }
    if data.noise is None:
        return GaussianLikelihood(**unknown)
    reported = torch.as_tensor(data.noise, dtype=torch.double)
    return FixedNoiseGaussianLikelihood(reported, learn_additional_noise=True, **unknown)


def fit(
    data: Dataset, columns: Sequence[Column], warm: dict[str, Any] | None = None
) -> SingleTaskGP:
    """Fit a Gaussian process in double precision by maximum a posteriori.

    Args:
        data: n >= 2 rows.
        columns: The space's d columns.
        warm: Hyperparameters of an earlier fit (:func:`hyperparameters`) to start from; those of
            another structure are left aside.

    Returns:
        The model, in evaluation mode; its outputs are those of ``data.y``.

    Raises:
        ModelFittingError, NotPSDError, NanError: No stable fit (see ``FIT_ERRORS``).
    """
    # A dozen hyperparameters are known well from some hundred rows, and each step of a fit costs
    # the cube of their number. Predictions use all rows.
    sample = data.take(telling(data.y, _FIT_ROWS))
    model = _model(sample, columns)
    is_warm = _set(model, warm)
    with warnings.catch_warnings():
        # Reaching the step limit is no failure: the next fit goes on from here.
        warnings.simplefilter("ignore")
        fit_gpytorch_mll(
            ExactMarginalLogLikelihood(model.likelihood, model),
            closure=partial(_loss_and_gradients, model),
            optimizer_kwargs={
                "options": {"maxiter": _MAX_STEPS_WARM if is_warm else _MAX_STEPS_COLD, **_ENOUGH}
            },
            max_attempts=3,
        )
    if len(sample) == len(data):
        return model
    whole = _under(data, columns, hyperparameters(model))
    assert whole is not None  # the structure is the same
    return whole


class WarmFit:
    """Fits growing datasets, each from where the fit before ended, and only as often as it pays.

    Where much is known, one more value hardly moves the hyperparameters. They are fitted again when
    what is known has changed by a tenth; in between the model takes in new rows under those it has.
    """

    def __init__(self) -> None:
        self._known = 0
        self._hyperparameters: dict[str, Any] | None = None

    def __call__(self, data: Dataset, columns: Sequence[Column]) -> SingleTaskGP:
        """The model of ``data``; see :func:`fit`."""
        change = abs(data.known - self._known)
        if change == 0 or (change < self._known / 10 and data.known > _FEW_ROWS):
            model = _under(data, columns, self._hyperparameters)
            if model is not None:
                return model
        model = fit(data, columns, self._hyperparameters)
        self._known, self._hyperparameters = data.known, hyperparameters(model)
        return model

    def state_dict(self) -> dict[str, Any]:
        """The hyperparameters, and how much was known when they were fitted."""
        return {"known": self._known, "hyperparameters": self._hyperparameters}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from :meth:`state_dict`."""
        self._known, self._hyperparameters = state["known"], state["hyperparameters"]


def _model(data: Dataset, columns: Sequence[Column]) -> SingleTaskGP:
    return SingleTaskGP(
        torch.as_tensor(data.X, dtype=torch.double),
        torch.as_tensor(data.y, dtype=torch.double).unsqueeze(-1),
        covar_module=ConfigurationKernel(columns, data.has_fidelity),
        likelihood=_likelihood(data),
        outcome_transform=None,
    )


def _under(
    data: Dataset, columns: Sequence[Column], known: dict[str, Any] | None
) -> SingleTaskGP | None:
    """The model of ``data`` under known hyperparameters; None if they are of another structure."""
    model = _model(data, columns)
    if not _set(model, known):
        return None
    model.eval()
    return model


def _loss_and_gradients(model: SingleTaskGP) -> tuple[Tensor, list[Tensor | None]]:
    """The negative log posterior of the hyperparameters, a row, and its gradients.

    The same as GPyTorch's ExactMarginalLogLikelihood with its priors, written out: for some hundred
    rows most of its time goes into its layers, not into the Cholesky factorisation.
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


def hyperparameters(model: SingleTaskGP) -> dict[str, list[Any]]:
    """The fitted hyperparameters by name, as nested lists (JSON-able)."""
    return {name: p.detach().tolist() for name, p in model.named_parameters()}


def _set(model: SingleTaskGP, warm: dict[str, Any] | None) -> bool:
    """Set the model's hyperparameters to ``warm`` if they are of the same structure."""
    own = dict(model.named_parameters())
    if warm is None or warm.keys() != own.keys():
        return False
    values: dict[str, Tensor] = {k: torch.tensor(v, dtype=torch.double) for k, v in warm.items()}
    if any(values[name].shape != own[name].shape for name in own):
        return False
    with torch.no_grad():
        for name, parameter in own.items():
            parameter.copy_(values[name])
    return True
