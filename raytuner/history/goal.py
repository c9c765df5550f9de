"""The goal of a search: one or several metrics, and bounds on others."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any, Literal

from raytuner.errors import MetricError

Mode = Literal["min", "max"]


@dataclass(frozen=True)
class Objective:
    """A metric to minimise or maximise.

    Attributes:
        metric: Its name in a report.
        mode: "min" or "max".
    """

    metric: str
    mode: Mode

    def score(self, value: float) -> float:
        """Return the value with the sign that makes larger better."""
        return value if self.mode == "max" else -value


@dataclass(frozen=True)
class OutcomeConstraint:
    """A bound on a metric that a good trial keeps.

    Attributes:
        metric: Its name in a report.
        relation: "<=" or ">=".
        bound: In units of the metric.
    """

    metric: str
    relation: Literal["<=", ">="]
    bound: float

    @classmethod
    def of(cls, text: object) -> OutcomeConstraint:
        """Parse a comparison of one metric with one number, such as `"latency_ms <= 20"`.

        Raises:
            MetricError: The text is anything else.

        Examples:
            >>> OutcomeConstraint.of("latency_ms <= 20").slack(15.0)
            5.0
        """
        parts = re.split("(<=|>=)", text) if isinstance(text, str) else []
        if len(parts) == 3:
            metric, relation, number = (part.strip() for part in parts)
            with suppress(ValueError):
                if metric and math.isfinite(bound := float(number)):
                    return cls(metric, "<=" if relation == "<=" else ">=", bound)
        raise MetricError(
            f"the outcome constraint {text!r} cannot be read; write the name of one metric, <= or"
            " >=, and one finite number, such as 'latency_ms <= 20', and give each bound as a"
            " constraint of its own: ['latency_ms <= 20', 'memory_mb <= 300']"
        )

    def __str__(self) -> str:
        return f"{self.metric} {self.relation} {self.bound:g}"

    def slack(self, value: float) -> float:
        """Return how far inside the bound a value is; negative if it is outside."""
        return self.bound - value if self.relation == "<=" else value - self.bound


@dataclass(frozen=True)
class Goal:
    """The goal of a search: objectives, constraints, and metrics for cost and noise.

    Attributes:
        objectives: One or several objectives. Several without weights have a Pareto front.
        constraints: Bounds that a good trial satisfies.
        weights: A positive weight for each objective. The objective is then the weighted sum of the
            scores (`Objective.score`).
        cost: Name of the metric for a trial's cost so far, such as Ray's "time_total_s". None: all
            trials cost the same.
        standard_error: Name of the metric for the objective's standard error. None: unknown.

    Examples:
        >>> goal = Goal.of(["accuracy", "ms"], ["max", "min"], outcome_constraints=["ms <= 20"])
        >>> goal.metrics
        ('accuracy', 'ms')
        >>> goal.outcomes({"accuracy": 0.9, "ms": 15.0})
        (0.9, -15.0, 5.0)
    """

    objectives: tuple[Objective, ...]
    constraints: tuple[OutcomeConstraint, ...] = ()
    weights: tuple[float, ...] | None = None
    cost: str | None = None
    standard_error: str | None = None

    @classmethod
    def of(
        cls,
        metric: str | Sequence[str],
        mode: str | Sequence[str],
        *,
        outcome_constraints: Sequence[str] = (),
        weights: Sequence[float] | None = None,
        cost: str | None = None,
        standard_error: str | None = None,
    ) -> Goal:
        """Return the goal that a user describes.

        Args:
            metric: Name of the objective, or of several.
            mode: "min" or "max", one for each metric.
            outcome_constraints: Texts as `OutcomeConstraint.of` takes them.
            weights: As in `Goal`.
            cost: As in `Goal`.
            standard_error: As in `Goal`.

        Raises:
            MetricError: An argument is invalid.
        """
        metrics, modes = names_of("metric", metric), names_of("mode", mode)
        if len(metrics) != len(modes):
            raise MetricError(
                f"metric is {metric!r} and mode is {mode!r}; give one mode for each metric"
                f" (received {len(metrics)} and {len(modes)})"
            )
        if len(set(metrics)) < len(metrics):
            raise MetricError(f"metric is {metric!r}; name each metric once")
        if isinstance(outcome_constraints, str):
            outcome_constraints = [outcome_constraints]
        if not isinstance(outcome_constraints, list | tuple):
            raise MetricError(
                f"outcome_constraints is {outcome_constraints!r}; give a list of texts, such as"
                " ['latency_ms <= 20']"
            )
        constraints = tuple(map(OutcomeConstraint.of, outcome_constraints))
        if len({(one.metric, one.relation) for one in constraints}) < len(constraints):
            raise MetricError(
                f"outcome_constraints is {list(outcome_constraints)!r}; give only one bound for"
                " each metric and relation"
            )
        if standard_error is not None and len(metrics) > 1:
            raise MetricError(
                f"standard_error is {standard_error!r} and metric is {metric!r}; a standard error"
                " works only with a single metric: name one, or leave it out"
            )
        for name, given in (("cost", cost), ("standard_error", standard_error)):
            if given is not None and not (given and isinstance(given, str)):
                raise MetricError(
                    f"{name} is {given!r}; it must be the name of a key in the report"
                )
        objectives = tuple(Objective(*pair) for pair in zip(metrics, modes, strict=True))
        scale = None if weights is None else _weights(weights, metrics)
        return cls(objectives, constraints, scale, cost, standard_error)

    @cached_property
    def required(self) -> tuple[str, ...]:
        """The metrics that every report must have, the first objective first."""
        names = [one.metric for one in self.objectives] + [one.metric for one in self.constraints]
        return tuple(dict.fromkeys(names))

    @cached_property
    def metrics(self) -> tuple[str, ...]:
        """The required metrics, then the optional ones: the cost and the standard error."""
        names = dict.fromkeys((*self.required, self.cost, self.standard_error))
        return tuple(filter(None, names))

    def unusable(self, values: Mapping[str, float]) -> dict[str, str]:
        """Return the optional metrics that are missing or not a finite number of 0 or more.

        A standard error may be missing.

        Returns:
            "cost" or "standard error" by the name of the metric.
        """
        found = {}
        if self.cost is not None and not 0 <= values.get(self.cost, -1.0) < math.inf:
            found[self.cost] = "cost"
        error = self.standard_error
        if error is not None and not 0 <= values.get(error, 0.0) < math.inf:
            found[error] = "standard error"
        return found

    @property
    def n_objectives(self) -> int:
        """The number of objectives; 1 with weights."""
        return 1 if self.weights is not None else len(self.objectives)

    @cached_property
    def is_plain(self) -> bool:
        """True if the goal is one metric without constraint, cost or standard error."""
        return self == Goal(self.objectives[:1], weights=self.weights)

    def outcomes(self, values: Mapping[str, float]) -> tuple[float, ...]:
        """Return the values to maximise: the objectives, then the slack of each constraint.

        Args:
            values: The metrics by name. A missing one counts as NaN.
        """
        scores = [one.score(values.get(one.metric, math.nan)) for one in self.objectives]
        if self.weights is not None:
            scores = [sum(w * score for w, score in zip(self.weights, scores, strict=True))]
        slacks = [c.slack(values.get(c.metric, math.nan)) for c in self.constraints]
        return (*scores, *slacks)

    def violation(self, values: Mapping[str, float]) -> float:
        """Return the sum of the distances outside the bounds; infinity if one is unknown."""
        total = 0.0
        for one in self.constraints:
            slack = one.slack(values.get(one.metric, math.nan))
            total += math.inf if math.isnan(slack) else max(0.0, -slack)
        return total

    def with_cost(self, cost: str) -> Goal:
        """Return the goal with a cost, unless it has one."""
        return self if self.cost is not None else replace(self, cost=cost)

    def to_json(self) -> dict[str, Any]:
        """Return the goal as JSON data."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Goal:
        """Return the goal that `to_json` wrote."""
        return cls(
            tuple(Objective(**one) for one in data["objectives"]),
            tuple(OutcomeConstraint(**one) for one in data["constraints"]),
            None if data["weights"] is None else tuple(data["weights"]),
            data.get("cost"),
            data.get("standard_error"),
        )


def names_of(what: Literal["metric", "mode"], given: object) -> list[Any]:
    """Return one metric or mode, or several, as a list.

    Raises:
        MetricError: `given` is something else.
    """
    names: list[Any] = list(given) if isinstance(given, list | tuple) else [given]
    valid = ("min", "max") if what == "mode" else names
    if not names or not all(isinstance(name, str) and name in valid and name for name in names):
        expected = "'min' or 'max'" if what == "mode" else "the name of a key in the report"
        raise MetricError(f"{what} is {given!r}; it must be {expected}, or a list of these")
    return names


def _weights(weights: Sequence[float], metrics: Sequence[str]) -> tuple[float, ...]:
    numbers = list(weights) if isinstance(weights, list | tuple) else []
    valid = all(isinstance(w, int | float) and 0 < w < math.inf for w in numbers)
    if len(numbers) != len(metrics) or not valid:
        raise MetricError(
            f"weights is {weights!r}; give one number above 0 for each of {list(metrics)!r}"
        )
    return tuple(map(float, numbers))
