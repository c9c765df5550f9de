"""The record of a search: the table of trials, its search space, and the file that mirrors it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from raytuner.errors import RaytunerError, SpaceError
from raytuner.folders import Folder, RemoteFolder
from raytuner.history import ranking
from raytuner.history.file import RecordFile
from raytuner.history.goal import Goal
from raytuner.history.metadata import is_time, misshapen
from raytuner.history.opaque import check_same, with_opaque_values
from raytuner.history.snapshot import FloatArray, Snapshot, SnapshotBuilder
from raytuner.history.sqlite import (
    SCHEMA,
    Row,
    Rows,
    as_text,
    damaged,
    read_rows,
    write_lines,
)
from raytuner.history.table import Line, Table
from raytuner.history.trial import Change, Entry, Origin, Trial, TrialState
from raytuner.history.upload import UploadedRecord, read_uploaded
from raytuner.space import Config, Space

# What the content of a record can raise that nobody wrote through a History.
UNREADABLE = (LookupError, ValueError, TypeError, AttributeError, OverflowError, RecursionError)


class History(Table):
    """The record of a search, in memory and, once it has a file, on disk as things happen.

    Args:
        space: The search space of the configurations.
        metric: Name of the objective.
        mode: "min" or "max".
        goal: The whole goal, in place of `metric` and `mode`.
        time_attr: Name of the resource t.
        max_t: A trial's full resource, if known.
        path: A new file to write to. None keeps the record in memory.

    Raises:
        MetricError: There is neither a goal nor a valid metric and mode.
        HistoryError: `path` exists already (see `open`).

    Example:
        >>> from raytuner.space import Float, Space
        >>> history = History(Space({"lr": Float(0.0, 1.0)}), metric="loss", mode="min")
        >>> history.add("a", {"lr": 0.25})
        >>> history.report("a", t=1, value=3.0)
        >>> history.end("a", TrialState.COMPLETED)
        >>> history.best().value
        3.0
    """

    _file: RecordFile | UploadedRecord | None

    def __init__(
        self,
        space: Space,
        *,
        metric: str | None = None,
        mode: str | None = None,
        goal: Goal | None = None,
        time_attr: str = "training_iteration",
        max_t: float | None = None,
        path: Path | None = None,
    ) -> None:
        super().__init__(goal or Goal.of(metric or "", mode or ""), time_attr, max_t)
        self._begin(space)
        self.set_meta("space", space.to_spec())
        self.set_meta("goal", self.goal.to_json())
        self.set_meta("time_attr", time_attr)
        self.set_meta("max_t", max_t)
        if path is not None:
            self._file = RecordFile(path, self._all_lines, is_new=True)

    def _begin(self, space: Space) -> None:
        self.space = space
        self._points: list[FloatArray] = []
        self._file = None
        self._builder = SnapshotBuilder()
        self._last_snapshot: tuple[object, Snapshot] | None = None  # with what it depends on

    # -- events -----------------------------------------------------------------------------------

    def add(self, trial_id: str, config: Config, origin: Origin = Origin.SOBOL) -> None:
        """Add a configuration that was handed out. It is pending from now on.

        Raises:
            HistoryError: The id is taken.
            ConfigError: The configuration does not fit the space.
        """
        self.space.validate(config)
        self._points.append(self.space.encode([config])[0])
        try:
            super().add(trial_id, config, origin)
        except BaseException:
            self._points.pop()
            raise

    def widen(self, space: Space) -> None:
        """Replace the search space by another one that has every configuration.

        Raises:
            ConfigError: A configuration does not fit the space. Nothing has changed then.
        """
        configs = [head.config for head in self.heads()]
        for config in configs:
            space.validate(config)
        points, text = list(space.encode(configs)), json.dumps(space.to_spec())
        lines: list[Line] = [("meta", ("space", text))]
        lines += (line for line in self._table_lines() if line[0] == "trial")
        before, self.space = self.space, space
        try:
            self._write(lines)  # as one event: the trials' rows depend on the space
        except BaseException:
            self.space = before
            raise
        self._points, self._meta["space"] = points, text
        self._touched(None)

    def apply(self, change: Change) -> None:
        """Bring a trial to the state that it has in the record that `change` comes from."""
        if change.trial_id not in self:
            self.add(change.trial_id, self.space.load(change.config), change.origin)
        others = dict(change.others)
        if change.values and not self.is_live(change.trial_id):
            self.reopen(change.trial_id)
        for t, value in change.values:
            self.report(change.trial_id, t, value, others.get(t))
        entry = self._entry(change.trial_id)
        if entry.head.state is not change.state:
            self._change(entry, state=change.state, reason="", ended_at=None)

    def changes(self, since: int) -> tuple[Change, ...]:
        """Return what happened after version `since`, one change for each trial.

        `apply` brings another record that knew everything up to `since` to this one's state.
        """
        touched: dict[str, set[float]] = {}
        for trial_id, t in self._log[since:]:
            steps = touched.setdefault(trial_id, set())
            if t is not None:
                steps.add(t)
        found = []
        for trial_id, steps in touched.items():
            entry = self._entries[trial_id]
            found.append(
                Change(
                    trial_id,
                    self.space.dump(entry.head.config),
                    entry.head.origin,
                    entry.head.state,
                    tuple((t, entry.values[t]) for t in sorted(steps)),
                    tuple((t, dict(entry.others[t])) for t in sorted(steps) if t in entry.others),
                )
            )
        return tuple(found)

    # -- queries ----------------------------------------------------------------------------------

    def points(self, start: int = 0, stop: int | None = None) -> FloatArray:
        """Return the `k x d`-dim encoded configurations of trials `start` to before `stop`."""
        points = self._points[start:stop]
        return np.array(points, dtype=np.float64).reshape(len(points), self.space.dim)

    def snapshot(self) -> Snapshot:
        """Return the record as frozen arrays: the same object until something changes."""
        state = (len(self._log), self.left, self.goal)
        if self._last_snapshot is None or self._last_snapshot[0] != state:
            snapshot = self._builder.build(
                self._rows, self._points, self.space.dim, self.goal, self.max_t, self.left
            )
            self._last_snapshot = state, snapshot
        return self._last_snapshot[1]

    def is_full(self, trial: Trial) -> bool:
        """Whether the trial is at full fidelity. Each is if no hyperparameter is a fidelity."""
        if not self.space.fidelities:
            return True
        point = self._points[self._entry(trial.trial_id).row]
        return bool(self.space.is_full(point[None])[0])

    def is_feasible(self, trial: Trial) -> bool:
        """Whether the trial's last values keep all outcome constraints."""
        return self.goal.violation(self.metrics_of(trial)) == 0.0

    def best(self) -> Trial | None:
        """Return the incumbent: the COMPLETED trial with the best final value.

        While no trial is completed, that is the trial whose last value is best. A FAILED trial is
        never the incumbent, nor is one whose value is not finite. With fidelities, only trials at
        full fidelity count. With outcome constraints, the trial is the best that keeps them or,
        while none does, the one that breaks them least. With several objectives the weighted sum
        counts or, without weights, the first (see `pareto`). None: there is no such trial yet.
        """
        winner = ranking.best(self, self.is_full)
        return None if winner is None else self[winner]

    def ranked(self) -> tuple[Trial, ...]:
        """Return the trials that could be the incumbent, the best first (see `best`)."""
        return tuple(self[trial_id] for trial_id in ranking.ranked(self, self.is_full))

    def pareto(self) -> tuple[Trial, ...]:
        """Return the Pareto front; see `raytuner.history.ranking.pareto`."""
        return ranking.pareto(self)

    # -- the file ---------------------------------------------------------------------------------

    @property
    def path(self) -> Folder | None:
        """The file that the record is written to, if any."""
        return None if self._file is None else self._file.path

    def move_to(self, path: Folder) -> None:
        """Write the whole record to `path`, a file or one behind a URI, and later events too.

        A file there is replaced as a whole, or not at all if the process is killed meanwhile.
        """
        old = self._file
        new: RecordFile | UploadedRecord
        if isinstance(path, RemoteFolder):
            new = UploadedRecord(path, self._all_lines())
        else:
            new = RecordFile(path, self._all_lines)
        self._file = new
        if old is not None:
            old.close()

    def copy_to(self, path: Path) -> None:
        """Write a consistent copy of the record to `path`."""
        if self._file is None:
            write_lines(path, self._all_lines())
        else:
            self._file.copy_to(path)

    def flush(self, timeout_s: float) -> bool:
        """Wait until all events are where a killed process leaves them. Return whether they are."""
        return self._file is None or self._file.flush(timeout_s)

    def close(self) -> None:
        """Close the file. The record stays readable in memory."""
        file, self._file = self._file, None
        if file is not None:
            file.close()

    @classmethod
    def open(cls, path: Folder, space: Space | None = None) -> History:
        """Read a record and continue to write to it.

        Args:
            path: The file, or the file behind a URI.
            space: The search space. None rebuilds it from the record, which is possible unless a
                choice is an object that JSON cannot hold.

        Raises:
            HistoryError: There is no record, or it is damaged or cannot be written to.
            SpaceError: The space cannot be rebuilt, or another space was given.
        """
        history = cls.read(path, space)
        if isinstance(path, RemoteFolder):
            history._file = UploadedRecord(path, history._all_lines())
        else:
            history._file = RecordFile.reopen(path, history._all_lines)
        return history

    @classmethod
    def read(cls, path: Folder, space: Space | None = None, *, opaque: bool = False) -> History:
        """Read a record into memory. It may be written to at the same time.

        Args:
            path: As for `open`, which raises the same errors.
            space: As for `open`.
            opaque: Where the space is rebuilt, put an `OpaqueValue` in place of each object that
                JSON cannot hold.
        """
        rows = read_uploaded(path) if isinstance(path, RemoteFolder) else read_rows(path)
        return cls.of_rows(rows, space, source=path, opaque=opaque)

    @classmethod
    def of_rows(
        cls,
        rows: Rows,
        space: Space | None,
        *,
        source: Folder | None = None,
        opaque: bool = False,
    ) -> History:
        """Return the record that has these rows; raises as `open`."""
        meta: dict[str, str] = dict(rows["meta"])
        try:
            spec = json.loads(meta["space"])
            if space is None:
                space = Space.from_spec(with_opaque_values(spec) if opaque else spec)
            else:
                check_same(spec, space, source)
            settings = {key: json.loads(text) for key, text in meta.items()}
            goal = Goal.from_json(settings["goal"])
            if (problem := misshapen(settings)) is not None:
                raise ValueError(problem)
            history = cls.__new__(cls)
            Table.__init__(history, goal, settings["time_attr"], settings.get("max_t"))
            history._begin(space)
            history._meta = {key: text for key, text in meta.items() if key != "format"}
            history._load(rows)
        except SpaceError:
            raise
        except RaytunerError as error:
            raise damaged(source, str(error)) from error
        except UNREADABLE as error:
            raise damaged(source, repr(error)) from error
        return history

    def _load(self, rows: Rows) -> None:
        for row in rows["trial"]:
            trial_id, number, config, state, reason, origin, proposed_at, started_at, ended_at = row
            for at in (proposed_at, started_at or 0.0, ended_at or 0.0):
                if not is_time(at):
                    raise ValueError(f"a time of trial {trial_id!r} is {at!r}")
                self._clock = max(self._clock, at)
            full = self.space.load(json.loads(config))
            self._points.append(self.space.encode([full])[0])
            head = Trial(
                trial_id=trial_id,
                number=number,
                config=full,
                state=TrialState(state),
                values=(),
                reason=reason,
                origin=Origin(origin),
                proposed_at=proposed_at,
                started_at=started_at,
                ended_at=ended_at,
            )
            self._enter(Entry(head, len(self._rows)))
        for trial_id, t, metric, value in rows["other"]:
            self._entries[trial_id].others.setdefault(t, {})[metric] = _number(value)
        for trial_id, t, value, at in rows["value"]:
            if not math.isfinite(t):
                raise ValueError(f"trial {trial_id!r} reported at t = {t}")
            if not is_time(at):
                raise ValueError(f"the time of a report of trial {trial_id!r} is {at!r}")
            self._reported_at = max(self._reported_at, at)
            self._clock = max(self._clock, at)
            self._note(self._entries[trial_id], t, _number(value), at, {})
        for trial_id, text in rows["last"]:
            last = json.loads(text)
            self._entries[trial_id].last = {name: _number(v) for name, v in last.items()}

    def __getstate__(self) -> dict[str, Any]:
        # A copy lives in memory: a database connection cannot be pickled.
        rows: dict[str, list[Row]] = {table: [] for table in SCHEMA}
        for table, row in self._all_lines():
            rows[table].append(tuple(row))
        return {"space": self.space, "rows": rows, "left": self.left}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(History.of_rows(state["rows"], state["space"]).__dict__)
        self.left = state["left"]

    # -- inside -----------------------------------------------------------------------------------

    def _write(self, lines: Sequence[Line]) -> None:
        if self._file is not None:
            self._file.write([self._as_row(line) for line in lines])

    def _as_row(self, line: Line) -> Line:
        """Return a row of the table as the file has it."""
        table, row = line
        if table == "trial":
            config = json.dumps(self.space.dump(row[2]))
            return table, (*row[:2], config, *row[3:])
        return (table, (row[0], as_text(row[1]))) if table == "last" else line

    def _all_lines(self) -> Iterator[Line]:
        meta: Iterator[Line] = (("meta", item) for item in self._meta.items())
        return chain(meta, map(self._as_row, self._table_lines()))

    def _touched(self, row: int | None) -> None:
        self._builder.touch(row)
        if row is None:
            self._last_snapshot = None


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)
