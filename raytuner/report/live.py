"""The report of a study that runs: a page on this machine that follows the record."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple
from urllib.parse import parse_qs, urlsplit

from raytuner.errors import RaytunerError, SettingError
from raytuner.folders import Folder
from raytuner.history import History
from raytuner.report.figures import Figures
from raytuner.report.page import body, page

_LOOPBACK = ("127.0.0.1", "::1", "localhost")


class Content(NamedTuple):
    """The page that the server shows; `tag` is the entity tag of the page and of its body."""

    tag: str
    page: bytes
    body: bytes
    running: bool


class Server(ThreadingHTTPServer):
    """Serves a study's page until it is shut down.

    Args:
        read: Reads the record as it is now.
        folder: The study's folder.
        host: Address to listen at. For any but this machine's own, requests need a token.
        port: Port to listen at; 0 for any that is free.

    Raises:
        SettingError: It cannot listen there.
    """

    daemon_threads = True
    request_queue_size = 128  # with the default of five, others would wait a second for their turn

    def __init__(
        self, read: Callable[[], History], folder: Folder, *, host: str = "127.0.0.1", port: int = 0
    ) -> None:
        self._read = read
        self._folder = folder
        self._lock = threading.Lock()
        self._content = Content("", b"", b"", running=True)
        self._next_read = 0.0
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

    @property
    def url(self) -> str:
        """The address to open in a browser."""
        host, port = str(self.server_address[0]), self.server_port
        if ":" in host:
            host = f"[{host}]"
        query = "" if self.token is None else f"?token={self.token}"
        return f"http://{host}:{port}/{query}"

    def content(self) -> Content:
        """Return the page, made again if the record has changed.

        Making a page takes seconds of one core, mostly to fit the model, and the study needs that
        core. So the server spends at most a tenth of the time on it.
        """
        with self._lock:
            begun = time.monotonic()
            if begun >= self._next_read:
                self._update()
                self._next_read = time.monotonic() + 9 * (time.monotonic() - begun)
            return self._content

    def read_at_once(self) -> None:
        """Read the record when the next request comes, however long the last page took."""
        self._next_read = 0.0

    def _update(self) -> None:
        history = self._read()
        key = [(t.trial_id, t.state.value, t.values, t.reason) for t in history.trials]
        tag = f'"{hashlib.sha256(repr(key).encode()).hexdigest()[:16]}"'
        running = bool(history.live()) or history.get_meta("finished") is False
        if tag == self._content.tag:
            self._content = self._content._replace(running=running)
            return
        part = body(Figures(history), self._folder)
        whole = page(part, self._folder, live=tag)
        self._content = Content(tag, whole.encode(), part.encode(), running)

    def handle_error(self, request: object, client_address: object) -> None:
        """Print errors, except those of browsers that went away."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class _Handler(BaseHTTPRequestHandler):
    server: Server
    server_version = "raytuner"
    timeout = 30.0  # seconds for a request to come in, and for its answer to leave
    sys_version = ""

    def setup(self) -> None:
        """Limit the time of the whole request; `timeout` limits that of each part of it."""
        super().setup()
        self._timer = threading.Timer(self.timeout, self._stop_reading)
        self._timer.daemon = True
        self._timer.start()

    def finish(self) -> None:
        self._timer.cancel()
        super().finish()

    def _stop_reading(self) -> None:
        with suppress(OSError):  # the client is gone
            self.connection.shutdown(socket.SHUT_RD)

    def do_GET(self) -> None:
        """Answer with the page or, for a page that is open, with its body if that has changed."""
        try:
            url = urlsplit(self.path)
        except ValueError:
            self.send_error(HTTPStatus.BAD_REQUEST)
            return
        if not self._is_allowed(parse_qs(url.query).get("token", [""])[0]):
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
            content = self.server.content()
        except RaytunerError as error:  # the folder is gone, say
            self.send_error(HTTPStatus.SERVICE_UNAVAILABLE, explain=str(error))
            return
        answer = content.page if url.path == "/" else content.body
        if url.path == "/body" and self.headers.get("If-None-Match") == content.tag:
            self.send_response(HTTPStatus.NOT_MODIFIED)
            answer = b""
        else:
            self.send_response(HTTPStatus.OK)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(answer)))
        self.send_header("ETag", content.tag)
        self.send_header("X-Study", "running" if content.running else "over")
        self.send_header("Cache-Control", "no-store")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.end_headers()
        self.wfile.write(answer)

    def _is_allowed(self, token: str) -> bool:
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
        """Print nothing: the terminal is the user's."""
