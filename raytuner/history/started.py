"""When trials began to run, kept beside them: whoever sees it start says so."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from raytuner.history.history import History

_KEY = "started/"


def note_start(history: History, trial_id: str) -> None:
    """The trial's process is there and it runs; said again (of a retry), the first time counts."""
    if history.get_meta(_KEY + trial_id) is None:
        history.set_meta(_KEY + trial_id, time.time())


def starts(history: History) -> dict[str, float]:
    """When trials began to run, in Unix seconds, of those of which it is known."""
    found = ((i.trial_id, history.get_meta(_KEY + i.trial_id)) for i in history.trials)
    return {trial_id: float(at) for trial_id, at in found if at is not None}
