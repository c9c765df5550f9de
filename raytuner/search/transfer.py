"""Read earlier studies and translate them into the space of this search."""

from __future__ import annotations

import difflib
import logging
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from raytuner.bayes.dataset import chebyshev, dataset, most_informative, thinned
from raytuner.bayes.transfer import Task
from raytuner.errors import ConfigError, MetricError, RaytunerError, SettingError
from raytuner.folders import Folder, RemoteFolder, folder_of
from raytuner.history import Goal, History, Origin, Trial, TrialState
from raytuner.history.snapshot import build
from raytuner.history.trial import Entry
from raytuner.search.restore import record_at, record_in, studies_in
from raytuner.space import ABSENT, Domain, Space, value_at
from raytuner.space.choices import alike, is_number
from raytuner.space.template import MISSING, path_name

logger = logging.getLogger(__name__)

EARLIER = "earlier"
"""Metadata: the trials of earlier studies that this search uses."""

_PREFIX = "config/"
_TRIALS = 200  # most trials kept of each study: its model uses no more
# Why a study in a folder is left out. The log says which hyperparameters, trials or metrics.
_REASONS: Mapping[type[RaytunerError], str] = {
    MetricError: "optimised other metrics, or the other way",
    ConfigError: "share no hyperparameter with it or have too few trials in its space",
}


@dataclass(frozen=True)
class SourceTrial:
    """A trial of an earlier study.

    Attributes:
        values: Hyperparameters and constants by name, nested ones joined by "/".
        state: The state in which the trial ended.
        curve: Pairs `(t, metrics by name)`, ascending in t.
    """

    values: Mapping[str, Any]
    state: TrialState
    curve: tuple[tuple[float, Mapping[str, float]], ...]


@dataclass(frozen=True)
class SourceStudy:
    """An earlier study.

    Attributes:
        name: The name for messages.
        modes: "min" or "max" for each metric; None if a metric was only bounded or is unknown.
        max_t: A trial's full resource, if known.
        trials: The trials.
    """

    name: str
    modes: Mapping[str, str | None]
    max_t: float | None
    trials: tuple[SourceTrial, ...]

    @property
    def names(self) -> list[str]:
        """The names that have a value in some trial."""
        return list(dict.fromkeys(name for trial in self.trials for name in trial.values))


def read_earlier(
    items: Sequence[Any], space: Space, goal: Goal, own: Folder | None
) -> list[dict[str, Any]]:
    """Return the usable parts of earlier studies, for the record.

    A folder that is not a study means all studies in it (`studies_in`). Studies that this search
    cannot use are then left out, with a log line.

    Args:
        items: The studies, or folders of studies (see `raytuner.BoTorchSearch`).
        space: The space of this search.
        goal: The goal of this search.
        own: The file of this search's own record, which is skipped; None if unknown.

    Raises:
        SettingError: An item is neither a study nor a folder, or no study in a folder can be used.
        HistoryError, MetricError, ConfigError: See `read_source` and `within`.
    """
    metrics, used = [one.metric for one in goal.objectives], list[dict[str, Any]]()
    for number, item in enumerate(items):
        where = f"earlier[{number}]"
        if isinstance(item, str | Path | RemoteFolder):
            item = folder_of(item)
            if (found := studies_in(item)) not in ([], [item]):
                others = [study for study in found if record_at(study) != own]
                used += _usable(others, space, goal, f"{where} ({item})")
                continue
        used.append(within(read_source(item, metrics, where), space, goal))
    return used


