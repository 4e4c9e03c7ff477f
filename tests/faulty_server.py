"""A server that fails on purpose: raw sockets on 127.0.0.1, one scripted behaviour for each request.

    with FaultyServer(reset(), answer(b"{}")) as server:
        ...  # the first request to server.url meets a reset, all later ones are answered
        assert len(server.requests) == 2

A behaviour is a function of a Peer, called when a request has arrived with its body. When it returns, the connection
waits for the next request, unless it was closed. Behaviours that last for ever end with the client or the server.
"""

import socket
import ssl
import struct
import threading
import zlib
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Self


class Peer:
    """A client's connection, as the server sees it; `request` is the last one that it has sent."""

    def __init__(self, connection: socket.socket, stopped: threading.Event) -> None:
        self.socket = connection
        self.stopped = stopped
        self.request = b""
        self.closed = False

    def read_request(self) -> bool:
        """Read a whole request into `request`; False when there is none to come."""
        head, body = self._read_head(b"")
        while head and len(body) < _content_length(head):
            head, body = (
                (head, body + part) if (part := self.socket.recv(65536)) else (b"", b"")
            )
        self.request = head + body
        return bool(head)

    def send(self, data: bytes) -> bool:
        """Whether `data` could be sent: the client is still there."""
        try:
            self.socket.sendall(data)
        except OSError:
            return False
        return True

    def pour(self, parts: Iterable[bytes], pause: float = 0.0) -> None:
        """Send `parts` with pauses between them, until they, the client or the server end."""
        for part in parts:
            if not self.send(part) or self.stopped.wait(pause):
                return

    def wait(self) -> None:
        """Say nothing more until the client leaves; end of the server included."""
        with suppress(OSError):
            while self.socket.recv(65536):
                pass

    def close(self) -> None:
        self.closed = True
        self.socket.close()

    def reset(self) -> None:
        """Close with RST in place of FIN."""
        self.socket.setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
        )
        self.close()

    def _read_head(self, data: bytes) -> tuple[bytes, bytes]:
        while b"\r\n\r\n" not in data:
            part = self.socket.recv(65536)
            if not part:
                return b"", b""
            data += part
        head, end, body = data.partition(b"\r\n\r\n")
        return head + end, body


Behaviour = Callable[[Peer], object]


