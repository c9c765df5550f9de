"""Maximisation of an acquisition function over a mixed space.

Many candidates are screened. The best are climbed by gradients in the columns that are continuous
or nearly so, and by steps from level to level in others. All points compared are at full fidelity
and allowed: a climb that leaves the allowed region is pulled back to its border, and random steps
of all sizes then move along the border.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy.optimize import minimize
from scipy.stats import qmc

from raytuner.bayes.acquisition import Acquisition
from raytuner.bayes.proposer import ExclusionList
from raytuner.history.snapshot import FloatArray
from raytuner.space import Space

_SCREENED = 512  # candidates over the whole space
_NEARBY = 256  # candidates around the best configurations so far
_RESTARTS = 8
_SHARE_ALLOWED = 0.3  # more candidates are drawn where a smaller share satisfies the constraints
_ROUNDS = 4  # alternations of gradient and level moves
# Further digits of the logarithm of an improvement change no proposal.
_CLIMB = {"maxiter": 60, "ftol": 1e-5, "gtol": 1e-3}
_SPREAD = 0.08  # standard deviation of a nearby candidate, as a share of a column's range
_HOPELESS = 20.0  # log values this far below the best are equally bad
_STRIDES, _STRIDE_ROUNDS = 64, 12  # random steps per restart, and how often
_LEAST_STRIDE = 1e-3  # standard deviation, as a share of a column's range
_FEW_LEVELS = 24  # an ordered column of more levels is climbed


def maximise(
    acquisition: Acquisition,
    space: Space,
    best: FloatArray,
    excluded: ExclusionList,
    rng: np.random.Generator,
    *,
    local: bool = False,
) -> FloatArray:
    """Find an unused configuration of high acquisition value.

    Args:
        acquisition: Values of `(n, d)` points; log scale.
        space: The search space, d columns.
        best: `(e, d)` the best configurations so far; some candidates lie around them.
        excluded: Configurations that must not be returned.
        rng: Source of the candidates.
        local: Climb from `best` instead of the best candidates.

    Returns:
        `(1, d)` the point, or `(0, d)` if every candidate is used.
    """
    candidates = unused_candidates(space, best, excluded, rng)
    if not len(candidates):
        candidates = space.in_full(excluded.unused(rng, _RESTARTS))
        candidates = candidates[excluded.new(candidates)]
        if not len(candidates):
            return candidates
    values = _evaluate(acquisition, candidates)
    if local and len(best):
        X, value = best, _evaluate(acquisition, best)
    else:  # the best candidate, and others by their standing among the promising ones
        first = int(values.argmax())
        # Where nothing is to be gained, log values run into the thousands below zero.
        promising = np.maximum(values - values[first], -_HOPELESS)
        # Gumbel's trick: the largest of log weight + noise are a draw without replacement.
        keys = promising / max(float(promising.std()), 1e-6) + rng.gumbel(size=len(values))
        keys[first] = np.inf
        starts = np.argsort(-keys, kind="stable")[:_RESTARTS]
        X, value = candidates[starts], values[starts]

    smooth, stepped = [], []
    for i, column in enumerate(space.columns):
        if column.is_fidelity:
            continue
        if column.kind != "continuous":
            stepped.append(i)
        if column.kind != "categorical" and (column.n_levels or math.inf) > _FEW_LEVELS:
            smooth.append(i)
    for _ in range(_ROUNDS):
        before = value
        if smooth:
            X, value = _ascend(acquisition, space, X, value, smooth)
        if not stepped:
            break
        X, value = _step(acquisition, space, X, value, stepped, smooth)
        if not smooth or np.all(value - before < 1e-4):
            break
        # The worse half of the restarts will hardly overtake.
        keep = np.argsort(-value, kind="stable")[: max(2, len(value) // 2)]
        X, value = X[keep], value[keep]
    if space.constraints:
        X, value = _stride(acquisition, space, X, value, rng)

    # A climb may end on a used point; its starting candidate was unused.
    order = np.argsort(-np.concatenate([value, values]), kind="stable")
    everything = space.snap(np.vstack([X, candidates])[order])
    return everything[excluded.new(everything)][:1]


def unused_candidates(
    space: Space, best: FloatArray, excluded: ExclusionList, rng: np.random.Generator
) -> FloatArray:
    """Draw `(c, d)` distinct configurations over the space and around the best; see `maximise`."""
    drawn = qmc.Sobol(space.dim, scramble=True, rng=rng).random(_SCREENED)
    if len(best):
        near = best[rng.integers(len(best), size=_NEARBY)]
        # Good configurations differ in few columns, so each candidate moves in some columns only.
        moved = rng.random(near.shape) < rng.uniform(1.0 / space.dim, 1.0, size=(_NEARBY, 1))
        moved[np.arange(_NEARBY), rng.integers(space.dim, size=_NEARBY)] = True
        jump = near + rng.normal(scale=_SPREAD, size=near.shape)
        categorical = np.flatnonzero([c.kind == "categorical" for c in space.columns])
        jump[:, categorical] = rng.random((_NEARBY, len(categorical)))
        drawn = np.vstack([drawn, np.where(moved, np.clip(jump, 0.0, 1.0), near)])
    candidates = space.in_full(space.snap(drawn))
    fresh = candidates[excluded.new(candidates)]
    if space.constraints and len(fresh) < _SHARE_ALLOWED * len(candidates):
        fresh = np.vstack([fresh, space.in_full(excluded.unused(rng, _NEARBY))])
        return fresh[excluded.new(fresh)]
    return fresh


def _evaluate(acquisition: Acquisition, X: FloatArray, space: Space | None = None) -> FloatArray:
    """`(n,)` values; minus infinity where undefined, or where `space` does not allow the point."""
    with torch.no_grad():
        values = acquisition(torch.as_tensor(X, dtype=torch.double)).numpy()
    wrong = np.isnan(values)
    if space is not None and space.constraints:
        wrong |= ~space.allowed(X)
    return np.where(wrong, -np.inf, values)


def _ascend(
    acquisition: Acquisition, space: Space, X: FloatArray, value: FloatArray, smooth: list[int]
) -> tuple[FloatArray, FloatArray]:
    """Climb by L-BFGS-B in the columns `smooth`, all restarts as one problem (their sum)."""
    fixed = torch.as_tensor(X, dtype=torch.double)
    shape = len(X), len(smooth)

    def negative(flat: FloatArray) -> tuple[float, FloatArray]:
        free = torch.tensor(flat.reshape(shape), requires_grad=True)
        point = fixed.clone()
        point[:, smooth] = free
        total = -acquisition(point).sum()
        (gradient,) = torch.autograd.grad(total, free)
        return total.item(), gradient.numpy().ravel().astype(np.float64)

    result = minimize(
        negative,
        X[:, smooth].ravel(),
        jac=True,
        method="L-BFGS-B",
        bounds=[(0.0, 1.0)] * (len(X) * len(smooth)),
        options=_CLIMB,
    )
    climbed = X.copy()
    climbed[:, smooth] = np.clip(result.x.reshape(shape), 0.0, 1.0)
    if space.constraints:
        climbed = space.pulled_back(X, climbed)
    climbed = space.snap(climbed)  # an endless grid (qrandn) is climbed as a line
    return _better(X, value, climbed, _evaluate(acquisition, climbed))


def _step(
    acquisition: Acquisition,
    space: Space,
    X: FloatArray,
    value: FloatArray,
    stepped: list[int],
    smooth: list[int],
) -> tuple[FloatArray, FloatArray]:
    """Move each restart to its best neighbour in the columns `stepped` until none is better.

    Neighbours in a column of `smooth` are the next levels, in another one all levels.
    """
    X, value = X.copy(), value.copy()
    levels = {i: space.columns[i].domain.level_units() for i in stepped if i not in smooth}
    for _ in range(2 * len(stepped) + 2):
        moves = [
            (row, i, unit)
            for row, point in enumerate(X)
            for i in stepped
            for unit in (levels[i] if i in levels else space.columns[i].domain.neighbours(point[i]))
            if unit != point[i]
        ]
        if not moves:
            break
        owners, changed, units = map(np.array, zip(*moves, strict=True))
        around = X[owners]
        around[np.arange(len(owners)), changed] = units
        gains = _evaluate(acquisition, around, space)
        order = np.argsort(-gains, kind="stable")
        rows, first = np.unique(owners[order], return_index=True)
        top = order[first]  # the best neighbour of each row
        wins = gains[top] > value[rows] + 1e-6
        if not wins.any():
            break
        X[rows[wins]], value[rows[wins]] = around[top[wins]], gains[top[wins]]
    return X, value


def _stride(
    acquisition: Acquisition,
    space: Space,
    X: FloatArray,
    value: FloatArray,
    rng: np.random.Generator,
) -> tuple[FloatArray, FloatArray]:
    """Move each restart by random steps of all sizes, in some of the columns, to better points."""
    n, d = X.shape
    for _ in range(_STRIDE_ROUNDS):
        size = np.exp(rng.uniform(np.log(_LEAST_STRIDE), np.log(0.5), size=(n, _STRIDES, 1)))
        moved = rng.random((n, _STRIDES, d)) < rng.uniform(1.0 / d, 1.0, size=(n, _STRIDES, 1))
        steps = np.where(moved, size * rng.normal(size=(n, _STRIDES, d)), 0.0)
        around = space.in_full(space.snap(np.clip(X[:, None] + steps, 0.0, 1.0).reshape(-1, d)))
        gains = _evaluate(acquisition, around, space).reshape(n, _STRIDES)
        top = gains.argmax(axis=1)
        best = around.reshape(n, _STRIDES, d)[np.arange(n), top]
        X, value = _better(X, value, best, gains[np.arange(n), top])
    return X, value


def _better(
    X: FloatArray, value: FloatArray, other_X: FloatArray, other_value: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Row by row whichever is better."""
    wins = other_value > value
    return np.where(wins[:, None], other_X, X), np.where(wins, other_value, value)
