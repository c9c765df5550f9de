"""Putting together what Ray saved and what was recorded after it."""

from __future__ import annotations

import logging
import sqlite3
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from tempfile import TemporaryDirectory

from raytuner.errors import HistoryError
from raytuner.folders import Folder, RemoteFolder
from raytuner.history import History, Origin, TrialState, record_exists
from raytuner.history.file import moved, search_in
from raytuner.space import Space

logger = logging.getLogger(__name__)

RECORD_FILE = "raytuner-record.sqlite"


def record_at(folder: Folder) -> Folder:
    """Return where the record of the study in a folder is."""
    return folder / RECORD_FILE


def open_record(folder: Folder, known: History, space: Space | None = None) -> History:
    """Open the record of a study for writing: in its place, or in the file where it went on.

    Args:
        folder: The study's folder.
        known: The record as this process knows it; the file must be of the same search.
        space: As for :meth:`History.open`.

    Raises:
        HistoryError: There is no record, or only that of another search.
    """
    place, search_id = record_at(folder), known.get_meta("search_id")
    beside = moved(place, search_id) if isinstance(place, Path) else ()
    found = [path for path in (place, *beside) if record_exists(path) and _may_be(path, search_id)]
    if found:
        history = History.open(found[-1], space)  # the last file in which it went on
        if history.get_meta("search_id") == search_id:
            return history
        history.close()
    what = "holds the record of another search" if record_exists(place) else "is gone"
    raise HistoryError(
        f"{place} {what}: the record of this study was replaced or removed. Put it back, and load"
        " the study again"
    )


def _may_be(path: Folder, search_id: str | None) -> bool:
    """Whether a file may be of this search. Only such a file is opened for writing."""
    if not isinstance(path, Path):
        return True
    try:
        return search_in(path) in (None, search_id)
    except (sqlite3.Error, ValueError):
        return True  # damaged: opening it raises an error that says so


UNKNOWN_TO_RAY = "its driver died before Ray saved it"
"""Why a trial is REMOVED that was lost to Ray."""

FIRST = "first_of_run"
"""Under this key the record has the number of the first trial of the last ``num_samples``."""

_SAVED = "searcher-state-*.pkl"


@dataclass
class RestoredTrials:
    """Trials whose state Ray may not know, as it saved the experiment before.

    Attributes:
        ended: Trials that had ended since. Ray may run them again.
        begun: Trials that had begun since. Ray may know them after all: its state is in several
            files, and a machine may be lost between two of them.
        failed: Trials that had failed before. `Tuner.restore` may run them again.
    """

    ended: set[str] = field(default_factory=set)
    begun: set[str] = field(default_factory=set)
    failed: set[str] = field(default_factory=set)

    def take(self, trial_id: str) -> bool:
        """Return whether Ray runs a trial again that had ended or been lost. Asked once."""
        is_known = False
        for trials in (self.ended, self.begun, self.failed):
            is_known |= trial_id in trials
            trials.discard(trial_id)
        return is_known

    def take_ended(self, trial_id: str) -> bool:
        """Return whether a trial had ended that Ray is about to run again. Asked once."""
        has_ended = trial_id in self.ended
        self.ended.discard(trial_id)
        return has_ended


