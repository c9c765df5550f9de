"""Recovery of a study whose record is damaged or gone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from raytuner.errors import RaytunerError, SettingError
from raytuner.folders import Folder, RemoteFolder, folder_of
from raytuner.history import History, Writer, salvaged, set_aside
from raytuner.report import text
from raytuner.search.restore import RECORD_FILE, saved_copies


@dataclass(frozen=True)
class Recovered:
    """The result of a recovery.

    Attributes:
        path: The whole record.
        trials: Number of trials in it.
        values: Number of values that they reported.
        lost: What is known to be missing, a line each. The last events before the damage may be
            missing without a trace.
        from_copies: Number of rows that only the copies in Ray's state had.
        kept: The damaged file under its new name; None if there was none, or nothing was changed.
    """

    path: Path
    trials: int
    values: int
    lost: tuple[str, ...]
    from_copies: int
    kept: Path | None

    def lines(self) -> Iterator[str]:
        """Yield the same in words."""
        trials, values = text.count(self.trials, "trial"), text.count(self.values, "value")
        yield f"{self.path} has {trials} and {values}."
        if self.from_copies:
            rows = text.count(self.from_copies, "row")
            yield f"{rows} of them came from a copy in Ray's saved state."
        for line in self.lost:
            yield f"lost: {line}"
        if self.kept is not None:
            yield f"The damaged record is kept as {self.kept}."


def recover(folder: str | Folder, to: str | Path | None = None) -> Recovered:
    """Make a study's record whole again: what can be read of it, and of its copies in Ray's state.

    Nothing is guessed, and nothing of Ray's is unpickled. Stop a running study first.

    Args:
        folder: The study's folder.
        to: A new folder to write the whole record to. None: in place of the damaged record, which
            is kept under another name. A record that is whole stays as it is.

    Returns:
        What was found, and what was lost.

    Raises:
        HistoryError: Too little is left of the study: its search space or its goal is lost.
        InUseError: Another process runs the study, and its record would be replaced.
        SettingError: `to` has something in it, or cannot be written to.

    Example:
        .. code-block:: python

            for line in raytuner.recover("results/first").lines():
                print(line)
    """
    place = folder_of(folder)
    if isinstance(place, RemoteFolder):
        raise SettingError(f"{place} is behind a URI; copy it to a folder, and recover that")
    record = place / RECORD_FILE
    target = record if to is None else _new_folder(Path(to).expanduser().resolve()) / RECORD_FILE
    from_copies, lost, kept = 0, tuple[str, ...](), None
    try:
        history, is_whole = History.read(record, opaque=True), True
    except RaytunerError:
        history, from_copies, lost = salvaged(record, saved_copies(place))
        is_whole = False
    if to is not None or not is_whole:
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with Writer(record) if to is None else nullcontext():
                draft = target.with_name(f"{target.name}.recovered")
                history.copy_to(draft)
                kept = set_aside(target, "damaged")
                draft.rename(target)
        except OSError as error:
            raise SettingError(f"cannot write to {target.parent}: {error.strerror}") from error
    values = sum(len(trial.values) for trial in history.trials)
    return Recovered(target, len(history), values, lost, from_copies, kept)


def _new_folder(folder: Path) -> Path:
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise SettingError(f"{folder} has something in it already; name a new folder")
    return folder
