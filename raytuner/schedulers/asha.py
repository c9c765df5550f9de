"""Asynchronous successive halving as a Ray Tune scheduler."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.result import DEFAULT_METRIC
from ray.tune.schedulers import FIFOScheduler

from raytuner.errors import HistoryError, MetricError, SettingError
from raytuner.halving import Action, SuccessiveHalving
from raytuner.ray_report import read_number
from raytuner.schedulers.partner import RecordKeeper, SearchPartner, find_partner

logger = logging.getLogger(__name__)

_STATE_VERSION = 1


class ASHAScheduler(FIFOScheduler):
    """Stops trials that are not among the best at a rung (ASHA, the stopping variant).

    Takes the place of `ray.tune.schedulers.ASHAScheduler`. Beside a searcher of this package it
    tells it which trials were stopped early and why; it works with any other searcher too. How
    trials are ranked, and what becomes of NaN and of resources that skip a rung, is described at
    `raytuner.halving.SuccessiveHalving` (Li et al. 2020, arXiv:1810.05934).

    Args:
        time_attr: Key of a report that says how much resource `t` the trial has spent; it must
            grow. Defaults to `training_iteration`, which Ray counts; `time_total_s` (seconds) is
            there too, or report your own.
        metric: Key of the objective. Defaults to the Tuner's.
        mode: `"min"` or `"max"`. Defaults to the Tuner's.
        max_t: A trial's full resource, in units of `time_attr`. A trial that reaches it is
            complete and ends. Defaults to 100.
        grace_period: No trial is stopped before this much resource; the first rung. Same units.
            Defaults to 1.
        reduction_factor: About 1 in this many trials goes on at each rung, and the next rung is
            this many times further. A whole number of at least 2; defaults to 3.
        brackets: How many brackets; bracket b leaves out the b lowest rungs. Defaults to 1.
        type: Only `"stopping"` exists in this release.
        seed: Seeds the draw of brackets; None, the default, draws differently each time.

    Raises:
        SettingError: If a number or `type` is outside of what it may be.
        MetricError: If metric, mode or time_attr cannot be one.

    Note:
        One report without the metric fails that trial alone here, once any trial has reported a
        valid one. Ray looks before we do and aborts the whole experiment, unless the environment
        variable `TUNE_DISABLE_STRICT_METRIC_CHECKING` is 1.

    Example:
        >>> ASHAScheduler(metric="loss", mode="min", max_t=9).debug_string()
        'ASHA (stopping): 0 trials stopped early; rungs 1: 0 of 0 went on, 3: 0 of 0 went on'
    """

    # A buffered trial runs on past a rung before anyone has looked.
    _supports_buffered_results = False

    def __init__(
        self,
        time_attr: str = "training_iteration",
        metric: str | None = None,
        mode: str | None = None,
        max_t: float = 100,
        grace_period: float = 1,
        reduction_factor: int = 3,
        brackets: int = 1,
        *,
        type: str = "stopping",
        seed: int | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        if type != "stopping":
            raise SettingError(
                f"type={type!r} does not exist in this release of raytuner; "
                f"the only one is type='stopping'"
            )
        self._time_attr = _key("time_attr", time_attr)
        self._metric = None if metric is None else _key("metric", metric)
        self._mode = None if mode is None else _known_mode(mode)
        self._halving = SuccessiveHalving(
            grace_period, max_t, reduction_factor, brackets, seed=seed
        )
        # Until one report has been valid, a bad one is taken for a wrong name, not for a bad trial.
        self._heard_valid = False

    @property
    def halving(self) -> SuccessiveHalving:
        """Rungs and verdicts, to read. With mode `"min"` its values and cut-offs are negated."""
        return self._halving

    def set_search_properties(self, metric: str | None, mode: str | None, **spec: Any) -> bool:
        """Take metric and mode from the Tuner.

        Args:
            metric: The Tuner's metric, or None.
            mode: The Tuner's mode, or None.
            **spec: What Ray says of the experiment; not needed.

        Returns:
            False if metric or mode is given both here and to the scheduler (Ray then says so).

        Raises:
            MetricError: If one of them cannot be one, or there is a metric and no mode.
        """
        if (self._metric and metric) or (self._mode and mode):
            return False
        if metric is not None:
            self._metric = _key("metric", metric)
        if mode is not None:
            self._mode = _known_mode(mode)
        if self._metric is None and self._mode is not None:
            self._metric = DEFAULT_METRIC  # a function that returns a bare number
        if self._metric is not None:
            self._objective()  # a metric without a mode is an error already here
        return True

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        """Give a trial its bracket, and the searcher the schedule. A retry comes here again.

        Args:
            tune_controller: Ray's controller.
            trial: The trial; one already known keeps its bracket and its verdicts.

        Raises:
            MetricError: If no metric or no mode has been given by now.
        """
        self._objective()
        self._halving.add(trial.trial_id)
        if (partner := find_partner(tune_controller)) is not None:
            partner.join_schedule(time_attr=self._time_attr, max_t=self._halving.max_t)
            if not self._heard_valid:
                self._catch_up(partner)

    def _catch_up(self, partner: SearchPartner) -> None:
        """Judge what was reported before this process began: Ray saves no scheduler's state.

        In the order of the reports, so that each trial gets the verdict that it got then (with
        several brackets, a trial's is drawn anew).
        """
        if isinstance(partner, RecordKeeper):
            _, sign = self._objective()
            for trial_id, t, value in partner.reports():
                self._heard_valid = True
                if t < self._halving.max_t:
                    self._halving.judge(trial_id, t, sign * value)

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: Mapping[str, Any]) -> str:
        """Decide whether a trial goes on.

        Args:
            tune_controller: Ray's controller.
            trial: The trial that reports.
            result: Its report, flattened.

        Returns:
            `CONTINUE` or `STOP`: at `max_t`, by its rank, or since the report cannot be used.

        Raises:
            MetricError: If the report has no valid metric or `time_attr`, and no report of this
                experiment ever had.
        """
        metric, sign = self._objective()
        try:
            value = sign * read_number(result, metric, role="metric")
            t = read_number(result, self._time_attr, role="time_attr", finite=True)
        except MetricError as error:
            if not self._heard_valid:
                raise
            logger.warning("Trial %s has failed: %s.", trial.trial_id, error)
            if (partner := find_partner(tune_controller)) is not None:
                partner.on_trial_invalid(trial.trial_id, str(error))
            return self.STOP
        self._heard_valid = True
        if t >= self._halving.max_t:
            return self.STOP
        verdict = self._halving.judge(trial.trial_id, t, value)
        if verdict is None or verdict.action is Action.CONTINUE:
            return self.CONTINUE
        if (partner := find_partner(tune_controller)) is not None:
            partner.on_trial_stopped(trial.trial_id, verdict.reason)
        return self.STOP

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        """The first trial that waits to start.

        A paused one is never resumed, unlike by Ray's FIFO: this scheduler pauses none, so whoever
        paused it has it in hand.
        """
        trials = tune_controller.get_trials()
        return next((trial for trial in trials if trial.status == Trial.PENDING), None)

    def debug_string(self) -> str:
        """One line on how many trials were stopped, and how many went on at each rung."""
        rungs = self._halving.rungs
        stopped = sum(rung.recorded - rung.went_on for rung in rungs)
        many = any(rung.bracket for rung in rungs)
        each = ", ".join(
            f"{f'bracket {rung.bracket} ' if many else ''}{rung.level}: "
            f"{rung.went_on} of {rung.recorded} went on"
            for rung in rungs
        )
        return f"ASHA (stopping): {stopped} trials stopped early; rungs {each or 'none'}"

    def state_dict(self) -> dict[str, Any]:
        """Everything decided so far, as plain data that `json` can write.

        Ray never saves a scheduler's state: whoever keeps the record of the search keeps this.
        """
        return {
            "version": _STATE_VERSION,
            **self._identity(),
            "heard_valid": self._heard_valid,
            "halving": self._halving.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state that `state_dict` gave.

        Args:
            state: The state, of a scheduler with the same settings. Metric and mode must be known
                by now, since values are kept with the sign of the mode.

        Raises:
            HistoryError: If the state cannot be read. Nothing has changed then.
            SettingError: If it was saved with other settings. Nothing has changed then.
        """
        try:
            version, halving = state["version"], state["halving"]
            saved = {name: state[name] for name in self._identity()}
            heard_valid = bool(state["heard_valid"])
        except (KeyError, TypeError) as error:
            raise HistoryError(
                f"the saved state of ASHAScheduler cannot be read ({error!r}); "
                f"it must be what state_dict() gave"
            ) from error
        if version != _STATE_VERSION:
            raise HistoryError(
                f"the saved state of ASHAScheduler has version {version!r}; this release of "
                f"raytuner reads version {_STATE_VERSION}"
            )
        if saved != self._identity():
            raise SettingError(
                f"the state of ASHAScheduler was saved with {saved}, this one has "
                f"{self._identity()}; go on with the settings it was saved with"
            )
        self._halving.load_state_dict(halving)
        self._heard_valid = heard_valid

    def save(self, checkpoint_path: str) -> None:
        """Write the state to a file, as JSON."""
        Path(checkpoint_path).write_text(json.dumps(self.state_dict()), encoding="utf-8")

    def restore(self, checkpoint_path: str) -> None:
        """Read the state from a file that `save` wrote; raises as `load_state_dict` does."""
        try:
            state = json.loads(Path(checkpoint_path).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise HistoryError(
                f"the state of ASHAScheduler cannot be read from {checkpoint_path!r}: {error}"
            ) from error
        self.load_state_dict(state)

    def _objective(self) -> tuple[str, int]:
        """The metric, and what its value is multiplied with so that larger is better."""
        if self._metric is None or self._mode is None:
            raise MetricError(
                f"ASHAScheduler has metric={self._metric!r} and mode={self._mode!r}; give both, "
                f"mode as 'min' or 'max', to tune.TuneConfig or to the scheduler"
            )
        return self._metric, 1 if self._mode == "max" else -1

    def _identity(self) -> dict[str, Any]:
        """The settings without which recorded values mean something else."""
        return {
            "time_attr": self._time_attr,
            "metric": self._metric,
            "mode": self._mode,
            "max_t": self._halving.max_t,
        }


def _key(name: str, value: object) -> str:
    if isinstance(value, str) and value:
        return value
    raise MetricError(f"{name}={value!r} is not the name of one key of a report (a str)")


def _known_mode(value: object) -> str:
    if isinstance(value, str) and value in ("min", "max"):
        return value
    raise MetricError(f"mode={value!r} is unknown; it must be 'min' or 'max'")
