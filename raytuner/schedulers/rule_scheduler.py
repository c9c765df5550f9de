"""Ray's hooks around a rule that is independent of Ray."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from ray.tune.experiment import Trial
from ray.tune.result import DEFAULT_METRIC

from raytuner.controller.report import read_report, record_metrics, record_report, stop_early
from raytuner.controller.search_layers import (
    count_in,
    count_out,
    innermost_searcher,
    max_concurrent_of,
)
from raytuner.errors import MetricError
from raytuner.halving import Action, Alive, Rule, reports_in_order
from raytuner.history import Goal, Origin, Table, TrialState, warn_of_failure
from raytuner.history.goal import names_of
from raytuner.schedulers.checkpoints import check_class, has_checkpoint
from raytuner.schedulers.restored import RestoringScheduler, SearchPartner, bring_up_to_date

Metric = str | Sequence[str]


class RuleScheduler(RestoringScheduler):
    """Continues, pauses, resumes and stops Ray's trials according to a rule.

    A new scheduler inherits this class, makes its rule in its constructor, and adds one line to
    `raytuner.schedulers.named`.

    If the searcher has fidelities, the rule compares only trials at full fidelity. Cheaper trials
    run until they finish.

    When a trial gives up its slot, the rule is asked at once for a paused trial to resume. Paused
    trials hold no slot: Ray ends their processes. In the end, every paused trial is either resumed
    or ended with a reason. This happens when nothing runs and no new trial will come. If the
    searcher gives no new trial while others are paused, they are ended one by one.

    Args:
        rule: The rule.
        name: The name of the method in `debug_string`.
        time_attr: Key in the report for the resource `t` that the trial has spent.
        metric: Key of the objective, or a list of keys. None: the Tuner's, or else the searcher's.
        mode: `"min"` or `"max"`, or a list with one for each metric. None: the Tuner's, or else the
            searcher's.

    Raises:
        MetricError: `metric`, `mode` or `time_attr` is invalid.

    Attributes:
        rule: The rule, read-only. With mode `"min"` its values are negated.
        time_attr: Key in the report for the resource.
    """

    _table: Table  # the searcher's, or else our own; Ray restores the last reports of the latter
    _searcher: Any
    _partner: SearchPartner | None  # the searcher, if it shares its table

    # With buffered reports, a trial would run past a rung before the decision.
    _supports_buffered_results = False

    def __init__(
        self, rule: Rule, *, name: str, time_attr: str, metric: Metric | None, mode: Metric | None
    ) -> None:
        super().__init__()
        if not isinstance(time_attr, str) or not time_attr:
            raise MetricError(
                f"time_attr={time_attr!r} is not the name of one key of a report (a str)"
            )
        self.rule, self.time_attr = rule, time_attr
        self._name = name
        self._metric: Any = _checked("metric", metric)
        self._mode: Any = _checked("mode", mode)
        self._has_joined = False  # a search, from the first trial on
        self._search_alg: Any = None
        self._promoted: dict[str, None] = {}  # trials to resume, in this order
        self._handed: Trial | None = None  # the last trial that Ray was given to resume
        self._nothing_new = False  # the searcher had no new trial when the rule was last asked
        self._has_paused = False  # a trial with a checkpoint

    @property
    def max_t(self) -> float:
        """A trial's full resource, in units of `time_attr`."""
        return self.rule.max_t

    def set_search_properties(self, metric: str | None, mode: str | None, **spec: Any) -> bool:
        """Take metric and mode from the Tuner.

        Returns:
            False if one of them is given both here and to the scheduler; Ray then raises an error.

        Raises:
            MetricError: One of them is invalid, or there is a metric but no mode.
        """
        if (self._metric and metric) or (self._mode and mode):
            return False
        self._metric = self._metric or _checked("metric", metric)
        self._mode = self._mode or _checked("mode", mode)
        if self._metric is None and self._mode is not None:
            self._metric = DEFAULT_METRIC  # a function that returns a bare number
        if self._metric is not None:
            self._goal()  # a metric without a mode is an error already here
        return True

    def _goal(self) -> Goal:
        """Return the goal that metric and mode make."""
        if self._metric is None or self._mode is None:
            raise MetricError(
                f"{type(self).__name__} has metric={self._metric!r} and mode={self._mode!r}; give"
                " both, mode as 'min' or 'max', to tune.TuneConfig or to the scheduler"
            )
        return Goal.of(self._metric, self._mode)

    # -- Ray's hooks ------------------------------------------------------------------------------

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        """Add a trial: a new or retried trial, or a trial of a restored experiment.

        Raises:
            MetricError: The metric or mode is still missing, or the searcher lacks one.
            TrainableError: The rule pauses trials, and the trial's class cannot save checkpoints.
        """
        search_alg, trial_id = tune_controller.search_alg, trial.trial_id
        if not self._has_joined or self._search_alg is not search_alg:
            self._begin(search_alg)
            self._has_joined, self._search_alg = True, search_alg
        is_new = trial_id not in self._trials
        self._let_retry(self._partner, trial)
        if is_new:
            if self.rule.pauses:
                check_class(trial, type(self).__name__)
            if self._partner is None and trial_id not in self._table:
                self._add(trial)
            if bring_up_to_date(self._partner, search_alg, trial):
                return
            if trial.status == Trial.PENDING and self.rule.waits(trial_id):
                # Ray lets all restored trials run. This can only be changed here, before Ray
                # registers the trial.
                trial.set_status(Trial.PAUSED)  # type: ignore[no-untyped-call]
                self._pause(trial_id)
        elif self.rule.pauses:
            self._resume(trial_id)  # it may have failed to pause
        if trial.status == Trial.PENDING:
            self._slots.enter(trial)
            if self.rule.pauses:  # Ray may be about to ask for many more
                self._slots.set_cap(tune_controller, len(self._promoted))

    def _begin(self, search_alg: Any) -> None:
        """Join the searcher's table or begin an own one, and bring the rule up to date.

        Raises:
            MetricError: There is no goal, or the searcher's table lacks one of its metrics.
        """
        rule, searcher = self.rule, innermost_searcher(search_alg)
        self._searcher = searcher
        self._partner = searcher if isinstance(searcher, SearchPartner) else None
        if self._partner is None:
            rule.goal = self._goal()
            self._table = Table(rule.goal, self.time_attr, rule.max_t)
            return
        self._table = history = self._partner.history
        goal = self._goal() if self._metric or self._mode else history.goal
        if missing := [name for name in goal.required if name not in history.goal.metrics]:
            raise MetricError(
                f"the scheduler uses {' and '.join(map(repr, missing))}, but the searcher knows"
                f" only {', '.join(history.goal.metrics)}; name the same metrics in both"
            )
        rule.goal = history.goal if goal.objectives == history.goal.objectives else goal
        self._partner.join_schedule(time_attr=self.time_attr, max_t=rule.max_t)
        rule.replay(history, reports_in_order(history))

    def _add(self, trial: Trial) -> None:
        """Add a new or restored trial to our own table."""
        self._table.add(trial.trial_id, {}, Origin.SEARCHER)
        report = read_report(trial.last_result, self._table.time_attr, self._table.goal)
        if report.metrics is None or report.t is None:
            return
        steps = (*self.rule.passed(trial.trial_id, report.t), report.t)
        for t in steps:
            record_metrics(self._table, trial.trial_id, t, report.metrics)
        if trial.status in (Trial.TERMINATED, Trial.ERROR):
            self._table.end(trial.trial_id, TrialState.STOPPED_EARLY)
        elif self.rule.pauses:
            self._table.pause(trial.trial_id)
        self.rule.replay(self._table, [(trial.trial_id, t) for t in steps])

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: Mapping[str, Any]) -> str:
        """Decide whether a trial continues.

        Reports without the metric are skipped: a function may validate only every few epochs.

        Returns:
            `CONTINUE`, `PAUSE` or `STOP`. `STOP` is returned at `max_t`, if the rule decides so,
            for an invalid report, and for a trial that has ended.

        Raises:
            MetricError: The report is invalid, and no report was valid so far.
            TrainableError: The trial has to be paused, and no trial so far had a checkpoint.
        """
        if trial.status in (Trial.TERMINATED, Trial.ERROR):
            return self.STOP  # the trial ended before the report arrived
        action = self._judge(trial.trial_id, result)
        if action is Action.STOP:
            return self.STOP
        if action is Action.PAUSE:
            chosen = self._ask_rule(self._alive)
            if chosen != trial.trial_id:
                at = f"{self.time_attr} = {result[self.time_attr]}"
                self._has_paused |= has_checkpoint(trial, result, at, or_fail=not self._has_paused)
                self._pause(trial.trial_id)
                if chosen is not None:
                    self._promote(chosen)
                return self.PAUSE
        self._promoted.pop(trial.trial_id, None)  # it was promoted before it was paused
        return self.CONTINUE

    def _judge(self, trial_id: str, result: Mapping[str, Any]) -> Action:
        """Enter a report into the table, and decide whether its trial continues.

        Also enters a stop, or the failure of a trial with an invalid report.
        """
        table, partner = self._table, self._partner
        if partner is not None:
            report = partner.record(trial_id, result)
        else:
            report = record_report(table, trial_id, result, further=False)
        is_live = table.is_live(trial_id)
        if report.error and is_live:
            warn_of_failure(table, trial_id, report.error)
            table.end(trial_id, TrialState.FAILED, report.error)
            return Action.STOP
        if report.t is not None and report.t >= self.max_t:
            return Action.STOP
        if not is_live:  # a trial that is not in the table continues
            return Action.STOP if trial_id in table else Action.CONTINUE
        if report.metrics is None or report.t is None:
            return Action.CONTINUE
        if partner is not None and not partner.history.is_full(table.head(trial_id)):
            return Action.CONTINUE  # a cheaper trial: not comparable, runs until it finishes
        verdict = self.rule.decide(table, trial_id, report.t)
        if verdict is None:
            return Action.CONTINUE
        if verdict.action is Action.STOP:
            stop_early(table, trial_id, verdict.reason)
        return verdict.action

    def on_trial_complete(
        self, tune_controller: Any, trial: Trial, result: Mapping[str, Any] | None
    ) -> None:
        """Give the slot of a trial that has ended to another trial."""
        self._promoted.pop(trial.trial_id, None)
        if self._has_joined and trial.status != Trial.ERROR:  # Ray retries a trial with ERROR
            chosen = self._ask_rule(lambda other: other != trial.trial_id and self._alive(other))
            if chosen is not None:
                self._promote(chosen)

    def on_trial_error(self, tune_controller: Any, trial: Trial) -> None:
        """Give the slot of a failed trial to another, unless the trial is retried."""
        self.on_trial_complete(tune_controller, trial, None)

    def on_trial_remove(self, tune_controller: Any, trial: Trial) -> None:
        """Forget a paused or pending trial that Ray ends."""
        self._promoted.pop(trial.trial_id, None)

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        """Return the trial to run next: a promoted one, or else the first pending one.

        Ray calls this in every turn. So this also ends paused trials when the search is over.
        """
        if not self._has_joined:
            return None
        self._call_roll(tune_controller)
        chosen = self._next(tune_controller)
        if self.rule.pauses:
            self._slots.set_cap(tune_controller, len(self._promoted))
        return chosen

    def debug_string(self) -> str:
        """Return one line with the numbers of paused, stopped and continued trials."""
        paused_text = f"{len(list(self._paused()))} trials paused, " if self.rule.pauses else ""
        return f"{self._name}: {paused_text}{self.rule.summary()}"

    # -- the next trial ---------------------------------------------------------------------------

    def _next(self, tune_controller: Any) -> Trial | None:
        """Return the trial to run next; end paused trials if the search is blocked or over."""
        self._nothing_new = True  # the searcher was asked just now, unless a trial is pending
        for next_one in (self._next_promoted, self._slots.first_pending, self._paused_by_another):
            if (trial := next_one()) is not None:
                return trial
        if not self.rule.pauses:
            return None
        limit = max_concurrent_of(self._search_alg)
        if limit is None or self._slots.taken() < limit:
            chosen = self.rule.promote(self._alive)
            if chosen is not None:
                self._promote(chosen)
                return self._next_promoted()
        if self._slots.taken() > 0:
            return None
        if self._search_alg.is_finished():
            return self._close(tune_controller)
        worst = self.rule.give_up(self._alive) or next(self._paused(), None)
        if worst is not None:
            self._end(tune_controller, worst, "the searcher gave no new trial while it was paused")
        return None

    def _next_promoted(self) -> Trial | None:
        """Return the promoted trial that Ray should resume; the same one until Ray has done so."""
        if self._handed is not None and self._handed.status == Trial.PAUSED:
            return self._handed
        self._handed = None
        for trial_id in self._promoted:
            trial = self._trials[trial_id]
            if trial.status == Trial.PAUSED:  # otherwise its checkpoint is still being saved
                del self._promoted[trial_id]
                return self._hand(trial)
        return None

    def _paused_by_another(self) -> Trial | None:
        """Return a paused trial that the rule did not pause.

        If Ray's `ResourceChangingScheduler` wraps this scheduler, it pauses trials to change their
        resources, and relies on this scheduler to resume them.
        """
        for trial in self._slots.paused():
            if not self.rule.waits(trial.trial_id):
                return self._hand(trial)
        return None

    def _hand(self, trial: Trial) -> Trial:
        self._slots.enter(trial)
        self._handed = trial
        return trial

    def _close(self, tune_controller: Any) -> Trial | None:
        """End trials that cannot continue when nothing runs and no new trial will come."""
        chosen = self.rule.promote(self._alive, closing=True)
        if chosen is not None:
            self._promote(chosen)
            return self._next_promoted()
        for trial_id in list(self._paused()):
            self._end(tune_controller, trial_id, "the search ended while it was paused")
        return None

    def _paused(self) -> Iterator[str]:
        return (i for i, trial in self._trials.items() if trial.status == Trial.PAUSED)

    def _alive(self, trial_id: str) -> bool:
        trial = self._trials.get(trial_id)  # Ray may not know a trial that the table has
        return trial is not None and trial.status not in (Trial.TERMINATED, Trial.ERROR)

    def _ask_rule(self, alive: Alive) -> str | None:
        self._nothing_new = self.rule.pauses and self._search_alg.is_finished()
        return self.rule.promote(alive)

    def _promote(self, trial_id: str) -> None:
        self._promoted[trial_id] = None
        # At once, so that a searcher with a limit gives no new trial for the same slot.
        self._resume(trial_id)

    def _pause(self, trial_id: str) -> None:
        count_out(self._search_alg, trial_id)
        self._table.pause(trial_id)
        if self._partner is None and hasattr(self._searcher, "on_pause"):  # Ray's TuneBOHB
            self._searcher.on_pause(trial_id)

    def _resume(self, trial_id: str) -> None:
        count_in(self._search_alg, trial_id)
        if self._table.is_live(trial_id):
            self._table.reopen(trial_id)
        if self._partner is None and hasattr(self._searcher, "on_unpause"):
            self._searcher.on_unpause(trial_id)

    def _end(self, tune_controller: Any, trial_id: str, reason: str) -> None:
        """End a paused trial."""
        count_in(self._search_alg, trial_id)
        stop_early(self._table, trial_id, f"{reason}; {self.rule.explain(trial_id)}")
        tune_controller.stop_trial(self._trials[trial_id])


def _checked(what: Literal["metric", "mode"], given: Metric | None) -> Metric | None:
    if given is not None:
        names_of(what, given)
    return given
