"""Records behind a URI: uploaded as a whole, whatever happens in between."""

from __future__ import annotations

import itertools
import json
import logging
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from raytuner.errors import HistoryError
from raytuner.folders import RemoteFolder
from raytuner.history import History, TrialState, Writer, lock, upload
from raytuner.space import Float, Space

SPACE = Space({"x": Float(0.0, 1.0)})
_NUMBERS = itertools.count()


def new_file() -> RemoteFolder:
    """A file that is not there yet, in the memory of this process, by fsspec."""
    return RemoteFolder(f"fsspec+memory:///uploads/{next(_NUMBERS)}/record")


REACHED = threading.Event()


@pytest.fixture
def unreachable(monkeypatch: pytest.MonkeyPatch) -> Iterator[RemoteFolder]:
    """A file that cannot be written until `REACHED` is set."""
    write = RemoteFolder.write

    def try_to_write(folder: RemoteFolder, file: str, data: bytes) -> None:
        if not REACHED.is_set():
            raise OSError("no route to host")
        write(folder, file, data)

    monkeypatch.setattr(RemoteFolder, "write", try_to_write)
    REACHED.clear()
    yield new_file()
    REACHED.set()


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upload, "_EVERY_S", 0.01)


def history_of(trials: int) -> History:
    history = History(SPACE, metric="loss", mode="min")
    search(history, range(trials))
    return history


def search(history: History, numbers: range) -> None:
    for number in numbers:
        history.add(str(number), {"x": number / 1000})
        history.report(str(number), 1, float(number))
        history.end(str(number), TrialState.COMPLETED, "done")


def test_a_record_is_read_back_as_it_was_written() -> None:
    folder, history = new_file(), history_of(3)
    history.move_to(folder)
    assert history.path == folder
    search(history, range(3, 6))
    history.set_meta("note", {"a": [1, 2.5, None]})
    assert history.flush(10)
    other = History.read(folder)
    assert other.trials == history.trials
    assert other.get_meta("note") == {"a": [1, 2.5, None]}
    history.close()
    assert history.path is None
    assert len(history) == 6


def test_a_record_is_gone_on_with() -> None:
    folder, history = new_file(), history_of(2)
    history.move_to(folder)
    history.close()
    for begin in (2, 4):
        again = History.open(folder)
        search(again, range(begin, begin + 2))
        again.close()
    assert [trial.trial_id for trial in History.read(folder).trials] == list("012345")


def test_what_is_moved_replaces_what_was_there() -> None:
    folder, history = new_file(), history_of(2)
    history.move_to(folder)
    history.close()
    search(history, range(2, 4))
    history.move_to(folder)
    assert folder.parent.files() == [folder.name]
    assert len(History.read(folder)) == 4
    history.close()


def test_a_record_moves_from_a_file_behind_a_uri(tmp_path: Path) -> None:
    folder, history = new_file(), history_of(2)
    history.move_to(tmp_path / "record.sqlite")
    history.move_to(folder)
    search(history, range(2, 3))
    history.close()
    assert len(History.read(folder)) == 3
    assert len(History.read(tmp_path / "record.sqlite")) == 2


def test_an_event_that_failed_is_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    file, history = new_file(), history_of(1)
    history.move_to(file)
    with monkeypatch.context() as patch:
        patch.setattr("raytuner.history.sqlite._stored", lambda value: object())
        with pytest.raises(TypeError):
            history.set_meta("half", 1)
    assert history.get_meta("half") is None
    search(history, range(1, 2))
    history.close()
    assert History.read(file).get_meta("half") is None
    assert len(History.read(file)) == 2


def test_a_record_is_read_while_it_is_uploaded(tmp_path: Path) -> None:
    # fsspec's memory is not for several threads; of files here, halves can be read.
    folder = RemoteFolder(f"fsspec+file://{tmp_path}/record.sqlite")
    history = history_of(0)
    history.move_to(folder)
    done = threading.Event()
    seen: list[int] = []

    def look() -> None:
        while not done.is_set():
            seen.append(len(History.read(folder)))

    looker = threading.Thread(target=look)
    looker.start()
    for number in range(100):
        search(history, range(number, number + 1))
        assert history.flush(10)
    done.set()
    looker.join()
    assert seen == sorted(seen)
    assert len(History.read(folder)) == 100
    history.close()


