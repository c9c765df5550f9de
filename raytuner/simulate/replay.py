"""A recorded study, played again: its trials' measured curves and durations."""

from __future__ import annotations

import math
from collections import defaultdict, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median
from typing import Any

import numpy as np

from raytuner.errors import HistoryError
from raytuner.history import Goal, History, Trial, TrialState
from raytuner.simulate.objective import Curve
from raytuner.simulate.training import COUNTED

# A gap between two reports this many times the usual one was a pause, a retry or a lost driver.
_INTERRUPTION = 10.0
# The share of trials whose way from proposal to first report held no wait for a free worker.
_UNDELAYED = 0.1


@dataclass(frozen=True)
class RecordedTrial:
    """What a record says of one trial.

    Attributes:
        trial: As recorded.
        steps: Resource of each report, ascending.
        values: What each report says, by metric: all that the search's goal needs.
        seconds: Seconds of training before each report.
    """

    trial: Trial
    steps: tuple[float, ...]
    values: tuple[Mapping[str, float], ...]
    seconds: tuple[float, ...]

    def at(self, t: float) -> dict[str, float]:
        """What it would have reported at ``t``, between two reports on a line."""
        columns = {metric: [values[metric] for values in self.values] for metric in self.values[0]}
        return {metric: float(np.interp(t, self.steps, y)) for metric, y in columns.items()}


@dataclass
class Replay:
    """An objective that gives what a record holds.

    A configuration that the record holds gets its own trial's curve and durations; if it was tried
    several times, one after another. Any other gets those of the recorded trial that is nearest in
    the encoded space (Euclidean distance in the unit cube), failures included. Where a trial was
    stopped early and is not stopped now, its curve goes on as that of the nearest recorded trial
    that completed, shifted to meet it and no better than that one (or stays level, if none did), at
    its own median seconds. All metrics of the search's goal are replayed so, but the seconds
    that Ray counts itself.

    Attributes:
        history: The record.
        startup_s: Seconds from getting a worker to the start of training, as estimated.
        own: Trials that got their own record.
        borrowed: Trials that got another's.
    """

    history: History
    startup_s: float = 0.0
    own: int = 0
    borrowed: int = 0
    _recorded: list[RecordedTrial] = field(default_factory=list, repr=False)
    _points: Any = field(default=None, repr=False)
    _by_point: dict[bytes, deque[int]] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, history: History) -> Replay:
        """Read a record.

        Raises:
            HistoryError: Nothing was ever reported.
        """
        trials = [trial for trial in history.trials if trial.values]
        if not trials:
            raise HistoryError(
                "the record holds no report at all: there is nothing to predict from; run at least"
                " a few trials first"
            )
        times = history.report_times()
        usual = _usual_seconds(trials, times)
        replay = cls(history)
        replay._recorded = [
            _recorded(trial, history.goal, times[trial.trial_id], usual) for trial in trials
        ]
        replay._points = history.space.encode([trial.config for trial in trials])
        replay.startup_s = _startup(replay._recorded, times)
        by_point: dict[bytes, deque[int]] = defaultdict(deque)
        for row, point in enumerate(replay._points):
            by_point[point.tobytes()].append(row)
        replay._by_point = dict(by_point)
        return replay

    def __call__(self, config: Mapping[str, Any]) -> Curve:
        """The curve of a configuration."""
        point = self.history.space.encode([dict(config)])[0]
        rows = self._by_point.get(point.tobytes())
        if rows is None:
            self.borrowed += 1
            row = int(np.argmin(((self._points - point) ** 2).sum(axis=1)))
        else:
            self.own += 1
            row = rows[0]
            rows.rotate(-1)
        return self._curve(self._recorded[row], point)

    def _curve(self, recorded: RecordedTrial, point: np.ndarray) -> Curve:
        steps, values = list(recorded.steps), list(recorded.values)
        fails_at = None
        attr, metric = self.history.time_attr, self.history.metric
        if recorded.trial.state is TrialState.FAILED and math.isfinite(values[-1][metric]):
            fails_at = len(steps) + 1
            steps.append(steps[-1] + 1)
            values.append(values[-1])
        elif recorded.trial.state is not TrialState.COMPLETED:
            self._extend(steps, values, point)
        later = median(recorded.seconds)
        return Curve(
            [{**reported, attr: _whole(t)} for t, reported in zip(steps, values, strict=True)],
            seconds=[*recorded.seconds, *[later] * (len(steps) - len(recorded.seconds))],
            fails_at=fails_at,
        )

    def _extend(
        self, steps: list[float], values: list[Mapping[str, float]], point: np.ndarray
    ) -> None:
        """Let a curve go on to the full resource."""
        last_t, last = steps[-1], values[-1]
        distances = ((self._points - point) ** 2).sum(axis=1)
        for row in np.argsort(distances, kind="stable"):
            donor = self._recorded[row]
            later = [
                (t, reported)
                for t, reported in zip(donor.steps, donor.values, strict=True)
                if t > last_t
            ]
            # A donor that was stopped itself would leave the curve without an end.
            if later and donor.trial.state is TrialState.COMPLETED:
                then = donor.at(last_t)
                steps += [t for t, _ in later]
                values += [self._gained(last, then, reported) for _, reported in later]
                return
        full = self.history.max_t or self.history.largest_t()
        while steps[-1] < full:
            steps.append(min(full, steps[-1] + 1))
            values.append(last)

    def _gained(
        self, last: Mapping[str, float], then: Mapping[str, float], later: Mapping[str, float]
    ) -> dict[str, float]:
        """The last report and the donor's gain since, but no better than the donor itself.

        A donor that began far behind gained much; added to a good start, that could be more than
        an objective can be.
        """
        gained = {metric: last[metric] + later[metric] - then[metric] for metric in last}
        for goal in self.history.goal.objectives:
            if (metric := goal.metric) in gained:
                limit = max(last[metric], later[metric], key=goal.score)
                gained[metric] = min(gained[metric], limit, key=goal.score)
        return gained


