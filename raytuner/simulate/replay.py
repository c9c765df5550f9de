"""Replay a recorded study: its trials' measured curves and durations."""

from __future__ import annotations

import math
from collections import defaultdict, deque
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt

from raytuner.errors import HistoryError
from raytuner.history import Goal, History, Trial, TrialState
from raytuner.simulate.objective import Curve
from raytuner.simulate.training import COUNTED

# A gap between two reports this many times the usual one was a pause, a retry or a lost driver.
_INTERRUPTION = 10.0
# The share of trials that did not wait for a free worker before their first report.
_UNDELAYED = 0.1


@dataclass(frozen=True)
class _Recorded:
    """A recorded trial: per report its resource, its metrics and the seconds of training before."""

    state: TrialState
    steps: tuple[float, ...]
    reports: tuple[dict[str, float], ...]
    seconds: tuple[float, ...]

    @classmethod
    def of(cls, trial: Trial, goal: Goal, gaps: list[float], usual: float) -> _Recorded:
        metric, *further = goal.metrics
        curves = {metric: dict(trial.values)}
        curves |= {name: dict(trial.others.get(name, ())) for name in further}
        typical = median(gaps) if gaps else usual
        longest = _INTERRUPTION * typical or math.inf
        seconds = [gap if gap <= longest else typical for gap in gaps]
        return cls(
            state=trial.state,
            steps=tuple(t for t, _ in trial.values),
            reports=tuple(
                {m: curve.get(t, math.nan) for m, curve in curves.items() if m not in COUNTED}
                for t, _ in trial.values
            ),
            # The first report's own training cannot be told from the wait before it.
            seconds=(typical, *seconds),
        )

    def at(self, t: float) -> dict[str, float]:
        """Return the metrics at `t`, interpolated between two reports."""
        columns = {
            metric: [report[metric] for report in self.reports] for metric in self.reports[0]
        }
        return {metric: float(np.interp(t, self.steps, y)) for metric, y in columns.items()}


class Replay:
    """An objective that returns what a record holds.

    A recorded configuration gets its own trial's curve and durations; if it was tried several
    times, one after another. Any other gets those of the recorded trial that is nearest in the
    encoded space (Euclidean distance in the unit cube), failures included. Where a trial was
    stopped early and is not stopped now, its curve continues as that of the nearest recorded trial
    that completed, shifted to meet it and no better than that one (or stays level, if none did), at
    its own median seconds. All metrics of the search's goal are replayed, except the seconds that
    Ray counts itself.

    Args:
        history: The record.

    Attributes:
        startup_s: Seconds from getting a worker to the start of training, as estimated.
        own: Trials that got their own record.
        borrowed: Trials that got another's.

    Raises:
        HistoryError: Nothing was ever reported.
    """

    def __init__(self, history: History) -> None:
        trials = [trial for trial in history.trials if trial.values]
        if not trials:
            raise HistoryError(
                "the record holds no report at all: there is nothing to predict from; run at least"
                " a few trials first"
            )
        self.history = history
        self.own = self.borrowed = 0
        times = [history.report_times()[trial.trial_id] for trial in trials]
        gaps = [
            [max(0.0, at[after] - at[before]) for (before, _), (after, _) in pairwise(trial.values)]
            for trial, at in zip(trials, times, strict=True)
        ]
        waits = [
            at[trial.values[0][0]] - trial.proposed_at
            for trial, at in zip(trials, times, strict=True)
        ]
        every = [gap for of_one in gaps for gap in of_one]
        usual = median(every) if every else _undelayed(waits)
        self._recorded = [
            _Recorded.of(trial, history.goal, of_one, usual)
            for trial, of_one in zip(trials, gaps, strict=True)
        ]
        # A start is part of the seconds of a trial's only report.
        self.startup_s = (
            _undelayed([w - one.seconds[0] for w, one in zip(waits, self._recorded, strict=True)])
            if every
            else 0.0
        )
        self._points = history.space.encode([trial.config for trial in trials])
        self._rows: dict[bytes, deque[int]] = defaultdict(deque)
        for row, point in enumerate(self._points):
            self._rows[point.tobytes()].append(row)

    def __call__(self, config: Mapping[str, Any]) -> Curve:
        """Return the curve of a configuration."""
        point = self.history.space.encode([dict(config)])[0]
        nearest = np.argsort(((self._points - point) ** 2).sum(axis=1), kind="stable")
        rows = self._rows.get(point.tobytes())
        if rows is None:
            self.borrowed += 1
            recorded = self._recorded[nearest[0]]
        else:
            self.own += 1
            recorded = self._recorded[rows[0]]
            rows.rotate(-1)
        steps, reports = list(recorded.steps), list(recorded.reports)
        fails_at = None
        if recorded.state is TrialState.FAILED and math.isfinite(reports[-1][self.history.metric]):
            fails_at = len(steps) + 1
            steps.append(steps[-1] + 1)
            reports.append(reports[-1])
        elif recorded.state is not TrialState.COMPLETED:
            self._extend(steps, reports, nearest)
        later = [median(recorded.seconds)] * (len(steps) - len(recorded.seconds))
        return Curve(
            [
                {**report, self.history.time_attr: int(t) if float(t).is_integer() else t}
                for t, report in zip(steps, reports, strict=True)
            ],
            seconds=[*recorded.seconds, *later],
            fails_at=fails_at,
        )

    def _extend(
        self,
        steps: list[float],
        reports: list[dict[str, float]],
        nearest: npt.NDArray[np.intp],
    ) -> None:
        """Let a curve continue to the full resource."""
        last_t, last = steps[-1], reports[-1]
        for donor in (self._recorded[row] for row in nearest):
            # A donor that was stopped itself would leave the curve without an end.
            if donor.state is TrialState.COMPLETED and donor.steps[-1] > last_t:
                then = donor.at(last_t)
                for t, report in zip(donor.steps, donor.reports, strict=True):
                    if t > last_t:
                        steps.append(t)
                        reports.append(self._shifted(report, then, last))
                return
        full = self.history.max_t or self.history.largest_t()
        while steps[-1] < full:
            steps.append(min(full, steps[-1] + 1))
            reports.append(last)

    def _shifted(
        self, report: dict[str, float], then: dict[str, float], last: dict[str, float]
    ) -> dict[str, float]:
        """Add a donor's gain since `then` to the last report, but be no better than the donor.

        A donor that began far behind gained much; added to a good start, that could be more than
        an objective can be.
        """
        gained = {metric: last[metric] + report[metric] - then[metric] for metric in last}
        for goal in self.history.goal.objectives:
            if (metric := goal.metric) in gained:
                limit = max(last[metric], report[metric], key=goal.score)
                gained[metric] = min(gained[metric], limit, key=goal.score)
        return gained


def recorded_seconds(history: History) -> float:
    """Return the seconds from the first proposal to the last event of a record."""
    trials = history.trials
    begin = min(trial.proposed_at for trial in trials)
    ends = [trial.ended_at for trial in trials if trial.ended_at is not None]
    reports = [at for times in history.report_times().values() for at in times.values()]
    return max([*ends, *reports, begin]) - begin


def _undelayed(seconds: list[float]) -> float:
    return max(0.0, float(np.quantile(seconds, _UNDELAYED)))
