"""The server of the live report."""

from __future__ import annotations

import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
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
def served(
    history: History, host: str = "127.0.0.1", read: Callable[[], History] | None = None
) -> Iterator[Server]:
    with Server(read or (lambda: history), Path("/studies/digits"), host=host) as server:
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
        assert page.headers["X-Study"] == "running"
        html = page.read().decode()
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
        assert news.headers["X-Study"] == "over"
        assert "<html" not in news.read().decode()
        assert get(server, "/etc/passwd")[0] == 404


def test_at_this_machine_alone_other_names_are_refused() -> None:
    with served(study(1)) as server:
        assert get(server, "/body", Host="evil.example")[0] == 403
        refused = raw(server, b"GET /body HTTP/1.0\r\nHost: evil.example\r\n\r\n")
        assert b"Open it as 127.0.0.1 or ::1 or localhost" in refused  # there is no token to give
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


@pytest.mark.parametrize(("host", "has_token"), [("::1", False), ("::", True)])
def test_it_serves_at_an_address_of_ipv6(host: str, has_token: bool) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError as error:
        pytest.skip(f"there is no IPv6 here: {error}")
    with served(study(1), host=host) as server:
        assert (server.token is not None) == has_token
        assert server.url.startswith(f"http://[{host}]:{server.server_port}/")
        url = server.url.replace("[::]", "[::1]").replace("/?", "/body?")
        with urllib.request.urlopen(url, timeout=60) as answer:
            assert answer.status == 200


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


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give clients 0.3 s to send a request and to read the answer; make the page at once."""
    monkeypatch.setattr("raytuner.report.live._Handler.timeout", 0.3)
    monkeypatch.setattr("raytuner.report.live.page", lambda *args, **how: "x" * 2**24)
    monkeypatch.setattr("raytuner.report.live.body", lambda *args: Markup("body"))


def connect(server: Server) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.server_port), timeout=60)


def is_closed(connection: socket.socket) -> bool:
    """Whether the server closes the connection within the timeout of the socket."""
    with suppress(ConnectionError):
        while connection.recv(2**16):
            pass
    return True


def others(server: Server) -> bytes:
    """The answer that another client gets meanwhile."""
    return raw(server, b"GET /body HTTP/1.0\r\nHost: localhost\r\n\r\n")


@pytest.mark.usefixtures("quick")
def test_clients_that_send_nothing_are_left_and_hold_up_no_one(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with served(study(1)) as server, ExitStack() as stack:
        threads = threading.active_count()
        silent = [stack.enter_context(connect(server)) for _ in range(50)]
        assert b" 200 " in others(server)
        assert all(is_closed(connection) for connection in silent)
        while threading.active_count() > threads:
            time.sleep(0.01)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("part", [b"G", b"GET / HTTP/1.0\r\nHost: x\r\n"])
@pytest.mark.usefixtures("quick")
def test_a_client_that_sends_byte_by_byte_is_left(
    part: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    with served(study(1)) as server, connect(server) as slow:
        slow.sendall(part)
        slow.settimeout(0.05)
        sent = 0
        with suppress(ConnectionError):
            while sent < 2400:  # for two minutes, if the server lets it
                slow.sendall(b"x")
                sent += 1
                with suppress(TimeoutError):
                    if not slow.recv(1):
                        break
        assert 0 < sent < 2400
        assert b" 200 " in others(server)
    assert capfd.readouterr() == ("", "")


@pytest.mark.usefixtures("quick")
def test_a_client_that_never_reads_the_answer_is_left(capfd: pytest.CaptureFixture[str]) -> None:
    with served(study(1)) as server, ExitStack() as stack:
        threads = threading.active_count()
        for _ in range(5):
            deaf = stack.enter_context(socket.socket())
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**12)
            deaf.connect(("127.0.0.1", server.server_port))
            deaf.sendall(b"GET / HTTP/1.0\r\nHost: localhost\r\n\r\n")
        assert b" 200 " in others(server)
        while threading.active_count() > threads:
            time.sleep(0.01)
        assert len(deaf.makefile("rb").read()) < 2**24
    assert capfd.readouterr() == ("", "")


def test_fifty_clients_at_once_are_all_let_in() -> None:
    with Server(lambda: study(1), Path("/x")) as server, ExitStack() as stack:
        for _ in range(50):  # it serves none of them yet: they wait in the queue
            place = ("127.0.0.1", server.server_port)
            stack.enter_context(socket.create_connection(place, timeout=60))


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
