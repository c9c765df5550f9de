"""The live report: a local web page that follows a running study."""

from __future__ import annotations

import hashlib
import sys
import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from raytuner.errors import RaytunerError, SettingError
from raytuner.folders import Folder
from raytuner.history import History
from raytuner.report.figures import Figures
from raytuner.report.page import body, page

_HOST = "127.0.0.1"


class Server(ThreadingHTTPServer):
    """Serves the report of a study to this machine until it is shut down.

    Args:
        read: Reads the record.
        folder: The study's folder.
        port: The port; 0 takes a free one.

    Raises:
        SettingError: It cannot listen on the port.
    """

    daemon_threads = True

    def __init__(self, read: Callable[[], History], folder: Folder, *, port: int = 0) -> None:
        self._read = read
        self._folder = folder
        self._lock = threading.Lock()
        self._tag = ""
        self._answers: dict[str, bytes] = {}  # by path
        self._next_read = 0.0
        try:
            super().__init__((_HOST, port), _Handler)
        except OSError as error:
            raise SettingError(
                f"cannot serve on port {port}: {error.strerror}; choose another one with --port"
            ) from error

    @property
    def url(self) -> str:
        """The address to open in a browser."""
        return f"http://{_HOST}:{self.server_port}/"

    def content(self, path: str) -> tuple[str, bytes]:
        """Return an entity tag and the page or its body, made again if the record has changed.

        Making a page takes seconds on one core, mostly to fit the model. The study needs that core
        too, so the server spends at most a tenth of the time on it.
        """
        with self._lock:
            begun = time.monotonic()
            if begun >= self._next_read:
                self._update()
                self._next_read = time.monotonic() + 9 * (time.monotonic() - begun)
            return self._tag, self._answers[path]

    def _update(self) -> None:
        history = self._read()
        trials = [(t.trial_id, t.state.value, t.values, t.reason) for t in history.trials]
        key = repr((trials, history.get_meta("finished")))
        tag = f'"{hashlib.sha256(key.encode()).hexdigest()[:16]}"'
        if tag != self._tag:
            part = body(Figures(history), self._folder)
            whole = page(part, self._folder, live=tag)
            self._tag, self._answers = tag, {"/": whole.encode(), "/body": part.encode()}

    def handle_error(self, request: object, client_address: object) -> None:
        """Print errors, except those of browsers that went away."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        """Send the page, or for an open page its body if that has changed."""
        # DNS rebinding: a foreign page could let its own name resolve to this address.
        if self.headers.get("Host", "").split(":")[0] not in (_HOST, "localhost"):
            self.send_error(HTTPStatus.FORBIDDEN, f"Open it as {_HOST} or localhost")
            return
        if self.path not in ("/", "/body"):
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        try:
            tag, answer = self.server.content(self.path)
        except RaytunerError as error:  # the folder is gone, say
            self.send_error(HTTPStatus.SERVICE_UNAVAILABLE, explain=str(error))
            return
        is_known = self.headers.get("If-None-Match") == tag
        self.send_response(HTTPStatus.NOT_MODIFIED if is_known else HTTPStatus.OK)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(answer)))
        self.send_header("ETag", tag)
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(b"" if is_known else answer)

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing: the terminal is the user's."""
