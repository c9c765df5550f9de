"""Read earlier studies from folders, records and tables."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from raytuner.errors import MetricError, SettingError
from raytuner.folders import RemoteFolder, folder_of
from raytuner.history import History, Trial, TrialState
from raytuner.search.restore import record_in
from raytuner.space import value_at
from raytuner.space.choices import is_number
from raytuner.space.template import MISSING, path_name

_PREFIX = "config/"


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
        modes: The metrics, each with "min" or "max"; None: it was only bounded, or is unknown.
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


def read_sources(items: Iterable[Any], metrics: Sequence[str]) -> tuple[SourceStudy, ...]:
    """Read earlier studies.

    Args:
        items: Folders of studies, studies, records (`History`) or tables (see
            `raytuner.BoTorchSearch`).
        metrics: The metrics that this search optimises: the columns of a table.

    Raises:
        HistoryError: A folder holds no study.
        MetricError: A table lacks a column of a metric, or it holds no numbers.
        SettingError: A table has an unknown state.
    """
    return tuple(_read(item, metrics, f"earlier[{number}]") for number, item in enumerate(items))


def check_sources(items: Any) -> None:
    """Check the types in `earlier=`.

    Raises:
        SettingError: It is not a list, or holds something that is not a study.
    """
    if isinstance(items, str | Path | RemoteFolder | Mapping) or not isinstance(items, Sequence):
        raise SettingError(
            f"earlier is {type(items).__name__}; it must be a list of studies, folders of studies"
            " or tables"
        )
    for number, item in enumerate(items):
        if not (
            isinstance(item, str | Path | RemoteFolder)
            or _record(item) is not None
            or _is_table(item)
        ):
            raise SettingError(
                f"earlier[{number}] is {item!r} ({type(item).__name__}); it must be the folder of"
                " a study, a raytuner.Study or a pandas.DataFrame"
            )


def _read(item: Any, metrics: Sequence[str], where: str) -> SourceStudy:
    if isinstance(item, str | Path | RemoteFolder):
        folder = folder_of(item)
        return _of_record(record_in(folder), f"{where} ({folder})")
    record = _record(item)
    if record is not None:
        return _of_record(record, where)
    return _of_table(item, metrics, where)


def _record(item: Any) -> History | None:
    """The record of what has one: a study, or a searcher."""
    record = item if isinstance(item, History) else getattr(item, "history", None)
    return record if isinstance(record, History) else None


def _is_table(item: Any) -> bool:
    import pandas as pd

    return isinstance(item, pd.DataFrame)


def _of_record(record: History, name: str) -> SourceStudy:
    paths = {path_name(path): path for path in record.space.leaves()}
    trials = []
    for trial in record.trials:
        config = record.space.unfolded(trial.config)
        found = {key: value_at(config, path, MISSING) for key, path in paths.items()}
        values = {key: value for key, value in found.items() if value is not MISSING}
        trials.append(SourceTrial(values, trial.state, _curve(record, trial)))
    modes: dict[str, str | None] = dict.fromkeys(c.metric for c in record.goal.constraints)
    modes |= {one.metric: one.mode for one in record.goal.objectives}
    return SourceStudy(name, modes, record.max_t, tuple(trials))


def _curve(record: History, trial: Trial) -> tuple[tuple[float, dict[str, float]], ...]:
    others = {name: dict(curve) for name, curve in trial.others.items()}
    return tuple(
        (t, {record.metric: value, **{k: curve.get(t, math.nan) for k, curve in others.items()}})
        for t, value in trial.values
    )


def _of_table(table: Any, metrics: Sequence[str], where: str) -> SourceStudy:
    """Read a table of final values; the `results` of a study also have states and resources."""
    name = f"{where}, a table of {len(table)} rows,"
    columns = [str(column) for column in table.columns]
    for metric in metrics:
        if metric not in columns:
            close = difflib.get_close_matches(metric, columns, n=1)
            hint = f"; is it {close[0]!r}? Rename it" if close else ""
            raise MetricError(f"{name} has no column {metric!r}; it has {', '.join(columns)}{hint}")
    are_results = any(column.startswith(_PREFIX) for column in columns)
    if are_results:
        names = {c: c.removeprefix(_PREFIX) for c in columns if c.startswith(_PREFIX)}
    else:
        names = {c: c for c in columns if c not in metrics}
    trials = []
    for row in table.set_axis(columns, axis=1).to_dict("records"):
        values = {names[c]: row[c] for c in names if not _is_blank(row[c])}
        state, t = TrialState.COMPLETED, 1.0
        if are_results and {"state", "t"} <= row.keys():
            state, t = _state(row["state"], name), float(row["t"])
        reached = {metric: _number(row[metric], metric, name) for metric in metrics}
        is_blank = all(math.isnan(value) for value in reached.values())
        trials.append(SourceTrial(values, state, () if is_blank else ((t, reached),)))
    return SourceStudy(name.rstrip(","), dict.fromkeys(metrics), None, tuple(trials))


def _number(cell: Any, metric: str, name: str) -> float:
    """Return a cell of a metric's column; NaN for an empty one."""
    if cell is None or _is_blank(cell):
        return math.nan
    if not is_number(cell):
        raise MetricError(f"{name} has {cell!r} in column {metric!r}; it must hold numbers")
    return float(cell)


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
