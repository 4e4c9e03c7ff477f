"""Fetches images from URLs: the provider's outputs, and the input images that a table names.

A URL out of an answer or a table may lead into a private network, and its body may be anything:
what is fetched is checked at every step, and nothing is returned that was not decoded to its last
pixel. How outputs and inputs differ is declared in two policies.
"""

import random
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import NamedTuple
from urllib.parse import parse_qs, urljoin, urlsplit

import requests

from pixmill.errors import BodyTooLarge, TransportError
from pixmill.http.address_policy import (
    AddressRefused,
    LookUp,
    check_public,
    url_problem,
)
from pixmill.http.address_policy import look_up as system_look_up
from pixmill.http.transport import Reply, Transport
from pixmill.storage.image_decoding import (
    INPUT_BYTES,
    MAX_BYTES,
    ImageError,
    ImageInfo,
    Picture,
    inspect,
    inspect_input,
)
from pixmill.tuning import IMAGE_ATTEMPTS, IMAGE_BACKOFF, INPUT_IMAGE_ATTEMPTS

REDIRECTS = 3

_REDIRECTS = (301, 302, 303, 307, 308)
_GONE = (403, 404, 410)
_PASSING = (408, 425, 429)
"""Client errors that pass by themselves: timeout, too early, too many requests. So do all 5xx."""

_PORTS = (None, 80, 443)
_HEADERS = {
    "User-Agent": "pixmill",
    "Accept": "image/*",
    "Accept-Encoding": "identity",
}


class FetchPolicy(NamedTuple):
    """How the images of one kind are fetched."""

    schemes: tuple[str, ...]
    """From public hosts; a host that is allowed by name may be asked in either."""

    max_bytes: int
    """Of one image. The rest of a longer one is not read."""

    inspect: Callable[[bytes], ImageInfo]
    """What decides whether a body is a complete image that is wanted; raises ImageError where it is
    not.
    """

    attempts: int

    passing: frozenset[str]
    """The problems for which another attempt is made; all others end a fetch at once."""


OUTPUTS = FetchPolicy(
    schemes=("https",),
    max_bytes=MAX_BYTES,
    inspect=inspect,
    attempts=IMAGE_ATTEMPTS,
    # It was paid for and is known to exist: a body that is cut or wrong is more likely the way's
    # fault than its own.
    passing=frozenset({"unreachable", "too_large", "type", "dimensions", "damaged"}),
)
"""Images that were paid for."""

INPUTS = FetchPolicy(
    # The provider fetches plain http as well.
    schemes=("http", "https"),
    max_bytes=INPUT_BYTES,
    inspect=inspect_input,
    attempts=INPUT_IMAGE_ATTEMPTS,
    passing=frozenset({"unreachable"}),
)
"""Images that a table names, looked at before anything is paid."""


class ImageGone(ImageError):
    """The URL no longer gives its image (403, 404 or 410): it has expired, or never had one."""


def url_expiry(url: str) -> datetime | None:
    """When a signed URL of the provider dies (its `x-expires`, in seconds since 1970)."""
    try:
        return datetime.fromtimestamp(
            int(parse_qs(urlsplit(url).query)["x-expires"][0]), UTC
        )
    except (KeyError, ValueError, OverflowError, OSError):
        return None


