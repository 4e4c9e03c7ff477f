"""One HTTP exchange: a prepared request goes out once, and a Reply or a typed error comes back in time.

It goes through requests' own HTTPAdapter. A Session would follow redirects, take proxies and ~/.netrc from
the environment, and spend half of a call on that. Deadlines, address checks and the knowledge whether a byte
has left (from then on the request may have to be paid) are in `wire`.
"""

import logging
import threading
import zlib
from collections.abc import Callable, Mapping
from contextlib import closing
from functools import partial
from http.client import HTTPException, IncompleteRead
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPResponse
from urllib3.exceptions import HTTPError

from pixmill.addresses import LookUp
from pixmill.addresses import look_up as system_look_up
from pixmill.errors import AnswerUnknown, NotSent
from pixmill.wire import Exchange, Pool, TlsPool, Wire

STEP_BYTES = 1 << 18
HOSTS = 64  # whose idle connections are kept

# It logs whole URLs, some even as warnings: the query string of an image URL is the key to the image.
logging.getLogger("urllib3").setLevel(logging.CRITICAL)


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
        self._wire = Wire(check_address or _any_address, idle_seconds, look_up)
        self._adapter = _Adapter(self._wire, connections)
        self._aborted = False

    def send(self, request: requests.PreparedRequest, *, deadline: float, max_bytes: int) -> Reply:
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
            raw: HTTPResponse = self._adapter.send(request, stream=True).raw
            with closing(raw):
                body = _body(raw, max_bytes)
            if _ended_early(raw, body, exchange):
                raise IncompleteRead(body)
        except _UnusableAnswerError as error:
            raise AnswerUnknown(f"{host}: its answer {error}") from None
        except (OSError, HTTPError, HTTPException, ValueError) as error:
            outcome = AnswerUnknown if exchange.sent else NotSent
            # Without its causes: the messages of urllib3 quote the query string.
            raise outcome(f"{host}: {exchange.reason(error)}") from None
        finally:
            del self._wire.running[threading.get_ident()]
        return Reply(raw.status, raw.headers, body)

    def abort(self) -> None:
        """End the exchanges under way, and refuse all others. From any thread."""
        self._aborted = True
        for exchange in list(self._wire.running.values()):
            exchange.end()

    def close(self) -> None:
        """Close the idle connections and end the watch; for when no exchange is under way."""
        self._wire.stopped.set()
        self._adapter.close()


class _Adapter(HTTPAdapter):
    """requests' adapter over our pools, without the steps of its `send` that only a Session needs."""

    def __init__(self, wire: Wire, connections: int) -> None:
        super().__init__(pool_connections=max(HOSTS, connections), pool_maxsize=connections)
        pools: Any = self.poolmanager
        pools.pool_classes_by_scheme = {
            "http": partial(Pool, wire),
            "https": partial(TlsPool, wire),
        }

    def get_connection_with_tls_context(
        self, request: Any, *_: Any, **__: Any
    ) -> HTTPConnectionPool:
        """Return the pool for the origin of `request.url`; a proxy is never looked for."""
        url = urlsplit(request.url)
        pool: HTTPConnectionPool = self.poolmanager.connection_from_host(
            url.hostname, url.port, url.scheme
        )
        return pool

    def request_url(self, request: Any, _proxies: Any) -> str:
        """Return path and query."""
        return str(request.path_url)

    def build_response(self, _request: Any, raw: Any) -> requests.Response:
        """Carry urllib3's response, without parsing cookies and encodings that nobody reads."""
        response = requests.Response()
        response.raw = raw
        return response


class _UnusableAnswerError(Exception):
    """The end of a sentence that begins with "its answer"."""


def _any_address(_: str) -> None:
    pass


def _body(raw: HTTPResponse, max_bytes: int) -> bytes:
    body = bytearray()
    for part in raw.stream(STEP_BYTES, decode_content=False):
        body += part
        if len(body) > max_bytes:
            raise _UnusableAnswerError(f"is larger than {max_bytes:,} bytes")
    return _decoded(bytes(body), raw.headers.get("content-encoding", "").strip().lower(), max_bytes)


def _ended_early(raw: HTTPResponse, body: bytes, exchange: Exchange) -> bool:
    """Whether a body whose end is that of the connection can't be trusted to be whole.

    The deadline may have ended the connection; and one that ends within the headers looks like an answer without
    a body, so that has to be announced.
    """
    if raw.length_remaining is not None or raw.chunked:
        return False
    announced = raw.version == 10 or "close" in raw.headers.get("connection", "").lower()
    return exchange.over or not (body or announced)


def _decoded(body: bytes, encoding: str, max_bytes: int) -> bytes:
    """Undo a compression that was not asked for, never beyond `max_bytes`."""
    if encoding in ("", "identity") or not body:
        return body
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise _UnusableAnswerError("has a content encoding that was not asked for")
    decoder = zlib.decompressobj(wbits=47)  # 32 + 15: gzip or zlib, whichever the bytes say
    try:
        decoded = decoder.decompress(body, max_bytes + 1)
    except zlib.error:
        raise _UnusableAnswerError("is compressed and damaged") from None
    if len(decoded) > max_bytes:
        raise _UnusableAnswerError(f"is larger than {max_bytes:,} bytes when decoded")
    if not decoder.eof:
        raise _UnusableAnswerError("is compressed and ended early")
    return decoded
