"""The record of a search: the only mutable store, keyed by trial id."""

from __future__ import annotations

import json
import math
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from raytuner.errors import HistoryError, RaytunerError, SpaceError
from raytuner.folders import Folder
from raytuner.history.beside import is_time, misshapen
from raytuner.history.change import Change
from raytuner.history.fronts import non_dominated
from raytuner.history.goal import Goal, Mode
from raytuner.history.pieces import Pieces
from raytuner.history.snapshot import BoolArray, FloatArray, IntArray, Snapshot
from raytuner.history.stand_in import check_same, with_stand_ins
from raytuner.history.store import Store, damaged
from raytuner.history.trial import Origin, Trial, TrialState
from raytuner.space import Config, Space

# What the content of a record can bring up that nobody wrote through a History.
_UNREADABLE = (
    *(LookupError, ValueError, TypeError, AttributeError, OverflowError, RecursionError),
)


@dataclass
class _Entry:
    """A trial being written: the head of its record, its values by t, and its encoded point."""

    row: int
    head: Trial  # its ``values`` and ``others`` stay empty here
    point: np.ndarray
    values: dict[float, float] = field(default_factory=dict)
    others: dict[float, dict[str, float]] = field(default_factory=dict)  # further metrics by t
    metrics: dict[str, float] = field(default_factory=dict)  # last values, beside the goal's

    def frozen(self, metric: str) -> Trial:
        others: dict[str, list[tuple[float, float]]] = {}
        for t, values in sorted(self.others.items()):
            for name, value in values.items():
                others.setdefault(name, []).append((t, value))
        steps = tuple(sorted(self.values.items()))
        last = {metric: steps[-1][1]} if steps else {}
        last |= {name: curve[-1][1] for name, curve in others.items()}
        return replace(
            self.head,
            values=steps,
            others={name: tuple(curve) for name, curve in others.items()},
            metrics={**last, **self.metrics},
        )


@dataclass(frozen=True)
class _Part:
    """A stretch of trials as the arrays of a :class:`Snapshot`."""

    states: tuple[TrialState, ...]
    points: FloatArray
    trial: IntArray
    t: FloatArray
    outcomes: FloatArray
    final: BoolArray
    cost: FloatArray
    standard_error: FloatArray


