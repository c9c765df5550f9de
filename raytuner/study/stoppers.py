"""Stoppers that end a whole study: when its time is over, or when every trial fails."""

from __future__ import annotations

import time
from typing import Any

from ray.tune import Callback, Stopper

from raytuner.errors import NoResultError
from raytuner.folders import Folder
from raytuner.history import History, TrialState, always_failing
from raytuner.report import text

FAILED_FOR = "failed_for"
"""Key in the record for the cause that ended the last run, as `AlwaysFailing` notes it."""


class StudyStopper(Callback, Stopper):
    """Ends a whole study, never a single trial. Give it to Ray both as callback and stopper.

    Args:
        search: The searcher; its `history` is the record.

    Attributes:
        why: Why the study ends; empty until it does.
    """

    def __init__(self, search: Any) -> None:
        self._search = search
        self.why = ""

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Return False: this stops no single trial."""
        return False

    def stop_all(self) -> bool:
        """Return whether the study ends."""
        return bool(self.why)

    def _end(self, why: str) -> None:
        self.why = why
        self._search.history.set_meta("finished", True)  # Ray ends in the same way after a Ctrl-C


class TimeBudget(StudyStopper):
    """Ends a study after some seconds of a monotonic clock.

    Ray's own time budget uses the time of day, so a change of the clock can end a study.

    Args:
        search: As for `StudyStopper`.
        seconds: The budget, above 0. A resumed study gets the full budget again.
    """

    def __init__(self, search: Any, seconds: float) -> None:
        super().__init__(search)
        self._left = seconds
        self._checked_at: float | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_checked_at": None}  # the clock of another process differs

    def stop_all(self) -> bool:
        """Return whether the study ends; the time counts from the first call."""
        now = time.monotonic()
        if self._checked_at is not None:
            self._left -= now - self._checked_at
        self._checked_at = now
        if self._left <= 0 and not self.why:
            self._end("the time budget ended")
        return bool(self.why)


class AlwaysFailing(StudyStopper):
    """Ends a study once some trials have failed for the same cause and none has succeeded.

    See `raytuner.history.always_failing`. The record keeps the cause, for `require_success`.

    Args:
        search: As for `StudyStopper`.
        at_least: The number of failures; 0 never ends the study.
    """

    def __init__(self, search: Any, at_least: int) -> None:
        super().__init__(search)
        self._at_least = at_least
        self._failed = 0

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_failed": 0, "why": ""}  # a restored study decides again

    def stop_all(self) -> bool:
        """Return whether the study ends."""
        history: History = self._search.history
        failed = history.counts[TrialState.FAILED]
        if not self.why and failed != self._failed and self._at_least:
            self._failed = failed
            began = (history.get_meta("runs") or [{"at": 0.0}])[-1]["at"]
            if cause := always_failing(history, self._at_least, since=began, now=time.time()):
                self._end("every trial before it failed")
                history.set_meta(FAILED_FOR, [*cause, self._at_least])
        return bool(self.why)

    def on_experiment_end(self, trials: list[Any], **info: Any) -> None:
        """Decide once more, with the last trials."""
        self._failed = 0
        self.stop_all()


def require_success(history: History, path: Folder) -> None:
    """Raise a NoResultError that names the cause if `AlwaysFailing` ended the last run."""
    if (known := history.get_meta(FAILED_FOR)) is None:
        return
    trials, reason, at_least = known
    failed = text.count(history.counts[TrialState.FAILED], "trial")
    raise NoResultError(
        f"the training function fails: {trials} of {failed} failed for the same cause, and no trial"
        f" succeeded. First error: {text.first_line(reason).rstrip('.')}. Fix it and start a new"
        f" study, or change stop_after_failures (now {at_least}; 0 turns it off). The error.txt of"
        f" each trial is in {path}"
    )
