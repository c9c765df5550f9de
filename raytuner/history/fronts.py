"""Who dominates whom, where several objectives are to be large."""

from __future__ import annotations

import numpy as np

from raytuner.history.snapshot import BoolArray, FloatArray, IntArray


def non_dominated(Y: FloatArray) -> BoolArray:
    """Which rows no other dominates: as large in every column, and larger in one.

    Args:
        Y: ``(n, m)`` objectives, larger is better; NaN is worse than all.

    Returns:
        ``(n,)``. Equal rows dominate neither each other.

    Example:
        >>> non_dominated(np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])).tolist()
        [True, True, False]
    """
    found: BoolArray = ~np.any(_dominates(Y), axis=0)
    return found


def fronts(Y: FloatArray) -> IntArray:
    """The front that each row is in: 0 if none dominates it, 1 if only those do, and so on.

    Source: K. Deb et al. (2002), "A Fast and Elitist Multiobjective Genetic Algorithm: NSGA-II",
    section III A.

    Args:
        Y: ``(n, m)`` objectives, larger is better; NaN is worse than all.

    Returns:
        ``(n,)``.
    """
    dominates = _dominates(Y)
    found = np.full(len(Y), -1, dtype=np.int64)
    front = 0
    while np.any(left := found < 0):
        found[left & ~np.any(dominates[left], axis=0)] = front
        front += 1
    return found


def _dominates(Y: FloatArray) -> BoolArray:
    """``(n, n)`` whether the row of the first index dominates that of the second."""
    Y = np.where(np.isnan(Y), -np.inf, Y)
    as_good: BoolArray = np.all(Y[:, None] >= Y[None], axis=-1)
    return as_good & ~as_good.T


def spread(Y: FloatArray) -> FloatArray:
    """How alone each row is among the others: the crowding distance; infinite at the ends.

    Source: Deb et al. (2002), section III B.

    Args:
        Y: ``(n, m)`` finite objectives of one front.

    Returns:
        ``(n,)``.
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
