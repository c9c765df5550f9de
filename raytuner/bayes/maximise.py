"""Maximisation of an acquisition function over a mixed space.

Many candidates are screened. From the best of them, gradients climb in columns that are continuous
or nearly continuous, and steps from level to level in other columns. All points compared are at
full fidelity and allowed. A climb that leaves the allowed region is pulled back to its border.
Random steps of all sizes then move along the border.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Protocol

import numpy as np
import torch
from scipy.optimize import minimize
from scipy.stats import qmc
from torch import Tensor

from raytuner.bayes.acquisition import Acquisition
from raytuner.bayes.proposer import ExclusionList
from raytuner.history.snapshot import FloatArray
from raytuner.space import Space

_SCREENED = 512  # candidates over the whole space
_NEARBY = 256  # candidates around the best configurations so far
_RESTARTS = 8
_SHARE_ALLOWED = 0.3  # more candidates are drawn if a smaller share satisfies the constraints
_ROUNDS = 4  # alternations of gradient and level moves
# Further digits of the logarithm of an improvement change no proposal.
_CLIMB = {"maxiter": 60, "ftol": 1e-5, "gtol": 1e-3}
_SPREAD = 0.08  # standard deviation of a nearby candidate, as a share of a column's range
_HOPELESS = 20.0  # log values this far below the best are equally bad
_STRIDES, _STRIDE_ROUNDS = 64, 12  # random steps per restart, and how often
_FEW_STRIDES, _FEW_ROUNDS = 16, 4  # the same if each restart has its own function
_LEAST_STRIDE = 1e-3  # standard deviation, as a share of a column's range
_FEW_LEVELS = 24  # an ordered column of more levels is climbed


Box = tuple[float | FloatArray, float | FloatArray]
"""The least and the largest coordinates of a part of the space: numbers, or `(d,)`."""

WHOLE: Box = (0.0, 1.0)


class Functions(Protocol):
    """Several functions of a configuration, each to be maximised separately."""

    n: int

    def everywhere(self, X: Tensor) -> Tensor:
        """Return `(m, n)` values of all functions at `(m, d)` configurations."""

    def own(self, X: Tensor) -> Tensor:
        """Return `(n k,)` values at `(n k, d)` points: each function's at its own k in turn."""


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
        # If there is no gain, log values are far below zero, by thousands.
        promising = np.maximum(values - values[first], -_HOPELESS)
        # Gumbel's trick: the largest of log weight + noise are a draw without replacement.
        keys = promising / max(float(promising.std()), 1e-6) + rng.gumbel(size=len(values))
        keys[first] = np.inf
        starts = np.argsort(-keys, kind="stable")[:_RESTARTS]
        X, value = candidates[starts], values[starts]

    smooth = _smooth(space)
    stepped = [
        i for i, c in enumerate(space.columns) if c.kind != "continuous" and not c.is_fidelity
    ]
    for _ in range(_ROUNDS):
        before = value
        if smooth:
            X, value = _ascend(acquisition, space, X, value, smooth)
        if not stepped:
            break
        X, value = _step(acquisition, space, X, value, stepped, smooth)
        if not smooth or np.all(value - before < 1e-4):
            break
        # The worse half of the restarts is unlikely to overtake.
        keep = np.argsort(-value, kind="stable")[: max(2, len(value) // 2)]
        X, value = X[keep], value[keep]
    if space.constraints:
        for _ in range(_STRIDE_ROUNDS):
            X, value = _stride(acquisition, space, X, value, rng, _STRIDES)

    # A climb may end on a used point; its starting candidate was unused.
    order = np.argsort(-np.concatenate([value, values]), kind="stable")
    everything = space.snap(np.vstack([X, candidates])[order])
    return everything[excluded.new(everything)][:1]


def maximise_each(
    functions: Functions,
    space: Space,
    best: FloatArray,
    excluded: ExclusionList,
    rng: np.random.Generator,
    box: Box = WHOLE,
) -> Iterator[FloatArray]:
    """Find an unused configuration where each of n functions is high.

    The functions share the candidates, and are climbed together, each from its own best candidate.
    This takes a few milliseconds for each.

    Args:
        functions: The functions.
        space: The search space, d columns.
        best: `(e, d)` the best configurations so far; some candidates lie around them.
        excluded: Configurations that must not be returned.
        rng: Source of the candidates.
        box: The part of the space to search; a category may be any.

    Yields:
        The configuration for each function in turn, `d`-dim; fewer than n if all are used. Add each
        to `excluded` before asking for the next.
    """
    candidates = unused_candidates(space, best, excluded, rng, box)
    if not len(candidates):
        unused = space.in_full(excluded.unused(rng, functions.n))
        yield from unused[excluded.new(unused)]
        return
    with torch.no_grad():
        values = functions.everywhere(torch.as_tensor(candidates)).numpy()
    first = values.argmax(axis=0)
    X, value = candidates[first], values[first, np.arange(functions.n)]
    smooth = _smooth(space)
    if smooth:
        X, value = _ascend(functions.own, space, X, value, smooth, box)
    for _ in range(_FEW_ROUNDS):
        X, value = _stride(functions.own, space, X, value, rng, _FEW_STRIDES, box)
    for point, of_candidates in zip(X, values.T, strict=True):
        if excluded.new(point[None])[0]:
            yield point
            continue
        unused = candidates[excluded.new(candidates)]  # a climb may end on a used point
        if not len(unused):
            return
        yield unused[of_candidates[excluded.new(candidates)].argmax()]


def unused_candidates(
    space: Space,
    best: FloatArray,
    excluded: ExclusionList,
    rng: np.random.Generator,
    box: Box = WHOLE,
) -> FloatArray:
    """Draw `(c, d)` distinct configurations over a box and around the best; see `maximise`."""
    low, high = box
    drawn = low + (high - low) * qmc.Sobol(space.dim, scramble=True, rng=rng).random(_SCREENED)
    if len(best):
        near = best[rng.integers(len(best), size=_NEARBY)]
        drawn = np.vstack([drawn, _moved(space, near, _SPREAD, rng, box)])
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
    acquisition: Acquisition,
    space: Space,
    X: FloatArray,
    value: FloatArray,
    smooth: list[int],
    box: Box = WHOLE,
) -> tuple[FloatArray, FloatArray]:
    """Climb by L-BFGS-B in the columns `smooth`, all restarts as one problem (their sum)."""
    fixed = torch.as_tensor(X, dtype=torch.double)
    shape = len(X), len(smooth)
    low, high = (np.broadcast_to(end, space.dim)[smooth] for end in box)

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
        bounds=list(zip(low, high, strict=True)) * len(X),
        options=_CLIMB,
    )
    climbed = X.copy()
    climbed[:, smooth] = np.clip(result.x.reshape(shape), low, high)
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
    strides: int,
    box: Box = WHOLE,
) -> tuple[FloatArray, FloatArray]:
    """Move each restart to the best of random steps of all sizes, in some columns, if better."""
    n, d = X.shape
    size = np.exp(rng.uniform(np.log(_LEAST_STRIDE), np.log(0.5), size=(n, strides, 1)))
    around = _moved(space, np.repeat(X[:, None], strides, axis=1), size, rng, box)
    around = space.in_full(space.snap(around.reshape(-1, d)))
    gains = _evaluate(acquisition, around, space).reshape(n, strides)
    top = gains.argmax(axis=1)
    best = around.reshape(n, strides, d)[np.arange(n), top]
    return _better(X, value, best, gains[np.arange(n), top])


