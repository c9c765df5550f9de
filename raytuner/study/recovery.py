"""Recovery of a study whose record is damaged or gone, also from the plain files that Ray keeps.

Of each trial, `result.json` has a line for each report, `progress.csv` the same as a table,
`params.json` the configuration, and `error.txt` what was raised. Ray's pickles are never opened.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from raytuner.controller.report import read_further, read_report
from raytuner.errors import HistoryError, RaytunerError, SettingError, without_secrets
from raytuner.folders import Folder, RemoteFolder, folder_of
from raytuner.history import (
    Goal,
    History,
    Origin,
    Remains,
    TrialState,
    Writer,
    salvaged,
    set_aside,
)
from raytuner.history.metadata import is_time
from raytuner.history.sqlite import as_text
from raytuner.report import text
from raytuner.search.restore import RECORD_FILE, saved_copies
from raytuner.search.tune_space import space_from_tune
from raytuner.space import Space
from raytuner.study.lifecycle import reason_of

_UNKNOWN_END = "recovered from Ray's files, which do not say how it ended"
_UNREADABLE = (OSError, ValueError, RecursionError, csv.Error)


@dataclass(frozen=True)
class Recovered:
    """The result of a recovery.

    Attributes:
        path: The whole record.
        trials: Number of trials in it.
        values: Number of values that they reported.
        lost: What is known to be missing, a line each. The last events before the damage may be
            missing without a trace.
        from_copies: Number of rows that only the copies in Ray's state had.
        from_reports: Number of rows that only Ray's files of the trials had.
        kept: The damaged file under its new name; None if there was none, or nothing was changed.
    """

    path: Path
    trials: int
    values: int
    lost: tuple[str, ...]
    from_copies: int
    from_reports: int
    kept: Path | None

    def lines(self) -> Iterator[str]:
        """Yield the same in words."""
        trials, values = text.count(self.trials, "trial"), text.count(self.values, "value")
        yield f"{self.path} has {trials} and {values}."
        for rows, where in (
            (self.from_copies, "a copy in Ray's saved state"),
            (self.from_reports, "the files that Ray keeps of each trial"),
        ):
            if rows:
                yield f"{text.count(rows, 'row')} of them came from {where}."
        for line in self.lost:
            yield f"lost: {line}"
        if self.kept is not None:
            yield f"The damaged record is kept as {self.kept}."


def recover(
    folder: str | Folder,
    to: str | Path | None = None,
    *,
    param_space: Mapping[str, Any] | Space | None = None,
    metric: str | None = None,
    mode: str | None = None,
    time_attr: str | None = None,
) -> Recovered:
    """Make a study's record whole again, from all that is left of it.

    Rows of the damaged record come first, then those of the copies in Ray's saved state, then the
    files that Ray keeps of each trial. Nothing is guessed, and nothing of Ray's is unpickled. Stop
    a running study first.

    Args:
        folder: The study's folder.
        to: A new folder to write the whole record to. None: in place of the damaged record, which
            is kept under another name. A record that is whole stays as it is.
        param_space: The search space, if neither the record nor a copy of it has it any more.
        metric: Name of the objective, likewise.
        mode: "min" or "max", likewise.
        time_attr: Name of the resource, likewise.

    Returns:
        What was found, and what was lost.

    Raises:
        HistoryError: There is no study, or too little is left of it: the search space is lost.
        InUseError: Another process runs the study, and its record would be replaced.
        SettingError: `to` has something in it, or cannot be written to.
        SpaceError, MetricError: `param_space`, `metric` or `mode` is not valid.

    Example:
        .. code-block:: python

            for line in raytuner.recover("results/first").lines():
                print(line)
    """
    place = folder_of(folder)
    if isinstance(place, RemoteFolder):
        raise SettingError(f"{place} is behind a URI; copy it to a folder, and recover that")
    record = place / RECORD_FILE
    target = record if to is None else _new_folder(Path(to).expanduser().resolve()) / RECORD_FILE
    copies = saved_copies(place)
    if not record.is_file() and not copies and param_space is None:
        raise HistoryError(
            f"{place} holds no study: there is neither {RECORD_FILE} nor a searcher state of Ray's"
        )
    remains = Remains.of(record)
    from_copies = 0
    for copy in reversed(copies):
        more = Remains.of(copy)
        mine = remains.meta("search_id")
        if mine is None or mine == more.meta("search_id"):
            from_copies += remains.fill(more)
    for key, value in _given_meta(param_space, metric, mode, time_attr).items():
        if remains.meta(key) is None:
            remains.keep("meta", (key, json.dumps(value)))
    found = salvaged(remains, place)
    reports, unread = _reports_in(place, found.history)
    from_reports = remains.fill(reports)
    if from_reports:
        found = salvaged(remains, place)
    is_whole = _is_whole(record) and not from_copies and not from_reports
    kept = None
    if to is not None or not is_whole:
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with nullcontext() if to is not None else Writer(record):
                kept = set_aside(record) if to is None else None
                found.history.copy_to(target)
        except OSError as error:
            raise SettingError(f"cannot write to {target.parent}: {error.strerror}") from error
    return Recovered(
        target,
        len(found.history),
        found.values,
        (*found.lost, *unread),
        from_copies,
        from_reports,
        kept,
    )


def _given_meta(
    space: Mapping[str, Any] | Space | None,
    metric: str | None,
    mode: str | None,
    time_attr: str | None,
) -> dict[str, Any]:
    """Return what a person says of the study, as a record keeps it."""
    found: dict[str, Any] = {} if time_attr is None else {"time_attr": time_attr}
    if space is not None:
        space = space if isinstance(space, Space) else space_from_tune(space)
        found |= {"space": space.to_spec(), "time_attr": time_attr or "training_iteration"}
    if metric is not None or mode is not None:
        found["goal"] = Goal.of(metric or "", mode or "").to_json()
    return found


def _is_whole(record: Path) -> bool:
    try:
        History.read(record, opaque=True)
    except RaytunerError:
        return False
    return True


def _new_folder(folder: Path) -> Path:
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise SettingError(f"{folder} has something in it already; name a new folder")
    return folder


def _reports_in(folder: Path, known: History) -> tuple[Remains, list[str]]:
    """Return the trials of an experiment's folder as rows of a record, and what is unreadable.

    Their origin is `Origin.RECOVERED`. A trial counts as COMPLETED if it reached `max_t` or Ray
    wrote that it was done, as FAILED if it raised, else as STOPPED_EARLY: its last value is not
    taken for a final one.
    """
    remains, lost, found = Remains(), [], []
    for params in sorted(folder.glob("*/params.json")):
        try:
            config = json.loads(params.read_text(encoding="utf-8"))
            known.space.validate(config)
            dumped = json.dumps(known.space.dump(config))
        except (*_UNREADABLE, RaytunerError) as error:
            lost.append(f"{params.parent.name}: {error}")
            continue
        rows = [row for row in _rows_of(params.parent) if isinstance(row.get("trial_id"), str)]
        if rows:
            found.append((_time(rows[0]), dumped, params.parent, rows))
    found.sort(key=lambda one: one[0])
    for number, (begun, dumped, trial, rows) in enumerate(found):
        trial_id, last_t = rows[0]["trial_id"], _keep_reports(remains, rows, known)
        state, reason = _end(trial, rows, last_t, known.max_t)
        end = (state.value, reason, Origin.RECOVERED.value, begun, None, _time(rows[-1]))
        remains.keep("trial", (trial_id, number, dumped, *end))
    return remains, lost


def _keep_reports(remains: Remains, rows: list[dict[str, Any]], known: History) -> float:
    """Keep a trial's reports, and return its largest resource; 0 without any."""
    trial_id, goal, last_t = rows[0]["trial_id"], known.goal, 0.0
    further: dict[str, float] = {}
    for row in rows:
        further |= read_further(row, (*goal.metrics, known.time_attr))
        report = read_report(row, known.time_attr, goal)
        if report.metrics is None or report.t is None:
            continue
        t, metrics = report.t, report.metrics
        first, *others = goal.metrics
        remains.keep("value", (trial_id, t, metrics[first], _time(row)))
        for name in others:
            remains.keep("other", (trial_id, t, name, metrics[name]))
        last_t = max(last_t, t)
    if further:
        remains.keep("last", (trial_id, as_text(further)))
    return last_t


