"""Asynchronous successive halving as it was published: trials pause at rungs and are promoted."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from raytuner.halving.halving import SuccessiveHalving
from raytuner.halving.rung import Rung
from raytuner.halving.score import Value
from raytuner.halving.verdict import Action, Verdict


class Promotion(SuccessiveHalving):
    """Lets every trial wait at its rung, and promotes the best one when a slot is free.

    Li et al. 2020, "A System for Massively Parallel Hyperparameter Tuning" (MLSys,
    arXiv:1810.05934), Algorithm 2: whenever a slot is free, the rungs are looked at from the
    highest to the lowest; the first at which a trial may be promoted gives it, and if there is
    none, a new trial starts.

    The rule: of n trials recorded at a rung, `n // reduction_factor` are promoted, the best that
    wait then. The paper's rule lets a trial go on that is now among the best `n //
    reduction_factor`, also when that many went on before it that have since been overtaken; here
    their places are taken, so a rung never promotes more than its share. A trial that ended or
    failed while it waited leaves its place to the next best.

    When the search is closing (no new trial will come, nothing runs and nothing may be promoted),
    a rung's share is at least 1, as it is in the variant that stops: otherwise a search of few
    trials would train none in full.

    A value that is not finite stops its trial, unless the rung holds no finite one yet.

    See `SuccessiveHalving` for arguments, and for what holds in both variants.

    Example:
        >>> halving = Promotion(max_t=27)
        >>> [halving.judge(i, 1, value).action.value for i, value in zip("abc", (0.5, 0.7, 0.6))]
        ['pause', 'pause', 'pause']
        >>> halving.resume(lambda trial_id: True)
        'b'
        >>> halving.explain("a")
        'rank 3 of 3 at rung 1: only the best goes on'
    """

    pauses = True

    def _judge_at(self, rung: Rung, trial_id: str, value: Value) -> Verdict:
        held = rung.record(trial_id, value)
        share = len(rung.values) // self._reduction_factor
        if not math.isfinite(held) and rung.has_finite:
            return rung.verdict(Action.STOP, held, share)
        rung.wait(trial_id)
        return rung.verdict(Action.PAUSE, held, share)

    def resume(self, alive: Callable[[str], bool], *, closing: bool = False) -> str | None:
        """The trial to promote; see `Judge.resume` and the class."""
        for rung in self._from_the_highest():
            share = max(int(closing), len(rung.values) // self._reduction_factor)
            if len(rung.went_on) < share:
                trial_id = rung.best_waiting(alive)
                if trial_id is not None:
                    self._promote(rung, trial_id)
                    return trial_id
        return None

    def give_up(self, alive: Callable[[str], bool]) -> str | None:
        """The worst that waits at the lowest rung; see `Judge.give_up`."""
        for rung in reversed(self._from_the_highest()):
            trial_id = rung.drop_worst_waiting(alive)
            if trial_id is not None:
                return trial_id
        return None

    def explain(self, trial_id: str) -> str:
        """Its rank at the rung where it waits, as that stands now."""
        verdict = self._verdicts[trial_id]
        rung = self._rung_of(trial_id, verdict)
        share = len(rung.values) // self._reduction_factor
        return rung.verdict(verdict.action, rung.values[trial_id], share).reason

    def observe(self, trial_id: str, t: float, value: Value) -> None:
        """Take note of an earlier report: one beyond a rung says that the trial was promoted."""
        standing = self._verdicts.get(trial_id)
        if standing is not None and standing.action is Action.PAUSE and t > standing.rung:
            self._promote(self._rung_of(trial_id, standing), trial_id)
        super().observe(trial_id, t, value)

    def recall(self, trial_id: str, t: float, value: Value, *, ended: bool) -> None:
        """Take note of a trial of which only the last report is known; see `Judge.recall`.

        That is enough: a trial waits where it last reported, with that value, and was promoted
        from the rungs below, where its value plays no part any more.
        """
        for rung in self._rungs[self.bracket_of(trial_id)]:
            if rung.level < t:
                self.observe(trial_id, rung.level, value)
        self.observe(trial_id, t, value)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state that `state_dict` gave; raises as in `SuccessiveHalving`."""
        super().load_state_dict(state)
        for trial_id, verdict in self._verdicts.items():
            if verdict.action is Action.PAUSE:
                self._rung_of(trial_id, verdict).wait(trial_id)

    def _promote(self, rung: Rung, trial_id: str) -> None:
        rung.let_go_on(trial_id)
        share = len(rung.values) // self._reduction_factor
        self._verdicts[trial_id] = rung.verdict(Action.CONTINUE, rung.values[trial_id], share)

    def _from_the_highest(self) -> list[Rung]:
        """All rungs, the highest level first; of one level, that of the lowest bracket first."""
        rungs = [rung for bracket in self._rungs for rung in bracket]
        return sorted(rungs, key=lambda rung: (-rung.level, rung.bracket))

    def _rung_of(self, trial_id: str, verdict: Verdict) -> Rung:
        rungs = self._rungs[self.bracket_of(trial_id)]
        return next(rung for rung in rungs if rung.level == verdict.rung)
