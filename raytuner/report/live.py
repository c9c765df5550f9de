"""The report of a study that runs: a page on this machine that follows the record."""

from __future__ import annotations

import hashlib
import hmac
import io
import secrets
import socket
import sys
import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

from raytuner.errors import RaytunerError, SettingError
from raytuner.folders import Folder
from raytuner.history import History
from raytuner.report.figures import Figures
from raytuner.report.page import body, render

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_LOOPBACK = ("127.0.0.1", "::1", "localhost")


class Content:
    """What the page shows, made again when the record has changed.

    Drawing a page takes seconds of one core, fitting the model above all. So it is made at most as
    often as leaves the core free nine tenths of the time: the study needs it more.

    Args:
        read: Reads the record.
        folder: The study's folder.
    """

    def __init__(self, read: Callable[[], History], folder: Folder) -> None:
        self._read = read
        self._folder = folder
        self._lock = threading.Lock()
        self._tag = ""
        self._page = b""
        self._body = b""
        self._running = True
        self._not_before = 0.0

    def look(self) -> tuple[str, bytes, bytes, bool]:
        """The entity tag, the page, its body, and whether the study runs."""
        with self._lock:
            if time.monotonic() >= self._not_before:
                begun = time.monotonic()
                self._make()
                self._not_before = time.monotonic() + 9 * (time.monotonic() - begun)
            return self._tag, self._page, self._body, self._running

    def forget_pace(self) -> None:
        """Look at the record again when asked next, however much time the last page took."""
        self._not_before = 0.0

    def _make(self) -> None:
        history = self._read()
        seen = [(t.trial_id, t.state.value, t.values, t.reason) for t in history.trials]
        tag = f'"{hashlib.sha256(repr(seen).encode()).hexdigest()[:16]}"'
        self._running = bool(history.live()) or history.get_meta("finished") is False
        if tag == self._tag:
            return
        figures = Figures(history)
        self._page = render(figures, self._folder, live=tag).encode()
        self._body = body(figures, self._folder).encode()
        self._tag = tag


class Server(ThreadingHTTPServer):
    """Serves a study's page until it is shut down.

    Args:
        read: Reads the record as it is now.
        folder: The study's folder.
        host: Address to listen at. Anything but this machine itself makes a token that a request
            has to carry.
        port: Port to listen at; 0 for any that is free.

    Raises:
        SettingError: It cannot listen there.
    """

    daemon_threads = True
    request_queue_size = 128  # of five, as by default, others would wait a second for their turn

    def __init__(
        self, read: Callable[[], History], folder: Folder, *, host: str = "127.0.0.1", port: int = 0
    ) -> None:
        self.content = Content(read, folder)
        self.token = None if host in _LOOPBACK else secrets.token_urlsafe(18)
        if ":" in host:
            self.address_family = socket.AF_INET6
        try:
            super().__init__((host, port), _Handler)
        except OSError as error:
            raise SettingError(
                f"cannot serve at {host}, port {port}: {error.strerror}; choose another with"
                " --host and --port"
            ) from error

    def handle_error(self, request: object, client_address: object) -> None:
        """Pass over browsers that went away; tell of everything else."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]

    @property
    def url(self) -> str:
        """What to open in a browser."""
        host, port = str(self.server_address[0]), self.server_port
        if ":" in host:
            host = f"[{host}]"
        query = "" if self.token is None else f"?token={self.token}"
        return f"http://{host}:{port}/{query}"


class _Reader(io.RawIOBase):
    """Reads a request, all of which has to come in within the timeout of its connection."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._timeout = connection.gettimeout() or 0.0
        self._end = time.monotonic() + self._timeout

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        self._connection.settimeout(max(self._end - time.monotonic(), 0.001))
        try:
            return self._connection.recv_into(buffer)
        finally:
            self._connection.settimeout(self._timeout)  # for the answer


class _Handler(BaseHTTPRequestHandler):
    server: Server
    server_version = "raytuner"
    timeout = 30.0  # seconds for a request to come in, and for its answer to leave
    sys_version = ""

    def setup(self) -> None:
        """Give the whole request the time that Python gives each part of it."""
        super().setup()
        self.rfile = io.BufferedReader(_Reader(self.connection))

    def do_GET(self) -> None:
        """Answer with the page or, for a page that is open, with what has changed."""
        try:
            url = urlsplit(self.path)
        except ValueError:
            self.send_error(HTTPStatus.BAD_REQUEST)
            return
        if not self._may(parse_qs(url.query).get("token", [""])[0]):
            name = " or ".join(_LOOPBACK)
            self.send_error(
                HTTPStatus.FORBIDDEN,
                f"Open it as {name}" if self.server.token is None else "Give the printed token",
            )
            return
        if url.path not in ("/", "/body"):
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        try:
            tag, page, part, running = self.server.content.look()
        except RaytunerError as error:  # the folder is gone, say
            self.send_error(HTTPStatus.SERVICE_UNAVAILABLE, explain=str(error))
            return
        content = page if url.path == "/" else part
        is_known = self.headers.get("If-None-Match") == tag and url.path == "/body"
        self.send_response(HTTPStatus.NOT_MODIFIED if is_known else HTTPStatus.OK)
        self.send_header("ETag", tag)
        self.send_header("X-Study", "running" if running else "over")
        self.send_header("Cache-Control", "no-store")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("X-Content-Type-Options", "nosniff")
        if not is_known:
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if not is_known:
            self.wfile.write(content)

    def _may(self, token: str) -> bool:
        if self.server.token is not None:
            return hmac.compare_digest(token.encode(), self.server.token.encode())
        # Without a token, only under a name of this machine: a page from elsewhere could otherwise
        # have its own name resolve to this address and read along (DNS rebinding).
        try:
            name = urlsplit(f"//{self.headers.get('Host', '')}").hostname
        except ValueError:  # no name at all, such as "[::1"
            return False
        return name in _LOOPBACK

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the terminal is the user's."""
