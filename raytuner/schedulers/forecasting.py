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
    """Return whether trials can be forecast for a goal: one objective without constraints."""
    return goal.n_objectives == 1 and not goal.constraints


class _ForecastingScheduler(RuleScheduler):
    """Decides by forecasts from the searcher's table, or by rank if the searcher has none."""

    rule: PredictiveStopping | FreezeThaw
    _rule: type[PredictiveStopping] | type[FreezeThaw]
    _name: str
    _by_rank: str  # the action without forecasts, for a message

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
                f"{scheduler} forecasts a single objective without constraints, but this search has"
                f" {', '.join(goal.metrics)}; use ASHAScheduler instead"
            )
        if self._partner is not None:
            history = self._partner.history
            self.rule.foresee = partial(self._foresee, Forecaster(history.space), history)
            return
        self.rule.foresee = None
        logger.warning(
            "%s %s trials by rank: %s keeps no record to forecast from. BoTorchSearch does.",
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
    """Stops trials that will probably not become the best, by forecasting their learning curves.

    Each time a trial's resource has doubled, a Gaussian process over configurations and learning
    curves forecasts its value at `max_t`, with uncertainty (`raytuner.bayes.Forecaster`). The trial
    ends if its probability of beating the best of the other trials is below `least_chance`. If
    early values say little about the final value, forecasts are uncertain and few trials are
    stopped. Successive halving, in contrast, stops a fixed share at every rung.

    With `BoTorchSearch`, it forecasts from the searcher's record, and stops no trial until `d + 1`
    trials (at least 5) have reported. With a searcher that keeps no record, it stops the worse half
    of the trials at each doubling, and logs a warning.

    Source: T. Domhan et al. (2015), "Speeding Up Automatic Hyperparameter Optimization of Deep
    Neural Networks by Extrapolation of Learning Curves", IJCAI, for the criterion.

    Args:
        time_attr: See `ASHAScheduler`.
        metric: Key of the objective. None: the Tuner's, or else the searcher's.
        mode: `"min"` or `"max"`. None: the Tuner's, or else the searcher's.
        max_t: A trial's full resource, in units of `time_attr`.
        grace_period: Resource before which no trial is stopped, in units of `time_attr`.
        least_chance: A trial with a lower probability of becoming the best is stopped; in [0, 1).

    Raises:
        SettingError: A number is out of range.
        MetricError: `metric`, `mode` or `time_attr` is invalid.

    Note:
        Forecasts are computed in Ray's event loop and take some hundredths of a second each. If
        the hyperparameters of the process are drawn, this takes a tenth of a second, and up to a
        second the first time.

    Examples:
        >>> PredictiveTerminationScheduler(max_t=4).debug_string()  # doctest: +ELLIPSIS
        'Predictive termination: 0 trials stopped early; rungs 1: 0 of 0 continued, 2: 0 of 0 ...'
    """

    _rule = PredictiveStopping
    _name = "Predictive termination"
    _by_rank = "stops"


class FreezeThawScheduler(_ForecastingScheduler):
    """Pauses trials, and resumes those with the largest expected improvement per second.

    Each time a trial's resource has doubled, the scheduler decides who gets its slot: this trial, a
    paused trial, or a new one. A Gaussian process over configurations and learning curves forecasts
    the value of every paused trial at `max_t` (`raytuner.bayes.Forecaster`). The score of a trial
    is its expected improvement over the best completed or running trial, divided by the seconds
    that it still needs. These include the measured time of a start (the median of recent ones),
    except for the trial that holds the slot. So trials pause less often if starts take long. The
    next new configuration is scored in the same way. A trial with almost no chance (0.1 %) of
    becoming the best ends. When no new configuration will come, paused trials continue as long as
    this chance is at least `least_chance`.

    With `BoTorchSearch`, it forecasts from the searcher's record, and pauses no trial until `d + 1`
    of them (at least 5) have reported. With a searcher that keeps no record, it promotes
    the better half at each doubling, like `ASHAScheduler(variant="promotion")`, and logs a warning.

    Trials must be able to resume. A class must define `save_checkpoint` and `load_checkpoint`. A
    function must pass a checkpoint to `tune.report` at each doubling, and start from
    `tune.get_checkpoint()`.

    The arguments are those of `PredictiveTerminationScheduler`. No trial is paused before
    `grace_period`.

    Source: K. Swersky, J. Snoek and R. Adams (2014), "Freeze-Thaw Bayesian Optimization",
    arXiv:1406.3896. `raytuner.halving.FreezeThaw` lists the differences.

    Raises:
        SettingError: A number is out of range.
        MetricError: `metric`, `mode` or `time_attr` is invalid.
        TrainableError: A trial has to be paused but cannot save checkpoints.

    Note:
        Forecasts are computed in Ray's event loop and take some hundredths of a second each. If
        the hyperparameters of the process are drawn, this takes a tenth of a second, and up to a
        second the first time.

    Examples:
        >>> FreezeThawScheduler(max_t=4).debug_string()  # doctest: +ELLIPSIS
        'Freeze-thaw: 0 trials paused, 0 trials stopped early; rungs 1: 0 of 0 continued, 2: ...'
    """

    _rule = FreezeThaw
    _name = "Freeze-thaw"
    _by_rank = "promotes"

    @property
    def start_s(self) -> float:
        """Seconds to start a trial: the median of the recent starts; 0 at first."""
        return self._starts.median_s

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: Mapping[str, Any]) -> str:
        """Decide whether a trial continues; see `RuleScheduler.on_trial_result`."""
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