class History:
    """All that happened in a search, in memory and (once it has a file) on disk as it happens.

    Args:
        space: The search space the configurations belong to.
        metric: Name of the objective.
        mode: "min" or "max".
        goal: In their place, if there is more to it; ``metric`` and ``mode`` are then those of the
            first objective.
        time_attr: Name of the resource t.
        max_t: A trial's full resource, if known.
        path: File to write to as things happen; None keeps the record in memory.

    Raises:
        MetricError: There is neither a goal nor a metric and mode that make one.
        HistoryError: ``path`` exists already (see :meth:`open`).

    Example:
        >>> from raytuner.space import Float, Space
        >>> history = History(Space({"lr": Float(0.0, 1.0)}), metric="loss", mode="min")
        >>> history.add("a", {"lr": 0.25})
        >>> history.report("a", t=1, value=3.0)
        >>> history.end("a", TrialState.COMPLETED)
        >>> history.best().value
        3.0
        >>> history.snapshot().y.tolist()
        [-3.0]

    Attributes:
        left: So many more trials are to be proposed, if that is known; not kept on disk.
    """

    left: int | None = None
    _taken: tuple[object, Snapshot] | None  # the last snapshot, and as of when
    _reported_at: float  # when the last report came, in Unix seconds

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
        if goal is None:
            goal = Goal.of(metric or "", mode or "")
        self.space = space
        self._follow(goal)
        self._store = Store(path)
        self._forget()
        self._store.set_meta("space", space.to_spec())
        self._store.set_meta("metric", self.metric)
        self._store.set_meta("mode", self.mode)
        self._store.set_meta("goal", None if goal.is_plain else goal.to_json())
        self.time_attr = time_attr
        self.max_t = max_t
        self._curves: tuple[str, ...] = ()

    # -- what happens ---------------------------------------------------------------------------

    def add(self, trial_id: str, config: Config, origin: Origin = Origin.SOBOL) -> None:
        """A configuration was handed out: it is pending from now on.

        Raises:
            HistoryError: The id is taken.
            ConfigError: The configuration does not fit the space.
        """
        if trial_id in self._entries:
            raise HistoryError(f"trial {trial_id!r} is in the record already")
        self.space.validate(config)
        head = Trial(
            trial_id=trial_id,
            number=len(self._entries),
            config=config,
            state=TrialState.PENDING,
            values=(),
            reason="",
            origin=origin,
            proposed_at=time.time(),
            ended_at=None,
        )
        self._enter(_Entry(len(self._entries), head, self.space.encode([config])[0]))
        if self.left is not None:
            self.left = max(self.left - 1, 0)
        self._write(head)

    def report(
        self, trial_id: str, t: float, value: float, others: Mapping[str, float] | None = None
    ) -> None:
        """Record that a trial reported ``value`` at resource ``t``, and so that it runs.

        A second report at the same t (a retry repeats iterations) replaces the first. A report of
        a trial that has ended changes nothing: call :meth:`reopen` first if the trial runs again.

        Args:
            trial_id: Which trial.
            t: The resource, in units of ``time_attr``.
            value: The metric; of several, the first objective's.
            others: The further metrics of the goal, by name.

        Raises:
            HistoryError: ``t`` is not a finite number, or the trial is unknown.
        """
        entry = self._entry(trial_id)
        t, value = _finite(trial_id, t), float(value)
        if not entry.head.state.is_live:
            return
        rest = {name: float(other) for name, other in (others or {}).items()}
        is_new = entry.values.get(t) != value or not rest.items() <= entry.others.get(t, {}).items()
        with self._store.event():
            if is_new:
                # A clock may be set back; the order of reports must not change with it.
                self._reported_at = max(time.time(), math.nextafter(self._reported_at, math.inf))
                self._store.put_value(trial_id, t, value, self._reported_at)
                for name, other in rest.items():
                    self._store.put_other(trial_id, t, name, other)
            if entry.head.state is not TrialState.RUNNING:
                self._set(entry, state=TrialState.RUNNING, reason="", ended_at=None)
        if is_new:
            self._note(entry, t, value, rest)

    def keep(self, trial_id: str, t: float, metrics: Mapping[str, float]) -> None:
        """Keep the last values of metrics that the search does not need.

        A metric that is named in ``curves`` keeps its value at every t.

        Args:
            trial_id: The trial.
            t: The resource, in units of ``time_attr``.
            metrics: The metrics beside those of the goal, by name.

        Raises:
            HistoryError: ``t`` is not a finite number, or the trial is unknown.
        """
        entry = self._entry(trial_id)
        t = _finite(trial_id, t)
        kept = {name: v if math.isfinite(v) else math.nan for name, v in metrics.items()}
        curves = {name: kept[name] for name in self.curves if name in kept}
        if not curves and kept.items() <= entry.metrics.items():
            return
        entry.metrics |= kept
        if curves:
            entry.others.setdefault(t, {}).update(curves)
        with self._store.event():
            self._store.put_last(trial_id, entry.metrics)
            for name, value in curves.items():
                self._store.put_other(trial_id, t, name, value)

    def pause(self, trial_id: str) -> None:
        """Record that the trial waits for its scheduler; no change if the trial has ended."""
        entry = self._entry(trial_id)
        if entry.head.state.is_live:
            self._set(entry, state=TrialState.PAUSED, reason="", ended_at=None)

    def end(self, trial_id: str, state: TrialState, reason: str = "") -> None:
        """The trial ended in ``state``, for ``reason``.

        Said again of a trial that has ended, it corrects the state and keeps the time.

        Raises:
            HistoryError: ``state`` is a live state.
        """
        if state.is_live:
            raise HistoryError(f"a trial cannot end in the live state {state.value}")
        entry = self._entry(trial_id)
        self._set(entry, state=state, reason=reason, ended_at=entry.head.ended_at or time.time())

    def begin(self, trial_id: str) -> None:
        """Record that a pending trial runs, before it reports anything."""
        entry = self._entry(trial_id)
        if entry.head.state is TrialState.PENDING:
            self._set(entry, state=TrialState.RUNNING)

    def reopen(self, trial_id: str) -> None:
        """The trial goes on after all: Ray runs it again."""
        self._set(self._entry(trial_id), state=TrialState.PENDING, reason="", ended_at=None)

    def widen(self, space: Space) -> None:
        """Keep the record in terms of another space from now on.

        Args:
            space: A space that holds every configuration of the record.

        Raises:
            ConfigError: It does not; nothing has changed then.
        """
        configs = [entry.head.config for entry in self._entries.values()]
        for config in configs:
            space.validate(config)
        points = space.encode(configs)
        self.space = space
        with self._store.event():
            self._store.set_meta("space", space.to_spec())
            for entry, point in zip(self._entries.values(), points, strict=True):
                entry.point = point
                self._write(entry.head)
        self._parts = Pieces(self._part)

    # -- what is known --------------------------------------------------------------------------

    @property
    def time_attr(self) -> str:
        """Name of the resource t."""
        return self._time_attr

    @time_attr.setter
    def time_attr(self, time_attr: str) -> None:
        self._time_attr = time_attr
        self._store.set_meta("time_attr", time_attr)

    @property
    def max_t(self) -> float | None:
        """A trial's full resource in units of ``time_attr``, if known."""
        return self._max_t

    @max_t.setter
    def max_t(self, max_t: float | None) -> None:
        self._max_t = max_t
        self._store.set_meta("max_t", max_t)
        self._parts = Pieces(self._part)  # costs follow from it

    @property
    def curves(self) -> tuple[str, ...]:
        """Names of the metrics, beside the goal's, whose value at every t is kept."""
        return self._curves

    @curves.setter
    def curves(self, curves: Sequence[str]) -> None:
        self._curves = tuple(curves)
        self._store.set_meta("curves", list(curves))

    @property
    def path(self) -> Folder | None:
        """The file, or folder behind a URI, that the record is written to, if any."""
        return self._store.path

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, trial_id: object) -> bool:
        return trial_id in self._entries

    def __getitem__(self, trial_id: str) -> Trial:
        return self._entry(trial_id).frozen(self.metric)

    @property
    def trials(self) -> tuple[Trial, ...]:
        """Every trial, in the order of proposal."""
        return tuple(entry.frozen(self.metric) for entry in self._entries.values())

    def heads(self) -> Iterator[Trial]:
        """Every trial without its values, in the order of proposal."""
        return (entry.head for entry in self._entries.values())

    def counts(self) -> Counter[TrialState]:
        """How many trials are in each state."""
        return +self._counts

    def live(self) -> tuple[str, ...]:
        """Ids of the trials that may still report, in the order of proposal."""
        return tuple(sorted(self._live, key=lambda i: self._entries[i].head.number))

    def is_live(self, trial_id: str) -> bool:
        """Whether the trial may still report; False if it is unknown."""
        return trial_id in self._live

    def has_value(self, trial_id: str, t: float) -> bool:
        """Whether the trial has reported at ``t``."""
        return float(t) in self._entry(trial_id).values

    @property
    def has_values(self) -> bool:
        """Whether any trial of this search has reported; what was told from outside is not one."""
        return self._has_values

    def report_times(self) -> dict[str, dict[float, float]]:
        """When each trial reported at each t, in Unix seconds; no two at the same time."""
        times: dict[str, dict[float, float]] = {trial_id: {} for trial_id in self._entries}
        for trial_id, t, _, reported_at in self._store.values():
            times[trial_id][t] = reported_at
        return times

    def largest_t(self) -> float:
        """The largest resource that any trial has reached; 0 before the first report."""
        return self._largest_t

    def points(self, start: int = 0, stop: int | None = None) -> FloatArray:
        """``(k, d)`` encoded configurations of the trials from ``start`` to before ``stop``."""
        points = [entry.point for entry in self._rows[start:stop]]
        return np.array(points, dtype=np.float64).reshape(len(points), self.space.dim)

    def last(self, trial_id: str) -> tuple[float, float] | None:
        """The trial's report at its largest t, as ``(t, value)``."""
        values = self._entry(trial_id).values
        return max(values.items()) if values else None

    def best(self) -> Trial | None:
        """The incumbent: the COMPLETED trial with the best final value.

        Before any trial completes, the trial whose last value is best. A FAILED trial is never
        the incumbent, nor is a value that is not finite. None while there is no value at all.

        Where hyperparameters are fidelities, trials at full fidelity only. With outcome
        constraints, the best of those that keep them; while none does, the one that breaks them
        least. Of several objectives the weighted sum counts, or without weights the
        first (see :meth:`pareto`).
        """
        best: tuple[bool, float, float] | None = None
        winner: _Entry | None = None
        for entry in self._rows:
            if not entry.values or entry.head.state is TrialState.FAILED:
                continue
            if not self._is_full(entry):
                continue
            merit = self._merit(entry.head.state, self._values_at(entry, max(entry.values)))
            if math.isfinite(merit[-1]) and (best is None or merit > best):
                best, winner = merit, entry
        return None if winner is None else winner.frozen(self.metric)

    def merit(self, trial: Trial) -> tuple[bool, float, float]:
        """What makes one trial better than another, larger being better; see :meth:`best`."""
        return self._merit(trial.state, self.metrics_of(trial))

    def ranked(self) -> tuple[Trial, ...]:
        """Trials that have a value at full fidelity and did not fail, the best first.

        COMPLETED trials come before the others, whose values are not final; then those that keep
        the outcome constraints. Of several objectives the weighted sum counts, or the first.
        """
        usable = (
            trial
            for trial in self.trials
            if math.isfinite(trial.value)
            and trial.state is not TrialState.FAILED
            and self.is_full(trial)
        )
        return tuple(sorted(usable, key=self.merit, reverse=True))

    def is_full(self, trial: Trial) -> bool:
        """Whether the trial is at full fidelity; each is where no hyperparameter is a fidelity."""
        return self._is_full(self._entry(trial.trial_id))

    def is_feasible(self, trial: Trial) -> bool:
        """Whether the trial's last values keep all outcome constraints."""
        return self.goal.violation(self.metrics_of(trial)) == 0.0

    def metrics_at(self, trial_id: str, t: float) -> dict[str, float]:
        """Every metric of the goal at a t at which the trial has reported."""
        return self._values_at(self._entry(trial_id), float(t))

    def metrics_of(self, trial: Trial) -> dict[str, float]:
        """Every metric of the goal at the end of the trial, as reported."""
        rest = {name: trial.value_of(name) for name in self.goal.metrics[1:]}
        return {self.metric: trial.value, **rest}

    def further_metrics(self) -> tuple[str, ...]:
        """Return the names of all numbers that trials reported beside the goal's metrics."""
        entries = self._entries.values()
        return tuple(dict.fromkeys(name for entry in entries for name in entry.metrics))

    def pareto(self) -> tuple[Trial, ...]:
        """The Pareto front: the COMPLETED trials that no other dominates, by number.

        Only those count that keep all outcome constraints and whose values are finite. Before any
        trial completes, the same of all that have values and did not fail. With one objective, the
        best and those that tie with it.
        """
        usable = [
            (trial, self.goal.outcomes(self.metrics_of(trial))[: self.goal.n_objectives])
            for trial in self.trials
            if trial.values and trial.state is not TrialState.FAILED and self.is_feasible(trial)
        ]
        usable = [pair for pair in usable if all(math.isfinite(score) for score in pair[1])]
        complete = [pair for pair in usable if pair[0].state is TrialState.COMPLETED]
        contenders = complete or usable
        if not contenders:
            return ()
        on_front = non_dominated(np.array([scores for _, scores in contenders]))
        return tuple(trial for (trial, _), is_in in zip(contenders, on_front, strict=True) if is_in)

    def snapshot(self) -> Snapshot:
        """The record as frozen arrays; see :class:`Snapshot`. The same one until it changes."""
        moment = (self._parts, len(self._log), self.left, self.goal)
        if self._taken is None or self._taken[0] != moment:
            self._taken = moment, self._take()
        return self._taken[1]

    def _take(self) -> Snapshot:
        parts = self._parts.all(len(self._rows)) or [self._part(0, 0)]
        Y = np.concatenate([part.outcomes for part in parts])
        return Snapshot(
            trial_ids=tuple(self._entries),
            states=tuple(chain.from_iterable(part.states for part in parts)),
            points=np.concatenate([part.points for part in parts]),
            trial=np.concatenate([part.trial for part in parts]),
            t=np.concatenate([part.t for part in parts]),
            y=Y[:, 0].copy(),
            final=np.concatenate([part.final for part in parts]),
            max_t=self.max_t,
            others=None if Y.shape[1] == 1 else Y[:, 1:].copy(),
            n_objectives=self.goal.n_objectives,
            cost=None if self.goal.cost is None else np.concatenate([part.cost for part in parts]),
            standard_error=None
            if self.goal.standard_error is None
            else np.concatenate([part.standard_error for part in parts]),
            left=self.left,
        )

    # -- what has changed -----------------------------------------------------------------------

    @property
    def version(self) -> int:
        """How many things have happened: it grows with each, in this process."""
        return len(self._log)

    @property
    def ended_version(self) -> int:
        """The version at which a trial last ended, or began to wait for its scheduler."""
        return self._ended_version

    def changes(self, since: int) -> tuple[Change, ...]:
        """What has become of the trials to which something happened after version ``since``.

        In the order in which it began to happen; :meth:`apply` brings another record, one that knew
        all up to ``since``, to where this one is.
        """
        touched: dict[str, dict[float, float]] = {}
        others: dict[str, dict[float, dict[str, float]]] = {}
        for trial_id, t in self._log[since:]:
            values = touched.setdefault(trial_id, {})
            entry = self._entries[trial_id]
            if t is not None:
                values[t] = entry.values[t]
                if t in entry.others:
                    others.setdefault(trial_id, {})[t] = entry.others[t]
        return tuple(
            Change(
                trial_id,
                self.space.dump(self._entries[trial_id].head.config),
                self._entries[trial_id].head.origin,
                self._entries[trial_id].head.state,
                tuple(sorted(values.items())),
                tuple(sorted(others.get(trial_id, {}).items())),
            )
            for trial_id, values in touched.items()
        )

    def apply(self, change: Change) -> None:
        """Bring a trial to where it is in the record that ``change`` comes from."""
        if change.trial_id not in self._entries:
            self.add(change.trial_id, self.space.load(change.config), change.origin)
        others = dict(change.others)
        if change.values and not self.is_live(change.trial_id):
            self.reopen(change.trial_id)
        for t, value in change.values:
            self.report(change.trial_id, t, value, others.get(t))
        entry = self._entries[change.trial_id]
        if entry.head.state is not change.state:
            self._set(entry, state=change.state, reason="", ended_at=None)

    # -- what is kept beside the trials ---------------------------------------------------------

    def get_meta(self, key: str, default: Any = None) -> Any:
        """A JSON value kept beside the trials, or ``default``."""
        return self._store.get_meta(key, default)

    def set_meta(self, key: str, value: Any) -> None:
        """Keep a JSON-able value beside the trials."""
        self._store.set_meta(key, value)

    # -- where it is kept -----------------------------------------------------------------------

    def move_to(self, path: Folder) -> None:
        """Write to ``path``, a file or a folder behind a URI, starting with all that is known.

        What is there is replaced, as a whole or (killed on the way) not at all.
        """
        self._store.move_to(path)

    def copy_to(self, path: Path) -> None:
        """Write a consistent copy of the record to ``path``."""
        self._store.copy_to(path)

    def flush(self, timeout_s: float) -> bool:
        """Wait until all that happened is where a killed process leaves it.

        Returns:
            Whether it is: at once in a file, after an upload behind a URI.
        """
        return self._store.flush(timeout_s)

    def close(self) -> None:
        """Let go of the file. The record stays readable in memory."""
        data = self._store.to_bytes()
        self._store.close()
        self._store = Store.from_bytes(data)

    @classmethod
    def open(cls, path: Folder, space: Space | None = None) -> History:
        """Read a record back and go on writing to it.

        Args:
            path: The database file, or the folder of the journal behind a URI.
            space: The search space; None rebuilds it from the record (possible unless a choice
                is an object that JSON cannot hold).

        Raises:
            HistoryError: No file there, or no record in it.
            SpaceError: No space was given and it cannot be rebuilt, or another space was given.
        """
        store = Store.open(path)
        try:
            return cls.of_store(store, space)
        except RaytunerError:
            store.close()
            raise

    @classmethod
    def read(cls, path: Folder, space: Space | None = None, *, stand_ins: bool = False) -> History:
        """Read a record back to look at it, in memory; it may be written to at the same time.

        Args:
            path: The database file, or the folder of the journal behind a URI.
            space: As for :meth:`open`.
            stand_ins: Show objects that only Python has by their ``repr`` (:class:`StandIn`) where
                the space has to be rebuilt.

        Raises:
            HistoryError, SpaceError: As for :meth:`open`.
        """
        return cls.of_store(Store.read(path), space, stand_ins=stand_ins)

    @classmethod
    def of_store(cls, store: Store, space: Space | None, *, stand_ins: bool = False) -> History:
        """The record that a store holds; raises as :meth:`open`."""
        history = cls.__new__(cls)
        history._store = store
        try:
            spec = store.get_meta("space", None)
            if space is None:
                space = Space.from_spec(with_stand_ins(spec) if stand_ins else spec)
            else:
                check_same(spec, space, store.source)
            history.space = space
            goal = store.get_meta("goal", None)
            history._follow(
                Goal.of(store.get_meta("metric", None), store.get_meta("mode", None))
                if goal is None
                else Goal.from_json(goal)
            )
            history._time_attr = store.get_meta("time_attr", None)
            history._max_t = store.get_meta("max_t", None)
            history._curves = tuple(store.get_meta("curves", None) or ())
            if (odd := misshapen(store.all_meta())) is not None:
                raise ValueError(odd)
            history._forget()
            for head in store.trials():
                if not (is_time(head[6]) and is_time(head[7] or 0.0)):
                    raise ValueError(f"the times of trial {head[0]!r} are none")
                full = space.load(json.loads(head[2]))
                trial = Trial(
                    trial_id=head[0],
                    number=head[1],
                    config=full,
                    state=TrialState(head[3]),
                    values=(),
                    reason=head[4],
                    origin=Origin(head[5]),
                    proposed_at=head[6],
                    ended_at=head[7],
                )
                row = len(history._entries)
                history._enter(_Entry(row, trial, space.encode([full])[0]))
            for trial_id, t, metric, value in store.others():
                history._entries[trial_id].others.setdefault(t, {})[metric] = value
            for trial_id, t, value, reported_at in store.values():
                if not math.isfinite(t):
                    raise ValueError(f"trial {trial_id!r} reported at t = {t}")
                if not is_time(reported_at):
                    raise ValueError(f"the time of a report of trial {trial_id!r} is none")
                history._reported_at = max(history._reported_at, reported_at)
                history._note(history._entries[trial_id], t, value, {})
            for trial_id, metrics in store.last():
                history._entries[trial_id].metrics = metrics
        except SpaceError:
            raise
        except _UNREADABLE as error:
            raise damaged(store.source, repr(error)) from error
        return history

    def __getstate__(self) -> dict[str, Any]:
        # A database connection cannot be pickled: its content can. The copy lives in memory.
        return {"space": self.space, "record": self._store.to_bytes()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        store = Store.from_bytes(state["record"])
        self.__dict__.update(History.of_store(store, state["space"]).__dict__)

    # -- inside ---------------------------------------------------------------------------------

    def _entry(self, trial_id: str) -> _Entry:
        if trial_id not in self._entries:
            raise HistoryError(f"trial {trial_id!r} is not in the record")
        return self._entries[trial_id]

    def _follow(self, goal: Goal) -> None:
        self.goal = goal
        self.metric = goal.objectives[0].metric
        self.mode: Mode = goal.objectives[0].mode

    def _merit(self, state: TrialState, values: Mapping[str, float]) -> tuple[bool, float, float]:
        violation = self.goal.violation(values) if self.goal.constraints else 0.0
        return state is TrialState.COMPLETED, -violation, self.goal.outcomes(values)[0]

    def _is_full(self, entry: _Entry) -> bool:
        return not self.space.fidelities or bool(self.space.is_full(entry.point[None])[0])

    def _cost(self, entry: _Entry) -> float:
        """What a trial would cost in full, by its last report; NaN if that cannot be said."""
        t = max(entry.values, default=0.0)
        spent = _amount(entry.others.get(t, {}).get(str(self.goal.cost)))
        if self.max_t is not None and t > 0 and entry.head.state is not TrialState.COMPLETED:
            return spent * self.max_t / t
        is_full = self.max_t is not None or entry.head.state is TrialState.COMPLETED
        return spent if is_full else math.nan

    def _values_at(self, entry: _Entry, t: float) -> dict[str, float]:
        """Every metric of the goal at a t at which the trial has reported."""
        return {**entry.others.get(t, {}), self.metric: entry.values[t]}

    def _part(self, start: int, stop: int) -> _Part:
        """The trials in these rows as arrays; see :meth:`snapshot`."""
        entries = self._rows[start:stop]
        trial: list[int] = []
        t: list[float] = []
        outcomes: list[tuple[float, ...]] = []
        errors: list[float] = []
        error_name = self.goal.standard_error
        final: list[bool] = []
        for entry in entries:
            steps = sorted(entry.values)
            trial += [entry.row] * len(steps)
            t += steps
            outcomes += [self.goal.outcomes(self._values_at(entry, step)) for step in steps]
            if error_name is not None:
                errors += [_amount(entry.others.get(step, {}).get(error_name)) for step in steps]
            final += [False] * len(steps)
            if steps and entry.head.state is TrialState.COMPLETED:
                final[-1] = True
        width = self.goal.n_objectives + len(self.goal.constraints)
        return _Part(
            states=tuple(entry.head.state for entry in entries),
            points=self.points(start, stop),
            trial=np.array(trial, dtype=np.int64),
            t=np.array(t, dtype=np.float64),
            outcomes=np.array(outcomes, dtype=np.float64).reshape(len(t), width),
            final=np.array(final, dtype=np.bool_),
            cost=np.array([] if self.goal.cost is None else [*map(self._cost, entries)]),
            standard_error=np.array(errors, dtype=np.float64),
        )

    def _forget(self) -> None:
        """Begin with no trial. What follows from the entries is kept up to date beside them."""
        self._entries: dict[str, _Entry] = {}
        self._rows: list[_Entry] = []
        self._parts = Pieces(self._part)
        self._counts: Counter[TrialState] = Counter()
        self._live: set[str] = set()
        self._has_values = False
        self.warned_of: set[str] = set()
        self._largest_t = 0.0
        self._reported_at = 0.0
        self._taken = None
        self._log: list[tuple[str, float | None]] = []  # which trial; at which t, if it reported
        self._ended_version = 0

    def _enter(self, entry: _Entry) -> None:
        self._entries[entry.head.trial_id] = entry
        self._rows.append(entry)
        self._place(entry)

    def _set(self, entry: _Entry, **changes: Any) -> None:
        before = entry.head.state
        self._counts[before] -= 1
        self._live.discard(entry.head.trial_id)
        entry.head = replace(entry.head, **changes)
        self._place(entry, before)
        self._write(entry.head)

    def _place(self, entry: _Entry, before: TrialState | None = None) -> None:
        """Count a trial where it is now."""
        head = entry.head
        self._parts.touch(entry.row)
        self._counts[head.state] += 1
        if head.state.is_live:
            self._live.add(head.trial_id)
        self._log.append((head.trial_id, None))
        if head.state not in (before, TrialState.PENDING, TrialState.RUNNING):
            self._ended_version = len(self._log)

    def _note(self, entry: _Entry, t: float, value: float, others: dict[str, float]) -> None:
        """Keep what was reported at a t."""
        entry.values[t] = value
        self._parts.touch(entry.row)
        if others:
            entry.others.setdefault(t, {}).update(others)
        self._largest_t = max(self._largest_t, t)
        self._has_values |= entry.head.origin is not Origin.EVALUATED
        self._log.append((entry.head.trial_id, t))

    def _write(self, head: Trial) -> None:
        config = json.dumps(self.space.dump(head.config))
        self._store.put_trial(
            (
                head.trial_id,
                head.number,
                config,
                head.state.value,
                head.reason,
                head.origin.value,
                head.proposed_at,
                head.ended_at,
            )
        )


def _finite(trial_id: str, t: float) -> float:
    if not math.isfinite(t := float(t)):
        raise HistoryError(f"trial {trial_id!r} reported at t = {t}; t must be finite")
    return t


def _amount(value: float | None) -> float:
    """Return a cost or a standard error; NaN if it is missing, negative or infinite."""
    return value if value is not None and 0 <= value < math.inf else math.nan
