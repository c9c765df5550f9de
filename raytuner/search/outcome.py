"""How a trial ended, from the little that Ray tells a searcher."""

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
class Outcome:
    """What is known when a trial is over.

    Attributes:
        error: Ray says that it failed.
        result: Its last report, flattened; None if Ray gives none.
        invalid: Why its reports cannot be used or what its training raised, if known.
        has_scheduler: Whether a raytuner scheduler is there, which records its own stops.
        heard_at: The t of the last report that came through ``on_trial_result`` since this process
            began, with the metric or without; None if none did.
        keys: The metrics of its reports that lacked the metric.
    """

    error: bool
    result: Mapping[str, Any] | None
    invalid: str | None = None
    has_scheduler: bool = False
    heard_at: float | None = None
    keys: frozenset[str] = frozenset()


def ending(
    history: History, trial_id: str, outcome: Outcome
) -> tuple[TrialState, str, tuple[float, dict[str, float]] | None]:
    """Return the state a trial ended in, why, and the report ``(t, metrics)`` that came with it.

    Ray's end of a trial says neither whether a scheduler stopped it nor whether its training ended
    by itself. What tells them apart: a result that makes a scheduler or a criterion stop the trial
    has not been seen in ``on_trial_result``; the last result of a training that returns has. So:

    - FAILED: an error, a report that cannot be used, no report with the metric, NaN or an infinity
      at the end (except in a cost or a standard error, which are then unknown).
    - STOPPED_EARLY: beside a scheduler that is not raytuner's, the result is new and its t is below
      ``max_t`` (below the largest t any trial reached, if ``max_t`` is unknown: see
      :func:`correct`); or the trial was stopped while it waited, after it had reported. A raytuner
      scheduler writes its own stops into the record.
    - REMOVED: it was stopped before it reported.
    - COMPLETED: everything else. The mean of several trials, which Ray's ``Repeater`` passes on,
      is COMPLETED too: it has the metric and none of Ray's own keys.
    """
    goal, last = history.goal, history.last(trial_id)
    result = outcome.result or {}
    missing = lacking(result, goal.required)
    wrapped = not missing and TRAINING_ITERATION not in result and history.time_attr not in result
    # The error that comes with a mean is that of the last of its trials.
    if outcome.invalid is not None or (outcome.error and not wrapped):
        return TrialState.FAILED, outcome.invalid or "its training raised an error", None
    if outcome.result is None:
        if last is None:
            return TrialState.REMOVED, "stopped before it reported", None
        return TrialState.STOPPED_EARLY, "stopped while it waited", None
    if missing and last is None:
        return TrialState.FAILED, never_reported(missing, {*outcome.keys, *own_keys(result)}), None
    known = outcome.heard_at if outcome.heard_at is not None else last and last[0]
    try:
        if not lacking(result, [history.time_attr]):
            t = read_number(result, history.time_attr, role="time_attr", finite=True)
        elif known is not None:
            t = known
        elif wrapped:
            t = history.max_t or history.largest_t() or 1.0
        else:
            keys = {*outcome.keys, *own_keys(result)}
            reason = never_reported([history.time_attr], keys, role="time_attr")
            return TrialState.FAILED, reason, None
        report = None if missing else (t, read_metrics(result, goal))
    except MetricError as error:
        if last is not None:  # the last report alone is bad
            return TrialState.COMPLETED, "", None
        return TrialState.FAILED, f"it ended without a report: {error}", None
    if report is not None and (odd := not_finite(history, report[1])):
        return TrialState.FAILED, odd, report
    if outcome.heard_at is not None:
        is_new = outcome.heard_at != t
    else:  # nothing since a restore: the record knows what came before
        is_new = not (missing or history.has_value(trial_id, t))
    if not is_new or outcome.has_scheduler or wrapped:
        return TrialState.COMPLETED, "", report
    if t < (history.largest_t() if history.max_t is None else history.max_t):
        return TrialState.STOPPED_EARLY, _stopped_at(t), report
    return TrialState.COMPLETED, _FURTHEST if history.max_t is None else "", report


def correct(history: History) -> None:
    """Take back what :func:`ending` could not know while ``max_t`` was unknown.

    A trial that was stopped further than any other had been counts as complete, until another gets
    further: then a scheduler had stopped it early.
    """
    if history.max_t is not None:
        return
    largest = history.largest_t()
    for head in history.heads():
        if head.state is TrialState.COMPLETED and head.reason == _FURTHEST:
            last = history.last(head.trial_id)
            if last is not None and last[0] < largest:
                history.end(head.trial_id, TrialState.STOPPED_EARLY, _stopped_at(last[0]))


# The reason of a trial that `correct` may have to look at again.
_FURTHEST = "stopped where no trial had got further"


def _stopped_at(t: float) -> str:
    return f"stopped at t = {t:g}"
