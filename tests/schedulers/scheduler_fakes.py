"""Small stand-ins for Ray's controller, trial and searchers."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from raytuner.controller.report import Report, record_report
from raytuner.history import Goal, History
from raytuner.space import Float, Space


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
class Listening:
    """A searcher that notes pauses, as Ray's for BOHB does. Empty, it is false, as a container."""

    heard: list[tuple[str, str]] = field(default_factory=list)

    def __len__(self) -> int:
        return 0

    def on_pause(self, trial_id: str) -> None:
        self.heard.append(("pause", trial_id))

    def on_unpause(self, trial_id: str) -> None:
        self.heard.append(("unpause", trial_id))


class Partner:
    """A searcher with a table of trials, into which a trial comes with its first report."""

    def __init__(self, metric: str = "acc", mode: str = "max") -> None:
        self.history = History(Space({"x": Float(0.0, 1.0)}), goal=Goal.of(metric, mode))
        self.joined: list[tuple[str, float]] = []

    def __len__(self) -> int:
        return 0

    def join_schedule(self, *, time_attr: str, max_t: float) -> None:
        self.joined.append((time_attr, max_t))

    def record(self, trial_id: str, result: Mapping[str, Any]) -> Report:
        if trial_id not in self.history:
            self.history.add(trial_id, {"x": 0.5})
        return record_report(self.history, trial_id, result)

    def had_ended(self, trial_id: str) -> bool:
        return False

    def remove_lost(self, known: Container[str]) -> None:
        pass


@dataclass
class Wrapper:
    """A searcher around another, as SearchGenerator and ConcurrencyLimiter are."""

    searcher: Any


@dataclass
class FakeController:
    search_alg: Any = None
    trials: Sequence[FakeTrial] = ()
    _trial_to_actor: Mapping[Any, Any] = field(default_factory=dict)  # none has a slot
    _actor_manager: Any = None

    def get_trials(self) -> list[FakeTrial]:
        return list(self.trials)
