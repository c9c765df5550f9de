"""Early stopping by forecasts of learning curves, as a Ray Tune scheduler."""

from __future__ import annotations

from raytuner.bayes import Forecaster
from raytuner.halving import PredictiveStopping
from raytuner.schedulers.active import ActiveScheduler
from raytuner.schedulers.forecasting import forecaster_for
from raytuner.schedulers.rule_scheduler import RuleScheduler
from raytuner.schedulers.settings import Metric


class PredictiveTerminationScheduler(RuleScheduler):
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
        A forecast is computed on Ray's event loop: about a hundredth of a second each, and longer
        when the surrogate's hyperparameters are fitted again.

    Example:
        >>> PredictiveTerminationScheduler(max_t=4).debug_string()  # doctest: +ELLIPSIS
        'Predictive termination: 0 trials stopped early; rungs 1: 0 of 0 went on, 2: 0 of 0 ...'
    """

    rule: PredictiveStopping

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
        rule = PredictiveStopping(least_chance=least_chance, grace_period=grace_period, max_t=max_t)
        self._forecaster: Forecaster | None = None
        super().__init__(
            rule, name="Predictive termination", time_attr=time_attr, metric=metric, mode=mode
        )

    def _begin(self, active: ActiveScheduler) -> None:
        self._forecaster = forecaster_for(active, type(self).__name__, "stops")
        self.rule.predict = None if self._forecaster is None else self._chance

    def _chance(self, trial_id: str) -> float | None:
        """See `raytuner.halving.predictive.Predict`."""
        assert self._active is not None
        assert self._active.partner is not None
        assert self._forecaster is not None
        forecast = self._forecaster(self._active.partner.history.snapshot(), trial_id)
        return None if forecast is None else forecast.chance