def _usable(
    folders: Sequence[Folder], space: Space, goal: Goal, where: str
) -> list[dict[str, Any]]:
    """Return the usable parts of the studies in a folder; at least one must be usable."""
    used, reasons = list[dict[str, Any]](), Counter[str]()
    for folder in folders:
        try:
            used.append(within(_of_record(record_in(folder), str(folder)), space, goal))
        except RaytunerError as error:
            reasons[_REASONS.get(type(error), "cannot be read")] += 1
            logger.info("Left out: %s.", error)
    if not used:
        why = "; ".join(f"{n} {reason}" for reason, n in reasons.most_common())
        why = why or "the only one is its own"
        raise SettingError(
            f"this search can use none of the studies in {where}: {why}; name another folder, or"
            " leave it out"
        )
    return used


def read_source(item: Any, metrics: Sequence[str], where: str) -> SourceStudy:
    """Read an earlier study that a user gives (see `raytuner.BoTorchSearch`).

    Args:
        item: The study.
        metrics: The metrics that this search optimises. A table needs a column for each.
        where: The study's name in messages.

    Raises:
        SettingError: The item is not a study.
        HistoryError: The folder is not a study.
        MetricError: A table has no column for a metric, or the column does not contain numbers.
    """
    import pandas as pd

    if isinstance(item, str | Path | RemoteFolder):
        folder = folder_of(item)
        return _of_record(record_in(folder), f"{where} ({folder})")
    if isinstance(item, pd.DataFrame):
        return _of_table(item, metrics, where)
    record = getattr(item, "history", item)  # of a study, or a searcher
    if isinstance(record, History):
        return _of_record(record, where)
    raise SettingError(
        f"{where} is {item!r} ({type(item).__name__}); it must be the folder of a study, a"
        " raytuner.Study or a pandas.DataFrame"
    )


def _of_record(record: History, name: str) -> SourceStudy:
    paths = {path_name(path): path for path in record.space.leaves()}
    trials = []
    for trial in record.trials:
        config = record.space.unfolded(trial.config)
        found = {key: value_at(config, path, MISSING) for key, path in paths.items()}
        values = {key: value for key, value in found.items() if value is not MISSING}
        curve = tuple((t, record.metrics_at(trial.trial_id, t)) for t, _ in trial.values)
        trials.append(SourceTrial(values, trial.state, curve))
    modes: dict[str, str | None] = dict.fromkeys(c.metric for c in record.goal.constraints)
    modes |= {one.metric: one.mode for one in record.goal.objectives}
    return SourceStudy(name, modes, record.max_t, tuple(trials))


def _of_table(table: Any, metrics: Sequence[str], where: str) -> SourceStudy:
    """Read a table of final values; the `results` of a study also have states and resources."""
    name = f"{where}, a table of {len(table)} rows"
    columns = list(map(str, table.columns))
    for metric in metrics:
        if metric not in columns:
            close = difflib.get_close_matches(metric, columns, n=1)
            hint = f"; is it {close[0]!r}? Rename it" if close else ""
            has = ", ".join(columns)
            raise MetricError(f"{name}, has no column {metric!r}; it has {has}{hint}")
    results = {c: c.removeprefix(_PREFIX) for c in columns if c.startswith(_PREFIX)}
    names = results or {c: c for c in columns if c not in metrics}
    trials = []
    for row in table.set_axis(columns, axis=1).to_dict("records"):
        values = {names[c]: row[c] for c in names if not _is_blank(row[c])}
        state, t = TrialState.COMPLETED, 1.0
        if results and {"state", "t"} <= row.keys():
            state, t = TrialState(row["state"]), float(row["t"])
        reached = {metric: _number(row[metric], metric, name) for metric in metrics}
        is_blank = all(math.isnan(value) for value in reached.values())
        trials.append(SourceTrial(values, state, () if is_blank else ((t, reached),)))
    return SourceStudy(name, dict.fromkeys(metrics), None, tuple(trials))


def _number(cell: Any, metric: str, name: str) -> float:
    """Return a cell of a metric's column; NaN for an empty one."""
    if cell is None or _is_blank(cell):
        return math.nan
    if not is_number(cell):
        raise MetricError(f"{name}, has {cell!r} in column {metric!r}; it must hold numbers")
    return float(cell)


