"""What raytuner's schedulers share: Ray's hooks around a judge that knows nothing of Ray."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from ray.tune.experiment import Trial
from ray.tune.result import DEFAULT_METRIC
from ray.tune.schedulers import FIFOScheduler

from raytuner.controller.active_trials import ActiveTrials
from raytuner.controller.search_layers import count_in, count_out, max_concurrent_of, repeats
from raytuner.errors import HistoryError, MetricError, SettingError, TrainableError
from raytuner.halving import Action, Judge, Value, value_of
from raytuner.history import Goal, Repeats
from raytuner.history.goal import names_of
from raytuner.ray_report import (
    FEW,
    Unreported,
    lacking,
    never_reported,
    own_keys,
    read_report,
    resource_of,
)
from raytuner.schedulers.checkpoints import check_can_checkpoint, has_checkpoint
from raytuner.schedulers.partner import (
    FidelityKeeper,
    GoalKeeper,
    PauseListener,
    RecordKeeper,
    find_partner,
    innermost_searcher,
)
from raytuner.schedulers.restored import RollCall, bring_up_to_date, go_on

logger = logging.getLogger(__name__)

_STATE_VERSION = 2

Metric = str | Sequence[str]


class JudgingScheduler(FIFOScheduler):
    """Does with Ray's trials what a judge decides: lets them go on, pauses, resumes, ends them.

    Whenever a trial gives its slot up, the judge is asked at once for a paused trial to have one.
    Whether a new trial is there by then does not matter: Ray asks the searcher for it beforehand,
    so it waits for the next slot. Paused trials hold no slot: Ray ends their processes.

    Every paused trial is in the end resumed, or ended with its reason told to the searcher: when
    no other will come and nothing runs, and one by one if nothing else lets the search go on (a
    searcher that gives no trial while others are paused).

    Where the searcher has fidelities, trials at the full one are judged, among each other. What a
    cheaper trial reports is of another kind, and it runs to its end.

    Args:
        judge: Who decides.
        name: What it is called in `debug_string`.
        time_attr: Key of a report that says how much resource `t` the trial has spent.
        metric: Key of the objective, or several. None: the Tuner's, or else the searcher's.
        mode: `"min"` or `"max"`, one for each. None: the Tuner's, or else the searcher's.

    Raises:
        MetricError: If metric, mode or time_attr cannot be one.
    """

    # A buffered trial runs on past a rung before anyone has looked.
    _supports_buffered_results = False

    def __init__(
        self, judge: Judge, *, name: str, time_attr: str, metric: Metric | None, mode: Metric | None
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._judge = judge
        self._name = name
        self._time_attr = _key("time_attr", time_attr)
        self._metric: Any = None if metric is None else _names("metric", metric)
        self._mode: Any = None if mode is None else _names("mode", mode)
        self._goal: Goal | None = None
        if self._metric is not None and self._mode is not None:
            self._goal = Goal.of(self._metric, self._mode)
        # Until one report has been valid, a bad one is taken for a wrong name, not for a bad trial.
        self._heard_valid = False
        self._unreported = Unreported()
        self._repeats = Repeats()
        # Likewise until one trial has paused with a checkpoint.
        self._seen_checkpoint = False
        self._trials: dict[str, Trial] = {}
        self._slots = ActiveTrials()
        self._promoted: dict[str, None] = {}  # to be resumed, in this order
        self._handed: Trial | None = None  # the last one that Ray was given to resume
        self._roll_call = RollCall()

    @property
    def max_t(self) -> float:
        """A trial's full resource, in units of `time_attr`."""
        return self._judge.max_t

    def set_search_properties(self, metric: str | None, mode: str | None, **spec: Any) -> bool:
        """Take metric and mode from the Tuner.

        Args:
            metric: The Tuner's metric, or None.
            mode: The Tuner's mode, or None.
            **spec: What Ray says of the experiment; not needed.

        Returns:
            False if metric or mode is given both here and to the scheduler (Ray then says so).

        Raises:
            MetricError: If one of them cannot be one, or there is a metric and no mode.
        """
        if (self._metric and metric) or (self._mode and mode):
            return False
        if metric is not None:
            self._metric = _names("metric", metric)
        if mode is not None:
            self._mode = _names("mode", mode)
        if self._metric is None and self._mode is not None:
            self._metric = DEFAULT_METRIC  # a function that returns a bare number
        if self._metric is not None:
            self._required_goal()  # a metric without a mode is an error already here
        return True

    # -- Ray's hooks ----------------------------------------------------------------------------

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        """Take a trial up, and give the searcher the schedule. A retry comes here again.

        Args:
            tune_controller: Ray's controller.
            trial: The trial: new, to be retried, or of a restored experiment (ended ones too).

        Raises:
            MetricError: If no metric or no mode has been given by now, or the first few trials all
                ended without the metric.
            SettingError: If Ray's `Repeater` is around a searcher that listens to this scheduler.
            TrainableError: If trials are paused and this one's class cannot save checkpoints.
        """
        self._ask_for_goal(tune_controller)
        self._required_goal()
        partner = find_partner(tune_controller)
        if not self._heard_valid and partner is None:  # a searcher of ours checks this itself
            self._unreported.check(FEW)
        if partner is not None and repeats(tune_controller.search_alg):
            raise SettingError(
                f"{type(self).__name__} ends single trials early, so Ray's Repeater would give"
                f" {type(partner).__name__} the mean of values at different {self._time_attr};"
                " leave one of the two out"
            )
        go_on(tune_controller, trial)
        is_new = trial.trial_id not in self._trials
        self._trials[trial.trial_id] = trial
        if is_new and self._judge.pauses:
            check_can_checkpoint(trial, type(self).__name__)
        if partner is not None:
            partner.join_schedule(time_attr=self._time_attr, max_t=self.max_t)
        if is_new:
            self._catch_up(tune_controller, trial)
            if bring_up_to_date(tune_controller, trial):
                return
            if trial.status == Trial.PENDING and self._judge.waits(trial.trial_id):
                # Restored: Ray lets all that had not ended run. Here, and only before Ray has
                # entered the trial anywhere, it can be told otherwise.
                trial.set_status(Trial.PAUSED)  # type: ignore[no-untyped-call]
                self._tell_paused(tune_controller, trial.trial_id)
        elif self._judge.pauses:
            self._tell_resumed(tune_controller, trial.trial_id)  # it may have failed to pause
        if trial.status == Trial.PENDING:
            self._slots.enter(trial)
            if self._judge.pauses:  # Ray may be about to ask for many more
                self._slots.set_cap(tune_controller, len(self._promoted))

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: Mapping[str, Any]) -> str:
        """Decide whether a trial goes on.

        A report without the metric is skipped: a function may validate every few epochs only.

        Args:
            tune_controller: Ray's controller.
            trial: The trial that reports.
            result: Its report, flattened.

        Returns:
            `CONTINUE`, `PAUSE` or `STOP`: at `max_t`, by the judge's decision, since the report
            cannot be used, or since the trial has ended.

        Raises:
            MetricError: If the report has a metric that is no number, or no `time_attr`, and no
                report of this experiment was valid so far.
            TrainableError: If the trial is to be paused and its function has reported no
                checkpoint, and none that was paused in this experiment ever had.
        """
        if trial.status in (Trial.TERMINATED, Trial.ERROR):
            return self.STOP  # the trial ended while the report was on its way
        try:
            report = self._read(result)
        except MetricError as error:
            if not self._heard_valid:
                raise
            if lacking(result, [self._time_attr]):
                return self.CONTINUE
            if (said := self._repeats.next(str(error))) is not None:
                logger.warning("Trial %s has failed: %s.", trial.trial_id, said)
            if (partner := find_partner(tune_controller)) is not None:
                partner.on_trial_invalid(trial.trial_id, str(error))
            return self.STOP
        if report is None:
            self._unreported.note(trial.trial_id, result)
            at = resource_of(result, self._time_attr)
            return self.STOP if at is not None and at >= self.max_t else self.CONTINUE
        self._heard_valid = True
        t, value = report
        if t >= self.max_t:
            return self.STOP
        searcher = innermost_searcher(tune_controller)
        if isinstance(searcher, FidelityKeeper) and not searcher.is_full(trial.trial_id):
            return self.CONTINUE
        decision = self._judge.judge(trial.trial_id, t, value)
        if decision is None or decision.action is Action.CONTINUE:
            self._promoted.pop(trial.trial_id, None)  # it was promoted before it was paused
            return self.CONTINUE
        if decision.action is Action.PAUSE:
            return self._pause(tune_controller, trial, result)
        if (partner := find_partner(tune_controller)) is not None:
            partner.on_trial_stopped(trial.trial_id, decision.reason)
        return self.STOP

    def on_trial_complete(
        self, tune_controller: Any, trial: Trial, result: Mapping[str, Any] | None
    ) -> None:
        """A running trial has ended: its slot is free."""
        self._promoted.pop(trial.trial_id, None)
        keys = self._unreported.forget(trial.trial_id)
        if not self._heard_valid and result:
            missing = lacking(result, self._required_goal().required) or [self._time_attr]
            self._unreported.count(never_reported(missing, {*keys, *own_keys(result)}))
        self._free_slot(tune_controller, trial)

    def on_trial_error(self, tune_controller: Any, trial: Trial) -> None:
        """A trial has raised, or its node was lost: its slot is free unless it is tried again."""
        self._promoted.pop(trial.trial_id, None)
        self._unreported.forget(trial.trial_id)
        if trial.status != Trial.ERROR:  # with that status, Ray tries it again
            self._free_slot(tune_controller, trial)

    def on_trial_remove(self, tune_controller: Any, trial: Trial) -> None:
        """A paused or pending trial is ended."""
        self._promoted.pop(trial.trial_id, None)

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        """The trial to run next: a promoted one, else the first that is pending.

        Also where the search is brought to its end, since Ray calls this at every turn.
        """
        self._roll_call.take(tune_controller, self._trials)
        chosen = self._next_to_run(tune_controller)
        if self._judge.pauses:
            self._slots.set_cap(tune_controller, len(self._promoted))
        return chosen

    def debug_string(self) -> str:
        """One line on how many trials are paused and were stopped, and how many went on where."""
        paused = f"{len(list(self._paused()))} trials paused, " if self._judge.pauses else ""
        return f"{self._name}: {paused}{self._judge.summary()}"

    # -- pausing and resuming -------------------------------------------------------------------

    def _pause(self, tune_controller: Any, trial: Trial, result: Mapping[str, Any]) -> str:
        """Free the trial's slot, unless it is itself the one that should have it."""
        chosen = self._judge.resume(self._alive)
        if chosen == trial.trial_id:
            return self.CONTINUE
        self._check_checkpoint(trial, result)
        self._tell_paused(tune_controller, trial.trial_id)
        if chosen is not None:
            self._promote(tune_controller, chosen)
        return self.PAUSE

    def _check_checkpoint(self, trial: Trial, result: Mapping[str, Any]) -> None:
        if has_checkpoint(trial, result):
            self._seen_checkpoint = True
            return
        what = (
            f"trial {trial.trial_id} is to be paused at {self._time_attr} = "
            f"{result[self._time_attr]} and its training function has reported no checkpoint"
        )
        if not self._seen_checkpoint:
            raise TrainableError(
                f"{type(self).__name__} pauses trials and resumes them from their checkpoints, but "
                f"{what}; pass one to tune.report(..., checkpoint=...) at least where a trial can "
                f"be paused, and begin from tune.get_checkpoint(), or use type='stopping'"
            )
        if self._repeats.next("no checkpoint") is not None:
            logger.warning("If it is resumed it begins anew: %s.", what)

    def _free_slot(self, tune_controller: Any, trial: Trial) -> None:
        """A trial has ended: one that is paused may have its slot."""
        chosen = self._judge.resume(lambda other: other != trial.trial_id and self._alive(other))
        if chosen is not None:
            self._promote(tune_controller, chosen)

    def _promote(self, tune_controller: Any, trial_id: str) -> None:
        self._promoted[trial_id] = None
        # At once, so that a searcher with a limit gives no new trial for the same slot.
        self._tell_resumed(tune_controller, trial_id)

    def _tell_resumed(self, tune_controller: Any, trial_id: str) -> None:
        count_in(tune_controller.search_alg, trial_id)
        searcher = innermost_searcher(tune_controller)
        if isinstance(searcher, PauseListener):
            searcher.on_unpause(trial_id)

    def _tell_paused(self, tune_controller: Any, trial_id: str) -> None:
        count_out(tune_controller.search_alg, trial_id)
        searcher = innermost_searcher(tune_controller)
        if isinstance(searcher, PauseListener):
            searcher.on_pause(trial_id)

    def _next_to_run(self, tune_controller: Any) -> Trial | None:
        if (trial := self._next_promoted()) is not None:
            return trial
        if (trial := self._slots.first_pending()) is not None:
            return trial
        if (trial := self._paused_by_another()) is not None:
            self._slots.enter(trial)
            self._handed = trial
            return trial
        if not self._judge.pauses:
            return None
        # The searcher was asked just now and had nothing.
        limit = max_concurrent_of(tune_controller.search_alg)
        if limit is None or self._slots.taken() < limit:
            chosen = self._judge.resume(self._alive)
            if chosen is not None:
                self._promote(tune_controller, chosen)
                return self._next_promoted()
        if self._slots.taken() > 0:
            return None
        if tune_controller.search_alg.is_finished():
            return self._close(tune_controller)
        if (worst := self._judge.give_up(self._alive) or next(self._paused(), None)) is not None:
            why = self._judge.explain(worst)
            why = f"the searcher gave no new trial while it was paused; {why}"
            self._end(tune_controller, worst, why)
        return None

    def _next_promoted(self) -> Trial | None:
        """The promoted trial that Ray should resume; the same until Ray has."""
        if self._handed is not None and self._handed.status == Trial.PAUSED:
            return self._handed
        self._handed = None
        for trial_id in self._promoted:
            trial = self._trials[trial_id]
            if trial.status == Trial.PAUSED:  # else its checkpoint is still being saved
                del self._promoted[trial_id]
                self._slots.enter(trial)
                self._handed = trial
                return trial
        return None

    def _paused_by_another(self) -> Trial | None:
        """Return a trial that the judge did not pause.

        Ray's `ResourceChangingScheduler` around this scheduler pauses trials to give them other
        resources, and relies on this scheduler to resume them.
        """
        return next((t for t in self._slots.paused() if not self._judge.waits(t.trial_id)), None)

    def _close(self, tune_controller: Any) -> Trial | None:
        """Nothing runs and nothing new will come: what cannot go on now is ended."""
        chosen = self._judge.resume(self._alive, closing=True)
        if chosen is not None:
            self._promote(tune_controller, chosen)
            return self._next_promoted()
        for trial_id in list(self._paused()):
            why = f"the search ended while it was paused; {self._judge.explain(trial_id)}"
            self._end(tune_controller, trial_id, why)
        return None

    def _end(self, tune_controller: Any, trial_id: str, reason: str) -> None:
        """End a paused trial."""
        count_in(tune_controller.search_alg, trial_id)
        if (partner := find_partner(tune_controller)) is not None:
            partner.on_trial_stopped(trial_id, reason)
        tune_controller.stop_trial(self._trials[trial_id])

    def _paused(self) -> Iterator[str]:
        return (i for i, trial in self._trials.items() if trial.status == Trial.PAUSED)

    def _alive(self, trial_id: str) -> bool:
        trial = self._trials.get(trial_id)  # Ray may not know a trial that the record holds
        return trial is not None and trial.status not in (Trial.TERMINATED, Trial.ERROR)

    # -- what happened before this process began --------------------------------------------------

    def _catch_up(self, tune_controller: Any, trial: Trial) -> None:
        """Take note of what was decided before this process began: Ray saves no scheduler's state.

        From the record, if the searcher keeps one; else from what Ray keeps of each trial, its last
        report.
        """
        goal = self._required_goal()
        searcher = innermost_searcher(tune_controller)
        if isinstance(searcher, RecordKeeper):
            if not self._heard_valid:
                for trial_id, t, metrics in searcher.reports():
                    self._heard_valid = True
                    self._judge.observe(trial_id, t, value_of(goal, metrics))
            return
        try:
            report = self._read(trial.last_result)
        except MetricError:
            return
        if report is None:
            return  # a new trial, or one that had not reported
        t, value = report
        self._heard_valid = True
        ended = trial.status in (Trial.TERMINATED, Trial.ERROR)
        self._judge.recall(trial.trial_id, t, value, ended=ended)

    # -- its state ------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Everything decided so far, as plain data that `json` can write.

        Ray never saves a scheduler's state: whoever keeps the record of the search keeps this.
        """
        return {
            "version": _STATE_VERSION,
            **self._identity(),
            "heard_valid": self._heard_valid,
            "seen_checkpoint": self._seen_checkpoint,
            "judge": self._judge.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state that `state_dict` gave.

        Args:
            state: The state, of a scheduler with the same settings. Metric and mode must be known
                by now, since values are kept with the sign of the mode.

        Raises:
            HistoryError: If the state cannot be read. Nothing has changed then.
            SettingError: If it was saved with other settings. Nothing has changed then.
        """
        name = type(self).__name__
        try:
            version = state["version"]
            if version != _STATE_VERSION:
                raise HistoryError(
                    f"the saved state of {name} has version {version!r}; this release of raytuner "
                    f"reads version {_STATE_VERSION}"
                )
            saved = {key: state[key] for key in self._identity()}
            judge = state["judge"]
            heard_valid, seen = bool(state["heard_valid"]), bool(state["seen_checkpoint"])
        except (KeyError, TypeError) as error:
            raise HistoryError(
                f"the saved state of {name} cannot be read ({error!r}); it must be what "
                f"state_dict() gave"
            ) from error
        if saved != self._identity():
            raise SettingError(
                f"the state of {name} was saved with {saved}, this one has {self._identity()}; go "
                f"on with the settings it was saved with"
            )
        self._judge.load_state_dict(judge)
        self._heard_valid, self._seen_checkpoint = heard_valid, seen

    def save(self, checkpoint_path: str) -> None:
        """Write the state to a file, as JSON."""
        Path(checkpoint_path).write_text(json.dumps(self.state_dict()), encoding="utf-8")

    def restore(self, checkpoint_path: str) -> None:
        """Read the state from a file that `save` wrote; raises as `load_state_dict` does."""
        try:
            state = json.loads(Path(checkpoint_path).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise HistoryError(
                f"the state of {type(self).__name__} cannot be read from {checkpoint_path!r}: "
                f"{error}"
            ) from error
        self.load_state_dict(state)

    def _ask_for_goal(self, tune_controller: Any) -> None:
        """Take the searcher's goal, unless this scheduler was given another one."""
        searcher = innermost_searcher(tune_controller)
        if isinstance(searcher, GoalKeeper):
            given = self._metric is not None or self._mode is not None
            if not given or self._required_goal().objectives == searcher.goal.objectives:
                self._goal = searcher.goal

    def _required_goal(self) -> Goal:
        """What trials are judged by."""
        if self._goal is None:
            if self._metric is None or self._mode is None:
                raise MetricError(
                    f"{type(self).__name__} has metric={self._metric!r} and mode={self._mode!r};"
                    f" give both, mode as 'min' or 'max', to tune.TuneConfig or to the scheduler"
                )
            self._goal = Goal.of(self._metric, self._mode)
        return self._goal

    def _read_metrics(self, result: Mapping[str, Any]) -> tuple[float, dict[str, float]] | None:
        """Read `t` and the metrics; None if the report lacks a metric."""
        goal = self._required_goal()
        return read_report(result, self._time_attr, goal.required, goal.optional)

    def _read(self, result: Mapping[str, Any]) -> tuple[float, Value] | None:
        """Read `t` and the value that a trial is judged by; None if the report lacks a metric."""
        report = self._read_metrics(result)
        return None if report is None else (report[0], value_of(self._required_goal(), report[1]))

    def _identity(self) -> dict[str, Any]:
        """The settings without which recorded values mean something else."""
        return {
            "time_attr": self._time_attr,
            "metric": self._metric,
            "mode": self._mode,
            "max_t": self.max_t,
        }


def _key(name: str, value: object) -> str:
    if isinstance(value, str) and value:
        return value
    raise MetricError(f"{name}={value!r} is not the name of one key of a report (a str)")


def _names(what: Literal["metric", "mode"], given: object) -> Metric:
    """One name, or several as a list."""
    names = names_of(what, given)
    return names[0] if isinstance(given, str) else names
