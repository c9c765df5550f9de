"""The data of the surrogate: rows of a snapshot, with transformed outcomes."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import norm

from raytuner.history import Snapshot, TrialState, non_dominated
from raytuner.history.snapshot import FloatArray, IntArray
from raytuner.space import Space

# Of a learning curve, the values nearest to max_t, max_t / 2, max_t / 4 ... are used: neighbouring
# epochs say nearly the same, and a Gaussian process costs the cube of its rows.
_LEVELS = 0.5 ** np.arange(20)
MAX_ROWS = 500
LOCAL_ROWS = 200  # of a model of a small part of the space
_MAX_STANDARD_ERROR = 1e3  # in standard deviations of all values; more makes no difference
# With a large d, few columns matter, and the prior of the lengthscales needs few trials. Waiting
# for more had a high cost and no benefit (benchmarks.knowledge).
_MOST_INITIAL = 20
# Weight of the sum beside the maximum: of configurations with equal worst objectives, those with
# better other objectives win.
_SUM = 0.05


def least_trials(space: Space) -> int:
    """Return the number of trials before the first model: `d + 1`, at least 5 and at most 20."""
    return max(5, min(space.dim + 1, _MOST_INITIAL))


@dataclass(frozen=True)
class Dataset:
    """Training rows of the surrogate."""

    X: FloatArray  # (n, d) configurations; with a fidelity, (n, d + 1), it is the last column
    y: FloatArray  # (n,) transformed objectives, larger is better
    raw: FloatArray  # (n,) as reported; of a failed trial, the worst reported
    evaluated: FloatArray  # (e, d) the configurations that have a value
    has_fidelity: bool
    known: int  # how many rows there were before they were limited to `MAX_ROWS`
    noise: FloatArray | None = None  # (n,) variances of `y` from reported standard errors
    widths: FloatArray | None = None  # (d,) of the box that holds the rows; None: the whole space

    def __len__(self) -> int:
        return len(self.y)

    def take(self, rows: IntArray) -> Dataset:
        """Return these rows in this order, with all evaluated configurations."""
        noise = None if self.noise is None else self.noise[rows]
        return replace(self, X=self.X[rows], y=self.y[rows], raw=self.raw[rows], noise=noise)

    def by_rank(self) -> Dataset:
        """Return the same rows, where each `y` is the normal quantile of its rank."""
        y = standardise(norm.ppf(_rank_shares(self.y)))
        noise = None if self.noise is None else self.noise * _slope(self.y, y) ** 2
        return replace(self, y=y, noise=noise)

    def limited(self, n: int) -> Dataset:
        """Return at most `n` of the rows; see `most_informative`."""
        return self.take(most_informative(self.y, n))


def dataset(
    snapshot: Snapshot,
    *,
    curves: bool = False,
    slack: bool = False,
    near: FloatArray | None = None,
) -> Dataset:
    """Choose and transform the training rows.

    If every trial was trained in full, the rows are the final values. If some were stopped early or
    are paused, the rows are values along all learning curves, so a stopped value never counts as a
    final one. Their fidelity is the logarithm of t, scaled from 0 at the least t to 1 at `max_t`.
    It is also 1 at the last value of a COMPLETED trial. A FAILED trial is one row at fidelity 1
    with the worst objective of all.

    Args:
        snapshot: The record.
        curves: Use values along all learning curves even if no trial was stopped yet.
        slack: The outcome is the slack of a constraint: 0 stays 0.
        near: Use the `LOCAL_ROWS` values whose configurations are nearest to this one, `(d,)`, and
            the failed trials that are as near.
    """
    failed = np.zeros(len(snapshot.trial_ids), dtype=bool)
    failed[snapshot.rows(TrialState.FAILED)] = True
    usable = np.isfinite(snapshot.y) & ~failed[snapshot.trial]
    has_fidelity = curves or bool(
        {TrialState.STOPPED_EARLY, TrialState.PAUSED}.intersection(snapshot.states)
    )
    if has_fidelity:
        max_t = _full(snapshot)
        # t = 0 has no logarithm.
        rows = thinned(snapshot, np.flatnonzero(usable & (snapshot.t > 0)))
        t = snapshot.t[rows]
        least, s = float(t.min(initial=max_t)), np.ones(len(rows))
        if least < max_t:
            s = np.clip(np.log(t / least) / math.log(max_t / least), 0.0, 1.0)
            s[snapshot.final[rows]] = 1.0
    else:
        rows = np.flatnonzero(usable & snapshot.final)
        s = np.ones(len(rows))

    evaluated = snapshot.points[np.unique(snapshot.trial[rows])]
    infeasible = snapshot.points[failed]
    known = len(rows) + len(infeasible)
    if near is None:
        kept = most_informative(snapshot.y[rows], MAX_ROWS)
    else:
        distance = np.square(snapshot.points[snapshot.trial[rows]] - near).sum(axis=1)
        kept = np.sort(np.argsort(distance, kind="stable")[:LOCAL_ROWS])
        is_near = np.square(infeasible - near).sum(axis=1) <= distance[kept].max(initial=0.0)
        infeasible = infeasible[is_near]
    rows, s = rows[kept], s[kept]
    X, raw = snapshot.points[snapshot.trial[rows]], snapshot.y[rows]
    if len(rows) and len(infeasible):
        X = np.vstack([X, infeasible])
        raw = np.concatenate([raw, np.full(len(infeasible), raw.min())])
        s = np.concatenate([s, np.ones(len(infeasible))])
    # First scale to values whose squares are finite.
    scale = np.abs(raw).max(initial=0.0) or 1.0
    scaled, y, noise = raw / scale, raw, None
    if len(raw):
        y = scale_slack(scaled) if slack else standardise(warp_worse_half(scaled))
        if snapshot.standard_error is not None:
            noise = _noise(snapshot.standard_error[rows] / scale, scaled, y)
    X = np.column_stack([X, s]) if has_fidelity else X
    return Dataset(X, y, raw, evaluated, has_fidelity, known, noise)


def most_informative(y: FloatArray, limit: int) -> IntArray:
    """Return at most `limit` rows, ascending: the best third, and an even sample of the rest."""
    if len(y) <= limit:
        return np.arange(len(y))
    best = np.argsort(-y, kind="stable")[: limit // 3]
    rest = np.setdiff1d(np.arange(len(y)), best)
    share = rest[np.linspace(0, len(rest) - 1, limit - len(best)).round().astype(np.int64)]
    return np.sort(np.concatenate([best, share]))


def _full(snapshot: Snapshot) -> float:
    """The full resource of a trial: the largest that was seen, if it is unknown."""
    return snapshot.max_t or float(snapshot.t.max(initial=1.0))


def thinned(snapshot: Snapshot, rows: IntArray) -> IntArray:
    """Return the last row of each curve, and the rows nearest to geometric levels of t."""
    max_t = _full(snapshot)
    kept: list[int] = []
    for curve in np.split(rows, np.flatnonzero(np.diff(snapshot.trial[rows])) + 1):
        if not len(curve):
            continue
        t = snapshot.t[curve]
        reached = max_t * _LEVELS
        reached = reached[(reached < t[-1]) & (reached >= t[0])]
        nearest = np.abs(np.log(t)[:, None] - np.log(reached)[None, :]).argmin(axis=0)
        kept += curve[np.unique(np.append(nearest, len(curve) - 1))].tolist()
    return np.array(kept, dtype=np.int64)


def _noise(standard_error: FloatArray, raw: FloatArray, y: FloatArray) -> FloatArray:
    """`(n,)` variances of `y`; 0 for failed trials, which come last, and where none is reported."""
    error = np.zeros(len(raw))
    error[: len(standard_error)] = np.nan_to_num(np.abs(standard_error), posinf=0.0)
    with np.errstate(over="ignore"):
        return np.asarray(np.minimum(_slope(raw, y) * error, _MAX_STANDARD_ERROR) ** 2)


def _slope(raw: FloatArray, y: FloatArray) -> float:
    """Return the slope of `y` over `raw`, from the median to the best; 0 if all are equal."""
    best, middle = int(np.argmax(raw)), int(np.argsort(raw)[len(raw) // 2])
    if raw[best] == raw[middle]:
        middle = int(np.argmin(raw))
    rise = raw[best] - raw[middle]
    return float((y[best] - y[middle]) / rise) if rise > 0 else 0.0


def warp_worse_half(y: FloatArray) -> FloatArray:
    """Replace the worse half of the objectives by the normal quantiles of their ranks.

    So a few very bad values (such as a diverged loss) do not flatten the important part of the
    space. The root mean square distance of the better half from the median sets the scale. Ties
    stay ties.

    Source: the half-rank warping of X. Song et al. (2024), "The Vizier Gaussian Process Bandit
    Algorithm", arXiv:2408.11527, appendix B.

    Examples:
        >>> warp_worse_half(np.array([3.0, 2.0, 1.0, -1e9])).round(2).tolist()
        [3.0, 2.0, 1.14, 0.21]
    """
    median = float(np.median(y))
    worse = y < median
    if not worse.any():
        return y.copy()
    scale = float(np.sqrt(np.mean((y[~worse] - median) ** 2)))
    if scale == 0.0:  # the better half is all tied: any scale keeps the order
        scale = 1e-3 * abs(median) or 1.0
    warped = y.copy()
    warped[worse] = median + scale * norm.ppf(np.minimum(_rank_shares(y)[worse], 0.5))
    return warped


def _rank_shares(y: FloatArray) -> FloatArray:
    """`(n,)` ranks from the worst, as shares of n, in (0, 1); ties have their mean."""
    _, inverse, count = np.unique(y, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(count) - 0.5 * count)[inverse] / len(y))


def scale_slack(slack: FloatArray) -> FloatArray:
    """Scale slacks of an outcome constraint so that 0 stays the bound.

    Far from the bound only the order of magnitude counts: `sign(c) log(1 + |c|)`, after division
    by the median size.

    Source: D. Eriksson and M. Poloczek (2021), "Scalable Constrained Bayesian Optimization",
    arXiv:2002.08526, section 4.

    Examples:
        >>> scale_slack(np.array([-1.0, 0.0, 1.0, 1e6])).round(2).tolist()
        [-0.1, 0.0, 0.1, 1.99]
    """
    sizes = np.abs(slack)
    typical = float(np.median(sizes[sizes > 0])) if (sizes > 0).any() else 1.0
    scaled = np.sign(slack) * np.log1p(sizes / typical)
    size = float(np.sqrt(np.mean(scaled**2)))
    return scaled / size if size > 0 else scaled


def standardise(y: FloatArray) -> FloatArray:
    """Shift and scale to mean 0 and standard deviation 1 (all 0 if all are equal)."""
    # First scale to values whose squares neither vanish nor overflow.
    y = y / (float(np.abs(y).max()) or 1.0)
    sd = float(y.std())
    return (y - y.mean()) / (sd if sd > 1e-12 else 1.0)


def chebyshev(snapshot: Snapshot, seed: int) -> Snapshot:
    """Replace several objectives by one: a random augmented Chebyshev scalarisation.

    Each objective's distance from its best value, in units of the Pareto front's range, gets a
    random weight from this seed. The largest weighted distance is minimised. The optimum of every
    weighting lies on the front, even if the front is not convex. So proposals for many weightings
    spread over it. On ZDT1 and DTLZ2 (`benchmarks.features`) this found a larger hypervolume than
    BoTorch's `qLogNoisyExpectedHypervolumeImprovement`, in a quarter to a twentieth of the time.

    Source: J. Knowles (2006), "ParEGO: A Hybrid Algorithm with On-Line Landscape Approximation for
    Expensive Multiobjective Optimization Problems", section III; BoTorch's `qLogNParEGO`.
    """
    distance = -snapshot.outcomes[:, : snapshot.n_objectives]
    weights = np.random.default_rng(seed).dirichlet(np.ones(snapshot.n_objectives))
    known = np.isfinite(distance).all(axis=1)
    complete = known & snapshot.final
    reached = distance[complete if complete.any() else known]
    y = np.full(len(distance), np.nan)
    if len(reached):
        front = reached[non_dominated(-reached)]
        low, high = front.min(axis=0), front.max(axis=0)
        # A front of one point has no range; the spread of all values then gives the scales.
        width = np.where(high > low, high - low, reached.std(axis=0))
        scaled = weights * (distance - low) / np.where(width > 0, width, 1.0)
        y = -(scaled.max(axis=1) + _SUM * scaled.sum(axis=1))
    return snapshot.with_objective(y)
