"""Measure how long Ray takes to start or resume a trial."""

from __future__ import annotations

import statistics
import time
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any

from ray.tune.experiment import Trial

from raytuner.controller.trials import bare

_RECENT = 101  # starts that the median is taken over


class StartTimer:
    """Measures the seconds between the slot that a trial gets and the start of its training.

    In these, Ray starts a process and loads a checkpoint. A trial whose process starts within one
    turn of Ray's loop (0.1 s) may not be seen, and does not count.
    """

    def __init__(self) -> None:
        self._slot_since: dict[str, float] = {}
        self._recent: deque[float] = deque(maxlen=_RECENT)

    @property
    def median_s(self) -> float:
        """The median of the recent starts, in seconds; 0 until one is known."""
        return statistics.median(self._recent) if self._recent else 0.0

    def look(self, tune_controller: Any, pending: Iterable[Trial]) -> None:
        """Note which pending trials have a slot. Call this in each turn of Ray's loop."""
        controller = bare(tune_controller)
        for trial in pending:
            # Private: a trial's status says nothing of its slot until its process has started.
            actor, manager = controller._trial_to_actor.get(trial), controller._actor_manager
            if actor is not None and manager.is_actor_started(actor):
                self._slot_since.setdefault(trial.trial_id, _now(controller))
            else:
                self._slot_since.pop(trial.trial_id, None)  # of an attempt that failed

    def report(self, tune_controller: Any, trial_id: str, result: Mapping[str, Any]) -> None:
        """Take a report into account: a trial's first one since it got its slot ends its start."""
        since, trained = self._slot_since.pop(trial_id, None), result.get("time_since_restore")
        if since is not None and isinstance(trained, int | float):
            self._recent.append(max(_now(bare(tune_controller)) - since - trained, 0.0))


def _now(controller: Any) -> float:
    """Return the time in seconds; a simulated controller has its own clock."""
    clock = getattr(controller, "clock", None)
    return time.monotonic() if clock is None else float(clock.now)
