"""One HTTP exchange: a request goes out once, and a Reply or a typed error comes back in time.

`http.client` writes the request and reads the answer; when, on which socket and for how long is
decided here. A Session of requests, or a pool of urllib3, would follow redirects, take proxies and
~/.netrc from the environment, look hosts up by itself, not tell whether a byte has left, and take
five times as long for a call.

    caller        Transport       DeadlineWatch     ConnectionPool       http.client         server
      │  send()       │  exchange(deadline)  │              │                 │                 │
      ├──────────────▶├─────────────────────▶│ sweeps       │                 │                 │
      │               │  request(): head and body into memory, no socket yet ─▶                 │
      │               │  acquire(origin, exchange)          │ look up, check, │                 │
      │               ├────────────────────────────────────▶│ connect, TLS ───┼────────────────▶│
      │               │  exchange.mark_sent()  ◀── errors: before it NotSent, after it AnswerUnknown
      │               │  sendall() on its socket ────────────┼─────────────────┼────────────────▶│
      │               │  getresponse(), read1() … ◀───────────────────────────┤◀────────────────┤
      │               │  release(connection, exchange) ────▶│ idle            │                 │
      │◀──────────────┤ Reply                │              │                 │                 │

At the deadline, and at `abort`, the watch shuts the socket down that is attached to the exchange:
the thread that waits in any of these steps gets an error, which the exchange explains.

What is relied on beyond the documentation (CPython 3.11; urllib3 2, requests 2):
* `HTTPConnection` writes by its method `send`, reads from what is put into `sock`, and opens nothing
  by itself while `auto_open` is 0;
* `HTTPResponse.length`, `.chunked` and `.will_close` say how its body is framed;
* `urllib3.util.wait.wait_for_read` and `requests.utils.DEFAULT_CA_BUNDLE_PATH`.
"""

import re
import zlib
from collections.abc import Callable, Mapping
from contextlib import closing
from functools import lru_cache
from http.client import HTTPConnection, HTTPException, HTTPResponse, IncompleteRead
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

import requests
from requests.structures import CaseInsensitiveDict

from pixmill.errors import AnswerUnknown, BodyTooLarge, NotSent
from pixmill.http.address_policy import LookUp
from pixmill.http.address_policy import look_up as system_look_up
from pixmill.http.connections import Connection, ConnectionPool, Origin
from pixmill.http.exchange import DeadlineWatch, Exchange

STEP_BYTES = 1 << 18
"""What is read of a body at a time: a cap on its size is passed by no more than that."""

ONE_PACKET_BYTES = 1 << 16
"""A request up to this size goes out by one call of the system: a second one would also wake the
server twice.
"""

HOSTS = 64
"""Idle connections that are kept where fewer threads than that fetch from many hosts."""

_PORTS = {"http": 80, "https": 443}
_AS_WRITTEN = "!$&'()*+,;=:@/?"
"""What is left in paths and queries as it is, beside letters and digits (RFC 3986)."""

_BARE_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_NOT_IN_HEADERS = re.compile(r"[\r\n\0]")


class Reply(NamedTuple):
    """A complete HTTP answer."""

    status: int

    headers: Mapping[str, str]
    """Their names match in any case."""

    body: bytes
    """Decoded, where it came compressed."""


class Transport:
    """Sends prepared requests for up to `connections` threads; each call is one attempt.

    `check_address` sees every address of a host before one of them is connected to, and refuses by
    raising. A connection that has been idle for `idle_seconds` is not used again: its server may be
    about to close it, and a request that meets the close is in doubt. `look_up` gives the addresses
    of a host name. Certificates are always verified, against the system's authorities (or
    SSL_CERT_FILE) and those that requests brings.
    """

    def __init__(
        self,
        *,
        connections: int,
        check_address: Callable[[str], None] | None = None,
        idle_seconds: float = 2.0,
        look_up: LookUp = system_look_up,
    ) -> None:
        self._pool = ConnectionPool(
            check_address, idle_seconds, look_up, most=max(HOSTS, connections)
        )
        self._watch = DeadlineWatch()
        self._aborted = False

    def send(
        self, request: requests.PreparedRequest, *, deadline: float, max_bytes: int
    ) -> Reply:
        """Return the answer to `request`, whatever its status, all of it within `deadline` seconds.

        Raises NotSent as long as no byte has left, and AnswerUnknown after that: a reset, an early
        end, no end in time; BodyTooLarge where the body has more than `max_bytes`, as sent or
        decoded. What `check_address` raises passes through.
        """
        host = urlsplit(request.url or "").netloc.rpartition("@")[2]
        with self._watch.exchange(deadline) as exchange:
            try:
                # Asked once the exchange is watched: an abort either sees it there or is seen here.
                if self._aborted:
                    raise NotSent(f"{host}: not sent, as the run ends")
                return self._exchange(request, exchange, max_bytes)
            except _UnusableAnswerError as error:
                kind = BodyTooLarge if error.is_too_large else AnswerUnknown
                raise kind(f"{host}: its answer {error}") from None
            except (OSError, HTTPException, ValueError) as error:
                outcome = AnswerUnknown if exchange.is_sent else NotSent
                # Without its causes: their messages may quote the query string.
                raise outcome(f"{host}: {exchange.explain(error)}") from None

    def abort(self) -> None:
        """End the exchanges under way, and refuse all others. From any thread."""
        self._aborted = True
        self._watch.expire_all()

    def close(self) -> None:
        """Close the idle connections and end the watch; for when no exchange is under way."""
        self._watch.stop()
        self._pool.close()

    def _exchange(
        self, request: requests.PreparedRequest, exchange: Exchange, max_bytes: int
    ) -> Reply:
        address = _parse_url(request.url or "")
        # Before a connection is opened, as a request that can't be written is not sent at all.
        call = _BufferedCall(request, address)
        connection = self._pool.acquire(address.origin, exchange)
        try:
            exchange.mark_sent()
            for packet in call.packets():
                connection.socket.sendall(packet)
            call.sock = connection.socket
            with closing(call.getresponse()) as response:
                reply = _read(response, exchange, max_bytes)
        except BaseException:
            _close(connection, exchange)
            raise
        if response.will_close:
            _close(connection, exchange)
        else:
            self._pool.release(connection, exchange)
        return reply


