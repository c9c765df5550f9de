"""Record the starts and ends of trials that Ray reports to callbacks but not to the searcher."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from pathlib import Path, PureWindowsPath
from typing import Any

from ray.tune import Callback

from raytuner.controller.trials import TrialTracker
from raytuner.errors import without_secrets
from raytuner.history import History, TrialState, cause
from raytuner.study.stoppers import StudyStopper

logger = logging.getLogger(__name__)


class Lifecycle(Callback):
    """Completes the record of how trials began and ended, and logs failures.

    Args:
        search: The searcher; its `history` is the record.
        stoppers: The stoppers of the study. The one that ends it says so in `why`.
    """

    def __init__(self, search: Any, stoppers: Sequence[StudyStopper] = ()) -> None:
        self._search = search
        self._stoppers = stoppers
        self._logged: set[str] = set()  # causes of failures
        self._known = TrialTracker()

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Record when a trial begins to run. Until then it waits for a slot and its process."""
        history: History = self._search.history
        if trial.trial_id in history:
            history.start(trial.trial_id)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Record the error of a trial, and log the first failure of each cause.

        The searcher has recorded the end already. Ray's own log of failures is off.
        """
        history: History = self._search.history
        if trial.trial_id not in history:
            return
        if reason := _failure_of(trial):
            history.end(trial.trial_id, TrialState.FAILED, reason)
        failed = history[trial.trial_id]
        if (key := cause(failed.reason)) not in self._logged:
            self._logged.add(key)
            raised = _error_of(trial)
            start = next((frame.start() for frame in _users_frames(raised)), 0)
            shown = without_secrets(raised[start:])
            logger.warning("Trial %d failed: %s\n%s", failed.number, failed.reason, shown)

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Record the ends of trials that Ray ended without telling the searcher.

        These trials ran when a budget ended, or their process could not be reused (`reuse_actors`).
        """
        history: History = self._search.history
        self._known.new(trials)
        for trial in self._known.among(history.live()):
            if not trial.is_finished():
                continue
            if trial.status == trial.ERROR:
                history.end(trial.trial_id, TrialState.FAILED, _failure_of(trial))
            else:
                whys = (stopper.why for stopper in self._stoppers if stopper.why)
                cut_short(history, trial.trial_id, next(whys, "the time budget ended"))

    def on_experiment_end(self, trials: list[Any], **info: Any) -> None:
        """Close the record and the searcher's process, after Ray's last save."""
        self._search.close()
        self._search.history.close()


def cut_short(history: History, trial_id: str, reason: str) -> None:
    """Record that a live trial ended before it finished."""
    reported = history.last(trial_id) is not None
    history.end(trial_id, TrialState.STOPPED_EARLY if reported else TrialState.REMOVED, reason)


def _failure_of(trial: Any) -> str:
    """Return why a trial failed; empty if unknown."""
    # If a process was killed, Ray's own text does not say why.
    return without_secrets(getattr(trial, "killed_for", None) or reason_of(_error_of(trial)))


def _error_of(trial: Any) -> str:
    """Return the text of a trial's last error.

    Ray's own getters read a URI before the files are uploaded.
    """
    path = trial.error_file
    if not path or not Path(path).is_file():
        return ""
    written = Path(path).read_text(encoding="utf-8", errors="replace")
    last = re.split(r"^Failure # .*\n", written, flags=re.MULTILINE)[-1]
    return re.sub(r"\x1b\[[0-9;]*m", "", last)  # without a terminal's colours


_FRAME = re.compile(r'^ *File "(.+?)", line (\d+), in (\S+)', re.MULTILINE)
_NOT_THE_USERS = re.compile(r"[\\/](?:site|dist)-packages[\\/]|[\\/]lib[\\/]python3|^<frozen ")
_OURS = str(Path(__file__).parents[1])  # the package


def reason_of(raised: str) -> str:
    """Return one line of a traceback: what was raised and, if known, where in the user's code.

    Examples:
        >>> reason_of('File "/home/ann/train.py", line 7, in fit' + chr(10) + "KeyError: 'lr'")
        "KeyError: 'lr' (train.py:7 in fit)"
        >>> reason_of("The actor died."), reason_of("")
        ('The actor died.', '')
    """
    frames = [*_FRAME.finditer(raised)]
    rest = raised[frames[-1].end() :] if frames else raised
    # Indented lines of code follow a frame. The exception's own text may have several lines.
    said = next((line.strip() for line in rest.splitlines() if line.strip() and line[0] != " "), "")
    place = ""
    if users := _users_frames(raised):
        file, line, function = users[-1].groups()
        place = f" ({PureWindowsPath(file).name}:{line} in {function})"  # of both systems
    return said + place


def _users_frames(traceback: str) -> list[re.Match[str]]:
    return [
        frame
        for frame in _FRAME.finditer(traceback)
        if not (_NOT_THE_USERS.search(frame[1]) or frame[1].startswith(_OURS))
    ]
