"""A finite part of a search space."""

from __future__ import annotations

from typing import Any

import numpy as np

from raytuner.space import Domain, Normal, Ordinal, Path, Space
from raytuner.space.template import rebuilt

GRID_POINTS = 5
"""The number of values that a grid has of each numeric hyperparameter."""


def gridded(space: Space, points: int = GRID_POINTS) -> Space:
    """Return the space of all combinations of a few values of each hyperparameter.

    Choices keep all their values, and so do hyperparameters that conditions depend on. Numbers have
    `points` values from one end to the other, or all if there are no more. The values are evenly
    spaced on the number's own scale (linear, logarithmic); of a normal distribution they are the
    middles of equally likely parts.

    Args:
        space: The search space.
        points: How many values of a number, at least 2.

    Example:
        >>> from raytuner.space import Float, Integer
        >>> grid = gridded(Space({"lr": Float(0.01, 1, log=True), "n": Integer(1, 3)}), 3)
        >>> [round(value, 6) for value in grid.columns[0].domain.values], grid.cardinality
        ([0.01, 0.1, 1.0], 9.0)
    """
    needed = {r.column for column in space.columns for r in column.requires}
    thinned: dict[Path, Any] = {}
    for j, column in enumerate(space.columns):
        few = column.n_levels is not None and column.n_levels <= points
        if few or j in needed or column.kind == "categorical" or isinstance(column.domain, Ordinal):
            continue
        thinned[column.path] = Ordinal(_values(column.domain, points))
    if not thinned:
        return space
    template = rebuilt(space.template, lambda leaf, path: thinned.get(path, leaf))
    return Space(template, space.constraints)


def _values(domain: Domain, points: int) -> list[Any]:
    if isinstance(domain, Normal):
        units = (np.arange(points) + 0.5) / points
    else:
        units = np.linspace(0.0, 1.0, points)
    return list(dict.fromkeys(domain.from_units(units)))
