"""The file a record is kept in: one SQLite database, written as things happen.

Format version 2. Four tables:

``meta(key TEXT PRIMARY KEY, value TEXT)``
    JSON values. ``format`` (this version), ``space`` (its spec), ``metric``, ``mode`` (of the
    first objective), ``goal`` (if there is more to it), ``time_attr``, ``max_t``, and whatever a
    study or searcher keeps beside them.
``trial(trial_id TEXT PRIMARY KEY, number INTEGER, config TEXT, state TEXT, reason TEXT,
origin TEXT, proposed_at REAL, ended_at REAL)``
    ``config`` is the JSON object of the hyperparameters that vary (``Space.dump``); times are
    Unix seconds.
``value(trial_id TEXT, t REAL, value REAL, reported_at REAL, PRIMARY KEY (trial_id, t))``
    The metric as reported; NULL stands for NaN.
``other(trial_id TEXT, t REAL, metric TEXT, value REAL, PRIMARY KEY (trial_id, t, metric))``
    Further metrics of the goal at the same t. Format 1 lacked it: such a record is read, and
    becomes one of format 2 when it is opened to be written to.

Each event is one transaction, so a killed process loses at most the event it was in. Whoever only
wants to look can open the file with any SQLite client, also while the search runs.
"""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from raytuner.errors import HistoryError

FORMAT_VERSION = 2

_OTHER = (
    "CREATE TABLE IF NOT EXISTS other (trial_id TEXT NOT NULL, t REAL NOT NULL,"
    " metric TEXT NOT NULL, value REAL, PRIMARY KEY (trial_id, t, metric)) WITHOUT ROWID"
)
_SCHEMA = (
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL)",
    "CREATE TABLE trial (trial_id TEXT PRIMARY KEY, number INTEGER NOT NULL,"
    " config TEXT NOT NULL, state TEXT NOT NULL, reason TEXT NOT NULL, origin TEXT NOT NULL,"
    " proposed_at REAL NOT NULL, ended_at REAL)",
    "CREATE TABLE value (trial_id TEXT NOT NULL, t REAL NOT NULL, value REAL,"
    " reported_at REAL NOT NULL, PRIMARY KEY (trial_id, t)) WITHOUT ROWID",
    _OTHER,
)

TrialRow = tuple[str, int, str, str, str, str, float, float | None]


