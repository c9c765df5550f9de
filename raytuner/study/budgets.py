"""Budgets that end a study: seconds and GPU-hours."""

from __future__ import annotations

import time
from typing import Any

from ray.tune import Callback, Stopper

GPU_HOURS_USED = "gpu_hours_used"
"""Under this key the record has what was used so far."""

_NOTE_S = 5.0


class TimeBudget(Stopper):
    """Ends a study after so many seconds.

    Ray's own time budget goes by the time of day: it ends a study when somebody sets the clock.

    Args:
        seconds: The budget, above 0. A study that is resumed has all of it again.
    """

    def __init__(self, seconds: float) -> None:
        self._left = seconds
        self._looked_at: float | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_looked_at": None}  # the clock of another process differs

    @property
    def why(self) -> str:
        """Why the study ends; empty until the time is used up."""
        return "the time budget ended" if self._left <= 0 else ""

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Stop no single trial."""
        return False

    def stop_all(self) -> bool:
        """Return whether the study is to end; the time counts from the first call."""
        now = time.monotonic()
        if self._looked_at is not None:
            self._left -= now - self._looked_at
        self._looked_at = now
        return bool(self.why)


class GpuHours(Callback, Stopper):
    """Ends a study when its trials have held GPUs for so many GPU-hours.

    A trial holds what it requested for as long as it runs, however little it uses. The record keeps
    how much was used, so a study that is resumed has only the rest.

    Give the same object to Ray as callback and as stopper.

    Args:
        search: The searcher, which has the record as ``history``.
        budget: GPU-hours, above 0.
    """

    def __init__(self, search: Any, budget: float) -> None:
        self._search = search
        self._budget = budget
        self._used: float | None = None
        self._looked_at = 0.0
        self._noted_at = 0.0

    def __getstate__(self) -> dict[str, Any]:
        # Restored, it reads from the record what was used.
        return {**self.__dict__, "_used": None, "_looked_at": 0.0}

    @property
    def why(self) -> str:
        """Why the study ends; empty until the budget is used up."""
        is_spent = self._used is not None and self._used >= self._budget
        return "the GPU-hours are used up" if is_spent else ""

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Add what was held since the last look."""
        now = time.monotonic()
        if self._used is None:
            self._used = float(self._search.history.get_meta(GPU_HOURS_USED, 0.0))
        else:
            gpus = sum(gpus_of(trial) for trial in trials if trial.status == trial.RUNNING)
            self._used += gpus * (now - self._looked_at) / 3600
        self._looked_at = now
        if now - self._noted_at >= _NOTE_S:
            self._note(now)

    def on_experiment_end(self, trials: list[Any], **info: Any) -> None:
        """Write to the record what was used."""
        self._note(time.monotonic())

    def _note(self, now: float) -> None:
        self._search.history.set_meta(GPU_HOURS_USED, self._used or 0.0)
        self._noted_at = now

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Stop no single trial."""
        return False

    def stop_all(self) -> bool:
        """Whether the study is to end."""
        return bool(self.why)


def gpus_of(trial: Any) -> float:
    """Return how many GPUs a Ray trial holds."""
    request = trial.placement_group_factory
    return 0.0 if request is None else float(request.required_resources.get("GPU", 0.0))