def _is_blank(value: Any) -> bool:
    """Return whether a cell of a table is empty. None is not: it may be a choice."""
    import pandas as pd

    return value is not None and bool(pd.api.types.is_scalar(value) and pd.isna(value))


def within(study: SourceStudy, space: Space, goal: Goal) -> dict[str, Any]:
    """Return the usable part of an earlier study, for the record.

    Trials with a missing value or a value outside the space are dropped. Of the rest, the 200 most
    informative are kept, with the values of their curves that a model would use.

    Raises:
        MetricError: The study lacks a metric of the goal, or optimised it in the other direction.
        ConfigError: The study shares no hyperparameter with the space, or too few of its trials lie
            in the space.
    """
    for one in goal.objectives:
        if study.modes.get(one.metric, "lacking") not in (None, one.mode):
            had = ", ".join(f"{m!r} with mode {mode!r}" for m, mode in study.modes.items())
            wants = ", ".join(f"{o.metric!r} with mode {o.mode!r}" for o in goal.objectives)
            raise MetricError(
                f"{study.name} optimised {had}, but this search optimises {wants}; give studies"
                " with the same metrics and modes, or a table with a column for each metric"
            )
    task, kept, reasons = _fitting(study, space, goal)
    if not task.shared.any():
        raise ConfigError(
            f"{study.name} has values of {', '.join(study.names) or 'nothing'}, but this search"
            f" varies {', '.join(c.name for c in space.columns)}; they share no hyperparameter. If"
            " some have the same meaning, give them the same names"
        )
    if not _is_usable(task):
        why = "; ".join(f"{n} left out: {reason}" for reason, n in reasons.most_common(3))
        names = " and ".join(repr(one.metric) for one in goal.objectives)
        raise ConfigError(
            f"{study.name}: of {len(study.trials)} trials, fewer than two lie in this search space"
            f" and ended with a value of {names}{f' ({why})' if why else ''}; leave the study out"
        )
    parts = [f"{len(kept)} of {len(study.trials)} trials used"]
    parts += [f"{n} left out because {reason}" for reason, n in reasons.most_common()]
    if lacking := [space.columns[j].name for j in np.flatnonzero(~task.shared)]:
        parts.append(f"it has no values of {', '.join(lacking)}")
    logger.info("%s: %s.", study.name, "; ".join(parts))
    columns = [space.columns[j] for j in np.flatnonzero(task.shared)]
    metrics = [one.metric for one in goal.objectives]
    rows = _informative(task)
    trials = [
        {
            "values": {
                column.name: column.domain.to_json(value)
                for column in columns
                if column.domain.contains(value := kept[row].values.get(column.name, MISSING))
            },
            "state": kept[row].state.value,
            "curve": [  # JSON has no NaN
                [t, *(None if math.isnan(y := reached.get(m, math.nan)) else y for m in metrics)]
                for t, reached in kept[row].curve
                if t in times
            ],
        }
        for row, times in rows.items()
    ]
    return {"name": study.name, "max_t": study.max_t, "trials": trials}


def tasks_of(history: History, space: Space) -> tuple[Task, ...]:
    """Return the earlier studies in a record as tasks for a proposer.

    Args:
        history: The record.
        space: The space to propose from: the record's space or one within it. Studies with too few
            trials in it are left out.
    """
    domains = {column.name: column.domain for column in history.space.columns}
    modes = {one.metric: one.mode for one in history.goal.objectives}
    found = []
    for data in history.get_meta(EARLIER) or ():
        trials = tuple(
            SourceTrial(
                {name: domains[name].from_json(value) for name, value in ran["values"].items()},
                TrialState(ran["state"]),
                tuple(
                    (t, {m: y for m, y in zip(modes, ys, strict=True) if y is not None})
                    for t, *ys in ran["curve"]
                ),
            )
            for ran in data["trials"]
        )
        study = SourceStudy(data["name"], modes, data["max_t"], trials)
        found.append(_fitting(study, space, history.goal)[0])
    return tuple(filter(_is_usable, found))


