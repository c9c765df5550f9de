"""Pausing and resuming by what trials promise at full resource, for what it takes to get there."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from raytuner.halving.predictive import checked_chance
from raytuner.halving.promotion import Promotion
from raytuner.halving.rung import Rung
from raytuner.halving.score import Value, is_finite
from raytuner.halving.verdict import Action, Verdict

# A trial with a lower chance to be the best is ended, not paused. Of those that were forecast less,
# one or two in a hundred would have won (benchmarks.forecasts).
_HOPELESS = 0.001


class Outlook(Protocol):
    """What trials promise, given all that is known."""

    @property
    def chance(self) -> Mapping[str, float]:
        """Of each trial: the chance, in [0, 1], that at `max_t` it is better than the incumbent."""

    @property
    def rate(self) -> Mapping[str, float]:
        """Of each trial: what it is expected to gain, for what it takes to get to `max_t`.

        On any scale that orders them, the same for all.
        """

    @property
    def newcomer(self) -> float:
        """The same of a new trial; minus infinity where none is to be had."""


# foresee(trial_ids): their outlook; None: too little is known yet.
Foresee = Callable[[Sequence[str]], Outlook | None]


class FreezeThaw(Promotion):
    """Pauses trials at rungs, and gives a free slot to whatever promises most for its cost.

    At each rung a trial is frozen, and whoever has the highest rate of `Outlook` has its slot: the
    trial itself, one that was frozen before, or a new one. So a trial that does better than was
    thought goes on, one that does not waits until others do worse than it, and none is lost. A
    trial with hardly a chance ends.

    Where no new trial is to be had, trials that wait go on if their chance is at least
    `least_chance`. While too little is known to foresee anything, trials go on: what they come to
    is what is foreseen from later. Where nobody foresees at all, trials are promoted by rank, as in
    `Promotion`.

    Source: K. Swersky, J. Snoek and R. Adams (2014), "Freeze-Thaw Bayesian Optimization",
    arXiv:1406.3896, for the choice between old and new trials by a model of learning curves. Theirs
    is made by the information that is gained about the optimum; here by expected improvement per
    second (J. Snoek, H. Larochelle and R. Adams 2012, arXiv:1206.2944, section 3.2).

    Args:
        foresee: See `Foresee`; None: nobody foresees.
        least_chance: See above; in [0, 1).
        grace_period: Level of the first rung, in units of `t`.
        max_t: A trial's full resource, in the same units.
        reduction_factor: The next rung is this many times further. By rank, about 1 in this many
            is promoted.

    Raises:
        SettingError: If an argument is outside of what it may be.
    """

    def __init__(
        self,
        foresee: Foresee | None = None,
        *,
        least_chance: float = 0.05,
        grace_period: float = 1,
        max_t: float = 100,
        reduction_factor: int = 2,
    ) -> None:
        super().__init__(grace_period, max_t, reduction_factor, seed=0)
        self.foresee = foresee
        self._least_chance = checked_chance(least_chance)
        self._catching_up = False
        self._chances: Mapping[str, float] = {}  # as they were when a slot was last given

    def _judge_at(self, rung: Rung, trial_id: str, value: Value) -> Verdict:
        verdict = super()._judge_at(rung, trial_id, value)
        if self._catching_up or self.foresee is None or not is_finite(value):
            return verdict
        outlook = self.foresee([trial_id])
        if outlook is None:
            rung.let_go_on(trial_id)
            return replace(verdict, action=Action.CONTINUE)
        chance = outlook.chance[trial_id]
        if chance >= _HOPELESS:
            return replace(verdict, chance=chance, least_chance=self._least_chance)
        rung.forget(trial_id)
        return replace(verdict, action=Action.STOP, chance=chance, least_chance=_HOPELESS)

    def resume(self, alive: Callable[[str], bool], *, closing: bool = False) -> str | None:
        """The trial to go on; see `Judge.resume` and the class."""
        if self.foresee is None:
            return super().resume(alive, closing=closing)
        rungs = {i: rung for rung in self._from_the_highest() for i in rung.waiting(alive)}
        outlook = self.foresee(list(rungs)) if rungs else None
        if outlook is None:
            return super().resume(alive, closing=closing) if rungs else None
        self._chances = {**outlook.chance}
        able = list(rungs)
        if outlook.newcomer == -math.inf:  # then it need not be worth more than a new trial
            able = [i for i in rungs if outlook.chance[i] >= self._least_chance]
        best = max(able, key=lambda trial_id: outlook.rate[trial_id], default=None)
        if best is None or outlook.rate[best] <= outlook.newcomer:
            return None
        self._promote(rungs[best], best)
        return best

    def explain(self, trial_id: str) -> str:
        """Why a trial waits: its chance, when a slot was last given."""
        if trial_id not in self._chances:
            return super().explain(trial_id)
        return (
            f"a chance of {100 * self._chances[trial_id]:.1f} % to be the best in the end; others"
            " promised more for what they cost"
        )

    def observe(self, trial_id: str, t: float, value: Value) -> None:
        """Take note of a report that an earlier process has decided about; see `Judge.observe`."""
        self._catching_up = True
        try:
            super().observe(trial_id, t, value)
        finally:
            self._catching_up = False
