"""A scheduler at work: the rule, the goal and the table of trials."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from ray.tune.experiment import Trial

from raytuner.controller.report import read_report, record_metrics, record_report, stop_early
from raytuner.controller.search_layers import innermost_searcher
from raytuner.errors import MetricError
from raytuner.halving import Action, Rule, reports_in_order
from raytuner.history import Goal, Origin, Repeats, Table, TrialState
from raytuner.schedulers.restored import SearchPartner

logger = logging.getLogger(__name__)


class ActiveScheduler:
    """Enters reports into the table of trials, and decides by the rule. Knows nothing of slots.

    The table is the searcher's, if the searcher has one. Otherwise it is a table of the
    scheduler's own, of which Ray restores the last report of each trial.

    Args:
        rule: Decides. Reports of an earlier process in the table are replayed.
        goal: What trials are judged by. None: the searcher's goal.
        time_attr: Key of the resource in a report.
        search_alg: Ray's search algorithm, around the searcher.

    Raises:
        MetricError: The searcher's table lacks a metric of the goal.

    Attributes:
        table: The table of trials.
        partner: The searcher, if it shares its table; else None.
    """

    table: Table

    def __init__(self, rule: Rule, goal: Goal | None, time_attr: str, search_alg: Any) -> None:
        self.rule, self.search_alg = rule, search_alg
        self.searcher = innermost_searcher(search_alg)
        self.partner = self.searcher if isinstance(self.searcher, SearchPartner) else None
        self._repeats = Repeats()
        if self.partner is None:
            assert goal is not None
            rule.goal = goal
            self.table = Table(goal, time_attr, rule.max_t)
            return
        self.table = history = self.partner.history
        if goal is None or goal.objectives == history.goal.objectives:
            goal = history.goal
        if missing := [name for name in goal.required if name not in history.goal.metrics]:
            raise MetricError(
                f"the scheduler judges by {' and '.join(map(repr, missing))}, and the searcher"
                f" knows {', '.join(history.goal.metrics)} only; name the same metrics in both"
            )
        rule.goal = goal
        self.partner.join_schedule(time_attr=time_attr, max_t=rule.max_t)
        rule.replay(history, reports_in_order(history))

    def add(self, trial: Trial) -> None:
        """Take a new or restored trial into a table of the scheduler's own."""
        if self.partner is not None or trial.trial_id in self.table:
            return
        self.table.add(trial.trial_id, {}, Origin.SEARCHER)
        report = read_report(trial.last_result, self.table.time_attr, self.table.goal)
        if report.metrics is None or report.t is None:
            return
        steps = (*self.rule.passed(trial.trial_id, report.t), report.t)
        for t in steps:
            record_metrics(self.table, trial.trial_id, t, report.metrics)
        if trial.status in (Trial.TERMINATED, Trial.ERROR):
            self.table.end(trial.trial_id, TrialState.STOPPED_EARLY)
        elif self.rule.pauses:
            self.table.pause(trial.trial_id)
        self.rule.replay(self.table, [(trial.trial_id, t) for t in steps])

    def judge(self, trial_id: str, result: Mapping[str, Any]) -> Action:
        """Enter a report into the table, and decide whether its trial goes on.

        A stop, and the failure of a trial whose report is invalid, are entered too.

        Raises:
            MetricError: The report is invalid, and no report was valid so far.
        """
        if self.partner is not None:
            report = self.partner.record(trial_id, result)
        else:
            report = record_report(self.table, trial_id, result, further=False)
        is_live = self.table.is_live(trial_id)
        if report.error and is_live:
            if (said := self._repeats.next(report.error)) is not None:
                logger.warning("Trial %s has failed: %s.", trial_id, said)
            self.table.end(trial_id, TrialState.FAILED, report.error)
            return Action.STOP
        if report.t is not None and report.t >= self.rule.max_t:
            return Action.STOP
        if not is_live:  # what the table has not heard of runs on
            return Action.STOP if trial_id in self.table else Action.CONTINUE
        if report.metrics is None or report.t is None:
            return Action.CONTINUE
        partner = self.partner
        if partner is not None and not partner.history.is_full(partner.history[trial_id]):
            return Action.CONTINUE  # it is cheaper, not comparable, and runs to its end
        verdict = self.rule.decide(self.table, trial_id, report.t)
        if verdict is None:
            return Action.CONTINUE
        if verdict.action is Action.STOP:
            stop_early(self.table, trial_id, verdict.reason)
        return verdict.action

    def pause(self, trial_id: str) -> None:
        """Enter into the table that a trial is paused."""
        self.table.pause(trial_id)
        if self.partner is None and hasattr(self.searcher, "on_pause"):  # Ray's TuneBOHB
            self.searcher.on_pause(trial_id)

    def resume(self, trial_id: str) -> None:
        """Enter into the table that a paused trial will run."""
        if self.table.is_live(trial_id):
            self.table.reopen(trial_id)
        if self.partner is None and hasattr(self.searcher, "on_unpause"):
            self.searcher.on_unpause(trial_id)
