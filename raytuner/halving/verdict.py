"""What a rule decides about a trial, and why."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


class Action(StrEnum):
    """What happens to a trial after a report."""

    CONTINUE = "continue"
    PAUSE = "pause"
    STOP = "stop"


class Decision(Protocol):
    """What happens to one trial, and why."""

    @property
    def action(self) -> Action:
        """Whether the trial goes on."""

    @property
    def reason(self) -> str:
        """The decision in one short sentence."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The decision about one trial at one rung.

    Attributes:
        action: Whether the trial goes on.
        rung: The rung's level, in units of `t`.
        rank: 1 + how many of the recorded values are strictly better. Values that tie share a rank.
        recorded: How many values the rung held, this one included.
        quota: How many of them go on.
        chance: The forecast chance, where that decided and not the rank; else None.
        least_chance: The chance that was required.

    Example:
        >>> Verdict(Action.STOP, rung=3, rank=7, recorded=9, quota=3).reason
        'rank 7 of 9 at rung 3: the best 3 go on'
    """

    action: Action
    rung: float
    rank: int
    recorded: int
    quota: int
    chance: float | None = None
    least_chance: float | None = None

    @property
    def reason(self) -> str:
        """The decision in one short sentence."""
        if self.chance is not None and self.least_chance is not None:
            side = "below" if self.chance < self.least_chance else "at least"
            return (
                f"a chance of {100 * self.chance:.1f} % to be the best in the end, told at rung"
                f" {self.rung}: {side} {100 * self.least_chance:g} %"
            )
        if self.action is Action.STOP and (self.rank <= self.quota or self.quota == 0):
            return f"no finite value at rung {self.rung}, where another trial has one"
        best = {0: "too few for one to go on", 1: "only the best goes on"}
        rule = best.get(self.quota, f"the best {self.quota} go on")
        return f"rank {self.rank} of {self.recorded} at rung {self.rung}: {rule}"
