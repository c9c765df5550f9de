"""The interface of a rule: it decides which trials go on, by the table of trials."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import Protocol

from raytuner.halving.score import Value, value_of
from raytuner.history import Goal, History, Origin, Table

Alive = Callable[[str], bool]
"""Whether a trial, by its id, can still go on: it has neither ended nor failed."""


class Action(StrEnum):
    """The action on a trial after a report."""

    CONTINUE = "continue"
    PAUSE = "pause"
    STOP = "stop"


class Decision(Protocol):
    """The decision about one trial, with its reason."""

    @property
    def action(self) -> Action:
        """Whether the trial goes on."""

    @property
    def reason(self) -> str:
        """The decision in one short sentence."""


class Rule(ABC):
    """Decides which trials go on. Larger values are better. Knows nothing of Ray.

    A rule that never pauses a trial defines `decide` and `summary` only.

    Args:
        max_t: A trial's full resource, in units of `t`. The caller ends a trial that reaches it.

    Attributes:
        pauses: Whether the rule pauses trials, which must then be able to save checkpoints.
        goal: What trials are judged by; None, the default, is the table's goal.
    """

    pauses = False
    goal: Goal | None = None

    def __init__(self, max_t: float) -> None:
        self.max_t = max_t

    @abstractmethod
    def decide(self, table: Table, trial_id: str, t: float) -> Decision | None:
        """Decide about a trial that has reported at `t`; None lets it go on.

        The report is in the table. Asked again at the same `t` (a retry repeats reports), the rule
        decides the same. `promote` may choose a trial that was paused at once.
        """

    @abstractmethod
    def summary(self) -> str:
        """Return the current state in one line."""

    def promote(self, alive: Alive, *, closing: bool = False) -> str | None:
        """Return the paused trial that should have a free slot; None if a new trial should.

        Args:
            alive: See `Alive`.
            closing: No new trial will come and nothing runs: what is not promoted now never will
                be. Called until it returns None.
        """
        return None

    def give_up(self, alive: Alive) -> str | None:
        """Return the least promising paused trial, which is about to be ended; None if none is."""
        return None

    def waits(self, trial_id: str) -> bool:
        """Return whether a trial is paused, by all decisions so far."""
        return False

    def explain(self, trial_id: str) -> str:
        """Return why a paused trial has not gone on, in one short sentence."""
        return ""

    def passed(self, trial_id: str, t: float) -> tuple[float, ...]:
        """Return the levels below `t` from which a trial that reports at `t` must have gone on.

        If the last report is all that is known of a restored trial, its value counts there too.
        """
        return ()

    def replay(self, table: Table, reports: Iterable[tuple[str, float]]) -> None:
        """Bring the rule to where the table is, after a crash.

        Args:
            table: The table of trials.
            reports: `(trial_id, t)` of reports in the table, in the order in which they came.
        """
        for trial_id, t in reports:
            self.decide(table, trial_id, t)

    def value(self, table: Table, trial_id: str, t: float) -> Value:
        """Return what a trial is judged by at `t`; larger is better."""
        return value_of(self.goal or table.goal, table.metrics_at(trial_id, t))


def reports_in_order(history: History) -> list[tuple[str, float]]:
    """Return `(trial_id, t)` of all reports of trials at full fidelity, oldest first."""
    times = history.report_times()
    found = sorted(
        (at, trial.trial_id, t)
        for trial in history.trials
        if trial.origin is not Origin.EVALUATED and history.is_full(trial)
        for t, at in times[trial.trial_id].items()
    )
    return [(trial_id, t) for _, trial_id, t in found]
