"""Where a record is kept: in one SQLite database, written as things happen.

What is in it: :mod:`raytuner.history.format`. Each event is one transaction, so a killed process
loses at most the event it was in. Whoever only wants to look can open the file with any SQLite
client, also while the search runs; what is changed by hand fails its check.

Behind a URI no database can be written to. It is in memory then, and each event goes into a journal
(:mod:`raytuner.history.journal`), which is what a killed process leaves.
"""

from __future__ import annotations

import ctypes
import itertools
import json
import logging
import math
import shlex
import shutil
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from typing import Any

from raytuner.errors import HistoryError
from raytuner.folders import Folder, RemoteFolder
from raytuner.history.format import (
    COLUMNS,
    FORMAT_VERSION,
    Row,
    as_kept,
    as_text,
    crc_of,
    has_checks,
    schema,
)
from raytuner.history.journal import Journal, Line, read_pieces
from raytuner.history.place import Place, readable_at

logger = logging.getLogger(__name__)

_INSERT = {
    table: f"INSERT OR REPLACE INTO {table} VALUES ({', '.join('?' * (len(columns) + 1))})"
    for table, columns in COLUMNS.items()
}

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
        self.path: Folder | None = path
        self.source: Folder | None = path
        self._journal: Journal | None = None
        self._lines: list[Line] = []  # of the event under way, for the journal and the copy
        self._place: Place | None = None
        self._db = _connect(":memory:" if path is None else str(path), path)
        self._make_durable()
        with self.event():
            self._make_tables()
        self._watch()

    @classmethod
    def open(cls, path: Folder) -> Store:
        """A store that goes on writing to the record at ``path``.

        Raises:
            HistoryError: There is no file, it is no record of a search, or one of another format.
                The file is as it was then.
        """
        if isinstance(path, RemoteFolder):
            pieces, lines = read_pieces(path)
            store = cls._of_lines(path, lines)
            store.path, store._journal = path, Journal(path, pieces)
            return store
        store = cls._on(path, "rw")
        try:
            for table in schema(FORMAT_VERSION).keys() & store._tables():
                for _ in store._rows(table, "1"):  # before anything is written
                    pass
            store._make_durable()
            with _readable(path):
                store._update()
                store._watch()
        except sqlite3.OperationalError as error:
            store._db.close()
            raise HistoryError(f"cannot write to the record {path}: {error}") from error
        except HistoryError:
            store._db.close()
            raise
        return store

    @classmethod
    def read(cls, path: Folder) -> Store:
        """A store in memory with what is in the record at ``path`` now; raises as :meth:`open`.

        Neither disturbs nor waits for a process that writes to it.
        """
        if isinstance(path, RemoteFolder):
            return cls._of_lines(path, read_pieces(path)[1])
        memory = cls()
        memory.source = path
        with readable_at(path) as place:
            file = cls._on(path, "ro", place)
            with closing(file._db), _readable(path):
                file._db.backup(memory._db)
                memory._is_checked = file._is_checked
                memory._update()
        return memory

    @classmethod
    def _of_lines(cls, source: RemoteFolder, lines: list[Line]) -> Store:
        memory = cls()
        memory.source = source
        with _readable(source), memory.event():
            for table, row in lines:
                memory._insert(table, row)
        memory._require_record()
        return memory

    @classmethod
    def _on(cls, path: Path, access: str, place: Path | None = None) -> Store:
        if not path.is_file():
            raise HistoryError(f"there is no record of a search at {path}")
        store = cls.__new__(cls)
        store.path = store.source = path
        store._journal, store._lines, store._place = None, [], None
        store._db = _connect(f"{(place or path).resolve().as_uri()}?mode={access}", path)
        try:
            store._require_record()
        except BaseException:
            store._db.close()
            raise
        return store

    def _require_record(self) -> None:
        """Read nothing of a file before it is known to be a whole record.

        Its tables must be those of a record, and nothing else: a view or a trigger of somebody
        else's could do anything, or never end.
        """
        try:
            # Not what a file says of its own functions, nor cells that reach out of their page.
            self._db.execute("PRAGMA trusted_schema = OFF")
            self._db.execute("PRAGMA cell_size_check = ON")
            found = {
                name: sql
                for kind, name, sql in self._db.execute("SELECT type, name, sql FROM sqlite_master")
                if not (kind in ("table", "index") and str(name).startswith("sqlite_"))
            }
        except (sqlite3.Error, UnicodeDecodeError) as error:
            raise HistoryError(
                f"{self.source} is not a record of a search, or no longer: {error}. If it was one,"
                f" {_hint(self.source)}"
            ) from error
        if not str(found.get("meta")).startswith("CREATE TABLE meta ("):
            raise HistoryError(
                f"{self.source} is not a record of a search: it has no table of raytuner's. If it"
                f" was one, {_hint(self.source)}"
            )
        self._is_checked = found["meta"] == schema(FORMAT_VERSION)["meta"]
        with _readable(self.source):
            version = self.get_meta("format", None)
            if not isinstance(version, int) or version < 1:
                raise damaged(self.source, f"its format is {version!r}")
            if version > FORMAT_VERSION:
                raise HistoryError(
                    f"{self.source} is a record of format {version}; this raytuner reads formats 1"
                    f" to {FORMAT_VERSION}"
                )
            if found != schema(version):
                raise damaged(self.source, f"its tables are not those of format {version}")
            said = self._db.execute("PRAGMA integrity_check(1)").fetchone()[0]
            if said != "ok":
                raise damaged(self.source, str(said))

    def _update(self) -> None:
        """Bring a record of an earlier format to this one."""
        if self.get_meta("format", None) == FORMAT_VERSION:
            return
        tables = [table for table in schema(FORMAT_VERSION) if table in self._tables()]
        rows = {table: list(self._rows(table, "1")) for table in tables}
        with self.event():
            for table in tables:
                self._db.execute(f"DROP TABLE {table}")
            self._make_tables()
            for table in tables:
                for row in rows[table]:
                    if row[0] != "format":
                        self._put(table, row)

    def _tables(self) -> set[str]:
        return {name for (name,) in self._db.execute("SELECT name FROM sqlite_master")}

    def _make_tables(self) -> None:
        for statement in schema(FORMAT_VERSION).values():
            self._db.execute(statement)
        self._is_checked = has_checks(FORMAT_VERSION)
        self.set_meta("format", FORMAT_VERSION)

    def _make_durable(self) -> None:
        # A write-ahead log survives the death of the process with one write an event.
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")

    @contextmanager
    def event(self) -> Iterator[None]:
        """What is written inside is there after a kill as a whole or not at all."""
        self._stay_in_place()
        with _writable(self.path):
            self._db.execute("BEGIN")
        try:
            yield
            with _writable(self.path):
                self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:  # SQLite itself takes back what finds the disk full
                self._db.execute("ROLLBACK")
            self._lines.clear()
            raise
        self._pass_on()

    def flush(self, timeout_s: float) -> bool:
        """Wait until all events are where a killed process leaves them; whether they are."""
        return self._journal is None or self._journal.flush(timeout_s)

    def close(self) -> None:
        """Write everything out and let go of the file, which then is one self-contained file.

        Raises:
            HistoryError: The last of it cannot be written behind the URI. All of it is in a file
                that the error names.
        """
        if self._journal is not None:
            try:
                self._journal.close()
            except HistoryError as error:
                kept = Path(mkdtemp(prefix="raytuner-")) / "record.sqlite"
                self.copy_to(kept)
                raise HistoryError(f"{error}. The whole record is kept as {kept}") from error
            self._db.close()
            return
        self._stay_in_place()
        # A file marked as having a write-ahead log cannot be read in a folder that cannot be
        # written to. The mark stays while someone else has the file open.
        with suppress(sqlite3.OperationalError):
            self._db.execute("PRAGMA journal_mode = DELETE")
        self._db.close()
        if self._place is not None:
            self._place.copy.close()
            self._place = None

    def move_to(self, path: Folder) -> None:
        """Keep the record at ``path`` from now on, in the place of a record there.

        A kill on the way leaves ``path`` with the old record or with the whole new one. What is
        in a file there and cannot be read is kept beside it (:func:`set_aside`).
        """
        if isinstance(path, RemoteFolder):
            self._move_behind(path)
            return
        try:
            store = Store.open(path) if path.exists() else Store(path)
        except HistoryError:  # not a record: nothing that a connection could be writing to
            set_aside(path)
            self.copy_to(path)
            store = Store.open(path)
        # In one transaction, not by replacing the file: another connection may have it open, and
        # SQLite would then mix up the two files' write-ahead logs.
        self._db.backup(store._db)
        self.close()
        self.path, self.source, self._db = path, path, store._db
        self._watch()

    def _move_behind(self, folder: RemoteFolder) -> None:
        try:
            journal = Journal(folder, read_pieces(folder)[0] if folder.exists() else ())
            journal.replace_by(self._all_lines())
        except OSError as error:
            raise HistoryError(f"the record cannot be written to {folder}: {error}") from error
        if self.path is not None:
            memory = Store()
            self._db.backup(memory._db)
            self.close()
            self._db, self._place = memory._db, None
        self.path, self.source, self._journal = folder, folder, journal

    def _all_lines(self) -> Iterator[Line]:
        for table in COLUMNS:
            for row in self._db.execute(f"SELECT * FROM {table}"):
                yield table, row

    def copy_to(self, path: Path) -> None:
        """Write a consistent copy of the whole record to ``path``, replacing what is there.

        The old file is there until the new one is whole. Nobody may have it open.
        """
        self._stay_in_place()
        draft = path.with_name(f".{path.name}.draft")
        draft.unlink(missing_ok=True)
        with _writable(path), closing(_connect(str(draft), path)) as target:
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
        """A store in memory from :meth:`to_bytes`.

        Raises:
            HistoryError: It is not one of this format, or damaged.
        """
        store = cls()
        with closing(sqlite3.connect(":memory:")) as source, _readable(None):
            source.deserialize(data)
            source.backup(store._db)
            store._require_record()
            store._update()
        return store

    def get_meta(self, key: str, default: Any) -> Any:
        """The JSON value kept under ``key``, or ``default``.

        Raises:
            HistoryError: It is damaged.
        """
        columns = "key, value, crc" if self._is_checked else "key, value"
        with _readable(self.source):
            row = self._db.execute(f"SELECT {columns} FROM meta WHERE key = ?", (key,)).fetchone()
            return default if row is None else json.loads(self._checked("meta", row)[1])

    def set_meta(self, key: str, value: Any) -> None:
        """Keep a JSON-able value under ``key``."""
        self._put("meta", (key, json.dumps(value)))

    def all_meta(self) -> dict[str, Any]:
        """Every JSON value by its key."""
        return {key: json.loads(value) for key, value in self._rows("meta", "key")}

    def put_trial(self, row: TrialRow) -> None:
        """Insert or replace one trial."""
        self._put("trial", row)

    def put_value(self, trial_id: str, t: float, value: float, reported_at: float) -> None:
        """Insert or replace one value."""
        self._put("value", (trial_id, t, value, reported_at))

    def put_other(self, trial_id: str, t: float, metric: str, value: float) -> None:
        """Insert or replace one value of a further metric."""
        self._put("other", (trial_id, t, metric, value))

    def put_last(self, trial_id: str, metrics: Mapping[str, float]) -> None:
        """Insert or replace the last values of a trial's metrics, by name."""
        self._put("last", (trial_id, as_text(metrics)))

    def trials(self) -> Iterator[TrialRow]:
        """All trials in the order of proposal."""
        yield from self._rows("trial", "number")

    def values(self) -> Iterator[tuple[str, float, float, float]]:
        """All values: trial id, t, value, when it was reported (Unix seconds); in ascending t."""
        for trial_id, t, value, reported_at in self._rows("value", "trial_id, t"):
            yield trial_id, t, math.nan if value is None else value, reported_at

    def others(self) -> Iterator[tuple[str, float, str, float]]:
        """All values of further metrics: trial id, t, metric, value, in ascending t."""
        for trial_id, t, metric, value in self._rows("other", "trial_id, t, metric"):
            yield trial_id, t, metric, math.nan if value is None else value

    def last(self) -> Iterator[tuple[str, dict[str, float]]]:
        """Yield the last values of each trial's metrics: trial id, values by name."""
        for trial_id, text in self._rows("last", "trial_id"):
            values = json.loads(text)
            yield trial_id, {k: math.nan if v is None else float(v) for k, v in values.items()}

    def _put(self, table: str, row: Sequence[Any]) -> None:
        kept = as_kept(table, row)
        row = (*kept, crc_of(table, kept))
        if not self._db.in_transaction:
            self._stay_in_place()
        with _writable(self.path):
            self._insert(table, row)
        if self._journal is not None or self._place is not None:
            self._lines.append((table, row))
            if not self._db.in_transaction:
                self._pass_on()

    def _insert(self, table: str, row: Row) -> None:
        self._db.execute(_INSERT[table], row)

    def _pass_on(self) -> None:
        """Hand what was written to the journal, or to the copy in memory."""
        if self._journal is not None and self._lines:
            self._journal.put(self._lines)
            self._lines = []
        if self._place is not None:
            for table, row in self._lines:
                self._place.copy.execute(_INSERT[table], row)
            self._lines.clear()
            self._place.note()

    def _watch(self) -> None:
        """Start to watch whether the file is removed or replaced."""
        if isinstance(self.path, Path):
            # After this the id of the search is in the file itself, not in its log alone.
            self._db.execute("PRAGMA wal_checkpoint(PASSIVE)")
            self._place = Place(self.path, self._db)

    def _stay_in_place(self) -> None:
        """Go on in a new file if the record was removed or another file took its place."""
        if self._place is None or self._place.is_there():
            return
        old, place = self.path, self._place
        # Never close the old connection: that writes its log to the file, now perhaps another's.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._db))
        try:
            path, self._db = place.begin_anew()
        except (OSError, sqlite3.OperationalError) as error:
            raise HistoryError(
                f"the record {old} was removed while the study ran, and no new one can be written"
                f" beside it: {error}"
            ) from error
        self._lines.clear()
        self.path = self.source = path
        self._make_durable()
        self._watch()
        logger.warning(
            "The record %s was %s while the study ran. The study goes on in %s, which has the whole"
            " record.",
            old,
            "removed" if path == old else "replaced by another file",
            path,
        )

    def _rows(self, table: str, order: str) -> Iterator[Any]:
        with _readable(self.source):
            for row in self._db.execute(f"SELECT * FROM {table} ORDER BY {order}"):
                yield self._checked(table, row)

    def _checked(self, table: str, row: Row) -> Row:
        if not self._is_checked:
            return row
        if crc_of(table, row[:-1]) != row[-1]:
            raise damaged(self.source, f"a row of the table {table} fails its check: {row[:2]!r}")
        return row[:-1]


