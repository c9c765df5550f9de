"""What is measured: seconds in hooks, and memory, for each stretch of a search."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import psutil

HOOKS = {
    "searcher": ("suggest", "on_trial_result", "on_trial_complete"),
    "scheduler": ("on_trial_add", "on_trial_result", "on_trial_complete", "choose_trial_to_run"),
}


@dataclass(frozen=True)
class Stretch:
    """Of a search, the time from one number of trials to the next.

    Attributes:
        trials: How many there had been at its end.
        decisions: Calls of hooks within it.
        decision_us: Mean microseconds for one of them: by the clock where hooks are timed apart,
            since asking for a thread's processor time can take longer than a hook.
        trial_ms: Milliseconds of the whole process for one trial, hooks and loop and all.
        memory_mib: The process's resident memory at its end.
        wall_s: Seconds since the search began.
    """

    trials: int
    decisions: int
    decision_us: float
    trial_ms: float
    memory_mib: float
    wall_s: float


def stretch(
    trials: int, every: int, decisions: int, decided_s: float, driver_s: float, begin: float
) -> Stretch:
    """The stretch that ends now.

    Args:
        trials: How many there have been.
        every: How many of them within it.
        decisions: Calls of hooks within it.
        decided_s: Seconds for these.
        driver_s: The whole process's within it.
        begin: When the search began, by ``time.perf_counter``.
    """
    return Stretch(
        trials=trials,
        decisions=decisions,
        decision_us=1e6 * decided_s / max(1, decisions),
        trial_ms=1e3 * driver_s / every,
        memory_mib=psutil.Process().memory_info().rss / 2**20,
        wall_s=time.perf_counter() - begin,
    )


class Meter:
    """Measures one search in stretches of ``every`` trials."""

    def __init__(self, every: int) -> None:
        self.stretches: list[Stretch] = []
        self._every = every
        self._trials = 0
        self._begin = time.perf_counter()
        self._start()

    def _start(self) -> None:
        self._calls, self._seconds, self._cpu = 0, 0.0, time.process_time()

    def watch(self, who: Any, hooks: tuple[str, ...]) -> None:
        """Measure these methods of an object from now on."""
        for name in hooks:
            setattr(who, name, self._timed(getattr(who, name), counts=name == "on_trial_add"))

    def _timed(self, hook: Callable[..., Any], *, counts: bool) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            start = time.perf_counter()
            answer = hook(*args, **kwargs)
            self._seconds += time.perf_counter() - start
            self._calls += 1
            if counts:
                self._added()
            return answer

        return timed

    def _added(self) -> None:
        self._trials += 1
        if self._trials % self._every:
            return
        driver_s = time.process_time() - self._cpu
        made = stretch(self._trials, self._every, self._calls, self._seconds, driver_s, self._begin)
        self.stretches.append(made)
        self._start()
