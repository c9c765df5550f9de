"""Saving what can be saved of a study whose record is damaged or gone."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from raytuner import text
from raytuner.errors import HistoryError, RaytunerError, SettingError
from raytuner.folders import Folder, RemoteFolder, folder_of
from raytuner.history import Goal, History, Remains, Writer, salvaged, set_aside
from raytuner.search.restore import RECORD_FILE, saved_copies
from raytuner.search.tune_space import space_from_tune
from raytuner.space import Space
from raytuner.study.rays_files import reports_in


@dataclass(frozen=True)
class Recovered:
    """What became of a study's record.

    Attributes:
        path: The whole record.
        trials: How many trials it has.
        values: How many values they reported.
        lost: What is known to be missing, a line each. The last events before the damage may be
            missing without a trace.
        from_copies: How many rows the copies in Ray's state had that the record had no more.
        from_reports: How many Ray's files of the trials had beyond that.
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
        """The same in words."""
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

    What the damaged record still has goes before what the copies in Ray's saved state have, and
    that before the files that Ray keeps of each trial. Nothing is guessed, and nothing of Ray's is
    unpickled. A study that runs is to be stopped first.

    Args:
        folder: The study's folder.
        to: A new folder to write the whole record to; None: in the damaged one's place, which is
            kept beside it under another name. A record that is whole stays as it is.
        param_space: The search space, where neither the record nor a copy of it says any more.
        metric: Name of the objective, likewise.
        mode: "min" or "max", likewise.
        time_attr: Name of the resource, likewise.

    Returns:
        What was found, and what was lost.

    Raises:
        HistoryError: There is no study, or too little is left of it: the search space is lost.
        InUseError: Another process runs the study, and its record would be replaced.
        SettingError: ``to`` has something in it, or cannot be written to.
        SpaceError, MetricError: ``param_space``, ``metric`` or ``mode`` is none.

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
    from_copies = sum(_fill(remains, copy) for copy in reversed(copies))
    _say(remains, _told(param_space, metric, mode, time_attr))
    found = salvaged(remains, place)
    known = found.history
    reports, unread = reports_in(place, known.space, known.goal, known.time_attr, known.max_t)
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


def _told(
    space: Mapping[str, Any] | Space | None,
    metric: str | None,
    mode: str | None,
    time_attr: str | None,
) -> dict[str, Any]:
    """What a person says of the study, as a record keeps it."""
    told: dict[str, Any] = {"time_attr": time_attr}
    if space is not None:
        space = space if isinstance(space, Space) else space_from_tune(space)
        told |= {"space": space.to_spec(), "time_attr": time_attr or "training_iteration"}
    if metric is not None or mode is not None:
        told["goal"] = Goal.of(metric or "", mode or "").to_json()
    return {key: value for key, value in told.items() if value is not None}


def _say(remains: Remains, told: Mapping[str, Any]) -> None:
    """Fill in what nothing else says."""
    for key, value in told.items():
        if remains.meta(key) is None:
            remains.keep("meta", (key, json.dumps(value)))


def _fill(remains: Remains, copy: Path) -> int:
    """Take from a copy of the same search what is missing."""
    more = Remains.of(copy)
    mine, its = (one.meta("search_id") for one in (remains, more))
    return remains.fill(more) if mine is None or mine == its else 0


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
