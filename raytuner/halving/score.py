"""The value of a trial at a rung: one number, or several objectives and constraints."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from raytuner.history import Goal, fronts, spread
from raytuner.history.snapshot import FloatArray


@dataclass(frozen=True, slots=True)
class Score:
    """Several objectives, or one with constraints.

    Attributes:
        objectives: Larger is better.
        violation: How far outside of its bounds the trial is; 0 inside.
    """

    objectives: tuple[float, ...]
    violation: float = 0.0


Value = float | Score


def value_of(goal: Goal, metrics: Mapping[str, float]) -> Value:
    """Return what a report, its metrics by name, is judged by: a float for one plain objective."""
    objectives = goal.outcomes(metrics)[: goal.n_objectives]
    if len(objectives) == 1 and not goal.constraints:
        return objectives[0]
    return Score(objectives, goal.violation(metrics))


def is_finite(value: Value) -> bool:
    """Return whether all objectives are finite."""
    objectives = value.objectives if isinstance(value, Score) else (value,)
    return all(math.isfinite(one) for one in objectives)


def merits(scores: Sequence[Score]) -> FloatArray:
    """Return one number for each score among these; larger is better.

    Scores within their bounds come first, by their front (NSGA-II's non-dominated sorting), and
    within a front by how alone they are on it, so that what goes on is spread over the front. Then
    come the others, the smallest violation first. Scores that are not finite have minus infinity.

    Sources: R. Schmucker et al. (2021), "Multi-objective Asynchronous Successive Halving",
    arXiv:2106.12639, for non-dominated sorting at a rung; K. Deb et al. (2002), "NSGA-II", section
    III, for the order within a front and for violations.

    Args:
        scores: n scores of equally many objectives.

    Returns:
        `(n,)`.

    Example:
        >>> merits([Score((1.0, 0.0)), Score((0.0, -1.0)), Score((9.0, 9.0), 2.0)]).tolist()
        [0.0, -1.0, -2.0]
    """
    found = np.full(len(scores), -math.inf)
    finite = np.array([is_finite(score) for score in scores])
    violation = np.array([score.violation for score in scores])
    kept = np.flatnonzero(finite & (violation == 0))
    Y = np.array([scores[int(i)].objectives for i in kept])
    Y = Y.reshape(len(kept), -1) if len(kept) else np.empty((0, 1))
    front = fronts(Y)
    last = int(front.max(initial=-1))
    for number in range(last + 1):
        rows = np.flatnonzero(front == number)
        found[kept[rows]] = -number - _ranks(-spread(Y[rows])) / len(rows)
    broken = np.flatnonzero(finite & (violation > 0))
    found[broken] = -(last + 1) - _ranks(violation[broken])
    return found


def _ranks(keys: FloatArray) -> FloatArray:
    """The rank of each among the different keys, ascending from 0."""
    return np.unique(keys, return_inverse=True)[1].astype(np.float64)
