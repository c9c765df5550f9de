"""A record of any Ray Tune experiment, whoever searches and schedules in it."""

from __future__ import annotations

from typing import Any, Literal

from ray.tune import Callback
from ray.tune.experiment import Trial

from raytuner.history import History, TrialState
from raytuner.search.tune_space import space_from_tune


class Watch(Callback):
    """Writes down what Ray's own callbacks tell, so that two searches are counted the same way.

    Args:
        param_space: The experiment's search space.
        metric: Name of the objective.
        mode: "min" or "max".
        max_t: A trial's full resource.
    """

    def __init__(
        self, param_space: dict[str, Any], metric: str, mode: Literal["min", "max"], max_t: int
    ) -> None:
        self.history = History(space_from_tune(param_space), metric=metric, mode=mode, max_t=max_t)
        self._max_t = max_t

    def on_trial_start(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        """A trial starts; a retry starts again."""
        self._add(trial)

    def on_trial_result(
        self,
        iteration: int,
        trials: list[Trial],
        trial: Trial,
        result: dict[str, Any],
        **info: Any,
    ) -> None:
        """A trial reports."""
        self.history.report(
            trial.trial_id, result["training_iteration"], result[self.history.metric]
        )

    def on_trial_complete(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        """A trial ends, by itself or since it was stopped."""
        full = self.history[trial.trial_id].t >= self._max_t
        self.history.end(trial.trial_id, TrialState.COMPLETED if full else TrialState.STOPPED_EARLY)

    def on_trial_error(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        """A trial fails, perhaps before it started."""
        self._add(trial)
        self.history.end(trial.trial_id, TrialState.FAILED)

    def _add(self, trial: Trial) -> None:
        if trial.trial_id not in self.history:
            self.history.add(trial.trial_id, trial.config)

    def close(self) -> None:
        """The experiment is over: what still ran was cut at the end of the time budget."""
        for trial_id in self.history.live():
            reported = self.history.last(trial_id) is not None
            self.history.end(trial_id, TrialState.STOPPED_EARLY if reported else TrialState.REMOVED)
