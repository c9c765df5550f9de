"""Draw the hyperparameters of a surrogate from their posterior, given the data."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from botorch.models import SingleTaskGP

from raytuner.bayes.dataset import Dataset
from raytuner.bayes.surrogate import (
    Posterior,
    fit,
    hyperparameters,
    make_model,
    set_hyperparameters,
)
from raytuner.history.snapshot import FloatArray
from raytuner.space import Column

# A draw evaluates the density some sixty times, and each time takes the cube of the rows.
# Predictions use all rows.
_ROWS = 200
_FIRST_ROWS = 50  # of the best fit from which a chain starts; it takes longer than many draws
_WIDTH = 1.0  # of the first interval in which a coordinate is drawn
_MOST_WIDTHS = 4  # to which it grows
_LEAST_WIDTH = 1e-6  # where it has shrunk to this, the coordinate stays
_JITTER = 1e-8  # variance, added to the noise: a draw may be far from any fit
_FAR = 20.0  # hyperparameters are below exp(20)


@dataclass
class Chain:
    """A Markov chain over hyperparameters: each step draws new ones.

    With few trials, many hyperparameters explain the values equally well, and a single best fit is
    too certain of one of them.

    The chain starts from the best fit. When rows are added, it continues from its last state. Its
    field is its state, which JSON can hold.

    Sources: I. Murray and R. Adams (2010), "Slice sampling covariance hyperparameters of latent
    Gaussian models"; J. Snoek, H. Larochelle and R. Adams (2012), "Practical Bayesian Optimization
    of Machine Learning Algorithms", arXiv:1206.2944, section 3.1.
    """

    hyperparameters: list[float] | None = None

    def draw(self, data: Dataset, columns: Sequence[Column], seed: int) -> Posterior:
        """Return the posterior of the model of `data` with the next draw.

        Raises:
            ModelFittingError, NotPSDError, NanError: See `fit`.
        """
        model = make_model(data.limited(_ROWS), columns)
        density = HyperparameterDensity(model)
        values = self.hyperparameters
        if values is None or len(values) != density.size:  # new, or of a model without a fidelity
            values = hyperparameters(fit(data.limited(_FIRST_ROWS), columns))
        position = slice_sweep(density, density.encode(values), np.random.default_rng(seed))
        self.hyperparameters = density.decode(position).tolist()
        set_hyperparameters(model, self.hyperparameters)
        return Posterior.of(model, data)


class Ensemble:
    """Several chains. Each makes a new draw when the number of rows has changed by a tenth.

    One call makes at most one new draw, so only the first call takes long.

    Args:
        n: The number of chains.
    """

    def __init__(self, n: int) -> None:
        self._chains = [Chain() for _ in range(n)]
        self._posteriors: list[Posterior] = []  # by the latest draw of each
        self._known: list[int] = []  # rows when each was drawn

    def __call__(self, data: Dataset, columns: Sequence[Column]) -> list[Posterior]:
        """Return the posterior of the model of `data` by each chain.

        Raises:
            ModelFittingError, NotPSDError, NanError: See `fit`.
        """
        if not self._posteriors:
            first, start = [], None  # only the first chain needs a fit
            for number, chain in enumerate(self._chains):
                chain.hyperparameters = start
                first.append(self._draw(number, data, columns))
                start = chain.hyperparameters
            self._posteriors, self._known = first, [data.known] * len(first)
            return first
        changes = [abs(data.known - known) for known in self._known]
        oldest = changes.index(max(changes))
        is_due = changes[oldest] > 0 and changes[oldest] >= self._known[oldest] / 10
        posteriors = [
            self._draw(number, data, columns)
            if is_due and number == oldest
            else posterior.given(data)
            for number, posterior in enumerate(self._posteriors)
        ]
        self._posteriors = posteriors
        if is_due:
            self._known[oldest] = data.known
        return posteriors

    def _draw(self, number: int, data: Dataset, columns: Sequence[Column]) -> Posterior:
        seed = int(np.random.SeedSequence([data.known, number]).generate_state(1)[0])
        return self._chains[number].draw(data, columns, seed)


class HyperparameterDensity:
    """The log posterior density of a model's p hyperparameters, up to a constant.

    A position consists of the logarithms of the positive hyperparameters, and the mean itself.
    """

    def __init__(self, model: SingleTaskGP) -> None:
        gp: Any = model  # GPyTorch's attributes are untyped
        priors = {
            value(module).data_ptr(): prior for _, module, prior, value, _ in gp.named_priors()
        }
        least, location, scale = [], [], []
        for name, parameter in gp.named_parameters():
            constraint = gp.constraint_for_parameter_name(name)
            prior = priors.get(parameter.data_ptr())
            n = parameter.numel()
            least += [-math.inf if constraint is None else float(constraint.lower_bound)] * n
            location += [0.0 if prior is None else float(prior.loc)] * n
            scale += [math.inf if prior is None else float(prior.scale)] * n
        self.size = len(least)
        self._least, self._location, self._scale = map(np.array, (least, location, scale))
        self._positive = np.isfinite(self._least)
        self._gp = gp
        self._X, self._y = gp.train_inputs[0], gp.train_targets
        self._one = torch.eye(len(self._y), dtype=self._y.dtype)

    def encode(self, values: Sequence[float]) -> FloatArray:
        """Return the `(p,)` position of hyperparameters, inside their bounds."""
        position = np.array(values)
        inside = np.maximum(position, 1.01 * self._least)[self._positive]
        position[self._positive] = np.log(inside)
        return position

    def decode(self, position: FloatArray) -> FloatArray:
        """Return the `(p,)` hyperparameters at a position."""
        values = position.copy()
        values[self._positive] = np.exp(values[self._positive])
        return values

    @torch.no_grad()
    def __call__(self, position: FloatArray) -> float:
        """Return the density at a `(p,)` position; minus infinity out of bounds."""
        if (position > _FAR).any():
            return -math.inf
        values = self.decode(position)
        if (values <= self._least).any():
            return -math.inf
        gp = self._gp
        set_hyperparameters(gp, values.tolist())
        covariance = gp.covar_module.forward(self._X, self._X)
        covariance = covariance + (gp.likelihood.noise + _JITTER) * self._one
        L, failed = torch.linalg.cholesky_ex(covariance)
        if failed:
            return -math.inf
        rest = (self._y - gp.mean_module.constant)[:, None]
        white = torch.linalg.solve_triangular(L, rest, upper=False)
        likelihood = -0.5 * white.square().sum() - L.diagonal().log().sum()
        # In logarithms, a log-normal prior is a normal one.
        prior = -0.5 * np.square((position - self._location) / self._scale).sum()
        return float(likelihood) + float(prior)


def slice_sweep(
    density: Callable[[FloatArray], float], start: FloatArray, rng: np.random.Generator
) -> FloatArray:
    """Draw each coordinate of a `(p,)` position in turn, given the others.

    `density` returns the logarithm of a density; the start must have a finite one.

    Source: R. Neal (2003), "Slice Sampling", Annals of Statistics 31(3), figures 3 and 5.
    """
    position = start.copy()
    height = density(position)
    for i in rng.permutation(len(position)):
        least = height - rng.exponential()

        def at(place: float) -> float:
            moved = position.copy()
            moved[i] = place  # noqa: B023
            return density(moved)

        low = position[i] - _WIDTH * rng.random()
        high = low + _WIDTH
        to_the_left = int(rng.integers(_MOST_WIDTHS))
        to_the_right = _MOST_WIDTHS - 1 - to_the_left
        while to_the_left and at(low) > least:
            low, to_the_left = low - _WIDTH, to_the_left - 1
        while to_the_right and at(high) > least:
            high, to_the_right = high + _WIDTH, to_the_right - 1
        while high - low > _LEAST_WIDTH:
            place = float(rng.uniform(low, high))
            reached = at(place)
            if reached > least:
                position[i], height = place, reached
                break
            if place < position[i]:
                low = place
            else:
                high = place
    return position
