"""Where the user believes the optimum to lie."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from botorch.models import SingleTaskGP
from torch import Tensor

from raytuner.bayes.dataset import Dataset
from raytuner.bayes.ranking import Ranking
from raytuner.history.snapshot import FloatArray
from raytuner.space import Space

# No belief is so firm that a twentieth of it would not be given to the whole range.
_DOUBT = 0.05
# After so many values a belief that ranks them well weighs as much as the acquisition function.
_FIRMNESS = 5.0


@dataclass(frozen=True)
class Belief:
    """A density over one hyperparameter, relative to its own law: 1 where nothing is believed.

    It is linear in its logarithm between knots in the unit interval, and level beyond them.

    Attributes:
        column: Position of the hyperparameter's column.
        units: ``(k,)`` ascending knots: of a hyperparameter that has levels, these.
        widths: ``(k,)`` what share of the unit interval each knot stands for; they add up to 1.
        mass: ``(k,)`` how likely the optimum is there; they add up to 1.
    """

    column: int
    units: tuple[float, ...]
    widths: tuple[float, ...]
    mass: tuple[float, ...]

    @cached_property
    def log_density(self) -> FloatArray:
        """``(k,)`` logarithms at the knots."""
        density = np.array(self.mass) / np.array(self.widths)
        return np.asarray(np.log((1 - _DOUBT) * density + _DOUBT))

    def quantile(self, u: FloatArray) -> FloatArray:
        """Coordinates of which a share ``u`` of the belief lies below, in the shape of ``u``."""
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
    """Beliefs about several hyperparameters, independent of one another.

    Source: C. Hvarfner et al. (2022), "piBO: Augmenting Acquisition Functions with User Beliefs for
    Bayesian Optimization", arXiv:2204.11051: the acquisition function is multiplied by the density
    to the power of ``beta / n``, n values being known, so that the data have the last word. Here
    that is times the chance that the density ranks the values better than the model does, each
    trial left out (:class:`Ranking`): on LCBench a belief is soon wrong in some of its columns, and
    without this it held the search up for thirty trials (benchmarks.knowledge).

    Args:
        space: The search space of d columns.
        beliefs: One or more.
    """

    def __init__(self, space: Space, beliefs: Sequence[Belief]) -> None:
        self._space = space
        self._beliefs = beliefs
        self._conditional = any(space.columns[b.column].requires for b in beliefs)
        self._tables = [(b, torch.tensor(b.units), torch.tensor(b.log_density)) for b in beliefs]

    def log_density(self, X: Tensor) -> Tensor:
        """``(...)`` logarithms at ``(..., d)`` configurations; what does not exist counts 0."""
        total = X.new_zeros(X.shape[:-1])
        there = None
        if self._conditional:
            flat = X.detach().numpy().reshape(-1, self._space.dim)
            there = torch.from_numpy(self._space.active(flat)).reshape(X.shape)
        for belief, units, values in self._tables:
            found = _interpolated(X[..., belief.column], units, values)
            total = total + (found if there is None else found * there[..., belief.column])
        return total

    def favour(
        self, model: SingleTaskGP, data: Dataset, seed: int
    ) -> Callable[[Tensor], Tensor] | None:
        """What is added to the logarithm of an acquisition function; None: nothing any more.

        Args:
            model: The model of ``data``.
            data: What is known.
            seed: Seed of the samples that the two are compared by.
        """
        ranking = Ranking(model, data, self._space.dim, seed)
        said = self.log_density(ranking.X[:, : self._space.dim])
        trust = float((ranking.wrong(said[None]) <= ranking.own).double().mean())
        weight = trust * _FIRMNESS / len(data.evaluated)
        return (lambda X: weight * self.log_density(X)) if trust else None

    def draw(self, points: FloatArray) -> FloatArray:
        """``(n, d)`` evenly spread points, moved to where the optimum is believed to be."""
        moved = points.copy()
        for belief in self._beliefs:
            moved[:, belief.column] = belief.quantile(points[:, belief.column])
        return moved

    def at_mode(self, points: FloatArray) -> FloatArray:
        """``(n, d)`` points, moved to where the optimum is most likely."""
        moved = points.copy()
        for belief in self._beliefs:
            moved[:, belief.column] = belief.mode
        return moved


def _interpolated(x: Tensor, knots: Tensor, values: Tensor) -> Tensor:
    right = torch.searchsorted(knots, x.detach().contiguous()).clamp(1, len(knots) - 1)
    left = right - 1
    share = ((x - knots[left]) / (knots[right] - knots[left])).clamp(0.0, 1.0)
    return values[left] + share * (values[right] - values[left])
