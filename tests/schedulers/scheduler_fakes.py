"""Small stand-ins for Ray's controller, trial and searchers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass
class FakeTrial:
    trial_id: str
    status: str = "RUNNING"
    last_result: dict[str, Any] = field(default_factory=dict)
    checkpoint: Any = None
    trainable: type | None = None

    def set_status(self, status: str) -> None:
        self.status = status

    def get_trainable_cls(self) -> type | None:
        return self.trainable


class PlainSearcher:
    """A searcher that knows nothing of schedulers."""


@dataclass
class ListeningSearcher:
    """A searcher that notes what a scheduler tells it. Empty, it is false, as a container is."""

    heard: list[tuple[Any, ...]] = field(default_factory=list)

    def __len__(self) -> int:
        return 0

    def join_schedule(self, *, time_attr: str, max_t: float) -> None:
        self.heard.append(("join", time_attr, max_t))

    def on_trial_stopped(self, trial_id: str, reason: str) -> None:
        self.heard.append(("stopped", trial_id, reason))

    def on_trial_invalid(self, trial_id: str, reason: str) -> None:
        self.heard.append(("invalid", trial_id, reason))


@dataclass
class Wrapper:
    """A searcher around another, as SearchGenerator and ConcurrencyLimiter are."""

    searcher: Any


@dataclass
class FakeController:
    search_alg: Any = None
    trials: Sequence[FakeTrial] = ()

    def get_trials(self) -> list[FakeTrial]:
        return list(self.trials)
