"""The file of a search's record, and this process's right to write it."""

from __future__ import annotations

import logging
import weakref
from pathlib import Path

from raytuner.errors import HistoryError, InUseError, SettingError
from raytuner.folders import Folder
from raytuner.history import History, Writer, held, record_exists
from raytuner.search.restore import RECORD_FILE

logger = logging.getLogger(__name__)

# Name of the folder in which Ray gathers an experiment's state before it uploads it.
_STAGING = "driver_artifacts"

# Seconds that Ray's loop may wait for the record's upload before Ray saves the experiment.
_FLUSH_S = 5.0


class RecordPlace:
    """The file that a search writes its record to.

    Args:
        asked: The file that the user asked for. None: one next to Ray's own state of the
            experiment, once Ray saves that.
    """

    def __init__(self, asked: Folder | None) -> None:
        self.asked = asked
        self._live: Path | None = None  # if no file was asked for
        self._settled: Folder | None = None  # where the record was put; it may have moved since
        self._claims: list[Writer | None] = []  # rights to write; None in a copy
        self._refused: InUseError | None = None  # another process has that right

    def check(self) -> None:
        """Raise an InUseError if another process writes the record."""
        if self._refused is not None:
            raise self._refused
        if self.asked is not None and (writer := held(self.asked)) is not None:
            writer.check()

    def settle(self, history: History) -> None:
        """Write the record to its file, if one is known.

        Raises:
            InUseError: Another process writes there.
            SettingError: The file that was asked for has the record of another search.
        """
        path = self.asked or self._live
        if path is None:
            return
        self._claim(path)
        if self.asked is not None and record_exists(path):
            other = History.read(path, opaque=True)
            if other.get_meta("search_id") != history.get_meta("search_id"):
                raise SettingError(
                    f"{path} holds the record of another search ({len(other)} trials); name"
                    " another file, or remove it"
                )
        history.move_to(path)
        self._settled = path

    def save(self, history: History, path: Path) -> None:
        """Write a copy for Ray to `path`, and the record to its file if it has none yet."""
        if self.asked is None and path.parent.name == _STAGING:
            # Next to the folder, not in it: Ray uploads what is in it file by file, and a database
            # that is being written would arrive torn.
            self._live = path.parent.parent / RECORD_FILE
        if history.path is None or self._settled != (self.asked or self._live):
            self.settle(history)
        live = history.path
        history.set_meta("live", str(live.resolve()) if isinstance(live, Path) else None)
        # The copy must not know more than the file: a machine may be lost in between.
        history.flush(_FLUSH_S)
        history.copy_to(path)

    def take_over(self, history: History) -> None:
        """Claim the file of a restored record. A refusal is raised later, by `check`."""
        live = history.get_meta("live")
        self._refused = None
        try:
            if live is not None and Path(live).is_file():
                self._claim(Path(live))
        except InUseError as error:  # raised now, it would let Ray begin the experiment again
            self._refused = error
        except HistoryError as error:
            logger.debug("The record that was written last cannot be locked: %s", error)

    def release(self) -> None:
        """Let other processes write."""
        while self._claims:
            if (writer := self._claims.pop()) is not None:
                writer.close()

    def _claim(self, record: Folder) -> None:
        if held(record) is None:
            writer = Writer(record)
            self._claims.append(writer)
            weakref.finalize(self, writer.close)
