"""What can be saved of a damaged record.

A row counts that passes its check (:mod:`raytuner.history.format`): nothing is guessed or mended.
Rows of formats 1 and 2, which have none, count if they are what a record holds.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from raytuner.errors import HistoryError
from raytuner.history.beside import is_time, misshapen
from raytuner.history.format import COLUMNS, KEYS, Row, as_kept, crc_of
from raytuner.history.goal import Goal, names_of
from raytuner.history.history import History
from raytuner.history.pages import rows_in
from raytuner.history.stand_in import with_stand_ins
from raytuner.history.store import Store
from raytuner.history.trial import Origin, TrialState
from raytuner.space import Space

_ESSENTIAL = ("space", "metric", "mode", "time_attr")
_UNLOADABLE = (ValueError, TypeError, LookupError, AttributeError, RecursionError)


@dataclass
class Remains:
    """Rows of a record by table and key, from one place or several.

    Attributes:
        tables: ``meta``, ``trial``, ``value``, ``other`` and ``last``: the rows by key.
        is_checked: Whether every row has passed a check.
    """

    tables: dict[str, dict[Row, Row]] = field(default_factory=lambda: {name: {} for name in KEYS})
    is_checked: bool = True

    @classmethod
    def of(cls, path: Path) -> Remains:
        """All that can still be read of the record at ``path``, whatever state it is in."""
        checked, unchecked = cls(), cls(is_checked=False)
        for row in rows_in(path):
            for table in COLUMNS:
                for remains, columns in ((checked, row[:-1]), (unchecked, row)):
                    try:
                        kept = as_kept(table, columns)
                    except (ValueError, TypeError, OverflowError):
                        continue
                    if remains is unchecked or crc_of(table, kept) == row[-1]:
                        remains.keep(table, kept)
        has_any = any(checked.tables.values())
        return checked if has_any or not any(unchecked.tables.values()) else unchecked

    def keep(self, table: str, row: Sequence[Any]) -> None:
        """Keep a row, in the place of one with the same key."""
        kept = as_kept(table, row)
        self.tables[table][kept[: KEYS[table]]] = kept

    def fill(self, other: Remains) -> int:
        """Take from ``other`` what is missing or unusable here; return how many rows but meta's."""
        added = 0
        for table, rows in other.tables.items():
            for key, row in rows.items():
                is_odd = table == "meta" and self.meta(key[0]) is None
                if is_odd or key not in self.tables[table]:
                    self.keep(table, row)
                    added += table != "meta"
        self.is_checked = self.is_checked and other.is_checked
        return added

    def meta(self, key: str) -> Any:
        """Return a value kept beside the trials; None if it is not there or cannot be used."""
        row = self.tables["meta"].get((key,))
        try:
            value = None if row is None else json.loads(row[1])
            return value if _is_usable(key, value) else None
        except _UNLOADABLE:
            return None


@dataclass(frozen=True)
class Salvage:
    """A whole record made of what was left of one.

    Attributes:
        history: The record, in memory.
        values: How many values it has.
        lost: What is known to be missing, a line each; empty if nothing is.
    """

    history: History
    values: int
    lost: tuple[str, ...]


def salvaged(remains: Remains, where: Path) -> Salvage:
    """A record of all that is left.

    Args:
        remains: The rows.
        where: The file or folder they come from, for messages.

    Raises:
        HistoryError: The search space or the goal is lost.
    """
    missing = [key for key in _ESSENTIAL if remains.meta(key) is None]
    if missing:
        raise HistoryError(
            f"nothing can be recovered from {where}: nothing there says what the study's"
            f" {' and '.join(missing)} was; give it"
        )
    space = Space.from_spec(with_stand_ins(remains.meta("space")))
    lost: list[str] = []
    store, heads = Store(), _usable_heads(remains, space, lost)
    with store.event():
        for (key,), (_, text) in remains.tables["meta"].items():
            if key == "format" or text == "null":
                continue
            if (value := remains.meta(key)) is not None:
                store.set_meta(key, value)
            else:
                lost.append(
                    f"{key!r}, since what it holds is not what a study keeps under that name"
                )
        for number, head in enumerate(heads):
            store.put_trial((head[0], number, *head[2:]))
        known = {head[0] for head in heads}
        values = [row for row in remains.tables["value"].values() if math.isfinite(row[1])]
        times = [row for row in values if row[0] in known]
        for row in times:
            store.put_value(row[0], row[1], _value(row[2]), row[3])
        for row in remains.tables["other"].values():
            if row[0] in known:
                store.put_other(row[0], row[1], row[2], _value(row[3]))
        for trial_id, text in remains.tables["last"].values():
            if trial_id in known:
                store.put_last(trial_id, _metrics(text))
    homeless = [row for row in values if row[0] not in known]
    if homeless:
        lost.append(
            f"{len(homeless)} values of {len({row[0] for row in homeless})} trials whose"
            " configuration is lost"
        )
    return Salvage(History.of_store(store, space), len(times), tuple(lost))


def _is_usable(key: str, value: Any) -> bool:
    """Whether a record can have a value beside its trials. It may raise instead of False."""
    if key == "space":
        Space.from_spec(with_stand_ins(value))
    elif key == "goal" and value is not None:
        names_of("mode", [one.mode for one in Goal.from_json(value).objectives])
    elif key in ("metric", "mode") and value is not None:
        return isinstance(value, str) and bool(
            names_of("mode" if key == "mode" else "metric", value)
        )
    return misshapen({key: value}) is None


def _metrics(kept: str) -> dict[str, float]:
    """Return the last values of a trial's metrics, by name; empty if they cannot be read."""
    try:
        return {name: float(_value(value)) for name, value in json.loads(kept).items()}
    except _UNLOADABLE:
        return {}


def _value(kept: float | None) -> float:
    return math.nan if kept is None else kept


def _usable_heads(remains: Remains, space: Space, lost: list[str]) -> list[Row]:
    """The rows of trials that a record can hold, by number; ``lost`` says of the others."""
    heads = sorted(remains.tables["trial"].values(), key=lambda row: row[1])
    numbers = {row[1] for row in heads}
    gaps = max(numbers, default=-1) + 1 - len(numbers)
    if gaps > 0:
        lost.append(f"{gaps} trials between the others")
    found = []
    for head in heads:
        try:
            space.load(json.loads(head[2]))
            TrialState(head[3]), Origin(head[5])
            if not (is_time(head[6]) and is_time(head[7] or 0.0)):
                raise ValueError("its times are not numbers of seconds")
        except _UNLOADABLE as error:
            lost.append(f"trial {head[0]!r}: {error}")
            continue
        found.append(head)
    return found
