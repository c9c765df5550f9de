"""Translate the user's priors of the optimum into the unit cube."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from raytuner.bayes.belief import Belief
from raytuner.errors import SettingError
from raytuner.history import History
from raytuner.space import Column, Domain, Normal, Space
from raytuner.space.choices import is_number
from raytuner.space.template import known_names

PRIORS = "priors"
"""Metadata: the probability of each knot (`Belief.mass`), by name of the hyperparameter."""

_LISTED = 4096  # a domain with more levels is divided into cells
_CELLS = 512
_LEAST_MASS = 1e-3


@dataclass(frozen=True)
class Near:
    """A prior that the optimum lies near a value; see `near`."""

    value: Any
    spread: float = 0.1


def near(value: Any, spread: float = 0.1) -> Near:
    """Return a prior for a hyperparameter: its best value probably lies near `value`.

    Args:
        value: A value of the hyperparameter.
        spread: Standard deviation of the prior, as a share of the hyperparameter's range on its
            sampling scale (the logarithm for `loguniform`).

    Returns:
        The prior, for the argument `priors` of `raytuner.tune` or `raytuner.BoTorchSearch`.

    Raises:
        SettingError: `spread` is not above 0.

    Examples:
        >>> near(1e-3, spread=0.05)
        Near(value=0.001, spread=0.05)
    """
    if not is_number(spread) or not 0 < spread < math.inf:
        raise SettingError(
            f"near({value!r}, spread={spread!r}): the spread is a share of the range, such as 0.1"
        )
    return Near(value, float(spread))


def read_priors(priors: Mapping[str, Any], space: Space) -> tuple[Belief, ...]:
    """Translate priors for the hyperparameters of a space.

    Args:
        priors: Priors by hyperparameter (names of nested ones are joined by "/"): `near`, a dict
            of weights by value, or a frozen SciPy distribution.
        space: The search space.

    Raises:
        SettingError: A name is unknown, a value or a weight is invalid, or the prior has almost no
            mass within the hyperparameter's range.
    """
    if not isinstance(priors, Mapping):
        raise SettingError(
            f"priors is {priors!r}; it must be a dict by hyperparameter, such as"
            " {'lr': raytuner.near(1e-3)}"
        )
    positions = {column.name: j for j, column in enumerate(space.columns)}
    beliefs = []
    for name, prior in priors.items():
        if name not in positions:
            raise SettingError(
                f"priors[{name!r}]: no hyperparameter of this name varies; known names:"
                f" {known_names(name, positions)}"
            )
        column = space.columns[positions[name]]
        beliefs.append(_belief(positions[name], column, prior, f"priors[{name!r}]"))
    return tuple(beliefs)


def beliefs_of(history: History, space: Space) -> tuple[Belief, ...]:
    """Return the priors in a record, for its space or one within it.

    A prior is dropped if its hyperparameter has changed.
    """
    masses = history.get_meta(PRIORS) or {}
    before = {column.name: column.domain for column in history.space.columns}
    return tuple(
        Belief(j, *_knots(column.domain), tuple(masses[column.name]))
        for j, column in enumerate(space.columns)
        if column.name in masses and before[column.name] == column.domain
    )


def _belief(position: int, column: Column, prior: Any, where: str) -> Belief:
    domain = column.domain
    units, widths = _knots(domain)
    if isinstance(prior, Near):
        if column.kind == "categorical":
            raise SettingError(f"{where}: a choice has no order; give weights by value instead")
        if not domain.contains(prior.value):
            raise SettingError(
                f"{where}: received near({prior.value!r}), expected {domain.describe()}"
            )
        away = (np.array(units) - domain.to_unit(prior.value)) / prior.spread
        mass = np.exp(-0.5 * away**2) * widths
    elif isinstance(prior, Mapping):
        mass = _weighted(domain, prior, where)
    elif hasattr(prior, "cdf"):
        mass = _masses(domain, prior, where)
    else:
        raise SettingError(
            f"{where} is {prior!r}; it must be raytuner.near(value), weights by value such as"
            " {'adam': 3, 'sgd': 1}, or a frozen distribution of scipy.stats"
        )
    return Belief(position, units, widths, tuple((mass / mass.sum()).tolist()))


def _is_listed(domain: Domain) -> bool:
    return domain.n_levels is not None and domain.n_levels <= _LISTED


def _knots(domain: Domain) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return knots in the unit interval, and the share that each represents."""
    if not _is_listed(domain):
        return tuple((k + 0.5) / _CELLS for k in range(_CELLS)), (1 / _CELLS,) * _CELLS
    units, widths = domain.level_units().tolist(), []
    edge = 0.0
    for middle in units:  # a level is the middle of its step
        widths.append(2 * (middle - edge))
        edge += widths[-1]
    return tuple(units), tuple(widths)


def _weighted(domain: Domain, weights: Mapping[Any, Any], where: str) -> np.ndarray:
    if not _is_listed(domain):
        raise SettingError(
            f"{where}: weights work only for a choice or a few levels, but this is"
            f" {domain.describe()}; give raytuner.near(value) or a distribution"
        )
    levels = domain.level_units()
    mass = np.zeros(len(levels))
    for value, weight in weights.items():
        if not domain.contains(value):
            raise SettingError(f"{where}: received {value!r}, expected {domain.describe()}")
        if not is_number(weight) or not 0 <= weight < math.inf:
            raise SettingError(f"{where}: the weight of {value!r} is {weight!r}; it must be >= 0")
        mass[int(np.abs(levels - domain.to_unit(value)).argmin())] += weight
    if not mass.sum() > 0:
        raise SettingError(f"{where}: no value has a weight above 0")
    return mass


def _masses(domain: Domain, law: Any, where: str) -> np.ndarray:
    """Return the probability of each knot under a distribution."""
    if _is_listed(domain):
        values = domain.from_units(domain.level_units())
    else:
        smooth = replace(domain, step=None) if isinstance(domain, Normal) else domain
        values = smooth.from_units(np.linspace(0.0, 1.0, _CELLS + 1))
    if not all(is_number(value) for value in values):
        raise SettingError(
            f"{where}: a distribution works only for numbers, but this is {domain.describe()}; give"
            " weights by value"
        )
    edges = np.array(values, dtype=np.float64)
    if _is_listed(domain):
        middles = (edges[1:] + edges[:-1]) / 2
        first, last = 2 * edges[0] - middles[0], 2 * edges[-1] - middles[-1]
        edges = np.array([first, *middles, last])
    mass = np.abs(np.diff(law.cdf(edges)))
    total = float(np.nansum(mass))
    if not total > _LEAST_MASS or not np.isfinite(mass).all():
        raise SettingError(
            f"{where}: only a share of {total:.2g} of this distribution (median"
            f" {float(law.median()):g}) lies in the hyperparameter's range ({domain.describe()});"
            " change the distribution or the range"
        )
    return mass
