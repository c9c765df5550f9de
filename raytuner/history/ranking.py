"""Pareto fronts of arrays of objectives."""

from __future__ import annotations

import numpy as np

from raytuner.history.snapshot import BoolArray, FloatArray, IntArray


def non_dominated(Y: FloatArray) -> BoolArray:
    """Return which rows no other row dominates: as large in every column and larger in one.

    Args:
        Y: `n x m`-dim objectives; larger is better, and NaN is worst.

    Returns:
        `n`-dim. Equal rows do not dominate each other.

    Example:
        >>> non_dominated(np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])).tolist()
        [True, True, False]
    """
    found: BoolArray = ~np.any(_dominates(Y), axis=0)
    return found


def fronts(Y: FloatArray) -> IntArray:
    """Return the front of each row: 0 if no row dominates it, 1 if only rows of front 0 do, ...

    Source: K. Deb et al. (2002), "A Fast and Elitist Multiobjective Genetic Algorithm: NSGA-II",
    section III A.

    Args:
        Y: `n x m`-dim objectives; larger is better, and NaN is worst.

    Returns:
        `n`-dim.
    """
    dominates = _dominates(Y)
    found = np.full(len(Y), -1, dtype=np.int64)
    front = 0
    while np.any(left := found < 0):
        found[left & ~np.any(dominates[left], axis=0)] = front
        front += 1
    return found


def _dominates(Y: FloatArray) -> BoolArray:
    """Return `n x n`-dim whether the row of the first index dominates that of the second."""
    Y = np.where(np.isnan(Y), -np.inf, Y)
    as_good: BoolArray = np.all(Y[:, None] >= Y[None], axis=-1)
    return as_good & ~as_good.T


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
