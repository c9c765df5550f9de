"""The file of a record: where to read it, whether it is still there, where the record goes on."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple


class Look(NamedTuple):
    """The identity and the state of a file, as the file system gives them."""

    device: int
    inode: int
    changed: int
    size: int


class Place:
    """The place of an open record, and a copy of the record in memory.

    If the file is removed or moved away, nothing has its name. If another file is moved to its
    place, the inode differs. If another file is copied over it, the time of change differs, and the
    file holds the id of another search.

    Args:
        path: The file.
        db: The connection to it.
    """

    def __init__(self, path: Path, db: sqlite3.Connection) -> None:
        self.path = path
        self.copy = sqlite3.connect(":memory:", check_same_thread=False, isolation_level=None)
        db.backup(self.copy)
        self._seen: Look | None = None
        self._log: Look | None = None
        self.note()

    def note(self) -> None:
        """Remember the file as it is now, after this record was written to it."""
        with suppress(OSError):  # such as a network's: nothing is known then
            self._seen = _look(self.path)
            self._log = _look(_beside(self.path, "-wal"))

    def is_there(self) -> bool:
        """Whether the file is there and still holds this record."""
        try:
            now = _look(self.path)
        except OSError:
            return True
        if now == self._seen:
            return now is not None
        if now is None or self._seen is None or now[:2] != self._seen[:2]:
            return False
        try:
            its = search_in(self.path)
        except (sqlite3.Error, ValueError):
            return False
        if its not in (None, search_of(self.copy)):
            return False
        self._seen = now
        return True

    def begin_anew(self) -> tuple[Path, sqlite3.Connection]:
        """Write the whole record to a new file; return its path and a connection to it.

        The new file takes the old one's place if nothing is there, else it lies beside it.
        """
        log = _look(_beside(self.path, "-wal"))
        if log is not None and self._log is not None and log[:2] == self._log[:2]:
            # The log is this record's. SQLite would apply it to the file that is there now.
            for end in ("-wal", "-shm"):
                with suppress(FileNotFoundError):
                    _beside(self.path, end).unlink()
        names = moved(self.path, search_of(self.copy))
        path = next(path for path in (self.path, *names) if not path.exists())
        path.parent.mkdir(parents=True, exist_ok=True)
        db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self.copy.backup(db)
        return path, db


@contextmanager
def readable_at(path: Path) -> Iterator[Path]:
    """Yield where a record can be read: where it is, or in a copy that is removed afterwards.

    SQLite keeps an index beside the log of a record whose process was killed. In a folder that
    cannot be written to, it reads the log only if the index is there already.
    """
    if os.access(path.parent, os.W_OK) or _beside(path, "-shm").exists() or not path.is_file():
        yield path
        return
    with TemporaryDirectory(prefix="raytuner-") as folder:
        for file in (path, _beside(path, "-wal")):
            with suppress(FileNotFoundError):
                shutil.copyfile(file, Path(folder, file.name))
        yield Path(folder, path.name)


def moved(path: Path, search_id: str | None) -> Iterator[Path]:
    """Yield names for the file in which a record goes on after another file took its place.

    >>> next(moved(Path("record.sqlite"), "0123456789abcdef")).name
    'record-01234567.sqlite'
    """
    end = f"-{(search_id or 'moved')[:8]}"
    stem = path.stem.partition(end)[0] + end
    yield path.with_name(f"{stem}{path.suffix}")
    for number in range(2, 100):
        yield path.with_name(f"{stem}-{number}{path.suffix}")


def search_in(path: Path) -> str | None:
    """Return the id of the search in a file, without a look at its log; None if it has none."""
    uri = f"{path.resolve().as_uri()}?mode=ro&immutable=1"
    with closing(sqlite3.connect(uri, uri=True)) as db:
        return search_of(db)


def search_of(db: sqlite3.Connection) -> str | None:
    """Return the id of the search in a database; None if it has none."""
    row = db.execute("SELECT value FROM meta WHERE key = 'search_id'").fetchone()
    return None if row is None else json.loads(row[0])


def _look(path: Path) -> Look | None:
    try:
        found = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return Look(found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size)


def _beside(path: Path, end: str) -> Path:
    return path.with_name(path.name + end)
