"""One rung: the values recorded there, who went on, and who waits to."""

from __future__ import annotations

import math
from bisect import bisect_right, insort
from collections.abc import Callable, Mapping
from typing import Any

from raytuner.halving.score import Score, Value, merits
from raytuner.halving.verdict import Action, Verdict


class Rung:
    """The values recorded at one level of one bracket; larger is better.

    What is not finite is held as minus infinity. Of scores (`raytuner.halving.score`) the rung
    holds their merits among all that are recorded there, which change with each that comes.

    Attributes:
        bracket: The bracket, from 0.
        level: The level, in units of `t`.
        values: What each trial had there, in the order of recording.
        went_on: The trials that went on, in that order.
    """

    def __init__(self, bracket: int, level: float) -> None:
        self.bracket = bracket
        self.level = level
        self.values: dict[str, float] = {}
        self.went_on: dict[str, None] = {}
        self._scores: dict[str, Score] = {}
        self._ascending: list[float] = []
        self._place: dict[str, int] = {}
        # Trials that may go on later, `(value, -place, trial_id)` ascending: the next one is last;
        # of those that tie, whoever came first.
        self._waiting: list[tuple[float, int, str]] = []

    def record(self, trial_id: str, value: Value) -> float:
        """Keep a trial's value; returns it as it is held."""
        self._place[trial_id] = len(self._place)
        if isinstance(value, Score):
            self._scores[trial_id] = value
            self._weigh()
            return self.values[trial_id]
        held = float(value) if math.isfinite(value) else -math.inf
        self.values[trial_id] = held
        insort(self._ascending, held)
        return held

    def _weigh(self) -> None:
        """Hold the merit of each score among the others."""
        held = merits(list(self._scores.values())).tolist()
        self.values = dict(zip(self._scores, held, strict=True))
        self._ascending = sorted(held)
        self._waiting = sorted(
            (self.values[trial_id], place, trial_id) for _, place, trial_id in self._waiting
        )

    @property
    def has_finite(self) -> bool:
        """Whether any value recorded is finite."""
        return bool(self._ascending) and math.isfinite(self._ascending[-1])

    def rank(self, held: float) -> int:
        """1 + how many recorded values are strictly better than a held one."""
        return 1 + len(self._ascending) - bisect_right(self._ascending, held)

    def verdict(self, action: Action, held: float, quota: int) -> Verdict:
        """A verdict on a held value, as the rung stands now."""
        # A merit says nothing to people.
        known = 0 < quota <= len(self._ascending) and not self._scores
        cutoff = self._ascending[-quota] if known else -math.inf
        return Verdict(
            action=action,
            rung=self.level,
            rank=self.rank(held),
            recorded=len(self._ascending),
            quota=quota,
            cutoff=cutoff if math.isfinite(cutoff) else None,
        )

    # -- who waits ------------------------------------------------------------------------------

    def wait(self, trial_id: str) -> None:
        """A recorded trial may go on later."""
        insort(self._waiting, (self.values[trial_id], -self._place[trial_id], trial_id))

    def let_go_on(self, trial_id: str) -> None:
        """A trial goes on; it waits no longer."""
        self.went_on[trial_id] = None
        for index in range(len(self._waiting) - 1, -1, -1):  # it is among the best
            if self._waiting[index][2] == trial_id:
                del self._waiting[index]
                return

    def waiting(self, alive: Callable[[str], bool]) -> list[str]:
        """The trials that wait, the worst first; those that are not alive are forgotten."""
        self._waiting = [entry for entry in self._waiting if alive(entry[2])]
        return [trial_id for _, _, trial_id in self._waiting]

    def forget(self, trial_id: str) -> None:
        """A trial waits no longer, and does not go on."""
        self._waiting = [entry for entry in self._waiting if entry[2] != trial_id]

    def best_waiting(self, alive: Callable[[str], bool]) -> str | None:
        """The best trial that waits; those that are not alive are forgotten.

        None too while the best has no finite value and another recorded trial has one.
        """
        while self._waiting and not alive(self._waiting[-1][2]):
            self._waiting.pop()
        if not self._waiting or (self._waiting[-1][0] == -math.inf and self.has_finite):
            return None
        return self._waiting[-1][2]

    def drop_worst_waiting(self, alive: Callable[[str], bool]) -> str | None:
        """Forget the worst trial that waits, and name it; None if none does."""
        while self._waiting:
            trial_id = self._waiting.pop(0)[2]
            if alive(trial_id):
                return trial_id
        return None

    # -- its state ------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Plain data; None for a value that is not finite, which JSON cannot say."""
        values = {i: v if math.isfinite(v) else None for i, v in self.values.items()}
        scores = {i: [list(s.objectives), s.violation] for i, s in self._scores.items()}
        went_on = list(self.went_on)
        return {"level": self.level, "values": values, "went_on": went_on, "scores": scores}

    @classmethod
    def from_state(cls, bracket: int, state: Mapping[str, Any]) -> Rung:
        """The rung that gave this state; nobody waits at it."""
        rung = cls(bracket, state["level"])
        scores = state.get("scores", {})
        for trial_id, value in state["values"].items():
            if trial_id in scores:
                objectives, violation = scores[trial_id]
                rung._scores[trial_id] = Score(tuple(objectives), violation)
                rung._place[trial_id] = len(rung._place)
            else:
                rung.record(trial_id, -math.inf if value is None else value)
        if scores:
            rung._weigh()
        rung.went_on = dict.fromkeys(state["went_on"])
        return rung
