"""Earlier studies, read and brought into the space of this search."""

from __future__ import annotations

import difflib
import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from raytuner.bayes.dataset import dataset
from raytuner.bayes.earlier import Task
from raytuner.errors import ConfigError, MetricError, SettingError
from raytuner.history import History, Snapshot, TrialState
from raytuner.search.restore import record_in
from raytuner.space import ABSENT, Column, Domain, Space, value_at
from raytuner.space.choices import is_number, same
from raytuner.space.spec import path_name

logger = logging.getLogger(__name__)

EARLIER = "earlier"
"""Under this key the record has what was used of earlier studies."""

_PREFIX = "config/"
_MISSING = object()


@dataclass(frozen=True)
class Ran:
    """A trial of an earlier study.

    Attributes:
        values: Its hyperparameters and constants by name, nested ones joined by "/".
        state: How it ended.
        curve: Pairs ``(t, metric)``, ascending in t.
    """

    values: Mapping[str, Any]
    state: TrialState
    curve: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class EarlierStudy:
    """An earlier study as it was.

    Attributes:
        name: What to call it.
        metric: What was optimised.
        mode: "min" or "max"; None if that is not known.
        max_t: A trial's full resource, if known.
        trials: Its trials.
    """

    name: str
    metric: str
    mode: str | None
    max_t: float | None
    trials: tuple[Ran, ...]

    @property
    def names(self) -> list[str]:
        """Every name that has a value in some trial."""
        return list(dict.fromkeys(name for trial in self.trials for name in trial.values))


def read_earlier(items: Iterable[Any], metric: str) -> tuple[EarlierStudy, ...]:
    """Read earlier studies.

    Args:
        items: Folders of studies, studies, records (:class:`History`) or tables (see
            :class:`raytuner.BoTorchSearch`).
        metric: The metric of this search, by which a table's is found.

    Raises:
        HistoryError: A folder holds no study.
        MetricError: A table has no column of that name.
        SettingError: Something else was received.
    """
    return tuple(_read(item, metric, f"earlier[{number}]") for number, item in enumerate(items))


def check_earlier(items: Any) -> None:
    """Check what can be known of ``earlier=`` before the metric is.

    Raises:
        SettingError: It is no list, or holds what is no study.
    """
    if isinstance(items, str | Path | Mapping) or not isinstance(items, Sequence):
        raise SettingError(
            f"earlier is {type(items).__name__}; it must be a list of studies, folders of studies"
            " or tables"
        )
    for number, item in enumerate(items):
        if not (isinstance(item, str | Path) or _record(item) is not None or _is_table(item)):
            raise SettingError(
                f"earlier[{number}] is {item!r} ({type(item).__name__}); it must be the folder of"
                " a study, a raytuner.Study or a pandas.DataFrame"
            )


def task_of(study: EarlierStudy, space: Space, metric: str, mode: str) -> Task:
    """What an earlier study knows of a search.

    A column of the space that the study has no value of is left out of its model, and so is what
    exists only under conditions on such a one. Trials with a value that the space does not allow
    are left out, and so are those that lack one.

    Raises:
        MetricError: The study has another metric or mode.
        ConfigError: It shares no hyperparameter with the space, or too few of its trials lie in it.
    """
    if study.metric != metric or study.mode not in (None, mode):
        found = f"{study.metric!r} with mode {study.mode!r}"
        raise MetricError(
            f"{study.name} optimised {found}, and this search {metric!r} with mode {mode!r}; give"
            " studies of the same metric and mode, or a table with a column of this metric"
        )
    shared = _shared(space, set(study.names))
    if not shared.any():
        raise ConfigError(
            f"{study.name} has values of {', '.join(study.names) or 'nothing'}, and this search"
            f" varies {', '.join(c.name for c in space.columns)}; they share no hyperparameter:"
            " rename those that are the same"
        )
    task, reasons = _fitting(study, space, mode, shared)
    if not _says_anything(task):
        why = "; ".join(f"{n} left out: {reason}" for reason, n in reasons.most_common(3))
        raise ConfigError(
            f"{study.name}: of {len(study.trials)} trials, fewer than two lie in this search space"
            f" and ended with a value of {metric!r}{f' ({why})' if why else ''}; give a study that"
            " has some, or leave it out"
        )
    _tell_used(study, space, task, reasons)
    return task


def tasks_within(studies: Iterable[EarlierStudy], space: Space, mode: str) -> tuple[Task, ...]:
    """As :func:`task_of`; studies of which too little lies in the space are left out."""
    found = (_fitting(s, space, mode, _shared(space, set(s.names)))[0] for s in studies)
    return tuple(task for task in found if _says_anything(task))


