"""Asynchronous successive halving and Hyperband as Ray Tune schedulers."""

from __future__ import annotations

from raytuner.errors import SettingError
from raytuner.halving import Promotion, Stopping, SuccessiveHalving
from raytuner.schedulers.rule_scheduler import Metric, RuleScheduler

_VARIANTS: dict[str, type[SuccessiveHalving]] = {"stopping": Stopping, "promotion": Promotion}


class ASHAScheduler(RuleScheduler):
    """Asynchronous successive halving (ASHA): only the best trials continue at each rung.

    Replaces `ray.tune.schedulers.ASHAScheduler`, and works with any searcher. With a raytuner
    searcher, it also records which trials were paused or stopped early, and why.

    - `variant="stopping"` decides when a trial reaches a rung whether to stop or continue it
      (`raytuner.halving.Stopping`).
    - `variant="promotion"` pauses each trial at a rung, which frees its GPU, and resumes the best
      trials from their checkpoints (`raytuner.halving.Promotion`). A new trial starts only if no
      rung has a trial to promote. A trial that would be the next to resume continues without a
      pause. When nothing runs and no new trial will come, the remaining paused trials are ended.
      A class must define `save_checkpoint` and `load_checkpoint`. A function must pass a checkpoint
      to `tune.report` at each rung, and start from `tune.get_checkpoint()`.

    A restored experiment (`Tuner.restore`) continues with its rungs. They come from the record of a
    raytuner searcher, or with another searcher from each trial's last report. This is sufficient
    for promotion. The stopping variant then lacks the values at rungs that trials have passed.

    Args:
        time_attr: Key in the report for the resource `t` that the trial has spent. It must
            increase. Ray reports `training_iteration` and `time_total_s` (seconds).
        metric: Key of the objective, or a list of keys; trials are then ranked by non-dominated
            fronts (`raytuner.halving.rule`). None: the Tuner's, or else the searcher's.
        mode: `"min"` or `"max"`, or a list for several metrics. None: the Tuner's, or else the
            searcher's.
        max_t: A trial's full resource, in units of `time_attr`. A trial that reaches it is complete
            and ends.
        grace_period: Resource of the first rung, in units of `time_attr`. No trial is stopped
            before.
        reduction_factor: About 1 in this many trials continues at each rung, and each rung has this
            many times the resource of the one before. A whole number, at least 2.
        brackets: Number of brackets. Bracket b leaves out the b lowest rungs. None: all brackets of
            Hyperband (`HyperBandScheduler`).
        variant: `"stopping"` or `"promotion"`.
        seed: Seed that assigns trials to brackets, together with their ids. None draws one.

    Raises:
        SettingError: A number or `variant` is out of range.
        MetricError: `metric`, `mode` or `time_attr` is invalid.

    Note:
        Reports without the metric are skipped, so a trial may validate only every few epochs. Ray
        itself aborts the whole experiment at such a report, unless the environment variable
        `TUNE_DISABLE_STRICT_METRIC_CHECKING` is 1. `raytuner.tune` sets it.

    Examples:
        >>> ASHAScheduler(metric="loss", mode="min", max_t=9).debug_string()
        'ASHA (stopping): 0 trials stopped early; rungs 1: 0 of 0 continued, 3: 0 of 0 continued'
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
    """Asynchronous Hyperband: successive halving in several brackets.

    Replaces `ray.tune.schedulers.HyperBandScheduler`. That scheduler waits until a rung is full,
    and waits for ever if the last trial of a rung fails.

    Hyperband protects against rungs that compare trials too early. Bracket b leaves out the b
    lowest rungs. The last bracket has no rungs, so its trials are trained in full. Each trial
    belongs to one bracket and is compared only within it. Brackets are drawn in proportion to
    Hyperband's numbers of configurations, so each bracket costs about the same. With `max_t=81` and
    factor 3, the brackets get 81, 34, 15, 8 and 5 of 143 trials. Within a bracket, trials are
    treated as in `ASHAScheduler`.

    The arguments, defaults and errors are those of `ASHAScheduler`, without `brackets`.
    `grace_period` is the lowest rung of all brackets.

    Source: L. Li et al. (2018), "Hyperband: A Novel Bandit-Based Approach to Hyperparameter
    Optimization", JMLR 18(185).

    Examples:
        >>> HyperBandScheduler(max_t=9).debug_string()  # doctest: +ELLIPSIS
        'HyperBand (stopping): 0 trials stopped early; rungs bracket 0 1: 0 of 0 continued, ...'
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