class FaultyServer:
    """Serves `script`, one behaviour for each request in turn, the last one for all that follow.

    `on_connect` runs before a request is read (and before a TLS handshake); `tls` makes it an https server. `requests`
    holds the raw requests that arrived, `connections` and `closed` count what was accepted and has ended.
    """

    def __init__(
        self,
        *script: Behaviour,
        on_connect: Behaviour | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.script, self.on_connect, self.tls = script, on_connect, tls
        self.requests: list[bytes] = []
        self.connections = self.closed = 0
        self._live: dict[threading.Thread, socket.socket] = {}
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self._listener.settimeout(0.05)
        self.port: int = self._listener.getsockname()[1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        self._acceptor = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self) -> Self:
        self._acceptor.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stopped.set()
        with suppress(OSError):
            self._listener.shutdown(
                socket.SHUT_RDWR
            )  # wakes accept on Linux; elsewhere its timeout does
        self._acceptor.join()
        self._listener.close()
        for thread, connection in list(self._live.items()):
            with suppress(OSError):
                socket.socket.shutdown(connection, socket.SHUT_RDWR)
            thread.join()

    def _accept(self) -> None:
        while not self._stopped.is_set():
            with suppress(OSError):
                connection, _ = self._listener.accept()
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self.connections += 1
                thread = threading.Thread(
                    target=self._serve, args=(connection,), daemon=True
                )
                self._live[thread] = connection
                thread.start()

    def _serve(self, connection: socket.socket) -> None:
        peer = Peer(connection, self._stopped)
        with suppress(OSError):
            if self.on_connect:
                self.on_connect(peer)
            if self.tls and not peer.closed:
                peer.socket = self._live[threading.current_thread()] = (
                    self.tls.wrap_socket(connection, server_side=True)
                )
            while not peer.closed and peer.read_request():
                self._next_behaviour(peer.request)(peer)
        peer.socket.close()
        connection.close()
        self.closed += 1

    def _next_behaviour(self, request: bytes) -> Behaviour:
        with self._lock:
            self.requests.append(request)
            return self.script[min(len(self.requests), len(self.script)) - 1]


def message(
    body: bytes = b"{}",
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    length: int | None = None,
) -> bytes:
    """A raw HTTP answer; `length` is a Content-Length that isn't true, -1 for none."""
    lines = [
        f"HTTP/1.1 {status} Scripted",
        *(f"{name}: {value}" for name, value in (headers or {}).items()),
    ]
    if length != -1:
        lines.append(f"Content-Length: {len(body) if length is None else length}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def answer(
    body: bytes = b"{}", status: int = 200, headers: Mapping[str, str] | None = None
) -> Behaviour:
    """A complete answer; the connection stays open."""
    return lambda peer: peer.send(message(body, status, headers))


def answer_and_close(
    body: bytes = b"{}", status: int = 200, headers: Mapping[str, str] | None = None
) -> Behaviour:
    """A complete answer that promises to keep the connection, and then closes it."""
    return hang_up(message(body, status, headers))


def redirect(location: str, status: int = 302) -> Behaviour:
    """A redirect to `location`."""
    return answer(b"", status, {"Location": location})


def stall(after: bytes = b"") -> Behaviour:
    """Send `after`, then nothing more, and no FIN."""

    def behave(peer: Peer) -> None:
        peer.send(after)
        peer.wait()

    return behave


def hang_up(after: bytes = b"") -> Behaviour:
    """Send `after`, then close."""

    def behave(peer: Peer) -> None:
        peer.send(after)
        peer.close()

    return behave


def reset(after: bytes = b"") -> Behaviour:
    """Send `after`, then reset the connection."""

    def behave(peer: Peer) -> None:
        peer.send(after)
        peer.reset()

    return behave


def truncated(body: bytes, missing: int = 1) -> Behaviour:
    """Announce the whole `body`, leave out its last bytes, close."""
    return hang_up(message(body[:-missing], length=len(body)))


def drip_headers(pause: float = 0.02) -> Behaviour:
    """Headers without end, byte by byte."""
    return lambda peer: peer.pour(_singly(b"HTTP/1.1 200 OK\r\nX-Slow: ", b"z"), pause)


def drip_body(
    pause: float = 0.02, headers: Mapping[str, str] | None = None, length: int = 10**9
) -> Behaviour:
    """A body without end, byte by byte; `length=-1` announces none."""
    return lambda peer: peer.pour(
        _for_ever(message(b"", headers=headers, length=length), b"z"), pause
    )


def drip_chunks(pause: float = 0.02) -> Behaviour:
    """A chunked body without end, a byte in each chunk."""
    start = message(b"", headers={"Transfer-Encoding": "chunked"}, length=-1)
    return lambda peer: peer.pour(_for_ever(start, b"1\r\nz\r\n"), pause)


def endless(length: int = 10**12) -> Behaviour:
    """A body without end, as fast as it goes; `length=-1` announces none."""
    return lambda peer: peer.pour(_for_ever(message(b"", length=length), bytes(65536)))


def endless_chunks() -> Behaviour:
    """A chunked body without end, as fast as it goes."""
    start = message(b"", headers={"Transfer-Encoding": "chunked"}, length=-1)
    return lambda peer: peer.pour(
        _for_ever(start, b"10000\r\n" + bytes(65536) + b"\r\n")
    )


def gzip_bomb(size: int) -> Behaviour:
    """`size` zero bytes, compressed about a thousand times, in an encoding that nobody asked for."""

    def behave(peer: Peer) -> None:
        # Made when it is asked for, since it takes a while, and in pieces, since some tests measure memory.
        press = zlib.compressobj(wbits=31)  # 31: with the header of gzip
        pieces = [press.compress(bytes(2**20)) for _ in range(size // 2**20)]
        rest = press.compress(bytes(size % 2**20)) + press.flush()
        bomb = b"".join(pieces) + rest
        peer.send(message(bomb, headers={"Content-Encoding": "gzip"}))

    return behave


def _for_ever(start: bytes, part: bytes) -> Iterable[bytes]:
    yield start
    while True:
        yield part


def _singly(start: bytes, byte: bytes) -> Iterable[bytes]:
    yield from (bytes([each]) for each in start)
    while True:
        yield byte


def _content_length(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line.partition(b":")[2])
    return 0


NEVER_ENDING: dict[str, Behaviour] = {
    "headers drip": drip_headers(),
    "body drips": drip_body(),
    "body of a closing connection drips": drip_body(headers={"Connection": "close"}),
    "body without a length drips": drip_body(length=-1),
    "chunks drip": drip_chunks(),
    "no answer": stall(),
    "stall in the headers": stall(b"HTTP/1.1 200 OK\r\nContent-"),
    "stall after the headers": stall(message(b"", length=100)),
    "stall in the body": stall(message(b"half", length=100)),
    "stall in a body without a length": stall(message(b"half", length=-1)),
}
"""Answers that keep a client waiting for ever, unless it has a deadline for all of them."""