def to_json(tasks: Sequence[Task], space: Space, mode: str) -> list[dict[str, Any]]:
    """What was used of earlier studies, for the record."""
    sign = 1.0 if mode == "max" else -1.0
    found = []
    for task in tasks:
        known = task.snapshot
        # Column by column: the others of a configuration may be unknown.
        values = [c.domain.from_units(known.points[:, j]) for j, c in enumerate(space.columns)]
        there = space.active(known.points) & task.shared
        curves: list[list[list[float]]] = [[] for _ in known.trial_ids]
        for row, t, y in zip(known.trial, known.t, known.y, strict=True):
            curves[row].append([float(t), float(sign * y)])
        trials = [
            {
                "values": {
                    c.name: c.domain.to_json(values[j][i])
                    for j, c in enumerate(space.columns)
                    if there[i, j]
                },
                "state": known.states[i].value,
                "curve": curves[i],
            }
            for i in range(len(known.trial_ids))
        ]
        found.append({"name": task.name, "max_t": known.max_t, "trials": trials})
    return found


def from_json(
    data: Sequence[Mapping[str, Any]], space: Space, metric: str, mode: str
) -> tuple[EarlierStudy, ...]:
    """What :func:`to_json` wrote of studies, in the record's own space."""
    domains = {column.name: column.domain for column in space.columns}
    return tuple(
        EarlierStudy(
            name=study["name"],
            metric=metric,
            mode=mode,
            max_t=study["max_t"],
            trials=tuple(
                Ran(
                    {k: domains[k].from_json(v) for k, v in trial["values"].items()},
                    TrialState(trial["state"]),
                    tuple((t, value) for t, value in trial["curve"]),
                )
                for trial in study["trials"]
            ),
        )
        for study in data
    )


# -- reading --------------------------------------------------------------------------------------


def _read(item: Any, metric: str, where: str) -> EarlierStudy:
    if isinstance(item, str | Path):
        folder = Path(item).expanduser()
        return _of_record(record_in(folder), f"{where} ({folder})")
    record = _record(item)
    if record is not None:
        return _of_record(record, where)
    return _of_table(item, metric, where)


def _record(item: Any) -> History | None:
    """The record of what has one: a study, or a searcher."""
    record = item if isinstance(item, History) else getattr(item, "history", None)
    return record if isinstance(record, History) else None


def _is_table(item: Any) -> bool:
    import pandas as pd

    return isinstance(item, pd.DataFrame)


def _of_record(record: History, name: str) -> EarlierStudy:
    paths = {path_name(path): path for path in record.space.leaves()}
    trials = []
    for trial in record.trials:
        found = {key: value_at(trial.config, path, _MISSING) for key, path in paths.items()}
        values = {key: value for key, value in found.items() if value is not _MISSING}
        trials.append(Ran(values, trial.state, trial.values))
    return EarlierStudy(name, record.metric, record.mode, record.max_t, tuple(trials))


def _of_table(table: Any, metric: str, where: str) -> EarlierStudy:
    """A table of final values; one made of a study's ``results`` says more."""
    name = f"{where}, a table of {len(table)} rows,"
    columns = [str(column) for column in table.columns]
    if metric not in columns:
        close = difflib.get_close_matches(metric, columns, n=1)
        hint = f"; is it {close[0]!r}? Rename it" if close else ""
        raise MetricError(f"{name} has no column {metric!r}; it has {', '.join(columns)}{hint}")
    are_results = any(column.startswith(_PREFIX) for column in columns)
    if are_results:
        names = {c: c.removeprefix(_PREFIX) for c in columns if c.startswith(_PREFIX)}
    else:
        names = {c: c for c in columns if c != metric}
    trials = []
    for row in table.set_axis(columns, axis=1).to_dict("records"):
        values = {names[c]: row[c] for c in names if not _is_blank(row[c])}
        state, t = TrialState.COMPLETED, 1.0
        if are_results and {"state", "t"} <= row.keys():
            state, t = _state(row["state"], name), float(row["t"])
        value = row[metric]
        is_blank = value is None or _is_blank(value)
        if not is_blank and not is_number(value):
            raise MetricError(f"{name} has {value!r} in column {metric!r}; it must hold numbers")
        curve = () if is_blank else ((t, float(value)),)
        trials.append(Ran(values, state, curve))
    return EarlierStudy(name.rstrip(","), metric, None, None, tuple(trials))


