"""The lock of a record: only one process at a time may write to it.

A file next to the record names the process. On a disk, the operating system locks that file until
the process ends. An object store has no locks. There, the process renews the file every few
seconds. Another process that finds the file takes over if it is not renewed.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import platform
import threading
import time
import uuid
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, Self

from raytuner.errors import HistoryError, InUseError
from raytuner.folders import Folder, RemoteFolder

logger = logging.getLogger(__name__)

RENEWAL_S = 8.0
"""Seconds between two renewals behind a URI; after three without one, the process is gone."""

_Process = dict[str, Any]
"""The content of a lock file: host, pid, start time and id of the process that wrote it."""

_HELD: dict[str, Writer] = {}  # by this process


class Writer:
    """The right of this process to write to a record, until `close` or the end of the process.

    Forked processes and pickled copies do not have this right.

    Args:
        record: The file or its URI.

    Raises:
        InUseError: Another process, or another run in this one, has the right. The message names
            it.
        HistoryError: The folder cannot be written to.
    """

    def __init__(self, record: Folder) -> None:
        self._record, self._key = record, _key(record)
        me = {"host": platform.node(), "pid": os.getpid()}
        if self._key in _HELD:
            raise InUseError(who_writes(record))
        me |= {"began": time.time(), "id": uuid.uuid4().hex}
        self._lock: _FileLock | _Lease
        try:
            if isinstance(record, RemoteFolder):
                self._lock = _Lease(record, me)
            else:
                self._lock = _FileLock(record, me)
        except OSError as error:
            raise HistoryError(f"cannot write to the folder of {record}: {error}") from error
        _HELD[self._key] = self

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        return type(None), ()

    def check(self) -> None:
        """Raise InUseError if another process has taken over."""
        if (successor := self._lock.successor) is not None:
            raise InUseError(
                f"{_name(successor)} has taken over {self._record}, so this process can no longer"
                " write to it. This run ends. Everything that it has written is kept"
            )

    def close(self) -> None:
        """Let others write. A second call does nothing."""
        if _HELD.get(self._key) is self:
            del _HELD[self._key]
            self._lock.release()


class _FileLock:
    """A file that the operating system locks.

    The lock belongs to the open file (`flock`). So the process keeps it even if it opens and closes
    the file elsewhere, for example to copy the study's folder. A forked child closes its copy.
    """

    successor: _Process | None = None

    def __init__(self, record: Path, me: _Process) -> None:
        self._path = record.with_name(_lock_name(record))
        self._made_folder = not self._path.parent.exists()
        self._path.parent.mkdir(parents=True, exist_ok=True)
        while True:
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                owner = _parsed(os.pread(self._file, 4096, 0))
                os.close(self._file)
                raise InUseError(_in_use(record, owner)) from None
            except OSError as error:
                logger.warning(
                    "The file system of %s does not support locks (%s). Make sure that no other"
                    " process writes to this record.",
                    record,
                    error,
                )
            if self._is_in_place():
                break
            os.close(self._file)  # another process removed it between the two calls
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, json.dumps(me).encode(), 0)

    def release(self) -> None:
        """Remove the file, and the folder if the lock made it and nothing else is there."""
        with suppress(OSError):
            if self._is_in_place():  # in a new folder it may be another process's
                self._path.unlink()
                if self._made_folder:
                    self._path.parent.rmdir()
        os.close(self._file)

    def _is_in_place(self) -> bool:
        try:
            return os.path.samestat(os.fstat(self._file), self._path.stat())
        except FileNotFoundError:
            return False


class _Lease:
    """A file behind a URI that a thread renews."""

    def __init__(self, record: RemoteFolder, me: _Process) -> None:
        self.successor: _Process | None = None
        self._record, self._me = record, me
        self._is_over = threading.Event()
        owner = _read(record)
        if owner is not None and _is_alive(record, owner):
            raise InUseError(_in_use(record, owner))
        self._renew()
        if (owner := self._other()) is not None:  # it wrote at the same moment
            raise InUseError(_in_use(record, owner))
        self._thread = threading.Thread(target=self._run, name="lease", daemon=True)
        self._thread.start()

    def release(self) -> None:
        """Stop renewing the file, and remove it unless it is another process's."""
        self._is_over.set()
        self._thread.join()
        with suppress(OSError):
            if self._other() is None:
                self._record.parent.delete(_lock_name(self._record))

    def _run(self) -> None:
        while self.successor is None and not self._is_over.wait(RENEWAL_S):
            with suppress(OSError):  # the network is down: others cannot write either
                self.successor = self._other()
                if self.successor is None:
                    self._renew()

    def _renew(self) -> None:
        data = json.dumps({**self._me, "renewed": time.time()}).encode()
        self._record.parent.write(_lock_name(self._record), data)

    def _other(self) -> _Process | None:
        """Return the process that the file names, unless it is this one."""
        owner = _read(self._record)
        return None if owner is None or owner.get("id") == self._me["id"] else owner


