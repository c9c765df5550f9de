"""Virtual time: the clock, and the time that searcher and scheduler take on it."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from enum import IntEnum
from functools import partial
from typing import Any

from raytuner.search.botorch_search import BoTorchSearch
from raytuner.search.process import Mirror, Reply, Request, Setup
from raytuner.simulate.inputs import Settings


class Order(IntEnum):
    """The order of events at the same time, as in Ray's loop; of one kind, as scheduled."""

    STOPPED = 0
    STARTED = 1
    SAVED = 2  # or restored
    TRAINED = 3
    CHANGED = 4  # the number of workers
    WAKE_UP = 5


class Clock:
    """Virtual seconds since the search began, `now`, and a queue of scheduled events."""

    def __init__(self) -> None:
        self.now = 0.0
        # Time, order, number as scheduled, what to do, and the actor in its epoch.
        self._queue: list[tuple[float, Order, int, Callable[[], None], Any, int]] = []
        self._count = 0

    def schedule(
        self, time: float, order: Order, action: Callable[[], None], actor: Any = None
    ) -> None:
        """Schedule `action` at virtual second `time`, unless `actor.epoch` changes before."""
        self._count += 1
        epoch = 0 if actor is None else actor.epoch
        heapq.heappush(self._queue, (time, order, self._count, action, actor, epoch))

    def next_time(self) -> float | None:
        """Return the time of the next event, or None if there is none."""
        while self._queue:
            time, *_, actor, epoch = self._queue[0]
            if actor is None or actor.epoch == epoch:
                return time
            heapq.heappop(self._queue)
        return None

    def run_next(self) -> None:
        """Advance to the event that `next_time` found, and run it."""
        time, _, _, action, *_ = heapq.heappop(self._queue)
        self.advance_to(time)
        action()

    def advance_to(self, time: float) -> None:
        """Advance to `time`, unless it has passed."""
        self.now = max(self.now, time)


class HookTimer:
    """Times hooks, and charges their seconds to the clock as `Settings.charge` says."""

    def __init__(self, clock: Clock, settings: Settings, searcher: object) -> None:
        self._clock = clock
        self._settings = settings
        self._computed: list[float] = []  # seconds in a process beside the loop, not yet charged
        self.seconds: dict[str, list[float]] = {"suggest": [], "hooks": [], "scheduler": []}
        if isinstance(searcher, BoTorchSearch) and searcher.background:
            # A real process would compute in real time. Where computing costs nothing, or the loop
            # waits for it, it happens inside `suggest`.
            process = partial(VirtualProcess, clock, settings.timer, self._computed)
            searcher.compute_in(process if settings.charge == "background" else None)

    def call(self, kind: str, hook: Callable[..., Any], *args: Any, **more: Any) -> Any:
        """Call a hook, and append its seconds to those of its kind."""
        begin = self._settings.timer()
        answer = hook(*args, **more)
        seconds = self._settings.timer() - begin
        self.seconds[kind].append(seconds)
        if self._settings.charge != "none":
            self._clock.now += max(seconds - sum(self._computed), 0.0)
            self._computed.clear()
        return answer


class TimedHooks:
    """A searcher or scheduler whose hooks are timed."""

    def __init__(
        self, target: Any, timer: HookTimer, kind: str, **replaced: Callable[..., Any]
    ) -> None:
        self._target = target
        self._call = partial(timer.call, kind)
        self._replaced = replaced

    def __getattr__(self, name: str) -> Any:
        if name in self._replaced:
            return self._replaced[name]
        value = getattr(self._target, name)
        is_hook = name.startswith(("on_trial_", "choose_trial_"))
        return partial(self._call, value) if is_hook else value


class VirtualProcess:
    """A `raytuner.search.process.Process` on the virtual clock. It never dies."""

    def __init__(
        self,
        clock: Clock,
        timer: Callable[[], float],
        computed: list[float],
        setup: Setup,
        state: dict[str, Any] | None,
    ) -> None:
        self._clock = clock
        self._timer = timer
        self._computed = computed
        self._mirror = Mirror(setup, state)
        self._reply: Reply | None = None
        self._ready_at = 0.0

    def send(self, request: Request) -> None:
        """Answer at once, and keep the reply until it may be there."""
        begin = self._timer()
        self._reply = self._mirror.answer(request)
        self._computed.append(self._timer() - begin)
        self._ready_at = self._clock.now + self._computed[-1]
        # Ray asks a waiting searcher every 0.1 s; here it is asked when the reply is due.
        self._clock.schedule(self._ready_at, Order.WAKE_UP, lambda: None)

    def receive(self) -> Reply | None:
        """Return the reply, once its time has come."""
        return self._reply if self._clock.now >= self._ready_at else None

    def wait(self, seconds: float) -> None:
        """Let virtual seconds pass."""
        self._clock.advance_to(min(self._ready_at, self._clock.now + seconds))

    def now(self) -> float:
        """Return the virtual time in seconds."""
        return self._clock.now

    def close(self) -> None:
        """Do nothing: it holds nothing but memory."""
