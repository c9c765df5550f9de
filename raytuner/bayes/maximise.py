"""Maximisation of an acquisition function over a mixed space.

Three moves, each batched over all restarts: a wide screening of candidates, gradient ascent in the
columns that are continuous or nearly so (a whole number of many), and steps from level to level.
Each candidate that is compared is one the space can represent: a climb ends on a level.

Where hyperparameters are fidelities, only configurations at full fidelity are compared.

Under constraints each of them keeps these too: a climb that leaves what is allowed is pulled back
to its border, and a fourth move, random steps of all sizes, goes along the border.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.optimize import minimize
from scipy.stats import qmc

from raytuner.bayes.acquisition import Acquisition
from raytuner.bayes.seen import Seen
from raytuner.history.snapshot import FloatArray
from raytuner.space import Column, Space

_SCREENED = 512  # candidates over the whole space
_NEARBY = 256  # candidates around the best configurations so far
_RESTARTS = 8
_SHARE_ALLOWED = 0.3  # where fewer candidates keep the constraints, more are looked for
_ROUNDS = 4  # alternations of gradient and level moves
# Further digits of the logarithm of an improvement change no proposal.
_CLIMB = {"maxiter": 60, "ftol": 1e-5, "gtol": 1e-3}
_SPREAD = 0.08  # standard deviation of a nearby candidate, as a share of a column's range
_HOPELESS = 20.0  # a log value that far below the best is as bad as any
_STRIDES, _STRIDE_ROUNDS = 64, 12  # random steps a restart, and how often
_LEAST_STRIDE = 1e-3  # standard deviation, as a share of a column's range
_FEW_LEVELS = 24  # a column of more levels, if these have an order, is climbed


def maximise(
    acquisition: Acquisition,
    space: Space,
    best: FloatArray,
    seen: Seen,
    rng: np.random.Generator,
    *,
    local: bool = False,
) -> FloatArray | None:
    """Find an unused configuration of high acquisition value.

    Args:
        acquisition: Values of ``(n, d)`` points; log scale.
        space: The search space, d columns.
        best: ``(e, d)`` the best configurations so far, some of the candidates lie around them.
        seen: Configurations that must not be returned.
        rng: Source of the candidates.
        local: Climb from ``best``, rather than from the best of the candidates; these are what is
            left if all of them are used.

    Returns:
        ``(d,)`` the point, or None if every candidate was used already.
    """
    candidates = unused_candidates(space, best, seen, rng)
    if not len(candidates):
        candidates = space.in_full(seen.unused(rng, _RESTARTS))
        candidates = candidates[seen.new(candidates)]
        if not len(candidates):
            return None
    values = _evaluate(acquisition, candidates)
    if local and len(best):
        X, value = best, _evaluate(acquisition, best)
    else:
        starts = _choose_starts(values, rng)
        X, value = candidates[starts], values[starts]

    columns = space.columns
    searched = [(i, c) for i, c in enumerate(columns) if not c.is_fidelity]
    smooth = np.array([i for i, c in searched if _is_smooth(c)], dtype=np.int64)
    stepped = np.array([i for i, c in searched if c.kind != "continuous"], dtype=np.int64)
    for _ in range(_ROUNDS):
        before = value.copy()
        if len(smooth):
            X, value = _ascend(acquisition, space, X, value, smooth)
        if not len(stepped):
            break
        X, value = _step(acquisition, space, X, value, stepped)
        if not len(smooth) or np.all(value - before < 1e-4):
            break
        # The worse half of the restarts will hardly overtake.
        keep = np.argsort(-value, kind="stable")[: max(2, len(value) // 2)]
        X, value = X[keep], value[keep]

    if space.constraints:
        X, value = _stride(acquisition, space, X, value, rng)

    # The climbs may have ended on used points: their starting candidates were unused.
    everything = np.vstack([X, candidates])
    order = np.argsort(-np.concatenate([value, values]), kind="stable")
    everything = space.snap(everything[order])
    fresh = everything[seen.new(everything)]
    return fresh[0]


def unused_candidates(
    space: Space, best: FloatArray, seen: Seen, rng: np.random.Generator
) -> FloatArray:
    """``(c, d)`` distinct configurations over the space and around the best; see `maximise`."""
    candidates = space.in_full(space.snap(_candidates(space, best, rng)))
    fresh = candidates[seen.new(candidates)]
    if space.constraints and len(fresh) < _SHARE_ALLOWED * len(candidates):
        fresh = np.vstack([fresh, space.in_full(seen.unused(rng, _NEARBY))])
        return fresh[seen.new(fresh)]
    return fresh


def _candidates(space: Space, best: FloatArray, rng: np.random.Generator) -> FloatArray:
    wide = qmc.Sobol(space.dim, scramble=True, rng=rng).random(_SCREENED)
    if not len(best):
        return wide
    near = best[rng.integers(len(best), size=_NEARBY)]
    # Each nearby candidate moves in some of its columns only: good configurations differ in few.
    moved = rng.random(near.shape) < rng.uniform(1.0 / space.dim, 1.0, size=(_NEARBY, 1))
    moved[np.arange(_NEARBY), rng.integers(space.dim, size=_NEARBY)] = True
    jump = near + rng.normal(scale=_SPREAD, size=near.shape)
    categorical = np.array([c.kind == "categorical" for c in space.columns])
    jump[:, categorical] = rng.random((_NEARBY, int(categorical.sum())))
    return np.vstack([wide, np.where(moved, np.clip(jump, 0.0, 1.0), near)])


def _choose_starts(values: FloatArray, rng: np.random.Generator) -> np.ndarray:
    """The best candidate, and others drawn by their standing among the promising ones."""
    best = int(values.argmax())
    # Where nothing is to be gained, log values run into the thousands below zero.
    promising = np.maximum(values - values[best], -_HOPELESS)
    # Gumbel's trick: the largest of log weight + noise are a draw without replacement.
    keys = promising / max(float(promising.std()), 1e-6) + rng.gumbel(size=len(values))
    keys[best] = np.inf
    return np.argsort(-keys, kind="stable")[:_RESTARTS]


def _evaluate(acquisition: Acquisition, X: FloatArray) -> FloatArray:
    with torch.no_grad():
        values = acquisition(torch.as_tensor(X, dtype=torch.double)).numpy()
    return np.where(np.isnan(values), -np.inf, values)


def _evaluate_allowed(acquisition: Acquisition, space: Space, X: FloatArray) -> FloatArray:
    """As `_evaluate`; what breaks a constraint is worth nothing."""
    return np.where(space.allowed(X), _evaluate(acquisition, X), -np.inf)


def _ascend(
    acquisition: Acquisition, space: Space, X: FloatArray, value: FloatArray, smooth: np.ndarray
) -> tuple[FloatArray, FloatArray]:
    """L-BFGS-B in the columns ``smooth``, all restarts as one problem (their values add up)."""
    fixed = torch.as_tensor(X, dtype=torch.double)

    def negative(flat: FloatArray) -> tuple[float, FloatArray]:
        free = torch.tensor(flat.reshape(len(X), len(smooth)), requires_grad=True)
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
    climbed[:, smooth] = np.clip(result.x.reshape(len(X), len(smooth)), 0.0, 1.0)
    if space.constraints:
        climbed = space.pulled_back(X, climbed)
    climbed = space.snap(climbed)  # an endless grid (qrandn) is climbed as a line
    return _better(X, value, climbed, _evaluate(acquisition, climbed))


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
        gains = _evaluate_allowed(acquisition, space, around).reshape(n, _STRIDES)
        top = gains.argmax(axis=1)
        best = around.reshape(n, _STRIDES, d)[np.arange(n), top]
        X, value = _better(X, value, best, gains[np.arange(n), top])
    return X, value


def _step(
    acquisition: Acquisition,
    space: Space,
    X: FloatArray,
    value: FloatArray,
    stepped: np.ndarray,
) -> tuple[FloatArray, FloatArray]:
    """Move each restart to its best neighbour in the columns ``stepped`` until none is better."""
    for _ in range(2 * len(stepped) + 2):
        neighbours: list[FloatArray] = []
        owner: list[int] = []
        for row, point in enumerate(X):
            for i in stepped:
                for unit in _other_levels(space.columns[i], point[i]):
                    neighbour = point.copy()
                    neighbour[i] = unit
                    neighbours.append(neighbour)
                    owner.append(row)
        if not neighbours:
            break
        around, owners = np.array(neighbours), np.array(owner)
        gains = _evaluate_allowed(acquisition, space, around)
        best_X, best_value = X.copy(), value.copy()
        for row in range(len(X)):
            mine = np.flatnonzero(owners == row)
            if not len(mine):
                continue
            top = mine[gains[mine].argmax()]
            if gains[top] > value[row] + 1e-6:
                best_X[row], best_value[row] = around[top], gains[top]
        if np.array_equal(best_value, value):
            break
        X, value = best_X, best_value
    return X, value


def _is_smooth(column: Column) -> bool:
    """Whether a column is climbed."""
    if column.kind == "categorical":
        return False
    return column.n_levels is None or column.n_levels > _FEW_LEVELS


def _other_levels(column: Column, unit: float) -> FloatArray:
    """Unit coordinates of the levels to try from ``unit``: all, or the next ones of a climb."""
    if _is_smooth(column):
        return column.domain.neighbours(unit)
    levels = column.domain.level_units()
    return levels[levels != unit]


def _better(
    X: FloatArray, value: FloatArray, other_X: FloatArray, other_value: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Row by row whichever is better."""
    wins = other_value > value
    return np.where(wins[:, None], other_X, X), np.where(wins, other_value, value)
