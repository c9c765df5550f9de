"""Recover a study with a damaged or missing record."""

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
    """The result of `raytuner.recover`.

    Attributes:
        path: The recovered record.
        trials: Number of trials in it.
        values: Number of values that the trials reported.
        lost: Descriptions of known losses, one line each. The last events before the damage may be
            missing without being listed.
        from_copies: Number of rows that were found only in the copies in Ray's state.
        kept: The damaged file under its new name; None if there was no damaged file or nothing was
            changed.
    """

    path: Path
    trials: int
    values: int
    lost: tuple[str, ...]
    from_copies: int
    kept: Path | None

    def lines(self) -> Iterator[str]:
        """Yield the result as sentences."""
        trials, values = text.count(self.trials, "trial"), text.count(self.values, "value")
        yield f"{self.path} has {trials} and {values}."
        if self.from_copies:
            rows = text.count(self.from_copies, "row")
            yield f"{rows} came from a copy in Ray's saved state."
        for line in self.lost:
            yield f"lost: {line}"
        if self.kept is not None:
            yield f"The damaged record was kept as {self.kept}."


def recover(folder: str | Folder, to: str | Path | None = None) -> Recovered:
    """Recover a damaged record from its readable parts and from its copies in Ray's state.

    It guesses nothing, and unpickles none of Ray's files. Stop a running study first.

    Args:
        folder: The study's folder.
        to: A new folder for the recovered record. None replaces the damaged record and keeps it
            under another name. An intact record is not changed.

    Returns:
        What was found, and what was lost.

    Raises:
        HistoryError: The search space or the goal of the study is lost.
        InUseError: Another process runs the study, and its record would be replaced.
        SettingError: `to` is not empty or cannot be written to.

    Examples:
        ```python
        for line in raytuner.recover("results/first").lines():
            print(line)
        ```
    """
    place = folder_of(folder)
    if isinstance(place, RemoteFolder):
        raise SettingError(f"{place} is not a local folder; copy it to one and recover that")
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
        raise SettingError(f"{folder} is not empty; name a new folder")
    return folder
