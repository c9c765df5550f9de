"""The record on disk: written as things happen, whole after a kill."""

import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from records import put_rows

from raytuner.errors import HistoryError, SpaceError
from raytuner.history import FORMAT_VERSION, History, OpaqueValue, Origin, TrialState
from raytuner.history.file import RecordFile
from raytuner.history.sqlite import insert
from raytuner.space import (
    Categorical,
    Fidelity,
    Float,
    Integer,
    Normal,
    Ordinal,
    Rule,
    Space,
    when,
)

SPACE = Space({"lr": Float(1e-4, 1.0, log=True), "net": {"layers": Integer(1, 4), "bias": True}})

_WRITER = """
import sys
from pathlib import Path
from raytuner.history import History, TrialState
from raytuner.space import Float, Space

space = Space({"lr": Float(0.0, 1.0)})
record = History(space, metric="loss", mode="min", path=Path(sys.argv[1]))
for number in range(100_000):
    trial = f"t{number}"
    record.add(trial, {"lr": number % 7 / 7})
    record.report(trial, 1, float(number))
    record.report(trial, 2, float("nan"))
    record.report(trial, 3, float("inf"))
    record.end(trial, TrialState.COMPLETED)
    print(number, flush=True)
"""


def config(lr: float, layers: int = 2) -> dict[str, object]:
    return {"lr": lr, "net": {"layers": layers, "bias": True}}


def new(path: Path | None) -> History:
    return History(SPACE, metric="loss", mode="max", path=path, max_t=9)


def same(a: History, b: History) -> bool:
    """Whether two records say the same, to the last bit (NaN included)."""
    about_a, about_b = ((h.space.to_spec(), h.metric, h.mode, h.time_attr, h.max_t) for h in (a, b))
    return about_a == about_b and repr(a.trials) == repr(b.trials)


