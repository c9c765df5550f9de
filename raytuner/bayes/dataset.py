"""What the surrogate is fitted to: rows chosen from a snapshot."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from raytuner.bayes.outcome import scale_slack, standardise, stretch, warp_worse_half
from raytuner.history import Snapshot, TrialState
from raytuner.history.snapshot import FloatArray, IntArray
from raytuner.space import Space

# A learning curve enters as its values nearest to max_t, max_t / 2, max_t / 4 ...: neighbouring
# epochs say nearly the same, and the cost of a Gaussian process grows with the cube of its rows.
_THINNING = 2.0
MAX_ROWS = 500

_WORTHLESS = 1e3  # a standard error in standard deviations of all values: more makes no difference


# Where d is large few columns matter, and their lengthscales' prior makes do with few trials: to
# wait for more has cost much and won nothing (benchmarks.knowledge).
_MOST_INITIAL = 20


def least_trials(space: Space) -> int:
    """How many trials there should be before the first model: ``d + 1``, from 5 to 20."""
    return max(5, min(space.dim + 1, _MOST_INITIAL))


@dataclass(frozen=True)
class Dataset:
    """Training rows of the surrogate.

    Attributes:
        X: ``(n, d)`` encoded configurations, or ``(n, d + 1)`` with the fidelity as last column.
        y: ``(n,)`` warped, standardised objectives, larger is better.
        raw: ``(n,)`` the same as they were reported (a failed trial's as the worst reported).
        evaluated: ``(e, d)`` the distinct configurations that have a value: one of them is the
            incumbent.
        has_fidelity: Whether ``X`` has the fidelity column.
        known: How many rows there were to choose from: all of them, unless they are too many.
        noise: ``(n,)`` variances of ``y`` by what was reported of them; None: nothing was.
    """

    X: FloatArray
    y: FloatArray
    raw: FloatArray
    evaluated: FloatArray
    has_fidelity: bool
    known: int
    noise: FloatArray | None = None

    def __len__(self) -> int:
        return len(self.y)

    def take(self, rows: IntArray) -> Dataset:
        """Those rows of it, in that order; the evaluated configurations are all."""
        noise = None if self.noise is None else self.noise[rows]
        return replace(self, X=self.X[rows], y=self.y[rows], raw=self.raw[rows], noise=noise)


def fidelity(t: FloatArray, least_t: float, max_t: float) -> FloatArray:
    """Map the resource to [0, 1] by its logarithm, ``least_t`` being 0 and ``max_t`` 1.

    Example:
        >>> fidelity(np.array([1.0, 3.0, 9.0, 10.0]), least_t=1.0, max_t=9.0).tolist()
        [0.0, 0.5, 1.0, 1.0]
    """
    if least_t >= max_t:
        return np.ones_like(t)
    return np.clip(np.log(t / least_t) / math.log(max_t / least_t), 0.0, 1.0)


def dataset(snapshot: Snapshot, *, curves: bool = False, slack: bool = False) -> Dataset:
    """Choose and transform the training rows.

    Where every trial ran to its end, the rows are the final values. Where some were stopped early
    (or are paused) the rows are values along all learning curves, each at its own fidelity: a
    stopped value is never passed off as a final one. A COMPLETED trial's last value has fidelity 1
    even if the training ended by itself before ``max_t``.

    A FAILED trial enters as one row at fidelity 1 whose objective is the worst of all.

    Args:
        snapshot: The record.
        curves: Take values along all learning curves also where no trial was stopped yet.
        slack: What is learned is the slack of an outcome constraint: 0 stays 0.
    """
    usable = np.isfinite(snapshot.y)
    failed = np.zeros(len(snapshot.trial_ids), dtype=bool)
    failed[snapshot.rows(TrialState.FAILED)] = True
    usable &= ~failed[snapshot.trial]
    has_fidelity = curves or any(
        state in (TrialState.STOPPED_EARLY, TrialState.PAUSED) for state in snapshot.states
    )
    if has_fidelity:
        max_t = snapshot.max_t or float(snapshot.t.max(initial=1.0))
        # What no resource was spent on cannot be placed on a logarithmic scale.
        rows = _thinned(snapshot, np.flatnonzero(usable & (snapshot.t > 0)), max_t)
        t = snapshot.t[rows]
        s = np.where(snapshot.final[rows], 1.0, fidelity(t, float(t.min(initial=max_t)), max_t))
    else:
        rows = np.flatnonzero(usable & snapshot.final)
        s = np.ones(len(rows))

    evaluated = snapshot.points[np.unique(snapshot.trial[rows])]
    known = len(rows) + int(failed.sum())
    few = telling(snapshot.y[rows], MAX_ROWS)
    rows, s = rows[few], s[few]
    X = snapshot.points[snapshot.trial[rows]]
    raw = snapshot.y[rows]
    if len(rows) and failed.any():
        X = np.vstack([X, snapshot.infeasible])
        raw = np.concatenate([raw, np.full(int(failed.sum()), raw.min())])
        s = np.concatenate([s, np.ones(int(failed.sum()))])
    # First to a scale whose squares are finite, whatever was reported.
    scale = np.abs(raw).max(initial=0.0) or 1.0
    y = _transformed(raw / scale, slack=slack) if len(raw) else raw
    return Dataset(
        X=np.column_stack([X, s]) if has_fidelity else X,
        y=y,
        raw=raw,
        evaluated=evaluated,
        has_fidelity=has_fidelity,
        known=known,
        noise=_noise(snapshot, rows, raw / scale, y, scale),
    )


def _transformed(raw: FloatArray, *, slack: bool) -> FloatArray:
    return scale_slack(raw) if slack else standardise(warp_worse_half(raw))


def _noise(
    snapshot: Snapshot, rows: IntArray, raw: FloatArray, y: FloatArray, scale: float
) -> FloatArray | None:
    """``(n,)`` variances of ``y``; 0 for failed trials, which come last, and what says none."""
    if snapshot.standard_error is None or not len(raw):
        return None
    error = np.zeros(len(raw))
    reported = snapshot.standard_error[rows]
    error[: len(rows)] = np.where(np.isfinite(reported), np.abs(reported), 0.0)
    with np.errstate(over="ignore"):
        return np.minimum(stretch(raw, y) * (error / scale), _WORTHLESS) ** 2


def _thinned(snapshot: Snapshot, rows: np.ndarray, max_t: float) -> np.ndarray:
    """Of ``rows``, each curve's last value and those nearest to geometric levels of t."""
    levels = max_t / _THINNING ** np.arange(0, 20)
    kept: list[int] = []
    for curve in np.split(rows, np.flatnonzero(np.diff(snapshot.trial[rows])) + 1):
        if not len(curve):
            continue
        t = snapshot.t[curve]
        reached = levels[(levels < t[-1]) & (levels >= t[0])]
        nearest = np.abs(np.log(t)[:, None] - np.log(reached)[None, :]).argmin(axis=0)
        kept += curve[np.unique(np.append(nearest, len(curve) - 1))].tolist()
    return np.array(kept, dtype=np.int64)


def telling(y: FloatArray, limit: int) -> IntArray:
    """Rows that say most, at most ``limit``, ascending: the best third, and a share of the rest."""
    if len(y) <= limit:
        return np.arange(len(y))
    best = np.argsort(-y, kind="stable")[: limit // 3]
    rest = np.setdiff1d(np.arange(len(y)), best)
    share = rest[np.linspace(0, len(rest) - 1, limit - len(best)).round().astype(np.int64)]
    return np.sort(np.concatenate([best, share]))
