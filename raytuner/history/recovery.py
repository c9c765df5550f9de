"""Recovery of damaged records.

SQLite reads what it can of the file. Only rows count that pass their check: nothing is guessed.
"""

from __future__ import annotations

import json
import math
import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from raytuner.errors import HistoryError
from raytuner.history.goal import Goal
from raytuner.history.history import UNREADABLE, History
from raytuner.history.metadata import is_time, misshapen
from raytuner.history.opaque import with_opaque_values
from raytuner.history.sqlite import COLUMNS, KEYS, Row, as_stored, connect, crc_of, create
from raytuner.history.trial import Origin, TrialState
from raytuner.space import Space

_ESSENTIAL = ("space", "goal", "time_attr")
_SKIP = 2**20  # rows, to pass over at most on the way to the next page that can be read


@dataclass
class Remains:
    """Rows of a record by table and key, from one or several places.

    Attributes:
        tables: The rows of each table (see `raytuner.history.sqlite`) by key.
    """

    tables: dict[str, dict[Row, Row]] = field(default_factory=lambda: {name: {} for name in KEYS})

    @classmethod
    def of(cls, path: Path) -> Remains:
        """Return what can still be read of the record at `path`, whatever its state."""
        remains = cls()
        for mends in (False, True):
            if any(remains.tables.values()) or not path.is_file():
                break
            with TemporaryDirectory(prefix="raytuner-") as folder:
                copy = Path(folder) / "record"
                for end in ("", "-wal"):
                    with suppress(FileNotFoundError):
                        shutil.copyfile(f"{path}{end}", f"{copy}{end}")
                if mends:
                    _mend_first_page(copy)
                remains._scan(copy)
        return remains

    def _scan(self, path: Path) -> None:
        with suppress(sqlite3.Error, HistoryError), closing(connect(str(path), path)) as db:
            db.execute("PRAGMA trusted_schema = OFF")
            db.text_factory = bytes
            trials: set[Any] = set()
            for table in COLUMNS:
                for row in _rows_in(db, table, trials):
                    with suppress(ValueError, TypeError, OverflowError):
                        texts = [one.decode() if isinstance(one, bytes) else one for one in row]
                        stored = as_stored(table, texts[:-1])
                        if crc_of(table, stored) == texts[-1]:
                            self.keep(table, stored)
                            trials.update([stored[0]] if table == "trial" else [])

    def keep(self, table: str, row: Sequence[Any]) -> None:
        """Keep a row, in place of one with the same key."""
        stored = as_stored(table, row)
        self.tables[table][stored[: KEYS[table]]] = stored

    def fill(self, other: Remains) -> int:
        """Take from `other` what is missing here. Return the number of new rows without meta's."""
        added = 0
        for table, rows in other.tables.items():
            for key, row in rows.items():
                is_unusable = table == "meta" and self.meta(key[0]) is None
                if is_unusable or key not in self.tables[table]:
                    self.keep(table, row)
                    added += table != "meta"
        return added

    def meta(self, key: str) -> Any:
        """Return a metadata value; None if it is missing or cannot be used."""
        row = self.tables["meta"].get((key,))
        try:
            value = None if row is None else json.loads(row[1])
            return value if _is_usable(key, value) else None
        except UNREADABLE:
            return None


@dataclass(frozen=True)
class Salvage:
    """A whole record made of what is left of one.

    Attributes:
        history: The record, in memory.
        values: Its number of values.
        lost: What is known to be missing, one line each.
    """

    history: History
    values: int
    lost: tuple[str, ...]


