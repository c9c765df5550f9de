"""What a search is after: one metric or several, and bounds on others."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from raytuner.errors import MetricError

Mode = Literal["min", "max"]

_MODES = ("min", "max")
_RELATION = re.compile(r"[<>]+=*|=[=<>]+|[!~]=|[≤≥≠]|(?<!\S)=(?!\S)")
# An expression, not a name, has one of these: some signs anywhere, others and words standing alone.
_OPERATOR = re.compile(
    r"[,;*^\n]|^[+\-]|(?<!\S)(?:[+\-/%|&]|\|\||&&|and|or|not|if)(?!\S)", re.IGNORECASE
)


@dataclass(frozen=True)
class Objective:
    """A metric to be small or large.

    Attributes:
        metric: Its name in a report.
        mode: "min" or "max".
    """

    metric: str
    mode: Mode

    def score(self, value: float) -> float:
        """The value with the sign that makes larger better."""
        return value if self.mode == "max" else -value


@dataclass(frozen=True)
class OutcomeConstraint:
    """A bound that a metric of a good trial keeps.

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
        """Read one comparison of one metric with one number, such as ``"latency_ms <= 20"``.

        Raises:
            MetricError: The text is anything else.

        Example:
            >>> OutcomeConstraint.of("latency_ms <= 20").slack(15.0)
            5.0
        """
        relation = _RELATION.findall(text) if isinstance(text, str) else []
        if relation in (["<="], [">="]):
            metric, bound = (part.strip() for part in str(text).split(relation[0]))
            number = _number(bound)
            is_name = metric and _number(metric) is None and not _OPERATOR.search(metric)
            if is_name and number is not None:
                return cls(metric, "<=" if relation == ["<="] else ">=", number)
        raise MetricError(
            f"the outcome constraint {text!r} cannot be read; write the name of one metric, <= or"
            " >=, and one finite number, such as 'latency_ms <= 20', and give each bound as a"
            " constraint of its own: ['latency_ms <= 20', 'memory_mb <= 300']"
        )

    def __str__(self) -> str:
        return f"{self.metric} {self.relation} {self.bound:g}"

    def slack(self, value: float) -> float:
        """How far inside of the bound a value is; below 0: how far outside."""
        return self.bound - value if self.relation == "<=" else value - self.bound


