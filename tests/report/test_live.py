"""The server of the live report."""

from __future__ import annotations

import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPResponse
from pathlib import Path
from types import SimpleNamespace

import pytest
from made_up import study
from markupsafe import Markup, escape

from raytuner.errors import HistoryError, SettingError
from raytuner.history import History, TrialState
from raytuner.report.live import Server


@contextmanager
def served(history: History, read: Callable[[], History] | None = None) -> Iterator[Server]:
    with Server(read or (lambda: history), Path("/studies/digits")) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}).start()
        try:
            yield server
        finally:
            server.shutdown()


def get(server: Server, path: str, **headers: str) -> tuple[int, HTTPResponse | None]:
    request = urllib.request.Request(
        f"http://127.0.0.1:{server.server_port}{path}",
        headers={name.replace("_", "-"): value for name, value in headers.items()},
    )
    try:
        answer = urllib.request.urlopen(request, timeout=60)
    except urllib.error.HTTPError as error:
        return error.code, None
    return answer.status, answer


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The server's clock, which stands until a test moves it."""
    clock = [100.0]
    monkeypatch.setattr("raytuner.report.live.time", SimpleNamespace(monotonic=lambda: clock[0]))
    return clock


def test_it_gives_the_page_and_then_only_news(now: list[float]) -> None:
    history = study(6, live=1)

    def read() -> History:
        now[0] += 2
        return history

    with served(history, read=read) as server:
        assert server.url == f"http://127.0.0.1:{server.server_port}/"
        status, page = get(server, "/")
        assert status == 200
        assert page is not None
        tag = page.headers["ETag"]
        html = page.read().decode()
        assert '"running":true' in html
        assert f'data-live="{escape(tag)}"' in html
        assert "connect-src 'self'" in html
        assert get(server, "/body", If_None_Match=tag)[0] == 304
        (trial_id,) = history.live()
        history.end(trial_id, TrialState.COMPLETED)
        history.set_meta("finished", True)
        # Making the page took 2 s: it is not made again for nine times as long.
        now[0] += 17.9
        assert get(server, "/body", If_None_Match=tag)[0] == 304
        now[0] += 0.1
        status, news = get(server, "/body", If_None_Match=tag)
        assert status == 200
        assert news is not None
        assert news.headers["ETag"] != tag
        part = news.read().decode()
        assert '"running":false' in part
        assert "<html" not in part
        assert get(server, "/etc/passwd")[0] == 404


def test_at_this_machine_alone_other_names_are_refused() -> None:
    with served(study(1)) as server:
        assert get(server, "/body", Host="evil.example")[0] == 403
        refused = raw(server, b"GET /body HTTP/1.0\r\nHost: evil.example\r\n\r\n")
        assert b"Open it as 127.0.0.1 or localhost" in refused
        assert get(server, "/body", Host=f"localhost:{server.server_port}")[0] == 200


def raw(server: Server, request: bytes) -> bytes:
    """The first line of the answer to bytes that no browser would send."""
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=60) as connection:
        connection.sendall(request)
        return connection.makefile("rb").readline()


@pytest.mark.parametrize(
    ("path", "host", "code"),
    [
        ("/../../etc/passwd", "localhost", b" 404 "),
        ("http://[", "localhost", b" 404 "),
        ("/body", "[::1", b" 403 "),
        ("/body", "", b" 403 "),
        ("/body", "localhost.evil.example", b" 403 "),
        ("/body", "127.0.0.1@evil.example", b" 403 "),
    ],
)
def test_only_the_page_is_served_and_only_to_this_machine(
    path: str, host: str, code: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    with served(study(1)) as server:
        assert code in raw(server, f"GET {path} HTTP/1.0\r\nHost: {host}\r\n\r\n".encode())
    assert "Traceback" not in capfd.readouterr().err


def test_a_port_that_is_taken_is_one_clear_error() -> None:
    with (
        served(study(1)) as server,
        pytest.raises(SettingError, match=r"cannot serve on port \d+.*--port"),
    ):
        Server(lambda: study(1), Path("/x"), port=server.server_port)


def test_a_record_that_is_gone_is_said_and_survived() -> None:
    there = [study(1)]

    def read() -> History:
        if not there:
            raise HistoryError("there is no record any more")
        return there[0]

    with Server(read, Path("/x")) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}).start()
        history = there.pop()
        assert get(server, "/body")[0] == 503
        there.append(history)
        assert get(server, "/body")[0] == 200
        server.shutdown()


def others(server: Server) -> bytes:
    """The answer that another client gets meanwhile."""
    return raw(server, b"GET /body HTTP/1.0\r\nHost: localhost\r\n\r\n")


def test_clients_at_once_share_one_page(now: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[None] = []

    def once() -> History:
        read.append(None)
        now[0] += 1
        time.sleep(0.2)
        return history

    history = study(1)
    monkeypatch.setattr("raytuner.report.live.page", lambda *args, **how: "page")
    monkeypatch.setattr("raytuner.report.live.body", lambda *args: Markup("body"))
    with Server(once, Path("/x")) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}).start()
        with ThreadPoolExecutor(50) as pool:
            answers = [*pool.map(others, [server] * 50)]
        server.shutdown()
    assert all(b" 200 " in answer for answer in answers)
    assert len(read) == 1
