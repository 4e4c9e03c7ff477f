"""A proxy in front of a Prefect server that fails on purpose: by route, for as long as a test wants."""

import http.client
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal
from urllib.parse import urlsplit

Fault = int | Literal["hang"]
"""The status of an answer, or none until the fault is over."""

PIECE = 1 << 16
OWN_HEADERS = {"connection", "content-length", "date", "server", "transfer-encoding"}
"""Headers that each of two connections has for itself."""


class PrefectProxy:
    """Passes everything on to the API at `target`, websockets included, but for the routes that `fails` names.

    `met` has the route of every request that met a fault.
    """

    def __init__(self, target: str) -> None:
        parts = urlsplit(target)
        self.target = (str(parts.hostname), int(parts.port or 80))
        self.met: list[str] = []
        self._faults: list[tuple[re.Pattern[str], Fault, threading.Event]] = []
        self._server = ThreadingHTTPServer(
            ("127.0.0.1", 0), type("Bound", (_Passing,), {"proxy": self})
        )
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}{parts.path}"

    @contextmanager
    def serving(self) -> Iterator["PrefectProxy"]:
        thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            thread.join()
            self._server.server_close()

    @contextmanager
    def fails(self, route: str, fault: Fault) -> Iterator[None]:
        """Let requests whose method and path match `route` meet `fault`, until the body ends."""
        self.met.clear()
        over = threading.Event()
        self._faults.append((re.compile(route), fault, over))
        try:
            yield
        finally:
            self._faults.pop()
            over.set()

    def fault_of(self, method: str, path: str) -> int | None:
        """The status of the fault that a request meets; waits while it hangs. None if it is to be passed on."""
        for route, fault, over in self._faults:
            if route.search(f"{method} {path}"):
                self.met.append(f"{method} {path}")
                if fault != "hang":
                    return fault
                over.wait()
                return 503
        return None


class _Passing(BaseHTTPRequestHandler):
    """One connection of a client."""

    protocol_version = "HTTP/1.1"
    proxy: PrefectProxy

    def handle(self) -> None:
        with suppress(OSError):  # the client is gone
            super().handle()

    def log_message(self, *_: Any) -> None: ...

    def _pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        status = self.proxy.fault_of(self.command, self.path)
        if status is not None:
            self._answer(
                status,
                {"Content-Type": "application/json"},
                b'{"detail": "on purpose"}',
            )
        elif self.headers.get("Upgrade"):
            self._tunnel()
        else:
            server = http.client.HTTPConnection(*self.proxy.target)
            server.request(self.command, self.path, body, dict(self.headers))
            answer = server.getresponse()
            self._answer(answer.status, dict(answer.getheaders()), answer.read())
            server.close()

    do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = _pass_on  # noqa: N815 - as they are called

    def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            if name.lower() not in OWN_HEADERS:
                self.send_header(name, value)
        if status != http.HTTPStatus.NO_CONTENT:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _tunnel(self) -> None:
        """Pass a websocket on, byte for byte, until one side ends it."""
        self.close_connection = True
        with socket.create_connection(self.proxy.target) as server:
            lines = [
                self.requestline,
                *(f"{name}: {value}" for name, value in self.headers.items()),
                "",
                "",
            ]
            server.sendall("\r\n".join(lines).encode())
            back = threading.Thread(
                target=_pour, args=(server, self.connection), daemon=True
            )
            back.start()
            _pour(self.connection, server)
            back.join()


def _pour(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(PIECE):
            sink.sendall(data)
    for one in (source, sink):
        with suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)
