"""The file that a record is written to, event by event."""

from __future__ import annotations

import ctypes
import itertools
import json
import logging
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import NamedTuple

from raytuner.errors import HistoryError
from raytuner.history.sqlite import (
    SCHEMA,
    connect,
    create,
    insert,
    readable,
    require_record,
    writable,
    write_file,
    write_lines,
)
from raytuner.history.table import Line

logger = logging.getLogger(__name__)


class _FileState(NamedTuple):
    """The identity and the state of a file, as the file system gives them."""

    device: int
    inode: int
    changed: int
    size: int


class RecordFile:
    """A record's SQLite file, open for writing.

    Each event is one transaction: a killed process loses at most the event that it was writing.
    Any SQLite client may read the file meanwhile. If the file is removed or replaced by another
    one, the record goes on in a new file, which is named in a warning.

    Args:
        path: The file. What is there is replaced as a whole, or not at all if the process is
            killed meanwhile. A file that is not a record is set aside (`set_aside`).
        all_lines: Returns every row of the record, to fill a file with.
        is_new: Raise an error if the file exists.

    Raises:
        HistoryError: The file cannot be written.
    """

    def __init__(
        self, path: Path, all_lines: Callable[[], Iterable[Line]], *, is_new: bool = False
    ) -> None:
        if is_new and path.exists():
            raise HistoryError(f"{path} exists already; History.open goes on with a record")
        self.path = path
        self._all_lines = all_lines
        if path.exists() and not _is_record(path):
            set_aside(path)
            write_lines(path, all_lines())
            self._open()
        else:
            self._open()
            # In one transaction, not by replacing the file: another connection may have it open,
            # and SQLite would then mix up the two files' write-ahead logs.
            self._transact(self._fill)

    @classmethod
    def reopen(cls, path: Path, all_lines: Callable[[], Iterable[Line]]) -> RecordFile:
        """Continue to write to a record whose rows were just read."""
        file = cls.__new__(cls)
        file.path, file._all_lines = path, all_lines
        file._open()
        return file

    def write(self, lines: Iterable[Line]) -> None:
        """Write the rows of one event."""
        self._stay_in_place()
        self._transact(lambda: insert(self._db, lines))

    def flush(self, timeout_s: float) -> bool:
        """Return True: every event is in the file at once."""
        return True

    def copy_to(self, path: Path) -> None:
        """Write a consistent copy to `path`. Nobody may have a file there open."""
        self._stay_in_place()
        write_file(path, self._db)

    def close(self) -> None:
        """Close the file, which then needs no other file next to it."""
        self._stay_in_place()
        # A file that is marked as having a write-ahead log cannot be read in a folder that cannot
        # be written to. The mark stays while someone else has the file open.
        with suppress(sqlite3.OperationalError):
            self._db.execute("PRAGMA journal_mode = DELETE")
        self._db.close()

    # -- inside -----------------------------------------------------------------------------------

    def _open(self) -> None:
        self._db = connect(str(self.path), self.path)
        try:
            # A write-ahead log survives the death of the process with one write an event.
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = NORMAL")
            # From now on the id of the search is in the file itself, not only in its log.
            self._db.execute("PRAGMA wal_checkpoint(PASSIVE)")
            self._remember()
        except (sqlite3.OperationalError, OSError) as error:
            self._db.close()
            raise HistoryError(f"cannot write to the record {self.path}: {error}") from error

    def _fill(self) -> None:
        for table in SCHEMA:
            self._db.execute(f"DROP TABLE IF EXISTS {table}")
        create(self._db, self._all_lines())

    def _transact(self, act: Callable[[], None]) -> None:
        with writable(self.path):
            self._db.execute("BEGIN")
            try:
                act()
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:  # SQLite itself rolls back when the disk is full
                    self._db.execute("ROLLBACK")
                raise
        with suppress(OSError):  # a network's file system may be away for a moment
            self._remember()

    def _remember(self) -> None:
        """Remember the file as it is after a write, to notice when it is removed or replaced."""
        self._state = _state_of(self.path)
        self._log_state = _state_of(_sibling(self.path, "-wal"))

    def _is_there(self) -> bool:
        """Whether the file is there and still holds this record.

        If the file was removed, nothing has its name. If another was moved to its place, the inode
        differs. If another was copied over it, the time of change differs, and it holds the id of
        another search.
        """
        try:
            now = _state_of(self.path)
        except OSError:
            return True
        if now == self._state:
            return now is not None
        if now is None or self._state is None or now[:2] != self._state[:2]:
            return False
        try:
            found = search_in(self.path)
        except (sqlite3.Error, ValueError):
            return False
        if found not in (None, self._search_id()):
            return False
        self._state = now
        return True

    def _search_id(self) -> str | None:
        found = (row[1] for table, row in self._all_lines() if row[0] == "search_id")
        text = next(found, None)
        return None if text is None else json.loads(text)

    def _stay_in_place(self) -> None:
        """Go on in a new file if the record's was removed or replaced."""
        if self._is_there():
            return
        old = self.path
        # Never close the old connection: that writes its log to the file, now perhaps another's.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._db))
        log = _state_of(_sibling(old, "-wal"))
        if log is not None and self._log_state is not None and log[:2] == self._log_state[:2]:
            # The log is this record's. SQLite would apply it to the file that is there now.
            for end in ("-wal", "-shm"):
                with suppress(FileNotFoundError):
                    _sibling(old, end).unlink()
        names = itertools.chain([old], moved(old, self._search_id()))
        try:
            self.path = next(path for path in names if not path.exists())
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._open()
            self._transact(self._fill)
        except (OSError, HistoryError) as error:
            raise HistoryError(
                f"the record {old} was removed while the study ran, and no new one can be written"
                f" in its folder: {error}"
            ) from error
        logger.warning(
            "The record %s was %s while the study ran. The study goes on in %s, which has the whole"
            " record.",
            old,
            "removed" if self.path == old else "replaced by another file",
            self.path,
        )


