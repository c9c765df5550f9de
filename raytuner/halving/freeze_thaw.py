"""Pausing and resuming by forecasts of what trials gain for their cost."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from raytuner.halving.predictive import checked_chance
from raytuner.halving.promotion import Promotion
from raytuner.halving.rule import Action, Alive, Value, is_finite
from raytuner.halving.rung import Rung, Verdict

# A trial with a lower chance to be the best is ended, not paused. Of those that were forecast less,
# one or two in a hundred would have won (benchmarks.forecasts).
_HOPELESS = 0.001


class Prospects(Protocol):
    """The forecast gain of trials."""

    @property
    def chance(self) -> Mapping[str, float]:
        """Of each trial: the chance, in [0, 1], that at `max_t` it is better than the incumbent."""

    @property
    def rate(self) -> Mapping[str, float]:
        """Of each trial: its expected gain per cost of training it to `max_t`, on any scale."""

    @property
    def newcomer(self) -> float:
        """The rate of a new trial; minus infinity if none will come."""


Foresee = Callable[[Sequence[str]], Prospects | None]
"""Returns the prospects of trials by their ids; None while too little is known."""


class FreezeThaw(Promotion):
    """Pauses trials at rungs, and gives a free slot to the trial that gains most for its cost.

    That is the trial itself, one that was paused before, or a new one. A trial with hardly a chance
    to be the best ends. Where no new trial will come, paused trials go on if their chance is at
    least `least_chance`. While too little is known to forecast, trials go on. Without forecasts,
    trials are promoted by rank, as in `Promotion`.

    Source: K. Swersky, J. Snoek and R. Adams (2014), "Freeze-Thaw Bayesian Optimization",
    arXiv:1406.3896, for the choice between old and new trials by a model of learning curves. Theirs
    is by information gained about the optimum; here by expected improvement per second (J. Snoek,
    H. Larochelle and R. Adams 2012, arXiv:1206.2944, section 3.2).

    Args:
        foresee: See `Foresee`; None: there are no forecasts.
        least_chance: See above; in [0, 1). Defaults to 0.05.
        grace_period: Level of the first rung, in units of `t`. Defaults to 1.
        max_t: A trial's full resource, in the same units. Defaults to 100.
        reduction_factor: The next rung is this many times further. By rank, about 1 in this many
            is promoted. Defaults to 2.

    Raises:
        SettingError: An argument is out of its range.
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
        self._chances: Mapping[str, float] = {}  # when a slot was last given

    def _judge(self, rung: Rung, trial_id: str, value: Value) -> Verdict:
        verdict = self._judge_by_rank(rung, trial_id, value)
        if self.foresee is None or not is_finite(value):
            return verdict
        prospects = self.foresee([trial_id])
        if prospects is None:
            rung.go_on(trial_id)
            return replace(verdict, action=Action.CONTINUE)
        chance = prospects.chance[trial_id]
        if chance >= _HOPELESS:
            return replace(verdict, chance=chance, least_chance=self._least_chance)
        rung.forget(trial_id)
        return replace(verdict, action=Action.STOP, chance=chance, least_chance=_HOPELESS)

    def promote(self, alive: Alive, *, closing: bool = False) -> str | None:
        """Return the paused trial that should have a free slot; see `Rule.promote`."""
        waiting = [i for rung in self._from_the_highest() for i in rung.waiting(alive)]
        prospects = self.foresee(waiting) if self.foresee is not None and waiting else None
        if prospects is None:
            return super().promote(alive, closing=closing)
        self._chances = {**prospects.chance}
        able = waiting
        if prospects.newcomer == -math.inf:  # then it need not be worth more than a new trial
            able = [i for i in waiting if prospects.chance[i] >= self._least_chance]
        best = max(able, key=lambda trial_id: prospects.rate[trial_id], default=None)
        if best is None or prospects.rate[best] <= prospects.newcomer:
            return None
        self._go_on(best)
        return best

    def explain(self, trial_id: str) -> str:
        """Return the chance of a paused trial, when a slot was last given."""
        if trial_id not in self._chances:
            return super().explain(trial_id)
        return (
            f"a chance of {100 * self._chances[trial_id]:.1f} % to be the best in the end; others"
            " promised more for what they cost"
        )
