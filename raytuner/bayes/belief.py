"""The user's prior beliefs about the location of the optimum."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from raytuner.bayes.acquisition import Acquisition
from raytuner.bayes.dataset import Dataset
from raytuner.bayes.surrogate import Posterior
from raytuner.bayes.transfer import Ranking
from raytuner.history.snapshot import FloatArray
from raytuner.space import Space

_DOUBT = 0.05  # share of every belief that is spread over the whole range
# After this many values a belief that ranks them well weighs as much as the acquisition function.
_FIRMNESS = 5.0


@dataclass(frozen=True)
class Belief:
    """A density over one hyperparameter, relative to its own distribution: 1 if nothing is known.

    Its logarithm is linear between k knots in the unit interval and constant beyond them.
    """

    column: int  # the position of the hyperparameter's column
    units: tuple[float, ...]  # the knots, ascending; of a hyperparameter with levels, its levels
    widths: tuple[float, ...]  # the share of the unit interval of each; the sum is 1
    mass: tuple[float, ...]  # the probability that the optimum is there; the sum is 1

    @cached_property
    def log_density(self) -> FloatArray:
        """`(k,)` logarithms at the knots."""
        density = np.array(self.mass) / np.array(self.widths)
        return np.asarray(np.log((1 - _DOUBT) * density + _DOUBT))

    def quantile(self, u: FloatArray) -> FloatArray:
        """Return the coordinates below which a share `u` of the mass lies, in the shape of `u`."""
        mass, widths = np.array(self.mass), np.array(self.widths)
        below = np.cumsum(mass)
        # The first knot that reaches above u: never one without mass.
        k = np.minimum(np.searchsorted(below, u, side="right"), np.flatnonzero(mass)[-1])
        share = (u - below[k] + mass[k]) / mass[k]
        edge = np.cumsum(widths)[k] - widths[k]
        return np.clip(edge + widths[k] * np.clip(share, 0.0, 1.0), 0.0, 1.0)

    @property
    def mode(self) -> float:
        """The knot of the largest density."""
        return self.units[int(self.log_density.argmax())]


class Beliefs:
    """Independent beliefs about one or more hyperparameters.

    The acquisition function is multiplied by their density to the power of `beta / n` with n known
    values, so that the data dominate in the end (C. Hvarfner et al. (2022), "piBO: Augmenting
    Acquisition Functions with User Beliefs for Bayesian Optimization", arXiv:2204.11051). Here the
    power is also multiplied by the probability that the density ranks the values better than the
    model (`Ranking`). Without this factor, a belief that was wrong in some columns delayed the
    search on LCBench by thirty trials (benchmarks.knowledge).
    """

    def __init__(self, space: Space, beliefs: Sequence[Belief]) -> None:
        self._space = space
        self._beliefs = beliefs
        self._conditional = any(space.columns[b.column].requires for b in beliefs)
        self._tables = [
            (b.column, torch.tensor(b.units, dtype=torch.double), torch.tensor(b.log_density))
            for b in beliefs
        ]

    def log_density(self, X: Tensor) -> Tensor:
        """Return `(...)` logarithms at `(..., d)` configurations; an absent column counts 0."""
        total = X.new_zeros(X.shape[:-1])
        active = None
        if self._conditional:
            flat = X.detach().numpy().reshape(-1, self._space.dim)
            active = torch.from_numpy(self._space.active(flat)).reshape(X.shape)
        for column, knots, values in self._tables:
            x = X[..., column]
            right = torch.searchsorted(knots, x.detach().contiguous()).clamp(1, len(knots) - 1)
            left = right - 1
            share = ((x - knots[left]) / (knots[right] - knots[left])).clamp(0.0, 1.0)
            found = values[left] + share * (values[right] - values[left])
            total = total + (found if active is None else found * active[..., column])
        return total

    def bonus(self, posterior: Posterior, data: Dataset, seed: int) -> Acquisition | None:
        """Return the term to add to the logarithm of an acquisition function; None: no effect.

        Samples compare the belief with `posterior`, the posterior of the model of `data`.
        """
        ranking = Ranking(posterior, data, self._space.dim, seed)
        loss = ranking.loss(self.log_density(ranking.X[:, : self._space.dim])[None])
        trust = float((loss <= ranking.own).double().mean())
        weight = trust * _FIRMNESS / len(data.evaluated)
        return (lambda X: weight * self.log_density(X)) if trust else None

    def draw(self, points: FloatArray) -> FloatArray:
        """Return `(n, d)` evenly spread points, moved to where the optimum is believed to be."""
        moved = points.copy()
        for belief in self._beliefs:
            moved[:, belief.column] = belief.quantile(points[:, belief.column])
        return moved

    def at_mode(self, points: FloatArray) -> FloatArray:
        """Return `(n, d)` points, moved to where the optimum is most likely."""
        moved = points.copy()
        moved[:, [belief.column for belief in self._beliefs]] = [b.mode for b in self._beliefs]
        return moved
