"""A rule and a table of trials, in which it judges what a test reports."""

from __future__ import annotations

from typing import Any

from raytuner.halving import Rule, Score, reports_in_order
from raytuner.history import Goal, History
from raytuner.space import Float, Space

SPACE = Space({"x": Float(0.0, 1.0)})
SEVERAL = Goal.of(["one", "two"], ["max", "max"], outcome_constraints=["over <= 0"])


class Judged:
    """A rule over a table; what is not defined here is the rule's.

    Args:
        rule: The rule.
        goal: What it judges by: by default one value, larger being better.
    """

    def __init__(self, rule: Rule, goal: Goal | None = None) -> None:
        self.rule = rule
        self.table = History(SPACE, goal=goal or Goal.of("value", "max"), max_t=rule.max_t)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.rule, name)

    def judge(self, trial_id: str, t: float, value: float | Score) -> Any:
        """Report a value, and decide."""
        if trial_id not in self.table:
            self.table.add(trial_id, {"x": 0.5})
        if isinstance(value, Score):
            one, two = value.objectives
            self.table.report(trial_id, t, one, {"two": two, "over": value.violation})
        else:
            self.table.report(trial_id, t, value)
        return self.rule.decide(self.table, trial_id, t)

    def replay(self, rule: Rule) -> Any:
        """Return another rule, brought to where this table is."""
        rule.replay(self.table, reports_in_order(self.table))
        return rule
