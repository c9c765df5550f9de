"""Records behind a URI: written in pieces, whole after whatever happens in between."""

from __future__ import annotations

import itertools
import json
import logging
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raytuner.errors import HistoryError
from raytuner.folders import RemoteFolder
from raytuner.history import History, TrialState, journal
from raytuner.history.journal import Journal, Line, Piece, read_pieces
from raytuner.space import Float, Space

SPACE = Space({"x": Float(0.0, 1.0)})
_NUMBERS = itertools.count()


def new_folder() -> RemoteFolder:
    """An empty folder in the memory of this process, by fsspec."""
    return RemoteFolder(f"fsspec+memory:///journal/{next(_NUMBERS)}/record")


class Unreachable(RemoteFolder):
    """A folder that takes nothing for a while."""

    def write(self, file: str, data: bytes) -> None:
        if not REACHED.is_set():
            raise OSError("no route to host")
        super().write(file, data)


REACHED = threading.Event()


@pytest.fixture
def unreachable() -> Iterator[RemoteFolder]:
    """A folder of that kind, until ``REACHED`` is set."""
    REACHED.clear()
    yield Unreachable(new_folder().uri)
    REACHED.set()


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "_EVERY_S", 0.01)


def history_of(trials: int) -> History:
    history = History(SPACE, metric="loss", mode="min")
    search(history, range(trials))
    return history


def search(history: History, numbers: range) -> None:
    for number in numbers:
        history.add(str(number), {"x": number / 1000})
        history.report(str(number), 1, float(number))
        history.end(str(number), TrialState.COMPLETED, "done")


def row(key: int, value: int) -> Line:
    return "meta", (str(key), json.dumps(value), 0)


def test_a_record_is_read_back_as_it_was_written() -> None:
    folder, history = new_folder(), history_of(3)
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
    folder, history = new_folder(), history_of(2)
    history.move_to(folder)
    history.close()
    for begin in (2, 4):
        again = History.open(folder)
        search(again, range(begin, begin + 2))
        again.close()
    assert [trial.trial_id for trial in History.read(folder).trials] == list("012345")


def test_what_is_moved_replaces_what_was_there() -> None:
    folder, history = new_folder(), history_of(2)
    history.move_to(folder)
    history.close()
    search(history, range(2, 4))
    history.move_to(folder)
    assert len(folder.files()) == 1
    assert len(History.read(folder)) == 4
    history.close()


def test_a_record_moves_from_a_file_behind_a_uri(tmp_path: Path) -> None:
    folder, history = new_folder(), history_of(2)
    history.move_to(tmp_path / "record.sqlite")
    history.move_to(folder)
    search(history, range(2, 3))
    history.close()
    assert len(History.read(folder)) == 3
    assert len(History.read(tmp_path / "record.sqlite")) == 2


def test_an_event_that_failed_is_not_written() -> None:
    folder, history = new_folder(), history_of(1)
    history.move_to(folder)

    def half() -> None:
        with history._store.event():
            history._store.set_meta("half", 1)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        half()
    history.close()
    assert History.read(folder).get_meta("half") is None


def test_a_long_search_comes_to_few_files() -> None:
    folder = new_folder()
    pen = Journal(folder)
    for number in range(200):
        pen.put([row(number % 7, number)])
        assert pen.flush(10)
    pen.close()
    pieces, lines = read_pieces(folder)
    assert pieces == [
        *(Piece(i, i + 31) for i in range(0, 192, 32)),
        *map(Piece, range(192, 200), range(192, 200)),
    ]
    assert dict(r[:2] for _, r in lines) == {str(n % 7): str(n) for n in range(200)}
    assert len(folder.files()) == 14


