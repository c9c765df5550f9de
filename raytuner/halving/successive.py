"""The base class of asynchronous successive halving: brackets, rungs and verdicts."""

from __future__ import annotations

from abc import abstractmethod
from bisect import bisect_right
from collections.abc import Callable, Iterable
from hashlib import blake2b
from itertools import accumulate
from typing import NamedTuple

import numpy as np

from raytuner.errors import SettingError
from raytuner.halving.rule import Action, Rule, Value, Verdict
from raytuner.halving.rung import Rung, amount, bracket_levels, bracket_weights
from raytuner.history import Table, TrialState

Judge = Callable[[Rung, str, Value], Verdict]


class RungView(NamedTuple):
    """The state of one rung: how many trials were recorded, and how many of them continued."""

    bracket: int
    level: float
    recorded: int
    went_on: int


class SuccessiveHalving(Rule):
    """Ranks a trial at each rung of its bracket among the trials recorded there so far.

    No trial waits for a rung to fill. A value that is not finite (NaN or infinite) ranks below
    every finite one, and its trial does not continue once the rung has a finite value: it is not
    useful to train on from a diverged state.

    A trial is ranked once at a rung, and the verdict is final. Reports repeated after a retry
    change nothing.

    If `t` jumps over rungs, the value counts only for the highest rung reached. A value from t = 9
    recorded at rung 1 would be unfair to trials with a ninth of the resource.

    The seed and the trial's id determine its bracket, so a restore does not change it.

    Args:
        grace_period: Level of the first rung, in units of `t`. Whole numbers give whole levels.
        max_t: A trial's full resource, in units of `t`, at least `grace_period`.
        reduction_factor: About 1 in this many trials continues, and each rung has this many times
            the resource of the one before. A whole number, at least 2.
        brackets: Number of brackets. Bracket b leaves out the b lowest rungs. None: all brackets of
            Hyperband. The last of them has no rung, so its trials are trained in full.
        seed: Seed that assigns trials to brackets, together with their ids. None draws one.

    Raises:
        SettingError: An argument is out of range.
    """

    def __init__(
        self,
        grace_period: float = 1,
        max_t: float = 100,
        reduction_factor: int = 3,
        brackets: int | None = 1,
        *,
        seed: int | None = None,
    ) -> None:
        levels = bracket_levels(grace_period, max_t, reduction_factor, brackets)
        super().__init__(amount("max_t", max_t))
        self._reduction_factor = int(reduction_factor)
        self._upper = tuple(accumulate(bracket_weights(levels, self._reduction_factor)))
        self._seed = _seed(seed)
        self._rungs = [[Rung(b, level) for level in bracket] for b, bracket in enumerate(levels)]
        # The latest verdict of each trial. It also holds the level up to which it was ranked.
        self._verdicts: dict[str, Verdict] = {}

    def bracket_of(self, trial_id: str) -> int:
        """Return a trial's bracket, from 0: drawn from its id with the brackets' weights."""
        digest = blake2b(f"{self._seed}/{trial_id}".encode(), digest_size=8).digest()
        drawn = int.from_bytes(digest) / 2**64
        return min(bisect_right(self._upper, drawn), len(self._upper) - 1)

    def decide(self, table: Table, trial_id: str, t: float) -> Verdict | None:
        """Rank a trial that has reported at `t`; see `Rule.decide`.

        Returns:
            A new verdict if the trial reached a rung, otherwise its latest one. None before its
            first rung, and while a retry of a paused trial has not yet returned to the level at
            which it was paused.
        """
        standing = self._verdicts.get(trial_id)
        if standing is not None and standing.action is Action.STOP:
            return standing
        if standing is not None and standing.action is Action.PAUSE:
            return standing if t >= standing.rung else None
        return self._decide(table, trial_id, t, self._judge)

    def _decide(self, table: Table, trial_id: str, t: float, judge: Judge) -> Verdict | None:
        standing = self._verdicts.get(trial_id)
        reached = [r for r in self._rungs[self.bracket_of(trial_id)] if r.level <= t]
        if not reached or (standing is not None and reached[-1].level <= standing.rung):
            return standing
        verdict = judge(reached[-1], trial_id, self.value(table, trial_id, t))
        self._verdicts[trial_id] = verdict
        return verdict

    def _judge(self, rung: Rung, trial_id: str, value: Value) -> Verdict:
        return self._judge_by_rank(rung, trial_id, value)

    @abstractmethod
    def _judge_by_rank(self, rung: Rung, trial_id: str, value: Value) -> Verdict:
        """Record a trial's value at a rung and decide by its rank."""

    def replay(self, table: Table, reports: Iterable[tuple[str, float]]) -> None:
        """Rank earlier reports. Later reports or the state show whether a trial continued."""
        replayed: dict[str, None] = {}
        for trial_id, t in reports:
            replayed[trial_id] = None
            standing = self._verdicts.get(trial_id)
            if standing is not None and t > standing.rung:
                self._go_on(trial_id)
            if t < self.max_t:
                self._decide(table, trial_id, t, self._judge_by_rank)
        for trial_id in replayed:
            if table.is_live(trial_id) and table.head(trial_id).state is not TrialState.PAUSED:
                self._go_on(trial_id)

    def _go_on(self, trial_id: str) -> None:
        """Let a trial continue from the rung where it was stopped or paused."""
        verdict = self._verdicts.get(trial_id)
        if verdict is None or verdict.action is Action.CONTINUE:
            return
        rung = self._rung_of(trial_id, verdict)
        rung.go_on(trial_id)
        share = len(rung.values) // self._reduction_factor
        self._verdicts[trial_id] = rung.verdict(Action.CONTINUE, rung.values[trial_id], share)

    def _rung_of(self, trial_id: str, verdict: Verdict) -> Rung:
        rungs = self._rungs[self.bracket_of(trial_id)]
        return next(rung for rung in rungs if rung.level == verdict.rung)

    def waits(self, trial_id: str) -> bool:
        """Return whether a trial is paused."""
        verdict = self._verdicts.get(trial_id)
        return verdict is not None and verdict.action is Action.PAUSE

    def verdict(self, trial_id: str) -> Verdict | None:
        """Return the latest verdict of a trial; None if it was never ranked."""
        return self._verdicts.get(trial_id)

    @property
    def rungs(self) -> tuple[RungView, ...]:
        """The state of each rung: bracket by bracket, levels ascending."""
        return tuple(
            RungView(rung.bracket, rung.level, len(rung.values), len(rung.went_on))
            for rungs in self._rungs
            for rung in rungs
        )

    def summary(self) -> str:
        """Return how many trials were stopped, and how many continued at each rung."""
        stopped = sum(verdict.action is Action.STOP for verdict in self._verdicts.values())
        many = len(self._rungs) > 1
        each = ", ".join(
            f"{f'bracket {rung.bracket} ' if many else ''}{rung.level}: "
            f"{rung.went_on} of {rung.recorded} continued"
            for rung in self.rungs
        )
        return f"{stopped} trials stopped early; rungs {each or 'none'}"


def _seed(seed: int | None) -> int:
    """Return the seed; one that is drawn now if it is None."""
    if seed is None:
        return int(np.random.default_rng().integers(2**63))
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise SettingError(f"seed is {seed!r}; it must be None or a whole number of at least 0")
    return int(seed)