def _moved(
    space: Space,
    near: FloatArray,
    size: float | FloatArray,
    rng: np.random.Generator,
    box: Box,
) -> FloatArray:
    """Move `(..., d)` points at random in some columns: good configurations differ in few.

    `size` is the standard deviation of a move in an ordered column, as a share of the box; a
    category is drawn at random.
    """
    low, high = box
    d = space.dim
    moved = rng.random(near.shape) < rng.uniform(1.0 / d, 1.0, size=(*near.shape[:-1], 1))
    moved |= np.arange(d) == rng.integers(d, size=(*near.shape[:-1], 1))  # one at least
    jump = np.clip(near + size * (high - low) * rng.normal(size=near.shape), low, high)
    categorical = np.flatnonzero([c.kind == "categorical" for c in space.columns])
    jump[..., categorical] = rng.random((*near.shape[:-1], len(categorical)))
    return np.where(moved, jump, near)


def _smooth(space: Space) -> list[int]:
    """The columns that are climbed by gradients."""
    return [
        i
        for i, column in enumerate(space.columns)
        if column.kind != "categorical"
        and not column.is_fidelity
        and (column.n_levels or math.inf) > _FEW_LEVELS
    ]


def _better(
    X: FloatArray, value: FloatArray, other_X: FloatArray, other_value: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Row by row whichever is better."""
    wins = other_value > value
    return np.where(wins[:, None], other_X, X), np.where(wins, other_value, value)