def moved(path: Path, search_id: str | None) -> Iterator[Path]:
    """Yield names for the file in which a record goes on after another took its place.

    >>> next(moved(Path("record.sqlite"), "0123456789abcdef")).name
    'record-01234567.sqlite'
    """
    end = f"-{(search_id or 'moved')[:8]}"
    stem = path.stem.partition(end)[0] + end
    yield path.with_name(f"{stem}{path.suffix}")
    for number in range(2, 100):
        yield path.with_name(f"{stem}-{number}{path.suffix}")


def search_in(path: Path) -> str | None:
    """Return the id of the search in a file without reading its log; None if it has none."""
    uri = f"{path.resolve().as_uri()}?mode=ro&immutable=1"
    with closing(sqlite3.connect(uri, uri=True)) as db:
        row = db.execute("SELECT value FROM meta WHERE key = 'search_id'").fetchone()
    return None if row is None else json.loads(row[0])


def set_aside(path: Path) -> Path | None:
    """Keep a file that cannot be read, and its write-ahead log, under another name.

    Returns:
        The copy, such as `record.sqlite.damaged`; None if the file is missing or empty.
    """
    if not path.is_file() or path.stat().st_size == 0:
        return None
    names = (f"{path.name}.damaged{'' if n == 1 else f'-{n}'}" for n in itertools.count(1))
    copy = next(path.with_name(name) for name in names if not path.with_name(name).exists())
    for end in ("-wal", ""):  # the log first: the copy is whole once it has its name
        if _sibling(path, end).is_file():
            shutil.copy2(_sibling(path, end), _sibling(copy, end))
    return copy


def _is_record(path: Path) -> bool:
    try:
        with closing(connect(f"{path.resolve().as_uri()}?mode=rw", path)) as db, readable(path):
            require_record(db, path)
    except HistoryError:
        return False
    return True


def _state_of(path: Path) -> _FileState | None:
    try:
        found = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return _FileState(found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size)


def _sibling(path: Path, end: str) -> Path:
    return path.with_name(path.name + end)
