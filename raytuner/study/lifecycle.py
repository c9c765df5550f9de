"""Record starts and ends of trials that Ray passes to callbacks and not to the searcher."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from pathlib import Path, PureWindowsPath
from typing import Any

from ray import cloudpickle
from ray.exceptions import RayActorError
from ray.tune import Callback

from raytuner.controller.trial_tracker import TrialTracker
from raytuner.errors import without_secrets
from raytuner.history import History, Trial, TrialState, cause
from raytuner.report import text
from raytuner.study.stoppers import StudyStopper

logger = logging.getLogger(__name__)


class Lifecycle(Callback):
    """Completes the record of how trials began and ended, and logs failures.

    Args:
        search: The searcher, which has the record as `history`.
        stoppers: What may end the study, and then says `why`.
    """

    def __init__(self, search: Any, stoppers: Sequence[StudyStopper] = ()) -> None:
        self._search = search
        self._stoppers = stoppers
        self._logged: dict[str, tuple[int, int]] = {}  # by cause: the first trial, how many
        self._known = TrialTracker()

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Record when a trial begins to run; before, it waits for its slot and its process."""
        history: History = self._search.history
        if trial.trial_id in history:
            history.start(trial.trial_id)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Record and log what a trial raised. The searcher has recorded its end before."""
        history: History = self._search.history
        if trial.trial_id in history:
            if reason := _failure_of(trial):
                history.end(trial.trial_id, TrialState.FAILED, reason)
            self._log(history[trial.trial_id], trial)

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Record the ends of trials that Ray ended without telling the searcher.

        These are the trials that ran when a budget ended, and one whose process could not be used
        again (`reuse_actors`).
        """
        history: History = self._search.history
        self._known.new(trials)
        for trial in self._known.among(history.live()):
            if not trial.is_finished():
                continue
            if trial.status == trial.ERROR:
                state, reason = TrialState.FAILED, _failure_of(trial)
            else:
                reported = history.last(trial.trial_id) is not None
                state = TrialState.STOPPED_EARLY if reported else TrialState.REMOVED
                whys = (stopper.why for stopper in self._stoppers if stopper.why)
                reason = next(whys, "the time budget ended")
                history.set_meta("finished", True)
            history.end(trial.trial_id, state, reason)

    def on_experiment_end(self, trials: list[Any], **info: Any) -> None:
        """Close the record and the searcher's process, after Ray's last save."""
        for number, count in self._logged.values():
            if count > 1:
                others = text.count(count - 1, "other trial")
                logger.warning("%s failed for the same cause as trial %d.", others, number)
        self._search.close()
        self._search.history.close()

    def _log(self, failed: Trial, trial: Any) -> None:
        """Log the first failure of each cause with its traceback, and count the others.

        Ray's own log of each failure is off (`raytuner.study.run`).
        """
        key = cause(failed.reason)
        number, count = self._logged.get(key, (failed.number, 0))
        self._logged[key] = (number, count + 1)
        if count == 0:
            traceback = without_secrets(_users_part(_plain(str(_error_of(trial) or ""))))
            logger.warning("Trial %d failed: %s\n%s", number, failed.reason, traceback)


def _failure_of(trial: Any) -> str:
    """Return why a trial has failed; empty if nothing is known."""
    # Of a process that was killed, Ray knows only that.
    return without_secrets(getattr(trial, "killed_for", None) or reason_of(_error_of(trial)))


def reason_of(error: BaseException | str | None) -> str:
    """Return one line: what was raised and, if known, where in the user's code.

    Example:
        >>> reason_of(ValueError("lr is negative"))
        'ValueError: lr is negative'
        >>> reason_of(chr(10).join(["Failure # 1", "Traceback ...", "KeyError: 'lr'"]))
        "KeyError: 'lr'"
        >>> reason_of(None)
        ''
    """
    if error is None:
        return ""
    if isinstance(error, str):
        return next(reversed(_lines(error)), "") + _place_in(error)
    # Ray wraps what the training raised; the wrapper's text is a whole traceback.
    cause = getattr(error, "cause", None) or error
    name, lines = type(cause).__name__, _lines(_plain(str(cause)))
    place = _place_in(str(error))
    if isinstance(cause, RayActorError):
        # It goes on with ids, and may end with what was raised where the process began.
        raised = [line for line in lines[1:] if _RAISED.match(line)]
        return f"{raised[-1]}{place}" if raised else f"{name}: {lines[0]}"
    return f"{name}: {lines[0]}{place}" if lines else f"{name}{place}"


def _plain(traceback: str) -> str:
    """Return Ray's text of a traceback without the codes that colour it in a terminal."""
    return re.sub(r"\x1b\[[0-9;]*m", "", traceback)


_FRAME = re.compile(r'File "(.+?)", line (\d+), in (\S+)')
_NOT_THE_USERS = re.compile(r"[\\/](?:site|dist)-packages[\\/]|[\\/]lib[\\/]python3|^<frozen ")
_OURS = str(Path(__file__).parents[1])  # the package


def _place_in(traceback: str) -> str:
    """Return the last place in the user's own code, to append to a reason.

    >>> _place_in('  File "/home/ann/train.py", line 7, in fit')
    ' (train.py:7 in fit)'
    """
    for frame in reversed(_users_frames(traceback)):
        file, line, function = frame.groups()
        return f" ({PureWindowsPath(file).name}:{line} in {function})"  # of both systems
    return ""


def _users_part(traceback: str) -> str:
    """Return the lines of a traceback from the first frame in the user's own code on."""
    for frame in _users_frames(traceback):
        return traceback[traceback.rfind("\n", 0, frame.start()) + 1 :]
    return traceback


def _users_frames(traceback: str) -> list[re.Match[str]]:
    return [
        frame
        for frame in _FRAME.finditer(traceback)
        if not (_NOT_THE_USERS.search(frame[1]) or frame[1].startswith(_OURS))
    ]


_RAISED = re.compile(r"\w*(Error|Exception): ")


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def _error_of(trial: Any) -> BaseException | str | None:
    """Return what a trial raised. Ray's own getters read a URI before the files are uploaded."""
    pickled, plain = trial.pickled_error_file, trial.error_file
    error = _unpickled(Path(pickled)) if pickled and Path(pickled).is_file() else None
    if error is not None:
        return error
    return Path(plain).read_text() if plain and Path(plain).is_file() else None


def _unpickled(path: Path) -> BaseException | None:
    try:
        found = cloudpickle.loads(path.read_bytes())
    except Exception:  # an exception of the user's may raise anything here; Ray has a text too
        return None
    return found if isinstance(found, BaseException) else None