def salvaged(remains: Remains, where: Path) -> Salvage:
    """Return a record of everything that is left.

    Args:
        remains: The rows.
        where: The file or folder that they come from, for messages.

    Raises:
        HistoryError: The search space or the goal is lost.
    """
    missing = [key for key in _ESSENTIAL if remains.meta(key) is None]
    if missing:
        names = " and ".join("metric and mode" if key == "goal" else key for key in missing)
        raise HistoryError(
            f"nothing can be recovered from {where}: nothing there says what the study's {names}"
            " was; give it"
        )
    space = Space.from_spec(with_opaque_values(remains.meta("space")))
    lost: list[str] = []
    meta = []
    for (key,), row in remains.tables["meta"].items():
        if key == "format" or row[1] == "null":
            continue
        if remains.meta(key) is not None:
            meta.append(row)
        else:
            lost.append(f"{key!r}, since its value is not what a study stores under that name")
    heads = _usable_heads(remains, space, lost)
    known = {head[0] for head in heads}
    values = [row for row in remains.tables["value"].values() if math.isfinite(row[1])]
    rows: dict[str, list[Row]] = {
        "meta": meta,
        "trial": [(head[0], number, *head[2:]) for number, head in enumerate(heads)],
        "value": sorted((row for row in values if row[0] in known), key=lambda row: row[:2]),
        "other": [row for row in remains.tables["other"].values() if row[0] in known],
        "last": [
            row for row in remains.tables["last"].values() if row[0] in known and _is_last(row[1])
        ],
    }
    if homeless := [row for row in values if row[0] not in known]:
        lost.append(
            f"{len(homeless)} values of {len({row[0] for row in homeless})} trials whose"
            " configuration is lost"
        )
    return Salvage(History.of_rows(rows, space), len(rows["value"]), tuple(lost))


def _rows_in(db: sqlite3.Connection, table: str, trials: set[Any]) -> Iterator[Row]:
    """Yield the rows of a table that SQLite can read, some of them twice."""
    if table in ("value", "other"):
        # These tables are ordered by trial: a damaged page costs some values of few trials.
        for trial_id in trials:
            for order in ("ASC", "DESC"):
                query = f"SELECT * FROM {table} WHERE trial_id = ? ORDER BY t {order}"
                with suppress(sqlite3.Error):
                    yield from db.execute(query, (trial_id,))
        return
    for sign, after, order in ((1, ">", "ASC"), (-1, "<", "DESC")):
        query = f"SELECT rowid, * FROM {table} WHERE rowid {after} ? ORDER BY rowid {order}"
        last, skip = -sign * 2**62, 0
        while skip <= _SKIP:
            try:
                for rowid, *row in db.execute(query, (last + sign * skip,)):
                    last, skip = rowid, 0
                    yield tuple(row)
                break
            except sqlite3.Error:
                skip = max(1, 2 * skip)  # pass over the page that cannot be read


def _mend_first_page(path: Path) -> None:
    """Write the first page of a new record over that of a file that SQLite does not open.

    That page holds the names of the tables and where they begin, which is the same in each record.
    """
    draft = path.with_name("empty")
    with closing(connect(str(draft), draft)) as db:
        create(db, [])
    empty = draft.read_bytes()
    page = bytearray(empty[:4096])
    page[92:96] = bytes(4)  # SQLite then takes the number of pages from the size of the file
    if path.with_name(f"{path.name}-wal").exists():
        page[18:20] = b"\x02\x02"  # SQLite's mark: there is a write-ahead log
    rest = path.read_bytes()[len(page) :]
    path.write_bytes(page + rest.ljust(len(empty) - len(page), b"\0"))  # every table begins in it


def _is_usable(key: str, value: Any) -> bool:
    """Whether a record can have a metadata value. This may raise an error instead."""
    if key == "space":
        Space.from_spec(with_opaque_values(value))
    elif key == "goal":
        objectives = Goal.from_json(value).objectives
        Goal.of([one.metric for one in objectives], [one.mode for one in objectives])
    return misshapen({key: value}) is None


def _is_last(text: str) -> bool:
    try:
        values = json.loads(text).values()
    except UNREADABLE:
        return False
    return all(value is None or isinstance(value, int | float) for value in values)


def _usable_heads(remains: Remains, space: Space, lost: list[str]) -> list[Row]:
    """Return the rows of trials that a record can hold, by number. Note the others in `lost`."""
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
            if not all(is_time(at or 0.0) for at in head[6:]):
                raise ValueError("its times are not numbers of seconds")
        except UNREADABLE as error:
            lost.append(f"trial {head[0]!r}: {error}")
            continue
        found.append(head)
    return found
