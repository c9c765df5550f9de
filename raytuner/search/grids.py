"""Try every value of a hyperparameter that the user gave as `tune.grid_search`."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from raytuner.errors import RaytunerWarning
from raytuner.history import History
from raytuner.search.tune_space import is_grid_search
from raytuner.space import Config
from raytuner.space.template import OPTION, path_name, walk

GRIDS = "grid_search"
"""Metadata: the names of hyperparameters with `tune.grid_search`."""

_SAME_LEVEL = 1e-9


def grids(param_space: Any) -> list[str]:
    """Return the names of hyperparameters with `tune.grid_search`."""
    names = [path_name(path) for path, node in walk(param_space) if is_grid_search(node)]
    return [*names, *(f"{name}/{OPTION}" for name in names)]  # of grids whose values hold domains


def warn_of_too_few(history: History, names: Sequence[str], num_samples: object) -> None:
    """Warn if there are fewer trials than values of a grid."""
    if not isinstance(num_samples, int) or num_samples < 0:
        return
    for column in history.space.columns:
        levels = column.n_levels or 0
        if column.name in names and levels > num_samples:
            warnings.warn(
                f"{column.name}: tune.grid_search has {levels} values, but num_samples is only"
                f" {num_samples}, so some values will not be tried; set num_samples to at least"
                f" {levels}, or use tune.choice",
                RaytunerWarning,
                stacklevel=4,
            )


def with_untried(history: History, names: Sequence[str], config: Config) -> Config | None:
    """Return a proposal with tried values of grids replaced by untried ones.

    `names` are the hyperparameters that are grids. Values are replaced where the space allows it.
    Returns None if every value was tried.
    """
    space, points = history.space, history.points()
    active = space.active(points)
    x, is_left = space.encode([config])[0], False
    for j, column in enumerate(space.columns):
        if column.name not in names or column.is_fidelity:
            continue
        tried = points[active[:, j], j]
        units = column.domain.level_units()
        left = [unit for unit in units if not np.any(np.abs(tried - unit) < _SAME_LEVEL)]
        is_left = is_left or bool(left)
        if not space.active(x[None])[0, j] or any(abs(unit - x[j]) < _SAME_LEVEL for unit in left):
            continue
        changed = np.repeat(x[None], len(left), axis=0)
        changed[:, j] = left
        x = next((other for other in changed if space.allowed(other[None])[0]), x)
    return space.decode(x[None])[0] if is_left else None
