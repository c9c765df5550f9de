"""The file of a record, written event by event."""

from __future__ import annotations

import itertools
import logging
import os
import sqlite3
from collections.abc import Callable, Iterable
from contextlib import closing, suppress
from pathlib import Path

from raytuner.errors import HistoryError
from raytuner.history.sqlite import (
    Line,
    connect,
    create,
    insert,
    require_record,
    transaction,
    write_file,
)

logger = logging.getLogger(__name__)


class RecordFile:
    """A record's SQLite file, open for writing.

    Each event is one transaction: a killed process loses at most the event that it was writing.
    Any SQLite client may read the file meanwhile. If the file is removed or replaced, the record
    continues in a new file in its place, and a warning is logged.

    Args:
        path: The file. A file there that is not a record is set aside (`set_aside`).
        all_lines: Returns every row of the record, to fill a new file.
        has_all: Whether the file already has all rows.

    Raises:
        HistoryError: The file cannot be written.
    """

    def __init__(
        self, path: Path, all_lines: Callable[[], Iterable[Line]], *, has_all: bool = False
    ) -> None:
        self.path = path
        self._all_lines = all_lines
        if not has_all and not _is_record(path):
            set_aside(path, "damaged")
        self._open(has_all=has_all)

    def write(self, lines: Iterable[Line]) -> None:
        """Write the rows of one event."""
        self._stay_in_place()
        with transaction(self._db, self.path):
            insert(self._db, lines)

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

    def _open(self, *, has_all: bool) -> None:
        self._db = connect(str(self.path), self.path)
        try:
            # A write-ahead log survives the death of the process with one write an event.
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = NORMAL")
            # In one transaction, not by replacing the file: another connection may have it open,
            # and SQLite would then mix up the two files' write-ahead logs.
            with transaction(self._db, self.path):  # an empty one makes the log as well
                if not has_all:
                    create(self._db, self._all_lines())
            self._inode = _inode(self.path)
            self._log_inode = _inode(_log_of(self.path))
        except (sqlite3.OperationalError, OSError) as error:
            self._db.close()
            raise HistoryError(f"cannot write to the record {self.path}: {error}") from error

    def _stay_in_place(self) -> None:
        """Go on in a new file if the record's was removed or another was moved to its place."""
        try:
            if self._inode == (now := _inode(self.path)):
                return
            if _inode(_log_of(self.path)) == self._log_inode:
                # The log is this record's. SQLite would apply it to the file that is there now.
                _log_of(self.path).unlink(missing_ok=True)
        except OSError:  # a network's file system may be away for a moment
            return
        try:
            other = None if now is None else set_aside(self.path, "other")
            self._db.close()
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._open(has_all=False)
        except (OSError, HistoryError) as error:
            raise HistoryError(
                f"the record {self.path} was removed while the study ran, and a new one cannot be"
                f" written in its folder: {error}"
            ) from error
        logger.warning(
            "The record %s was removed while the study ran%s. A new file there has all trials.",
            self.path,
            "" if other is None else f", and another file took its place, now {other}",
        )


def set_aside(path: Path, why: str) -> Path | None:
    """Keep a file, and its write-ahead log, under another name.

    Returns:
        That name, such as `record.sqlite.damaged`; None if there is no file.
    """
    if not os.path.lexists(path):
        return None
    names = (f"{path.name}.{why}{'' if n == 1 else f'-{n}'}" for n in itertools.count(1))
    kept = next(path.with_name(name) for name in names if not path.with_name(name).exists())
    path.rename(kept)
    path.with_name(f"{path.name}-shm").unlink(missing_ok=True)  # an index of the log
    with suppress(FileNotFoundError):
        _log_of(path).rename(_log_of(kept))
    return kept


def _is_record(path: Path) -> bool:
    try:
        with closing(connect(f"{path.resolve().as_uri()}?mode=rw", path)) as db:
            require_record(db, path)
    except HistoryError:
        return False
    return True


def _inode(path: Path) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found.st_dev, found.st_ino


def _log_of(path: Path) -> Path:
    return path.with_name(f"{path.name}-wal")
