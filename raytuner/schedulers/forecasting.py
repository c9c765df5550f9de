"""Schedulers that decide by forecasts of learning curves."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from ray.tune.experiment import Trial

from raytuner.bayes import Forecaster
from raytuner.controller.starts import StartTimer
from raytuner.errors import MetricError
from raytuner.halving import FreezeThaw, PredictiveStopping, Prospects
from raytuner.history import Goal, History
from raytuner.schedulers.rule_scheduler import Metric, RuleScheduler

logger = logging.getLogger(__name__)

_SECONDS = "time_total_s"  # in every report, by Ray


def can_forecast(goal: Goal) -> bool:
    """Return whether forecasts can judge trials by a goal: one objective without constraints."""
    return goal.n_objectives == 1 and not goal.constraints


class _ForecastingScheduler(RuleScheduler):
    """Decides by forecasts from the searcher's table; by rank if the searcher has none."""

    rule: PredictiveStopping | FreezeThaw
    _rule: type[PredictiveStopping] | type[FreezeThaw]
    _name: str
    _by_rank: str  # what happens to trials without forecasts

    def __init__(
        self,
        time_attr: str = "training_iteration",
        metric: Metric | None = None,
        mode: Metric | None = None,
        max_t: float = 100,
        grace_period: float = 1,
        *,
        least_chance: float = 0.05,
    ) -> None:
        self._seconds: dict[str, float] = {}  # of a full training, by what was seen of each
        self._starts = StartTimer()
        self._reporting: str | None = None  # the trial whose report is being decided on
        rule = self._rule(least_chance=least_chance, grace_period=grace_period, max_t=max_t)
        super().__init__(rule, name=self._name, time_attr=time_attr, metric=metric, mode=mode)

    def _begin(self, search_alg: Any) -> None:
        super()._begin(search_alg)
        goal, scheduler = self.rule.goal, type(self).__name__
        if goal is not None and not can_forecast(goal):
            raise MetricError(
                f"{scheduler} forecasts one objective without constraints, and the search is after"
                f" {', '.join(goal.metrics)}; ASHAScheduler takes several"
            )
        if self._partner is not None:
            history = self._partner.history
            self.rule.foresee = partial(self._foresee, Forecaster(history.space), history)
            return
        self.rule.foresee = None
        logger.warning(
            "%s %s trials by rank: %s keeps no record to forecast from; BoTorchSearch does.",
            scheduler,
            self._by_rank,
            type(self._searcher).__name__,
        )

    def _foresee(
        self, forecaster: Forecaster, history: History, trial_ids: Sequence[str]
    ) -> Prospects | None:
        """Return the prospects of trials; see `raytuner.halving.by_forecast.Foresee`."""
        return forecaster.outlook(history.snapshot(), trial_ids, is_last=True)


class PredictiveTerminationScheduler(_ForecastingScheduler):
    """Stops a trial when it will hardly be the best at `max_t`, by its curve and the others'.

    Whenever a trial's resource has doubled, a Gaussian process over configurations and learning
    curves forecasts its value at `max_t` with its uncertainty (`raytuner.bayes.Forecaster`). A
    trial whose chance to beat the best of the others is below `least_chance` ends. Where an early
    value says little about the final one, the forecast is uncertain and few trials are stopped,
    while successive halving stops its share at every rung.

    Beside `BoTorchSearch` it forecasts from the searcher's record, and stops no trial until
    `d + 1` trials (at least 5) have reported. Beside a searcher without a record it stops by rank,
    the worse half at each doubling, and logs a warning.

    The criterion is that of T. Domhan et al. (2015), "Speeding Up Automatic Hyperparameter
    Optimization of Deep Neural Networks by Extrapolation of Learning Curves", IJCAI.

    Args:
        time_attr: See `ASHAScheduler`.
        metric: Key of the objective. Defaults to the Tuner's, or to the searcher's.
        mode: `"min"` or `"max"`. Defaults likewise.
        max_t: A trial's full resource, in units of `time_attr`. Defaults to 100.
        grace_period: No trial is stopped before this much resource. Same units. Defaults to 1.
        least_chance: A trial with a lower chance to be the best is stopped; in [0, 1). Defaults
            to 0.05.

    Raises:
        SettingError: A number is out of its range.
        MetricError: metric, mode or time_attr cannot be one.

    Note:
        A forecast is computed on Ray's event loop: some hundredths of a second each, and longer
        when hyperparameters are drawn: a tenth of a second, and up to a second for the first.

    Example:
        >>> PredictiveTerminationScheduler(max_t=4).debug_string()  # doctest: +ELLIPSIS
        'Predictive termination: 0 trials stopped early; rungs 1: 0 of 0 went on, 2: 0 of 0 ...'
    """

    _rule = PredictiveStopping
    _name = "Predictive termination"
    _by_rank = "stops"


