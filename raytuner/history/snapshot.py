"""What a model learns from: the record at one moment, as arrays."""

from __future__ import annotations

from dataclasses import dataclass

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
        y: ``(m,)`` objective, **larger is better** (the metric, negated for mode "min").
            May hold NaN and infinities, as reported.
        final: ``(m,)`` whether the observation is the last of a COMPLETED trial.
        max_t: A trial's full resource, if known.
    """

    trial_ids: tuple[str, ...]
    states: tuple[TrialState, ...]
    points: FloatArray
    trial: IntArray
    t: FloatArray
    y: FloatArray
    final: BoolArray
    max_t: float | None = None

    def __post_init__(self) -> None:
        k, m = len(self.trial_ids), len(self.trial)
        if len(self.states) != k or self.points.ndim != 2 or len(self.points) != k:
            raise ValueError(f"{k} trials, {len(self.states)} states, points {self.points.shape}")
        if not (self.t.shape == self.y.shape == self.final.shape == (m,)):
            raise ValueError(f"m = {m}: t {self.t.shape}, y {self.y.shape}, {self.final.shape}")
        for array in (self.points, self.trial, self.t, self.y, self.final):
            array.flags.writeable = False

    @property
    def dim(self) -> int:
        """d, the number of encoded dimensions."""
        return self.points.shape[1]

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
