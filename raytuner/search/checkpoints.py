"""Which checkpoint of a trial is its last, kept in the record as it is reported.

Ray knows too, but saves it with the experiment: every ten seconds, or less often.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from raytuner.history import History

FOLDER = "checkpoint_dir_name"
"""Under this name a report has the folder of the checkpoint that came with it."""

_KEY = "checkpoint/"
_KEPT = (FOLDER, "training_iteration", "time_total_s")  # what a trial goes on with


def note_checkpoint(history: History, trial_id: str, result: Mapping[str, Any]) -> None:
    """Keep where the checkpoint of a report is, if it came with one; it is whole by then."""
    if result.get(FOLDER):
        kept = {name: result[name] for name in _KEPT if name in result}
        history.set_meta(_KEY + trial_id, kept)


def last_checkpoint(history: History, trial_id: str) -> Mapping[str, Any] | None:
    """What the report said that a trial's last checkpoint came with; None if it has none.

    Its folder, and how far the trial had come, in Ray's own terms.
    """
    found: Mapping[str, Any] | None = history.get_meta(_KEY + trial_id)
    return found