class FreezeThawScheduler(_ForecastingScheduler):
    """Gives each free slot to the trial, old or new, that gains most per second.

    Whenever a trial's resource has doubled it is paused, unless it is itself the one that should
    have its slot. A Gaussian process over configurations and learning curves forecasts the value of
    every paused trial at `max_t` (`raytuner.bayes.Forecaster`). The gain is the expected
    improvement over the best trial that has completed or runs, divided by the seconds that the
    trial still needs. These include a start (the median of the recent ones, as measured), except
    for the trial that holds the slot: where starts take long, it pauses less often. The next new
    configuration is compared by the same measure, so one more epoch of an old trial is weighed
    against a new one. A trial with hardly a chance (0.1 %) ends. When no new configuration will
    come, paused trials go on while their chance to be the best is at least `least_chance`.

    Beside `BoTorchSearch` it forecasts from the searcher's record, and lets all trials go on until
    `d + 1` of them (at least 5) have reported. Beside a searcher without a record it promotes by
    rank, the better half at each doubling, as `ASHAScheduler(variant="promotion")` does, and logs a
    warning.

    Trials must be able to continue where they were: a class must define `save_checkpoint` and
    `load_checkpoint`; a function must pass a checkpoint to `tune.report` at each doubling, and
    begin from `tune.get_checkpoint()`.

    Source: K. Swersky, J. Snoek and R. Adams (2014), "Freeze-Thaw Bayesian Optimization",
    arXiv:1406.3896; see `raytuner.halving.FreezeThaw` for what is different here.

    See `PredictiveTerminationScheduler` for arguments and their defaults. No trial is paused before
    `grace_period`.

    Raises:
        SettingError: A number is out of its range.
        MetricError: metric, mode or time_attr cannot be one.
        TrainableError: A trial is to be paused and cannot save checkpoints.

    Note:
        A forecast is computed on Ray's event loop: some hundredths of a second each, and longer
        when hyperparameters are drawn: a tenth of a second, and up to a second for the first.

    Example:
        >>> FreezeThawScheduler(max_t=4).debug_string()  # doctest: +ELLIPSIS
        'Freeze-thaw: 0 trials paused, 0 trials stopped early; rungs 1: 0 of 0 went on, 2: ...'
    """

    _rule = FreezeThaw
    _name = "Freeze-thaw"
    _by_rank = "promotes"

    @property
    def start_s(self) -> float:
        """The seconds of a start of a trial: the median of the recent ones; 0 at first."""
        return self._starts.median_s

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: Mapping[str, Any]) -> str:
        """Decide whether a trial goes on; see `RuleScheduler.on_trial_result`."""
        seconds, t = result.get(_SECONDS), result.get(self.time_attr)
        if isinstance(seconds, int | float) and isinstance(t, int | float) and min(seconds, t) > 0:
            self._seconds[trial.trial_id] = seconds / t * self.max_t
        self._starts.report(tune_controller, trial.trial_id, result)
        self._reporting = trial.trial_id
        decision = super().on_trial_result(tune_controller, trial, result)
        self._reporting = None
        return decision

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        """Return the trial to run next; see `RuleScheduler.choose_trial_to_run`."""
        self._starts.look(tune_controller, self._slots.pending())
        return super().choose_trial_to_run(tune_controller)

    def _foresee(
        self, forecaster: Forecaster, history: History, trial_ids: Sequence[str]
    ) -> Prospects | None:
        newcomer = self._slots.first_pending()
        return forecaster.outlook(
            history.snapshot(),
            trial_ids,
            newcomer=None if newcomer is None else newcomer.trial_id,
            is_last=self._nothing_new and newcomer is None,
            seconds=self._seconds,
            start_s=self.start_s,
            in_slot=self._reporting,
        )
