"""What the schedulers share that decide by forecasts of learning curves."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from ray.tune.experiment import Trial

from raytuner.bayes import Forecaster
from raytuner.errors import MetricError
from raytuner.halving import Judge
from raytuner.history import Snapshot
from raytuner.schedulers.base import JudgingScheduler, Metric
from raytuner.schedulers.partner import CurveKeeper, innermost_searcher

logger = logging.getLogger(__name__)


class ForecastingScheduler(JudgingScheduler):
    """Forecasts from the record that the searcher beside it keeps; without one, goes by rank.

    Args:
        judge: Who decides.
        by_rank: What happens to trials where there is no record, in a few words.
        name, time_attr, metric, mode: See `JudgingScheduler`.
    """

    def __init__(
        self,
        judge: Judge,
        *,
        by_rank: str,
        name: str,
        time_attr: str,
        metric: Metric | None,
        mode: Metric | None,
    ) -> None:
        super().__init__(judge, name=name, time_attr=time_attr, metric=metric, mode=mode)
        self._by_rank = by_rank
        self._searcher: CurveKeeper | None = None
        self._report: tuple[str, Mapping[str, Any]] | None = None  # that is judged, and whose it is
        self._forecaster: Forecaster | None = None
        self._warned = False

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        """Take a trial up; see `JudgingScheduler.on_trial_add`."""
        searcher = innermost_searcher(tune_controller)
        if isinstance(searcher, CurveKeeper):
            self._searcher = searcher
            self._begin_to_forecast()
        elif not self._warned:
            self._warned = True
            logger.warning(
                "%s %s trials by rank: %s keeps no record to forecast from; BoTorchSearch does.",
                type(self).__name__,
                self._by_rank,
                type(searcher).__name__,
            )
        super().on_trial_add(tune_controller, trial)
        goal = self._required_goal()
        if goal.n_objectives > 1 or goal.constraints:
            raise MetricError(
                f"{type(self).__name__} forecasts one objective without constraints, and the search"
                f" is after {', '.join(goal.metrics)}; ASHAScheduler takes several"
            )

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: Mapping[str, Any]) -> str:
        """Decide whether a trial goes on; see `JudgingScheduler.on_trial_result`."""
        self._report = trial.trial_id, result
        try:
            return super().on_trial_result(tune_controller, trial, result)
        finally:
            self._report = None

    def _begin_to_forecast(self) -> None:
        """There is a record: the judge is to ask for forecasts."""
        raise NotImplementedError

    def _known(self) -> tuple[Forecaster, Snapshot]:
        """Who forecasts, and all that is known, the report that is judged in it."""
        assert self._searcher is not None
        report = None if self._report is None else self._read_metrics(self._report[1])
        if self._report is None or report is None:
            space, snapshot = self._searcher.curves()
        else:
            space, snapshot = self._searcher.curves_with(self._report[0], *report)
        self._forecaster = self._forecaster or Forecaster(space)
        return self._forecaster, snapshot
