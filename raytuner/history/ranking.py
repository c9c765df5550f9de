"""Pareto fronts of arrays of objectives."""

from __future__ import annotations

import numpy as np

from raytuner.history.snapshot import BoolArray, FloatArray


def non_dominated(Y: FloatArray) -> BoolArray:
    """Return which rows no other row dominates: as large in every column and larger in one.

    Args:
        Y: `n x m`-dim objectives; larger is better, and NaN is worst.

    Returns:
        `n`-dim. Equal rows do not dominate each other.

    Examples:
        >>> non_dominated(np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])).tolist()
        [True, True, False]
    """
    Y = np.where(np.isnan(Y), -np.inf, Y)
    found = np.zeros(len(Y), dtype=bool)
    left = np.lexsort(-Y.T[::-1])  # no row is dominated by a later one
    while len(left):
        best, rest = Y[left[0]], Y[left]
        found[left[(rest == best).all(axis=1)]] = True
        left = left[(rest > best).any(axis=1)]
    return found


def spread(Y: FloatArray) -> FloatArray:
    """Return the crowding distance of each row; infinite at the ends.

    Source: Deb et al. (2002), section III B.

    Args:
        Y: `n x m`-dim finite objectives of one front.

    Returns:
        `n`-dim.
    """
    total = np.zeros(len(Y))
    for column in Y.T:
        order = np.argsort(column, kind="stable")
        ordered = column[order]
        width = float(ordered[-1] - ordered[0]) or 1.0
        gaps = np.full(len(Y), np.inf)
        gaps[1:-1] = (ordered[2:] - ordered[:-2]) / width
        total[order] += gaps
    return total
