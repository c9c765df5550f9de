"""Ends of trials that Ray tells its callbacks of, not the searcher."""

from __future__ import annotations

from typing import Any

from ray.tune import Callback

from raytuner.history import History, TrialState


class Ends(Callback):
    """Completes the record of how trials ended.

    Args:
        search: The searcher, which has the record as ``history``.
    """

    def __init__(self, search: Any) -> None:
        self._search = search

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Write down what was raised. Called after the searcher has recorded the end."""
        history: History = self._search.history
        if trial.trial_id in history:
            reason = reason_of(trial.get_pickled_error() or trial.get_error())
            if reason:
                history.end(trial.trial_id, TrialState.FAILED, reason)

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Find the trials that Ray has ended without a word to the searcher.

        The end of the time budget does that to all that run, and to one whose process could not be
        used again (``reuse_actors``).
        """
        history: History = self._search.history
        live = set(history.live())
        if not live:
            return
        for trial in trials:
            if trial.trial_id not in live or not trial.is_finished():
                continue
            if trial.status == trial.ERROR:
                state, reason = TrialState.FAILED, reason_of(trial.get_error())
            else:
                reported = history.last(trial.trial_id) is not None
                state = TrialState.STOPPED_EARLY if reported else TrialState.REMOVED
                reason = "the time budget ended"
                history.set_meta("finished", True)
            history.end(trial.trial_id, state, reason)

    def on_experiment_end(self, trials: list[Any], **info: Any) -> None:
        """Let go of the file, after Ray's last save."""
        self._search.history.close()


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
