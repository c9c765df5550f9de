"""Asynchronous successive halving, the variant that stops trials."""

from __future__ import annotations

import math

from raytuner.halving.rule import Action, Value
from raytuner.halving.rung import Rung, Verdict
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
