"""Processes and a loop that tests can look into, in place of Ray's."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from ray.tune.search import Searcher

from raytuner.bayes.proposer import Proposal
from raytuner.history import Origin, Snapshot
from raytuner.search.process import Mirror, ProcessDied, ProposerFailed, Reply, Request, Setup
from raytuner.space import Space


class Polled:
    """Replies when it has been asked ``delay`` times whether it is done."""

    def __init__(self, setup: Setup, state: dict[str, Any] | None, delay: int = 2) -> None:
        self._mirror = Mirror(setup, state)
        self._delay = delay
        self._polls = 0
        self._reply: Reply | None = None

    def send(self, request: Request) -> None:
        self._polls, self._reply = 0, self._mirror.answer(request)

    def receive(self) -> Reply | None:
        self._polls += 1
        return self._reply if self._polls > self._delay else None

    def wait(self, seconds: float) -> None:
        self._polls += 1

    def now(self) -> float:
        return float(self._polls)

    def close(self) -> None:
        pass


class Workshop:
    """Starts processes that do what a test says, when it says so."""

    def __init__(self) -> None:
        self.clock = 0.0
        self.replies_in: float | None = None  # seconds that somebody waits
        self.started: list[ByHand] = []

    def __call__(self, setup: Setup, state: dict[str, Any] | None) -> ByHand:
        self.started.append(ByHand(self, setup, state))
        return self.started[-1]

    @property
    def process(self) -> ByHand:
        """The one started last."""
        return self.started[-1]


class ByHand:
    """Replies when :meth:`reply` is called."""

    def __init__(self, shop: Workshop, setup: Setup, state: dict[str, Any] | None) -> None:
        self._shop = shop
        self._mirror = Mirror(setup, state)
        self.state = state
        self.requests: list[Request] = []
        self._waiting: Request | None = None
        self._reply: Reply | None = None
        self._failure: Exception | None = None
        self.closed = False

    def reply(self, seconds: float = 1.0) -> Request:
        """Answer what was sent, after so many seconds. Returns what that was."""
        assert self._waiting is not None, "nothing was sent"
        request, self._waiting = self._waiting, None
        self._shop.clock += seconds
        try:
            self._reply = self._mirror.answer(request)
        except ArithmeticError as error:
            failed = ProposerFailed()
            failed.__cause__ = error
            self._failure = failed
        return request

    def die(self) -> None:
        self._failure = ProcessDied("it was killed")

    @property
    def is_idle(self) -> bool:
        return self._waiting is None

    def send(self, request: Request) -> None:
        assert self._waiting is None, "one at a time"
        if isinstance(self._failure, ProcessDied):
            raise self._failure
        self.requests.append(request)
        self._waiting = request

    def receive(self) -> Reply | None:
        if self._failure is not None:
            failure = self._failure
            if isinstance(failure, ProposerFailed):
                self._failure = None
            raise failure
        reply, self._reply = self._reply, None
        return reply

    def wait(self, seconds: float) -> None:
        if isinstance(self._failure, ProcessDied):
            raise self._failure
        if self._shop.replies_in is not None and self._shop.replies_in <= seconds:
            self.reply(self._shop.replies_in)
        else:
            self._shop.clock += seconds

    def now(self) -> float:
        return self._shop.clock

    def close(self) -> None:
        self.closed = True


TOLD: list[Snapshot] = []
"""What any `Counting` was told; a test clears it."""

FAILS: list[bool] = []
"""While it is not empty, every `Counting` raises."""


class Counting:
    """A proposer of a space with one number ``x``: its n-th proposal is n hundredths."""

    def __init__(self, space: Space, seed: int | None) -> None:
        self.proposed = 0

    def tell(self, snapshot: Snapshot) -> None:
        TOLD.append(snapshot)

    def ask(self, n: int) -> list[Proposal]:
        if FAILS:
            raise ZeroDivisionError("the proposer is broken")
        self.proposed += n
        first = self.proposed - n + 1
        return [Proposal({"x": i / 100}, Origin.BAYES) for i in range(first, first + n)]

    def state_dict(self) -> dict[str, Any]:
        return {"proposed": self.proposed}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.proposed = state["proposed"]


@dataclass
class Loop:
    """Ray's loop, as far as a searcher sees of it."""

    searcher: Any
    room: int | None = 4
    cap: int = 1
    trials: list[Any] = field(default_factory=list)
    over: bool = False
    asked: int | None = None
    prefix: str = "trial"

    __hash__ = object.__hash__

    def update_max_pending_trials(self, max_pending_trials: int) -> None:
        self.cap = max_pending_trials

    def slots(self) -> int | None:
        return self.room

    def get_live_trials(self) -> list[Any]:
        return self.trials

    def get_trials(self) -> list[Any]:
        return self.trials

    @property
    def search_alg(self) -> Any:
        return SimpleNamespace(is_finished=lambda: self.over, total_samples=self.asked)

    def step(self) -> None:
        """Ask as Ray does; then as many run as there is room for."""
        while sum(trial.status == "PENDING" for trial in self.trials) < self.cap:
            trial_id = f"{self.prefix}_{len(self.trials)}"
            if self.asked is not None and len(self.trials) >= self.asked:
                break
            config = self.searcher.suggest(trial_id)
            self.over |= config == Searcher.FINISHED
            if not isinstance(config, dict):
                break
            trial = SimpleNamespace(trial_id=trial_id, status="PENDING", config=config)
            self.trials.append(trial)
        for trial in self.trials:
            if self.count("RUNNING") < (self.room or 0) and trial.status == "PENDING":
                trial.status = "RUNNING"

    def end(self, trial: Any, loss: float | None) -> None:
        """End a trial, as Ray does."""
        result = None if loss is None else {"loss": loss, "training_iteration": 1}
        self.searcher.on_trial_complete(trial.trial_id, result, error=loss is None)
        trial.status = "ERROR" if loss is None else "TERMINATED"  # the searcher hears of it first

    def count(self, status: str) -> int:
        return sum(trial.status == status for trial in self.trials)

    def end_one(self) -> None:
        self.end(next(trial for trial in self.trials if trial.status == "RUNNING"), 1.0)
