"""How a trial ended, from the little that Ray tells a searcher."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from raytuner.errors import MetricError
from raytuner.history import History, TrialState
from raytuner.ray_report import read_metrics, read_number


@dataclass(frozen=True)
class Outcome:
    """What is known when a trial is over.

    Attributes:
        error: Ray says that it failed.
        result: Its last report, flattened; None if Ray gives none.
        stopped: Why a raytuner scheduler stopped it, if it did.
        invalid: Why its reports cannot be used or what its training raised, if known.
        has_scheduler: Whether a raytuner scheduler is there to say which trials it stops.
        heard_at: The t of the last report that came through ``on_trial_result`` since this process
            began; None if none did.
    """

    error: bool
    result: Mapping[str, Any] | None
    stopped: str | None = None
    invalid: str | None = None
    has_scheduler: bool = False
    heard_at: float | None = None


def ending(
    history: History, trial_id: str, outcome: Outcome
) -> tuple[TrialState, str, tuple[float, dict[str, float]] | None]:
    """The state a trial ended in, why, and the report ``(t, metrics)`` that came with the end.

    Ray's end of a trial says neither whether a scheduler stopped it nor whether its training ended
    by itself. What tells them apart: a result that makes a scheduler or a criterion stop the trial
    has not been seen in ``on_trial_result``; the last result of a training that returns has. So:

    - FAILED: an error, a report that cannot be used, no report at all, NaN or an infinity at the
      end (in a standard error it says that it is not known).
    - STOPPED_EARLY: a raytuner scheduler said so; or, beside another scheduler, the result is new
      and its t is below ``max_t`` (below the largest t any trial reached, if ``max_t`` is unknown:
      see :func:`correct`); or the trial was stopped while it waited, after it had reported.
    - REMOVED: it was stopped before it reported.
    - COMPLETED: everything else.
    """
    if outcome.error or outcome.invalid is not None:
        return TrialState.FAILED, outcome.invalid or "its training raised an error", None
    if outcome.result is None:
        if history.last(trial_id) is None:
            return TrialState.REMOVED, "stopped before it reported", None
        return TrialState.STOPPED_EARLY, outcome.stopped or "stopped while it waited", None
    try:
        t = read_number(outcome.result, history.time_attr, role="time_attr", finite=True)
        metrics = read_metrics(outcome.result, history.goal.metrics)
    except MetricError as error:
        if history.last(trial_id) is not None:  # the last report alone lacks it
            return TrialState.COMPLETED, "", None
        return TrialState.FAILED, f"it ended without a report: {error}", None
    for name, value in metrics.items():
        if name != history.goal.standard_error and not math.isfinite(value):
            return TrialState.FAILED, f"{name} is {value} at its end", (t, metrics)
    if outcome.stopped is not None:
        return TrialState.STOPPED_EARLY, outcome.stopped, (t, metrics)
    if outcome.heard_at is None:  # nothing since a restore: the record knows what came before
        is_new = not history.has_value(trial_id, t)
    else:
        is_new = outcome.heard_at != t
    if not is_new or outcome.has_scheduler:
        return TrialState.COMPLETED, "", (t, metrics)
    if t < (history.largest_t() if history.max_t is None else history.max_t):
        return TrialState.STOPPED_EARLY, _stopped_at(t), (t, metrics)
    return TrialState.COMPLETED, _FURTHEST if history.max_t is None else "", (t, metrics)


def record(history: History, trial_id: str, t: float, metrics: Mapping[str, float]) -> None:
    """Enter a report into the record."""
    others = {name: value for name, value in metrics.items() if name != history.metric}
    history.report(trial_id, t, metrics[history.metric], others)


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
