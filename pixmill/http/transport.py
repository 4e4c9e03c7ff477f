"""One HTTP exchange: a prepared request goes out once, and a Reply or a typed error comes back in time.

The request is written and the answer read with `http.client`, on connections of `wire`, which has the deadlines, the
address checks and the knowledge whether a byte has left (from then on the request may have to be paid). A Session of
requests would follow redirects, take proxies and ~/.netrc from the environment, and take five times as long for a call.
"""

import re
import threading
import zlib
from collections.abc import Callable, Mapping
from contextlib import closing
from functools import lru_cache
from http.client import HTTPException, HTTPResponse, IncompleteRead
from typing import NamedTuple
from urllib.parse import quote, urlsplit

import requests
from requests.structures import CaseInsensitiveDict

from pixmill.errors import AnswerUnknown, BodyTooLarge, NotSent
from pixmill.http.address_policy import LookUp
from pixmill.http.address_policy import look_up as system_look_up
from pixmill.http.connections import ConnectionContext, Exchange, Origin

STEP_BYTES = 1 << 18
ONE_PACKET_BYTES = 1 << 16
"""A body up to this size goes out together with its headers, by one call of the system."""
HOSTS = 64
"""Idle connections that are kept where fewer threads than that fetch from many hosts."""

_PORTS = {"http": 80, "https": 443}
_AS_WRITTEN = "!$&'()*+,;=:@/?"
"""What stands in paths and queries as it is, beside letters and digits (RFC 3986)."""
_BARE_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")


class Reply(NamedTuple):
    """A complete HTTP answer: header names match in any case, the body is decoded."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Transport:
    """Sends prepared requests for up to `connections` threads; each call is one attempt on the wire.

    `check_address` sees every address of a host before one of them is connected to, and refuses by raising. A
    connection that has rested for `idle_seconds` is not used again: its server may be about to close it, and
    a request that meets the close is in doubt. `look_up` gives the addresses of a host name. Certificates are
    always verified, against the system's authorities (or SSL_CERT_FILE) and those that requests brings.
    """

    def __init__(
        self,
        *,
        connections: int,
        check_address: Callable[[str], None] | None = None,
        idle_seconds: float = 2.0,
        look_up: LookUp = system_look_up,
    ) -> None:
        self._wire = ConnectionContext(
            check_address or _any_address,
            idle_seconds,
            look_up,
            most=max(HOSTS, connections),
        )
        self._aborted = False

    def send(
        self, request: requests.PreparedRequest, *, deadline: float, max_bytes: int
    ) -> Reply:
        """Return the answer to `request`, whatever its status, all of it within `deadline` seconds.

        Raises NotSent as long as no byte has left, and AnswerUnknown after that: a reset, an early end, no
        end in time, a body over `max_bytes` as sent or decoded. What `check_address` raises passes through.
        """
        host = urlsplit(request.url or "").netloc.rpartition("@")[2]
        exchange = Exchange(deadline)
        self._wire.running[threading.get_ident()] = exchange
        try:
            if self._aborted:
                raise NotSent(f"{host}: not sent, as the run ends")
            return self._exchanged(request, exchange, max_bytes)
        except _UnusableAnswerError as error:
            kind = BodyTooLarge if isinstance(error, _TooLargeError) else AnswerUnknown
            raise kind(f"{host}: its answer {error}") from None
        except (OSError, HTTPException, ValueError) as error:
            outcome = AnswerUnknown if exchange.sent else NotSent
            # Without its causes: their messages may quote the query string.
            raise outcome(f"{host}: {exchange.reason(error)}") from None
        finally:
            del self._wire.running[threading.get_ident()]

    def abort(self) -> None:
        """End the exchanges under way, and refuse all others. From any thread."""
        self._aborted = True
        for exchange in list(self._wire.running.values()):
            exchange.end()

    def close(self) -> None:
        """Close the idle connections and end the watch; for when no exchange is under way."""
        self._wire.close()

    def _exchanged(
        self, request: requests.PreparedRequest, exchange: Exchange, max_bytes: int
    ) -> Reply:
        address = _address(request.url or "")
        head = _head(request, address)
        body = request.body or b""
        if isinstance(body, str):
            body = body.encode()
        connection = self._wire.lend(address.origin, exchange)
        try:
            exchange.sends()
            if len(body) <= ONE_PACKET_BYTES:
                connection.socket.sendall(head + body)
            else:
                connection.socket.sendall(head)
                connection.socket.sendall(body)
            with closing(HTTPResponse(connection.socket)) as response:
                response.begin()
                reply = _read(response, exchange, max_bytes)
        except BaseException:
            exchange.hold(None)
            connection.close()
            raise
        if response.will_close:
            exchange.hold(None)
            connection.close()
        else:
            self._wire.rest(connection, exchange)
        return reply


class _Address(NamedTuple):
    """What a URL says: where a request for it goes, what its Host header says, and path and query."""

    origin: Origin
    host: str
    target: str


@lru_cache(maxsize=HOSTS)
def _address(url: str) -> _Address:
    """Take a URL apart. Raises ValueError where it can't be requested."""
    parts = urlsplit(url)
    scheme = parts.scheme
    name = parts.hostname
    if scheme not in _PORTS or not name:
        raise ValueError("no http or https URL")
    origin = Origin(scheme, name, parts.port or _PORTS[scheme])
    host = name.rstrip(".")
    if ":" in host:
        host = f"[{host}]"
    if origin.port != _PORTS[scheme]:
        host = f"{host}:{origin.port}"
    path_and_query = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    escaped = "" if _BARE_PERCENT.search(path_and_query) else "%"
    return _Address(origin, host, quote(path_and_query, safe=_AS_WRITTEN + escaped))