def recorded_seconds(history: History) -> float:
    """Seconds from the first proposal to the last thing that was recorded."""
    trials = history.trials
    begin = min(trial.proposed_at for trial in trials)
    ends = [trial.ended_at for trial in trials if trial.ended_at is not None]
    reports = [at for times in history.report_times().values() for at in times.values()]
    return max([*ends, *reports, begin]) - begin


def _recorded(
    trial: Trial, goal: Goal, times: Mapping[float, float], usual: float
) -> RecordedTrial:
    steps = tuple(t for t, _ in trial.values)
    metric, *further = goal.metrics
    curves = {metric: dict(trial.values)}
    curves |= {name: dict(trial.others.get(name, ())) for name in further if name not in COUNTED}
    gaps = _gaps(steps, times)
    typical = median(gaps) if gaps else None
    seconds = [gap if gap <= _INTERRUPTION * (typical or gap) else typical or gap for gap in gaps]
    # The first report's own training cannot be told from the wait before it.
    first = typical if typical is not None else usual
    return RecordedTrial(
        trial=trial,
        steps=steps,
        values=tuple({m: curve.get(t, math.nan) for m, curve in curves.items()} for t in steps),
        seconds=(first, *seconds),
    )


def _usual_seconds(trials: list[Trial], times: Mapping[str, Mapping[float, float]]) -> float:
    """Seconds before a first report, for trials that made only one."""
    gaps = [
        gap
        for trial in trials
        for gap in _gaps(tuple(t for t, _ in trial.values), times[trial.trial_id])
    ]
    if gaps:
        return median(gaps)
    # Nobody reported twice: the quickest ways from proposal to report held no wait for a worker.
    ways = [times[t.trial_id][t.values[0][0]] - t.proposed_at for t in trials]
    return max(0.0, float(np.quantile(ways, _UNDELAYED)))


def _gaps(steps: tuple[float, ...], times: Mapping[float, float]) -> list[float]:
    """Seconds between neighbouring reports."""
    return [max(0.0, times[after] - times[before]) for before, after in pairwise(steps)]


def _startup(recorded: list[RecordedTrial], times: Mapping[str, Mapping[float, float]]) -> float:
    """Seconds from proposal to training, where the trial had not to wait for a worker."""
    if all(len(entry.steps) == 1 for entry in recorded):
        return 0.0  # it is part of the only report's seconds
    ways = [
        times[entry.trial.trial_id][entry.steps[0]] - entry.trial.proposed_at - entry.seconds[0]
        for entry in recorded
    ]
    return max(0.0, float(np.quantile(ways, _UNDELAYED)))


def _whole(t: float) -> float | int:
    """Counts as counts: ``training_iteration`` is an int in Ray's results."""
    return int(t) if float(t).is_integer() else t