def damaged(path: Folder | None, what: str) -> HistoryError:
    """The error for a record that was whole once."""
    return HistoryError(f"the record {path or 'in memory'} is damaged: {what}; {_hint(path)}")


def _hint(path: Folder | None) -> str:
    """Say how to recover the record at a path."""
    if isinstance(path, Path):
        return f"`raytuner recover {_folder(path)}` saves what can be saved"
    return "copy the study to a local folder, and `raytuner recover` saves what can be saved of it"


def _folder(path: Folder) -> str:
    """Return the study's folder as one word of a command line."""
    return shlex.quote(str(path.parent))


def set_aside(path: Path) -> Path | None:
    """Keep a file that cannot be read, and its write-ahead log, under another name beside it.

    Returns:
        The copy, such as ``record.sqlite.damaged``; None if there is nothing in the file.
    """
    if not path.is_file() or path.stat().st_size == 0:
        return None
    names = (f"{path.name}.damaged{'' if n == 1 else f'-{n}'}" for n in itertools.count(1))
    copy = next(path.with_name(name) for name in names if not path.with_name(name).exists())
    for end in ("-wal", ""):  # the log first: the copy is whole once it has its name
        if path.with_name(path.name + end).is_file():
            shutil.copy2(path.with_name(path.name + end), copy.with_name(copy.name + end))
    return copy


