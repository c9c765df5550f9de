"""A Ray searcher that keeps the record of a search."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ray.air.constants import TRAINING_ITERATION
from ray.tune.search import Searcher

from raytuner.controller.handle import ControllerHandle
from raytuner.controller.report import (
    Report,
    enter,
    lacking,
    never_reported,
    not_finite,
    own_keys,
    read_report,
    read_resource,
    record_report,
)
from raytuner.errors import MetricError
from raytuner.history import History, TrialState, proposal_counts, warn_of_failure
from raytuner.search.active import ActiveSearch, Proposals
from raytuner.search.restore import UNKNOWN_TO_RAY, RecordPlace, reconciled
from raytuner.search.settings import SearchSettings, names_alone, record_place
from raytuner.space import Config, Space

# The reason of a trial that `_correct` may change.
_FURTHEST = "stopped where no trial had got further"


class RecordingSearcher(Searcher):
    """Records the trials from the calls of Ray and the scheduler, and restores the record.

    A subclass proposes configurations.

    Args:
        settings: The user's settings.
    """

    _proposals: Proposals | None = None  # a source of the subclass's own

    def __init__(self, settings: SearchSettings) -> None:
        super().__init__(metric=settings.metric, mode=settings.mode)
        self._settings = settings
        # The search ends once this many trials ended without the metric and none reported it. 0:
        # never.
        self.stop_unreported_after = 3
        self._unreported: list[str] = []  # why such trials failed
        self._active: ActiveSearch | None = None
        self._controller = ControllerHandle()
        self._place = RecordPlace(record_place(settings.record))
        # The report that a raytuner scheduler recorded before Ray passed it on, and its dict.
        self._ahead: tuple[str, Mapping[str, Any], Report] | None = None
        self._has_scheduler = False  # a raytuner scheduler, which records the trials that it stops
        self._invalid: dict[str, str] = {}  # why a trial's report cannot be used
        self._heard_at: dict[str, float] = {}  # t of a trial's last report in this process
        self._ended: set[str] = set()  # trials that ended after Ray saved the experiment
        self._lost: set[str] = set()  # others that have ended and that Ray may run again
        self._corrected_at = 0.0  # the record's largest t at the last correction

    def _search(self) -> ActiveSearch:
        """Return the active search; a subclass starts it."""
        raise NotImplementedError

    @property
    def history(self) -> History:
        """The record of the search.

        Raises:
            SpaceError, MetricError: The search space, the metric or the mode is not known yet.
        """
        return self._search().history

    @property
    def proposal_counts(self) -> dict[str, int]:
        """The number of proposals of each kind, by name.

        - `fresh`: based on all trials that had ended when the proposal was needed.
        - `stale`: computed before the latest results were in.
        - `fallback`: quasi-random, because no other proposal was ready.
        """
        return proposal_counts(self.history.heads())

    def close(self) -> None:
        """End the process that computes proposals, if there is one.

        The process also ends with the search. If another configuration is needed, the searcher
        starts it again.
        """
        if self._active is not None:
            self._active.close()

    # -- Ray's hooks ------------------------------------------------------------------------------

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Record a report of a running trial.

        Reports without the metric are skipped, since a function may validate only every few epochs.
        So are reports of trials that have ended. Once a trial has reported the metric, reports
        without `time_attr` are skipped too, and a metric that is not a number fails only its own
        trial.

        Raises:
            MetricError: The metric in the report is not a number, or there is no `time_attr`, and
                no trial of this search has sent a valid report so far.
        """
        search = self._search()
        history = search.history
        ahead, self._ahead = self._ahead, None
        if ahead is not None and ahead[0] == trial_id and ahead[1] is result:
            report = ahead[2]
        else:
            # HyperBandForBOHB says so before this report.
            pauses = trial_id in history and history.head(trial_id).state is TrialState.PAUSED
            try:
                self._reopen(trial_id)
                report = record_report(history, trial_id, result)
            except MetricError:
                self.close()  # this ends the search
                raise
            if pauses:
                history.pause(trial_id)
        if not history.is_live(trial_id):
            return
        if report.error:
            self._invalid[trial_id] = report.error
            return
        if report.t is not None:
            self._heard_at[trial_id] = report.t
        if report.metrics is not None:
            search.turn()

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Record the end of a trial.

        Ray does not tell whether a scheduler stopped the trial or its training finished. If a
        scheduler or criterion stops a trial at a result, `on_trial_result` has not received that
        result. If the training returns, it has received the last result. The states:

        - FAILED: an error, an unusable report, no report with the metric, or NaN or an infinity at
          the end (except in a cost or a standard error, which are then unknown).
        - STOPPED_EARLY: there is no raytuner scheduler, the result is new, and its t is below
          `max_t` (if unknown, below the largest t of any trial). Also a trial with reports that was
          stopped while paused or pending. A raytuner scheduler records its own stops.
        - REMOVED: stopped before its first report.
        - COMPLETED: all others.
        """
        search = self._search()
        history = search.history
        self._reopen(trial_id)
        if history.is_live(trial_id):  # else a raytuner scheduler has stopped it
            self._record_end(trial_id, result or {}, error)
        self._invalid.pop(trial_id, None)
        self._heard_at.pop(trial_id, None)
        self._correct()
        search.turn(more=-1)

    def on_pause(self, trial_id: str) -> None:
        """Record that a trial will be paused (from Ray's HyperBandForBOHB)."""
        self.history.pause(trial_id)

    def on_unpause(self, trial_id: str) -> None:
        """Record that a paused trial will continue (from Ray's HyperBandForBOHB)."""
        if self.history.is_live(trial_id):
            self.history.reopen(trial_id)

    # -- what a raytuner scheduler needs (raytuner.schedulers.restored) ----------------------------

    def join_schedule(self, *, time_attr: str, max_t: float) -> None:
        """Measure trials by `time_attr`, and complete them at `max_t`."""
        history = self.history
        self._has_scheduler = True
        history.time_attr = time_attr
        if self._settings.max_t is None or history.max_t is None:
            history.max_t = float(max_t)

    def record(self, trial_id: str, result: Mapping[str, Any]) -> Report:
        """Enter a report into the record; see `raytuner.controller.report.record_report`.

        A scheduler calls this before it decides. `on_trial_result` then finds it done.
        """
        self._reopen(trial_id)
        report = record_report(self.history, trial_id, result)
        self._ahead = (trial_id, result, report)
        return report

    def had_ended(self, trial_id: str) -> bool:
        """Return whether Ray is about to run a trial again that had ended.

        This happens if Ray was killed before it saved the end. The answer is given once: after that
        the trial is over.
        """
        has_ended = trial_id in self._ended
        self._ended.discard(trial_id)
        if trial_id in self._lost:
            self._reopen(trial_id)
        return has_ended

    def remove_lost(self, known: Container[str]) -> None:
        """End the live trials that Ray does not know; `known` are the ids of Ray's trials."""
        for trial_id in self.history.live():
            if trial_id not in known:
                self.history.end(trial_id, TrialState.REMOVED, UNKNOWN_TO_RAY)

    # -- save and restore -----------------------------------------------------------------------

    def save(self, checkpoint_path: str) -> None:
        """Write the record with the proposer's state to one SQLite file.

        Ray calls this with a file in its staging folder of the experiment. Unless the user named a
        file for the live record, it is kept in the experiment's folder from then on.
        """
        search = self._search()
        self._place.check()
        search.history.set_meta("proposer", search.source().state_dict())
        self._controller.find(self._end)
        self._place.save(search.history, Path(checkpoint_path), self._controller.folder)
        if self._controller.is_last_save():
            self._end()

    def restore(self, checkpoint_path: str) -> None:
        """Continue from the file that `save` wrote, and from later events of the live record.

        Nothing is lost if the live record still exists, as after the death of the process but not
        of the machine. See `raytuner.search.restore.reconciled`.
        """
        self._controller.find(self._end)
        live = self._place.expected(self._controller.folder)
        space = self._settings.space
        history, self._ended, self._lost = reconciled(Path(checkpoint_path), space, live)
        self.continue_from(history)

    def continue_from(
        self, history: History, *, within: Space | None = None, again: Sequence[Config] = ()
    ) -> ActiveSearch:
        """Continue the search of a record that is in memory, and return it.

        Args:
            history: The record.
            within: A space within the record's space to propose from. None: the record's space.
            again: Configurations to try first, even if the record has trials with them.
        """
        self._place.take_over(history)
        self.close()
        self._corrected_at = 0.0
        self._metric = names_alone([one.metric for one in history.goal.objectives])
        self._mode = names_alone([one.mode for one in history.goal.objectives])
        self._settings = replace(
            self._settings,
            space=history.space,
            metric=self._metric,
            mode=self._mode,
            within=within or self._settings.within,
            again=(list(again), len(history)) if again else self._settings.again,
        )
        self._active = ActiveSearch(self._settings, history, self._controller, self._proposals)
        return self._active

    # -- inside ---------------------------------------------------------------------------------

    def _end(self) -> None:
        """End the search, and let other processes continue it."""
        self.close()
        self._place.release()

    def _reopen(self, trial_id: str) -> None:
        """Reopen a trial that ended in an earlier process if Ray runs it again."""
        history = self.history
        if trial_id not in history:
            self._add_restarted(history, trial_id)
        if trial_id in self._ended | self._lost:
            self._ended.discard(trial_id)
            self._lost.discard(trial_id)
            history.reopen(trial_id)

    def _add_restarted(self, history: History, trial_id: str) -> None:
        """Add a trial that Ray has not asked for, if its configuration failed before.

        `Tuner.restore(restart_errored=True)` runs failed trials again under new ids.
        """
        self._controller.find(self._end)
        config = self._controller.config_of(trial_id)
        if config is None:
            return
        key = history.space.encode([config])[0].tobytes()
        for head, point in zip(history.heads(), history.points(), strict=True):
            if head.state is TrialState.FAILED and point.tobytes() == key:
                history.add(trial_id, head.config, head.origin)
                return

    def _correct(self) -> None:
        """Correct states that were recorded while `max_t` is unknown.

        The trial that stopped at the largest t counts as complete. Once another trial gets further,
        this shows that a scheduler had stopped the first one early.
        """
        history = self.history
        largest = history.largest_t
        if history.max_t is not None or largest == self._corrected_at:
            return
        self._corrected_at = largest
        for head in history.heads():
            if head.state is TrialState.COMPLETED and head.reason == _FURTHEST:
                last = history.last(head.trial_id)
                if last is not None and last[0] < largest:
                    history.end(head.trial_id, TrialState.STOPPED_EARLY, _stopped_at(last[0]))

    def _record_end(self, trial_id: str, result: Mapping[str, Any], error: bool) -> None:
        history = self.history
        state, reason, report = self._ending(trial_id, result, error)
        told = error or trial_id in self._invalid or history.last(trial_id) is not None
        read = report or Report(read_resource(result, history.time_attr))
        enter(history, trial_id, read.t, read.metrics, result)
        history.end(trial_id, state, reason)
        if state is TrialState.FAILED and report is None and not told:
            warn_of_failure(history, trial_id, reason)
            self._unreported.append(reason)

    def _ending(
        self, trial_id: str, result: Mapping[str, Any], error: bool
    ) -> tuple[TrialState, str, Report | None]:
        """Return the final state of a trial, the reason, and its last report if it has one now."""
        history, invalid = self.history, self._invalid.get(trial_id)
        goal, time_attr, last = history.goal, history.time_attr, history.last(trial_id)
        missing = lacking(result, goal.required)
        if invalid is not None or error:
            return TrialState.FAILED, invalid or "its training raised an error", None
        if not result:
            if last is None:
                return TrialState.REMOVED, "stopped before it reported", None
            return TrialState.STOPPED_EARLY, "stopped while it waited", None
        if missing and last is None:
            keys = {*history[trial_id].metrics, *own_keys(result)}
            return TrialState.FAILED, never_reported(missing, keys), None
        heard_at = self._heard_at.get(trial_id)
        if lacking(result, [time_attr]):
            t = heard_at if heard_at is not None else last and last[0]
            if t is None and TRAINING_ITERATION not in result:  # a direct call, not from Ray
                t = history.max_t or history.largest_t or 1.0
            if t is None:
                reason = never_reported([time_attr], own_keys(result), role="time_attr")
                return TrialState.FAILED, reason, None
            result = {**result, time_attr: t}
        read = read_report(result, time_attr, goal)
        if (t := read.t) is None or read.error:
            if last is not None:  # the last report alone is bad
                return TrialState.COMPLETED, "", None
            return TrialState.FAILED, f"it ended without a report: {read.error}", None
        report = None if missing else read
        if read.metrics is not None and (odd := not_finite(history, read.metrics)):
            return TrialState.FAILED, odd, report
        if heard_at is not None:
            is_new = heard_at != t
        else:  # nothing since a restore: the record has what came before
            is_new = not (missing or history.has_value(trial_id, t))
        if not is_new or self._has_scheduler:
            return TrialState.COMPLETED, "", report
        if t < (history.largest_t if history.max_t is None else history.max_t):
            return TrialState.STOPPED_EARLY, _stopped_at(t), report
        return TrialState.COMPLETED, _FURTHEST if history.max_t is None else "", report


def _stopped_at(t: float) -> str:
    return f"stopped at t = {t:g}"
