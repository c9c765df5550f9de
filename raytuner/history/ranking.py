"""Ranking of trials: the incumbent, the order of all, and the Pareto front."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from raytuner.history.snapshot import BoolArray, FloatArray, IntArray
from raytuner.history.table import Table
from raytuner.history.trial import Trial, TrialState


def merits(table: Table, is_full: Callable[[Trial], bool]) -> dict[str, tuple[bool, float, float]]:
    """Return what makes one trial better than another, by trial id; larger is better.

    Completed trials come first, then those that break the outcome constraints least. Among equals
    the objective counts: with several objectives the weighted sum or, without weights, the first.
    Trials that failed, have no finite value or are not at full fidelity are left out.

    Args:
        table: The trials.
        is_full: Whether a trial is at full fidelity.
    """
    goal, found = table.goal, {}
    for head in table.heads():
        last = table.last(head.trial_id)
        if last is None or head.state is TrialState.FAILED or not is_full(head):
            continue
        metrics = table.metrics_at(head.trial_id, last[0])
        violation = goal.violation(metrics) if goal.constraints else 0.0
        if math.isfinite(value := goal.outcomes(metrics)[0]):
            found[head.trial_id] = head.state is TrialState.COMPLETED, -violation, value
    return found


def pareto(table: Table) -> tuple[Trial, ...]:
    """Return the Pareto front: the COMPLETED trials that no other dominates, by number.

    Only trials count that keep all outcome constraints and whose values are finite. While no trial
    is completed, all count that have values and did not fail. With one objective, the front is the
    best trial and those that tie with it.
    """
    goal = table.goal
    contenders = []
    for trial in table.trials:
        scores = goal.outcomes(trial.metrics)[: goal.n_objectives]
        is_usable = trial.values and trial.state is not TrialState.FAILED
        if is_usable and all(map(math.isfinite, scores)) and goal.violation(trial.metrics) == 0.0:
            contenders.append((trial, scores))
    complete = [pair for pair in contenders if pair[0].state is TrialState.COMPLETED]
    contenders = complete or contenders
    if not contenders:
        return ()
    on_front = non_dominated(np.array([scores for _, scores in contenders]))
    return tuple(trial for (trial, _), is_in in zip(contenders, on_front, strict=True) if is_in)


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
