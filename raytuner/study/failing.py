"""Ends a study in which every trial fails for one cause."""

from __future__ import annotations

import time
from typing import Any

from ray.tune import Stopper

from raytuner.errors import NoResultError, SettingError
from raytuner.folders import Folder
from raytuner.history import Cause, History, TrialState, always_failing
from raytuner.report import text

STOP_AFTER_FAILURES = 5
"""The default number of failures with one cause that end a study without any success."""

_STOPPED_FOR = "stopped_for"


class Failing(Stopper):
    """Stops a study once so many trials have failed for one cause and none has succeeded.

    See :func:`raytuner.history.always_failing`. The record keeps the cause, for
    :func:`require_success`.

    Args:
        search: The searcher, which has the record as ``history``.
        at_least: The number of failures; 0 for never.
    """

    def __init__(self, search: Any, at_least: int) -> None:
        self._search = search
        self._at_least = at_least
        self._failed = 0
        self.why = ""

    def __getstate__(self) -> dict[str, Any]:
        # A restored study decides again.
        return {**self.__dict__, "_failed": 0, "why": ""}

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Stop no single trial."""
        return False

    def stop_all(self) -> bool:
        """Return whether the study is to end."""
        history: History = self._search.history
        failed = history.counts()[TrialState.FAILED]
        if not self.why and failed != self._failed:
            self._failed = failed
            if (cause := _cause(history, self._at_least)) is not None:
                self.why = "every trial before it failed"
                history.set_meta(_STOPPED_FOR, {"at": time.time(), **cause._asdict()})
        return bool(self.why)


def check_stop_after_failures(given: object) -> None:
    """Check the number of failures that end a study.

    Raises:
        SettingError: It is not a whole number, or below 0.
    """
    if isinstance(given, bool) or not isinstance(given, int) or given < 0:
        raise SettingError(
            f"stop_after_failures is {given!r}; it must be a whole number: at least 1, or 0 to run"
            " all trials however many fail"
        )


def require_success(history: History, at_least: int, path: Folder) -> None:
    """Check, after a run, that its trials did not all fail for one cause.

    Args:
        history: The record.
        at_least: As for :class:`Failing`.
        path: The folder of the study.

    Raises:
        NoResultError: They all did; the message names the cause.
    """
    stopped = history.get_meta(_STOPPED_FOR)
    if stopped is not None and stopped["at"] >= _began(history):
        cause: Cause | None = Cause(stopped["trials"], stopped["reason"])
    else:
        cause = _cause(history, at_least)
    if cause is None:
        return
    failed = text.count(history.counts()[TrialState.FAILED], "trial")
    reason = text.first_line(cause.reason).rstrip(".")
    raise NoResultError(
        f"the training function fails: {cause.trials} of {failed} that failed have the same cause,"
        f" and none succeeded. The first: {reason}. Correct it and start a"
        f" new study, or set stop_after_failures (now {at_least}; 0: never stop for failures). The"
        f" record and each trial's error.txt are in {path}"
    )


def _cause(history: History, at_least: int) -> Cause | None:
    if at_least == 0:
        return None
    return always_failing(history, at_least, since=_began(history), now=time.time())


def _began(history: History) -> float:
    """Return when the latest run of the study began, in Unix seconds."""
    runs = history.get_meta("runs") or [{"at": 0.0}]
    return float(runs[-1]["at"])