class ImageFetcher:
    """Fetches images by a `policy`, for up to `connections` threads, from the public internet or
    from `allow_hosts`.

    Of public hosts only the ports 80 and 443 of public addresses are asked, at every redirect as
    well; hosts in `allow_hosts` are exempt, whatever their port, and so is what is served at the
    `simulator`'s base URL: its host at its port only, as other services of this machine are none of
    ours. `deadline` (seconds) holds for one attempt.
    """

    def __init__(
        self,
        policy: FetchPolicy = OUTPUTS,
        *,
        allow_hosts: Sequence[str],
        simulator: str | None = None,
        connections: int = 8,
        deadline: float = 60,
        look_up: LookUp = system_look_up,
        sleep: Callable[[float], object] | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._policy = policy
        self._allowed = {host.lower().strip("[]") for host in allow_hosts}
        self._simulator = None if simulator is None else _origin(simulator)
        self._deadline = deadline
        self._ended = threading.Event()
        # An abort also ends the pauses.
        self._sleep = sleep or self._ended.wait
        self._jitter = jitter
        self._public = Transport(
            connections=connections, check_address=check_public, look_up=look_up
        )
        self._trusted = Transport(connections=connections, look_up=look_up)

    def fetch(self, url: str) -> bytes:
        """Return the bytes of a complete image.

        Raises ImageError, whose `problem` is one of `address` (nothing is fetched from there),
        `not_found`, `forbidden`, `unreachable`, `too_large`, or what is wrong with the image
        itself: `type`, `dimensions`, `ratio`, `damaged`. ImageGone where the URL gives no image any
        more.
        """
        for attempt in range(1, self._policy.attempts + 1):
            if self._ended.is_set():
                raise _failure(url, "unreachable", "not fetched, as the run ends")
            try:
                return self._attempt(url)
            except ImageError as error:
                if error.problem not in self._policy.passing:
                    raise
                last = error
            if attempt < self._policy.attempts:
                self._sleep(IMAGE_BACKOFF.pause(attempt, self._jitter))
        text = f"{last} ({attempt} attempts)"
        raise ImageError(text, hint=last.hint, problem=last.problem)

    def abort(self) -> None:
        """End the fetches under way, and let all others fail at once. From any thread."""
        self._ended.set()
        self._public.abort()
        self._trusted.abort()

    def close(self) -> None:
        """Close the connections."""
        self._public.close()
        self._trusted.close()

    def _attempt(self, url: str) -> Picture:
        ends = time.monotonic() + self._deadline
        for _ in range(1 + REDIRECTS):
            reply = self._get(url, max(0.0, ends - time.monotonic()))
            if "location" not in reply.headers or reply.status not in _REDIRECTS:
                if reply.status != 200:
                    kind = ImageGone if reply.status in _GONE else ImageError
                    problem = "forbidden"
                    if reply.status in (404, 410):
                        problem = "not_found"
                    elif reply.status in _PASSING or reply.status >= 500:
                        problem = "unreachable"
                    raise kind(
                        f"{_host(url)}: its answer is {reply.status}", problem=problem
                    )
                picture = Picture(reply.body)
                try:
                    picture.info = self._policy.inspect(reply.body)
                except ImageError as error:
                    raise _failure(url, error.problem, str(error)) from None
                return picture
            try:
                url = urljoin(url, reply.headers["location"])
            except ValueError:
                raise _failure(
                    url, "forbidden", "it redirects to what is not a valid URL"
                ) from None
        raise _failure(url, "forbidden", f"more than {REDIRECTS} redirects")

    def _get(self, url: str, seconds: float) -> Reply:
        try:
            request = requests.Request("GET", url, headers=_HEADERS).prepare()
        except ValueError:
            # All that requests and urllib3 say of a URL derives from it.
            raise _failure(url, "address", "its URL can't be read") from None
        if url.isascii():
            # A signature covers the URL as it was written, before requests quotes it anew.
            request.url = url
        # Judged as it will be sent: no other parser comes between this check and the connection.
        sent = request.url or ""
        trusted = _host(sent) in self._allowed or (
            self._simulator is not None and _origin(sent) == self._simulator
        )
        problem = None if trusted else self._address_problem(sent)
        if problem:
            raise _failure(url, "address", problem, is_exempted_by_host=True)
        transport = self._trusted if trusted else self._public
        try:
            return transport.send(
                request, deadline=seconds, max_bytes=self._policy.max_bytes
            )
        except AddressRefused as error:
            raise _failure(
                url, "address", str(error), is_exempted_by_host=True
            ) from None
        except BodyTooLarge as error:
            raise ImageError(str(error), problem="too_large") from None
        except TransportError as error:
            raise ImageError(str(error), problem="unreachable") from None

    def _address_problem(self, url: str) -> str | None:
        """Why a URL of a host that isn't allowed by name is not fetched."""
        reason = url_problem(url)
        if reason:
            return f"its URL is not fetched ({reason})"
        parts = urlsplit(url)
        if parts.scheme not in self._policy.schemes:
            return f"only {' and '.join(self._policy.schemes)} is fetched"
        if parts.port not in _PORTS:
            return f"port {parts.port} is not fetched"
        return None


def _failure(
    url: str, problem: str, text: str, *, is_exempted_by_host: bool = False
) -> ImageError:
    """An error that names the host alone: the query of a signed URL is the key to the image.

    Its hint is the line of a config that exempts the host, where that helps.
    """
    host = _host(url)
    hint = f"output.allow_hosts: [{host}]" if is_exempted_by_host else ""
    return ImageError(f"{host}: {text}", hint=hint, problem=problem)


def _origin(url: str) -> tuple[str, str | None, int | None] | None:
    """Scheme, host and port of a URL; `None` where it can't be read."""
    try:
        parts = urlsplit(url)
        host = parts.hostname
        port = parts.port
    except ValueError:
        return None
    return parts.scheme, "127.0.0.1" if host == "localhost" else host, port


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or "no host"
    except ValueError:
        return "no host"
