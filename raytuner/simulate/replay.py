"""Replay a recorded study: its trials' measured curves and durations."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from raytuner.errors import HistoryError
from raytuner.history import History, Trial, TrialState
from raytuner.history.snapshot import FloatArray, IntArray
from raytuner.simulate.actors import COUNTED
from raytuner.simulate.inputs import Curve

# A gap between two reports this many times the usual one was a pause, a retry or a lost driver.
_INTERRUPTION = 10.0
# The share of trials that did not wait for a free worker before their first report.
_UNDELAYED = 0.1


class _Recorded(NamedTuple):
    """A recorded trial of `n` reports."""

    state: TrialState
    steps: FloatArray  # resources at which it reported, ascending
    reports: FloatArray  # `n x m` values of the metrics
    seconds: FloatArray  # of training before each report


class Replay:
    """An objective that replays a record.

    A recorded configuration gets the curve and durations of its own trial. Any other configuration
    gets those of the nearest recorded trial, including failures. Distances are Euclidean, in the
    unit cube.

    If a trial was stopped early but is not stopped now, its curve continues like the curve of the
    nearest completed trial, shifted to match and no better than that curve. Its units take their
    median duration. If no trial completed, its curve stays level. All metrics of the search's goal
    are replayed, except the seconds that Ray counts itself.

    Attributes:
        startup_s: Estimated seconds from getting a worker to the start of training.
        borrowed: Number of trials that got the curve of another trial.

    Raises:
        HistoryError: The record has no reports.
    """

    def __init__(self, history: History) -> None:
        trials = [trial for trial in history.trials if trial.values]
        if not trials:
            raise HistoryError(
                "the record has no reports to predict from; run at least a few trials first"
            )
        self.history = history
        self.borrowed = 0
        first, *further = history.goal.metrics
        self._metrics = [first, *(metric for metric in further if metric not in COUNTED)]
        self._points = history.space.encode([trial.config for trial in trials])
        gaps = [np.diff(one.reported_at).clip(min=0.0) for one in trials]
        waits = [one.reported_at[0] - one.proposed_at for one in trials]
        every = np.concatenate(gaps)
        usual = float(np.median(every)) if every.size else _undelayed(waits)
        self._recorded = [
            self._read(one, between, usual) for one, between in zip(trials, gaps, strict=True)
        ]
        starts = [w - one.seconds[0] for w, one in zip(waits, self._recorded, strict=True)]
        # A start is part of the seconds of a trial's only report.
        self.startup_s = _undelayed(starts) if every.size else 0.0

    def __call__(self, config: Mapping[str, Any]) -> Curve:
        """Return the curve of a configuration."""
        point = self.history.space.encode([dict(config)])[0]
        distances = ((self._points - point) ** 2).sum(axis=1)
        nearest = np.argsort(distances, kind="stable")
        recorded = self._recorded[nearest[0]]
        self.borrowed += int(distances[nearest[0]] > 0)
        steps, reports, fails_at = recorded.steps, recorded.reports, None
        if recorded.state is TrialState.FAILED and math.isfinite(reports[-1, 0]):
            fails_at = len(steps) + 1
            steps, reports = np.append(steps, steps[-1] + 1), np.vstack([reports, reports[-1:]])
        elif recorded.state is not TrialState.COMPLETED:
            later_steps, later_reports = self._after(recorded, nearest)
            steps = np.concatenate([steps, later_steps])
            reports = np.vstack([reports, later_reports])
        time_attr, later = self.history.time_attr, len(steps) - len(recorded.seconds)
        return Curve(
            [
                # `training_iteration` is an int, as Ray counts it.
                {
                    **dict(zip(self._metrics, row, strict=True)),
                    time_attr: int(t) if t.is_integer() else t,
                }
                for t, row in zip(steps.tolist(), reports.tolist(), strict=True)
            ],
            seconds=[*recorded.seconds.tolist(), *[float(np.median(recorded.seconds))] * later],
            fails_at=fails_at,
        )

    def _read(self, trial: Trial, gaps: FloatArray, usual: float) -> _Recorded:
        """Read a trial; the seconds of its first report cannot be told from the wait before it."""
        typical = float(np.median(gaps)) if gaps.size else usual
        longest = _INTERRUPTION * typical or math.inf
        further = (dict(trial.others.get(metric, ())) for metric in self._metrics[1:])
        curves = [dict(trial.values), *further]
        return _Recorded(
            state=trial.state,
            steps=np.array([float(t) for t, _ in trial.values]),
            reports=np.array([[one.get(t, math.nan) for one in curves] for t, _ in trial.values]),
            seconds=np.array([typical, *np.where(gaps > longest, typical, gaps)]),
        )

    def _after(self, recorded: _Recorded, nearest: IntArray) -> tuple[FloatArray, FloatArray]:
        """Return the steps and reports that let a curve continue to the full resource."""
        last_t, last = recorded.steps[-1], recorded.reports[-1]
        for donor in (self._recorded[row] for row in nearest):
            # A donor that was stopped itself would leave the curve without an end.
            if donor.state is TrialState.COMPLETED and donor.steps[-1] > last_t:
                is_later = donor.steps > last_t
                then = [np.interp(last_t, donor.steps, column) for column in donor.reports.T]
                later = donor.reports[is_later]
                gained = last + later - then
                # No better than the donor, which may have begun far behind and gained much.
                for goal in self.history.goal.objectives:
                    if goal.metric in self._metrics:
                        column = self._metrics.index(goal.metric)
                        best, cap = (np.maximum, np.minimum)[:: 1 if goal.mode == "max" else -1]
                        limit = best(last[column], later[:, column])
                        gained[:, column] = cap(gained[:, column], limit)
                return donor.steps[is_later], gained
        full = self.history.max_t or self.history.largest_t
        steps = np.array([*np.arange(last_t + 1, full), full] if last_t < full else [])
        return steps, np.tile(last, (len(steps), 1))


def _undelayed(seconds: list[float]) -> float:
    return max(0.0, float(np.quantile(seconds, _UNDELAYED)))
