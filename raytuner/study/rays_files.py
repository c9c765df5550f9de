"""What trials reported, by the plain files that Ray keeps in each trial's folder.

``result.json`` has a line a report, ``progress.csv`` the same as a table, ``params.json`` the
configuration, ``error.txt`` what was raised. Ray's pickles beside them are never opened.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from raytuner import text
from raytuner.errors import RaytunerError
from raytuner.history import Goal, Origin, Remains, TrialState
from raytuner.history.metadata import is_time
from raytuner.history.sqlite import as_text
from raytuner.ray_report import read_further, read_report
from raytuner.secret import without_secrets
from raytuner.space import Space
from raytuner.study.lifecycle import reason_of

_UNKNOWN_END = "recovered from Ray's files, which do not say how it ended"
_UNREADABLE = (OSError, ValueError, RecursionError, csv.Error)


def reports_in(
    folder: Path, space: Space, goal: Goal, time_attr: str, max_t: float | None
) -> tuple[Remains, tuple[str, ...]]:
    """The trials in the folder of an experiment, as rows of a record.

    Who proposed a trial is lost (:attr:`Origin.RECOVERED`). It counts as COMPLETED if it got to
    ``max_t`` or Ray wrote down that it was done, as FAILED if it raised, else as STOPPED_EARLY: its
    last value is not taken for a final one.

    Args:
        folder: The experiment's folder.
        space: The search space; what does not lie in it is passed over.
        goal: Whose metrics are read.
        time_attr: Key of the resource.
        max_t: A trial's full resource, if known.

    Returns:
        The rows, and what could not be read, a line each.
    """
    remains, lost = Remains(), []
    found = []
    for trial in sorted(folder.glob("*/params.json")):
        try:
            config = json.loads(trial.read_text(encoding="utf-8"))
            space.validate(config)
            dumped = json.dumps(space.dump(config))
        except (*_UNREADABLE, RaytunerError) as error:
            lost.append(f"{trial.parent.name}: {error}")
            continue
        rows = [row for row in _reports(trial.parent) if isinstance(row.get("trial_id"), str)]
        if rows:
            found.append((_time(rows[0].get("timestamp")), dumped, trial.parent, rows))
    found.sort(key=lambda one: one[0])
    for number, (begun, dumped, trial, rows) in enumerate(found):
        trial_id, last_t = rows[0]["trial_id"], 0.0
        further: dict[str, float] = {}
        for row in rows:
            further |= read_further(row, (*goal.metrics, time_attr))
            try:
                report = read_report(row, time_attr, goal.required, goal.optional)
            except RaytunerError:
                continue
            if report is None:
                continue
            t, metrics = report
            at = _time(row.get("timestamp"))
            first, *others = goal.metrics
            remains.keep("value", (trial_id, t, metrics[first], at))
            for name in others:
                remains.keep("other", (trial_id, t, name, metrics[name]))
            last_t = max(last_t, t)
        if further:
            remains.keep("last", (trial_id, as_text(further)))
        state, reason = _end(trial, rows, last_t, max_t)
        ended = _time(rows[-1].get("timestamp"))
        remains.keep(
            "trial",
            (trial_id, number, dumped, state, reason, Origin.RECOVERED.value, begun, None, ended),
        )
    return remains, tuple(lost)


def _end(
    trial: Path, rows: list[dict[str, Any]], last_t: float, max_t: float | None
) -> tuple[str, str]:
    raised = trial / "error.txt"
    if raised.is_file():
        said = raised.read_text(encoding="utf-8", errors="replace")
        return TrialState.FAILED.value, without_secrets(reason_of(said)) or "it raised"
    if last_t == 0.0:
        return TrialState.REMOVED.value, _UNKNOWN_END
    if rows[-1].get("done") in (True, "True") or (max_t is not None and last_t >= max_t):
        return TrialState.COMPLETED.value, ""
    return TrialState.STOPPED_EARLY.value, _UNKNOWN_END


def _reports(trial: Path) -> Iterator[dict[str, Any]]:
    """The reports of a trial that can be read, flattened as Ray flattens them."""
    try:
        lines = (trial / "result.json").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    found = False
    for line in lines:
        try:
            row = json.loads(line)
        except _UNREADABLE:
            continue  # cut off by a kill
        if isinstance(row, Mapping):
            found = True
            yield dict(text.flat(row))
    if not found:
        yield from _table(trial / "progress.csv")


def _table(path: Path) -> Iterator[dict[str, Any]]:
    """The same reports by Ray's table."""
    try:
        with path.open(encoding="utf-8", errors="replace", newline="") as file:
            for row in csv.DictReader(file):
                yield {key: _cell(key, cell) for key, cell in row.items() if key is not None}
    except _UNREADABLE:
        return


def _cell(key: str, cell: Any) -> Any:
    try:
        return cell if key in ("trial_id", "done") else float(cell)
    except (ValueError, TypeError):
        return cell


def _time(value: Any) -> float:
    """A time of Ray's; 0 where it is none."""
    return float(value) if is_time(value) else 0.0
