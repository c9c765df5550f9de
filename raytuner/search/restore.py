"""The file of a study's record: find it, write it, and restore from it."""

from __future__ import annotations

import logging
import weakref
from fnmatch import fnmatch
from pathlib import Path

from raytuner.errors import HistoryError, InUseError, SettingError
from raytuner.folders import Folder, RemoteFolder, folders_in
from raytuner.history import (
    History,
    Origin,
    TrialState,
    Writer,
    held,
    record_exists,
    set_aside,
)
from raytuner.space import Space

logger = logging.getLogger(__name__)

RECORD_FILE = "raytuner-record.sqlite"

UNKNOWN_TO_RAY = "its driver died before Ray saved it"
"""The reason of a trial that is REMOVED because Ray lost it."""

FIRST = "first_of_run"
"""Metadata: the number of the first trial of the last `num_samples`."""

_SAVED = "searcher-state-*.pkl"

_LEVELS = 3  # deepest level of a study below a folder of studies

# Name of the folder in which Ray gathers an experiment's state before it uploads it.
_STAGING = "driver_artifacts"

# Seconds that Ray's loop may wait for the record's upload before Ray saves the experiment.
_FLUSH_S = 5.0


def record_at(folder: Folder) -> Folder:
    """Return the path of the record of the study in a folder."""
    return folder / RECORD_FILE


class RecordPlace:
    """The file of a search's record, and this process's right to write to it.

    Args:
        asked: The file that the user asked for. None: a file in the experiment's folder, from Ray's
            first save on.
    """

    def __init__(self, asked: Folder | None) -> None:
        self.asked = asked
        self._live: Path | None = None  # if no file was asked for
        self._settled: Folder | None = None  # where the record was first; it may have moved since
        self._claims: list[Writer | None] = []  # rights to write; None in a copy
        self._refused: InUseError | None = None  # another process has that right

    def check(self) -> None:
        """Raise an InUseError if another process writes the record."""
        if self._refused is not None:
            raise self._refused
        # A file stays locked while its process lives: no other process takes it over.
        if isinstance(self.asked, RemoteFolder) and (writer := held(self.asked)) is not None:
            writer.check()

    def settle(self, history: History) -> None:
        """Write the record to its file, if one is known.

        Raises:
            InUseError: Another process writes there.
            SettingError: The user's file has the record of another search.
        """
        path = self.asked or self._live
        if path is None:
            return
        self._claim(path)
        if record_exists(path):
            other = History.read(path, opaque=True)
            if other.get_meta("search_id") != history.get_meta("search_id"):
                if self.asked is not None or isinstance(path, RemoteFolder):
                    raise SettingError(
                        f"{path} already has the record of another search ({len(other)} trials);"
                        " name another file, or remove this one"
                    )
                # Ray starts a second experiment even in a folder that already has one.
                kept = set_aside(path, "other")
                logger.warning("Moved the record of an earlier search in this folder to %s", kept)
        history.move_to(path)
        self._settled = path

    def save(self, history: History, path: Path, folder: Path | None = None) -> None:
        """Write a copy for Ray to `path`, and the record to its file if it has none yet.

        Args:
            history: The record.
            path: A file in the folder where Ray gathers the experiment's state.
            folder: The experiment's folder; None if it is at a URI or unknown.
        """
        if self.asked is None and path.parent.name == _STAGING:
            # At a URI: next to Ray's folder, not in it. Ray uploads that folder file by file, and a
            # database that is being written would arrive damaged.
            self._live = (folder or path.parent.parent) / RECORD_FILE
        if history.path is None or self._settled != (self.asked or self._live):
            self.settle(history)
        live = history.path
        history.set_meta("live", str(live.resolve()) if isinstance(live, Path) else None)
        # The copy must not be newer than the file: the machine may be lost in between.
        history.flush(_FLUSH_S)
        history.copy_to(path)

    def expected(self, folder: Path | None) -> Folder | None:
        """Return the location of a saved search's live record, given the experiment's folder.

        None if only the saved copy may know it.
        """
        if isinstance(self.asked, RemoteFolder):
            return self.asked
        return folder / RECORD_FILE if folder and (folder / RECORD_FILE).is_file() else None

    def take_over(self, history: History) -> None:
        """Claim the file of a restored record. `check` raises a refusal later."""
        live = history.get_meta("live")
        self._refused = None
        try:
            if live is not None and Path(live).is_file():
                self._claim(Path(live))
        except InUseError as error:  # raised now, it would let Ray begin the experiment again
            self._refused = error
        except HistoryError as error:
            logger.debug("The last written record cannot be locked: %s", error)

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


def open_record(folder: Folder, known: History, space: Space | None = None) -> History:
    """Open the record of a study for writing.

    Args:
        folder: The study's folder.
        known: This process's copy of the record. The file must be from the same search.
        space: As for `History.open`.

    Raises:
        HistoryError: There is no record, or it is from another search.
    """
    return History.open(record_at(folder), space, search_id=known.get_meta("search_id"))


