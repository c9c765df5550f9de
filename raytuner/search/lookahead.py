"""How many trials a searcher may have proposed at a time.

Ray's loop asks a searcher for a trial while fewer than its cap are pending, one for a searcher that
is not Ray's own: 16 slots whose trials take 3 s to set up are full after a minute. With a higher
cap and nothing else it asks for too much: trials that have just started make room for more, and
each that is asked for too early is proposed with less knowledge. So here the cap is out of the way,
and the searcher itself answers None once every slot has its trial and a few more are ready.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable, Container, Iterable, Iterator
from types import FrameType
from typing import Any

from ray.tune.experiment import Trial

from raytuner.search.cluster import Slots

_AHEAD = 1 / 8  # trials a slot that are ready for the next slots that fall free
_DEPTH = 16  # of the call stack, from the searcher's method up, in which the loop is to be found


def ahead(slots: int) -> int:
    """How many trials to keep ready beside those that run, at least one.

    A trial that is ready starts in the turn of Ray's loop in which a slot falls free; several may
    in one turn. Each is proposed that much earlier, with that much less knowledge.

    Example:
        >>> ahead(4), ahead(16), ahead(64)
        (1, 2, 8)
    """
    return max(1, round(slots * _AHEAD))


class Lookahead:
    """Knows Ray's loop, once it has asked for a trial, and how many trials it could start."""

    def __init__(self) -> None:
        self._loop: weakref.ref[Any] | None = None
        self._slots = Slots()

    def __reduce__(self) -> tuple[type[Lookahead], tuple[()]]:
        return Lookahead, ()  # a copy has yet to be asked

    def find(self, on_end: Callable[[], None]) -> None:
        """Find Ray's loop among the callers. Call this only in a method that Ray calls.

        Args:
            on_end: Called when the loop that is found is no more: its search is over, whichever way
                it ended.
        """
        if self._controller() is not None:
            return
        found = _asking()
        if found is not None:
            self._loop = weakref.ref(found)
            weakref.finalize(found, on_end).atexit = False

    @property
    def is_known(self) -> bool:
        """Whether the loop has been found, and is there."""
        return self._controller() is not None

    @property
    def is_over(self) -> bool:
        """Whether the loop will ask for no more trials."""
        controller = self._controller()
        return controller is not None and bool(controller.search_alg.is_finished())

    def is_last_save(self) -> bool:
        """Whether the loop has ended and saves once more. Only ``save`` may call it.

        After Ctrl-C nothing else says so: the loop itself may live on until Python collects cycles.
        """
        controller = self._controller()
        return any(
            f.f_code.co_name == "checkpoint"
            and f.f_locals.get("self") is controller is not None
            and f.f_locals.get("force") is True
            for f in _callers()
        )

    def slots(self) -> int | None:
        """How many trials the cluster, and its autoscaler, could run at the same time.

        None if nobody knows, or if the user has said what Ray's cap is to be.
        """
        controller = self._controller()
        if controller is None:
            return None
        own = getattr(controller, "slots", None)  # a simulated loop knows its workers
        return own() if own is not None else self._slots(controller)

    def live(self) -> int | None:
        """How many trials the loop holds as pending or running; None if there is no loop."""
        controller = self._controller()
        if controller is None:
            return None
        trials = controller.get_live_trials()
        return sum(trial.status in (Trial.PENDING, Trial.RUNNING) for trial in trials)

    def lost(self, ran: Iterable[str], record: Container[str]) -> int:
        """Return how many of the trials that ran the loop has lost; 0 if there is no loop.

        A trial that the loop restarts after an error is not lost: it runs under a new id, which the
        record does not have yet.
        """
        controller = self._controller()
        if controller is None:
            return 0
        known = {trial.trial_id for trial in controller.get_trials()}
        restarted = sum(trial_id not in record for trial_id in known)
        return max(len(set(ran) - known) - restarted, 0)

    def config_of(self, trial_id: str) -> dict[str, Any] | None:
        """Return a trial's configuration; None if there is no loop that has the trial."""
        controller = self._controller()
        trials = () if controller is None else controller.get_trials()
        return next((one.config for one in trials if one.trial_id == trial_id), None)

    def left(self) -> int | None:
        """Return how many trials are yet to be asked for, this one included; None if unknown."""
        controller = self._controller()
        asked = getattr(getattr(controller, "search_alg", None), "total_samples", None)
        if asked is None or asked >= sys.maxsize:  # as many as a budget allows
            return None
        return max(asked - len(controller.get_trials()), 0)

    def raise_cap(self, bound: int) -> None:
        """Let the loop ask again though ``bound`` trials may be pending: the answer keeps to it."""
        controller = self._controller()
        if controller is not None:
            controller.update_max_pending_trials(bound + 1)

    def _controller(self) -> Any:
        return None if self._loop is None else self._loop()


def asked_through(kind: type) -> bool:
    """Whether a wrapper of this kind asks for a trial. Call this only in ``suggest``."""
    return any(isinstance(frame.f_locals.get("self"), kind) for frame in _callers())


def _asking() -> Any:
    """The loop that asks for a trial; None if there is none.

    Ray tells a searcher of its trials, not of itself, and a scheduler that is told may be Ray's
    own. The one place where every searcher meets the loop is the call stack of ``suggest``.
    """
    for frame in _callers():
        found = frame.f_locals.get("self")
        if hasattr(type(found), "update_max_pending_trials"):
            return found
    return None


def _callers() -> Iterator[FrameType]:
    """The frames above this module's own: a look at those would make a cycle, and keep the loop."""
    frame: FrameType | None = sys._getframe()
    for _ in range(_DEPTH):
        if frame is None:
            return
        if frame.f_globals is not globals():
            yield frame
        frame = frame.f_back
