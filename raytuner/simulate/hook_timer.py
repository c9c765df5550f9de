"""The real seconds that searcher and scheduler take, and what they cost on the virtual clock."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from functools import partial
from typing import Any

from raytuner.search import BoTorchSearch
from raytuner.search.mirror import Mirror, Reply, Request, Setup
from raytuner.simulate.clock import Clock, Order
from raytuner.simulate.settings import Settings

_SCHEDULER_HOOKS = (
    "choose_trial_to_run",
    "on_trial_add",
    "on_trial_complete",
    "on_trial_error",
    "on_trial_remove",
    "on_trial_result",
)


class HookTimer:
    """Times hooks, and charges their seconds to the clock as `Settings.charge` says.

    Args:
        clock: The virtual clock.
        settings: The settings.
        searcher: The innermost searcher.

    Attributes:
        suggest: Seconds of each call that gave a configuration.
        hooks: Seconds of each other call to the searcher.
        scheduler: Seconds of each call to the scheduler.
        ready_at: Virtual seconds when the searcher has computed all that it was asked for.
    """

    def __init__(self, clock: Clock, settings: Settings, searcher: object) -> None:
        self._clock = clock
        self._settings = settings
        self._proposer: VirtualProposer | None = None
        if isinstance(searcher, BoTorchSearch) and searcher.background:
            # A real process would compute in real time. Where computing costs nothing, or the loop
            # waits for it, it happens inside `suggest`.
            if settings.charge == "background":
                self._proposer = VirtualProposer(clock, settings.timer)
            searcher.think_in(self._proposer)
        self.suggest: array[float] = array("d")
        self.hooks: array[float] = array("d")
        self.scheduler: array[float] = array("d")
        self.ready_at = 0.0

    def next_trial(self, hook: Callable[[], Any]) -> Any:
        """Ask the searcher for a trial."""
        seconds, trial = self._timed(hook)
        (self.hooks if trial is None else self.suggest).append(seconds)
        self._charge(seconds)
        return trial

    def searcher_hooks(self, search_alg: Any) -> Any:
        """Return the search algorithm with its other hooks timed."""

        def call(hook: Callable[..., None], *args: Any, **kwargs: Any) -> None:
            seconds, _ = self._timed(hook, *args, **kwargs)
            self.hooks.append(seconds)
            self._charge(seconds)

        return _Wrapped(search_alg, ("on_trial_result", "on_trial_complete"), call)

    def scheduler_hooks(self, scheduler: Any, on_decision: Callable[[str], None]) -> Any:
        """Return the scheduler with its hooks timed, and its decisions passed on."""

        def call(hook: Callable[..., Any], *args: Any) -> Any:
            seconds, answer = self._timed(hook, *args)
            self.scheduler.append(seconds)
            if self._settings.charge == "inline":
                self._clock.now += seconds
            if hook.__name__ == "on_trial_result":
                on_decision(answer)
            return answer

        return _Wrapped(scheduler, _SCHEDULER_HOOKS, call)

    def _timed(self, hook: Callable[..., Any], *args: Any, **kwargs: Any) -> tuple[float, Any]:
        begin = self._settings.timer()
        answer = hook(*args, **kwargs)
        return self._settings.timer() - begin, answer

    def _charge(self, seconds: float) -> None:
        if self._proposer is not None:
            # It computes beside the loop, which stands still for the rest only.
            computed, self._proposer.seconds = self._proposer.seconds, 0.0
            self._clock.now += max(seconds - computed, 0.0)
        elif self._settings.charge == "inline":
            self._clock.now += seconds
        elif self._settings.charge == "background":
            self.ready_at = max(self.ready_at, self._clock.now) + seconds


class _Wrapped:
    """An object some of whose methods are called through a function."""

    def __init__(self, target: Any, names: tuple[str, ...], call: Callable[..., Any]) -> None:
        self._target = target
        self._calls = {name: partial(call, getattr(target, name)) for name in names}

    def __getattr__(self, name: str) -> Any:
        return self._calls.get(name) or getattr(self._target, name)


class VirtualProposer:
    """Makes background processes of a `BoTorchSearch` on the virtual clock.

    Args:
        clock: The virtual clock. A reply is there when its real seconds have passed on it.
        timer: Returns the real time in seconds.

    Attributes:
        seconds: Real seconds of computing that are not charged yet.
    """

    def __init__(self, clock: Clock, timer: Callable[[], float]) -> None:
        self.clock = clock
        self.timer = timer
        self.seconds = 0.0

    def __call__(self, setup: Setup, state: dict[str, Any] | None) -> VirtualProcess:
        """Start a process."""
        return VirtualProcess(self, Mirror(setup, state))


class VirtualProcess:
    """A `raytuner.search.process.Process` that never dies."""

    def __init__(self, proposer: VirtualProposer, mirror: Mirror) -> None:
        self._proposer = proposer
        self._mirror = mirror
        self._reply: Reply | None = None
        self._ready_at = 0.0

    def send(self, request: Request) -> None:
        """Answer at once, and keep the reply until it may be there."""
        begin = self._proposer.timer()
        self._reply = self._mirror.answer(request)
        seconds = self._proposer.timer() - begin
        self._proposer.seconds += seconds
        self._ready_at = self.now() + seconds
        # Ray asks a searcher that waits every 0.1 s; here it is asked when it is worth it.
        self._proposer.clock.schedule(self._ready_at, Order.WAKE_UP, _nothing)

    def receive(self) -> Reply | None:
        """Return the reply, once its time has come."""
        return self._reply if self.now() >= self._ready_at else None

    def wait(self, seconds: float) -> None:
        """Let virtual seconds pass."""
        self._proposer.clock.advance_to(min(self._ready_at, self.now() + seconds))

    def now(self) -> float:
        """Return the virtual time in seconds."""
        return self._proposer.clock.now

    def keep(self) -> None:
        """Do nothing: it has no lease."""

    def close(self) -> None:
        """Do nothing: it holds nothing but memory."""


def _nothing() -> None:
    pass
