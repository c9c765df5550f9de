"""Configurations that the user gives: to try first, or evaluated elsewhere."""

from __future__ import annotations

import math
from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from raytuner.controller.recorder import record_metrics
from raytuner.controller.report import read_metrics
from raytuner.errors import ConfigError, MetricError, SettingError
from raytuner.history import Goal, History, Origin, TrialState
from raytuner.space import Config, Space, value_at
from raytuner.space.choices import is_number
from raytuner.space.template import MISSING, like

# The most values that are tried for what a point leaves out, until all constraints hold.
_DRAWS = 1000


@dataclass(frozen=True)
class Evaluated:
    """A configuration that was evaluated elsewhere.

    Attributes:
        parameters: The configuration.
        value: The metric, or several by name.
        error: Whether the evaluation failed. Defaults to False.
        pruned: Whether it was stopped early. Defaults to False.
        curve: The metric after 1, 2, ... units of resource. Empty by default.
    """

    parameters: Mapping[str, Any]
    value: float | Mapping[str, float]
    error: bool = False
    pruned: bool = False
    curve: tuple[float, ...] = ()

    @classmethod
    def of(
        cls,
        parameters: Mapping[str, Any],
        value: float | Mapping[str, float],
        error: bool,
        pruned: bool,
        curve: Sequence[float] | None,
        goal: Goal | None,
    ) -> Evaluated:
        """Check the arguments of `BoTorchSearch.add_evaluated_point`, and return the point.

        Raises:
            SettingError, MetricError: See there.
        """
        if pruned and not curve:
            raise SettingError(
                "add_evaluated_point got pruned=True without intermediate_values; a stopped value"
                " counts at its resource only: pass the metric after 1, 2, ... units"
            )
        if curve and goal is not None and len(goal.metrics) > 1:
            raise SettingError(
                "add_evaluated_point got intermediate_values, which are of one metric; this search"
                f" has {', '.join(goal.metrics)}"
            )
        values = list(value.values()) if isinstance(value, Mapping) else [value]
        for number in [*([] if error else values), *(curve or ())]:
            if not is_number(number):
                raise MetricError(
                    f"add_evaluated_point got {number!r} ({type(number).__name__}); the metric"
                    " must be a number"
                )
        return cls(parameters, value, error, pruned, tuple(curve or ()))


class InitialPoints:
    """The `points_to_evaluate` of a search, with `evaluated_rewards` if they were evaluated.

    A point may leave out hyperparameters. A point that is listed twice is tried twice.

    Args:
        points: The configurations.
        rewards: The value of the metric for each point (of several metrics, a dict by name); the
            points are not tried then. None: they were not evaluated.

    Raises:
        SettingError: There are not as many rewards as points.
    """

    def __init__(self, points: Sequence[Config] | None, rewards: Sequence[Any] | None) -> None:
        self._points = list(points or [])
        self._rewards = None if rewards is None else list(rewards)
        self._known: tuple[Space, list[np.ndarray]] | None = None
        if self._rewards is not None and len(self._rewards) != len(self._points):
            raise SettingError(
                f"evaluated_rewards has {len(self._rewards)} values and points_to_evaluate"
                f" {len(self._points)}; give one value for each point"
            )

    def check(self, space: Space) -> None:
        """Check that each point fits the space.

        Raises:
            ConfigError: A point does not fit, or was evaluated and leaves out a hyperparameter.
        """
        rng = np.random.default_rng(0)
        for number, point in enumerate(self._points):
            try:
                if self._rewards is None:
                    filled(space, point, rng)
                else:
                    space.validate(point)
            except ConfigError as error:
                raise ConfigError(f"points_to_evaluate[{number}]: {error}") from None

    def evaluated(self) -> list[Evaluated]:
        """Return the points that were evaluated already."""
        if self._rewards is None:
            return []
        pairs = zip(self._points, self._rewards, strict=True)
        return [Evaluated(point, reward) for point, reward in pairs]

    def next(self, history: History, propose: Callable[[], Config | None]) -> Config | None:
        """Return the first point that the record does not hold, complete; None if it holds all.

        Args:
            history: The record.
            propose: Returns a proposal, or None. A point takes from it what the point leaves out.
        """
        if not self._points or self._rewards is not None:
            return None
        space, snapshot = history.space, history.snapshot()
        # One that was dropped before it reported (its driver died, say) is still to be evaluated.
        dropped = set(snapshot.rows(TrialState.REMOVED)) - set(snapshot.trial)
        rows: dict[bytes, deque[int]] = defaultdict(deque)
        handed_out: dict[int, None] = {}  # rows that may be completed points
        for row, head in enumerate(history.heads()):
            if row not in dropped:
                rows[snapshot.points[row].tobytes()].append(row)
                if head.origin is Origin.INITIAL:
                    handed_out[row] = None
        for point, x in zip(self._points, self._encoded(space), strict=True):
            given = ~np.isnan(x)
            if given.all():
                found = rows[x.tobytes()].popleft() if rows[x.tobytes()] else None
            else:
                same = (
                    r for r in handed_out if np.array_equal(snapshot.points[r][given], x[given])
                )
                found = next(same, None)
                if found is not None:
                    rows[snapshot.points[found].tobytes()].remove(found)
            if found is None:
                return filled(space, point, np.random.default_rng(len(history)), propose)
            handed_out.pop(found, None)
        self._points = []  # all handed out; the record says so from now on
        return None

    def _encoded(self, space: Space) -> list[np.ndarray]:
        """Return the unit coordinates of the points; NaN for what they leave out."""
        if self._known is None or self._known[0] is not space:
            self._known = space, [_encoded(space, point) for point in self._points]
        return self._known[1]


