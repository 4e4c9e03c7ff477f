"""Images: output images fetched from their URLs and stored under the hash of their content.

A URL out of an answer may lead into a private network, and its body may be anything: what is fetched is checked
at every step, and nothing is stored that was not decoded to its last pixel.
"""

import os
import random
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qs, urljoin, urlsplit

import requests

from pixmill.errors import TransportError
from pixmill.http.address_policy import (
    AddressRefused,
    LookUp,
    check_public,
    url_problem,
)
from pixmill.http.address_policy import look_up as system_look_up
from pixmill.http.transport import Reply, Transport
from pixmill.storage.atomic_write import clear_parts, part, sync
from pixmill.storage.image_decoding import (
    MAX_BYTES,
    ImageError,
    Picture,
    inspect,
    local_image_problem,
)

__all__ = [
    "ImageError",
    "ImageFetcher",
    "ImageFile",
    "ImageGone",
    "ImageStore",
    "inspect",
    "local_image_problem",
    "url_expiry",
]

SUFFIXES = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp"}
ATTEMPTS = 3
PAUSE_SECONDS = 0.5
REDIRECTS = 3


class ImageGone(ImageError):
    """The URL no longer gives its image (403, 404 or 410): it has expired, or never had one."""


class _FinalError(ImageError):
    """Another attempt would end in the same way."""


class ImageFile(NamedTuple):
    """An image in the store; `file_name` is relative to the store, `bytes` its size."""

    file_name: str
    sha256: str
    width: int
    height: int
    format: str
    bytes: int


def url_expiry(url: str) -> datetime | None:
    """When a signed URL of the provider dies (`x-expires`, in seconds since 1970), if it says so."""
    try:
        return datetime.fromtimestamp(
            int(parse_qs(urlsplit(url).query)["x-expires"][0]), UTC
        )
    except (KeyError, ValueError, OverflowError, OSError):
        return None


class ImageStore:
    """Images by content under `store`: equal bytes are one file, and a name never depends on outside text."""

    def __init__(self, store: Path) -> None:
        self._store = store

    def save(self, data: bytes) -> ImageFile:
        """Store a complete image, durably, before this returns. ImageError as in `inspect`; OSError."""
        shape = inspect(data)
        digest = sha256(data).hexdigest()
        file_name = f"images/{digest[:2]}/{digest}.{SUFFIXES[shape.format]}"
        path = self._store / file_name
        if not _holds(path, data):
            try:
                _write(path, data)
            except FileNotFoundError:  # cleared away in the moment before it was locked
                _write(path, data)
        return ImageFile(file_name, digest, *shape, len(data))

    def clear_parts(self) -> None:
        """Remove halves of images that killed processes left."""
        images = self._store / "images"
        for folder in (images, *images.glob("*/")):
            clear_parts(folder)