def reconciled(
    saved_path: Path, space: Space | None, uploaded: RemoteFolder | None = None
) -> tuple[History, RestoredTrials]:
    """Return the record to continue from, and the trials whose state Ray may not know.

    Ray saves the experiment from time to time, and the record is written as things happen. After a
    kill the record knows more than Ray does:

    - A trial that is live in Ray's state goes on if it had not ended. Its values stay, and the
      iterations that it repeats are recorded once.
    - A trial that had ended since then stays so, unless Ray runs it all the same.
    - A trial that Ray's state does not have is lost to Ray. It keeps its values, and is REMOVED if
      it had not ended.

    Args:
        saved_path: The copy of the record that belongs to Ray's state.
        space: The search space, or None to rebuild it from the record.
        uploaded: Where the live record is, if that is behind a URI.

    Returns:
        The live record if it can be found, else the saved copy; both in memory. It is written to a
        file again once the searcher knows one.
    """
    saved = History.read(saved_path, space)
    live = live_record(saved, space, uploaded=uploaded)
    history, restored = live or saved, RestoredTrials()
    for head in list(history.heads()):
        if head.state is TrialState.FAILED:
            restored.failed.add(head.trial_id)
    if live is None:
        return saved, restored
    known = {head.trial_id: head.state for head in saved.heads()}
    for head in list(live.heads()):
        state = known.get(head.trial_id)
        if state is None and head.state.is_live:
            live.end(head.trial_id, TrialState.REMOVED, UNKNOWN_TO_RAY)
            restored.begun.add(head.trial_id)
        elif state is not None and state.is_live and not head.state.is_live:
            restored.ended.add(head.trial_id)
    restored.failed -= restored.ended
    live.set_meta("proposer", saved.get_meta("proposer"))
    return live, restored


def counted(history: History) -> list[str]:
    """Return the ids of the trials that count among the last ``num_samples``: all that have ended.

    Trials that Ray lost after their end count, too. Trials of an earlier run, evaluations told from
    outside, and trials that were lost while they ran do not.
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


def live_record(
    saved: History,
    space: Space | None = None,
    *,
    uploaded: RemoteFolder | None = None,
    opaque: bool = False,
) -> History | None:
    """The record that was being written when ``saved`` was; None if it is not to be found.

    Args:
        saved: What the searcher saved.
        space: As for :meth:`History.read`.
        uploaded: Where it is, if it is behind a URI.
        opaque: As for :meth:`History.read`.
    """
    path = uploaded or Path(saved.get_meta("live") or "")
    if isinstance(path, Path) and not path.is_file():
        return None
    try:
        live = History.read(path, space, opaque=opaque)
    except HistoryError as error:
        logger.warning("The record at %s cannot be read (%s); Ray's copy is used.", path, error)
        return None
    # Another search may have taken the file since.
    return live if live.get_meta("search_id") == saved.get_meta("search_id") else None


def saved_copies(folder: Path) -> list[Path]:
    """Copies of the record among Ray's own files: the newest, named by the time, is the last.

    They are called pickles, as Ray calls the states of all searchers, and are databases.
    """
    return sorted(path for path in folder.glob(_SAVED) if path.is_file())


def record_in(folder: Folder) -> History:
    """The record of the study in a folder, as it is now, in memory.

    Raises:
        HistoryError: There is none.
    """
    if isinstance(folder, RemoteFolder):
        return _record_behind(folder)
    folder = folder.resolve()
    if (folder / RECORD_FILE).is_file():
        return History.read(folder / RECORD_FILE, opaque=True)
    saved = saved_copies(folder)
    if not saved:
        raise _no_study(folder)
    history = History.read(saved[-1], opaque=True)
    return live_record(history, opaque=True) or history


def _record_behind(folder: RemoteFolder) -> History:
    """Return the record behind a URI; of the two-line drop-in, as Ray has saved it."""
    try:
        if record_exists(record_at(folder)):
            return History.read(record_at(folder), opaque=True)
        saved = [name for name in folder.files() if fnmatch(name, _SAVED)]
        if not saved:
            raise _no_study(folder)
        with TemporaryDirectory() as place:
            copy = Path(place) / saved[-1]
            copy.write_bytes(folder.read(saved[-1]))
            return History.read(copy, opaque=True)
    except OSError as error:
        raise HistoryError(f"{folder} is out of reach: {error}") from error


def _no_study(folder: Folder) -> HistoryError:
    return HistoryError(
        f"{folder} holds no study: there is neither {record_at(folder).name} nor a searcher state"
        " of Ray's"
    )
