"""The process in which a searcher of ours thinks of proposals, on the virtual clock."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from raytuner.search.mirror import Mirror, Reply, Request, Setup
from raytuner.simulate.clock import Clock, Kind


class Thinking:
    """Makes such processes, and counts the real seconds that they have thought.

    Args:
        clock: The virtual clock: a reply is there when its real seconds have passed on it.
        timer: Seconds now, by the real clock.

    Attributes:
        seconds: Real seconds of thinking so far.
    """

    def __init__(self, clock: Clock, timer: Callable[[], float]) -> None:
        self.clock = clock
        self.timer = timer
        self.seconds = 0.0

    def __call__(self, setup: Setup, state: dict[str, Any] | None) -> VirtualProcess:
        """Start a process."""
        return VirtualProcess(self, Mirror(setup, state))


class VirtualProcess:
    """See :class:`raytuner.search.process.Process`. It never dies."""

    def __init__(self, thinking: Thinking, mirror: Mirror) -> None:
        self._thinking = thinking
        self._mirror = mirror
        self._reply: Reply | None = None
        self._ready_at = 0.0

    def send(self, request: Request) -> None:
        """Answer at once, and keep the reply until it may be there."""
        start = self._thinking.timer()
        self._reply = self._mirror.answer(request)
        seconds = self._thinking.timer() - start
        self._thinking.seconds += seconds
        self._ready_at = self.now() + seconds
        # Ray asks a searcher that waits every 0.1 s; here it is asked when it is worth it.
        self._thinking.clock.push(self._ready_at, Kind.THOUGHT, None)

    def receive(self) -> Reply | None:
        """The reply, once its time has come."""
        return self._reply if self.now() >= self._ready_at else None

    def wait(self, seconds: float) -> None:
        """Let virtual seconds pass."""
        self._thinking.clock.advance_to(min(self._ready_at, self.now() + seconds))

    def now(self) -> float:
        """Virtual seconds."""
        return self._thinking.clock.now

    def keep(self) -> None:
        """It needs no word to go on."""

    def close(self) -> None:
        """It holds nothing but memory."""