def _close(connection: Connection, exchange: Exchange) -> None:
    # Let go of first: another socket may get its number.
    exchange.attach(None)
    connection.close()


class _Address(NamedTuple):
    """What a URL says."""

    origin: Origin

    host: str
    """What the Host header says: with brackets around an IPv6 address, and with a port that is not
    the scheme's own.
    """

    target: str
    """Path and query, as the request line has them."""


@lru_cache(maxsize=HOSTS)
def _parse_url(url: str) -> _Address:
    """Take a URL apart. Raises ValueError where it can't be requested."""
    parts = urlsplit(url)
    scheme = parts.scheme
    name = parts.hostname
    if scheme not in _PORTS or not name:
        raise ValueError("not an http or https URL")
    origin = Origin(scheme, name, parts.port or _PORTS[scheme])
    host = name.rstrip(".")
    if ":" in host:
        host = f"[{host}]"
    if origin.port != _PORTS[scheme]:
        host = f"{host}:{origin.port}"
    path_and_query = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    # A signature covers the URL as it was written, so its escapes stay; one that is none makes
    # every % a character.
    escaped = "" if _BARE_PERCENT.search(path_and_query) else "%"
    return _Address(origin, host, quote(path_and_query, safe=_AS_WRITTEN + escaped))


class _BufferedCall(HTTPConnection):
    """Writes a request into memory, and reads the answer to it from the socket that is put into
    `sock`.

    Raises ValueError where a header can't be written.
    """

    auto_open = 0

    def __init__(self, request: requests.PreparedRequest, address: _Address) -> None:
        super().__init__(address.origin.host, address.origin.port)
        self._parts: list[bytes] = []
        headers = {
            "Host": address.host,
            "Accept-Encoding": "identity",
            **request.headers,
        }
        # http.client takes a line break before a blank, which old servers read as one header and
        # others as two.
        if _NOT_IN_HEADERS.search("\t".join(headers.values())):
            raise ValueError("a header with a line break in it")
        body = request.body.encode() if isinstance(request.body, str) else request.body
        self.request(request.method or "GET", address.target, body, headers)

    def close(self) -> None:
        """Leave the socket open: the exchange lets go of it first (`_close`)."""

    def send(self, data: Any) -> None:
        """Keep what http.client would send now: first the head, then the body."""
        self._parts.append(data)

    def packets(self) -> list[bytes]:
        """Return what is to be sent by one call of the system each: all of it where it is small."""
        if sum(map(len, self._parts)) <= ONE_PACKET_BYTES:
            return [b"".join(self._parts)]
        return self._parts


class _UnusableAnswerError(Exception):
    """The end of a sentence that begins with "its answer"."""

    def __init__(self, message: str, *, is_too_large: bool = False) -> None:
        super().__init__(message)
        self.is_too_large = is_too_large


def _read(response: HTTPResponse, exchange: Exchange, max_bytes: int) -> Reply:
    """Return the whole answer whose headers have been read."""
    headers = CaseInsensitiveDict(response.headers.items())
    ends_with_connection = response.length is None and not response.chunked
    if ends_with_connection:
        if "content-length" in headers:
            raise _UnusableAnswerError("has a length that is not a number")
        if "transfer-encoding" in headers:
            raise _UnusableAnswerError("has a transfer encoding that was not asked for")
    body = bytearray()
    while part := response.read1(STEP_BYTES):
        body += part
        if len(body) > max_bytes:
            raise _UnusableAnswerError(
                f"is larger than {max_bytes:,} bytes", is_too_large=True
            )
    is_cut = bool(response.length)
    if ends_with_connection:
        # The deadline may have ended the connection; and one that ends within the headers looks
        # like an answer without a body, so that has to be announced.
        closes = "close" in headers.get("connection", "").lower()
        is_announced = closes or response.version == 10
        is_cut = exchange.expired or not (body or is_announced)
    if is_cut:
        raise IncompleteRead(b"")
    encoding = headers.get("content-encoding", "").strip().lower()
    return Reply(response.status, headers, _decode(bytes(body), encoding, max_bytes))


def _decode(body: bytes, encoding: str, max_bytes: int) -> bytes:
    """Undo a compression that was not asked for, never beyond `max_bytes`."""
    if encoding in ("", "identity") or not body:
        return body
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise _UnusableAnswerError("has a content encoding that was not asked for")
    # 32 + 15: gzip or zlib, whichever the bytes say.
    decoder = zlib.decompressobj(wbits=47)
    try:
        # One more than allowed tells whether there is more, without unpacking a bomb.
        decoded = decoder.decompress(body, max_bytes + 1)
    except zlib.error:
        raise _UnusableAnswerError("is compressed and damaged") from None
    if len(decoded) > max_bytes:
        raise _UnusableAnswerError(
            f"is larger than {max_bytes:,} bytes when decoded", is_too_large=True
        )
    if not decoder.eof:
        raise _UnusableAnswerError("is compressed and ended early")
    return decoded
