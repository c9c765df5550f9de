"""Pausing and resuming by forecasts of learning curves, as a Ray Tune scheduler."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ray.tune.experiment import Trial

from raytuner.bayes import Outlook
from raytuner.halving import FreezeThaw
from raytuner.schedulers.base import Metric
from raytuner.schedulers.forecasting import ForecastingScheduler

_SECONDS = "time_total_s"  # in every report, by Ray


class FreezeThawScheduler(ForecastingScheduler):
    """Gives each free slot to the trial, old or new, that promises most per second.

    Whenever a trial's resource has doubled it is paused, unless it is itself the one that should
    have its slot. A Gaussian process over configurations and learning curves forecasts what every
    paused trial will come to at ``max_t`` (`raytuner.bayes.Forecaster`); what counts is the
    expected improvement over the best that has completed or runs, divided by the seconds that the
    trial still needs. The next new configuration is held against them by the same measure: so one
    more epoch of an old trial is weighed against a new one. A trial with hardly a chance (0.1 %)
    ends. When no new configuration will come, paused trials go on while their chance to be the best
    is at least ``least_chance``.

    Beside `BoTorchSearch` it needs no wiring: it forecasts from the record that the searcher keeps,
    and lets all trials go on until ``d + 1`` of them (at least 5) have reported. Beside a searcher
    without such a record it promotes by rank, the better half at each doubling, as
    ``ASHAScheduler(type="promotion")`` does, and warns of that.

    Trials must be able to go on where they were: a class must define `save_checkpoint` and
    `load_checkpoint`; a function must pass a checkpoint to `tune.report` at each doubling, and
    begin from `tune.get_checkpoint()`.

    Sources: K. Swersky, J. Snoek and R. Adams (2014), "Freeze-Thaw Bayesian Optimization",
    arXiv:1406.3896; see `raytuner.halving.FreezeThaw` for what is different here.

    Args:
        time_attr: Key of a report that says how much resource `t` the trial has spent; it must
            grow. Defaults to `training_iteration`, which Ray counts.
        metric: Key of the objective. Defaults to the Tuner's, or to the searcher's.
        mode: `"min"` or `"max"`. Defaults likewise.
        max_t: A trial's full resource, in units of `time_attr`. A trial that reaches it is
            complete and ends. Defaults to 100.
        grace_period: No trial is paused before this much resource. Same units. Defaults to 1.
        least_chance: See above; in [0, 1). Defaults to 0.05.

    Raises:
        SettingError: If a number is outside of what it may be.
        MetricError: If metric, mode or time_attr cannot be one.
        TrainableError: When a trial is to be paused and cannot save checkpoints.

    Note:
        A forecast is computed where Ray asks for the decision, on its event loop: some hundredths
        of a second each, and longer when the surrogate's hyperparameters are fitted again.

    Example:
        >>> FreezeThawScheduler(max_t=4).debug_string()  # doctest: +ELLIPSIS
        'Freeze-thaw: 0 trials paused, 0 trials stopped early; rungs 1: 0 of 0 went on, 2: ...'
    """

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
        self._halving = FreezeThaw(
            least_chance=least_chance, grace_period=grace_period, max_t=max_t
        )
        self._seconds: dict[str, float] = {}  # of a full training, by what was seen of each
        self._nothing_new = False
        super().__init__(
            self._halving,
            by_rank="promotes",
            name="Freeze-thaw",
            time_attr=time_attr,
            metric=metric,
            mode=mode,
        )

    @property
    def halving(self) -> FreezeThaw:
        """Rungs and verdicts, to read. With mode `"min"` its values are negated."""
        return self._halving

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: Mapping[str, Any]) -> str:
        """Decide whether a trial goes on; see `JudgingScheduler.on_trial_result`."""
        seconds, t = result.get(_SECONDS), result.get(self._time_attr)
        if isinstance(seconds, int | float) and isinstance(t, int | float) and min(seconds, t) > 0:
            self._seconds[trial.trial_id] = seconds / t * self.max_t
        return super().on_trial_result(tune_controller, trial, result)

    def _pause(self, tune_controller: Any, trial: Trial, result: Mapping[str, Any]) -> str:
        self._nothing_new = tune_controller.search_alg.is_finished()
        return super()._pause(tune_controller, trial, result)

    def _free_slot(self, tune_controller: Any, trial: Trial) -> None:
        self._nothing_new = tune_controller.search_alg.is_finished()
        super()._free_slot(tune_controller, trial)

    def _next_to_run(self, tune_controller: Any) -> Trial | None:
        self._nothing_new = True  # the searcher was asked just now, unless a trial is pending
        return super()._next_to_run(tune_controller)

    def _begin_to_forecast(self) -> None:
        self._halving.foresee = self._outlook

    def _outlook(self, trial_ids: Sequence[str]) -> Outlook | None:
        """See `raytuner.halving.freeze_thaw.Foresee`."""
        forecaster, snapshot = self._known()
        newcomer = self._slots.first_pending()
        return forecaster.outlook(
            snapshot,
            trial_ids,
            newcomer=None if newcomer is None else newcomer.trial_id,
            is_last=self._nothing_new and newcomer is None,
            seconds=self._seconds,
        )
