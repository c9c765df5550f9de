"""Stopping by a forecast of a trial's final value, in place of its rank."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from raytuner.errors import SettingError
from raytuner.halving.rule import Action, Value, is_finite
from raytuner.halving.rung import Rung, Verdict
from raytuner.halving.stopping import Stopping

Predict = Callable[[str], float | None]
"""Returns the chance, in [0, 1], that the trial with this id will be better at `max_t` than the
best of the others; None while too little is known."""


class PredictiveStopping(Stopping):
    """Stops a trial at a rung if it will hardly be the best at `max_t`.

    A rung at which little can be told (networks after one epoch, say) stops little: the forecast is
    uncertain there. While too little is known to forecast, trials go on. Without forecasts, trials
    are judged by rank, as in `Stopping`.

    Source: the predictive termination criterion of T. Domhan et al. (2015), "Speeding Up Automatic
    Hyperparameter Optimization of Deep Neural Networks by Extrapolation of Learning Curves", IJCAI,
    section 3.2.

    Args:
        predict: See `Predict`; None: there are no forecasts.
        least_chance: A trial with a lower chance is stopped; in [0, 1). Defaults to 0.05.
        grace_period: Level of the first rung, in units of `t`. Defaults to 1.
        max_t: A trial's full resource, in the same units. Defaults to 100.
        reduction_factor: The next rung is this many times further. By rank, about 1 in this many
            goes on. Defaults to 2.

    Raises:
        SettingError: An argument is out of its range.
    """

    def __init__(
        self,
        predict: Predict | None = None,
        *,
        least_chance: float = 0.05,
        grace_period: float = 1,
        max_t: float = 100,
        reduction_factor: int = 2,
    ) -> None:
        super().__init__(grace_period, max_t, reduction_factor, seed=0)
        self.predict = predict
        self._least_chance = checked_chance(least_chance)

    def _judge(self, rung: Rung, trial_id: str, value: Value) -> Verdict:
        if self.predict is None or not is_finite(value):
            return self._judge_by_rank(rung, trial_id, value)
        chance = self.predict(trial_id)
        stops = chance is not None and chance < self._least_chance
        held = rung.record(trial_id, value)
        if not stops:
            rung.go_on(trial_id)
        quota = max(1, len(rung.values) // self._reduction_factor)
        verdict = rung.verdict(Action.STOP if stops else Action.CONTINUE, held, quota)
        return replace(verdict, chance=chance, least_chance=self._least_chance)


def checked_chance(least_chance: object) -> float:
    """Return a probability below 1; raise a SettingError for anything else."""
    if isinstance(least_chance, int | float) and 0 <= least_chance < 1:
        return float(least_chance)
    raise SettingError(f"least_chance={least_chance!r} is not a probability below 1 (0.05, say)")
