"""The server of the live report."""

from __future__ import annotations

import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPResponse
from pathlib import Path

import pytest
from made_up import study
from markupsafe import escape

from raytuner.errors import HistoryError, SettingError
from raytuner.history import History, TrialState
from raytuner.report.live import Server


@contextmanager
def served(history: History, host: str = "127.0.0.1") -> Iterator[Server]:
    with Server(lambda: history, Path("/studies/digits"), host=host) as server:
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


def test_it_gives_the_page_and_then_only_news() -> None:
    history = study(6, live=1)
    with served(history) as server:
        assert server.url == f"http://127.0.0.1:{server.server_port}/"
        status, page = get(server, "/")
        assert status == 200
        assert page is not None
        tag = page.headers["ETag"]
        assert page.headers["X-Study"] == "running"
        html = page.read().decode()
        assert f'data-live="{escape(tag)}"' in html
        assert "connect-src 'self'" in html
        assert get(server, "/body", If_None_Match=tag)[0] == 304
        (trial_id,) = history.live()
        history.end(trial_id, TrialState.COMPLETED)
        history.set_meta("finished", True)
        # Making the page took a while: it is not made again at once.
        assert get(server, "/body", If_None_Match=tag)[0] == 304
        server.content.forget_pace()
        status, news = get(server, "/body", If_None_Match=tag)
        assert status == 200
        assert news is not None
        assert news.headers["ETag"] != tag
        assert news.headers["X-Study"] == "over"
        assert "<html" not in news.read().decode()
        assert get(server, "/etc/passwd")[0] == 404


def test_at_this_machine_alone_other_names_are_refused() -> None:
    with served(study(1)) as server:
        assert get(server, "/body", Host="evil.example")[0] == 403
        assert get(server, "/body", Host=f"localhost:{server.server_port}")[0] == 200


def test_elsewhere_it_asks_for_its_token() -> None:
    with served(study(1), host="0.0.0.0") as server:
        assert server.token is not None
        assert server.url.endswith(f"/?token={server.token}")
        assert get(server, "/")[0] == get(server, "/body?token=guess")[0] == 403
        assert get(server, f"/body?token={server.token}", Host="worker.example")[0] == 200


def raw(server: Server, request: bytes) -> bytes:
    """The first line of the answer to bytes that no browser would send."""
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=60) as connection:
        connection.sendall(request)
        return connection.makefile("rb").readline()


@pytest.mark.parametrize(
    ("path", "host", "code"),
    [
        ("/../../etc/passwd", "localhost", b" 404 "),
        ("/%2e%2e/%2e%2e/etc/passwd", "localhost", b" 404 "),
        ("http://[", "localhost", b" 400 "),
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


def test_a_token_is_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[bytes, bytes]] = []

    def compare(a: bytes, b: bytes) -> bool:
        compared.append((a, b))
        return a == b

    monkeypatch.setattr("raytuner.report.live.hmac.compare_digest", compare)
    with served(study(1), host="0.0.0.0") as server:
        assert get(server, "/body?token=guess")[0] == 403
        assert get(server, "/body?token=%ff%00")[0] == 403
        assert server.token is not None
        assert len(server.token) >= 24
        assert [a for a, _ in compared] == [b"guess", "\ufffd\0".encode()]


@pytest.mark.parametrize("host", ["", "0.0.0.0", "127.0.0.2"])
def test_at_any_other_address_there_is_a_token(host: str) -> None:
    with Server(lambda: study(1), Path("/x"), host=host) as server:
        assert server.token is not None
    with Server(lambda: study(1), Path("/x")) as server:
        assert server.token is None
        assert server.server_address[0] == "127.0.0.1"


def test_a_port_that_is_taken_is_one_clear_error() -> None:
    with (
        served(study(1)) as server,
        pytest.raises(SettingError, match=r"cannot serve at 127\.0\.0\.1, port \d+.*--port"),
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
