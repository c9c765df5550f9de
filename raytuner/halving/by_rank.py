"""Asynchronous successive halving by rank: trials that are not among the best stop, or pause."""

from __future__ import annotations

import math

from raytuner.halving.rule import Action, Alive, Value, Verdict
from raytuner.halving.rung import Rung
from raytuner.halving.successive import SuccessiveHalving


class Stopping(SuccessiveHalving):
    """Stops a trial that is not among the best when it reaches a rung; nothing is paused.

    The rule: with n values recorded at a rung, the trial's own included, it goes on if fewer than
    `max(1, n // reduction_factor)` of them are strictly better. So the best so far always goes on,
    and so does one that ties with the last to go on. A value that is not finite goes on only while
    the rung holds no finite one.

    Source: A. Klein et al. (2020), arXiv:2003.10865, which describes both variants.

    See `SuccessiveHalving` for arguments, and for what holds in both variants.

    Example:
        >>> from raytuner.history import Goal, Table
        >>> rule = Stopping(max_t=27)
        >>> table = Table(Goal.of("accuracy", "max"), "training_iteration", max_t=27)
        >>> for trial_id, accuracy in (("a", 0.5), ("b", 0.4)):
        ...     table.add(trial_id, {})
        ...     table.report(trial_id, 1, accuracy)
        ...     verdict = rule.decide(table, trial_id, 1)
        ...     print(verdict.action.value, "-", verdict.reason)
        continue - rank 1 of 1 at rung 1: only the best goes on
        stop - rank 2 of 2 at rung 1: only the best goes on
    """

    def _judge_by_rank(self, rung: Rung, trial_id: str, value: Value) -> Verdict:
        held = rung.record(trial_id, value)
        quota = max(1, len(rung.values) // self._reduction_factor)
        verdict = rung.verdict(Action.CONTINUE, held, quota)
        if verdict.rank <= quota if math.isfinite(held) else not rung.has_finite:
            rung.go_on(trial_id)
            return verdict
        return rung.verdict(Action.STOP, held, quota)


class Promotion(SuccessiveHalving):
    """Pauses every trial at its rung, and promotes the best one when a slot is free.

    The rule: of n trials recorded at a rung, `n // reduction_factor` are promoted, the best that
    wait then, from the highest rung that may promote one; if there is none, a new trial starts. The
    paper's rule lets a trial go on that is now among the best `n // reduction_factor`, also when
    that many went on before it that have since been overtaken; here their places are taken, so a
    rung never promotes more than its share. A trial that ended or failed while it waited leaves its
    place to the next best.

    When the search is closing, a rung's share is at least 1, as it is in `Stopping`: otherwise a
    search of few trials would train none in full.

    A value that is not finite stops its trial, unless the rung holds no finite one yet.

    Source: L. Li et al. (2020), "A System for Massively Parallel Hyperparameter Tuning", MLSys,
    arXiv:1810.05934, Algorithm 2.

    See `SuccessiveHalving` for arguments, and for what holds in both variants.
    """

    pauses = True

    def _judge_by_rank(self, rung: Rung, trial_id: str, value: Value) -> Verdict:
        held = rung.record(trial_id, value)
        share = len(rung.values) // self._reduction_factor
        if not math.isfinite(held) and rung.has_finite:
            return rung.verdict(Action.STOP, held, share)
        rung.wait(trial_id)
        return rung.verdict(Action.PAUSE, held, share)

    def promote(self, alive: Alive, *, closing: bool = False) -> str | None:
        """Return the paused trial that should have a free slot; see `Rule.promote`."""
        for rung in self._from_the_highest():
            share = max(int(closing), len(rung.values) // self._reduction_factor)
            if len(rung.went_on) < share and (trial_id := rung.best_waiting(alive)) is not None:
                self._go_on(trial_id)
                return trial_id
        return None

    def passed(self, trial_id: str, t: float) -> tuple[float, ...]:
        """Return the levels that a trial has passed; see `Rule.passed`."""
        levels = (rung.level for rung in self._rungs[self.bracket_of(trial_id)])
        return tuple(level for level in levels if level < t)

    def give_up(self, alive: Alive) -> str | None:
        """Return the worst trial that waits at the lowest rung; see `Rule.give_up`."""
        for rung in reversed(self._from_the_highest()):
            if waiting := rung.waiting(alive):
                rung.forget(waiting[0])
                return waiting[0]
        return None

    def explain(self, trial_id: str) -> str:
        """Return the rank of a trial at the rung where it waits, as the rung stands now."""
        verdict = self._verdicts[trial_id]
        rung = self._rung_of(trial_id, verdict)
        share = len(rung.values) // self._reduction_factor
        return rung.verdict(verdict.action, rung.values[trial_id], share).reason

    def _from_the_highest(self) -> list[Rung]:
        """All rungs, the highest level first; of one level, that of the lowest bracket first."""
        rungs = [rung for bracket in self._rungs for rung in bracket]
        return sorted(rungs, key=lambda rung: (-rung.level, rung.bracket))
