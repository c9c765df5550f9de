"""A finite part of a search space."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from raytuner.space import Domain, Normal, Ordinal, Path, Space, When
from raytuner.space.template import like

GRID_POINTS = 5
"""So many values a number takes on a grid."""


def gridded(space: Space, points: int = GRID_POINTS) -> Space:
    """The space of all combinations of a few values of each hyperparameter.

    Choices keep all their values, and so does what conditions depend on. Numbers take ``points``
    values, from one end to the other, evenly spaced on their own scale (linear, logarithmic; of a
    normal law the middles of equally likely parts), or all if these are no more.

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
    return Space(_with(space.template, (), thinned), space.constraints) if thinned else space


def _values(domain: Domain, points: int) -> list[Any]:
    if isinstance(domain, Normal):
        units = (np.arange(points) + 0.5) / points
    else:
        units = np.linspace(0.0, 1.0, points)
    return list(dict.fromkeys(domain.from_units(units)))


def _with(node: Any, path: Path, leaves: Mapping[Path, Any]) -> Any:
    """A template with other leaves at some paths."""
    if path in leaves:
        return leaves[path] if not isinstance(node, When) else When(leaves[path], node.conditions)
    if isinstance(node, When):
        return When(_with(node.node, path, leaves), node.conditions)
    if isinstance(node, Mapping):
        return like(node, {k: _with(v, (*path, k), leaves) for k, v in node.items()})
    if isinstance(node, list | tuple):
        return like(node, [_with(item, (*path, i), leaves) for i, item in enumerate(node)])
    return node
