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
    """Records what Ray and a scheduler say of trials, and restores the record.

    A subclass proposes configurations.

    Args:
        settings: What the user asked for.
    """

    _proposals: Proposals | None = None  # a source of the subclass's own

    def __init__(self, settings: SearchSettings) -> None:
        super().__init__(metric=settings.metric, mode=settings.mode)
        self._settings = settings
        # The search ends once this many trials never reported the metric and none did; 0: never.
        self.stop_unreported_after = 3
        self._unreported: list[str] = []  # why such trials failed
        self._active: ActiveSearch | None = None
        self._controller = ControllerHandle()
        self._place = RecordPlace(record_place(settings.record))
        # The report that a scheduler of ours had recorded before Ray passed it on, and its dict.
        self._ahead: tuple[str, Mapping[str, Any], Report] | None = None
        self._has_scheduler = False  # one of ours: it records which trials it stops
        self._invalid: dict[str, str] = {}  # why a trial's report cannot be used
        self._heard_at: dict[str, float] = {}  # t of a trial's last report in this process
        self._ended: set[str] = set()  # trials that ended after Ray saved the experiment
        self._lost: set[str] = set()  # others that have ended and that Ray may run again
        self._corrected_at = 0.0  # the record's largest t at the last correction

    def _search(self) -> ActiveSearch:
        """Return the search under way; a subclass begins it."""
        raise NotImplementedError

    @property
    def history(self) -> History:
        """The record of the search.

        Raises:
            SpaceError, MetricError: The search has no space, metric or mode yet.
        """
        return self._search().history

    @property
    def proposal_counts(self) -> dict[str, int]:
        """The number of configurations that were proposed in each way.

        `fresh`: from all trials that had ended when their slot asked. `stale`: from fewer.
        `fallback`: quasi-random, since no other proposal was ready.
        """
        return proposal_counts(self.history.heads())

    def close(self) -> None:
        """End the process that computes proposals, if there is one.

        It ends by itself with the search. Asked for another configuration, the searcher starts one
        again.
        """
        if self._active is not None:
            self._active.close()

    # -- Ray's hooks ------------------------------------------------------------------------------

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Record what a running trial reported.

        A report without the metric is skipped: a function may validate every few epochs only. So is
        a report of a trial that has ended. Once any trial has reported the metric, a report without
        `time_attr` is skipped too, and one in which the metric is not a number fails its own trial
        only.

        Raises:
            MetricError: The report has a metric that is no number, or no `time_attr`, and no
                trial of this search has sent a valid report so far.
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
        """Record how a trial ended.

        Ray says neither whether a scheduler stopped the trial nor whether its training ended by
        itself. If a scheduler or a criterion stops a trial at a result, `on_trial_result` has not
        received that result. If the training returns, it has received the last one. The states:

        - FAILED: an error, a report that cannot be used, no report with the metric, NaN or an
          infinity at the end (except in a cost or a standard error, which are then unknown).
        - STOPPED_EARLY: there is no raytuner scheduler, the result is new, and its t is below
          `max_t` (or, if that is unknown, below the largest t of any trial). Also a trial that
          reported and was stopped while paused or pending. A raytuner scheduler records its own
          stops.
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
        """Record that a trial will wait (from Ray's HyperBandForBOHB)."""
        self.history.pause(trial_id)

    def on_unpause(self, trial_id: str) -> None:
        """Record that a paused trial is about to go on (from Ray's HyperBandForBOHB)."""
        if self.history.is_live(trial_id):
            self.history.reopen(trial_id)

    # -- what a raytuner scheduler needs (raytuner.schedulers.restored) ----------------------------

    def join_schedule(self, *, time_attr: str, max_t: float) -> None:
        """Judge trials by `time_attr`, and complete them at `max_t`."""
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
        """Whether a trial had ended that Ray, killed before it saved that, is about to run again.

        Asked once: the trial is over then.
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
        """Write the record, and the proposer's state within it, to one SQLite file.

        Ray calls this with a file in its staging folder of the experiment. If no file was asked for
        to keep the record in as things happen, it is kept in the experiment's folder from then on.
        """
        search = self._search()
        self._place.check()
        search.history.set_meta("proposer", search.source().state_dict())
        self._controller.find(self._end)
        self._place.save(search.history, Path(checkpoint_path), self._controller.folder)
        if self._controller.is_last_save():
            self._end()

    def restore(self, checkpoint_path: str) -> None:
        """Continue from what `save` wrote, and from what was recorded after it.

        If the record that was being written at the time still exists (the process died, the machine
        did not), nothing is lost: see `raytuner.search.restore.reconciled`.
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
            within: A space within the record's to propose from. None: the record's.
            again: Configurations to hand out first, though the record has trials of them.
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
        """End the search, and let other processes go on with it."""
        self.close()
        self._place.release()

    def _reopen(self, trial_id: str) -> None:
        """Reopen a trial that had ended in an earlier process, if Ray runs it again."""
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
        """Correct states that were found while `max_t` is unknown.

        A trial that stopped further than all others counts as complete. Once another trial gets
        further, a scheduler had stopped the first one early.
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
            if t is None and TRAINING_ITERATION not in result:  # it is told by hand
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