class ImageFetcher:
    """Fetches images for up to `connections` threads, from the public internet or from `allow_hosts`.

    Elsewhere only https to ports 80 and 443 of public addresses is fetched, at every redirect as well; hosts in
    `allow_hosts` are exempt, whatever their port, and so is what is served at the `simulator`'s base URL: its host at
    its port only, as other services of this machine are none of ours. `deadline` (seconds) holds for one attempt of
    three.
    """

    def __init__(
        self,
        *,
        allow_hosts: Sequence[str],
        simulator: str | None = None,
        connections: int = 8,
        deadline: float = 60,
        look_up: LookUp = system_look_up,
        sleep: Callable[[float], object] | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._allowed = {host.lower().strip("[]") for host in allow_hosts}
        self._simulator = None if simulator is None else _origin(simulator)
        self._deadline = deadline
        self._ended = threading.Event()
        self._sleep = sleep or self._ended.wait
        self._jitter = jitter
        self._public = Transport(
            connections=connections, check_address=check_public, look_up=look_up
        )
        self._trusted = Transport(connections=connections, look_up=look_up)

    def fetch(self, url: str) -> bytes:
        """Return the bytes of a complete image. ImageGone at once for a dead URL, ImageError otherwise.

        Network failures, 429, 5xx and bodies that are no complete image get three attempts.
        """
        for attempt in range(1, ATTEMPTS + 1):
            if self._ended.is_set():
                raise ImageError(f"{_host(url)}: not fetched, as the run ends")
            try:
                return self._attempt(url)
            except (ImageGone, _FinalError):
                raise
            except (TransportError, ImageError) as error:
                problem = f"{error} ({ATTEMPTS} attempts)"
            if attempt < ATTEMPTS:
                self._sleep(self._jitter() * PAUSE_SECONDS * 2**attempt)
        raise ImageError(problem)

    def _is_simulator(self, url: str) -> bool:
        return self._simulator is not None and _origin(url) == self._simulator

    def abort(self) -> None:
        """End the fetches under way, and let all others fail at once. From any thread."""
        self._ended.set()
        self._public.abort()
        self._trusted.abort()

    def close(self) -> None:
        """Close the connections."""
        self._public.close()
        self._trusted.close()

    def _attempt(self, url: str) -> bytes:
        ends = time.monotonic() + self._deadline
        for _ in range(1 + REDIRECTS):
            reply = self._get(url, max(0.0, ends - time.monotonic()))
            if "location" not in reply.headers or reply.status not in (
                301,
                302,
                303,
                307,
                308,
            ):
                return _picture(url, reply)
            url = _joined(url, reply.headers["location"])
        raise _FinalError(f"{_host(url)}: more than {REDIRECTS} redirects")

    def _get(self, url: str, seconds: float) -> Reply:
        request = _request(url)
        # Judged as it will be sent: no other parser comes between this check and the connection.
        trusted = _host(request.url) in self._allowed or self._is_simulator(
            request.url or ""
        )
        problem = None if trusted else _problem(request.url or "")
        if problem:
            raise _FinalError(f"{_host(url)}: {problem}")
        transport = self._trusted if trusted else self._public
        try:
            return transport.send(request, deadline=seconds, max_bytes=MAX_BYTES)
        except AddressRefused as error:
            raise _FinalError(f"{_host(url)}: {error}") from None


def _holds(path: Path, data: bytes) -> bool:
    try:
        same_size = not path.is_symlink() and path.stat().st_size == len(data)
        return same_size and path.read_bytes() == data
    except OSError:
        return False


def _write(path: Path, data: bytes) -> None:
    """Put `data` at `path` durably; a reader, or a crash, sees all of it or nothing."""
    if not path.parent.is_dir():
        path.parent.mkdir(parents=True, exist_ok=True)
        sync(path.parents[1])
        sync(path.parents[2])
    with part(path.parent) as (file, aside):
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
        aside.replace(path)
    sync(path.parent)


def _joined(url: str, location: str) -> str:
    try:
        return urljoin(url, location)
    except ValueError:
        raise _FinalError(f"{_host(url)}: it redirects to what is no URL") from None


def _request(url: str) -> requests.PreparedRequest:
    headers = {
        "User-Agent": "pixmill",
        "Accept": "image/*",
        "Accept-Encoding": "identity",
    }
    try:
        request = requests.Request("GET", url, headers=headers).prepare()
    except ValueError:  # requests and urllib3 derive from it
        raise _FinalError(f"{_host(url)}: its URL can't be read") from None
    if url.isascii():
        request.url = url  # a signature covers the URL as it was written, before requests quotes it anew
    return request


def _problem(url: str) -> str | None:
    """Why a URL of a host that isn't allowed by name is not fetched."""
    reason = url_problem(url)
    if reason:
        return f"its URL is not fetched ({reason})"
    parts = urlsplit(url)
    if parts.scheme != "https":
        return "only https is fetched"
    return (
        None if parts.port in (None, 80, 443) else f"port {parts.port} is not fetched"
    )


def _picture(url: str, reply: Reply) -> Picture:
    if reply.status in (403, 404, 410):
        raise ImageGone(f"{_host(url)}: its answer is {reply.status}")
    if reply.status != 200:
        passing = reply.status == 429 or reply.status >= 500
        raise (ImageError if passing else _FinalError)(
            f"{_host(url)}: its answer is {reply.status}"
        )
    picture = Picture(reply.body)
    try:
        picture.shape = inspect(reply.body)
    except ImageError as error:
        raise ImageError(f"{_host(url)}: {error}") from None
    return picture


def _origin(url: str) -> tuple[str, str | None, int | None] | None:
    """Scheme, host and port of a URL; `None` where it can't be read."""
    try:
        parts = urlsplit(url)
        host = parts.hostname
        port = parts.port
    except ValueError:
        return None
    return parts.scheme, "127.0.0.1" if host == "localhost" else host, port


def _host(url: str | None) -> str:
    try:
        return urlsplit(url or "").hostname or "no host"
    except ValueError:
        return "no host"
