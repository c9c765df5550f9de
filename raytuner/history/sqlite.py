"""The format of a record: one SQLite file with five tables.

Format version 5. Each row ends in `crc`, its check.

`SCHEMA` has the columns.

`meta`
    JSON values: `format` (this version), `space` (its spec), `goal`, `time_attr`, `max_t`, and what
    a study or a searcher stores.
`trial`
    `config` is the JSON object of the hyperparameters that vary (`Space.dump`). Times are Unix
    seconds; NULL means unknown or not yet.
`value`
    The metric as reported. NULL stands for NaN.
`other`
    Further metrics with a curve: those of the goal, and those named in `curves`.
`last`
    The JSON object of the last value of each other number, by name. null stands for NaN.

`crc` is the CRC-32 of the JSON text of `[table, column, column, ...]` as Python's json writes it.
SQLite detects an incomplete page but not a flipped bit in a value. Without the check, a loss of
0.125 could silently become 0.0625. The check protects against accidents, not against attacks.
"""

from __future__ import annotations

import json
import math
import os
import shlex
import shutil
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from raytuner.errors import HistoryError
from raytuner.folders import Folder

FORMAT_VERSION = 5

SCHEMA = {
    "meta": "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL, crc INTEGER NOT NULL)",
    "trial": "CREATE TABLE trial (trial_id TEXT PRIMARY KEY, number INTEGER NOT NULL,"
    " config TEXT NOT NULL, state TEXT NOT NULL, reason TEXT NOT NULL, origin TEXT NOT NULL,"
    " proposed_at REAL NOT NULL, started_at REAL, ended_at REAL, crc INTEGER NOT NULL)",
    "value": "CREATE TABLE value (trial_id TEXT NOT NULL, t REAL NOT NULL, value REAL,"
    " reported_at REAL NOT NULL, crc INTEGER NOT NULL, PRIMARY KEY (trial_id, t)) WITHOUT ROWID",
    "other": "CREATE TABLE other (trial_id TEXT NOT NULL, t REAL NOT NULL, metric TEXT NOT NULL,"
    " value REAL, crc INTEGER NOT NULL, PRIMARY KEY (trial_id, t, metric)) WITHOUT ROWID",
    "last": "CREATE TABLE last (trial_id TEXT PRIMARY KEY, metrics TEXT NOT NULL,"
    " crc INTEGER NOT NULL)",
}

Row = Sequence[Any]
"""A row of a table, without its check. Columns of type REAL hold floats."""

Line = tuple[str, Row]
"""The name of a table, and a row of it."""


def crc_of(table: str, row: Row) -> int:
    """Return the check of a row as a file has it.

    Examples:
        >>> crc_of("value", ("a", 1.0, 0.5, 0.0)) == crc_of("value", ("a", 1.0, 0.25, 0.0))
        False
    """
    return zlib.crc32(json.dumps([table, *row]).encode())


def connect(target: str, path: object) -> sqlite3.Connection:
    """Open a database. A statement outside a transaction is committed at once."""
    try:
        # Ray runs an experiment in the thread that calls fit(), not always the searcher's thread.
        return sqlite3.connect(target, uri=True, check_same_thread=False, isolation_level=None)
    except sqlite3.OperationalError as error:
        raise HistoryError(f"cannot open the record {path}: {error}") from error


def create(db: sqlite3.Connection, lines: Iterable[Line]) -> None:
    """Make the tables of a record in a database and fill them. Existing tables are replaced."""
    for table, statement in SCHEMA.items():
        db.execute(f"DROP TABLE IF EXISTS {table}")
        db.execute(statement)
    insert(db, [("meta", ("format", json.dumps(FORMAT_VERSION)))])
    insert(db, lines)


def insert(db: sqlite3.Connection, lines: Iterable[Line]) -> None:
    """Insert rows, or replace those with the same keys."""
    for table, row in lines:
        stored = [_stored(value) for value in row]
        places = "?, " * len(stored)
        db.execute(
            f"INSERT OR REPLACE INTO {table} VALUES ({places}?)", (*stored, crc_of(table, stored))
        )


@contextmanager
def transaction(db: sqlite3.Connection, path: Folder) -> Iterator[None]:
    """Run the block as one transaction of a record."""
    with writable(path), db:  # a connection commits, or rolls back
        db.execute("BEGIN IMMEDIATE")
        yield


def write_file(path: Path, db: sqlite3.Connection) -> None:
    """Write a database to `path` as one file. An existing file stays until this is complete."""
    draft = path.with_name(f".{path.name}.draft")
    draft.unlink(missing_ok=True)
    with writable(path), closing(connect(str(draft), path)) as target:
        db.backup(target)
        # A copy must not depend on a write-ahead log.
        target.execute("PRAGMA journal_mode = DELETE")
    for leftover in ("-wal", "-shm"):  # of a killed process
        path.with_name(path.name + leftover).unlink(missing_ok=True)
    draft.replace(path)


def read_lines(path: Folder) -> list[Line]:
    """Return every row of the record at `path`, table by table, and trials by number.

    This neither disturbs nor waits for a process that writes to the file.

    Raises:
        HistoryError: There is no file, it has another format, it is damaged or not a record, or it
            cannot be read.
    """
    with _opened(path) as db:
        require_record(db, path)
        with readable(path):
            db.execute("BEGIN")  # all tables as of one moment
            return list(lines_in(db, path))


