"""What has become of a trial: how one process keeps another's copy of the record up to date."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from raytuner.history.trial import Origin, TrialState


@dataclass(frozen=True)
class Change:
    """Where a trial is now, and what it has reported since the last change.

    Attributes:
        trial_id: Which trial.
        config: Its hyperparameters as ``Space.dump`` gives them: objects that are choices are the
            same in every process only by their place among the choices.
        origin: Who proposed it.
        state: Its state now.
        values: The pairs ``(t, value)`` that are new.
        others: The further metrics at the same t: ``(t, values by metric)``.
    """

    trial_id: str
    config: dict[str, Any]
    origin: Origin
    state: TrialState
    values: tuple[tuple[float, float], ...]
    others: tuple[tuple[float, dict[str, float]], ...] = ()
