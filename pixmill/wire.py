"""The network under a Transport: exchanges that end in time, connections to addresses that were checked.

urllib3 has no deadline for a whole exchange (its receive timeout starts again with every byte), looks a host
up by itself, whoever has checked it before, and doesn't tell whether a byte of a request has left.
"""

import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import cached_property
from http.client import HTTPException, IncompleteRead, RemoteDisconnected
from time import monotonic
from typing import Any, cast

from requests.utils import DEFAULT_CA_BUNDLE_PATH
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ProtocolError

from pixmill.addresses import LookUp, look_up_within
from pixmill.errors import NotSent

CONNECT_SECONDS = 10.0  # for one address of several, so that a dead one doesn't use up the deadline
SWEEP_SECONDS = 0.05


class Exchange:
    """One call under way: when it has to end, whether a byte of it may have left, and its socket."""

    __slots__ = ("_lock", "_socket", "deadline", "ends", "over", "sent")

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self.ends = monotonic() + deadline
        self.over = False
        self.sent = False
        self._socket: socket.socket | None = None
        self._lock = threading.Lock()

    def left(self) -> float:
        """Return the seconds that are left; TimeoutError when there are none."""
        seconds = self.ends - monotonic()
        if seconds <= 0:
            raise TimeoutError
        return seconds

    def hold(self, used: socket.socket | None) -> None:
        """Make `used` the socket that ends with this exchange; None lets go of the last one."""
        with self._lock:
            self._socket = used
            if self.over:
                self._shut()

    def end(self) -> None:
        """Time is over: wake the thread that waits for the socket."""
        with self._lock:
            self.over = True
            self._shut()

    def reason(self, error: BaseException) -> str:
        """Say what happened: the innermost cause that has words for it, as the outer ones quote the URL."""
        if self.ends <= monotonic():
            return f"not finished within {round(self.deadline, 1):g} s"
        causes = [error]
        while (cause := causes[-1].__cause__ or causes[-1].__context__) is not None:
            causes.append(cause)
        return next(filter(None, map(_words, reversed(causes))), type(error).__name__)

    def _shut(self) -> None:
        if self._socket is not None:
            with suppress(OSError):
                # Not SSLSocket.shutdown: a reader of that socket would go on in plain text.
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)


class Wire:
    """What the connections of a transport share: its rules, its exchanges by thread, and their watch."""

    def __init__(
        self, check_address: Callable[[str], None], idle_seconds: float, look_up: LookUp
    ) -> None:
        self.check_address = check_address
        self.idle_seconds = idle_seconds
        self.look_up = look_up
        self.running: dict[int, Exchange] = {}
        self.stopped = threading.Event()
        threading.Thread(target=self._watch, name="pixmill-deadlines", daemon=True).start()

    def connect(self, host: str, port: int, exchange: Exchange) -> socket.socket:
        """Return a socket to the first address of `host` that answers, after a check of all of them."""
        try:
            addresses = look_up_within(exchange.left(), host, self.look_up)
        except (OSError, UnicodeError) as error:
            raise NotSent(f"{host}: its address was not found ({exchange.reason(error)})") from None
        for address in addresses:
            self.check_address(address)
        problem = "it has no address"
        for address in addresses:
            try:
                return _open(address, port, min(exchange.left(), CONNECT_SECONDS))
            except OSError as error:
                problem = exchange.reason(error)
        raise NotSent(f"{host}:{port}: no connection ({problem})")

    @cached_property
    def tls(self) -> ssl.SSLContext:
        """TLS 1.2 or newer, verified: no setting turns that off."""
        context = ssl.create_default_context()
        context.load_verify_locations(DEFAULT_CA_BUNDLE_PATH)
        context.set_alpn_protocols(["http/1.1"])
        return context

    def _watch(self) -> None:
        """A sweep over all exchanges costs each of them nothing; a timer for each would cost wake-ups."""
        while not self.stopped.wait(SWEEP_SECONDS):
            now = monotonic()
            for exchange in list(self.running.values()):
                if exchange.ends <= now:
                    exchange.end()


class Connection(HTTPConnection):
    """A connection to a checked address; it belongs to one exchange at a time, or rests in its pool."""

    wire: Wire
    exchange: Exchange
    rests_since: float

    def send(self, data: Any) -> None:
        """Write `data`, and note before its first byte that from here on the outcome may be unknown."""
        if self.sock is None:
            self.connect()
        if not self.exchange.sent:
            self.exchange.left()
            self.exchange.sent = True
        super().send(data)

    def _new_conn(self) -> socket.socket:
        opened = self.wire.connect(self._dns_host, self.port, self.exchange)
        self.exchange.hold(opened)
        return opened


class TlsConnection(Connection, HTTPSConnection):
    """The same over TLS: the certificate has to be that of the host's name."""

    def connect(self) -> None:
        """Connect and shake hands in two steps, so that the deadline also ends a handshake that drips."""
        self.sock = self._new_conn()
        try:
            self.sock = secured = self.wire.tls.wrap_socket(
                self.sock, server_hostname=self.host, do_handshake_on_connect=False
            )
            self.exchange.hold(secured)
            secured.do_handshake()
        except (OSError, ValueError) as error:
            problem = self.exchange.reason(error)
            raise NotSent(f"{self.host}:{self.port}: no TLS connection ({problem})") from None
        self.is_verified = True


class Pool(HTTPConnectionPool):
    """Lends connections to the exchange of the calling thread, unless they have rested for too long."""

    ConnectionCls = Connection

    def __init__(self, wire: Wire, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.wire = wire

    def _get_conn(self, timeout: float | None = None) -> Any:
        connection = cast(Connection, super()._get_conn(timeout))
        if (
            connection.sock is not None
            and monotonic() - connection.rests_since > self.wire.idle_seconds
        ):
            connection.close()
        connection.wire = self.wire
        connection.exchange = self.wire.running[threading.get_ident()]
        connection.exchange.hold(connection.sock)
        return connection

    def _put_conn(self, conn: Any) -> None:
        if conn is not None:
            # Before another thread can take it, so that a late end of this exchange doesn't hit that one's.
            conn.exchange.hold(None)
            conn.rests_since = monotonic()
        super()._put_conn(conn)


class TlsPool(Pool, HTTPSConnectionPool):
    """The same for https."""

    ConnectionCls = TlsConnection


def _open(address: str, port: int, seconds: float) -> socket.socket:
    opened = socket.create_connection((address, port), timeout=seconds)
    opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    opened.settimeout(
        None
    )  # the watch ends it; a timeout would add a system call to each send and receive
    return opened


def _words(error: BaseException) -> str | None:
    match error:
        case IncompleteRead():
            return "its answer ended early"
        case RemoteDisconnected():
            return "it closed the connection without an answer"
        case ssl.SSLCertVerificationError():
            return f"certificate refused: {error.verify_message}"
        case ssl.SSLError():
            return f"TLS failed: {error.reason or 'the connection was closed'}"
        case HTTPException() | ProtocolError():
            return "its answer ended early or is not HTTP"
        case TimeoutError():
            return "timed out"
        case OSError(strerror=str(text)):
            return text
    return None