def test_a_network_that_is_away_for_a_while_loses_nothing(
    unreachable: RemoteFolder, caplog: pytest.LogCaptureFixture
) -> None:
    REACHED.set()
    history = history_of(1)
    history.move_to(unreachable)
    REACHED.clear()
    with caplog.at_level(logging.WARNING):
        search(history, range(1, 4))
        assert not history.flush(0.2)
        search(history, range(4, 6))
    assert [record.message.count("no route to host") for record in caplog.records] == [1]
    assert len(History.read(unreachable)) == 1
    REACHED.set()
    history.close()
    assert len(History.read(unreachable)) == 6


def test_a_network_that_stays_away_leaves_the_record_in_a_file(
    unreachable: RemoteFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upload, "_END_S", 0.1)
    REACHED.set()
    history = history_of(1)
    history.move_to(unreachable)
    REACHED.clear()
    search(history, range(1, 4))
    with pytest.raises(HistoryError, match=r"no route to host.*was saved as ") as caught:
        history.close()
    kept = Path(str(caught.value).rpartition("saved as ")[2])
    assert len(History.read(kept)) == 4


def test_a_process_that_ends_while_the_network_is_away_leaves_the_record_in_a_file(
    unreachable: RemoteFolder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ends: list[Callable[[], None]] = []
    monkeypatch.setattr("atexit.register", ends.append)
    monkeypatch.setattr(upload, "_END_S", 0.1)
    REACHED.set()
    history = history_of(1)
    history.move_to(unreachable)
    REACHED.clear()
    search(history, range(1, 4))
    (end,) = ends
    end()
    said = caplog.records[-1].getMessage()
    assert "no route to host" in said
    assert len(History.read(Path(said.rpartition("saved as ")[2].rstrip(".")))) == 4


def test_nothing_is_uploaded_over_the_record_of_a_process_that_took_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lock, "RENEWAL_S", 0.02)
    file, history = new_file(), history_of(1)
    with Writer(file) as writer:
        history.move_to(file)
        owner = {"host": "elsewhere", "pid": 7, "id": "x"}
        file.parent.write(f"{file.name}.lock", json.dumps(owner).encode())
        while writer._lock.successor is None:
            threading.Event().wait(0.01)
        search(history, range(1, 4))
        with pytest.raises(
            HistoryError, match=r"process 7 .*has taken over.*was saved as "
        ) as caught:
            history.close()
    assert len(History.read(file)) == 1
    assert len(History.read(Path(str(caught.value).rpartition("saved as ")[2]))) == 4


def test_a_place_that_takes_nothing_is_told_of_at_once(unreachable: RemoteFolder) -> None:
    with pytest.raises(HistoryError, match=r"cannot be written to .*no route to host"):
        history_of(1).move_to(unreachable)


def test_an_empty_folder_holds_no_record() -> None:
    with pytest.raises(HistoryError, match="no record of a search"):
        History.read(new_file())
    with pytest.raises(HistoryError, match="no record of a search"):
        History.open(new_file())


@pytest.mark.parametrize("end", [0, 100, 5000, -5000])
def test_a_damaged_file_is_never_read_wrong(end: int) -> None:
    file, history = new_file(), history_of(2)
    history.move_to(file)
    history.close()
    whole = file.parent.read(file.name)
    file.parent.write(file.name, whole[:end])
    with pytest.raises(HistoryError, match=re.escape(str(file))):
        History.read(file)


def test_an_upload_is_as_large_as_the_pause_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Large records are uploaded less often."""
    monkeypatch.setattr(upload, "_BYTES_A_SECOND", 1.0)  # the pause after the first one is hours
    file, history = new_file(), history_of(1)
    history.move_to(file)
    search(history, range(1, 2))
    assert history.flush(10)
    search(history, range(2, 3))
    assert len(History.read(file)) == 2
    assert history.flush(10)  # what has to be written now does not wait
    assert len(History.read(file)) == 3
    history.close()