def _end(
    trial: Path, rows: list[dict[str, Any]], last_t: float, max_t: float | None
) -> tuple[TrialState, str]:
    """Return how a trial ended, and why."""
    raised = trial / "error.txt"
    if raised.is_file():
        said = raised.read_text(encoding="utf-8", errors="replace")
        return TrialState.FAILED, without_secrets(reason_of(said)) or "it raised"
    if last_t == 0.0:
        return TrialState.REMOVED, _UNKNOWN_END
    if rows[-1].get("done") in (True, "True") or (max_t is not None and last_t >= max_t):
        return TrialState.COMPLETED, ""
    return TrialState.STOPPED_EARLY, _UNKNOWN_END


def _rows_of(trial: Path) -> list[dict[str, Any]]:
    """Return the readable reports of a trial, flattened as Ray flattens them."""
    rows = []
    try:
        lines = (trial / "result.json").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    for line in lines:
        try:
            row = json.loads(line)
        except _UNREADABLE:
            continue  # cut off by a kill
        if isinstance(row, Mapping):
            rows.append(dict(text.flat(row)))
    table = trial / "progress.csv"
    if not rows:
        with suppress(*_UNREADABLE), table.open(encoding="utf-8", errors="replace") as file:
            rows.extend(
                {key: _cell(key, cell) for key, cell in row.items()}
                for row in csv.DictReader(file, restkey="rest")
            )
    return rows


def _cell(key: str, cell: Any) -> Any:
    try:
        return cell if key in ("trial_id", "done") else float(cell)
    except (ValueError, TypeError):
        return cell


def _time(row: Mapping[str, Any]) -> float:
    """Return when a report came; 0 if it does not say."""
    value: Any = row.get("timestamp")
    return float(value) if is_time(value) else 0.0
