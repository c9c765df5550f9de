"""Starts and ends of trials that Ray tells its callbacks of, not the searcher."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ray import cloudpickle
from ray.exceptions import RayActorError
from ray.tune import Callback

from raytuner.history import History, TrialState, note_start
from raytuner.placement.known import KnownTrials
from raytuner.secret import without_secrets
from raytuner.study.gpu_hours import GpuHours


class Ends(Callback):
    """Completes the record of how trials began and ended.

    Args:
        search: The searcher, which has the record as ``history``.
        gpu_hours: The budget that may end the study, if there is one.
    """

    def __init__(self, search: Any, gpu_hours: GpuHours | None = None) -> None:
        self._search = search
        self._gpu_hours = gpu_hours
        self._known = KnownTrials()

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Write down when it began to run: until then it waits for its slot and its process."""
        history: History = self._search.history
        if trial.trial_id in history:
            note_start(history, trial.trial_id)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Write down what was raised. Called after the searcher has recorded the end."""
        history: History = self._search.history
        if trial.trial_id in history:
            reason = _why(trial)
            if reason:
                history.end(trial.trial_id, TrialState.FAILED, reason)

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Find the trials that Ray has ended without a word to the searcher.

        The end of a budget does that to all that run, and to one whose process could not be
        used again (``reuse_actors``).
        """
        history: History = self._search.history
        self._known.new(trials)
        for trial in self._known.among(history.live()):
            if not trial.is_finished():
                continue
            if trial.status == trial.ERROR:
                state, reason = TrialState.FAILED, _why(trial)
            else:
                reported = history.last(trial.trial_id) is not None
                state = TrialState.STOPPED_EARLY if reported else TrialState.REMOVED
                out_of_gpu = self._gpu_hours is not None and self._gpu_hours.spent
                reason = "the GPU-hours are used up" if out_of_gpu else "the time budget ended"
                history.set_meta("finished", True)
            history.end(trial.trial_id, state, reason)

    def on_experiment_end(self, trials: list[Any], **info: Any) -> None:
        """Let go of the file and of the searcher's process, after Ray's last save."""
        self._search.close()
        self._search.history.close()


def _why(trial: Any) -> str:
    """Why a trial has failed; empty if nothing is known."""
    # Of a process that was killed, Ray knows only that.
    return without_secrets(getattr(trial, "killed_for", None) or reason_of(_error_of(trial)))


def reason_of(error: BaseException | str | None) -> str:
    """One line that says what was raised; empty if nothing is known.

    Example:
        >>> reason_of(ValueError("lr is negative"))
        'ValueError: lr is negative'
        >>> reason_of(chr(10).join(["Failure # 1", "Traceback ...", "KeyError: 'lr'"]))
        "KeyError: 'lr'"
    """
    if error is None:
        return ""
    if isinstance(error, str):
        return next(reversed(_lines(error)), "")
    # Ray wraps what the training raised; the wrapper's text is a whole traceback.
    cause = getattr(error, "cause", None) or error
    name, lines = type(cause).__name__, _lines(str(cause))
    if isinstance(cause, RayActorError):
        # It goes on with ids, and may end with what was raised where the process began.
        raised = [line for line in lines[1:] if _RAISED.match(line)]
        lines = [*lines[:1], *raised[-1:]]
        return f"{name}: {' '.join(lines)}"
    return f"{name}: {lines[0]}" if lines else name


_RAISED = re.compile(r"\w*(Error|Exception): ")


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def _error_of(trial: Any) -> BaseException | str | None:
    """What a trial raised. Ray's own getters look where the files have yet to be uploaded to."""
    pickled, text = trial.pickled_error_file, trial.error_file
    error = _unpickled(Path(pickled)) if pickled and Path(pickled).is_file() else None
    if error is not None:
        return error
    return Path(text).read_text() if text and Path(text).is_file() else None


def _unpickled(path: Path) -> BaseException | None:
    try:
        found = cloudpickle.loads(path.read_bytes())
    except Exception:  # an exception of the user's may raise anything here; Ray has a text too
        return None
    return found if isinstance(found, BaseException) else None
