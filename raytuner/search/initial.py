"""Configurations from the user: to try first, or evaluated elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from raytuner.controller.report import not_finite, read_metrics, record_metrics
from raytuner.errors import ConfigError, MetricError, SettingError
from raytuner.history import History, Origin, TrialState
from raytuner.space import Config, Space, value_at
from raytuner.space.template import MISSING, like

# The most values that are tried for what a point leaves out, until all constraints hold.
_DRAWS = 1000


def check_points(points: Sequence[Config], space: Space, *, evaluated: bool) -> None:
    """Check that each of `points_to_evaluate` fits the space.

    Raises:
        ConfigError: A point does not fit, or an evaluated point lacks a hyperparameter.
    """
    rng = np.random.default_rng(0)
    for number, point in enumerate(points):
        try:
            if evaluated:
                space.validate(point)
            else:
                filled(space, point, rng)
        except ConfigError as error:
            raise ConfigError(f"points_to_evaluate[{number}]: {error}") from None


def untried(
    points: Sequence[Config], history: History, origins: Container[Origin], since: int = 0
) -> list[Config]:
    """Return the points that have no trial in the record, in order.

    A point that is listed twice is tried twice. A point is tried again if its trial was dropped
    before it reported (because its driver died, for example).

    Args:
        points: The points.
        history: The record.
        origins: The origins of the trials that count.
        since: The number of the first trial that counts.
    """
    snapshot = history.snapshot()
    reported = set(snapshot.trial)
    tried = [
        snapshot.points[head.number]
        for head in history.heads()
        if head.origin in origins
        and head.number >= since
        and (head.state is not TrialState.REMOVED or head.number in reported)
    ]
    left = []
    for point in points:
        x = _encoded(history.space, point)
        given = ~np.isnan(x)
        same = [k for k, other in enumerate(tried) if np.array_equal(other[given], x[given])]
        if same:
            del tried[same[0]]
        else:
            left.append(point)
    return left


def filled(
    space: Space,
    point: Mapping[str, Any],
    rng: np.random.Generator,
    propose: Callable[[], Config | None] = lambda: None,
) -> Config:
    """Return a point completed from a proposal, or with values drawn at random.

    `propose` returns a proposal or None. It is called only if the point is incomplete.

    Raises:
        ConfigError: The point does not fit the space.
    """
    try:
        return completed(space, point)
    except ConfigError:
        if not isinstance(point, Mapping):
            raise
    x = _encoded(space, point)
    given = ~np.isnan(x)
    X = rng.random((_DRAWS, space.dim))
    if (proposal := propose()) is not None:
        proposed = space.encode([proposal])
        X[0] = np.where(space.active(proposed)[0], proposed[0], X[0])
    X = space.in_full(X)
    X[:, given] = x[given]
    usable = X[space.active(X)[:, given].all(axis=1)]
    first = next((x[None] for x in usable if space.allowed(x[None])[0]), None)
    (base,) = space.decode(X[:1] if first is None else first)
    try:
        return completed(space, _over(base, point))
    except ConfigError as error:
        if first is not None:
            raise
        raise ConfigError(f"{error}; tried {_DRAWS} values for the missing keys") from None


def _encoded(space: Space, point: Mapping[str, Any]) -> np.ndarray:
    """Return the unit coordinates of a point, `d`-dim; NaN for missing and wrong values."""
    x = np.full(space.dim, np.nan)
    try:
        flat = space.unfolded(point)
    except ConfigError:
        return x
    for j, column in enumerate(space.columns):
        value = value_at(flat, column.path, MISSING)
        if value is not MISSING and column.domain.contains(value):
            x[j] = column.domain.to_unit(value)
    return x


def _over(base: Any, point: Any) -> Any:
    """Return a configuration with its values replaced by those of a point."""
    if isinstance(base, Mapping) and isinstance(point, Mapping):
        return {**base, **{k: _over(base[k], v) if k in base else v for k, v in point.items()}}
    are_lists = isinstance(base, list | tuple) and isinstance(point, list | tuple)
    if are_lists and len(base) == len(point):
        return like(base, [_over(*pair) for pair in zip(base, point, strict=True)])
    return point


def completed(space: Space, config: Mapping[str, Any]) -> Config:
    """Return the configuration with the space's constants filled in.

    Raises:
        ConfigError: The configuration does not fit the space.
    """
    space.validate(config)
    return space.load(space.dump(config))


@dataclass(frozen=True)
class Evaluated:
    """A configuration that was evaluated elsewhere; see `BoTorchSearch.add_evaluated_point`."""

    parameters: Mapping[str, Any]
    value: float | Mapping[str, float]
    error: bool = False
    pruned: bool = False
    curve: Sequence[float] = ()


def record_evaluated(history: History, point: Evaluated) -> None:
    """Record an evaluated point as an ended trial.

    Raises:
        ConfigError: Its configuration does not fit the space.
        MetricError: A metric of the search is missing, or a value is not a number.
        SettingError: It was pruned and has no curve.
    """
    goal = history.goal
    if point.pruned and not point.curve:
        raise SettingError(
            "add_evaluated_point got pruned=True without intermediate_values; the resource of the"
            " value is unknown then: pass the metric after 1, 2, ... units"
        )
    is_named = isinstance(point.value, Mapping)
    if len(goal.required) > 1 and not point.error and (point.curve or not is_named):
        raise MetricError(
            f"this search has the metrics {', '.join(goal.required)}: give add_evaluated_point a"
            " dict of them, and no intermediate_values"
        )
    curve = [read_metrics({history.metric: value}, goal) for value in point.curve]
    metrics: dict[str, float] = {}
    if not point.error:
        value: Any = point.value if is_named else {history.metric: point.value}
        metrics = read_metrics(value, goal)
    trial_id = f"evaluated_{len(history):05d}"
    history.add(trial_id, completed(history.space, point.parameters), Origin.EVALUATED)
    for t, reported in enumerate(curve, start=1):
        history.report(trial_id, t, reported[history.metric])
    if point.error:
        history.end(trial_id, TrialState.FAILED, "it failed where it was evaluated")
    elif point.pruned:
        history.end(trial_id, TrialState.STOPPED_EARLY, "stopped where it was evaluated")
    else:
        record_metrics(history, trial_id, len(curve) or history.max_t or 1.0, metrics)
        odd = not_finite(history, metrics)
        history.end(trial_id, TrialState.FAILED if odd else TrialState.COMPLETED, odd)