def _head(request: requests.PreparedRequest, address: _Address) -> bytes:
    """Return the request line and the headers. Raises ValueError where one would be two."""
    lines = [f"{request.method} {address.target} HTTP/1.1"]
    if "Host" not in request.headers:
        lines.append(f"Host: {address.host}")
    if "Accept-Encoding" not in request.headers:
        lines.append("Accept-Encoding: identity")
    lines += [f"{name}: {value}" for name, value in request.headers.items()]
    text = "\r\n".join(lines)
    if "\0" in text or not text.count("\r") == text.count("\n") == len(lines) - 1:
        raise ValueError("a header with a line break in it")
    return f"{text}\r\n\r\n".encode("latin-1")


class _UnusableAnswerError(Exception):
    """The end of a sentence that begins with "its answer"."""


class _TooLargeError(_UnusableAnswerError):
    """The answer is larger than the caller takes."""


def _any_address(_: str) -> None:
    pass


def _read(response: HTTPResponse, exchange: Exchange, max_bytes: int) -> Reply:
    """Return the whole answer whose headers have been read."""
    headers = CaseInsensitiveDict(response.headers.items())
    if response.length is None and not response.chunked:
        if "content-length" in headers:
            raise _UnusableAnswerError("has a length that is no number")
        if "transfer-encoding" in headers:
            raise _UnusableAnswerError("has a transfer encoding that was not asked for")
    body = bytearray()
    while part := response.read1(STEP_BYTES):
        body += part
        if len(body) > max_bytes:
            raise _TooLargeError(f"is larger than {max_bytes:,} bytes")
    if response.length or _ended_early(response, headers, body, exchange):
        raise IncompleteRead(b"")
    encoding = headers.get("content-encoding", "").strip().lower()
    return Reply(response.status, headers, _decoded(bytes(body), encoding, max_bytes))


def _ended_early(
    response: HTTPResponse,
    headers: Mapping[str, str],
    body: bytearray,
    exchange: Exchange,
) -> bool:
    """Whether a body whose end is that of the connection can't be trusted to be whole.

    The deadline may have ended the connection; and one that ends within the headers looks like an answer without
    a body, so that has to be announced.
    """
    if response.length is not None or response.chunked:
        return False
    announced = (
        response.version == 10 or "close" in headers.get("connection", "").lower()
    )
    return exchange.over or not (body or announced)


def _decoded(body: bytes, encoding: str, max_bytes: int) -> bytes:
    """Undo a compression that was not asked for, never beyond `max_bytes`."""
    if encoding in ("", "identity") or not body:
        return body
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise _UnusableAnswerError("has a content encoding that was not asked for")
    decoder = zlib.decompressobj(
        wbits=47
    )  # 32 + 15: gzip or zlib, whichever the bytes say
    try:
        decoded = decoder.decompress(body, max_bytes + 1)
    except zlib.error:
        raise _UnusableAnswerError("is compressed and damaged") from None
    if len(decoded) > max_bytes:
        raise _TooLargeError(f"is larger than {max_bytes:,} bytes when decoded")
    if not decoder.eof:
        raise _UnusableAnswerError("is compressed and ended early")
    return decoded
