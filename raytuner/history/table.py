"""The table of trials: what every trial of a search was, did and reported, in memory."""

from __future__ import annotations

import json
import math
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from raytuner.errors import HistoryError
from raytuner.history.goal import Goal, Mode
from raytuner.history.trial import Entry, Origin, Trial, TrialState
from raytuner.space import Config

Line = tuple[str, Sequence[Any]]
"""The name of a table in the file (see `raytuner.history.sqlite`), and a row of it."""


class Table:
    """All trials of a search, keyed by trial id: the only mutable store.

    Every event goes to `_write` before it changes the table. A subclass overrides that method to
    keep the events in a file.

    Args:
        goal: What the search optimises.
        time_attr: Name of the resource t.
        max_t: A trial's full resource, if known.

    Attributes:
        left: How many more trials will be proposed, if known. It is not kept in the file.
        warned_of: Metrics about which the user has been warned in this process.
    """

    def __init__(self, goal: Goal, time_attr: str, max_t: float | None) -> None:
        self.goal = goal
        self.left: int | None = None
        self.warned_of: set[str] = set()
        self._time_attr, self._max_t = time_attr, max_t
        self._meta: dict[str, str] = {}  # JSON by key: whoever reads a value gets one of its own
        self._entries: dict[str, Entry] = {}
        self._rows: list[Entry] = []
        self._counts: Counter[TrialState] = Counter()
        self._live: set[str] = set()
        self._has_values = False
        self._largest_t = 0.0
        self._clock = 0.0  # the time of the last event, in Unix seconds
        self._reported_at = 0.0  # and of the last report
        self._log: list[tuple[str, float | None]] = []  # the trial, and t if it reported
        self._ended_version = 0

    # -- events -----------------------------------------------------------------------------------

    def add(self, trial_id: str, config: Config, origin: Origin = Origin.SOBOL) -> None:
        """Add a configuration that was handed out. It is pending from now on.

        Raises:
            HistoryError: The id is taken.
        """
        if trial_id in self._entries:
            raise HistoryError(f"trial {trial_id!r} is in the record already")
        head = Trial(
            trial_id=trial_id,
            number=len(self._entries),
            config=config,
            state=TrialState.PENDING,
            values=(),
            reason="",
            origin=origin,
            proposed_at=self._now(),
            ended_at=None,
        )
        self._write([_line_of(head)])
        self._enter(Entry(head, len(self._rows)))
        if self.left is not None:
            self.left = max(self.left - 1, 0)

    def report(
        self, trial_id: str, t: float, value: float, others: Mapping[str, float] | None = None
    ) -> None:
        """Record that a trial reported `value` at resource `t`. The trial is then running.

        A second report at the same t (a retry repeats iterations) replaces the first. A report of
        a trial that has ended changes nothing: call `reopen` first if the trial runs again.

        Args:
            trial_id: The trial.
            t: The resource, in units of `time_attr`.
            value: The metric; with several objectives, that of the first.
            others: The further metrics of the goal, by name.

        Raises:
            HistoryError: `t` is not a finite number, or the trial is unknown.
        """
        entry = self._entry(trial_id)
        t, value = _finite(trial_id, t), float(value)
        if not entry.head.state.is_live:
            return
        rest = {name: float(other) for name, other in (others or {}).items()}
        is_new = entry.values.get(t) != value or not rest.items() <= entry.others.get(t, {}).items()
        lines: list[Line] = []
        if is_new:
            # The clock may be set back. The order of reports must not change with it.
            at = max(self._now(), math.nextafter(self._reported_at, math.inf))
            self._reported_at = self._clock = at
            lines.append(("value", (trial_id, t, value, at)))
            lines += [("other", (trial_id, t, name, other)) for name, other in rest.items()]
        head = entry.head
        if head.state is not TrialState.RUNNING:
            head = replace(head, state=TrialState.RUNNING, reason="", ended_at=None)
            lines.append(_line_of(head))
        if not lines:
            return
        self._write(lines)
        self._set(entry, head)
        if is_new:
            self._note(entry, t, value, at, rest)

    def keep(self, trial_id: str, t: float, metrics: Mapping[str, float]) -> None:
        """Keep the last values of numbers that are not metrics of the goal.

        A metric that is named in `curves` keeps its value at every t.

        Raises:
            HistoryError: `t` is not a finite number, or the trial is unknown.
        """
        entry = self._entry(trial_id)
        t = _finite(trial_id, t)
        values = {name: v if math.isfinite(v) else math.nan for name, v in metrics.items()}
        curves = {name: values[name] for name in self.curves if name in values}
        if not curves and values.items() <= entry.last.items():
            return
        last = entry.last | values
        lines: list[Line] = [("last", (trial_id, last))]
        lines += [("other", (trial_id, t, name, value)) for name, value in curves.items()]
        self._write(lines)
        entry.last = last
        if curves:
            entry.others.setdefault(t, {}).update(curves)

    def start(self, trial_id: str) -> None:
        """Record that a trial's process began to run. A later start of a retry changes nothing."""
        entry = self._entry(trial_id)
        changes: dict[str, Any] = {}
        if entry.head.started_at is None:
            changes["started_at"] = self._now()
        if entry.head.state is TrialState.PENDING:
            changes["state"] = TrialState.RUNNING
        if changes:
            self._change(entry, **changes)

    def pause(self, trial_id: str) -> None:
        """Record that the trial waits for its scheduler. Nothing changes if it has ended."""
        entry = self._entry(trial_id)
        if entry.head.state.is_live:
            self._change(entry, state=TrialState.PAUSED, reason="", ended_at=None)

    def end(self, trial_id: str, state: TrialState, reason: str = "") -> None:
        """Record that the trial ended in `state`, for `reason`.

        For a trial that has ended already, correct the state and keep the time.

        Raises:
            HistoryError: `state` is a live state.
        """
        if state.is_live:
            raise HistoryError(f"a trial cannot end in the live state {state.value}")
        entry = self._entry(trial_id)
        ended_at = entry.head.ended_at or self._now()
        self._change(entry, state=state, reason=reason, ended_at=ended_at)

    def reopen(self, trial_id: str) -> None:
        """Record that Ray runs the trial again. It is pending then."""
        self._change(self._entry(trial_id), state=TrialState.PENDING, reason="", ended_at=None)

    # -- settings and metadata ------------------------------------------------------------------

    @property
    def metric(self) -> str:
        """Name of the objective; with several, of the first."""
        return self.goal.objectives[0].metric

    @property
    def mode(self) -> Mode:
        """Mode of the objective: "min" or "max"; with several, of the first."""
        return self.goal.objectives[0].mode

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
        self._touched(None)  # predicted costs depend on it

    @property
    def curves(self) -> tuple[str, ...]:
        """Names of the metrics, other than the goal's, whose value at every t is kept."""
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
        return self._entry(trial_id).frozen(self.metric)

    @property
    def trials(self) -> tuple[Trial, ...]:
        """Every trial, in the order of proposal."""
        return tuple(entry.frozen(self.metric) for entry in self._rows)

    def heads(self) -> Iterator[Trial]:
        """Return every trial without its values, in the order of proposal."""
        return (entry.head for entry in self._rows)

    def counts(self) -> Counter[TrialState]:
        """Return how many trials are in each state."""
        return +self._counts

    def live(self) -> tuple[str, ...]:
        """Return the ids of the trials that may still report, in the order of proposal."""
        return tuple(sorted(self._live, key=lambda i: self._entries[i].row))

    def is_live(self, trial_id: str) -> bool:
        """Whether the trial may still report; False if it is unknown."""
        return trial_id in self._live

    def has_value(self, trial_id: str, t: float) -> bool:
        """Whether the trial has reported at `t`."""
        return float(t) in self._entry(trial_id).values

    @property
    def has_values(self) -> bool:
        """Whether any trial of this search has reported. Evaluated points do not count."""
        return self._has_values

    def report_times(self) -> dict[str, dict[float, float]]:
        """Return when each trial reported at each t, in Unix seconds. No two times are equal."""
        return {trial_id: dict(entry.times) for trial_id, entry in self._entries.items()}

    def largest_t(self) -> float:
        """Return the largest resource that any trial has reached; 0 before the first report."""
        return self._largest_t

    def last(self, trial_id: str) -> tuple[float, float] | None:
        """Return the trial's report at its largest t as `(t, value)`, if it has one."""
        values = self._entry(trial_id).values
        return max(values.items()) if values else None

    def metrics_at(self, trial_id: str, t: float) -> dict[str, float]:
        """Return every metric of the goal at a t at which the trial has reported."""
        entry = self._entry(trial_id)
        return {**entry.others.get(float(t), {}), self.metric: entry.values[float(t)]}

    def metrics_of(self, trial: Trial) -> dict[str, float]:
        """Return the last value of every metric of the goal, as reported."""
        rest = {name: trial.value_of(name) for name in self.goal.metrics[1:]}
        return {self.metric: trial.value, **rest}

    def further_metrics(self) -> tuple[str, ...]:
        """Return the names of all reported numbers that are not metrics of the goal."""
        return tuple(dict.fromkeys(name for entry in self._rows for name in entry.last))

    @property
    def version(self) -> int:
        """The number of events so far in this process."""
        return len(self._log)

    @property
    def ended_version(self) -> int:
        """The version at which a trial last ended or was paused."""
        return self._ended_version

    # -- inside -----------------------------------------------------------------------------------

    def _write(self, lines: Sequence[Line]) -> None:
        """Keep an event. The base class keeps it in memory only."""

    def _touched(self, row: int | None) -> None:
        """Note that the trial in a row changed; None: perhaps every trial."""

    def _table_lines(self) -> Iterator[Line]:
        """Return every row of every trial."""
        for entry in self._rows:
            trial_id = entry.head.trial_id
            yield _line_of(entry.head)
            for t, value in entry.values.items():
                yield "value", (trial_id, t, value, entry.times[t])
            for t, others in entry.others.items():
                for name, value in others.items():
                    yield "other", (trial_id, t, name, value)
            if entry.last:
                yield "last", (trial_id, entry.last)

    def _now(self) -> float:
        self._clock = max(time.time(), self._clock)
        return self._clock

    def _entry(self, trial_id: str) -> Entry:
        if trial_id not in self._entries:
            raise HistoryError(f"trial {trial_id!r} is not in the record")
        return self._entries[trial_id]

    def _enter(self, entry: Entry) -> None:
        self._entries[entry.head.trial_id] = entry
        self._rows.append(entry)
        self._place(entry, None)

    def _change(self, entry: Entry, **changes: Any) -> None:
        head = replace(entry.head, **changes)
        self._write([_line_of(head)])
        self._set(entry, head)

    def _set(self, entry: Entry, head: Trial) -> None:
        if head is entry.head:
            return
        before = entry.head.state
        self._counts[before] -= 1
        self._live.discard(head.trial_id)
        entry.head = head
        self._place(entry, before)

    def _place(self, entry: Entry, before: TrialState | None) -> None:
        """Count a trial in its state, which was `before`."""
        head = entry.head
        self._touched(entry.row)
        self._counts[head.state] += 1
        if head.state.is_live:
            self._live.add(head.trial_id)
        self._log.append((head.trial_id, None))
        if head.state not in (before, TrialState.PENDING, TrialState.RUNNING):
            self._ended_version = len(self._log)

    def _note(
        self, entry: Entry, t: float, value: float, at: float, others: Mapping[str, float]
    ) -> None:
        """Enter a report."""
        entry.values[t], entry.times[t] = value, at
        if others:
            entry.others.setdefault(t, {}).update(others)
        self._touched(entry.row)
        self._largest_t = max(self._largest_t, t)
        self._has_values |= entry.head.origin is not Origin.EVALUATED
        self._log.append((entry.head.trial_id, t))


def _line_of(head: Trial) -> Line:
    return "trial", (
        head.trial_id,
        head.number,
        head.config,
        head.state.value,
        head.reason,
        head.origin.value,
        head.proposed_at,
        head.started_at,
        head.ended_at,
    )


def _finite(trial_id: str, t: float) -> float:
    if not math.isfinite(t := float(t)):
        raise HistoryError(f"trial {trial_id!r} reported at t = {t}; t must be finite")
    return t
