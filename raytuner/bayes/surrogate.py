"""The Gaussian process that stands in for the objective."""

from __future__ import annotations

import hashlib
import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from botorch.exceptions.errors import ModelFittingError
from botorch.fit import fit_gpytorch_mll
from botorch.models import SingleTaskGP
from botorch.models.kernels import CategoricalKernel
from botorch.models.utils.gpytorch_modules import get_covar_module_with_dim_scaled_prior
from gpytorch.constraints import GreaterThan
from gpytorch.kernels import Kernel, MaternKernel, ScaleKernel
from gpytorch.likelihoods import GaussianLikelihood
from gpytorch.mlls import ExactMarginalLogLikelihood
from gpytorch.priors import GammaPrior, LogNormalPrior
from linear_operator.utils.errors import NanError, NotPSDError
from linear_operator.utils.warnings import NumericalWarning
from threadpoolctl import threadpool_limits
from torch import Tensor

from raytuner.bayes.dataset import Dataset
from raytuner.space import Column

# What a fit may raise when the data leave it no stable optimum.
FIT_ERRORS = (ModelFittingError, NotPSDError, NanError)

_LEAST_NOISE = 1e-6  # variance, of objectives with variance 1

# Hyperparameters move little from one observation to the next: a warm fit needs few steps.
_MAX_STEPS_COLD = 100
_MAX_STEPS_WARM = 30


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


def build_kernel(columns: Sequence[Column], has_fidelity: bool) -> Kernel:
    """The covariance over encoded configurations (and the fidelity, as the last dimension).

    Configurations: a Matern-5/2 kernel over everything that has an order, with one lengthscale a
    dimension and a prior that grows with their number, times a Hamming kernel over the categories.
    With a fidelity s: one part for the shape that all learning curves share, and one for the
    configurations, whose effect changes smoothly with s::

        k((x, s), (x', s')) = a k_s(s, s') + b k_x(x, x') k_r(s, s')

    Sources: C. Hvarfner et al. (2024), "Vanilla Bayesian Optimization Performs Great in High
    Dimensions", for the prior; K. Swersky et al. (2013), "Multi-Task Bayesian Optimization", for
    the product over configurations and tasks.
    """
    d = len(columns)
    # Two categories are their ends of one axis; three or more have no order to use.
    cats = [i for i, c in enumerate(columns) if c.kind == "categorical" and c.n_levels != 2]
    nums = [i for i in range(d) if i not in cats]
    parts: list[Kernel] = []
    if nums:
        parts.append(
            get_covar_module_with_dim_scaled_prior(
                ard_num_dims=len(nums), active_dims=nums, use_rbf_kernel=False
            )
        )
    if cats:
        prior = LogNormalPrior(0.0, 1.0)
        parts.append(
            CategoricalKernel(
                ard_num_dims=len(cats),
                active_dims=cats,
                lengthscale_prior=prior,
                lengthscale_constraint=GreaterThan(1e-2, transform=None, initial_value=prior.mode),
            )
        )
    k_x = math.prod(parts[1:], start=parts[0])
    if not has_fidelity:
        return k_x
    shared = ScaleKernel(_fidelity_kernel(d), outputscale_prior=GammaPrior(2.0, 2.0))
    return shared + ScaleKernel(k_x * _fidelity_kernel(d), outputscale_prior=GammaPrior(2.0, 2.0))


def _likelihood() -> GaussianLikelihood:
    """Noise of unknown size; it may be next to nothing, for objectives without any."""
    prior = LogNormalPrior(-4.0, 1.0)
    return GaussianLikelihood(
        noise_prior=prior,
        noise_constraint=GreaterThan(_LEAST_NOISE, transform=None, initial_value=prior.mode),
    )


def _fidelity_kernel(dim: int) -> Kernel:
    prior = LogNormalPrior(0.0, 0.7)
    return MaternKernel(
        nu=2.5,
        active_dims=[dim],
        lengthscale_prior=prior,
        lengthscale_constraint=GreaterThan(5e-2, transform=None, initial_value=prior.mode),
    )


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
    X = torch.as_tensor(data.X, dtype=torch.double)
    y = torch.as_tensor(data.y, dtype=torch.double).unsqueeze(-1)
    model = SingleTaskGP(
        X,
        y,
        covar_module=build_kernel(columns, data.has_fidelity),
        likelihood=_likelihood(),
        outcome_transform=None,
    )
    is_warm = _start_from(model, warm)
    steps = _MAX_STEPS_WARM if is_warm else _MAX_STEPS_COLD
    with warnings.catch_warnings():
        # Reaching the step limit is no failure: the next fit goes on from here.
        warnings.simplefilter("ignore")
        fit_gpytorch_mll(
            ExactMarginalLogLikelihood(model.likelihood, model),
            optimizer_kwargs={"options": {"maxiter": steps}},
            max_attempts=3,
        )
    return model


class WarmFit:
    """Fits one dataset after another, each from where the one before ended.

    The same rows are not fitted twice. After :meth:`load_state_dict` the fit of the rows at hand is
    repeated from the same start, so that it ends in the same place.
    """

    def __init__(self) -> None:
        self._rows = ""  # digest of the rows that were fitted last
        self._start: dict[str, Any] | None = None
        self._end: dict[str, Any] | None = None
        self._model: SingleTaskGP | None = None

    def __call__(self, data: Dataset, columns: Sequence[Column]) -> SingleTaskGP:
        """The model fitted to ``data``; see :func:`fit`."""
        rows = hashlib.sha256(data.X.tobytes() + data.y.tobytes()).hexdigest()
        if rows == self._rows and self._model is not None:
            return self._model
        if rows != self._rows:
            self._start = self._end
        self._model = fit(data, columns, self._start)
        self._rows, self._end = rows, hyperparameters(self._model)
        return self._model

    def state_dict(self) -> dict[str, Any]:
        """Where the last fit started and ended, and what it was fitted to."""
        return {"rows": self._rows, "start": self._start, "end": self._end}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from :meth:`state_dict`."""
        self._rows, self._start, self._end = state["rows"], state["start"], state["end"]
        self._model = None

    def __getstate__(self) -> dict[str, Any]:
        return self.state_dict()

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.load_state_dict(state)


def hyperparameters(model: SingleTaskGP) -> dict[str, list[Any]]:
    """The fitted hyperparameters by name, as nested lists (JSON-able)."""
    return {name: p.detach().tolist() for name, p in model.named_parameters()}


def _start_from(model: SingleTaskGP, warm: dict[str, Any] | None) -> bool:
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
