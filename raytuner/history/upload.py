"""The record of a study whose results are behind a URI: one SQLite file, uploaded as a whole."""

from __future__ import annotations

import atexit
import logging
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from tempfile import mkdtemp

from raytuner.errors import HistoryError, InUseError
from raytuner.folders import Folder, RemoteFolder
from raytuner.history.lock import held
from raytuner.history.sqlite import Line, connect, create, insert, transaction, write_file

logger = logging.getLogger(__name__)

_EVERY_S = 1.0  # between uploads, at least
_BYTES_A_SECOND = 2_000_000.0  # on average at most
_REST = 4.0  # a pause is at least so many times as long as the last upload
_RETRY_S = 30.0  # at most, between attempts while nothing can be uploaded
_END_S = 60.0  # that the last upload may take


class UploadedRecord:
    """A record that is uploaded soon after each event.

    The file is replaced as a whole, by a thread: Ray's loop never waits for a network. A lost
    machine costs the events since the last upload. Uploads are one second apart, or longer for a
    large record (a second for each 2 MB) and for a slow network (four times the last upload).
    Nothing is uploaded once another process has taken over the record (`Writer`).

    Args:
        file: The file behind the URI.
        lines: Every row of the record.

    Raises:
        HistoryError: It cannot be written.
    """

    def __init__(self, file: RemoteFolder, lines: Iterable[Line]) -> None:
        self.path = file
        self._db = connect(":memory:", file)
        create(self._db, lines)
        self._changed = threading.Condition()  # for all below, and the database
        self._written = self._uploaded = 0  # events
        self._is_urgent = self._is_closed = False
        self._error: OSError | InUseError | None = None
        try:
            self._upload()
        except OSError as error:
            raise HistoryError(f"the record cannot be written to {file}: {error}") from error
        atexit.register(self._at_exit)
        threading.Thread(target=self._run, name="record", daemon=True).start()

    def write(self, lines: Iterable[Line]) -> None:
        """Take in the rows of one event, and return at once."""
        with self._changed:
            with transaction(self._db, self.path):
                insert(self._db, lines)
            self._written += 1
            self._changed.notify_all()

    def flush(self, timeout_s: float) -> bool:
        """Wait until all events are uploaded. Return whether they are."""
        with self._changed:
            self._is_urgent = True
            self._changed.notify_all()
            self._changed.wait_for(
                lambda: self._uploaded == self._written or self._is_closed, timeout_s
            )
            self._is_urgent = False
            return self._uploaded == self._written

    def copy_to(self, path: Path) -> None:
        """Write a consistent copy to `path`."""
        with self._changed:
            write_file(path, self._db)

    def close(self) -> None:
        """Upload the rest, and end.

        Raises:
            HistoryError: The rest cannot be uploaded. The error names a file that contains it.
        """
        atexit.unregister(self._at_exit)
        is_whole = self.flush(_END_S)
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        if is_whole:
            self._db.close()
            return
        copy = Path(mkdtemp(prefix="raytuner-")) / "record.sqlite"
        self.copy_to(copy)
        raise HistoryError(
            f"the end of the record could not be written to {self.path}:"
            f" {self._error or f'it takes longer than {_END_S:g} s'}. The whole record was saved as"
            f" {copy}"
        )

    def _at_exit(self) -> None:
        """Close the record at the end of a process that did not."""
        try:
            self.close()
        except HistoryError as error:
            logger.error("At the end of the process: %s.", error)

    # -- the thread -----------------------------------------------------------------------------

    def _run(self) -> None:
        failures = 0

        def hurry() -> bool:
            is_behind = self._is_urgent and not failures and self._uploaded < self._written
            return self._is_closed or is_behind

        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._uploaded < self._written or self._is_closed)
                if self._is_closed:
                    return
            started = time.monotonic()
            try:
                size = self._upload()
                failures, self._error = 0, None
                took = time.monotonic() - started
                pause = max(_EVERY_S, size / _BYTES_A_SECOND, _REST * took)
            except InUseError as error:
                with self._changed:
                    self._error, self._is_closed = error, True
                    self._changed.notify_all()
                return
            except OSError as error:
                if not failures:
                    logger.warning(
                        "Cannot write the record to %s now (%s). It stays in memory, and the upload"
                        " will be tried again.",
                        self.path,
                        error,
                    )
                failures, self._error = failures + 1, error
                pause = min(_EVERY_S * 2 ** min(failures, 10), _RETRY_S)
            with self._changed:
                self._changed.wait_for(hurry, pause)

    def _upload(self) -> int:
        """Replace the file by the record as it is now. Return its size in bytes."""
        if (writer := held(self.path)) is not None:
            writer.check()
        with self._changed:
            number, data = self._written, self._db.serialize()
        self.path.parent.write(self.path.name, data)
        with self._changed:
            self._uploaded = number
            self._changed.notify_all()
        return len(data)


def record_exists(file: Folder) -> bool:
    """Return whether a path or URI has a file.

    Raises:
        HistoryError: It cannot be read.
    """
    if isinstance(file, Path):
        return file.exists()
    try:
        return file.name in file.parent.files()
    except OSError as error:
        raise HistoryError(f"{file} cannot be read: {error}") from error
