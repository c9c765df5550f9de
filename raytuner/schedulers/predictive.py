"""Early stopping by forecasts of learning curves, as a Ray Tune scheduler."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from ray.tune.experiment import Trial

from raytuner.bayes import Forecaster
from raytuner.errors import MetricError
from raytuner.halving import PredictiveStopping
from raytuner.schedulers.base import JudgingScheduler, Metric
from raytuner.schedulers.partner import CurveKeeper, innermost_searcher

logger = logging.getLogger(__name__)


class PredictiveTerminationScheduler(JudgingScheduler):
    """Stops a trial when it will hardly be the best at ``max_t``, by its curve and the others'.

    Whenever a trial's resource has doubled, a Gaussian process over configurations and learning
    curves forecasts its value at ``max_t`` with its uncertainty (`raytuner.bayes.Forecaster`). A
    trial whose chance to beat the best of the others is below ``least_chance`` ends. Where an early
    value says little about the final one, the forecast knows: few trials are stopped then, while
    successive halving stops its share at every rung. Beside `BoTorchSearch` it needs no wiring: it
    forecasts from the record that the searcher keeps, and stops none until ``d + 1`` trials (at
    least 5) have reported. Beside a searcher without such a record it stops by rank, the worse half
    at each doubling; it warns of that, and the reasons of the trials that it stopped say it.

    The criterion is that of T. Domhan et al. (2015), "Speeding Up Automatic Hyperparameter
    Optimization of Deep Neural Networks by Extrapolation of Learning Curves", IJCAI.

    Args:
        time_attr: Key of a report that says how much resource `t` the trial has spent; it must
            grow. Defaults to `training_iteration`, which Ray counts.
        metric: Key of the objective. Defaults to the Tuner's, or to the searcher's.
        mode: `"min"` or `"max"`. Defaults likewise.
        max_t: A trial's full resource, in units of `time_attr`. A trial that reaches it is
            complete and ends. Defaults to 100.
        grace_period: No trial is stopped before this much resource. Same units. Defaults to 1.
        least_chance: A trial with a lower chance to be the best is stopped; in [0, 1). Defaults
            to 0.05.

    Raises:
        SettingError: If a number is outside of what it may be.
        MetricError: If metric, mode or time_attr cannot be one.

    Note:
        A forecast is computed where Ray asks for the decision, on its event loop: about a hundredth
        of a second each, and longer when the surrogate's hyperparameters are fitted again.

    Example:
        >>> PredictiveTerminationScheduler(max_t=4).debug_string()  # doctest: +ELLIPSIS
        'Predictive termination: 0 trials stopped early; rungs 1: 0 of 0 went on, 2: 0 of 0 ...'
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
        self._halving = PredictiveStopping(
            least_chance=least_chance, grace_period=grace_period, max_t=max_t
        )
        self._searcher: CurveKeeper | None = None
        self._result: Mapping[str, Any] = {}  # that is being judged
        self._forecaster: Forecaster | None = None
        self._warned = False
        super().__init__(
            self._halving,
            name="Predictive termination",
            time_attr=time_attr,
            metric=metric,
            mode=mode,
        )

    @property
    def halving(self) -> PredictiveStopping:
        """Rungs and verdicts, to read. With mode `"min"` its values are negated."""
        return self._halving

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        """Take a trial up; see `JudgingScheduler.on_trial_add`."""
        searcher = innermost_searcher(tune_controller)
        if isinstance(searcher, CurveKeeper):
            self._searcher, self._halving.predict = searcher, self._chance
        elif not self._warned:
            self._warned = True
            logger.warning(
                "PredictiveTerminationScheduler stops trials by rank: %s keeps no record to "
                "forecast from; BoTorchSearch does.",
                type(searcher).__name__,
            )
        super().on_trial_add(tune_controller, trial)
        goal = self._required_goal()
        if goal.n_objectives > 1 or goal.constraints:
            raise MetricError(
                "PredictiveTerminationScheduler forecasts one objective without constraints, and"
                f" the search is after {', '.join(goal.metrics)}; ASHAScheduler takes several"
            )

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: Mapping[str, Any]) -> str:
        """Decide whether a trial goes on; see `JudgingScheduler.on_trial_result`."""
        self._result = result
        return super().on_trial_result(tune_controller, trial, result)

    def _chance(self, trial_id: str) -> float | None:
        """See `raytuner.halving.predictive.Predict`."""
        assert self._searcher is not None
        t, _ = self._read(self._result)
        space, snapshot = self._searcher.curves_with(trial_id, t, self._metrics(self._result))
        if self._forecaster is None:
            self._forecaster = Forecaster(space)
        forecast = self._forecaster(snapshot, trial_id)
        return None if forecast is None else forecast.chance
