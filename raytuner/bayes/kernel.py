"""The covariance over encoded configurations, and over how far they were trained."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from gpytorch.constraints import GreaterThan
from gpytorch.kernels import Kernel
from gpytorch.priors import LogNormalPrior
from torch import Tensor

from raytuner.history.snapshot import FloatArray
from raytuner.space import Column
from raytuner.space.columns import SAME_LEVEL, Activity


class ConfigurationKernel(Kernel):  # type: ignore[misc]  # GPyTorch's base class is untyped
    """A kernel for mixed configurations, with or without a fidelity as the last dimension.

    Configurations: Matern-5/2 over all ordered columns, with one lengthscale per column and a prior
    that grows with their number, times `exp(-sum of weights of the categories that differ)`. With a
    fidelity s, one part is the shape that all learning curves share, and the other is the effect of
    the configurations, which changes smoothly with s:

        k((x, s), (x', s')) = a m(s, s'; l_a) + b k_x(x, x') m(s, s'; l_b)

    where m is Matern-5/2. Without a fidelity, k = k_x. Hyperparameters that are fidelities have a
    factor of their own in k_x, Matern-5/2 with longer lengthscales: a cheap trial says much about
    an expensive one.

    A conditional hyperparameter lies on an arc around a point that stands for its absence. Two
    configurations that lack it agree in it. One that has it is as far from one that lacks it as
    the two ends of its range are from each other. An absent choice is one more category.

    This is one class with few tensor operations: a proposal evaluates the kernel a few hundred
    times on small matrices.

    Sources: C. Hvarfner et al. (2024), "Vanilla Bayesian Optimization Performs Great in High
    Dimensions", for the lengthscales' prior; K. Swersky et al. (2013), "Multi-Task Bayesian
    Optimization", for the product over configurations and tasks; F. Hutter and M. Osborne (2013),
    "A Kernel for Hierarchical Parameter Spaces", arXiv:1310.5738, for the arc.
    """

    def __init__(
        self,
        columns: Sequence[Column],
        has_fidelity: bool,
        widths: FloatArray | None = None,
    ) -> None:
        """Make the kernel of a space, with hyperparameters at their priors' modes.

        In a part of the space, lengthscales are in units of its `(d,)` `widths`.
        """
        super().__init__()
        self.has_fidelity = has_fidelity
        self._d = len(columns)
        self._ordered: list[int] = []
        self._categorical: list[int] = []
        self._fidelities: list[int] = []
        for i, column in enumerate(columns):
            if column.is_fidelity:
                self._fidelities.append(i)
            elif column.kind == "categorical" and column.n_levels != 2:
                self._categorical.append(i)
            else:  # two categories are the ends of an axis
                self._ordered.append(i)
        # Ordered columns that may be absent have a second coordinate, after the rest.
        self._arcs = [k for k, i in enumerate(self._ordered) if columns[i].requires]
        units = np.ones(self._d) if widths is None else widths
        self._units = torch.as_tensor(units[self._ordered])
        absent = [-1.0]
        self._levels = [
            torch.tensor([*absent, *columns[i].domain.level_units()], dtype=torch.double)
            for i in self._categorical
        ]
        self._activity: Activity | None = None
        if any(column.requires for column in columns):
            self._activity = Activity(columns)
        location = math.sqrt(2) + math.log(max(len(self._ordered), 1)) / 2
        self._add("lengthscales", len(self._ordered), location, math.sqrt(3), least=2.5e-2)
        self._add("category_weight", len(self._categorical), 0.0, 1.0, least=1e-3)
        self._add("fidelity_lengthscales", len(self._fidelities), 0.5, 0.7, least=5e-2)
        for part, scale in (("curve", 0.0), ("effect", 0.5)):
            self._add(f"{part}_lengthscale", int(has_fidelity), scale, 0.7, least=5e-2)
            self._add(f"{part}_variance", int(has_fidelity), -0.5, 1.0, least=1e-4)

    def _add(self, name: str, size: int, location: float, scale: float, *, least: float) -> None:
        """Add a parameter above `least` with a log-normal prior; it starts at the prior's mode."""
        if not size:
            return
        start = max(math.exp(location - scale**2), 2 * least)
        self.register_parameter(
            name, torch.nn.Parameter(torch.full((size,), start, dtype=torch.double))
        )
        self.register_constraint(name, GreaterThan(least, transform=None))
        self.register_prior(f"{name}_prior", LogNormalPrior(location, scale), name)

    def forward(self, x1: Tensor, x2: Tensor, diag: bool = False, **params: Any) -> Tensor:
        """Return the `(... x n x m)` covariances of `(... x n x d)` and `(... x m x d)` inputs."""
        if diag:
            return self.variance.expand(x1.shape[:-1])
        k = self.of_configurations(x1, x2)
        if not self.has_fidelity:
            return k
        shared, effect = self.of_fidelities(x1[..., self._d], x2[..., self._d])
        return shared + effect * k

    @property
    def variance(self) -> Tensor:
        """The prior variance, the same everywhere."""
        if not self.has_fidelity:
            return torch.ones((), dtype=torch.double)
        total: Tensor = (self.curve_variance + self.effect_variance).squeeze(-1)
        return total

    def of_configurations(self, x1: Tensor, x2: Tensor) -> Tensor:
        """Return `k_x`, `(... x n x m)`; a fidelity in the inputs is ignored."""
        k = x1.new_ones(())
        ordered1, categories1 = self._coordinates(x1)
        ordered2, categories2 = self._coordinates(x2)
        if self._ordered:
            k = _matern(ordered1, ordered2, self._scales())
        if self._categorical:
            differ = (categories1.unsqueeze(-2) != categories2.unsqueeze(-3)).to(x1)
            k = k * torch.exp(-(differ @ self.category_weight))
        if self._fidelities:
            a, b = x1[..., self._fidelities], x2[..., self._fidelities]
            k = k * _matern(a, b, self.fidelity_lengthscales)
        return k

    def of_fidelities(self, s1: Tensor, s2: Tensor) -> tuple[Tensor, Tensor]:
        """Return `a m(s, s'; l_a)` and `b m(s, s'; l_b)` of `(... x n)` and `(... x m)`."""
        r = (s1.unsqueeze(-1) - s2.unsqueeze(-2)).abs()
        shared = self.curve_variance * _matern_at(r / self.curve_lengthscale)
        return shared, self.effect_variance * _matern_at(r / self.effect_lengthscale)

    def features(
        self, n: int, rng: np.random.Generator
    ) -> tuple[Callable[[Tensor], Tensor], Tensor]:
        """Draw random features, from which functions of the prior are made.

        Such a function, of mean 0, is the sum of the features, each times its size and a standard
        normal weight. Over many features, the products of two inputs' features average to their
        covariance. A feature is a wave of random frequency and phase, which stands for the Matern
        factors, times a random sign for each category.

        Source: A. Rahimi and B. Recht (2007), "Random Features for Large-Scale Kernel Machines",
        algorithm 1.

        Args:
            n: The number of features. With a fidelity a sixteenth more stand for the shape that
                all learning curves share.
            rng: Source of the frequencies, phases and signs.

        Returns:
            A function that maps `(..., d)` inputs to their `(..., f)` features, and the `(f,)`
            sizes.
        """
        scales = self._scales().detach() if self._ordered else torch.zeros(0)
        waves, sizes = [_frequencies(scales, n, rng)], self.variance.detach().expand(n) / n
        if self._fidelities:
            waves.append(_frequencies(self.fidelity_lengthscales.detach(), n, rng))
        if self.has_fidelity:
            waves.append(_frequencies(self.effect_lengthscale.detach(), n, rng))
            shared = max(n // 16, 1)
            slow = _frequencies(self.curve_lengthscale.detach(), shared, rng)
            slow_phase = torch.as_tensor(rng.uniform(0, 2 * math.pi, shared))
            effect, curve = self.effect_variance.detach(), self.curve_variance.detach()
            sizes = torch.cat([effect.expand(n) / n, curve.expand(shared) / shared])
        frequencies = torch.cat(waves)
        phase = torch.as_tensor(rng.uniform(0, 2 * math.pi, n))
        # In a share of the features all categories have the same sign: that is their covariance.
        # In the others each has its own.
        signs = []
        for k, levels in enumerate(self._levels):
            same = rng.random(n) < math.exp(-float(self.category_weight[k]))
            drawn = rng.choice([-1.0, 1.0], (len(levels), n))
            signs.append(torch.as_tensor(np.where(same, 1.0, drawn)))

        def of(x: Tensor) -> Tensor:
            ordered, categories = self._coordinates(x)
            parts = [ordered]
            if self._fidelities:
                parts.append(x[..., self._fidelities])
            if self.has_fidelity:
                parts.append(x[..., self._d :])
            found = torch.cos(torch.cat(parts, dim=-1) @ frequencies + phase)
            for k, (levels, table) in enumerate(zip(self._levels, signs, strict=True)):
                below = categories[..., k].contiguous() - SAME_LEVEL
                found = found * table[torch.searchsorted(levels, below)]
            if self.has_fidelity:
                wave = torch.cos(x[..., self._d :] @ slow + slow_phase)
                found = torch.cat([found, wave], dim=-1)
            return found

        return of, (2 * sizes).sqrt()

    def _scales(self) -> Tensor:
        """The lengthscale of each ordered coordinate of `_coordinates`."""
        scales: Tensor = self.lengthscales * self._units
        return torch.cat([scales, scales[self._arcs]]) if self._arcs else scales

    def _coordinates(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The ordered columns, on arcs if they may be absent, and the categories (absent: -1)."""
        ordered = x[..., self._ordered]
        categories = x[..., self._categorical] if self._categorical else x
        if self._activity is None:
            return ordered, categories
        active = torch.from_numpy(self._activity(x[..., : self._d].detach().numpy()))
        if self._categorical:
            categories = torch.where(active[..., self._categorical], categories, -1.0)
        if self._arcs:
            on = active[..., self._ordered][..., self._arcs]
            angle = ordered[..., self._arcs] * (math.pi / 3)  # the ends: one radius apart
            plane = ordered.clone()
            plane[..., self._arcs] = torch.where(on, angle.cos(), 0.0)
            ordered = torch.cat([plane, torch.where(on, angle.sin(), 0.0)], dim=-1)
        return ordered, categories


def _frequencies(scales: Tensor, n: int, rng: np.random.Generator) -> Tensor:
    """`(d, n)` random frequencies of a Matern-5/2 kernel with `(d,)` lengthscales.

    Its spectral density is a Student t distribution with 5 degrees of freedom.
    """
    spread = np.sqrt(5 / rng.chisquare(5, n))
    drawn = torch.as_tensor(rng.normal(size=(len(scales), n)) * spread)
    return drawn / scales[:, None]


def _matern(x1: Tensor, x2: Tensor, lengthscale: Tensor) -> Tensor:
    """Matern-5/2 correlations."""
    mode = "donot_use_mm_for_euclid_dist"  # exact zeros on the diagonal
    return _matern_at(torch.cdist(x1 / lengthscale, x2 / lengthscale, compute_mode=mode))


def _matern_at(distance: Tensor) -> Tensor:
    """Matern-5/2 correlations at these distances, in lengthscales."""
    r = math.sqrt(5) * distance
    return (1 + r + r.square() / 3) * torch.exp(-r)
