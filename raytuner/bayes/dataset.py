"""What the surrogate is fitted to: rows chosen from a snapshot."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from raytuner.bayes.outcome import standardise, warp_worse_half
from raytuner.history import Snapshot, TrialState
from raytuner.history.snapshot import FloatArray, IntArray

# A learning curve enters as its values nearest to max_t, max_t / 3, max_t / 9 ...: neighbouring
# epochs say nearly the same, and the cost of a Gaussian process grows with the cube of its rows.
_THINNING = 3.0
MAX_ROWS = 600


@dataclass(frozen=True)
class Dataset:
    """Training rows of the surrogate.

    Attributes:
        X: ``(n, d)`` encoded configurations, or ``(n, d + 1)`` with the fidelity as last column.
        y: ``(n,)`` warped, standardised objectives, larger is better.
        evaluated: ``(e, d)`` the distinct configurations that have a value: one of them is the
            incumbent.
        has_fidelity: Whether ``X`` has the fidelity column.
    """

    X: FloatArray
    y: FloatArray
    evaluated: FloatArray
    has_fidelity: bool

    def __len__(self) -> int:
        return len(self.y)

    def take(self, rows: IntArray) -> Dataset:
        """Those rows of it, in that order; the evaluated configurations are all."""
        return replace(self, X=self.X[rows], y=self.y[rows])


def fidelity(t: FloatArray, max_t: float) -> FloatArray:
    """Map the resource to [0, 1], 1 being ``max_t``: log(1 + t) / log(1 + max_t)."""
    return np.minimum(np.log1p(t) / np.log1p(max_t), 1.0)


def dataset(snapshot: Snapshot) -> Dataset:
    """Choose and transform the training rows.

    Where every trial ran to its end, the rows are the final values. Where some were stopped early
    (or are paused) the rows are values along all learning curves, each at its own fidelity: a
    stopped value is never passed off as a final one. A COMPLETED trial's last value has fidelity 1
    even if the training ended by itself before ``max_t``.

    A FAILED trial enters as one row at fidelity 1 whose objective is the worst of all.
    """
    usable = np.isfinite(snapshot.y)
    failed = np.zeros(len(snapshot.trial_ids), dtype=bool)
    failed[snapshot.rows(TrialState.FAILED)] = True
    usable &= ~failed[snapshot.trial]
    has_fidelity = any(
        state in (TrialState.STOPPED_EARLY, TrialState.PAUSED) for state in snapshot.states
    )
    if has_fidelity:
        max_t = snapshot.max_t or float(snapshot.t.max(initial=1.0))
        rows = _thinned(snapshot, np.flatnonzero(usable), max_t)
        s = np.where(snapshot.final[rows], 1.0, fidelity(snapshot.t[rows], max_t))
    else:
        rows = np.flatnonzero(usable & snapshot.final)
        s = np.ones(len(rows))

    X = snapshot.points[snapshot.trial[rows]]
    y = snapshot.y[rows]
    if len(rows) and failed.any():
        X = np.vstack([X, snapshot.infeasible])
        y = np.concatenate([y, np.full(int(failed.sum()), y.min())])
        s = np.concatenate([s, np.ones(int(failed.sum()))])
    if len(y):
        # First to a scale whose squares are finite, whatever was reported.
        y = standardise(warp_worse_half(y / (np.abs(y).max() or 1.0)))
    return Dataset(
        X=np.column_stack([X, s]) if has_fidelity else X,
        y=y,
        evaluated=snapshot.points[np.unique(snapshot.trial[rows])],
        has_fidelity=has_fidelity,
    )


def _thinned(snapshot: Snapshot, rows: np.ndarray, max_t: float) -> np.ndarray:
    """Of ``rows``, each curve's last value and those nearest to geometric levels of t."""
    levels = max_t / _THINNING ** np.arange(0, 12)
    last: list[int] = []
    inner: list[int] = []
    for trial in np.unique(snapshot.trial[rows]):
        curve = rows[snapshot.trial[rows] == trial]
        t = snapshot.t[curve]
        last.append(int(curve[-1]))
        reached = levels[(levels < t[-1]) & (levels >= t[0])]
        nearest = np.abs(np.log(t[:, None] + 1e-12) - np.log(reached)[None, :]).argmin(axis=0)
        inner += [int(curve[i]) for i in np.unique(nearest) if curve[i] != curve[-1]]
    # Over the limit, the last values stay and the newest curves' inner ones after them.
    room = max(MAX_ROWS - len(last), 0)
    return np.sort(np.array(last[-MAX_ROWS:] + inner[len(inner) - min(room, len(inner)) :], int))
