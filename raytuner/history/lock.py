"""One process at a time writes a record: the lock that it holds.

On a disk, the operating system holds a lock on a file beside the record. The lock ends with the
process, however that ends. Behind a URI there are no locks: a file beside the record names the
process, which renews the file every few seconds. Another process that finds the file watches it for
a while. It gives up if the file is renewed, and takes over if not. No clocks are compared.
"""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import platform
import threading
import time
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from raytuner.errors import HistoryError, InUseError
from raytuner.folders import Folder, RemoteFolder

logger = logging.getLogger(__name__)

BEAT_S = 8.0
"""Seconds between two renewals behind a URI; after three without one, the process is gone."""

_HELD: dict[str, Writer] = {}  # by this process


class Writer:
    """The right of this process to write a record, until :meth:`close` or the process ends.

    A process that is forked from this one does not hold it.

    Args:
        record: The file, or the folder behind a URI.

    Raises:
        InUseError: Another process, or another run in this one, has it. The error says who.
        HistoryError: The folder cannot be written to.
    """

    def __init__(self, record: Folder) -> None:
        self._record, self._key = record, _key(record)
        if self._key in _HELD:
            raise InUseError(_taken(record, {"pid": os.getpid()}))
        self._me = {
            "host": platform.node(),
            "pid": os.getpid(),
            "began": time.time(),
            "id": uuid.uuid4().hex,
        }
        self._lost: dict[str, Any] | None = None
        self._file: int | None = None
        self._made_folder = False
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        if isinstance(record, RemoteFolder):
            self._lease(record)
        else:
            self._lock(record)
        _HELD[self._key] = self

    def __enter__(self) -> Self:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return type(None), ()  # a copy has no right to write

    def __exit__(self, *raised: object) -> None:
        self.close()

    def check(self) -> None:
        """Raise InUseError if another process has taken over meanwhile."""
        if self._lost is not None:
            raise InUseError(
                f"{_who(self._lost)} has taken over {self._record}, and this process may no longer"
                " write to it. This run ends; what it had written is kept"
            )

    def close(self) -> None:
        """Let others write. A second call does nothing."""
        if _HELD.get(self._key) is self:
            del _HELD[self._key]
        self._over.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
            self._give_back()
        if self._file is not None:
            path = _lock_file(self._record)
            with suppress(OSError):
                if _is_at(self._file, path):  # not that of another process in a new folder
                    path.unlink()
                    if self._made_folder:
                        path.parent.rmdir()  # fails unless the study ended before it wrote
            self._forget()

    # -- on a disk ------------------------------------------------------------------------------

    def _lock(self, record: Path) -> None:
        path = _lock_file(record)
        self._made_folder = not path.parent.exists()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            while True:
                file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)  # not inherited
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    if _is_at(file, path):
                        break  # nobody has removed it between the two calls
                except BlockingIOError:
                    said = os.pread(file, 4096, 0)
                    os.close(file)
                    raise InUseError(_taken(record, _parsed(said))) from None
                except OSError as error:
                    os.close(file)
                    if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):
                        raise
                    logger.warning(
                        "The file system of %s has no locks: make sure that no other process writes"
                        " to this record.",
                        record,
                    )
                    return
                os.close(file)
            os.ftruncate(file, 0)
            os.pwrite(file, json.dumps(self._me).encode(), 0)
        except OSError as error:
            raise HistoryError(f"cannot write to the folder of {record}: {error}") from error
        self._file = file

    def _forget(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    # -- behind a URI ---------------------------------------------------------------------------

    def _lease(self, record: RemoteFolder) -> None:
        try:
            found = _read(record)
            if (
                found is not None
                and _may_live(found)
                and (_is_here(found) or _renews(record, found))
            ):
                raise InUseError(_taken(record, found))
            self._renew(record, 0)
            if (found := _read(record)) is not None and found["id"] != self._me["id"]:
                raise InUseError(_taken(record, found))  # it wrote at the same moment
        except OSError as error:
            raise HistoryError(f"cannot write to the folder of {record}: {error}") from error
        self._thread = threading.Thread(target=self._beat, args=(record,), daemon=True)
        self._thread.start()

    def _renew(self, record: RemoteFolder, beat: int) -> None:
        data = json.dumps({**self._me, "beat": beat}).encode()
        record.parent.write(_lock_name(record), data)

    def _beat(self, record: RemoteFolder) -> None:
        beat = 0
        while not self._over.wait(BEAT_S):
            beat += 1
            with suppress(OSError):  # the network is down: others cannot write either
                found = _read(record)
                if found is not None and found.get("id") != self._me["id"]:
                    self._lost = found
                    return
                self._renew(record, beat)

    def _give_back(self) -> None:
        assert isinstance(self._record, RemoteFolder)
        with suppress(OSError):
            found = _read(self._record)
            if found is not None and found.get("id") == self._me["id"]:
                self._record.parent.delete(_lock_name(self._record))


def held(record: Folder) -> Writer | None:
    """Return the right of this process to write a record; None if it has none."""
    return _HELD.get(_key(record))


def _after_fork() -> None:
    """Close the lock files in a forked child, which would hold the locks longer than its parent."""
    for writer in _HELD.values():
        writer._thread = None
        writer._forget()
    _HELD.clear()


os.register_at_fork(after_in_child=_after_fork)


def _key(record: Folder) -> str:
    return record.uri if isinstance(record, RemoteFolder) else os.path.realpath(record)


def _lock_name(record: Folder) -> str:
    return f"{record.name}.lock"


def _lock_file(record: Folder) -> Path:
    assert isinstance(record, Path)
    return record.with_name(_lock_name(record))


def _is_at(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False


def _read(record: RemoteFolder) -> dict[str, Any] | None:
    try:
        return _parsed(record.parent.read(_lock_name(record))) or None
    except FileNotFoundError:
        return None


def _renews(record: RemoteFolder, found: dict[str, Any]) -> bool:
    """Watch whether a process of another machine renews its file; False if it must be gone."""
    seconds = 3 * BEAT_S
    logger.warning(
        "%s wrote to %s last. Waiting up to %g s to see if it still runs.",
        _who(found),
        record,
        seconds,
    )
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        now = _read(record)
        if now != found:
            return now is not None
        time.sleep(BEAT_S / 8)
    return False


def who_writes(record: Folder) -> str | None:
    """Say which process writes to a record now and how to take over; None if none is known."""
    if held(record) is not None:
        return _taken(record, {"pid": os.getpid()})
    if isinstance(record, RemoteFolder):
        found = _read(record)
        return None if found is None or not _may_live(found) else _taken(record, found)
    try:
        file = os.open(_lock_file(record), os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _taken(record, _parsed(os.pread(file, 4096, 0)))
    except OSError:
        return None
    finally:
        os.close(file)
    return None


def _parsed(said: bytes) -> dict[str, Any]:
    try:
        found = json.loads(said)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _is_here(writer: dict[str, Any]) -> bool:
    """Whether a process is of this machine, which knows at once if it ends."""
    return writer.get("host") == platform.node()


def _may_live(writer: dict[str, Any]) -> bool:
    if not _is_here(writer):
        return True
    pid = writer.get("pid")
    if (
        not isinstance(pid, int) or pid == os.getpid()
    ):  # this process has the number of one that is gone
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _who(writer: dict[str, Any]) -> str:
    """Say which process it is.

    >>> _who({"host": "node1", "pid": 7, "began": time.time() - 7500})
    'process 7 on node1, which began 2 h 5 min ago,'
    >>> _who({})
    'another process'
    """
    if "pid" not in writer:
        return "another process"
    words = f"process {writer['pid']}"
    if writer["pid"] == os.getpid() and writer.get("host", platform.node()) == platform.node():
        words = "this process"
    if "host" in writer:
        words += f" on {writer['host']}"
    began = writer.get("began")
    if not isinstance(began, int | float):
        return words
    minutes, seconds = divmod(max(0, round(time.time() - began)), 60)
    hours, minutes = divmod(minutes, 60)
    age = f"{hours} h {minutes} min" if hours else f"{minutes} min" if minutes else f"{seconds} s"
    return f"{words}, which began {age} ago,"


def _taken(record: Folder, writer: dict[str, Any]) -> str:
    pid = writer.get("pid")
    if pid == os.getpid():
        how = "wait for the other run to end"
    else:
        how = f"end that process first (Ctrl-C, or `kill {pid}` there)" if pid else "end it first"
    return (
        f"{_who(writer)} writes to {record} now. One process at a time may run a study. To take"
        f" over, {how}, then try again; to look at the study meanwhile, use raytuner.load or"
        " `raytuner show`"
    )
