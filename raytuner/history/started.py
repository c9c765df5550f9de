"""When trials began to run, kept beside them: whoever sees it start says so."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from raytuner.history.history import History

_KEY = "started/"


def note_start(history: History, trial_id: str) -> None:
    """Record when the trial's process began to run; a retry does not change that."""
    history.begin(trial_id)
    if history.get_meta(_KEY + trial_id) is None:
        history.set_meta(_KEY + trial_id, time.time())


def start_of(history: History, trial_id: str) -> float | None:
    """Return when a trial began to run, in Unix seconds; None if that is not known."""
    at = history.get_meta(_KEY + trial_id)
    return None if at is None else float(at)


def starts(history: History) -> dict[str, float]:
    """Return when trials began to run, in Unix seconds, as far as that is known."""
    found = ((head.trial_id, start_of(history, head.trial_id)) for head in history.heads())
    return {trial_id: at for trial_id, at in found if at is not None}
