"""Asynchronous successive halving and Hyperband as Ray Tune schedulers."""

from __future__ import annotations

from raytuner.errors import SettingError
from raytuner.halving import Promotion, Stopping, SuccessiveHalving
from raytuner.schedulers.rule_scheduler import Metric, RuleScheduler

_VARIANTS: dict[str, type[SuccessiveHalving]] = {"stopping": Stopping, "promotion": Promotion}


class ASHAScheduler(RuleScheduler):
    """Stops or pauses trials that are not among the best at a rung (ASHA).

    Replaces `ray.tune.schedulers.ASHAScheduler`. Beside a raytuner searcher it records which trials
    were stopped early and why, and which are paused; it works with any other searcher too.

    - `variant="stopping"` judges a trial when it reaches a rung, and stops it or lets it go on
      (`raytuner.halving.Stopping`).
    - `variant="promotion"` pauses it there, which frees its GPU, and resumes the best from their
      checkpoints (`raytuner.halving.Promotion`). When a slot is free, a new trial starts only if no
      rung has a trial to promote. A trial that is the next to go on when it reaches a rung does so
      without a pause. Trials that still wait when no new one will come and nothing runs are ended.
      A class must define `save_checkpoint` and `load_checkpoint`; a function must pass a checkpoint
      to `tune.report` at each rung, and begin from `tune.get_checkpoint()`.

    A restored experiment (`Tuner.restore`) goes on with the rungs as they were: from the record
    that a raytuner searcher keeps, or, with another searcher, from each trial's last report. That
    is all that promotion needs; the stopping variant then knows no values at the rungs that a
    trial has passed.

    Args:
        time_attr: Key of a report that says how much resource `t` the trial has spent; it must
            grow. Defaults to `training_iteration`, which Ray counts; `time_total_s` (seconds) is
            there too, or report your own.
        metric: Key of the objective, or a list of several: then trials are ranked by the front that
            they are on (`raytuner.halving.rule`). Defaults to the Tuner's, or to the searcher's.
        mode: `"min"` or `"max"`; of several, a list. Defaults likewise.
        max_t: A trial's full resource, in units of `time_attr`. A trial that reaches it is
            complete and ends. Defaults to 100.
        grace_period: No trial is stopped before this much resource; the first rung. Same units.
            Defaults to 1.
        reduction_factor: About 1 in this many trials goes on at each rung, and the next rung is
            this many times further. A whole number of at least 2; defaults to 3.
        brackets: How many brackets; bracket b leaves out the b lowest rungs. Defaults to 1. None:
            all of Hyperband's (`HyperBandScheduler`).
        variant: `"stopping"`, the default, or `"promotion"`.
        seed: Decides the brackets, with the trials' ids; None, the default, draws one.

    Raises:
        SettingError: A number or `variant` is out of its range.
        MetricError: metric, mode or time_attr cannot be one.

    Note:
        A report without the metric is skipped, so a trial may validate every few epochs only. Ray
        itself aborts the whole experiment at such a report, unless the environment variable
        `TUNE_DISABLE_STRICT_METRIC_CHECKING` is 1 (`raytuner.tune` sets it).

    Example:
        >>> ASHAScheduler(metric="loss", mode="min", max_t=9).debug_string()
        'ASHA (stopping): 0 trials stopped early; rungs 1: 0 of 0 went on, 3: 0 of 0 went on'
    """

    rule: SuccessiveHalving
    _method = "ASHA"

    def __init__(
        self,
        time_attr: str = "training_iteration",
        metric: Metric | None = None,
        mode: Metric | None = None,
        max_t: float = 100,
        grace_period: float = 1,
        reduction_factor: int = 3,
        brackets: int | None = 1,
        *,
        variant: str = "stopping",
        seed: int | None = None,
    ) -> None:
        if variant not in tuple(_VARIANTS):
            raise SettingError(
                f"variant={variant!r} is unknown; it must be 'stopping' or 'promotion'"
            )
        rule = _VARIANTS[variant](grace_period, max_t, reduction_factor, brackets, seed=seed)
        name = f"{self._method} ({variant})"
        super().__init__(rule, name=name, time_attr=time_attr, metric=metric, mode=mode)


class HyperBandScheduler(ASHAScheduler):
    """Hyperband, asynchronously: every bracket, and each of them successive halving on its own.

    Replaces `ray.tune.schedulers.HyperBandScheduler`, which waits for each rung to fill, and
    forever when the last trial of a rung fails.

    Hyperband (Li et al. 2018, JMLR 18(185)) hedges against rungs that judge too early: bracket b
    leaves out the b lowest rungs, and the last has none, so that its trials are trained in full.
    Each trial is put into one bracket and ranked among its own. The brackets are drawn with the
    chances of Hyperband's numbers of configurations, so that each costs about the same: with max_t
    81 and factor 3, they get 81, 34, 15, 8 and 5 of 143 trials. Within a bracket everything is as
    in `ASHAScheduler`.

    See `ASHAScheduler` for arguments, defaults and errors. There is no `brackets`, and
    `grace_period` is the lowest rung of all.

    Example:
        >>> HyperBandScheduler(max_t=9).debug_string()  # doctest: +ELLIPSIS
        'HyperBand (stopping): 0 trials stopped early; rungs bracket 0 1: 0 of 0 went on, ...'
    """

    _method = "HyperBand"

    def __init__(
        self,
        time_attr: str = "training_iteration",
        metric: Metric | None = None,
        mode: Metric | None = None,
        max_t: float = 100,
        reduction_factor: int = 3,
        *,
        grace_period: float = 1,
        variant: str = "stopping",
        seed: int | None = None,
    ) -> None:
        super().__init__(
            time_attr,
            metric,
            mode,
            max_t,
            grace_period,
            reduction_factor,
            None,
            variant=variant,
            seed=seed,
        )