def reconciled(
    saved_path: Path, space: Space | None, live: Folder | None = None
) -> tuple[History, set[str], set[str]]:
    """Return the record to continue from, and the ended trials that Ray may run again.

    Ray saves the experiment from time to time, and the record is written at each event. After a
    kill, the record is ahead of Ray:

    - A trial that is live for Ray continues if it has not ended. It keeps its values. Repeated
      iterations are recorded once.
    - A trial that has ended since then stays ended, unless Ray runs it again.
    - A trial that Ray does not know is lost to Ray. It keeps its values. If it has not ended, it
      becomes REMOVED.

    Args:
        saved_path: The copy of the record that belongs to Ray's state.
        space: The search space. None rebuilds it from the record.
        live: The file of the live record. None: the file that the saved copy names.

    Returns:
        The live record if it is found, otherwise the saved copy, in memory. Then the ids of the
        trials that ended after Ray saved the experiment. Then the ids of trials that failed or
        began after that. Ray may know some of these: it saves several files, and a machine may be
        lost between two of them. `Tuner.restore` may run failed trials again.
    """
    saved = History.read(saved_path, space)
    history = _live_record(saved, space, at=live) or saved
    before = {head.trial_id: head.state for head in saved.heads()}
    ended, lost = set(), set()
    for head in list(history.heads()):
        state = before.get(head.trial_id)
        if state is None and head.state.is_live:
            history.end(head.trial_id, TrialState.REMOVED, UNKNOWN_TO_RAY)
            lost.add(head.trial_id)
        elif state is not None and state.is_live and not head.state.is_live:
            ended.add(head.trial_id)
        elif head.state is TrialState.FAILED:
            lost.add(head.trial_id)
    history.set_meta("proposer", saved.get_meta("proposer"))
    return history, ended, lost


def counted(history: History) -> list[str]:
    """Return the ids of the ended trials that count among the last `num_samples`.

    Trials that Ray lost after their end count. These do not count: trials of an earlier run, points
    that the user evaluated, and trials that were lost while they ran.
    """
    first = history.get_meta(FIRST, 0)
    return [
        trial.trial_id
        for trial in history.heads()
        if trial.number >= first
        and not trial.state.is_live
        and trial.origin is not Origin.EVALUATED
        and (trial.state, trial.reason) != (TrialState.REMOVED, UNKNOWN_TO_RAY)
    ]


def _live_record(
    saved: History,
    space: Space | None = None,
    *,
    at: Folder | None = None,
    opaque: bool = False,
) -> History | None:
    """Return the live record, at least as new as `saved`; None if it is not found."""
    path = at or Path(saved.get_meta("live") or "")
    if isinstance(path, Path) and not path.is_file():
        return None
    try:
        live = History.read(path, space, opaque=opaque)
    except HistoryError as error:
        logger.warning("Cannot read the record %s (%s). Using Ray's copy instead.", path, error)
        return None
    # Another search may use the file by now.
    return live if live.get_meta("search_id") == saved.get_meta("search_id") else None


def saved_copies(folder: Path) -> list[Path]:
    """Return the copies of the record among Ray's files, the newest last.

    Ray names them as pickles, like the states of all searchers; they are SQLite files.
    """
    return sorted(path for path in folder.glob(_SAVED) if path.is_file())


def studies_in(folder: Folder) -> list[Folder]:
    """Return the folders of studies in a folder, sorted; only itself if it is a study.

    Studies may lie up to three levels deep. Links are not followed: their studies would count
    twice.

    Raises:
        HistoryError: A folder cannot be read.
    """
    found, level = list[Folder](), [folder]
    try:
        for _ in range(_LEVELS + 1):
            studies = [place for place in level if _holds_study(place)]
            found += studies
            inner = [f for place in level if place not in studies for f in folders_in(place)]
            level = [f for f in inner if not (isinstance(f, Path) and f.is_symlink())]
    except OSError as error:
        raise HistoryError(f"{folder} cannot be read: {error}") from error
    return sorted(found, key=str)


def _holds_study(folder: Folder) -> bool:
    if isinstance(folder, Path):
        return record_exists(record_at(folder)) or bool(saved_copies(folder))
    return any(name == RECORD_FILE or fnmatch(name, _SAVED) for name in folder.files())


def record_in(folder: Folder) -> History:
    """Return the record of the study in a folder, in memory: from its file or Ray's copy.

    Raises:
        HistoryError: The folder has no record.
    """
    try:
        if record_exists(record_at(folder)):
            return History.read(record_at(folder), opaque=True)
        if isinstance(folder, RemoteFolder):
            names = sorted(name for name in folder.files() if fnmatch(name, _SAVED))
            if names:
                return History.read(folder / names[-1], opaque=True)
        elif copies := saved_copies(folder.resolve()):
            history = History.read(copies[-1], opaque=True)
            return _live_record(history, opaque=True) or history
    except OSError as error:
        raise HistoryError(f"{folder} cannot be read: {error}") from error
    raise HistoryError(
        f"{folder} is not a study: it has neither {record_at(folder).name} nor a searcher state"
        " saved by Ray"
    )
