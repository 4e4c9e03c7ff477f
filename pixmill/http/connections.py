"""The network under a Transport: exchanges that end in time, connections to addresses that were checked.

No HTTP library has a deadline for a whole exchange (receive timeouts start again with every byte), or tells whether a
byte of a request has left; and they look a host up by themselves, whoever has checked it before. So sockets are opened,
secured, lent and watched here.
"""

import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import cached_property
from http.client import HTTPException, IncompleteRead, RemoteDisconnected
from time import monotonic
from typing import NamedTuple

from requests.utils import DEFAULT_CA_BUNDLE_PATH
from urllib3.util.wait import wait_for_read

from pixmill.errors import NotSent
from pixmill.http.address_policy import LookUp, look_up_within

CONNECT_SECONDS = (
    10.0  # for one address of several, so that a dead one doesn't use up the deadline
)
SWEEP_SECONDS = 0.05


class Origin(NamedTuple):
    """Where requests go: the scheme `http` or `https`, a host without brackets, and a port."""

    scheme: str
    host: str
    port: int


class Connection:
    """A socket to a checked address of `origin`: it belongs to one exchange at a time, or rests with its wire."""

    __slots__ = ("origin", "rests_since", "socket")

    def __init__(self, origin: Origin, opened: socket.socket) -> None:
        self.origin = origin
        self.socket = opened
        self.rests_since = 0.0

    @property
    def is_clean(self) -> bool:
        """Whether the other end has neither closed it nor sent what nobody asked for."""
        return not wait_for_read(self.socket, timeout=0)

    def close(self) -> None:
        """Close the socket."""
        self.socket.close()


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

    def sends(self) -> None:
        """Note that from here on the outcome may be unknown; TimeoutError when there is no time left to send."""
        self.left()
        self.sent = True

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


class ConnectionContext:
    """The connections of a transport, up to `most` of which rest; its exchanges by thread, and their watch."""

    def __init__(
        self,
        check_address: Callable[[str], None],
        idle_seconds: float,
        look_up: LookUp,
        most: int,
    ) -> None:
        self.check_address = check_address
        self.idle_seconds = idle_seconds
        self.look_up = look_up
        self._most = most
        self._resting: list[Connection] = []
        self._lock = threading.Lock()
        self.running: dict[int, Exchange] = {}
        self.stopped = threading.Event()
        threading.Thread(
            target=self._watch, name="pixmill-deadlines", daemon=True
        ).start()

    def lend(self, origin: Origin, exchange: Exchange) -> Connection:
        """Return a connection for `exchange` alone: the one that rested last, or a new one."""
        while (rested := self._rested(origin)) is not None:
            exchange.hold(rested.socket)
            if rested.is_clean:
                return rested
            exchange.hold(None)
            rested.close()
        opened = self._connect(origin.host, origin.port, exchange)
        exchange.hold(opened)
        if origin.scheme == "https":
            opened = self._secured(opened, origin, exchange)
        return Connection(origin, opened)

    def rest(self, connection: Connection, exchange: Exchange) -> None:
        """Take back a connection whose exchange has ended well, for the next one."""
        # Before another thread can have it, so that a late end of this exchange does not hit that one's.
        exchange.hold(None)
        now = monotonic()
        connection.rests_since = now
        with self._lock:
            self._resting.append(connection)
            tired = max(0, len(self._resting) - self._most)
            while now - self._resting[tired].rests_since > self.idle_seconds:
                tired += 1
            closing = self._resting[:tired]
            del self._resting[:tired]
        for each in closing:
            each.close()

    def close(self) -> None:
        """Close what rests and end the watch."""
        self.stopped.set()
        with self._lock:
            closing = self._resting
            self._resting = []
        for each in closing:
            each.close()

    def _rested(self, origin: Origin) -> Connection | None:
        """Take the connection to `origin` that has rested last, if not for too long."""
        with self._lock:
            for at in range(len(self._resting) - 1, -1, -1):
                if self._resting[at].origin == origin:
                    fresh = (
                        monotonic() - self._resting[at].rests_since <= self.idle_seconds
                    )
                    return self._resting.pop(at) if fresh else None
        return None

    def _connect(self, host: str, port: int, exchange: Exchange) -> socket.socket:
        """Return a socket to the first address of `host` that answers, after a check of all of them."""
        try:
            addresses = look_up_within(exchange.left(), host, self.look_up)
        except (
            OSError,
            UnicodeError,
            RuntimeError,
        ) as error:  # the last: no more threads
            raise NotSent(
                f"{host}: its address was not found ({exchange.reason(error)})"
            ) from None
        for address in addresses:
            self.check_address(address)
        problem = "it has no address"
        for address in addresses:
            try:
                return _open(address, port, min(exchange.left(), CONNECT_SECONDS))
            except OSError as error:
                problem = exchange.reason(error)
        raise NotSent(f"{host}:{port}: no connection ({problem})")

    def _secured(
        self, opened: socket.socket, origin: Origin, exchange: Exchange
    ) -> ssl.SSLSocket:
        """Shake hands in two steps, so that the deadline also ends a handshake that drips."""
        name = origin.host.rstrip(".")
        try:
            with ExitStack() as failing:
                failing.callback(opened.close)
                secured = self.tls.wrap_socket(
                    opened, server_hostname=name, do_handshake_on_connect=False
                )
                failing.callback(secured.close)
                exchange.hold(secured)
                secured.do_handshake()
                failing.pop_all()
        except (OSError, ValueError) as error:
            problem = exchange.reason(error)
            raise NotSent(
                f"{name}:{origin.port}: no TLS connection ({problem})"
            ) from None
        return secured

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
        case HTTPException():
            return "its answer ended early or is not HTTP"
        case TimeoutError():
            return "timed out"
        case OSError(strerror=str(text)):
            return text
        case RuntimeError():
            return str(error)
    return None
