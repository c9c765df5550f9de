"""Rules that forecast what trials will reach, in place of their rank."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Protocol

from raytuner.errors import SettingError
from raytuner.halving.by_rank import Promotion, Stopping
from raytuner.halving.rule import Action, Alive, Value, Verdict, is_finite
from raytuner.halving.rung import Rung
from raytuner.halving.successive import SuccessiveHalving

# A trial with a lower chance to be the best is ended, not paused. Of those that were forecast less,
# one or two in a hundred would have won (benchmarks.forecasts).
_HOPELESS = 0.001


class Prospects(Protocol):
    """The forecasts of trials."""

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


class _ByForecast(SuccessiveHalving):
    """Judges a trial whenever its resource has doubled.

    While too little is known to forecast, trials go on. Without forecasts, and by values that are
    not finite, they are judged by rank.

    Args:
        foresee: See `Foresee`; None: there are no forecasts. May be set later.
        least_chance: The least chance to be the best at `max_t` with which a trial goes on; in
            [0, 1). Defaults to 0.05.
        grace_period: Level of the first rung, in units of `t`. Defaults to 1.
        max_t: A trial's full resource, in the same units. Defaults to 100.

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
    ) -> None:
        super().__init__(grace_period, max_t, 2, seed=0)
        if not isinstance(least_chance, int | float) or not 0 <= least_chance < 1:
            raise SettingError(
                f"least_chance={least_chance!r} is not a probability below 1 (0.05, say)"
            )
        self.foresee = foresee
        self._least_chance = float(least_chance)


class PredictiveStopping(_ByForecast, Stopping):
    """Stops a trial at a rung if its chance to be the best at `max_t` is below `least_chance`.

    A rung at which little can be told (networks after one epoch, say) stops little: the forecast is
    uncertain there. By rank it judges as `Stopping` does.

    Source: the predictive termination criterion of T. Domhan et al. (2015), "Speeding Up Automatic
    Hyperparameter Optimization of Deep Neural Networks by Extrapolation of Learning Curves", IJCAI,
    section 3.2.
    """

    def _judge(self, rung: Rung, trial_id: str, value: Value) -> Verdict:
        if self.foresee is None or not is_finite(value):
            return self._judge_by_rank(rung, trial_id, value)
        prospects = self.foresee([trial_id])
        chance = None if prospects is None else prospects.chance[trial_id]
        stops = chance is not None and chance < self._least_chance
        held = rung.record(trial_id, value)
        if not stops:
            rung.go_on(trial_id)
        quota = max(1, len(rung.values) // self._reduction_factor)
        verdict = rung.verdict(Action.STOP if stops else Action.CONTINUE, held, quota)
        return replace(verdict, chance=chance, least_chance=self._least_chance)


class FreezeThaw(_ByForecast, Promotion):
    """Pauses trials at rungs, and gives a free slot to the trial that gains most for its cost.

    That is the trial itself, one that was paused before, or a new one. A trial with hardly a chance
    to be the best ends. Where no new trial will come, paused trials go on if their chance is at
    least `least_chance`. By rank it judges as `Promotion` does.

    Source: K. Swersky, J. Snoek and R. Adams (2014), "Freeze-Thaw Bayesian Optimization",
    arXiv:1406.3896, for the choice between old and new trials by a model of learning curves. Theirs
    is by information gained about the optimum; here by expected improvement per second (J. Snoek,
    H. Larochelle and R. Adams 2012, arXiv:1206.2944, section 3.2).
    """

    _chances: Mapping[str, float] = MappingProxyType({})  # when a slot was last given

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