def _state(text: Any, name: str) -> TrialState:
    try:
        return TrialState(text)
    except ValueError:
        known = ", ".join(state.value for state in TrialState)
        raise SettingError(f"{name} has {text!r} in column 'state'; it may be {known}") from None


def _is_blank(value: Any) -> bool:
    """Whether a cell of a table is empty. None may be a choice like any other."""
    import pandas as pd

    return value is not None and bool(pd.api.types.is_scalar(value) and pd.isna(value))


# -- into the space -------------------------------------------------------------------------------


def _shared(space: Space, names: set[str]) -> np.ndarray:
    """``(d,)`` which columns have values, and depend on none that has not."""
    shared = np.array([column.name in names for column in space.columns])
    for _ in space.columns:  # conditions may depend on one another
        for j, column in enumerate(space.columns):
            shared[j] &= all(shared[r.column] for r in column.requires)
    return shared


def _encoded(space: Space, values: Mapping[str, Any], shared: np.ndarray) -> np.ndarray | str:
    """``(d,)`` the trial's place in the space, or why it has none."""
    for path, leaf in space.leaves().items():
        name = path_name(path)
        if isinstance(leaf, Domain) or name not in values or is_number(leaf):
            continue
        if not same(leaf, values[name], strict=False):
            return f"{name} is {values[name]!r}, here always {leaf!r}"
    point = np.full(space.dim, ABSENT)
    wrong: dict[int, str] = {}
    for j, column in enumerate(space.columns):
        value = values.get(column.name, _MISSING)
        if not shared[j]:
            continue
        if column.domain.contains(value):
            point[j] = column.domain.to_unit(value)
        else:
            wrong[j] = _unfit(column, value)
    there = space.active(point[None])[0]
    for j, reason in wrong.items():
        if there[j]:
            return reason
    return np.where(shared, space.snap(point[None])[0], ABSENT)


def _fitting(
    study: EarlierStudy, space: Space, mode: str, shared: np.ndarray
) -> tuple[Task, Counter[str]]:
    """Those of its trials that have a place in the space, and why the others have none."""
    points, kept, reasons = [], [], Counter[str]()
    for trial in study.trials:
        found = _encoded(space, trial.values, shared)
        if isinstance(found, str):
            reasons[found] += 1
        else:
            points.append(found)
            kept.append(trial)
    return Task(study.name, _snapshot(kept, points, space.dim, mode, study.max_t), shared), reasons


def _says_anything(task: Task) -> bool:
    """Whether a model can be made of it, and a best configuration be told."""
    return len(dataset(task.snapshot).evaluated) >= 2 and len(task.best()) > 0


def _unfit(column: Column, value: Any) -> str:
    if value is _MISSING:
        return f"{column.name} is missing"
    return f"{column.name} lies outside of {column.domain.describe()}"


def _snapshot(
    trials: Sequence[Ran],
    points: Sequence[np.ndarray],
    dim: int,
    mode: str,
    max_t: float | None,
) -> Snapshot:
    sign = 1.0 if mode == "max" else -1.0
    rows = [(row, t, value) for row, ran in enumerate(trials) for t, value in ran.curve]
    last = [i + 1 == len(rows) or rows[i + 1][0] != row for i, (row, _, _) in enumerate(rows)]
    return Snapshot(
        trial_ids=tuple(str(row) for row in range(len(trials))),
        states=tuple(ran.state for ran in trials),
        points=np.array(points).reshape(len(points), dim),
        trial=np.array([row for row, _, _ in rows], dtype=np.int64),
        t=np.array([t for _, t, _ in rows], dtype=np.float64),
        y=np.array([sign * value for _, _, value in rows], dtype=np.float64),
        final=np.array(
            [
                is_last and trials[row].state is TrialState.COMPLETED
                for is_last, (row, _, _) in zip(last, rows, strict=True)
            ],
            dtype=np.bool_,
        ),
        max_t=max_t,
    )


def _tell_used(study: EarlierStudy, space: Space, task: Task, reasons: Counter[str]) -> None:
    names = [column.name for column in space.columns]
    lacking = [name for name, there in zip(names, task.shared, strict=True) if not there]
    constants = {path_name(path) for path in space.leaves()} - set(names)
    unknown = [name for name in study.names if name not in {*names, *constants}]
    words = [f"{len(task.snapshot.trial_ids)} of {len(study.trials)} trials used"]
    words += [f"{n} left out since {reason}" for reason, n in reasons.most_common()]
    words += [f"it says nothing of {', '.join(lacking)}"] if lacking else []
    words += [f"what it had beside is not used: {', '.join(unknown)}"] if unknown else []
    logger.info("%s: %s.", study.name, "; ".join(words))
