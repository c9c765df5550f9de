"""Ray's hooks around a rule that knows nothing of Ray."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.result import DEFAULT_METRIC
from ray.tune.schedulers import FIFOScheduler

from raytuner.controller.recorder import FEW
from raytuner.halving import Action, Rule
from raytuner.schedulers.active import ActiveScheduler
from raytuner.schedulers.restored import RollCall, let_retry
from raytuner.schedulers.settings import Metric, SchedulerSettings
from raytuner.schedulers.trial_queue import TrialQueue


class RuleScheduler(FIFOScheduler):
    """Continues, pauses, resumes and stops Ray's trials as a rule decides.

    A new scheduler inherits this class, makes its rule in its constructor, and has one line in
    `raytuner.schedulers.named`.

    Where the searcher has fidelities, the rule judges trials at the full one; a cheaper trial runs
    to its end.

    Args:
        rule: The rule.
        name: The name of the method in `debug_string`.
        time_attr: Key of a report that says how much resource `t` the trial has spent.
        metric: Key of the objective, or several. None: the Tuner's, or else the searcher's.
        mode: `"min"` or `"max"`, one for each. None: the Tuner's, or else the searcher's.

    Raises:
        MetricError: metric, mode or time_attr cannot be one.

    Attributes:
        rule: The rule, to read. With mode `"min"` its values are negated.
    """

    # A buffered trial would run on past a rung before anyone has decided.
    _supports_buffered_results = False

    def __init__(
        self, rule: Rule, *, name: str, time_attr: str, metric: Metric | None, mode: Metric | None
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.rule = rule
        self._name = name
        self._settings = SchedulerSettings(type(self).__name__, time_attr, metric, mode)
        self._roll_call = RollCall()
        self._active: ActiveScheduler | None = None  # from the first trial on
        self._queue: TrialQueue | None = None

    @property
    def metric(self) -> Any:
        """The metric, as far as the scheduler was told."""
        return self._settings.metric

    @property
    def time_attr(self) -> str:
        """Key of the resource in a report."""
        return self._settings.time_attr

    @property
    def max_t(self) -> float:
        """A trial's full resource, in units of `time_attr`."""
        return self.rule.max_t

    def set_search_properties(self, metric: str | None, mode: str | None, **spec: Any) -> bool:
        """Take metric and mode from the Tuner.

        Returns:
            False if one of them is given both here and to the scheduler: Ray then raises.

        Raises:
            MetricError: One of them cannot be one, or there is a metric and no mode.
        """
        own = self._settings
        if (own.metric and metric) or (own.mode and mode):
            return False
        given = replace(
            own,
            metric=own.metric if metric is None else metric,
            mode=own.mode if mode is None else mode,
        )
        if given.metric is None and given.mode is not None:
            given = replace(given, metric=DEFAULT_METRIC)  # a function that returns a bare number
        if given.metric is not None:
            given.goal()  # a metric without a mode is an error already here
        self._settings = given
        return True

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        """Add a trial: a new one, one that is retried, or one of a restored experiment.

        Raises:
            MetricError: There is no metric or no mode by now, or the first few trials all ended
                without the metric.
            SettingError: Ray's `Repeater` is around a searcher that shares its table.
            TrainableError: The rule pauses trials, and this one's class cannot save checkpoints.
        """
        search_alg = tune_controller.search_alg
        if self._active is None or self._active.search_alg is not search_alg:
            active = ActiveScheduler(self.rule, self._settings, search_alg)
            self._begin(active)
            self._active, self._queue = active, TrialQueue(active, type(self).__name__)
        assert self._queue is not None
        self._active.check_reported(FEW)
        let_retry(self._active.partner, trial)
        self._queue.add(tune_controller, trial)

    def _begin(self, active: ActiveScheduler) -> None:
        """Called once, when the table is known, before the first trial; for subclasses."""

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: Mapping[str, Any]) -> str:
        """Decide whether a trial goes on.

        A report without the metric is skipped: a function may validate every few epochs only.

        Returns:
            `CONTINUE`, `PAUSE` or `STOP`. `STOP` at `max_t`, by the rule, for an invalid report,
            and for a trial that has ended.

        Raises:
            MetricError: The report is invalid, and no report was valid so far.
            TrainableError: The trial is to be paused, and no trial so far had a checkpoint.
        """
        if trial.status in (Trial.TERMINATED, Trial.ERROR):
            return self.STOP  # the trial ended while the report was on its way
        assert self._active is not None
        assert self._queue is not None
        action = self._active.judge(trial.trial_id, result)
        if action is Action.STOP:
            return self.STOP
        if action is Action.PAUSE and self._queue.pause(tune_controller, trial, result):
            return self.PAUSE
        self._queue.forget(trial.trial_id)  # it was promoted before it was paused
        return self.CONTINUE

    def on_trial_complete(
        self, tune_controller: Any, trial: Trial, result: Mapping[str, Any] | None
    ) -> None:
        """Give the slot of a running trial that has ended to another."""
        self._ended(tune_controller, trial, result)

    def on_trial_error(self, tune_controller: Any, trial: Trial) -> None:
        """Give the slot of a failed trial to another, unless the trial is retried."""
        self._ended(tune_controller, trial, None)

    def on_trial_remove(self, tune_controller: Any, trial: Trial) -> None:
        """Forget a paused or pending trial that is ended."""
        if self._queue is not None:
            self._queue.forget(trial.trial_id)

    def _ended(self, tune_controller: Any, trial: Trial, result: Any) -> None:
        if self._active is not None and self._queue is not None:
            self._queue.forget(trial.trial_id)
            self._active.note_end(trial.trial_id, result)
            if trial.status != Trial.ERROR:  # with that status, Ray retries it
                self._queue.free_slot(tune_controller, trial)

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        """Return the trial to run next: a promoted one, else the first that is pending.

        Ray calls this at every turn, so paused trials are ended here too when the search is over.
        """
        if self._queue is None or self._active is None:
            return None
        self._roll_call.take(self._active.partner, tune_controller, self._queue.trials)
        return self._queue.next(tune_controller)

    def debug_string(self) -> str:
        """Return how many trials are paused and were stopped, and how many went on, in one line."""
        paused = 0 if self._queue is None else len(list(self._queue.paused()))
        paused_text = f"{paused} trials paused, " if self.rule.pauses else ""
        return f"{self._name}: {paused_text}{self.rule.summary()}"
