"""The table of trials: all trials of a search and their reports, in memory."""

from __future__ import annotations

import json
import math
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from operator import attrgetter
from typing import Any

from raytuner.errors import HistoryError
from raytuner.history.goal import Goal, Mode
from raytuner.history.sqlite import Line
from raytuner.history.trial import Entry, Origin, Trial, TrialState
from raytuner.space import Config


class _Entries(dict[str, Entry]):
    def __missing__(self, trial_id: str) -> Entry:
        raise HistoryError(f"trial {trial_id!r} is not in the record")


class Table:
    """All trials of a search, by trial id.

    Every event goes to `_write` before it changes the table. A subclass overrides that method to
    keep the events in a file.

    Args:
        goal: What the search optimises.
        time_attr: Name of the resource t.
        max_t: A trial's full resource, if known.

    Attributes:
        metric: Name of the objective; with several, of the first.
        mode: Mode of the objective: "min" or "max"; with several, of the first.
        left: How many more trials will be proposed, if known. It is not kept in the file.
        warned_of: Metrics and causes of failures about which this process has warned.
        has_values: Whether any trial of this search has reported. Evaluated points do not count.
        largest_t: The largest resource that any trial has reached; 0 before the first report.
        ended_version: The version at which a trial last ended or was paused.
        last_event_at: When the record last changed, in Unix seconds; 0 if it is empty.
    """

    def __init__(self, goal: Goal, time_attr: str, max_t: float | None) -> None:
        self.goal = goal
        self.metric: str = goal.objectives[0].metric
        self.mode: Mode = goal.objectives[0].mode
        self.left: int | None = None
        self.warned_of: set[str] = set()
        self.has_values = False
        self.largest_t = 0.0
        self.ended_version = 0
        self.last_event_at = 0.0
        self._time_attr, self._max_t = time_attr, max_t
        self._meta: dict[str, str] = {}  # JSON by key: each reader gets its own copy of a value
        self._entries = _Entries()
        self._rows: list[Entry] = []
        self._ids: dict[TrialState, set[str]] = {state: set() for state in TrialState}
        self._reported_at = 0.0  # the time of the last report
        self._log: list[tuple[str, float | None]] = []  # the trial, and t if it reported
        self._changed: set[int] = set()  # numbers of trials, since the last snapshot

    # -- events -----------------------------------------------------------------------------------

    def add(self, trial_id: str, config: Config, origin: Origin = Origin.SOBOL) -> None:
        """Add a trial for a configuration. It is pending from now on.

        Raises:
            HistoryError: The id exists already.
        """
        if trial_id in self._entries:
            raise HistoryError(f"trial {trial_id!r} is in the record already")
        head = Trial(
            trial_id=trial_id,
            number=len(self._rows),
            config=config,
            state=TrialState.PENDING,
            values=(),
            reason="",
            origin=origin,
            proposed_at=self._now(),
            ended_at=None,
        )
        self._write([self._line_of(head)])
        self._place(head)
        if self.left is not None:
            self.left = max(self.left - 1, 0)

    def report(
        self, trial_id: str, t: float, value: float, others: Mapping[str, float] | None = None
    ) -> None:
        """Record that a trial reported `value` at resource `t`. The trial is then running.

        A second report at the same t replaces the first, since a retry repeats iterations. A report
        of a trial that has ended is ignored: call `reopen` first if the trial runs again.

        Args:
            trial_id: The trial.
            t: The resource, in units of `time_attr`.
            value: The metric; with several objectives, the first one.
            others: The other metrics of the goal, by name.

        Raises:
            HistoryError: `t` is not a finite number, or the trial is unknown.
        """
        entry, t, value = self._entries[trial_id], float(t), float(value)
        if not math.isfinite(t):
            raise HistoryError(f"trial {trial_id!r} reported at t = {t}; t must be finite")
        head = entry.head
        if not head.state.is_live:
            return
        rest = {name: float(other) for name, other in (others or {}).items()}
        is_new = entry.values.get(t) != value or not rest.items() <= entry.others.get(t, {}).items()
        lines: list[Line] = []
        if is_new:
            # The clock may be set back. This must not change the order of reports.
            at = max(self._now(), math.nextafter(self._reported_at, math.inf))
            lines.append(("value", (trial_id, t, value, at)))
            lines += _other_lines(trial_id, t, rest)
        if head.state is not TrialState.RUNNING:
            head = replace(head, state=TrialState.RUNNING, reason="", ended_at=None)
            lines.append(self._line_of(head))
        if lines:
            self._write(lines)
            if head is not entry.head:
                self._place(head)
            if is_new:
                self._note(entry, t, value, at)
            if rest:
                entry.others.setdefault(t, {}).update(rest)

    def keep(self, trial_id: str, t: float, metrics: Mapping[str, float]) -> None:
        """Keep the last values of numbers that are not metrics of the goal.

        Metrics that are named in `curves` keep their value at every t.

        Raises:
            HistoryError: The trial is unknown.
        """
        entry = self._entries[trial_id]
        values = {name: v if math.isfinite(v) else math.nan for name, v in metrics.items()}
        curves = {name: values[name] for name in self.curves if name in values}
        if curves or not values.items() <= entry.last.items():
            last = entry.last | values
            self._write([_last_line(trial_id, last), *_other_lines(trial_id, t, curves)])
            entry.last = last
            if curves:
                entry.others.setdefault(t, {}).update(curves)

    def start(self, trial_id: str) -> None:
        """Record that a trial's process began to run. Later starts, of retries, are ignored."""
        head = self._entries[trial_id].head
        changes: dict[str, Any] = {}
        if head.started_at is None:
            changes["started_at"] = self._now()
        if head.state is TrialState.PENDING:
            changes["state"] = TrialState.RUNNING
        if changes:
            self._change(trial_id, **changes)

    def pause(self, trial_id: str) -> None:
        """Record that the scheduler paused the trial. Ignored if the trial has ended."""
        if self._entries[trial_id].head.state.is_live:
            self._change(trial_id, state=TrialState.PAUSED, reason="", ended_at=None)

    def end(self, trial_id: str, state: TrialState, reason: str = "") -> None:
        """Record that the trial ended in `state`, for `reason`.

        If the trial has ended already, this corrects the state and keeps the time.

        Raises:
            HistoryError: `state` is a live state.
        """
        if state.is_live:
            raise HistoryError(f"a trial cannot end in the live state {state.value}")
        ended_at = self._entries[trial_id].head.ended_at or self._now()
        self._change(trial_id, state=state, reason=reason, ended_at=ended_at)

    def reopen(self, trial_id: str) -> None:
        """Record that Ray runs the trial again. It is then pending."""
        self._change(trial_id, state=TrialState.PENDING, reason="", ended_at=None)

    # -- settings and metadata ------------------------------------------------------------------

    @property
    def time_attr(self) -> str:
        """Name of the resource t."""
        return self._time_attr

    @time_attr.setter
    def time_attr(self, time_attr: str) -> None:
        self.set_meta("time_attr", time_attr)
        self._time_attr = time_attr

    @property
    def max_t(self) -> float | None:
        """A trial's full resource in units of `time_attr`, if known."""
        return self._max_t

    @max_t.setter
    def max_t(self, max_t: float | None) -> None:
        self.set_meta("max_t", max_t)
        self._max_t = max_t
        self._changed.update(range(len(self)))  # predicted costs depend on it

    @property
    def curves(self) -> tuple[str, ...]:
        """Names of further metrics whose value is kept at every t."""
        return tuple(self.get_meta("curves") or ())

    @curves.setter
    def curves(self, curves: Sequence[str]) -> None:
        self.set_meta("curves", list(curves))

    def get_meta(self, key: str, default: Any = None) -> Any:
        """Return the JSON value that is stored under `key`, or `default`."""
        return json.loads(self._meta[key]) if key in self._meta else default

    def set_meta(self, key: str, value: Any) -> None:
        """Store a value that JSON can hold under `key`."""
        text = json.dumps(value)
        self._write([("meta", (key, text))])
        self._meta[key] = text

    # -- queries ----------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, trial_id: object) -> bool:
        return trial_id in self._entries

    def __getitem__(self, trial_id: str) -> Trial:
        return self._entries[trial_id].frozen(self.metric)

    def head(self, trial_id: str) -> Trial:
        """Return a trial without its values."""
        return self._entries[trial_id].head

    @property
    def trials(self) -> tuple[Trial, ...]:
        """All trials, in the order in which they were proposed."""
        return tuple(entry.frozen(self.metric) for entry in self._rows)

    def heads(self) -> Iterator[Trial]:
        """Return all trials without their values, in the order in which they were proposed."""
        return map(attrgetter("head"), self._rows)

    @property
    def counts(self) -> Counter[TrialState]:
        """The number of trials in each state."""
        return Counter({state: len(ids) for state, ids in self._ids.items() if ids})

    def live(self) -> tuple[str, ...]:
        """Return the ids of the trials that may still report, in the order of proposal."""
        ids = chain.from_iterable(ids for state, ids in self._ids.items() if state.is_live)
        return tuple(sorted(ids, key=lambda trial_id: self._entries[trial_id].head.number))

    def is_live(self, trial_id: str) -> bool:
        """Return whether the trial may still report. An unknown trial may not."""
        return trial_id in self._entries and self._entries[trial_id].head.state.is_live

    def has_value(self, trial_id: str, t: float) -> bool:
        """Return whether the trial has reported at `t`."""
        return float(t) in self._entries[trial_id].values

    def last(self, trial_id: str) -> tuple[float, float] | None:
        """Return the trial's report at its largest t as `(t, value)`, if it has one."""
        values = self._entries[trial_id].values
        return max(values.items()) if values else None

    def metrics_at(self, trial_id: str, t: float) -> dict[str, float]:
        """Return all metrics of the goal at a t for which the trial has a report."""
        entry = self._entries[trial_id]
        return {**entry.others.get(float(t), {}), self.metric: entry.values[float(t)]}

    def further_metrics(self) -> tuple[str, ...]:
        """Return the names of all reported numbers that are not metrics of the goal."""
        return tuple(dict.fromkeys(name for entry in self._rows for name in entry.last))

    @property
    def version(self) -> int:
        """The number of events so far in this process."""
        return len(self._log)

    # -- inside -----------------------------------------------------------------------------------

    def _write(self, lines: Sequence[Line]) -> None:
        """Keep an event. The base class keeps it in memory only."""

    def _dump(self, config: Config) -> str:
        """Return a configuration as the file has it. The base class has no file."""
        return ""

    def _now(self) -> float:
        self.last_event_at = max(time.time(), self.last_event_at)
        return self.last_event_at

    def _change(self, trial_id: str, **changes: Any) -> None:
        head = replace(self._entries[trial_id].head, **changes)
        self._write([self._line_of(head)])
        self._place(head)

    def _place(self, head: Trial) -> None:
        """Enter a trial or its new state."""
        entry, state = self._entries.get(head.trial_id), head.state
        before = None
        if entry is None:
            entry = self._entries[head.trial_id] = Entry(head)
            self._rows.append(entry)
        else:
            before = entry.head.state
            self._ids[before].discard(head.trial_id)
            entry.head = head
        self._ids[state].add(head.trial_id)
        self._changed.add(head.number)
        self._log.append((head.trial_id, None))
        if state not in (before, TrialState.PENDING, TrialState.RUNNING):
            self.ended_version = len(self._log)

    def _note(self, entry: Entry, t: float, value: float, at: float) -> None:
        """Enter a report."""
        entry.values[t], entry.times[t] = value, at
        self._reported_at = max(self._reported_at, at)
        self.last_event_at = max(self.last_event_at, at)
        self.largest_t = max(self.largest_t, t)
        self.has_values |= entry.head.origin is not Origin.EVALUATED
        self._changed.add(entry.head.number)
        self._log.append((entry.head.trial_id, t))

    def _line_of(self, head: Trial) -> Line:
        entry = self._entries.get(head.trial_id)
        text = entry.text if entry is not None and entry.text else self._dump(head.config)
        if entry is not None:
            entry.text = text
        return "trial", (
            head.trial_id,
            head.number,
            text,
            head.state.value,
            head.reason,
            head.origin.value,
            head.proposed_at,
            head.started_at,
            head.ended_at,
        )

    def _lines_of(self, entry: Entry, steps: Iterable[float] | None = None) -> Iterator[Line]:
        """Return the rows of a trial; with `steps`, only its state and the reports at these t."""
        trial_id = entry.head.trial_id
        yield self._line_of(entry.head)
        for t in entry.values if steps is None else steps:
            yield "value", (trial_id, t, entry.values[t], entry.times[t])
        for t in entry.others if steps is None else steps:
            yield from _other_lines(trial_id, t, entry.others.get(t, {}))
        if steps is None and entry.last:
            yield _last_line(trial_id, entry.last)


def _other_lines(trial_id: str, t: float, values: Mapping[str, float]) -> list[Line]:
    return [("other", (trial_id, t, name, value)) for name, value in values.items()]


def _last_line(trial_id: str, values: Mapping[str, float]) -> Line:
    # JSON has no NaN.
    text = json.dumps({k: v if math.isfinite(v) else None for k, v in values.items()})
    return "last", (trial_id, text)
