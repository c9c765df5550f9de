"""Rules that decide by forecasts of trials instead of by their rank."""

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

# A trial with a lower chance of becoming the best is ended, not paused. Of the trials with a lower
# forecast, one or two in a hundred would have won (benchmarks.forecasts).
_HOPELESS = 0.001


class Prospects(Protocol):
    """The forecasts of trials."""

    @property
    def chance(self) -> Mapping[str, float]:
        """For each trial: the chance, in [0, 1], that it beats the best trial at `max_t`."""

    @property
    def rate(self) -> Mapping[str, float]:
        """For each trial: its expected gain per cost of training it to `max_t`, on any scale."""

    @property
    def newcomer(self) -> float:
        """The rate of a new trial; minus infinity if none will come."""


Foresee = Callable[[Sequence[str]], Prospects | None]
"""Returns the prospects of trials by their ids; None while there are too few values."""


class _ByForecast(SuccessiveHalving):
    """Decides about a trial each time its resource has doubled.

    While there are too few values for a forecast, trials continue. Without forecasts, and if a
    value is not finite, trials are compared by rank.

    Args:
        foresee: See `Foresee`; None: there are no forecasts. May be set later.
        least_chance: The least chance of becoming the best at `max_t` with which a trial continues;
            in [0, 1).
        grace_period: Level of the first rung, in units of `t`.
        max_t: A trial's full resource, in units of `t`.

    Raises:
        SettingError: An argument is out of range.
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
                f"least_chance is {least_chance!r}; it must be a probability below 1, such as 0.05"
            )
        self.foresee = foresee
        self._least_chance = float(least_chance)


class PredictiveStopping(_ByForecast, Stopping):
    """Stops a trial at a rung if its chance of becoming the best is below `least_chance`.

    If a rung is too early for good forecasts (such as networks after one epoch), few trials are
    stopped there. Decisions by rank are those of `Stopping`.

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
    """Pauses trials at rungs, and gives a free slot to the trial with the largest gain per cost.

    This may be the trial itself, a paused trial or a new one. A trial with almost no chance of
    becoming the best ends. When no new trial will come, paused trials continue if their chance is
    at least `least_chance`. Decisions by rank are those of `Promotion`.

    Source: K. Swersky, J. Snoek and R. Adams (2014), "Freeze-Thaw Bayesian Optimization",
    arXiv:1406.3896, for the choice between old and new trials by a model of learning curves. They
    choose by information gain about the optimum. This rule uses the expected improvement per second
    (J. Snoek, H. Larochelle and R. Adams 2012, arXiv:1206.2944, section 3.2).
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
        """Return the paused trial that should get a free slot; see `Rule.promote`."""
        waiting = [i for rung in self._from_the_highest() for i in rung.waiting(alive)]
        prospects = self.foresee(waiting) if self.foresee is not None and waiting else None
        if prospects is None:
            return super().promote(alive, closing=closing)
        self._chances = {**prospects.chance}
        able = waiting
        if prospects.newcomer == -math.inf:  # no new trial to compare with
            able = [i for i in waiting if prospects.chance[i] >= self._least_chance]
        best = max(able, key=lambda trial_id: prospects.rate[trial_id], default=None)
        if best is None or prospects.rate[best] <= prospects.newcomer:
            return None
        self._go_on(best)
        return best

    def explain(self, trial_id: str) -> str:
        """Return the chance of a paused trial when a slot was last assigned."""
        if trial_id not in self._chances:
            return super().explain(trial_id)
        return (
            f"chance of becoming the best: {100 * self._chances[trial_id]:.1f} %; others had a"
            " larger expected gain per cost"
        )
