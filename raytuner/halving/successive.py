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
    """The state of one rung: how many trials were judged there, and how many of them went on."""

    bracket: int
    level: float
    recorded: int
    went_on: int


class SuccessiveHalving(Rule):
    """Judges a trial at each rung of its bracket, by rank among the trials recorded there so far.

    No trial waits for a rung to fill. A value that is not finite (NaN, either infinity) ranks below
    every finite one, and never goes on once the rung holds a finite one: training on from a
    diverged state is not worth it once something else works.

    A trial is judged once at a rung, and its verdict stands: reports repeated after a retry change
    nothing.

    Where `t` jumps over rungs, the value counts for the highest rung reached only. A value from
    t = 9 recorded at rung 1 would raise the bar there for trials that had a ninth of the resource;
    leaving a trial out of a rung because of when it reports says nothing about how good it is.

    A trial's bracket follows from its id and the seed, so it is the same after a restore.

    Args:
        grace_period: Level of the first rung, in units of `t`. Whole numbers give whole levels.
            Defaults to 1.
        max_t: A trial's full resource, in the same units, at least `grace_period`. Defaults to 100.
        reduction_factor: About 1 in this many goes on, and the next rung is this many times
            further. A whole number of at least 2; defaults to 3.
        brackets: How many brackets; bracket b leaves out the b lowest rungs. Defaults to 1. None:
            all of Hyperband's, the last of which has no rung: its trials are trained in full.
        seed: Decides the brackets, with the trials' ids; None, the default, draws one.

    Raises:
        SettingError: An argument is out of its range.
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
        # The latest verdict of each trial. It also says up to which level the trial was judged.
        self._verdicts: dict[str, Verdict] = {}

    def bracket_of(self, trial_id: str) -> int:
        """Return a trial's bracket, from 0: drawn by the id, by the weights of the brackets."""
        digest = blake2b(f"{self._seed}/{trial_id}".encode(), digest_size=8).digest()
        drawn = int.from_bytes(digest) / 2**64
        return min(bisect_right(self._upper, drawn), len(self._upper) - 1)

    def decide(self, table: Table, trial_id: str, t: float) -> Verdict | None:
        """Judge a trial that has reported at `t`; see `Rule.decide`.

        Returns:
            The verdict that stands for the trial: a new one if it reached a rung, else its latest.
            None before its first rung, and while a paused trial that begins anew (a retry) is on
            its way back to where it was paused.
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
        """Record a trial's value at a rung, and judge it by its rank there."""

    def replay(self, table: Table, reports: Iterable[tuple[str, float]]) -> None:
        """Judge earlier reports by rank; a trial whose later reports or state say so went on."""
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
        """Let a trial go on from the rung where it was stopped or waits."""
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
        """Return the latest verdict of a trial; None if it was never judged."""
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
        """Return how many trials were stopped, and how many went on at each rung."""
        stopped = sum(verdict.action is Action.STOP for verdict in self._verdicts.values())
        many = len(self._rungs) > 1
        each = ", ".join(
            f"{f'bracket {rung.bracket} ' if many else ''}{rung.level}: "
            f"{rung.went_on} of {rung.recorded} went on"
            for rung in self.rungs
        )
        return f"{stopped} trials stopped early; rungs {each or 'none'}"


def _seed(seed: int | None) -> int:
    """Return the seed; one that is drawn now if it is None."""
    if seed is None:
        return int(np.random.default_rng().integers(2**63))
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise SettingError(f"seed={seed!r} is not None or a whole number of at least 0")
    return int(seed)