def killed_writer(path: Path, after: int) -> int:
    """Kill a process that writes trials to `path`; the last trial it said it had written."""
    with subprocess.Popen(
        [sys.executable, "-c", _WRITER, str(path)], stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout is not None
        last = -1
        for line in writer.stdout:
            last = int(line)
            if last == after:
                os.kill(writer.pid, signal.SIGKILL)  # what is in the pipe by now still counts
    assert writer.returncode == -signal.SIGKILL
    return last


def test_a_full_disk_is_one_clear_error_and_what_was_written_stays(tmp_path: Path) -> None:
    record = History(SPACE, metric="loss", mode="min", path=tmp_path / "record")
    record.add("a", config(0.5))
    assert isinstance(record._file, RecordFile)
    database = record._file._db
    pages = database.execute("PRAGMA page_count").fetchone()[0]
    database.execute(
        f"PRAGMA max_page_count = {pages}"
    )  # SQLite's own word for no room is the same
    reported = 0
    full = ""
    while not full:
        try:
            record.report("a", reported, 0.5)
            reported += 1
        except HistoryError as error:
            full = str(error)
    assert "disk is full" in full
    assert "raytuner resume" in full
    assert reported > 1
    with pytest.raises(HistoryError, match="disk is full"):
        record.end("a", TrialState.COMPLETED, "for a reason" * 1000)
    database.execute(f"PRAGMA max_page_count = {2 * pages}")  # there is room again
    record.reopen("a")
    record.report("a", reported, 0.25)
    record.end("a", TrialState.COMPLETED)
    again = History.read(tmp_path / "record", SPACE)
    assert again["a"] == record["a"]
    assert [t for t, _ in again["a"].values] == list(range(reported + 1))


def test_another_space_is_written_as_one_event(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = History(SPACE, metric="loss", mode="min", path=tmp_path / "record")
    record.add("a", config(0.5))
    wider = Space({"lr": Float(1e-4, 1.0), "net": {"layers": Integer(1, 9), "bias": True}})

    def insert_some(db: sqlite3.Connection, lines: Any) -> None:
        insert(db, lines[:1])
        raise HistoryError("no room")

    with monkeypatch.context() as patch:
        patch.setattr("raytuner.history.file.insert", insert_some)
        with pytest.raises(HistoryError, match="no room"):
            record.widen(wider)
    assert record.space is SPACE
    assert same(History.read(tmp_path / "record", SPACE), record)
    record.widen(wider)
    assert same(History.read(tmp_path / "record", wider), record)


def test_what_happened_is_there_after_a_kill(tmp_path: Path) -> None:
    path = tmp_path / "record"
    last = killed_writer(path, after=50)
    for reader in (History.read(path), History.open(path)):
        done = [t for t in reader.trials if t.state is TrialState.COMPLETED]
        assert len(done) >= last + 1 > 50
        assert len(reader) - len(done) <= 1  # the one it was in
        for number, trial in enumerate(done):
            assert trial.trial_id == f"t{number}"
            assert repr(trial.values) == f"((1.0, {float(number)}), (2.0, nan), (3.0, inf))"
        reader.add("after", {"lr": 0.5})
        reader.close()
    assert "after" in History.read(path)


def test_a_killed_writers_log_does_not_leak_into_what_replaces_its_record(tmp_path: Path) -> None:
    path = tmp_path / "record"
    killed_writer(path, after=20)
    assert (tmp_path / "record-wal").stat().st_size > 0
    mine = new(None)
    mine.add("mine", config(0.5))
    mine.copy_to(path)
    assert not (tmp_path / "record-wal").exists()
    assert same(History.read(path), mine)

    (tmp_path / "other").mkdir()
    path = tmp_path / "other" / "record"
    killed_writer(path, after=20)
    assert (tmp_path / "other" / "record-wal").stat().st_size > 0
    mine.move_to(path)
    mine.add("more", config(0.25))
    assert same(History.read(path), mine)


def test_a_move_does_not_cut_off_another_connection(tmp_path: Path) -> None:
    path = tmp_path / "record"
    old = new(path)
    old.add("old", config(0.5))
    mine = new(None)
    mine.add("a", config(0.5))
    mine.move_to(path)
    mine.add("b", config(0.25))
    # Had the file been replaced under it, closing would take away the new record's log.
    old.close()
    mine.add("c", config(0.125))
    assert [t.trial_id for t in History.read(path).trials] == ["a", "b", "c"]
    assert "old" in old


@pytest.mark.parametrize("there", [b"", b"not a database, but long enough to be looked at" * 9])
def test_a_move_replaces_what_is_no_record(tmp_path: Path, there: bytes) -> None:
    path = tmp_path / "record"
    path.write_bytes(there)
    mine = new(None)
    mine.add("a", config(0.5))
    mine.move_to(path)
    mine.report("a", 1, 2.0)
    assert mine.path == path
    assert same(History.read(path), mine)


def test_a_copy_is_one_file_and_stays_as_it_is(tmp_path: Path) -> None:
    mine = new(tmp_path / "record")
    mine.add("a", config(0.5))
    (tmp_path / "copies").mkdir()
    copy = tmp_path / "copies" / "copy"
    mine.copy_to(copy)
    mine.report("a", 1, 2.0)
    assert [file.name for file in copy.parent.iterdir()] == ["copy"]
    assert History.read(copy)["a"].values == ()
    mine.copy_to(copy)
    assert same(History.read(copy), mine)


def test_a_copy_that_fails_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = new(None)
    mine.add("a", config(0.5))
    mine.copy_to(tmp_path / "copy")
    mine.add("b", config(0.25))

    def fail(self: Path, target: Path) -> Path:
        raise OSError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", fail)
        with pytest.raises(OSError, match="no space left"):
            mine.copy_to(tmp_path / "copy")
    assert [t.trial_id for t in History.read(tmp_path / "copy").trials] == ["a"]


def test_reading_does_not_disturb_the_writer(tmp_path: Path) -> None:
    path = tmp_path / "record"
    mine = new(path)
    mine.add("a", config(0.5))
    looked = History.read(path)
    assert looked.path is None
    looked.end("a", TrialState.REMOVED)
    mine.report("a", 1, 2.0)
    assert History.read(path)["a"].state is TrialState.RUNNING


def test_a_closed_record_is_readable_where_nothing_can_be_written(tmp_path: Path) -> None:
    path = tmp_path / "record"
    mine = new(path)
    mine.add("a", config(0.5))
    mine.close()
    assert [file.name for file in tmp_path.iterdir()] == ["record"]
    assert path.read_bytes()[18:20] == b"\x01\x01"  # SQLite's mark: no write-ahead log
    assert "a" in mine
    mine.add("b", config(0.25))  # in memory from now on
    assert "b" not in History.read(path)


def test_a_record_is_not_begun_twice(tmp_path: Path) -> None:
    new(tmp_path / "record").close()
    with pytest.raises(HistoryError, match="exists already"):
        new(tmp_path / "record")
    with pytest.raises(HistoryError, match="cannot open the record"):
        new(tmp_path / "no" / "such" / "folder")


READERS = [History.open, History.read]


@pytest.mark.parametrize("reader", READERS)
def test_what_is_no_record_is_an_error_and_stays_as_it_is(tmp_path: Path, reader: object) -> None:
    assert callable(reader)
    with pytest.raises(HistoryError, match="there is no record of a search at"):
        reader(tmp_path / "absent")
    assert not (tmp_path / "absent").exists()
    with pytest.raises(HistoryError, match="there is no record of a search at"):
        reader(tmp_path)  # a folder

    for name, content in [("empty", b""), ("text", b"hello" * 100)]:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(HistoryError, match=r"is damaged.*raytuner recover"):
            reader(tmp_path / name)
        assert (tmp_path / name).read_bytes() == content

    foreign = tmp_path / "foreign"
    with closing(sqlite3.connect(foreign)) as database:
        database.execute("CREATE TABLE songs (title TEXT)")
    before = foreign.read_bytes()
    with pytest.raises(HistoryError, match="is damaged: it has no table of a record"):
        reader(foreign)
    assert foreign.read_bytes() == before


@pytest.mark.parametrize("reader", READERS)
def test_a_newer_format_is_an_error_that_names_both(tmp_path: Path, reader: object) -> None:
    assert callable(reader)
    path = tmp_path / "record"
    new(path).close()
    put_rows(path, ("meta", ("format", str(FORMAT_VERSION + 1))))
    with pytest.raises(HistoryError, match=f"format {FORMAT_VERSION + 1}.*reads format"):
        reader(path)


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE trial SET state = 'ASLEEP'",
        "UPDATE trial SET config = '{'",
        "INSERT INTO value VALUES ('nobody', 1, 1, 1, 1)",
        "DROP TABLE value",
        "CREATE TRIGGER t AFTER INSERT ON trial BEGIN DELETE FROM value; END",
        "CREATE VIEW v AS SELECT * FROM trial",
    ],
)
def test_a_damaged_record_is_an_error(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "record"
    mine = new(path)
    mine.add("a", config(0.5))
    mine.close()
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(damage)
    with pytest.raises(HistoryError, match="is damaged"):
        History.read(path)


class Layer:
    """An object that no file can hold; two of them look alike."""

    def __init__(self, units: int = 1) -> None:
        self._units = units

    def __repr__(self) -> str:
        return "<Layer>"


def test_objects_are_shown_by_their_repr(tmp_path: Path) -> None:
    layers = [Layer(), Layer(2), "none", dict]
    space = Space({"layer": Categorical(layers), "lr": Float(0.0, 1.0), "rest": [Layer(), 3]})
    record = History(space, metric="loss", mode="min", path=tmp_path / "record")
    for i, layer in enumerate(layers):
        record.add(str(i), {"layer": layer, "lr": 0.5})
        record.report(str(i), 1, float(i))
    record.close()

    with pytest.raises(SpaceError, match="is a Python object"):
        History.read(tmp_path / "record")
    shown = History.read(tmp_path / "record", opaque=True)
    configs = [trial.config for trial in shown.trials]
    assert [str(c["layer"]) for c in configs] == ["<Layer>", "<Layer>", "none", "<class 'dict'>"]
    assert isinstance(configs[0]["layer"], OpaqueValue)
    assert configs[0]["layer"] is not configs[1]["layer"]
    assert repr(configs[0]["rest"]) == "[<Layer>, 3]"
    assert [trial.values for trial in shown.trials] == [t.values for t in record.trials]
    assert (shown.snapshot().points == record.snapshot().points).all()

    given_back = History.read(tmp_path / "record", space)
    assert [t.config["layer"] for t in given_back.trials] == layers


# A random life of a search: what Ray's callbacks may say, in any order.
_IDS = st.sampled_from("abcd")
_NUMBERS = st.floats(allow_nan=True, allow_infinity=True)
_EVENTS = st.one_of(
    st.tuples(
        st.just("add"),
        _IDS,
        st.floats(1e-4, 1.0),
        st.integers(1, 4),
        st.sampled_from(list(Origin)),
    ),
    st.tuples(st.just("report"), _IDS, st.integers(1, 5), _NUMBERS),
    st.tuples(st.just("pause"), _IDS),
    st.tuples(
        st.just("end"), _IDS, st.sampled_from([s for s in TrialState if not s.is_live]), st.text()
    ),
    st.tuples(st.just("reopen"), _IDS),
    st.tuples(st.just("max_t"), st.none() | st.floats(1, 100)),
    st.tuples(st.just("reread")),
)


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(events=st.lists(_EVENTS, max_size=25))
def test_the_file_says_what_the_memory_says(
    tmp_path_factory: pytest.TempPathFactory, events: list[tuple[object, ...]]
) -> None:
    path = tmp_path_factory.mktemp("record") / "record"
    record = new(path)
    for name, *arguments in events:
        match name, arguments:
            case "add", [str(trial), float(lr), int(layers), Origin() as origin]:
                if trial not in record:
                    record.add(trial, config(lr, layers), origin)
            case "max_t", [max_t]:
                record.max_t = max_t  # type: ignore[assignment]
            case "reread", []:
                record.close()
                record = History.open(path)
            case _, [trial, *_] if trial in record:
                getattr(record, str(name))(*arguments)
    assert same(History.read(path), record)
    record.close()
    assert same(History.open(path), record)


class Net:
    """An object whose `repr` is different in each process."""

    def __init__(self, address: int, units: int = 1) -> None:
        self._address, self._units = address, units

    def __repr__(self) -> str:
        return f"<Net at {self._address}>"


def of_space(address: int = 1, **changes: Any) -> Space:
    """A space with all that a record has of one, with some of it changed or (None) left out."""
    net = Net(address)
    template = {
        "lr": Float(1e-4, 1e-1, log=True),
        "opt": Categorical(["sgd", "adam", net, Net(address, 2)]),
        "momentum": when(Float(0, 1), opt="sgd"),
        "depth": when(Integer(1, 4), opt=net),
        "shift": Normal(0, 1),
        "width": Fidelity(Ordinal([16, 64, 256])),
        "net": {"units": Integer(1, 64), "act": "relu"},
    } | changes
    rules: list[Rule] = ["lr * net/units <= 3", lambda config: True]
    return Space({key: leaf for key, leaf in template.items() if leaf is not None}, rules)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"lr": Float(1e-5, 1e-1, log=True)},
            r"lr: Float\(low=0.0001, high=0.1, log=True, .*, now Float\(low=1e-05, high=0.1, log",
        ),
        ({"lr": Float(1e-4, 1e-1)}, r"lr: Float\(.*, log=True, .*, now Float\(.*, log=False"),
        ({"shift": None}, r"shift: Normal\(mean=.*, now none"),
        ({"new": Integer(1, 3)}, r"new: none, now Integer\(low=1, high=3"),
        ({"shift": Normal(0, 2)}, r"now Normal\(mean=0.0, sd=2.0"),
        ({"opt": Categorical(["sgd", "adam"]), "depth": None}, "opt: Cat.*; depth: .*, now no"),
        ({"momentum": Float(0, 1)}, r"momentum: .*, where opt is 'sgd', now Float\(low=0.0, hi"),
        ({"momentum": when(Float(0, 1), opt="adam")}, "where opt is 'sgd', now .* is 'adam'"),
        ({"width": Ordinal([16, 64, 256])}, "width: .*, a fidelity, now Ord"),
        ({"net": {"units": Integer(1, 64), "act": "elu"}}, "net/act: 'relu', now 'elu'"),
    ],
)
def test_another_space_is_said_to_be_one(
    changes: dict[str, Any], says: str, tmp_path: Path
) -> None:
    mine = of_space()
    record = History(mine, metric="loss", mode="min", path=tmp_path / "record")
    for i, config in enumerate(mine.sample(np.random.default_rng(0), 8)):
        record.add(str(i), config)
    record.close()
    for read in (History.read, History.open):
        # Objects that a file cannot hold are no difference.
        assert len(read(tmp_path / "record", of_space(address=2))) == 8
        with pytest.raises(SpaceError, match=says) as caught:
            read(tmp_path / "record", of_space(**changes))
        assert "damaged" not in str(caught.value)
        assert "recover" not in str(caught.value)


def test_other_constraints_are_another_space(tmp_path: Path) -> None:
    History(Space({"x": Float(0, 1)}, ["x <= 0.5"]), metric="m", mode="min", path=tmp_path / "a")
    with pytest.raises(SpaceError, match=r"constraint x <= 0\.5: kept, now none"):
        History.read(tmp_path / "a", Space({"x": Float(0, 1)}))
