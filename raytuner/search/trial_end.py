"""Find out how a trial ended from what Ray passes to a searcher."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ray.air.constants import TRAINING_ITERATION

from raytuner.controller.recorder import never_reported, not_finite
from raytuner.controller.report import lacking, own_keys, read_metrics, read_number
from raytuner.errors import MetricError
from raytuner.history import History, TrialState


@dataclass(frozen=True)
class TrialEnd:
    """The facts that are known when a trial ends.

    Attributes:
        error: Whether Ray counts the trial as failed.
        result: The last report, flattened; None if Ray passes none.
        invalid: Why the reports cannot be used or what the training raised, if known.
        has_scheduler: Whether a raytuner scheduler, which records its own stops, judges the trials.
        heard_at: The t of the last report that came through `on_trial_result` in this process, with
            the metric or without; None if none did.
        keys: The metrics in reports that lacked the metric.
    """

    error: bool
    result: Mapping[str, Any] | None
    invalid: str | None = None
    has_scheduler: bool = False
    heard_at: float | None = None
    keys: frozenset[str] = frozenset()


def ending(
    history: History, trial_id: str, end: TrialEnd
) -> tuple[TrialState, str, tuple[float, dict[str, float]] | None]:
    """Return the final state of a trial, the reason, and its last report `(t, metrics)`.

    Ray says neither whether a scheduler stopped the trial nor whether its training ended by itself.
    If a scheduler or a criterion stops a trial at a result, `on_trial_result` has not received that
    result. If the training returns, it has received the last one. So the states are:

    - FAILED: an error, a report that cannot be used, no report with the metric, NaN or an infinity
      at the end (except in a cost or a standard error, which are then unknown).
    - STOPPED_EARLY: there is no raytuner scheduler, the result is new, and its t is below `max_t`
      (or, if `max_t` is unknown, below the largest t of any trial: see `correct`). Also a trial
      that reported and was stopped while paused or pending. A raytuner scheduler records its own
      stops.
    - REMOVED: stopped before its first report.
    - COMPLETED: all others, and the mean of several trials that Ray's `Repeater` passes on: it has
      the metric and none of Ray's own keys.
    """
    goal, last = history.goal, history.last(trial_id)
    result = end.result or {}
    missing = lacking(result, goal.required)
    wrapped = not missing and TRAINING_ITERATION not in result and history.time_attr not in result
    # An error that comes with a mean is that of its last trial.
    if end.invalid is not None or (end.error and not wrapped):
        return TrialState.FAILED, end.invalid or "its training raised an error", None
    if end.result is None:
        if last is None:
            return TrialState.REMOVED, "stopped before it reported", None
        return TrialState.STOPPED_EARLY, "stopped while it waited", None
    if missing and last is None:
        return TrialState.FAILED, never_reported(missing, {*end.keys, *own_keys(result)}), None
    known = end.heard_at if end.heard_at is not None else last and last[0]
    try:
        if not lacking(result, [history.time_attr]):
            t = read_number(result, history.time_attr, role="time_attr", finite=True)
        elif known is not None:
            t = known
        elif wrapped:
            t = history.max_t or history.largest_t() or 1.0
        else:
            keys = {*end.keys, *own_keys(result)}
            reason = never_reported([history.time_attr], keys, role="time_attr")
            return TrialState.FAILED, reason, None
        report = None if missing else (t, read_metrics(result, goal))
    except MetricError as error:
        if last is not None:  # the last report alone is bad
            return TrialState.COMPLETED, "", None
        return TrialState.FAILED, f"it ended without a report: {error}", None
    if report is not None and (odd := not_finite(history, report[1])):
        return TrialState.FAILED, odd, report
    if end.heard_at is not None:
        is_new = end.heard_at != t
    else:  # nothing since a restore: the record has what came before
        is_new = not (missing or history.has_value(trial_id, t))
    if not is_new or end.has_scheduler or wrapped:
        return TrialState.COMPLETED, "", report
    if t < (history.largest_t() if history.max_t is None else history.max_t):
        return TrialState.STOPPED_EARLY, _stopped_at(t), report
    return TrialState.COMPLETED, _FURTHEST if history.max_t is None else "", report


def correct(history: History) -> None:
    """Correct states that were found while `max_t` is unknown.

    A trial that stopped further than all others counts as complete. Once another trial gets
    further, a scheduler had stopped the first one early.
    """
    if history.max_t is not None:
        return
    largest = history.largest_t()
    for head in history.heads():
        if head.state is TrialState.COMPLETED and head.reason == _FURTHEST:
            last = history.last(head.trial_id)
            if last is not None and last[0] < largest:
                history.end(head.trial_id, TrialState.STOPPED_EARLY, _stopped_at(last[0]))


# The reason of a trial that `correct` may change.
_FURTHEST = "stopped where no trial had got further"


def _stopped_at(t: float) -> str:
    return f"stopped at t = {t:g}"