@settings(max_examples=60)
@given(
    batches=st.lists(
        st.lists(st.tuples(st.integers(0, 4), st.integers()), min_size=1, max_size=3), max_size=40
    ),
    left=st.data(),
)
def test_a_kill_at_any_moment_leaves_a_whole_record(
    batches: list[list[tuple[int, int]]], left: st.DataObject
) -> None:
    """A merge is written before what it stands for goes; any of that may be left."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(journal, "_EVERY_S", 0.0)
        patched.setattr(journal, "_REST", 0)
        patched.setattr(journal, "_TOGETHER", 3)
        folder = new_folder()
        expected: dict[str, str] = {}
        removed: dict[str, bytes] = {}

        def remove(folder: RemoteFolder, file: str) -> None:
            removed[file] = folder.read(file)
            _delete(folder, file)

        patched.setattr(RemoteFolder, "delete", remove)
        pen = Journal(folder)
        for batch in batches:
            pen.put([row(key, value) for key, value in batch])
            assert pen.flush(10)
            expected |= {str(key): str(value) for key, value in batch}
        pen.close()
        if not batches:
            return
        for file in left.draw(st.sets(st.sampled_from(sorted(removed)))) if removed else ():
            folder.write(file, removed[file])
        pieces, lines = read_pieces(folder)
        assert dict(r[:2] for _, r in lines) == expected
        # The next driver goes on from there.
        pen = Journal(folder, pieces)
        pen.put([row(0, -1)])
        pen.close()
        assert dict(r[:2] for _, r in read_pieces(folder)[1]) == expected | {"0": "-1"}


_delete = RemoteFolder.delete


def test_a_record_is_read_while_it_is_merged(tmp_path: Path) -> None:
    # fsspec's memory is not for several threads; of files here, halves can be read.
    folder, history = RemoteFolder(f"fsspec+file://{tmp_path}"), history_of(0)
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
    monkeypatch.setattr(journal, "_END_S", 0.1)
    REACHED.set()
    history = history_of(1)
    history.move_to(unreachable)
    REACHED.clear()
    search(history, range(1, 4))
    with pytest.raises(HistoryError, match=r"no route to host.*is kept as ") as caught:
        history.close()
    kept = Path(str(caught.value).rpartition("kept as ")[2])
    assert len(History.read(kept)) == 4


def test_a_place_that_takes_nothing_is_told_of_at_once(unreachable: RemoteFolder) -> None:
    with pytest.raises(HistoryError, match=r"cannot be written to .*no route to host"):
        history_of(1).move_to(unreachable)


def test_an_empty_folder_holds_no_record() -> None:
    with pytest.raises(HistoryError, match="no record of a search"):
        History.read(new_folder())
    with pytest.raises(HistoryError, match="no record of a search"):
        History.open(new_folder())


def test_a_missing_piece_is_told_of() -> None:
    folder, history = new_folder(), history_of(1)
    history.move_to(folder)
    for number in (1, 2):
        search(history, range(number, number + 1))
        history.flush(10)
    history.close()
    folder.delete(Piece(1, 1).file)
    with pytest.raises(HistoryError, match="lacks a piece"):
        History.read(folder)


@pytest.mark.parametrize("end", [0, 5, -2])
def test_a_piece_that_was_left_unfinished_was_never_begun(end: int) -> None:
    """Not every file system writes a file as a whole, as an object store does."""
    folder, history = new_folder(), history_of(2)
    history.move_to(folder)
    with history._store.event():
        for key in "abc":
            history._store.set_meta(key, 1)
    history.close()
    whole = folder.read(Piece(1, 1).file)
    folder.write(Piece(1, 1).file, whole[:end])
    folder.write(Piece(0, 1).file, whole[:end])  # of both, merged
    assert len(History.read(folder)) == 2
    assert History.read(folder).get_meta("a") is None
    again = History.open(folder)
    search(again, range(2, 5))
    again.close()
    assert len(History.read(folder)) == 5


@pytest.mark.parametrize(
    "line",
    [
        b"{",
        b"[]",
        b'["trials", 1]',
        b'["meta", "a", "1"]',
        b'["meta", "a", "1", 17]',
        b'["value", "nobody", 1.0, 0.5, 0.0, 17]',
    ],
)
def test_a_damaged_piece_is_never_read_wrong(line: bytes) -> None:
    folder, history = new_folder(), history_of(1)
    history.move_to(folder)
    history.close()
    folder.write(Piece(1, 1).file, line + b"\n1\n")
    with pytest.raises(HistoryError):
        History.read(folder)


def test_of_a_value_that_was_replaced_only_the_last_is_kept() -> None:
    folder = new_folder()
    pen = Journal(folder)
    for number in range(32):  # as many as are merged into one piece
        pen.put([("value", ("a", 1.0, float(number), 0.0, 0))])
        assert pen.flush(10)
    pen.close()
    _, lines = read_pieces(folder)
    assert [r[2] for _, r in lines] == [31.0]


def test_what_has_to_be_written_now_does_not_wait_for_its_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("raytuner.history.journal._EVERY_S", 1000.0)
    pen = Journal(new_folder())
    pen.put([row(0, 0)])
    assert pen.flush(60)
    pen.put([row(1, 1)])
    assert pen.flush(60)  # the first only began the pause
    pen.close()
