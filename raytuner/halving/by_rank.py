"""Asynchronous successive halving by rank: only the best trials at a rung continue."""

from __future__ import annotations

import math

from raytuner.halving.rule import Action, Alive, Value, Verdict
from raytuner.halving.rung import Rung
from raytuner.halving.successive import SuccessiveHalving


class Stopping(SuccessiveHalving):
    """Stops trials that are not among the best when they reach a rung. Pauses none.

    With n values recorded at a rung, including the trial's own, the trial continues if fewer than
    `max(1, n // reduction_factor)` of them are strictly better. So the best trial so far always
    continues, and so do ties with the last one to continue. A trial without a finite value
    continues only while no value at the rung is finite.

    `SuccessiveHalving` describes the arguments and the common rules of both variants.

    Source: A. Klein et al. (2020), arXiv:2003.10865, for both variants.

    Examples:
        >>> from raytuner.history import Goal, Table
        >>> rule = Stopping(max_t=27)
        >>> table = Table(Goal.of("accuracy", "max"), "training_iteration", max_t=27)
        >>> for trial_id, accuracy in (("a", 0.5), ("b", 0.4)):
        ...     table.add(trial_id, {})
        ...     table.report(trial_id, 1, accuracy)
        ...     verdict = rule.decide(table, trial_id, 1)
        ...     print(verdict.action.value, "-", verdict.reason)
        continue - rank 1 of 1 at rung 1: only the best continues
        stop - rank 2 of 2 at rung 1: only the best continues
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

    Of n trials recorded at a rung, `n // reduction_factor` are promoted. A free slot goes to the
    best paused trial of the highest rung that may promote one. If there is none, a new trial
    starts. If a trial ended or failed while it was paused, the next best takes its place.

    This differs from the paper in one point: a rung never promotes more than its share. In the
    paper, a trial may continue if it is now among the best `n // reduction_factor`, even if as many
    trials continued before it and are now worse.

    When the search is closing, a rung's share is at least 1, as in `Stopping`. Otherwise a search
    with few trials would train none in full.

    A value that is not finite stops its trial, unless no value at the rung is finite yet.

    `SuccessiveHalving` describes the arguments and the common rules of both variants.

    Source: L. Li et al. (2020), "A System for Massively Parallel Hyperparameter Tuning", MLSys,
    arXiv:1810.05934, Algorithm 2.
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
        """Return the paused trial that should get a free slot; see `Rule.promote`."""
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
        """Return the worst paused trial at the lowest rung; see `Rule.give_up`."""
        for rung in reversed(self._from_the_highest()):
            if waiting := rung.waiting(alive):
                rung.forget(waiting[0])
                return waiting[0]
        return None

    def explain(self, trial_id: str) -> str:
        """Return the current rank of a paused trial at its rung."""
        verdict = self._verdicts[trial_id]
        rung = self._rung_of(trial_id, verdict)
        share = len(rung.values) // self._reduction_factor
        return rung.verdict(verdict.action, rung.values[trial_id], share).reason

    def _from_the_highest(self) -> list[Rung]:
        """All rungs, the highest level first, and within a level the lowest bracket first."""
        rungs = [rung for bracket in self._rungs for rung in bracket]
        return sorted(rungs, key=lambda rung: (-rung.level, rung.bracket))