class Store:
    """An open record file. ``Store()`` keeps the record in memory until it is moved to a file.

    Args:
        path: The database file to make; its folder must exist. None: in memory.

    Raises:
        HistoryError: The file exists already (see :meth:`open`) or cannot be made.
    """

    def __init__(self, path: Path | None = None) -> None:
        if path is not None and path.exists():
            raise HistoryError(f"{path} exists already; History.open goes on with a record")
        self.path = path
        self._db = _connect(":memory:" if path is None else str(path), path)
        self._make_durable()
        with self.event():
            for statement in _SCHEMA:
                self._db.execute(statement)
            self.set_meta("format", FORMAT_VERSION)

    @classmethod
    def open(cls, path: Path) -> Store:
        """A store that goes on writing to the record at ``path``.

        Raises:
            HistoryError: There is no file, it is no record of a search, or one of another format.
                The file is as it was then.
        """
        store = cls._on(path, "rw")
        try:
            store._make_durable()
            store._update()
        except sqlite3.OperationalError as error:
            store._db.close()
            raise HistoryError(f"cannot write to the record {path}: {error}") from error
        return store

    @classmethod
    def read(cls, path: Path) -> Store:
        """A store in memory with what is in the record at ``path`` now; raises as :meth:`open`.

        Neither disturbs nor waits for a process that writes to it.
        """
        file, memory = cls._on(path, "ro"), cls()
        with closing(file._db):
            file._db.backup(memory._db)
        memory._update()
        return memory

    @classmethod
    def _on(cls, path: Path, access: str) -> Store:
        if not path.is_file():
            raise HistoryError(f"there is no record of a search at {path}")
        store = cls.__new__(cls)
        store.path = path
        store._db = _connect(f"{path.resolve().as_uri()}?mode={access}", path)
        try:
            found = store.get_meta("format", None)
        except (sqlite3.DatabaseError, ValueError) as error:
            store._db.close()
            raise HistoryError(f"{path} is not a record of a search: {error}") from error
        if found not in range(1, FORMAT_VERSION + 1):
            store._db.close()
            raise HistoryError(
                f"{path} is a record of format {found}; this raytuner reads formats 1 to"
                f" {FORMAT_VERSION}"
            )
        return store

    def _update(self) -> None:
        """Bring a record of an earlier format to this one."""
        if self.get_meta("format", None) != FORMAT_VERSION:
            with self.event():
                self._db.execute(_OTHER)
                self.set_meta("format", FORMAT_VERSION)

    def _make_durable(self) -> None:
        # A write-ahead log survives the death of the process with one write an event.
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")

    @contextmanager
    def event(self) -> Iterator[None]:
        """What is written inside is there after a kill as a whole or not at all."""
        self._db.execute("BEGIN")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def close(self) -> None:
        """Write everything out and let go of the file, which then is one self-contained file."""
        # A file marked as having a write-ahead log cannot be read in a folder that cannot be
        # written to. The mark stays while someone else has the file open.
        with suppress(sqlite3.OperationalError):
            self._db.execute("PRAGMA journal_mode = DELETE")
        self._db.close()

    def move_to(self, path: Path) -> None:
        """Keep the record in the file ``path`` from now on, in the place of a record there.

        A kill on the way leaves ``path`` with the old record or with the whole new one.
        """
        try:
            store = Store.open(path) if path.exists() else Store(path)
        except HistoryError:  # not a record: nothing that a connection could be writing to
            self.copy_to(path)
            store = Store.open(path)
        # In one transaction, not by replacing the file: another connection may have it open, and
        # SQLite would then mix up the two files' write-ahead logs.
        self._db.backup(store._db)
        self.close()
        self.path, self._db = path, store._db

    def copy_to(self, path: Path) -> None:
        """Write a consistent copy of the whole record to ``path``, replacing what is there.

        The old file is there until the new one is whole. Nobody may have it open.
        """
        draft = path.with_name(f".{path.name}.draft")
        draft.unlink(missing_ok=True)
        with closing(_connect(str(draft), path)) as target:
            self._db.backup(target)
            # One self-contained file: a copy must not depend on a -wal file beside it.
            target.execute("PRAGMA journal_mode = DELETE")
        for leftover in ("-wal", "-shm"):  # of a process that was killed
            path.with_name(path.name + leftover).unlink(missing_ok=True)
        draft.replace(path)

    def to_bytes(self) -> bytes:
        """The whole record as the bytes of a database file (for pickling)."""
        # By way of a file: SQLite refuses to deserialise what is marked as having a write-ahead
        # log, and takes the mark off in files only.
        with TemporaryDirectory() as folder:
            self.copy_to(Path(folder) / "record")
            return (Path(folder) / "record").read_bytes()

    @classmethod
    def from_bytes(cls, data: bytes) -> Store:
        """A store in memory from :meth:`to_bytes`."""
        store = cls()
        with closing(sqlite3.connect(":memory:")) as source:
            source.deserialize(data)
            source.backup(store._db)
        return store

    def get_meta(self, key: str, default: Any) -> Any:
        """The JSON value kept under ``key``, or ``default``."""
        row = self._db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return default if row is None else json.loads(row[0])

    def set_meta(self, key: str, value: Any) -> None:
        """Keep a JSON-able value under ``key``."""
        self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, json.dumps(value)))

    def put_trial(self, row: TrialRow) -> None:
        """Insert or replace one trial."""
        self._db.execute("INSERT OR REPLACE INTO trial VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)

    def put_value(self, trial_id: str, t: float, value: float, reported_at: float) -> None:
        """Insert or replace one value."""
        stored = None if math.isnan(value) else value
        self._db.execute(
            "INSERT OR REPLACE INTO value VALUES (?, ?, ?, ?)", (trial_id, t, stored, reported_at)
        )

    def put_other(self, trial_id: str, t: float, metric: str, value: float) -> None:
        """Insert or replace one value of a further metric."""
        stored = None if math.isnan(value) else value
        self._db.execute(
            "INSERT OR REPLACE INTO other VALUES (?, ?, ?, ?)", (trial_id, t, metric, stored)
        )

    def trials(self) -> Iterator[TrialRow]:
        """All trials in the order of proposal."""
        yield from self._db.execute(
            "SELECT trial_id, number, config, state, reason, origin, proposed_at, ended_at"
            " FROM trial ORDER BY number"
        )

    def values(self) -> Iterator[tuple[str, float, float]]:
        """All values: trial id, t, value, in ascending t."""
        for trial_id, t, value in self._db.execute(
            "SELECT trial_id, t, value FROM value ORDER BY trial_id, t"
        ):
            yield trial_id, t, math.nan if value is None else value

    def others(self) -> Iterator[tuple[str, float, str, float]]:
        """All values of further metrics: trial id, t, metric, value, in ascending t."""
        for trial_id, t, metric, value in self._db.execute(
            "SELECT trial_id, t, metric, value FROM other ORDER BY trial_id, t"
        ):
            yield trial_id, t, metric, math.nan if value is None else value

    def report_times(self) -> Iterator[tuple[str, float, float]]:
        """When each value was reported: trial id, t, Unix seconds, in ascending t."""
        yield from self._db.execute(
            "SELECT trial_id, t, reported_at FROM value ORDER BY trial_id, t"
        )


def _connect(target: str, path: Path | None) -> sqlite3.Connection:
    """A connection on which each statement is its own transaction unless one is begun."""
    try:
        # The searcher may be driven from another thread than the one that made it (never two at
        # once): Ray runs an experiment in whichever thread called fit().
        return sqlite3.connect(target, uri=True, check_same_thread=False, isolation_level=None)
    except sqlite3.OperationalError as error:
        raise HistoryError(f"cannot open the record {path}: {error}") from error
