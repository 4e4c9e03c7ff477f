"""A connection to PostgreSQL that is cut at the worst moment: while a commit is on its way, or its answer."""

import socket
import threading
from pathlib import Path
from types import TracebackType
from typing import Literal, Self
from urllib.parse import parse_qs, urlsplit

Moment = Literal["before", "after"]
PIECE = 1 << 20
COMMIT = b"COMMIT\0"
"""Both the statement and the tag of its answer; BEGIN may hold the word COMMITTED."""


class CommitDroppingProxy:
    """Passes everything on to the server behind `address`, until it is armed: then it loses the next commit.

    `before` the server hears of it, or `after`, so that it happens and only the answer is lost. Once; then all is well.
    `spared` commits go through before that.
    """

    def __init__(self, address: str) -> None:
        query = parse_qs(urlsplit(address).query)
        self._target = str(Path(query["host"][0]) / ".s.PGSQL.5432")
        self._listener = socket.create_server(("127.0.0.1", 0))
        port = self._listener.getsockname()[1]
        self.address = f"postgresql+psycopg://postgres@127.0.0.1:{port}/postgres?options={query['options'][0]}"
        self.armed: Moment | None = None
        self.cuts = self.spared = 0
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        _: TracebackType | None,
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for one in self._open:
            _end(one)
        for thread in self._threads:
            thread.join()
        for one in self._open:
            one.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            server.connect(self._target)
            self._open += [client, server]
            for thread in (
                threading.Thread(target=self._pass_on, args=(client, server)),
                threading.Thread(target=self._bring_back, args=(server, client)),
            ):
                self._threads.append(thread)
                thread.start()

    def _pass_on(self, client: socket.socket, server: socket.socket) -> None:
        while data := _received(client):
            if self.armed == "before" and COMMIT in data:
                if not self.spared:
                    self._cut(client, server)
                    return
                self.spared -= 1
            _sent(server, data)
        _end(server)

    def _bring_back(self, server: socket.socket, client: socket.socket) -> None:
        while data := _received(server):
            if (
                self.armed == "after" and COMMIT in data
            ):  # the command's tag: it has happened
                self._cut(client, server)
                return
            _sent(client, data)
        _end(client)

    def _cut(self, client: socket.socket, server: socket.socket) -> None:
        self.armed = None
        self.cuts += 1
        _end(client)
        _end(server)


def _received(connection: socket.socket) -> bytes:
    try:
        return connection.recv(PIECE)
    except OSError:
        return b""


def _sent(connection: socket.socket, data: bytes) -> None:
    try:
        connection.sendall(data)
    except OSError:
        _end(connection)


def _end(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return