@dataclass(frozen=True)
class Goal:
    """What makes a trial good.

    Attributes:
        objectives: At least one. Several without weights: no trial is best, some are not dominated.
        constraints: What a trial must keep to count as good.
        weights: One above 0 for each objective: then the one thing to be large is the sum of the
            objectives, each with the sign of its mode, times their weights.
        cost: Name of what a report says the trial has cost so far, such as Ray's "time_total_s";
            None: all trials count as equally dear.
        standard_error: Name of what a report says the objective's standard error is; None: it does
            not say.

    Example:
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
        """The goal that a user describes.

        Raises:
            MetricError: Naming what was received and what would be right.
        """
        metrics, modes = names_of("metric", metric), names_of("mode", mode)
        if len(metrics) != len(modes):
            raise MetricError(
                f"metric is {metric!r} and mode is {mode!r}: {len(metrics)} and {len(modes)}; give"
                " one mode for each metric"
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
        constraints = tuple(OutcomeConstraint.of(text) for text in outcome_constraints)
        bounded = [(c.metric, c.relation) for c in constraints]
        for pair in bounded:
            if bounded.count(pair) > 1:
                raise MetricError(
                    f"outcome_constraints is {list(outcome_constraints)!r}; give {pair[0]}"
                    f" {pair[1]} one bound"
                )
        if standard_error is not None and len(metrics) > 1:
            raise MetricError(
                f"standard_error is {standard_error!r} and metric is {metric!r}; it is that of one"
                " metric: name one, or leave it out"
            )
        return cls(
            tuple(
                Objective(name, "max" if one == "max" else "min")
                for name, one in zip(metrics, modes, strict=True)
            ),
            constraints,
            None if weights is None else _weights(weights, metrics),
            None if cost is None else _name_of("cost", cost),
            None if standard_error is None else _name_of("standard_error", standard_error),
        )

    @property
    def required(self) -> tuple[str, ...]:
        """The metrics without which a report is skipped, the first objective first, each once."""
        names = [one.metric for one in self.objectives] + [c.metric for c in self.constraints]
        return tuple(dict.fromkeys(names))

    @property
    def optional(self) -> tuple[str, ...]:
        """The metrics that a report may lack, and that are unknown then: cost, standard error."""
        names = [name for name in (self.cost, self.standard_error) if name is not None]
        return tuple(name for name in dict.fromkeys(names) if name not in self.required)

    def unusable(self, values: Mapping[str, float]) -> dict[str, str]:
        """Return the cost if ``values`` lacks it, and both it and the standard error if wrong.

        Each must be finite and not negative. A standard error may be unknown, and left out then.

        Returns:
            For each such name, what it is: "cost" or "standard error".
        """
        named = ((self.cost, "cost", -1.0), (self.standard_error, "standard error", 0.0))
        return {
            name: what
            for name, what, otherwise in named
            if name is not None and not 0 <= values.get(name, otherwise) < math.inf
        }

    @property
    def metrics(self) -> tuple[str, ...]:
        """The required metrics, then the optional ones."""
        return self.required + self.optional

    @property
    def n_objectives(self) -> int:
        """How many objectives there are once weights have made one of them."""
        return 1 if self.weights is not None else len(self.objectives)

    @property
    def is_plain(self) -> bool:
        """Whether there is one metric, and no more to it."""
        more = self.constraints or self.cost is not None or self.standard_error is not None
        return len(self.objectives) == 1 and not more

    def outcomes(self, values: Mapping[str, float]) -> tuple[float, ...]:
        """What is to be large: the objectives, then the slack of each constraint.

        Args:
            values: The metrics by name; NaN for one that is missing.
        """
        scores = [one.score(values.get(one.metric, math.nan)) for one in self.objectives]
        if self.weights is not None:
            scores = [sum(w * score for w, score in zip(self.weights, scores, strict=True))]
        slacks = [c.slack(values.get(c.metric, math.nan)) for c in self.constraints]
        return (*scores, *slacks)

    def violation(self, values: Mapping[str, float]) -> float:
        """How far outside of its bounds a trial is, all together; 0 inside, infinity for NaN."""
        total = 0.0
        for slack in self.outcomes(values)[self.n_objectives :]:
            total += math.inf if math.isnan(slack) else max(0.0, -slack)
        return total

    def with_cost(self, cost: str) -> Goal:
        """The same goal, what a trial costs being said by ``cost`` unless it was said before."""
        return self if self.cost is not None else replace(self, cost=cost)

    def to_json(self) -> dict[str, Any]:
        """As data for JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Goal:
        """The goal that :meth:`to_json` wrote."""
        return cls(
            tuple(Objective(**one) for one in data["objectives"]),
            tuple(OutcomeConstraint(**one) for one in data["constraints"]),
            None if data["weights"] is None else tuple(data["weights"]),
            data.get("cost"),
            data.get("standard_error"),
        )


def names_of(what: Literal["metric", "mode"], given: object) -> list[str]:
    """Return one metric or mode, or several, as a list.

    Raises:
        MetricError: ``given`` is neither.
    """
    names: list[Any] = list(given) if isinstance(given, list | tuple) else [given]
    right = [isinstance(n, str) and n != "" and (what != "mode" or n in _MODES) for n in names]
    if not names or not all(right):
        expected = "'min' or 'max'" if what == "mode" else "the name of one key of a report"
        raise MetricError(f"{what} is {given!r}; it must be {expected}, or a list of such")
    return names


def _name_of(what: Literal["cost", "standard_error"], given: object) -> str:
    if not isinstance(given, str) or not given:
        raise MetricError(f"{what} is {given!r}; it must be the name of one key of a report")
    return given


def _number(text: str) -> float | None:
    """Return a text as a finite number; None if it is not one."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _weights(weights: Sequence[float], metrics: Sequence[str]) -> tuple[float, ...]:
    numbers = tuple(weights) if isinstance(weights, list | tuple) else ()
    valid = all(
        isinstance(w, int | float) and not isinstance(w, bool) and 0 < w < math.inf for w in numbers
    )
    if len(numbers) != len(metrics) or not valid:
        raise MetricError(
            f"weights is {weights!r}; give one number above 0 for each of {list(metrics)!r}"
        )
    return tuple(float(w) for w in numbers)