@contextmanager
def _opened(path: Folder) -> Iterator[sqlite3.Connection]:
    """Open a record to read it."""
    missing = f"there is no record of a search at {path}"
    if isinstance(path, Path):
        if not path.is_file():
            raise HistoryError(missing)
        with (
            _readable_place(path) as place,
            closing(connect(f"{place.resolve().as_uri()}?mode=ro", path)) as db,
        ):
            yield db
        return
    try:
        data = path.parent.read(path.name)
    except FileNotFoundError:
        raise HistoryError(missing) from None
    except OSError as error:
        raise HistoryError(f"the record at {path} cannot be read: {error}") from error
    if not data:
        raise damaged(path, "it is empty")
    with closing(connect(":memory:", path)) as db:
        with readable(path):
            db.deserialize(data)
        yield db


def lines_in(db: sqlite3.Connection, name: Folder) -> Iterator[Line]:
    """Yield every row of a record."""
    for table in SCHEMA:
        order = " ORDER BY number" if table == "trial" else ""
        for *row, crc in db.execute(f"SELECT * FROM {table}{order}"):
            if crc_of(table, row) != crc:
                raise damaged(name, f"a row of the table {table} fails its check: {row[:2]!r}")
            yield table, row


def require_record(db: sqlite3.Connection, name: Folder) -> None:
    """Check that a database is a whole record before anything else is read of it.

    It must have exactly the tables of a record. A foreign view or trigger could do anything or
    never end.

    Raises:
        HistoryError: The database is not a whole record.
    """
    with readable(name):
        # Do not trust functions named in the file, or cells that exceed their page.
        db.execute("PRAGMA trusted_schema = OFF")
        db.execute("PRAGMA cell_size_check = ON")
        found = dict(db.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL"))
        if found.get("meta") != SCHEMA["meta"]:
            raise damaged(name, "it has no table of a record")
        (version,) = db.execute("SELECT value FROM meta WHERE key = 'format'").fetchone() or ("",)
        if version.isdigit() and int(version) != FORMAT_VERSION:
            raise HistoryError(
                f"{name} has the record format {version}; this version of raytuner reads format"
                f" {FORMAT_VERSION}"
            )
        if not version.isdigit() or found != SCHEMA:
            raise damaged(name, f"its tables are not those of format {FORMAT_VERSION}")
        if (result := db.execute("PRAGMA integrity_check(1)").fetchone()[0]) != "ok":
            raise damaged(name, result)


def damaged(path: Folder | None, what: object) -> HistoryError:
    """Return the error for a record that is damaged."""
    how = "copy the study to a local folder, then `raytuner recover`"
    if isinstance(path, Path):
        how = f"`raytuner recover {_folder(path)}`"
    place = path or "in memory"
    return HistoryError(f"the record {place} is damaged: {what}; {how} saves what can be saved")


def _folder(path: Folder) -> str:
    """Return the study's folder as one word of a command line."""
    return shlex.quote(str(path.parent))


@contextmanager
def readable(path: Folder | None) -> Iterator[None]:
    """Turn errors of SQLite or of a row's content into one clear error, while reading a record."""
    try:
        yield
    except sqlite3.OperationalError as error:
        if "decode" not in str(error):
            raise HistoryError(f"cannot use the record {path}: {error}") from error
        raise damaged(path, error) from error
    except (sqlite3.Error, ValueError, TypeError, OverflowError, RecursionError) as error:
        raise damaged(path, error) from error


@contextmanager
def writable(path: Folder) -> Iterator[None]:
    """Turn errors of SQLite into one clear error, while writing a record."""
    try:
        yield
    except sqlite3.Error as error:
        raise HistoryError(
            f"cannot write to the record {path}: {error}. Everything written before is kept. Remove"
            f" the cause, then continue with `raytuner resume {_folder(path)}` or Tuner.restore"
        ) from error


@contextmanager
def _readable_place(path: Path) -> Iterator[Path]:
    """Yield a path where a record can be read: its own, or a copy that is removed afterwards.

    If the process was killed, SQLite keeps an index next to the record's log. In a read-only
    folder, it reads the log only if the index exists.
    """
    index = path.with_name(f"{path.name}-shm")
    if os.access(path.parent, os.W_OK) or index.exists():
        yield path
        return
    with TemporaryDirectory(prefix="raytuner-") as folder:
        yield copied(path, Path(folder))


def copied(path: Path, folder: Path) -> Path:
    """Copy a record's file, and its log if it has one, to a folder. Return the copy's path."""
    for end in ("", "-wal"):
        with suppress(FileNotFoundError):
            shutil.copyfile(f"{path}{end}", folder / f"{path.name}{end}")
    return folder / path.name


def _stored(value: Any) -> Any:
    """Return a value of a row as it will be read from a file."""
    if isinstance(value, str):
        # A file name that is not UTF-8 appears in an error's text as half of a character.
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, float):
        return None if math.isnan(value) else value + 0.0  # SQLite has no negative zero
    return value
