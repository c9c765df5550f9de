"""Why trials failed: Ray tells its callbacks, not the searcher."""

from __future__ import annotations

from typing import Any

from ray.tune import Callback

from raytuner.history import History, TrialState


class FailureReasons(Callback):
    """Writes the exception of a failed trial into the record.

    Args:
        history: Where the record is found once the study runs.
    """

    def __init__(self, search: Any) -> None:
        self._search = search

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Called by Ray after the searcher has recorded the end."""
        history: History = self._search.history
        if trial.trial_id in history:
            reason = reason_of(trial.get_pickled_error() or trial.get_error())
            if reason:
                history.end(trial.trial_id, TrialState.FAILED, reason)


def reason_of(error: BaseException | str | None) -> str:
    """One line that says what was raised; empty if nothing is known.

    Example:
        >>> reason_of(ValueError("lr is negative"))
        'ValueError: lr is negative'
    """
    if error is None:
        return ""
    # Ray wraps what the training raised; the wrapper's text is a whole traceback.
    cause = getattr(error, "cause", None) or error
    if isinstance(cause, BaseException):
        lines = str(cause).strip().splitlines()
        name = type(cause).__name__
        return f"{name}: {lines[0]}" if lines else name
    lines = cause.strip().splitlines()
    return lines[-1] if lines else ""
