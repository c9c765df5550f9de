"""The record of a search: the table of trials, the search space, and the file."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from raytuner.errors import HistoryError, RaytunerError, SpaceError
from raytuner.folders import Folder, RemoteFolder
from raytuner.history.file import RecordFile
from raytuner.history.goal import Goal
from raytuner.history.opaque import check_same, with_opaque_values
from raytuner.history.ranking import non_dominated
from raytuner.history.snapshot import Block, FloatArray, Snapshot, build
from raytuner.history.sqlite import Line, connect, create, damaged, read_lines, write_file
from raytuner.history.table import Table
from raytuner.history.trial import Origin, Trial, TrialState
from raytuner.history.upload import UploadedRecord
from raytuner.space import Config, Space

# Errors that the content of a record can cause if it was not written by a History.
_UNREADABLE = (LookupError, ValueError, TypeError, AttributeError, OverflowError, RecursionError)


class History(Table):
    """The record of a search: all trials, in memory and in a file.

    If it has a file, each event is written at once.

    Args:
        space: The search space.
        metric: Name of the objective.
        mode: "min" or "max".
        goal: The goal, in place of `metric` and `mode`.
        time_attr: Name of the resource t.
        max_t: A trial's full resource, if known.
        path: A new file to write to. None keeps the record in memory.

    Raises:
        MetricError: There is neither a goal nor a valid metric and mode.
        HistoryError: `path` exists already (see `open`).

    Examples:
        >>> from raytuner.space import Float, Space
        >>> history = History(Space({"lr": Float(0.0, 1.0)}), metric="loss", mode="min")
        >>> history.add("a", {"lr": 0.25})
        >>> history.report("a", t=1, value=3.0)
        >>> history.end("a", TrialState.COMPLETED)
        >>> history.best.value
        3.0
    """

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
        self.space = space
        self._file: RecordFile | UploadedRecord | None = None
        self._blocks: list[Block] = []  # of the last snapshot
        self._snapshot: Snapshot | None = None
        self.set_meta("space", space.to_spec())
        self.set_meta("goal", self.goal.to_json())
        self.set_meta("time_attr", time_attr)
        self.set_meta("max_t", max_t)
        if path is not None:
            if path.exists():
                raise HistoryError(f"{path} exists already; use History.open to continue a record")
            self._attach(path)

    # -- events -----------------------------------------------------------------------------------

    def add(self, trial_id: str, config: Config, origin: Origin = Origin.SOBOL) -> None:
        """Add a trial, see `Table.add`; raises ConfigError if the configuration does not fit."""
        self.space.validate(config)
        super().add(trial_id, config, origin)
        self._encode(len(self) - 1)

    def widen(self, space: Space) -> None:
        """Replace the search space by one that contains all configurations.

        Raises:
            ConfigError: A configuration does not fit the new space. Nothing changes in this case.
        """
        for head in self.heads():
            space.validate(head.config)
        text, before = json.dumps(space.to_spec()), self.space
        self._set_space(space)
        try:
            # As one event: the trials' rows depend on the space.
            self._write([("meta", ("space", text)), *map(self._line_of, self.heads())])
        except BaseException:
            self._set_space(before)
            raise
        self._meta["space"] = text
        self._encode(0)
        self._changed.update(range(len(self)))

    def changes(self, since: int) -> list[Line]:
        """Return the events after version `since`, as rows for `apply`."""
        touched: dict[str, set[float]] = {}
        for trial_id, t in self._log[since:]:
            steps = touched.setdefault(trial_id, set())
            if t is not None:
                steps.add(t)
        found = (self._lines_of(self._entries[i], sorted(steps)) for i, steps in touched.items())
        return list(chain.from_iterable(found))

    def apply(self, lines: Iterable[Line]) -> None:
        """Take over rows of the file's tables from another record. They are not written.

        This brings a copy up to date, given the `changes` of the original since the last call.
        """
        first = len(self)
        for table, row in lines:
            if table == "trial":
                self._place(self._head_of(row))
                continue
            entry = self._entries[row[0]]
            if table == "value":
                _, t, value, at = row
                self._note(entry, t, _number(value), at)
            elif table == "other":
                _, t, metric, value = row
                entry.others.setdefault(t, {})[metric] = _number(value)
            elif table == "last":
                entry.last = {name: _number(v) for name, v in json.loads(row[1]).items()}
        self._encode(first)

    # -- queries ----------------------------------------------------------------------------------

    def points(self, start: int = 0, stop: int | None = None) -> FloatArray:
        """Return the `k x d`-dim encoded configurations of trials `start` to before `stop`."""
        points = [entry.point for entry in self._rows[start:stop]]
        return np.array(points, dtype=np.float64).reshape(len(points), self.space.dim)

    def snapshot(self) -> Snapshot:
        """Return the record as read-only arrays: the same object until something changes."""
        last = self._snapshot
        if last is None or self._changed or (last.left, last.max_t) != (self.left, self.max_t):
            last = self._snapshot = build(
                self._rows,
                self._changed,
                self._blocks,
                self.goal,
                self.max_t,
                self.left,
                self.space.dim,
            )
        return last

    def is_full(self, trial: Trial) -> bool:
        """Return whether the trial is at full fidelity; always true without fidelities."""
        if not self.space.fidelities:
            return True
        return bool(self.space.is_full(self.points(trial.number, trial.number + 1))[0])

    def is_feasible(self, trial: Trial) -> bool:
        """Return whether the trial's last values satisfy all outcome constraints."""
        return self.goal.violation(trial.metrics) == 0.0

    @property
    def best(self) -> Trial | None:
        """The best trial so far: the COMPLETED trial with the best final value.

        - While no trial has completed, it is the trial with the best last value.
        - FAILED trials and trials without a finite value do not count.
        - With fidelities, only trials at full fidelity count.
        - With outcome constraints, it is the best trial that satisfies them. While there is none,
          it is the trial with the smallest violation.
        - With several objectives, trials are compared by the weighted sum, or without weights by
          the first objective (see `pareto`).

        None if there is no such trial yet.
        """
        merits = self._merits()
        return self[max(merits, key=merits.__getitem__)] if merits else None

    @property
    def ranked(self) -> tuple[Trial, ...]:
        """The trials that could be the best one, the best first (see `best`)."""
        merits = self._merits()
        return tuple(self[i] for i in sorted(merits, key=merits.__getitem__, reverse=True))

    def _merits(self) -> dict[str, tuple[bool, float, float]]:
        """Return a key to compare trials with, by trial id; larger is better."""
        found = {}
        for head in self.heads():
            last = self.last(head.trial_id)
            if last is None or head.state is TrialState.FAILED or not self.is_full(head):
                continue
            metrics = self.metrics_at(head.trial_id, last[0])
            violation = self.goal.violation(metrics)
            if math.isfinite(value := self.goal.outcomes(metrics)[0]):
                found[head.trial_id] = head.state is TrialState.COMPLETED, -violation, value
        return found

    @property
    def pareto(self) -> tuple[Trial, ...]:
        """The Pareto front: the COMPLETED trials that no other trial dominates, by number.

        Only trials that satisfy all outcome constraints and have finite values count. While no
        trial has completed, all trials with values that did not fail count. With one objective, the
        front is the best trial and any that tie with it.
        """
        m, found = self.goal.n_objectives, []
        for trial in self.trials:
            scores = self.goal.outcomes(trial.metrics)[:m]
            is_usable = trial.values and trial.state is not TrialState.FAILED
            if is_usable and all(map(math.isfinite, scores)) and self.is_feasible(trial):
                found.append((trial, scores))
        found = [one for one in found if one[0].state is TrialState.COMPLETED] or found
        on_front = non_dominated(np.array([scores for _, scores in found]).reshape(-1, m))
        return tuple(trial for (trial, _), is_in in zip(found, on_front, strict=True) if is_in)

    # -- the file ---------------------------------------------------------------------------------

    @property
    def path(self) -> Folder | None:
        """The file that the record is written to, if any."""
        return None if self._file is None else self._file.path

    def move_to(self, path: Folder) -> None:
        """Write the whole record to `path`, a file or its URI, and all later events too.

        An existing file is replaced completely, or not at all if the process is killed meanwhile.
        """
        old = self._file
        self._attach(path)
        if old is not None:
            old.close()

    def copy_to(self, path: Path) -> None:
        """Write a consistent copy of the record to `path`."""
        if self._file is not None:
            self._file.copy_to(path)
            return
        with closing(connect(":memory:", path)) as db:
            create(db, self._all_lines())
            write_file(path, db)

    def flush(self, timeout_s: float) -> bool:
        """Wait until all events are saved, and return whether they are.

        Saved events survive a kill of this process.
        """
        return self._file is None or self._file.flush(timeout_s)

    def close(self) -> None:
        """Close the file. The record stays readable in memory."""
        file, self._file = self._file, None
        if file is not None:
            file.close()

    @classmethod
    def open(
        cls, path: Folder, space: Space | None = None, *, search_id: str | None = None
    ) -> History:
        """Read a record and continue to write to it.

        Args:
            path: The file or its URI.
            space: The search space. None rebuilds it from the record. This does not work if a
                choice has objects that JSON cannot hold.
            search_id: The id that the search must have. None: any.

        Raises:
            HistoryError: There is no record, it is from another search, it is damaged, or it cannot
                be written to.
            SpaceError: The space cannot be rebuilt, or a different space was given.
        """
        history = cls.read(path, space)
        if search_id not in (None, history.get_meta("search_id")):
            raise HistoryError(
                f"{path} is the record of another search; restore the study's own record and load"
                " the study again"
            )
        history._attach(path, has_all=True)
        return history

    @classmethod
    def read(cls, path: Folder, space: Space | None = None, *, opaque: bool = False) -> History:
        """Read a record into memory. Another process may write to it at the same time.

        Args:
            path: As for `open`, which raises the same errors.
            space: As for `open`.
            opaque: Rebuild the space with an `OpaqueValue` for each object that JSON cannot hold.
        """
        return cls.of_lines(read_lines(path), space, source=path, opaque=opaque)

    @classmethod
    def of_lines(
        cls,
        lines: Iterable[Line],
        space: Space | None = None,
        *,
        source: Folder | None = None,
        opaque: bool = False,
    ) -> History:
        """Return the record with these rows. The rows of trials come before those of their values.

        It raises the same errors as `open`.
        """
        rows = list(lines)
        meta = {row[0]: row[1] for table, row in rows if table == "meta" and row[0] != "format"}
        try:
            spec = json.loads(meta["space"])
            if space is None:
                space = Space.from_spec(with_opaque_values(spec) if opaque else spec)
            else:
                check_same(spec, space, source)
            history = cls(
                space,
                goal=Goal.from_json(json.loads(meta["goal"])),
                time_attr=json.loads(meta["time_attr"]),
                max_t=json.loads(meta.get("max_t", "null")),
            )
            history._meta = meta
            history.apply(line for line in rows if line[0] != "meta")
        except SpaceError:
            raise
        except (RaytunerError, *_UNREADABLE) as error:
            raise damaged(source, repr(error)) from error
        return history

    def __reduce__(self) -> tuple[Any, ...]:
        # A copy is in memory only: a database connection cannot be pickled.
        return History.of_lines, (list(self._all_lines()), self.space), {"left": self.left}

    # -- inside -----------------------------------------------------------------------------------

    def _attach(self, path: Folder, *, has_all: bool = False) -> None:
        """Write to a file from now on. Earlier events are written too, unless it `has_all`."""
        if isinstance(path, RemoteFolder):
            self._file = UploadedRecord(path, self._all_lines())
        else:
            self._file = RecordFile(path, self._all_lines, has_all=has_all)

    def _write(self, lines: Sequence[Line]) -> None:
        if self._file is not None:
            self._file.write(lines)

    def _dump(self, config: Config) -> str:
        return json.dumps(self.space.dump(config))

    def _set_space(self, space: Space) -> None:
        self.space = space
        for entry in self._rows:
            entry.text = ""

    def _encode(self, first: int) -> None:
        """Encode the configurations of trials from this number on."""
        entries = self._rows[first:]
        points = self.space.encode([entry.head.config for entry in entries])
        for entry, point in zip(entries, points, strict=True):
            entry.point = point

    def _head_of(self, row: Sequence[Any]) -> Trial:
        trial_id, _, config, state, reason, origin, proposed_at, started_at, ended_at = row
        times = proposed_at, started_at or 0.0, ended_at or 0.0
        self.last_event_at = max(self.last_event_at, *times)
        known = self.head(trial_id) if trial_id in self else None
        return Trial(
            trial_id=trial_id,
            number=len(self) if known is None else known.number,
            config=self.space.load(json.loads(config)) if known is None else known.config,
            state=TrialState(state),
            values=(),
            reason=reason,
            origin=Origin(origin),
            proposed_at=proposed_at,
            started_at=started_at,
            ended_at=ended_at,
        )

    def _all_lines(self) -> Iterator[Line]:
        meta: Iterator[Line] = (("meta", item) for item in self._meta.items())
        return chain(meta, chain.from_iterable(map(self._lines_of, self._rows)))


def _number(value: float | None) -> float:
    return math.nan if value is None else value