@contextmanager
def _readable(path: Folder | None) -> Iterator[None]:
    """What SQLite or a row's content brings up while a record is read, as one clear error."""
    try:
        yield
    except sqlite3.OperationalError as error:
        if "decode" not in str(error):
            raise HistoryError(f"cannot use the record {path}: {error}") from error
        raise damaged(path, str(error)) from error
    except (sqlite3.Error, ValueError, TypeError, OverflowError, RecursionError) as error:
        raise damaged(path, str(error)) from error


@contextmanager
def _writable(path: Folder | None) -> Iterator[None]:
    """What SQLite brings up while a record is written, as one clear error."""
    try:
        yield
    except sqlite3.OperationalError as error:
        command = "" if path is None else f"`raytuner resume {_folder(path)}` or "
        raise HistoryError(
            f"cannot write to the record {path or 'in memory'}: {error}. What was written before is"
            f" kept: remove the cause, and go on with {command}Tuner.restore"
        ) from error


def _connect(target: str, path: Path | None) -> sqlite3.Connection:
    """A connection on which each statement is its own transaction unless one is begun."""
    try:
        # The searcher may be driven from another thread than the one that made it (never two at
        # once): Ray runs an experiment in whichever thread called fit().
        return sqlite3.connect(target, uri=True, check_same_thread=False, isolation_level=None)
    except sqlite3.OperationalError as error:
        raise HistoryError(f"cannot open the record {path}: {error}") from error
