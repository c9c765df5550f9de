"""Snapshots: the table of trials at one moment, as arrays for a model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from raytuner.history.goal import Goal
from raytuner.history.trial import Entry, TrialState

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Snapshot:
    """The trials at one moment: k trials with m observations in d encoded dimensions.

    `raytuner.history.History.snapshot` builds it. All arrays are read-only.

    Attributes:
        trial_ids: The k trial ids, in the order of proposal.
        states: The k states.
        points: `k x d`-dim encoded configuration of each trial, in [0, 1].
        trial: `m`-dim row of `points` that each observation belongs to.
        t: `m`-dim resource at which each observation was made, in units of `time_attr`.
        outcomes: `m x k`-dim outcomes, **larger is better** (`Goal.outcomes`): the objectives, then
            the slack of each outcome constraint, which is 0 or more within its bound. An objective
            is the metric, negated for mode "min", or the weighted sum of several. It may hold NaN
            and infinities, as reported.
        final: `m`-dim whether the observation is the last of a COMPLETED trial.
        max_t: A trial's full resource, if known.
        n_objectives: Number of objectives.
        cost: `k`-dim predicted cost of each trial at full resource; NaN where unknown. None: the
            goal has no cost.
        standard_error: `m`-dim standard error of the objective, as reported; None: the goal has
            none.
        left: How many more trials will be proposed, if known.
    """

    trial_ids: tuple[str, ...]
    states: tuple[TrialState, ...]
    points: FloatArray
    trial: IntArray
    t: FloatArray
    outcomes: FloatArray
    final: BoolArray
    max_t: float | None = None
    n_objectives: int = 1
    cost: FloatArray | None = None
    standard_error: FloatArray | None = None
    left: int | None = None

    def __post_init__(self) -> None:
        k, m = len(self.trial_ids), len(self.trial)
        if len(self.states) != k or self.points.ndim != 2 or len(self.points) != k:
            raise ValueError(f"{k} trials, {len(self.states)} states, points {self.points.shape}")
        shapes = self.t.shape, self.final.shape, self.outcomes.shape[:1]
        if any(shape != (m,) for shape in shapes) or self.outcomes.ndim != 2:
            raise ValueError(f"m = {m}: t, final and outcomes have the shapes {shapes}")
        for array in vars(self).values():
            if isinstance(array, np.ndarray):
                array.flags.writeable = False

    @property
    def dim(self) -> int:
        """The number of encoded dimensions d."""
        return self.points.shape[1]

    @cached_property
    def y(self) -> FloatArray:
        """`m`-dim first objective, or the weighted sum of several."""
        y = np.ascontiguousarray(self.outcomes[:, 0])
        y.flags.writeable = False
        return y

    @property
    def is_plain(self) -> bool:
        """True if there is one objective and no constraint."""
        return self.outcomes.shape[1] == 1

    def with_objective(self, y: FloatArray) -> Snapshot:
        """Return the snapshot with one objective, `m`-dim, in place of its own."""
        outcomes = np.column_stack([y, self.outcomes[:, self.n_objectives :]])
        return replace(self, outcomes=outcomes, n_objectives=1)

    def of_outcome(self, column: int) -> Snapshot:
        """Return the snapshot with one column of `outcomes` as its only objective."""
        y, error = self.outcomes[:, [column]], None if column else self.standard_error
        return replace(self, outcomes=y, n_objectives=1, standard_error=error)

    def rows(self, *states: TrialState) -> IntArray:
        """Return the rows of `points` whose trial is in one of `states`."""
        among = frozenset(states)
        return np.flatnonzero([s in among for s in self.states])

    @cached_property
    def pending(self) -> FloatArray:
        """`p x d`-dim encoded configurations without a final value yet."""
        return self.points[self.rows(*(s for s in TrialState if s.is_live))]

    @property
    def infeasible(self) -> FloatArray:
        """`f x d`-dim encoded configurations of FAILED trials."""
        return self.points[self.rows(TrialState.FAILED)]


Block = dict[str, Any]
"""The parts of `_BLOCK` consecutive trials, by the name of the snapshot's attribute."""

_BLOCK = 32


def build(
    entries: Sequence[Entry],
    changed: set[int],
    blocks: list[Block],
    goal: Goal,
    max_t: float | None,
    left: int | None,
    dim: int,
) -> Snapshot:
    """Return the snapshot of trials.

    Only changed blocks are computed again: for 100,000 trials, full copies would take days.

    Args:
        entries: The trials.
        changed: Numbers of the trials that have changed since the last snapshot. It is emptied.
        blocks: The blocks of the last snapshot.
        goal: Defines the outcomes.
        max_t: A trial's full resource, if known.
        left: How many more trials will be proposed, if known.
        dim: Number of encoded dimensions.
    """
    for number in sorted({row // _BLOCK for row in changed} | ({0} if not blocks else set())):
        rows = entries[number * _BLOCK : (number + 1) * _BLOCK]
        blocks[number : number + 1] = [_block(rows, goal, max_t, dim)]
    changed.clear()
    parts = {name: [block[name] for block in blocks] for name in blocks[0]}
    return Snapshot(
        trial_ids=tuple(chain.from_iterable(parts.pop("trial_ids"))),
        states=tuple(chain.from_iterable(parts.pop("states"))),
        **{name: np.concatenate(arrays) for name, arrays in parts.items()},
        max_t=max_t,
        n_objectives=goal.n_objectives,
        left=left,
    )


def _block(entries: Sequence[Entry], goal: Goal, max_t: float | None, dim: int) -> Block:
    reports = [(entry, t) for entry in entries for t in sorted(entry.values)]
    columns = {
        name: np.array([entry.others.get(t, {}).get(name, math.nan) for entry, t in reports])
        for name in goal.metrics[1:]
    }
    columns[goal.metrics[0]] = np.array([entry.values[t] for entry, t in reports])
    # A goal takes arrays in place of numbers.
    outcomes = goal.outcomes(cast(dict[str, float], columns))
    completed = [e for e in entries if e.values and e.head.state is TrialState.COMPLETED]
    ends = {entry.head.number: max(entry.values) for entry in completed}
    block: Block = {
        "trial_ids": [entry.head.trial_id for entry in entries],
        "states": [entry.head.state for entry in entries],
        "points": np.array([entry.point for entry in entries], dtype=np.float64).reshape(-1, dim),
        "trial": np.array([entry.head.number for entry, _ in reports], dtype=np.int64),
        "t": np.array([t for _, t in reports], dtype=np.float64),
        "outcomes": np.column_stack(outcomes),
        "final": np.array(
            [ends.get(entry.head.number) == t for entry, t in reports], dtype=np.bool_
        ),
    }
    if goal.cost is not None:
        block["cost"] = np.array([_full_cost(entry, goal.cost, max_t) for entry in entries])
    if goal.standard_error is not None:
        errors = columns[goal.standard_error]
        known = (errors >= 0) & (errors < math.inf)
        block["standard_error"] = np.where(known, errors, math.nan)
    return block


def _full_cost(entry: Entry, cost: str, max_t: float | None) -> float:
    """Return the trial's cost at full resource, extrapolated linearly; NaN if unknown."""
    t = max(entry.values, default=0.0)
    spent = entry.others.get(t, {}).get(cost, math.nan)
    if not 0 <= spent < math.inf:
        return math.nan
    if entry.head.state is TrialState.COMPLETED:
        return spent
    return spent * max_t / t if max_t is not None and t > 0 else math.nan
