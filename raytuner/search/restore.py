"""Find and restore the record of a study."""

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
    """Return the path of the record of the study in a folder."""
    return folder / RECORD_FILE


def open_record(folder: Folder, known: History, space: Space | None = None) -> History:
    """Open the record of a study for writing, or the file in which it was continued.

    Args:
        folder: The study's folder.
        known: The record as this process has it. The file must be of the same search.
        space: As for `History.open`.

    Raises:
        HistoryError: There is no record, or only one of another search.
    """
    place, search_id = record_at(folder), known.get_meta("search_id")
    beside = moved(place, search_id) if isinstance(place, Path) else ()
    found = [path for path in (place, *beside) if record_exists(path) and _may_be(path, search_id)]
    if found:
        history = History.open(found[-1], space)  # the last file that continues it
        if history.get_meta("search_id") == search_id:
            return history
        history.close()
    what = "holds the record of another search" if record_exists(place) else "is gone"
    raise HistoryError(
        f"{place} {what}: the record of this study was replaced or removed. Put it back, and load"
        " the study again"
    )


def _may_be(path: Folder, search_id: str | None) -> bool:
    """Whether a file may be of this search, so that it can be opened for writing."""
    if not isinstance(path, Path):
        return True
    try:
        return search_in(path) in (None, search_id)
    except (sqlite3.Error, ValueError):
        return True  # damaged: opening it raises an error that says so


UNKNOWN_TO_RAY = "its driver died before Ray saved it"
"""The reason of a trial that is REMOVED since Ray lost it."""

FIRST = "first_of_run"
"""Metadata: the number of the first trial of the last `num_samples`."""

_SAVED = "searcher-state-*.pkl"


@dataclass
class RestoredTrials:
    """Trials that Ray may run although they have ended.

    Attributes:
        ended: Trials that ended after Ray saved the experiment.
        begun: Trials that began after that. Ray may have some: it saves several files, and a
            machine may be lost between two of them.
        failed: Trials that failed. `Tuner.restore` may run them again.
    """

    ended: set[str] = field(default_factory=set)
    begun: set[str] = field(default_factory=set)
    failed: set[str] = field(default_factory=set)

    def take(self, trial_id: str) -> bool:
        """Return whether a trial is one of these, and forget it."""
        is_known = False
        for trials in (self.ended, self.begun, self.failed):
            is_known |= trial_id in trials
            trials.discard(trial_id)
        return is_known

    def take_ended(self, trial_id: str) -> bool:
        """Return whether a trial ended after Ray saved the experiment, and forget it."""
        has_ended = trial_id in self.ended
        self.ended.discard(trial_id)
        return has_ended


def reconciled(
    saved_path: Path, space: Space | None, uploaded: RemoteFolder | None = None
) -> tuple[History, RestoredTrials]:
    """Return the record to continue from, and the trials that Ray may run although they have ended.

    Ray saves the experiment from time to time, and the record is written at each event. After a
    kill, the record is ahead of Ray:

    - A trial that is live for Ray continues if it has not ended. It keeps its values, and the
      iterations that it repeats are recorded once.
    - A trial that has ended since stays so, unless Ray runs it again.
    - A trial that Ray does not have is lost to Ray. It keeps its values, and becomes REMOVED if it
      has not ended.

    Args:
        saved_path: The copy of the record that belongs to Ray's state.
        space: The search space. None rebuilds it from the record.
        uploaded: The URI of the live record, if it has one.

    Returns:
        The live record if it is found, else the saved copy; either in memory.
    """
    saved = History.read(saved_path, space)
    live = live_record(saved, space, uploaded=uploaded)
    history, restored = live or saved, RestoredTrials()
    before = {head.trial_id: head.state for head in saved.heads()}
    for head in list(history.heads()):
        state = before.get(head.trial_id)
        if state is None and head.state.is_live:
            history.end(head.trial_id, TrialState.REMOVED, UNKNOWN_TO_RAY)
            restored.begun.add(head.trial_id)
        elif state is not None and state.is_live and not head.state.is_live:
            restored.ended.add(head.trial_id)
        elif head.state is TrialState.FAILED:
            restored.failed.add(head.trial_id)
    history.set_meta("proposer", saved.get_meta("proposer"))
    return history, restored


def counted(history: History) -> list[str]:
    """Return the ids of the ended trials that count among the last `num_samples`.

    Trials that Ray lost after their end count. Trials of an earlier run, points that the user
    evaluated, and trials that were lost while they ran do not.
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
    """Return the live record, which is at least as new as `saved`; None if it is not found.

    Args:
        saved: The copy that the searcher saved.
        space: As for `History.read`.
        uploaded: The URI of the live record, if it has one.
        opaque: As for `History.read`.
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
    """Return the copies of the record among Ray's files, the newest last.

    Ray names them as pickles, like the states of all searchers; they are SQLite files.
    """
    return sorted(path for path in folder.glob(_SAVED) if path.is_file())


def record_in(folder: Folder) -> History:
    """Return the record of the study in a folder, in memory.

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
    """Return the record behind a URI: its own file, or the copy that Ray saved."""
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
