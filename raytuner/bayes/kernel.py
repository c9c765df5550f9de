"""The covariance over encoded configurations, and over how far they were trained."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from gpytorch.constraints import GreaterThan
from gpytorch.kernels import Kernel
from gpytorch.priors import LogNormalPrior
from torch import Tensor

from raytuner.space import Column
from raytuner.space.conditions import Activity


class ConfigurationKernel(Kernel):  # type: ignore[misc]  # GPyTorch's base class is untyped
    """One kernel for mixed configurations, with or without a fidelity as the last dimension.

    Configurations: Matern-5/2 over everything that has an order, with one lengthscale a dimension
    and a prior that grows with their number, times ``exp(-sum of weights of the categories that
    differ)``. With a fidelity s there is one part for the shape that all learning curves share, and
    one for the configurations, whose effect changes smoothly with s::

        k((x, s), (x', s')) = a m(s, s'; l_a) + b k_x(x, x') m(s, s'; l_b)

    where m is Matern-5/2. Without one, k = k_x.

    Hyperparameters that are fidelities (:func:`raytuner.space.fidelity`) have a factor of their own
    in k_x, Matern-5/2 with longer lengthscales: a cheap trial says much of a dear one. Of the forms
    that were fitted to trials of mixed fidelity, a further part shared by all configurations did
    not predict full fidelity better, and BoTorch's kernels did on some problems only (linear
    truncated, downsampling; they are not stationary, and the latter takes one fidelity).

    A hyperparameter that exists only under conditions lies on an arc around a point, which stands
    for its absence: two configurations that both lack it agree in it, one that has it is as far
    from one that has not as the two ends of its range are from each other, whatever its value; and
    of a categorical one, absence is one more category.

    One class and few tensor operations, where a sum of products of library kernels would compute
    the same: a proposal evaluates the kernel some hundred times on small matrices, and the time
    goes by the number of operations.

    Sources: C. Hvarfner et al. (2024), "Vanilla Bayesian Optimization Performs Great in High
    Dimensions", for the lengthscales' prior; K. Swersky et al. (2013), "Multi-Task Bayesian
    Optimization", for the product over configurations and tasks; F. Hutter and M. Osborne (2013),
    "A Kernel for Hierarchical Parameter Spaces", arXiv:1310.5738, for the arc.

    Args:
        columns: The space's d columns.
        has_fidelity: Whether inputs have the fidelity as dimension d.
    """

    def __init__(self, columns: Sequence[Column], has_fidelity: bool) -> None:
        super().__init__()
        # Two categories are the ends of an axis; three or more have no order to use.
        cats = [i for i, c in enumerate(columns) if c.kind == "categorical" and c.n_levels != 2]
        self._categorical = cats
        self._fidelities = [i for i, c in enumerate(columns) if c.is_fidelity]
        apart = {*cats, *self._fidelities}
        self._ordered = [i for i in range(len(columns)) if i not in apart]
        requires, names = [c.requires for c in columns], [c.name for c in columns]
        self._activity = Activity(requires, names) if any(requires) else None
        self._d = len(columns)
        # Of the ordered columns, those that may be absent take a second coordinate, after the rest.
        self._arcs = [k for k, i in enumerate(self._ordered) if columns[i].requires]
        self._fidelity = len(columns) if has_fidelity else None
        if self._ordered:
            location = math.sqrt(2) + math.log(len(self._ordered)) / 2
            self._add("lengthscales", len(self._ordered), location, math.sqrt(3), least=2.5e-2)
        if cats:
            self._add("category_weight", len(cats), 0.0, 1.0, least=1e-3)
        if self._fidelities:
            self._add("fidelity_lengthscales", len(self._fidelities), 0.5, 0.7, least=5e-2)
        if has_fidelity:
            self._add("curve_lengthscale", 1, 0.0, 0.7, least=5e-2)
            self._add("curve_variance", 1, -0.5, 1.0, least=1e-4)
            self._add("effect_lengthscale", 1, 0.5, 0.7, least=5e-2)
            self._add("effect_variance", 1, -0.5, 1.0, least=1e-4)

    def forward(self, x1: Tensor, x2: Tensor, diag: bool = False, **params: Any) -> Tensor:
        """``(... x n x m)`` covariances of ``(... x n x d)`` and ``(... x m x d)`` inputs."""
        if diag:
            return self.variance.expand(x1.shape[:-1])
        k = self.of_configurations(x1, x2)
        if self._fidelity is None:
            return k
        shared, effect = self.of_fidelities(x1[..., self._fidelity], x2[..., self._fidelity])
        return shared + effect * k

    @property
    def variance(self) -> Tensor:
        """The prior variance, the same everywhere."""
        if self._fidelity is None:
            return torch.ones((), dtype=torch.double)
        total: Tensor = (self.curve_variance + self.effect_variance).squeeze(-1)
        return total

    def of_configurations(self, x1: Tensor, x2: Tensor) -> Tensor:
        """``k_x``, ``(... x n x m)``; a fidelity in the inputs plays no part."""
        k = x1.new_ones(())
        there1, there2 = self._there(x1), self._there(x2)
        if self._ordered:
            scales = self.lengthscales
            if self._arcs:
                scales = torch.cat([scales, scales[self._arcs]])
            k = _matern(self._coordinates(x1, there1), self._coordinates(x2, there2), scales)
        if self._categorical:
            a, b = self._categories(x1, there1), self._categories(x2, there2)
            differ = (a.unsqueeze(-2) != b.unsqueeze(-3)).to(a)
            k = k * torch.exp(-(differ @ self.category_weight))
        if self._fidelities:
            a, b = x1[..., self._fidelities], x2[..., self._fidelities]
            k = k * _matern(a, b, self.fidelity_lengthscales)
        return k

    def of_fidelities(self, s1: Tensor, s2: Tensor) -> tuple[Tensor, Tensor]:
        """``a m(s, s'; l_a)`` and ``b m(s, s'; l_b)`` of ``(... x n)`` and ``(... x m)``."""
        s1, s2 = s1.unsqueeze(-1), s2.unsqueeze(-1)
        shared = self.curve_variance * _matern(s1, s2, self.curve_lengthscale)
        return shared, self.effect_variance * _matern(s1, s2, self.effect_lengthscale)

    def _there(self, x: Tensor) -> Tensor | None:
        """``(..., d)`` which hyperparameters exist; None where all always do."""
        if self._activity is None:
            return None
        return torch.from_numpy(self._activity(x[..., : self._d].detach().numpy()))

    def _coordinates(self, x: Tensor, there: Tensor | None) -> Tensor:
        """What distances are measured in: the ordered columns, on arcs if they may be absent."""
        ordered = x[..., self._ordered]
        if there is None or not self._arcs:
            return ordered
        on = there[..., self._ordered][..., self._arcs]
        angle = ordered[..., self._arcs] * (math.pi / 3)  # the ends are as far apart as the radius
        plane = ordered.clone()
        plane[..., self._arcs] = torch.where(on, angle.cos(), 0.0)
        return torch.cat([plane, torch.where(on, angle.sin(), 0.0)], dim=-1)

    def _categories(self, x: Tensor, there: Tensor | None) -> Tensor:
        categories = x[..., self._categorical]
        if there is None:
            return categories
        return torch.where(there[..., self._categorical], categories, -1.0)

    def _add(self, name: str, size: int, location: float, scale: float, *, least: float) -> None:
        """A parameter above ``least``, with a log-normal prior; it starts at the prior's mode."""
        prior = LogNormalPrior(location, scale)
        start = max(math.exp(location - scale**2), 2 * least)
        self.register_parameter(
            name, torch.nn.Parameter(torch.full((size,), start, dtype=torch.double))
        )
        self.register_constraint(name, GreaterThan(least, transform=None))
        self.register_prior(f"{name}_prior", prior, name)


def _matern(x1: Tensor, x2: Tensor, lengthscale: Tensor) -> Tensor:
    """Matern-5/2 correlations."""
    mode = "donot_use_mm_for_euclid_dist"  # exact zeros on the diagonal
    r = math.sqrt(5) * torch.cdist(x1 / lengthscale, x2 / lengthscale, compute_mode=mode)
    return (1 + r + r.square() / 3) * torch.exp(-r)
