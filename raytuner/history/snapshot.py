"""What a model learns from: the record at one moment, as arrays."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from raytuner.history.trial import TrialState

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Snapshot:
    """The record at one moment: k trials and m observations, in d encoded dimensions.

    Built in one pass by :meth:`raytuner.history.History.snapshot`; all arrays are read-only.

    Attributes:
        trial_ids: The k trial ids, in the order of proposal.
        states: The k states.
        points: ``(k, d)`` encoded configuration of each trial, in [0, 1].
        trial: ``(m,)`` row of ``points`` that each observation belongs to.
        t: ``(m,)`` resource at which each observation was made, in units of ``time_attr``.
        y: ``(m,)`` objective, **larger is better** (the metric, negated for mode "min"; of several
            objectives the weighted sum, or without weights the first). May hold NaN and infinities,
            as reported.
        final: ``(m,)`` whether the observation is the last of a COMPLETED trial.
        max_t: A trial's full resource, if known.
        others: ``(m, k)`` what else is to be large (:meth:`raytuner.history.Goal.outcomes`): the
            other objectives, then the slack of each outcome constraint, which is 0 or more within
            its bound. None: there is nothing else, k = 0.
        n_objectives: How many objectives there are, ``y`` included.
        cost: ``(k,)`` what each trial would cost in full, by what it has cost so far; NaN where
            nothing is known. None: costs play no part.
        standard_error: ``(m,)`` of ``y``, as reported; None: it is not.
        left: How many more trials are to be proposed, if that is known.
    """

    trial_ids: tuple[str, ...]
    states: tuple[TrialState, ...]
    points: FloatArray
    trial: IntArray
    t: FloatArray
    y: FloatArray
    final: BoolArray
    max_t: float | None = None
    others: FloatArray | None = None
    n_objectives: int = 1
    cost: FloatArray | None = None
    standard_error: FloatArray | None = None
    left: int | None = None

    def __post_init__(self) -> None:
        k, m = len(self.trial_ids), len(self.trial)
        if len(self.states) != k or self.points.ndim != 2 or len(self.points) != k:
            raise ValueError(f"{k} trials, {len(self.states)} states, points {self.points.shape}")
        if not (self.t.shape == self.y.shape == self.final.shape == (m,)):
            raise ValueError(f"m = {m}: t {self.t.shape}, y {self.y.shape}, {self.final.shape}")
        others = self.outcomes[:, 1:]
        if others.shape[0] != m or not 1 <= self.n_objectives <= 1 + others.shape[1]:
            raise ValueError(f"m = {m}: others {others.shape}, {self.n_objectives} objectives")
        arrays = [self.points, self.trial, self.t, self.y, self.final]
        perhaps = (self.others, self.cost, self.standard_error)
        for array in [*arrays, *(one for one in perhaps if one is not None)]:
            array.flags.writeable = False

    @property
    def dim(self) -> int:
        """d, the number of encoded dimensions."""
        return self.points.shape[1]

    @property
    def outcomes(self) -> FloatArray:
        """``(m, 1 + k)`` ``y`` and ``others``."""
        y = self.y[:, None]
        return y if self.others is None else np.hstack([y, self.others])

    @property
    def is_plain(self) -> bool:
        """Whether there is one thing to be large, and no more to it."""
        return self.outcomes.shape[1] == 1

    def with_objective(self, y: FloatArray) -> Snapshot:
        """The same record with one objective, ``(m,)``, in the place of its own."""
        slacks = np.ascontiguousarray(self.outcomes[:, self.n_objectives :])
        return replace(self, y=y, others=slacks if slacks.shape[1] else None, n_objectives=1)

    def of_outcome(self, column: int) -> Snapshot:
        """The same record of one column of ``outcomes`` alone."""
        y = np.ascontiguousarray(self.outcomes[:, column])
        error = None if column else self.standard_error
        return replace(self, y=y, others=None, n_objectives=1, standard_error=error)

    def rows(self, *states: TrialState) -> IntArray:
        """Rows of ``points`` whose trial is in one of ``states``."""
        return np.flatnonzero([s in states for s in self.states])

    @property
    def pending(self) -> FloatArray:
        """``(p, d)`` encoded configurations proposed that have no final value yet."""
        return self.points[np.flatnonzero([s.is_live for s in self.states])]

    @property
    def infeasible(self) -> FloatArray:
        """``(f, d)`` encoded configurations of FAILED trials."""
        return self.points[self.rows(TrialState.FAILED)]
