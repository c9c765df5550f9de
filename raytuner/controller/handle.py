"""A searcher's handle on the Ray Tune controller that asks it for trials.

The controller asks a searcher for a trial while fewer trials are pending than its cap. The cap is 1
for searchers outside Ray, so 16 slots are full only after a minute if a trial takes 3 s to set up.
With a higher cap alone, the controller asks too early: each trial that starts makes room for
another one, proposed with less knowledge. So the searcher raises the cap, and returns None once
every slot has a trial and a few more are ready.
"""

from __future__ import annotations

import inspect
import sys
import weakref
from collections.abc import Callable, Container, Iterable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.search import Searcher

from raytuner.controller.capacity import SlotCounter

_READY = 1 / 8  # trials per slot that are ready for the next slots to become free
_DEPTH = 16  # frames of the call stack that are searched, from the searcher's method up


def ahead(slots: int) -> int:
    """Return how many trials to keep ready beyond those that run, at least one.

    A ready trial starts in the turn of Ray's loop in which a slot becomes free; several may in one
    turn. Each is proposed that much earlier, with that much less knowledge.

    Examples:
        >>> ahead(4), ahead(16), ahead(64)
        (1, 2, 8)
    """
    return max(1, round(slots * _READY))


class ControllerHandle:
    """Finds the controller when it asks for a trial, and answers questions about it afterwards."""

    def __init__(self) -> None:
        self._ref: weakref.ref[Any] | None = None
        self._slots = SlotCounter()

    def __reduce__(self) -> tuple[type[ControllerHandle], tuple[()]]:
        return ControllerHandle, ()  # a copy has yet to be asked for a trial

    def find(self, on_end: Callable[[], None]) -> None:
        """Find the controller among the callers. Call this only in a method that Ray calls.

        Ray gives a searcher no reference to its controller. The scheduler gets one, but it may be
        Ray's own. Only the call stack of `suggest` always has the controller.

        Args:
            on_end: Called when the controller is deleted, however its search ended.
        """
        if self._controller is not None:
            return
        for frame in _callers():
            found = frame.f_locals.get("self")
            if hasattr(type(found), "update_max_pending_trials"):
                self._ref = weakref.ref(found)
                weakref.finalize(found, on_end).atexit = False
                return

    @property
    def is_known(self) -> bool:
        """True if the controller was found and still exists."""
        return self._controller is not None

    @property
    def folder(self) -> Path | None:
        """The experiment's folder; None if it is behind a URI."""
        path = Path(getattr(self._controller, "experiment_path", ""))
        return path if path.is_absolute() and path.is_dir() else None

    @property
    def is_over(self) -> bool:
        """True if the controller will request no more trials."""
        return self._controller is not None and bool(self._controller.search_alg.is_finished())

    def is_last_save(self) -> bool:
        """Return whether the run has ended and is saved once more. Only `save` may call this.

        Nothing else shows the end after Ctrl-C: the controller lives on in reference cycles.
        """
        return any(
            frame.f_code.co_name == "checkpoint"
            and frame.f_locals.get("self") is self._controller is not None
            and frame.f_locals.get("force") is True
            for frame in _callers()
        )

    def slots(self) -> int | None:
        """Return how many trials the cluster and its autoscaler could run at the same time.

        None if it is unknown, or if the user has set Ray's cap on pending trials.
        """
        if (controller := self._controller) is None:
            return None
        own = getattr(controller, "slots", None)  # a simulated controller knows its workers
        return own() if own is not None else self._slots(controller)

    def live(self) -> int | None:
        """Return how many trials are pending or running; None without a controller."""
        if (controller := self._controller) is None:
            return None
        active = (Trial.PENDING, Trial.RUNNING)
        return sum(trial.status in active for trial in controller.get_live_trials())

    def lost(self, ran: Iterable[str], record: Container[str]) -> int:
        """Return how many of the trials that ran the controller has lost; 0 without a controller.

        A trial that is restarted after an error runs under a new id, which no record has yet.
        """
        if (controller := self._controller) is None:
            return 0
        known = {trial.trial_id for trial in controller.get_trials()}
        restarted = sum(trial_id not in record for trial_id in known)
        return max(len(set(ran) - known) - restarted, 0)

    def config_of(self, trial_id: str) -> dict[str, Any] | None:
        """Return a trial's configuration; None if no controller has that trial."""
        trials = () if self._controller is None else self._controller.get_trials()
        return next((one.config for one in trials if one.trial_id == trial_id), None)

    def left(self) -> int | None:
        """Return how many trials are yet to be asked for, this one included; None if unknown."""
        controller = self._controller
        asked = getattr(getattr(controller, "search_alg", None), "total_samples", None)
        if asked is None or asked >= sys.maxsize:  # as many as a budget allows
            return None
        return max(asked - len(controller.get_trials()), 0)

    def raise_cap(self, bound: int) -> None:
        """Let the controller ask even when `bound` trials are pending: the answer keeps to it."""
        self._controller.update_max_pending_trials(bound + 1)

    @property
    def _controller(self) -> Any:
        return None if self._ref is None else self._ref()


def asked_through(kind: type) -> bool:
    """Return whether a wrapper of this class asks for a trial. Call this only in `suggest`."""
    for frame in _callers():
        caller = frame.f_locals.get("self")
        if isinstance(caller, kind) or not isinstance(caller, Searcher):
            return isinstance(caller, kind)
    return False


def _callers() -> Iterator[FrameType]:
    """Yield the frames above this module's; to hold one of its own would make a cycle."""
    frame = inspect.currentframe()
    for _ in range(_DEPTH):
        if frame is None:
            return
        if frame.f_globals is not globals():
            yield frame
        frame = frame.f_back
