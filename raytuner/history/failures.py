"""Group failed trials by cause, and find out whether all trials fail for the same cause."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from raytuner.history.history import History
from raytuner.history.table import Table
from raytuner.history.trial import Origin, Trial, TrialState

logger = logging.getLogger(__name__)

_NUMBER = re.compile(r"(?<![A-Za-z_])[-+]?\d[\d.,]*(?:e[-+]?\d+)?")
_HEX = re.compile(r"\b(?:0x)?[0-9a-f]{8,}\b")
_RAISED = re.compile(r"(?P<type>[\w.]+)(: .*)? \((?P<place>[^()]+:\d+ in [^()]+)\)")


class Cause(NamedTuple):
    """A cause of failures.

    Attributes:
        trials: The number of trials that failed for this cause.
        reason: The reason of the first of them.
    """

    trials: int
    reason: str


def cause(reason: str) -> str:
    """Return the cause of a reason: a text that is the same for similar failures.

    The cause of an exception is its type and the place where it was raised. The cause of any other
    reason is its first line without the numbers.

    Examples:
        >>> cause("KeyError: 'lr' (train.py:7 in fit)")
        'KeyError at train.py:7 in fit'
        >>> cause("RuntimeError: loss is nan at step 17 of worker 3fa94b01c2")
        'RuntimeError: loss is nan at step # of worker #'
    """
    line = first_line(reason)
    if raised := _RAISED.fullmatch(line):
        return f"{raised['type']} at {raised['place']}"
    return _NUMBER.sub("#", _HEX.sub("#", line))


def first_line(reason: str) -> str:
    """Return the first line of a reason that is not blank, or "unknown".

    Examples:
        >>> first_line("KeyError: 'lr'"), first_line("")
        ("KeyError: 'lr'", 'unknown')
    """
    return next((line.strip() for line in reason.splitlines() if line.strip()), "unknown")


def causes(trials: Iterable[Trial]) -> list[Cause]:
    """Return the causes of failures, the most frequent first."""
    reasons: dict[str, str] = {}
    counts: Counter[str] = Counter()
    for trial in trials:
        if trial.state is TrialState.FAILED:
            counts[key := cause(trial.reason)] += 1
            reasons.setdefault(key, trial.reason)
    return [Cause(count, reasons[key]) for key, count in counts.most_common()]


def warn_of_failure(table: Table, trial_id: str, reason: str) -> None:
    """Log that a trial has failed, once for each cause."""
    if (key := cause(reason)) not in table.warned_of:
        table.warned_of.add(key)
        logger.warning("Trial %s has failed: %s.", trial_id, reason)


def always_failing(history: History, at_least: int, since: float, now: float) -> Cause | None:
    """Return the cause for which every trial fails; None if a trial may still succeed.

    A trial may still succeed if another one ended without failing. It may also succeed if a running
    trial may be past the failure, because it began before the first failure or has run longer than
    every failed trial.

    Args:
        history: The record.
        at_least: The least number of failures with one cause.
        since: Trials that ended before this time, in Unix seconds, do not count.
        now: The time, in Unix seconds.
    """
    ended = []
    for head in history.heads():
        if head.state.is_live or (head.ended_at or 0.0) < since:
            continue
        if head.origin is Origin.EVALUATED or head.state is TrialState.REMOVED:
            continue
        if head.state is not TrialState.FAILED:
            return None  # usually one of the first trials
        ended.append(head)
    if not ended:
        return None
    found = causes(ended)[0]
    ends = [head.ended_at or now for head in ended]
    longest = max(
        end - (head.started_at or head.proposed_at) for head, end in zip(ended, ends, strict=True)
    )
    may_succeed = any(
        head.started_at < min(ends) or now - head.started_at > longest
        for head in history.heads()
        if head.state.is_live and head.started_at is not None
    )
    return None if found.trials < at_least or may_succeed else found
