"""Asynchronous successive halving, the variant that stops trials."""

from __future__ import annotations

import math

from raytuner.halving.halving import SuccessiveHalving
from raytuner.halving.rung import Rung
from raytuner.halving.score import Value
from raytuner.halving.verdict import Action, Verdict


class Stopping(SuccessiveHalving):
    """Stops a trial that is not among the best at a rung when it gets there; nothing is paused.

    Klein et al. 2020 (arXiv:2003.10865) describe this variant beside that of `Promotion`. The
    rule: with n values recorded at a rung, the trial's own included, it goes on if fewer than
    `max(1, n // reduction_factor)` of them are strictly better. So the best so far always goes on,
    and so does one that ties with the last to go on. A value that is not finite goes on only while
    the rung holds no finite one.

    See `SuccessiveHalving` for arguments, and for what holds in both variants.

    Example:
        >>> halving = Stopping(max_t=27)
        >>> halving.judge("a", 1, 0.5).action.value
        'continue'
        >>> halving.judge("b", 1, 0.4).reason
        'rank 2 of 2 at rung 1: only the best goes on'
        >>> halving.rungs[0]
        RungView(bracket=0, level=1, recorded=2, went_on=1)
    """

    def _judge_at(self, rung: Rung, trial_id: str, value: Value) -> Verdict:
        held = rung.record(trial_id, value)
        quota = max(1, len(rung.values) // self._reduction_factor)
        goes_on = rung.rank(held) <= quota if math.isfinite(held) else not rung.has_finite
        if goes_on:
            rung.let_go_on(trial_id)
        return rung.verdict(Action.CONTINUE if goes_on else Action.STOP, held, quota)

    def recall(self, trial_id: str, t: float, value: Value, *, ended: bool) -> None:
        """Take note of a trial of which only the last report is known; see `Judge.recall`.

        Its value counts where it was reported at a rung. At the rungs it had passed nothing is
        known of it, so the bar there is lower than it was: a few more trials go on than should.
        """
        rung = self._reached(trial_id, t)
        if rung is None or t >= self._max_t or trial_id in self._verdicts:
            return
        stopped, held = ended and t == rung.level, -math.inf
        if t == rung.level:
            held = rung.record(trial_id, value)
            if not stopped:
                rung.let_go_on(trial_id)
        quota = max(1, len(rung.values) // self._reduction_factor)
        self._verdicts[trial_id] = rung.verdict(
            Action.STOP if stopped else Action.CONTINUE, held, quota
        )
