"""One process at a time writes a record."""

from __future__ import annotations

import errno
import fcntl
import itertools
import json
import os
import platform
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from raytuner.errors import HistoryError, InUseError
from raytuner.folders import RemoteFolder
from raytuner.history import Writer, held, who_writes
from raytuner.history import lock as module

_NUMBERS = itertools.count()
# How a child of the process that holds the lock comes about, and outlives it.
CHILDREN = {
    "none": "",
    "forked": (
        "told, tells = os.pipe(); child = os.fork() or (os.write(tells, b'.'), time.sleep(60))\n"
        "os.read(told, 1)"  # it runs, so it has let go
    ),
    "started": "child = subprocess.Popen(['sleep', '60']).pid",
    "started with its files": "child = subprocess.Popen(['sleep', '60'], close_fds=False).pid",
}


@pytest.mark.parametrize("child", CHILDREN)
def test_a_second_process_is_refused_until_the_first_is_dead(
    child: str, tmp_path: Path, another_process: Any
) -> None:
    record = tmp_path / "study" / "record.sqlite"
    with another_process(record, CHILDREN[child]) as first:
        match = (
            rf"process {first.pid} on {platform.node()}, which began [\d:]+ ago, is writing to"
            rf" .*record\.sqlite\..*`kill {first.pid}`"
        )
        with pytest.raises(InUseError, match=match):
            Writer(record)
        said = who_writes(record)
        assert said is not None
        assert str(first.pid) in said
        first.kill()
        first.wait()
        with Writer(record):  # a child that lives on does not hold it
            assert held(record) is not None
    assert held(record) is None
    assert who_writes(record) is None
    assert list(record.parent.iterdir()) == []


def test_two_runs_in_one_process_are_refused_too(tmp_path: Path) -> None:
    record = tmp_path / "record"
    (tmp_path / "link").symlink_to(tmp_path)
    with Writer(record):
        for same in (record, tmp_path / "link" / "record"):
            with pytest.raises(
                InUseError, match=r"this process is writing to .* the other run to end"
            ):
                Writer(same)
            assert "this process" in str(who_writes(same))
        with Writer(tmp_path / "other"):
            pass
    with Writer(record) as again:
        again.close()
        again.close()
        with Writer(record):
            pass


def test_a_copy_of_the_folder_leaves_the_lock_alone(tmp_path: Path) -> None:
    record = tmp_path / "study" / "record.sqlite"
    with Writer(record):
        shutil.copytree(record.parent, tmp_path / "copy")
        code = (
            "from pathlib import Path\n"
            "from raytuner.history import who_writes\n"
            f"print(who_writes(Path({str(record)!r})))"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert f"process {os.getpid()} on" in done.stdout, done.stderr


def test_the_lock_of_a_folder_that_was_made_anew_is_left_alone(
    tmp_path: Path, another_process: Any
) -> None:
    record = tmp_path / "study" / "record"
    with Writer(record):
        (tmp_path / "study" / "record.lock").unlink()
        (tmp_path / "study").rmdir()
        with another_process(record):
            held(record).close()  # type: ignore[union-attr]
            with pytest.raises(InUseError):
                Writer(record)


def test_a_folder_that_cannot_be_written_to_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(HistoryError, match=r"cannot write to the folder of .*file/record"):
        Writer(tmp_path / "file" / "record")


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOTSUP])
def test_a_file_system_without_locks_is_used_with_a_warning(
    code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def no_locks(file: int, how: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with Writer(tmp_path / "record"):
        pass
    assert "does not support locks" in caplog.text
    assert who_writes(tmp_path / "record") is None


# -- behind a URI ---------------------------------------------------------------------------------


@pytest.fixture
def record(monkeypatch: pytest.MonkeyPatch) -> RemoteFolder:
    """A folder for a record behind a URI, where processes are heard of quickly."""
    monkeypatch.setattr(module, "RENEWAL_S", 0.05)
    return RemoteFolder(f"fsspec+memory:///writer/{next(_NUMBERS)}/record")


def write(record: RemoteFolder, **who: Any) -> None:
    """What another process leaves there."""
    said = {"host": "elsewhere", "pid": 7, "began": time.time() - 7500, "id": "x", **who}
    record.parent.write("record.lock", json.dumps(said).encode())


def wait_for(what: Any) -> None:
    deadline = time.monotonic() + 120
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_process_elsewhere_that_renews_its_file_is_named(record: RemoteFolder) -> None:
    over = threading.Event()

    def renew() -> None:
        for beat in itertools.count():
            write(record, beat=beat)
            if over.wait(0.02):
                return

    write(record)
    other = threading.Thread(target=renew)
    other.start()
    try:
        with pytest.raises(InUseError, match="process 7 on elsewhere, which began 2:05:00 ago,"):
            Writer(record)
    finally:
        over.set()
        other.join()
    assert held(record) is None


@pytest.mark.parametrize(
    "who",
    [
        {},
        {"host": platform.node(), "pid": os.getpid()},  # the number has come again
        {"host": platform.node(), "pid": 2**22 + 1},  # no process has that
        {"pid": None},
        {"began": "?"},
    ],
)
def test_a_process_that_is_gone_is_taken_over_from(record: RemoteFolder, who: Any) -> None:
    write(record, **who)
    with Writer(record):
        said = json.loads(record.parent.read("record.lock"))
        assert (said["host"], said["pid"]) == (platform.node(), os.getpid())
        assert not record.exists()  # no record is seen before there is one
    assert record.parent.files() == []


def test_a_process_of_this_machine_is_refused_at_once(
    record: RemoteFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RENEWAL_S", 1e6)
    write(record, host=platform.node(), pid=os.getppid())
    with pytest.raises(InUseError, match=f"process {os.getppid()} on {platform.node()}"):
        Writer(record)


def test_a_file_that_says_nothing_is_no_process(record: RemoteFolder) -> None:
    record.parent.write("record.lock", b"{")
    with Writer(record):
        pass


def test_it_renews_its_file_and_notices_who_takes_over(record: RemoteFolder) -> None:
    with Writer(record) as mine:
        first = record.parent.read("record.lock")
        wait_for(lambda: record.parent.read("record.lock") != first)
        mine.check()
        write(record)
        wait_for(lambda: mine._lock.successor is not None)
        with pytest.raises(InUseError, match=r"process 7 on elsewhere.* has taken over"):
            mine.check()
    assert json.loads(record.parent.read("record.lock"))["id"] == "x"  # not removed


def test_a_network_that_is_away_costs_nothing(
    record: RemoteFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Writer(record) as mine:
        asked = []

        def away(*args: Any) -> None:
            asked.append(args)
            raise OSError("no route to host")

        with monkeypatch.context() as patch:
            patch.setattr(RemoteFolder, "read", away)
            wait_for(lambda: len(asked) > 2)
        mine.check()
        before = record.parent.read("record.lock")
        wait_for(lambda: record.parent.read("record.lock") != before)