def _shared(space: Space, study: SourceStudy) -> np.ndarray:
    """Return which columns have values and depend only on columns with values, `d`-dim."""
    names = set(study.names)
    shared = np.array([column.name in names for column in space.columns])
    for _ in space.columns:  # conditions may depend on one another
        for j, column in enumerate(space.columns):
            shared[j] &= all(shared[r.column] for r in column.requires)
    return shared


def _encoded(space: Space, values: Mapping[str, Any], shared: np.ndarray) -> np.ndarray | str:
    """Return the unit coordinates of a trial, `d`-dim, or why it has none."""
    for path, leaf in space.leaves().items():
        name = path_name(path)
        if isinstance(leaf, Domain) or name not in values or is_number(leaf):
            continue
        if not alike(leaf, values[name]):
            return f"{name} is {values[name]!r}, here always {leaf!r}"
    point = np.full(space.dim, ABSENT)
    wrong: dict[int, str] = {}
    for j in np.flatnonzero(shared).tolist():
        name, domain = space.columns[j].name, space.columns[j].domain
        if name not in values:
            wrong[j] = f"{name} is missing"
        elif domain.contains(values[name]):
            point[j] = domain.to_unit(values[name])
        else:
            wrong[j] = f"{name} is not {domain.describe()}"
    there = space.active(point[None])[0]
    if reason := next((reason for j, reason in wrong.items() if there[j]), None):
        return reason
    return np.where(shared, space.snap(point[None])[0], ABSENT)


def _fitting(
    study: SourceStudy, space: Space, goal: Goal
) -> tuple[Task, list[SourceTrial], Counter[str]]:
    """Return the trials in the space, and the reasons why others are not, with counts."""
    shared = _shared(space, study)
    kept: list[SourceTrial] = []
    entries, reasons = [], Counter[str]()
    for ran in study.trials:
        point = _encoded(space, ran.values, shared)
        if isinstance(point, str):
            reasons[point] += 1
            continue
        row = len(kept)
        kept.append(ran)
        entries.append(
            Entry(
                Trial(str(row), row, {}, ran.state, (), "", Origin.EARLIER, 0.0, None),
                values={t: reached.get(goal.metrics[0], math.nan) for t, reached in ran.curve},
                others={t: dict(reached) for t, reached in ran.curve},
                point=point,
            )
        )
    goal = Goal(goal.objectives, weights=goal.weights)
    rows = set(range(len(entries)))
    snapshot = build(entries, rows, [], goal, study.max_t, None, space.dim)
    return Task(snapshot, shared), kept, reasons


def _informative(task: Task) -> dict[int, set[float]]:
    """Return the trials of a task to keep, ascending, and the t of the values to keep of each.

    This keeps a record with dozens of earlier studies small. Their models use no more rows.
    """
    snapshot = task.snapshot
    y = chebyshev(snapshot, 0).y if task.is_weighted else snapshot.y
    last = np.full(len(snapshot.points), -math.inf)
    last[snapshot.trial] = np.where(np.isnan(y), -math.inf, y)
    usable = np.isfinite(snapshot.y)
    rows = np.union1d(
        thinned(snapshot, np.flatnonzero(usable & (snapshot.t > 0))),
        np.flatnonzero(snapshot.final),
    )
    times: dict[int, set[float]] = {k: set() for k in most_informative(last, _TRIALS).tolist()}
    for trial, t in zip(snapshot.trial[rows].tolist(), snapshot.t[rows].tolist(), strict=True):
        if trial in times:
            times[trial].add(t)
    return times


def _is_usable(task: Task) -> bool:
    """Return whether a task has enough values for a model and a best configuration."""
    return len(dataset(task.snapshot).evaluated) >= 2 and len(task.best()) > 0
