"""Stopping by a prediction of what a trial will come to, in place of its rank."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from raytuner.errors import SettingError
from raytuner.halving.rung import Rung
from raytuner.halving.score import Value, is_finite
from raytuner.halving.stopping import Stopping
from raytuner.halving.verdict import Action, Verdict

# predict(trial_id): the chance, in [0, 1], that the trial which reports now will be better at
# `max_t` than the best of the others; None: too little is known yet.
Predict = Callable[[str], float | None]


class PredictiveStopping(Stopping):
    """Stops a trial at a rung if it will hardly be the best at `max_t`.

    A rung at which little can be told (networks after one epoch, say) stops little: the prediction
    is uncertain there. While too little is known to predict, trials go on: what they come to is
    what later predictions are made of. Where nobody predicts at all, trials are judged by rank, as
    in `Stopping`.

    Source: the predictive termination criterion of T. Domhan et al. (2015), "Speeding Up Automatic
    Hyperparameter Optimization of Deep Neural Networks by Extrapolation of Learning Curves", IJCAI,
    section 3.2.

    Args:
        predict: See `Predict`; None: nobody predicts.
        least_chance: A trial with a lower chance is stopped; in [0, 1].
        grace_period: Level of the first rung, in units of `t`.
        max_t: A trial's full resource, in the same units.
        reduction_factor: The next rung is this many times further. By rank, about 1 in this many
            goes on.

    Raises:
        SettingError: If an argument is outside of what it may be.

    Example:
        >>> chances = {"a": 0.5, "b": 0.01}
        >>> judge = PredictiveStopping(chances.get, max_t=8)
        >>> judge.judge("a", 1, 7.0).action.value
        'continue'
        >>> judge.judge("b", 2, 9.0).reason
        'a chance of 1.0 % to be the best in the end, told at rung 2: below 5 %'
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
        self._catching_up = False

    def _judge_at(self, rung: Rung, trial_id: str, value: Value) -> Verdict:
        if self._catching_up:  # decided already: what is still there went on
            return self._noted(rung, trial_id, value, Action.CONTINUE)
        if self.predict is None or not is_finite(value):
            return super()._judge_at(rung, trial_id, value)
        chance = self.predict(trial_id)
        stop = chance is not None and chance < self._least_chance
        verdict = self._noted(rung, trial_id, value, Action.STOP if stop else Action.CONTINUE)
        return replace(verdict, chance=chance, least_chance=self._least_chance)

    def observe(self, trial_id: str, t: float, value: Value) -> None:
        """Take note of a report that an earlier process has decided about; see `Judge.observe`."""
        self._catching_up = True
        try:
            super().observe(trial_id, t, value)
        finally:
            self._catching_up = False

    def _noted(self, rung: Rung, trial_id: str, value: Value, action: Action) -> Verdict:
        held = rung.record(trial_id, value)
        if action is Action.CONTINUE:
            rung.let_go_on(trial_id)
        return rung.verdict(action, held, max(1, len(rung.values) // self._reduction_factor))


def checked_chance(least_chance: object) -> float:
    """A probability below 1, or a SettingError."""
    if isinstance(least_chance, int | float) and 0 <= least_chance < 1:
        return float(least_chance)
    raise SettingError(f"least_chance={least_chance!r} is not a probability below 1 (0.05, say)")
