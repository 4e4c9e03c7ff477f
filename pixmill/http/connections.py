"""Connections to addresses that were checked: opened, secured, lent to one exchange at a time, kept
while idle.

HTTP libraries look a host up by themselves, whoever has checked its address before. So sockets are
opened here.
"""

import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import ExitStack
from functools import cached_property
from time import monotonic
from typing import NamedTuple

from requests.utils import DEFAULT_CA_BUNDLE_PATH
from urllib3.util.wait import wait_for_read

from pixmill.errors import NotSent
from pixmill.http.address_policy import LookUp, look_up_within
from pixmill.http.exchange import Exchange

CONNECT_SECONDS = 10.0
"""For one address of several, so that a dead one doesn't use up the deadline."""


class Origin(NamedTuple):
    """Where requests go."""

    scheme: str
    """`http` or `https`."""

    host: str
    """A name or an address, without brackets."""

    port: int


class Connection:
    """A socket to a checked address of `origin`: it belongs to one exchange at a time, or is idle
    in its pool.
    """

    __slots__ = ("idle_since", "origin", "socket")

    def __init__(self, origin: Origin, opened: socket.socket) -> None:
        self.origin = origin
        self.socket = opened
        self.idle_since = 0.0

    @property
    def is_clean(self) -> bool:
        """Whether the other end has neither closed it nor sent what nobody asked for."""
        return not wait_for_read(self.socket, timeout=0)

    def close(self) -> None:
        """Close the socket."""
        self.socket.close()


class ConnectionPool:
    """The connections of a transport.

    `check_address` sees every address of a host before one of them is connected to, and refuses by
    raising. At most `most` connections are kept idle, and none for more than `idle_seconds`.
    """

    def __init__(
        self,
        check_address: Callable[[str], None] | None,
        idle_seconds: float,
        look_up: LookUp,
        most: int,
    ) -> None:
        self._check_address = check_address
        self._idle_seconds = idle_seconds
        self._look_up = look_up
        self._most = most

        self._idle: list[Connection] = []
        """By the time since when they are idle, the longest first."""

        self._lock = threading.Lock()

    def acquire(self, origin: Origin, exchange: Exchange) -> Connection:
        """Return a connection for `exchange` alone: the one that was used last, or a new one.

        Raises NotSent where there is none, TimeoutError where time is over, and what
        `check_address` raises.
        """
        while (idle := self._take_idle(origin)) is not None:
            exchange.attach(idle.socket)
            if idle.is_clean:
                return idle
            exchange.attach(None)
            idle.close()
        opened = self._connect(origin, exchange)
        exchange.attach(opened)
        if isinstance(opened, ssl.SSLSocket):
            _shake_hands(opened, origin, exchange)
        return Connection(origin, opened)

    def release(self, connection: Connection, exchange: Exchange) -> None:
        """Take back a connection whose exchange has ended well, for the next one."""
        # Before another thread can have it, so that a late end of this exchange does not hit that
        # one's.
        exchange.attach(None)
        now = monotonic()
        connection.idle_since = now
        with self._lock:
            self._idle.append(connection)
            surplus = max(0, len(self._idle) - self._most)
            while now - self._idle[surplus].idle_since > self._idle_seconds:
                surplus += 1
            closing = self._idle[:surplus]
            del self._idle[:surplus]
        # Outside of the lock: closing a connection of TLS may wait for the system.
        for each in closing:
            each.close()

    def close(self) -> None:
        """Close the idle connections."""
        with self._lock:
            closing = self._idle
            self._idle = []
        for each in closing:
            each.close()

    @cached_property
    def tls(self) -> ssl.SSLContext:
        """TLS 1.2 or newer, verified: no setting turns that off."""
        context = ssl.create_default_context()
        context.load_verify_locations(DEFAULT_CA_BUNDLE_PATH)
        context.set_alpn_protocols(["http/1.1"])
        return context

    def _take_idle(self, origin: Origin) -> Connection | None:
        """Take the connection to `origin` that was used last, if it is not idle for too long."""
        with self._lock:
            for at in range(len(self._idle) - 1, -1, -1):
                if self._idle[at].origin == origin:
                    seconds = monotonic() - self._idle[at].idle_since
                    # If the last one is too old, all others are: they are closed when the next is
                    # released.
                    return self._idle.pop(at) if seconds <= self._idle_seconds else None
        return None

    def _connect(self, origin: Origin, exchange: Exchange) -> socket.socket:
        """Return a socket to the first address that answers, after a check of all of them.

        For https it is one of TLS that has not shaken hands.
        """
        try:
            addresses = look_up_within(exchange.remaining(), origin.host, self._look_up)
        except (OSError, UnicodeError, RuntimeError) as error:
            # A RuntimeError says that there are no more threads.
            raise NotSent(
                f"{origin.host}: its address was not found ({exchange.explain(error)})"
            ) from None
        if self._check_address:
            for address in addresses:
                self._check_address(address)
        # Made while there is no connection yet: the first time it takes long enough for a server to
        # hang up.
        tls = self.tls if origin.scheme == "https" else None
        problem = "it has no address"
        for address in addresses:
            try:
                seconds = min(exchange.remaining(), CONNECT_SECONDS)
                return _open_socket(address, origin, seconds, tls)
            except OSError as error:
                problem = exchange.explain(error)
        raise NotSent(f"{origin.host}:{origin.port}: no connection ({problem})")


def _open_socket(
    address: str, origin: Origin, seconds: float, tls: ssl.SSLContext | None
) -> socket.socket:
    """Return a socket that is connected to `address` within `seconds`; ready for TLS, if there is
    a context for it.
    """
    # A number, which is not looked up: what comes of it is its form for the system.
    [(family, kind, _, _, target), *_] = socket.getaddrinfo(
        address, origin.port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST
    )
    opened = socket.socket(family, kind)
    with ExitStack() as failing:
        failing.callback(opened.close)
        if tls:
            # Wrapped before it is connected: CPython 3.11 loses a socket, and leaves it open, that
            # it finds reset while it wraps it.
            opened = tls.wrap_socket(
                opened,
                server_hostname=origin.host.rstrip("."),
                do_handshake_on_connect=False,
            )
            failing.callback(opened.close)
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        opened.settimeout(seconds)
        opened.connect(target)
        # The watch ends it from here on. A timeout would add a system call to each send and
        # receive.
        opened.settimeout(None)
        failing.pop_all()
    return opened


def _shake_hands(opened: ssl.SSLSocket, origin: Origin, exchange: Exchange) -> None:
    """Agree on keys, and verify who is there; raises NotSent, with the socket closed."""
    with ExitStack() as failing:
        failing.callback(opened.close)
        # Before it is closed: another socket may get its number.
        failing.callback(exchange.attach, None)
        try:
            # Not as a part of connecting: only now does the deadline end a handshake that drips.
            opened.do_handshake()
        except (OSError, ValueError) as error:
            raise NotSent(
                f"{origin.host.rstrip('.')}:{origin.port}: no TLS connection"
                f" ({exchange.explain(error)})"
            ) from None
        failing.pop_all()
