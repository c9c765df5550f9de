"""Asynchronous Hyperband as a Ray Tune scheduler."""

from __future__ import annotations

from raytuner.halving import SuccessiveHalving
from raytuner.schedulers.asha import rule_of
from raytuner.schedulers.rule_scheduler import RuleScheduler
from raytuner.schedulers.settings import Metric


class HyperBandScheduler(RuleScheduler):
    """Hyperband, asynchronously: every bracket, and each of them successive halving on its own.

    Replaces `ray.tune.schedulers.HyperBandScheduler`, which waits for each rung to fill, and
    forever when the last trial of a rung fails.

    Hyperband (Li et al. 2018, JMLR 18(185)) hedges against rungs that judge too early: bracket b
    leaves out the b lowest rungs, and the last has none, so that its trials are trained in full.
    Each trial is put into one bracket and ranked among its own. The brackets are drawn with the
    chances of Hyperband's numbers of configurations, so that each costs about the same: with max_t
    81 and factor 3, they get 81, 34, 15, 8 and 5 of 143 trials. Within a bracket everything is as
    in `ASHAScheduler`.

    Args:
        time_attr: See `ASHAScheduler`.
        metric: See `ASHAScheduler`.
        mode: See `ASHAScheduler`.
        max_t: A trial's full resource, in units of `time_attr`. Defaults to 81.
        reduction_factor: About 1 in this many trials goes on at each rung, and the next rung is
            this many times further. A whole number of at least 2; defaults to 3.
        grace_period: The lowest rung of all, in the same units. Defaults to 1.
        variant: `"stopping"`, the default, or `"promotion"`; see `ASHAScheduler`.
        seed: Decides the brackets, with the trials' ids; None, the default, draws one.

    Raises:
        SettingError: A number or `variant` is out of its range.
        MetricError: metric, mode or time_attr cannot be one.

    Example:
        >>> HyperBandScheduler(max_t=9).debug_string()  # doctest: +ELLIPSIS
        'HyperBand (stopping): 0 trials stopped early; rungs bracket 0 1: 0 of 0 went on, ...'
    """

    rule: SuccessiveHalving

    def __init__(
        self,
        time_attr: str = "training_iteration",
        metric: Metric | None = None,
        mode: Metric | None = None,
        max_t: float = 81,
        reduction_factor: int = 3,
        *,
        grace_period: float = 1,
        variant: str = "stopping",
        seed: int | None = None,
    ) -> None:
        rule = rule_of(variant)(grace_period, max_t, reduction_factor, None, seed=seed)
        super().__init__(
            rule, name=f"HyperBand ({variant})", time_attr=time_attr, metric=metric, mode=mode
        )