def filled(
    space: Space,
    point: Mapping[str, Any],
    rng: np.random.Generator,
    propose: Callable[[], Config | None] = lambda: None,
) -> Config:
    """Return a point completed from a proposal, or with values drawn at random.

    Args:
        space: The search space.
        point: The point.
        rng: The source of random values.
        propose: Returns a proposal, or None. It is called only if the point leaves something out.

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
    kept = (i for i in range(len(usable)) if space.allowed(usable[i : i + 1])[0])
    first = next(kept, None)
    (base,) = space.decode(X[:1] if first is None else usable[first : first + 1])
    try:
        return completed(space, _over(base, point))
    except ConfigError as error:
        if first is not None or not len(usable):
            raise
        names = ", ".join(
            c.name for c, is_given in zip(space.columns, given, strict=True) if not is_given
        )
        raise ConfigError(f"{error}; {_DRAWS} values were tried for {names}") from None


def _encoded(space: Space, point: Mapping[str, Any]) -> np.ndarray:
    """Return `(d,)` unit coordinates of a point; NaN for what is missing or wrong in it."""
    try:
        return space.encode([point])[0]
    except ConfigError:
        pass  # it leaves something out
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
    """Return a configuration with the values of a point in place of its own."""
    if isinstance(base, Mapping) and isinstance(point, Mapping):
        return {**base, **{k: _over(base[k], v) if k in base else v for k, v in point.items()}}
    are_lists = isinstance(base, list | tuple) and isinstance(point, list | tuple)
    if are_lists and len(base) == len(point):
        return like(base, [_over(*pair) for pair in zip(base, point, strict=True)])
    return point


def completed(space: Space, config: Mapping[str, Any]) -> Config:
    """Return the configuration with the space's constants filled in.

    Raises:
        ConfigError: It does not fit the space.
    """
    space.validate(config)
    return space.load(space.dump(config))


def record_evaluated(history: History, point: Evaluated) -> None:
    """Record an evaluated point as an ended trial.

    Raises:
        ConfigError: Its configuration does not fit the space.
        MetricError: It lacks a metric of the search.
    """
    metrics = _metrics(history, point)
    trial_id = f"evaluated_{len(history):05d}"
    history.add(trial_id, completed(history.space, point.parameters), Origin.EVALUATED)
    for t, value in enumerate(point.curve, start=1):
        history.report(trial_id, t, value)
    if point.error:
        history.end(trial_id, TrialState.FAILED, "it failed where it was evaluated")
    elif point.pruned:
        history.end(trial_id, TrialState.STOPPED_EARLY, "stopped where it was evaluated")
    else:
        record_metrics(history, trial_id, len(point.curve) or history.max_t or 1.0, metrics)
        needed = {name: metrics[name] for name in history.goal.required}
        odd = [f"{name} is {value}" for name, value in needed.items() if not math.isfinite(value)]
        history.end(trial_id, TrialState.FAILED if odd else TrialState.COMPLETED, ", ".join(odd))


def _metrics(history: History, point: Evaluated) -> dict[str, float]:
    """Return the metrics of a point, checked."""
    goal = history.goal
    if point.error:
        return {}
    if isinstance(point.value, Mapping):
        return read_metrics(point.value, goal)
    if len(goal.required) > 1:
        raise MetricError(
            f"add_evaluated_point got the one number {point.value!r}; this search has the metrics"
            f" {', '.join(goal.required)}: give a dict of them"
        )
    return read_metrics({history.metric: point.value}, goal)