def held(record: Folder) -> Writer | None:
    """Return the right of this process to write a record; None if it has none."""
    return _HELD.get(_key(record))


def who_writes(record: Folder) -> str | None:
    """Return which process writes to a record now and how to take over; None if unknown."""
    if held(record) is not None:
        return _in_use(record, {"pid": os.getpid()})
    if isinstance(record, RemoteFolder):
        owner = _read(record)
        return None if owner is None or _runs(owner) is False else _in_use(record, owner)
    try:
        file = os.open(record.with_name(_lock_name(record)), os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _in_use(record, _parsed(os.pread(file, 4096, 0)))
    except OSError:
        pass
    finally:
        os.close(file)
    return None


def _forget() -> None:
    for writer in _HELD.values():
        if isinstance(writer._lock, _FileLock):
            os.close(writer._lock._file)
    _HELD.clear()


os.register_at_fork(after_in_child=_forget)


def _key(record: Folder) -> str:
    return record.uri if isinstance(record, RemoteFolder) else os.path.realpath(record)


def _lock_name(record: Folder) -> str:
    return f"{record.name}.lock"


def _read(record: RemoteFolder) -> _Process | None:
    try:
        return _parsed(record.parent.read(_lock_name(record))) or None
    except FileNotFoundError:
        return None


def _parsed(data: bytes) -> _Process:
    try:
        process: _Process = json.loads(data)
    except ValueError:
        return {}
    return process


def _runs(process: _Process) -> bool | None:
    """Return whether a process of this machine runs; None if it is of another one."""
    if process.get("host") != platform.node():
        return None
    pid = process.get("pid")
    if not isinstance(pid, int) or pid == os.getpid():  # this process got the number of a dead one
        return False
    try:
        os.kill(pid, 0)
    except OSError as error:
        return isinstance(error, PermissionError)
    return True


def _is_alive(record: RemoteFolder, owner: _Process) -> bool:
    """Return whether a process runs. For another machine, watch whether the file is renewed."""
    if (runs := _runs(owner)) is not None:
        return runs
    seconds = 3 * RENEWAL_S
    logger.warning(
        "%s was the last to write to %s. Waiting up to %g s to see if it is still running.",
        _name(owner),
        record,
        seconds,
    )
    deadline = time.monotonic() + seconds
    while (now := _read(record)) == owner:
        if time.monotonic() > deadline:
            return False
        time.sleep(RENEWAL_S / 8)
    return now is not None


def _name(process: _Process) -> str:
    """Return a description of a process.

    Examples:
        >>> _name({"host": "node1", "pid": 7, "began": time.time() - 7500})
        'process 7 on node1, which began 2:05:00 ago,'
        >>> _name({})
        'another process'
    """
    if "pid" not in process:
        return "another process"
    is_here = process.get("host", platform.node()) == platform.node()
    name = f"process {process['pid']}"
    if is_here and process["pid"] == os.getpid():
        name = "this process"
    if "host" in process:
        name += f" on {process['host']}"
    if not isinstance(began := process.get("began"), int | float):
        return name
    return f"{name}, which began {timedelta(seconds=max(0, round(time.time() - began)))} ago,"


def _in_use(record: Folder, owner: _Process) -> str:
    pid = owner.get("pid")
    if pid == os.getpid():
        how = "wait for the other run to end"
    else:
        how = f"end that process first (Ctrl-C, or `kill {pid}` there)" if pid else "end it first"
    return (
        f"{_name(owner)} is writing to {record}. Only one process at a time can run a study. To"
        f" take over, {how}, then try again. To look at the study meanwhile, use raytuner.load or"
        " `raytuner show`"
    )
